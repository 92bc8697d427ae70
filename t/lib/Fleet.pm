# SPDX-License-Identifier: Apache-2.0
package Fleet;

# Several httpd servers that are nodes of one fleet, on loopback, for one test.
#
#   use Fleet;
#   my $fleet = Fleet->new(nodes => 5, mode => 'broadcast')->start;
#   my $answer = $fleet->node('n1')->call('runlog.note', ['x']);
#   $fleet->once([$answer->{json}{id}], 'every node ran it once');
#
# Options of new: nodes (number; their names are n1, n2, …), hosts (addresses, one a node), port (one for all, with hosts), mode,
# durability, mpm (default: SVL_TEST_MPM, else event), directives (text for every node), each ({name => text}, or a sub that gets the
# Fleet::Node and returns text), server_name (sub likewise), crashes (true: the test makes children crash), preload (of the build: a
# library for every httpd).
# Everything is in a directory of its own below SVL_TEST_TMP (default /var/tmp: a real disk, which ServicelessDurability fsync needs);
# it is removed when the tests passed, else kept and named.  All servers end with the test, however it ends.
use strict;
use warnings;
use Carp qw(croak);
use Exporter qw(import);
use File::Basename qw(dirname);
use File::Path qw(remove_tree);
use File::Spec;
use File::Temp ();
use Fleet::Node ();
use IO::Socket::INET;
use List::Util qw(sum0);
use MIME::Base64 qw(encode_base64);
use Poll;
use Secrets ();
use Test::More;
use Time::HiRes qw(time);

our @EXPORT = @Poll::EXPORT;

my $DEADLINE = 300; # seconds that one test file may take
my $LONG = 1200;    # the same, in the long form of t/fault
my @fleets;

# Where the modules were built: SVL_BUILDDIR, else ./build, else the top.
sub build_directory {
    return $ENV{SVL_BUILDDIR} if $ENV{SVL_BUILDDIR};
    my $top = File::Spec->rel2abs(File::Spec->catdir(dirname(__FILE__), '..', '..'));
    return -d "$top/build" ? "$top/build" : $top;
}

# Ports outside the range that the kernel takes for outgoing connections, in a block of this process's own, so that a node that is down
# keeps its port though other tests run at the same time.  Who listens on the first port of a block has it.
my ($PORT_MIN, $PORT_MAX, $BLOCK) = (12000, 32000, 200);
my ($guard, $guarded_by, $block, $next);

sub _listens {
    my ($host, $port) = @_;
    return IO::Socket::INET->new(Listen => 1, LocalAddr => $host, LocalPort => $port, ReuseAddr => 1);
}

sub _take_block {
    for (1 .. 1000) {
        $block = $PORT_MIN + $BLOCK * int rand(($PORT_MAX - $PORT_MIN) / $BLOCK);
        $guard = _listens('127.0.0.1', $block) or next;
        ($guarded_by, $next) = ($$, 0);
        return;
    }
    croak 'no free ports on 127.0.0.1';
}

