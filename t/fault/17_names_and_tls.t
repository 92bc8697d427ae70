# SPDX-License-Identifier: Apache-2.0
# MPMs: event prefork
# Row 17: a peer's name that cannot be resolved, a certificate that has expired or is for another name: nobody is asked with less, no child
# is blocked, the result is counted under its name, the others have the call; the peer has it too, and again the fast way once it is mended.
use strict;
use warnings;
use Mounts qw(if_may);
use Fault;
use Fleet;
use Fleet::Edit;
use Resolver;
use Test::More;
use TlsFleet;
use Time::HiRes qw(time);

my $QUICK = 0.8;          # seconds that a request waits that no peer should delay
my $BACK = 10;            # seconds until the prober has asked again, and comparing logs has brought what was missed
my $THREADS = 24;         # that a child may have beside those of the start: each name that hangs holds one, for 10 s

my %certificate = (n3 => [days => -1], n4 => [extensions => 'stranger'], n5 => [extensions => 'named']);
my $resolver;
my $fleet = tls_fleet(nodes => 5, sync => '1s', directives => "ServicelessConnectTimeout 500ms\nServicelessTimeout 2s\n",
    certificate => sub {
        my ($directory, $name) = @_;
        $resolver //= Resolver->new($directory);
        make_certificate($directory, $name, @{$certificate{$name} // []});
    },
    each => sub {
        my ($node) = @_;
        return if $node->name eq 'n5';
        my ($port) = /^ServicelessNodes n5=https:\S+:(\d+)$/m or die 'no line for n5';
        s{^(ServicelessNodes n5=https://)\S+$}{${1}peer.test:$port}m;
        $_ .= 'ServicelessSelf ' . $node->name . "\n";
    });
my ($n1, $n2, $n3, $n4, $n5) = $fleet->nodes;
my %result = (n3 => 'tls', n4 => 'tls', n5 => 'connect');

sub threads {
    my ($node) = @_;
    my ($most) = sort { $b <=> $a } map { my @tasks = glob "/proc/$_/task/*"; scalar @tasks } $node->children;
    return $most;
}

# Calls at the first node, which the second one must have at once.  Returns their ids.
sub calls {
    my ($words) = @_;
    my @ids;
    my $worst = 0;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    for (1 .. amount(10, 200)) {
        my $start = time;
        my $answer = plain_client($n1)->call('runlog.note', [$words]);
        push @ids, $answer->{json}{id};
        $worst = time - $start if time - $start > $worst;
    }
    cmp_ok($worst, '<', $QUICK, sprintf "$words: callers do not wait (%.0f ms at most)", 1000 * $worst);
    eventually { $fleet->arrived(\@ids, $n1, $n2) } 2 * $QUICK, 'the peer that can be reached has the calls at once';
    return @ids;
}

# When it starts last, none of them is down because it does not listen yet.
$n1->stop;
$n1->start;
my @children = $n1->children;
my $threads = 0; # a child that has just begun has not yet all that the MPM gives it
poll { my $was = $threads; $threads = threads($n1); plain_client($n1)->get('/') && $threads == $was && ($threads > 16 || $fleet->{mpm} eq 'prefork') } 10;
my @ids = calls('no such name, and certificates that do not hold');
poll { my %peers = peers($n1); !grep { $peers{$_}{up} } keys %result } 5;
my %peers = peers($n1);
for my $name (sort keys %result) {
    ok(!$peers{$name}{up}, "$name is down");
    cmp_ok($peers{$name}{relays}{$result{$name}}, '>', 0, "for $result{$name}");
    is($peers{$name}{relays}{ok}, 0, 'and never was asked');
    like($n1->error_log, qr/SVL(?:0302|0171): node $name is down \($result{$name}\)/, 'the log says so');
}

SKIP: {
    skip 'SKIPPED: a name server of the test needs root and a mount namespace', 1 unless $resolver;
    for my $mode (qw(failure silent)) {
        $resolver->mode($mode);
        my %was = peers($n1);
        push @ids, calls("a name server: $mode");
        eventually { my %now = peers($n1); $now{n5}{failures} > $was{n5}{failures} } $BACK, 'the prober asked again';
        push @ids, calls("a name server, after a probe: $mode");
    }
    cmp_ok(threads($n1), '<=', $threads + $THREADS, 'threads that wait for a name do not pile up');
    $resolver->mode('address');
    eventually { my %now = peers($n1); $now{n5}{up} } 40, 'with an address the peer is reached';
}
my @plain = map { grep { /speaking plain HTTP/ } $_->error_log } $n3, $n4, $n5;
is_deeply(\@plain, [], 'no request came without TLS');
is_deeply([map { tls_requests($_) } $n3, $n4], [], 'and none to those whose certificates do not hold');

for my $node ($n3, $n4) {
    make_certificate($fleet->{directory}, $node->name);
    $node->graceful;
}
eventually { my %now = peers($n1); $now{n3}{up} && $now{n4}{up} } 40, 'with a certificate that holds they are reached';
push @ids, calls('mended');
invariant($fleet, \@ids, 'each call ran once on each node');
my %now = map { $_ => 1 } $n1->children;
is_deeply([grep { !$now{$_} } @children], [], 'no child was lost') if $fleet->{mpm} ne 'prefork'; # which ends idle ones

done_testing;
