# SPDX-License-Identifier: Apache-2.0
# The command: a call with --all, against three servers, of which one is stopped in the end.
use strict;
use warnings;
use utf8;
use Client qw(make_id);
use Command;
use Fleet;
use JSON::PP;
use Test::More;
use Time::HiRes qw(time);

my $fleet = Fleet->new(nodes => 3, directives => "ServicelessNodeSet first n1\nServicelessNodeSet rest n2 n3\n")->start;
my ($one, $two, $three) = $fleet->nodes;
my $escape = qr/\e/;

# Calls on n1, as a person would.  Options: those of Command::command.
sub all {
    my ($words, %o) = @_;
    my $env = delete $o{env} // {};
    return command(['call', @$words, '--all'], key_file => $fleet->{key_file}, %o,
                   env => {SERVICELESS_URL => 'http://' . $one->authority, %$env});
}

# The rows of a table below its titles, as a hash from node to the rest.
sub rows {
    my ($run) = @_;
    my ($titles, @rows) = split /\r?\n/, $run->{out};
    return map { /^(\S+) +(.*)/ ? ($1 => $2) : () } @rows;
}

subtest 'each node tells its outcome, in one line, by name' => sub {
    my $run = all(['example.sum', 1, 2, 3]);
    is($run->{status}, 0, 'all ok is 0') or diag($run->{err});
    like($run->{out}, qr/\ANODE  OUTCOME  MS +RESULT\nn1    ok +\d+\.\d+ +6\nn2    ok +\d+\.\d+ +6\nn3    ok +\d+\.\d+ +6\n\z/, 'table');
    is($run->{err}, '', 'nothing on standard error');
    unlike($run->{out}, $escape, 'no colours but on a terminal');
    $run = all(['example.echo', 'x' x 300]);
    my %rows = rows($run);
    is(length(($rows{$_} =~ /("x+")/)[0]), 302, "$_: nothing is cut") for qw(n1 n2 n3);
};

subtest 'JSON is what the node answered' => sub {
    my $run = all(['example.sum', 1, 2, '--json', '--id', 'sum-1']);
    is($run->{status}, 0, 'status');
    my $answer = decode_json($run->{out});
    is_deeply([@{$answer}{qw(id node outcome result)}], ['sum-1', 'n1', 'ok', 3], 'the node that was asked');
    is_deeply({map { $_ => [@{$answer->{outcomes}{$_}}{qw(outcome result)}] } keys %{$answer->{outcomes}}},
              {map { $_ => ['ok', 3] } qw(n1 n2 n3)}, 'and all');
    $run = all(['example.sum', 1, 2, '--id', 'sum-1']);
    is($run->{status}, 0, 'the same id again: status');
    like($run->{out}, qr/^n3 +ok +\d+\.\d+ +3\nThis id was called before: .* nothing ran again\.\n\z/m, 'and a word about it');
};

subtest 'a node set, with or without the node that is asked' => sub {
    my %rows = rows(all(['example.sum', 1, '--nodes', 'first']));
    is_deeply([sort keys %rows], ['n1'], 'of one');
    my $run = all(['example.sum', 1, '--nodes', 'rest']);
    is($run->{status}, 0, 'of the others: status');
    %rows = rows($run);
    is_deeply([sort keys %rows], ['n2', 'n3'], 'of the others');
};

