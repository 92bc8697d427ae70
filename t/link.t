# SPDX-License-Identifier: Apache-2.0
# Calls over a link: a client that asks for one by a call gets its answer over it, and then one for each call that it sends; they are judged
# as requests are.  What fleets make of it is in t/cluster/links_clients.t.
use strict;
use warnings;
use Client qw(json make_id);
use JSON::PP qw(decode_json);
use Link;
use OneServer;
use Poll;
use Test::More;

my $client = client();

# A link, after the answer to the call that asked for it.
sub link_of {
    my ($key) = @_;
    my $id = 'link-' . make_id();
    my ($socket, $said) = ask_by_call($client, 'example.sum', [1, 2], id => $id, secret => keys_of($key));
    like($said, qr{\AHTTP/1\.1 101 .*^Upgrade: serviceless-link\r$}ms, "key $key gets a link");
    my ($status, $of, $body, $signed) = @{answer($socket, undef, keys_of($key))};
    is("$status $of $signed", "200 $id:one 1", 'what asked for it is answered over it, and signed');
    is(decode_json($body)->{result}, 3, 'with its result');
    return $socket;
}

# The answer to a call over a link: {status, signed, json}.
sub over {
    my ($socket, $body, %o) = @_;
    $o{id} //= make_id();
    $o{secret} //= keys_of('main');
    syswrite $socket, frame($client, $body, %o);
    my $answer = answer($socket, undef, $o{secret}) or return {status => 0};
    my ($status, $of, $text, $signed) = @$answer;
    return {status => $status, signed => $signed && $of eq "$o{id}:one", json => decode_json($text)};
}

subtest 'calls are answered as requests are' => sub {
    my $socket = link_of('main');
    for my $i (1 .. 20) {
        my $answer = over($socket, $client->call_body('example.sum', [$i, 1]));
        is("$answer->{status} $answer->{signed} $answer->{json}{result}", '200 1 ' . ($i + 1), "call $i");
    }
    my $id = make_id();
    my $note = $client->call_body('runlog.note', ['over a link']);
    is(over($socket, $note, id => $id)->{json}{outcome}, 'ok', 'a function that is told its id');
    is(over($socket, $note, id => $id)->{json}{duplicate}, JSON::PP::true, 'the same again is a duplicate');
    is($client->post($note, id => $id)->{json}{duplicate}, JSON::PP::true, 'and so by a request');
    is(runs($id), 1, 'it ran once');
    is(over($socket, $client->call_body('runlog.note', ['other']), id => $id)->{status}, 409, 'another call with that id');
    my $accepted = over($socket, $client->call_body('runlog.note', ['later'], reply => 'accepted'), id => $id = make_id());
    is("$accepted->{status} $accepted->{json}{outcome}", '202 pending', 'who waits for nothing');
    eventually { runs($id) == 1 } 20, 'it runs';
    is_deeply([sort keys %{over($socket, $client->call_body('example.sum', [1], reply => 'all', nodes => 'solo'))->{json}{outcomes}}], ['one'],
              'who waits for all');
    is(over($socket, $client->call_body('runlog.fail', ['the words']))->{json}{detail}, 'the words', 'a function that fails');
    is(over($socket, $client->call_body('example.echo', ['x' x 60_000]))->{json}{result}{args}[0], 'x' x 60_000, 'a large one');
};

subtest 'what is refused leaves the link as it is' => sub {
    my $socket = link_of('main');
    my $told = error_log();
    my %refused = ('no function' => [404, $client->call_body('no.such', [])], 'no call' => [400, '{}'], 'no JSON' => [400, 'x'],
                   'a message of a peer' => [400, json({relay => {from => 'two', route => [], arity => 1}}) . "\n"],
                   'nothing' => [400, '']);
    for my $name (sort keys %refused) {
        my ($status, $body) = @{$refused{$name}};
        my $before = rejected();
        my $answer = over($socket, $body);
        is("$answer->{status} $answer->{signed} $answer->{json}{status}", "$status 1 $status", "$name: $status");
        my $after = rejected();
        is((grep { $after->{$_} != $before->{$_} } keys %$after), 1, "$name: counted");
    }
    is(over($socket, $client->call_body('example.sum', [4]))->{json}{result}, 4, 'the link goes on');
    like(substr(error_log(), length $told), qr/SVL0151: refused: .* over a link from 127\.0\.0\.1/, 'the log has the address');
};

