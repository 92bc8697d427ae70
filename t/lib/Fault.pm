# SPDX-License-Identifier: Apache-2.0
package Fault;

# What the tests of t/fault share: the invariant that each of them asserts, and the short and the long form.
#
#   # MPMs: event prefork            a line at the head of the file: where `make check-fault` runs it
#   my @ids = load($node, amount(20, 200));
#   invariant($fleet, \@ids, 'every call ran once on every node');
#
# The short form is part of `make check`; `make check-faults` is the long one (SVL_FAULT=long).  What is left to chance goes through
# chance() and pick(), whose seed is printed by the long form and by a failure; SVL_TEST_SEED=n gives it back.
use strict;
use warnings;
use Carp qw(croak);
use Exporter qw(import);
use Poll;
use Test::More;

our @EXPORT = qw(amount chance invariant is_long one_child pick);

my $SHOWN = 10; # wrong runs that are named one by one

my $seed = $ENV{SVL_TEST_SEED} // int rand 2**31;
my $state = $seed;
my $drawn = 0;

sub is_long { return ($ENV{SVL_FAULT} // '') eq 'long' }

sub amount {
    my ($short, $long) = @_;
    return is_long() ? $long : $short;
}

# A whole number from 0 to $below - 1, the same ones for the same seed whatever else calls rand: Park and Miller's generator.
sub chance {
    my ($below) = @_;
    diag("SVL_TEST_SEED=$seed") if is_long() && !$drawn++;
    $drawn++;
    $state = ($state % 2147483646 + 1) * 48271 % 2147483647;
    return $state % $below;
}

sub pick { return $_[chance(scalar @_)] }

# Directives for a server that has one child process at a time.
sub one_child {
    return "ServerLimit 1\nStartServers 1\nMaxRequestWorkers 1\nKeepAlive Off\n" if ($ENV{SVL_TEST_MPM} // '') eq 'prefork';
    return "ServerLimit 1\nStartServers 1\nMinSpareThreads 1\nMaxSpareThreads 16\nMaxRequestWorkers 16\n";
}

# Each accepted call ran on each node that came back: at least once where `crashed` says that a crash fell into that run (at most three
# times then), else exactly once; on other nodes at most once; what was only ever refused ran nowhere.
# Options: back (nodes; default: all of them), crashed ({id => {node name => 1}}, or 1: any run may have been cut short), flagged (true,
# instead: what runs again was told so by call->rerun, and runs three times at most), lost ({id => {node name => number}}: how often the
# node lost its log after it may have run the call, once more for each), refused (ids),
# deadline (seconds until all have arrived), quiet (seconds without a run that count as the end).
sub invariant {
    my ($fleet, $ids, $name, %o) = @_;
    my @back = @{$o{back} // [$fleet->nodes]};
    my %back = map { $_->name => 1 } @back;
    my @refused = @{$o{refused} // []};
    my $crashed = $o{crashed} // {};
    my @wrong;
    local $Test::Builder::Level = $Test::Builder::Level + 1;

    croak 'an invariant over no call says nothing' unless @$ids || @refused;
    poll { $fleet->arrived($ids, @back) } $o{deadline} // 30;
    $fleet->settle($o{quiet} // 0.5);
    for my $node ($fleet->nodes) {
        for my $id (@$ids) {
            my $runs = $node->runs($id);
            my $lost = $o{lost}{$id}{$node->name};
            my $most = defined $lost ? 1 + $lost : !ref $crashed || $crashed->{$id}{$node->name} || $o{flagged} ? 3 : 1;
            push @wrong, "$id ran again on " . $node->name . ' unflagged' if $o{flagged} && 1 < grep { !$_->{rerun} } $node->runs_of($id);
            push @wrong, "$id ran $runs times on " . $node->name if $runs > $most || $back{$node->name} && !$runs;
        }
        push @wrong, map { "$_ was refused, and ran on " . $node->name } grep { $node->runs($_) } @refused;
    }
    return 1 if ok(!@wrong, $name);
    diag(join "\n", @wrong > $SHOWN ? (@wrong[0 .. $SHOWN - 1], 'and ' . (@wrong - $SHOWN) . ' more') : @wrong);
    return 0;
}

END {
    diag("SVL_TEST_SEED=$seed") if $drawn && !is_long() && !Test::More->builder->is_passing;
}

1;
