# SPDX-License-Identifier: Apache-2.0
# MPMs: event prefork
# Alone on the machine.
# No row of its own: a fleet under load while, again and again, some node is killed, stopped, frozen or cut off, and comes back.
#
# Three origins take calls at an even rate; a call without an answer, or with 5xx, is sent again with the same id to the next of them
# (t/lib/Load.pm).  What is promised is promised of what was accepted; an id that no try got accepted must not have run twice.
use strict;
use warnings;
use Partition;
use Test::More;

my $uncut;
BEGIN { $uncut = Partition::enter() }

use Fault;
use Fleet;
use List::Util qw(max);
use Load;
use Time::HiRes qw(time);

my $NODES = amount(5, 10);
my $PREFORK = ($ENV{SVL_TEST_MPM} // '') eq 'prefork';
my $RATE = amount(100, $PREFORK ? 50 : 500); # calls a second; prefork's children share no commits: ten nodes sync the disk 20 times a call
my $SECONDS = amount(8, 60);
my $EVERY = amount(1.5, 3);      # seconds from one fault to the next
my $AWAY = amount(2.5, 5);       # seconds until the node is back
my $COMPLETE = 15;               # seconds after the last one is back in which all have all
my $UNCOMMITTED = 3;             # seconds that the end of a run may wait for its commit: the next one, or the flush of each second

diag("SKIPPED: no node is cut off: $uncut") if $uncut;
my $fleet = Fleet->new(nodes => $NODES, directives => "ServicelessStoreSize 256m\nLogLevel notice serviceless:info\n",
                       each => sub { $uncut ? '' : Partition::directives(@_) });
my $partition = $uncut ? undef : Partition->new($fleet);
my (%away, %killed, %frozen, %faults, %cut);

sub heal { return $partition->heal(values %cut) }

# How a node goes, and how it comes back, each without waiting for it.
my %kinds = (
    killed => [sub { $_[0]->kill9; push @{$killed{$_[0]->name}}, time }, sub { $_[0]->launch }],
    stopped => [sub { $_[0]->ask_to_stop }, sub { $_[0]->stop; $_[0]->launch }],
    frozen => [sub { $_[0]->freeze; push @{$frozen{$_[0]->name}}, time }, sub { $_[0]->thaw }],
    $uncut ? () : ('cut off' => [sub { $cut{$_[0]->name} = $_[0]; $partition->isolate($_[0]) }, sub { delete $cut{$_[0]->name}; heal() }]),
);

sub fault {
    my $node = pick(grep { !$away{$_->name} && defined $_->pid } $fleet->nodes); # one that was just started has no pid file yet
    my $kind = pick(sort keys %kinds);
    $faults{$kind}++;
    $away{$node->name} = {node => $node, kind => $kind, until => time + $AWAY};
    $kinds{$kind}[0]->($node);
    return;
}

sub bring_back {
    for my $away (grep { $_->{until} <= time } values %away) {
        $kinds{$away->{kind}}[1]->($away->{node});
        delete $away{$away->{node}->name};
    }
    return;
}

# A child that leaves waits two seconds for the end of a run to be committed; they pass while its node is frozen.
sub left {
    my ($node, $run, $later) = @_;
    return $later->{rerun} && (grep { $run->{time} <= $_ && $_ <= $later->{time} } @{$frozen{$node->name}})
        && $node->error_log =~ /\[pid $run->{pid}\b[^\n]*SVL0132: [^\n]* though a run has not ended/;
}

# A run may be repeated when the node was killed after it began, before its end was committed.
sub cut_short {
    my ($node, $id) = @_;
    my @runs = $node->runs_of($id);
    for my $i (1 .. $#runs) {
        my ($earlier, $later) = map { $_->{time} } @runs[$i - 1, $i];
        next if left($node, @runs[$i - 1, $i]);
        return 0 unless grep { $earlier <= $_ && $_ <= $later && $_ - $earlier < $UNCOMMITTED } @{$killed{$node->name}};
    }
    return 1;
}

$fleet->start;
my $load = Load->new(origins => [($fleet->nodes)[0 .. 2]], rate => $RATE);
my $end = time + $SECONDS;
my $next = time + $EVERY;
poll {
    bring_back();
    if (time >= $next) {
        fault();
        $next += $EVERY;
    }
    return time >= $end;
} $SECONDS + 60;
$load->end;
poll { bring_back(); !%away } 60;
$_->wait_listening for $fleet->nodes;
my $told = $load->stop;
my @accepted = @{$told->{accepted}};
my $back = time;
my $complete = poll { $fleet->arrived(\@accepted) } $COMPLETE;
my $took = time - $back;
$fleet->settle(0.5);

my ($most, $again, %crashed) = (0, 0);
for my $node ($fleet->nodes) {
    for my $id (@accepted, @{$told->{unknown}}) {
        my $runs = $node->runs($id);
        $most = max($most, $runs);
        next if $runs < 2;
        $again++;
        $crashed{$id}{$node->name} = 1 if cut_short($node, $id);
    }
}
diag(sprintf "%d calls accepted, %d refused, %d unknown in %.1f s (%.0f/s); %d sent again; slowest answer %.0f ms\n", scalar @accepted,
     scalar @{$told->{refused}}, scalar @{$told->{unknown}}, $told->{seconds}, $told->{rate}, $told->{retries}, 1000 * $told->{slowest});
diag('faults: ' . join(', ', map { "$faults{$_} $_" } sort keys %faults) . sprintf '; at most %d runs of a call on a node, %d runs repeated', $most, $again);
diag(sprintf $complete ? 'complete after %.1f s' : 'not complete after %.1f s', $took);
cmp_ok($told->{rate}, '>', 0.8 * $RATE, "calls came at $RATE a second");
is(@{$told->{refused}}, 0, 'none was refused');
ok($complete, "each call ran on each node within $COMPLETE s of the last one's return");
invariant($fleet, \@accepted, 'once, unless a kill cut the run short', crashed => \%crashed, deadline => 0);
is_deeply([grep { my $id = $_; grep { $_->runs($id) > 1 && !$crashed{$id}{$_->name} } $fleet->nodes } @{$told->{unknown}}], [],
          'and so for what nobody answered');

done_testing;
