# SPDX-License-Identifier: Apache-2.0
# MPMs: event prefork
# Reply all over ten nodes, of which several are in trouble: an outcome of each, the right one, by the deadline; and waiting for nodes that
# hang starves nothing else.
use strict;
use warnings;
use Client qw(make_id);
use Fleet;
use Fleet::Edit;
use IO::Select;
use List::Util qw(max);
use Test::More;
use Time::HiRes qw(time);

my $TIMEOUT = 3;   # seconds that a call waits
my $SLACK = 1;     # of a busy machine
my $PROMPT = 2;    # seconds until a living node has a relayed call
my $QUICK = 1;     # and until the origin answers something else
my $CALLS = 50;    # that wait at the same time

# All workers from the start: an MPM takes seconds to make more, whatever they are wanted for.
my %WORKERS = (prefork => "StartServers 48\nMinSpareServers 48\nMaxSpareServers 48\n", threaded => "StartServers 8\nMinSpareThreads 128\nMaxSpareThreads 128\n");

subtest 'ten outcomes, each the right one' => sub {
    my $fleet = Fleet->new(nodes => 10, directives => 'ServicelessConnectTimeout 1s');
    my ($n1, @others) = $fleet->nodes;
    my ($dead, $hung, $without, $failing, $locked, @fine) = @others;
    my $example = qr/^LoadModule serviceless_example_module .*\n/m;
    edit_conf($without, sub { s/$example// or die 'the example module is not loaded' });
    write_file($locked->directory . '/keys', 0600, "own whsec_" . 'A' x 43 . "= relay\nmain $fleet->{secret} call\n");
    edit_conf($locked, sub { s/^ServicelessKeyFile .*$/'ServicelessKeyFile "' . $locked->directory . '\/keys"'/me });
    $_->launch for $fleet->nodes;
    $_->wait_listening for $fleet->nodes;
    my $warm = $n1->call('runlog.note', ['warm'], mode => 'broadcast')->{json}{id};
    ok(poll(sub { $fleet->arrived([$warm], $n1, grep { $_ != $locked } @others) }, 10), 'they work');
    my $downs = sub { return scalar(() = $n1->error_log =~ /: node @{[$dead->name]} is down/g) };
    my $before = $downs->(); # it may have started after n1 looked for it
    $dead->kill9;
    $hung->freeze;

    my %expected = map { $_->name => 'ok' } $n1, @fine, $failing;
    my $ask = sub {
        my ($function, $args, %o) = @_;
        my $start = time;
        my $answer = $n1->call($function, $args, reply => 'all', timeout => $TIMEOUT, %o);
        my $took = time - $start;
        cmp_ok($took, '<', $TIMEOUT + $SLACK, "$function: answered by the deadline");
        note(sprintf '%s: %.2f s of %d s', $function, $took, $TIMEOUT);
        is("$answer->{status} " . ($answer->{signed} ? 'signed' : 'unsigned'), '200 signed', "$function: 200, signed");
        my $outcomes = $answer->{json}{outcomes} // {};
        is_deeply([sort keys %$outcomes], [sort $fleet->names], "$function: every node");
        is_deeply([grep { $outcomes->{$_}{outcome} ne 'ok' && !length($outcomes->{$_}{detail} // '') } sort keys %$outcomes], [],
                  "$function: no trouble without its cause");
        like($outcomes->{$dead->name}{detail}, qr/connect/i, "$function: the dead one was not reached");
        like($outcomes->{$hung->name}{detail}, qr/not answered within/, "$function: the hung one did not answer");
        like($outcomes->{$locked->name}{detail}, qr/may not relay/, "$function: the locked one said why");
        return ($answer, {map { $_ => $outcomes->{$_}{outcome} } keys %$outcomes});
    };
    my %trouble = ($dead->name => 'unreachable', $hung->name => 'unknown', $locked->name => 'refused');

    my $id = make_id();
    my ($answer, $outcomes) = $ask->('example.echo', ['x'], id => $id);
    is_deeply($outcomes, {%expected, %trouble, $without->name => 'unknown-function'}, 'example.echo: where it is loaded');
    is_deeply($answer->{json}{outcomes}{$fine[0]->name}{result}, {args => ['x'], kwargs => {}}, 'with its result');

    my $failed = make_id();
    ($answer, $outcomes) = $ask->('runlog.fail_on', [$failing->name], id => $failed);
    is_deeply($outcomes, {%expected, %trouble, $failing->name => 'error', $without->name => 'ok'}, 'runlog.fail_on: but for one');
    is($answer->{json}{outcomes}{$failing->name}{detail}, 'this is one of them', 'with its words');

    my $again = $n1->call('runlog.fail_on', [$failing->name], reply => 'all', timeout => 1, id => $failed);
    is($again->{json}{duplicate}, JSON::PP::true, 'asked again');
    is($again->{json}{outcomes}{$failing->name}{outcome}, 'error', 'it says the same');

    ($answer, $outcomes) = $ask->('runlog.sleep', [2 * $TIMEOUT]);
    is_deeply($outcomes, {%trouble, map { $_->name => 'pending' } $n1, @fine, $failing, $without}, 'runlog.sleep: pending where it runs still');

    my $relays = $n1->get('/serviceless-status?format=prometheus')->{body};
    for (['timeout', $hung], ['connect', $dead], ['refused', $locked], ['ok', $fine[0]]) {
        my ($result, $node) = @$_;
        my $name = $node->name;
        like($relays, qr/^serviceless_relays_total\{[^}]*peer="$name"[^}]*result="$result"[^}]*\} [1-9]/m, "the metrics count $result of $name");
    }
    is($downs->() - $before, 1, 'that a node went down is logged once');

    $hung->thaw;
    $dead->start;
    my @reached = grep { $_ != $locked } $fleet->nodes;
    ok(poll(sub { $fleet->arrived([$failed], @reached) }, 30), 'who was not reached, or did not answer, gets the call all the same');
    $fleet->settle(0.3);
    is_deeply($fleet->runs($failed), {map { $_->name => 1 } @reached}, 'once');
    $fleet->stop;
};

# Connections to these nodes that are open: "local port, remote port".
sub connections {
    my (@nodes) = @_;
    my %port = map { sprintf('%04X', $_->port) => 1 } @nodes;
    open my $table, '<', '/proc/net/tcp' or die "cannot read /proc/net/tcp: $!";
    return sort map { /^\s*\d+: \S+:(\S+) \S+:(\S+) 01 / && $port{$2} ? "$1 $2" : () } <$table>;
}

# With links: links.t.
subtest 'connections are kept for the next call' => sub {
    plan skip_all => 'peers of this MPM keep none' if ($ENV{SVL_TEST_MPM} // 'event') ne 'event';
    my $fleet = Fleet->new(nodes => 10, directives => "ServicelessSyncInterval 0\nServicelessLinks off\n")->start;
    my ($n1, @others) = $fleet->nodes;
    my $ask = sub { return grep { $_->{outcome} ne 'ok' } values %{$n1->call('example.echo', [], reply => 'all')->{json}{outcomes}} };
    is($ask->(), 0, 'all nodes work');
    my @before = connections(@others);
    is(scalar @before, 9, 'one to each node');
    is(scalar(map { $ask->() } 1 .. 5), 0, 'and work again');
    is_deeply([connections(@others)], \@before, 'by the same connections');
    $fleet->stop;
};

# Takes the answers that come within $seconds off the clients that wait for one; each has `took`.  Who has his answer hangs up, so that no
# worker lingers for him.
sub collect {
    my ($seconds, $start, $clients, $answers) = @_;
    my $end = time + $seconds;
    while (@$clients && (my $left = $end - time) > 0) {
        my %ready = map { $_ => 1 } IO::Select->new(map { $_->{socket} } @$clients)->can_read($left);
        for my $client (grep { $ready{$_->{socket}} } @$clients) {
            push @$answers, {%{$client->finish}, took => time - $start};
            $client->disconnect;
        }
        @$clients = grep { $_->{socket} } @$clients;
    }
    return;
}

subtest 'waiting for nodes that hang starves nobody' => sub {
    my $fleet = Fleet->new(nodes => 10, directives => "ServicelessConnectTimeout 1s\nServicelessTimeout 5s",
                           each => {n1 => $WORKERS{$ENV{SVL_TEST_MPM} // ''} // $WORKERS{threaded}});
    my ($n1, $n2, @hung) = $fleet->start->nodes;
    my $warm = $n1->call('runlog.note', ['warm'], mode => 'broadcast')->{json}{id};
    $fleet->once([$warm], 'all nodes work');
    $_->freeze for @hung;

    my @clients = map { $n1->client } 1 .. $CALLS;
    my $start = time;
    $_->begin($_->message($_->call_body('runlog.note', ['all'], reply => 'all', timeout => $TIMEOUT), more => ['Connection: close'])) for @clients;
    my (@slow, @answers);
    my $in_time = sub {
        my ($name, $limit, $work) = @_;
        my $began = time;
        my $done = $work->();
        my $took = time - $began;
        push @slow, sprintf '%s: %s after %.2f s', $name, $done ? 'done' : 'not done', $took unless $done && $took < $limit;
        return;
    };
    my $rounds = 0;
    while (time - $start < $TIMEOUT - 1) {
        collect(0.1, $start, \@clients, \@answers);
        my $client = $n1->client(timeout => 10);
        $in_time->('the status page', $QUICK, sub { ($client->get('/serviceless-status?format=json')->{json}{node} // '') eq 'n1' });
        $in_time->('a call', $QUICK, sub { ($client->call('example.echo', [1], nodes => 'all')->{json}{outcome} // '') eq 'ok' });
        my $id = $client->call('runlog.note', ['relayed'])->{json}{id} // 'none';
        $in_time->('relaying', $PROMPT, sub { poll(sub { $fleet->arrived([$id], $n1, $n2) }, $PROMPT) });
        $id = $n2->client(timeout => 10)->call('runlog.note', ['from the other one'], mode => 'broadcast')->{json}{id} // 'none';
        $in_time->('being relayed to', $PROMPT, sub { poll(sub { $fleet->arrived([$id], $n1, $n2) }, $PROMPT) });
        $client->disconnect;
        $rounds++;
    }
    is_deeply(\@slow, [], "meanwhile everything else goes on, $rounds times");

    collect($TIMEOUT + 10, $start, \@clients, \@answers);
    my %count;
    $count{$_->{status}}++ for @answers;
    note(join ', ', map { "$count{$_} answers $_" } sort keys %count);
    is(($count{200} // 0) + ($count{503} // 0), $CALLS, 'each call is answered, or told to come again');
    cmp_ok($count{200} // 0, '>', 0, 'some are answered');
    cmp_ok(max(map { $_->{took} } @answers), '<', $TIMEOUT + 1, 'none waits past the deadline');
    is_deeply([grep { $_->{status} == 503 && !$_->{headers}{'retry-after'} } @answers], [], '503 says when to come again');
    my @whole = grep { $_->{status} == 200 } @answers;
    is_deeply([grep { keys %{$_->{json}{outcomes}} != 10 } @whole], [], 'every answer has every node');
    is_deeply([grep { $_->{json}{outcomes}{n1}{outcome} ne 'ok' } @whole], [], 'the own outcome is ok');
    my %other;
    $other{$_->{json}{outcomes}{n2}{outcome}}++ for @whole;
    is_deeply([grep { !/^(?:ok|pending)\z/ } keys %other], [], 'the living one has run it, or will') or diag(explain(\%other));
    $_->thaw for @hung;
    $fleet->stop;
    $fleet->no_crash;
};

done_testing;
