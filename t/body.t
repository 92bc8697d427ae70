# SPDX-License-Identifier: Apache-2.0
# Bodies that are not whole, not small, not in time, or not strict JSON.
use strict;
use warnings;
use Client qw(json make_id sign);
use IO::Select;
use IO::Socket::INET;
use OneServer;
use Poll;
use Test::More;
use Time::HiRes qw(time);

my $LIMIT = 65536; # ServicelessMaxBody of t/conf
my $client = client();
my $small = $client->call_body('runlog.note', ['x']);

# The head of a signed request whose framing is given.
sub head {
    my ($id, $body, @framing) = @_;
    my $now = int time;
    return join "\r\n", 'POST /serviceless HTTP/1.1', 'Host: x', 'Content-Type: application/json', "webhook-id: $id",
        "webhook-timestamp: $now", 'webhook-signature: ' . sign(keys_of('main'), $id, $now, $body), @framing, '', '';
}

# Sends bytes, after them nothing (half: closes its half of the connection), and reads to the end of the connection.
sub conversation {
    my ($bytes, %o) = @_;
    my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1',
                                       PeerPort => $o{port} // $client->{port}) or die "no connection: $@";
    my ($text, $deadline) = ('', time + 20);
    local $SIG{PIPE} = 'IGNORE';
    syswrite $socket, $bytes;
    shutdown $socket, 1 if $o{half};
    while (1) {
        my $left = $deadline - time;
        return "$text(no end)" if $left <= 0 || !IO::Select->new($socket)->can_read($left);
        last unless sysread $socket, $text, 65536, length $text;
    }
    return $text;
}

# A test: the connection ends after one answer with this status, and what was sent behind it is not taken for a request.
sub ends_with {
    my ($status, $name, $bytes, %o) = @_;
    my $behind = make_id();
    my $text = conversation($bytes . ($o{half} || $o{alone} ? '' : $client->message($small, id => $behind)), %o);
    my @statuses = $text =~ m{^HTTP/1\.1 (\d+)}mg;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    is("@statuses", $status, "$name: one answer, $status");
    like($text, qr/^Connection: close\r$/mi, "$name: the connection is closed");
    unlike($text, qr/\(no end\)$/, "$name: indeed");
    is(runs($behind), 0, "$name: what was sent behind it does not run");
    return $text;
}

my $chunk = sub { return sprintf "%x\r\n%s\r\n", length $_[0], $_[0] };

subtest 'a body that is not whole' => sub {
    for (['Content-Length', "Content-Length: @{[length($small) + 1]}", $small], ['no byte at all', 'Content-Length: 10', ''],
         ['half a chunk', 'Transfer-Encoding: chunked', substr $chunk->($small), 0, -9],
         ['no last chunk', 'Transfer-Encoding: chunked', $chunk->($small)]) {
        my ($name, $framing, $bytes) = @$_;
        my $id = make_id();
        my $text = ends_with(400, $name, head($id, $small, $framing) . $bytes, half => 1);
        like($text, qr/"status":400/, "$name: a problem document");
        is(runs($id), 0, "$name: nothing ran");
        is($client->post($small, id => $id)->{json}{outcome}, 'ok', "$name: its id is free");
    }
};

subtest 'chunks' => sub {
    my $id = make_id();
    my $bytes = join '', map { $chunk->($_) } split //, $small;
    like(conversation(head($id, $small, 'Transfer-Encoding: chunked', 'Connection: close') . $bytes . "0\r\n\r\n"),
         qr/"outcome":"ok"/,
         'a body of many chunks is taken');
    for my $bad ("fffffffffffffffff\r\n", "zz\r\n$small\r\n0\r\n\r\n", "-5\r\n$small\r\n0\r\n\r\n", "\r\n$small",
                 "0x10\r\n$small") {
        my $id = make_id();
        my $text = ends_with($bad =~ /^f/ ? 413 : 400, 'bad chunk ' . $bad =~ s/\r.*//sr,
                             head($id, $small, 'Transfer-Encoding: chunked') . $bad);
        like($text, qr/"status":4/, 'a problem document');
        is(runs($id), 0, 'nothing ran');
    }
};

