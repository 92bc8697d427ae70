# SPDX-License-Identifier: Apache-2.0
package Trace;

# strace on running processes, for faults at a chosen system call.
#
#   my $why = Trace::refused() and plan skip_all => "SKIPPED: $why";
#   my $trace = Trace->attach([$node->children], 'inject=fdatasync:signal=KILL:when=2');
#   …
#   my $hit = $trace->detach;      # true when the fault was injected
use strict;
use warnings;
use Carp qw(croak);
use File::Temp ();
use Poll;
use POSIX qw(:sys_wait_h);

my $ATTACH = 15; # seconds until every thread must be traced
my $DETACH = 2;  # seconds until strace, told to go, must have gone; it may wait for a thread that ended meanwhile

sub _slurp {
    my ($path) = @_;
    open my $file, '<', $path or return '';
    local $/;
    return <$file> // '';
}

# Why processes cannot be traced here, or nothing.
sub refused {
    my $text = `strace -f -qq -e trace=none true 2>&1`;
    return if $? == 0;
    return $? == -1 ? 'strace is not installed' : 'ptrace is not permitted here: ' . ($text =~ /^(.*)/)[0];
}

# Traces the processes, with their threads and those to come, with the words of strace -e.  Returns undef when one of them has ended.
sub attach {
    my ($class, $pids, @words) = @_;
    my $path = File::Temp->new(TEMPLATE => 'svl-trace.XXXXXX', DIR => $ENV{SVL_TEST_TMP} || '/var/tmp');
    my $self = bless {pids => $pids, output => $path}, $class;
    my $child = fork // croak "cannot fork: $!";
    if (!$child) {
        setpgrp;
        open STDERR, '>', "$path" or POSIX::_exit(127);
        { exec 'strace', '-f', (map { ('-e', $_) } @words), map { ('-p', $_) } @$pids }
        POSIX::_exit(127);
    }
    $self->{child} = $child;
    poll { $self->_ended || $self->_attached } $ATTACH or croak "strace attached to nothing:\n" . _slurp("$path");
    return $self->_ended || _slurp("$path") =~ /^strace: attach: /m ? undef : $self;
}

# True when every thread that lives is traced.
sub _attached {
    my ($self) = @_;
    my @untraced = grep { _slurp($_) =~ /^State:\s+[^ZX].*^TracerPid:\s+0$/ms } map { glob "/proc/$_/task/*/status" } @{$self->{pids}};
    return !@untraced;
}

sub _ended {
    my ($self) = @_;
    return 1 unless $self->{child};
    return 0 unless waitpid $self->{child}, WNOHANG;
    delete $self->{child};
    return 1;
}

# The kernel lets go of what a killed tracer traced.
sub _end {
    my ($self) = @_;
    for my $signal (qw(TERM KILL)) {
        return if $self->_ended;
        kill $signal => $self->{child};
        poll { $self->_ended } $DETACH;
    }
    return;
}

# True when strace has nothing left to trace.
sub over { return $_[0]->_ended }

# Ends the tracing.  Returns true when something was injected.
sub detach {
    my ($self) = @_;
    $self->_end;
    return _slurp("$self->{output}") =~ /\(INJECTED\)|killed by SIG/;
}

sub output { return _slurp("$_[0]{output}") }

sub DESTROY {
    my ($self) = @_;
    local ($?, $@);
    $self->_end;
    return;
}

1;
