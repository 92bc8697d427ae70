#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# Which arity is best for how many nodes at which round-trip time: `make bench-arity`.
#
# Three steps.  First real fleets on this machine: how long a call takes to the last node, by mode.  Then the costs
# of a step that make the simulation (arity.c) agree with the smallest fleet; the larger ones are not fitted, so that their error is
# that of the simulation.  Then tables with these costs, for fleets and networks that this machine cannot hold.
use strict;
use warnings;
use Bench;
use Bench::Fleet qw(bench_fleet http middle);
use List::Util qw(max sum);
use Test::More ();

my @SIZES = (4, 8, 16);      # the first is fitted
my @MODES = ([bounce => 1], ['tree:2' => 2], ['tree:3' => 3], ['tree:4' => 4], [broadcast => 0]);
my $SINGLES = 200;           # calls of a round
my @FLEETS = (4, 8, 16, 32, 100, 1000, 10_000);
my @TRIPS = (100, 1000, 10_000, 100_000); # microseconds
my @ARITIES = (1, 2, 3, 4, 5, 6, 8, 10, 16, 32, 0);
my $DOWN = 0.1;              # share of nodes that are down
my $TIMEOUT = 2_000_000;     # microseconds: what a node waits that does not know so
my $RUNS = 20;

Test::More->builder->no_ending(1);
my $build = Fleet::build_directory();
my ($processors) = `nproc` =~ /(\d+)/;
my $bench = Bench->new(rounds => 5);

# (arity => {last, half, busiest})
sub simulated {
    my (%o) = @_;
    my %result;
    open my $out, '-|', "$build/bench/arity", map { "$_=$o{$_}" } sort keys %o or die "cannot start arity: $!\n";
    while (<$out>) {
        my ($arity, $half, $most, $last, $busiest) = split;
        $result{$arity} = {half => $half, last => $last, busiest => $busiest};
    }
    close $out or die "arity failed\n";
    return \%result;
}

my %measured; # size => mode => microseconds
for my $size (@SIZES) {
    my $fleet = bench_fleet($size);
    my @rows = $bench->compare("latency to the last of $size nodes, async", 'us', [
        map { my $mode = $_->[0]; {name => $mode, take => sub { middle(http($fleet, 'latency', count => $SINGLES, mode => $mode)) }} } @MODES,
    ]);
    $measured{$size} = {map { $_->{name} => $_->{median} } @rows};
    $fleet->{fleet}->stop;
}

# Squared relative errors of the simulation with these costs, over the modes of one size.
sub errors {
    my ($size, $costs) = @_;
    my $result = simulated(nodes => $size, shared => 1, cores => $processors, arity => join(',', map { $_->[1] } @MODES), %$costs);
    return map { log($result->{$_->[1]}{last} / $measured{$size}{$_->[0]}) } @MODES;
}

# Steps up and down along each cost, smaller ones when none helps.
my %costs = (accept => 100, send => 60, rtt => 60, run => 60);
my $least = sum(map { $_ ** 2 } errors($SIZES[0], \%costs));
for (my $step = 1.5; $step > 1.01;) {
    my $better = 0;
    for my $cost (sort keys %costs) {
        for my $factor ($step, 1 / $step) {
            my %other = (%costs, $cost => $costs{$cost} * $factor);
            my $sum = sum(map { $_ ** 2 } errors($SIZES[0], \%other));
            next if $sum >= $least;
            ($least, $better) = ($sum, 1);
            %costs = %other;
        }
    }
    $step = sqrt $step unless $better;
}
printf "\ncosts that fit %d nodes, in us: %s\n", $SIZES[0], join ', ', map { sprintf '%s %.0f', $_, $costs{$_} } sort keys %costs;
for my $size (@SIZES) {
    my @errors = errors($size, \%costs);
    printf "simulated / measured, %2d nodes: %s%s\n", $size, join('  ', map { sprintf '%s %.2f', $MODES[$_][0], exp $errors[$_] } 0 .. $#MODES),
        $size == $SIZES[0] ? ' (fitted)' : '';
}

# The tables: a machine a node.
sub name { my ($arity) = @_; return $arity == 0 ? 'broadcast' : $arity == 1 ? 'bounce' : "tree:$arity" }
sub milliseconds { my ($us) = @_; return $us < 9950 ? sprintf '%.1f', $us / 1000 : sprintf '%.0f', $us / 1000 }

for my $case (['all nodes up', {}], ["$DOWN of the nodes down, known", {down => $DOWN, known => 1}],
              ["$DOWN of the nodes down, not known: each costs who meets it " . $TIMEOUT / 1e6 . ' s', {down => $DOWN, known => 0, timeout => $TIMEOUT}]) {
    my ($title, $options) = @$case;
    printf "\n%s: milliseconds to the last node, bounce / tree:3 / broadcast / the best\n", $title;
    printf "%7s %s\n", 'nodes', join ' ', map { sprintf '%34s', 'round trip ' . $_ / 1000 . ' ms' } @TRIPS;
    for my $nodes (@FLEETS) {
        printf "%7d", $nodes;
        for my $rtt (@TRIPS) {
            my $result = simulated(nodes => $nodes, %costs, rtt => $rtt + $costs{rtt}, runs => $options->{down} ? $RUNS : 1,
                cores => $processors, arity => join(',', @ARITIES), %$options);
            my ($best) = sort { $result->{$a}{last} <=> $result->{$b}{last} || $result->{$a}{busiest} <=> $result->{$b}{busiest} } keys %$result;
            printf ' %34s', join(' / ', map { milliseconds($result->{$_}{last}) } 1, 3, 0) . ' / ' . milliseconds($result->{$best}{last}) . ' ' . name($best);
        }
        print "\n";
    }
}
