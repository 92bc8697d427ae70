# SPDX-License-Identifier: Apache-2.0
# ServicelessLinks: calls go from node to node without a request each; a link takes nothing along when it ends, is given to nobody but
# peers, and brings nothing in that a request would not.
use strict;
use warnings;
use Client qw(json make_id);
use Fleet;
use Fleet::Edit;
use Link;
use IO::Select;
use Test::More;
use Time::HiRes qw(time);

my $CALLS = 100;   # one after the other
my $PATIENCE = 20; # seconds in which an answer must come
my $USUAL = 20;    # runs that take no time, though the first one may
my $LONG = Fleet::signals_are_late() ? 6 : 4; # seconds that a run takes then
my $TRIES = 4;     # until the thread of a link runs it: one of the usual ones may have taken long as well
my $SOON = Fleet::signals_are_late() ? 3 : 2; # seconds in which what does not wait for it is done
my $LOG = "CustomLog access.log \"%>s %{webhook-id}i\"\n";

# Answers to messages of peers, by status, since the server started.
sub answered {
    my ($node) = @_;
    open my $log, '<', $node->directory . '/access.log' or die "no access log: $!";
    my %count = (101 => 0, 202 => 0);
    while (my $line = <$log>) {
        $line =~ /^(\d+) [^-]/ and $count{$1}++;
    }
    return \%count;
}

