# SPDX-License-Identifier: Apache-2.0
# Scope child where things change under it: another log, a function that comes later, a function that hangs, the whole server killed, a
# segment that is replaced while a request is under way.
use strict;
use warnings;
use Client qw(make_id);
use Fleet;
use Fleet::Edit qw(edit_conf write_file);
use File::Path qw(remove_tree);
use IO::Socket::INET;
use MIME::Base64 qw(encode_base64);
use Proc qw(alive);
use Table;
use Test::More;
use Time::HiRes qw(time);

sub living {
    my ($node) = @_;
    my %began = began($node);
    return grep { $began{$_} && alive($_) } $node->children;
}

# Waits until several children live of which none is among these.
sub renewed {
    my ($node, @old) = @_;
    my %old = map { $_ => 1 } @old;
    my @pids;
    poll { @pids = living($node); @pids > 1 && !grep { $old{$_} } @pids } 20;
    return @pids;
}

sub outcome {
    my ($node, $function, $args, $id) = @_;
    return $node->call($function, $args, id => $id)->{json}{outcome} // '';
}

# Each of @pids ran the call or began after it, and one at least did run it.
sub told {
    my ($node, $id, @pids) = @_;
    my %ran = ran($node, $id);
    my %after = began_after($node, $id, @pids);
    return (grep { $ran{$_} } @pids) && !grep { !$ran{$_} && !$after{$_} } @pids;
}

