# SPDX-License-Identifier: Apache-2.0
# MPMs: event prefork
# What is said on the wire between two nodes that sync: one of them, or both of n2 and n3, are played by this test.
use strict;
use warnings;
use Client qw(json make_id);
use Digest::SHA qw(sha256_hex);
use Fleet;
use JSON::PP ();
use Played;
use Test::More;
use Time::HiRes qw(time);

my $TYPE = 'application/x-ndjson';
my $WRONG = '0' x 64; # a digest that no vector has
my $LEASE = 2;        # seconds that a place for transfers is kept for a silent peer
my $QUIET = "ServicelessSyncInterval 0\n";
my $OFTEN = "ServicelessSyncInterval 1s\nServicelessConnectTimeout 1s\n";
my $epochs = 0;

sub epoch { return sprintf '%016x', int(time * 1000) * 1000 + ++$epochs }

sub line {
    my ($stream, $seq, %o) = @_;
    my ($origin, $set, $epoch) = split m{/}, $stream;
    return json({id => make_id(), function => 'runlog.note', args => [$seq], kwargs => {}, origin => $origin, set => $set, epoch => $epoch,
                 seq => $seq, issued => int(time * 1000), ttl => 600, %o}) . "\n";
}

sub sync { return json({sync => {from => 'n2', @_}}) . "\n" }

sub ask {
    my ($node, %sync) = @_;
    my $answer = $node->post(sync(%sync), type => $TYPE);
    ($answer->{sync}, my @calls) = split /\n/, $answer->{body};
    $answer->{sync} = $answer->{status} == 200 ? JSON::PP::decode_json($answer->{sync})->{sync} : undef;
    $answer->{calls} = \@calls;
    return $answer;
}

