# SPDX-License-Identifier: Apache-2.0
# MPMs: event
# Row 9: the clock of a node is 10 minutes off, or jumps while it runs.  It is refused then, and loses nothing; when its clock is right
# again all is well by itself, and no call was forgotten early, nor expired.
use strict;
use warnings;
use Client qw(make_id);
use Fault;
use Fleet;
use Test::More;
use Time::HiRes qw(time);

my ($library) = glob '/usr/lib/*/faketime/libfaketimeMT.so.1 /usr/lib*/faketime/libfaketimeMT.so.1';
plan skip_all => 'the package faketime is not installed' unless $library;
plan skip_all => 'libfaketime and a sanitizer cannot be loaded together' if $ENV{SVL_PRELOAD};

my $RETENTION = 900; # seconds: the least that a tolerance of 300 s allows
my $TURNS = 2.5;     # seconds, of two turns of pruning
my $SOON = 30;       # seconds until a node whose clock is right again has what it lacked
my $fleet = Fleet->new(nodes => 3, mode => 'broadcast',
                       directives => "ServicelessSyncInterval 1s\nServicelessRetention ${RETENTION}s\n");
my ($one, $two, $off) = $fleet->nodes;
my $clock = $off->directory . '/clock';
my $seconds = 0; # that the clock of $off is off

# The monotonic clock is nobody's to set; file times are the kernel's.
$off->environment(LD_PRELOAD => $library, FAKETIME_TIMESTAMP_FILE => $clock, FAKETIME_NO_CACHE => 1,
                  FAKETIME_DONT_FAKE_MONOTONIC => 1, NO_FAKE_STAT => 1);

sub set_clock {
    ($seconds) = @_;
    open my $file, '>', "$clock.new" or die "cannot write $clock: $!";
    printf {$file} "%+d\n", $seconds;
    close $file;
    chmod 0644, "$clock.new";
    rename "$clock.new", $clock or die "cannot rename to $clock: $!";
    return;
}

# Calls of a client whose clock is that of the node.
sub calls {
    my ($node, $count) = @_;
    my $error = $node == $off ? $seconds : 0;
    my $client = $node->client;
    my (@ids, @refused);
    for (1 .. $count) {
        my $answer = $client->post($client->call_body('runlog.note', ['x']), timestamp => int(time + $error));
        push @{$answer->{status} == 200 ? \@ids : \@refused}, $answer->{json}{id} // "status $answer->{status}";
    }
    is(@ids, $count, "$count calls are accepted by " . $node->name) || diag("@refused");
    return @ids;
}

# True when the node goes by the clock that it was set to.
sub clock_is_set {
    my $client = $off->client;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return eventually {
        $client->post($client->call_body('example.echo', ['clock'], reply => 'accepted'), timestamp => int(time + $seconds))->{status} == 202
    } 10, sprintf 'its clock is %+d s off', $seconds;
}

sub refused { return $off->status->{rejected}{timestamp} + $off->status->{rejected}{signature} }

my @all;
my $count = amount(10, 200);

sub while_off {
    my ($name) = @_;
    my $before = $one->error_log;
    my @of_others = map { calls($_, $count) } $one, $two;
    my @of_it = calls($off, $count);
    $fleet->once(\@of_others, "$name: the others work", living => [$one, $two]);
    $fleet->once(\@of_it, "$name: and so does it, alone", living => [$off]);
    is((grep { $off->runs($_) } @of_others), 0, 'it takes nothing from them');
    is((grep { $one->runs($_) + $two->runs($_) } @of_it), 0, 'nor they from it');
    push @all, @of_others, @of_it;
    return @of_it;
}

sub held {
    my ($node) = @_;
    return $node->status->{log}{calls};
}

sub heals {
    my ($name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    set_clock(0);
    clock_is_set();
    return invariant($fleet, \@all, $name, deadline => $SOON);
}

# Nothing of what it holds is gone after some turns of pruning.
sub keeps_all {
    my ($name) = @_;
    my $held = held($off);
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    poll { held($off) < $held } $TURNS;
    return cmp_ok(held($off), '>=', $held, $name);
}

set_clock(600);
$fleet->start;
subtest 'it starts 10 minutes ahead' => sub {
    clock_is_set();
    while_off('10 minutes ahead');
    like($one->error_log, qr/SVL030[345].*401|refused|signed/, 'the others say so');
    heals('when its clock is right, every call runs once on every node');
};
subtest 'it falls back 10 minutes while it runs' => sub {
    plan skip_all => 'in the long form' unless is_long();
    set_clock(-600);
    clock_is_set();
    while_off('10 minutes behind');
    heals('when its clock is right, every call runs once on every node');
};
subtest 'it goes ahead by more than the retention' => sub {
    my $before = held($off);
    cmp_ok($before, '>=', 3 * $count, "it holds $before calls");
    set_clock($RETENTION + 600);
    clock_is_set();
    keeps_all('it forgets none of them');
    while_off('a retention ahead');
    heals('when its clock is right, every call runs once on every node');
    keeps_all('and is held still');
};
subtest 'it goes ahead by more than the retention while calls wait' => sub {
    my $long = amount(0.2, 0.5); # seconds that a call takes
    my @ids = map { make_id() } 1 .. amount(30, 60);
    my $before = held($off);
    my @accepted = grep { $one->call('runlog.sleep', [$long], id => $_, reply => 'accepted')->{status} == 202 } @ids;
    is(@accepted, @ids, @ids . ' calls are accepted');
    push @all, @ids;
    eventually { held($off) == $before + @ids } 10, 'it has them all';
    set_clock($RETENTION + 600);
    clock_is_set();
    my $pending = $off->status->{log}{pending};
    cmp_ok($pending, '>', 0, "it has $pending yet to run");
    poll { $off->status->{log}{pending} < $pending } 10;
    $fleet->once(\@ids, 'it runs them all the same', deadline => 60);
    unlike($off->error_log, qr/SVL0110.*expired/, 'and says of none that it expired');
    heals('when its clock is right, every call runs once on every node');
};
subtest 'it falls back by more than the retention' => sub {
    set_clock(-$RETENTION - 600);
    clock_is_set();
    while_off('a retention behind');
    heals('when its clock is right, every call runs once on every node');
    keeps_all('and is held still, those too that came while it was behind');
};
is($off->status->{missed} + $one->status->{missed} + $two->status->{missed}, 0, 'nobody missed a call');

done_testing;
