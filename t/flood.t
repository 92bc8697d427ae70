# SPDX-License-Identifier: Apache-2.0
# A log that is full refuses, and forgets nothing to make room.  The virtual host `small` has such a log.
use strict;
use warnings;
use Client qw(json make_id);
use OneServer;
use Poll;
use Test::More;

my $ENOSPC = 28; # of errno.h
my $small = client(port => port_of('small'), secret => keys_of('small'));
my $body = $small->call_body('runlog.note', ['x' x 20_000]);
my (@accepted, $refusal);

subtest 'a full log is 503' => sub {
    for (1 .. 200) {
        my $id = make_id();
        my $answer = $small->post($body, id => $id);
        if ($answer->{status} != 200) {
            $refusal = {%$answer, id => $id};
            last;
        }
        push @accepted, $id;
    }
    ok($refusal, 'it is full at last') or return;
    cmp_ok(scalar @accepted, '>=', 10, 'after what it should hold: ' . @accepted . ' calls of 20 kB in 1 MB');
    is_problem($refusal, 503, 'the refusal');
    ok($refusal->{signed}, 'signed');
    is($refusal->{headers}{connection}, 'close', 'and the connection closed');
    like($refusal->{json}{detail}, qr/ServicelessStoreSize/, 'the detail names the directive');
    is(runs($refusal->{id}), 0, 'it did not run');
    my $line = {id => make_id(), function => 'runlog.note', args => ['x' x 20_000], kwargs => {}, origin => 'tiny',
                set => 'all',
                epoch => '00000000000000bb', seq => 1, issued => time * 1000, ttl => 60};
    is_problem($small->relay('tiny', [], [$line]), 503, 'calls of other nodes');
    is(runs($line->{id}), 0, 'do not run either');
};

subtest 'a full log forgets nothing' => sub {
    for my $id (@accepted) {
        my $answer = $small->post($body, id => $id);
        is("$answer->{status} $answer->{json}{outcome} " . ($answer->{json}{duplicate} ? 'duplicate' : 'new'),
           '200 ok duplicate', $id);
    }
    is(scalar(grep { runs($_) != 1 } @accepted), 0, 'each ran once');
    is($small->post($small->call_body('runlog.note', ['y']), id => $accepted[0])->{status}, 409,
       'other content is still a conflict');
};

subtest 'a full log is the trouble of its node alone' => sub {
    ok(server_lives(), 'the other node of the server goes on');
    my $answer; # smaller calls may still fit at first
    for (1 .. 200) {
        $answer = $small->get('/caller?function=runlog.note&args=' . json(['x' x 7000]));
        last if $answer->{json}{status};
    }
    is_deeply([@{$answer->{json}}{qw(status outcome)}], [$ENOSPC, 'refused'], 'a companion there is told: APR_ENOSPC');
    like(error_log(), qr/refused: store-full \(503\)/, 'the log says so');
};

done_testing;
