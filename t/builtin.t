# SPDX-License-Identifier: Apache-2.0
# The module's own functions: what a node tells about itself, its functions, and calls.
use strict;
use warnings;
use Client qw(make_id);
use OneServer;
use Poll;
use Test::More;
use Time::HiRes qw(time);

my $client = client();
my @own = qw(serviceless.functions serviceless.outcome serviceless.ping);

# What a built-in function returns; it has to be ok.
sub told {
    my ($function, @args) = @_;
    my $answer = $client->call($function, \@args);
    is($answer->{json}{outcome}, 'ok', "$function(@args): ok") or diag($answer->{body});
    return $answer->{json}{result};
}

# A call that a built-in function does not take: outcome error with such words.
sub is_wrong {
    my ($function, $args, $kwargs, $words, $name) = @_;
    my $answer = $client->call($function, $args, kwargs => $kwargs);
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    is("$answer->{status} $answer->{json}{outcome}", '200 error', "$name: error");
    return like($answer->{json}{detail}, $words, "$name: words");
}

subtest 'serviceless.ping tells who the node is, its clock, and since when it is up' => sub {
    my $before = int(time * 1000);
    my $ping = told('serviceless.ping');
    my $after = int(time * 1000) + 1;
    is(join(' ', sort keys %$ping), 'clock functions httpd mpm node uptime version', 'members');
    is("$ping->{node} $ping->{mpm}", "one $ENV{SVL_TEST_MPM}", 'node and MPM');
    like($ping->{version}, qr/^\d+\.\d+\.\d+/, 'version');
    like($ping->{httpd}, qr{^Apache/2\.\d+\.\d+\S*\z}, 'httpd');
    cmp_ok($ping->{clock}, '>=', $before, 'the clock, in milliseconds');
    cmp_ok($ping->{clock}, '<=', $after, 'of now');
    like($ping->{uptime}, qr/^\d+\z/, 'uptime in whole seconds');
    cmp_ok(abs($ping->{uptime} - $client->get('/serviceless-status?format=json')->{json}{uptime_s}), '<=', 1,
           'as the status page has it');
    is($ping->{functions}, scalar @{told('serviceless.functions')}, 'as many functions as it lists');
    is_wrong('serviceless.ping', [1], {}, qr/serviceless\.ping takes no arguments/, 'an argument');
    is_wrong('serviceless.ping', [], {x => 1}, qr/serviceless\.ping takes no arguments/, 'a keyword argument');
};

subtest 'serviceless.functions lists what can be called here, and how' => sub {
    my $list = told('serviceless.functions');
    my @names = map { $_->{name} } @$list;
    is_deeply(\@names, [sort @names], 'by name');
    my %of = map { $_->{name} => $_ } @$list;
    is_deeply([grep { !$of{$_} } @own, qw(example.sum runlog.note caller.nothing)], [], 'the module\'s own, and those of companions');
    like($of{$_}{summary}, qr/\w/, "$_ has a summary") for @own;
    delete $of{'serviceless.ping'}{summary};
    is_deeply($of{'serviceless.ping'}, {name => 'serviceless.ping', scope => 'node', nodes => 'all', mode => 'bounce',
                                        timeout => 10, on_crash => 'rerun'}, 'the defaults');
    is_deeply([@{$of{'caller.child'}}{qw(scope on_crash)}], ['child', undef], 'what every child process runs is never run again');
    is_deeply([@names], [sort keys %{$client->get('/serviceless-status?format=json')->{json}{functions}}], 'as the status page has them');
    is_wrong('serviceless.functions', ['x'], {}, qr/takes no arguments/, 'an argument');
};

subtest 'serviceless.outcome tells what became of a call here' => sub {
    my $id = make_id();
    my $before = int(time * 1000);
    $client->call('example.sum', [1, 2], id => $id, nodes => 'solo');
    my $after = int(time * 1000) + 1;
    my $told = told('serviceless.outcome', $id);
    is(join(' ', sort keys %$told), 'arrived ended epoch function id issued ms origin outcome result seq set', 'members');
    is_deeply([@{$told}{qw(id function origin set outcome result)}], [$id, 'example.sum', 'one', 'solo', 'ok', 3], 'what it was');
    like($told->{epoch}, qr/^[0-9a-f]{16}\z/, 'epoch');
    cmp_ok($told->{seq}, '>=', 1, 'number');
    cmp_ok($told->{ms}, '>=', 0, 'how long it ran');
    cmp_ok($told->{$_}, '>=', $before, "$_ not before it was called") for qw(issued arrived ended);
    cmp_ok($told->{$_}, '<=', $after, "$_ not after") for qw(issued arrived ended);
    is_deeply($client->call('serviceless.outcome', [], kwargs => {id => $id})->{json}{result}, $told, 'the same by keyword');

    $client->call('example.fail', ['no', "\x{263a}"], id => $id = make_id());
    $told = told('serviceless.outcome', $id);
    is_deeply([@{$told}{qw(outcome detail)}, exists $told->{result}], ['error', "no \x{263a}", ''], 'a failure and its words');
    $client->call('caller.nothing', [], id => $id = make_id());
    $told = told('serviceless.outcome', $id);
    is_deeply([$told->{outcome}, exists $told->{result}], ['ok', ''], 'where allow= limits who may call a function, nothing of its result');
    like($told->{detail}, qr/allow=/, 'but why');
    $client->call('caller.child', [], id => $id = make_id());
    poll { $told = told('serviceless.outcome', $id); $told->{outcome} eq 'ok' } 10;
    is_deeply([$told->{outcome}, exists $told->{result}, $told->{result}], ['ok', 1, undef], 'a result that is null');
    $client->call('runlog.note', [], id => $id = make_id(), nodes => 'others');
    is_deeply([@{told('serviceless.outcome', $id)}{qw(outcome set ended)}], ['accepted', 'others', undef],
              'a call that is not for this node');
};

