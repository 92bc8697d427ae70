# SPDX-License-Identifier: Apache-2.0
# Threat 4: the same request again, at once, later, after a graceful restart, to another child: 200 with the first outcome, and nothing
# runs.
use strict;
use warnings;
use Client qw(make_id);
use OneServer;
use Poll;
use Test::More;

my $client = client();

subtest 'threat 4: the same request again: the first outcome, marked, and nothing runs' => sub {
    my $id = make_id();
    my $message = $client->message($client->call_body('runlog.note', ['a', 1], kwargs => {k => 2.5}), id => $id);
    my $first = client()->exchange($message, id => $id);
    is_deeply($first->{json}, {id => $id, node => 'one', outcome => 'ok', result => ['a', 1]}, 'the first answer');
    settle();
    my $stored = stored();
    for my $time ('at once', 'and again') {
        my $answer = client()->exchange($message, id => $id);
        is($answer->{status}, 200, "$time: status");
        ok($answer->{signed}, "$time: signed");
        is_deeply($answer->{json}, {%{$first->{json}}, duplicate => JSON::PP::true}, "$time: the first outcome, marked");
    }
    is($client->call('runlog.note', ['a', 1], id => $id, kwargs => {k => 2.5})->{json}{duplicate}, JSON::PP::true,
       'signed afresh: the same');
    is($client->call('runlog.note', ['a', 1], id => $id, kwargs => {k => 2.5}, reply => 'accepted')->{status}, 200,
       'with reply accepted: 200 as well');
    ok($stored eq stored(), 'the log is unchanged');
    is(runs($id), 1, 'it ran once');
};

subtest 'threat 4: whichever process is asked' => sub {
    my $id = make_id();
    my $message = $client->message($client->call_body('runlog.note', []), id => $id);
    my @answers = map { client()->exchange($message, id => $id) } 1 .. 40;
    is(scalar(grep { $_->{status} == 200 && $_->{json}{outcome} eq 'ok' } @answers), 40, 'each is told the outcome');
    is(scalar(grep { $_->{json}{duplicate} } @answers), 39, 'all but the first as a duplicate');
    is(runs($id), 1, 'it ran once');
};

subtest 'threat 4: the same request 64 times at once runs once' => sub {
    for my $reply (qw(local accepted)) {
        my $id = make_id();
        my $message = $client->message($client->call_body('runlog.note', ['at once'], reply => $reply), id => $id);
        my @answers = at_once($id, ($message) x 64);
        is(scalar(grep { $_->{signed} && $_->{status} =~ /^20[02]$/ } @answers), 64, "$reply: each is answered");
        is(scalar(grep { !$_->{json}{duplicate} } @answers), 1, "$reply: one of them as the first");
        is(scalar(grep { $_->{json}{outcome} !~ /^(?:ok|pending)$/ } @answers), 0,
           "$reply: with the outcome, or that there is none yet");
        eventually { return runs($id) } 10, "$reply: it runs";
        is(client()->exchange($message, id => $id)->{json}{duplicate}, JSON::PP::true, "$reply: and is known");
        is(runs($id), 1, "$reply: one run");
    }
};

subtest 'threat 4: a graceful restart forgets nothing' => sub {
    my $id = make_id();
    my $message = $client->message($client->call_body('runlog.note', ['kept']), id => $id);
    my $before = client()->exchange($message, id => $id);
    my $long = make_id();
    my $running = client();
    $running->begin($client->message($client->call_body('runlog.sleep', [1], reply => 'local'), id => $long), id => $long);
    eventually { return runs($long) } 10, 'a call runs';
    restart_gracefully();
    is($running->finish->{json}{outcome}, 'ok', 'the call that ran meanwhile is answered');
    for (1 .. 10) {
        my $answer = client()->exchange($message, id => $id);
        is_deeply($answer->{json}, {%{$before->{json}}, duplicate => JSON::PP::true}, 'the first outcome, marked');
    }
    is(runs($id), 1, 'it ran once');
    is($client->call('runlog.sleep', [1], id => $long)->{json}{duplicate}, JSON::PP::true,
       'and the other call is known as well');
    is(runs($long), 1, 'it ran once too');
};

ok(server_lives(), 'the server lives');

done_testing;
