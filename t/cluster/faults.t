# SPDX-License-Identifier: Apache-2.0
# MPMs: event prefork
# The faults that a chain of calls is known for: a subtest each.
use strict;
use warnings;
use Client qw(make_id);
use Fleet;
use Test::More;
use Time::HiRes qw(time);

my $QUICK = "ServicelessConnectTimeout 500ms\nServicelessTimeout 1s\n";

subtest 'an origin in the middle of the list runs its call once' => sub {
    my $fleet = Fleet->new(nodes => 5)->start;
    my @ids = map { $fleet->node('n3')->call('runlog.note', [$_])->{json}{id} } 1 .. 20;
    $fleet->once(\@ids, 'each of 20 calls ran once on each node, the origin included');
};

for my $dead (1 .. 4) {
    subtest "with $dead of 10 nodes dead every living node runs a call once" => sub {
        my $fleet = Fleet->new(nodes => 10, directives => $QUICK)->start;
        my @nodes = $fleet->nodes;
        my @gone = @nodes[1 .. $dead]; # in a row: the origin's successors
        my @living = @nodes[0, $dead + 1 .. 9];
        $_->kill9 for @gone;
        my @ids = map { $_->call('runlog.note', ['dead'])->{json}{id} } @living;
        $fleet->once(\@ids, 'once a node', living => \@living);
        is_deeply([map { my $node = $_; map { $node->runs($_) } @ids } @gone], [(0) x (@ids * @gone)], 'the dead ran nothing');
        $fleet->stop;
    };
}

subtest 'a hung node does not stop the chain' => sub {
    my $fleet = Fleet->new(nodes => 5, directives => $QUICK)->start;
    my ($origin, $hung) = ($fleet->node('n1'), $fleet->node('n3'));
    my @living = grep { $_ != $hung } $fleet->nodes;
    my $before = $origin->call('runlog.note', ['before']);
    $fleet->once([$before->{json}{id}], 'all nodes work');
    $hung->freeze;
    my $start = time;
    my $answer = $origin->call('runlog.note', ['hung']);
    is($answer->{status}, 200, 'the origin answers');
    cmp_ok(time - $start, '<', 0.9, 'at once');
    my $id = $answer->{json}{id};
    eventually { $fleet->arrived([$id], @living) } 5, 'every other node runs it within the timeouts';
    my $next = $origin->call('runlog.note', ['known'])->{json}{id};
    eventually { $fleet->arrived([$next], @living) } 1, 'the next call does not wait for the hung node again';
    $hung->thaw;
    $fleet->once([$id, $next], 'nobody ran a call twice, also once the node goes on', living => \@living);
    eventually { $hung->runs($id) } 20, 'and it ran what reached it';
};

subtest 'a bad signature is 401 and runs nothing, here or elsewhere' => sub {
    my $fleet = Fleet->new(nodes => 3)->start;
    for my $node ($fleet->nodes) {
        my $answer = $node->post('{"function":"runlog.note"}', id => 'forged', secret => 'whsec_' . 'A' x 43 . '=');
        is($answer->{status}, 401, $node->name);
        ok(!$answer->{signed}, 'the refusal is no acknowledgement');
    }
    $fleet->settle(0.3);
    is_deeply($fleet->runs('forged'), {}, 'nothing ran');
    my $other = Fleet->new(nodes => 1)->start; # another fleet has other keys
    my $node = $other->node('n1');
    is($node->call('runlog.note', [], secret => $fleet->{secret})->{status}, 401, 'another fleet refuses our key');
    is($node->runs, 0, 'and runs nothing');
};

subtest 'a replay runs nothing, on any node' => sub {
    my $fleet = Fleet->new(nodes => 3)->start;
    my $client = $fleet->node('n1')->client;
    my $message = $client->message($client->call_body('runlog.note', ['x']), id => 'replayed');
    is($client->exchange($message, id => 'replayed')->{status}, 200, 'the call');
    $fleet->once(['replayed'], 'ran once everywhere');
    for my $node ($fleet->nodes, $fleet->nodes) {
        my $answer = $node->exchange($message, id => 'replayed');
        is($answer->{status}, 200, 'replayed to ' . $node->name);
        is($answer->{json}{duplicate}, JSON::PP::true, 'known there');
    }
    $fleet->once(['replayed'], 'and still ran once everywhere');
};

subtest 'a node is found exactly where one address begins with the other' => sub {
    my @hosts = qw(127.0.0.10 127.0.0.1 127.0.0.100);
    my $fleet = Fleet->new(hosts => \@hosts, port => Fleet::free_port('0.0.0.0'), server_name => sub { 'localhost' })->start;
    my @ids;
    for my $node ($fleet->nodes) {
        my $answer = $node->call('runlog.note', [$node->host]);
        is($answer->{json}{node}, $node->name, $node->host . ' knows itself');
        push @ids, $answer->{json}{id};
    }
    $fleet->once(\@ids, 'each call ran once on each node');
};

subtest 'an unknown function is 404, and the server lives' => sub {
    my $fleet = Fleet->new(nodes => 2)->start;
    my $node = $fleet->node('n1');
    my @children = $node->children;
    for (1 .. 20) {
        my $answer = $node->call('no.such.function', []);
        is($answer->{status}, 404, 'status') if $_ == 1 || $answer->{status} != 404;
    }
    my $answer = $node->call('runlog.note', []);
    $fleet->once([$answer->{json}{id}], 'calls go on');
    my %now = map { $_ => 1 } $node->children;
    is_deeply([grep { !$now{$_} } @children], [], 'no child was lost');
};

subtest 'every failure is visible in the error log' => sub {
    my $fleet = Fleet->new(nodes => 3, directives => $QUICK)->start;
    my ($n1, $n2, $n3) = $fleet->nodes;
    $n2->kill9;
    my $failed = $n1->call('runlog.fail', ['the words of the failure']);
    is($failed->{json}{outcome}, 'error', 'a function fails');
    eventually { $n3->error_log =~ /SVL\d{4}: .*runlog\.fail/ } 10, 'on another node: its log names the function';
    like($n3->error_log, qr/the words of the failure/, 'and its words');
    like($n1->error_log, qr/SVL\d{4}: .*runlog\.fail/, 'so does the origin');
    eventually { $n1->error_log =~ /SVL\d{4}: .*\bn2\b/ } 10, 'a dead node is named';
    $n1->post('{}', secret => 'whsec_' . 'A' x 43 . '=');
    like($n1->error_log, qr/SVL\d{4}: .*signature/, 'a bad signature');
    $n1->call('no.such.function', []);
    like($n1->error_log, qr/SVL\d{4}: .*no\.such\.function/, 'an unknown function');
    my ($text) = $fleet->{secret} =~ /whsec_(.*)/;
    unlike($n1->error_log . $n3->error_log, qr/\Q$text\E/, 'no key is ever logged');
};

done_testing;
