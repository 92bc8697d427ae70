# SPDX-License-Identifier: Apache-2.0
# MPMs: event prefork
# A peer that is down is known to all children at once and costs nothing; when it comes back it is noticed, sooner if it says something.
use strict;
use warnings;
use Fleet;
use Test::More;
use Time::HiRes qw(time);

my $QUICK = "ServicelessConnectTimeout 500ms\nServicelessTimeout 2s\nServicelessSyncInterval 0\n"; # relay and prober alone
my $MANY = 20;   # connections at the same time
my $ROUNDS = 3;
my $CLAIM = 1;   # seconds between two looks of the prober
my $SLACK = 1.5; # seconds for the rest: a probe, a busy machine

# Bounds of the wait before the next probe, in seconds, after so many failures in a row: it doubles from half a second to 30, with a
# quarter of jitter either way.
sub wait_bounds {
    my ($failures) = @_;
    my $wait = 0.5 * 2 ** ($failures - 1);
    $wait = 30 if $wait > 30;
    my ($least, $most) = (0.75 * $wait, 1.25 * $wait);
    return ($least < 0.5 ? 0.5 : $least, $most > 30 ? 30 : $most);
}

# How many probes there can have been $seconds after a peer went down.
sub most_probes {
    my ($seconds) = @_;
    my $probes = 0;
    while (1) {
        $seconds -= (wait_bounds($probes + 1))[0];
        return $probes if $seconds < 0;
        $probes++;
    }
}

sub peer {
    my ($node, $name) = @_;
    my ($peer) = grep { $_->{name} eq $name } @{$node->status->{members}};
    return $peer;
}

sub lines {
    my ($node, $pattern) = @_;
    return scalar grep { /SVL\d{4}: $pattern/ } split /\n/, $node->error_log;
}

# Calls on $MANY connections at the same time, each a new one.  Returns the ids.
sub burst {
    my ($node) = @_;
    my @clients = map { $node->client } 1 .. $MANY;
    for my $client (@clients) {
        $client->begin($client->message($client->call_body('runlog.note', ['x'])));
    }
    my @answers = map { $_->finish } @clients;
    my @odd = grep { $_->{status} != 200 } @answers;
    is(@odd, 0, "$MANY calls at once are accepted");
    return map { $_->{json}{id} } @answers;
}

subtest 'a dead peer is skipped by all children, and comes back' => sub {
    my $fleet = Fleet->new(nodes => 3, directives => $QUICK)->start;
    my ($n1, $n2, $n3) = $fleet->nodes;
    my @living = ($n1, $n3);
    my $warm = $n1->call('runlog.note', ['warm']);
    $fleet->once([$warm->{json}{id}], 'all nodes work');
    ok(peer($n1, 'n2')->{up}, 'the status shows the peer up');
    $n2->kill9;
    my $died = time;

    my @ids = burst($n1);
    $fleet->once(\@ids, 'calls go round a dead node', living => \@living);
    my $first = peer($n1, 'n2');
    ok(!$first->{up}, 'the status shows it down');
    ok($first->{down_since}, 'and since when');
    my @children = $n1->children;
    cmp_ok($first->{relays}{connect} + $first->{relays}{broken}, '<=', @children + most_probes(time - $died),
           'no child tried it more than once');

    push @ids, burst($n1) for 1 .. $ROUNDS;
    $fleet->once(\@ids, 'so do all later ones', living => \@living);
    my $then = peer($n1, 'n2');
    is($then->{relays}{skipped} - $first->{relays}{skipped}, $MANY * $ROUNDS, 'for each of those it was skipped once');
    my $tries = $then->{relays}{connect} - $first->{relays}{connect};
    cmp_ok($tries, '<=', most_probes(time - $died), "and not tried, but by the prober ($tries times)");
    my %pid = map { ($n1->runs_of($_))[0]{pid} => 1 } @ids;
    cmp_ok(keys %pid, '>', 1, 'that holds for several children');

    my (undef, $most) = wait_bounds(peer($n1, 'n2')->{failures} + 1);
    my $start = time;
    $n2->start;
    eventually { peer($n1, 'n2')->{up} } $most + $CLAIM + $SLACK, 'after it came back the prober notices within its bounds';
    note(sprintf 'noticed after %.2f s, the bound was %.2f s', time - $start, $most + $CLAIM);
    my $after = peer($n1, 'n2');
    is($after->{down_since}, undef, 'and the status says so');
    @ids = burst($n1);
    $fleet->once(\@ids, 'calls go there again');
    is(lines($n1, 'node n2 is down'), 1, 'the log has one line for its going');
    is(lines($n1, 'node n2 is up'), 1, 'and one for its coming');
    # What it had taken over is another matter, which comes up when an interval of sync is over.
    cmp_ok(lines($n1, '(?!.* calls over:).*\bn2\b'), '<=', 2, 'and no others about it');
};

subtest 'a peer that comes back and sends something is noticed sooner' => sub {
    my $fleet = Fleet->new(nodes => 2, directives => $QUICK)->start;
    my ($n1, $n2) = $fleet->nodes;
    $n2->kill9;
    $n1->call('runlog.note', ['x']);
    my $failures = 0;
    eventually { ($failures = peer($n1, 'n2')->{failures}) >= 5 } 30, 'the prober finds it down again and again';
    my ($least) = wait_bounds($failures);
    my $start = time;
    $n2->start;
    my $answer = $n2->call('runlog.note', ['back']);
    eventually { peer($n1, 'n2')->{up} } 10, 'then it says something';
    my $took = time - $start;
    cmp_ok($took, '<', $least / 2, sprintf('and is up after %.2f s, though the next probe was %.2f s away', $took, $least));
    my @ids = ($answer->{json}{id}, $n1->call('runlog.note', ['again'])->{json}{id});
    $fleet->once(\@ids, 'calls go both ways');
    is(lines($n1, 'node n2 is down'), 1, 'one line for its going, though many probes failed');
    is(lines($n1, 'node n2 is up'), 1, 'one line for its coming');
};

done_testing;
