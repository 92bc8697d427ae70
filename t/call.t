# SPDX-License-Identifier: Apache-2.0
# A client's call: what goes in, and what comes back.
use strict;
use warnings;
use Client qw(json make_id);
use OneServer;
use Poll;
use Test::More;
use Time::HiRes qw(time);

my $client = client();

subtest 'a call runs here and is answered with its result, signed' => sub {
    my $id = make_id();
    my $answer = $client->call('example.sum', [1, 2, 3], id => $id);
    is($answer->{status}, 200, 'status');
    is($answer->{headers}{'content-type'}, 'application/json', 'content type');
    is($answer->{headers}{'cache-control'}, 'no-store', 'no cache may keep it');
    is($answer->{headers}{'webhook-id'}, "$id:one", 'webhook-id is that of the request and the name of the node');
    ok($answer->{signed}, 'the answer is signed');
    is($answer->{body}, qq({"id":"$id","node":"one","outcome":"ok","result":6}), 'answer');
};

subtest 'positional and keyword arguments arrive as they were sent' => sub {
    is($client->call('example.sum', [1, 2.5], kwargs => {x => 10, y => -3})->{json}{result}, 10.5, 'sum of both kinds');
    my ($args, $kwargs) = (["\x{263a}\n\"\\\x{7f}", '', [[], {}, {a => undef}], JSON::PP::true],
                           {"\x{1f600}" => ['k'], '' => 0});
    my $answer = $client->call('example.echo', $args, kwargs => $kwargs);
    is_deeply($answer->{json}{result}, {args => $args, kwargs => $kwargs}, 'text, nesting, constants');
    $answer = $client->post('{"function":"example.echo"}');
    is_deeply($answer->{json}{result}, {args => [], kwargs => {}}, 'without args and kwargs: both are empty');
    $answer = $client->post('{"kwargs":{"b":{"z":1,"y":2},"a":3},"function":"example.echo"}');
    like($answer->{body}, qr/"kwargs":\{"b":\{"z":1,"y":2\},"a":3\}/, 'keys keep their order');
};

subtest 'numbers survive: integers of 63 bits to the digit, reals to the bit' => sub {
    my $echo = sub { return $client->post('{"function":"example.echo","args":[' . $_[0] . ']}')->{body} };
    for my $integer (qw(0 -1 9007199254740993 9223372036854775807 -9223372036854775808)) {
        like($echo->($integer), qr/"args":\[\Q$integer\E\]/, "$integer is the same integer");
    }
    for my $real (qw(0.1 1.0 -2.5e-7 1.7976931348623157e308 5e-324 0.30000000000000004 123456789.12345679)) {
        my ($back) = $echo->($real) =~ /"args":\[([^\]]*)\]/;
        ok(defined $back && pack('d', $back) eq pack('d', $real) && $back =~ /[.e]/, "$real is the same real")
            or diag($back // 'no number');
    }
    is($client->call('example.sum', [9223372036854775807, -1])->{json}{result}, 9223372036854775806,
       'a sum that needs 63 bits');
};

subtest 'a function that fails is 200 with outcome error and its words' => sub {
    my $answer = $client->call('example.fail', ['no such', 'cache']);
    is($answer->{status}, 200, 'status');
    ok($answer->{signed}, 'signed');
    is($answer->{json}{outcome}, 'error', 'outcome');
    is($answer->{json}{detail}, 'no such cache', 'detail');
    ok(!exists $answer->{json}{result}, 'no result');
    like($client->call('runlog.fail', [])->{json}{detail}, qr/\S/, 'without words of its own: those of its status');
    is($client->call('example.sum', ['x'])->{json}{detail}, 'argument 1 is not a number',
       'arguments that the function does not take');
};

subtest 'reply accepted is answered at once, and the call runs' => sub {
    my ($id, $start) = (make_id(), time);
    my $body = $client->call_body('runlog.sleep', [1], reply => 'accepted');
    my $answer = $client->post($body, id => $id);
    is($answer->{status}, 202, 'status');
    cmp_ok(time - $start, '<', 0.9, 'before the function ended');
    ok($answer->{signed}, 'signed');
    is_deeply($answer->{json}, {id => $id, node => 'one', outcome => 'pending'}, 'answer');
    eventually { runs($id) == 1 } 10, 'it runs';
    eventually { $answer = $client->post($body, id => $id); $answer->{json}{outcome} ne 'pending' } 10, 'it ends';
    is_deeply($answer->{json}, {id => $id, node => 'one', outcome => 'ok', result => 1.0, duplicate => JSON::PP::true},
              'who asks again with its id is told how');
    is($answer->{status}, 200, 'with 200');
    is(runs($id), 1, 'it ran once');
};

subtest 'reply local waits for the run' => sub {
    my $start = time;
    my $answer = $client->call('example.sleep', [0.3], reply => 'local');
    is($answer->{json}{result}, 0.3, 'result');
    cmp_ok(time - $start, '>=', 0.3, 'time');
};

