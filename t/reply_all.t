# SPDX-License-Identifier: Apache-2.0
# Reply all: the caller hears of every node, with a cause where one has not answered, and never after the deadline.  The test plays node
# four; nobody listens at two and three.
use strict;
use warnings;
use Client qw(json make_id);
use OneServer;
use Played;
use Poll;
use Test::More;
use Time::HiRes qw(time);

my $SLACK = 0.5; # seconds over a deadline, of a busy machine
my $TYPE = 'application/x-ndjson';
my $epoch = sprintf '%016x', time * 1000 + $$;
my $number = 0;
my $four = Played->new(name => 'four', port => $ENV{SVL_PLAYED_PORT}, secret => keys_of('main'));

# The request to node four that asks for the outcome of this call.
sub asked {
    my ($id) = @_;
    return (grep { $_->{body} =~ /"reply":"outcome"/ && $_->{body} =~ /"id":"\Q$id\E"/ } @{$four->{requests}})[-1];
}

# An answer of node four, as bytes: an outcome document, signed, unless the options of Played::acknowledgement say otherwise.
sub told {
    my ($outcome, %o) = @_;
    return sub { $four->acknowledgement($_[0], status => '200 OK', body => json({from => 'four', %$outcome}), %o) };
}

# A call with reply all, while node four answers with $o{four}.  The answer also has `took`, in seconds.
sub ask {
    my ($function, $args, %o) = @_;
    my $id = delete $o{id} // make_id();
    my $client = client(%{delete $o{client} // {}});
    my $answers = delete $o{four};
    $four->answer_with(sub { $_[0]{body} =~ /"reply":"outcome"/ ? $answers->($_[0]) : $four->acknowledgement($_[0]) });
    @{$four->{requests}} = ();
    my $start = time;
    $client->begin($client->message($client->call_body($function, $args, reply => 'all', %o), id => $id), id => $id);
    $four->serve(10, sub { asked($id) }) if $answers;
    my $answer = $client->finish;
    return {%$answer, took => time - $start, id => $id};
}

my $fine = told({outcome => 'ok', result => {x => [1, 2.5]}, ms => 0.25});

subtest 'every node of the set is in the answer' => sub {
    my $answer = ask('example.sum', [1, 2, 3], four => $fine);
    is($answer->{status}, 200, 'status');
    ok($answer->{signed}, 'signed');
    is($answer->{headers}{'content-type'}, 'application/json', 'content type');
    is_deeply([@{$answer->{json}}{qw(id node outcome result)}], [$answer->{id}, 'one', 'ok', 6], 'with what this node has to say');
    my %outcomes = %{$answer->{json}{outcomes}};
    is_deeply([sort keys %outcomes], [qw(four one three two)], 'the four nodes');
    is_deeply([@{$outcomes{one}}{qw(outcome result)}], ['ok', 6], 'the own outcome');
    like($outcomes{one}{ms}, qr/^[0-9.]+\z/, 'and how long that took');
    is_deeply($outcomes{four}, {outcome => 'ok', result => {x => [1, 2.5]}, ms => 0.25}, 'that of a node which answered');
    for my $node (qw(two three)) {
        is($outcomes{$node}{outcome}, 'unreachable', "where nobody listens: $node");
        like($outcomes{$node}{detail}, qr/connect/, 'and why');
    }
    like($answer->{body}, qr/^\{"id":"\S+","node":"one","outcome":"ok","result":6,"outcomes":\{"one":\{.*"two":.*"three":.*"four":/,
         'in the order of the configuration');
};

subtest 'each is asked straight, with the line of the log and less time than there is' => sub {
    my $answer = ask('example.echo', ['/a'], four => $fine, timeout => 3, mode => 'bounce', ttl => 77);
    my $request = asked($answer->{id}) or return fail('node four was asked');
    ok($request->{signed}, 'signed');
    my ($relay, @lines) = split /\n/, $request->{body};
    like($relay, qr/^\{"relay":\{"from":"one","route":\[\],"arity":0,"reply":"outcome","timeout_ms":(\d+)\}\}\z/, 'the relay line');
    cmp_ok($relay =~ /(\d+)\}\}\z/ && $1, '<', 3000, 'less than the deadline');
    cmp_ok($relay =~ /(\d+)\}\}\z/ && $1, '>', 2000, 'but most of it');
    is(scalar @lines, 1, 'one call');
    like($lines[0], qr/^\{"id":"\Q$answer->{id}\E","function":"example\.echo","args":\["\/a"\],"kwargs":\{\},"origin":"one","set":"all",
         "epoch":"[0-9a-f]{16}","seq":\d+,"issued":\d{13},"ttl":77\}\z/x, 'as it is in the log');
};

subtest 'a set is who is asked' => sub {
    my $answer = ask('example.sum', [1], nodes => 'solo');
    is_deeply([keys %{$answer->{json}{outcomes}}], ['one'], 'this node alone');
    $answer = ask('example.sum', [1], nodes => 'others');
    is_deeply([@{$answer->{json}}{qw(outcome result)}], ['accepted', undef], 'a set without this node: accepted');
    is_deeply([sort keys %{$answer->{json}{outcomes}}], [qw(three two)], 'and not among the outcomes');
};

subtest 'what fails here has its words, and what hangs here is pending at the deadline' => sub {
    my $answer = ask('example.fail', ['the words'], nodes => 'solo');
    is_deeply([@{$answer->{json}}{qw(outcome detail)}], ['error', 'the words'], 'error');
    is_deeply([@{$answer->{json}{outcomes}{one}}{qw(outcome detail)}], ['error', 'the words'], 'in both places');
    my $id = make_id();
    $answer = ask('example.sleep', [2], nodes => 'solo', timeout => 0.5, id => $id);
    is($answer->{status}, 200, 'a slow one is answered');
    is_deeply([map { $_->{outcome} } $answer->{json}, $answer->{json}{outcomes}{one}], ['pending', 'pending'], 'pending');
    cmp_ok($answer->{took}, '<', 0.5 + $SLACK, 'at the deadline');
    $answer = ask('example.sleep', [2], nodes => 'solo', timeout => 10, id => $id);
    is_deeply([@{$answer->{json}}{qw(outcome result duplicate)}], ['ok', 2, JSON::PP::true], 'asked again, it is waited for');
    cmp_ok($answer->{took}, '<', 5, 'until it has ended and no longer');
};

subtest 'the same id collects again, and runs nothing' => sub {
    my $id = make_id();
    my $first = ask('runlog.note', ['x'], four => told({outcome => 'pending'}), id => $id);
    is($first->{json}{outcomes}{four}{outcome}, 'pending', 'the first time');
    ok(!exists $first->{json}{duplicate}, 'is none');
    my $line = (split /\n/, asked($id)->{body})[1];
    my $again = ask('runlog.note', ['x'], four => $fine, id => $id);
    is_deeply([@{$again->{json}}{qw(outcome result duplicate)}], ['ok', ['x'], JSON::PP::true], 'the second one is');
    is($again->{json}{outcomes}{four}{outcome}, 'ok', 'and has what is known by now');
    is($again->{json}{outcomes}{one}{outcome}, 'ok', 'of this node too');
    is((split /\n/, asked($id)->{body})[1], $line, 'it asked with the same line');
    is(runs($id), 1, 'it ran once');
    is(client()->call('runlog.note', ['x'], id => $id)->{json}{duplicate}, JSON::PP::true, 'whatever the reply');
    is_problem(ask('runlog.note', ['y'], id => $id), 409, 'other content');
    $id = make_id();
    client()->call('runlog.note', ['z'], id => $id, nodes => 'solo');
    is_deeply([sort keys %{ask('runlog.note', ['z'], id => $id)->{json}{outcomes}}], ['one'], 'of a call of another set, the nodes of that');
};

subtest 'what is refused is refused before anybody hears of it' => sub {
    my @refused = ([404, 'no.such', {}], [400, 'runlog.note', {nodes => 'nowhere'}], [400, 'runlog.note', {timeout => 0}],
                   [400, 'runlog.note', {ttl => 86401}]);
    for (@refused) {
        my ($status, $function, $more) = @$_;
        my $answer = is_refused($status, "$function " . json($more), client()->call_body($function, [], reply => 'all', %$more));
        ok($answer->{signed}, 'signed');
    }
    is_refused(403, 'another key', client()->call_body('caller.nothing', [], reply => 'all'), secret => keys_of('picky'));
};

# Row 21 of the threats: what a peer may answer.
subtest 'what a peer answers is bounded, verified, and told as what it is' => sub {
    my $problem = json({type => 'about:blank', title => 'Forbidden', status => 403, detail => "not \e[m here"});
    my $refusal = sub { my %o = @_; return sub { $four->acknowledgement($_[0], status => '403 Forbidden', body => $problem, %o) } };
    my %cases = (
        'an error' => [told({outcome => 'error', detail => 'its "words"'}), 'error', qr/^its "words"\z/],
        'an unknown function' => [told({outcome => 'unknown-function', detail => 'not here'}), 'unknown-function', qr/^not here\z/],
        'expired' => [told({outcome => 'expired'}), 'expired', undef],
        'quarantined' => [told({outcome => 'quarantined'}), 'quarantined', undef],
        'a line refused' => [told({outcome => 'refused', detail => 'not in set'}), 'refused', qr/^not in set\z/],
        'an outcome that nobody knows' => [told({outcome => 'postponed'}), 'unknown', qr/postponed/],
        'that it cannot be reached' => [told({outcome => 'unreachable'}), 'unknown', qr/unreachable/],
        'a refusal, signed' => [$refusal->(), 'refused', qr/^it answered 403: not \\x1b\[m here\z/],
        'a refusal, unsigned' => [$refusal->(unsigned => 1), 'unknown', qr/403, not signed.*Require/],
        'a refusal signed by a key that may not relay' => [$refusal->(secret => keys_of('caller')), 'unknown', qr/403, not signed/],
        '401' => [$refusal->(status => '401 No', unsigned => 1), 'unknown', qr/401, not signed as it should be; compare keys and clocks\z/],
        '503' => [$refusal->(status => '503 Busy'), 'unknown', qr/^it answered 503: not/],
        'unsigned' => [told({outcome => 'ok'}, unsigned => 1), 'unknown', qr/signed/],
        'signed by a key that may not relay' => [told({outcome => 'ok'}, secret => keys_of('caller')), 'unknown', qr/signed/],
        'signed by a stranger' => [told({outcome => 'ok'}, secret => keys_of('other')), 'unknown', qr/signed/],
        'for another request' => [told({outcome => 'ok'}, id => make_id() . ':four'), 'unknown', qr/signed/],
        'of another node' => [told({outcome => 'ok'}, name => 'two'), 'unknown', qr/signed/],
        'in another\'s name' => [told({outcome => 'ok', from => 'two'}), 'unknown', qr/no outcome/],
        'an acknowledgement' => [sub { $four->acknowledgement($_[0]) }, 'unknown', qr/no outcome/],
        'no JSON' => [told({}, body => '{'), 'unknown', qr/no outcome/],
        'nothing' => [told({}, body => ''), 'unknown', qr/no outcome/],
        'a result nested too deep' => [told({}, body => '{"from":"four","outcome":"ok","result":' . '[' x 29 . ']' x 29 . '}'), 'unknown', qr/nested/],
        'a redirect' => [told({outcome => 'ok'}, status => '302 Found', headers => ['Location: http://127.0.0.1:9/x']), 'unknown', qr/no outcome/],
        'endless headers' => [sub { "HTTP/1.1 200 OK\r\nX: " . 'y' x 200_000 }, 'unknown', qr/too large|\w+/],
        'a body beyond the bound' => [sub { "HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n" . 'y' x 500_000 }, 'unknown', qr/too large/],
        'half a body' => [sub { "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{" }, 'unknown', qr/\w/],
        'no HTTP' => [sub { "SSH-2.0-x\r\n" }, 'unknown', qr/\w/],
        'closed without a word' => [sub { '' }, 'unknown', qr/\w/],
        'silence' => [sub { undef }, 'unknown', qr/not answered within \d+ ms/],
    );
    for my $name (sort keys %cases) {
        my ($answers, $outcome, $detail) = @{$cases{$name}};
        my $answer = ask('example.sum', [1], four => $answers, timeout => 1.5);
        my $told = ref $answer->{json} eq 'HASH' ? $answer->{json}{outcomes}{four} : {outcome => $answer->{body} || $answer->{error}};
        is($told->{outcome}, $outcome, "$name: $outcome");
        like($told->{detail} // 'none', $detail // qr/^none\z/, "$name: in words");
        is($answer->{json}{outcome}, 'ok', "$name: the own outcome is there");
        cmp_ok($answer->{took}, '<', 1.5 + $SLACK, "$name: by the deadline");
    }
    my $large = 'x' x 65_000;
    is(ask('example.sum', [1], four => told({outcome => 'ok', result => $large}))->{json}{outcomes}{four}{result}, $large,
       'a result of almost ServicelessMaxBody fits');
};

subtest 'a client in a hurry does not make a node count as down' => sub {
    my $up = sub { client()->get('/serviceless-status?format=prometheus')->{body} =~ /^serviceless_peer_up\{[^}]*peer="four"[^}]*\} 1$/m };
    $four->answer_with(undef);
    poll { client()->relay('four', [], []); $four->serve(2, sub { 1 }); $up->() } 20;
    ok($up->(), 'it is up');
    ask('example.sum', [1], four => sub { undef }, timeout => 0.1);
    ok($up->(), 'and still is, when a call with a short timeout got no answer');
};

# A call line of node two.
sub line {
    my (%o) = @_;
    return {id => make_id(), function => 'runlog.note', args => ['asked'], kwargs => {}, origin => 'two', set => 'all', epoch => $epoch,
            seq => ++$number, issued => int(time * 1000), ttl => 600, %o};
}

sub message {
    my ($timeout, @lines) = @_;
    return join '', map { json($_) . "\n" } {relay => {from => 'two', route => [], arity => 0, reply => 'outcome', timeout_ms => $timeout}}, @lines;
}

# As node two asks: the outcome document, or the answer where that is none.
sub outcome_of {
    my ($timeout, $line, $name) = @_;
    my $answer = client()->post(message($timeout, $line), type => $TYPE);
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    is("$answer->{status} " . ($answer->{signed} ? 'signed' : 'unsigned'), '200 signed', "$name: answered") or diag($answer->{body});
    is($answer->{json}{from}, 'one', "$name: in its name");
    return $answer->{json};
}

subtest 'asked by another node, this one accepts, runs, and tells' => sub {
    my $line = line();
    my $told = outcome_of(5000, $line, 'a call');
    is_deeply([@{$told}{qw(outcome result)}], ['ok', ['asked']], 'ok and its result');
    like($told->{ms}, qr/^[0-9.]+\z/, 'and how long it took');
    is(runs($line->{id}), 1, 'it ran');
    is_deeply([@{outcome_of(5000, $line, 'again')}{qw(outcome result)}], ['ok', ['asked']], 'the recorded outcome');
    is(client()->relay('two', [], [$line])->{json}{duplicates}, 1, 'it is known to the relay as well');
    is(runs($line->{id}), 1, 'it ran once');
    is_deeply([@{outcome_of(5000, line(function => 'example.fail', args => ['w']), 'a failure')}{qw(outcome detail)}], ['error', 'w'], 'error');
    is(outcome_of(5000, line(issued => int(time * 1000) - 100_000, ttl => 1), 'an old call')->{outcome}, 'expired', 'expired');
    $told = outcome_of(5000, line(function => 'no.such'), 'a function that is not here');
    is($told->{outcome}, 'unknown-function', 'unknown-function');
    like($told->{detail}, qr/waits/, 'which says what becomes of it');
    my $start = time;
    $line = line(function => 'example.sleep', args => [1.5]);
    is(outcome_of(300, $line, 'a slow one')->{outcome}, 'pending', 'pending');
    cmp_ok(time - $start, '<', 0.3 + $SLACK, 'when the time is over');
    is(outcome_of(0, $line, 'no time at all')->{outcome}, 'pending', 'pending, at once');
    is(outcome_of(5000, $line, 'with more time')->{outcome}, 'ok', 'ok, when it has ended');
};

subtest 'asked by another node, a line that it does not take is refused as such' => sub {
    my $known = line();
    outcome_of(5000, $known, 'a call');
    my %refused = ('other content' => line(id => $known->{id}, args => ['other']), 'another id at its number' => {%$known, id => make_id()},
                   'a set that is not here' => line(set => 'nowhere'), 'a set without this node' => line(set => 'others'),
                   'before the retention' => line(issued => int((time - 90_000) * 1000)), 'no function' => line(function => '../x'));
    for my $name (sort keys %refused) {
        my $told = outcome_of(5000, $refused{$name}, $name);
        is($told->{outcome}, 'refused', "$name: refused");
        like($told->{detail} // '', qr/\w/, "$name: with words");
    }
    is_refused(400, 'two calls', message(100, line(), line()), type => $TYPE);
    is_refused(400, 'no call', message(100), type => $TYPE);
    is_refused(400, 'timeout ' . json($_), message($_, line()), type => $TYPE) for -1, 86_400_001, '1', undef;
    is_refused(400, 'from a stranger', message(100, line()) =~ s/"from":"two"/"from":"five"/r, type => $TYPE);
    is_refused(403, 'with a key that may not relay', message(100, line()), type => $TYPE, secret => keys_of('caller'));
    is_refused(401, 'with no key of the ring', message(100, line()), type => $TYPE, secret => keys_of('other'));
};

ok(server_lives(), 'the server lives');

done_testing;
