# SPDX-License-Identifier: Apache-2.0
# Links of clients in a fleet: what is called over one gets everywhere, a stop answers what is under way, and clients take none from peers.
# What comes over them is judged in t/link.t.
use strict;
use warnings;
use Client qw(make_id);
use Fleet;
use JSON::PP qw(decode_json);
use Link;
use Table;
use Test::More;
use Time::HiRes qw(time);

my $threads = ($ENV{SVL_TEST_MPM} // '') ne 'prefork'; # whose MPM says that it ends gracefully
my %RUNS = (graceful => $threads ? 4 : 1, stop => 1); # seconds that a call takes which one of these meets
my $STOP = 6;    # seconds in which a stop is over, though something hangs

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

for my $how (sort keys %RUNS) {
    my $seconds = $RUNS{$how};
    subtest "$how: what is under way is answered, and then the link ends" => sub {
        my $fleet = Fleet->new(nodes => 2, durability => 'async')->start;
        my $one = $fleet->node('n1');
        my ($busy, $idle, $all) = map { link_to($one) } 1 .. 3;
        my ($id, $asked) = (make_id(), make_id());
        call_over($one, $busy, 'runlog.sleep', [$seconds], id => $id);
        call_over($one, $all, 'runlog.sleep', [$seconds], id => $asked, reply => 'all');
        eventually { $one->runs($id) && $fleet->node('n2')->runs($asked) } 10, 'calls run';
        $how eq 'graceful' ? $one->graceful : $one->ask_to_stop;
        ends($idle, 'a link that waits ends');
        my $answer = answer($busy);
        is($answer && $answer->[0], 200, 'the call is answered');
        is($answer && decode_json($answer->[2])->{result}, $seconds, 'with its result');
        ends($busy, 'and its link ends');
        $answer = answer($all);
        is($answer && $answer->[0], 200, 'so is one that waits for all nodes');
        my $outcomes = decode_json($answer ? $answer->[2] : '{}')->{outcomes} // {};
        is_deeply([map { $outcomes->{$_}{outcome} } qw(n1 n2)], ['ok', 'ok'], 'with what they say') if $how eq 'graceful' && $threads;
        is(scalar keys %$outcomes, 2, 'and without a node missing');
        $one->stop, $one->start if $how eq 'stop';
        my $again = $one->call('runlog.sleep', [$seconds], id => $id)->{json};
        is_deeply([@$again{qw(outcome duplicate)}], ['ok', JSON::PP::true], 'the same id, by a request, gets what was recorded');
        eventually { $fleet->node('n2')->runs($id) == 1 } 20, 'the other node has it';
        is($one->runs($id), 1, 'it ran once');
        $fleet->stop;
        $fleet->no_crash;
    };
}

subtest 'a stop is not held up' => sub {
    my $fleet = Fleet->new(nodes => 6, durability => 'async', directives => "LogLevel serviceless:info\n")->start;
    my $one = $fleet->node('n1');
    my %hangs = ('a run that a graceful restart waits for' => sub {
        my $id = make_id();
        my $busy = link_to($one);
        call_over($one, $busy, 'runlog.sleep', [3 * $STOP], id => $id);
        eventually { $one->runs($id) } 10, 'a call runs';
        $one->graceful;
        eventually { $one->error_log =~ /SVL0135: / } 10, 'the child says that it waits' if $threads;
        return $busy;
    }, 'a client that does not read its first answer' => sub {
        my ($socket, $said) = ask_by_call($one, 'example.echo', ['x' x 1_000_000], reply => 'all');
        like($said, qr{\AHTTP/1\.1 101 }, 'a link');
        return $socket;
    });
    for my $name (sort keys %hangs) {
        $one->start if !$one->running;
        my $held = $hangs{$name}->();
        my $start = time;
        $one->stop;
        cmp_ok(time - $start, '<', $STOP, sprintf '%s: %.1f s', $name, time - $start);
        if ($name =~ /read/) {
            my $got = '';
            1 while sysread $held, $got, 1 << 20, length $got;
            my ($of) = $got =~ /\A200 (\d+) /;
            cmp_ok(length $got, '<', $of, 'not all of the answer had left');
            unlike($one->error_log, qr/SVL0131|SVL0132/, 'nothing was left behind');
        }
        close $held;
    }
    $fleet->stop;
    $fleet->no_crash;
};

subtest 'what every child runs it has run before a call over its link' => sub {
    my $fleet = table_fleet(nodes => 1)->start;
    my ($one) = $fleet->nodes;
    my (%in, $socket);
    my $child_of = sub { my $id = make_id(); call_over($one, $_[0], 'runlog.note', ['where'], id => $id); answer($_[0]); return ($one->runs_of($id))[0]{pid} };
    eventually { $socket = link_to($one) and $in{$child_of->($socket)} = $socket; keys %in > 1 } 20, 'links in several children';
    my $id = make_id();
    is($one->call('table.sleep', [0.5], id => $id, reply => 'accepted')->{status}, 202, 'a call that takes half a second in each child');
    call_over($one, $_, 'runlog.note', ['after']) for values %in;
    for my $pid (sort keys %in) {
        is(answer($in{$pid})->[0], 200, "child $pid answers");
        is({ran($one, $id)}->{$pid}, 1, 'once it has run that');
    }
    write_table($one, 7);
    call_over($one, $in{(sort keys %in)[0]}, 'table.reload', []);
    is(decode_json(answer($in{(sort keys %in)[0]})->[2])->{result}, 7, 'one that is called over a link runs there at once');
    $fleet->stop;
    $fleet->no_crash;
};

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
    my $one_child = $threads ? "StartServers 1\nThreadsPerChild 32\nMinSpareThreads 1\nMaxSpareThreads 32\nMaxRequestWorkers 32\n"
        : "StartServers 1\nMinSpareServers 1\nMaxSpareServers 1\nMaxRequestWorkers 1\nKeepAlive off\n";
    my $fleet = Fleet->new(nodes => 2, durability => 'async', directives => $one_child)->start;
    my $node = $fleet->node('n1');
    my $most = $threads ? 64 : 4;
    my (@links, @of_peers);
    while (@links <= $most) {
        my $socket = link_to($node) or last;
        call_over($node, $socket, 'example.sum', [1]);
        is(answer($socket)->[0], 200, 'a client calls over its link');
        push @links, $socket;
    }
    is(scalar @links, $most, 'links of clients');
    is($node->status->{client_links}, $most, 'as the status says');
    while (@of_peers <= $most) {
        my ($socket, $said) = ask_for_link($node);
        last if $said !~ m{\AHTTP/1\.1 101 };
        push @of_peers, $socket;
    }
    my $more = grep { $_ } links_of($fleet->node('n2')); # n2 may have asked for one
    cmp_ok(@of_peers + $more, '>=', $most, 'and as many of peers beside them');
    is($node->call('example.sum', [1, 2])->{json}{result}, 3, 'the node goes on');
    close $_ for @links;
    eventually { link_to($node) } 10, 'when they end, there are links again';
    $fleet->stop;
    $fleet->no_crash;
};

done_testing;
