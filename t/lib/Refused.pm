# SPDX-License-Identifier: Apache-2.0
package Refused;

# What tests of t/threats look at around a refusal by a node of a Fleet: its log, its runs, its counters, its error log, its memory.
#
#   my ($answer) = leaves_nothing($n1, 'signature', 'a stranger', sub { $n1->post($body, secret => $other) });
#   is_refusal($answer, 401, 'a stranger');
#   tells_refusals($n1, 'signature');        # at the end: a line of each reason, and no raw byte of anybody in any line
use strict;
use warnings;
use Command ();
use Exporter qw(import);
use List::Util qw(sum0);
use Poll;
use Proc ();
use Test::More;

our @EXPORT = qw(grew_less is_refusal leaves_nothing log_of peak refusals spent tells_refusals);

my $SETTLED = 30; # seconds until what ended is recorded

# What `serviceless log` tells of a node's log, once nothing of it waits for its outcome.
sub log_of {
    my ($node) = @_;
    my $run;
    poll {
        $run = Command::command(['log', '--json', $node->state_directory]);
        return $run->{status} == 0 && $run->{out} !~ /"outcome":"pending"/;
    } $SETTLED;
    return $run->{status} == 0 ? $run->{out} : "no log: $run->{err}";
}

# serviceless_rejected_total of a reason.
sub refusals {
    my ($node, $reason) = @_;
    my ($count) = $node->get('/serviceless-status?format=prometheus')->{body} =~ /^serviceless_rejected_total\{reason="\Q$reason\E"\} (\d+)$/m;
    return $count // die "no counter for $reason\n";
}

# The largest memory that a process of the node ever had, in MiB.
sub peak {
    my ($node) = @_;
    my $most = 0;
    for my $pid ($node->children) {
        my $peak = Proc::peak($pid) // 0;
        $most = $peak if $peak > $most;
    }
    return $most / 1024;
}

# A test: memory grew by less MiB than that.
sub grew_less {
    my ($grown, $limit, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
  SKIP: {
        skip "SKIPPED: $name: an instrumented build keeps what is freed", 1 if $ENV{SVL_SANITIZER};
        cmp_ok($grown, '<', $limit, $name);
    }
    return;
}

# Runs the code, in list context, and tells how many seconds of processor time the node spent meanwhile: (seconds, what the code returned).
# The clock on the wall would tell of a busy machine.
sub spent {
    my ($node, $code) = @_;
    my %before = map { $_ => Proc::cpu($_) } $node->children;
    my @answers = $code->();
    return (sum0(map { (Proc::cpu($_) // 0) - ($before{$_} // 0) } $node->children), @answers);
}

# Runs the code, whose requests are all refused for $reason: that is counted, and nothing else is left behind.  Returns what it returned.
# Options: times (refusals; default: as many as the code returned answers), nodes (others on which nothing may run either).
sub leaves_nothing {
    my ($node, $reason, $name, $code, %o) = @_;
    my @nodes = ($node, @{$o{nodes} // []});
    my ($log, $counted, @runs) = (log_of($node), refusals($node, $reason), map { $_->runs } @nodes);
    my @answers = $code->();
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    is(refusals($node, $reason) - $counted, $o{times} // @answers, "$name: counted as $reason");
    is_deeply([map { $_->runs } @nodes], \@runs, "$name: no function ran");
    ok(log_of($node) eq $log, "$name: the log is as before");
    return @answers;
}

# A test: a problem document with this status, in plain printable words.
sub is_refusal {
    my ($answer, $status, $name) = @_;
    my $problem = ref $answer->{json} eq 'HASH' ? $answer->{json} : {};
    my $said = "$answer->{status} " . ($answer->{headers}{'content-type'} // 'nothing') . ' ' . ($problem->{status} // 'none');
    $said .= ' with raw bytes' if $answer->{body} =~ /[^\x20-\x7e]/;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return is($said, "$status application/problem+json $status", "$name: $status") || diag($answer->{body}) && 0;
}

# A test: each of the reasons has a line, and all lines about refusals are of this form, in printable characters.
sub tells_refusals {
    my ($node, @reasons) = @_;
    my @lines = grep { /SVL0151/ } split /\n/, $node->error_log;
    my $form = qr/\A\[[^\]]+\]\ \[serviceless:warn\]\ \[[^\]]+\]\ (?:\[(?:client|remote)\ [0-9.:]+\]\ )?SVL0151:\ refused:\ [a-z-]+\ \(\d{3}\)
                  (?:,\ id\ [A-Za-z0-9_-]{1,64})?(?::\ [\x20-\x7e]+)?(?:;\ \d+\ more\ since\ the\ last\ line)?\z/x;
    my @missing = grep { my $reason = $_; !grep { /refused: \Q$reason\E \(/ } @lines } @reasons;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    is_deeply(\@missing, [], 'the error log has a line of each reason: ' . join ', ', @reasons);
    is_deeply([grep { $_ !~ $form } @lines], [], 'and no line with raw bytes of the sender');
    return;
}

1;
