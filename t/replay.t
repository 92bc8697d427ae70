# SPDX-License-Identifier: Apache-2.0
# An id is one call for ever: the same content again is told the outcome and runs nothing, other content is refused.
use strict;
use warnings;
use Apache::Test ();
use Client qw(make_id sign);
use OneServer;
use Poll;
use Test::More;
use Time::HiRes qw(time);

my $client = client();

# Sends the same bytes over $count connections at once; returns the answers.
sub at_once {
    my ($id, @messages) = @_;
    my @clients = map { client() } @messages;
    $clients[$_]->begin($messages[$_], id => $id) for 0 .. $#clients;
    return map { $_->finish } @clients;
}

subtest 'the same request again: the first outcome, marked, and nothing runs' => sub {
    my $id = make_id();
    my $message = $client->message($client->call_body('runlog.note', ['a', 1], kwargs => {k => 2.5}), id => $id);
    my $first = client()->exchange($message, id => $id);
    is_deeply($first->{json}, {id => $id, node => 'one', outcome => 'ok', result => ['a', 1]}, 'the first answer');
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
    is(runs($id), 1, 'it ran once');
};

subtest 'whichever process is asked' => sub {
    my $id = make_id();
    my $message = $client->message($client->call_body('runlog.note', []), id => $id);
    my @answers = map { client()->exchange($message, id => $id) } 1 .. 40;
    is(scalar(grep { $_->{status} == 200 && $_->{json}{outcome} eq 'ok' } @answers), 40, 'each is told the outcome');
    is(scalar(grep { $_->{json}{duplicate} } @answers), 39, 'all but the first as a duplicate');
    is(runs($id), 1, 'it ran once');
};

subtest 'every kind of outcome is remembered' => sub {
    my %calls = (error => [$client->call_body('runlog.fail', ['the words'])],
                 accepted => [$client->call_body('runlog.note', [], nodes => 'others')],
                 'ok, null' => [$client->call_body('caller.nothing', [])]);
    for my $name (sort keys %calls) {
        my $id = make_id();
        my ($first, $second) = map { $client->post($calls{$name}[0], id => $id) } 1, 2;
        is($first->{json}{outcome}, $name =~ s/,.*//r, "$name: outcome");
        is_deeply($second->{json}, {%{$first->{json}}, duplicate => JSON::PP::true}, "$name: the same again");
    }
};

subtest 'while it runs, the answer is pending' => sub {
    my $id = make_id();
    my $message = $client->message($client->call_body('runlog.sleep', [1.5]), id => $id);
    my $running = client();
    $running->begin($message, id => $id);
    eventually { return runs($id) } 10, 'it runs';
    my $answer = client()->exchange($message, id => $id);
    is_deeply($answer->{json}, {id => $id, node => 'one', outcome => 'pending', duplicate => JSON::PP::true},
              'another one is not made to wait');
    is($running->finish->{json}{result}, 1.5, 'the first one gets its result');
    is(client()->exchange($message, id => $id)->{json}{result}, 1.5, 'and so does who asks then');
    is(runs($id), 1, 'it ran once');
};

subtest 'content is compared as values' => sub {
    my $id = make_id();
    my $body = sub { return '{"function":"runlog.note","args":[' . $_[0] . ']}' };
    is($client->post($body->('{"a":1,"b":[true,2.0]}'), id => $id)->{status}, 200, 'first');
    my @same = ($body->('{"b":[true,2.0],"a":1}'), $body->(' { "b" : [ true , 2.00 ] , "\u0061" : 1 } '),
                '{"args":[{"a":1,"b":[true,0.2e1]}],"function":"runlog.note","kwargs":{}}',
                '{"function":"runlog.note","args":[{"a":1,"b":[true,2.0]}],"mode":"broadcast","ttl":5,"timeout":1,"nodes":"all"}');
    is($client->post($_, id => $id)->{json}{duplicate}, JSON::PP::true, "the same: $_") for @same;
    my @other = ($body->('{"a":1.0,"b":[true,2.0]}'), $body->('{"a":1,"b":[true,2]}'), $body->('{"a":1,"b":[1,2.0]}'),
                 $body->('{"a":"1","b":[true,2.0]}'), $body->('{"a":1,"b":[2.0,true]}'), $body->('{"a":1}'),
                 $body->('{"a":1,"b":[true,2.0]},null'), $body->('{"A":1,"b":[true,2.0]}'), '{"function":"runlog.note"}',
                 '{"function":"runlog.fail","args":[{"a":1,"b":[true,2.0]}]}',
                 '{"function":"runlog.note","args":[{"a":1,"b":[true,2.0]}],"kwargs":{"x":null}}',
                 '{"function":"runlog.note","args":[{"a":1,"b":[true,2.0]}],"nodes":"solo"}');
    for (@other) {
        my $answer = $client->post($_, id => $id);
        is_problem($answer, 409, "other: $_");
        ok($answer->{signed}, 'signed');
    }
    is($client->post($same[0], id => $id)->{json}{duplicate}, JSON::PP::true, 'none of them took the place of the first');
    is(runs($id), 1, 'it ran once');
};

subtest 'the same request 64 times at once runs once' => sub {
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

subtest 'two contents for one id at once: one of them wins everywhere' => sub {
    my $id = make_id();
    my @messages = map { $client->message($client->call_body('runlog.note', [$_]), id => $id) } 'x', 'y';
    my @answers = at_once($id, (@messages) x 16);
    my @won = map { my $i = $_; scalar grep { $answers[2 * $_ + $i]{status} == 200 } 0 .. 15 } 0, 1;
    is("@{[sort { $a <=> $b } @won]}", '0 16', 'all requests of one content are answered, none of the other');
    is(scalar(grep { $_->{status} == 409 } @answers), 16, 'these are conflicts');
    is(runs($id), 1, 'one run');
};

subtest 'many ids at once: each runs once' => sub {
    my @ids = map { make_id() } 1 .. 16;
    my %answers;
    my @clients = map { my $id = $_; map { [$id, client()] } 1 .. 4 } @ids;
    $_->[1]->begin($client->message($client->call_body('runlog.note', [$_->[0]]), id => $_->[0]), id => $_->[0]) for @clients;
    push @{$answers{$_->[0]}}, $_->[1]->finish for @clients;
    is(scalar(grep { $_->{status} == 200 } map { @$_ } values %answers), 64, 'each is answered');
    is(join(' ', map { runs($_) } @ids), join(' ', (1) x 16), 'each ran once');
};

subtest 'a graceful restart forgets nothing' => sub {
    my $id = make_id();
    my $message = $client->message($client->call_body('runlog.note', ['kept']), id => $id);
    my $before = client()->exchange($message, id => $id);
    my $generations = () = error_log() =~ /resuming normal operations/g;
    my $file = Apache::Test::vars('t_pid_file');
    open my $pid, '<', $file or die "$file: $!";
    chomp(my $process = <$pid>);
    my $long = make_id();
    my $running = client();
    $running->begin($client->message($client->call_body('runlog.sleep', [1], reply => 'local'), id => $long), id => $long);
    eventually { return runs($long) } 10, 'a call runs';
    kill 'USR1', $process or die "$process: $!";
    eventually { return $generations < (() = error_log() =~ /resuming normal operations/g) } 30, 'the server restarts';
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
