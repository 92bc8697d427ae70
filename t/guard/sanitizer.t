# SPDX-License-Identifier: Apache-2.0
# Which reports of sanitizers count: a data race does not when httpd or APR alone is one side of it (t/lib/Fleet.pm says why); all else does.
use strict;
use warnings;
use Fleet;
use Test::More;

my ($ours, $theirs) = ('f /src/mod_serviceless/httpd/run.c:1 (mod_serviceless.so+0x1)', '<null> <null> (libapr-1.so.0+0x2)');

sub report {
    my ($kind, $now, $before, $more) = @_;
    return "WARNING: ThreadSanitizer: $kind (pid=1)\n  Write of size 8 at 0x7b by thread T1 (mutexes: write M1):\n    #0 $now\n\n"
        . "  Previous atomic read of size 8 at 0x7b by main thread:\n    $before\n\n" . ($more // '') . "SUMMARY: ThreadSanitizer: $kind\n";
}

my @cases = (
    ['a race of ours', 1, report('data race', $ours, "#0 $ours")],
    ['a race with httpd', '', report('data race', "memcpy\n    #1 $theirs", "#0 $ours")],
    ['the other way round', '', report('data race', $ours, "#0 $theirs")],
    ['a race of httpd', '', report('data race', $theirs, "#0 $theirs", "  Mutex M1 created at:\n    #0 $ours\n\n")],
    ['a race whose other side is not known', 1, report('data race', $ours, '[failed to restore the stack]')],
    ['memory of ours that others free', 1, report('data race', "free x.cpp\n    #1 $theirs", "#0 $ours")],
    ['freed memory that we use', 1, report('heap-use-after-free', $ours, "#0 $theirs")],
    ['the order of locks', 1, "WARNING: ThreadSanitizer: lock-order-inversion\n    #0 $ours\n\n"],
    ['a report without us', '', "WARNING: ThreadSanitizer: signal handler spoils errno\n    #0 $theirs\n\n"],
);
is(Fleet::is_ours($_->[2]), $_->[1], $_->[0]) for @cases;

done_testing;
