# SPDX-License-Identifier: Apache-2.0
# Threat 18: relay or sync with a client's key, a function outside of the key's globs: 403.
use strict;
use warnings;
use Client qw(json);
use OneServer;
use Test::More;

my $client = client();
my $TYPE = 'application/x-ndjson';
my %line = (id => 'stolen', function => 'runlog.note', args => [], kwargs => {}, origin => 'two', set => 'all', epoch => '00000000000000dd',
            seq => 1, issued => time * 1000, ttl => 60);
my %message = (relay => json({relay => {from => 'two', route => [], arity => 1}}) . "\n" . json(\%line) . "\n",
               sync => json({sync => {from => 'two', digest => '0' x 64}}) . "\n", 'what is no message' => "\e[2J\n");

refusals 'threat 18: messages of nodes with a key of clients' => sub {
    for my $key (qw(caller narrow picky)) {
        for my $name (sort keys %message) {
            my $answer = is_refused(403, "$name with the key $key", $message{$name}, secret => keys_of($key), type => $TYPE,
                                    reason => 'permission');
            like($answer->{json}{detail}, qr/key $key may not relay/, 'the detail says so');
        }
    }
    is(runs('stolen'), 0, 'the call did not run');
};

refusals 'threat 18: functions outside of the key' => sub {
    my %outside = (narrow => [qw(runlog.note runlog.nothing examples.sum Example.sum xexample.sum)],
                   picky => [qw(example.sleep example.sum2 runlog.notes no.such)],
                   peer => [qw(example.sum runlog.note no.such)]);
    for my $key (sort keys %outside) {
        for my $function (@{$outside{$key}}) {
            my $answer = is_refused(403, "$function with the key $key", $client->call_body($function, []), secret => keys_of($key),
                                    reason => 'permission');
            like($answer->{json}{detail}, qr/key \Q$key\E\b.*\Q$function\E/, 'the detail names both');
        }
    }
};

refusals 'threat 18: who may not call a function is not told whether it exists' => sub {
    my ($one, $other) = map { is_refused(403, $_, $client->call_body($_, []), secret => keys_of('narrow'), reason => 'permission') }
        qw(runlog.note runlog.nothing);
    is($other->{body} =~ s/runlog\.nothing/runlog.note/r, $one->{body}, 'the same words');
};

refusals 'threat 18: allow= gives nothing that the key file does not give' => sub {
    my $body = $client->call_body('caller.nothing', []);
    is_refused(403, 'a key that may call all, but is not named', $body, secret => keys_of('caller'), reason => 'permission');
    is_refused(403, 'a key that is named, but may call example.* only', $body, secret => keys_of('narrow'), reason => 'permission');
};
is($client->call('caller.nothing', [])->{json}{outcome}, 'ok', 'threat 18: a key that is named and may call all');

ok(server_lives(), 'the server lives');

done_testing;
