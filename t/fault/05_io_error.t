# SPDX-License-Identifier: Apache-2.0
# MPMs: event prefork
# Row 5: fsync or write fails with EIO.  What was answered 503 then may be there or not; what was answered 200 must be.
use strict;
use warnings;
use Client qw(make_id);
use Fault;
use Fleet;
use Strace;
use Test::More;

my $CALLS = amount(5, 100);  # of each fault, while it lasts
my $HEALED = 10;             # seconds until calls are taken again: a child that could not open the log tries every 5 s

# A fault, whether a call can be accepted all the same (every second time it works), and an argument of the calls: with a long one they are
# committed at once; a short one goes to the journal, where a write does not return before it is synced.
my $LONG = 'x' x 1200;
my @faults = (
    ['fdatasync fails', 0, $LONG, 'fdatasync:error=EIO'],
    ['fdatasync fails, which short calls do not need', 1, 'x', 'fdatasync:error=EIO'],
    ['each write of pages fails', 0, 'x', map { "$_:error=EIO" } qw(pwrite64 writev pwritev)],
    ['there is no space', 0, 'x', map { "$_:error=ENOSPC" } qw(pwrite64 writev pwritev)],
    ['every second fdatasync fails', 1, $LONG, 'fdatasync:error=EIO:when=1+2'],
    ['every second write fails', 1, 'x', 'pwrite64:error=EIO:when=2+2'],
);
push @faults, map { ["one of $_ writes fails", 1, pick('x', $LONG), "pwrite64:error=EIO:when=1+$_"] } is_long() ? 3 .. 12 : ();

my $fleet = Fleet->new(nodes => 3, mode => 'broadcast', directives => "ServicelessSyncInterval 1s\n")->start;
my ($n1, $n2, $n3) = $fleet->nodes;
my (@ids, @unsure);

sub load {
    my ($count, $argument) = @_;
    my $client = $n1->client;
    my %statuses;
    for (1 .. $count) {
        my $id = make_id();
        my $answer = $client->call('runlog.note', [$argument], id => $id);
        $statuses{$answer->{status}}++;
        push @{$answer->{status} == 200 ? \@ids : \@unsure}, $id;
        ok($answer->{headers}{'retry-after'}, 'a 503 says when to try again')
            if $answer->{status} == 503 && $statuses{503} == 1;
    }
    return \%statuses;
}

sub heals {
    my ($name) = @_;
    my $client = $n1->client;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    eventually { my $id = make_id(); $client->call('runlog.note', ['y'], id => $id)->{status} == 200 && push @ids, $id } $HEALED, $name;
    return;
}

is_deeply(load(10, 'x'), {200 => 10}, 'all is well');
for my $fault (@faults) {
    my ($name, $works, $argument, @inject) = @$fault;
    my @children = $n1->children;
    my $strace = inject($n1, @inject);
    my $statuses = load($CALLS, $argument);
    is_deeply([grep { $_ != 503 && !($works && $_ == 200) } keys %$statuses], [], "$name: nothing but 503" . ($works ? ' and 200' : ''));
    cmp_ok($statuses->{503} // 0, '>', 0, 'some 503') if !$works || is_long();
    my $meanwhile = $n2->call('runlog.note', ['meanwhile'])->{json}{id};
    eventually { $fleet->arrived([$meanwhile], $n2, $n3) } 10, 'the others go on';
    $strace->end;
    heals('it heals');
    push @ids, $meanwhile;
    my %now = map { $_ => 1 } $n1->children;
    is_deeply([grep { !$now{$_} } @children], [], 'no child was lost') if $fleet->{mpm} ne 'prefork'; # which ends idle ones
}
invariant($fleet, \@ids, 'what was answered 200 ran once on each node', $fleet->{mpm} eq 'prefork' ? (crashed => 1) : ());
eventually { !grep { $_->status->{log}{pending} } $fleet->nodes } 10, 'nothing counts as pending';

# Children that are born while the log fails, and with a log that failed at the death of their elders.
my $strace = inject($n1, 'fdatasync:error=EIO');
$n1->graceful;
is_deeply(load($CALLS, 'x'), {503 => $CALLS}, 'children that are born meanwhile answer 503');
$strace->end;
heals('and take calls when it works');
eventually { my $statuses = load(32, 'x'); ($statuses->{200} // 0) == 32 } $HEALED, 'all of them';
invariant($fleet, \@ids, 'what was answered 200 ran on each node', crashed => 1);

# What waits to run on another node while its log fails, also where each beginning has to be recorded.  (In prefork each message goes to
# another child, which has threads enough to begin all of it at once: nothing waits.)
for my $on_crash ($fleet->{mpm} eq 'prefork' ? () : qw(rerun quarantine)) {
    my $slow = Fleet->new(nodes => 2, mode => 'broadcast', directives => "ServicelessSyncInterval 1s\n"
                              . "ServicelessFunction runlog.sleep on_crash=$on_crash\n")->start;
    my ($from, $to) = $slow->nodes;
    my @waiting = map { $from->call('runlog.sleep', [1], reply => 'accepted')->{json}{id} } 1 .. 100; # more than can run before it fails
    eventually { $to->status->{log}{calls} == @waiting } 10, "on_crash=$on_crash: all of it is accepted";
    my $failing = inject($to, map { "$_:error=EIO" } qw(fdatasync newfstatat fstat));
    eventually { $to->error_log =~ /SVL0112: the log failed/ } 10, 'calls that were to run wait';
    $failing->end;
    invariant($slow, \@waiting, 'and each runs once when it works again', deadline => 60);
    $slow->stop;
}

# It is on the disk, not only in the memory of the processes that live.
$n1->kill9;
$n1->start;
is_deeply([grep { $n1->call('runlog.note', ['known?'], id => $_)->{status} != 409 } @ids], [], 'all of it is known after a kill');
like($n1->error_log, qr/SVL0200: the log \S+ cannot be written: Input\/output error/, 'the log says why');
like($n1->error_log, qr/SVL0201: /, 'and that it is over');
like($n1->error_log, qr/SVL0355: /, 'and that a child could open it at last');

done_testing;
