# SPDX-License-Identifier: Apache-2.0
# MPMs: event prefork
# Row 1: kill -9 of a child right after its answer, and of the whole server.  Nothing that was answered is lost, with fsync and with async,
# since the kernel keeps what was written.  What was answered with an outcome never runs again; what was accepted for the background
# does only where its outcome was not committed when its process was killed, and is told that it is a rerun.
use strict;
use warnings;
use Callers;
use Client qw(make_id);
use Fault;
use Fleet;
use Test::More;

my $AT_ONCE = 24; # calls whose background runs a kill may hit
my $HANG = 60;    # seconds of a run that no kill waits for
my $WAITING = 120; # calls that hang: more than are begun in all the starts
my $KILLS = 6;    # of the server, at most: some more than a call is run

# Kills the child that answered, which is the one that ran the call.
sub kill_who_ran {
    my ($node, $id) = @_;
    my ($run) = $node->runs_of($id) or return 0;
    return kill KILL => $run->{pid};
}

sub body { my ($node, @rest) = @_; return $node->client->call_body(@rest) }

# The test's clients retry into a node whose children are being replaced; calls in the background go to the node that is killed.
sub in_the_background {
    my ($node, $count) = @_;
    my @calls = map { [$node->client(timeout => 5), make_id(), body($node, 'runlog.note', [$_], reply => 'accepted')] } 1 .. $count;
    $_->[0]->begin($_->[0]->message($_->[2], id => $_->[1]), id => $_->[1]) for @calls;
    return @calls;
}

# Those that a crash left without an answer are sent again.
sub all_answered {
    my ($node, @calls) = @_;
    my $wrong = 0;
    for my $call (@calls) {
        my ($client, $id, $body) = @$call;
        my $answer = $client->finish;
        $answer = until_answered($node, $body, id => $id) unless $answer->{status};
        $wrong++ unless $answer->{status} =~ /^20[02]$/;
    }
    is($wrong, 0, 'all calls are accepted in the end') if $wrong;
    return map { $_->[1] } @calls;
}

# The long form takes both, the short form one by chance for each subtest.
sub durabilities { return is_long() ? qw(fsync async) : pick(qw(fsync async)) }

for my $durability (durabilities()) {
    subtest "$durability: a child is killed after its answer" => sub {
        my $fleet = Fleet->new(nodes => 3, durability => $durability, directives => 'ServicelessSyncInterval 1s')->start;
        my @nodes = $fleet->nodes;
        my (@ids, %origin, $killed);
        for my $round (1 .. amount(8, 200)) {
            my ($node, $id) = ($nodes[$round % @nodes], make_id());
            my $answer = until_answered($node, body($node, 'runlog.note', [$round]), id => $id);
            $killed += kill_who_ran($node, $id);
            is($answer->{json}{outcome}, 'ok', "call $round is answered") unless ($answer->{json}{outcome} // '') eq 'ok';
            push @ids, $id;
            $origin{$id} = $node;
        }
        is($killed, scalar @ids, "$killed children were killed");
        invariant($fleet, \@ids, 'each call ran once on each node, or again where another call\'s kill cut its run short', flagged => 1);
        is_deeply([grep { $origin{$_}->runs($_) != 1 } @ids], [], 'where it was answered it ran once, whatever was killed');
    };
}

for my $durability (durabilities()) {
    subtest "$durability: a child is killed while it runs calls in the background" => sub {
        my $fleet = Fleet->new(nodes => 2, durability => $durability, directives => 'ServicelessSyncInterval 1s')->start;
        my ($node) = $fleet->nodes;
        my @ids;
        for my $round (1 .. amount(2, 50)) {
            my @calls = in_the_background($node, $AT_ONCE);
            poll { grep { $node->runs($_->[1]) } @calls } 10;
            my ($id) = grep { $node->runs($_) } map { $_->[1] } @calls;
            ok($id && kill_who_ran($node, $id), "round $round: a child that runs calls is killed");
            push @ids, all_answered($node, @calls);
        }
        invariant($fleet, \@ids, 'each call ran once on each node, or again where its run was cut short', flagged => 1);
        my $again = grep { $node->runs($_) > 1 } @ids;
        note("$again of " . @ids . ' calls ran again');
    };
}

for my $durability (durabilities()) {
    subtest "$durability: the whole server is killed after its answer" => sub {
        my $fleet = Fleet->new(nodes => 2, durability => $durability, directives => 'ServicelessSyncInterval 1s')->start;
        my ($node, $other) = $fleet->nodes;
        my (@answered, @background);
        for my $round (1 .. amount(2, 200)) {
            my @calls = in_the_background($node, $AT_ONCE);
            push @background, all_answered($node, @calls);
            my $id = make_id();
            my $answer = $node->call('runlog.note', [$round], id => $id);
            $node->kill9;
            is($answer->{json}{outcome}, 'ok', "call $round is answered") unless ($answer->{json}{outcome} // '') eq 'ok';
            push @answered, $id;
            $node->start;
        }
        invariant($fleet, \@answered, 'each call that was answered with its outcome ran once on each node');
        invariant($fleet, \@background, 'each other one too, or again where its run may have been cut short', flagged => 1);
        unlike($other->error_log, qr/SVL0191/, 'no run was cut short where nothing was killed');
        my $again = grep { $node->runs($_) > 1 } @background;
        note("$again of " . @background . ' calls ran again');
    };
}

subtest 'a call that waits while its server is killed again and again is not taken for the reason' => sub {
    my $fleet = Fleet->new(nodes => 1, directives => one_child())->start;
    my ($node) = $fleet->nodes;
    my $runs = 0;
    my @ids = map { $node->call('runlog.sleep', [$HANG], reply => 'accepted')->{json}{id} } 1 .. $WAITING;
    my $quarantined = sub { return $node->error_log =~ /SVL0190/ };
    for (1 .. $KILLS) {
        poll { $node->runs > $runs || $quarantined->() } 10;
        last if $quarantined->();
        $fleet->settle(0.3); # all that can run at a time do
        $runs = $node->runs;
        $node->kill9;
        $node->start;
    }
    eventually { $quarantined->() } 10, 'one that ran each time is quarantined';
    my @quarantined = $node->error_log =~ /SVL0190: call (\S+) of/g;
    my @never = grep { !$node->runs($_) } @ids;
    cmp_ok(scalar @never, '>', 0, @never . " of $WAITING calls waited all the time");
    is_deeply([grep { !$node->runs($_) } @quarantined], [], 'none of these is');
    $node->kill9; # what runs would hold up the end
};

done_testing;
