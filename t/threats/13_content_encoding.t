# SPDX-License-Identifier: Apache-2.0
# Threat 13: any Content-Encoding is 415 before the body is read.
use strict;
use warnings;
use Client qw(make_id);
use Framed;
use OneServer;
use Test::More;

my $body = client()->call_body('runlog.note', ['x']);

refusals 'threat 13: any Content-Encoding' => sub {
    for my $encoding ('gzip', 'deflate', 'identity', 'br, gzip', '') {
        ends_with(415, "Content-Encoding: $encoding, and no byte of the body",
                  head(make_id(), $body, 'Content-Length: 1000', "Content-Encoding: $encoding", 'Expect: 100-continue'),
                  alone => 1, reason => 'content-encoding');
        is_refused(415, "Content-Encoding: $encoding", $body, more => ["Content-Encoding: $encoding"], reason => 'content-encoding');
    }
};

ok(server_lives(), 'the server lives');

done_testing;
