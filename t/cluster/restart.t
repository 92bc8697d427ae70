# SPDX-License-Identifier: Apache-2.0
# A graceful restart under load: no request fails, no call is lost or runs twice.  More of them, and what they leave behind: t/fault.
use strict;
use warnings;
use Callers;
use Fleet;
use Proc qw(alive);
use Test::More;

my $RESTARTS = 2;
my $BETWEEN = 150;   # runs on the restarted node between two of them

sub counted {
    my ($node) = @_;
    my $status = $node->status;
    return {runs => $status->{functions}{'runlog.note'}{calls}, seconds => $status->{functions}{'runlog.note'}{seconds},
            members => $status->{members}, rejected => $status->{rejected}};
}

subtest 'graceful restarts under load' => sub {
    my $fleet = Fleet->new(nodes => 3)->start;
    my $node = $fleet->node('n2');
    my %old;
    my @ids = under_load($fleet, sub {
        for my $round (1 .. $RESTARTS) {
            $old{$_} = 1 for $node->children;
            $node->graceful;
            my $runs = $node->runs;
            eventually { $node->runs > $runs + $BETWEEN } 10, "calls run after restart $round";
        }
    });
    $fleet->once(\@ids, 'each accepted call ran exactly once on each node', deadline => 10);
    delete @old{$node->children};
    eventually { !grep { alive($_) } keys %old } 10, 'the old children are gone';
    is($node->status->{functions}{'runlog.note'}{calls}{ok}, scalar @ids, 'the status counts the calls of all generations');
    $fleet->stop;
    $fleet->no_crash;
};

subtest 'a replay after a restart answers the first outcome and runs nothing' => sub {
    my $fleet = Fleet->new(nodes => 2, directives => "ServicelessSyncInterval 0\n")->start;
    my $node = $fleet->node('n1');
    my %message = map {
        my ($function, $id) = @$_;
        ($id => $node->client->message($node->client->call_body($function, ['the words', $id]), id => $id));
    } ['runlog.note', 'kept'], ['runlog.fail', 'failed'];
    my %first = map { $_ => $node->exchange($message{$_}, id => $_)->{json} } keys %message;
    is_deeply($first{kept}{result}, ['the words', 'kept'], 'a call with a result');
    is($first{failed}{detail}, 'the words', 'and one that fails');
    $fleet->once([keys %message], 'ran once everywhere');
    for my $restart (qw(graceful full)) {
        my $before = $restart eq 'graceful' && counted($node);
        if ($before) {
            $node->graceful;
            is_deeply(counted($node), $before, 'the numbers of the status page are those from before');
        } else {
            $node->stop;
            $node->start;
        }
        for my $id (keys %message) {
            my $answer = $node->exchange($message{$id}, id => $id);
            is($answer->{status}, 200, "$restart restart: $id is known");
            is_deeply($answer->{json}, {%{$first{$id}}, duplicate => JSON::PP::true}, 'with its first outcome');
        }
    }
    $fleet->once([keys %message], 'and ran no more');
    $fleet->no_crash;
};

done_testing;
