# SPDX-License-Identifier: Apache-2.0
package FaultProxy;

# Stands before a node, and behaves or not: a process of its own that ends with the test.
#
#   my $proxy = FaultProxy->new(node => $n2);
#   edit_conf($_, sub { $proxy->stand_in }) for @others;      # before they start
#   $proxy->mode('hang');                                     # of connections from now on
#   $proxy->requests                                          # "mode path" of each that came, also those that were not passed on
#
# Modes: pass; and as the table of answers below says.  What is not passed on, the node does not get.
use strict;
use warnings;
use Carp qw(croak);
use Client qw(json);
use Fleet ();
use Fleet::Edit qw(write_file);
use IO::Select;
use IO::Socket::INET;
use Played ();
use POSIX ();
use Time::HiRes qw(time);

my $ENORMOUS = 64 * 1024 * 1024; # bytes
my @proxies;

sub _plain {
    my ($status, @lines) = @_;
    return join "\r\n", "HTTP/1.1 $status", 'Content-Type: text/plain', 'Content-Length: 6', 'Connection: close', @lines, '', "words\n";
}

sub _rest { 1 while sysread $_[0], my $rest, 65536; return } # until the other side gives up

sub _drip {
    my ($socket, $head) = @_;
    syswrite $socket, $head;
    until (IO::Select->new($socket)->can_read(1)) { # the other side says nothing until it closes
        syswrite $socket, 'x';
    }
    return;
}

sub _flood {
    my ($socket, $head) = @_;
    my $block = 'x' x 65536;
    syswrite $socket, $head;
    for (1 .. $ENORMOUS / length $block) {
        syswrite $socket, $block or return;
    }
    return;
}

# What is done with a request that was read: ($self, $socket, $request).
my %answers = (
    hang       => sub { _rest($_[1]) },
    drip       => sub { _drip($_[1], "HTTP/1.1 202 Accepted\r\nX-Slow: ") },
    drip_body  => sub { _drip($_[1], "HTTP/1.1 202 Accepted\r\nContent-Length: 1000\r\n\r\n") },
    enormous   => sub { _flood($_[1], "HTTP/1.1 202 Accepted\r\nConnection: close\r\n\r\n") },
    headers    => sub { _flood($_[1], "HTTP/1.1 202 Accepted\r\nX-Long: ") },
    error      => sub { syswrite $_[1], _plain('500 Internal Server Error') },
    redirect   => sub { syswrite $_[1], _plain('307 Temporary Redirect', "Location: http://127.0.0.1:$_[0]{port}/elsewhere") },
    garbage    => sub { syswrite $_[1], join '', map { chr $_ % 256 } 1 .. 1000 },
    close      => sub { },
    unsigned   => sub { syswrite $_[1], $_[0]{played}->acknowledgement($_[2], unsigned => 1) },
    stranger   => sub { syswrite $_[1], $_[0]{played}->acknowledgement($_[2], secret => 'whsec_' . 'A' x 43 . '=') },
    old_answer => sub { syswrite $_[1], $_[0]{played}->acknowledgement($_[2], id => "another:$_[0]{node}{name}") },
    not_json   => sub { syswrite $_[1], $_[0]{played}->acknowledgement($_[2], body => 'accepted') },
);

sub modes { return sort keys %answers }

sub new {
    my ($class, %self) = @_;
    my $node = $self{node};
    my $self = bless {%self, owner => $$, directory => $node->directory}, $class;
    $self->{port} = $self{port} // Fleet::free_port('127.0.0.1');
    my $listener = IO::Socket::INET->new(Listen => 128, LocalAddr => '127.0.0.1', LocalPort => $self->{port}, ReuseAddr => 1)
        or croak "cannot listen on port $self->{port}: $@";
    $self->mode('pass');
    $self->{pid} = fork // croak "cannot fork: $!";
    if (!$self->{pid}) {
        $self->_run($listener);
        POSIX::_exit(0);
    }
    push @proxies, $self;
    return $self;
}

sub mode {
    my ($self, $mode) = @_;
    croak "no mode $mode" unless $mode eq 'pass' || $answers{$mode};
    write_file("$self->{directory}/proxy.new", 0644, $mode);
    rename "$self->{directory}/proxy.new", "$self->{directory}/proxy.mode" or croak "cannot set the mode: $!";
    return;
}

sub _mode {
    my ($self) = @_;
    open my $file, '<', "$self->{directory}/proxy.mode" or return 'close';
    return scalar <$file>;
}

# In $_, the configuration of another node: the proxy instead of the node.
sub stand_in {
    my ($self) = @_;
    my ($name, $authority) = ($self->{node}->name, $self->{node}->authority);
    s{^(ServicelessNodes \Q$name\E=http://)\Q$authority\E$}{${1}127.0.0.1:$self->{port}}m or croak "no line for $name";
    return;
}

sub requests {
    my ($self) = @_;
    open my $log, '<', "$self->{directory}/proxy.log" or return;
    return map { chomp; $_ } <$log>;
}

sub _note {
    my ($self, $text) = @_;
    open my $log, '>>', "$self->{directory}/proxy.log" or return;
    syswrite $log, "$text\n";
    return;
}

# A process for each connection, so that none waits for another.
sub _run {
    my ($self, $listener) = @_;
    setpgrp;
    $SIG{$_} = 'DEFAULT' for qw(INT TERM HUP ALRM);
    $SIG{PIPE} = 'IGNORE';
    $SIG{CHLD} = 'IGNORE';
    $self->{played} = bless {name => $self->{node}->name, secret => $self->{node}{fleet}{secret}}, 'Played';
    while (getppid == $self->{owner}) {
        next unless IO::Select->new($listener)->can_read(1);
        my $socket = $listener->accept or next;
        next if fork;
        close $listener;
        $self->_serve($socket);
        POSIX::_exit(0);
    }
    return;
}

sub _serve {
    my ($self, $socket) = @_;
    return unless IO::Select->new($socket)->can_read(30); # the mode is that of when the request comes
    my $mode = $self->_mode;
    return $self->_pass($socket) if $mode eq 'pass';
    my $request = Played::_request($socket, time + 30) or return;
    $self->_note("$mode $request->{path}");
    $answers{$mode}->($self, $socket, $request);
    shutdown $socket, 1;
    return;
}

# Bytes both ways, until either side has enough or the mode changes: a kept connection is no way around a fault.  A request that came before
# has its answer.
sub _pass {
    my ($self, $socket) = @_;
    my $node = IO::Socket::INET->new(PeerAddr => $self->{node}->host, PeerPort => $self->{node}->port, Timeout => 5) or return;
    my %other = ($socket => $node, $node => $socket);
    my $both = IO::Select->new($socket, $node);
    my $waiting = 1; # for an answer
    while (1) {
        my @ready = $both->can_read(0.05);
        return if $self->_mode ne 'pass' && !$waiting && (!@ready || grep { $_ == $socket } @ready);
        for my $from (@ready) {
            my $length = sysread $from, my $bytes, 65536 or return;
            for (my $sent = 0; $sent < $length;) {
                $sent += syswrite($other{$from}, $bytes, $length - $sent, $sent) // return;
            }
            $waiting = $from == $socket;
            $self->_note('passed') unless $waiting;
        }
    }
    return;
}

sub end {
    my ($self) = @_;
    my $pid = delete $self->{pid} or return;
    kill 'KILL', -$pid, $pid;
    waitpid $pid, 0;
    return;
}

END {
    my $status = $?;
    $_->end for grep { $_->{owner} == $$ } @proxies;
    $? = $status;
}

1;
