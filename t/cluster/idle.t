# SPDX-License-Identifier: Apache-2.0
# An idle child costs next to nothing: it wakes about once a second, also where its node compares logs with a peer every few seconds,
# and a node adds little memory to it.
# A wake-up is a moment in which any of its threads ran: what a request makes several threads do within milliseconds is one.
use strict;
use warnings;
use Fleet;
use Fleet::Edit;
use List::Util qw(max min sum0);
use Proc qw(memory switches);
use Test::More;
use Time::HiRes qw(time);

my $SECONDS = 10;       # that the children are watched: two intervals of sync
my $LOOKS = 3;          # at most
my $STEADY = 2;         # seconds without a new or a lost child that count as idle
my $WAKES = 1.3;        # a second and child, beyond those of a server without a node
my $MEMORY = 2048;      # KiB of a child, likewise

# The same server without any directive of the module.
my $plain = Fleet->new(nodes => 1);
edit_conf($plain->node('n1'), sub { s/^Serviceless.*\n//mg; s{^<Location.*?^</Location>\n}{}msg });
my $fresh = Fleet->new(nodes => 2);
my $used = Fleet->new(nodes => 2);
my $apart = Fleet->new(nodes => 2, directives => "ServicelessSyncInterval 1h\n"); # from sync: there is nothing else that threads do
my %node = map { $_->[0] => $_->[1]->start->node('n1') } [plain => $plain], [fresh => $fresh], [used => $used], [apart => $apart];

# One that has called and relayed before.  Its peer sends it nothing, and has all connections to itself.
my $client = $node{used}->client;
my @ids = map { $client->call('runlog.note', [$_])->{json}{id} } 1 .. 50;
$client->disconnect;
$used->once(\@ids, '50 calls ran everywhere');

sub children {
    return map { $_ => [$node{$_}->children] } keys %node;
}

my ($last, $since) = ('', time);
eventually {
    my %now = children();
    my $now = join ' ', map { "$_ @{$now{$_}}" } sort keys %now;
    ($last, $since) = ($now, time) if $now ne $last;
    return time - $since > $STEADY;
} 30, 'all servers are idle';

# The switches of each child: {kind => {pid => number}}.
sub look {
    my %children = children();
    my %count;
    for my $kind (keys %children) {
        $count{$kind}{$_} = switches($_) for @{$children{$kind}};
    }
    return \%count;
}

# Wake-ups a second of each child, lowest first: {kind => [number, …]}.  One lasts until a look finds that nothing ran since the last.
# The second hash has the switches of threads likewise.
sub watch {
    my $start = time;
    my $first = my $last = look();
    my (%awake, %wakes);
    poll {
        my $now = look();
        for my $kind (keys %$now) {
            for my $pid (keys %{$now->{$kind}}) {
                my $ran = ($now->{$kind}{$pid} // 0) > ($last->{$kind}{$pid} // 0);
                $wakes{$kind}{$pid}++ if $ran && !$awake{$pid};
                $awake{$pid} = $ran;
            }
        }
        $last = $now;
        return time - $start >= $SECONDS;
    } 2 * $SECONDS;
    my $took = time - $start;
    my (%rate, %switches);
    for my $kind (sort keys %node) {
        my @pids = sort keys %{$first->{$kind}};
        is_deeply([sort keys %{$last->{$kind}}], \@pids, "$kind: no child came or went meanwhile");
        $rate{$kind} = [sort { $a <=> $b } map { ($wakes{$kind}{$_} // 0) / $took } @pids];
        $switches{$kind} = [sort { $a <=> $b } map { (($last->{$kind}{$_} // 0) - $first->{$kind}{$_}) / $took } @pids];
        note(sprintf '%s, %s: wake-ups a second of each child: %s; switches: %s', $fresh->{mpm}, $kind,
             join(' ', map { sprintf '%.2f', $_ } @{$rate{$kind}}),
             join ' ', map { sprintf '%.2f', $_ } @{$switches{$kind}});
    }
    return (\%rate, \%switches);
}

# How much oftener the busiest child of each kind wakes than the usual one of a server without a node.  What else runs on the machine
# takes the processor from a child now and then, which only adds: the quietest of some looks counts.
my %more;
for (1 .. $LOOKS) {
    my ($rate, $switches) = watch();
    for ([fresh => $rate], [used => $rate], [apart => $switches]) {
        my ($kind, $of) = @$_;
        my $usual = sum0(@{$of->{plain}}) / @{$of->{plain}};
        $more{$kind} = min(grep { defined } $more{$kind}, max(@{$of->{$kind}}) - $usual);
    }
    last unless grep { $_ > $WAKES } values %more;
}
cmp_ok($more{apart}, '<=', $WAKES, 'apart from sync no child switches threads oftener than once a second more than without a node');
cmp_ok($more{$_}, '<=', $WAKES, "$_: no child wakes oftener than once a second more than without a node") for qw(fresh used);

SKIP: {
    skip 'an instrumented build has its own use of memory', 1 if $ENV{SVL_SANITIZER};
    my %size;
    for my $kind (sort keys %node) {
        my @memory = grep { defined } map { memory($_) } $node{$kind}->children;
        for my $of (qw(private pss)) {
            $size{$kind}{$of} = sum0(map { $_->{$of} } @memory) / @memory;
        }
        note(sprintf '%s, %s: KiB of a child: private %.0f, proportional %.0f', $fresh->{mpm}, $kind, @{$size{$kind}}{qw(private pss)});
    }
    for my $of (qw(private pss)) {
        my $more = $size{fresh}{$of} - $size{plain}{$of};
        note(sprintf '%s: a node adds %.0f KiB (%s) to a child', $fresh->{mpm}, $more, $of);
        cmp_ok($more, '<', $MEMORY, "a node adds less than 2 MiB to an idle child ($of)");
    }
}

done_testing;
