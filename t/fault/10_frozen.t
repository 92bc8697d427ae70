# SPDX-License-Identifier: Apache-2.0
# MPMs: event prefork
# Row 10: nodes that are stopped (SIGSTOP) in the middle of a chain: the others get the call within the timeouts, they after SIGCONT.
use strict;
use warnings;
use Fault;
use Fleet;
use Test::More;
use Time::HiRes qw(time);

my $CONNECT = 0.5;                # seconds, as below: a probe before calls are handed on
my $TIMEOUT = 1;
my $SLACK = 1;                    # of a busy machine
my $KNOWN = 0.7;                  # seconds for a call that goes round a node known to be down
my $BACK = 2 * 1 + 2 + 3;         # two sync intervals, what is left to relay, slack
my $DIRECTIVES = "ServicelessConnectTimeout 500ms\nServicelessTimeout 1s\nServicelessSyncInterval 1s\n";

my $fleet = Fleet->new(nodes => 6, directives => $DIRECTIVES)->start;
my ($origin, @others) = $fleet->nodes;

# Frozen before a call of $mode enters at the first node, and thawed when the others have it and one more.
sub freeze {
    my ($mode, @frozen) = @_;
    my %frozen = map { $_->name => 1 } @frozen;
    my @living = grep { !$frozen{$_->name} } $fleet->nodes;
    my $what = "$mode, frozen: " . join ' ', sort keys %frozen;
    my $name = "$what: the others have the call within the timeouts";

    $_->freeze for @frozen;
    my $start = time;
    my $answer = $origin->call('runlog.note', [$what], mode => $mode);
    my $id = $answer->{json}{id};
    is($answer->{status}, 200, "$what: the origin answers");
    eventually { $fleet->arrived([$id], @living) } $TIMEOUT + $CONNECT + $SLACK, $name;
    note(sprintf 'after %.2f s', time - $start);
    $start = time;
    my $next = $origin->call('runlog.note', ["$what, next"], mode => $mode)->{json}{id};
    eventually { $fleet->arrived([$next], @living) } $KNOWN, 'the next call does not wait again';
    $_->thaw for @frozen;
    $start = time;
    eventually { $fleet->arrived([$id, $next], @frozen) } $BACK, 'they have both once they go on';
    note(sprintf 'after %.2f s', time - $start);
    poll { my %up = map { $_->{name} => $_->{up} } @{$origin->status->{members}}; !grep { !$up{$_} && $_ ne 'n1' } keys %up } $BACK;
    return ($id, $next);
}

my @ids = map { $_->call('runlog.note', ['warm'])->{json}{id} } $fleet->nodes;
invariant($fleet, \@ids, 'all nodes work');

if (is_long()) {
    for my $round (1 .. 20) {
        my @shuffled = sort { $a->[0] <=> $b->[0] } map { [chance(1000), $_] } @others;
        push @ids, freeze(pick(qw(bounce broadcast tree:2)), map { $_->[1] } @shuffled[0 .. chance(3)]);
    }
} else {
    push @ids, freeze('bounce', @others[1, 2]);           # in the middle, in a row
    push @ids, freeze('bounce', @others[0, 2, 4]);        # every second one, the last too
    push @ids, freeze('tree:2', @others[0, 3]);
    push @ids, freeze('broadcast', $others[4]);
}
invariant($fleet, \@ids, 'and each call ran once on each node');

done_testing;
