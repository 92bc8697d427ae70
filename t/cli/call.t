# SPDX-License-Identifier: Apache-2.0
# The command: what `call` sends, and which answers it believes.  The node is played by the test.
use strict;
use warnings;
use Client qw(fingerprint json sign);
use Command;
use JSON::PP;
use Test::More;

my $secret = 'whsec_' . 'A' x 32;
my $caller = 'whsec_' . 'B' x 32;
my $keys = key_file("main $secret\ncaller $caller call\n");
my %answer = (node => 'a', outcome => 'ok', result => 6);

# Calls, and answers as a good node would; members replace those of the answer.
sub call_with {
    my ($words, %members) = @_;
    return command(['call', @$words], key_file => $keys, answer => sub {
        my ($request) = @_;
        my $body = json({id => $request->{headers}{'webhook-id'}, %answer, %members});
        return signed_response(200, $body, $request, $secret);
    });
}

# Calls, and answers with what the sub returns.
sub call_against {
    my ($answer, @words) = @_;
    return command(['call', 'f', @words], key_file => $keys, answer => $answer);
}

subtest 'the request is a signed call' => sub {
    my $run = call_with(['cache.purge', '/a', 3]);
    my $request = $run->{request};
    my ($id, $timestamp, $signature) = @{$request->{headers}}{qw(webhook-id webhook-timestamp webhook-signature)};
    is($request->{line}, 'POST /serviceless HTTP/1.1', 'line');
    is($request->{headers}{'content-type'}, 'application/json', 'content type');
    is($signature, sign($secret, $id, $timestamp, $request->{body}), 'signature');
    is($request->{headers}{'webhook-key'}, fingerprint($secret), 'fingerprint of its key');
    cmp_ok(abs(time - $timestamp), '<=', 5, 'timestamp');
    is_deeply($request->{json}, {function => 'cache.purge', args => ['/a', 3], kwargs => {}}, 'document');
};

subtest 'arguments: JSON is JSON, else a string; NAME=TEXT is text, NAME:=JSON is JSON' => sub {
    my @strange = ('/a?x=1', 'http://h/?a=b', '=x', '1a=2', 'a.b=c', 'a-b=c'); # what only looks like NAME=TEXT
    my @cases = (
        [['1', '-2', '2.5', '-.5', 'true', 'null'], [1, -2, 2.5, '-.5', JSON::PP::true, undef], {}],
        [['[1,{"a":2}]', '"x"', '"a=b"', 'word', ''], [[1, {a => 2}], 'x', 'a=b', 'word', ''], {}],
        [['01', 'NaN', '1e400', '{"a":1,"a":2}'], ['01', 'NaN', '1e400', '{"a":1,"a":2}'], {}],
        [[@strange], [@strange], {}],
        [['url=http://h/?a=b', 'n=1', 'empty='], [], {url => 'http://h/?a=b', n => '1', empty => ''}],
        [['n:=1', 'l:=[1]', 'text:="x"', '_a1:=null'], [], {n => 1, l => [1], text => 'x', _a1 => undef}],
        [['--', '--mode', '-x', 'a=1'], ['--mode', '-x'], {a => '1'}],
        [["\xc3\xa9", "k=\xe2\x98\xba"], ["\x{e9}"], {k => "\x{263a}"}],
    );
    for (@cases) {
        my ($words, $args, $kwargs) = @$_;
        my $run = call_with(['f', @$words]);
        is($run->{status}, 0, "@$words: status") or diag($run->{err});
        is_deeply($run->{request}{json}{args}, $args, 'args');
        is_deeply($run->{request}{json}{kwargs}, $kwargs, 'kwargs');
    }
    my $large = '9007199254740993';
    like(call_with(['f', $large, "n:=$large"])->{request}{body}, qr/\[$large\].*:$large\}/, 'no digit is lost');
    like(call_with(['f', 'n=1'])->{request}{body}, qr/"n":"1"/, 'text stays text');
};

