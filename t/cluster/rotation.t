# SPDX-License-Identifier: Apache-2.0
# docs/keys.md: keys are rotated in three steps, under load and without a refused call, while nodes are at different steps; and a node
# that is behind names the key that it lacks.
use strict;
use warnings;
use Callers;
use Command ();
use Client qw(fingerprint make_id);
use Fleet;
use Fleet::Edit;
use Test::More;

my $CALLS = 20;   # that run on a restarted node before the next one is restarted
my $PAUSE = 0.05; # seconds between two calls of a caller
my $SLOW = 4;     # seconds of a call that is at work while its server restarts

# Lines of a key file.  The fleet signs with the key fleet-N, two of four callers as well, the others with shop-N, which may only call.
my %secret = map { $_ => Fleet::_key_line() } qw(fleet-1 fleet-2 shop-1 shop-2);
my %line = map { $_ => "$_ $secret{$_} " . (/fleet/ ? 'relay call' : 'call=runlog.*') . "\n" } keys %secret;
my @step = (
    [qw(fleet-1 shop-1)],
    [qw(fleet-1 shop-1 fleet-2 shop-2)],
    [qw(fleet-2 shop-2 fleet-1 shop-1)],
    [qw(fleet-2 shop-2)],
);

sub set_keys {
    my ($node, @ids) = @_;
    write_file($node->directory . '/keys', 0600, join '', @line{@ids});
    return;
}

# A fleet whose nodes have key files of their own, at step 0.  KeepAliveTimeout: so long a child of before a restart may wait for the
# next request of a connection, where the MPM does not end it.
sub fleet_of {
    my ($count, $directives) = @_;
    my $fleet = Fleet->new(nodes => $count, durability => 'async', directives => "ServicelessSyncInterval 1s\nKeepAliveTimeout 1\n$directives");
    $fleet->{secret} = $secret{'fleet-1'}; # of the clients of this test
    for my $node ($fleet->nodes) {
        set_keys($node, @{$step[0]});
        edit_conf($node, sub { s{^ServicelessKeyFile .*}{"ServicelessKeyFile \"" . $node->directory . '/keys"'}me });
    }
    return $fleet->start;
}

# Whether the node's status shows the keys of a step, in their order, and no child process with the ones of before: what the document
# says to wait for.
sub is_through {
    my ($node, $step) = @_;
    my $status = $node->status // return 0;
    return "@{$step[$step]}" eq join(' ', map { $_->{id} } @{$status->{keys}}) && $status->{old_children} == 0;
}

