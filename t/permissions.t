# SPDX-License-Identifier: Apache-2.0
# Who may do what: call, call=glob and relay in the key file, allow= in the configuration.
use strict;
use warnings;
use Client qw(json make_id sign);
use OneServer;
use Poll;
use Test::More;

my $client = client();
my @functions = qw(example.sum example.sleep runlog.note caller.nothing no.such example.nothing);
my %body = map { $_ => $client->call_body($_, []) } @functions;
my $relay = json({relay => {from => 'two', route => [], arity => 1}}) . "\n";

# What a key gets for a call, or for a message of a node.
sub status_for {
    my ($key, $function) = @_;
    my @o = (secret => keys_of($key));
    return client()->post($relay, type => 'application/x-ndjson', @o)->{status} if $function eq 'relay';
    return client()->post($body{$function}, @o)->{status};
}

my %expected = (
    #          a glob       allow=      none that is loaded
    #          sum  note    nothing     no.such  example.nothing  relay
    main   => [200, 200,    200,        404,     404,             202],
    caller => [200, 200,    403,        404,     404,             403],
    narrow => [200, 403,    403,        403,     404,             403],
    picky  => [200, 200,    403,        403,     403,             403],
    peer   => [403, 403,    403,        403,     403,             202],
);

for my $key (sort keys %expected) {
    subtest "key $key" => sub {
        my @asked = qw(example.sum runlog.note caller.nothing no.such example.nothing relay);
        is(status_for($key, $asked[$_]), $expected{$key}[$_], "$asked[$_]: $expected{$key}[$_]") for 0 .. $#asked;
    };
}

subtest 'a glob is the whole name, and its case' => sub {
    is(status_for('picky', 'example.sum'), 200, 'example.s?m is example.sum');
    is(status_for('picky', 'example.sleep'), 403, 'and not example.sleep');
    is(client()->call($_, [], secret => keys_of('picky'))->{status}, 403,
       "and not $_") for qw(Example.sum example.sum2 xexample.sum);
    is(client()->call('examples.sum', [], secret => keys_of('narrow'))->{status}, 403, 'the dot of example.* is a dot');
    is(client()->call('example.', [], secret => keys_of('narrow'))->{status}, 404, 'what follows it may be nothing');
};

subtest 'a permission is the same for every way to be answered' => sub {
    for my $reply (qw(local accepted all)) {
        my $call = sub { my ($key, $function) = @_; return client()->call($function, [], reply => $reply, nodes => 'solo', secret => keys_of($key)) };
        is($call->($_, 'example.sum')->{status}, $reply eq 'accepted' ? 202 : 200, "$reply: key $_ may") for qw(main caller narrow picky);
        for (['peer', 'example.sum'], ['narrow', 'runlog.note'], ['picky', 'example.sleep'], ['caller', 'caller.nothing']) {
            my ($key, $function) = @$_;
            is_refused(403, "$reply: key $key, $function", client()->call_body($function, [], reply => $reply, nodes => 'solo'),
                       secret => keys_of($key));
        }
    }
};

subtest 'the functions of the module itself are like any other' => sub {
    my %may = (main => {}, caller => {functions => 403}, map { $_ => {ping => 403, functions => 403, outcome => 403} } qw(narrow picky peer));
    for my $key (sort keys %may) {
        for my $name (qw(ping functions outcome)) {
            my $answer = client()->call("serviceless.$name", ['x'], nodes => 'solo', secret => keys_of($key));
            is($answer->{status}, $may{$key}{$name} // 200, "key $key, serviceless.$name");
        }
    }
};

subtest 'what a peer hands on was permitted where it was called' => sub {
    my $ran = sub { client()->get('/serviceless-status?format=json')->{json}{functions}{'caller.nothing'}{calls}{ok} // 0 };
    my $before = $ran->();
    my $line = {id => make_id(), function => 'caller.nothing', args => [], kwargs => {}, origin => 'two', set => 'all', epoch => '0123456789abcdef',
                seq => 1, issued => time * 1000, ttl => 600};
    my $ack = client(secret => keys_of('peer'))->relay('two', [], [$line])->{json};
    is($ack->{accepted}, 1, 'a key that may only relay hands on a call of a function that allow= does not name it for');
    eventually { $ran->() == $before + 1 } 10, 'and it runs';
};

subtest 'answers are signed by a key that may relay, and by the key that asked' => sub {
    for my $key (qw(main caller peer)) {
        my $id = make_id();
        my $answer = client()->post($key eq 'peer' ? $relay : $body{'example.sum'}, id => $id, secret => keys_of($key),
                                    type => 'application/' . ($key eq 'peer' ? 'x-ndjson' : 'json'));
        my %headers = %{$answer->{headers}};
        my @signatures = map { sign(keys_of($_), "$id:one", $headers{'webhook-timestamp'}, $answer->{body}) } 'main', $key;
        pop @signatures if $key eq 'main';
        is($headers{'webhook-id'}, "$id:one", "to $key: webhook-id");
        is($headers{'webhook-signature'}, "@signatures", "to $key: by main, the first key that may relay, and by $key");
    }
};

ok(server_lives(), 'the server lives');

done_testing;
