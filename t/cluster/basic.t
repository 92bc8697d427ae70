# SPDX-License-Identifier: Apache-2.0
# Five nodes; every mode, every origin: each call runs once on each node, and says the same everywhere.
use strict;
use warnings;
use Fleet;
use Test::More;

for my $mode (qw(bounce broadcast tree:2)) {
    subtest $mode => sub {
        my $fleet = Fleet->new(nodes => 5, mode => $mode)->start;
        my @ids;
        for my $origin ($fleet->nodes) {
            my $answer = $origin->call('runlog.note', ['from', $origin->name]);
            is($answer->{status}, 200, 'accepted by ' . $origin->name);
            ok($answer->{signed}, 'answer signed');
            is($answer->{json}{node}, $origin->name, 'answered by its node');
            is_deeply($answer->{json}{result}, ['from', $origin->name], 'with its result');
            push @ids, $answer->{json}{id};
        }
        $fleet->once(\@ids, 'each call ran once on each node');
        for my $node ($fleet->nodes) {
            my @runs = map { $node->runs_of($_) } @ids;
            is_deeply([map { "$_->{origin} $_->{seq} $_->{args}" } @runs], [map { qq($_ 1 ["from","$_"]) } $fleet->names],
                      $node->name . ' was told origin, number and arguments');
        }
        my ($status, $printed) = $fleet->command($fleet->node('n3'), 'call', 'example.sum', 1, 2, 3, '--json');
        is($status, 0, 'the command calls');
        like($printed, qr/\b6\b/, 'and prints the result');
        $fleet->stop;
    };
}

subtest 'a call may choose its own mode and node set' => sub {
    my $fleet = Fleet->new(nodes => 4, directives => 'ServicelessNodeSet pair n2 n4')->start;
    for my $mode (qw(bounce broadcast tree tree:2)) {
        my $answer = $fleet->node('n2')->call('runlog.note', [], mode => $mode);
        $fleet->once([$answer->{json}{id}], "mode $mode");
    }
    my $inside = $fleet->node('n4')->call('runlog.note', [], nodes => 'pair');
    my $outside = $fleet->node('n1')->call('runlog.note', [], nodes => 'pair');
    is($outside->{json}{outcome}, 'accepted', 'an origin outside of the set does not run the call');
    my @pair = map { $fleet->node($_) } qw(n2 n4);
    my @ids = map { $_->{json}{id} } $inside, $outside;
    $fleet->once(\@ids, 'each node of the set ran it once', living => \@pair);
    is_deeply($fleet->runs($_), {n2 => 1, n4 => 1}, 'and no other node') for @ids;
};

done_testing;
