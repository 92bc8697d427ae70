# SPDX-License-Identifier: Apache-2.0
# MPMs: event
# Row 15: a node's disk is lost, or its log cannot be trusted after a crash of the machine: it is refilled from peers, in a new epoch.
use strict;
use warnings;
use Client qw(json);
use Fault;
use File::Path qw(remove_tree);
use Fleet;
use JSON::PP ();
use Test::More;

my $REFILL = 30; # seconds
my $OLD_BOOT = "00000000-1111-2222-3333-444444444444\n";

sub ids { my ($node, $count) = @_; return map { $node->call('runlog.note', [$_])->{json}{id} } 1 .. $count }

# The streams that a node tells a peer, of those that $origin gave the numbers of.
sub streams {
    my ($node, $asker, $origin) = @_;
    my $answer = $node->post(json({sync => {from => $asker->name, digest => '0' x 64}}) . "\n", type => 'application/x-ndjson');
    $node->post(json({sync => {from => $asker->name, done => JSON::PP::true}}) . "\n", type => 'application/x-ndjson');
    return unless $answer->{status} == 200;
    my @streams = grep { m{^\Q$origin\E/} } keys %{JSON::PP::decode_json($answer->{body} =~ s/\n.*//sr)->{sync}{vector}};
    return @streams;
}

subtest 'a disk is lost' => sub {
    my $fleet = Fleet->new(nodes => 3, directives => 'ServicelessSyncInterval 1s')->start;
    my ($one, $two, $three) = $fleet->nodes;
    my @ids = map { ids($_, amount(50, 2000)) } $fleet->nodes;
    $fleet->once(\@ids, 'calls ran');
    $one->stop;
    my @meanwhile = ids($two, 20);
    remove_tree($one->state_directory);
    $one->start;
    my @after = (ids($one, 20), ids($two, 20));
    invariant($fleet, [@meanwhile, @after], 'what came meanwhile and afterwards ran once on every node');
    eventually { ($one->status->{log}{calls} // 0) == @ids + @meanwhile + @after } $REFILL, 'peers gave all of it back';
    $fleet->settle(1);
    is((grep { $two->runs($_) != 1 || $three->runs($_) != 1 } @ids), 0, 'nothing ran twice on the others');
    my %epochs = map { $_ => 1 } streams($two, $three, 'n1');
    is(keys %epochs, 2, 'the node numbers its calls in a new epoch');
};

subtest 'a machine went down while its log was written without fsync' => sub {
    my $fleet = Fleet->new(nodes => 2, durability => 'async', crashes => 1, mode => 'broadcast',
                           directives => "ServicelessSyncInterval 1s\nServicelessFunction runlog.sleep on_crash=quarantine\n")->start;
    my ($one, $two) = $fleet->nodes;
    my @ids = (ids($one, 20), ids($two, 20));
    my $once = $two->call('runlog.sleep', [0])->{json}{id};
    $fleet->once([@ids, $once], 'calls ran');
    my $flagged = $two->post('{"function":"runlog.crash","args":["once"],"reply":"accepted"}')->{json}{id};
    eventually { $one->runs($flagged) == 2 && $two->runs($flagged) == 2 } 20, 'one of them twice, after a crash';
    eventually { $_->status->{log}{pending} == 0 } 10, 'all has ended' for $one, $two;
    $one->stop;
    open my $mark, '>', $one->state_directory . '/boot' or die "cannot write the mark: $!";
    print $mark $OLD_BOOT;
    close $mark or die "cannot write the mark: $!";
    $one->start;
    like($one->error_log, qr/SVL0210: .* set aside unread as \S+data\.mdb\.\d+/, 'its log is set aside');
    eventually { $one->runs($flagged) == 3 && !grep { $one->runs($_) != 2 } @ids } $REFILL, 'what peers give back runs again';
    eventually { $one->error_log =~ /SVL0336: 1 calls/ } $REFILL, 'what must not run twice is quarantined';
    $fleet->settle(1);
    is($one->runs($flagged), 3, 'with the flag of a rerun, or the third run would have crashed');
    is($one->runs($once), 1, 'and a quarantined call is not run');
    is($one->post($two->client->call_body('runlog.sleep', [0]), id => $once)->{json}{outcome}, 'quarantined', 'and says so');
    is((grep { $two->runs($_) != 1 } @ids, $once), 0, 'nothing ran twice on the other');
    invariant($fleet, [ids($one, 20), ids($two, 20)], 'new calls run once');
};

my ($faketime) = glob '/usr/lib/*/faketime/libfaketimeMT.so.1 /usr/lib*/faketime/libfaketimeMT.so.1';

subtest 'epochs that are over leave the vector, and are forgotten' => sub {
    my $retention = 3;
    my $fleet = Fleet->new(nodes => 2, mode => 'broadcast', directives => "ServicelessSyncInterval 1s\nServicelessTolerance 1s\n"
        . "ServicelessRetention ${retention}s\n")->start;
    my ($one, $two) = $fleet->nodes;
    my @ids = ids($one, 5);
    $fleet->once(\@ids, 'calls ran');
    poll { scalar(streams($two, $one, 'n1')) } 5;
    my @old = streams($two, $one, 'n1');
    $one->stop;
    $one->start;
    eventually {
        push @ids, ids($one, 1);
        my @now = streams($two, $one, 'n1');
        return @now == 1 && $now[0] ne $old[0];
    } 10 * $retention, 'the stream of the epoch before is gone once it is pruned whole';
    eventually { my @now = streams($one, $two, 'n1'); @now == 1 } 10, 'also where it was numbered';
    $fleet->settle(1);
    is((grep { $one->runs($_) != 1 || $two->runs($_) != 1 } @ids), 0, 'all ran once');
  SKIP: {
        skip 'SKIPPED: libfaketime is not here, or a sanitizer is', 1 if !$faketime || $ENV{SVL_PRELOAD};
        $fleet->stop; # a day and two retentions later, on all nodes
        for my $node ($one, $two) {
            $node->environment(LD_PRELOAD => $faketime, FAKETIME => '+2d', FAKETIME_DONT_FAKE_MONOTONIC => 1, NO_FAKE_STAT => 1);
            $node->start;
        }
        eventually { 2 == grep { $_->error_log =~ /[1-9]\d* streams of old epochs are forgotten/ } $one, $two } 30,
            'two days later both forget the streams';
    }
};

done_testing;
