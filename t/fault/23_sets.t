# SPDX-License-Identifier: Apache-2.0
# MPMs: event
# Alone on the machine.
# Row 23: a node joins a set, leaves it, is replaced by one of another name; under load, by a roll-out during which some nodes have the
# old configuration and some the new one.  Nothing blocks: no call is refused, nobody waits, and all who are in the set have all.
use strict;
use warnings;
use Fault;
use Fleet;
use Fleet::Edit;
use Load;
use Test::More;
use Time::HiRes qw(time);

my $RATE = amount(40, 200);
my $PAUSE = amount(0.3, 3); # seconds between two nodes of a roll-out
my $SOON = 15;

# n5 is to take the place of n3, at its address: until then nobody knows it.
my $fleet = Fleet->new(nodes => 5, directives => <<'CONF');
ServicelessNodeSet web n1 n2 n3
ServicelessFunction runlog.note nodes=web
ServicelessSyncInterval 1s
ServicelessConnectTimeout 1s
CONF
my ($n1, $n2, $n3, $n4, $n5) = $fleet->nodes;
my $own = $n5->port;
$n5->{port} = $n3->port;
edit_conf($_, sub { s/^ServicelessNodes n5=.*\n//m; s/:$own\b/':' . $n3->port/ge }) for $fleet->nodes;
$_->launch for $n1, $n2, $n3, $n4;
$_->wait_listening for $n1, $n2, $n3, $n4;

# On a new connection: a kept one may be served by a child of the old configuration.
sub some {
    my ($node) = @_;
    my $client = $node->client;
    my @ids = map { $client->call('runlog.note', [$_])->{json}{id} } 1 .. 10;
    return @ids;
}

# Changes the configuration of one node after the other, under load, and returns the ids that were accepted meanwhile.
sub roll_out {
    my ($what, $change, @nodes) = @_;
    my $load = Load->new(origins => [$n1, $n2], rate => $RATE);
    for my $node (@nodes) {
        edit_conf($node, $change);
        poll { 0 } $PAUSE;
        $node == $n3 && $what eq 'replaced' ? replace() : $node->graceful;
    }
    poll { 0 } $PAUSE;
    my $told = $load->stop;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    is_deeply([map { scalar @$_ } @{$told}{qw(refused unknown)}], [0, 0], "$what: all calls are accepted") or diag("@{$told->{refused}}[0 .. 3]");
    cmp_ok($told->{slowest}, '<', 1.5, sprintf 'and answered at once: %d calls, the slowest after %.0f ms', scalar @{$told->{accepted}},
           1000 * $told->{slowest});
    return @{$told->{accepted}};
}

# The log belongs to a name: the new node begins with an empty one.
sub replace {
    $n3->stop;
    edit_conf($n5, sub { s/^ServicelessNodes n3=/ServicelessNodes n5=/m; s/^(ServicelessNodeSet web .*)n3/$1n5/m });
    $n5->start;
    return;
}

# No two of them have anything left to tell each other.
sub agree {
    my ($name, @nodes) = @_;
    my %before = map { $_->name => $_->status->{syncs}{equal} } @nodes;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return eventually { !grep { $_->status->{syncs}{equal} <= $before{$_->name} } @nodes } 20, $name;
}

my @ids = map { some($_) } $n1, $n2, $n3;
my @beside = some($n4);
invariant($fleet, [@ids, @beside], 'before, the set has all', back => [$n1, $n2, $n3]);
is($n4->runs, 0, 'and the node beside it nothing');

push @ids, roll_out('joined', sub { s/^(ServicelessNodeSet web) .*/$1 n1 n2 n3 n4/m }, $n4, $n1, $n3, $n2);
push @ids, map { some($_) } $n1, $n4;
invariant($fleet, \@ids, 'n4 joined: it has all, from before as well', back => [$n1, $n2, $n3, $n4], deadline => $SOON);
is(scalar(grep { $n4->runs($_) } @beside), 0, 'but what entered at it before was for the others alone');
agree('and there is no more to tell', $n1, $n2, $n3, $n4);

push @ids, roll_out('left', sub { s/^(ServicelessNodeSet web) .*/$1 n1 n2 n3/m }, $n2, $n4, $n3, $n1);
my @later = map { some($_) } $n1, $n2, $n4;
invariant($fleet, [@ids, @later], 'n4 left: the others have all', back => [$n1, $n2, $n3], deadline => $SOON);
is(scalar(grep { $n4->runs($_) } @later), 0, 'it gets no more of the set');
agree('and there is no more to tell', $n1, $n2, $n3, $n4);
push @ids, @later;

push @ids, roll_out('replaced', sub { s/^ServicelessNodes n3=/ServicelessNodes n5=/m; s/^(ServicelessNodeSet web .*)n3/$1n5/m }, $n1, $n3, $n2, $n4);
push @ids, map { some($_) } $n1, $n5, $n4;
invariant($fleet, \@ids, 'n5 took the place of n3: it has all, from before as well', back => [$n1, $n2, $n5], deadline => $SOON);
agree('and there is no more to tell', $n1, $n2, $n4, $n5);

done_testing;
