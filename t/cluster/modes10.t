# SPDX-License-Identifier: Apache-2.0
# Ten nodes, each mode, each origin, 1,000 calls: once a node.  The same with four random nodes dead, and how long the last one waits.
use strict;
use warnings;
use Client qw(make_id);
use Fleet;
use List::Util qw(max shuffle);
use Test::More;
use Time::HiRes qw(time);

my $CALLS = 100;    # from each origin
my $DEAD = 4;
my $SINGLES = 9;    # calls whose spreading is timed
my $BOUND = 0.200;  # seconds to the last living node
my $seed = $ENV{SVL_TEST_SEED} // int rand 2**31;
diag("SVL_TEST_SEED=$seed");
srand $seed;

# $CALLS calls from each of the nodes, one at a time a node, all nodes at the same time.  Returns the ids that were accepted.
sub calls_from {
    my (@origins) = @_;
    my @clients = map { $_->client } @origins;
    my (@ids, @odd);
    for my $number (1 .. $CALLS) {
        my @now = map { make_id() } @clients;
        for my $i (0 .. $#clients) {
            $clients[$i]->begin($clients[$i]->message($clients[$i]->call_body('runlog.note', [$number]), id => $now[$i]), id => $now[$i]);
        }
        for my $i (0 .. $#clients) {
            my $answer = $clients[$i]->finish;
            push @odd, $origins[$i]->name . ': ' . ($answer->{status} || $answer->{error}) unless $answer->{status} == 200;
        }
        push @ids, @now;
    }
    is_deeply(\@odd, [], @ids . ' calls are accepted');
    return @ids;
}

for my $mode (qw(bounce broadcast tree:3)) {
    subtest $mode => sub {
        my $fleet = Fleet->new(nodes => 10, mode => $mode, directives => "ServicelessConnectTimeout 500ms\nServicelessTimeout 5s")->start;
        my @ids = calls_from($fleet->nodes);
        $fleet->once(\@ids, 'each ran once on each node', deadline => 60);

        my @mixed = shuffle $fleet->nodes;
        my @dead = @mixed[0 .. $DEAD - 1];
        my @living = @mixed[$DEAD .. $#mixed];
        diag("$mode: dead are " . join ' ', map { $_->name } @dead);
        $_->kill9 for @dead;

        # one call at a time, before anybody had to learn who is dead: connections to them are refused
        my @seconds;
        for my $n (1 .. $SINGLES) {
            my $origin = $living[$n % @living];
            my $id = make_id();
            my $start = time;
            $origin->call('runlog.note', ['single'], id => $id);
            last unless poll { $fleet->arrived([$id], @living) } 10;
            push @seconds, max(map { ($_->runs_of($id))[0]{time} } @living) - $start;
        }
        is(scalar @seconds, $SINGLES, 'single calls reach every living node');
        my ($median) = (sort { $a <=> $b } @seconds)[$#seconds / 2];
        diag(sprintf '%s: to the last living node in ms: %s', $mode, join ' ', map { sprintf '%.1f', 1000 * $_ } @seconds);
        cmp_ok($median // 10, '<', $BOUND, 'the last living node has a call within 200 ms (median)');

        @ids = calls_from(@living);
        $fleet->once(\@ids, 'each ran once on each living node', living => \@living, deadline => 60);
        $fleet->stop;
    };
}

done_testing;
