# SPDX-License-Identifier: Apache-2.0
# MPMs: event prefork
# What a node keeps: not for longer than the retention, not beyond the size of its log, and what it cannot run yet.
use strict;
use warnings;
use Client qw(make_id);
use Fleet;
use Fleet::Edit;
use Test::More;

my $TOLERANCE = "ServicelessTolerance 1s\nServicelessSyncInterval 1s\n";

# What the log of a node says of a call: its outcome.
sub outcome {
    my ($fleet, $node, $id) = @_;
    my (undef, $log) = $fleet->command($node, 'log', '--json', '-n', '100000', $node->state_directory);
    my ($line) = grep { /\Q"$id"\E/ } split /\n/, $log;
    return ($line // '') =~ /"outcome": ?"([^"]+)"/ ? $1 : 'none';
}

subtest 'a full log answers 503, forgets nothing that is young, and heals by itself' => sub {
    my $size = 1 << 20;
    my $fleet = Fleet->new(nodes => 2, mode => 'broadcast', directives => "${TOLERANCE}ServicelessStoreSize $size\nServicelessRetention 6s\n")->start;
    my ($one, $two) = $fleet->nodes;
    my $text = 'x' x 6000;
    my (@ids, @bodies, $answer);
    for (1 .. 1000) {
        my $id = make_id();
        my $body = $one->client->call_body('runlog.note', [$text, $_]);
        $answer = $one->post($body, id => $id);
        last if $answer->{status} != 200;
        push @ids, $id;
        push @bodies, $body;
    }
    is($answer->{status}, 503, @ids . ' calls fill it');
    ok($answer->{headers}{'retry-after'}, 'with Retry-After');
    cmp_ok(-s $_->state_directory . '/data.mdb', '<=', $size, $_->name . ': the file keeps its bound') for $one, $two;
    my $again = $one->post($bodies[-1], id => $ids[-1]);
    is("$again->{status} $again->{json}{outcome} " . ($again->{json}{duplicate} // ''), '200 ok 1', 'what it holds it still answers for');
    eventually { $one->post($bodies[0], id => make_id())->{status} == 200 } 30, 'when the retention is over it accepts again';
    cmp_ok(-s $_->state_directory . '/data.mdb', '<=', $size, $_->name . ': the file keeps its bound') for $one, $two;
    my $lost = $two->status->{missed};
    is((grep { $one->runs($_) != 1 } @ids), 0, 'each call that was accepted ran once here');
    is((grep { $two->runs($_) > 1 } @ids), 0, 'none twice there');
    my $there = grep { $two->runs($_) } @ids;
    cmp_ok($there + $lost, '>=', @ids, "of them $there there, whose log was as full, and it was told that it missed $lost");
};

subtest 'calls of a function that is not loaded wait until it is' => sub {
    my $fleet = Fleet->new(nodes => 2, mode => 'broadcast', directives => $TOLERANCE);
    my ($one, $two) = $fleet->nodes;
    my $with = sub { s/^#(?=LoadModule runlog_module|RunlogFile)//mg };
    edit_conf($two, sub { s/^(?=LoadModule runlog_module|RunlogFile)/#/mg });
    $fleet->start;
    my @ids = map { $one->call('runlog.note', [$_])->{json}{id} } 1 .. 20;
    my $short = $one->call('runlog.note', ['short'], ttl => 4)->{json}{id};
    my @all = (@ids, $short);
    is((grep { $one->runs($_) != 1 } @all), 0, 'they run where it is loaded');
    eventually { $two->status->{log}{pending} == @all } 20, 'where it is not, they wait';
    like($two->error_log, qr/SVL0340: call \S+ from n1, and perhaps others, waits/, 'as the log says');
    my $refused = $two->call('runlog.note', ['x']);
    is($refused->{status}, 404, 'a client that calls it there is refused');
    eventually { outcome($fleet, $two, $short) eq 'expired' } 20, 'the one that may not wait for long expires';
    is(outcome($fleet, $two, $ids[0]), 'pending', 'another one does not');
    $two->kill9;
    $two->start;
    poll { $two->status->{log}{pending} != @ids } 2;
    is($two->status->{log}{pending}, @ids, 'a restart without the module changes nothing');
    edit_conf($two, $with);
    $two->graceful;
    eventually { $fleet->arrived(\@ids, $two) } 20, 'a graceful restart with the module, and they run';
    $fleet->once(\@ids, 'once on each node');
    is($two->runs($short), 0, 'what expired does not');
    is($one->runs, @all, 'and what was refused nowhere');
    eventually { $two->status->{log}{pending} == 0 } 10, 'nothing is left';
};

done_testing;
