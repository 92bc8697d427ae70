#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# What waiting for all outcomes costs: the time of a call with reply all, against the time until a broadcast of the same call has reached
# the last node.
#
#   make check-built && perl -I t/lib bench/all.pl      (SVL_BUILDDIR names the build, SVL_TEST_MPM the MPM)
#
# Ten nodes.  The two kinds of call take turns, one at a time, so that a noisy machine is noisy for both.  A broadcast has reached a node
# when its run begins there (mod_runlog notes when); with reply all the caller has the answer of each node by then, so each has also run
# it, recorded that, and said so.  Numbers are milliseconds from the request on; the goal is a ratio of the medians of at most 1.5.
use strict;
use warnings;
use Fleet;
use List::Util qw(max min);
use Test::More ();
use Time::HiRes qw(time);

my ($NODES, $CALLS, $PATIENCE, $GOAL) = (10, 300, 10, 1.5);
my $worst = 0;

Test::More->builder->no_ending(1);

sub median {
    my @sorted = sort { $a <=> $b } @_;
    return $sorted[@sorted / 2];
}

sub all {
    my ($origin, $function) = @_;
    my $start = time;
    my $answer = $origin->call($function, ['x'], reply => 'all')->{json};
    my $took = time - $start;
    my $outcomes = $answer->{outcomes} // {};
    die "not all are ok\n" unless $NODES == grep { $_->{outcome} eq 'ok' } values %$outcomes;
    return 1000 * $took;
}

sub broadcast {
    my ($fleet, $origin) = @_;
    my $start = time;
    my $id = $origin->call('runlog.note', ['x'], mode => 'broadcast')->{json}{id};
    poll { $fleet->arrived([$id]) } $PATIENCE or die "a broadcast did not arrive\n";
    return 1000 * (max(map { ($_->runs_of($id))[0]{time} } $fleet->nodes) - $start);
}

printf "%-10s %-16s %10s %10s %10s %8s\n", qw(durability what median smallest largest ratio);
for my $durability (qw(fsync async)) {
    my $fleet = Fleet->new(nodes => $NODES, durability => $durability, directives => "LogLevel warn\n")->start;
    my ($origin) = $fleet->nodes;
    my %taken;
    for (1 .. $CALLS) {
        push @{$taken{broadcast}}, broadcast($fleet, $origin);
        push @{$taken{'all, note'}}, all($origin, 'runlog.note');
        push @{$taken{'all, echo'}}, all($origin, 'example.echo');
    }
    for my $what ('broadcast', 'all, note', 'all, echo') {
        my @took = @{$taken{$what}};
        my $ratio = median(@took) / median(@{$taken{broadcast}});
        printf "%-10s %-16s %10.2f %10.2f %10.2f %8.2f\n", $durability, $what, median(@took), min(@took), max(@took), $ratio;
        $worst = max($worst, $ratio) if $what eq 'all, echo';
    }
    $fleet->stop;
}
printf "goal: a ratio of at most %.1f for all, echo: %s\n", $GOAL, $worst <= $GOAL ? 'met' : 'MISSED';
