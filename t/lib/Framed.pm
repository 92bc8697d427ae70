# SPDX-License-Identifier: Apache-2.0
package Framed;

# Requests to the one server whose framing is given byte by byte, and what becomes of their connection.
#
#   my $text = ends_with(400, 'half a chunk', head($id, $body, 'Transfer-Encoding: chunked') . $half, reason => 'body-truncated');
use strict;
use warnings;
use Client qw(make_id sign);
use Exporter qw(import);
use IO::Select;
use IO::Socket::INET;
use OneServer;
use Test::More;
use Time::HiRes qw(time);

our @EXPORT = qw(chunk conversation ends_with head);

my $PATIENCE = 20; # seconds in which the connection must end

# The head of a signed request.
sub head {
    my ($id, $body, @framing) = @_;
    my $now = int time;
    return join "\r\n", 'POST /serviceless HTTP/1.1', 'Host: x', 'Content-Type: application/json', "webhook-id: $id",
        "webhook-timestamp: $now", 'webhook-signature: ' . sign(keys_of('main'), $id, $now, $body), @framing, '', '';
}

sub chunk {
    my ($bytes) = @_;
    return sprintf "%x\r\n%s\r\n", length $bytes, $bytes;
}

# Sends bytes, after them nothing (half: closes its half of the connection), and reads to the end of the connection.
sub conversation {
    my ($bytes, %o) = @_;
    my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $o{port} // client()->{port}) or die "no connection: $@";
    my ($text, $deadline) = ('', time + $PATIENCE);
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

# A test: the connection ends after one answer with this status, and what was sent behind it is not taken for a request.  Options: reason,
# of is_counted (empty: httpd itself refuses); port, half; alone: nothing is sent behind it.
sub ends_with {
    my ($status, $name, $bytes, %o) = @_;
    my $behind = client()->message(client()->call_body('runlog.note', ['behind']));
    $bytes .= $behind unless $o{half} || $o{alone};
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $text = is_counted($name, sub { conversation($bytes, %o) }, reason => $o{reason});
    my @statuses = $text =~ m{^HTTP/1\.1 (\d+)}mg;
    is("@statuses", $status, "$name: one answer, $status");
    like($text, qr/^Connection: close\r$/mi, "$name: the connection is closed");
    unlike($text, qr/\(no end\)$/, "$name: indeed");
    like($text, qr/"status":$status/, "$name: a problem document") if $o{reason};
    return $text;
}

1;
