# SPDX-License-Identifier: Apache-2.0
package Bench::Peers;

# Redis and NATS on a free port of loopback, each with receivers that do the work of a node, and Erlang.  All of it ends with the bench.
#
#   my $redis = Bench::Peers->start('redis', receivers => 4, keys => $keys, directory => $directory);
#   my $answer = $redis->measure('latency', count => 300);
#   $redis->stop;
#   Bench::Peers->why_not('nats')         # false, or why it cannot be compared with
use strict;
use warnings;
use Bench::Fleet qw(generated);
use File::Basename qw(dirname);
use Fleet;
use Fleet::Edit qw(write_file);
use IO::Handle;
use IO::Socket::INET;
use POSIX ();

my $build = Fleet::build_directory();
my $BYTES = 200;
my $PATIENCE = 10; # seconds for a server to listen
my @started;
my $erlang; # why it cannot be compared with; '': it can

sub _program {
    my ($name) = @_;
    my ($path) = grep { -x } map { "$_/$name" } split(/:/, $ENV{PATH}), qw(/usr/sbin /usr/local/sbin);
    return $path;
}

my %needs = (redis => ['redis-server', 'libhiredis-dev'], nats => ['nats-server', 'libnats-dev'], erlang => ['escript', undef]);

# It may lack crypto, epmd or a version that has them.
sub _try_erlang {
    return '' if eval { __PACKAGE__->erlang('multicall', 2, 1); 1 };
    return "it does not run: $@" =~ s/\s+\z//r;
}

sub why_not {
    my ($class, $kind) = @_;
    my ($server, $library) = @{$needs{$kind}};
    return $erlang //= _try_erlang() if $kind eq 'erlang' && _program($server);
    return "$server is not installed" unless _program($server);
    return "built without $library" if $library && !-x "$build/bench/$kind";
    return;
}

sub _spawn {
    my ($self, $log, @command) = @_;
    my $pid = fork // die "cannot fork: $!\n";
    if (!$pid) {
        open STDOUT, '>', $log or die "cannot write $log: $!\n";
        open STDERR, '>', "$log.errors" or die "cannot write $log.errors: $!\n";
        exec @command or die "cannot start $command[0]: $!\n";
    }
    push @{$self->{pids}}, $pid;
    return;
}

sub start {
    my ($class, $kind, %o) = @_;
    my $self = bless {%o, kind => $kind, port => Fleet::free_port('127.0.0.1'), pids => [], owner => $$}, $class;
    my $files = "$o{directory}/$kind";
    my @command = (_program($needs{$kind}[0]));

    $self->{board} = "$files.board";
    unlink $self->{board};
    push @started, $self;
    if ($kind eq 'redis') { # without its limit, which cuts off who lags
        push @command, '--save', '', '--appendonly', 'no', '--bind', '127.0.0.1', '--port', $self->{port}, '--daemonize', 'no',
            '--client-output-buffer-limit', 'pubsub 0 0 0';
    }
    else {
        write_file("$files.conf", 0644, qq{listen: "127.0.0.1:$self->{port}"\nmax_pending: 1073741824\nwrite_deadline: "60s"\n});
        push @command, '-c', "$files.conf";
    }
    $self->_spawn("$files.log", @command);
    poll { IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $self->{port}) } $PATIENCE or die "$kind does not listen after $PATIENCE s\n";
    for my $place (0 .. $o{receivers} - 1) {
        $self->_spawn("$files.$place", $self->_generator('receive', $place, count => 0));
        poll { -s "$files.$place" } $PATIENCE or die "a receiver of $kind is not ready after $PATIENCE s\n";
    }
    return $self;
}

sub _generator {
    my ($self, $what, $place, %o) = @_;
    return ("$build/bench/$self->{kind}", $what, $self->{board}, $self->{keys}, $self->{receivers}, $BYTES, $o{count}, $o{batch} // 1,
        $self->{port}, $place);
}

sub measure {
    my ($self, $what, %o) = @_;
    return generated($self->_generator($what, 0, %o));
}

sub erlang {
    my ($class, $what, $nodes, $count) = @_;
    return generated(_program('escript'), dirname(__FILE__) . '/../erlang.escript', $what, $nodes, $BYTES, $count);
}

sub stop {
    my ($self) = @_;
    my @pids = @{$self->{pids}};
    $self->{pids} = [];
    kill 'TERM', @pids;
    for my $pid (@pids) {
        next if poll { waitpid $pid, POSIX::WNOHANG } $PATIENCE;
        kill 'KILL', $pid;
        waitpid $pid, 0;
    }
    return;
}

END {
    my $status = $?;
    $_->stop for grep { $_->{owner} == $$ } @started;
    $? = $status;
}

1;