subtest 'options become members of the document, and nothing else does' => sub {
    my %cases = (
        '--all' => {reply => 'all'},
        '--accepted' => {reply => 'accepted'},
        '--nodes eu --mode tree:5' => {nodes => 'eu', mode => 'tree:5'},
        '--all --timeout 2' => {reply => 'all', timeout => 2},
        '--all --timeout 0.25' => {reply => 'all', timeout => 0.25},
        '--timeout 9' => {},
    );
    for my $words (sort keys %cases) {
        my $run = call_with(['f', split ' ', $words]);
        is_deeply($run->{request}{json}, {function => 'f', args => [], kwargs => {}, %{$cases{$words}}}, $words);
    }
    is(call_with(['f', '--id', 'my-id_1'])->{request}{headers}{'webhook-id'}, 'my-id_1', '--id');
    my $request = call_with(['f', '--key', 'caller'])->{request};
    my ($id, $timestamp, $signature) = @{$request->{headers}}{qw(webhook-id webhook-timestamp webhook-signature)};
    is($signature, sign($caller, $id, $timestamp, $request->{body}), '--key');
};

subtest 'a URL without a path gets the default one' => sub {
    for (['', '/serviceless'], ['/', '/serviceless'], ['/api/nodes', '/api/nodes'], ['/x/', '/x/']) {
        my ($path, $expected) = @$_;
        my $run = command(['call', 'f'], key_file => $keys, path => $path, answer => sub { response(404, '{}') });
        is($run->{request}{line}, "POST $expected HTTP/1.1", "'$path'");
    }
};

subtest 'the answer: a table for people, JSON for programs, the status for scripts' => sub {
    my $run = call_with(['f']);
    is($run->{status}, 0, 'ok is 0');
    my $id = $run->{request}{headers}{'webhook-id'};
    like($run->{out}, qr/^ID +NODE  OUTCOME  RESULT\n\Q$id\E +a     ok       6\n\z/, 'table');
    $run = call_with(['f', '--json']);
    is_deeply(decode_json($run->{out}), {id => $run->{request}{headers}{'webhook-id'}, %answer}, 'JSON');
    $run = call_with(['f'], outcome => 'error', result => undef, detail => 'no such cache');
    is($run->{status}, 1, 'an error is 1');
    $run = call_with(['f'], outcome => 'pending');
    is($run->{status}, 1, 'pending is 1');
    is(call_with(['f', '--accepted'], outcome => 'pending')->{status}, 0, 'unless that is what was asked for');
    is(call_with(['f'], outcome => 'accepted')->{status}, 0, 'a node that is not in the set: 0');
    like(call_with(['f'], duplicate => JSON::PP::true)->{out}, qr/nothing ran again/, 'a duplicate is told');
};

subtest 'a result with words: both, unless the result is what cannot be told' => sub {
    my $words = '1 of 6 children have run it so far';
    my @cases = (['v1', $words, qq("v1" ($words))], [undef, 'too large', 'too large'], [0, 'x', '0 (x)']);
    for (@cases) {
        my ($result, $detail, $shown) = @$_;
        my %told = (outcome => 'ok', result => $result, detail => $detail);
        like(call_with(['f'], %told)->{out}, qr/ ok       \Q$shown\E$/m, "$shown: one node");
        like(call_with(['f', '--all'], outcomes => {a => \%told})->{out}, qr/ ok +\Q$shown\E$/m, "$shown: all");
    }
};

subtest 'milliseconds: three decimals below one, else one' => sub {
    my %shown = (0.004 => '0.004', 0 => '0.000', 0.999 => '0.999', 1 => '1.0', 1234.56 => '1234.6');
    for my $ms (sort keys %shown) {
        like(call_with(['f', '--all'], outcomes => {a => {outcome => 'ok', result => 7, ms => 0 + $ms}})->{out}, qr/ \Q$shown{$ms}\E +7$/m, "$ms ms");
    }
};

subtest 'what has not ended everywhere: the id of the call, and how to find out' => sub {
    my @cases = (
        [[qw(ok error)], ''],
        [[qw(ok pending)], '1 node has not ended it yet'],
        [[qw(unreachable unreachable)], '2 nodes have not ended it yet; they get it when they can be reached'],
        [[qw(unreachable pending)], '2 nodes have not ended it yet; 1 of them gets it when it can be reached'],
        [[qw(unknown)], '1 node has not told its end yet'],
        [[qw(unreachable unknown pending)], '3 nodes have not told its end yet; 1 of them gets it when it can be reached'],
    );
    for (@cases) {
        my ($outcomes, $words) = @$_;
        my %told = map { ("n$_" => {outcome => $outcomes->[$_]}) } 0 .. $#$outcomes;
        my $run = call_with(['f', '--all', '--id', 'x1'], outcomes => \%told);
        is($run->{err}, $words && "call x1: $words. See: serviceless outcome x1\n", "@$outcomes");
        is(call_with(['f', '--all', '--json'], outcomes => \%told)->{err}, '', "@$outcomes: not with --json");
    }
};

