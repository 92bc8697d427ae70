# SPDX-License-Identifier: Apache-2.0
# What goes to other nodes: lines byte for byte, routes without their first node, and only to configured places.  The test plays
# node four.
use strict;
use warnings;
use Client qw(fingerprint json make_id);
use OneServer;
use Played;
use Poll;
use Test::More;

my $client = client();
my $four = Played->new(name => 'four', port => $ENV{SVL_PLAYED_PORT}, secret => keys_of('main'));
my $epoch = sprintf '%016x', time * 1000 + $$;
my $number = 0;

# The request to node four that holds this call, or nothing.
sub request_with {
    my ($id) = @_;
    return (grep { $_->{body} =~ /"id"\s*:\s*"\Q$id\E"/ } @{$four->{requests}})[0];
}

sub counts_as_up {
    return $client->get('/serviceless-status?format=prometheus')->{body} =~ /^serviceless_peer_up\{[^}]*peer="four"[^}]*\} 1$/m;
}

# Serves until node one takes node four for living: it was down as long as nobody listened.
sub come_up {
    my $end = time + 30;
    while (time < $end) {
        if (counts_as_up()) {
            my $id = make_id();
            $client->call('runlog.note', ['up?'], id => $id, mode => 'broadcast');
            return 1 if $four->serve(5, sub { request_with($id) });
        }
        $client->relay('four', [], []); # who is heard of is asked at once
        $four->serve(3, sub { $four->{requests}[-1]{body} !~ /"id"/ });
        poll { counts_as_up() } 1;
    }
    return 0;
}

# A call line of node two as text, as nobody here would write it.
sub odd_line {
    my ($id) = @_;
    return qq({ "x-new":[1.50,{"k":null}], "id" : "$id", "function":"runlog.note","args":[1e2,-0.0,"\\u0041\\/",12345678901234567],)
        . qq( "kwargs":{"b":1,"a":2},"origin":"two","set":"all","epoch":"$epoch","seq":@{[++$number]},)
        . qq("issued":@{[time * 1000]},"ttl":600 });
}

ok(come_up(), 'a node that begins to listen is found') or BAIL_OUT('node four cannot be played');

subtest 'a call of a client becomes a line' => sub {
    my $id = make_id();
    is($client->post('{"kwargs":{"z":1,"y":[2.0]},"args":["/a",3],"function":"runlog.note","mode":"broadcast","ttl":77}',
                     id => $id)->{status}, 200,
       'a call');
    my $request = $four->serve(10, sub { request_with($id) }) or return fail('it comes');
    is("$request->{method} $request->{path}", 'POST /serviceless', 'method and path');
    is($request->{headers}{'content-type'}, 'application/x-ndjson', 'content type');
    ok($request->{signed}, 'signed by the first key that may relay');
    like($request->{headers}{'webhook-id'}, qr/^[A-Za-z0-9_-]{1,64}\z/, 'under an id of its own');
    isnt($request->{headers}{'webhook-id'}, $id, 'which is not the call\'s');
    is($request->{headers}{'webhook-key'}, fingerprint(keys_of('main')), 'with the fingerprint of that key, and no more of it');
    my ($relay, $line) = split /\n/, $request->{body};
    is($relay, '{"relay":{"from":"one","route":[],"arity":0}}', 'the relay line');
    like($line, qr/^\{"id":"\Q$id\E","function":"runlog\.note","args":\["\/a",3\],"kwargs":\{"z":1,"y":\[2\.0\]\},
         "origin":"one","set":"all","epoch":"[0-9a-f]{16}","seq":\d+,"issued":\d{13},"ttl":77\}\z/x, 'the call line');
};

subtest 'a line of another node is passed on byte for byte' => sub {
    for my $arity (0, 1, 7) {
        my $id = make_id();
        my $line = odd_line($id);
        my $ack = $client->relay('two', ['three', 'four'], [$line], arity => $arity);
        is($ack->{json}{accepted}, 1, "arity $arity: accepted");
        my $request = $four->serve(10, sub { request_with($id) }) or return fail('it comes');
        my ($relay, @lines) = split /\n/, $request->{body};
        is($relay, qq({"relay":{"from":"one","route":[],"arity":$arity}}), 'with the arity that it came with');
        is($lines[0], $line, 'and not a byte changed');
        eventually { return runs($id) } 10, 'it runs here as well';
    }
};

