# SPDX-License-Identifier: Apache-2.0
# Links of clients in a fleet: what is called over one gets everywhere, a stop answers what is under way, and clients take none from peers.
# What comes over them is judged in t/link.t.
use strict;
use warnings;
use Client qw(make_id);
use Fleet;
use JSON::PP qw(decode_json);
use Link;
use Test::More;
use Time::HiRes qw(time);

my $RUNS = 1; # seconds that a call takes which a stop meets

# Asks for a link, and takes the answer that comes over it.
sub link_to {
    my ($node) = @_;
    my ($socket, $said) = ask_by_call($node, 'example.sum', [1]);
    return $said =~ m{\AHTTP/1\.1 101 } && answer($socket)->[0] == 200 ? $socket : undef;
}

sub call_over {
    my ($node, $socket, $function, $args, %o) = @_;
    my $id = delete $o{id} // make_id();
    syswrite $socket, frame($node, $node->client->call_body($function, $args, %o), id => $id);
    return;
}

subtest 'what is called over a link runs everywhere, once' => sub {
    my $fleet = Fleet->new(nodes => 3)->start; # with fsync
    my $one = $fleet->node('n1');
    my $socket = link_to($one) or return fail('a link');
    my @ids = map { make_id() } 1 .. 60;
    for my $i (0 .. $#ids) {
        my @o = (reply => ('local', 'accepted', 'all')[$i % 3], id => $ids[$i]);
        call_over($one, $socket, 'runlog.note', ['linked', $i], @o);
        my ($status, undef, $body) = @{answer($socket)};
        is($status, $i % 3 == 1 ? 202 : 200, "call $i");
        is(scalar(() = $body =~ /"outcome":"ok"/g), 4, 'here, and on all three') if $i % 3 == 2;
    }
    $fleet->once(\@ids, 'each call');
    ok(!(grep { $_->{rejected}{signature} } map { $_->status } $fleet->nodes), 'no node refused anything');
    $fleet->stop;
    $fleet->no_crash;
};

for my $how (qw(graceful stop)) {
    subtest "$how: what is under way is answered, and then the link ends" => sub {
        my $fleet = Fleet->new(nodes => 2, durability => 'async')->start;
        my $one = $fleet->node('n1');
        my ($busy, $idle) = map { link_to($one) } 1 .. 2;
        my $id = make_id();
        call_over($one, $busy, 'runlog.sleep', [$RUNS], id => $id);
        eventually { $one->runs($id) } 10, 'a call runs';
        $how eq 'graceful' ? $one->graceful : $one->ask_to_stop;
        ends($idle, 'a link that waits ends');
        my $answer = answer($busy);
        is($answer && $answer->[0], 200, 'the call is answered');
        is($answer && decode_json($answer->[2])->{result}, $RUNS, 'with its result');
        ends($busy, 'and its link ends');
        $one->stop, $one->start if $how eq 'stop';
        my $again = $one->call('runlog.sleep', [$RUNS], id => $id)->{json};
        is_deeply([@$again{qw(outcome duplicate)}], ['ok', JSON::PP::true], 'the same id, by a request, gets what was recorded');
        eventually { $fleet->node('n2')->runs($id) == 1 } 20, 'the other node has it';
        is($one->runs($id), 1, 'it ran once');
        $fleet->stop;
        $fleet->no_crash;
    };
}

subtest 'a child that is killed takes no accepted call along' => sub {
    my $fleet = Fleet->new(nodes => 2, durability => 'async')->start;
    my $one = $fleet->node('n1');
    my $socket = link_to($one);
    my @ids = map { make_id() } 1 .. 40;
    for my $id (@ids) {
        call_over($one, $socket, 'runlog.note', ['killed'], id => $id);
        is(answer($socket)->[0], 200, 'answered');
    }
    kill 'KILL', $one->children;
    ends($socket, 'the link ends');
    eventually { $fleet->arrived(\@ids, $fleet->nodes) } 20, 'each call ran on each node';
    my $id = make_id();
    eventually { ($socket = link_to($one)) } 10, 'there are links again';
    call_over($one, $socket, 'runlog.note', ['after'], id => $id);
    is(answer($socket)->[0], 200, 'and calls');
    $fleet->once([$id], 'that call');
    $fleet->stop;
    $fleet->no_crash;
};

subtest 'ServicelessLinks says who gets any' => sub {
    my $fleet = Fleet->new(nodes => 3, durability => 'async', each => {n1 => "ServicelessLinks peers\n", n2 => "ServicelessLinks off\n"})->start;
    my %given = map { my $node = $fleet->node($_); $_ => [link_to($node) ? 1 : 0, (ask_for_link($node, body => relayed($node, make_id(), from => $_ eq 'n3' ? 'n2' : 'n3')))[1] =~ m{ 101 } ? 1 : 0] } qw(n1 n2 n3);
    is_deeply(\%given, {n1 => [0, 1], n2 => [0, 0], n3 => [1, 1]}, 'peers: nodes; off: nobody; on: clients as well');
    $fleet->stop;
    $fleet->no_crash;
};

subtest 'clients take none from peers' => sub {
    my $fleet = Fleet->new(nodes => 2, durability => 'async')->start;
    my $node = $fleet->node('n1');
    my (@links, $other);
    while (@links < 64 * 8 + 1) {
        my $socket = link_to($node);
        $other = 1, last if !$socket;
        push @links, $socket;
    }
    ok($other, 'a client that gets none any more is answered as any other, after ' . @links);
    my ($of_peer, $said) = ask_for_link($node);
    like($said, qr{\AHTTP/1\.1 101 }, 'a peer gets one');
    is($node->call('example.sum', [1, 2])->{json}{result}, 3, 'the node goes on');
    close $_ for @links;
    eventually { link_to($node) } 10, 'when they end, there are links again';
    $fleet->stop;
    $fleet->no_crash;
};

done_testing;
