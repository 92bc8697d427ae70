# SPDX-License-Identifier: Apache-2.0
# The C interface, as a companion sees it: t/companions/mod_caller.c tells what it got.
use strict;
use warnings;
use Client qw(json make_id);
use OneServer;
use Poll;
use Test::More;

my ($SUCCESS, $EEXIST, $EINVAL, $NOTFOUND) = (0, 17, 22, 70015); # of apr_errno.h, on Linux
my $client = client();

sub query {
    my ($host, %o) = @_;
    my $escaped = sub { return $_[0] =~ s/([^\w.-])/sprintf '%%%02X', ord $1/ger };
    my $query = join '&', map { "$_=" . $escaped->(ref $o{$_} ? json($o{$_}) : $o{$_}) } sort keys %o;
    my $answer = client($host eq 'main' ? () : (port => port_of($host)))->get("/caller?$query");
    return $answer->{json} // {status => "none: $answer->{status} $answer->{body}"};
}

# A call by the companion, in the main server.
sub calls { return query('main', @_) }

subtest 'a companion registers functions, and is told what is wrong with others' => sub {
    my %expected = ('good' => 'APR_SUCCESS', 'again' => 'APR_EEXIST', 'before child_init' => 'APR_EINIT',
                    'scope child' => 'APR_SUCCESS', 'nested' => 'APR_SUCCESS');
    $expected{$_} = 'APR_EINVAL' for 'bad name', 'no name', 'reserved name', 'no function', 'bad mode', 'bad set', 'bad scope';
    is_deeply($client->get('/caller?registrations')->{json}, \%expected, 'each status');
    is($client->call('caller.nothing', [])->{json}{outcome}, 'ok', 'the good one can be called');
    for my $name (qw(serviceless.mine caller.none caller.mode caller.nodes caller.scope)) {
        is($client->call($name, [])->{status}, 404, "$name cannot");
    }
};

subtest 'a call runs here and tells its outcome' => sub {
    my $told = calls(function => 'example.sum', args => [1, 2], kwargs => {x => 3.5});
    is_deeply([@{$told}{qw(status outcome result detail)}], [$SUCCESS, 'ok', 6.5, undef], 'status, outcome, result');
    like($told->{id}, qr/^[A-Za-z0-9_-]{1,64}\z/, 'an id of its own');
    isnt(calls(function => 'example.sum')->{id}, $told->{id}, 'another one each time');
    $told = calls(function => 'example.echo');
    is_deeply($told->{result}, {args => [], kwargs => {}}, 'args and kwargs that are NULL are empty');
    $told = calls(function => 'runlog.note', args => ['by a companion']);
    my ($run) = runs_of($told->{id});
    is("@{$run}{qw(node origin function args)}", 'one one runlog.note ["by a companion"]',
       'it ran, with this node as its origin');
    $told = calls(function => 'caller.nothing');
    is_deeply([@{$told}{qw(status outcome result)}], [$SUCCESS, 'ok', undef],
              'a result that is null; allow= binds keys, not companions');
};

subtest 'a function that fails is a call that succeeded' => sub {
    my $told = calls(function => 'example.fail', args => ['the words']);
    is_deeply([@{$told}{qw(status outcome detail result)}], [$SUCCESS, 'error', 'the words', undef],
              'outcome error and its words');
};

subtest 'an id is given, and repeated' => sub {
    my $id = make_id();
    my @call = (function => 'runlog.note', args => [{a => 1}], id => $id);
    is_deeply([@{calls(@call)}{qw(status id outcome result)}], [$SUCCESS, $id, 'ok', [{a => 1}]], 'first');
    is_deeply([@{calls(@call)}{qw(status id outcome result)}], [$SUCCESS, $id, 'ok', [{a => 1}]],
              'again: the recorded outcome');
    is_deeply([@{calls(@call, n => 3)}{qw(status outcome)}], [$SUCCESS, 'ok'], 'and in one request');
    is(runs($id), 1, 'it ran once');
    my $told = calls(@call, args => [{a => 2}]);
    is($told->{status}, $EEXIST, 'other content: APR_EEXIST');
    like($told->{detail}, qr/\Q$id\E/, 'with words');
    is($client->call('runlog.note', [{a => 1}], id => $id)->{json}{duplicate}, JSON::PP::true, 'clients share the ids');
    is($client->call('runlog.note', [{a => 2}], id => $id)->{status}, 409, 'and the conflicts');
    $id = make_id();
    calls(function => 'example.fail', args => ['words'], id => $id);
    is(calls(function => 'example.fail', args => ['words'], id => $id)->{detail}, 'words', 'a recorded failure has its words');
    is_deeply([@{calls(function => 'caller.nothing', n => 50)}{qw(status outcome)}], [$SUCCESS, 'ok'],
              'fifty in one request, each of its own');
};