subtest 'what is refused or known already goes nowhere' => sub {
    my ($known, $marker) = (make_id(), make_id());
    my $line = odd_line($known);
    $client->relay('two', ['four'], [$line]);
    $four->serve(10, sub { request_with($known) }) or return fail('a call comes with its route');
    my @refused = (odd_line(make_id()) =~ s/runlog\.note/..\//r, odd_line(make_id()) =~ s/"all"/"nowhere"/r, '{"id":');
    my $ack = $client->relay('two', ['four'], [$line, @refused, odd_line($marker)]);
    is_deeply([@{$ack->{json}}{qw(accepted duplicates)}], [1, 1], 'one is new, one is a duplicate, the rest is refused');
    my $request = $four->serve(10, sub { request_with($marker) }) or return fail('the new one comes');
    is(scalar(split /\n/, $request->{body}), 2, 'alone');
    $ack = $client->relay('two', ['four'], [$line]);
    is($ack->{json}{duplicates}, 1, 'the duplicate once more');
    my $last = make_id();
    $client->call('runlog.note', [], id => $last, mode => 'broadcast');
    ok($four->serve(10, sub { request_with($last) }), 'a later call comes');
    is(scalar(grep { $_->{body} =~ /$known/ } @{$four->{requests}}), 1, 'the duplicate never: that is how loops end');
};

subtest 'a set is where a call goes' => sub {
    my ($solo, $others, $all) = map { make_id() } 1 .. 3;
    $client->call('runlog.note', [], id => $solo, nodes => 'solo', mode => 'broadcast');
    $client->call('runlog.note', [], id => $others, nodes => 'others', mode => 'broadcast');
    $client->call('runlog.note', [], id => $all, mode => 'bounce');
    ok($four->serve(10, sub { request_with($all) }), 'the set all: node four as well');
    ok(!request_with($_->[1]), "the set $_->[0]: not") for [solo => $solo], [others => $others];
};

# The words of the log after node four answered a call in this way.
sub log_after {
    my ($answer) = @_;
    come_up() or return 'node four did not come up';
    my ($from, $id) = (length error_log(), make_id());
    $four->answer_with($answer);
    $client->call('runlog.note', [], id => $id, mode => 'broadcast');
    $four->serve(10, sub { request_with($id) });
    my $words = poll(sub { error_log($from) =~ /(node four (?:is down|refused)[^\n]*)/ && $1 }, 10);
    $four->answer_with(undef);
    return $words || 'nothing';
}

subtest 'an answer that is not signed as it must be acknowledges nothing' => sub {
    my %bad = (unsigned => {unsigned => 1}, 'signed by a key that may not relay' => {secret => keys_of('caller')},
               'signed by a stranger' => {secret => keys_of('other')}, 'for another request' => {id => make_id() . ':four'},
               'of another node' => {name => 'two'}, 'without the name' => {id => 'x'}, 'empty' => {body => ''},
               'garbage' => {body => '{'},
               'a redirect' => {status => '302 Found', headers => ['Location: http://127.0.0.1:9/serviceless']},
               'an answer to nothing' => {status => '204 No Content'});
    for my $name (sort keys %bad) {
        like(log_after(sub { $four->acknowledgement($_[0], %{$bad{$name}}) }), qr/is down \((?:unsigned|broken)\)/,
             "$name: the node counts as down");
    }
    like(log_after(sub { 'HTTP/1.1 200 OK' . "\r\nX: " . 'y' x 200_000 }), qr/is down \(broken\)/, 'endless headers');
    like(log_after(sub { "HTTP/1.1 200 OK\r\nContent-Length: 9999999999\r\n\r\n" . 'y' x 500_000 }), qr/is down \(broken\)/,
         'an endless body');
    like(log_after(sub { 'SSH-2.0-x' . "\r\n" }), qr/is down \(broken\)/, 'no HTTP at all');
    like(log_after(sub { $four->acknowledgement($_[0], status => '503 Busy') }), qr/is down \(unavailable\)/, '503: as well');
    like(log_after(sub { $four->acknowledgement($_[0], status => '401 No', unsigned => 1) }),
         qr/refused a message: it answered 401; compare keys/,
         '401: it refused, and lives');
    my %advice = ('403 Forbidden' => qr/ 403; does its `Require` let this node in/, '404 Not Found' => qr/ 404; is the handler set/);
    for my $status (sort keys %advice) {
        my $told = time;
        poll(sub { time > $told + 1 }, 10); # one line a second
        like(log_after(sub { $four->acknowledgement($_[0], status => $status, unsigned => 1) }), qr/refused a message: it answered$advice{$status}/,
             "$status: and what to look at");
    }
    ok(come_up(), 'it is taken back');
};

ok(server_lives(), 'the server lives');

done_testing;