subtest 'a call that runs is pending, without an end; so is the one that asks' => sub {
    my ($id, $own) = (make_id(), make_id());
    $client->call('runlog.sleep', [2], id => $id, reply => 'accepted');
    eventually { runs($id) } 10, 'it runs';
    my $told = told('serviceless.outcome', $id);
    is_deeply([$told->{outcome}, grep { exists $told->{$_} } qw(result detail ms ended)], ['pending'], 'pending');
    is($client->call('serviceless.outcome', [$own], id => $own)->{json}{result}{outcome}, 'pending', 'of itself');
    eventually { $client->call('serviceless.outcome', [$id])->{json}{result}{outcome} eq 'ok' } 10, 'then ok';
};

subtest 'a result that another answer cannot hold is told about, not told' => sub {
    my ($deep, $large, @ids) = ([], 'x' x 62_000, make_id(), make_id());
    $deep = [$deep] for 2 .. 26; # example.echo returns it two levels deeper, the deepest result that there may be
    is($client->call('example.echo', [$deep], id => $ids[0])->{json}{outcome}, 'ok', 'as deep as may be');
    is($client->call('example.echo', [$large], id => $ids[1])->{json}{outcome}, 'ok', 'nearly as large as may be');
    for my $id (@ids) {
        my $told = told('serviceless.outcome', $id);
        is_deeply([$told->{outcome}, exists $told->{result}], ['ok', ''], 'no result');
        like($told->{detail}, qr/the result, \d+ bytes, is too large or nested too deeply/, 'but words');
    }
};

subtest 'an id that is not held, or is none' => sub {
    my $id = make_id();
    is_wrong('serviceless.outcome', [$id], {}, qr/^not held here: it never came, or is older than the retention, \d+ (?:h|min|s)\z/, 'unknown');
    my $right = qr/takes one argument, the id of a call: a string of 1 to 64 of/;
    is_wrong('serviceless.outcome', $_->[0], $_->[1] // {}, $right, $_->[2])
        for [[], {}, 'nothing'], [[$id, $id], {}, 'two'], [[$id], {id => $id}, 'one of each'], [[7], {}, 'a number'],
        [[undef], {}, 'null'], [[''], {}, 'empty'], [['a b'], {}, 'not an id'], [['x' x 65], {}, 'too long'],
        [["a\x{263a}"], {}, 'beyond ASCII'], [[], {ID => $id}, 'another keyword'], [[[$id]], {}, 'an array'];
};

subtest 'they are calls like others: with an id, logged, counted, and permitted by key' => sub {
    my $id = make_id();
    my $first = $client->call('serviceless.ping', [], id => $id);
    my $again = $client->call('serviceless.ping', [], id => $id);
    ok($again->{json}{duplicate}, 'the same id again runs nothing');
    is_deeply($again->{json}{result}, $first->{json}{result}, 'and tells what was told');
    is(told('serviceless.outcome', $id)->{function}, 'serviceless.ping', 'it is in the log');
    like($client->get('/serviceless-status?format=prometheus')->{body},
         qr/^serviceless_calls_total\{[^}]*function="serviceless\.ping"[^}]*outcome="ok"[^}]*\} [1-9]/m, 'and counted');
    for my $function (@own) {
        my $answer = client()->call($function, [], secret => keys_of('narrow'));
        is($answer->{status}, 403, "$function: not with a key for example.*");
    }
    is(client()->call('serviceless.ping', [], secret => keys_of('caller'))->{status}, 200, 'with a key that may call all');
    is(client()->call('serviceless.functions', [], secret => keys_of('caller'))->{status}, 403, 'not where allow= names others');
    is($client->call('serviceless.nothing', [])->{status}, 404, 'others do not exist');
};

subtest 'each node tells of itself' => sub {
    my $other = client(port => port_of('other'), secret => keys_of('other'));
    is($other->call('serviceless.ping', [])->{json}{result}{node}, 'other', 'the node of a virtual host');
    my ($sleep) = grep { $_->{name} eq 'example.sleep' } @{$other->call('serviceless.functions', [])->{json}{result}};
    is_deeply([@{$sleep}{qw(nodes mode timeout on_crash)}], ['solo', 'tree:5', 2.5, 'quarantine'], 'what its administrator said');
    my $id = make_id();
    $client->call('runlog.note', [], id => $id);
    like($other->call('serviceless.outcome', [$id])->{json}{detail}, qr/^not held here: /, 'with a log of its own');
};

ok(server_lives(), 'the server lives');

done_testing;
