# SPDX-License-Identifier: Apache-2.0
package Strace;

# Faults of system calls, injected into the processes of a node by strace.
#
#   use Strace;                                              # skips the whole test where strace may not do that
#   my $strace = inject($node, 'fdatasync:error=EIO');       # all of its processes, and those that they will start
#   $strace->end;                                            # they go on without it
use strict;
use warnings;
use Carp qw(croak);
use Exporter qw(import);
use Poll;
use POSIX ();
use Test::More;

our @EXPORT = qw(inject);

my $READY = 15; # seconds until strace has attached to all
my @running;

# True when each thread of a process has a tracer, or the process is gone.
sub _is_traced {
    my ($pid) = @_;
    for my $path (glob "/proc/$pid/task/*/status") {
        open my $file, '<', $path or next;
        return 0 if grep { /^TracerPid:\s*0$/ } <$file>;
    }
    return 1;
}

# Skips the test unless strace can attach to a process of the same user, and inject.
sub check {
    open my $process, '-|', qw(strace -qq -o /dev/null -e inject=sync:error=EIO true) or plan skip_all => 'SKIPPED: strace is missing';
    plan skip_all => 'SKIPPED: strace may not trace here' unless close $process;
    return;
}

# Faults are strace's: "fdatasync:error=EIO", with when=… behind it if wanted; of calls for the files of the node's log and journal only.
sub inject {
    my ($node, @faults) = @_;
    my @pids = ($node->pid, $node->children);
    my $child = fork // croak "cannot fork: $!";
    if (!$child) {
        $SIG{$_} = 'DEFAULT' for qw(INT TERM HUP ALRM);
        open STDOUT, '>', '/dev/null' and open STDERR, '>', $node->directory . '/strace' or POSIX::_exit(126);
        { exec 'strace', '-f', '-qq', '-e', 'trace=' . join(',', map { /^([^:]+)/ } @faults), '-o', '/dev/null',
          (map { ('-P', $node->state_directory . "/$_") } qw(data.mdb journal)), (map { ('-e', "inject=$_") } @faults), map { ('-p', $_) } @pids }
        POSIX::_exit(127);
    }
    my $self = bless {pid => $child, owner => $$}, __PACKAGE__;
    push @running, $self;
    my $attached = poll { return !grep { !_is_traced($_) } $node->pid, $node->children } $READY;
    croak 'strace did not attach' unless $attached;
    return $self;
}

# Ends it, and sees that it let go.
sub end {
    my ($self) = @_;
    my $pid = delete $self->{pid} or return;
    kill 'TERM', $pid;
    waitpid $pid, 0;
    return;
}

check();

# Before the servers are ended.
END {
    my $status = $?;
    $_->end for grep { $_->{owner} == $$ } @running;
    $? = $status;
}

1;
