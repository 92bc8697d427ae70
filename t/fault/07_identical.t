# SPDX-License-Identifier: Apache-2.0
# MPMs: event worker prefork
# Row 7: 64 identical requests at once, to all children of a node and to several nodes.
use strict;
use warnings;
use Client qw(make_id);
use Fault;
use Fleet;
use Test::More;

my $CLIENTS = 64;

my $fleet = Fleet->new(nodes => 3, mode => 'broadcast')->start;
my ($one, @others) = $fleet->nodes;

# All requests are sent before the first answer is read.
sub at_once {
    my ($id, $body, @nodes) = @_;
    my @clients = map { $nodes[$_ % @nodes]->client } 1 .. $CLIENTS;
    $_->begin($_->message($body, id => $id), id => $id) for @clients;
    return map { $_->finish } @clients;
}

my $body = $one->client->call_body('runlog.note', ['the same']);
my (@one, @many);
for my $round (1 .. amount(5, 50)) {
    my $id = make_id();
    my @answers = at_once($id, $body, $one);
    push @one, $id;
    is(scalar(grep { $_->{status} == 200 && $_->{signed} } @answers), $CLIENTS, "round $round: each of $CLIENTS is answered");
    is(scalar(grep { !$_->{json}{duplicate} } @answers), 1, 'one of them as the first');
}
invariant($fleet, \@one, "$CLIENTS times the same request to one node: it ran once on each");

for my $round (1 .. amount(5, 50)) {
    my $id = make_id();
    my @answers = at_once($id, $body, $one, @others);
    push @many, $id;
    is(scalar(grep { $_->{status} == 200 } @answers), $CLIENTS, "round $round: each of $CLIENTS to three nodes is answered");
}
invariant($fleet, \@many, "$CLIENTS times the same request to three nodes: it ran once on each");

done_testing;
