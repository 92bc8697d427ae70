#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# Measures what docs/performance.md tells: `make bench`, or `make bench-quick`; BENCH="latency sustained" measures these parts only.
use strict;
use warnings;
use Bench;
use Bench::Fleet qw(bench_fleet http middle quiet);
use Bench::Instructions;
use Bench::Peers;
use File::Basename qw(dirname);
use JSON::PP;
use List::Util qw(max min sum0);
use Proc qw(cpu);
use Test::More ();

my $prefork = ($ENV{SVL_TEST_MPM} // '') eq 'prefork';
my $quick = @ARGV && $ARGV[0] =~ /^-/ ? shift(@ARGV) eq '-quick' : 0;
my %parts = map { $_ => 1 } @ARGV;
my @SIZES = $quick ? (4) : (4, 8, 16);
my @CONNECTIONS = $quick ? (64) : (16, 64);
my $SINGLES = $quick ? 100 : 150; # calls of a round whose latency is measured
my $REQUESTS = $quick ? 6_000 : 12_000;
my $MESSAGES = $quick ? 12_800 : 51_200;
my @LENGTHS = (1_000, 100_000, 10_000_000); # calls in the log
my @NODES = (4, 8, 16, 32);
my @BYTES = (200, 2_000, 20_000, 200_000);  # of a call
my $GROWN = 1.1;                            # times that a number of instructions may grow before it is told

my %NAME = (redis => 'Redis, same work', nats => 'NATS, same work', erlang => 'Erlang');
my $here = dirname(__FILE__);
my $bench = Bench->new(rounds => $quick ? 2 : 4);

Test::More->builder->no_ending(1);

sub wanted { return !%parts || $parts{$_[0]} }

sub rate { my ($answer, $of) = @_; return $answer->{$of} / $answer->{seconds} }

# Children with 32 threads, as a server has several (two or three here); and one that has a thread for each connection.
sub endpoint {
    $bench->skip('calls over links to one node', 'a child of prefork gives 4') if $prefork;
    my $floor = 'a handler that does nothing';
    for my $connections (@CONNECTIONS) {
        for my $threads ($prefork ? 0 : $quick ? 32 : (32, 80)) {
            my @threads = $threads == 80 ? (threads => $threads) : ();
            my %of = (async => bench_fleet(1, @threads), fsync => bench_fleet(1, @threads, durability => 'fsync'));
            my $one = sub {
                my ($name, $durability, $path, $by, @goal) = @_;
                return {name => $name, ($name eq $floor ? () : (to => [[$floor, @goal]])), after => sub { quiet($of{$durability}) }, take => sub {
                    return rate(http($of{$durability}, 'endpoint', count => $REQUESTS, batch => $connections, path => $path, reply => 'local', by => $by), 'requests');
                }};
            };
            my @group = $connections == 64 ? 0.50 : (); # commits together
            my $children = $prefork ? 'prefork' : @threads ? "one child of $threads threads" : "children of $threads threads";
            $bench->compare("endpoint: example.echo, one node, $children, $connections connections", 'requests/s', [
                $one->($floor, 'async', '/nothing', 'request'),
                $one->('serviceless, async', 'async', '/serviceless', 'request', 0.80),
                $one->('serviceless, fsync', 'fsync', '/serviceless', 'request', @group),
                $prefork ? () : ($one->('serviceless, async, over links', 'async', '/serviceless', 'link'),
                    $one->('serviceless, fsync, over links', 'fsync', '/serviceless', 'link', @group)),
            ], more => 1);
            $_->{fleet}->stop for values %of;
        }
    }
    return;
}

# The brokers that can be compared with, started: (kind => Bench::Peers).
sub beside {
    my ($fleet, $receivers) = @_;
    my %broker;
    for my $kind (qw(redis nats)) {
        my $why = Bench::Peers->why_not($kind);
        if ($why) { $bench->skip($NAME{$kind}, $why) }
        else {
            $broker{$kind} = Bench::Peers->start($kind, receivers => $receivers, keys => $fleet->{keys}, directory => dirname($fleet->{board}));
        }
    }
    return %broker;
}

# These subjects, if Erlang is here.
sub erlang {
    my (@subjects) = @_;
    my $why = Bench::Peers->why_not('erlang');
    $bench->skip($NAME{erlang}, $why) if $why;
    return $why ? () : @subjects;
}

# How an Erlang cluster does it, as a subject.
sub erlang_latency {
    my ($what, $size) = @_;
    return {name => "Erlang, $what", take => sub { middle(Bench::Peers->erlang($what, $size, $SINGLES)) }};
}

sub latency {
    for my $size (@SIZES) {
        my $fleet = bench_fleet($size);
        my %broker = beside($fleet, $size - 1); # who publishes is a node that has it already
        my @erlang = erlang(map { erlang_latency($_, $size) } qw(multicall multicast));
        my $mode = sub {
            my ($mode, $by, @to) = @_;
            return {name => "serviceless, $mode" . ($by eq 'link' ? ' over a link' : ''), to => \@to, after => sub { quiet($fleet) },
                take => sub { middle(http($fleet, 'latency', count => $SINGLES, reply => 'local', mode => $mode, by => $by)) }};
        };
        my @beside = map { [$_->{name}, $_->{name} =~ /multicall/ || $size != 8 ? 1.0 : ()] } @erlang;
        my $floor = sub {
            my ($what, $name) = @_;
            return {name => $name, take => sub { middle(http($fleet, $what, count => $SINGLES, path => '/nothing')) }};
        };
        $bench->compare("latency to the last of $size nodes, async, reply local", 'us', [
            $floor->('chain', 'chain floor'), $floor->('star', 'star floor (libcurl)'),
            $mode->('bounce', 'request', ['chain floor', 1.3]),
            $mode->('broadcast', 'request', ['star floor (libcurl)', 1.3], @beside),
            $mode->('tree:3', 'request', ['serviceless, broadcast', $size == 16 ? 1.0 : ()]),
            $mode->('bounce', 'link', ['chain floor', 1.3]),
            $mode->('broadcast', 'link', ['star floor (libcurl)', 1.3], @beside),
            $mode->('tree:3', 'link', ['serviceless, broadcast over a link', $size == 16 ? 1.0 : ()]),
            (map { my $kind = $_; {name => $NAME{$kind}, take => sub { middle($broker{$kind}->measure('latency', count => $SINGLES)) }} }
                sort keys %broker),
            @erlang,
        ]);
        $_->stop for values %broker;
        $fleet->{fleet}->stop;
    }
    return;
}

sub sustained {
    for my $size (grep { $_ < 16 } @SIZES) {
        my $fleet = bench_fleet($size);
        my %broker = beside($fleet, $size);
        my $relayed = sub {
            my ($batch, $mode, @to) = @_;
            return {name => "serviceless, $mode, $batch calls a message", to => \@to, after => sub { quiet($fleet) }, take => sub {
                return rate(http($fleet, 'sustained', count => $batch == 1 ? $MESSAGES / 16 : $MESSAGES, batch => $batch, mode => $mode), 'deliveries');
            }};
        };
        $bench->compare("sustained: $size nodes, async; calls come relayed, a signature a message", 'deliveries/s', [
            (map { my $kind = $_; map { my $batch = $_; {name => "$NAME{$kind}, $batch at a time", take => sub {
                rate($broker{$kind}->measure('sustained', count => $MESSAGES, batch => $batch), 'deliveries')
            }} } 1, 256 } sort keys %broker),
            erlang({name => 'Erlang, multicast', take => sub { rate(Bench::Peers->erlang('sustained', $size, $MESSAGES / 4), 'deliveries') }}),
            (map { $relayed->($_, 'bounce') } $quick ? 64 : (1, 16, 64)),
            {%{$relayed->(256, 'bounce', $broker{redis} ? ["$NAME{redis}, 256 at a time", 0.75] : ())}, goal => 300_000},
            $relayed->(256, 'broadcast'),
        ], more => 1);
        $_->stop for values %broker;
        $fleet->{fleet}->stop;
    }
    return;
}

sub answers {
    for my $size (@SIZES) {
        my $fleet = bench_fleet($size);
        my @erlang = erlang(erlang_latency('multicall', $size));
        $bench->compare("with results: example.echo on $size nodes, async", 'us', [
            @erlang,
            map { my $by = $_; my $over = $by eq 'link' ? ' over a link' : ''; (
                {name => "serviceless, broadcast, reply local$over", after => sub { quiet($fleet) },
                    take => sub { middle(http($fleet, 'latency', count => $SINGLES, reply => 'local', mode => 'broadcast', by => $by)) }},
                {name => "serviceless, reply all$over", after => sub { quiet($fleet) }, to => [["serviceless, broadcast, reply local$over", 1.5], map { [$_->{name}, 1.0] } @erlang],
                    take => sub { middle(http($fleet, 'answers', count => $SINGLES, reply => 'all', by => $by)) }},
            ) } qw(request link)
        ]);
        $fleet->{fleet}->stop;
    }
    return;
}

# What serviceless_call adds to the request that makes it: its own processor time, and what it waits.
sub caller_part {
    for my $durability (qw(async fsync)) {
        my %of = map { $_ => bench_fleet($_, durability => $durability) } 1, grep { $_ < 16 } @SIZES;
        my $calls = $durability eq 'async' ? 1000 : 200; # of a request
        for my $what (['cpu', 'processor time of the caller'], ['micros', 'time of the caller, with all nodes on this machine']) {
            my ($member, $title) = @$what;
            $bench->compare("serviceless_call of an empty function, $durability: $title", 'us a call', [
                map { my $size = $_; {name => "$size nodes", $size > 1 ? (to => [['1 nodes']]) : $durability eq 'async' ? (goal => 30) : (),
                    after => sub { quiet($of{$size}) }, take => sub {
                    my $answer = $of{$size}{fleet}->node('n1')->get("/caller?function=caller.nothing&n=$calls")->{json};
                    die "no answer of $size nodes\n" unless ($answer->{outcome} // '') eq 'ok';
                    return $answer->{$member} / $calls;
                }} } sort { $a <=> $b } keys %of]);
        }
        $_->{fleet}->stop for values %of;
    }
    return;
}

# What does not cost more when there is more of it: calls in the log, nodes, bytes.
sub growth {
    my %of = map { $_ => bench_fleet(1, size => '16g', filled => $_) } @LENGTHS;
    my @first = ("$LENGTHS[0] calls in the log", 1 / 1.3);
    $bench->compare('growth: example.echo, one node, 16 connections, async', 'requests/s', [map {
        my $length = $_;
        {name => "$length calls in the log", $length == $LENGTHS[0] ? () : (to => [\@first]), after => sub { quiet($of{$length}) },
            take => sub { rate(http($of{$length}, 'endpoint', count => $REQUESTS, batch => 16, reply => 'local'), 'requests') }}
    } @LENGTHS], more => 1);
    $_->{fleet}->stop for values %of;
    for my $table ([nodes => map { [$_, $BYTES[0]] } @NODES], [bytes => map { [4, $_] } @BYTES]) {
        my ($of_what, @cases) = @$table;
        my %fleets;
        $fleets{$_->[0]} //= bench_fleet($_->[0]) for @cases;
        my $name = sub { my ($nodes, $bytes) = @_; return "$nodes nodes, $bytes bytes a call" };
        $bench->compare("growth: bounce, relayed, async: $of_what", 'deliveries/s', [map {
            my ($nodes, $bytes) = @$_;
            my $batch = min(64, int(800_000 / $bytes)); # within a message
            my $count = $batch * int($MESSAGES / 8 / $batch / max(1, $bytes / 2_000) + 1);
            {name => $name->(@$_), $_ == $cases[0] ? () : (to => [[$name->(@{$cases[0]}), $of_what eq 'nodes' ? 1 / 1.3 : ()]]),
                after => sub { quiet($fleets{$nodes}) },
                take => sub { rate(http($fleets{$nodes}, 'sustained', count => $count, batch => $batch, bytes => $bytes, mode => 'bounce'), 'deliveries') }}
        } @cases], more => 1);
        $_->{fleet}->stop for values %fleets;
    }
    return;
}

# The processor time that the origin's processes spend on a call, alone and with peers to relay it to.
sub origin {
    my %of = map { $_ => bench_fleet($_) } 1, 4;
    my $spent = sub { my ($fleet) = @_; return sum0(map { cpu($_) // 0 } $fleet->{fleet}->node('n1')->children) };
    $bench->compare('processor time of the origin, example.echo, 64 connections, async', 'us a call', [map {
        my $nodes = $_;
        {name => "$nodes nodes", $nodes > 1 ? (to => [['1 nodes', 1.1]]) : (), after => sub { quiet($of{$nodes}) }, take => sub {
            my $before = $spent->($of{$nodes});
            http($of{$nodes}, 'endpoint', count => $REQUESTS, batch => 64, reply => 'local');
            return 1e6 * ($spent->($of{$nodes}) - $before) / $REQUESTS;
        }}
    } sort { $a <=> $b } keys %of]);
    $_->{fleet}->stop for values %of;
    return;
}

# What another program of the bench prints.
sub printed {
    my ($program, @arguments) = @_;
    open my $out, '-|', $^X, (map { "-I$_" } @INC), "$here/$program", @arguments or die "cannot start $program: $!\n";
    my @lines = <$out>;
    close $out or die "$program failed\n";
    return @lines;
}

sub catchup {
    my $calls = 100_000;
    $bench->compare("catch-up of $calls missed calls", 'calls/s', [map {
        my $durability = $_;
        {name => $durability, $durability eq 'async' ? (goal => 100_000) : (), take => sub {
            my ($rate) = map { /^held .* (\d+) calls/ } printed('catchup.pl', $calls, $durability);
            return $rate;
        }}
    } qw(async fsync)], more => 1, rounds => 2);
    return;
}

# Whose requests have nothing to do with calls.
sub bystander {
    my $why = Bench::Instructions::why_not();
    return $bench->skip('instructions of a bystander', $why) if $why;
    my %count = map { /^(\S.*?)\s+([\d.]+)$/ ? ($1 => $2) : () } printed('bystander.pl');
    return $bench->count('instructions of our hook in a request that has nothing to do with calls', 'instructions', \%count, {}, 1);
}

sub kept_counts {
    my ($path) = @_;
    open my $file, '<', $path or return {};
    local $/;
    return JSON::PP->new->decode(<$file>);
}

sub instructions {
    my ($path, $revision) = @_;
    my $why = Bench::Instructions::why_not();
    return $bench->skip('instructions', $why) if $why;
    my ($now, $kept) = (Bench::Instructions::instructions(), kept_counts($path));
    $bench->count('instructions a call' . ($kept->{revision} ? ", before: $kept->{revision}" : ''), 'instructions', $now, $kept->{instructions} // {}, $GROWN);
    return if $quick && $kept->{revision};
    open my $file, '>', $path or die "cannot write $path: $!\n";
    print $file JSON::PP->new->canonical->pretty->encode({revision => $revision, instructions => $now});
    close $file or die "cannot write $path: $!\n";
    return;
}

my %what = (catchup => \&catchup, bystander => \&bystander, instructions => \&instructions, growth => \&growth, origin => \&origin, caller => \&caller_part, endpoint => \&endpoint, latency => \&latency, sustained => \&sustained, answers => \&answers);
my @unknown = grep { !$what{$_} } keys %parts;
die "no part is called @unknown: there are ", join(' ', sort keys %what), "\n" if @unknown;
my $machine = $bench->machine;
print "$machine->{processors} x $machine->{processor}, Linux $machine->{kernel}, $machine->{httpd}, $machine->{mpm}\n";
my ($revision) = split /\n/, `git -C '$here' describe --always --dirty 2>/dev/null` || "unknown\n";
my $results = -w $here ? "$here/results" : "$ENV{SVL_BUILDDIR}/bench/results";
-d $results || mkdir $results or die "cannot make $results: $!\n";
my $kept = "$results/$revision" . (%parts ? '-' . join '-', sort keys %parts : '') . ($quick ? '-quick' : '') . '.json';
my @order = (qw(instructions endpoint latency answers sustained caller), $quick && !%parts ? () : qw(origin catchup bystander growth));
for my $part (@order) {
    next unless wanted($part);
    $what{$part}->("$results/instructions.json", $revision);
    $bench->keep($kept, revision => $revision);
}
printf "\nkept: %s, after %.1f minutes\n", $kept, (time - $^T) / 60;
if (grep { -x "$_/gnuplot" } split /:/, $ENV{PATH}) {
    system($^X, "$here/plot.pl", $kept) == 0 or die "plot.pl failed\n";
}
else {
    print "SKIPPED: plots (gnuplot is not installed)\n";
}
