# SPDX-License-Identifier: Apache-2.0
# Row 11: a flood of requests that nobody signed changes nothing on disk and leaves few lines in the error log; valid calls meanwhile are
# answered.  5,000 of them; 100,000 in the long form (SVL_FAULT=long).
use strict;
use warnings;
use Client qw(json);
use Digest::SHA ();
use Fault qw(amount);
use File::Find qw(find);
use Fleet;
use IO::Select;
use List::Util qw(max sum0);
use POSIX ();
use Refused;
use Test::More;
use Time::HiRes qw(time);

my $COUNT = amount(5_000, 100_000);
my $FLOODERS = 4;    # processes, with a connection each
my $AT_ONCE = 50;    # requests on their way on one connection
my $LINES = 10;      # of the error log a second, at most
my $PATIENCE = 2;    # seconds for a valid call in the flood
my $IDLE = 3;        # seconds in which maintenance shows what it writes by itself
my @REASONS = qw(header timestamp signature);
my $FORGED = 'v1,' . 'A' x 43 . '=';

# All children from the start: one that the MPM starts later, because many are busy, takes a number as an owner of calls, in the log.
my $WORKERS = ($ENV{SVL_TEST_MPM} // '') eq 'prefork' ? "ServerLimit 12\nMaxRequestWorkers 12\nStartServers 12\nMinSpareServers 12\nMaxSpareServers 12\n"
    : "ServerLimit 2\nMaxRequestWorkers 32\nStartServers 2\nMinSpareThreads 32\nMaxSpareThreads 32\n";

my $fleet = Fleet->new(nodes => 2, directives => "${WORKERS}ServicelessSyncInterval 1s\n")->start;
my ($n1, $n2) = $fleet->nodes;
my $known = $n1->call('runlog.note', ['before'])->{json}{id};
$fleet->once([$known], 'a call');

# What is asked, in turn: new ids and one that is known, calls and messages of nodes, large ones too; some fail before the signature.
sub bodies {
    my $line = json({id => 'x', function => 'runlog.note', args => [], kwargs => {}, origin => 'n2', set => 'all', epoch => '0' x 16, seq => 1,
                     issued => int(time * 1000), ttl => 60});
    my $message = qq({"relay":{"from":"n2","route":["n2"],"arity":1}}\n$line\n);
    my $sync = json({sync => {from => 'n2', digest => '0' x 64, vector => {'n1/all/' . '0' x 16 => [1, []]}}}) . "\n";
    return (['{"function":"runlog.note"}'], ['{"function":"runlog.note","args":["before"]}', id => $known],
            ['{"function":"runlog.note","args":["' . 'x' x 4000 . '"]}'], [$message, type => 'application/x-ndjson'],
            [$sync, type => 'application/x-ndjson'], ["\0\xff" x 100], [''], ['{"function":"runlog.note"}', timestamp => int(time) - 4000],
            ['{"function":"runlog.note"}', signature => 'v1,x']);
}

# One process of the flood: prints how many were refused as they must be.
sub flood {
    my ($count, $pipe) = @_;
    my $client = $n1->client;
    my @messages = map { my ($body, %o) = @$_; $client->message($body, signature => $FORGED, id => 'FLOODFLOOD', %o) } bodies();
    my ($sent, $refused, $number) = (0, 0, 0);
    while ($sent < $count) {
        my $socket = $client->{socket} = IO::Socket::INET->new(PeerAddr => $n1->host, PeerPort => $n1->port) or last;
        my $buffer = '';
        while ($sent < $count) {
            my $turn = $count - $sent < $AT_ONCE ? $count - $sent : $AT_ONCE;
            my $bytes = join '', map { my $id = sprintf 'f%d-%d', $$, ++$number; $messages[$number % @messages] =~ s/FLOODFLOOD/$id/r } 1 .. $turn;
            syswrite $socket, $bytes or last;
            my $answers = 0;
            while ($answers < $turn && IO::Select->new($socket)->can_read(30) && sysread $socket, $buffer, 65536, length $buffer) {
                while ($buffer =~ s{\AHTTP/1\.1 (\d+).*?\r\nContent-Length: (\d+)\r\n.*?\r\n\r\n}{}s) {
                    my ($status, $length) = ($1, $2);
                    sysread $socket, $buffer, 65536, length $buffer or last while length $buffer < $length;
                    substr $buffer, 0, $length, '';
                    $refused += $status == 401;
                    $answers++;
                }
            }
            $sent += $turn;
            last if $answers < $turn;
        }
    }
    print $pipe "$refused\n";
    return;
}

# Runs the flood; calls the code again and again until it is over.  Returns how many were refused, and the seconds.
sub flooded {
    my ($code) = @_;
    my ($start, @pipes) = (time);
    for (1 .. $FLOODERS) {
        pipe my $read, my $write or die "cannot make a pipe: $!";
        my $child = fork // die "cannot fork: $!";
        if (!$child) {
            $SIG{ALRM} = $SIG{TERM} = 'DEFAULT';
            eval { flood($COUNT / $FLOODERS, $write) };
            $write->flush;
            POSIX::_exit(0);
        }
        close $write;
        push @pipes, [$read, $child];
    }
    my ($refused, $left) = (0, IO::Select->new(map { $_->[0] } @pipes));
    while ($left->count) {
        for my $pipe ($left->can_read($code ? 0 : 1)) {
            $refused += <$pipe> // 0;
            $left->remove($pipe);
        }
        $code->() if $code && $left->count;
    }
    waitpid $_->[1], 0 for @pipes;
    return ($refused, time - $start);
}

# path => "bytes, sum of the contents, time of the last change", of all that the node keeps on disk.
sub on_disk {
    my %seen;
    find({no_chdir => 1, wanted => sub {
        my @of = stat or return;
        return unless -f _;
        $seen{s{.*/}{}r} = "$of[7] bytes, SHA-256 " . Digest::SHA->new(256)->addfile($_)->hexdigest . ", changed at " . (Time::HiRes::stat($_))[9];
    }}, $n1->directory . '/state');
    return \%seen;
}

# What ended is recorded within a second; when nothing was written for two, nothing more comes by itself.
sub at_rest { return time - (Time::HiRes::stat($n1->state_directory . '/data.mdb'))[9] > 2 }

sub counted { return sum0 map { refusals($n1, $_) } @REASONS }

sub changed { my ($one, $other) = @_; return sort grep { ($one->{$_} // '') ne ($other->{$_} // '') } keys %{{%$one, %$other}} }

# The most lines that the error log got in any one second since a position, and all of them.
sub lines_since {
    my ($from) = @_;
    my (%second, @lines);
    @lines = split /\n/, substr $n1->error_log, $from;
    $second{s/^\[\w+ (\w+ \d+ [\d:]+)\.\d+ .*/$1/r}++ for @lines;
    return (max(0, values %second), @lines);
}

# What maintenance writes by itself: the time of the last sync, an empty file; and the table of readers, which is memory shared through a file.
my %ITS_OWN = ('synced' => 'the time of the last sync', 'lock.mdb' => 'the table of readers');
my $log = log_of($n1);

subtest 'threat 11: what an idle node writes by itself' => sub {
    eventually { at_rest() } 30, 'it comes to rest';
    my ($start, $before) = (time, on_disk());
    my %seen;
    poll { $seen{$_}++ for changed($before, on_disk()); time - $start > $IDLE } $IDLE + 5;
    note('changed: ' . join ', ', sort keys %seen);
    is_deeply([grep { !$ITS_OWN{$_} } keys %seen], [], 'nothing of the log changes');
    like($before->{synced} // '', qr/^0 bytes/, 'what says when it last synced is empty');
};

subtest 'threat 11: a flood of requests that nobody signed' => sub {
    my ($before, $from, $memory, $counted) = (on_disk(), length $n1->error_log, peak($n1), counted());
    my ($refused, $took) = flooded();
    my $after = on_disk();
    is($refused, $COUNT, sprintf '%d refused with 401 in %.1f s', $refused, $took);
    is(counted() - $counted, $COUNT, 'and counted, each');
    my @changed = grep { !$ITS_OWN{$_} } changed($before, $after);
    is_deeply(\@changed, [], 'nothing on disk changed: sizes, contents, times')
        or diag(map { "$_: $before->{$_}\n$_: $after->{$_}\n" } @changed);
    is_deeply([map { /^(\d+)/ } @{$after}{sort keys %ITS_OWN}], [map { /^(\d+)/ } @{$before}{sort keys %ITS_OWN}],
              'nor the size of what maintenance writes');
    is_deeply([sort keys %$after], [sort keys %$before], 'no file came or went');
    my ($most, @lines) = lines_since($from);
    cmp_ok($most, '<=', $LINES, sprintf 'at most %d lines a second in the error log, %d in all', $most, scalar @lines);
    note(sprintf 'the largest process: %.1f MiB before, %.1f MiB after', $memory, peak($n1));
    grew_less(peak($n1) - $memory, 16, 'the memory is bounded');
    ok(log_of($n1) eq $log, 'the log is as before');
    is_deeply([map { $_->runs } $n1, $n2], [1, 1], 'no function ran');
};

subtest 'threat 11: valid calls in such a flood' => sub {
    my $from = length $n1->error_log;
    my (@ids, @took, @wrong);
    my $client = $n1->client;
    my ($refused, $seconds) = flooded(sub {
        my $begun = time;
        my $answer = $client->call('runlog.note', ['valid']);
        push @took, time - $begun;
        $answer->{status} == 200 ? push(@ids, $answer->{json}{id}) : push @wrong, $answer->{status};
    });
    is($refused, $COUNT, sprintf '%d refused with 401 in %.1f s', $refused, $seconds);
    is_deeply(\@wrong, [], scalar(@ids) . ' calls meanwhile are all answered');
    cmp_ok(scalar @ids, '>', 0, 'there were some');
    cmp_ok(max(0, @took), '<', $PATIENCE, sprintf 'in %.1f ms on average, %.1f ms at most', 1000 * sum0(@took) / (@took || 1), 1000 * max(0, @took));
    my ($most, @lines) = lines_since($from);
    cmp_ok($most, '<=', $LINES, sprintf 'at most %d lines a second in the error log, %d in all', $most, scalar @lines);
    $fleet->once(\@ids, 'each of them ran once on both nodes', deadline => 60);
    is(scalar(() = log_of($n1) =~ /^\{/mg), 1 + @ids, 'and they alone are in the log');
    is($n1->call('runlog.note', ['before'], id => $known)->{json}{duplicate}, JSON::PP::true, 'the known id is remembered');
    tells_refusals($n1, @REASONS);
};

done_testing;
