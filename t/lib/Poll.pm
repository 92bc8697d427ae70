# SPDX-License-Identifier: Apache-2.0
package Poll;

# Tests wait for conditions, never for a time.
use strict;
use warnings;
use Exporter qw(import);
use Test::More;
use Time::HiRes qw(time);

our @EXPORT = qw(eventually poll);

my $PAUSE = 0.01; # seconds between two looks

# Calls the block until it returns true.  Returns its value; false when the deadline (seconds) is over.
sub poll (&$) {
    my ($condition, $deadline) = @_;
    my $end = time + $deadline;
    while (1) {
        my $value = $condition->();
        return $value if $value || time > $end;
        select undef, undef, undef, $PAUSE;
    }
}

# The same, as a test.
sub eventually (&$$) {
    my ($condition, $deadline, $name) = @_;
    my $start = time;
    my $value = &poll($condition, $deadline);
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return ok($value, $name) || diag(sprintf 'not so after %.1f s', time - $start) && 0;
}

1;
