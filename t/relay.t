# SPDX-License-Identifier: Apache-2.0
# Messages of other nodes: one fault refuses one line, and numbers are covered once.
use strict;
use warnings;
use Client qw(json make_id);
use OneServer;
use Poll;
use Test::More;

my $TYPE = 'application/x-ndjson';
my $RETENTION = 24 * 3600; # ServicelessRetention, by default
my $client = client();
my $peer = client(secret => keys_of('peer'));
my $epoch = sprintf '%016x', time * 1000 + $$;
my $number = 0;

# A call line of node two, with a number of its own.
sub line {
    my (%o) = @_;
    return {id => make_id(), function => 'runlog.note', args => ['relayed'], kwargs => {}, origin => 'two', set => 'all',
            epoch => $epoch,
            seq => ++$number, issued => time * 1000, ttl => 600, %o};
}

sub governing {
    my (%o) = @_;
    return {relay => {from => 'two', route => [], arity => 1, %o}};
}

sub lines { return join '', map { (ref $_ ? json($_) : $_) . "\n" } @_ }

# Posts lines; the acknowledgement must be 202, signed by main, and count so many.  Returns its JSON.
sub acknowledged {
    my ($accepted, $duplicates, $name, @lines) = @_;
    my $answer = client()->post(lines(@lines), type => $TYPE);
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    is("$answer->{status} " . ($answer->{signed} ? 'signed' : 'unsigned'), '202 signed',
       "$name: 202, signed") or diag($answer->{body});
    my $ack = ref $answer->{json} eq 'HASH' ? $answer->{json} : {};
    is_deeply([@{$ack}{qw(from accepted duplicates)}], ['one', $accepted, $duplicates],
              "$name: $accepted accepted, $duplicates duplicates")
        or diag($answer->{body});
    return $ack;
}