sub free_port {
    my ($host) = @_;
    _take_block() if ($guarded_by // 0) != $$;
    for (1 .. $BLOCK) {
        $next = $next % ($BLOCK - 1) + 1;
        return $block + $next if _listens($host, $block + $next);
    }
    croak "no free port on $host";
}

sub _key_line {
    open my $random, '<:raw', '/dev/urandom' or croak "cannot open /dev/urandom: $!";
    read $random, my $secret, 32;
    return 'whsec_' . encode_base64($secret, '');
}

sub _write {
    my ($path, $mode, $text) = @_;
    open my $file, '>', $path or croak "cannot write $path: $!";
    chmod $mode, $path;
    print $file $text;
    close $file or croak "cannot write $path: $!";
    return;
}

sub new {
    my ($class, %o) = @_;
    my $self = bless {mode => 'bounce', durability => 'fsync', directives => '', each => {}, mpm => $ENV{SVL_TEST_MPM} || 'event',
                      %o, owner => $$, build => build_directory()}, $class;
    my $count = $o{nodes} // scalar @{$o{hosts} // []};
    my %taken;

    croak 'how many nodes?' unless $count;
    $self->{preload} = "$self->{build}/.libs/$o{preload}.so" if $o{preload};
    $self->{directory} = File::Temp::tempdir('svl-fleet.XXXXXX', DIR => $ENV{SVL_TEST_TMP} || '/var/tmp');
    chmod 0755, $self->{directory};
    @{$self}{qw(user group)} = _runtime_user() unless $>;
    mkdir "$self->{directory}/reports"; # of sanitizers, and core files: the children may be of another user
    chmod 0777, "$self->{directory}/reports";
    $self->{secret} = _key_line();
    $self->{key_file} = "$self->{directory}/keys";
    _write($self->{key_file}, 0600, "main $self->{secret}\n");
    for my $i (1 .. $count) {
        my $host = $o{hosts} ? $o{hosts}[$i - 1] : '127.0.0.1';
        my $port = $o{port};
        until ($port) {
            $port = free_port($host);
            $port = undef if $taken{$port}++;
        }
        push @{$self->{list}}, Fleet::Node->new(fleet => $self, name => "n$i", host => $host, port => $port);
    }
    for my $node (@{$self->{list}}) {
        mkdir $node->directory or croak 'cannot make ' . $node->directory . ": $!";
        _write($node->directory . '/run.log', 0644, '');
        _write($node->directory . '/httpd.conf', 0644, $self->_conf($node));
    }
    push @fleets, $self;
    alarm(($ENV{SVL_FAULT} // '') eq 'long' ? $LONG : $DEADLINE);
    return $self;
}

# Who httpd's children shall be when it starts as root.
sub _runtime_user {
    for (['www-data', 'www-data'], ['nobody', 'nogroup'], ['nobody', 'nobody']) {
        return @$_ if defined getpwnam $_->[0] && defined getgrnam $_->[1];
    }
    croak 'this system has no user www-data nor nobody';
}

my %mpm = (
    threaded => "ServerLimit 8\nStartServers 2\nThreadLimit 16\nThreadsPerChild 16\nMinSpareThreads 8\nMaxSpareThreads 96\n"
        . "MaxRequestWorkers 128\n",
    prefork => "ServerLimit 48\nStartServers 6\nMinSpareServers 4\nMaxSpareServers 24\nMaxRequestWorkers 48\n",
);

sub _load {
    my ($name, $directory) = @_;
    my $file = "$directory/mod_$name.so";
    return "LoadModule ${name}_module \"$file\"\n";
}

sub _conf {
    my ($self, $node) = @_;
    my $system = $ENV{SVL_LIBEXECDIR} || '/usr/lib/apache2/modules';
    my $directory = $node->directory;
    my $server_name = $self->{server_name} ? $self->{server_name}->($node) : $node->authority;
    my $each = ref $self->{each} eq 'CODE' ? $self->{each}->($node) : $self->{each}{$node->name};
    my $conf = "ServerRoot \"$directory\"\nDefaultRuntimeDir \"$directory\"\nPidFile \"$directory/httpd.pid\"\n"
        . 'Listen ' . $node->authority . "\nServerName $server_name\n"
        . _load("mpm_$self->{mpm}", $system) . _load('authz_core', $system)
        . join('', map { _load($_, "$self->{build}/.libs") } qw(serviceless serviceless_example runlog))
        . _load('backtrace', "$self->{build}/.libs") . "BacktraceDirectory \"$self->{directory}/reports\"\n"
        . ($self->{user} ? "User $self->{user}\nGroup $self->{group}\n" : '')
        . ($mpm{$self->{mpm}} || $mpm{threaded})
        . "ErrorLog \"$directory/error.log\"\nCoreDumpDirectory \"$self->{directory}/reports\"\nLogLevel notice serviceless:debug\nTimeout 30\nKeepAlive On\n"
        . "KeepAliveTimeout 15\nMaxKeepAliveRequests 0\n"
        . "ServicelessKeyFile \"$self->{key_file}\"\nServicelessStateDir \"$directory/state\"\nServicelessMode $self->{mode}\n"
        . "ServicelessDurability $self->{durability}\nServicelessStoreSize 64m\nRunlogFile \"$directory/run.log\"\n";
    $conf .= 'ServicelessNodes ' . $_->name . '=http://' . $_->authority . "\n" for @{$self->{list}};
    return $conf . "<Location \"/serviceless\">\n    SetHandler serviceless\n</Location>\n"
        . "<Location \"/serviceless-status\">\n    SetHandler serviceless-status\n</Location>\n"
        . $self->{directives} . "\n" . ($each // '') . "\n";
}

sub nodes {
    my ($self) = @_;
    return @{$self->{list}};
}

sub names {
    my ($self) = @_;
    return map { $_->name } @{$self->{list}};
}

sub node {
    my ($self, $name) = @_;
    my ($node) = grep { $_->name eq $name } @{$self->{list}};
    return $node // croak "no node $name";
}

# Starts all nodes and waits until each listens, and no other one takes it for down: who starts first finds the others missing, and looks
# again a second later.
sub start {
    my ($self) = @_;
    $_->launch for $self->nodes;
    $_->wait_listening for $self->nodes;
    my @unsure = $self->nodes;
    poll { @unsure = grep { $_->sees_down } @unsure; !@unsure } 10;
    return $self;
}

sub stop {
    my ($self) = @_;
    $_->ask_to_stop for $self->nodes;
    $_->stop for $self->nodes;
    return;
}

# How often a call ran: {node name => number}, of nodes where it ran at all.
sub runs {
    my ($self, $id) = @_;
    return {map { my $n = $_->runs($id); $n ? ($_->name => $n) : () } $self->nodes};
}

# True when each of the calls ran on each of the nodes (default: all) at least once.
sub arrived {
    my ($self, $ids, @nodes) = @_;
    for my $node (@nodes ? @nodes : $self->nodes) {
        for my $id (@$ids) {
            return 0 unless $node->runs($id);
        }
    }
    return 1;
}

# Waits until no node has begun a run for $quiet seconds, at most 20 times as long.
sub settle {
    my ($self, $quiet) = @_;
    my ($last, $since) = (-1, time);
    poll {
        my $now = sum0 map { $_->runs } $self->nodes;
        ($last, $since) = ($now, time) if $now != $last;
        return time - $since > $quiet;
    } 20 * $quiet;
    return;
}

# The test of tests: each call ran exactly once on each of the nodes that live, and on no other more than once.  Options: living
# (nodes; default: all), deadline (seconds), quiet (seconds without a run that count as the end).
sub once {
    my ($self, $ids, $name, %o) = @_;
    my @living = @{$o{living} // [$self->nodes]};
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    poll { $self->arrived($ids, @living) } $o{deadline} // 20;
    $self->settle($o{quiet} // 0.3);
    my @wrong;
    for my $node ($self->nodes) {
        my $lives = grep { $_ == $node } @living;
        for my $id (@$ids) {
            my $runs = $node->runs($id);
            push @wrong, "$id ran $runs times on " . $node->name if $lives ? $runs != 1 : $runs > 1;
        }
    }
    my $more = @wrong > 10 ? @wrong - 10 : 0;
    return ok(!@wrong, $name) || diag(join "\n", @wrong[0 .. $#wrong - $more], $more ? "and $more more" : ()) && 0;
}

# The command, with the fleet's key file and the URL of $node; returns its exit status and what it printed.
sub command {
    my ($self, $node, @words) = @_;
    local @ENV{qw(SERVICELESS_URL SERVICELESS_KEY_FILE)} = ('http://' . $node->authority . '/serviceless', $self->{key_file});
    open my $out, '-|', "$self->{build}/serviceless", @words or croak "cannot run $self->{build}/serviceless: $!";
    my $text = do { local $/; <$out> };
    close $out;
    return ($? >> 8, $text);
}

# True when the child that a line of the error log says to have crashed did so in httpd's own code: in its first thread, with no module on
# the stack but the MPM.  Two such faults are known.  Event, when it is told to stop, closes the connections of busy workers without asking
# whether they are just ending them, and now and then touches one that is freed.  And the MPM's handler of the stop signal (prefork's; with
# others until a child has started) destroys pools and exits, though it may have interrupted malloc.
sub _is_httpds {
    my ($self, $line) = @_;
    my ($pid) = $line =~ /child pid (\d+) exit signal/ or return 0;
    open my $file, '<', "$self->{directory}/reports/backtrace.$pid" or return 0;
    my @frames = grep { !m{/mod_backtrace\.so|/lib(?:a|t|ub)san\.so} } <$file>;
    diag("$line\n@frames");
    my ($run) = grep { $frames[$_] =~ /\(ap_run_mpm\b/ } 0 .. $#frames;
    return 0 if !defined $run || grep { m{/mod_(?!mpm_)\w+\.so\b} } @frames[0 .. $run];
    my $kinds = join '', map { m{/mod_mpm_\w+\.so\b} ? 'M' : m{/libc\.so\b} ? 'c' : m{/libapr-1\.so\b} ? 'a' : 'x' } @frames[0 .. $run - 1];
    # What libc calls in the MPM is a signal's handler: the frame that it comes from is followed by what it interrupted.
    return $kinds !~ /x/ && $line =~ /Segmentation fault/ unless $kinds =~ /^(.*?M)c.*M\z/;
    my ($interrupted) = grep { !m{/libc\.so\.6\(\+0x} } @frames[length($1) + 1 .. $run];
    return $interrupted =~ m{/libc\.so\.6\((?:__libc_)?(?:malloc|calloc|realloc|memalign|free)\b};
}

# Lines of error logs that match: (name: line, …).
sub _lines {
    my ($self, $pattern) = @_;
    return map { my $node = $_; map { $node->name . ": $_" } grep { /$pattern/ && !$self->_is_httpds($_) } split /\n/, $node->error_log }
        $self->nodes;
}

# ThreadSanitizer lets a signal's handler run only when the thread comes by what it intercepts: processes stop some seconds later.
sub signals_are_late { return ($ENV{SVL_SANITIZER} // '') eq 'thread' }

# A test: no child crashed, or had to be killed because it did not leave.
sub no_crash {
    my ($self) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my @late = signals_are_late() ? ('sending a SIGKILL', 'could not make child') : 'still did not exit';
    my $bad = join '|', 'exit signal', 'core dumped', '\[(?:crit|alert|emerg)\]', @late;
    return is_deeply([$self->_lines($bad)], [],
                     'no child crashed or was killed');
}

# Where a server wrote a key of any of its key files.
sub _shown_keys {
    my ($self) = @_;
    my (@keys, @logs);
    for my $node ($self->nodes) {
        my $directory = $node->directory;
        open my $file, '<', "$directory/httpd.conf" or next;
        push @keys, map { /^\s*ServicelessKeyFile\s+"?([^"\n]+)/ } <$file>;
        push @logs, grep { -f } glob "$directory/*.log $directory/output";
    }
    return Secrets::shown([Secrets::of_files(@keys, $self->{key_file})], @logs, glob "$self->{directory}/reports/*.*");
}

# httpd and APR are not instrumented, so that ThreadSanitizer misses the atomics by which they hand pools and connections from thread to
# thread: of a data race where one side is theirs alone it cannot know.  (So it does not find a thread of ours that goes on using the memory
# of a request that has ended; AddressSanitizer does.)
sub is_ours {
    my ($report) = @_;
    my @accesses = $report =~ /^(  (?:Previous )?(?:atomic )?(?:read|write) of size .*?)(?:\n\n|\z)/gmsi;
    my $race = @accesses == 2 && $report =~ /ThreadSanitizer: data race/;
    return !grep { !/mod_serviceless|failed to restore the stack|#0 (?:free|realloc) / } @accesses if $race && $report =~ /mod_serviceless/;
    return $report =~ /mod_serviceless/;
}

# What must never be, whatever the test was about: a child that crashed (unless the fleet was made with crashes => 1), a key in a log, or
# a sanitizer's report.
sub _reports {
    my ($self) = @_;
    my @reports = ($self->{crashes} ? () : $self->_lines(qr/exit signal (?!Killed)/), $self->_shown_keys);
    for my $path (glob "$self->{directory}/reports/sanitizer.*") {
        open my $file, '<', $path or next;
        push @reports, map { "$path:\n$_" } grep { is_ours($_) || ($ENV{SVL_SANITIZER} // '') ne 'thread' }
            split /^={18,}\n/m, do { local $/; <$file> // '' };
    }
    return @reports;
}

sub _finish {
    my ($self, $passed) = @_;
    $_->dismiss for $self->nodes;
    $_->end for $self->nodes;
    my @reports = $self->_reports;
    diag(join "\n", @reports) if @reports;
    if ($passed && !@reports && !$ENV{SVL_TEST_KEEP}) {
        remove_tree($self->{directory});
    } else {
        diag("kept for you: $self->{directory}");
    }
    return !@reports;
}

$SIG{$_} = sub { exit 1 } for qw(INT TERM HUP);
$SIG{ALRM} = sub { die "this test took longer than $DEADLINE s\n" };

END {
    my $status = $?;
    alarm 0;
    my $passed = !$status && Test::More->builder->is_passing;
    for my $fleet (grep { $_->{owner} == $$ } @fleets) {
        $fleet->_finish($passed) or $status ||= 1;
    }
    $? = $status;
}

1;
