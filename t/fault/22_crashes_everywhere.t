# SPDX-License-Identifier: Apache-2.0
# MPMs: event prefork
# Row 22: a function that crashes on every node.  It runs at most three times on each, then it is quarantined there: the log and the status
# page say so, children do not keep dying, and other calls go on all the while.
use strict;
use warnings;
use Callers;
use Client qw(make_id);
use Fault;
use Fleet;
use Test::More;
use Time::HiRes qw(time);

my $BESIDE = 2; # seconds that a run takes which shares its process with one that crashes
my $CALM = 2.5; # seconds without a dying child that count as the end: longer than the dead are taken over

sub deaths { return scalar(() = $_[0]->error_log =~ /exit signal/g) }

sub body { return $_[0]->client->call_body('runlog.crash', ['segv'], reply => 'accepted') }

subtest 'on every node it is quarantined' => sub {
    my $fleet = Fleet->new(nodes => amount(3, 5), crashes => 1, directives => 'ServicelessSyncInterval 1s')->start;
    my @nodes = $fleet->nodes;

    my @bad;
    my @ids = under_load($fleet, sub {
        for my $i (1 .. amount(2, 10)) {
            my ($node, $id) = ($nodes[$i % @nodes], make_id());
            my $answer = until_answered($node, body($node), id => $id);
            is($answer->{status}, 202, 'a call that crashes is accepted') unless $answer->{status} =~ /^20[02]$/;
            push @bad, $id;
        }
        for my $node (@nodes) {
            eventually {
                my $log = $node->error_log;
                return !grep { $log !~ /SVL0190: call $_ of runlog\.crash is quarantined/ } @bad;
            } 90, $node->name . ' quarantines the calls that crash';
        }
    });
    my %deaths;
    my $calm = time;
    poll {
        for my $node (@nodes) {
            my $deaths = deaths($node);
            $calm = time if $deaths != ($deaths{$node->name} // 0);
            $deaths{$node->name} = $deaths;
        }
        return time - $calm > $CALM;
    } 30;
    for my $node (@nodes) {
        my $name = $node->name;
        my %runs = map { $_ => $node->runs($_) } @bad;
        is_deeply([grep { $runs{$_} < 1 || $runs{$_} > 3 } @bad], [], "$name: each ran at most three times, and at least once");
        cmp_ok($deaths{$name}, '<=', 3 * @bad, "$name: $deaths{$name} children died, for " . @bad . ' calls');
        my $status = $node->status;
        # The log has all of them; a process that another of these calls ends right after it has recorded one takes that count along.
        my $counted = $status->{functions}{'runlog.crash'}{calls}{quarantined};
        ok($counted <= @bad && $counted >= @bad - 1 - @bad / 10, "$name: the status page counts what is quarantined: $counted of " . @bad);
        my @others = grep { my $id = $_; !grep { $_ eq $id } @bad } $node->error_log =~ /SVL0190: call (\S+) of/g;
        # A crash may come when a run has begun for the log, and its function not yet.
        my $cut = sub { my ($id) = @_; return scalar(() = $node->error_log =~ /SVL0191: call $id of/g) };
        is_deeply([grep { $node->runs($_) > 3 || ($node->runs($_) < 3 && $cut->($_) < 3) } @others], [],
                  'another call only when three of these crashes fell into its runs');
        cmp_ok(scalar @others, '<=', @bad / 2, 'which is rare: ' . @others);
        my ($cells) = $node->get('/serviceless-status')->{body} =~ m{<tr><td>runlog\.crash</td>(.*?)</tr>};
        is(($cells =~ m{<td>(\d+)</td>}g)[2], $counted, 'also for people');
        my %told = map { $_ => $node->post(body($node), id => $_)->{json}{outcome} // '' } @bad;
        is_deeply([grep { $told{$_} ne 'quarantined' } @bad], [], 'and so it is answered to who asks, for each of them');
    }
    invariant($fleet, \@ids, 'other calls ran once on each node, or again where a crash cut them short', flagged => 1);
    my @after = map { $_->call('runlog.note', ['after'])->{json}{id} } @nodes;
    invariant($fleet, \@after, 'and go on');
    is_deeply({map { $_->name => deaths($_) } @nodes}, \%deaths, 'no child died any more');
};

subtest 'it does not take along what ran beside it' => sub {
    my $fleet = Fleet->new(nodes => 1, crashes => 1, directives => one_child())->start;
    my ($node) = $fleet->nodes;
    my ($beside, $bad) = (make_id(), make_id());
    my $sleep = $node->client->call_body('runlog.sleep', [$BESIDE], reply => 'accepted');
    $node->post($sleep, id => $beside);
    eventually { $node->runs($beside) } 10, 'a call runs';
    until_answered($node, $node->client->call_body('runlog.crash', [], reply => 'accepted'), id => $bad);
    eventually { $node->error_log =~ /SVL0190: call $bad of/ } 30, 'another one ends its process three times';
    eventually { (until_answered($node, $sleep, id => $beside)->{json}{outcome} // '') eq 'ok' } 20, 'the first one ends as it should';
    invariant($fleet, [$beside], 'after as many runs as were cut short, and one', flagged => 1);
};

done_testing;
