# SPDX-License-Identifier: Apache-2.0
# MPMs: event prefork
# A function that takes its time on every node delays no other call, no acknowledgement and no relay.
use strict;
use warnings;
use Client qw(make_id);
use Fleet;
use List::Util qw(max min);
use Test::More;
use Time::HiRes qw(time);

my $SLOW = 2;   # seconds that the slow function takes on each node
my $SOON = 1;   # seconds within which everything else must be done

for my $mode (qw(bounce broadcast)) {
    subtest $mode => sub {
        my $fleet = Fleet->new(nodes => 5, mode => $mode)->start;
        my ($n1, $n2) = $fleet->nodes;
        my $warm = $n1->call('runlog.note', ['warm']);
        $fleet->once([$warm->{json}{id}], 'all nodes work');

        my $start = time;
        my @slow = map { $n1->call('runlog.sleep', [$SLOW], reply => 'accepted') } 1 .. 3;
        is_deeply([map { $_->{status} } @slow], [202, 202, 202], 'slow calls are accepted');
        cmp_ok(time - $start, '<', $SOON, 'at once');
        my @ids = map { $_->{json}{id} } @slow;

        $start = time;
        my $quick = $n2->call('runlog.note', ['quick']);
        cmp_ok(time - $start, '<', $SOON, 'another call is answered while they run');
        eventually { $fleet->arrived([$quick->{json}{id}]) } $SOON, 'and runs on every node';

        my $line = {id => make_id(), function => 'runlog.sleep', args => [$SLOW], kwargs => {}, origin => 'n5', set => 'all',
                    epoch => '00000000000000aa', seq => 1, issued => int(time * 1000), ttl => 3600};
        $start = time;
        my $answer = $n2->relay('n5', [], [$line]);
        is($answer->{status}, 202, 'a relayed slow call is acknowledged');
        ok($answer->{signed}, 'signed');
        cmp_ok(time - $start, '<', $SOON, 'before it has run');

        $fleet->once(\@ids, 'each slow call ran once on each node', quiet => 1);
        for my $id (@ids) {
            my @begun = map { ($_->runs_of($id))[0]{time} } $fleet->nodes;
            cmp_ok(max(@begun) - min(@begun), '<', $SOON, 'relaying did not wait for running');
        }
        $fleet->stop;
    };
}

# Few threads run what takes microseconds; that must not keep others from what comes while those hang.
subtest 'a function that was quick, and hangs' => sub {
    my $fleet = Fleet->new(nodes => 1)->start;
    my ($n1) = $fleet->nodes;
    my $client = $n1->client;
    my $call = sub { return [map { $client->call('runlog.sleep', [$_], reply => 'accepted')->{json}{id} } @_] };
    my $warm = $call->((0) x 200);
    eventually { $fleet->arrived($warm) } 10, 'it is quick';
    my $hanging = $call->(($SLOW) x 4);
    eventually { $fleet->arrived($hanging) } 10, 'it hangs, in several threads';
    my $start = time;
    my $later = $call->((0) x 50);
    eventually { $fleet->arrived($later) } $SOON, 'what comes later runs meanwhile';
    cmp_ok(time - $start, '<', $SLOW, 'while they hang');
    $fleet->stop;
};

# A node where it hangs can be told from one that is silent, however quick it was before.
subtest 'a function that was quick, and hangs while all are asked' => sub {
    my $fleet = Fleet->new(nodes => 3)->start;
    my ($n1) = $fleet->nodes;
    my $ask = sub { my ($client, @call) = @_; return $client->call(@call, reply => 'all', timeout => $SOON)->{json} };
    my $outcomes = sub { my ($json) = @_; return {map { $_ => $json->{outcomes}{$_}{outcome} } keys %{$json->{outcomes}}} };
    my %ok = map { $_ => 'ok' } $fleet->names;
    my $client = $n1->client;
    is_deeply($outcomes->($ask->($client, 'runlog.sleep', [0])), \%ok, 'it is quick') for 1 .. 3;

    my ($id, $hanging, $start) = (make_id(), $n1->client, time);
    $hanging->begin($client->message($client->call_body('runlog.sleep', [2 * $SLOW], reply => 'all', timeout => $SOON), id => $id), id => $id);
    eventually { $fleet->arrived([$id]) } 2 * $SLOW, 'it hangs on all nodes';
    is_deeply($outcomes->($ask->($client, 'runlog.note', ['meanwhile'])), \%ok, 'another one does not');
    is_deeply($outcomes->($ask->($client, 'runlog.sleep', [0])), \%ok, 'nor does this one, elsewhere');
    is_deeply($outcomes->($hanging->finish->{json}), {map { $_ => 'pending' } $fleet->names}, 'it is pending on every node');
    cmp_ok(time - $start, '<', 2 * $SLOW, 'while it still hangs');
    $fleet->once([$id], 'it ran once on each node');
    is_deeply($outcomes->($ask->($client, 'runlog.sleep', [0])), \%ok, 'afterwards it is quick again');
    $fleet->stop;
};

done_testing;