# A call on $node runs in all of its children, and its outcome is ok.
sub works {
    my ($node, $name) = @_;
    my $id = make_id();
    my @pids = renewed($node);
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    is($node->call('table.reload', [], id => $id)->{json}{outcome}, 'ok', "$name: answered");
    eventually { my %ran = ran($node, $id); !grep { ($ran{$_} // 0) != 1 } @pids } 10, "$name: each child ran it once";
    eventually { outcome($node, 'table.reload', [], $id) eq 'ok' } 10, "$name: the outcome";
    return;
}

subtest 'another log, in which numbers begin anew' => sub {
    my $fleet = table_fleet(nodes => 1)->start;
    my ($node) = $fleet->nodes;
    $node->call('table.reload', []) for 1 .. 5;
    works($node, 'before');
    my @old = living($node);
    remove_tree($node->state_directory);
    kill 'HUP', $node->pid; # a restart of all children; the first process stays, and what it remembers
    renewed($node, @old);
    works($node, 'after');
};

subtest 'a function that is loaded later' => sub {
    my $fleet = table_fleet(nodes => 2);
    my ($one, $two) = $fleet->nodes;
    my $whole;
    edit_conf($two, sub { $whole = $_; s/^LoadModule table_module.*\n//mg; s/^Table.*\n//mg; s/^ *SetHandler table\n//mg });
    $fleet->start;
    my $id = make_id();
    my $answer = $one->call('table.reload', [], id => $id, reply => 'all', timeout => 8)->{json};
    is($answer->{outcomes}{n2}{outcome}, 'unknown-function', 'a node without it says so');
    edit_conf($two, sub { $_ = $whole });
    $two->graceful;
    eventually { told($two, $id, living($two)) } 20, 'once it is there, every child runs the call that waited';
    eventually { outcome($two, 'table.reload', [], $id) eq 'ok' } 10, 'and it has its outcome';
};

subtest 'the whole server is killed' => sub {
    my $fleet = table_fleet(nodes => 1)->start;
    my ($node) = $fleet->nodes;
    my $id = make_id();
    my ($slow, @old) = renewed($node);
    $node->call('table.sleep', [20, 0 + $slow], id => $id, reply => 'accepted');
    $node->kill9;
    $node->start;
    my @new = renewed($node, $slow, @old);
    eventually { told($node, $id, @new) } 20, 'those children that live then run what was not settled';
    eventually { outcome($node, 'table.sleep', [20, 0 + $slow], $id) eq 'ok' } 10, 'and it has its outcome';
};

subtest 'a call that ends every child' => sub {
    my $fleet = table_fleet(nodes => 1, crashes => 1)->start;
    my ($node) = $fleet->nodes;
    my $id = make_id();
    renewed($node);
    $node->call('table.crash', [], id => $id, reply => 'accepted');
    my $last;
    eventually {
        my $client = $node->client(timeout => 2);
        $last = $client->call('table.crash', [], id => $id)->{json}{outcome} // '';
        $client->disconnect;
        return $last eq 'quarantined';
    } 40, 'is left after the third time';
    works($node, 'then');
};

subtest 'a function that hangs holds requests no longer than its timeout, and other nodes not at all' => sub {
    my $fleet = table_fleet(nodes => 2, directives => "ServicelessTimeout 2s\nServicelessSyncInterval 1s\n")->start;
    my ($one, $two) = $fleet->nodes;
    renewed($_) for $one, $two;
    my $id = make_id();
    $one->call('table.sleep', [30], id => $id, reply => 'accepted');
    eventually { 2 == grep { $_->error_log =~ /SVL0713: call \Q$id\E of table\.sleep/ || do { my $c = $_->client(timeout => 0.3); $c->get('/table'); $c->disconnect; 0 } } $one, $two } 10,
        'the log names the call that takes too long';
    my $start = time;
    is($one->client(timeout => 8)->get('/table')->{status}, 200, 'requests are served');
    cmp_ok(time - $start, '<', 4, sprintf 'without waiting for its end: %.2f s', time - $start);
    my $answer = $one->client(timeout => 8)->call('runlog.note', ['x']);
    is($answer->{status}, 200, 'other calls as well');
    eventually { $fleet->arrived([$answer->{json}{id}]) } 5, 'which reach the other node';
    $fleet->stop;
    $fleet->no_crash;
};

# An old child that reads a request while the server is restarted with so many nodes that the segment is replaced.
subtest 'what a child of the generation before accepts reaches the new ones' => sub {
    my $fleet = table_fleet(nodes => 1)->start;
    my ($node) = $fleet->nodes;
    my @old = renewed($node);
    my $client = $node->client;
    my $id = make_id();
    my $message = $client->message($client->call_body('table.reload', []), id => $id);
    my $socket = IO::Socket::INET->new(PeerAddr => $node->host, PeerPort => $node->port) or die "cannot connect: $@";
    $socket->syswrite(substr $message, 0, -5);
    my $taken = sub { my $status = $node->status; return $status };
    ok($taken->(), 'the server works');
    edit_conf($node, sub {
        for my $i (1 .. 12) {
            my ($port, $keys) = (Fleet::free_port('127.0.0.1'), "$fleet->{directory}/keys.$i");
            write_file($keys, 0600, "k$i whsec_" . encode_base64(sprintf('%032d', $i), '') . "\n");
            $_ .= "<VirtualHost 127.0.0.1:$port>\nServerName v$i.test\nServicelessKeyFile \"$keys\"\n"
                . "ServicelessNodes v$i=http://127.0.0.1:$port\nServicelessSelf v$i\n</VirtualHost>\n";
        }
    });
    $node->graceful;
    my @new = renewed_beside($node, @old);
    $socket->syswrite(substr $message, -5);
    like(do { local $/; <$socket> } // '', qr/"outcome":"(?:ok|pending)"/, 'a child of the old generation answers');
    eventually { my %ran = ran($node, $id); @new && !grep { !$ran{$_} } @new } 10, 'each of the new children runs it';
    eventually { outcome($node, 'table.reload', [], $id) eq 'ok' } 10, 'and it has its outcome';
};

# Several children that are not among these, while some of these live still.
sub renewed_beside {
    my ($node, @old) = @_;
    my %old = map { $_ => 1 } @old;
    my @new;
    poll { @new = grep { !$old{$_} } living($node); @new > 1 } 20;
    return @new;
}

done_testing;
