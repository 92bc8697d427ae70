# SPDX-License-Identifier: Apache-2.0
# What a process that dies leaves undone is done: by its siblings, or by the server that starts next.
use strict;
use warnings;
use Client qw(make_id);
use Fleet;
use Test::More;
use Time::HiRes qw(time);

# Kills the children of $node that a run of the call was noted in, once there is one.
sub kill_runner {
    my ($node, $id) = @_;
    poll { $node->runs($id) } 10 or return;
    my ($run) = $node->runs_of($id);
    return kill KILL => $run->{pid};
}

subtest 'a child that is killed in a run leaves it to its siblings' => sub {
    my $fleet = Fleet->new(nodes => 1, directives => 'ServicelessTimeout 30s')->start;
    my $node = $fleet->node('n1');
    my $slow = $node->post('{"function":"runlog.sleep","args":[2],"reply":"accepted"}')->{json}{id};
    ok(kill_runner($node, $slow), 'the child that runs it is killed');
    my @waiting = map { $node->call('runlog.note', [$_])->{json}{id} } 1 .. 5;
    eventually { $node->runs($slow) == 2 } 10, 'the call begins again without a restart';
    eventually { $node->post("{\"function\":\"runlog.sleep\",\"args\":[2],\"reply\":\"accepted\"}", id => $slow)->{json}{outcome} eq 'ok' } 15,
        'and ends';
    is($node->runs($slow), 2, 'it began twice, no oftener');
    $fleet->once(\@waiting, 'other calls ran once');
    like($node->error_log, qr/SVL0191: call $slow of runlog\.sleep may have been running/, 'the log names the call and its function');
};

subtest 'a server that is killed goes on where it was' => sub {
    my $fleet = Fleet->new(nodes => 2, mode => 'broadcast')->start;
    my ($one, $two) = $fleet->nodes;
    my @done = map { $one->call('runlog.note', [$_])->{json}{id} } 1 .. 20;
    $fleet->once(\@done, 'calls run once');
    my $slow = $one->post('{"function":"runlog.sleep","args":[1],"reply":"accepted"}')->{json}{id};
    poll { $two->runs($slow) } 10;
    $two->kill9;
    $two->start;
    eventually { $two->runs($slow) == 2 } 15, 'what it ran begins again';
    $fleet->settle(1.5);
    is($two->runs($slow), 2, 'once');
    is($one->runs($slow), 1, 'not where nothing was killed');
    $fleet->once(\@done, 'what had ended does not');
};

# The process that is to answer may be the one that the run ends: the id is ours, whether an answer comes or not.
subtest 'a function that ends every process that runs it' => sub {
    my $fleet = Fleet->new(nodes => 1)->start;
    my $node = $fleet->node('n1');
    my ($id, $once) = (make_id(), make_id());
    $node->post('{"function":"runlog.crash","reply":"accepted"}', id => $id);
    eventually { $node->error_log =~ /SVL0190: call $id of runlog\.crash is quarantined/ } 30, 'is quarantined';
    is($node->runs($id), 3, 'after three runs');
    is($node->post('{"function":"runlog.crash","reply":"accepted"}', id => $id)->{json}{outcome}, 'quarantined', 'and says so');
    $node->post('{"function":"runlog.crash","args":["once"],"reply":"accepted"}', id => $once);
    eventually { $node->runs($once) == 2 } 15, 'one that crashes once runs again';
    eventually { ($node->post('{"function":"runlog.crash","args":["once"],"reply":"accepted"}', id => $once)->{json}{outcome} // '') eq 'ok' } 10,
        'and is told that it is a rerun';
};

subtest 'calls that only waited when a server was killed or restarted lose nothing by it' => sub {
    for my $on_crash (($ENV{SVL_TEST_MPM} // 'event') eq 'event' ? qw(rerun quarantine) : 'rerun') {
        my $fleet = Fleet->new(nodes => 1, directives => "ServicelessFunction runlog.sleep on_crash=$on_crash")->start;
        my $node = $fleet->node('n1');
        # More than all children begin meanwhile, of which prefork has many: each has 16 threads for one function.
        my @ids = map { make_id() } 1 .. (($ENV{SVL_TEST_MPM} // 'event') eq 'prefork' ? 1000 : 200);
        $node->post('{"function":"runlog.sleep","args":[0.7],"reply":"accepted"}', id => $_) for @ids;
        my %cut; # in a run when a server was killed, or perhaps
        for my $round (1 .. 5) {
            my $before = $node->runs;
            poll { $node->runs > $before } 10;
            if ($round % 2) {
                my $now = time; # a run takes 0.7 s, and somewhat more to be recorded
                $node->kill9;
                $node->start;
                $cut{$_->{id}} = 1 for grep { $now - $_->{time} < 2 } map { my $id = $_; map { {%$_, id => $id} } $node->runs_of($id) } @ids;
            } else {
                $node->graceful;
            }
        }
        # What was told to the log as started may have been cut short before its function began: it is left, and named.
        my %left = map { $_ => 1 } $node->error_log =~ /SVL0190: call (\S+) of runlog\.sleep is quarantined/g;
        my @waited = grep { !$cut{$_} && !$left{$_} } @ids;
        cmp_ok(scalar @waited, '>', 20, "on_crash=$on_crash: some waited all the time");
        $fleet->once(\@waited, 'each of those ran once', deadline => 40);
        my @wrong = grep { my $runs = $node->runs($_); $runs < !$left{$_} || $runs > ($on_crash eq 'rerun' ? 3 : 1) } keys %cut;
        is_deeply(\@wrong, [], 'each of the others, too, at least once and no oftener than promised');
        is_deeply([grep { $node->runs($_) != 3 } keys %left], [], 'none is left before its third run') if $on_crash eq 'rerun';
    }
};

subtest 'a function that must not be run twice is left' => sub {
    my $fleet = Fleet->new(nodes => 1, directives => 'ServicelessFunction runlog.sleep on_crash=quarantine')->start;
    my $node = $fleet->node('n1');
    my $id = $node->post('{"function":"runlog.sleep","args":[5],"reply":"accepted"}')->{json}{id};
    ok(kill_runner($node, $id), 'the child that runs it is killed');
    eventually { $node->error_log =~ /SVL0190: call $id of runlog\.sleep is quarantined/ } 10, 'it is quarantined';
    is($node->runs($id), 1, 'and did not run again');
};

subtest 'calls are forgotten when the retention is over' => sub {
    my $fleet = Fleet->new(nodes => 2, directives => "ServicelessTolerance 1s\nServicelessRetention 3s")->start;
    my ($one, $two) = $fleet->nodes;
    my @ids = map { $one->call('runlog.note', [$_])->{json}{id} } 1 .. 50;
    $fleet->once(\@ids, 'they ran');
    for my $node ($one, $two) {
        eventually { my (undef, $log) = $fleet->command($node, 'log', '--json', $node->state_directory); $log !~ /$ids[0]/ } 15,
            $node->name . ' forgets them';
    }
    $fleet->settle(1);
    $fleet->once(\@ids, 'none ran again');
};

done_testing;
