# SPDX-License-Identifier: Apache-2.0
# An id is one call for ever: what is told of it depends on how it ended, and on nothing else.  Requests that come again in malice are in
# t/threats.
use strict;
use warnings;
use Client qw(make_id);
use OneServer;
use Poll;
use Test::More;

my $client = client();

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

subtest 'many ids at once: each runs once' => sub {
    my @ids = map { make_id() } 1 .. 16;
    my %answers;
    my @clients = map { my $id = $_; map { [$id, client()] } 1 .. 4 } @ids;
    $_->[1]->begin($client->message($client->call_body('runlog.note', [$_->[0]]), id => $_->[0]), id => $_->[0]) for @clients;
    push @{$answers{$_->[0]}}, $_->[1]->finish for @clients;
    is(scalar(grep { $_->{status} == 200 } map { @$_ } values %answers), 64, 'each is answered');
    is(join(' ', map { runs($_) } @ids), join(' ', (1) x 16), 'each ran once');
};

ok(server_lives(), 'the server lives');

done_testing;