subtest 'an error on one node is 1, and tells where' => sub {
    my $id = make_id();
    is(all(['example.echo', 'here', '--id', $id, '--nodes', 'first'])->{status}, 0, 'a call that only n1 has');
    my $run = all(['serviceless.outcome', $id]);
    is($run->{status}, 1, 'status');
    my %rows = rows($run);
    like($rows{n1}, qr/^ok /, 'n1');
    like($rows{$_}, qr/^error +\d+\.\d+ +not held here: it never came, or is older than the retention, 24 h$/, $_) for qw(n2 n3);
    $run = all(['example.fail', "no\nsuch \e[2Jcache"]);
    is($run->{status}, 1, 'an error on all: status');
    %rows = rows($run);
    like($rows{$_}, qr/^error +\d+\.\d+ +no\\x0asuch \\x1b\[2Jcache$/, "$_: its words, in one line") for qw(n1 n2 n3);
};

subtest 'what has not ended when the time is over is pending, and 1' => sub {
    my $began = time;
    my $run = all(['example.sleep', 4, '--timeout', 1, '--id', my $id = make_id()]);
    cmp_ok(time - $began, '<', 3.9, 'nobody waits longer than --timeout');
    is($run->{status}, 1, 'status');
    my %rows = rows($run);
    like($rows{$_}, qr/^pending /, $_) for qw(n1 n2 n3);
    is($run->{err}, "call $id: 3 nodes have not ended it yet. See: serviceless outcome $id\n", 'how to find out later');
};

subtest 'numbers that are shorter as they came' => sub {
    my $numbers = '[' . join(',', ('1234567890123450.0') x 3000) . ']';
    my $run = all(['example.echo', $numbers]);
    is($run->{status}, 0, 'status') or diag($run->{err});
    is(scalar(() = $run->{out} =~ /\b1234567890123450\b/g), 9000, 'all of them, three times');
};

subtest 'on a terminal: colours, lines of its width, and a line of progress' => sub {
    my $run = all(['example.sleep', 1.5, '--timeout', 10], terminal => 80);
    is($run->{status}, 0, 'status');
    like($run->{out}, qr/\A\r\e\[Kwaiting for all nodes \xe2\x80\xa6 1 s of 10 s(?:\r\e\[Kwaiting [^\r]*)*\r\e\[KNODE  /, 'progress, erased before the table');
    like($run->{out}, qr/^n$_    \e\[32mok\e\[0m +[1-9]\d{3}\.\d  1\.5\r$/m, "n$_: green") for 1 .. 3;
    $run = all(['example.fail', 'x' x 300], terminal => 40);
    is($run->{status}, 1, 'an error: status');
    my @lines = split /\r\n/, $run->{out} =~ s/\e\[\d*[mK]|\r(?!\n)//gr;
    is_deeply([map { length } @lines[1 .. 3]], [40, 40, 40], 'cut to the width') or diag($run->{out});
    like($run->{out}, qr/^n$_    \e\[31merror\e\[0m +\d+\.\d+ +x+\.\.\.\r$/m, "n$_: red") for 1 .. 3;
    my @wide = split /\r\n/, all(['example.echo', '日本語' x 30], terminal => 40)->{out} =~ s/\e\[\d*m//gr;
    utf8::decode($wide[1]);
    like(length($wide[1]) + (() = $wide[1] =~ /[日本語]/g), qr/^(?:39|40)\z/, 'wide characters count twice');
    for (['NO_COLOR', NO_COLOR => 1], ['TERM=dumb', TERM => 'dumb']) {
        my ($name, %env) = @$_;
        unlike(all(['example.sum', 1], terminal => 80, env => \%env)->{out}, $escape, "$name: none of it");
    }
    unlike(all(['example.sleep', 1.2, '--json'], terminal => 80, env => {NO_COLOR => 1})->{out} =~ s/\r\e\[K(?:waiting [^\r]*)?//gr, $escape,
           'JSON has no colours');
    $run = all(['example.sleep', 1.2], terminal => 80, stderr_only => 1);
    like($run->{out}, qr/\A(?:\r\e\[Kwaiting for all nodes \xe2\x80\xa6 \d+ s)+\r\e\[K\z/, 'progress goes to standard error');
};

subtest 'what is refused is 3' => sub {
    my $run = all(['no.such']);
    is($run->{status}, 3, 'no function: status');
    like($run->{err}, qr/answered 404 .*no\.such/, 'no function: words');
    is($run->{out}, '', 'no function: no table');
    $run = all(['example.sum', '--accepted']);
    is($run->{status}, 2, 'with --accepted: usage');
};

subtest 'a node that is stopped is unreachable, and 1' => sub {
    my $where = $two->authority;
    $two->stop;
    my $run = all(['example.sum', 4]);
    is($run->{status}, 1, 'status');
    my @names = $run->{out} =~ /^(n\d)/mg;
    is("@names", 'n1 n2 n3', 'all are told, in order');
    my %rows = rows($run);
    like($rows{n2}, qr/^unreachable {2,}cannot connect to \Q$where\E: Connection refused$/, 'n2: why');
    like($run->{err}, qr/^call (\S+): 1 node has not ended it yet; it gets it when it can be reached\. See: serviceless outcome \1\n\z/,
         'and what becomes of the call there');
    is(all(['example.sum', 4, '--json'])->{err}, '', 'not with --json');
    like($rows{$_}, qr/^ok +\d+\.\d+ +4$/, "$_: ok") for qw(n1 n3);
    like(all(['example.sum', 4], terminal => 80)->{out}, qr/^n2    \e\[33munreachable\e\[0m/m, 'yellow on a terminal');
    is(all(['example.sum', 4], env => {SERVICELESS_URL => 'http://' . $two->authority})->{status}, 3, 'asked itself: 3');
};

$fleet->no_crash;
done_testing;
