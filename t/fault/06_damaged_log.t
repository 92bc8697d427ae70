# SPDX-License-Identifier: Apache-2.0
# MPMs: event
# Row 6: the log's file is cut or overwritten, between two starts or in use: it is set aside, and a new log is refilled from peers.
use strict;
use warnings;
use Client qw(make_id);
use Fault;
use Fleet;
use Test::More;
use Time::HiRes qw(time);

my $SMALL = 20;
my $SYNC = "ServicelessSyncInterval 1s\n";
my $REFILL = 30; # seconds

sub data { return $_[0]->state_directory . '/data.mdb' }
sub aside { my @files = sort glob $_[0]->state_directory . '/data.mdb.*'; return @files }

sub overwrite {
    my ($node, $offset, $bytes) = @_;
    open my $file, '+<:raw', data($node) or die "cannot open the log: $!";
    seek $file, $offset, 0;
    print $file $bytes;
    close $file or die "cannot write the log: $!";
    return;
}

sub ids { my ($node, $count) = @_; return map { $node->call('runlog.note', [$_])->{json}{id} } 1 .. $count }

# A fleet, and calls that ran everywhere.
sub loaded_fleet {
    my ($count) = @_;
    my $fleet = Fleet->new(nodes => 2, mode => 'broadcast', directives => $SYNC)->start;
    my ($one, $two) = $fleet->nodes;
    my @ids = (ids($one, $count), ids($two, $count));
    $fleet->once(\@ids, 'calls ran');
    return ($fleet, $one, $two, @ids);
}

# The node has all calls again, each run at most once more a log it lost; the other one ran nothing again.
sub refilled {
    my ($fleet, $node, $other, $times, @ids) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    eventually { ($node->status->{log}{calls} // 0) >= @ids } $REFILL, 'peers refill it';
    my @new = (ids($node, $SMALL), ids($other, $SMALL));
    invariant($fleet, \@new, 'new calls run once on every node', quiet => 1.2);
    is((grep { $other->runs($_) != 1 } @ids), 0, 'nothing ran twice on the node that kept its log');
    is((grep { $node->runs($_) > $times } @ids), 0, 'nor oftener than once a log on the other');
    return @new;
}

my %damage = (
    'a file that was cut in the middle' => sub { truncate data($_[0]), int((-s data($_[0])) / 2) },
    'a file that was emptied' => sub { truncate data($_[0]), 0 },
    'meta pages overwritten' => sub { overwrite($_[0], 0, 'no log ' x 1500) },
    'a torn page in the middle' => sub {
        my $pages = (-s data($_[0])) / 4096;
        overwrite($_[0], 4096 * $_, pack 'V*', map { chance(2**31) } 1 .. 1024) for 2 + $pages / 4 .. $pages * 3 / 4;
    },
);

subtest 'damage between two starts' => sub {
    my ($fleet, $one, $two, @ids) = loaded_fleet(amount(100, 2000));
    my $count = 0;
    for my $name (is_long() ? sort keys %damage : pick(sort keys %damage)) {
        $one->stop;
        $damage{$name}->($one);
        my $bytes = -s data($one);
        $one->start;
        my @aside = aside($one);
        is(scalar @aside, ++$count, "$name: it is set aside");
        is(-s $aside[-1], $bytes, 'as it was');
        my @lines = $one->error_log =~ /.*SVL0211.*/g;
        is(scalar @lines, $count, 'one line of the log says so');
        like($lines[-1], qr/\Q$aside[-1]\E.*peers refill/, 'where it is, and what follows');
        push @ids, refilled($fleet, $one, $two, $count + 1, @ids);
    }
    $one->stop;
    $one->start;
    is(scalar(aside($one)), $count, 'the new log is kept at the next start');
};

subtest 'a file that is cut, and then one that is removed, in use' => sub {
    my ($fleet, $one, $two, @ids) = loaded_fleet(amount(100, 2000));
    my ($slow, $id) = ($one->client, make_id());
    $slow->begin($slow->message($slow->call_body('runlog.sleep', [4]), id => $id), id => $id);
    poll { $one->runs($id) } 10;
    truncate data($one), 8192;
    my @answers = map { $one->call('runlog.note', [$_]) } 1 .. 10;
    is((grep { $_->{status} != 503 } @answers), 0, 'calls are refused with 503') or diag join ' ', map { $_->{status} } @answers;
    my $again = $one->graceful->call('runlog.note', ['after a graceful restart']);
    is($again->{status}, 503, 'also after a graceful restart, which leaves the file alone');
    is(scalar(aside($one)), 0, 'while one of the old children uses it');
    is($slow->finish->{status}, 200, 'which ends what it ran');
    poll { !grep { $_ == ($one->runs_of($id))[0]{pid} } $one->children } 10;
    my @children = sort $one->children;
    my $since = time;
    poll { time - $since > 1.5 } 5;
    my %alive = map { $_ => 1 } $one->children;
    is((grep { !$alive{$_} } @children), 0, 'its children stay');
    like($one->error_log, qr/SVL0330: the log \S+ is damaged/, 'the error log names it');
    $one->stop;
    $one->start;
    is(scalar(aside($one)), 1, 'the next start sets it aside');
    push @ids, refilled($fleet, $one, $two, 2, @ids);

    unlink data($one);
    my $answer = $one->call('runlog.note', ['to nowhere']);
    is($answer->{status}, 503, 'a file that is removed in use: nothing is accepted into what has no name any more');
    $one->stop;
    $one->start;
    refilled($fleet, $one, $two, 3, @ids);
};

done_testing;