subtest 'an origin outside of the set accepts the call and does not run it' => sub {
    my $id = make_id();
    my $answer = $client->call('runlog.note', [], id => $id, nodes => 'others');
    is($answer->{status}, 200, 'status');
    is_deeply($answer->{json}, {id => $id, node => 'one', outcome => 'accepted'}, 'answer');
    $id = make_id();
    is($client->call('runlog.note', [], id => $id, nodes => 'others', reply => 'accepted')->{status}, 202, 'accepted');
    my $inside = $client->call('runlog.note', [], nodes => 'solo');
    is($inside->{json}{outcome}, 'ok', 'inside of the set it runs');
    is(runs($id), 0, 'the other one still did not');
};

subtest 'each member has its bounds' => sub {
    my %taken = (id => [], reply => ['local', 'accepted', 'all'], nodes => ['all', 'solo'], timeout => [0.001, 1, 86400],
                 ttl => [1, 86400], mode => ['bounce', 'broadcast', 'tree', 'tree:2', 'tree:10000']);
    my %refused = (id => ['other', '', 1, undef], reply => ['later', 'ALL', '', 1, undef, ['local']],
                   nodes => ['', 'a b', 1, undef],
                   timeout => [0, -1, 86401, '1', JSON::PP::true, undef], ttl => [0, -1, 1.5, 86401, '1', undef],
                   mode => ['ring', 'Tree', 'tree:', 'tree:0', 'tree:1', 'tree:10001', 'tree:02', 'tree:-2', 'tree:2x', '', 3,
                            undef],
                   args => [{}, 'x', undef], kwargs => [[], 'x', undef], function => [undef, 1, ['runlog.note']]);
    for my $name (sort keys %refused) {
        my %call = (function => 'runlog.note', args => []);
        for my $value (@{$taken{$name} // []}) {
            my $id = make_id();
            is($client->post(json({%call, $name => $value}), id => $id)->{status}, $value eq 'accepted' ? 202 : 200,
               "$name " . json($value));
            eventually { return runs($id) } 10, 'and it runs';
        }
        is_refused(400, "$name " . json($_), json({%call, $name => $_})) for @{$refused{$name}};
    }
    my $id = make_id();
    is($client->call('runlog.note', [], id => $id, member => {id => $id})->{status}, 200, 'id that equals webhook-id');
    is_refused(400, 'no function', '{"args":[]}');
    for my $unlisted (qw(arg Function callback origin seq), '') {
        is_refused(400, "member $unlisted", $client->call_body('runlog.note', [], member => {$unlisted => 1}));
    }
};

subtest 'what this node does not have is refused, and nothing is remembered' => sub {
    for my $name (qw(no.such runlog runlog.note. RUNLOG.NOTE serviceless.nothing)) {
        ok(is_refused(404, "function $name", $client->call_body($name, []))->{signed}, "function $name: signed");
    }
    is_refused(400, 'an unknown set', $client->call_body('runlog.note', [], nodes => 'nowhere'));
};

subtest 'the endpoint is where the handler is set, whatever is on disk there' => sub {
    my $answer = $client->post($client->call_body('runlog.note', []), path => '/nowhere/on/disk/serviceless');
    is($answer->{status}, 200, 'in a directory that does not exist');
    is($client->post($client->call_body('runlog.note', []), path => '/serviceless?x=1')->{status}, 200, 'with a query');
    is_refused(404, "path $_", $client->call_body('runlog.note', []), path => $_)
        for qw(/serviceless/ /serviceless/below /serviceless/below/serviceless /serviceless/.;/ /nowhere/on/disk/serviceless/x);
};

subtest 'no output filter and no ErrorDocument touches an answer' => sub {
    my $filtered = client(port => port_of('filtered'));
    my @more = (more => ['Accept-Encoding: gzip, deflate']);
    like($filtered->get('/index.html')->{body}, qr/w3lcom3 to/, 'a file in this virtual host is altered');
    my $packed = $filtered->exchange("GET /index.html HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n");
    is($packed->{headers}{'content-encoding'}, 'gzip', 'and compressed');
    is($filtered->get('/missing')->{body}, 'replaced', 'and has its own pages for errors');
    my $answer = $filtered->post($filtered->call_body('example.echo', ['eeee' x 1000]), @more);
    is($answer->{status}, 200, 'a call');
    ok($answer->{signed}, 'its answer is what was signed');
    is($answer->{headers}{'content-encoding'}, undef, 'and not encoded');
    is($answer->{json}{node}, 'one', 'a virtual host without nodes of its own has the main server\'s node');
    my %refusals = (400 => ['{'], 401 => ['{}', unsigned => 1],
                    403 => [$client->call_body('runlog.note', []), secret => keys_of('peer')],
                    404 => [$client->call_body('no.such', [])], 405 => ['{}', method => 'PUT'],
                    413 => [' ' x 70_000], 415 => ['{}', type => 'text/plain']);
    is_refused($_, 'the same there', $refusals{$_}[0], client => client(port => port_of('filtered')),
               port => $client->{port}, @more,
               splice @{$refusals{$_}}, 1)
        for sort keys %refusals;
};

ok(server_lives(), 'the server lives');

done_testing;
