# SPDX-License-Identifier: Apache-2.0
# The command: nodes, functions and outcome, which ask all nodes, against three servers.
use strict;
use warnings;
use Client qw(make_id);
use Command;
use Fleet;
use JSON::PP;
use Poll;
use Test::More;

my $fleet = Fleet->new(nodes => 3, directives => "ServicelessNodeSet first n1\n",
                       each => {n3 => "ServicelessFunction example.sum timeout=2500ms mode=tree:5 on_crash=quarantine\n"
                                    . "ServicelessFunction runlog.note allow=main\n"})->start;
my ($one, $two, $three) = $fleet->nodes;

# The command, asking n1.
sub asks {
    my ($words, %o) = @_;
    return command($words, key_file => $fleet->{key_file}, env => {SERVICELESS_URL => 'http://' . $one->authority}, %o);
}

sub served { return $one->status->{functions} }

subtest 'nodes: who answers, since when, which version, by how much its clock differs' => sub {
    my $run = asks(['nodes']);
    is($run->{status}, 0, 'status') or diag($run->{err});
    my ($titles, @rows) = split /\n/, $run->{out};
    is($titles, join('', 'NODE  OUTCOME  ', $titles =~ /(UP +)/, $titles =~ /(VERSION +)/, $titles =~ /(CLOCK +)/, 'FUNCTIONS  DETAIL'), 'titles');
    is(scalar @rows, 3, 'three nodes');
    my $count = keys %{served()};
    for my $i (1 .. 3) {
        my ($off, $about) = $rows[$i - 1] =~ /^n$i    ok       \d+ (?:s|min) +\d+\.\d+\.\d+\S* +([-+]\d+\.\d{3}) ±(\d+\.\d{3}) s +$count\z/;
        ok(defined $off, "n$i: all of it") or diag($rows[$i - 1]);
        cmp_ok(abs($off // 99), '<=', ($about // 0) + 0.002, "n$i: the clocks of one machine agree");
    }
    my $answer = decode_json(asks(['nodes', '--json'])->{out});
    is_deeply([map { $answer->{outcomes}{$_}{result}{node} } qw(n1 n2 n3)], [qw(n1 n2 n3)], 'JSON: each tells of itself');
};

subtest 'functions: which there are, and on which nodes' => sub {
    my $run = asks(['functions']);
    is($run->{status}, 0, 'status') or diag($run->{err});
    like($run->{out}, qr/\AFUNCTION +ON +SET +MODE +TIMEOUT +SCOPE +ON_CRASH +SUMMARY\n/, 'titles');
    my @names = $run->{out} =~ /^([a-z]\S+)/mg;
    is_deeply(\@names, [sort 'example.sum', keys %{served()}], 'every function, by name');
    like($run->{out}, qr/^serviceless\.ping +all nodes +all +bounce +10 s +node +rerun +\S.*$/m, 'one that is the same everywhere');
    like($run->{out}, qr/^example\.sum +n1,n2 +all +bounce +10 s +node +rerun.*\nexample\.sum +n3 +all +tree:5 +2\.5 s +node +quarantine/m, 'one that is not');
};

subtest 'outcome: what became of a call on each node' => sub {
    my $id = make_id();
    is($one->call('runlog.note', ['x'], id => $id)->{status}, 200, 'a call');
    $fleet->once([$id], 'it runs everywhere');
    my $run;
    eventually { $run = asks(['outcome', $id]); return $run->{status} == 0 } 10, 'status';
    like($run->{out}, qr/\ANODE  OUTCOME  MS +RESULT\n(?:n[12]    ok       \d+\.\d+ +\["x"\]\n){2}n3    ok       \d+\.\d+ +not told here: /,
         'table; where allow= limits who may call a function, its results are not told either');
    $one->call('example.fail', ['no such cache'], id => $id = make_id(), nodes => 'first');
    $run = asks(['outcome', $id]);
    is($run->{status}, 1, 'a failure, on one node: status');
    like($run->{out}, qr/^n1    error    \d+\.\d+ +no such cache\nn2    - +not held here: it never came, .*\nn3    - +not held here: /m, 'and the others do not have it');
    my $answer = decode_json(asks(['outcome', $id, '--json'])->{out});
    is($answer->{outcomes}{n1}{result}{outcome}, 'error', 'JSON');
    is(asks(['outcome', '4711'])->{status}, 1, 'an id that looks like a number');
    like($run->{err}, qr/^\z/, 'nothing on standard error');
};

subtest 'wrong usage is 2' => sub {
    for (['nodes', 'x'], ['functions', 'x'], ['outcome'], ['outcome', 'a.b'], ['outcome', 'a', 'b'], ['nodes', '--all']) {
        is(asks($_)->{status}, 2, "@$_");
    }
};

subtest 'a node that is away is told about, and the question is not kept for it for long' => sub {
    my $where = $two->authority;
    $two->stop;
    my $run = asks(['nodes']);
    is($run->{status}, 1, 'nodes: status');
    like($run->{out}, qr/^n2    unreachable +cannot connect to \Q$where\E: Connection refused$/m, 'nodes: why');
    $run = asks(['functions']);
    is($run->{status}, 1, 'functions: status');
    like($run->{err}, qr/^serviceless: node n2 did not tell its functions: unreachable: \S/, 'functions: who is missing');
    like($run->{out}, qr/^serviceless\.ping +all that answered \(2 of 3\) +all /m, 'functions: of the others');
    like($run->{out}, qr/^example\.sum +n1 .*\nexample\.sum +n3 /m, 'functions: where those differ');
    $run = asks(['outcome', make_id()]);
    like($run->{out}, qr/^n2    unreachable +\S/m, 'outcome');
    my ($line) = grep { ($_->{call}{function} // '') eq 'serviceless.ping' }
        map { decode_json($_) } split /\n/, command(['log', '--json', $one->state_directory])->{out};
    is($line->{call}{ttl}, 60, 'a question is not kept for long');
};

$fleet->no_crash;
done_testing;
