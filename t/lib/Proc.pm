# SPDX-License-Identifier: Apache-2.0
package Proc;

# What Linux tells of a process in /proc, for tests that look for leaks and for idle work.  Every function takes a pid; of a process that
# is gone it returns undef, or nothing.
use strict;
use warnings;
use Exporter qw(import);
use POSIX ();

our @EXPORT_OK = qw(alive anonymous cpu descriptors mappings memory named_mappings peak shared_memory switches system_v threads);

sub _lines {
    my ($path) = @_;
    open my $file, '<', $path or return;
    return <$file>;
}

# True while the process runs; one that has ended and is not waited for yet does not.
sub alive {
    my ($pid) = @_;
    my ($line) = _lines("/proc/$pid/stat") or return 0;
    return $line !~ /\) [ZX] /;
}

# Seconds of processor time that it has used.
sub cpu {
    my ($pid) = @_;
    my ($line) = _lines("/proc/$pid/stat") or return;
    my @fields = split ' ', $line =~ s/^.*\) //sr;
    return ($fields[11] + $fields[12]) / POSIX::sysconf(POSIX::_SC_CLK_TCK());
}

# How many files it has open.
sub descriptors {
    my ($pid) = @_;
    opendir my $directory, "/proc/$pid/fd" or return;
    return scalar grep { /^\d/ } readdir $directory;
}

# How many threads it has.
sub threads {
    my ($pid) = @_;
    my @tasks = glob "/proc/$pid/task/*" or return;
    return scalar @tasks;
}

# KiB of memory that is its own and no file's.
sub anonymous {
    my ($pid) = @_;
    my ($size) = map { /^RssAnon:\s*(\d+) kB/ } _lines("/proc/$pid/status");
    return $size;
}

# KiB of memory, at the most so far.
sub peak {
    my ($pid) = @_;
    my ($size) = map { /^VmHWM:\s*(\d+) kB/ } _lines("/proc/$pid/status");
    return $size;
}

# How many mappings it has, of all kinds.
sub mappings {
    my ($pid) = @_;
    my @lines = _lines("/proc/$pid/maps") or return;
    return scalar @lines;
}

# How many of them are not private memory without a name: what a thread brings, its stack and its heap, is that.
sub named_mappings {
    my ($pid) = @_;
    my @lines = _lines("/proc/$pid/maps") or return;
    return scalar grep { !/^\S+ ...p \S+ \S+ 0\s*$/ } @lines;
}

# How many of them are memory that it shares with others: no file on a disk is behind them.
sub shared_memory {
    my ($pid) = @_;
    my @lines = _lines("/proc/$pid/maps") or return;
    return scalar grep { / [-r][-w][-x]s / && (m{ /dev/zero | /dev/shm/ | /SYSV }x || !m{ / }x) } @lines;
}

# How often its threads have gone to sleep so far: once for each time that one woke.  What else takes the processor from them does not count.
sub switches {
    my ($pid) = @_;
    my @tasks = glob "/proc/$pid/task/*/status" or return;
    my $sum = 0;
    for my $task (@tasks) {
        /^voluntary_ctxt_switches:\s*(\d+)/ and $sum += $1 for _lines($task);
    }
    return $sum;
}

# KiB: {private, pss, anonymous: what no file is behind}.
sub memory {
    my ($pid) = @_;
    my @lines = _lines("/proc/$pid/smaps_rollup") or return;
    my %size = (private => 0, pss => 0, anonymous => 0);
    for (@lines) {
        $size{private} += $1 if /^Private_(?:Clean|Dirty):\s*(\d+) kB/;
        $size{pss} += $1 if /^Pss:\s*(\d+) kB/;
        $size{anonymous} += $1 if /^Anonymous:\s*(\d+) kB/;
    }
    return \%size;
}

# What outlives its processes, of the whole machine: System V segments and semaphores, and files in /dev/shm, a line each; without those
# of faketime, which other tests of this machine may be using.
sub system_v {
    my @all;
    for my $kind (qw(shm sem msg)) {
        my (undef, @lines) = _lines("/proc/sysvipc/$kind");
        push @all, map { (split)[1] . " $kind" } @lines;
    }
    return sort @all, grep { !/faketime_/ } glob '/dev/shm/*';
}

1;
