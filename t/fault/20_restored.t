# SPDX-License-Identifier: Apache-2.0
# MPMs: event
# Row 20: a state directory is restored from an older copy, or rolled back under a running server; another node's directory.
use strict;
use warnings;
use Client qw(json make_id);
use Fault;
use Fleet;
use JSON::PP ();
use Test::More;
use Time::HiRes qw(time);

my $SYNC = "ServicelessSyncInterval 1s\n";
my $OFF = "ServicelessSyncInterval 0\n";

sub data { return $_[0]->state_directory . '/data.mdb' }
sub ids { my ($node, $count, $more) = @_; return map { $node->call('runlog.note', [defined $more ? "$_$more" : $_])->{json}{id} } 1 .. $count }

sub bytes_of {
    my ($node) = @_;
    open my $file, '<:raw', data($node) or die "cannot read the log: $!";
    local $/;
    return <$file>;
}

# In place, as `cp` does it.
sub restore {
    my ($node, $bytes) = @_;
    open my $file, '+<:raw', data($node) or die "cannot open the log: $!";
    print $file $bytes;
    close $file or die "cannot write the log: $!";
    return;
}

# Each call once on every node; those that n1 forgot may have run there again.
sub nothing_vanished {
    my ($fleet, $forgotten, @others) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return invariant($fleet, [@$forgotten, @others], 'nothing vanished, and nothing ran twice that no log forgot',
                     crashed => {map { $_ => {n1 => 1} } @$forgotten}, quiet => 1.2);
}

sub fleet { return Fleet->new(nodes => 3, mode => 'broadcast', directives => join '', @_) }

# Calls have ended, and the first node's data.mdb has all of them and their outcomes.
sub rest {
    my ($fleet, @ids) = @_;
    $fleet->once(\@ids, 'calls ran');
    for my $node ($fleet->nodes) {
        poll { $node->status->{log}{pending} == 0 } 10;
    }
    is(($fleet->nodes)[0]->call('runlog.note', ['x' x 1200])->{status}, 200, 'a long call takes what is kept beside the log along');
    $fleet->settle(1);
    return;
}

subtest 'a backup is restored' => sub {
    my $fleet = fleet($SYNC)->start;
    my ($one, $two) = $fleet->nodes;
    my @kept = (ids($one, 10), ids($two, 5));
    rest($fleet, @kept);
    $one->stop;
    my $backup = bytes_of($one);
    $one->start;
    my @later = (ids($one, amount(10, 500)), ids($two, 5));
    $fleet->once(\@later, 'later calls ran');
    $one->stop;
    restore($one, $backup);
    $one->start;
    my @new = ids($one, amount(5, 1000)); # before it has heard of any peer
    nothing_vanished($fleet, \@later, @kept, @new, ids($two, 5));
};

subtest 'a backup is put back of a log that had given no number since its start' => sub {
    my $fleet = fleet($SYNC)->start;
    my ($one, $two) = $fleet->nodes;
    $one->stop;
    my $backup = bytes_of($one);
    $one->start;
    my @later = ids($one, 1);
    $fleet->once(\@later, 'a later call ran');
    $one->stop;
    restore($one, $backup);
    $one->start;
    my @new = ids($one, 1); # as many as were lost, so that nothing but the start can tell
    nothing_vanished($fleet, \@later, @new, ids($two, 2));
};

# What a snapshot of a machine does when its memory is of the same time: nothing is started, nothing can be seen from within.
subtest 'a log is rolled back under a running server, which gives ' . ($_ < 10 ? 'fewer' : 'more') . ' numbers again than it lost' => sub {
    my $again = $_;
    my $fleet = fleet($SYNC)->start;
    my ($one, $two) = $fleet->nodes;
    my @kept = (ids($one, 10), ids($two, 5));
    rest($fleet, @kept);
    $one->freeze;
    my $snapshot = bytes_of($one);
    $one->thaw;
    my @later = ids($one, 10);
    rest($fleet, @later);
    $one->freeze;
    restore($one, $snapshot);
    $one->thaw;
    my @new = ids($one, $again, 'x' x 1200); # long ones get their numbers from data.mdb, not from what `running` remembers
    nothing_vanished($fleet, \@later, @kept, @new);
    like($one->error_log, qr/SVL0331: the log \S+ was rolled back/, 'it noticed');
    my $begun = () = $one->error_log =~ /SVL0331/g;
    is($begun, 1, 'one epoch was enough');
    nothing_vanished($fleet, \@later, @kept, @new, ids($one, 5), ids($two, 5));
} for is_long() ? (4, 20) : pick(4, 20);

