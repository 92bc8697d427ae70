# SPDX-License-Identifier: Apache-2.0
# Row 21: what a peer answers that is no acknowledgement, is none: relay, sync and a call for all outcomes take nothing from it, in bounded
# time and memory.
use strict;
use warnings;
use Client qw(make_id);
use FaultProxy;
use Fleet;
use Fleet::Edit;
use IO::Select;
use Played;
use Refused;
use Test::More;
use Time::HiRes qw(time);

my $TIMEOUT = 2;    # seconds, of a request to a peer
my $SLACK = 2;      # of a busy machine
my $GROWS = 24;     # MiB: an answer may have 1 MiB, and the buffer for it doubles
my $CLIENT = 'whsec_' . 'Q' x 43 . '=';
my $DIRECTIVES = "ServicelessConnectTimeout 1s\nServicelessTimeout ${TIMEOUT}s\nServicelessSyncInterval 1s\n";
my %result = (hang => 'timeout', drip => 'timeout', drip_body => 'timeout', enormous => 'broken', headers => 'broken',
              error => 'unavailable', redirect => 'unsigned', garbage => 'broken', close => 'broken', unsigned => 'unsigned',
              stranger => 'unsigned', old_answer => 'unsigned', not_json => 'broken');

# n2 of a fleet of two, before which somebody stands; it is not started.  A key of clients is on the ring.
sub fleet {
    my $fleet = Fleet->new(nodes => 2, durability => 'async', directives => $DIRECTIVES);
    write_file($fleet->{key_file}, 0600, "main $fleet->{secret}\nclient $CLIENT call\n");
    return ($fleet, $fleet->nodes);
}

sub member { my ($node) = @_; return (grep { $_->{name} eq 'n2' } @{$node->status->{members}})[0] }

# What n1 takes from n2: nothing.
sub takes_nothing {
    my ($node, $name) = @_;
    my $member = member($node);
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    is($member->{relays}{ok}, 0, "$name: no relay was acknowledged");
    is($member->{syncs}{equal} + $member->{syncs}{exchanged} + $member->{syncs}{partial}, 0, "$name: no sync went well");
    is($member->{last_ok}, undef, "$name: it was never heard of");
    return;
}