subtest 'options: set, mode, ttl' => sub {
    my $told = calls(function => 'runlog.note', nodes => 'others');
    is_deeply([@{$told}{qw(status outcome)}], [$SUCCESS, 'accepted'], 'a set without this node');
    is(runs($told->{id}), 0, 'does not run');
    is(calls(function => 'runlog.note', nodes => 'solo')->{outcome}, 'ok', 'a set with it');
    is(calls(function => 'runlog.note', mode => $_)->{outcome}, 'ok', "mode $_") for qw(bounce broadcast tree tree:2);
    is(calls(function => 'runlog.note', ttl => $_)->{outcome}, 'ok', "ttl $_ s") for 1, 86400;
};

subtest 'what no call can carry is refused with a status and words, and remembered by nobody' => sub {
    my $before = runs();
    my @cases = ([$NOTFOUND, function => 'no.such'], [$NOTFOUND, nodes => 'nowhere'], [$EINVAL, function => 'not a name'],
                 [$EINVAL, function => ''],
                 [$NOTFOUND, nodes => 'not a set'], [$EINVAL, mode => 'ring'], [$EINVAL, mode => 'tree:1'],
                 [$EINVAL, id => 'a.b'], [$EINVAL, id => ''],
                 [$EINVAL, id => 'x' x 65], [$EINVAL, ttl => -1], [$EINVAL, ttl => 86401], [$EINVAL, args => {}],
                 [$EINVAL, args => '1'],
                 [$EINVAL, kwargs => []], [$EINVAL, kwargs => '"x"']);
    for (@cases) {
        my ($status, $name, $value) = @$_;
        my $told = calls(function => 'runlog.note', $name => $value);
        is($told->{status}, $status, "$name " . json($value));
        is($told->{outcome}, 'refused', 'outcome refused');
        like($told->{detail}, qr/\w+ \w+/, 'with words');
    }
    is(runs(), $before, 'nothing ran');
};

subtest 'each virtual host has the node that is its own, or the main server\'s' => sub {
    my $told = query('slow', function => 'runlog.note', args => ['inherited']);
    is((runs_of($told->{id}))[0]{node}, 'one', 'without ServicelessNodes: the main server\'s');
    my ($run, undef, $next) = map { (runs_of(query($_, function => 'runlog.note', args => ['own'])->{id}))[0] } qw(other main other);
    is("@{$run}{qw(node origin)}", 'other other', 'with: its own');
    is($next->{seq} - $run->{seq}, 1, 'with numbers of its own');
    my $id = make_id();
    for my $host (qw(main other)) {
        is(query($host, function => 'runlog.note', args => [$host], id => $id)->{status}, $SUCCESS, "ids of its own in $host");
    }
};

subtest 'all nodes can be asked, and each tells' => sub {
    my $id = make_id();
    my $told = calls(function => 'runlog.note', args => ['all'], id => $id, all => 1);
    is($told->{status}, $SUCCESS, 'APR_SUCCESS');
    is_deeply([sort keys %{$told->{outcomes}}], [qw(four one three two)], 'every node');
    is_deeply([@{$told->{outcomes}{one}}{qw(outcome result)}], ['ok', ['all']], 'this one ran it');
    is_deeply([map { $told->{outcomes}{$_}{outcome} } qw(two three)], ['unreachable', 'unreachable'], 'where nobody listens');
    like($told->{outcomes}{two}{detail}, qr/connect/, 'and why');
    is(runs($id), 1, 'it ran once');
    is_deeply(calls(function => 'runlog.note', args => ['all'], id => $id, all => 1, nodes => 'all')->{outcomes}{one}{result}, ['all'],
              'the same id collects again');
    is(runs($id), 1, 'and runs nothing');
    is(calls(function => 'runlog.note', args => ['another'], id => $id, all => 1)->{status}, $EEXIST, 'other content: APR_EEXIST');
    is_deeply([sort keys %{calls(function => 'runlog.note', nodes => 'others', all => 1)->{outcomes}}], [qw(three two)],
              'a set without this node');
    $told = calls(function => 'example.sleep', args => [2], nodes => 'solo', timeout => 0.5, all => 1);
    is($told->{outcomes}{one}{outcome}, 'pending', 'a slow one is pending');
    cmp_ok($told->{micros}, '<', 1_000_000, 'when options->timeout is over');
    is_deeply([@{calls(@$_, all => 1)}{qw(status outcomes)}], [$EINVAL, undef], 'APR_EINVAL: ' . json($_))
        for [function => 'not a name'], [function => 'runlog.note', timeout => -1], [function => 'runlog.note', timeout => 86401];
    is(calls(function => 'no.such', all => 1)->{status}, $NOTFOUND, 'APR_NOTFOUND');
};

subtest 'a run cannot wait for all nodes: it could wait for itself' => sub {
    is_deeply(calls(function => 'caller.nested')->{result}, [JSON::PP::true, JSON::PP::false], 'APR_EDEADLK, in the calling thread');
    is_deeply($client->call('caller.nested', [], reply => 'all', nodes => 'solo')->{json}{result}, [JSON::PP::true, JSON::PP::false],
              'and in a run thread');
    is(calls(function => 'runlog.note', nodes => 'solo', all => 1)->{status}, $SUCCESS, 'afterwards the thread may again');
};

ok(server_lives(), 'the server lives');

done_testing;
