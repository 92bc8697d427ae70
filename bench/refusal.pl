#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# Whether the time of a refusal tells how close a signature, or a token as Django makes it, came: to which byte it was right, to which
# key, in which entry.
#
#   make check-built && perl -I t/lib bench/refusal.pl [requests of a class]      (default 20,000; SVL_BUILDDIR names the build)
#
# One node with eight keys on loopback.  Requests of all classes are sent in random order over one kept connection; their macs are made
# beforehand.  The time is that from the request's last byte written to the answer's first byte read, in nanoseconds.
#
# The statistics are those of dudect (Reparaz, Balasch, Verbauwhede: Dude, is my code constant time?, 2017): Welch's t between two
# classes, over all times and over those below each of several percentiles of both together, since what a busy machine adds is in the
# tail.  Its threshold is kept: |t| above 4.5 says that the classes differ; below it these many requests do not tell them apart.  The
# exit status is 1 when any |t| is above.  t/threats/22_same_work.t counts instructions instead, and is part of the tests.
use strict;
use warnings;
use Client qw(sign);
use Digest::SHA qw(hmac_sha256 sha256);
use Fleet;
use Fleet::Edit;
use IO::Socket::INET;
use List::Util qw(sum0);
use MIME::Base64 qw(decode_base64 encode_base64);
use Test::More ();
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC time);

my $COUNT = $ARGV[0] // 20_000;
my $KEYS = 8;
my $THRESHOLD = 4.5;
my @PERCENTILES = (100, 99, 95, 90, 75, 50);
my $FAR = 'v1,' . encode_base64("\xa5" x 32, '');
my $BODY = '{"function":"example.echo"}';
Test::More->builder->no_ending(1);

my $fleet = Fleet->new(nodes => 1, durability => 'async', directives => "LogLevel warn\nServicelessAccept django\n");
my ($node) = $fleet->nodes;
my @secrets = map { 'whsec_' . encode_base64(join('', map { chr int rand 256 } 1 .. 32), '') } 1 .. $KEYS;
write_file($fleet->{key_file}, 0600, join '', map { "key$_ $secrets[$_ - 1]\n" } 1 .. $KEYS);
alarm 0;
$node->start;

# Of a class: the key and the entry (0: it is a token) that the mac is close to, and the first byte that differs; key 0: close to nothing.
my @classes = ([0, 1, 0], [1, 1, 0], [1, 1, 15], [1, 1, 31], [8, 1, 31], [1, 8, 31], [8, 8, 31], [0, 0, 0], [1, 0, 0], [1, 0, 31], [8, 0, 31]);
my @pairs = ([0, 3], [1, 3], [1, 2], [2, 3], [3, 4], [3, 5], [3, 6], [7, 9], [8, 9], [9, 10]);

sub name {
    my ($key, $entry, $byte) = @{$classes[$_[0]]};
    my $what = $entry ? "entry $entry" : 'token';
    return $key ? "key $key, $what, right before byte $byte" : "$what, close to nothing";
}

# A mac that is wrong from a byte on.
sub wrong {
    my ($mac, $byte) = @_;
    substr($mac, $_, 1) ^= chr 1 + int rand 255 for $byte .. 31;
    return $mac;
}

sub url64 { return encode_base64($_[0], '') =~ tr{+/=}{-_}dr }

sub token {
    my ($key, $byte, $id, $rest) = @_;
    my $stamp = '';
    ($stamp, $rest) = ((0 .. 9, 'A' .. 'Z', 'a' .. 'z')[$rest % 62] . $stamp, int $rest / 62) while $rest;
    my $value = url64(qq({"id":"$id","function":"example.echo"})) . ":$stamp";
    my $mac = $key ? wrong(hmac_sha256($value, sha256("servicelesssigner$secrets[$key - 1]")), $byte) : "\xa5" x 32;
    return "data=$value:" . url64($mac);
}

# A request of a class, as bytes.
sub request {
    my ($key, $entry, $byte) = @_;
    my ($id, $now) = (sprintf('b%039d', int rand 1e15), int time);
    my @head = ('POST /serviceless HTTP/1.1', 'Host: ' . $node->authority);
    if (!$entry) {
        my $form = token($key, $byte, $id, $now);
        return join "\r\n", @head, 'Content-Type: application/x-www-form-urlencoded', 'Content-Length: ' . length $form, '', $form;
    }
    my @entries = ($FAR) x 8;
    if ($key) {
        my $mac = wrong(decode_base64(sign($secrets[$key - 1], $id, $now, $BODY) =~ s/^v1,//r), $byte);
        $entries[$entry - 1] = 'v1,' . encode_base64($mac, '');
    }
    return join "\r\n", @head, 'Content-Type: application/json', 'Content-Length: ' . length $BODY,
        "webhook-id: $id", "webhook-timestamp: $now", 'webhook-signature: ' . join(' ', @entries), '', $BODY;
}

my $socket = IO::Socket::INET->new(PeerAddr => $node->host, PeerPort => $node->port) or die "no connection: $@\n";

# Nanoseconds until it is refused.
sub took {
    my ($bytes) = @_;
    my $start = clock_gettime(CLOCK_MONOTONIC);
    syswrite $socket, $bytes;
    sysread $socket, my $answer, 65536 or die "the connection was closed\n";
    my $end = clock_gettime(CLOCK_MONOTONIC);
    $answer =~ /\AHTTP\/1\.1 401 .*\r\n\r\n\{.*\}\z/s or die "not refused, or not at once:\n$answer\n";
    return 1e9 * ($end - $start);
}

my @times = map { [] } @classes;
for (1 .. $COUNT) {
    my @order = sort { $a->[0] <=> $b->[0] } map { [rand, $_] } 0 .. $#classes;
    my @requests = map { [$_->[1], request(@{$classes[$_->[1]]})] } @order;
    push @{$times[$_->[0]]}, took($_->[1]) for @requests;
}

sub quantile { my ($share, @sorted) = @_; return $sorted[int($share * $#sorted)] }

# Welch's t of two samples.
sub welch {
    my @part = map { my $n = @$_; my $mean = sum0(@$_) / $n; [$mean, sum0(map { ($_ - $mean) ** 2 } @$_) / ($n - 1) / $n] } @_;
    return ($part[0][0] - $part[1][0]) / (sqrt($part[0][1] + $part[1][1]) || 1);
}

printf "%d requests of each class, %s\n\n%-44s %10s %10s\n", $COUNT, $fleet->{mpm}, 'class', 'median us', '90 % us';
for my $class (0 .. $#classes) {
    my @sorted = sort { $a <=> $b } @{$times[$class]};
    printf "%-44s %10.2f %10.2f\n", name($class), quantile(0.5, @sorted) / 1000, quantile(0.9, @sorted) / 1000;
}
my $worst = 0;
printf "\n%-84s %s\n", 'two classes', join ' ', map { sprintf '%6s', "t $_ %" } @PERCENTILES;
for my $pair (@pairs) {
    my @two = @times[@$pair];
    my @both = sort { $a <=> $b } map { @$_ } @two;
    my @t = map { my $limit = quantile($_ / 100, @both); welch(map { [grep { $_ <= $limit } @$_] } @two) } @PERCENTILES;
    printf "%-84s %s\n", join('  against  ', map { name($_) } @$pair), join ' ', map { sprintf '%7.2f', $_ } @t;
    $worst = abs > $worst ? abs : $worst for @t;
}
printf "\nthe largest |t| is %.2f: the classes %s\n", $worst, $worst > $THRESHOLD ? 'differ' : 'are not told apart';
$fleet->stop;
exit($worst > $THRESHOLD);
