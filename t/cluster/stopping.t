# SPDX-License-Identifier: Apache-2.0
# A run that takes its time does not hold up a stop, nor an old generation of children: it is left, and the log keeps its call.
use strict;
use warnings;
use Client qw(make_id);
use Fleet;
use IO::Socket::INET;
use Proc qw(alive);
use Test::More;
use Time::HiRes qw(time);

my $LONG = 8;   # seconds that a run takes
my $SOON = Fleet::signals_are_late() ? 6 : 3; # seconds within which all children are gone
my $LOOK = 1.1; # seconds between two looks of httpd's at children that have not ended, and a little
my $BRIEF = 1.5; # seconds of a run that a stop must wait for
my $SHORT = 2.5; # seconds of a run that a graceful restart must wait for: longer than a child's leaving may take

# A call that runs for $seconds: inline at $origin, and in the background on the others.  Returns its id, and the client that waits.
sub begin_long {
    my ($fleet, $origin, $seconds) = @_;
    my ($client, $id) = ($origin->client, make_id());
    $client->begin($client->message($client->call_body('runlog.sleep', [$seconds]), id => $id), id => $id);
    eventually { $fleet->arrived([$id]) } 10, 'a call runs on every node';
    return ($id, $client);
}

subtest 'stop ends all processes, whatever runs' => sub {
    my $fleet = Fleet->new(nodes => 2)->start;
    my ($origin, $other) = $fleet->nodes;
    my ($id) = begin_long($fleet, $origin, $LONG);
    my %children = map { $_->name => [$_->children] } $fleet->nodes;
    my $start = time;
    $_->ask_to_stop for $fleet->nodes;
    for my $name (sort keys %children) {
        cmp_ok(@{$children{$name}}, '>', 0, "$name had children");
        poll { !grep { alive($_) } @{$children{$name}} } $SOON;
        my $took = time - $start;
        cmp_ok($took, '<=', $SOON, sprintf '%s: each child ends in time: %.2f s', $name, $took);
    }
    for my $node ($fleet->nodes) {
        $node->stop;
        my $took = time - $start;
        cmp_ok($took, '<=', $SOON + $LOOK, sprintf '%s: the process group is gone as soon as httpd looks: %.2f s', $node->name, $took);
    }
    $fleet->no_crash;

    $fleet->start;
    my $body = $origin->client->call_body('runlog.sleep', [$LONG]);
    for my $node ($fleet->nodes) {
        my $answer = $node->post($body, id => $id);
        is($answer->{json}{duplicate}, JSON::PP::true, $node->name . ' knows the call after a start');
        is($answer->{json}{outcome}, 'pending', 'as one that has not ended');
    }
};

subtest 'stop waits for runs that end soon' => sub {
    my $fleet = Fleet->new(nodes => 2)->start;
    my ($origin) = $fleet->nodes;
    my ($id) = begin_long($fleet, $origin, $BRIEF);
    $_->ask_to_stop for $fleet->nodes;
    $_->stop for $fleet->nodes;
    unlike($_->error_log, qr/SVL0131|SVL0132/, $_->name . ' left nothing') for $fleet->nodes;
    $fleet->start;
    my $body = $origin->client->call_body('runlog.sleep', [$BRIEF]);
    is($_->post($body, id => $id)->{json}{outcome}, 'ok', $_->name . ' has its outcome') for $fleet->nodes;
    $fleet->once([$id], 'it ran once on each node, whether for a request or in the background');
    unlike($_->error_log, qr/serviceless:(?:emerg|alert|crit|error)\]/, $_->name . ' logs no error, from the first start on') for $fleet->nodes;
    $fleet->no_crash;
};

subtest 'a graceful stop gives up its port at once, and waits for the request' => sub {
    my $fleet = Fleet->new(nodes => 1)->start;
    my ($node) = $fleet->nodes;
    my ($id, $client) = begin_long($fleet, $node, $LONG);
    my ($run) = $node->runs_of($id);
    $node->ask_to_stop('WINCH');
    eventually { !IO::Socket::INET->new(PeerAddr => $node->host, PeerPort => $node->port) } $SOON, 'nobody listens any more';
    ok(alive($run->{pid}), 'while the run goes on');
    is($client->finish->{json}{outcome}, 'ok', 'its request is answered');
    $node->stop;
    $fleet->no_crash;
};

subtest 'a graceful restart leaves a background run, and keeps its call' => sub {
    my $fleet = Fleet->new(nodes => 2)->start;
    my ($other, $origin) = $fleet->nodes;
    my ($client, $id) = ($other->client, make_id());
    # to the restarted node alone, so that no peer's connection is open: closing those is httpd's, and takes it two seconds more
    my $body = $client->call_body('runlog.sleep', [$LONG], reply => 'accepted');
    is($client->post($body, id => $id)->{status}, 202, 'a call is accepted');
    $client->disconnect;
    eventually { $fleet->arrived([$id]) } 10, 'it runs in the background';
    my ($run) = $other->runs_of($id);
    ok(alive($run->{pid}), 'the child that runs it lives');
    my $start = time;
    $other->graceful;
    eventually { !alive($run->{pid}) } $SOON + 2, 'after a graceful restart it ends';
    my $took = time - $start;
    cmp_ok($took, '<=', $SOON, 'in time');
    note(sprintf 'the old child was gone after %.2f s', $took);
    like($other->error_log, qr/SVL\d{4}: node n1: leaving .*\blog\b/, 'the log says that something was left');
    my $answer = $other->post($body, id => $id);
    is($answer->{json}{duplicate}, JSON::PP::true, 'the call is known');
    is($answer->{json}{outcome}, 'pending', 'and not ended');
    my $next = $origin->call('runlog.note', ['next']);
    $fleet->once([$next->{json}{id}], 'calls go on');
    $fleet->no_crash;
    $fleet->stop;
    $fleet->no_crash;
};

subtest 'a graceful restart waits for requests, and for runs that end soon' => sub {
    my $fleet = Fleet->new(nodes => 2)->start;
    my ($origin, $other) = $fleet->nodes;
    my ($id, $client) = begin_long($fleet, $origin, $SHORT);
    my @old = $origin->children;
    $origin->graceful;
    my $answer = $client->finish;
    is($answer->{status}, 200, 'the request under way is answered');
    is($answer->{json}{outcome}, 'ok', 'with the outcome of its run');
    eventually { !grep { alive($_) } @old } $SOON, 'then the old children end';

    my $brief = make_id();
    $other->call('runlog.sleep', [1], id => $brief, reply => 'accepted');
    eventually { $fleet->arrived([$brief]) } 10, 'a shorter call runs in the background';
    $other->graceful;
    my $body = $other->client->call_body('runlog.sleep', [1], reply => 'accepted');
    eventually { ($other->post($body, id => $brief)->{json}{outcome} // '') eq 'ok' } 10, 'it ends with its outcome in the log';
    $fleet->once([$id, $brief], 'each ran once on each node');
    $fleet->no_crash;
};

done_testing;
