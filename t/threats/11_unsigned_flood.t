# SPDX-License-Identifier: Apache-2.0
# Threat 11: what is not signed touches no state, however much of it comes.
use strict;
use warnings;
use Client qw(make_id);
use OneServer;
use Poll;
use Test::More;
use Time::HiRes qw(time);

my $REQUESTS = 300;
my $client = client();
my $body = $client->call_body('runlog.note', ['x' x 20_000]);
my $first = make_id();
is($client->call('runlog.note', [], id => $first)->{status}, 200, 'threat 11: a call');

subtest 'threat 11: large calls that nobody signed' => sub {
    settle();
    my ($stored, $before, $from, $start) = (stored(), rejected()->{signature}, length error_log(), time);
    is(scalar(grep { $client->post($body, secret => 'whsec_' . 'A' x 43 . '=')->{status} != 401 } 1 .. $REQUESTS), 0, 'each is 401');
    is(rejected()->{signature} - $before, $REQUESTS, 'each is counted');
    ok($stored eq stored(), 'the log is unchanged');
    my $lines = () = error_log($from) =~ /refused: signature/g;
    cmp_ok($lines, '<=', 2 + time - $start, 'the error log got a line a second at most');
    ok(server_lives(), 'valid calls are answered');
};

subtest 'threat 11: the log tells the reason once a second' => sub {
    my $line = qr/\[client 127\.0\.0\.1:\d+\] SVL0151: refused: signature \(401\), id [\w-]+/;
    my $from = length error_log();
    eventually {
        $client->post($body, secret => 'whsec_' . 'A' x 43 . '=');
        return error_log($from) =~ /$line.*; [1-9]\d* more since the last line/;
    } 10, 'and the next line how many there were';
    unlike(error_log(), qr/; 0 more since/, 'if there were any');
    unlike(error_log(), qr/whsec_/, 'no key in the log');
    unlike(error_log(), qr/, id [\w-]*[^\w:;,\n-]/, 'no id that does not fit the grammar');
};

my $second = make_id();
is($client->call('runlog.note', [], id => $second)->{status}, 200, 'threat 11: a call afterwards');
is((runs_of($second))[0]{seq}, (runs_of($first))[0]{seq} + 2, 'threat 11: numbers went to signed calls only');

done_testing;
