# SPDX-License-Identifier: Apache-2.0
package Load;

# Calls at an even rate, from a process of its own, while the test does something else.
#
#   my $load = Load->new(origins => [$n1, $n2], rate => 100);    # begins at once; function: runlog.note
#   …
#   my $told = $load->stop;      # {accepted => [ids], refused => [ids], unknown => [ids], seconds, rate, slowest, retries}
#
# Calls are due by the clock and go to the origins in turn, whether earlier ones were answered or not.  One that gets 5xx, or no
# answer within PATIENCE, is sent again with the same id to the next origin, as a client should do: it is accepted once any of them
# answers 200 or 202, refused on 4xx, and unknown when none has answered TRIES times.  An unknown call may have run.  An origin that
# did not answer, or has MOST requests in hand, is passed over for a moment, as by a balancer.
use strict;
use warnings;
use Carp qw(croak);
use Client qw(make_id);
use IO::Handle;
use IO::Select;
use POSIX ();
use Time::HiRes qw(time);

my $PATIENCE = 2; # seconds
my $TRIES = 20;
my $AGAIN = 0.2;  # seconds before a call is sent again
my $AVOID = 1;    # seconds that a silent origin is passed over
my $MOST = 64;    # requests that an origin may have in hand: a frozen one takes no connection beyond its backlog, for which a client waits

sub new {
    my ($class, %o) = @_;
    my $self = bless {function => 'runlog.note', %o}, $class;
    pipe my $read, my $write or croak "cannot make a pipe: $!";
    $self->{pid} = fork // croak "cannot fork: $!";
    if (!$self->{pid}) {
        close $read;
        eval { $self->_run($write); 1 } or print STDERR "load: $@";
        POSIX::_exit(0);
    }
    close $write;
    $self->{pipe} = $read;
    return $self;
}

# One line a call at its end; they are kept back until the test reads them, so that a full pipe stops nothing.
sub _run {
    my ($self, $pipe) = @_;
    my ($end, $test) = (0, getppid);
    local $SIG{TERM} = sub { $end ||= time };
    local $SIG{ALRM} = 'DEFAULT';
    @{$self}{qw(waiting again lines begun number)} = ({}, [], [], time, 0);
    until ($end && (!$self->_left || time > $end + $TRIES * $AGAIN + $PATIENCE)) {
        $self->_send(shift @{$self->{again}}) while @{$self->{again}} && $self->{again}[0]{due} <= time && $self->_free;
        $self->_send({origin => $self->{number}++, id => make_id(), tries => 0}) while !$end && $self->_due <= time && $self->_free;
        $self->_look;
        return if getppid != $test; # it died
    }
    push @{$self->{lines}}, map { "$_->{id} unknown $_->{tries} 0" } map({ $_->{call} } values %{$self->{waiting}}), @{$self->{again}};
    print $pipe join("\n", @{$self->{lines}}, sprintf 'end %.3f', ($end || time) - $self->{begun}) . "\n";
    close $pipe;
    return;
}

sub _left { return %{$_[0]{waiting}} || @{$_[0]{again}} }
sub _due { return $_[0]{begun} + $_[0]{number} / $_[0]{rate} }

# Origins that may be sent a call.
sub _free {
    my ($self) = @_;
    return grep { ($self->{avoid}{$_} // 0) < time && ($self->{in_hand}{$_} // 0) < $MOST } 0 .. $#{$self->{origins}};
}

# With one free at least.
sub _send {
    my ($self, $call) = @_;
    my @free = $self->_free;
    my $which = $free[$call->{origin} % @free];
    my $client = pop @{$self->{idle}{$which}} // $self->{origins}[$which]->client(timeout => $PATIENCE);
    $call->{tries}++;
    $call->{sent} = time;
    $client->begin($client->message($client->call_body($self->{function}, [$call->{id}]), id => $call->{id}), id => $call->{id});
    my $exchange = {client => $client, call => $call, which => $which};
    unless ($client->{socket}) {
        $client->finish;
        return $self->_again($exchange, 1);
    }
    $self->{waiting}{fileno $client->{socket}} = $exchange;
    $self->{in_hand}{$which}++;
    return;
}

# Until something is due, at most.
sub _look {
    my ($self) = @_;
    my $waiting = $self->{waiting};
    my $left = $self->_due - time;
    $left = 0.02 if $left > 0.02 || $left < 0;
    my @ready = IO::Select->new(map { $_->{client}{socket} } values %$waiting)->can_read($left);
    select undef, undef, undef, $left if !%$waiting;
    $self->_end($self->_taken(fileno $_)) for @ready;
    for my $descriptor (grep { $waiting->{$_}{call}{sent} + $PATIENCE < time } keys %$waiting) {
        my $exchange = $self->_taken($descriptor);
        $exchange->{client}->disconnect;
        $self->_again($exchange, 1);
    }
    return;
}

sub _taken {
    my ($self, $descriptor) = @_;
    my $exchange = delete $self->{waiting}{$descriptor};
    $self->{in_hand}{$exchange->{which}}--;
    return $exchange;
}

sub _end {
    my ($self, $exchange) = @_;
    my $call = $exchange->{call};
    my $answer = $exchange->{client}->finish;
    push @{$self->{idle}{$exchange->{which}}}, $exchange->{client};
    return $self->_again($exchange) if !$answer->{status} || $answer->{status} >= 500;
    push @{$self->{lines}}, join ' ', $call->{id}, $answer->{status} < 300 ? 'accepted' : 'refused', $call->{tries},
        sprintf '%.6f', time - $call->{sent};
    return;
}

sub _again {
    my ($self, $exchange, $silent) = @_;
    my $call = $exchange->{call};
    $self->{avoid}{$exchange->{which}} = time + $AVOID if $silent;
    if ($call->{tries} == $TRIES) {
        push @{$self->{lines}}, "$call->{id} unknown $call->{tries} 0";
        return;
    }
    $call->{origin}++;
    $call->{due} = time + $AGAIN;
    push @{$self->{again}}, $call;
    return;
}

# No further call; what is still to be answered goes on.
sub end {
    my ($self) = @_;
    kill 'TERM', $self->{pid};
    return;
}

# Waits for what is still to be answered.
sub stop {
    my ($self) = @_;
    my %told = (accepted => [], refused => [], unknown => [], retries => 0, slowest => 0, seconds => 0);
    $self->end;
    my $pipe = $self->{pipe};
    while (my $line = <$pipe>) {
        my ($id, $end, $tries, $took) = split ' ', $line;
        if ($id eq 'end') {
            $told{seconds} = $end;
            next;
        }
        push @{$told{$end}}, $id;
        $told{retries} += $tries - 1;
        $told{slowest} = $took if $took > $told{slowest};
    }
    waitpid $self->{pid}, 0;
    croak 'the load ended without a word' unless $told{seconds};
    $told{rate} = (@{$told{accepted}} + @{$told{refused}} + @{$told{unknown}}) / $told{seconds};
    return \%told;
}

1;
