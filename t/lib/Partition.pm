# SPDX-License-Identifier: Apache-2.0
package Partition;

# Losing what one node of a fleet sends to another, in a network of the test's own: nothing of it is left when the test ends, however
# it ends, and no other process of the machine notices.
#
#   my $why_not = Partition::enter();     # first of all: runs the test anew in a network namespace; else says why that cannot be
#   my $fleet = Fleet->new(nodes => 4, each => \&Partition::directives)->start;
#   my $partition = Partition->new($fleet);
#   $partition->cut($n1, $n2);            # what n1 sends is lost, packet by packet, n2's still arrives
#   $partition->isolate($n3);             # nothing goes to or from n3
#   $partition->heal;
#
# All nodes share an address, so packets are told apart by the sender: httpd's children of each node are of a group of its own, and
# the kernel's table of connections notes who began each.  The test itself is cut off from none.
use strict;
use warnings;
use Carp qw(croak);

my $FIRST_GROUP = 61000; # no such group has to be there
my $MARK = 'SVL_TEST_NETWORK';

sub _runs {
    my (@command) = @_;
    return system(join(' ', @command) . ' >/dev/null 2>&1') == 0;
}

# Returns the reason when there can be no network of our own.  Else nothing, and the test runs in one.
sub enter {
    return if delete $ENV{$MARK};
    return 'it needs root' if $>;
    for (['nft', '--version'], ['ip', '-V']) {
        return "there is no program $_->[0]; Debian: nftables, iproute2" unless _runs(@$_);
    }
    return 'this system permits no network namespaces (unshare -n)' unless _runs('unshare', '-n', 'ip', 'link', 'set', 'lo', 'up');
    return 'the kernel lacks nftables with connection tracking' unless _runs('unshare', '-n', 'nft', "'", _table(1), "'");
    local $ENV{$MARK} = 1;
    exec 'unshare', '-n', $^X, (map { "-I$_" } @INC), $0, @ARGV or return "cannot run unshare: $!";
}

sub _number {
    my ($node) = @_;
    my ($number) = $node->name =~ /^n(\d+)$/ or croak 'what number has ' . $node->name . '?';
    return $number;
}

sub _group { return $FIRST_GROUP + _number($_[0]) }

# For the option `each` of Fleet.
sub directives {
    my ($node) = @_;
    return 'Group #' . _group($node) . "\n";
}

# Each new connection is marked with the number of the node that began it.
sub _table {
    my ($count) = @_;
    my $marks = join '', map { 'ct state new meta skgid ' . ($FIRST_GROUP + $_) . " ct mark set $_; " } 1 .. $count;
    return "table inet fleet { chain begun { type filter hook output priority 0; $marks}; chain cut { type filter hook output priority 10; }; }";
}

sub _nft {
    my (@words) = @_;
    system('nft', join ' ', @words) == 0 or croak 'nft failed: ' . join ' ', @words;
    return;
}

sub new {
    my ($class, $fleet) = @_;
    system('ip', 'link', 'set', 'lo', 'up') == 0 or croak 'cannot set lo up';
    _nft(_table(scalar $fleet->nodes));
    return bless {fleet => $fleet}, $class;
}

# What $from sends to $to is lost: on connections that it began, and answers on those that $to began.  What the kernel still sends on a
# connection that was closed (after a timeout, say) is of no group any more, but of a connection that is marked.
sub cut {
    my ($self, $from, $to) = @_;
    _nft(map { "add rule inet fleet cut $_ drop;" } 'meta skgid ' . _group($from) . ' tcp dport ' . $to->port,
         'ct mark ' . _number($from) . ' tcp dport ' . $to->port, 'ct mark ' . _number($to) . ' tcp sport ' . $from->port);
    return;
}

sub isolate {
    my ($self, $node) = @_;
    for my $other (grep { $_ != $node } $self->{fleet}->nodes) {
        $self->cut($node, $other);
        $self->cut($other, $node);
    }
    return;
}

# All cuts, or those that are left when the nodes @still stay isolated.
sub heal {
    my ($self, @still) = @_;
    _nft('flush chain inet fleet cut');
    $self->isolate($_) for @still;
    return;
}

1;
