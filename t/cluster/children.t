# SPDX-License-Identifier: Apache-2.0
# Scope child: each call runs once in every child process of every node, and its outcome counts them.
use strict;
use warnings;
use Callers;
use Client qw(make_id);
use Fleet;
use Proc qw(alive);
use Table;
use Test::More;
use Time::HiRes qw(time);

# The children of a node that have begun and live; one that has died and is not waited for yet does not.
sub living {
    my ($node) = @_;
    my %began = began($node);
    return grep { $began{$_} && alive($_) } $node->children;
}

# The same, once there are several: prefork starts one after the other.
sub several {
    my ($node) = @_;
    my @pids;
    poll { @pids = living($node); @pids > 1 } 10;
    return @pids;
}

# True when the call ran in each of these children, or in each that lives, and in none twice.
sub ran_in_all {
    my ($node, $id, @pids) = @_;
    my %ran = ran($node, $id);
    return !grep { ($ran{$_} // 0) != 1 } @pids ? @pids : living($node);
}

# What becomes of a call: the same one again is answered with what is recorded.
sub outcome {
    my ($node, $function, $args, $id) = @_;
    return $node->call($function, $args, id => $id)->{json};
}

subtest 'every child of every node runs it once' => sub {
    my $fleet = table_fleet(nodes => 3)->start;
    my %before = map { $_->name => [several($_)] } $fleet->nodes;
    my $id = make_id();
    write_table($_, 5) for $fleet->nodes;
    my $answer = $fleet->node('n2')->call('table.reload', [], id => $id);
    is($answer->{json}{outcome}, 'ok', 'answered');
    is($answer->{json}{result}, 5, 'with what the child that answered says');
    for my $node ($fleet->nodes) {
        my @pids = @{$before{$node->name}};
        cmp_ok(@pids, '>', 1, $node->name . ' has ' . @pids . ' children');
        eventually { ran_in_all($node, $id, @pids) } 10, 'each of them runs it once';
    }
    for my $node ($fleet->nodes) {
        eventually { outcome($node, 'table.reload', [], $id)->{outcome} eq 'ok' } 10, $node->name . ' records the outcome';
    }
    is(outcome($fleet->node('n2'), 'table.reload', [], $id)->{result}, 5, 'with the result');
    $fleet->settle(0.3);
    for my $node ($fleet->nodes) {
        my %ran = ran($node, $id);
        is((grep { $_ != 1 } values %ran), 0, $node->name . ': none of its children ran it twice');
    }
    $fleet->stop;
    $fleet->no_crash;
};

subtest 'the outcome waits for the last child' => sub {
    my $fleet = table_fleet(nodes => 1)->start;
    my ($node) = $fleet->nodes;
    my @pids = several($node);
    my $id = make_id();
    my $slow = $pids[-1];
    my $call = [5, 0 + $slow];
    my $answer = $node->call('table.sleep', $call, id => $id, reply => 'accepted');
    is($answer->{status}, 202, 'accepted');
    my $pending;
    eventually { # a request that the slow child gets waits for it
        my $client = $node->client(timeout => 0.3);
        $pending = $client->call('table.sleep', $call, id => $id)->{json};
        $client->disconnect;
        return ($pending->{detail} // '') =~ /^(\d+) of \d+ children/ && $1 > 0;
    } 4, 'the outcome says how far it is';
    note($pending->{detail});
    is($pending->{outcome}, 'pending', 'and is pending');
    eventually { outcome($node, 'table.sleep', $call, $id)->{outcome} eq 'ok' } 10, 'until all children are through';
    ok(ran_in_all($node, $id, @pids), 'each of which ran it once');
};

subtest 'reply all waits for all children of all nodes' => sub {
    my $fleet = table_fleet(nodes => 3)->start;
    my ($one, $two, $three) = $fleet->nodes;
    my %before = map { $_->name => [several($_)] } $fleet->nodes;
    write_table($_, 9) for $fleet->nodes;
    my $id = make_id();
    my $answer = $one->call('table.reload', [], id => $id, reply => 'all', timeout => 8)->{json};
    is_deeply({map { $_ => $answer->{outcomes}{$_}{outcome} } $fleet->names}, {map { $_ => 'ok' } $fleet->names}, 'each node is ok');
    is_deeply({map { $_ => $answer->{outcomes}{$_}{result} } $fleet->names}, {map { $_ => 9 } $fleet->names}, 'with a result');
    ok(ran_in_all($_, $id, @{$before{$_->name}}), $_->name . ': all of its children are through by then') for $fleet->nodes;
    my $slow = $before{n2}[-1];
    $answer = $one->call('table.sleep', [4, 0 + $slow], reply => 'all', timeout => 2)->{json};
    is_deeply({map { $_ => $answer->{outcomes}{$_}{outcome} } $fleet->names}, {n1 => 'ok', n2 => 'pending', n3 => 'ok'},
              'a node with a child that takes longer is pending');
    like($answer->{outcomes}{n2}{detail}, qr/^(\d+) of \d+ children have run it so far$/, 'and says how far it is');
    $answer = $one->call('table.fail', [0 + $before{n3}[0]], reply => 'all', timeout => 8)->{json};
    is_deeply({map { $_ => $answer->{outcomes}{$_}{outcome} } $fleet->names}, {n1 => 'ok', n2 => 'ok', n3 => 'error'},
              'a node with a child in which it fails has an error');
};

for my $durability (qw(fsync async)) {
    subtest "one child in which it fails is enough, $durability" => sub {
        my $fleet = table_fleet(nodes => 1, durability => $durability)->start;
        my ($node) = $fleet->nodes;
        my @pids = several($node);
        for my $pid (@pids) {
            my ($id, $call, $outcome) = (make_id(), [0 + $pid]);
            $node->call('table.fail', $call, id => $id, reply => 'accepted');
            eventually { $outcome = outcome($node, 'table.fail', $call, $id); $outcome->{outcome} eq 'error' } 10, "$pid: the outcome is error";
            is($outcome->{detail}, 'no such table', 'with the words of the function');
            eventually { ran_in_all($node, $id, @pids) } 10, 'it ran in all children nevertheless';
            $node->call('table.reload', []); # takes along what waits to be written
            is(outcome($node, 'table.fail', $call, $id)->{outcome}, 'error', 'and stays an error');
        }
        eventually {
            return ($node->status->{functions}{'table.fail'}{calls}{error} // 0) == @pids;
        } 10, 'each counts as one call';
    };
}

subtest 'a child that ends in it is named, and the others go on' => sub {
    my $fleet = table_fleet(nodes => 1, crashes => 1)->start;
    my ($node) = $fleet->nodes;
    my @pids = several($node);
    my $id = make_id();
    my $victim = $pids[-1];
    $node->call('table.crash', [0 + $victim], id => $id, reply => 'accepted');
    eventually { $node->error_log =~ /SVL0701: child $victim ended while it ran call $id of table\.crash/ } 10, 'the log names call and function';
    eventually { ran_in_all($node, $id, @pids) } 10, 'the other children ran it';
    eventually { outcome($node, 'table.crash', [0 + $victim], $id)->{outcome} eq 'ok' } 10, 'those that live are through';
    my $answer = $node->call('table.reload', []);
    is($answer->{json}{outcome}, 'ok', 'and calls go on');
};

subtest 'a child that is killed right after the answer takes nothing along' => sub {
    my $fleet = table_fleet(nodes => 2)->start;
    my ($node, $other) = $fleet->nodes;
    my (@ids, @unrun);
    for (1 .. 10) {
        my ($victim, @rest) = several($node);
        my $id = make_id();
        my $client = $node->client;
        is($client->call('table.reload', [], id => $id)->{status}, 200, 'answered');
        kill 'KILL', $victim;
        poll { !alive($victim) } 10; # until then the kernel may give it a connection
        $client->disconnect;
        push @ids, $id;
        poll { ran_in_all($node, $id, @rest) } 10 or push @unrun, $id;
    }
    is_deeply(\@unrun, [], 'each call ran once in each of the other children');
    my $settled = sub {
        my ($id) = @_;
        my $answer = until_answered($node, $node->client->call_body('table.reload', []), id => $id);
        return ($answer->{json}{outcome} // '') eq 'ok';
    };
    eventually { !grep { !$settled->($_) } @ids } 20, 'and has its outcome';
    eventually { !grep { !ran_in_all($other, $_, several($other)) } @ids } 20, 'all of them ran on the other node';
};

subtest 'a stop ends all processes, though all children are inside' => sub {
    my $fleet = table_fleet(nodes => 1)->start;
    my ($node) = $fleet->nodes;
    $node->call('table.sleep', [20], reply => 'accepted');
    my @waiting = map { $node->client } 1 .. 8;
    $_->begin("GET /table HTTP/1.1\r\nHost: x\r\n\r\n") for @waiting;
    eventually {
        my $client = $node->client(timeout => 0.2);
        my $answer = $client->get('/table');
        $client->disconnect;
        return !$answer->{status};
    } 10, 'requests wait for a function that takes long';
    my $start = time;
    $node->stop;
    cmp_ok(time - $start, '<=', 3, sprintf 'the server is gone after %.2f s', time - $start);
    $fleet->no_crash;
};

subtest 'a function may call another one from inside' => sub {
    my $fleet = table_fleet(nodes => 2)->start;
    my ($node) = $fleet->nodes;
    my %before = map { $_->name => [several($_)] } $fleet->nodes;
    my ($outer, $inner) = (make_id(), make_id());
    my $answer = $node->call('table.nested', [$inner], id => $outer);
    is($answer->{json}{outcome}, 'ok', 'it is answered');
    for my $each ($fleet->nodes) {
        eventually { ran_in_all($each, $inner, @{$before{$each->name}}) } 10, $each->name . ' runs the inner call in each child, once';
        eventually { ran_in_all($each, $outer, @{$before{$each->name}}) } 10, 'and the outer one';
    }
};

subtest 'what the node missed is told in every child' => sub {
    my $fleet = table_fleet(nodes => 2, directives => "ServicelessSyncInterval 1s\nServicelessTolerance 1s\nServicelessRetention 3s\n")->start;
    my ($one, $two) = $fleet->nodes;
    $two->stop;
    my @ids = map { $one->call('table.reload', [])->{json}{id} } 1 .. 3;
    eventually { $one->status->{log}{calls} == 0 } 30, 'the calls are past the retention';
    $one->freeze; # so that the node hears of it when these children are there; a later one begins with what is
    $two->start;
    my @pids = several($two);
    $one->thaw;
    eventually {
        my %missed = missed_in($two);
        return @pids > 1 && !grep { !$missed{$_} } @pids;
    } 20, 'each child of the node that was away hears of it';
    my %missed = missed_in($two);
    is_deeply([map { "@{$missed{$_}}" } @pids], [(3) x @pids], 'once, with the number');
    is(keys %{{ran($two, $_)}}, 0, 'and none of them runs a missed call') for @ids;
};

done_testing;
