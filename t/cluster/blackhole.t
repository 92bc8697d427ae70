# SPDX-License-Identifier: Apache-2.0
# MPMs: event prefork
# Several nodes whose addresses swallow packets, or that hang: they delay the others by at most two connect timeouts, whatever the mode.
use strict;
use warnings;
use Fleet;
use Fleet::Edit;
use IO::Select;
use IO::Socket::INET;
use List::Util qw(max);
use Socket qw(AF_INET INADDR_LOOPBACK SOCK_NONBLOCK SOCK_STREAM sockaddr_in);
use Test::More;
use Time::HiRes qw(time);

my $CONNECT = 1;               # seconds: ServicelessConnectTimeout
my $BOUND = 2 * $CONNECT;
my $NOISE = 0.5;               # ten servers on a busy machine
my $ROUNDS = 3;                # of which the best counts, as each can only be disturbed to take longer
my $DIRECTIVES = "ServicelessConnectTimeout ${CONNECT}s\nServicelessTimeout ${CONNECT}s\nServicelessSyncInterval 0\n"; # relay alone
my @fillers;

# A port that takes no connection and refuses none: its queue of connections is full, so the kernel drops what else would come.
sub blackhole {
    my $port = Fleet::free_port('127.0.0.1');
    my $listener = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1', LocalPort => $port, ReuseAddr => 1) or die "cannot listen: $@";
    push @fillers, $listener;
    listen $listener, 0 or die "cannot listen: $!"; # IO::Socket takes 0 for its default
    my $address = sockaddr_in($port, INADDR_LOOPBACK);
    my $through;
    for (1 .. 5) {
        socket my $filler, AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0 or die "cannot make a socket: $!";
        connect $filler, $address;
        push @fillers, $filler;
        $through = IO::Select->new($filler)->can_write(0.1);
    }
    plan skip_all => 'SKIPPED: this system lets connections through to a full queue' if $through;
    return $port;
}

# A fleet of which some nodes are not there: $dead->($node) makes them so, once all have been started if $later.
sub waited {
    my ($mode, $later, $dead, @names) = @_;
    my $fleet = Fleet->new(nodes => 10, mode => $mode, directives => $DIRECTIVES);
    my %gone = map { $_ => 1 } @names;
    my @gone = grep { $gone{$_->name} } $fleet->nodes;
    my @living = grep { !$gone{$_->name} } $fleet->nodes;
    $dead->($fleet, $_) for $later ? () : @gone;
    $_->launch for $later ? $fleet->nodes : @living;
    $_->wait_listening for $later ? $fleet->nodes : @living;
    $dead->($fleet, $_) for $later ? @gone : ();
    my $answer = $living[0]->call('runlog.note', [$mode]);
    my $id = $answer->{json}{id};
    my $arrived = poll { $fleet->arrived([$id], @living) } 10 * $CONNECT;
    my $took = $arrived && max(map { ($_->runs_of($id))[0]{time} } @living) - ($living[0]->runs_of($id))[0]{time};
    $fleet->settle(0.3);
    my %runs = %{$fleet->runs($id)};
    delete @runs{@names};
    $_->thaw for grep { $_->{frozen} } @gone;
    $fleet->stop;
    return ($took, \%runs, {map { $_->name => 1 } @living});
}

my %kind = (
    blackholed => [0, sub {
        my ($fleet, $node) = @_;
        my $port = blackhole();
        my ($name, $authority) = ($node->name, $node->authority);
        for my $other (grep { $_ != $node } $fleet->nodes) {
            edit_conf($other, sub { s{^(ServicelessNodes \Q$name\E=http://)\Q$authority\E$}{${1}127.0.0.1:$port}m });
        }
    }],
    hung => [1, sub { $_[1]->freeze }],
);

for my $case (['bounce', 'blackholed', qw(n2 n3 n4 n5)], ['bounce', 'blackholed', qw(n3 n5 n7 n10)], ['tree:3', 'blackholed', qw(n2 n5 n8)],
              ['broadcast', 'blackholed', qw(n2 n5 n8)], ['bounce', 'hung', qw(n3 n5 n7 n10)]) {
    my ($mode, $kind, @gone) = @$case;
    my $name = "$mode, $kind: @gone";
    my ($best, $runs, $living);
    for (1 .. $ROUNDS) {
        my ($took, @rest) = waited($mode, @{$kind{$kind}}, @gone);
        ($runs, $living) = @rest;
        $best = $took if defined $took && (!defined $best || $took < $best);
        last if defined $best && $best < $BOUND + $NOISE;
    }
    is_deeply($runs, $living, "$name: each living node ran it once");
    cmp_ok($best // 99, '<', $BOUND + $NOISE, sprintf 'the last one after %.2f s of %d', $best // 99, $BOUND);
}

done_testing;