# A refusal of calls: each id with a status.
sub refuses {
    my ($ack, $name, %status) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    is_deeply({map { $_ => $ack->{refused}{calls}{$_}{status} } keys %{$ack->{refused}{calls}}}, \%status,
              "$name: refused as such")
        or diag(json($ack));
    ok(!(grep { !length($_->{detail} // '') } values %{$ack->{refused}{calls}}), "$name: with words");
    return;
}

subtest 'calls of a message run here' => sub {
    my @calls = map { line(args => [$_]) } 1 .. 3;
    my $ack = acknowledged(3, 0, 'three calls', governing(), @calls);
    is_deeply($ack, {from => 'one', accepted => 3, duplicates => 0}, 'no word of refusals when there are none');
    for my $call (@calls) {
        eventually { return runs($call->{id}) } 10, 'runs';
        my ($run) = runs_of($call->{id});
        is("@{$run}{qw(node origin seq args)}", "one two $call->{seq} " . json($call->{args}), 'with its origin and number');
    }
    acknowledged(0, 3, 'the same again', governing(), @calls);
    acknowledged(0, 0, 'no call', governing());
    my $answer = $peer->post(lines(governing(), line()) =~ s/\n\z//r, type => $TYPE);
    is($answer->{json}{accepted}, 1, 'the last newline may lack; a key that may only relay may relay');
    is(scalar(grep { runs($_->{id}) != 1 } @calls), 0, 'each ran once');
};

subtest 'several relay lines share a message' => sub {
    my @calls = map { line() } 1 .. 5;
    acknowledged(5, 0, 'three routes', governing(route => ['three'], arity => 1), @calls[0, 1],
                 governing(route => ['three', 'four'], arity => 0),
                 $calls[2], governing(), @calls[3, 4]);
    eventually { return 5 == grep { runs($_->{id}) == 1 } @calls } 10, 'all run';
    acknowledged(1, 1, 'one id under two of them', governing(route => ['three']), ($calls[0] = line()), governing(), $calls[0]);
    eventually { return runs($calls[0]{id}) } 10, 'runs';
};

subtest 'a bad line refuses itself and no other' => sub {
    my @calls = map { line() } 1 .. 256;
    my @sent = @calls;
    $sent[100] = '{"id":"half';
    my $ack = acknowledged(255, 0, 'one of 256 is no JSON', governing(), @sent);
    my ($name) = keys %{$ack->{refused}{calls}};
    like($name, qr/^[A-Za-z0-9_-]{1,64}\z/, 'it is named in the grammar of an id, else no sender takes the answer for one');
    refuses($ack, 'the line', $name => 400);
    eventually { return 255 == grep { runs($_->{id}) } @calls } 20, 'all others run';
    is(runs($calls[100]{id}), 0, 'it does not');
    my %broken = (function => '../x', args => {}, kwargs => [], issued => 'now', ttl => 0);
    for my $member (sort keys %broken) {
        my ($bad, $good) = (line($member => $broken{$member}), line());
        $ack = acknowledged(1, 0, "$member broken", governing(), $bad, $good);
        refuses($ack, $member, $bad->{id} => 400);
        acknowledged(0, 1, 'its number is covered', governing(), line(seq => $bad->{seq}, id => $bad->{id}));
        is(runs($bad->{id}), 0, 'it does not run');
    }
    for my $member (qw(id origin set epoch seq)) {
        my $bad = line();
        delete $bad->{$member};
        $ack = acknowledged(1, 0, "without $member", governing(), $bad, line());
        is((values %{$ack->{refused}{calls}})[0]{status}, 400, 'refused');
    }
    for my $bad ('[]', '"x"', '1', 'null', '{}', json(line(args => [])) . ' x', '[' x 40) {
        $ack = acknowledged(0, 0, "the line $bad", governing(), $bad);
        is((values %{$ack->{refused}{calls}})[0]{status}, 400, 'refused');
    }
};

subtest 'members that this version does not know change nothing' => sub {
    my $call = line(callback => 'http://evil.example/', priority => {high => 1});
    my $relay = governing(hops => 7);
    $relay->{version} = 2;
    acknowledged(1, 0, 'in all lines', $relay, $call);
    eventually { return runs($call->{id}) } 10, 'it runs';
    acknowledged(0, 1, 'the same without them', governing(), {map { $_ => $call->{$_} } grep { !/^[cp]/ } keys %$call});
};

subtest 'what cannot be framed is 400 as a whole' => sub {
    settle();
    my $call = line();
    my @routes = map { [arity => $_] } -1, 10_001, 1.5, '1', undef, JSON::PP::true;
    push @routes, map { [route => $_] } 'three', {three => 1}, undef, ['three', 1], [['three']], [undef],
    [map { 'x' } 1 .. 10_001];
    push @routes, map { [from => $_] } 'one', 'nobody', '', undef, 1, ['two'];
    is_refused(400, "$_->[0] " . substr(json($_->[1]), 0, 40), lines(governing(@$_), $call), type => $TYPE) for @routes;
    my %bad = ('nothing' => '', 'a call first' => lines($call), 'no JSON' => "relay\n", 'an array' => lines([]),
               'another word' => lines({gossip => {}}),
               'relay and sync' => lines({relay => governing()->{relay}, sync => {from => 'two'}}),
               'no from' => lines({relay => {route => [], arity => 1}}),
               'an empty line' => lines(governing(), '', $call), 'an empty line at the end' => lines(governing(), $call, ''),
               'CR' => lines(governing(), $call) =~ s/\n/\r\n/gr,
               'a second sender' => lines(governing(), $call, governing(from => 'three'), line()),
               'a broken second relay line' => lines(governing(), $call, '{"relay":}'),
               'a byte order mark' => "\xef\xbb\xbf" . lines(governing(), $call),
               'sync later' => lines(governing(), $call, '{"relay":{"from":"two","route":[],"arity":1},"sync":{"from":"two"}}'));
    is_refused(400, $_, $bad{$_}, type => $TYPE) for sort keys %bad;
    is(runs($call->{id}), 0, 'nothing of these messages runs');
    acknowledged(1, 0, 'and its number is free', governing(), $call);
    settle();
    is_refused(400, 'a message sent as a call', lines(governing(), line()));
    is_refused(413, 'a message over the limit', lines(governing(), line(args => ['x' x 140_000])), type => $TYPE);
    my @lines = (lines(governing(), line(args => ['x' x 60_000])), lines(line(args => ['y' x 60_000])));
    acknowledged(2, 0, 'one of more than ServicelessMaxBody', map { s/\n\z//r } @lines);
};

subtest 'one id, one content; one number, one id' => sub {
    my $call = line();
    acknowledged(1, 0, 'a call', governing(), $call);
    acknowledged(0, 1, 'the same call under another number (a client tried again elsewhere)', governing(),
                 line(id => $call->{id}));
    acknowledged(0, 1, 'and of another origin', governing(), line(id => $call->{id}, origin => 'three', seq => 1));
    my $other = line(id => $call->{id}, args => ['other']);
    refuses(acknowledged(0, 0, 'other content', governing(), $other), 'conflict', $call->{id} => 409);
    my $thief = line(seq => $call->{seq});
    refuses(acknowledged(0, 0, 'its number under another id', governing(), $thief), 'stream conflict', $thief->{id} => 409);
    eventually { return runs($call->{id}) } 10, 'the first one runs';
    my $mine = make_id();
    is($client->call('runlog.note', ['mine'], id => $mine)->{status}, 200, 'an id that a client used here');
    acknowledged(0, 1, 'and at another node', governing(), line(id => $mine, args => ['mine']));
    refuses(acknowledged(0, 0, 'with other content', governing(), line(id => $mine)), 'conflict', $mine => 409);
    my $theirs = line(args => ['theirs']);
    acknowledged(1, 0, 'an id that another node sent', governing(), $theirs);
    eventually { return runs($theirs->{id}) } 10, 'runs';
    is($client->call('runlog.note', ['theirs'], id => $theirs->{id})->{json}{duplicate}, JSON::PP::true,
       'is a duplicate for a client');
    is($client->call('runlog.note', ['other'], id => $theirs->{id})->{status}, 409, 'or a conflict');
    my $answer = acknowledged(2, 0, 'calls after all this', governing(), line(), line());
    is(join(' ', map { runs($_) } $call->{id}, $mine, $theirs->{id}, $thief->{id}), '1 1 1 0', 'each ran once');
};

sub missed { return $client->get('/serviceless-status?format=json')->{json}{missed} }

subtest 'old lines, expired ones, lines of other sets, functions that are not loaded' => sub {
    my $old = line(issued => (time - $RETENTION - 60) * 1000);
    my $missed = missed();
    my $ack = acknowledged(1, 0, 'issued before the retention', governing(), $old, line());
    refuses($ack, 'too old', $old->{id} => 422);
    is(missed(), $missed + 1, 'it is missed: nobody will send it any more');
    acknowledged(0, 1, 'the same again: its number is known', governing(), $old);
    is(missed(), $missed + 1, 'and not missed again');
    my $young = line(issued => (time - $RETENTION + 3600) * 1000, ttl => 2 * $RETENTION);
    acknowledged(1, 0, 'issued just inside of it', governing(), $young);
    my $expired = line(issued => (time - 100) * 1000, ttl => 99);
    acknowledged(1, 0, 'ttl over', governing(), $expired);
    eventually { return error_log() =~ /call \Q$expired->{id}\E of runlog\.note from two: expired/ } 10, 'the log says expired';
    my $answer = $client->call('runlog.note', ['relayed'], id => $expired->{id});
    is("$answer->{json}{outcome} $answer->{json}{duplicate}", 'expired 1', 'and so does the answer to who asks');
    my ($foreign, $unknown) = (line(set => 'others', seq => 1), line(set => 'nowhere', seq => 1));
    refuses(acknowledged(1, 0, 'sets without this node', governing(), $foreign, $unknown, line()), 'not in the set',
            $foreign->{id} => 409, $unknown->{id} => 409);
    my $broken = line(set => 'others', seq => 2, function => '../x');
    refuses(acknowledged(0, 0, 'a broken line of such a set', governing(), $broken),
            'not in the set first: its number is not ours to cover',
            $broken->{id} => 409);
    my $missing = line(function => 'no.such', ttl => 3);
    acknowledged(1, 0, 'a function that is not loaded here', governing(), $missing);
    eventually { return error_log() =~ /SVL0340: call \Q$missing->{id}\E from two, and perhaps others, waits/ } 10, 'waits, as the log says';
    acknowledged(0, 1, 'again', governing(), $missing);
    eventually { return runs($young->{id}) } 10, 'the one inside of the retention runs';
    eventually { return error_log() =~ /SVL0342: 1 calls expired/ } 15, 'the one that waited expires';
    is(join(' ', map { runs($_->{id}) } $old, $expired, $foreign, $unknown), '0 0 0 0', 'no other does');
};

subtest 'what says nothing, or asks for what there is not, is refused whole' => sub {
    settle();
    is_refused(400, 'a sync that tells nothing', lines({sync => {from => 'two', digest => 'x'}}), type => $TYPE);
    my $call = line();
    is_refused(400, "reply $_", lines(governing(reply => $_, timeout_ms => 1), $call), type => $TYPE) for 'all', '';
    acknowledged(1, 0, 'its number is free', governing(), $call);
};

ok(server_lives(), 'the server lives');

done_testing;
