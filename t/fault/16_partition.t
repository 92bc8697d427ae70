# SPDX-License-Identifier: Apache-2.0
# MPMs: event
# Row 16: a partition in both directions and in one, healed.
use strict;
use warnings;
use Partition;
use Test::More;

BEGIN {
    my $why_not = Partition::enter();
    plan skip_all => "SKIPPED: no partition can be made: $why_not" if $why_not;
}

use Fault;
use Fleet;
use List::Util qw(max);
use Load;
use Time::HiRes qw(time);

my $INTERVAL = 1;
my $SOON = 15; # seconds; a peer that was down is probed again after at most about 10
my $fleet = Fleet->new(nodes => 4, each => \&Partition::directives,
                       directives => "ServicelessConnectTimeout 1s\nServicelessTimeout 2s\nServicelessSyncInterval ${INTERVAL}s\n");
my $partition = Partition->new($fleet);
$fleet->start;
my @nodes = $fleet->nodes;
my ($n1, $n2, $n3, $n4) = @nodes;

# Nobody who calls may wait for a node that cannot be reached.
sub calls {
    my ($count, @origins) = @_;
    my (@ids, $slowest);
    for my $i (1 .. $count) {
        my $start = time;
        my $answer = $origins[$i % @origins]->call('runlog.note', [$i]);
        push @ids, $answer->{json}{id} if $answer->{status} == 200;
        $slowest = max($slowest // 0, time - $start);
    }
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    is(@ids, $count, "$count calls are accepted by " . join ', ', map { $_->name } @origins);
    cmp_ok($slowest, '<', 0.9, sprintf 'none waits for the partition: at most %.0f ms', 1000 * $slowest);
    return @ids;
}

# Each relay has its kept connections when the partition begins, as in a fleet at work.
sub warm {
    my @ids = calls(20, @nodes);
    return invariant($fleet, \@ids, 'before, all is well');
}

my $count = amount(20, 500);

for my $round (1 .. amount(1, 5)) {
    warm();
    for my $from ($n1, $n2) {
        for my $to ($n3, $n4) {
            $partition->cut($from, $to);
            $partition->cut($to, $from);
        }
    }
    my @left = calls($count, $n1, $n2);
    my @right = calls($count, $n3, $n4);
    eventually { $fleet->arrived(\@left, $n1, $n2) && $fleet->arrived(\@right, $n3, $n4) } $SOON, 'each half has its calls meanwhile';
    is(grep({ $n3->runs($_) || $n4->runs($_) } @left) + grep({ $n1->runs($_) || $n2->runs($_) } @right), 0, 'and none of the other half');
    $partition->heal;
    my $start = time;
    invariant($fleet, [@left, @right], 'in both directions: healed, all have all', deadline => $SOON);
    note(sprintf 'after %.1f s', time - $start);
}

for my $round (1 .. amount(1, 5)) {
    warm();
    $partition->cut($n1, $n2);
    my @ids = calls(2 * $count, $n1, $n2);
    invariant($fleet, \@ids, "what n1 sends to n2 is lost: all have all meanwhile, by way of others", deadline => $SOON);
    $partition->heal;
    push @ids, calls($count, $n1, $n2);
    invariant($fleet, \@ids, 'healed: nothing runs again');
}

for my $round (1 .. amount(1, 5)) {
    warm();
    $partition->cut($n3, $_) for grep { $_ != $n3 } @nodes;
    my @ids = (calls($count, $n1, $n2, $n4), calls($count, $n3));
    invariant($fleet, [@ids[0 .. $count - 1]], 'n3 hears and cannot answer: the others have all that they accepted', back => [$n1, $n2, $n4],
              deadline => $SOON);
    $partition->heal;
    my $start = time;
    invariant($fleet, \@ids, 'healed, all have all', deadline => $SOON);
    note(sprintf 'after %.1f s', time - $start);
}

SKIP: {
    skip 'cuts by chance are for the long form', 1 unless is_long();
    my $load = Load->new(origins => \@nodes, rate => 50);
    for my $round (1 .. 20) {
        for (1 .. 3) {
            my ($from, $to) = (pick(@nodes), pick(@nodes));
            $partition->cut($from, $to) if $from != $to;
        }
        poll { 0 } 0.5 + chance(3000) / 1000;
        $partition->heal;
        poll { 0 } 0.5;
    }
    my $told = $load->stop;
    note(sprintf '%d calls accepted, %d unknown, slowest answer %.0f ms', scalar @{$told->{accepted}}, scalar @{$told->{unknown}},
         1000 * $told->{slowest});
    is(@{$told->{refused}}, 0, 'no call is refused');
    invariant($fleet, $told->{accepted}, 'three of the ways between nodes lost by chance, 20 times');
}

done_testing;
