# SPDX-License-Identifier: Apache-2.0
# MPMs: event prefork
# Which nodes run a call, which way it takes, and how requests to peers are made: all of that is configuration.
use strict;
use warnings;
use Client qw(make_id);
use Fleet;
use Fleet::Edit;
use Test::More;

# Requests that a node has had acknowledged by each peer: {name => number}.
sub acknowledged {
    my ($node) = @_;
    return map { $_->{name} => $_->{relays}{ok} } grep { !$_->{self} } @{$node->status->{members}};
}

# Makes one call and returns how many peers its origin relayed to itself.
sub contacted {
    my ($fleet, $origin, $function, %o) = @_;
    my %before = acknowledged($origin);
    my $id = make_id();
    $origin->call($function, ['x'], id => $id, %o);
    $fleet->once([$id], "$function " . join(' ', %o) . ': every node ran it once');
    my %after;
    # an acknowledgement is noted after the peer's run
    poll { %after = acknowledged($origin); return (grep { $after{$_} > $before{$_} } keys %after) == ($o{expect} // 0) } 1;
    return scalar grep { $after{$_} > $before{$_} } keys %after;
}

subtest 'node sets: of a function, and of a call' => sub {
    my $fleet = Fleet->new(nodes => 5, directives => <<'END')->start;
ServicelessNodeSet east n1 n2 n3
ServicelessNodeSet west n4 n5
ServicelessFunction runlog.note nodes=east
END
    my %set = (east => [map { $fleet->node($_) } qw(n1 n2 n3)], west => [map { $fleet->node($_) } qw(n4 n5)], all => [$fleet->nodes]);
    for my $case (['n1', undef, 'east'], ['n4', undef, 'east'], ['n1', 'west', 'west'], ['n5', 'west', 'west'], ['n2', 'all', 'all'],
                  ['n5', 'all', 'all']) {
        my ($name, $asked, $set) = @$case;
        my $origin = $fleet->node($name);
        my $answer = $origin->call('runlog.note', ['x'], nodes => $asked);
        my $said = "$name, " . ($asked ? "nodes $asked" : "the function's nodes");
        my $inside = grep { $_ == $origin } @{$set{$set}};
        is($answer->{status}, 200, "$said: accepted");
        is($answer->{json}{outcome}, $inside ? 'ok' : 'accepted', $inside ? 'and run there' : 'but not run there');
        ok(!exists $answer->{json}{result}, 'so there is no result') unless $inside;
        my $id = $answer->{json}{id};
        $fleet->once([$id], 'it ran once on each node of the set', living => $set{$set});
        is_deeply($fleet->runs($id), {map { $_->name => 1 } @{$set{$set}}}, 'and nowhere else');
    }
    my $unknown = $fleet->node('n1')->call('runlog.note', ['x'], nodes => 'north');
    is($unknown->{status}, 400, 'a set that is not configured is an error');
    my $accepted = $fleet->node('n4')->call('runlog.note', ['x'], reply => 'accepted');
    is($accepted->{status}, 202, 'an origin outside of the set that need not wait');
    $fleet->once([$accepted->{json}{id}], 'passes the call on as well', living => $set{east});
    is_deeply([map { $_->runs($accepted->{json}{id}) } @{$set{west}}], [0, 0], 'and does not run it later');
};

subtest 'modes: of the server, of a function, and of a call' => sub {
    my $fleet = Fleet->new(nodes => 5, mode => 'bounce', directives => <<'END')->start;
ServicelessFunction runlog.fail mode=broadcast
ServicelessFunction no.such.function mode=tree:4
END
    my $origin = $fleet->node('n2');
    is(contacted($fleet, $origin, 'runlog.note', expect => 1), 1, 'bounce, of the server: the origin hands a call to one node');
    is(contacted($fleet, $origin, 'runlog.fail', expect => 4), 4, "broadcast, of the function: to all others");
    is(contacted($fleet, $origin, 'runlog.note', mode => 'broadcast', expect => 4), 4, 'broadcast, of the call: likewise');
    is(contacted($fleet, $origin, 'runlog.note', mode => 'tree:2', expect => 2), 2, 'tree:2: to two');
    is(contacted($fleet, $origin, 'runlog.fail', mode => 'bounce', expect => 1), 1, "the call's mode goes before the function's");
    for my $node ($fleet->nodes) {
        like($node->error_log, qr/:warn\].*SVL\d{4}: ServicelessFunction no\.such\.function\b/,
             $node->name . ': a line about a function that is not loaded is a warning');
    }
    is($origin->call('no.such.function', [])->{status}, 404, 'and the function is still unknown');
};

subtest 'own headers: peers behind name-based virtual hosts' => sub {
    my $fleet = Fleet->new(nodes => 3, directives => "ServicelessHeader Host fleet.test\nServicelessHeader X-Fleet \"a b\"\nServicelessSyncInterval 0\n",
                           each => sub {
                               my ($node) = @_;
                               my $authority = $node->authority;
                               return <<"END";
LogFormat "%{Host}i|%{X-Fleet}i|%>s" fleet
<VirtualHost $authority>
    ServerName default.test
    <Location "/serviceless">
        Require all denied
    </Location>
</VirtualHost>
<VirtualHost $authority>
    ServerName fleet.test
    CustomLog "@{[$node->directory]}/access.log" fleet
</VirtualHost>
END
                           })->start;
    my $client = $fleet->node('n1')->client;
    my $body = $client->call_body('runlog.note', ['x']);
    is($client->post($body)->{status}, 403, 'without the header nobody reaches the endpoint');
    my $id = make_id();
    my $answer = $client->post($body, id => $id, headers => ['Host: fleet.test']);
    is($answer->{status}, 200, 'with it the client does');
    $fleet->once([$id], 'and so does each node');
    for my $node (grep { $_->name ne 'n1' } $fleet->nodes) {
        open my $log, '<', $node->directory . '/access.log' or die "no access log: $!";
        my %seen = map { chomp; s/101\z/202/r => 1 } <$log>; # 101: a connection was upgraded
        is_deeply([keys %seen], ['fleet.test|a b|202'], $node->name . ' got both headers, and no request without');
    }
};

subtest 'an own path' => sub {
    my $fleet = Fleet->new(nodes => 3, directives => "ServicelessPath /fleet/run\n");
    for my $node ($fleet->nodes) {
        edit_conf($node, sub { s{<Location "/serviceless">}{<Location "/fleet/run">}; s{<Location "/serviceless-}{<Location "/fleet/} });
    }
    $fleet->start;
    my $node = $fleet->node('n2');
    is($node->call('runlog.note', ['x'])->{status}, 404, 'there is nothing at the usual one');
    my $answer = $node->client(path => '/fleet/run')->call('runlog.note', ['x']);
    is($answer->{status}, 200, 'a client calls the own one');
    $fleet->once([$answer->{json}{id}], 'and so do the nodes');
    my $below = $node->client(path => '/fleet/run/more')->call('runlog.note', ['x']);
    is($below->{status}, 404, 'below it there is nothing');
    is($node->get('/fleet/status')->{status}, 200, 'the status page may have such a path as well');
};

subtest 'two nodes in one httpd: fleets with keys of their own' => sub {
    my $fleet = Fleet->new(nodes => 2);
    my %port = map { $_->name => Fleet::free_port($_->host) } $fleet->nodes;
    my %name = (n1 => 'm1', n2 => 'm2');
    my $secret = Fleet::_key_line();
    my $keys = "$fleet->{directory}/other-keys";
    write_file($keys, 0600, "other $secret\n");
    my $list = join '', map { "    ServicelessNodes $name{$_}=http://127.0.0.1:$port{$_}\n" } sort keys %port;
    for my $node ($fleet->nodes) {
        my ($name, $directory) = ($node->name, $node->directory);
        edit_conf($node, sub {
            $_ .= "Listen 127.0.0.1:$port{$name}\n<VirtualHost 127.0.0.1:$port{$name}>\n    ServerName other.test\n"
                . "    ServicelessKeyFile \"$keys\"\n$list    RunlogFile \"$directory/other.log\"\n</VirtualHost>\n";
        });
    }
    $fleet->start;
    my %other = map { $name{$_->name} => $_->client(port => $port{$_->name}, secret => $secret) } $fleet->nodes;
    my $runs = sub {
        my ($id) = @_;
        my %runs;
        for my $node ($fleet->nodes) {
            open my $log, '<', $node->directory . '/other.log' or next;
            $runs{(split)[1]} += (split)[0] eq $id for <$log>;
        }
        return join ' ', map { "$_ $runs{$_}" } grep { $runs{$_} } sort keys %runs;
    };
    my $mine = $fleet->node('n1')->call('runlog.note', ['one fleet']);
    my $answer = $other{m2}->call('runlog.note', ['the other']);
    is($answer->{status}, 200, 'a call in the virtual host');
    is($answer->{json}{node}, 'm2', 'is answered by the node there');
    my $id = $answer->{json}{id};
    eventually { $runs->($id) eq 'm1 1 m2 1' } 10, 'and runs once on each node of that fleet';
    $fleet->once([$mine->{json}{id}], 'a call to the main server runs once on each of its');
    $fleet->settle(0.3);
    is($runs->($id), 'm1 1 m2 1', 'once');
    is_deeply($fleet->runs($id), {}, 'and on no node of the other fleet');
    is($runs->($mine->{json}{id}), '', 'nor the other way');
    is($fleet->node('n1')->call('runlog.note', [], secret => $secret)->{status}, 401, "the main server's node refuses the other key");
    is($other{m1}->call('runlog.note', [], secret => $fleet->{secret})->{status}, 401, "the virtual host's node likewise");
    my %named = map { $_ => $other{$_}->get('/serviceless-status?format=json')->{json} } keys %other;
    is_deeply([map { $named{$_}{node} } qw(m1 m2)], [qw(m1 m2)], 'each has a status of its own');
    is($named{m2}{log}{calls}, 1, 'and a log');
    ok(-e $_->directory . '/state/' . $name{$_->name}, $_->name . ': in a directory of its own') for $fleet->nodes;
};

subtest 'two nodes of one fleet in one httpd' => sub {
    my $fleet = Fleet->new(nodes => 2);
    my ($main, $rest) = $fleet->nodes;
    my $authority = $rest->authority;
    edit_conf($main, sub {
        my $list = join '', /^(ServicelessNodes .*\n)/mg;
        $_ .= "Listen $authority\n<VirtualHost $authority>\n    ServerName $authority\n    ServicelessKeyFile \"$fleet->{key_file}\"\n"
            . "$list    RunlogFile \"" . $rest->directory . "/run.log\"\n</VirtualHost>\n";
    });
    $main->start;
    my @ids = map { $_->call('runlog.note', [$_->name])->{json}{id} } ($main, $rest) x 10;
    $fleet->once(\@ids, 'each of 20 calls ran once on each node');
    is($rest->status->{node}, 'n2', 'the virtual host knows itself by its port');
};

done_testing;
