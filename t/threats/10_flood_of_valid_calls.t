# SPDX-License-Identifier: Apache-2.0
# Row 10: a flood of valid calls.  A full log refuses rather than loses: 503 and Retry-After, what it holds is still answered for, and the
# server lives.
use strict;
use warnings;
use Client qw(make_id);
use Fleet;
use Fleet::Edit;
use Refused;
use Test::More;

my $SIZE = 1024 * 1024;     # bytes of the log: the least that can be configured
my $ARGUMENT = 'x' x 8000;  # of a call that fills it
my $MOST = 1000;            # calls that must fill it
my $PATIENCE = 2.5;         # seconds of refusals after which it is full: each child commits what waits once a second

# Calls a node until it refuses, and goes on refusing: at first some room comes back, when what was written for good frees other pages.
# Returns the messages that it took, by id, the id that it did not take, that answer, and how often it refused.
sub fill {
    my ($node) = @_;
    my $client = $node->client;
    my (%taken, $answer);
    my $refusals = 0;
    for (1 .. $MOST) {
        my $id = make_id();
        my $message = $client->message($client->call_body('runlog.note', [$ARGUMENT]), id => $id);
        my $took = poll {
            $answer = $client->exchange($message, id => $id);
            return $answer->{status} == 503 ? !++$refusals : 1;
        } $PATIENCE;
        return (\%taken, $id, $answer, $refusals) if !$took || $answer->{status} != 200;
        $taken{$id} = $message;
    }
    return (\%taken);
}

sub file_size {
    my ($node) = @_;
    return -s $node->state_directory . '/data.mdb';
}

sub no_crash {
    my (@nodes) = @_;
    unlike($_->error_log, qr/exit signal|core dumped/, $_->name . ': no child crashed') for @nodes;
    return;
}

subtest 'threat 10: a full log at the origin' => sub {
    my $fleet = Fleet->new(nodes => 2, each => {n1 => "ServicelessStoreSize $SIZE\n"})->start;
    my ($n1, $n2) = $fleet->nodes;
    my @children = $n1->children;
    my $client = $n1->client;
    my ($taken, $refused, $answer, $refusals) = fill($n1);
    my @ids = keys %$taken;
    note(scalar(@ids) . ' calls of ' . length($ARGUMENT) . ' bytes filled ' . file_size($n1) . ' bytes');
    cmp_ok(@ids, '>', 20, 'the log takes calls');
    is($answer->{status}, 503, 'when it is full it refuses');
    like($answer->{headers}{'retry-after'} // '', qr/^[1-9]\d*$/, 'and says when to try again');
    is($answer->{headers}{'content-type'}, 'application/problem+json', 'with a problem document');
    is($answer->{json}{status}, 503, 'that says the same');
    like($answer->{json}{detail} // '', qr/ServicelessStoreSize/, 'and names the directive');
    ok($answer->{signed}, 'signed');
    cmp_ok(file_size($n1), '<=', $SIZE, 'the file is no larger than configured');
    $fleet->once(\@ids, 'all that was accepted ran once on each node');

    my @wrong;
    for my $id (@ids) {
        my $again = $client->exchange($taken->{$id}, id => $id);
        push @wrong, "$id: $again->{status}"
            unless $again->{status} == 200 && $again->{json}{duplicate} && $again->{json}{outcome} eq 'ok';
    }
    is_deeply(\@wrong, [], 'earlier ids are still answered with their outcome');
    my $conflict = $client->call('runlog.note', ['other content'], id => $ids[0]);
    is($conflict->{status}, 409, 'and with a conflict when the content differs');
    ($answer) = leaves_nothing($n1, 'store-full', 'a new one', sub { $client->call('runlog.note', [$ARGUMENT], id => $refused) }, nodes => [$n2]);
    is_refusal($answer, 503, 'it is refused again');
    tells_refusals($n1, 'store-full');
    my $status = $client->get('/serviceless-status?format=json')->{json};
    is($status->{rejected}{'store-full'}, $refusals + 1, 'the status counts each refusal');
    $fleet->settle(0.3);
    is_deeply($fleet->runs($refused), {}, 'what was refused ran nowhere');
    $fleet->once(\@ids, 'and nothing ran again');
    is_deeply([sort $n1->children], [sort @children], 'no child was lost');
    no_crash($n1, $n2);

    edit_conf($n1, sub { s/^ServicelessStoreSize $SIZE$/ServicelessStoreSize 8m/m });
    $client->disconnect; # an old child has no more room than before
    $n1->graceful;
    $answer = $client->call('runlog.note', [$ARGUMENT], id => $refused);
    is($answer->{status}, 200, 'with more room it takes calls again, also one that it refused');
    $fleet->once([@ids, $refused], 'which run once on each node');
    no_crash($n1, $n2);
};

subtest 'threat 10: a full log at a peer' => sub {
    my $fleet = Fleet->new(nodes => 3, each => {n2 => "ServicelessStoreSize $SIZE\n"})->start;
    my ($n1, $n2, $n3) = $fleet->nodes;
    my ($taken) = fill($n2);
    my @ids = keys %$taken;
    $fleet->once(\@ids, 'all that was accepted ran once on each node');
    my @later = map { $n1->call('runlog.note', [$ARGUMENT])->{json}{id} } 1 .. 20;
    $fleet->once(\@later, 'calls go round it', living => [$n1, $n3]);
    is_deeply([map { $n2->runs($_) } @later], [(0) x @later], 'it runs nothing that it could not log');
    my @children = $n2->children;
    cmp_ok(@children, '>', 0, 'it lives');
    is($n2->exchange($taken->{$ids[0]}, id => $ids[0])->{json}{duplicate}, JSON::PP::true, 'and answers for what it holds');
    no_crash($fleet->nodes);
};

done_testing;