# A call for all outcomes: that of n2 is none.
sub tells_no_outcome {
    my ($node, $name) = @_;
    my $start = time;
    my $answer = $node->call('example.echo', ['x'], reply => 'all', timeout => $TIMEOUT);
    my $took = time - $start;
    my $outcome = $answer->{json}{outcomes}{n2} // {};
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    like($outcome->{outcome} // 'none', qr/^(?:unknown|unreachable)$/, "$name: asked for its outcome it has none");
    ok(!exists $outcome->{result}, "$name: nor a result");
    unlike($outcome->{detail} // '', qr/[^\x20-\x7e]/, "$name: and no raw byte of it is told");
    cmp_ok($took, '<', $TIMEOUT + $SLACK, sprintf '%s: after %.2f s', $name, $took);
    return;
}

subtest 'threat 21: endless, slow, garbage, a redirect, not signed' => sub {
    my ($fleet, $n1, $n2) = fleet();
    my $proxy = FaultProxy->new(node => $n2, port => $n2->port);
    $proxy->mode('close');
    $n1->start;
    my $peak = peak($n1);
    my @ids;
    for my $mode (FaultProxy::modes()) {
        $proxy->mode($mode);
        my $before = member($n1)->{relays}{$result{$mode}};
        my $start = time;
        push @ids, $n1->call('runlog.note', [$mode])->{json}{id};
        cmp_ok(time - $start, '<', $SLACK, "$mode: the caller does not wait for it");
        tells_no_outcome($n1, $mode);
        ok(poll(sub { member($n1)->{relays}{$result{$mode}} > $before }, $TIMEOUT + 2 * $SLACK), "$mode: counted as $result{$mode}");
    }
    takes_nothing($n1, 'all of them');
    note(sprintf 'the largest process: %.1f MiB before, %.1f MiB after', $peak, peak($n1));
    grew_less(peak($n1) - $peak, $GROWS, 'the memory is bounded');
    is_deeply([grep { m{/elsewhere} } $proxy->requests], [], 'no redirect was followed');
    unlike($n1->error_log, qr/[^\x20-\x7e\n]/, 'no raw byte of it is in the error log');
    $proxy->end;
    $n2->start;
    $fleet->once(\@ids, 'none of it passed for an acknowledgement: it gets each call when it is there, once', deadline => 30);
};

subtest 'threat 21: signed, but not for this request by a key that may relay' => sub {
    my ($fleet, $n1, $n2) = fleet();
    my $played = Played->new(name => 'n2', port => $n2->port, secret => $fleet->{secret});
    my %answer = (
        'by a key of clients' => sub { $played->acknowledgement($_[0], secret => $CLIENT) },
        'as another node' => sub { $played->acknowledgement($_[0], name => 'n1') },
        'as a request' => sub { $played->acknowledgement($_[0], id => $_[0]{headers}{'webhook-id'}) },
        'for another request' => sub { $played->acknowledgement($_[0], id => make_id() . ':n2') },
        'for the one before' => sub {
            my $earlier = @{$played->{requests}} > 1 ? $played->{requests}[-2]{headers}{'webhook-id'} : 'none';
            return $played->acknowledgement($_[0], id => "$earlier:n2");
        },
        'twice' => sub { my $bytes = $played->acknowledgement($_[0]); $bytes =~ s/^(webhook-id: .*\r\n)/$1$1/mr },
        'an hour ago' => sub { $played->acknowledgement($_[0]) =~ s/^(webhook-timestamp: )\d+/$1 . (int(time) - 3600)/mer },
        'with another body' => sub { $played->acknowledgement($_[0]) =~ s/accepted/rejected/r },
        'in part' => sub { substr $played->acknowledgement($_[0]), 0, -3 },
        'by its own question' => sub {
            my ($headers, $body) = @{$_[0]}{qw(headers body)};
            return join "\r\n", 'HTTP/1.1 202 Accepted', 'Content-Length: ' . length $body, 'Connection: close', "webhook-id: $headers->{'webhook-id'}:n2",
                (map { "$_: $headers->{$_}" } qw(webhook-timestamp webhook-signature)), '', $body;
        },
    );
    my $peer = sub { my $member = member($n1); return join ' ', $member->{relays}{ok}, map { $member->{syncs}{$_} } qw(equal exchanged partial) };
    my $answered;
    $n1->start;
    for my $name (sort keys %answer) {
        $played->answer_with(undef);
        ok($played->serve(15, sub { member($n1)->{up} }), "$name: the peer is up");
        my $before = '';
        poll { my $now = $peer->(); my $same = $now eq $before; $before = $now; $fleet->settle(0.1); $same } 10; # no answer is under way
        $answered = 0;
        $played->answer_with(sub { $answered++; return $answer{$name}->($_[0]) });
        my $client = $n1->client;
        $client->begin($client->message($client->call_body('example.echo', ['x'], reply => 'all', timeout => $TIMEOUT)));
        ok($played->serve(15, sub { $answered > 1 && IO::Select->new($client->{socket})->can_read(0) }), "$name: is what it answers to a question and a relay");
        my $outcome = $client->finish->{json}{outcomes}{n2} // {};
        like($outcome->{outcome} // 'none', qr/^(?:unknown|unreachable)$/, "$name: asked for its outcome it has none") or diag($outcome->{detail});
        is($peer->(), $before, "$name: nothing was acknowledged");
    }
    $played->answer_with(undef);
    ok($played->serve(15, sub { member($n1)->{up} }), 'one that is right is taken');
};

done_testing;
