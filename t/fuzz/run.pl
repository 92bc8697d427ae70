#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# Runs fuzz targets that are built with libFuzzer, one after the other: run.pl SECONDS TARGET …
# What it finds on the way is kept in ./corpus/<target>; an input that breaks a promise in ./found/, and ends this with 1.
use strict;
use warnings;
use File::Basename qw(basename dirname);
use File::Path qw(make_path);
use File::Spec;

my ($seconds, @targets) = @ARGV;
die "usage: run.pl SECONDS TARGET ...\n" unless @targets && $seconds =~ /^[1-9]\d*$/;
my $here = dirname(File::Spec->rel2abs(__FILE__));
my @rows;

for my $target (@targets) {
    my $name = basename($target);
    my ($seeds, $dictionary) = ("$here/corpus/$name", "$here/dict/$name");
    die "$name has no corpus in $seeds\n" unless glob "$seeds/*";
    make_path("corpus/$name", 'found');
    my @command = ($target, "-max_total_time=$seconds", '-timeout=10', '-rss_limit_mb=2048', '-print_final_stats=1', '-reload=0',
                   "-artifact_prefix=found/$name-", -e $dictionary ? "-dict=$dictionary" : (), "corpus/$name", $seeds);
    print "fuzz $name, $seconds s\n";
    my %row = (name => $name, runs => 0, coverage => 0, features => 0);
    open my $log, '>', "$name.log" or die "$name.log: $!\n";
    my $pid = open(my $output, '-|') // die "fork: $!\n";
    if (!$pid) {
        open STDERR, '>&', \*STDOUT;
        exec @command or die "$target: $!\n";
    }
    while (my $line = <$output>) {
        print {$log} $line;
        @row{qw(coverage features)} = ($1, $2) if $line =~ /\bcov: (\d+) ft: (\d+)/;
        $row{runs} = $1 if $line =~ /^stat::number_of_executed_units: (\d+)/;
    }
    close $output;
    $row{status} = $?;
    close $log;
    $row{found} = $row{status} ? "FOUND, see $name.log" : 'nothing';
    push @rows, \%row;
}

my $format = "%-10s %12s %9s %9s  %s\n";
printf $format, qw(target executions coverage features found);
printf $format, @$_{qw(name runs coverage features found)} for @rows;
die "fuzz: what was found is in " . File::Spec->rel2abs('found') . "\n" if grep { $_->{status} } @rows;
