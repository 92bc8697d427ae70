# SPDX-License-Identifier: Apache-2.0
# The command: usage, help, and nodes that are not there.
use strict;
use warnings;
use Command;
use IO::Socket::INET;
use Test::More;

my $keys = key_file("k whsec_" . 'A' x 32 . "\n");
my @commands = qw(keygen call nodes functions outcome log sign verify);

subtest 'every command has its help' => sub {
    for my $name (@commands) {
        my $run = command([$name, '--help']);
        is($run->{status}, 0, "$name: status");
        like($run->{out}, qr/\Ausage: serviceless $name /, "$name: usage");
        is($run->{err}, '', "$name: nothing else");
        unlike($run->{out}, qr/ $/m, "$name: no line ends in a blank");
    }
    like(command(['verify', '--help'])->{out}, qr/^  --$_ .*\(required\)$/m, "verify: --$_ is required") for qw(id timestamp signature);
    unlike(command(['sign', '--help'])->{out}, qr/required/, 'sign: no option is');
    my $run = command(['--help']);
    is($run->{status}, 0, 'overview: status');
    like($run->{out}, qr/^  $_ /m, "overview names $_") for @commands;
    is(join(' ', map { length } $run->{out} =~ /^(  \S+ +)/mg), join(' ', (13) x @commands), 'and is aligned');
    like(command(['--version'])->{out}, qr/\Aserviceless \d+\.\d+\.\d+\S*\n\z/, 'version');
};

subtest 'wrong usage is 2, says what is wrong, and what would be right' => sub {
    my @url = ('--url', 'http://127.0.0.1:9');
    my @wrong = (
        [[], qr/^usage: /],
        [['node'], qr/there is no command "node"; the commands are keygen, call, nodes, functions, outcome, log, sign and verify/],
        [["no\e[2J"], qr/no command "no\\x1b\[2J"/],
        [['call', '--frob', 'f'], qr/call has no option --frob/],
        [['call', '-x', 'f'], qr/call has no option -x/],
        [['keygen', '--url', 'x'], qr/keygen has no option --url/],
        [['call', 'f', '--mode'], qr/--mode needs a value/],
        [['call', 'f', '--all=1'], qr/--all takes no value/],
        [['call', @url], qr/call needs the name of a function/],
        [['call', '1f', @url], qr/"1f" is no name of a function/],
        [['call', 'f', @url, '--all', '--accepted'], qr/--all .* --accepted/],
        [['call', 'f', @url, '--mode', 'ring'], qr/the mode "ring" is not bounce, broadcast, tree/],
        [['call', 'f', @url, '--nodes', 'a/b'], qr{"a/b" is no name of a node set}],
        [['call', 'f', @url, '--id', 'a.b'], qr/the id "a\.b"/],
        [['call', 'f', @url, '--timeout', 'soon'], qr/the timeout "soon"/],
        [['call', 'f', @url, '--timeout', 'nan'], qr/the timeout "nan"/],
        [['call', 'f', @url, '--timeout', '-1'], qr/the timeout "-1"/],
        [['call', 'f', @url, 'a:=[1,'], qr/a:= is not JSON/],
        [['call', 'f', @url, 'a=1', 'a=2'], qr/the argument a is given twice/],
        [['call', 'f', @url, "\xff"], qr/not valid UTF-8: \\xff/],
        [['call', 'f', @url, "a=\xff"], qr/the argument a is not valid UTF-8/],
        [['call', 'f', @url, '[' x 31 . ']' x 31], qr/nested too deeply/],
        [['call', 'f', '--url', 'localhost:8001'], qr/"localhost:8001" is no URL of a node/],
        [['call', 'f', '--url', 'ftp://h/'], qr/no URL of a node/],
        [['call', 'f', '--url', 'http:///x'], qr/no URL of a node/],
        [['call', 'f', '--url', 'http://h/p?q'], qr/no URL of a node/],
        [['call', 'f'], qr/no node is given: use --url/],
        [['nodes'], qr/no node is given: use --url/],
        [['functions', @url, 'x'], qr/functions takes no argument, and was given 1/],
        [['outcome', @url], qr/outcome takes one argument, the id of a call/],
        [['outcome', @url, 'a.b'], qr/outcome takes one argument, the id of a call: 1 to 64 of/],
        [['outcome', '--all', 'x'], qr/outcome has no option --all/],
        [['sign', 'x'], qr/sign takes no argument/],
        [['sign', '--timestamp', '17'], qr/the timestamp "17" is not 10 digits/],
        [['log', 'a', 'b'], qr/log takes one directory/],
        [['log', '-n', '0'], qr/the number "0" is not a whole number from 1/],
        [['log', '-n', '5x'], qr/the number "5x"/],
        [['log', '-n0', 'x'], qr/the number "0" is not a whole number from 1/],
        [['log', '-n5x'], qr/the number "5x"/],
        [['log', '-nx'], qr/log has no option -nx/],
        [['call', '-n5', 'f'], qr/call has no option -n5/],
        [['log', '-n'], qr/--number needs a value/],
        [['call', '-n', '5', 'f'], qr/call has no option -n/],
    );
    for (@wrong) {
        my ($words, $expected) = @$_;
        my $run = command($words, key_file => $keys);
        my $name = join ' ', map { s/[^ -~]/?/gr } @$words;
        is($run->{status}, 2, "'$name': status");
        like($run->{err}, $expected, "'$name': words");
        is($run->{out}, '', "'$name': nothing on standard output");
    }
};

subtest 'a node that cannot be reached is 3' => sub {
    # A port that is taken but does not listen, so that nobody else can.
    my $taken = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Proto => 'tcp', ReuseAddr => 0);
    my $port = $taken ? $taken->sockport : 9;
    my $run = command(['call', 'f', '--url', "http://127.0.0.1:$port"], key_file => $keys);
    is($run->{status}, 3, 'status');
    like($run->{err}, qr{^serviceless: cannot reach http://127\.0\.0\.1:$port/serviceless: cannot connect to 127\.0\.0\.1:$port: Connection refused; nothing was called$}m, 'words');
};

subtest 'a log that is not there is 3, and nothing is created' => sub {
    my $directory = File::Temp->newdir;
    my $run = command(['log', "$directory"]);
    is($run->{status}, 3, 'an empty directory');
    like($run->{err}, qr/no node's log in \Q$directory\E/, 'words');
    is(command(['log', "$directory/none"])->{status}, 3, 'no directory');
    open my $file, '>', "$directory/data.mdb" or die;
    print $file "\0" x 8192;
    close $file;
    is(command(['log', "$directory"])->{status}, 3, 'a file that is no log');
    ok(!-e "$directory/lock.mdb", 'no lock file was made');
};

done_testing;
