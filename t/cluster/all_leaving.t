# SPDX-License-Identifier: Apache-2.0
# A child that ends while it waits for all nodes: the others relay its call; a stop waits neither for nodes that hang nor for a run that is
# asked about; a graceful restart lets those who wait have their answer.
use strict;
use warnings;
use Client qw(make_id);
use Fleet;
use Test::More;
use Time::HiRes qw(time);

my $TIMEOUT = 20;  # seconds that a call would wait
my $AT_ONCE = 3;   # seconds until a sibling has taken over and relayed
my $STOP = 5;      # seconds that a stop may take, of the $TIMEOUT
my $SLOW = 7;      # seconds that a slow function takes
my $BRIEF = 3;     # seconds that a call waits over a graceful restart
my $SLACK = 1;
my $DIRECTIVES = "ServicelessConnectTimeout 1s\nServicelessSyncInterval 0\n"; # relay alone

# A client that waits for the outcome of a call, which has run here already.
sub waiting {
    my ($node, $id, $timeout) = @_;
    my $client = $node->client(timeout => 2 * $TIMEOUT);
    $client->begin($client->message($client->call_body('runlog.note', ['all'], reply => 'all', timeout => $timeout), id => $id), id => $id);
    ok(poll(sub { $node->runs($id) }, 10), 'the call runs here, while its client waits for a node that hangs');
    return $client;
}

sub is_up {
    my ($node, $name) = @_;
    return grep { $_->{name} eq $name && $_->{up} } @{$node->status->{members}};
}

subtest 'the child is killed' => sub {
    my $fleet = Fleet->new(nodes => 3, directives => $DIRECTIVES, crashes => 1)->start;
    my ($n1, $n2, $n3) = $fleet->nodes;
    $n3->kill9;
    $n2->freeze;
    my $id = make_id();
    my $client = waiting($n1, $id, $TIMEOUT);
    $n3->start;
    ok(poll(sub { is_up($n1, 'n3') }, 40), 'a node that was down when it was asked is back');
    is($n3->runs($id), 0, 'it has not got the call');
    kill 'KILL', ($n1->runs_of($id))[0]{pid};
    my $start = time;
    eventually { $fleet->arrived([$id], $n3) } $AT_ONCE, 'it gets it from another child of the origin';
    note(sprintf 'after %.2f s', time - $start);
    $n2->thaw;
    $fleet->once([$id], 'the call ran once on each node');
    is($client->finish->{status}, 0, 'its client hears nothing');
    my $again = $n1->client->call('runlog.note', ['all'], reply => 'all', id => $id)->{json};
    is_deeply({map { $_ => $again->{outcomes}{$_}{outcome} } keys %{$again->{outcomes}}}, {map { $_ => 'ok' } $fleet->names},
              'and gets all when it asks again');
    $fleet->stop;
};

subtest 'the server is stopped' => sub {
    my $fleet = Fleet->new(nodes => 3, directives => $DIRECTIVES)->start;
    my ($n1, $n2) = $fleet->nodes;
    $n2->freeze;
    my @clients = map { waiting($n1, make_id(), $TIMEOUT) } 1 .. 3;
    my $start = time;
    $n1->stop;
    cmp_ok(time - $start, '<', $STOP, 'it does not wait for who hangs');
    note(sprintf '%s: %.2f s', $fleet->{mpm}, time - $start);
    $n2->thaw;
    $fleet->no_crash;
    $fleet->stop;
};

subtest 'a node that was asked is stopped' => sub {
    my $fleet = Fleet->new(nodes => 3, directives => $DIRECTIVES)->start;
    my ($n1, $n2) = $fleet->nodes;
    my ($client, $id) = ($n1->client(timeout => 2 * $TIMEOUT), make_id());
    $client->begin($client->message($client->call_body('runlog.sleep', [$SLOW], reply => 'all', timeout => $TIMEOUT), id => $id), id => $id);
    ok(poll(sub { $fleet->arrived([$id]) }, 10), 'a slow call runs on all nodes');
    my $start = time;
    $n2->stop;
    cmp_ok(time - $start, '<', $STOP, 'one of them stops without waiting for it');
    note(sprintf '%s: %.2f s', $fleet->{mpm}, time - $start);
    my $outcomes = $client->finish->{json}{outcomes};
    is_deeply([map { $outcomes->{$_}{outcome} } qw(n1 n3)], ['ok', 'ok'], 'the others tell when it has ended there');
    like($outcomes->{n2}{outcome}, qr/^(?:pending|unknown)\z/, 'it does not');
    like($outcomes->{n2}{detail}, qr/\w/, 'and there is a cause');
    cmp_ok(time - $start, '<', $SLOW + $SLACK, 'nobody waits for it');
    $fleet->no_crash;
    $fleet->stop;
};

subtest 'the server is restarted gracefully' => sub {
    my $fleet = Fleet->new(nodes => 3, directives => $DIRECTIVES)->start;
    my ($n1, $n2) = $fleet->nodes;
    $n2->freeze;
    my $id = make_id();
    my $start = time;
    my $client = waiting($n1, $id, $BRIEF);
    $n1->graceful;
    my $answer = $client->finish;
    is($answer->{status}, 200, 'who waits is answered');
    cmp_ok(time - $start, '<', $BRIEF + $SLACK, 'in time');
    is_deeply({map { $_ => $answer->{json}{outcomes}{$_}{outcome} } keys %{$answer->{json}{outcomes}}},
              {n1 => 'ok', n2 => 'unknown', n3 => 'ok'}, 'with all that there is');
    $n2->thaw;
    $fleet->once([$id], 'the call ran once on each node');
    $fleet->no_crash;
    $fleet->stop;
};

done_testing;
