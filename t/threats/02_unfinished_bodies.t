# SPDX-License-Identifier: Apache-2.0
# Threat 2: a body that is cut off, or chunks that are none: 400, and the connection is closed.
use strict;
use warnings;
use Client qw(make_id);
use Framed;
use OneServer;
use Test::More;

my $body = client()->call_body('runlog.note', ['x']);
my $id = make_id();

refusals 'threat 2: a body that is not whole' => sub {
    for (['Content-Length', "Content-Length: @{[length($body) + 1]}", $body], ['no byte at all', 'Content-Length: 10', ''],
         ['half a chunk', 'Transfer-Encoding: chunked', substr chunk($body), 0, -9],
         ['no last chunk', 'Transfer-Encoding: chunked', chunk($body)]) {
        my ($name, $framing, $bytes) = @$_;
        ends_with(400, $name, head($id, $body, $framing) . $bytes, half => 1, reason => 'body-truncated');
    }
};

refusals 'threat 2: bad chunks' => sub {
    for my $bad ("zz\r\n$body\r\n0\r\n\r\n", "-5\r\n$body\r\n0\r\n\r\n", "\r\n$body", "0x10\r\n$body",
                 chunk($body) =~ s/\r\n\z/xx/r . "0\r\n\r\n") {
        ends_with(400, 'bad chunk ' . $bad =~ s/\r.*//sr, head($id, $body, 'Transfer-Encoding: chunked') . $bad, reason => 'body-truncated');
    }
    ends_with(413, 'a chunk of 2^68 bytes', head($id, $body, 'Transfer-Encoding: chunked') . "fffffffffffffffff\r\n",
              reason => 'body-too-large');
};

my $bytes = join '', map { chunk($_) } split //, $body;
like(conversation(head($id, $body, 'Transfer-Encoding: chunked', 'Connection: close') . $bytes . "0\r\n\r\n"), qr/"outcome":"ok"/,
     'threat 2: the same id, whole, in many chunks, is taken');
is(runs($id), 1, 'threat 2: and runs');
ok(server_lives(), 'the server lives');

done_testing;
