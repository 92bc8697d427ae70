# SPDX-License-Identifier: Apache-2.0
# MPMs: event
# Row 13: half the fleet is down for many calls, then up: all are delivered, memory is bounded, and the living answer their users meanwhile.
use strict;
use warnings;
use Client qw(make_id);
use Fault;
use Fleet;
use List::Util qw(max);
use Proc ();
use Test::More;
use Time::HiRes qw(time);

my $CALLS = $ENV{SVL_TEST_CALLS} || amount(500, 10_000);
my $P99 = 0.5;                        # seconds: generous, for a busy machine with two processors and six servers
my $KEPT = 16;                        # MiB that a child may grow
my $CATCH_UP = 64;                    # MiB that a child may have that fetches what it missed: messages, and transactions of up to 8 MiB
my $DELIVERED = 20 + $CALLS / 500;    # seconds

my $fleet = Fleet->new(nodes => 6, mode => 'broadcast', durability => 'async',
                       directives => "ServicelessConnectTimeout 500ms\nServicelessSyncInterval 1s\n")->start;
my @nodes = $fleet->nodes;
my @living = @nodes[0, 2, 4];
my @gone = @nodes[1, 3, 5];

# MiB of the largest child of the living, without what it shares with others.
sub private {
    return max(map { (Proc::memory($_) // {private => 0})->{private} } map { $_->children } @living) / 1024;
}

# Calls to the living in turn, many on the way at once.
sub load {
    my ($count) = @_;
    my @ids;
    my @clients = map { $_->client } (@living) x 4;
    while (@ids < $count) {
        my @sent;
        for my $client (@clients) {
            last if @ids == $count;
            push @ids, make_id();
            push @sent, $client;
            $client->begin($client->message($client->call_body('runlog.note', ['x']), id => $ids[-1]), id => $ids[-1]);
        }
        my @odd = grep { $_->finish->{status} != 200 } @sent;
        return if @odd;
    }
    return @ids;
}

my @ids = map { $_->call('runlog.note', ['warm'])->{json}{id} } @nodes;
$fleet->once(\@ids, 'all nodes work');
$_->kill9 for @gone;
my $before = private();
my $start = time;
my @missed = load($CALLS);
is(@missed, $CALLS, "$CALLS calls are accepted while half the fleet is down");
note(sprintf '%.0f calls/s', $CALLS / (time - $start));
eventually { $fleet->arrived(\@missed, @living) } $DELIVERED, 'the living have them';
my $down = private();
cmp_ok($down - $before, '<', $KEPT, sprintf 'memory of the living: %.1f MiB a child before, %.1f after', $before, $down);

$_->launch for @gone;
$_->wait_listening for @gone;
$start = time;
my @took;
my %client = map { $_->name => $_->client } @living;
my $most = 0;
my $delivered = poll {
    for my $node (@living) {
        my $began = time;
        my $answer = $client{$node->name}->call('example.echo', ['x']);
        push @took, $answer->{status} == 200 ? time - $began : 60;
    }
    $most = max($most, private());
    return !grep { $_->runs < $CALLS + @nodes } @gone;
} $DELIVERED;
ok($delivered, sprintf 'those that were away have them after %.1f s', time - $start);
@took = sort { $a <=> $b } @took;
note(sprintf '%d times example.echo meanwhile: median %.1f ms, p99 %.1f ms, most %.1f ms', scalar @took, 1000 * $took[@took / 2],
     1000 * $took[0.99 * $#took], 1000 * $took[-1]);
cmp_ok($took[0.99 * $#took], '<', $P99, 'the living answer their users meanwhile');
cmp_ok($most - $before, '<', $KEPT, sprintf 'and never have more than %.1f MiB a child', $most);
my $theirs = max(map { (Proc::memory($_) // {private => 0})->{private} } map { $_->children } @gone) / 1024;
cmp_ok($theirs, '<', $CATCH_UP, sprintf 'nor those that came back: %.1f MiB', $theirs);
invariant($fleet, [@ids, @missed], 'each call ran once on each node', deadline => $DELIVERED);

done_testing;
