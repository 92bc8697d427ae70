#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# What serviceless_call of an empty function adds to the request that makes it, in microseconds, by fleet size and durability.
#
#   make check-built && perl -I t/lib bench/caller.pl      (SVL_BUILDDIR names the build, SVL_TEST_MPM the MPM)
#
# "caller" is the processor time of the calling thread alone; "us/call" is what the request waits.  One request makes CALLS calls, one after the other, and times them inside the server.  The fleets take turns, ROUNDS times, so
# that a noisy machine is noisy for all; a number is the median, with the smallest and the largest.  All nodes share this machine, so
# beyond one node the callers' processors also relay and run the calls of the others.
use strict;
use warnings;
use Fleet;
use List::Util qw(min max);
use Test::More ();

my ($CALLS, $ROUNDS) = (1000, 7);
my %fleet;
my (%taken, %spent);

Test::More->builder->no_ending(1);
for my $durability (qw(async fsync)) {
    for my $nodes (1, 4, 8) {
        $fleet{"$durability $nodes"} = Fleet->new(nodes => $nodes, durability => $durability, directives => <<"CONF")->start;
LoadModule caller_module "@{[Fleet::build_directory()]}/.libs/mod_caller.so"
LogLevel warn
ServicelessStoreSize 512m
<Location "/caller">
    SetHandler caller
</Location>
CONF
    }
}
for (1 .. $ROUNDS) {
    for my $name (sort keys %fleet) {
        my $answer = $fleet{$name}->node('n1')->get("/caller?function=caller.nothing&n=$CALLS")->{json};
        die "$name: no answer\n" unless ($answer->{outcome} // '') eq 'ok';
        push @{$taken{$name}}, $answer->{micros} / $CALLS;
        push @{$spent{$name}}, $answer->{cpu} / $CALLS;
    }
}
sub median {
    my @sorted = sort { $a <=> $b } @_;
    return $sorted[@sorted / 2];
}

printf "%-10s %5s %10s %10s %10s %10s\n", qw(durability nodes us/call smallest largest caller);
for my $name (sort keys %fleet) {
    my @waited = @{$taken{$name}};
    printf "%-10s %5d %10.1f %10.1f %10.1f %10.1f\n", split(/ /, $name), median(@waited), min(@waited), max(@waited), median(@{$spent{$name}});
}
