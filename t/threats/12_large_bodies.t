# SPDX-License-Identifier: Apache-2.0
# Threat 12: a body over the limit, declared or counted, or of two lengths: 413 or 400, and the connection is closed.
use strict;
use warnings;
use Client qw(make_id);
use Framed;
use OneServer;
use Test::More;

my $LIMIT = 65536; # ServicelessMaxBody of t/conf
my $client = client();
my $small = $client->call_body('runlog.note', ['x']);
my ($fits, $over) = map { $small . ' ' x ($_ - length $small) } $LIMIT, $LIMIT + 1;

subtest 'threat 12: the limit itself is taken' => sub {
    is($client->post($fits)->{status}, 200, 'declared');
    my $chunked = head(make_id(), $fits, 'Transfer-Encoding: chunked') . chunk($fits) . "0\r\n\r\n";
    is(client()->exchange($chunked)->{status}, 200, 'in chunks');
    my $large = $client->call('runlog.note', ['x' x ($LIMIT - 400)]);
    is(length $large->{json}{result}[0], $LIMIT - 400, 'a call that just fits is run');
};

refusals 'threat 12: a body over the limit' => sub {
    my @o = (reason => 'body-too-large');
    my $chunked = sub { return head(make_id(), $over, 'Transfer-Encoding: chunked') };
    is_refused(413, 'one byte more', $over, @o);
    ends_with(413, 'declared, never sent', head(make_id(), $over, "Content-Length: @{[$LIMIT + 1]}"), alone => 1, @o);
    ends_with(413, 'declared, huge', head(make_id(), $small, 'Content-Length: 9223372036854775807'), alone => 1, @o);
    ends_with(413, 'counted', $chunked->() . chunk($over), @o);
    ends_with(413, 'counted, in parts', $chunked->() . chunk('x' x 1000) x 70, alone => 1, @o);
    ends_with(413, 'counted, endless', $chunked->() . chunk('x' x 60000) x 3, alone => 1, @o);
};

refusals 'threat 12: a call whose line is over the limit' => sub {
    is_refused(413, 'with what the node adds', $client->call_body('runlog.note', ['x' x ($LIMIT - 60)]), reason => 'body-too-large');
};

refusals 'threat 12: two lengths, or none that is one' => sub {
    my $huge = $small . ' ' x $LIMIT;
    my @both = ('Content-Length: ' . length $small, 'Transfer-Encoding: chunked');
    my @o = (reason => 'body-truncated');
    ends_with(400, 'a length that fits and chunks that do not', head(make_id(), $huge, @both) . chunk($huge), @o);
    for my $framing (\@both, [reverse @both]) {
        ends_with(400, 'a length and chunks that fit', head(make_id(), $small, @$framing) . chunk($small) . "0\r\n\r\n", @o);
    }
    @o = (reason => ''); # httpd refuses them before anybody else sees them
    ends_with(400, "Content-Length: $_", head(make_id(), $small, "Content-Length: $_") . $small, @o)
        for '-1', '+' . length $small, '0x10', length($small) . ', 5', '1e3', '99999999999999999999', 'x';
    for my $second (5, 0) {
        my @lengths = ('Content-Length: ' . length $small, "Content-Length: $second");
        ends_with(400, "two lengths, $second", head(make_id(), $small, @lengths) . $small, @o);
    }
};

ok(server_lives(), 'the server lives');

done_testing;
