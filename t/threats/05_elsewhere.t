# SPDX-License-Identifier: Apache-2.0
# Threat 5: the same request to another node of the fleet runs once there and nowhere twice; to another fleet, which has other keys, it is
# 401.
use strict;
use warnings;
use Client qw(make_id);
use Fleet;
use Test::More;

my $fleet = Fleet->new(nodes => 3, mode => 'broadcast')->start;
my $stranger = Fleet->new(nodes => 1)->start;
my @nodes = $fleet->nodes;

# A request and its id.
sub request {
    my $id = make_id();
    return ($id, $nodes[0]->client->message($nodes[0]->client->call_body('runlog.note', [$id]), id => $id));
}

subtest 'threat 5: later, to the other nodes' => sub {
    my ($id, $message) = request();
    is($nodes[0]->client->exchange($message, id => $id)->{status}, 200, 'a call');
    $fleet->once([$id], 'ran once everywhere');
    for my $node (@nodes) {
        my $answer = $node->client->exchange($message, id => $id);
        is_deeply($answer->{json}, {id => $id, node => $node->name, outcome => 'ok', result => [$id], duplicate => JSON::PP::true},
                  $node->name . ' knows it, and tells its own outcome');
    }
    $fleet->once([$id], 'it still ran once everywhere');
};

subtest 'threat 5: at once, to all nodes' => sub {
    my @requests = map { [request()] } 1 .. 10;
    for my $request (@requests) {
        my ($id, $message) = @$request;
        my @clients = map { $_->client } @nodes, @nodes;
        $_->begin($message, id => $id) for @clients;
        my @answers = map { $_->finish } @clients;
        is((grep { $_->{status} == 200 && $_->{signed} } @answers), 6, 'each is answered with 200, signed');
    }
    $fleet->once([map { $_->[0] } @requests], 'each ran once on each node, and nowhere twice');
};

subtest 'threat 5: before the call comes from its own node' => sub {
    my ($id, $message) = request();
    $nodes[0]->freeze;
    my $answer = $nodes[1]->client->exchange($message, id => $id);
    is("$answer->{status} $answer->{json}{node}", '200 n2', 'another node takes it');
    $nodes[0]->thaw;
    $answer = $nodes[0]->client->exchange($message, id => $id);
    is($answer->{status}, 200, 'and so does its own');
    $fleet->once([$id], 'it ran once everywhere', deadline => 30);
};

subtest 'threat 5: to another fleet' => sub {
    my ($node) = $stranger->nodes;
    my ($id, $message) = request();
    is($nodes[0]->client->exchange($message, id => $id)->{status}, 200, 'a call');
    my $before = $node->status->{rejected};
    my $answer = $node->client->exchange($message, id => $id);
    is($answer->{status}, 401, 'is 401 there');
    is($answer->{body}, '{"type":"about:blank","title":"Unauthorized","status":401,'
        . '"detail":"The signature headers do not authenticate the request."}', 'with constant words');
    ok(!exists $answer->{headers}{'webhook-signature'}, 'and no signature');
    is_deeply($node->status->{rejected}, {%$before, signature => $before->{signature} + 1}, 'counted as signature');
    is($node->runs, 0, 'nothing ran');
    my ($status, $stored) = $stranger->command($node, 'log', '--json', $node->state_directory);
    is("$status $stored", '0 ', 'its log is empty');
    like($node->error_log, qr/\[client 127\.0\.0\.1:\d+\] SVL0151: refused: signature \(401\), id \Q$id\E/, 'the log tells the reason');
    $fleet->once([$id], 'in its own fleet it ran once everywhere');
};

$_->no_crash for $fleet, $stranger;

done_testing;
