# SPDX-License-Identifier: Apache-2.0
package Bench::Fleet;

# Fleets whose nodes tell a board (board.h) of their runs, and the generators that wait for it.
#
#   my $fleet = bench_fleet(4, durability => 'fsync');
#   my $grown = bench_fleet(1, size => '16g', filled => 100_000);       # so many calls are in the log of each node already
#   my $one = bench_fleet(1, threads => 80);                            # one child with so many threads, not children with 32
#   my $us = middle(http($fleet, 'latency', count => 100, mode => 'bounce'));
use strict;
use warnings;
use Bench;
use Exporter qw(import);
use File::Basename qw(dirname);
use Fleet;
use JSON::PP;

our @EXPORT_OK = qw(bench_fleet generated http middle quiet);

my $build = Fleet::build_directory();
my $BYTES = 200; # of a call line

# The standard output of a program of the bench, decoded.
sub generated {
    my ($program, @arguments) = @_;
    open my $out, '-|', $program, @arguments or die "cannot start $program: $!\n";
    my $text = do { local $/; <$out> };
    close $out or die "$program @arguments: failed\n";
    return decode_json($text);
}

# A fleet with a board: {fleet, ports, board, keys}.
sub bench_fleet {
    my ($nodes, %o) = @_;
    my $board;
    my $one = delete $o{threads};
    my $threads = ($ENV{SVL_TEST_MPM} // '') eq 'prefork' ? 'MaxConnectionsPerChild 0'
        : $one ? "StartServers 1\nThreadLimit $one\nThreadsPerChild $one\nMinSpareThreads 1\nMaxSpareThreads $one\nMaxRequestWorkers $one"
        : "ThreadLimit 64\nThreadsPerChild 32\nMaxSpareThreads 256\nMaxRequestWorkers 256";
    my $fleet = Fleet->new(nodes => $nodes, durability => 'async', %o, directives => <<"CONF", each => sub {
LoadModule bench_module "$build/.libs/mod_bench.so"
LoadModule caller_module "$build/.libs/mod_caller.so"
LogLevel warn
ServicelessStoreSize @{[$o{size} // '1g']}
$threads
<Location "/nothing">
    SetHandler bench-nothing
</Location>
<Location "/caller">
    SetHandler caller
</Location>
CONF
        my ($node) = @_;
        my ($number) = $node->name =~ /(\d+)/;
        $board = dirname($node->directory) . '/board';
        return sprintf qq{BenchBoard "%s" %d\n}, $board, $number - 1;
    });
    alarm 0; # of tests
    _fill($fleet, $o{size}, $o{filled}) if $o{filled};
    $fleet->start;
    return {fleet => $fleet, count => $nodes, ports => join(',', map { $_->port } $fleet->nodes), board => $board, keys => $fleet->{key_file}};
}

# Their logs are made by a start.
sub _fill {
    my ($fleet, $size, $calls) = @_;
    $fleet->start;
    $fleet->stop;
    my $bytes = $size =~ /^(\d+)g\z/ ? $1 << 30 : die "size is $size: whole gigabytes, as 4g\n";
    for my $node ($fleet->nodes) {
        my $name = $node->name;
        system("$build/bench/fill", $node->directory . "/state/$name", $name, $bytes, $calls, $BYTES) == 0 or die "the log of $name was not filled\n";
    }
    return;
}

# What the generator for HTTP measured.
sub http {
    my ($fleet, $what, %o) = @_;
    return generated("$build/bench/http", $what, $fleet->{board}, $fleet->{keys}, $fleet->{count}, $o{bytes} // $BYTES, $o{count},
        $o{batch} // 1, $fleet->{ports}, $o{path} // '/serviceless', $o{reply} // 'accepted', $o{mode} // 'bounce', $o{by} // 'request');
}

# Waits until its nodes have done all that they were told: none has less than another, and nothing waits.
sub quiet {
    my ($fleet) = @_;
    poll {
        my @logs = map { $_->status->{log} } $fleet->{fleet}->nodes;
        my %calls = map { $_->{calls} => 1 } @logs;
        return keys %calls == 1 && !grep { $_->{pending} } @logs;
    } 60 or die "a fleet of $fleet->{count} nodes still works after a minute\n";
    return;
}

sub middle { return Bench::median(@{$_[0]{us}}) }

1;
