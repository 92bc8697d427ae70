# SPDX-License-Identifier: Apache-2.0
# Row 25: vectors and counts in a sync message that are huge, negative, overlapping or out of order: refused, with bounded work and memory;
# and so they are in the answer of a peer.
use strict;
use warnings;
use Client qw(json make_id);
use Fleet;
use Played;
use Refused;
use Test::More;
use Time::HiRes qw(time);

my $TYPE = 'application/x-ndjson';
my $WRONG = '0' x 64;
my $HIGHEST = '9223372036854775807'; # of 63 bits
my $BEYOND = '9223372036854775808';
my $QUICK = 2;    # seconds of the processor for the largest message
my $GROWS = 160;  # MiB that a process may grow by messages of up to 5 MiB
my $FACTOR = 24;  # bytes of memory for a byte of a message
my $STREAMS = 30_000; # as many as fit in a message of the default size
my $AGAIN = 3;    # more of the largest messages
my $EPOCHS = 20;  # times that a node is told of its own calls that it never made
my $S = '"n2/all/00000000000000aa"';
my $OTHER = '"n2/all/00000000000000ab"';

sub sync { return $_[0] =~ /^\{/ ? $_[0] : qq({"sync":{"from":"n2",$_[0]}}\n) }
sub ranges { my ($count) = @_; return join ',', map { my $n = 10 + 3 * $_; "[$n,$n]" } 1 .. $count }
sub streams { my ($count, $value) = @_; return join ',', map { sprintf '"n2/all/%016x":%s', $_, $value } 1 .. $count }

# Members of a sync line, or all of a message, as text: no library would write most of them.
my %bad = (
    'a watermark below 0' => qq("vector":{$S:[-1,[]]}), 'one beyond 63 bits' => qq("vector":{$S:[$BEYOND,[]]}),
    'one of 100 digits' => qq("vector":{$S:[@{['9' x 100]},[]]}), 'one that is no integer' => qq("vector":{$S:[1.5,[]]}),
    'one as 1e3' => qq("vector":{$S:[1e3,[]]}), 'one as text' => qq("vector":{$S:["1",[]]}), 'none' => qq("vector":{$S:[]}),
    'no ranges' => qq("vector":{$S:[1]}), 'something more' => qq("vector":{$S:[1,[],0]}), 'a number only' => qq("vector":{$S:1}),
    'ranges that are no array' => qq("vector":{$S:[1,{}]}), 'a range below the watermark' => qq("vector":{$S:[9,[[3,4]]]}),
    'one that touches it' => qq("vector":{$S:[5,[[6,7]]]}), 'one that holds it' => qq("vector":{$S:[5,[[5,7]]]}),
    'ranges that overlap' => qq("vector":{$S:[1,[[3,9],[5,12]]]}), 'ranges that touch' => qq("vector":{$S:[1,[[3,4],[5,6]]]}),
    'ranges out of order' => qq("vector":{$S:[1,[[10,12],[3,4]]]}), 'a range twice' => qq("vector":{$S:[1,[[3,4],[3,4]]]}),
    'a range that ends before it begins' => qq("vector":{$S:[1,[[9,3]]]}), 'a range of three' => qq("vector":{$S:[1,[[3,4,5]]]}),
    'a range of one' => qq("vector":{$S:[1,[[3]]]}), 'a negative range' => qq("vector":{$S:[0,[[-9,-3]]]}),
    'a range from below 0' => qq("vector":{$S:[0,[[-1,5]]]}), 'a range beyond 63 bits' => qq("vector":{$S:[0,[[3,$BEYOND]]]}),
    'a range of text' => qq("vector":{$S:[0,[["3","4"]]]}), 'one range too many' => qq("vector":{$S:[0,[@{[ranges(4097)]}]]}),
    '200,000 ranges' => qq("vector":{$S:[0,[@{[ranges(200_000)]}]]}), 'a stream twice' => qq("vector":{$S:[1,[]],$S:[2,[]]}),
    '100,001 streams' => qq("vector":{@{[streams(100_001, '[1,[]]')]}}), 'a bottomless pit' => qq("vector":) . '[' x 100_000,
    'no stream' => qq("vector":{"n2":[1,[]]}), 'a path' => qq("vector":{"../../etc":[1,[]]}), 'ESC' => qq("vector":{"n2/\\u001b[31m/0":[1,[]]}),
    'an epoch of another grammar' => qq("vector":{"n2/all/XX":[1,[]]}), 'a vector as text' => qq("vector":"x"), 'as number' => qq("vector":$HIGHEST),
    'pruned below 0' => qq("vector":{},"pruned":{$S:-1}), 'pruned beyond 63 bits' => qq("vector":{},"pruned":{$S:$BEYOND}),
    'pruned as text' => qq("vector":{},"pruned":{$S:"9"}), 'pruned of no stream' => qq("vector":{},"pruned":{"x":1}),
    'pruned of 100,001 streams' => qq("vector":{},"pruned":{@{[streams(100_001, 1)]}}), 'pruned as array' => qq("vector":{},"pruned":[1]),
    'an empty page' => qq("vector":{},"after":$S,"upto":$S), 'a page backwards' => qq("vector":{},"after":$OTHER,"upto":$S),
    'a stream beyond the page' => qq("vector":{$OTHER:[1,[]]},"upto":$S), 'a bound that is no stream' => qq("vector":{},"after":"x"),
    'a short digest' => qq("digest":"0"), 'a digest that is none' => qq("digest":"@{['g' x 64]}"), 'no digest' => qq("x":1),
    'from itself' => qq({"sync":{"from":"n1","digest":"$WRONG"}}\n), 'from a stranger' => qq({"sync":{"from":"n9","digest":"$WRONG"}}\n),
    'calls in a question' => qq({"sync":{"from":"n2","digest":"$WRONG"}}\n{"id":"behind","function":"runlog.note"}\n),
);

subtest 'threat 25: questions' => sub {
    my $fleet = Fleet->new(nodes => 2, directives => "ServicelessSyncInterval 0\nServicelessMaxBody 8m\n");
    my $node = $fleet->node('n1')->start;
    is($node->call('runlog.note', ['x'])->{status}, 200, 'a call');
    my ($peak, $slowest, @names) = (peak($node), 0, sort keys %bad);
    my @answers = leaves_nothing($node, 'message', 'all of them', sub {
        return map {
            my $body = sync($bad{$_});
            my ($took, $answer) = spent($node, sub { $node->post($body, type => $TYPE) });
            $slowest = $took if $took > $slowest;
            $answer;
        } @names;
    });
    is_refusal($answers[$_], 400, $names[$_]) for 0 .. $#names;
    cmp_ok($slowest, '<', $QUICK, "the slowest took $slowest s of the processor");
    note(sprintf 'the largest process: %.1f MiB before, %.1f MiB after', $peak, peak($node));
    grew_less(peak($node) - $peak, $GROWS, 'the memory is bounded');
    is($node->call('runlog.note', ['x'])->{status}, 200, 'it lives');
    tells_refusals($node, 'message');
};

subtest 'threat 25: what is as large as it may be' => sub {
    my $fleet = Fleet->new(nodes => 2, directives => "ServicelessSyncInterval 0\n");
    my $node = $fleet->node('n1')->start;
    is($node->call('runlog.note', ['x'])->{status}, 200, 'a call');
    my @children = $node->children;
    my ($peak, $log) = (peak($node), log_of($node));
    my %large = ('the highest number' => qq("vector":{$S:[$HIGHEST,[]]}), 'ranges to the highest' => qq("vector":{$S:[0,[[3,$HIGHEST]]]}),
                 '4,096 ranges' => qq("vector":{$S:[0,[@{[ranges(4096)]}]]}), 'thousands of streams' => qq("vector":{@{[streams($STREAMS, '[1,[]]')]}}),
                 'all pruned' => qq("vector":{$S:[$HIGHEST,[]]},"pruned":{$S:$HIGHEST}));
    my $ask = sub {
        my ($name) = @_;
        my ($took, $answer) = spent($node, sub { $node->post(sync($large{$name}), type => $TYPE) });
        is($answer->{status}, 200, "$name: answered");
        cmp_ok($took, '<', $QUICK, "$name: with $took s of the processor");
    };
    $ask->($_) for sort keys %large;
    my $once = peak($node);
    $ask->('thousands of streams') for 1 .. $AGAIN;
    note(sprintf 'the largest process: %.1f MiB before, %.1f MiB after, %.1f MiB after %d more', $peak, $once, peak($node), $AGAIN);
    my $message = length($large{'thousands of streams'}) / (1 << 20);
    grew_less($once - $peak, $FACTOR * $message, 'the memory is bounded by the size of a message');
    grew_less(peak($node) - $peak, $FACTOR * $message * (1 + $AGAIN), 'for each thread that has read one');
    ok(log_of($node) eq $log, 'the log is as before');
    is($node->post(sync('"done":true'), type => $TYPE)->{status}, 204, 'farewell');
    my %now = map { $_ => 1 } $node->children;
    is_deeply([grep { !$now{$_} } @children], [], 'no child was lost') if $fleet->{mpm} ne 'prefork'; # which ends idle ones
};

subtest 'threat 25: numbers of its own calls that it never made' => sub {
    my $fleet = Fleet->new(nodes => 2, directives => "ServicelessSyncInterval 0\n");
    my $node = $fleet->node('n1')->start;
    my @ids = map { $node->call('runlog.note', ['own'])->{json}{id} } 1 .. 10;
    for my $turn (1 .. $EPOCHS) {
        my $epoch = $node->status->{epoch};
        $node->post(sync(qq("vector":{"n1/all/$epoch":[$HIGHEST,[]]})), type => $TYPE)->{status} == 200 or fail('the answer');
        push @ids, $node->call('runlog.note', ["epoch $turn"])->{json}{id};
    }
    eventually { $node->status->{log}{pending} == 0 } 20, 'all calls end';
    is_deeply([map { $node->runs($_) } @ids], [(1) x @ids], 'each ran once');
    cmp_ok($node->status->{log}{calls}, '<=', @ids * 2, 'the log holds no more than it must: ' . $node->status->{log}{calls} . ' entries');
    cmp_ok($node->status->{log}{bytes}, '<', 8 << 20, 'and is small: ' . $node->status->{log}{bytes});
};

subtest 'threat 25: answers' => sub {
    my $fleet = Fleet->new(nodes => 2, directives => "ServicelessSyncInterval 1s\nServicelessConnectTimeout 2s\n");
    my $node = $fleet->node('n1');
    my @names = ('a range beyond 63 bits', 'a watermark below 0', 'ranges that overlap', 'ranges out of order', '200,000 ranges');
    my ($at, $id, $ran) = (0);
    my $played = Played->new(name => 'n2', port => $fleet->node('n2')->port, secret => $fleet->{secret});
    $played->answer_with(sub {
        my ($request) = @_;
        return $played->acknowledgement($request) if $request->{body} =~ /^\{"relay"/;
        return $played->acknowledgement($request, status => '204 No Content', body => '') if $request->{body} =~ /"done":true/;
        my $line = json({id => make_id(), function => 'runlog.note', args => ['behind'], kwargs => {}, origin => 'n2', set => 'all',
                         epoch => '00000000000000aa', seq => 1, issued => int(time * 1000), ttl => 600});
        return $played->acknowledgement($request, status => '200 OK', body => sync($bad{$names[$at++ % @names]}) . "$line\n");
    });
    $node->start;
    my $peak = peak($node);
    $played->serve(15, sub { $at >= @names });
    cmp_ok($at, '>=', @names, "$at times it asked");
    my ($member) = grep { $_->{name} eq 'n2' } @{$node->status->{members}};
    cmp_ok($member->{syncs}{failed}, '>=', $at - 1, 'each time the sync failed');
    is($member->{syncs}{exchanged} + $member->{syncs}{equal} + $member->{syncs}{partial}, 0, 'and never went well');
    is($node->runs, 0, 'what stood behind such a line did not run');
    is(log_of($node), '', 'nor is it in the log');
    is($node->status->{missed}, 0, 'and nothing is missed');
    grew_less(peak($node) - $peak, $GROWS, 'the memory is bounded');
    is($node->call('runlog.note', ['x'])->{status}, 200, 'it lives');
    unlike($node->error_log, qr/[^\x20-\x7e\n]/, 'and logs no raw bytes');
};

done_testing;
