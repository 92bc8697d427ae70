# SPDX-License-Identifier: Apache-2.0
# MPMs: event prefork
# Row 2: a process dies at any system call between a request and its answer, at the node that is called or at one that is relayed to.
# The client sends the same id until it is answered; then the call is everywhere, and what runs again is told that it is a rerun.
# The long form takes one system call after the other until none is left; the short form a few by chance.
use strict;
use warnings;
use Callers;
use Client qw(make_id);
use Fault;
use Fleet;
use List::Util qw(sum);
use Proc qw(alive);
use Test::More;
use Trace;

my $WRITES = 'pwrite64,pwritev,fdatasync,fsync,msync,write,writev,sendmsg,sendto,close';
# A short call is kept beside the log, and written to its journal; a long one is committed.
my ($SHORT, $LONG) = ('', 'x' x 1200);
# For the short form's choice: about as many as one thread makes of one kind for one call.
my $prefork = ($ENV{SVL_TEST_MPM} // '') eq 'prefork';
my %MOST = ("$WRITES$SHORT" => $prefork ? 3 : 2, "$WRITES$LONG" => $prefork ? 12 : 6, "all$SHORT" => 30, "all$LONG" => 40);
my $MISSES = 6;  # so many numbers that nothing reached in a row end the long form
my $EACH = 4;    # fewer of both kinds would mean that the long form traced the wrong process
my $SOON = 3;    # seconds that an answer or a death is waited for

my $refused = Trace::refused();
plan skip_all => "SKIPPED: $refused" if $refused;

# Few processes, so that the traced ones serve the call.
my $few = $prefork ? "ServerLimit 8\nStartServers 1\nMinSpareServers 1\nMaxSpareServers 2\n"
    : "ServerLimit 3\nStartServers 1\nMinSpareThreads 1\nMaxSpareThreads 32\nMaxRequestWorkers 48\n";
my $fleet = Fleet->new(nodes => 2, directives => "${few}ServicelessSyncInterval 1s", crashes => 1)->start;
my ($one, $two) = $fleet->nodes;
my (@ids, $deaths);

# Whether the outcome is in both logs.
sub ended_everywhere {
    my ($id) = @_;
    return 0 unless $fleet->arrived([$id]);
    for my $node ($fleet->nodes) {
        my (undef, $log) = $fleet->command($node, 'log', '--json', '-n', 3, $node->state_directory);
        return 0 unless $log =~ /"outcome":"ok".*"id":"$id"/;
    }
    return 1;
}

# The processes of $node that live; one that ends before it is traced is no loss, the next ones are tried.
sub trace {
    my ($node, $calls, $number) = @_;
    my $tries = 0;
    my $trace = poll {
        my @pids = grep { alive($_) } $node->children;
        $tries++;
        return @pids ? Trace->attach(\@pids, "trace=$calls", "inject=$calls:signal=KILL:when=$number") : undef;
    } 20;
    return $trace if $trace;
    my $why = sprintf "no process of %s could be traced in %d tries; it has %s\n", $node->name, $tries,
        join(' ', map { $_ . (alive($_) ? '' : ' (a zombie)') } $node->children) || 'none';
    die $why if is_long();
    diag("one death less: $why"); # the others, at least one of all, tell as much
    return;
}

# Calls $one while a process of $victim dies at system call number $number among $calls.  Returns true when one died.
sub die_at {
    my ($victim, $calls, $number, $reply, $more) = @_;
    my ($id, $client) = (make_id(), $one->client(timeout => $SOON));
    my $body = $client->call_body('runlog.note', ["$number$more"], reply => $reply);
    my $trace = trace($victim, $calls, $number) // return 0;
    $client->begin($client->message($body, id => $id), id => $id);
    my $answer = $client->finish;
    $client->disconnect;
    poll { $trace->over || ended_everywhere($id) } $SOON if $answer->{status};
    my $hit = $trace->detach;
    $answer = until_answered($one, $body, id => $id) unless $answer->{status};
    push @ids, $id;
    is($answer->{status} // 0, $reply eq 'local' ? 200 : 202, "the call is answered in the end (call $number of $calls)")
        unless ($answer->{status} // 0) =~ /^20[02]$/;
    return $hit;
}

sub each_number {
    my ($victim, $calls, $reply, $more) = @_;
    my ($misses, $hits) = (0, 0);
    for (my $number = 1; $misses < $MISSES; $number++) {
        my $hit = die_at($victim, $calls, $number, $reply, $more);
        $misses = $hit ? 0 : $misses + 1;
        $hits += $hit ? 1 : 0;
    }
    return $hits;
}

sub by_chance {
    my ($victim, $calls, $times) = @_;
    my $hits = 0;
    for (1 .. $times) {
        my $more = pick($SHORT, $LONG);
        $hits += die_at($victim, $calls, 1 + chance($MOST{"$calls$more"}), pick(qw(local accepted)), $more) ? 1 : 0;
    }
    return $hits;
}

sub died {
    my ($who, $hits, $what) = @_;
    $deaths += $hits;
    note("$who: died at $hits $what");
    cmp_ok($hits, '>=', $EACH, "$who died at each of its $what, $hits") if is_long();
    return;
}

for my $victim ($one, $two) {
    my $who = $victim == $one ? 'the node that is called' : 'one that is relayed to';
    my $hits = is_long() ? sum(map { (each_number($victim, $WRITES, 'local', $_), each_number($victim, $WRITES, 'accepted', $_)) } $SHORT, $LONG)
        : by_chance($victim, $WRITES, 3);
    died($who, $hits, 'system calls that write');
    next unless $fleet->{mpm} eq 'prefork'; # elsewhere a listening thread reaches each number first
    $hits = is_long() ? sum(map { each_number($victim, 'all', 'local', $_) } $SHORT, $LONG) : by_chance($victim, 'all', 2);
    died($who, $hits, 'system calls of any kind');
}
cmp_ok($deaths, '>', 0, "processes died at $deaths system calls");
invariant($fleet, \@ids, 'each call ran once on each node, or again where its run was flagged', flagged => 1);
note((grep { $one->runs($_) + $two->runs($_) > 2 } @ids) . ' of ' . @ids . ' calls ran again');

done_testing;
