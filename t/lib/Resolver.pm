# SPDX-License-Identifier: Apache-2.0
package Resolver;

# A name server on loopback for the test and its servers, which answers as it is told: a process of its own that ends with the test.  It
# needs root and Mounts, whose namespace gets an /etc/resolv.conf that names it alone.
#
#   my $resolver = Resolver->new or ...;  # undef: port 53 is not to be had
#   $resolver->mode('address');           # 127.0.0.1 for every name; 'silent': no answer; 'failure': SERVFAIL; 'none': no such name
use strict;
use warnings;
use Carp qw(croak);
use Fleet::Edit qw(write_file);
use IO::Select;
use IO::Socket::INET;
use Mounts qw(if_may);
use POSIX ();

my $ADDRESS = '127.7.7.53'; # nobody else listens there
my %code = (address => 0, failure => 2, none => 3);
my @resolvers;

sub new {
    my ($class, $directory) = @_;
    return unless Mounts::own();
    my $socket = IO::Socket::INET->new(Proto => 'udp', LocalAddr => $ADDRESS, LocalPort => 53) or return;
    my $self = bless {directory => $directory, owner => $$}, $class;

    write_file("$directory/resolv.conf", 0644, "nameserver $ADDRESS\noptions timeout:5 attempts:2\n");
    Mounts::quietly('mount', '--bind', "$directory/resolv.conf", '/etc/resolv.conf') or return;
    $self->mode('none');
    $self->{pid} = fork // croak "cannot fork: $!";
    if (!$self->{pid}) {
        $SIG{$_} = 'DEFAULT' for qw(INT TERM HUP ALRM);
        $self->_run($socket);
        POSIX::_exit(0);
    }
    push @resolvers, $self;
    return $self;
}

sub mode {
    my ($self, $mode) = @_;
    croak "no mode $mode" unless $mode eq 'silent' || defined $code{$mode};
    write_file("$self->{directory}/resolver.new", 0644, $mode);
    rename "$self->{directory}/resolver.new", "$self->{directory}/resolver.mode" or croak "cannot set the mode: $!";
    return;
}

sub _run {
    my ($self, $socket) = @_;
    while (getppid == $self->{owner}) {
        next unless IO::Select->new($socket)->can_read(1);
        my $from = $socket->recv(my $query, 512) // next;
        open my $file, '<', "$self->{directory}/resolver.mode" or next;
        my $code = $code{scalar <$file>} // next;
        # RFC 1035, 4.1: the question follows 12 bytes, a name as counted labels, then its type and class
        my ($id, undef, undef, undef, undef, undef, $rest) = unpack 'n6a*', $query;
        my ($question, $type) = $rest =~ /^((?:[^\0].*?)?\0(..)..)/s or next;
        my $found = $code == 0 && unpack('n', $type) == 1;
        my $answer = $found ? pack 'n3Nn a4', 0xc00c, 1, 1, 0, 4, "\x7f\0\0\x01" : '';
        $socket->send(pack('n6', $id, 0x8180 | $code, 1, $found ? 1 : 0, 0, 0) . $question . $answer, 0, $from);
    }
    return;
}

sub end {
    my ($self) = @_;
    my $pid = delete $self->{pid} or return;
    kill 'KILL', $pid;
    waitpid $pid, 0;
    return;
}

END {
    my $status = $?;
    $_->end for grep { $_->{owner} == $$ } @resolvers;
    $? = $status;
}

1;
