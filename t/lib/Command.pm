# SPDX-License-Identifier: Apache-2.0
package Command;

# Runs the command `serviceless` as a person would, and plays the node that it talks to.
#
#   my $run = command(['sign'], stdin => $body, env => {SERVICELESS_KEY_FILE => $keys});   # {status, out, err}
#   my $run = command(['call', 'f', 1], key_file => $keys, answer => sub { my ($request) = @_; … });   # and {request}
#
# With answer, a listener on loopback is its node (SERVICELESS_URL, with path); the sub gets the request as it came, {line,
# body, headers (lower case), json}, and returns the bytes of a response, which `response` makes; undef: never answers.  A list of
# subs answers as many requests, in turn, which are {requests}.
#
# With program => [WORD, …] that program runs instead, as one of docs/clients.
#
# With terminal => COLUMNS it runs on a terminal of that width (of TERM=xterm, unless env says otherwise), made by util-linux' script:
# out is all that the terminal got, lines ending in \r\n.  With stderr_only as well standard output is none.
use strict;
use warnings;
use Carp qw(croak);
use Client qw(sign);
use Exporter qw(import);
use Fleet ();
use File::Temp ();
use IO::Select;
use IO::Socket::INET;
use JSON::PP;
use POSIX qw(:sys_wait_h);
use Secrets ();
use Time::HiRes qw(time);

our @EXPORT = qw(command key_file response signed_response);

my $DEADLINE = 30; # seconds that one run may take
my $directory = File::Temp->newdir('svl-command.XXXXXX', TMPDIR => 1);
my $made = 0;
my @secrets;

sub path {
    return $ENV{SVL_COMMAND} || Fleet::build_directory() . '/serviceless';
}

sub _file {
    my ($text, $mode) = @_;
    my $path = "$directory/" . ++$made;
    open my $file, '>:raw', $path or croak "cannot write $path: $!";
    chmod $mode // 0600, $path;
    print $file $text // '';
    close $file or croak "cannot write $path: $!";
    return $path;
}

sub _slurp {
    my ($path) = @_;
    open my $file, '<:raw', $path or croak "cannot read $path: $!";
    local $/;
    return <$file> // '';
}

# A key file with these lines.  No run after that may print a key of it.
sub key_file {
    my ($text, $mode) = @_;
    my $path = _file($text, $mode);
    push @secrets, Secrets::of_files($path);
    return $path;
}

# The bytes of a response.  Headers are lines.
sub response {
    my ($status, $body, @headers) = @_;
    my @lines = ("HTTP/1.1 $status Words", 'Content-Length: ' . length $body, 'Connection: close', @headers);
    return join("\r\n", @lines) . "\r\n\r\n" . $body;
}

# The same, signed as the node of that name would.  Options: id, node, timestamp.
sub signed_response {
    my ($status, $body, $request, $secret, %o) = @_;
    my $id = $o{id} // $request->{headers}{'webhook-id'} . ':' . ($o{node} // 'a');
    my $timestamp = $o{timestamp} // int time;
    return response($status, $body, 'Content-Type: application/json', "webhook-id: $id", "webhook-timestamp: $timestamp",
                    'webhook-signature: ' . sign($secret, $id, $timestamp, $body));
}

sub _read_request {
    my ($socket) = @_;
    my $bytes = '';
    until ($bytes =~ /\r\n\r\n/) {
        sysread $socket, $bytes, 65536, length $bytes or return {line => $bytes, headers => {}, body => ''};
    }
    my ($head, $body) = split /\r\n\r\n/, $bytes, 2;
    my ($line, @lines) = split /\r\n/, $head;
    my %headers = map { my ($name, $value) = /^([^:]+):\s*(.*?)\s*$/; (lc $name => $value) } @lines;
    while (length $body < ($headers{'content-length'} // 0)) {
        sysread $socket, $body, 65536, length $body or last;
    }
    return {line => $line, headers => \%headers, body => $body, json => eval { JSON::PP->new->utf8->decode($body) }};
}

# Answers one request.  Returns it; or, when the command ended without asking, undef and its wait status.
sub _answer {
    my ($listener, $answer, $child) = @_;
    my $end = time + $DEADLINE;
    until (IO::Select->new($listener)->can_read(0.05)) {
        return (undef, $?) if waitpid($child, WNOHANG) == $child;
        croak 'the command neither asked nor ended' if time > $end;
    }
    my $socket = $listener->accept or croak "cannot accept: $!";
    my $request = _read_request($socket);
    local $SIG{PIPE} = 'IGNORE';
    my $bytes = $answer->($request);
    if (defined $bytes) {
        syswrite $socket, $bytes;
    } else {
        1 while sysread $socket, my $ignored, 65536; # until the command hangs up
    }
    close $socket;
    return $request;
}

# The program and the arguments that run the command, on a terminal if that is wanted.
sub _program {
    my ($words, %o) = @_;
    return ($o{program}[0], @{$o{program}}, @$words) if $o{program};
    return (path(), 'serviceless', @$words) unless $o{terminal};
    my ($command) = join ' ', map { "'" . s/'/'\\''/gr . "'" } path(), @$words;
    return ('script', 'script', '-qec', "stty columns $o{terminal}; exec $command" . ($o{stderr_only} ? ' >/dev/null' : ''), '/dev/null');
}

sub command {
    my ($words, %o) = @_;
    my $listener = $o{answer} && (IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1') or croak "cannot listen: $!");
    my ($stdin, $out, $err) = (_file($o{stdin}), _file(), _file());
    local %ENV = %ENV;
    delete @ENV{qw(SERVICELESS_URL SERVICELESS_KEY_FILE)};
    $ENV{SERVICELESS_URL} = 'http://127.0.0.1:' . $listener->sockport . ($o{path} // '') if $listener;
    $ENV{SERVICELESS_KEY_FILE} = $o{key_file} if $o{key_file};
    delete @ENV{qw(NO_COLOR TERM)};
    @ENV{qw(SHELL TERM)} = ('/bin/sh', 'xterm') if $o{terminal};
    %ENV = (%ENV, %{$o{env} // {}});
    my $child = fork // croak "cannot fork: $!";
    if (!$child) {
        open STDIN, '<', $stdin or POSIX::_exit(127);
        open STDOUT, '>', $out or POSIX::_exit(127);
        open STDERR, '>', $err or POSIX::_exit(127);
        alarm $DEADLINE;
        my ($program, @arguments) = _program($words, %o);
        exec {$program} @arguments or POSIX::_exit(127);
    }
    local $?;
    my ($request, $ended, @requests);
    for my $answer (ref $o{answer} eq 'ARRAY' ? @{$o{answer}} : $o{answer} // ()) {
        ($request, $ended) = _answer($listener, $answer, $child);
        last if defined $ended;
        push @requests, $request;
    }
    if (!defined $ended) {
        waitpid $child, 0;
        $ended = $?;
    }
    my @shown = Secrets::shown([@secrets, Secrets::of_files(grep { defined } $ENV{SERVICELESS_KEY_FILE})], $out, $err);
    croak "`serviceless @$words` printed a key: @shown" if @shown;
    my $status = $ended & 127 ? "signal $ended" : $ended >> 8;
    return {status => $status, out => _slurp($out), err => _slurp($err), request => $requests[0], requests => \@requests};
}

1;
