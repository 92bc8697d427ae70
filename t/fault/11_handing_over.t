# SPDX-License-Identifier: Apache-2.0
# MPMs: event prefork
# Row 11: a node dies after its acknowledgement and before it relays: the rest of the chain has the call within two sync intervals.
# A child does: at once.
use strict;
use warnings;
use Fault;
use Fleet;
use List::Util qw(max);
use Played;
use Test::More;
use Time::HiRes qw(time);

my $INTERVAL = 2;   # seconds
my $NEVER = "ServicelessSyncInterval 1h\n";

sub play {
    my ($fleet, $name) = @_;
    return Played->new(name => $name, port => $fleet->node($name)->port, secret => $fleet->{secret});
}

# True when the played node got the call in a relay message of $from.
sub handed {
    my ($played, $from, $id) = @_;
    return scalar grep { $_->{signed} && $_->{body} =~ /^\{"relay":\{"from":"$from"/ && $_->{body} =~ /"id":"$id"/ } @{$played->{requests}};
}

# Has a played node take requests until $enough is true.
sub serve_until {
    my ($seconds, $played, $enough) = @_;
    my $deadline = time + $seconds;
    while (time < $deadline) {
        my $value = $enough->();
        return $value if $value;
        $played->serve(0.02, sub { 1 });
    }
    return 0;
}

# Answers sync as one who lacks nothing, and keeps n2 waiting when it hands over a call with this argument for the first time.
sub hold {
    my ($played, $argument) = @_;
    my $times = 0;
    $played->answer_with(sub {
        my ($request) = @_;
        return $played->acknowledgement($request, status => '204 No Content', body => '') if $request->{body} =~ /^\{"sync"/;
        return undef if $request->{body} =~ /^\{"relay":\{"from":"n2".*"args":\["$argument"\]/s && !$times++;
        return $played->acknowledgement($request);
    });
    return;
}

sub let_go {
    my ($played) = @_;
    hold($played, '-');
    @{$played->{held}} = ();
    return;
}

sub member {
    my ($node, $name) = @_;
    my ($member) = grep { $_->{name} eq $name } @{$node->status->{members}};
    return $member;
}

sub all_up {
    for my $node (@_) {
        return 0 if grep { !$_->{up} } @{$node->status->{members}};
    }
    return 1;
}

sub ready {
    my ($played, @nodes) = @_;
    return serve_until(30, $played, sub { all_up(@nodes) });
}

# n3 keeps n2 waiting, so that n2 has acknowledged, and handed nothing on, when it is killed.  n4 and n5 do not sync.
subtest 'a node is killed between its acknowledgement and its relaying' => sub {
    my $often = "ServicelessSyncInterval ${INTERVAL}s\n";
    my $fleet = Fleet->new(nodes => 5, each => {n1 => $often, n2 => $often, n4 => $NEVER, n5 => $NEVER});
    my ($n1, $n2, undef, $n4, $n5) = $fleet->nodes;
    my $three = play($fleet, 'n3');
    my (@ids, @took);
    let_go($three);
    $_->start for $n5, $n4, $n1;
    for my $round (1 .. amount(2, 20)) {
        $n2->start;
        ok(ready($three, $n1, $n2, $n4, $n5), "round $round: all nodes are up");
        hold($three, "round $round");
        my $before = member($n1, 'n2')->{calls};
        my $id = $n1->call('runlog.note', ["round $round"])->{json}{id};
        push @ids, $id;
        ok(serve_until(10, $three, sub { handed($three, 'n2', $id) && member($n1, 'n2')->{calls} > $before }),
           'n2 acknowledged, and waits for n3');
        is($n4->runs($id) + $n5->runs($id), 0, 'it has handed nothing on');
        my $start = time;
        $n2->kill9;
        let_go($three);
        ok(serve_until(20, $three, sub { handed($three, 'n1', $id) && $n4->runs($id) && $n5->runs($id) }), 'n3, n4 and n5 have it from n1');
        push @took, time - $start;
        cmp_ok($took[-1], '<', 2 * $INTERVAL, sprintf 'within two sync intervals: %.2f', $took[-1] / $INTERVAL);
    }
    like($n1->error_log, qr/SVL0320: node n2 has not been heard of since it took 1 calls over/, 'the log says so');
    note(sprintf 'at most %.2f intervals of %d s', max(@took) / $INTERVAL, $INTERVAL);
    $n2->start;
    ok(serve_until(20, $three, sub { $fleet->arrived(\@ids, $n1, $n2, $n4, $n5) }), 'n2 comes back');
    invariant($fleet, \@ids, 'each call ran once on each node', back => [$n1, $n2, $n4, $n5], crashed => {map { $_ => {n2 => 1} } @ids});
};

# As before, but only the child that took the call over is killed; nobody looks after it for an hour.
subtest 'a child is killed between its acknowledgement and its relaying' => sub {
    my $fleet = Fleet->new(nodes => 3, directives => $NEVER);
    my ($n1, $n2) = $fleet->nodes;
    my $three = play($fleet, 'n3');
    my @ids;
    let_go($three);
    $_->start for $n2, $n1;
    for my $round (1 .. amount(2, 30)) {
        ok(ready($three, $n1, $n2), "round $round: all nodes are up");
        hold($three, "round $round");
        my $id = $n1->call('runlog.note', ["round $round"])->{json}{id};
        push @ids, $id;
        ok(serve_until(10, $three, sub { handed($three, 'n2', $id) && $n2->runs($id) }), 'n2 acknowledged, and waits for n3');
        my ($run) = $n2->runs_of($id);
        my $start = time;
        is(kill('KILL', $run->{pid}), 1, 'the child that took it over is killed');
        ok(serve_until(8, $three, sub { handed($three, 'n2', $id) == 2 }), 'a sibling hands it on');
        cmp_ok(time - $start, '<', 5, sprintf 'after %.2f s', time - $start);
        let_go($three);
    }
    invariant($fleet, \@ids, 'each call ran once on each node', back => [$n1, $n2], crashed => {map { $_ => {n2 => 1} } @ids});
};

# At any moment, with calls on their way: what n2 had and had not handed on is told apart by nobody.
subtest 'a node of a chain is killed in the middle of calls' => sub {
    my $fleet = Fleet->new(nodes => 5, directives => "ServicelessSyncInterval ${INTERVAL}s")->start;
    my ($n1, $n2, @rest) = $fleet->nodes;
    my (@ids, @took);
    for my $round (1 .. amount(2, 50)) {
        $n2->start unless $n2->running;
        eventually { all_up($n1) } 30, "round $round: n1 takes n2 for up";
        my @now = map { $n1->call('runlog.note', [$_])->{json}{id} } 1 .. 1 + chance(20);
        my $start = time;
        $n2->kill9;
        ok((poll { $fleet->arrived(\@now, @rest) } 20), scalar(@now) . ' calls arrive');
        push @took, time - $start;
        cmp_ok($took[-1], '<', 2 * $INTERVAL, sprintf 'within two sync intervals: %.2f', $took[-1] / $INTERVAL);
        push @ids, @now;
    }
    note(sprintf 'at most %.2f intervals of %d s', max(@took) / $INTERVAL, $INTERVAL);
    $n2->start;
    invariant($fleet, \@ids, 'each call ran once on each node', crashed => {map { $_ => {n2 => 1} } @ids});
};

done_testing;
