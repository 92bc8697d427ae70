# SPDX-License-Identifier: Apache-2.0
package OneServer;

# The server that Apache::Test started, as t/*.t see it.  Its node is `one`; its keys are in t/conf/keys.
use strict;
use warnings;
use Apache::Test ();
use Client ();
use Exporter qw(import);
use Poll;
use Test::More;

our @EXPORT = qw(at_once client error_log is_counted is_problem is_refused keys_of port_of refusals rejected restart_gracefully runs
    runs_of server_lives settle stored);

my $SETTLED = 30; # seconds in which accepted calls run, and log lines appear

sub _slurp {
    my ($path) = @_;
    open my $file, '<', $path or return '';
    local $/;
    return <$file> // '';
}

# The secret of a key: main, caller, narrow, picky, peer; other, reader and mate, and small, are those of virtual hosts.
sub keys_of {
    my ($id) = @_;
    my ($secret) = map { _slurp($_) =~ /^\Q$id\E (\S+)/m } glob Apache::Test::vars('t_conf') . '/keys*';
    return $secret // die "no key $id";
}

# The port of a virtual host of t/conf/hosts.conf.in.
sub port_of {
    my ($host) = @_;
    return Apache::Test::vars($host . '_port') // die "no virtual host $host";
}

# A client of the server; signs with the key main unless told otherwise.
sub client {
    my (%o) = @_;
    return Client->new(host => '127.0.0.1', port => Apache::Test::vars('port'), secret => keys_of('main'), %o);
}

# What was logged; with a position from an earlier length(error_log()): since then.
sub error_log {
    my ($from) = @_;
    return substr _slurp(Apache::Test::vars('t_logs') . '/error_log'), $from // 0;
}

# The runs of runlog.*, as {id, node, pid, function, origin, seq, rerun, args}: with an id, of that call; else all.
sub runs_of {
    my ($id) = @_;
    my @runs;
    for (split /\n/, _slurp(Apache::Test::vars('t_logs') . '/run.log')) {
        my %run;
        @run{qw(id node pid time function origin seq rerun args)} = split / /, $_, 9;
        push @runs, \%run if defined $id ? $run{id} eq $id : $run{id} ne 'missed'; # what functions are told of is no run
    }
    return @runs;
}

# How many they are.
sub runs {
    my ($id) = @_;
    return scalar(() = runs_of($id));
}

# True when an ordinary call is answered.
sub server_lives {
    my $answer = client()->call('runlog.note', ['alive']);
    return $answer->{status} == 200 && $answer->{signed} && $answer->{json}{outcome} eq 'ok';
}

# Sends messages over as many connections at once; returns the answers.
sub at_once {
    my ($id, @messages) = @_;
    my @clients = map { client() } @messages;
    $clients[$_]->begin($messages[$_], id => $id) for 0 .. $#clients;
    return map { $_->finish } @clients;
}

my %header_of = (401 => ['www-authenticate', 'Webhook realm="serviceless"'], 405 => ['allow', 'POST'], 503 => ['retry-after', '1']);

