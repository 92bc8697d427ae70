# SPDX-License-Identifier: Apache-2.0
package Mounts;

# A mount namespace of its own for a test: what is mounted in it nobody else sees, and it ends with the last of its processes.  Before any
# other module of the tests, since the test begins again in it:
#
#   use Mounts;              # or the test is skipped
#   use Mounts qw(if_may);   # or Mounts::own() is false
use strict;
use warnings;
use Carp qw(croak);
use POSIX ();
use Test::More;

# Runs a command without its output.  Returns true when it succeeded.
sub quietly {
    my (@words) = @_;
    my $child = fork // croak "cannot fork: $!";
    if (!$child) {
        open STDOUT, '>', '/dev/null' and open STDERR, '>&', \*STDOUT or POSIX::_exit(126);
        { exec @words }
        POSIX::_exit(127);
    }
    waitpid $child, 0;
    return !$?;
}

sub own { return ($ENV{SVL_TEST_MOUNTS} // 0) == $$ }

sub import {
    my (undef, $if_may) = @_;
    return if own();
    my $may = !$> && quietly(qw(unshare --mount true));
    if ($may) {
        $ENV{SVL_TEST_MOUNTS} = $$; # unshare and exec keep the pid
        exec 'unshare', '--mount', $^X, (map { "-I$_" } grep { !ref } @INC), $0 or croak "cannot run unshare: $!";
    }
    plan skip_all => 'SKIPPED: ' . ($> ? 'only root can mount' : 'this system lets nobody mount') unless $if_may;
    return;
}

1;
