# SPDX-License-Identifier: Apache-2.0
# What a process that dies leaves undone is done: by its siblings, or by the server that starts next.
use strict;
use warnings;
use Client qw(make_id);
use Fleet;
use JSON::PP qw(decode_json);
use Test::More;

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

# The calls that the log of a node that does not run says to be pending: (id => 1).
sub pending {
    my ($fleet, $node) = @_;
    my (undef, $log) = $fleet->command($node, 'log', '--json', '-n', 1000, $node->state_directory);
    return map { $_->{outcome} eq 'pending' ? ($_->{call}{id} => 1) : () } map { decode_json($_) } split /\n/, $log;
}

subtest 'calls that only waited when a server was killed or restarted lose nothing by it' => sub {
    my $mpm = $ENV{SVL_TEST_MPM} // 'event';
    # Few processes on prefork, so that some calls wait to the end: each has 16 threads for one function.
    my $few = $mpm eq 'prefork' ? "StartServers 1\nMinSpareServers 1\nMaxSpareServers 1\nMaxRequestWorkers 2\n" : '';
    for my $on_crash ($mpm eq 'event' ? qw(rerun quarantine) : 'rerun') {
        my $fleet = Fleet->new(nodes => 1, directives => "${few}ServicelessFunction runlog.sleep on_crash=$on_crash")->start;
        my $node = $fleet->node('n1');
        my (@ids, %cut); # how often a run had begun, and its end was not recorded, when the server was killed
        for my $round (1 .. 5) {
            my $before = $node->runs;
            my @new = map { make_id() } 1 .. 60;
            my @refused = grep { $node->post('{"function":"runlog.sleep","args":[0.7],"reply":"accepted"}', id => $_)->{status} != 202 } @new;
            is_deeply(\@refused, [], "on_crash=$on_crash: calls are accepted");
            push @ids, @new;
            eventually { $node->runs > $before } 10, 'and run';
            if ($round % 2) {
                $node->kill9;
                my %pending = pending($fleet, $node);
                $cut{$_}++ for grep { $pending{$_} && $node->runs($_) } @ids;
                $node->start;
            } else {
                $node->graceful;
            }
        }
        eventually { my %pending = pending($fleet, $node); return !%pending } 40, "all of them end";
        # What was told to the log as started may have been cut short before its function began: it is left, and named.
        my $log = $node->error_log;
        my %left = map { $_ => 1 } $log =~ /SVL0190: call (\S+) of runlog\.sleep is quarantined/g;
        my @waited = grep { !$cut{$_} && !$left{$_} } @ids;
        cmp_ok(scalar @waited, '>', 20, 'some waited all the time, or had ended');
        cmp_ok(scalar keys %cut, '>', 0, 'some runs were cut short');
        $fleet->once(\@waited, 'each of those that waited ran once');
        my @wrong = grep { my $runs = $node->runs($_); $runs < !$left{$_} || $runs > ($on_crash eq 'rerun' ? 1 + $cut{$_} : 1) } keys %cut;
        is_deeply(\@wrong, [], 'each of the others, too, at least once and no oftener than promised');
        next if $on_crash ne 'rerun';
        my $named = sub { my ($id) = @_; return scalar(() = $log =~ /SVL0191: call $id of/g) };
        is_deeply([grep { $node->runs($_) > 3 || ($node->runs($_) < 3 && $named->($_) < 3) } keys %left], [],
                  'none is left before its third run was cut short');
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
