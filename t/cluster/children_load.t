# SPDX-License-Identifier: Apache-2.0
# Scope child under load, while children come and go: after a call is answered, no request that begins later is served by a child that
# has not run it; and every child that was alive at the call runs it once.
use strict;
use warnings;
use Client qw(make_id);
use Callers;
use Fleet;
use Fleet::Edit qw(edit_conf write_file);
use IO::Socket::INET;
use POSIX ();
use Table;
use Test::More;
use Time::HiRes qw(time);

my $CONNECTIONS = 64;
my $CHECKS = 10_000;
my $MOST = 120;      # seconds
my $RESTART = 3;     # seconds between two graceful restarts

my $mpm = $ENV{SVL_TEST_MPM} || 'event';
my %limits = (prefork => "ServerLimit 8\nStartServers 8\nMinSpareServers 8\nMaxSpareServers 8\nMaxRequestWorkers 8\n",
              threaded => "ServerLimit 4\nStartServers 4\nThreadLimit 16\nThreadsPerChild 16\nMinSpareThreads 64\nMaxSpareThreads 64\n"
                  . "MaxRequestWorkers 64\n");

my $fleet = table_fleet(nodes => 1, directives => "KeepAlive Off\nMaxConnectionsPerChild 400\n");
my ($node) = $fleet->nodes;
edit_conf($node, sub { s/^(?:ServerLimit|StartServers|Thread\w+|M(?:in|ax)Spare\w+|MaxRequestWorkers) .*\n//mg; $_ .= $limits{$mpm} // $limits{threaded} });
$fleet->start;

# One connection after the other: asks a child for its table, and compares with the number that was answered before it asked.  Appends a
# byte to $o{checks} for each, and a line to $o{old} for each that was old.
sub keep_asking {
    my (%o) = @_;
    my $test = getppid;
    open my $answered, '<', $o{answered} or die;
    open my $checks, '>>', $o{checks} or die;
    open my $old, '>>', $o{old} or die;
    my $request = "GET /table HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    while (-e $o{flag} && getppid == $test) {
        sysseek $answered, 0, 0;
        sysread $answered, my $number, 16;
        my $socket = IO::Socket::INET->new(PeerAddr => $node->host, PeerPort => $node->port, Timeout => 10) or next;
        $socket->syswrite($request);
        my $text = '';
        while (sysread $socket, my $bytes, 4096) { $text .= $bytes }
        my ($pid, $has) = $text =~ /\r\n\r\n(\d+) (\d+)\n\z/ or next;
        syswrite $checks, '.';
        syswrite $old, "child $pid has $has after $number was answered\n" if $has < $number;
    }
    return;
}

my %o = map { $_ => "$fleet->{directory}/$_" } qw(answered checks old flag);
write_file($o{$_}, 0600, '') for qw(checks old flag);
write_file($o{answered}, 0600, sprintf '%-15d', 0);
my @askers;
for (1 .. $CONNECTIONS) {
    my $pid = fork // die "cannot fork: $!";
    if (!$pid) {
        eval { keep_asking(%o) };
        POSIX::_exit(0);
    }
    push @askers, $pid;
}

open my $answered, '+<', $o{answered} or die;
my ($number, $start, $restarted, @ids, @unrun, %seen) = (0, time, time);
while (-s $o{checks} < $CHECKS && time < $start + $MOST) {
    write_table($node, ++$number);
    my %began = began($node);
    my @before = grep { $began{$_} } $node->children;
    my $id = make_id();
    my $body = $node->client->call_body('table.reload', []);
    my $answer = until_answered($node, $body, id => $id);
    is($answer->{status}, 200, "call $number") if $answer->{status} != 200;
    sysseek $answered, 0, 0;
    syswrite $answered, sprintf '%-15d', $number;
    push @ids, $id;
    poll { (until_answered($node, $body, id => $id)->{json}{outcome} // '') eq 'ok' } 20 or push @unrun, "$id has no outcome";
    my @late;
    poll { # a child that was told to leave meanwhile is not waited for
        my %ran = ran($node, $id);
        my %alive = map { $_ => 1 } $node->children;
        @late = grep { $alive{$_} && !$ran{$_} } @before;
        return !@late;
    } 10 or push @unrun, "$id did not run in @late";
    $seen{$_} = 1 for @before;
    if (time > $restarted + $RESTART) {
        $node->graceful;
        $restarted = time;
    }
}
unlink $o{flag};
waitpid $_, 0 for @askers;

open my $old, '<', $o{old} or die;
my @old = <$old>;
note(sprintf '%s: %d checks in %.1f s, %d calls, %d children came and went', $mpm, -s $o{checks}, time - $start, scalar @ids, scalar keys %seen);
cmp_ok(-s $o{checks}, '>=', $CHECKS, "$CHECKS requests were looked at");
is_deeply([map { chomp; $_ } @old], [], 'none was served by a child that had not run what was answered before');
is_deeply(\@unrun, [], 'each call ran once in each child that was alive');
cmp_ok(keys %seen, '>', 8, 'children came and went');
is((grep { $_ > 1 } map { values %{{ran($node, $_)}} } @ids), 0, 'no child ran any call twice');
$fleet->stop;
$fleet->no_crash;

done_testing;
