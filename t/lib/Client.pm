# SPDX-License-Identifier: Apache-2.0
package Client;

# A client of one node, in core Perl: signs, posts, checks the answer's signature.  Requests can also be sent byte by byte, so that
# hostile ones can be written.
#
#   my $client = Client->new(host => '127.0.0.1', port => 8001, secret => 'whsec_…');
#   my $answer = $client->call('example.sum', [1, 2, 3]);      # $answer->{json}{result} is 6
#   my $answer = $client->post($body, headers => ['webhook-id: a.b']);
#
# An answer is {status, headers (lower case), body, json (undef: none), closed, signed}; signed is true when it carries a valid
# signature for this request.  status 0: no answer, error says why.
use strict;
use warnings;
use Digest::SHA qw(hmac_sha256_base64 sha256_hex);
use Exporter qw(import);
use IO::Select;
use IO::Socket::INET;
use JSON::PP;
use MIME::Base64 qw(decode_base64);
use Time::HiRes qw(time);

our @EXPORT_OK = qw(fingerprint make_id sign json);

my $coder = JSON::PP->new->utf8->canonical->allow_nonref;
my $made = 0;

# A fresh id, of the grammar of the protocol.
sub make_id {
    return sprintf 't%d-%d-%d', time * 1000, $$, ++$made;
}

sub json {
    return $coder->encode($_[0]);
}