subtest 'outcomes of several nodes: one row each, and 1 when one is not ok' => sub {
    my %outcomes = (a => {outcome => 'ok', result => 6, ms => 0.12},
                    bb => {outcome => 'unreachable', detail => 'connection refused'});
    my $run = call_with(['f', '--all'], outcomes => \%outcomes);
    is($run->{status}, 1, 'status');
    like($run->{out}, qr/^a     ok           0\.120  6$/m, 'the one');
    like($run->{out}, qr/^bb    unreachable         connection refused$/m, 'the other');
    $outcomes{$_} = {outcome => 'ok'} for qw(n10 n9 n1 n2b n2a10 n2a9 n02 n2);
    my @names = map { /^(\S+)/ } (split /\n/, call_with(['f', '--all'], outcomes => \%outcomes)->{out})[1 .. 10];
    is("@names", 'a bb n1 n02 n2 n2a9 n2a10 n2b n9 n10', 'in the order that people count in');
    delete @outcomes{grep { $_ ne 'a' } keys %outcomes};
    is(call_with(['f', '--all'], outcomes => \%outcomes)->{status}, 0, 'all ok is 0');
    for (['none', {}], ['no object', {outcomes => [1]}], ['one that is none', {outcomes => {a => {result => 1}}}]) {
        my ($name, $members) = @$_;
        $run = call_with(['f', '--all'], %$members);
        is("$run->{status} $run->{out}", '3 ', "$name: not believed");
        like($run->{err}, qr/^serviceless: the answer of http\S+ (?:does not tell the outcomes of all nodes|lacks the outcome of node a)/, "$name: words");
    }
};

subtest 'what a terminal would obey is shown, not sent to it' => sub {
    my $evil = "\e]0;x\a\r\n\x{7f}\x{9b}31m\x{202e}\x{263a}";
    my $run = call_with(['f'], outcome => 'error', result => undef, detail => $evil);
    like($run->{out}, qr/\\x1b\]0;x\\x07\\x0d\\x0a\\x7f\\xc2\\x9b31m\\xe2\\x80\\xae\xe2\x98\xba$/m, 'in the table');
    $run = call_with(['f', '--json'], result => $evil);
    unlike($run->{out}, qr/[\x00-\x09\x0b-\x1f\x7f]|\xc2[\x80-\x9f]|\xe2\x80\xae/, 'in JSON');
    is(decode_json($run->{out})->{result}, $evil, 'which still says the same');
};

subtest 'a refusal is 3, with its words' => sub {
    my $problem = sub {
        my ($status, $title, $detail) = @_;
        return response($status, json({type => 'about:blank', title => $title, status => $status, detail => $detail}),
                        'Content-Type: application/problem+json');
    };
    my $run = call_against(sub { $problem->(503, 'Service Unavailable', 'too many calls wait') }, '--all');
    is($run->{status}, 3, '503: status');
    like($run->{err}, qr/answered 503 Service Unavailable: too many calls wait$/m, '503: words');
    $run = call_against(sub { $problem->(409, "Conf\elict", "a\nb") });
    is($run->{status}, 3, '409: status');
    like($run->{err}, qr/answered 409 Conf\\x1blict: a\\x0ab$/m, '409: words, escaped');
    like(call_against(sub { $problem->(401, 'Unauthorized', 'x') })->{err}, qr/error log says why/, '401: where to look');
    my $path = 'is this the path';
    for (['<html>', 404, $path], ['[1]', 302, $path], ['', 500, $path], ['<html>', 403, 'does the node.s `Require` let']) {
        my ($body, $status, $words) = @$_;
        $run = call_against(sub { response($status, $body) });
        is($run->{status}, 3, "$status without a problem document: status");
        like($run->{err}, qr/answered $status and no reason: $words/, "$status: words");
    }
};

