# SPDX-License-Identifier: Apache-2.0
# MPMs: event prefork
# Row 19: a function that crashes its child, hangs, or takes much memory.  Other functions and other nodes go on; the error log names the
# call and the function that was running when a child crashed, beside httpd's own line about that child; and what a run takes from its
# pool is given back when it ends.  (What a function leaks otherwise is its own: MaxConnectionsPerChild bounds it.)
use strict;
use warnings;
use Callers;
use Client qw(make_id);
use Fault;
use Fleet;
use Proc qw(anonymous);
use Test::More;

my $prefork = ($ENV{SVL_TEST_MPM} // '') eq 'prefork';
my $HANGING = 40;          # calls that hang: more than a child has threads to run them
my $HANG = 30;             # seconds of each
my $SOON = 5;              # seconds within which other calls must be everywhere
my $BYTES = 65_536;        # that each run allocates
my $LENGTH = 1024;         # of its result
my $GROWTH = 24 << 10;     # KiB that a child may grow by meanwhile: a small part of what its runs allocated
my $AT_ONCE = $prefork ? 1 : 8; # connections: prefork's one child serves one

# The bad function is called on n1 alone.
my $set = 'ServicelessNodeSet alone n1';

# httpd tells of a child that a fault ended, not of one that was killed.
for my $case (['killed', 'SIGKILL', undef], ['segv', 'SIGSEGV', qr/exit signal Segmentation fault \(11\)/]) {
    my ($word, $signal, $line) = @$case;
    subtest "a function that crashes its child ($signal)" => sub {
        my $fleet = Fleet->new(nodes => 3, crashes => 1, directives => "$set\nServicelessSyncInterval 1s")->start;
        my ($node, @others) = $fleet->nodes;
        my $id = make_id();
        my @ids = under_load($fleet, sub {
            my $client = $node->client(timeout => 10);
            my $answer = $client->call('runlog.crash', [$word], id => $id, nodes => 'alone');
            is($answer->{status}, 0, 'its caller gets no answer');
            eventually { $node->error_log =~ /SVL0190: call $id of runlog\.crash is quarantined/ } 30, 'it is quarantined';
        });
        my @pids = map { $_->{pid} } $node->runs_of($id);
        is(scalar @pids, 3, 'after three runs');
        for my $pid ($line ? @pids : ()) {
            eventually { $node->error_log =~ /child(?: pid)? $pid $line/ } 5, "the log tells how child $pid ended";
        }
        is(scalar(() = $node->error_log =~ /SVL0191: call $id of runlog\.crash may have been running/g), 3, 'and each time which call was running');
        invariant($fleet, \@ids, 'other calls ran once on each node, or again where a crash cut them short', flagged => 1);
        unlike($_->error_log, qr/exit signal|SVL0191|SVL0190/, $_->name . ' saw nothing of it') for @others;
    };
}

subtest 'a function that hangs' => sub {
    my $fleet = Fleet->new(nodes => 2, directives => "$set\nServicelessSyncInterval 1s")->start;
    my ($node) = $fleet->nodes;
    for (1 .. $HANGING) {
        my $answer = $node->call('runlog.sleep', [$HANG], reply => 'accepted', nodes => 'alone');
        is($answer->{status}, 202, 'a call that will hang is accepted') unless $answer->{status} == 202;
    }
    my $waiting = $node->client;
    my $id = make_id();
    $waiting->begin($waiting->message($waiting->call_body('runlog.sleep', [$HANG], nodes => 'alone'), id => $id), id => $id);
    eventually { $node->runs($id) } $SOON, 'some hang in the background, and one in a request';
    my @ids = map {
        my $origin = $_;
        map { $origin->call('runlog.note', [$_], $_ % 2 ? () : (reply => 'accepted'))->{json}{id} } 1 .. 20
    } $fleet->nodes;
    eventually { $fleet->arrived(\@ids) } $SOON, 'other calls are everywhere soon';
    invariant($fleet, \@ids, 'and ran once on each node');
    is($node->status->{functions}{'runlog.sleep'}{calls}{ok} // 0, 0, 'while all that hang still do');
    $fleet->stop;
    $fleet->no_crash;
};

# Accepts and runs $count calls, half of them inline, half in the background.
sub allocate {
    my ($node, $count) = @_;
    my @clients = map { $node->client } 1 .. $AT_ONCE;
    my $before = $node->runs;
    for my $round (1 .. $count / $AT_ONCE) {
        my $body = $clients[0]->call_body('runlog.allocate', [$BYTES, $LENGTH], $round % 2 ? () : (reply => 'accepted'));
        for my $client (@clients) {
            my $id = make_id();
            $client->begin($client->message($body, id => $id), id => $id);
        }
        my @bad = grep { $_->{status} !~ /^20[02]$/ } map { $_->finish } @clients;
        is($bad[0]{status}, 200, 'a call is accepted') if @bad;
    }
    $_->disconnect for @clients;
    poll { $node->runs >= $before + $count } 60;
    is($node->runs, $before + $count, "$count calls ran");
    return;
}

subtest 'a function that allocates' => sub {
    plan skip_all => 'an instrumented build keeps what is freed' if $ENV{SVL_SANITIZER};
    my $fleet = Fleet->new(nodes => 1, durability => 'async', directives => one_child())->start;
    my ($node) = $fleet->nodes;
    my $runs = amount(2_000, 20_000);
    allocate($node, 800);
    my @children = $node->children;
    is(scalar @children, 1, 'one child runs all');
    my $before = anonymous($children[0]);
    allocate($node, $runs);
    my $after = anonymous($children[0]);
    is_deeply([$node->children], \@children, 'the same one');
    cmp_ok($after - $before, '<', $GROWTH, "$runs runs that allocated $BYTES bytes each: the child had $before KiB, and has $after");
};

done_testing;
