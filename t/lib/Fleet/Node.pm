# SPDX-License-Identifier: Apache-2.0
package Fleet::Node;

# One httpd of a Fleet.  Its processes are one process group, led by the process of its pid file; signals go to that pid or group only.
use strict;
use warnings;
use Carp qw(croak);
use Client ();
use IO::Socket::INET;
use Poll;
use POSIX qw(:sys_wait_h);
use Time::HiRes qw(time);

my $START = 30; # seconds until a started server must listen
my $STOP = 15;  # seconds until a server that was told to stop must be gone

sub new {
    my ($class, %self) = @_;
    return bless {%self, log => {}, count => 0, read => 0}, $class;
}

sub name { return $_[0]{name} }
sub host { return $_[0]{host} }
sub port { return $_[0]{port} }
sub authority { return "$_[0]{host}:$_[0]{port}" }
sub directory { return "$_[0]{fleet}{directory}/$_[0]{name}" }
sub state_directory { return $_[0]->directory . "/state/$_[0]{name}" }

# Variables for the server's environment, from its next start on.
sub environment { my ($self, %variables) = @_; $self->{environment} = {%{$self->{environment} // {}}, %variables}; return }

sub _slurp {
    my ($path) = @_;
    open my $file, '<', $path or return '';
    local $/;
    return <$file> // '';
}

sub error_log { return _slurp($_[0]->directory . '/error.log') }

# The pid that the server wrote, or undef.
sub pid {
    my ($pid) = _slurp($_[0]->directory . '/httpd.pid') =~ /^(\d+)/;
    return $pid;
}

# Starts httpd as a child and a process group of its own.
sub launch {
    my ($self) = @_;
    my $directory = $self->directory;
    croak "$self->{name} runs already" if $self->{child};
    unlink "$directory/httpd.pid";
    $self->{resumed} = $self->_resumed;
    my $child = fork // croak "cannot fork: $!";
    if (!$child) {
        setpgrp;
        $SIG{$_} = 'DEFAULT' for qw(INT TERM HUP ALRM PIPE);
        open STDOUT, '>>', "$directory/output" or POSIX::_exit(127);
        open STDERR, '>&', \*STDOUT or POSIX::_exit(127);
        open STDIN, '<', '/dev/null' or POSIX::_exit(127);
        $ENV{LD_PRELOAD} = join ' ', grep { $_ } $ENV{SVL_PRELOAD}, $self->{fleet}{preload};
        my $options = "log_path=$self->{fleet}{directory}/reports/sanitizer.$self->{name}:log_exe_name=0";
        $ENV{ASAN_OPTIONS} = "detect_leaks=0:$options";
        $ENV{UBSAN_OPTIONS} = "print_stacktrace=1:$options";
        $ENV{TSAN_OPTIONS} = "report_thread_leaks=0:atexit_sleep_ms=0:$options";
        @ENV{keys %{$self->{environment}}} = values %{$self->{environment}} if $self->{environment};
        { exec $ENV{SVL_HTTPD} || '/usr/sbin/apache2', '-d', $directory, '-f', "$directory/httpd.conf", '-DFOREGROUND' }
        POSIX::_exit(127);
    }
    $self->{child} = $child;
    return $self;
}

# How often the server began its work.
sub _resumed {
    my ($self) = @_;
    return scalar(() = $self->error_log =~ /resuming normal operations/g);
}

# It listens before it is ready for signals.
sub wait_listening {
    my ($self) = @_;
    my $listens = poll {
        return $self->_reaped || $self->_resumed > $self->{resumed} && ($self->pid // 0) == $self->{child}
            && IO::Socket::INET->new(PeerAddr => $self->{host}, PeerPort => $self->{port}, Timeout => 1);
    } $START;
    return $self if $listens && $self->{child};
    croak "$self->{name} did not start:\n" . _slurp($self->directory . '/output') . $self->error_log;
}

sub start {
    my ($self) = @_;
    return $self->launch->wait_listening;
}

# True when the server's first process has ended; it is waited for, so that it leaves no zombie.
sub _reaped {
    my ($self) = @_;
    return 1 unless $self->{child};
    return 0 unless waitpid $self->{child}, WNOHANG;
    delete $self->{child};
    return 1;
}

sub _signal {
    my ($self, $signal, $group) = @_;
    my $pid = $self->pid // croak "$self->{name} has no pid file";
    croak "$self->{name}: the pid file names $pid, not our child" unless $pid == ($self->{child} // 0);
    kill $signal, $group ? -$pid : $pid;
    return $self;
}

sub running { return !$_[0]->_reaped }

# True when none of its processes is left.
sub _gone {
    my ($self, $group) = @_;
    return $self->_reaped && !kill 0, -$group;
}

# Stops in order, as `apachectl stop` does, or with WINCH `apachectl graceful-stop`.
sub ask_to_stop {
    my ($self, $signal) = @_;
    $self->_signal($signal // 'TERM') if $self->running && !$self->{asked}++;
    return;
}

sub stop {
    my ($self) = @_;
    my $group = $self->{child} // return;
    $self->ask_to_stop;
    poll { $self->_gone($group) } $STOP or croak "$self->{name} did not stop within $STOP s";
    delete $self->{asked};
    return;
}

# As a power failure of the process: all of its processes at once, no word to anybody.
sub kill9 {
    my ($self) = @_;
    my $group = $self->{child} // croak "$self->{name} does not run";
    $self->_signal('KILL', 1);
    poll { $self->_gone($group) } $STOP or croak "$self->{name} survived";
    $self->{client}->disconnect if $self->{client};
    return;
}

# SIGSTOP and SIGCONT to all of its processes: connections are taken by the kernel, and never answered.
sub freeze { $_[0]{frozen} = 1; return $_[0]->_signal('STOP', 1) }
sub thaw { delete $_[0]{frozen}; return $_[0]->_signal('CONT', 1) }

# A graceful restart.  Returns when the new generation has taken over.
sub graceful {
    my ($self) = @_;
    my $before = $self->_resumed;
    $self->_signal('USR1');
    poll { $self->_resumed > $before } $START
        or croak "$self->{name} did not restart:\n" . $self->error_log;
    return $self;
}

# Processes of the server that are not its first one.
sub children {
    my ($self) = @_;
    my $pid = $self->{child} // return;
    return split ' ', _slurp("/proc/$pid/task/$pid/children");
}

# For the end of the test, whatever state the node is in: tell it to go, then see that it went.
sub dismiss {
    my ($self) = @_;
    my $group = $self->{child} // return;
    kill 'CONT', -$group if delete $self->{frozen};
    kill 'TERM', $group;
    return;
}

sub end {
    my ($self) = @_;
    my $group = $self->{child} // return;
    return if poll { $self->_gone($group) } $STOP;
    kill 'KILL', -$group;
    poll { $self->_gone($group) } $STOP;
    return;
}

# A client of its own, or the node's.
sub client {
    my ($self, %o) = @_;
    return Client->new(host => $self->{host}, port => $self->{port}, secret => $self->{fleet}{secret}, %o);
}

sub _client { return $_[0]{client} //= $_[0]->client }
sub call { my ($self, @rest) = @_; return $self->_client->call(@rest) }
sub post { my ($self, @rest) = @_; return $self->_client->post(@rest) }
sub relay { my ($self, @rest) = @_; return $self->_client->relay(@rest) }
sub get { my ($self, @rest) = @_; return $self->_client->get(@rest) }
sub exchange { my ($self, @rest) = @_; return $self->_client->exchange(@rest) }

# What the status page says, decoded.
sub status { return $_[0]->get('/serviceless-status?format=json')->{json} }

# The names of those that it takes for down; none where its status cannot be read (https).
sub sees_down {
    my ($self) = @_;
    return if _slurp($self->directory . '/httpd.conf') =~ /^\s*SSLEngine/m;
    my $status = eval { $self->client(timeout => 5)->get('/serviceless-status?format=json')->{json} };
    return map { $_->{name} } grep { !$_->{up} } ref $status eq 'HASH' ? @{$status->{members} // []} : ();
}

# What mod_runlog noted since the last look is added: {id => [run, …]}, a run being {node, pid, time (seconds), function, origin, seq, rerun, args}.
sub _refresh {
    my ($self) = @_;
    open my $file, '<', $self->directory . '/run.log' or return;
    seek $file, $self->{read}, 0;
    while (my $line = <$file>) {
        last unless $line =~ /\n\z/;
        $self->{read} += length $line;
        chomp $line;
        my ($id, $node, $pid, $time, $function, $origin, $seq, $rerun, $args) = split / /, $line, 9;
        if ($id eq 'missed') {
            push @{$self->{missed}}, {pid => $pid, time => $time / 1e6, function => $function, calls => $args};
            next;
        }
        croak "$self->{name} noted a run of node $node" if $node ne $self->{name};
        push @{$self->{log}{$id}}, {node => $node, pid => $pid, time => $time / 1e6, function => $function, origin => $origin,
                                    seq => $seq, rerun => $rerun, args => $args};
        $self->{count}++;
    }
    return;
}

# How often a call ran here; without an id: how many runs there were.
sub runs {
    my ($self, $id) = @_;
    $self->_refresh;
    return defined $id ? scalar @{$self->{log}{$id} // []} : $self->{count};
}

# What the functions were told of missed calls: ({function, calls, pid, time}, …); of one function when it is named.
sub missed {
    my ($self, $function) = @_;
    $self->_refresh;
    return grep { !defined $function || $_->{function} eq $function } @{$self->{missed} // []};
}

# While it is held, a function that is told of missed calls waits before it notes that.
sub hold_missed {
    my ($self) = @_;
    my $path = $self->directory . '/run.log.hold';
    open my $file, '>', $path or croak "cannot write $path: $!";
    chmod 0666, $path;
    return;
}

sub release_missed { return unlink $_[0]->directory . '/run.log.hold' }

# The pids that wait so.
sub held_missed { return split ' ', _slurp($_[0]->directory . '/run.log.hold') }

sub runs_of {
    my ($self, $id) = @_;
    $self->_refresh;
    return @{$self->{log}{$id} // []};
}

1;
