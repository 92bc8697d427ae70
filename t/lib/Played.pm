# SPDX-License-Identifier: Apache-2.0
package Played;

# A node of the fleet that a test plays: it takes requests of the server's relay and answers them, well or badly.
#
#   my $four = Played->new(name => 'four', port => $ENV{SVL_PLAYED_PORT}, secret => keys_of('main'));
#   $four->serve(10, sub { grep { $_->{body} =~ /…/ } @{$four->{requests}} });
#
# A request is {method, path, headers (lower case), body, signed}; signed is true when the three headers fit the secret.
use strict;
use warnings;
use Client qw(json sign);
use IO::Select;
use IO::Socket::INET;
use Time::HiRes qw(time);

my $PATIENCE = 5; # seconds for a request to come whole, once its connection was taken: to cut it short would be a fault of ours

sub new {
    my ($class, %self) = @_;
    my $listener = IO::Socket::INET->new(Listen => 64, LocalAddr => '127.0.0.1', LocalPort => $self{port}, ReuseAddr => 1)
        or die "cannot listen on port $self{port}: $@";
    return bless {%self, listener => $listener, requests => []}, $class;
}

# Answers with $answer->($request), which returns bytes, or undef: none, but the connection is kept; default: an acknowledgement.
sub answer_with {
    my ($self, $answer) = @_;
    $self->{answer} = $answer;
    return;
}

# A signed acknowledgement of all calls of a request, as bytes.  Options: status, id, name, secret, body, headers (lines), unsigned.
sub acknowledgement {
    my ($self, $request, %o) = @_;
    my $name = $o{name} // $self->{name};
    my $calls = grep { !/^\{"relay"/ } split /\n/, $request->{body};
    my $body = $o{body} // json({from => $name, accepted => $calls, duplicates => 0});
    my $id = $o{id} // "$request->{headers}{'webhook-id'}:$name";
    my $now = int time;
    my @signature = $o{unsigned} ? () : ("webhook-id: $id", "webhook-timestamp: $now",
                                         'webhook-signature: ' . sign($o{secret} // $self->{secret}, $id, $now, $body));
    return join "\r\n", 'HTTP/1.1 ' . ($o{status} // '202 Accepted'), 'Content-Type: application/json',
    'Content-Length: ' . length $body,
        'Connection: close', @signature, @{$o{headers} // []}, '', $body;
}

# Takes requests for at most $seconds, until $enough returns true after one.  Returns what it returned, or false.
sub serve {
    my ($self, $seconds, $enough) = @_;
    my $deadline = time + $seconds;
    local $SIG{PIPE} = 'IGNORE';
    while ((my $left = $deadline - time) > 0) {
        next unless IO::Select->new($self->{listener})->can_read($left < 0.2 ? $left : 0.2);
        my $socket = $self->{listener}->accept or next;
        my $request = _request($socket, time + $PATIENCE) or next;
        my ($id, $timestamp, $signature) = @{$request->{headers}}{qw(webhook-id webhook-timestamp webhook-signature)};
        $request->{signed} = defined $signature && $signature eq sign($self->{secret}, $id, $timestamp, $request->{body});
        push @{$self->{requests}}, $request;
        my $answer = $self->{answer} ? $self->{answer}->($request) : $self->acknowledgement($request);
        push @{$self->{held}}, $socket unless defined $answer;
        if (defined $answer) {
            syswrite $socket, $answer;
            close $socket;
        }
        my $value = $enough->();
        return $value if $value;
    }
    return 0;
}

sub _request {
    my ($socket, $deadline) = @_;
    my $text = '';
    my $more = sub {
        my $left = $deadline - time;
        return $left > 0 && IO::Select->new($socket)->can_read($left) && sysread $socket, $text, 65536, length $text;
    };
    until ($text =~ /\r\n\r\n/) {
        return unless $more->();
    }
    $text =~ s/^(\S+) (\S+) [^\r]*\r\n(.*?)\r\n\r\n//s or return;
    my %request = (method => $1, path => $2);
    $request{headers} = {map { /^([^:]+):\s*(.*)$/ ? (lc $1 => $2) : () } split /\r\n/, $3};
    until (length $text >= ($request{headers}{'content-length'} // 0)) {
        return unless $more->();
    }
    return {%request, body => $text};
}

1;
