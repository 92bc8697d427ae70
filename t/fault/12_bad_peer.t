# SPDX-License-Identifier: Apache-2.0
# MPMs: event prefork
# Row 12: a peer that accepts connections and then never answers, answers 500, garbage, a byte a second, a redirect, an enormous body, with
# a wrong signature or none.  The others have the call in time; it has the call when it behaves; the metrics name the result.
use strict;
use warnings;
use Fault;
use FaultProxy;
use Fleet;
use Fleet::Edit;
use Proc ();
use Test::More;
use Time::HiRes qw(time);

my $SLACK = 1;                 # of a busy machine
my $SPREAD = 1 + 0.5 + $SLACK; # seconds: the timeout, a probe before calls are handed on
my $QUICK = 0.8;               # seconds that a request waits that no peer should delay
my $BACK = 2 * 1 + 2 + 3;      # two sync intervals, what is left to relay, slack
my $DIRECTIVES = "ServicelessConnectTimeout 500ms\nServicelessTimeout 1s\nServicelessSyncInterval 1s\n";
my $QUIET = 0.3;                # seconds without a relay that count as the end
my $KEPT = 32;                 # MiB that a child may grow by all of it

my %result = (hang => 'timeout', drip => 'timeout', drip_body => 'timeout', enormous => 'broken', headers => 'broken',
              error => 'unavailable', redirect => 'unsigned', garbage => 'broken', close => 'broken', unsigned => 'unsigned',
              stranger => 'unsigned', old_answer => 'unsigned', not_json => 'broken');

# Without fsync, since prefork's children share no commits: on a busy disk twenty calls at once would take as long as a peer that hangs.
my $fleet = Fleet->new(nodes => 4, durability => 'async', directives => $DIRECTIVES);
my ($n1, $bad, @others) = $fleet->nodes;
my $proxy = FaultProxy->new(node => $bad);
edit_conf($_, sub { $proxy->stand_in }) for $n1, @others;
$fleet->start;

sub member {
    my ($member) = grep { $_->{name} eq $bad->name } @{$n1->status->{members}};
    return $member;
}

# What became of relays to it, when nothing more comes: an acknowledgement is counted after the call has run.
sub settled_relays {
    my ($last, $since) = ('', time);
    poll {
        my $relays = member()->{relays};
        my $now = join ' ', map { "$_ $relays->{$_}" } sort keys %$relays;
        ($last, $since) = ($now, time) if $now ne $last;
        return time - $since > $QUIET;
    } 20 * $QUIET;
    return member()->{relays};
}

sub private {
    my ($node) = @_;
    my $most = 0;
    for my $pid ($node->children) {
        my $memory = Proc::memory($pid) or next;
        $most = $memory->{private} if $memory->{private} > $most;
    }
    return $most / 1024;
}

my @ids = map { $_->call('runlog.note', ['warm'])->{json}{id} } $fleet->nodes;
$fleet->once(\@ids, 'all nodes work, through the proxy too');
my @children = $n1->children;
my $before = private($n1);

my @brief = qw(hang drip enormous error redirect garbage close stranger);
# How much of real answers the proxy has let through.
sub passed { return scalar grep { $_ eq 'passed' } $proxy->requests }

for my $mode (is_long() ? map { FaultProxy::modes() } 1 .. 5 : @brief) {
    my ($was, $passed);
    poll { $passed = passed(); $was = settled_relays(); passed() == $passed } 60; # a probe that passes in between is in one of them only
    $proxy->mode($mode);
    my $start = time;
    my $id = $n1->call('runlog.note', [$mode])->{json}{id};
    cmp_ok(time - $start, '<', $QUICK, "$mode: the caller does not wait for it");
    push @ids, $id;
    $start = time;
    eventually { $fleet->arrived([$id], @others) } $SPREAD, 'the others have the call in time';
    note(sprintf '%s: after %.2f s', $mode, time - $start);
    # the call itself, or a probe, if it went on a kept connection that the proxy was just closing
    eventually { member()->{relays}{$result{$mode}} > $was->{$result{$mode}} } $SPREAD + $SLACK, "the metrics say $result{$mode}";
    # a probe of each second may have been under way when the mode changed
    cmp_ok(member()->{relays}{ok}, '<=', $was->{ok} + passed() - $passed, 'and not ok');
    $start = time;
    my @clients = map { $n1->client } 1 .. 20;
    $_->begin($_->message($_->call_body('example.echo', ['x']))) for @clients;
    is_deeply([grep { $_->finish->{status} != 200 } @clients], [], 'no worker is blocked');
    cmp_ok(time - $start, '<', $QUICK, 'nor slow');
    $proxy->mode('pass');
    eventually { member()->{up} } $BACK, 'it is up again when it behaves';
}
push @ids, $n1->call('runlog.note', ['again'])->{json}{id};
invariant($fleet, \@ids, 'then it has the calls: each ran once on each node');
is_deeply([grep { m{/elsewhere} } $proxy->requests], [], 'no redirect was followed');
my %now = map { $_ => 1 } $n1->children;
is_deeply([grep { !$now{$_} } @children], [], 'no child was lost') if $fleet->{mpm} ne 'prefork'; # which ends idle ones
my $after = private($n1);
note(sprintf 'the largest child: %.1f MiB before, %.1f MiB after', $before, $after);
cmp_ok($after - $before, '<', $KEPT, 'and none has kept what it was sent');
like($n1->error_log, qr/SVL(?:0302|0171): node n2 is down \(timeout\)/, 'the log names the peer and what it did');

done_testing;