# What a call with "reply":"all" says of nodes that did not run it, by the keys: (words, …).
sub refused_to_all {
    my ($node) = @_;
    my $client = $node->client;
    my $answer = $client->call('runlog.note', ['all'], reply => 'all', timeout => 5);
    $client->disconnect;
    my $outcomes = $answer->{json}{outcomes} // return "$node->{name}: $answer->{status}";
    my $words = join ', ', map { "$_: $outcomes->{$_}{outcome} " . ($outcomes->{$_}{detail} // '') } sort keys %$outcomes;
    return $words =~ /: refused|answered 4\d\d|not signed/ ? "$node->{name}: $words" : ();
}

# Lines of error logs about a signature, and refusals that were counted.
sub complaints {
    my ($fleet) = @_;
    my @complaints = $fleet->_lines(qr/\(401\)|answered 40\d|refused a message|not signed|no key made/);
    for my $node ($fleet->nodes) {
        my $status = $node->status;
        push @complaints, map { "$node->{name}: $_ $status->{rejected}{$_}" } grep { $status->{rejected}{$_} } qw(header timestamp signature permission);
        for my $peer (grep { !$_->{self} } @{$status->{members}}) {
            push @complaints, map { "$node->{name}: $_ by $peer->{name}" } grep { $peer->{relays}{$_} } qw(refused unsigned);
        }
        push @complaints, "$node->{name} lacks $status->{missing_key}{fingerprint}" if $status->{missing_key};
    }
    return @complaints;
}

subtest 'three steps under load' => sub {
    my $fleet = fleet_of(4, '');
    my @nodes = $fleet->nodes;
    my $in_use = "$fleet->{directory}/in-use"; # the number of the keys that callers sign with
    my (@refused, $starved, $apart);
    write_file($in_use, 0644, '1');
    my $each = sub {
        my ($client, $number) = @_;
        open my $file, '<', $in_use or die "cannot read $in_use: $!";
        my $which = ($number % 2 ? 'fleet-' : 'shop-') . (<$file> // 1);
        $client->{secret} = $secret{$which};
        return $which;
    };
    my $roll = sub {
        my ($step, @all_from) = @_;
        for my $i (0 .. $#nodes) {
            set_keys($nodes[$i], @{$step[$step]});
            $nodes[$i]->graceful;
            my $runs = $nodes[$i]->runs;
            poll { $nodes[$i]->runs > $runs + $CALLS } 20 or $starved++;
            my @steps = map { my $n = $_; grep { join(' ', map { $_->{id} } @{$n->status->{keys}}) eq "@{$step[$_]}" } 0 .. 3 } @nodes;
            $apart++ if $steps[0] == $step && $steps[-1] == $step - 1;
            push @refused, map { refused_to_all($_) } @nodes[0, -1];
        }
        eventually { !grep { !is_through($_, $step) } @nodes } 20, "step $step: every node shows its keys, and no process has others";
    };
    my @ids = under_load($fleet, sub {
        $roll->(1);
        $_->{client}->disconnect, $fleet->{secret} = $_->{client}{secret} = $secret{'fleet-2'} for @nodes;
        write_file("$in_use.new", 0644, '2');
        rename "$in_use.new", $in_use or die "cannot rename: $!\n";
        $roll->(2);
        # every caller has been answered with the new keys
        my $log = $nodes[0]->directory . '/run.log';
        eventually {
            my %seen;
            open my $file, '<', $log or die "cannot read $log: $!";
            /\[(\d),\d+,"\w+-2"\]$/ && $seen{$1}++ while <$file>;
            return keys %seen == 4;
        } 20, 'every client has its new key';
        $roll->(3);
    }, each => $each, pause => $PAUSE);
    is($starved, undef, 'calls ran after every restart');
    is($apart, 9, 'at each step there were nodes of this step and of the one before');
    is_deeply(\@refused, [], 'calls that wait for all nodes were refused by none');
    $fleet->once(\@ids, 'each accepted call ran once on each node', deadline => 20);
    is_deeply([complaints($fleet)], [], 'no node refused a signature, or was refused');
    for my $old (qw(fleet-1 shop-1)) {
        my $client = $nodes[0]->client(secret => $secret{$old});
        is($client->call('runlog.note', ['old'])->{status}, 401, "the key $old is of no use any more");
    }
    $fleet->stop;
    $fleet->no_crash;
};

subtest 'a connection that was made before a restart does not keep its keys' => sub {
    my $fleet = fleet_of(1, 'KeepAliveTimeout 10');
    my ($node) = $fleet->nodes;
    my ($client, $slow) = map { $node->client(secret => $secret{'shop-1'}) } 1 .. 2;
    is($client->call('runlog.note', [1])->{status}, 200, 'a call on a connection that is kept');
    my $id = make_id();
    $slow->begin($slow->message($slow->call_body('runlog.sleep', [$SLOW]), id => $id), id => $id);
    eventually { $node->runs($id) } 10, 'a slow one runs';
    set_keys($node, @{$step[1]});
    $node->graceful;
    my $status;
    eventually { $status = $node->status; @{$status->{keys}} == 4 } 10, 'after a restart there are new keys';
    cmp_ok($status->{old_children}, '>', 0, 'and a process that has the old ones');
    like($node->get('/serviceless-status')->{body}, qr{<th>Old child processes</th><td>[1-9]\d*</td>}, 'the page says so');
    my $answer = $client->call('runlog.note', [2]);
    is($answer->{status}, 200, 'a call on the connection of before');
    $client->call('runlog.note', [3]) if $answer->{closed};
    $client->{secret} = $secret{'shop-2'};
    is($client->call('runlog.note', [4])->{status}, 200, 'the new key is taken by then');
    is($slow->finish->{json}{outcome}, 'ok', 'the slow call is answered');
    eventually { is_through($node, 1) } 10, 'and then the process with the old keys is gone';
};

subtest 'a node that is behind names the key that it lacks' => sub {
    my $fleet = fleet_of(3, '');
    my ($one, $two, $behind) = $fleet->nodes;
    for my $node ($one, $two) {
        set_keys($node, qw(fleet-2 fleet-1 shop-1));
        $node->graceful;
    }
    is($one->call('runlog.note', ['x'])->{status}, 200, 'a call to a node that signs with the new key');
    eventually { ($behind->status->{missing_key} // {})->{fingerprint} } 20, 'the status of the one behind shows a key';
    my $missing = $behind->status->{missing_key} // {};
    my $print = fingerprint($secret{'fleet-2'});
    is($missing->{fingerprint}, $print, 'the one that it lacks');
    like($missing->{time}, qr/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/, 'and since when');
    like($behind->get('/serviceless-status')->{body}, qr/<td>$print, as a message of \d{4}-/, 'so does the page');
    like($behind->error_log, qr/refused: signature \(401\).*$print did, which this node's key file lacks/, 'its log names it');
    ok(!defined $one->status->{missing_key}, 'another node lacks none');
    unlike($one->error_log, qr/lacks/, 'and names none');

    my $id = make_id();
    set_keys($behind, qw(fleet-1 shop-1 fleet-2));
    $behind->graceful;
    eventually { $behind->status->{old_children} == 0 && !defined $behind->status->{missing_key} } 10, 'once it has the key, none is shown';
    is($one->call('runlog.note', ['y'], id => $id)->{status}, 200, 'a call');
    $fleet->once([$id], 'reaches it');
};

subtest 'of the keys that are missing the last one that was named is shown, until it is there' => sub {
    my $fleet = fleet_of(1, '');
    my ($node) = $fleet->nodes;
    my $print = fingerprint($secret{'fleet-2'});
    my $shown = sub { return ($node->status->{missing_key} // {})->{fingerprint} // 'none' };
    my $name = sub { return $node->client(secret => $secret{'fleet-2'})->post('{}', more => ["webhook-key: $_[0]"])->{status} };
    my $restart = sub {
        my ($step) = @_;
        set_keys($node, @{$step[$step]});
        $node->graceful;
        return eventually { is_through($node, $step) } 10, "a restart, with the keys of step $step";
    };
    is($shown->(), 'none', 'none at first');
    for my $named ('0badcafe', '00000000', $print) {
        is($name->($named), 401, "a message that names $named");
        is($shown->(), $named, 'it is shown');
    }
    my $run = Command::command(['call', 'runlog.note', '--url', 'http://' . $node->authority . '/serviceless'],
                               key_file => Command::key_file("k $secret{'shop-2'}\n"));
    is($run->{status}, 3, 'the command, with a key that is not there');
    is($shown->(), fingerprint($secret{'shop-2'}), 'names it as well');
    $name->($print);
    $restart->(0);
    is($shown->(), $print, 'a restart changes nothing');
    $restart->(1);
    is($shown->(), 'none', 'but one with that key does');
    $restart->(0);
    is($shown->(), 'none', 'and when it is removed again, it is not told of as of old');
};

done_testing;
