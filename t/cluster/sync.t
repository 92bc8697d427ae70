# SPDX-License-Identifier: Apache-2.0
# MPMs: event prefork
# The repair path: what relay could not deliver arrives by comparing logs, in both directions, once a node.
use strict;
use warnings;
use Client qw(make_id);
use Fleet;
use List::Util qw(max);
use Proc qw(memory);
use Test::More;
use Time::HiRes qw(time);

my $INTERVAL = 1;  # seconds
my $YOUNG = 2;     # seconds that a call is left to relay
my $SLACK = 2;     # seconds: a second's granularity at each end, a busy machine
my $SOON = 2 * $INTERVAL + $YOUNG + $SLACK;
my $QUICK = "ServicelessConnectTimeout 1s\nServicelessTimeout 5s\nServicelessSyncInterval ${INTERVAL}s\n";

sub calls {
    my ($node, $count) = @_;
    my @ids;
    for (1 .. $count) {
        my $answer = $node->call('runlog.note', ['x']);
        push @ids, $answer->{json}{id} if $answer->{status} == 200;
    }
    is(@ids, $count, "$count calls are accepted by " . $node->name);
    return @ids;
}

sub member {
    my ($node, $name) = @_;
    my ($member) = grep { $_->{name} eq $name } @{$node->status->{members}};
    return $member;
}

# True when no two nodes have anything to tell each other.
sub equal_soon {
    my ($name, @nodes) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my %before = map { $_->name => $_->status->{syncs}{equal} } @nodes;
    return eventually { !grep { $_->status->{syncs}{equal} <= $before{$_->name} } @nodes } 20, $name;
}