sub told {
    my ($answer, $status, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return is("$answer->{status} " . ($answer->{signed} ? 'signed' : 'unsigned'), "$status signed", $name) || diag($answer->{body});
}

sub part {
    my ($request) = @_;
    return JSON::PP::decode_json($request->{body} =~ s/\n.*//sr)->{sync};
}

# A played node that answers sync as $say->($sync) tells: undef is busy, '' 204, else the answer's body.
sub play {
    my ($fleet, $name, $say) = @_;
    my $played = Played->new(name => $name, port => $fleet->node($name)->port, secret => $fleet->{secret});
    $played->answer_with(sub {
        my ($request) = @_;
        return $played->acknowledgement($request) if $request->{body} =~ /^\{"relay"/;
        my $sync = part($request);
        my $body = $sync->{done} ? '' : $say->($sync);
        return $played->acknowledgement($request, status => '503 Busy', body => '') unless defined $body;
        return $played->acknowledgement($request, status => $body eq '' ? '204 No Content' : '200 OK', body => $body);
    });
    return $played;
}

sub serve_until {
    my ($seconds, $enough, @played) = @_;
    my $deadline = time + $seconds;
    while (time < $deadline) {
        $_->serve(0.1, sub { 1 }) for @played;
        my $value = $enough->();
        return $value if $value;
    }
    return 0;
}

subtest 'a digest, a vector, and what lacks' => sub {
    my $fleet = Fleet->new(nodes => 2, directives => $QUIET);
    my $node = $fleet->node('n1')->start;
    my $stream = 'n2/all/' . epoch();
    is($node->relay('n2', [], [map { line($stream, $_) =~ s/\n//r } 1, 2, 4, 5])->{json}{accepted}, 4, 'it has some calls');
    my $answer = ask($node, digest => $WRONG);
    told($answer, 200, 'another digest: the vector');
    is_deeply($answer->{sync}{vector}, {$stream => [2, [[4, 5]]]}, 'it is right');
    is(@{$answer->{calls}}, 0, 'without calls: it knows nothing of the asker yet');
    told(ask($node, digest => sha256_hex(json($answer->{sync}{vector}))), 204, 'the same digest: nothing to say');
    is(@{ask($node, vector => {})->{calls}}, 0, 'calls that are young are left to relay');
    eventually { @{ask($node, vector => {})->{calls}} == 4 } 5, 'older ones are sent';
    my @seqs = map { JSON::PP::decode_json($_)->{seq} } @{ask($node, vector => {$stream => [1, [[5, 5]]]})->{calls}};
    is("@seqs", '2 4', 'of them what lacks');
    is(@{ask($node, vector => {}, after => $stream)->{calls}}, 0, 'within the page');
    my $count = 3000;
    for my $part (0 .. 2) {
        my @lines = map { line("n2/all/" . sprintf('%016x', $_), 1) =~ s/\n//r } $part * 1000 + 1 .. $part * 1000 + 1000;
        is($node->relay('n2', [], \@lines)->{json}{accepted}, 1000, 'a thousand streams more');
    }
    my ($after, %all, $pages);
    do {
        $answer = ask($node, digest => $WRONG, vector => {}, $after ? (after => $after) : ());
        $all{$_}++ for keys %{$answer->{sync}{vector}};
        cmp_ok(length($answer->{body} =~ s/\n.*//sr), '<', 65536, 'a page is bounded');
        $after = $answer->{sync}{upto};
        $pages++;
    } while ($after);
    is(keys %all, $count + 1, "$pages pages tell all streams");
    is((grep { $_ > 1 } values %all), 0, 'each once');
    told(ask($node, done => JSON::PP::true), 204, 'farewell');
};

subtest 'one transfer at a time' => sub {
    my $fleet = Fleet->new(nodes => 3, directives => $QUIET);
    my $node = $fleet->node('n1')->start;
    $node->relay('n2', [], [line('n2/all/' . epoch(), 1) =~ s/\n//r]);
    told(ask($node, digest => $WRONG), 200, 'n2 comes first');
    told(ask($node, digest => $WRONG, from => 'n3'), 503, 'n3 is told that it is busy');
    told(ask($node, digest => $WRONG), 200, 'n2 may go on');
    told(ask($node, done => JSON::PP::true), 204, 'and ends');
    my $answer = ask($node, digest => $WRONG, from => 'n3');
    told($answer, 200, 'then n3 may');
    my $start = time;
    told(ask($node, digest => sha256_hex(json($answer->{sync}{vector}))), 204, 'equal vectors are never busy');
    eventually { ask($node, digest => $WRONG)->{status} == 200 } 10, 'n3 falls silent: n2 may transfer in the end';
    cmp_ok(time - $start, '>=', $LEASE - 0.1, 'but not before its lease is over');
};

subtest 'bad lines among 256 are refused, and no other' => sub {
    my $fleet = Fleet->new(nodes => 2, directives => $OFTEN);
    my $node = $fleet->node('n1')->start;
    my $stream = 'n2/all/' . epoch();
    my @calls = map { line($stream, $_) } 1 .. 256;
    $calls[99] = line($stream, 100, args => 'no array'); # has a number: covered, refused
    $calls[199] = "garbage\n";                           # has none
    my $last;
    my $played = play($fleet, 'n2', sub {
        my ($sync) = @_;
        my $theirs = $sync->{vector} ? $sync->{vector}{$stream} // [0, []] : undef;
        $last = $theirs if $theirs;
        return sync(digest => $WRONG, vector => {$stream => [256, []]}) . ($theirs ? join '', $theirs->[0] ? $calls[199] : @calls : '');
    });
    ok(serve_until(15, sub { $node->runs == 254 && $last && $last->[0] }, $played), '254 calls run');
    is_deeply($last, [199, [[201, 256]]], 'what had a number is covered, and only the garbage is asked for again');
    eventually { $node->status->{log}{pending} == 0 } 5, 'nothing is left behind';
    like($node->error_log, qr/SVL0151: refused: /, 'and the log says so');
};

subtest 'equal vectors cost one small request, whatever their size' => sub {
    my $fleet = Fleet->new(nodes => 2, directives => $OFTEN);
    my $node = $fleet->node('n1')->start;
    my $played = play($fleet, 'n2', sub { '' });
    for my $count (10, 1000) {
        @{$played->{requests}} = ();
        my @lines = map { line('n2/all/' . sprintf('%016x', $_), 1) =~ s/\n//r } 1 .. $count;
        $node->relay('n2', [], \@lines);
        ok(serve_until(10, sub { grep { $_->{body} =~ /"sync"/ } @{$played->{requests}} }, $played), 'it asks');
        my ($request) = grep { $_->{body} =~ /"sync"/ } @{$played->{requests}};
        ok($request->{signed}, 'signed');
        my $headers = $request->{headers};
        my $bytes = length("POST $request->{path} HTTP/1.1\r\n\r\n") + length $request->{body};
        $bytes += 4 + length($_) + length $headers->{$_} for keys %$headers;
        cmp_ok($bytes, '<', 600, "$count streams: $bytes bytes, of which the body " . length $request->{body});
    }
};

subtest 'what no living node holds any more is missed, once all of them were heard' => sub {
    my $fleet = Fleet->new(nodes => 3, directives => $OFTEN);
    my $node = $fleet->node('n1')->start;
    my $stream = 'n2/all/' . epoch();
    my $n3_speaks = 0;
    my $n2 = play($fleet, 'n2', sub { sync(digest => $WRONG, vector => {$stream => [100, []]}, pruned => {$stream => 100}) });
    my $n3 = play($fleet, 'n3', sub {
        my ($sync) = @_;
        return undef unless $n3_speaks;
        my $theirs = $sync->{vector}{$stream} // [0, []];
        my @lacks = grep { my $n = $_; $n > $theirs->[0] && !grep { $_->[0] <= $n && $n <= $_->[1] } @{$theirs->[1]} } 51 .. 100;
        return sync(from => 'n3', digest => $WRONG, vector => {$stream => [100, []]}, pruned => {$stream => 50})
            . ($sync->{vector} ? join '', map { line($stream, $_) } @lacks : '');
    });
    my $asked = sub { scalar grep { $_->{body} =~ /^\{"sync"/ } @{$_[0]{requests}} };
    ok(serve_until(15, sub { $asked->($n2) > 1 && $asked->($n3) > 1 }, $n2, $n3), 'n2 was heard, n3 is busy');
    is($node->status->{missed}, 0, 'so nothing is given up: n3 may have them');
    $n3_speaks = 1;
    ok(serve_until(15, sub { $node->status->{missed} }, $n2, $n3), 'n3 speaks');
    is($node->status->{missed}, 50, 'what n3 held no more either is missed');
    eventually { $node->runs == 50 } 5, 'what it held has run';
    like($node->error_log, qr/SVL0176: 50 calls of \Q$stream\E up to number 100 are missed/, 'the log says so');
    like($node->error_log, qr/mod_runlog: runlog\.note missed 50 calls/, 'the function was told');
    is(scalar(() = $node->error_log =~ /mod_runlog: runlog\.note missed/g), 1, 'once');
};

done_testing;
