#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# Draws what a run of the bench kept: `plot.pl results/REVISION.json` writes results/REVISION-latency.svg (over nodes) and
# results/REVISION-throughput.svg (over the calls of a message).  Needs gnuplot; `make bench` calls it.
use strict;
use warnings;
use JSON::PP;

my ($path) = @ARGV or die "usage: plot.pl results/REVISION.json\n";
open my $file, '<', $path or die "cannot read $path: $!\n";
my $kept = JSON::PP->new->utf8->decode(do { local $/; <$file> });
my $stem = $path =~ s/\.json\z//r;

my (%latency, %throughput); # name => {x => y}
for my $table (@{$kept->{tables}}) {
    my ($nodes) = $table->{title} =~ /(\d+) nodes/ or next;
    for my $row (@{$table->{rows}}) {
        $latency{$row->{name}}{$nodes} = $row->{median} if $table->{title} =~ /^latency to the last/;
        next unless $table->{title} =~ /^sustained/;
        my ($name, $batch) = $row->{name} =~ /^(.*), (\d+) (?:calls a message|at a time)\z/ or next;
        $throughput{"$name, $nodes nodes"}{$batch} = $row->{median};
    }
}

sub plot {
    my ($target, $title, $x, $y, $series) = @_;
    return unless %$series;
    my @names = sort keys %$series;
    open my $gnuplot, '|-', 'gnuplot' or die "cannot start gnuplot: $!\n";
    print $gnuplot "set terminal svg size 900,600 noenhanced\nset output '$target'\nset title '$title'\nset key outside right\n",
        "set logscale x 2\nset logscale y 10\nset grid\nset xlabel '$x'\nset ylabel '$y'\n",
        'plot ', join(', ', map { "'-' with linespoints title '$_'" } @names), "\n";
    for my $name (@names) {
        print $gnuplot map({ "$_ $series->{$name}{$_}\n" } sort { $a <=> $b } keys %{$series->{$name}}), "e\n";
    }
    close $gnuplot or die "gnuplot failed\n";
    print "drawn: $target\n";
    return;
}

plot("$stem-latency.svg", "latency to the last node, $kept->{revision}", 'nodes', 'microseconds', \%latency);
plot("$stem-throughput.svg", "sustained deliveries, $kept->{revision}", 'calls of a message, or messages at a time', 'deliveries/s', \%throughput);
