# SPDX-License-Identifier: Apache-2.0
# MPMs: event worker prefork
# Row 8: graceful restarts under load, and children that are replaced all the time: no request fails, no call is lost or runs twice, the
# old children go, and nothing is left behind: no shared memory, semaphore, mapping, thread, or open file.
use strict;
use warnings;
use Callers;
use Fault;
use Fleet;
use Poll;
use Proc qw(alive descriptors mappings named_mappings shared_memory system_v threads);
use Test::More;

my $BETWEEN = 100;   # runs on the restarted node between two restarts
my $CHILDREN = 20;   # so many must have come and gone

subtest 'graceful restarts under load' => sub {
    my $fleet = Fleet->new(nodes => 3)->start;
    my $node = $fleet->node('n2');
    my $restarts = amount(4, 20);
    my (%old, $starved);
    my @ids = under_load($fleet, sub {
        for (1 .. $restarts) {
            my $runs = $node->runs;
            poll { $node->runs > $runs + $BETWEEN } 20 or $starved++;
            $old{$_} = 1 for $node->children;
            $node->graceful;
        }
        my $runs = $node->runs;
        poll { $node->runs > $runs + $BETWEEN } 20 or $starved++;
    });
    is($starved, undef, "calls ran between all $restarts restarts");
    invariant($fleet, \@ids, 'each accepted call ran once on each node');
    delete @old{$node->children};
    eventually { !grep { alive($_) } keys %old } 10, 'the ' . keys(%old) . ' old children are gone';
    $fleet->stop;
    $fleet->no_crash;
};

subtest 'children that live for five connections, under load' => sub {
    my $fleet = Fleet->new(nodes => 3, directives => 'MaxConnectionsPerChild 5')->start;
    my ($node) = $fleet->nodes;
    my %seen;
    my @ids = under_load($fleet, sub {
        poll {
            $seen{$_} = 1 for map { $_->children } $fleet->nodes;
            return keys %seen > $CHILDREN && $node->runs > amount(200, 4000);
        } amount(15, 120);
        $node->graceful for 1 .. amount(1, 5);
    }, each_connection => 2);
    cmp_ok(scalar keys %seen, '>', $CHILDREN, keys(%seen) . ' children were seen');
    invariant($fleet, \@ids, 'each accepted call ran once on each node');
    $fleet->stop;
    $fleet->no_crash;
};

# What one process holds.
sub held {
    my ($pid) = @_;
    my %held = (files => scalar descriptors($pid), threads => scalar threads($pid), 'shared segments' => scalar shared_memory($pid));
    $held{mappings} = mappings($pid) unless $ENV{SVL_SANITIZER}; # an instrumented build maps memory of its own
    return {map { $_ => $held{$_} // 0 } keys %held}; # it may have ended
}

# The most that any of some children hold.  How many threads run at a time is chance, and each has a stack and a heap.
sub most_held {
    my %most;
    for my $pid (@_) {
        my $held = held($pid);
        $held->{mappings} = named_mappings($pid) // 0 if defined $held->{mappings};
        for my $kind (keys %$held) {
            $most{$kind} = $held->{$kind} if $held->{$kind} > ($most{$kind} // 0);
        }
    }
    return \%most;
}

# Compares what was held $before and is held $after.
sub not_grown {
    my ($who, $before, $after, $slack) = @_;
    for my $kind (sort keys %$before) {
        cmp_ok($after->{$kind}, '<=', $before->{$kind} + $slack, "$who: $kind, first $before->{$kind}, then $after->{$kind}");
    }
    return;
}

subtest 'restarts leave nothing behind' => sub {
    my @outside = system_v();
    my $fleet = Fleet->new(nodes => 2)->start;
    my ($node, $other) = $fleet->nodes;
    my $restarts = amount(8, 50);
    my ($pid, %old, @ids);
    # A child that has answered a call and relayed it holds all that it ever needs; before that it may hold less.
    my $used = sub { push @ids, map { $_->call('runlog.note', ['used'])->{json}{id} } $node, $other for 1 .. 10 };
    $pid = $node->pid;
    for (1 .. 2) { # what is allocated once is there then
        $old{$_} = 1 for $node->children;
        $node->graceful;
    }
    $used->();
    invariant($fleet, \@ids, 'calls run');
    eventually { !grep { alive($_) } keys %old } 10, 'the first children are gone';
    my ($parent, $children) = (held($pid), most_held($node->children));
    for (1 .. $restarts) {
        $old{$_} = 1 for $node->children;
        $node->graceful;
    }
    delete @old{$node->children};
    eventually { !grep { alive($_) } keys %old } 10, "$restarts restarts: the old children are gone";
    $used->();
    invariant($fleet, \@ids, 'calls run');
    not_grown('the parent', $parent, held($pid), 0);
    # Connections to peers and threads that run come and go: what leaks grows with each restart.
    not_grown('a child', $children, most_held($node->children), $restarts - 1);
    $fleet->no_crash;
    $node->kill9;
    $node->start;
    my $answer = $node->call('runlog.note', ['after a kill']);
    invariant($fleet, [$answer->{json}{id}], 'the server starts again after a kill');
    $fleet->stop;
    is_deeply([system_v()], \@outside, 'no segment, no semaphore and no file in /dev/shm is left');
};

done_testing;
