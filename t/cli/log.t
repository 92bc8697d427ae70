# SPDX-License-Identifier: Apache-2.0
# The command: `log` reads the log of a node that runs.
use strict;
use warnings;
use Command;
use Fleet;
use JSON::PP;
use Test::More;

my $fleet = Fleet->new(nodes => 2)->start;
my ($one, $two) = $fleet->nodes;

sub log_of {
    my (@words) = @_;
    my $run = command(['log', @words]);
    is($run->{status}, 0, "log @words: status") or diag($run->{err});
    return $run->{out};
}

is($one->call('example.sum', [1, 2], kwargs => {x => 0.1}, id => 'first')->{json}{outcome}, 'ok', 'a call');
is($one->call('example.fail', ["\e[2Jno\nluck"], id => 'second')->{json}{outcome}, 'error', 'one that fails');
is($one->call('example.echo', ['x' x 200, "\x{9b}"], id => 'third')->{json}{outcome}, 'ok', 'one with a long result');
eventually { 3 == (() = command(['log', '--json', $two->state_directory])->{out} =~ /"outcome":"(?:ok|error)"/g) } 20,
    'they reach the other node';

subtest 'a table, newest first, that obeys nothing' => sub {
    for my $node ($one, $two) {
        my $name = $node->name;
        my ($titles, @rows) = split /\n/, log_of($node->state_directory);
        like($titles, qr/^TIME +NODE +ID +FUNCTION +ORIGIN +SEQ +OUTCOME +MS +RESULT$/, 'titles');
        is(scalar @rows, 3, 'three rows');
        my $time = qr/\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}/;
        like($rows[2], qr/^$time  $name +first +example\.sum +n1 +1 +ok +\d+\.\d+ +3\.1$/, 'the oldest');
        like($rows[1], qr/ second +example\.fail +n1 +2 +error +\d+\.\d+ +\\x1b\[2Jno\\x0aluck$/, 'words, escaped');
        like($rows[0], qr/ third +example\.echo +n1 +3 +ok +\d+\.\d+ +\{"args":\["x+\.\.\.$/, 'a result, cut');
    }
};

subtest 'JSON, an object a line' => sub {
    my $text = log_of('--json', $two->state_directory);
    unlike($text, qr/[\x00-\x09\x0b-\x1f\x7f]|\xc2[\x80-\x9f]/, 'obeys nothing');
    my @lines = map { decode_json($_) } split /\n/, $text;
    is_deeply([map { $_->{call}{id} } @lines], [qw(third second first)], 'newest first');
    is($lines[0]{result}{args}[1], "\x{9b}", 'a result, whole');
    is($lines[1]{detail}, "\e[2Jno\nluck", 'words, whole');
    is_deeply([@{$lines[2]}{qw(node position outcome)}, @{$lines[2]{call}}{qw(function args kwargs origin seq)}],
              ['n2', 1, 'ok', 'example.sum', [1, 2], {x => 0.1}, 'n1', 1], 'the call');
    like($lines[2]{arrived}, qr/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/, 'time');
};

subtest 'a number: the newest entries only' => sub {
    my ($titles, @rows) = split /\n/, log_of('-n', 2, $two->state_directory);
    is(log_of('-n2', $two->state_directory), join("\n", $titles, @rows, ''), 'the same with the number attached');
    is_deeply([map { / (first|second|third) / } @rows], [qw(third second)], 'of the table');
    my @lines = map { decode_json($_) } split /\n/, log_of('--json', '--number=1', $two->state_directory);
    is_deeply([map { $_->{call}{id} } @lines], ['third'], 'of the JSON');
    is(scalar(() = log_of('-n', 100, $two->state_directory) =~ /\n/g), 4, 'no more than there are');
};

subtest 'a state directory is the logs of its nodes' => sub {
    my $out = log_of($one->directory . '/state');
    is(scalar(split /\n/, $out), 4, 'titles and three rows');
};

subtest 'logs of several nodes are merged by time, also when there are many entries' => sub {
    my @ids = map { $one->call('runlog.note', [$_])->{json}{id} } 1 .. 600;
    $fleet->once(\@ids, 'all calls ran on both nodes');
    my $directory = File::Temp->newdir;
    symlink $_->state_directory, "$directory/" . $_->name or die "cannot link: $!" for $one, $two;
    my @lines = map { decode_json($_) } split /\n/, log_of('--json', "$directory");
    is(scalar @lines, 1206, 'all entries of both');
    my @times = map { $_->{arrived} } @lines;
    is_deeply(\@times, [reverse sort @times], 'newest first');
    my %count;
    $count{$_->{node}}++ for @lines;
    is_deeply(\%count, {n1 => 603, n2 => 603}, 'as many of each');
    my ($titles, @rows) = split /\n/, log_of("$directory");
    is(scalar @rows, 1206, 'the same as a table');
};

subtest 'reading leaves the log as it is' => sub {
    my @before;
    eventually { # what ended last is recorded within a second
        @before = stat $one->state_directory . '/data.mdb';
        return $before[9] < time - 3;
    } 20, 'nobody writes to it';
    log_of($one->state_directory);
    my @after = stat $one->state_directory . '/data.mdb';
    is_deeply([@after[2, 4, 5, 7, 9]], [@before[2, 4, 5, 7, 9]], 'mode, owner, size and time');
    is($one->call('example.sum', [1])->{json}{outcome}, 'ok', 'and the node goes on');
};

done_testing;
