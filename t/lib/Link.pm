# SPDX-License-Identifier: Apache-2.0
package Link;

# A link to a node (ServicelessLinks), as another node or a client has it.  A node is one of a fleet, or a Client of a server.
use strict;
use warnings;
use Client qw(json make_id sign);
use Exporter qw(import);
use IO::Select;
use IO::Socket::INET;
use Test::More;
use Time::HiRes qw(time);

our @EXPORT = qw(links_of ask_for_link ask_by_call frame answer ends relayed);

my $PATIENCE = 20; # seconds in which an answer must come

# How many links a node has got, of each other one.
sub links_of {
    my ($node) = @_;
    return map { $_->{self} ? () : $_->{links} } @{$node->status->{members}};
}

sub _client_of { return $_[0]->isa('Client') ? $_[0] : $_[0]->client }

# A connection that is a link, or what the node said instead.
sub ask_for_link {
    my ($node, %o) = @_;
    my $client = _client_of($node);
    my $socket = IO::Socket::INET->new(PeerAddr => $client->{host}, PeerPort => $client->{port}) or die "no connection: $@";
    my $bytes = $client->message($o{body} // json({relay => {from => 'n2', route => [], arity => 1}}) . "\n",
                                 type => 'application/x-ndjson', id => 'link-' . make_id(), more => ['Connection: Upgrade', 'Upgrade: serviceless-link'], %o);
    $bytes =~ s{ HTTP/1\.1\r}{ HTTP/1.0\r} if $o{old};
    syswrite $socket, $bytes . ($o{behind} // '');
    my $said = '';
    while ($said !~ /\r\n\r\n/) { # byte by byte, so that what follows is left for answer
        IO::Select->new($socket)->can_read($PATIENCE) && sysread $socket, $said, 1, length $said or last;
    }
    return ($socket, $said);
}

# The same for a client: what asks is a call, with the options of Client::call_body as well.
sub ask_by_call {
    my ($node, $function, $args, %o) = @_;
    return ask_for_link($node, body => _client_of($node)->call_body($function, $args, %o), type => 'application/json', %o);
}

# The bytes of a message on a link.
sub frame {
    my ($node, $body, %o) = @_;
    my ($id, $now) = ($o{id} // make_id(), $o{timestamp} // int time);
    return join(' ', 0, $o{length} // length $body, $id, $now, '-', $o{signature} // sign($o{secret} // _client_of($node)->{secret}, $id, $now, $body)) . "\n$body";
}

# What comes back: [status, id, body, whether one of its signatures is of $secret], or undef when the link ended.  With $rest, a reference to '', what follows it may have come as well.
sub answer {
    my ($socket, $rest, $secret) = @_;
    my $until = time + $PATIENCE;
    my $text = $rest ? $$rest : '';
    while (time < $until) {
        if ($text =~ /\A(\d+) (\d+) (\S+) (\S+) \S+ (.*)\n/ && length($text) - $+[0] >= $2) {
            my ($status, $length, $id, $timestamp, $signature) = ($1, $2, $3, $4, $5);
            my $body = substr $text, $+[0], $length;
            my $behind = substr $text, $+[0] + $length;
            my $answer = [$status, $id, $body, $secret && scalar grep { $_ eq sign($secret, $id, $timestamp, $body) } split / /, $signature];
            $rest ? $$rest = $behind : length $behind && die "more than an answer: $text";
            return $answer;
        }
        IO::Select->new($socket)->can_read($until - time) or die "no answer in $PATIENCE s: $text";
        sysread $socket, $text, 65536, length $text or return;
    }
    die "half an answer: $text";
}

sub ends {
    my ($socket, $name) = @_;
    my $until = time + $PATIENCE;
    my $rest = '';
    while (time < $until && IO::Select->new($socket)->can_read($until - time)) {
        return pass($name) unless sysread $socket, $rest, 65536;
    }
    return fail($name);
}

sub relayed {
    my ($node, $id, %o) = @_;
    my $line = json({id => $id, function => $o{function} // 'runlog.note', args => $o{args} // ['linked', $id], kwargs => {}, origin => 'n2', set => 'all',
                     epoch => '0123456789abcdef', seq => $o{seq} // 1, issued => int(time * 1000), ttl => 3600});
    return json({relay => {from => $o{from} // 'n2', route => [], arity => 1, %{$o{asked} // {}}}}) . "\n$line\n";
}

1;