subtest 'permissions are those of the key that signs' => sub {
    my $socket = link_of('narrow');
    my $sum = $client->call_body('example.sum', [1]);
    my $note = $client->call_body('runlog.note', []);
    is(over($socket, $sum, secret => keys_of('narrow'))->{status}, 200, 'what it may call');
    my $answer = over($socket, $note, secret => keys_of('narrow'));
    is("$answer->{status} $answer->{signed}", '403 1', 'what it may not');
    is(over($socket, $note, secret => keys_of('main'))->{status}, 200, 'another key may');
    is(over($socket, $sum, secret => keys_of('peer'))->{status}, 403, 'a key of peers may not');
    is(over($socket, $sum, secret => keys_of('narrow'))->{status}, 200, 'the link goes on');
};

subtest 'who gets none is answered as ever' => sub {
    my $one = 'example.sum';
    my %asked = (
        'HTTP/1.0' => [200, $one, old => 1], 'another protocol' => [200, $one, more => ['Connection: Upgrade', 'Upgrade: websocket']],
        'one that a proxy passes on' => [200, $one, more => ['Upgrade: serviceless-link']],
        'a call that was not made to ask' => [200, $one, id => make_id()],
        'more than the request' => [200, $one, behind => frame($client, $client->call_body($one, [1]))],
        'no signature' => [401, $one, unsigned => 1], 'no such function' => [404, 'no.such'],
        'a key that may not call it' => [403, 'runlog.note', secret => keys_of('narrow')], 'a key of peers' => [403, $one, secret => keys_of('peer')],
    );
    for my $name (sort keys %asked) {
        my ($status, $function, @options) = @{$asked{$name}};
        like((ask_by_call($client, $function, [1], @options))[1], qr{\AHTTP/1\.[01] $status }, "$name: $status");
    }
};

subtest 'who overheard a call gets none for it' => sub {
    my $again = sub { my ($name, $id) = @_; # in whichever child
        my @said = map { (ask_by_call($client, 'example.sum', [1, 2], id => $id))[1] } 1 .. 20;
        is((grep { m{\AHTTP/1\.1 200 } } @said), 20, "$name: 200, again and again");
    };
    my $id = 'link-' . make_id();
    my ($socket, $said) = ask_by_call($client, 'example.sum', [1, 2], id => $id);
    like($said, qr{\AHTTP/1\.1 101 }, 'a call that asks');
    is(answer($socket)->[0], 200, 'gets a link');
    $again->('the same again', $id);
    $id = 'link-' . make_id();
    is(over($socket, $client->call_body('example.sum', [1, 2]), id => $id)->{status}, 200, 'a call over it, with such an id');
    $again->('that one as a request', $id);
};

subtest 'a link of peers takes no calls' => sub {
    my ($socket) = ask_for_link($client, secret => keys_of('peer'), body => json({relay => {from => 'two', route => [], arity => 1}}) . "\n");
    is(over($socket, $client->call_body('example.sum', [1]))->{status}, 400, 'a key that may do both: it is no message');
    is(over($socket, $client->call_body('example.sum', [1]), secret => keys_of('caller'))->{status}, 403, 'a key that may call: it may not relay');
};

subtest 'what is not signed, or is no frame, ends it' => sub {
    my $body = $client->call_body('runlog.note', ['x']);
    my $good = frame($client, $body);
    my %bad = ('a wrong signature' => [401, frame($client, $body, signature => 'v1,' . 'A' x 43 . '=')],
               'an old one' => [401, frame($client, $body, timestamp => int(time) - 3600)],
               'an id that is none' => [401, frame($client, $body, id => 'a.b')],
               'a line that is none' => [0, "POST /serviceless HTTP/1.1\r\n\r\n"], 'a line without an end' => [0, 'x' x 5000],
               'a body larger than may be' => [0, frame($client, 'x', length => 65_537)], 'an answer' => [0, "200 0 - - - -\n"]);
    settle();
    my ($runs, $before) = (runs(), rejected());
    for my $name (sort keys %bad) {
        my ($status, $bytes) = @{$bad{$name}};
        my $socket = link_of('main');
        syswrite $socket, $bytes;
        is(answer($socket)->[0], $status, "$name: $status") if $status;
        ends($socket, "$name ends it");
    }
    is(runs(), $runs, 'nothing ran');
    my $after = rejected();
    my %counted = map { $after->{$_} == $before->{$_} ? () : ($_ => $after->{$_} - $before->{$_}) } keys %$after;
    is_deeply(\%counted, {signature => 1, timestamp => 1, header => 4, 'body-too-large' => 1}, 'each is counted');
};

ok(server_lives(), 'the server lives');

done_testing;