subtest 'an answer that no node signed is not believed' => sub {
    my $ok = sub { json({id => $_[0]{headers}{'webhook-id'}, %answer}) };
    my %answers = (
        'not signed' => sub { response(200, $ok->($_[0])) },
        'signed by a stranger' => sub { signed_response(200, $ok->($_[0]), $_[0], 'whsec_' . 'C' x 32) },
        'signed by another client\'s key' => sub { signed_response(200, $ok->($_[0]), $_[0], $caller) },
        'signed for another call' => sub { signed_response(200, $ok->($_[0]), $_[0], $secret, id => 'other:a') },
        'the request\'s own signature' => sub {
            my ($request) = @_;
            return signed_response(200, $request->{body}, $request, $secret, id => $request->{headers}{'webhook-id'});
        },
        'signed by another node than it says' => sub { signed_response(200, $ok->($_[0]), $_[0], $secret, node => 'b') },
        'of a strange node' => sub { signed_response(200, $ok->($_[0]), $_[0], $secret, node => 'a/b') },
        'signed an hour ago' => sub { signed_response(200, $ok->($_[0]), $_[0], $secret, timestamp => int(time) - 3600) },
        'changed on the way' => sub { signed_response(200, $ok->($_[0]), $_[0], $secret) =~ s/"ok"/"OK"/r },
        'another id' => sub { signed_response(200, json({%answer, id => 'x'}), $_[0], $secret) },
        'signed, no JSON' => sub { signed_response(200, 'ok', $_[0], $secret) },
        'signed, no object' => sub { signed_response(200, '[]', $_[0], $secret) },
    );
    for my $name (sort keys %answers) {
        my $run = call_against($answers{$name});
        is($run->{status}, 3, "$name: status");
        like($run->{err}, qr/^serviceless: the answer of http/, "$name: words");
        is($run->{out}, '', "$name: nothing shown");
    }
    like(call_against($answers{'not signed'})->{err}, qr/is not signed: it is not a node's/, 'not signed: says so');
};

subtest 'a client with a key of its own believes an answer signed with it' => sub {
    my $run = command(['call', 'f'], key_file => key_file("caller $caller\n"), answer => sub {
        my ($request) = @_;
        return signed_response(200, json({id => $request->{headers}{'webhook-id'}, %answer}), $request, $caller);
    });
    is($run->{status}, 0, 'status') or diag($run->{err});
};

subtest 'no whole answer: the call may have been accepted, and how to find out' => sub {
    for (['no answer', sub { '' }], ['half of one', sub { substr response(200, 'x' x 100), 0, -50 }]) {
        my ($name, $answer) = @$_;
        my $run = call_against($answer);
        is($run->{status}, 3, "$name: status");
        my $id = $run->{request}{headers}{'webhook-id'};
        like($run->{err}, qr/may have been accepted: `serviceless outcome \Q$id\E` tells, or the same call again with --id \Q$id\E,/,
             "$name: words");
    }
    my $run = call_against(sub { undef }, '--timeout', '0.2');
    is($run->{status}, 3, 'too late: status');
    like($run->{err}, qr/may have been accepted/, 'too late: words');
    $run = command(['nodes'], key_file => $keys, answer => sub { '' });
    like($run->{err}, qr/^serviceless: no whole answer from http\S+: (?!.*accepted)/, 'a question may simply be asked again');
};

subtest 'functions that every child process runs have no ON_CRASH' => sub {
    my $run = command(['functions'], key_file => $keys, answer => sub {
        my ($request) = @_;
        my @functions = map { {name => "f.$_->[0]", scope => $_->[0], nodes => 'all', mode => 'bounce', timeout => 10, on_crash => $_->[1]} }
            ['node', 'rerun'], ['child', undef];
        my %outcomes = (a => {outcome => 'ok', result => \@functions});
        return signed_response(200, json({id => $request->{headers}{'webhook-id'}, %answer, outcomes => \%outcomes}), $request, $secret);
    });
    like($run->{out}, qr/^f\.child +all nodes .* child +-$/m, 'child');
    like($run->{out}, qr/^f\.node +all nodes .* node +rerun$/m, 'node');
};

done_testing;
