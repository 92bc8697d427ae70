#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# A node that was away returns to CALLS missed calls: how fast it catches up, what memory that takes on both sides, and how long both
# let the callers of example.echo wait meanwhile.
#
#   make check-built && perl -I t/lib bench/catchup.pl [CALLS [async|fsync]]    (SVL_BUILDDIR names the build, SVL_TEST_MPM the MPM)
#
# n1 accepts the calls while n2 is down, each a call of its own through the C interface.  "held" is the time from when n2 listens until its
# log has all of them, "run" until none of them is left to run.  "transfer" is what sync itself says that it took.  Meanwhile one client
# a node makes a call each PAUSE, so that a call that waits delays none that follows by more than itself.  Memory is what the processes of a node have
# for themselves (Anonymous of smaps_rollup: the pages of the log are none, the kernel may take them back): the highest of a look each LOOK.
use strict;
use warnings;
use Fleet;
use List::Util qw(max sum0);
use Proc qw(memory);
use Test::More ();
use Time::HiRes qw(sleep time);

my $CALLS = $ARGV[0] // 100_000;
my $DURABILITY = $ARGV[1] // 'fsync';
my $PART = 500;   # calls a request
my $CALLERS = 20; # requests at a time: commits are shared
my $PAUSE = 0.01; # seconds between two calls of a client
my $LOOK = 0.05;
my $YOUNG = 2.5;  # seconds that calls are left to relay, and some

Test::More->builder->no_ending(1);
my $fleet = Fleet->new(nodes => 2, durability => $DURABILITY, directives => <<"CONF")->start;
LoadModule caller_module "@{[Fleet::build_directory()]}/.libs/mod_caller.so"
LogLevel warn serviceless:info
ServicelessStoreSize 1g
<Location "/caller">
    SetHandler caller
</Location>
CONF
my ($n1, $n2) = $fleet->nodes;

sub percentile {
    my ($share, @all) = @_;
    @all = sort { $a <=> $b } @all;
    return @all ? 1000 * $all[$share * $#all] : 0;
}

# A process that calls $node until it is told to end; its file has a line for each call: when it was due, how long it took.
sub caller_of {
    my ($node) = @_;
    my $path = $node->directory . '/waits';
    my $pid = fork // die "cannot fork: $!\n";
    return {pid => $pid, path => $path} if $pid;
    open my $file, '>', $path or POSIX::_exit(1);
    $file->autoflush(1);
    my $client = $node->client(timeout => 10);
    my $end = 0;
    $SIG{TERM} = sub { $end = 1 };
    until ($end) {
        my $start = time;
        my $answer = $client->call('example.echo', ['x']);
        printf $file "%.6f %.6f %d\n", $start, time - $start, $answer->{status};
        my $left = $start + $PAUSE - time;
        sleep $left if $left > 0;
    }
    POSIX::_exit(0);
}

sub waits {
    my ($caller, $from, $to) = @_;
    open my $file, '<', $caller->{path} or die "cannot open $caller->{path}: $!\n";
    my @all = grep { $_->[0] >= $from && $_->[0] <= $to } map { [split] } <$file>;
    my $bad = grep { $_->[2] != 200 } @all;
    my @seconds = map { $_->[1] } @all;
    return sprintf '%6d calls, %d refused; ms: p50 %6.1f  p99 %6.1f  largest %6.1f', scalar @all, $bad, percentile(0.5, @seconds),
        percentile(0.99, @seconds), percentile(1, @seconds);
}

# KiB of a node's processes, and of the largest of them.
sub private {
    my ($node) = @_;
    my @sizes = map { my $m = memory($_); $m ? $m->{anonymous} : 0 } $node->children;
    return [sum0(@sizes), max(0, @sizes)];
}

my %before = map { $_->name => private($_) } $n1, $n2;
$n2->kill9;
my $start = time;
for (1 .. $CALLS / $PART / $CALLERS) {
    my @clients = map { $n1->client } 1 .. $CALLERS;
    $_->begin("GET /caller?function=example.echo&args=[\"hello\"]&n=$PART HTTP/1.1\r\nHost: n1\r\n\r\n") for @clients;
    ($_->finish->{json}{outcome} // '') eq 'ok' or die "n1 did not accept\n" for @clients;
}
printf "n1 accepted %d calls in %.1f s (%s, %s)\n", $CALLS, time - $start, $DURABILITY, $fleet->{mpm};
poll { !$n1->status->{log}{pending} } 60 or die "n1 does not end\n";
sleep $YOUNG;
$before{n1} = private($n1);
my $quiet = time;
my $at_n1 = caller_of($n1);
sleep 3;
$n2->start;
my $listens = time;
my $at_n2 = caller_of($n2);
my (%most, $held, $run);
until ($run) {
    my $log = $n2->status->{log};
    my $now = time;
    $held //= $now if $log->{calls} >= $CALLS;
    $run = $now if $held && $log->{pending} < 50;
    for my $node ($n1, $n2) {
        my $size = private($node);
        $most{$node->name} = [map { max($size->[$_], $most{$node->name}[$_] // 0) } 0, 1];
    }
    die "n2 has $log->{calls} calls after 120 s\n" if $now - $listens > 120;
    sleep $LOOK;
}
kill 'TERM', $at_n1->{pid}, $at_n2->{pid};
waitpid $_->{pid}, 0 for $at_n1, $at_n2;
my ($came, $ms) = (0, 0);
my ($pulled, $given) = map { $_->error_log } $n2, $n1; # who asked for the sync writes the line
$came += $1, $ms += $2 while $pulled =~ /: (\d+) calls came, \d+ went, in (\d+) ms/g;
$came += $1, $ms += $2 while $given =~ /: \d+ calls came, (\d+) went, in (\d+) ms/g;
printf "held      %6.2f s  %8.0f calls/s\n", $held - $listens, $CALLS / ($held - $listens);
printf "run       %6.2f s  %8.0f calls/s\n", $run - $listens, $CALLS / ($run - $listens);
printf "transfer  %6.2f s  %8.0f calls/s (%d calls)\n", $ms / 1000, $came * 1000 / ($ms || 1), $came;
printf "n2, example.echo meanwhile  %s\n", waits($at_n2, $listens, $run);
printf "n1, example.echo meanwhile  %s\n", waits($at_n1, $listens, $run);
printf "n1, example.echo before     %s\n", waits($at_n1, $quiet + 0.2, $listens - 1.5);
for my $node ($n2, $n1) {
    my $name = $node->name;
    printf "%s, memory: %d KiB before, at most %d KiB; the largest process %d, then %d\n", $name, $before{$name}[0], $most{$name}[0],
        $before{$name}[1], $most{$name}[1];
}