# A test: the answer is a problem document of RFC 9457 with $status, with the header that goes with it.
sub is_problem {
    my ($answer, $status, $name) = @_;
    my ($header, $value) = @{$header_of{$status} // ['content-type', 'application/problem+json']};
    my $problem = ref $answer->{json} eq 'HASH' ? $answer->{json} : {};
    my @wrong;
    push @wrong, "status $answer->{status}" . ($answer->{error} ? ", $answer->{error}" : '') if $answer->{status} != $status;
    push @wrong, 'content type ' . ($answer->{headers}{'content-type'} // 'none')
        if ($answer->{headers}{'content-type'} // '') ne 'application/problem+json';
    push @wrong, "body $answer->{body}"
        unless join(' ', sort keys %$problem) eq 'detail status title type' && $problem->{status} == $status
        && $problem->{type} eq 'about:blank' && $problem->{title} =~ /^[A-Z]/ && length $problem->{detail};
    push @wrong, "unprintable bytes in the body $answer->{body}" if $answer->{body} =~ /[^\x20-\x7e]/;
    push @wrong, "$header: " . ($answer->{headers}{$header} // 'none') if ($answer->{headers}{$header} // '') ne $value;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return ok(!@wrong, "$name: $status, as a problem document") || diag(join "\n", @wrong) && 0;
}

my %status_page; # a client for each port

sub _metrics {
    my ($port) = @_;
    return ($status_page{$port} //= client(port => $port))->get('/serviceless-status?format=prometheus')->{body};
}

# serviceless_rejected_total of the node at a port (default: the server's own): {reason => number}.
sub rejected {
    my ($port) = @_;
    return {_metrics($port // client()->{port}) =~ /^serviceless_rejected_total\{reason="([\w-]+)"\} (\d+)$/mg};
}

# Waits until all that was accepted has run.
sub settle {
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return eventually { _metrics(client()->{port}) =~ /^serviceless_pending_calls 0$/m } $SETTLED, 'all accepted calls have run';
}

# The logs of all nodes of the server as the command prints them.
sub stored {
    open my $out, '-|', "$ENV{SVL_WORK}/serviceless", 'log', '--json', Apache::Test::vars('serverroot') . '/state-of-nodes'
        or die "cannot run the command: $!";
    my $text = do { local $/; <$out> };
    close $out or die "serviceless log: status $?";
    return $text;
}

# A graceful restart; returns when the new generation has taken over.
sub restart_gracefully {
    my $generations = sub { return scalar(() = error_log() =~ /resuming normal operations/g) };
    my $before = $generations->();
    kill 'USR1', _slurp(Apache::Test::vars('t_pid_file')) =~ /^(\d+)/ or die "cannot signal the server: $!";
    poll { $generations->() > $before } $SETTLED or die 'the server did not restart';
    %status_page = (); # a child of the old generation may have such a connection still
    return;
}

our $subtest; # of refusals, while it runs: {again => {reason => sub}, ids => [], hostile => []}

sub _is_free {
    my ($id, $name) = @_;
    my $answer = client()->call('runlog.note', ['after a refusal'], id => $id);
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return is("$answer->{status} " . ($answer->{json}{duplicate} ? 'duplicate' : 'new'), '200 new', "$name: its id is free");
}

# Does what must be refused, and returns what it returns: nothing runs, and one refusal more is counted.  Options: reason (its label; empty:
# httpd refuses, and nothing is counted; none: any), port, hostile (text that may not reach the error log).
sub is_counted {
    my ($name, $refused, %o) = @_;
    my $port = $o{port} // client()->{port};
    my ($runs, $before) = (scalar runs(), rejected($port));
    my $answer = $refused->();
    my $after = rejected($port);
    my %more = map { $after->{$_} == $before->{$_} ? () : ($_ => $after->{$_} - $before->{$_}) } keys %$after;
    my $reason = $o{reason} // join ' and ', sort keys %more;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    is(runs(), $runs, "$name: nothing ran");
    is_deeply(\%more, defined $o{reason} && $reason eq '' ? {} : {$reason => 1}, "$name: counted as " . ($reason || 'nothing') . ', once');
    if ($subtest) {
        $subtest->{again}{$reason} //= $refused if $reason ne '';
        push @{$subtest->{hostile}}, $o{hostile} // ();
    }
    return $answer;
}

# Posts a body that must get $status: nothing runs, it is counted, and the id is not remembered.  Options: client; taken (true: the id
# is that of a call); those of is_counted, and those of Client::post.
sub is_refused {
    my ($status, $name, $body, %o) = @_;
    my $client = delete $o{client} // client();
    my ($taken, $id) = (delete $o{taken}, $o{id} //= Client::make_id());
    my %counted = (port => $client->{port}, map { $_ => delete $o{$_} } grep { exists $o{$_} } qw(hostile port reason));
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $answer = is_counted($name, sub { $client->post($body, %o) }, %counted);
    is_problem($answer, $status, $name);
    if (!$taken && $id =~ /^[A-Za-z0-9_-]{1,64}\z/) {
        $subtest ? push @{$subtest->{ids}}, [$id, $name] : _is_free($id, $name);
    }
    return $answer;
}

# A subtest of refusals and nothing else: afterwards the logs of the nodes are byte for byte what they were, the error log has a line with
# the client's address for each reason (once a second at most) and shows nothing of what was sent raw, and each id is free.
sub refusals {
    my ($name, $block) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return subtest $name => sub {
        local $subtest = {again => {}, ids => [], hostile => []};
        settle();
        my ($stored, $from) = (stored(), length error_log());
        $block->();
        ok($stored eq stored(), 'the logs of the nodes are unchanged');
        for my $reason (sort keys %{$subtest->{again}}) {
            eventually {
                error_log($from) =~ /\[client 127\.0\.0\.1:\d+\] SVL0151: refused: \Q$reason\E \(\d{3}\)/
                    or $subtest->{again}{$reason}->() && 0;
            } $SETTLED, "a line tells the reason $reason, and the address";
        }
        my $log = error_log($from);
        unlike($log, qr/[^\x20-\x7e\n]/, 'nothing unprintable in it');
        is(scalar(grep { !/^\[/ } split /\n/, $log), 0, 'no line that a request began');
        is_deeply([grep { index($log, $_) >= 0 } @{$subtest->{hostile}}], [], 'nothing of what was sent as it was sent');
        _is_free(@$_) for @{$subtest->{ids}};
    };
}

1;
