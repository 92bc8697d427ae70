# SPDX-License-Identifier: Apache-2.0
# MPMs: event prefork
# Row 14: a node that is away for longer than the retention hears how much it missed, whatever happens while it is told.
use strict;
use warnings;
use Fault;
use Fleet;
use List::Util qw(sum0);
use Test::More;
use Time::HiRes qw(time);

my $RETENTION = 4; # seconds
my @FUNCTIONS = qw(runlog.allocate runlog.crash runlog.fail runlog.fail_on runlog.note runlog.sleep);
my $SOON = 20;

my $fleet = Fleet->new(nodes => 3, mode => 'broadcast', crashes => 1, directives => "ServicelessTolerance 1s\n"
    . "ServicelessRetention ${RETENTION}s\nServicelessSyncInterval 1s\nServicelessConnectTimeout 1s\n")->start;
my ($one, $two, $away) = $fleet->nodes;

my $accepted = 0;
sub calls {
    my ($count, @nodes) = @_;
    my @ids = map { $nodes[$_ % @nodes]->call('runlog.note', ['x'])->{json}{id} } 1 .. $count;
    is((grep { defined } @ids), $count, "$count calls are accepted");
    $accepted += @ids;
    return @ids;
}

sub forgotten {
    my (@nodes) = @_;
    return eventually { !grep { $_->status->{log}{calls} } @nodes } $SOON, 'they are past the retention, and forgotten';
}

# What the functions were told since the last look: {function => [calls, …]}.
my $looked = 0;
sub told {
    my @missed = $away->missed;
    my %told;
    push @{$told{$_->{function}}}, $_->{calls} for @missed[$looked .. $#missed];
    $looked = @missed;
    return \%told;
}

sub told_once {
    my ($calls, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    poll { $away->missed >= $looked + @FUNCTIONS } $SOON;
    $fleet->settle(0.5);
    is_deeply(told(), {map { $_ => [$calls] } @FUNCTIONS}, $name) || diag($away->error_log =~ /^.*(?:SVL017|SVL034|SVL019|mod_runlog).*$/mg);
    return;
}

my @before = calls(5, $one, $two);
$fleet->once(\@before, 'all nodes work');
my $count = amount(20, 500);
my @lost;

sub misses {
    $away->kill9;
    push @lost, my @ids = calls($count, $one, $two);
    $fleet->once(\@ids, 'the others run them', living => [$one, $two]);
    forgotten($one, $two);
    return;
}

# The children that are about to tell a function, others than those given.
sub about_to_tell {
    my (%but) = @_;
    my %pids;
    eventually { $pids{$_}++ for grep { !$but{$_} } $away->held_missed; scalar %pids } $SOON, 'it is about to tell them';
    return keys %pids;
}

subtest 'every function is told, once, how many calls are gone, though what tells them dies' => sub {
    misses();
    $away->hold_missed;
    $away->start;
    my @children = about_to_tell();
    kill KILL => @children;
    about_to_tell(map { $_ => 1 } @children);
    pass('a sibling has taken that over');
    $away->kill9;
    $away->release_missed;
    is_deeply(told(), {}, 'nobody has heard yet');
    $away->start;
    told_once($count, 'each function was told by the next start');
    is(sum0($away->error_log =~ /SVL0176: (\d+) calls of/g), $count, 'and the log says so');
};

subtest 'every function is told, once, how many calls are gone' => sub {
    plan skip_all => 'in the long form' unless is_long();
    misses();
    $away->start;
    told_once($count, 'each function was told');
    is($away->status->{missed}, $count, 'they are counted');
};

subtest 'nothing was called, but it cannot know that' => sub {
    $away->kill9;
    my $synced = $away->state_directory . '/synced';
    my $then = time - $RETENTION - 1;
    ok(utime($then, $then, $synced), 'the last sync is longer ago than the retention');
    $away->start;
    told_once(0, 'each function was told');
    cmp_ok((stat $synced)[9], '>', $then + $RETENTION, 'and the time of this sync is kept');
    $away->stop;
    $away->start;
    eventually { my $status = $away->status; $status->{syncs}{equal} } $SOON, 'one that was not away for that long compares its log';
    is_deeply(told(), {}, 'and tells nobody');
};

subtest 'a node that is new, as its disk is' => sub {
    forgotten($one, $two);
    $away->kill9;
    unlink glob $away->state_directory . '/*';
    $away->start;
    told_once($accepted, 'each function was told of all that was ever called');
};

subtest 'a node that hangs for that long' => sub {
    plan skip_all => 'in the long form' unless is_long();
    $away->freeze;
    push @lost, my @ids = calls($count, $one);
    $fleet->once(\@ids, 'the others run them', living => [$one, $two]);
    forgotten($one, $two);
    $away->thaw;
    poll { $away->missed > $looked } $SOON;
    $fleet->settle(1);
    my $told = told();
    my $sum = sum0(@{$told->{'runlog.note'} // []});
    my $ran = grep { $away->runs($_) } @ids; # what it had taken before it hung, and found when it went on
    cmp_ok($sum + $ran, '>=', $count, "$ran ran, of $sum it was told");
};

my @after = calls(5, $one, $two, $away);
invariant($fleet, [@before, @after], 'what came before and after ran once on each node');
invariant($fleet, \@lost, 'what it missed ran once on the others, and never twice', back => [$one, $two]);

done_testing;
