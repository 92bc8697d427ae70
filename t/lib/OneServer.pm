# SPDX-License-Identifier: Apache-2.0
package OneServer;

# The server that Apache::Test started, as t/*.t see it.  Its node is `one`; its keys are in t/conf/keys.
use strict;
use warnings;
use Apache::Test ();
use Client ();
use Exporter qw(import);
use Test::More;

our @EXPORT = qw(client error_log is_problem is_refused keys_of port_of runs runs_of server_lives);

sub _slurp {
    my ($path) = @_;
    open my $file, '<', $path or return '';
    local $/;
    return <$file> // '';
}

# The secret of a key: main, caller, narrow, picky, peer; other and small are those of virtual hosts.
sub keys_of {
    my ($id) = @_;
    my $path = Apache::Test::vars('t_conf') . '/keys';
    my ($secret) = _slurp(-e "$path-of-$id" ? "$path-of-$id" : $path) =~ /^\Q$id\E (\S+)/m;
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

# Posts a body that must get $status: nothing runs, and the id is not remembered.  Options: client, and those of Client::post.
sub is_refused {
    my ($status, $name, $body, %o) = @_;
    my $client = delete $o{client} // client();
    my $id = $o{id} //= Client::make_id();
    my $before = runs();
    my $answer = $client->post($body, %o);
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    is_problem($answer, $status, $name);
    is(runs(), $before, "$name: nothing ran");
    if ($id =~ /^[A-Za-z0-9_-]{1,64}\z/) {
        my $after = client()->call('runlog.note', ['after a refusal'], id => $id);
        is("$after->{status} " . ($after->{json}{duplicate} ? 'duplicate' : 'new'), '200 new', "$name: its id is free");
    }
    return $answer;
}

1;