sub line {
    my ($stream, $seq, %o) = @_;
    my ($origin, $set, $epoch) = split m{/}, $stream;
    return json({id => make_id(), function => 'runlog.note', args => [$seq], kwargs => {}, origin => $origin, set => $set, epoch => $epoch,
                 seq => $seq, issued => int(time * 1000), ttl => 600, %o});
}

subtest 'a number under two ids' => sub {
    my $fleet = fleet($OFF);
    my ($one, $two) = map { $_->start } ($fleet->nodes)[0, 1];
    my $stream = 'n1/all/' . '0' x 15 . '1';
    my ($first, $second) = map { make_id() } 1, 2;
    is($two->relay('n1', [], [line($stream, 1, id => $first)])->{json}{accepted}, 1, 'the first one is taken');
    my $answer = $two->relay('n1', [], [line($stream, 1, id => $second), line($stream, 2)]);
    is_deeply($answer->{json}{refused}{calls}{$second}{status}, 409, 'the second one is refused') or diag $answer->{body};
    is($answer->{json}{accepted}, 1, 'and no other');
    like($two->error_log, qr/stream-conflict/, 'the log has the reason');
    like($two->get('/serviceless-status?format=prometheus')->{body}, qr/serviceless_rejected_total\{[^}]*reason="stream-conflict"\} 1\b/,
         'it is counted');
    eventually { $one->runs($first) == 1 } 10, 'the origin is shown the first one';
    is($two->runs($second), 0, 'the second one did not run');
};

subtest 'own numbers in a vector' => sub {
    my $fleet = fleet($OFF);
    my $one = $fleet->node('n1')->start;
    my @ids = ids($one, 3);
    my $ask = sub {
        my ($vector) = @_;
        my $answer = $one->post(json({sync => {from => 'n2', vector => $vector}}) . "\n", type => 'application/x-ndjson');
        return JSON::PP::decode_json($answer->{body} =~ s/\n.*//sr)->{sync}{vector};
    };
    my ($stream) = keys %{$ask->({})};
    $ask->({$stream => [3, []]});
    is(scalar(() = $one->error_log =~ /SVL0331/g), 0, 'as many as it gave: nothing to say');
    $ask->({$stream => [5, []]});
    like($one->error_log, qr/SVL0331: .*up to number 5, and this log gave out 3/, 'more: it begins a new epoch');
    my %vector;
    eventually { %vector = %{$ask->({})}; keys %vector == 1 && !$vector{$stream} && (values %vector)[0][0] == 3 } 10,
        'and logs its calls there anew';
    is(join(' ', map { $one->runs($_) } @ids), '1 1 1', 'none runs again');
    is($one->post($one->client->call_body('runlog.note', [1]), id => $ids[0])->{json}{duplicate}, JSON::PP::true, 'their ids are known');
};

subtest 'the directory of another node' => sub {
    my $fleet = fleet($SYNC)->start;
    my ($one, $two) = $fleet->nodes;
    my @ids = ids($one, 3);
    $fleet->once(\@ids, 'calls ran');
    $two->stop;
    restore($two, bytes_of($one));
    $two->launch;
    eventually { !$two->running } 20, 'it does not start';
    like($two->error_log, qr/SVL0120: .*is the log of the node n1, not of n2/, 'and says why');
    is(scalar(() = glob $two->state_directory . '/data.mdb.*'), 0, 'nothing is set aside');
};

done_testing;