subtest 'a body over the limit' => sub {
    my ($fits, $over) = map { $small . ' ' x ($_ - length $small) } $LIMIT, $LIMIT + 1;
    is($client->post($fits)->{status}, 200, 'the limit itself is taken');
    my $chunked = head(make_id(), $fits, 'Transfer-Encoding: chunked') . $chunk->($fits) . "0\r\n\r\n";
    is(client()->exchange($chunked)->{status}, 200, 'also in chunks');
    is_refused(413, 'one byte more', $over);
    my $text = ends_with(413, 'declared, never sent', head(make_id(), $over, "Content-Length: @{[$LIMIT + 1]}"), alone => 1);
    like($text, qr/"status":413/, 'a problem document');
    ends_with(413, 'declared, huge', head(make_id(), $small, 'Content-Length: 9223372036854775807'), alone => 1);
    ends_with(413, 'counted', head(make_id(), $over, 'Transfer-Encoding: chunked') . $chunk->($over));
    ends_with(413, 'counted, endless', head(make_id(), $over, 'Transfer-Encoding: chunked') . $chunk->('x' x 60000) x 3,
              alone => 1);
    is_refused(413, 'a call whose line is over the limit', $client->call_body('runlog.note', ['x' x ($LIMIT - 60)]));
    my $large = $client->call('runlog.note', ['x' x ($LIMIT - 400)]);
    is(length $large->{json}{result}[0], $LIMIT - 400, 'one that just fits is run');
};

subtest 'LimitRequestBody holds as well' => sub {
    my $long = $small . ' ' x (101 - length $small);
    is($client->post($small, path => '/limited')->{status}, 200, 'below it');
    is_problem(client()->post($long, path => '/limited'), 413, 'declared');
    my $id = make_id();
    my $head = head($id, $long, 'Transfer-Encoding: chunked') =~ s{/serviceless}{/limited}r;
    is_problem(client()->exchange($head . $chunk->($long) . "0\r\n\r\n"), 413, 'counted');
    is(runs($id), 0, 'nothing ran');
};

subtest 'ambiguous framing' => sub {
    my $huge = $small . ' ' x $LIMIT;
    my @both = ("Content-Length: @{[length $small]}", 'Transfer-Encoding: chunked');
    ends_with(400, 'a length that fits and chunks that do not', head(make_id(), $huge, @both) . $chunk->($huge));
    for my $framing (\@both, [reverse @both]) {
        ends_with(400, 'a length and chunks that fit', head(make_id(), $small, @$framing) . $chunk->($small) . "0\r\n\r\n");
    }
    ends_with(400, "Content-Length: $_", head(make_id(), $small, "Content-Length: $_") . $small)
        for '-1', '+' . length $small, '0x10', length($small) . ', 5', '1e3', '99999999999999999999', 'x';
    for my $second (5, 0) {
        my @lengths = ('Content-Length: ' . length $small, "Content-Length: $second");
        ends_with(400, "two lengths, $second", head(make_id(), $small, @lengths) . $small);
    }
    like(conversation(head(make_id(), $small, 'Transfer-Encoding: gzip') . $small), qr{^HTTP/1\.1 (?:400|501) },
         'another transfer encoding');
};

subtest 'any Content-Encoding is 415 before the body is read' => sub {
    for my $encoding ('gzip', 'identity', 'br, gzip', '') {
        my $id = make_id();
        my $text = ends_with(415, "Content-Encoding: $encoding, and no byte of the body",
                             head($id, $small, 'Content-Length: 1000', "Content-Encoding: $encoding", 'Expect: 100-continue'),
                             alone => 1);
        like($text, qr/"status":415/, 'a problem document');
        is_refused(415, "Content-Encoding: $encoding", $small, more => ["Content-Encoding: $encoding"]);
    }
};

subtest 'a body that comes too slowly is 408' => sub {
    my $start = time;
    my $id = make_id();
    my $text = ends_with(408, 'half a body', head($id, $small, "Content-Length: @{[length $small]}") . substr($small, 0, 10),
                         alone => 1,
                         port => port_of('slow'));
    like($text, qr/"status":408/, 'a problem document');
    cmp_ok(time - $start, '<', 10, 'well before Timeout');
    is(runs($id), 0, 'nothing ran');
    is(client(port => port_of('slow'))->post($small, id => $id)->{json}{outcome}, 'ok', 'its id is free');
};

ok(server_lives(), 'the server lives');

done_testing;
