#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# Measures what docs/performance.md tells: `make bench`, or `make bench-quick`; BENCH="latency sustained" measures these parts only.
use strict;
use warnings;
use Bench;
use Bench::Fleet qw(bench_fleet generated http middle);
use File::Basename qw(dirname);
use IO::Socket::INET;
use Test::More ();

my $quick = @ARGV && $ARGV[0] =~ /^-/ ? shift(@ARGV) eq '-quick' : 0;
my %parts = map { $_ => 1 } @ARGV;
my @SIZES = $quick ? (4, 8) : (4, 8, 16);
my $SINGLES = $quick ? 100 : 300; # calls of a round whose latency is measured
my $REQUESTS = $quick ? 6_000 : 20_000;
my $MESSAGES = $quick ? 12_800 : 51_200;

my $here = dirname(__FILE__);
my $bench = Bench->new(rounds => $quick ? 3 : 5);
my @servers; # of others: {pid}

Test::More->builder->no_ending(1);
END { kill 'TERM', map { $_->{pid} } @servers }

sub wanted { return !%parts || $parts{$_[0]} }

sub rate { my ($answer, $of) = @_; return $answer->{$of} / $answer->{seconds} }

sub endpoint {
    my %of = (async => bench_fleet(1), fsync => bench_fleet(1, durability => 'fsync'));
    for my $connections (16, 64) {
        my $one = sub {
            my ($name, $durability, $path, @more) = @_;
            return {name => $name, @more, take => sub {
                return rate(http($of{$durability}, 'endpoint', count => $REQUESTS, batch => $connections, path => $path, reply => 'local'), 'requests');
            }};
        };
        $bench->compare("endpoint: example.echo, one node, $connections connections", 'requests/s', [
            $one->('a handler that does nothing', 'async', '/nothing'),
            $one->('serviceless, async', 'async', '/serviceless', to => 'a handler that does nothing', goal => 0.80),
            $one->('serviceless, fsync', 'fsync', '/serviceless', to => 'a handler that does nothing', $connections == 64 ? (goal => 0.50) : ()),
        ], more => 1);
    }
    $_->{fleet}->stop for values %of;
    return;
}

sub latency {
    for my $size (@SIZES) {
        my $fleet = bench_fleet($size);
        my $mode = sub {
            my ($mode, @more) = @_;
            return {name => "serviceless, $mode", @more, take => sub { middle(http($fleet, 'latency', count => $SINGLES, mode => $mode)) }};
        };
        my $floor = sub {
            my ($what, $name) = @_;
            return {name => $name, take => sub { middle(http($fleet, $what, count => $SINGLES, path => '/nothing')) }};
        };
        $bench->compare("latency to the last of $size nodes, async", 'us', [
            $floor->('chain', 'chain floor'), $floor->('star', 'star floor (libcurl)'),
            $mode->('bounce', to => 'chain floor', goal => 1.3),
            $mode->('broadcast', to => 'star floor (libcurl)', goal => 1.3),
            $mode->('tree:3', to => 'serviceless, broadcast', $size == 16 ? (goal => 1.0) : ()),
            peers_latency($size),
        ]);
        $fleet->{fleet}->stop;
    }
    return;
}

sub peers_latency { return }
sub peers_sustained { return }

sub sustained {
    for my $size (grep { $_ < 16 } @SIZES) {
        my $fleet = bench_fleet($size);
        my $relayed = sub {
            my ($batch, $mode) = @_;
            return {name => "serviceless, $mode, $batch a POST", take => sub {
                return rate(http($fleet, 'sustained', count => $MESSAGES, batch => $batch, mode => $mode), 'deliveries');
            }};
        };
        $bench->compare("sustained: $size nodes, async", 'deliveries/s', [
            $relayed->(64, 'bounce'), $relayed->(256, 'bounce'), $relayed->(256, 'broadcast'), peers_sustained($size),
        ], more => 1);
        $fleet->{fleet}->stop;
    }
    return;
}

sub answers {
    for my $size (@SIZES) {
        my $fleet = bench_fleet($size);
        $bench->compare("with results: example.echo on $size nodes, async", 'us', [
            {name => 'serviceless, reply all', take => sub { middle(http($fleet, 'answers', count => $SINGLES, reply => 'all')) }},
            {name => 'serviceless, reply local', take => sub { middle(http($fleet, 'answers', count => $SINGLES, reply => 'local')) }},
        ]);
        $fleet->{fleet}->stop;
    }
    return;
}

my %what = (endpoint => \&endpoint, latency => \&latency, sustained => \&sustained, answers => \&answers);
my @unknown = grep { !$what{$_} } keys %parts;
die "no part is called @unknown: there are ", join(' ', sort keys %what), "\n" if @unknown;
my $machine = $bench->machine;
print "$machine->{processors} x $machine->{processor}, Linux $machine->{kernel}, $machine->{httpd}, $machine->{mpm}\n";
for my $part (qw(endpoint latency answers sustained)) {
    $what{$part}->() if wanted($part);
}
my ($revision) = split /\n/, `git -C '$here' rev-parse --short HEAD 2>/dev/null` || "unknown\n";
mkdir "$here/results";
$bench->keep("$here/results/$revision" . ($quick ? '-quick' : '') . '.json', revision => $revision);