# The value of webhook-signature: Standard Webhooks v1.
sub sign {
    my ($secret, $id, $timestamp, $body) = @_;
    my $key = decode_base64($secret =~ s/^whsec_//r);
    my $mac = hmac_sha256_base64("$id.$timestamp.$body", $key);
    return 'v1,' . $mac . '=' x (-length($mac) % 4);
}

# What a status page shows of a key.
sub fingerprint {
    my ($secret) = @_;
    return substr sha256_hex(decode_base64($secret =~ s/^whsec_//r)), 0, 8;
}

sub new {
    my ($class, %self) = @_;
    return bless {host => '127.0.0.1', path => '/serviceless', timeout => 30, type => 'application/json', %self}, $class;
}

# The bytes of a signed POST.  Options: id, timestamp, signature, secret, type, path; unsigned; headers (lines) replace those of
# the same name; more (lines) are added.
sub message {
    my ($self, $body, %o) = @_;
    my $id = $o{id} // make_id();
    my $timestamp = $o{timestamp} // int time;
    my @lines = ("Host: $self->{host}:$self->{port}", 'Content-Type: ' . ($o{type} // $self->{type}),
                 'Content-Length: ' . length $body);
    push @lines, "webhook-id: $id", "webhook-timestamp: $timestamp",
        'webhook-signature: ' . ($o{signature} // sign($o{secret} // $self->{secret}, $id, $timestamp, $body))
        unless $o{unsigned};
    for my $line (@{$o{headers} // []}) {
        my ($name) = $line =~ /^([^:]+)/;
        @lines = grep { !/^\Q$name\E:/i } @lines;
    }
    push @lines, @{$o{headers} // []}, @{$o{more} // []};
    my $path = $o{path} // $self->{path};
    my $method = $o{method} // 'POST';
    return join("\r\n", "$method $path HTTP/1.1", @lines) . "\r\n\r\n" . $body;
}

sub post {
    my ($self, $body, %o) = @_;
    $o{id} //= make_id();
    return $self->exchange($self->message($body, %o), id => $o{id}, secret => $o{secret});
}

# The body of a client's call.  Options: kwargs, reply, nodes, mode, timeout, ttl, and member (name => value pairs, any).
sub call_body {
    my ($self, $function, $args, %o) = @_;
    my %call = (function => $function, args => $args // []);
    $call{$_} = $o{$_} for grep { defined $o{$_} } qw(kwargs reply nodes mode timeout ttl);
    return json({%call, %{$o{member} // {}}});
}

sub call {
    my ($self, $function, $args, %o) = @_;
    return $self->post($self->call_body($function, $args, %o), map { $_ => $o{$_} } grep { exists $o{$_} } qw(id secret));
}

# A relay message, as from the node $from: calls are call lines, JSON text or hashes.
sub relay {
    my ($self, $from, $route, $calls, %o) = @_;
    my $body = join '', map { (ref $_ ? json($_) : $_) . "\n" }
        {relay => {from => $from, route => $route, arity => $o{arity} // 1}}, @$calls;
    return $self->post($body, type => 'application/x-ndjson', map { $_ => $o{$_} } grep { exists $o{$_} } qw(id secret));
}

sub get {
    my ($self, $path) = @_;
    return $self->exchange("GET $path HTTP/1.1\r\nHost: $self->{host}:$self->{port}\r\n\r\n");
}

# Sends bytes and reads one answer.  A kept connection that the server closed meanwhile is opened again, once.
sub exchange {
    my ($self, $bytes, %o) = @_;
    my $kept = defined $self->{socket};
    $self->begin($bytes, %o);
    my $answer = $self->finish;
    return $answer if $answer->{status} || !$kept || !$answer->{silent};
    $self->begin($bytes, %o);
    return $self->finish;
}

# The two halves of exchange, so that several clients can wait for answers at the same time.
sub begin {
    my ($self, $bytes, %o) = @_;
    $self->{socket} //= IO::Socket::INET->new(PeerAddr => $self->{host}, PeerPort => $self->{port}, Proto => 'tcp',
                                              Timeout => $self->{timeout});
    $self->{pending} = {%o, bodiless => scalar($bytes =~ /^HEAD /), error => $self->{socket} ? undef : "no connection to $self->{host}:$self->{port}: $@"};
    local $SIG{PIPE} = 'IGNORE';
    for (my $sent = 0; $self->{socket} && $sent < length $bytes;) {
        my $n = syswrite $self->{socket}, $bytes, length($bytes) - $sent, $sent;
        last unless defined $n; # the server may have answered and closed early: the answer is read all the same
        $sent += $n;
    }
    return;
}

sub finish {
    my ($self) = @_;
    my $o = delete $self->{pending};
    my $answer = {status => 0, headers => {}, body => '', error => $o->{error}, closed => 1};
    $self->_read($answer, $o->{bodiless}) unless $o->{error};
    if ($answer->{closed}) {
        close $self->{socket} if $self->{socket};
        delete $self->{socket};
    }
    $answer->{json} = eval { $coder->decode($answer->{body}) };
    my ($id, $timestamp, $signature) = @{$answer->{headers}}{qw(webhook-id webhook-timestamp webhook-signature)};
    $answer->{signed} = defined $o->{id} && defined $signature && $id =~ /^\Q$o->{id}\E:/
        && grep { $_ eq sign($o->{secret} // $self->{secret}, $id, $timestamp, $answer->{body}) } split / /, $signature;
    return $answer;
}

sub disconnect {
    my ($self) = @_;
    close delete $self->{socket} if $self->{socket};
    return;
}

# More bytes into $$buffer; false at the end of the connection or of the time.
sub _more {
    my ($self, $buffer, $deadline) = @_;
    my $left = $deadline - time;
    return 0 if $left <= 0 || !IO::Select->new($self->{socket})->can_read($left);
    return sysread $self->{socket}, $$buffer, 65536, length $$buffer;
}

sub _read {
    my ($self, $answer, $bodiless) = @_;
    my ($buffer, $deadline) = ('', time + $self->{timeout});
    until ($buffer =~ /\r\n\r\n/) {
        next if $self->_more(\$buffer, $deadline);
        $answer->{silent} = $buffer eq '';
        $answer->{error} = time >= $deadline ? 'no answer in time' : 'connection closed without an answer';
        return;
    }
    $buffer =~ s/^(.*?)\r\n\r\n//s;
    my ($status, @lines) = split /\r\n/, $1;
    ($answer->{status}) = $status =~ m{^HTTP/1\.[01] (\d{3})};
    for (@lines) {
        my ($name, $value) = /^([^:]+):\s*(.*?)\s*$/ or next;
        $name = lc $name;
        $answer->{headers}{$name} = exists $answer->{headers}{$name} ? "$answer->{headers}{$name}, $value" : $value;
    }
    my $length = $bodiless || $answer->{status} == 204 ? 0 : $answer->{headers}{'content-length'};
    if (!$bodiless && ($answer->{headers}{'transfer-encoding'} // '') eq 'chunked') {
        my $body = '';
        while (1) {
            if ($buffer =~ /^([0-9a-fA-F]+)[^\r\n]*\r\n/ && length($buffer) >= $+[0] + hex($1) + 2) {
                my ($start, $size) = ($+[0], hex $1);
                $body .= substr $buffer, $start, $size;
                substr $buffer, 0, $start + $size + 2, '';
                last unless $size;
                next;
            }
            last unless $self->_more(\$buffer, $deadline);
        }
        $answer->{body} = $body;
    } elsif (defined $length) {
        while (length $buffer < $length) {
            last unless $self->_more(\$buffer, $deadline);
        }
        $answer->{body} = substr $buffer, 0, $length;
    } else {
        1 while $self->_more(\$buffer, $deadline);
        $answer->{body} = $buffer;
    }
    $answer->{closed} = lc($answer->{headers}{connection} // '') eq 'close' || !defined $length
        && !$answer->{headers}{'transfer-encoding'};
    return;
}

1;