subtest 'a node that was down has what it missed within two intervals, and runs each once' => sub {
    my $fleet = Fleet->new(nodes => 3, directives => $QUICK)->start;
    my ($n1, $n2, $n3) = $fleet->nodes;
    my @before = calls($n1, 3);
    $fleet->once(\@before, 'all nodes work');
    $n3->kill9;
    my @ids = (calls($n1, 30), calls($n2, 30));
    $fleet->once(\@ids, 'the others run them', living => [$n1, $n2]);
    poll { 0 } $YOUNG; # so that only intervals are waited for
    my $start = time;
    $n3->start;
    eventually { $fleet->arrived(\@ids, $n3) } 2 * $INTERVAL + $SLACK, 'it has them';
    note(sprintf 'after %.2f s', time - $start);
    $fleet->once([@before, @ids], 'each ran once on each node, those from before the crash too');
    equal_soon('then their logs are equal', $fleet->nodes);
    eventually { (member($n1, 'n3')->{lag_calls} // 1) == 0 } 20, 'and the status shows no lag';
};

subtest 'a route reaches those behind a node that sync was quicker with' => sub {
    my $fleet = Fleet->new(nodes => 3, directives => "ServicelessSyncInterval 1h\n")->start;
    my ($n1, $n2, $n3) = $fleet->nodes;
    my $seq = 0;
    my $line = sub {
        return {id => make_id(), function => 'runlog.note', args => [], kwargs => {}, origin => 'n1', set => 'all', epoch => '0123456789abcdef',
                seq => ++$seq, issued => int 1000 * time, ttl => 600};
    };
    my ($synced, $relayed, $last) = map { $line->() } 1 .. 3;
    is($n2->relay('n1', [], [$synced])->{json}{accepted}, 1, 'a call comes as sync brings it: without a route');
    is($n2->relay('n1', ['n3'], [$relayed])->{json}{accepted}, 1, 'another one with a route');
    eventually { $fleet->arrived([$relayed->{id}], $n2, $n3) } 10, 'which is taken';
    is($n3->runs($synced->{id}), 0, 'that of the first one has not come');
    is($n2->relay('n1', ['n3'], [$synced])->{json}{duplicates}, 1, 'then it comes, with a call that is known');
    eventually { $fleet->arrived([$synced->{id}], $n2, $n3) } 10, 'and is taken all the same';
    is($n2->relay('n1', ['n3'], [$_])->{json}{duplicates}, 1, 'what was handed on already comes once more') for $relayed, $synced;
    is($n2->relay('n1', ['n3'], [$last])->{json}{accepted}, 1, 'and something new');
    eventually { $fleet->arrived([$last->{id}], $n2, $n3) } 10, 'which is taken';
    eventually { (member($n2, 'n3')->{relays}{ok} // 0) == 3 } 10, 'three messages in all: a duplicate is handed on no more';
    $fleet->once([map { $_->{id} } $synced, $relayed, $last], 'each ran once', living => [$n2, $n3]);
};

# Long intervals: what arrives here is not sent because an interval is over.
subtest 'a node that was found down a moment ago has what relay passed it over for as soon as it is found up' => sub {
    my $fleet = Fleet->new(nodes => 2, directives => "ServicelessSyncInterval 1h\n");
    my ($n1, $n2) = $fleet->nodes;
    for (1 .. 3) {
        $n1->start;
        eventually { $n1->sees_down } 10, 'the first node finds the other one down';
        $n2->start;
        my @ids = calls($n1, 1);
        eventually { $fleet->arrived(\@ids, $n2) } 1 + $SLACK + $SLACK, 'the other one has a call that was made when it had just started';
        $fleet->once(\@ids, 'once');
        $fleet->stop;
    }
};

subtest 'both directions in one exchange' => sub {
    my $fleet = Fleet->new(nodes => 2, directives => $QUICK, each => {n2 => 'ServicelessSyncInterval 0'})->start;
    my ($n1, $n2) = $fleet->nodes;
    $n1->freeze; # n2 cannot reach it …
    my @of_n2 = calls($n2, 20);
    $n1->thaw;
    $n2->freeze; # … nor it n2
    my @of_n1 = calls($n1, 20);
    $n2->thaw;
    $fleet->once([@of_n1, @of_n2], 'each has what the other accepted, though n2 never asks');
    cmp_ok($n2->status->{syncs}{equal}, '==', 0, 'it did not');
    equal_soon('n1 sees equal vectors', $n1);
};

subtest 'a node that relays cannot reach gets all by what it asks for' => sub {
    # n2 knows n1, which has a wrong port for n2
    my $fleet = Fleet->new(nodes => 2, directives => $QUICK);
    my ($n1, $n2) = $fleet->nodes;
    my $nowhere = Fleet::free_port('127.0.0.1');
    require Fleet::Edit;
    my ($right) = $n2->authority =~ /:(\d+)$/;
    Fleet::Edit::edit_conf($n1, sub { s/n2=http:\/\/127\.0\.0\.1:$right/n2=http:\/\/127.0.0.1:$nowhere/ });
    $fleet->start;
    my @ids = calls($n1, 50);
    $fleet->once(\@ids, 'it pulled them', deadline => $SOON + 5);
    ok(!member($n1, 'n2')->{up}, 'n1 never reached it');
};

subtest 'a node whose disk is lost is refilled' => sub {
    my $fleet = Fleet->new(nodes => 3, directives => $QUICK)->start;
    my ($n1, $n2, $n3) = $fleet->nodes;
    my @ids = map { calls($_, 10) } $fleet->nodes;
    $fleet->once(\@ids, 'all nodes work');
    $n3->kill9;
    unlink glob $n3->state_directory . '/*';
    poll { 0 } $YOUNG;
    $n3->start;
    eventually { $n3->runs == 2 * @ids } $SOON, 'it has all of them again, its own ones too';
    $fleet->settle(0.5);
    is_deeply([$n1->runs, $n2->runs], [scalar @ids, scalar @ids], 'nothing ran twice on the others');
    my @more = calls($n3, 5);
    $fleet->once(\@more, 'it goes on in a new epoch');
    equal_soon('then their logs are equal', $fleet->nodes);
};

subtest 'an origin that is not in the set repairs it' => sub {
    my $fleet = Fleet->new(nodes => 3, directives => "${QUICK}ServicelessNodeSet web n2 n3\n")->start;
    my ($n1, $n2, $n3) = $fleet->nodes;
    $_->freeze for $n2, $n3;
    my @ids = map { $n1->call('runlog.note', ['x'], nodes => 'web')->{json}{id} } 1 .. 10;
    $_->thaw for $n2, $n3;
    eventually { $fleet->arrived(\@ids, $n2, $n3) } $SOON + 10, 'both of the set have them';
    $fleet->settle(0.5);
    is($n1->runs, 0, 'the origin ran none');
    is_deeply([map { $n2->runs($_), $n3->runs($_) } @ids], [(1) x (2 * @ids)], 'they each once');
};

subtest 'a node that has been away for many calls' => sub {
    my $count = $ENV{SVL_TEST_CALLS} || 20000;
    my $fleet = Fleet->new(nodes => 2, durability => 'async', directives => $QUICK)->start;
    my ($n1, $n2) = $fleet->nodes;
    $n2->kill9;
    my $epoch = sprintf '%016x', time * 1000;
    my $number = 0;
    while ($number < $count) { # calls of an origin that is down, as n1 got them by relay
        my @lines = map {
            $number++;
            my $issued = int(time * 1000);
            qq({"id":"m$number-$issued","function":"example.echo","args":["$number"],"kwargs":{},"origin":"n2","set":"all","epoch":"$epoch","seq":$number,"issued":$issued,"ttl":600});
        } 1 .. 1000;
        is($n1->relay('n2', [], \@lines)->{json}{accepted}, 1000, 'relayed') if $number <= 1000 || $n1->relay('n2', [], \@lines)->{json}{accepted} != 1000;
    }
    eventually { $n1->status->{log}{pending} == 0 } 60, "n1 has $count calls";
    poll { 0 } $YOUNG;
    my $start = time;
    $n2->start;
    my ($slowest, $private) = (0, 0); # bench/catchup.pl measures both
    eventually {
        my $sent = time;
        $n2->call('example.echo', ['x']);
        $slowest = max($slowest, time - $sent);
        $private = max($private, map { (memory($_) // {anonymous => 0})->{anonymous} } $n2->children, $n1->children);
        my $log = $n2->status->{log};
        return $log->{calls} >= $count && !$log->{pending};
    } 60, 'n2 has them and ran them';
    cmp_ok($slowest, '<', 1, sprintf 'and answered others meanwhile, the slowest after %.0f ms', 1000 * $slowest);
    SKIP: {
        skip 'SKIPPED: a sanitizer takes memory of its own', 1 if $ENV{SVL_SANITIZER};
        cmp_ok($private, '<', 64 * 1024, "no process took more than $private KiB");
    }
    note(sprintf '%d calls in %.2f s, start of the server included', $count, time - $start);
    my ($came, $ms);
    eventually { # the last line is written when the last call has come; who asked for the sync writes it, whichever that is
        ($came, $ms) = (0, 0);
        my ($pulled, $given) = map { $_->error_log } $n2, $n1;
        $came += $1, $ms += $2 while $pulled =~ /: (\d+) calls came, \d+ went, in (\d+) ms/g;
        $came += $1, $ms += $2 while $given =~ /: \d+ calls came, (\d+) went, in (\d+) ms/g;
        $came >= $count;
    } 10, 'by sync';
    note(sprintf 'catch-up: %d calls in %d ms, %.0f calls/s', $came, $ms, $came * 1000 / ($ms || 1));
};

done_testing;
