# SPDX-License-Identifier: Apache-2.0
# MPMs: event prefork
# A retention that is shortened, on one node after the other, makes nobody believe that it missed what it has.
use strict;
use warnings;
use Fleet;
use Fleet::Edit;
use Test::More;

my $SHORT = 3; # seconds
my $fleet = Fleet->new(nodes => 3, mode => 'broadcast', directives => "ServicelessTolerance 1s\nServicelessRetention 1h\nServicelessSyncInterval 500ms")->start;
my ($one, $two, $three) = $fleet->nodes;
my @ids;
for (1 .. 2) { # of two epochs that another one supersedes
    push @ids, map { $three->call('runlog.note', [$_])->{json}{id} } 1 .. 3;
    $fleet->once(\@ids, 'all nodes ran them');
    $three->stop;
    $three->start;
}
push @ids, $three->call('runlog.note', ['last'])->{json}{id};
$fleet->once(\@ids, 'and the last one');
poll { 0 } 3 * $SHORT; # longer than the time after which a stream of this age would be forgotten

sub compared { my %sum = map { $_->name => $_->status->{syncs}{equal} + $_->status->{syncs}{exchanged} } $fleet->nodes; return \%sum }

for my $node ($one, $two, $three) {
    edit_conf($node, sub { s/^ServicelessRetention .*/ServicelessRetention ${SHORT}s/m });
    $node->graceful;
    my $before = compared();
    eventually { my $now = compared(); !grep { $now->{$_} < $before->{$_} + 2 } keys %$now } 20, $node->name . ' is compared with';
}
eventually { !grep { $_->status->{log}{calls} } $fleet->nodes } 20, 'all is pruned everywhere';
my $before = compared();
eventually { my $now = compared(); !grep { $now->{$_} < $before->{$_} + 4 } keys %$now } 20, 'and compared again';
is_deeply([map { $_->status->{missed} } $fleet->nodes], [0, 0, 0], 'nothing was missed');
$fleet->once(\@ids, 'nothing ran again');

done_testing;
