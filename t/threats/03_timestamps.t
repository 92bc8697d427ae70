# SPDX-License-Identifier: Apache-2.0
# Threat 3: a timestamp over the tolerance, old or ahead: 401.
use strict;
use warnings;
use Client qw(json);
use OneServer;
use Test::More;
use Unsigned;

my $message = json({relay => {from => 'two', route => [], arity => 1}}) . "\n";

refusals 'threat 3: a timestamp over the tolerance' => sub {
    for my $error (-100_000, -310, 310, 100_000) {
        unauthorized('timestamp', "a call, $error s", timestamp => time + $error);
        unauthorized('timestamp', "a message of a node, $error s", timestamp => time + $error, body => $message,
                     type => 'application/x-ndjson');
    }
};
is(client()->post($BODY, timestamp => time + $_)->{status}, 200, "threat 3: $_ s is taken") for -290, 290;
ok(server_lives(), 'the server lives');

done_testing;