subtest 'calls need no request each' => sub {
    my $fleet = Fleet->new(nodes => 3, durability => 'async', directives => $LOG)->start;
    my @ids = map { make_id() } 1 .. 2 * $CALLS;
    my $call = sub { is($fleet->node('n1')->call('runlog.note', ['one', $_[0]], id => $_[0])->{status}, 200, $_[0]) };
    $call->($_) for @ids[0 .. $CALLS - 1];
    $fleet->once([@ids[0 .. $CALLS - 1]], 'the first calls');
    eventually { (links_of($fleet->node('n1')))[0] } 10, 'n1 has got a link to n2';
    my $before = answered($fleet->node('n2'));
    $call->($_) for @ids[$CALLS .. $#ids];
    $fleet->once(\@ids, 'each call ran once on each node');
    my $after = answered($fleet->node('n2'));
    cmp_ok($after->{202} - $before->{202}, '<', $CALLS / 2, 'most messages came without a request');
    cmp_ok($after->{101}, '>', 0, 'the access log shows that a connection was upgraded');
    is((grep { !$_->{up} } @{$_->status->{members}}), 0, $_->name . ' sees all up') for $fleet->nodes;
    $fleet->stop;
    $fleet->no_crash;
};

subtest 'outcomes of all nodes come over links as well' => sub {
    my $fleet = Fleet->new(nodes => 3, durability => 'async', directives => $LOG)->start;
    my ($one, $two) = map { $fleet->node($_) } 'n1', 'n2';
    my $all = sub {
        my $body = $one->call('runlog.note', ['all', $_[0]], id => $_[0], reply => 'all')->{body};
        is(scalar(() = $body =~ /"outcome":"ok"/g), 4, "$_[0]: here, and on all three") or diag($body);
    };
    my @ids = map { make_id() } 1 .. 3 * 20;
    $all->($_) for @ids[0 .. 19];
    eventually { 2 == grep { $_ } links_of($one) } 10, 'n1 has got links';
    my $before = answered($two)->{200} // 0;
    $all->($_) for @ids[20 .. 39];
    cmp_ok((answered($two)->{200} // 0) - $before, '<', 10, 'most were asked for without a request');
    $two->graceful;
    $all->($_) for @ids[40 .. 59];
    $fleet->once(\@ids, 'each call ran once on each node');
    $fleet->stop;
    $fleet->no_crash;
};

subtest 'where one node gives none, and asks for none, calls go as requests' => sub {
    my $fleet = Fleet->new(nodes => 3, durability => 'async', directives => $LOG, each => {n2 => "ServicelessLinks off\n"})->start;
    my @ids = map { make_id() } 1 .. 30;
    is($fleet->node('n1')->call('runlog.note', ['off', $_], id => $_)->{status}, 200, $_) for @ids;
    $fleet->once(\@ids, 'each call ran once on each node');
    my ($of_n2) = grep { $_->{name} eq 'n2' } @{$fleet->node('n1')->status->{members}};
    is($of_n2->{links}, 0, 'n1 has got no link to n2');
    is("@{[links_of($fleet->node('n2'))]}", '0 0', 'and n2 has asked for none');
    is(answered($fleet->node($_))->{101}, 0, "$_ has upgraded nothing") for 'n2', 'n3';
    $fleet->stop;
    $fleet->no_crash;
};

subtest 'a link that ends takes nothing along' => sub {
    my $fleet = Fleet->new(nodes => 3, durability => 'async')->start;
    my ($one, $two) = map { $fleet->node($_) } 'n1', 'n2';
    my @ids = map { make_id() } 1 .. 6 * $CALLS;
    for my $i (0 .. $#ids) {
        $i % $CALLS == $CALLS / 2 and $i / $CALLS % 2 ? $two->graceful : kill 'KILL', $two->children;
        $one->call('runlog.note', ['end', $ids[$i]], id => $ids[$i])->{status} == 200 or fail("call $i");
    }
    eventually { $fleet->arrived(\@ids, $fleet->nodes) } 20, 'each call ran on each node';
    is((grep { $one->runs($_) != 1 } @ids), 0, 'once on n1');
    is((grep { $two->runs($_) > 2 } @ids), 0, 'and not more than once again where a process was killed');
    $fleet->stop;
    $fleet->no_crash;
};

subtest 'a child that ends gives its links up, whatever else it waits for' => sub {
    my $fleet = Fleet->new(nodes => 2, durability => 'async')->start;
    my $one = $fleet->node('n1');
    my ($socket) = ask_for_link($one);
    syswrite $socket, frame($one, relayed($one, 'before'));
    is(answer($socket)->[0], 202, 'a link is there');
    $one->graceful;
    ends($socket, 'it ends with the generation of its process');
    $fleet->stop;
    $fleet->no_crash;
};

subtest 'who gets one' => sub {
    my $fleet = Fleet->new(nodes => 2, durability => 'async')->start;
    my $node = $fleet->node('n1');
    my $client_key = Fleet::_key_line();
    write_file($fleet->{key_file}, 0600, "main $fleet->{secret}\nclient $client_key call\n");
    $node->graceful;
    my %refused = (
        'no signature' => [401, unsigned => 1], 'a wrong one' => [401, signature => 'v1,' . 'A' x 43 . '='],
        'a key that may not relay' => [403, secret => $client_key], 'HTTP/1.0' => [202, old => 1],
        'another protocol' => [202, more => ['Connection: Upgrade', 'Upgrade: websocket']],
        'one that a proxy passes on' => [202, more => ['Upgrade: serviceless-link']],
        'a message that was not made to ask' => [202, id => make_id()],
        'more than the request' => [202, behind => frame($node, relayed($node, 'behind'))], 'a node that is none' => [400, body => relayed($node, 'x', from => 'n9')],
    );
    for my $name (sort keys %refused) {
        my ($status, @options) = @{$refused{$name}};
        my ($socket, $said) = ask_for_link($node, @options);
        like($said, qr{^HTTP/1\.[01] $status }, "$name: $status");
    }
    my (undef, $said) = ask_for_link($node, id => 'link-overheard');
    like($said, qr{^HTTP/1\.1 101 .*^Upgrade: serviceless-link\r$}ms, 'a peer: 101');
    my $again = 0; # each child remembers what it gave one for
    $again += (ask_for_link($node, id => 'link-overheard'))[1] =~ m{^HTTP/1\.1 101 } for 1 .. 40;
    my @children = $node->children;
    cmp_ok($again, '<', scalar @children, 'and who overheard that gets no more than one of each child');
    is($node->call('example.sum', [1, 2])->{json}{result}, 3, 'the node goes on');
    $fleet->stop;
    $fleet->no_crash;
};

subtest 'what comes over one is judged as a request is' => sub {
    my $fleet = Fleet->new(nodes => 2, durability => 'async', directives => "ServicelessMaxBody 4k\n")->start;
    my $node = $fleet->node('n1');
    my ($socket) = ask_for_link($node);
    my ($id, $seq) = (make_id(), 0);
    my $good = frame($node, relayed($node, $id, seq => ++$seq), id => 'a-message');
    syswrite $socket, $good;
    my $answer = answer($socket);
    is_deeply([@$answer[0, 1]], [202, 'a-message:n1'], 'a good one is accepted, and its answer says to which');
    eventually { $node->runs($id) == 1 } 10, 'it runs';
    syswrite $socket, $good;
    like(answer($socket)->[2], qr/"duplicates":1/, 'the same again is a duplicate');
    syswrite $socket, frame($node, "no message\n");
    is(answer($socket)->[0], 400, 'what is no message');
    for (['a wrong signature' => signature => 'v1,' . 'A' x 43 . '='], ['an old one' => timestamp => int(time) - 3600]) {
        my ($name, @options) = @$_;
        my ($other) = ask_for_link($node);
        syswrite $other, frame($node, relayed($node, make_id(), seq => $seq + 1), @options);
        is(answer($other)->[0], 401, $name);
        ends($other, "$name ends the link");
    }
    $seq++;
    is($node->status->{rejected}{signature}, 1, 'refusals are counted');
    like($node->error_log, qr/SVL0151.* over a link from 127\.0\.0\.1/, 'and logged with the address');
    my $two = frame($node, relayed($node, make_id(), seq => $seq)) . frame($node, relayed($node, make_id(), seq => $seq + 1));
    syswrite $socket, substr $two, 0, 10;
    syswrite $socket, substr $two, 10;
    my $both = '';
    my $until = time + $PATIENCE;
    while ($both !~ /"accepted":1.*"accepted":1/s && time < $until && IO::Select->new($socket)->can_read($until - time)) {
        sysread $socket, $both, 65536, length $both or last;
    }
    like($both, qr/"accepted":1.*"accepted":1/s, 'two that come at once, in pieces, are two');
    for (['a line that is none' => "GET / HTTP/1.1\r\n\r\n"], ['a line without an end' => 'x' x 5000],
         ['a body larger than may be' => frame($node, 'x', length => 9_000_000)], ['an answer' => "202 0 - - - -\n"],
         ['half a message, and the end' => substr($good, 0, 100), 1]) {
        my ($name, $bytes, $half) = @$_;
        ($socket) = ask_for_link($node);
        syswrite $socket, $bytes;
        shutdown $socket, 1 if $half;
        ends($socket, "$name ends the link");
    }
    is($node->call('example.sum', [1, 2])->{json}{result}, 3, 'the node goes on');
    $fleet->stop;
    $fleet->no_crash;
};

subtest 'a run that takes long for once holds up neither the link nor a stop' => sub {
    my $taken = 0;
    for my $try (1 .. $TRIES) {
        last if $try > 2 && $taken;
        my $end = $try == 1 ? 'goes on' : 'stops';
        my $fleet = Fleet->new(nodes => 2, durability => 'async', directives => "LogLevel serviceless:debug\n")->start;
        my $node = $fleet->node('n1');
        my ($socket) = ask_for_link($node);
        my $seq = 0;
        my $sleep = sub {
            my ($seconds) = @_;
            my $id = make_id();
            return ($id, frame($node, relayed($node, $id, function => 'runlog.sleep', args => [$seconds], seq => ++$seq)));
        };
        for (1 .. $USUAL) {
            my ($id, $message) = $sleep->(0);
            syswrite $socket, $message;
            is(answer($socket)->[0], 202, 'a message is answered');
            eventually { $node->runs($id) == 1 } 10, 'and its call runs';
        }
        my ($long, $message) = $sleep->($LONG);
        my $logged = length $node->error_log;
        my ($behind, $later) = (make_id(), make_id());
        my $start = time;
        syswrite $socket, $message . frame($node, relayed($node, $behind, seq => ++$seq));
        my $both = '';
        while ($both !~ /"accepted":1.*"accepted":1/s && time < $start + $PATIENCE && IO::Select->new($socket)->can_read($PATIENCE)) {
            sysread $socket, $both, 65536, length $both or last;
        }
        eventually { $node->runs($long) && $node->runs($behind) } 10, 'one that takes long runs, and what came right behind it';
        syswrite $socket, frame($node, relayed($node, $later, seq => ++$seq));
        is(answer($socket)->[0], 202, 'a later one is answered');
        eventually { $node->runs($later) } 10, 'and runs';
        $taken += substr($node->error_log, $logged) =~ /SVL0386: \d+ links get another thread/;
        cmp_ok(time - $start, '<', $SOON, sprintf 'all of it while the long one runs: %.2f s', time - $start);
        if ($end eq 'stops') {
            $node->ask_to_stop;
            ends($socket, 'a stop ends the link');
            $node->stop;
            unlike($node->error_log, qr/leaving though a link/, 'which was over by itself');
        }
        else {
            eventually { $node->call('runlog.sleep', [$LONG], id => $long)->{json}{outcome} eq 'ok' } $PATIENCE, 'the long one ends';
            syswrite $socket, frame($node, relayed($node, make_id(), seq => ++$seq));
            is(answer($socket)->[0], 202, 'and the link goes on');
        }
        $fleet->stop;
        $fleet->no_crash;
    }
    cmp_ok($taken, '>', 0, 'the thread of a link ran it, and another one took the link');
};

subtest 'as many as there are, and no more' => sub {
    my $fleet = Fleet->new(nodes => 2, durability => 'async')->start;
    my $node = $fleet->node('n1');
    my (@links, $other);
    while (@links < 64 * 8 + 1) {
        my ($socket, $said) = ask_for_link($node);
        $other = $said, last if $said !~ /^HTTP\/1\.1 101 /;
        push @links, $socket;
    }
    like($other // '', qr{^HTTP/1\.1 202 }, 'who gets none any more is answered as any other, after ' . @links);
    is($node->call('example.sum', [1, 2])->{json}{result}, 3, 'the node goes on');
    close $_ for @links;
    eventually { (ask_for_link($node))[1] =~ /^HTTP\/1\.1 101 / } 10, 'when they end, there are links again';
    $fleet->stop;
    $fleet->no_crash;
};

done_testing;
