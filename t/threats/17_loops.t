# SPDX-License-Identifier: Apache-2.0
# Row 17: a relay that loops ends by the id of its call: a node runs it once and hands it on once.
use strict;
use warnings;
use Client qw(json make_id);
use Fleet;
use JSON::PP ();
use List::Util qw(sum0);
use Played;
use Refused;
use Test::More;
use Time::HiRes qw(time);

my $QUIET = "ServicelessSyncInterval 0\nServicelessConnectTimeout 1s\n";
my $CALLS = 10;
my $TURNS = 50; # times that the played node sends everything back

my $epochs = 0;
sub epoch { return sprintf '%016x', int(time * 1000) * 1000 + ++$epochs }

sub lines {
    my ($origin) = @_;
    my $epoch = epoch();
    return map { json({id => make_id(), function => 'runlog.note', args => ['loop'], kwargs => {}, origin => $origin, set => 'all',
                       epoch => $epoch, seq => $_, issued => int(time * 1000), ttl => 600}) } 1 .. $CALLS;
}

sub ids { return map { /"id":"([^"]+)"/ } @_ }
sub relays { return sum0 map { values %{$_->{relays} // {}} } map { @{$_->status->{members}} } @_ }

subtest 'threat 17: routes that go in a circle' => sub {
    my $fleet = Fleet->new(nodes => 3, directives => $QUIET)->start;
    my ($n1, $n2, $n3) = $fleet->nodes;
    my @lines = lines('n3');
    my @ids = ids(@lines);
    is($n1->relay('n3', ['n2', 'n3'], \@lines)->{json}{accepted}, $CALLS, 'n1 is to hand them to n2 and n3');
    $n2->relay('n1', ['n3', 'n1'], \@lines);
    $n3->relay('n2', ['n1', 'n2'], \@lines);
    $n1->relay('n2', ['n3'], \@lines, arity => 0) for 1 .. 5;
    $fleet->once(\@ids, 'each of them ran once on each node');
    my $relays = 0;
    my $still = poll { my $now = relays($fleet->nodes); my $same = $now == $relays; $relays = $now; $fleet->settle(0.3); $same } 20;
    ok($still, 'the relaying ends');
    cmp_ok($relays, '<=', 3 * 3 * $CALLS + 12, "after $relays messages: no more than a route each that was new, and probes");
    my $log = log_of($n1);
    is_deeply([grep { 1 != (() = $log =~ /"id":"\Q$_\E"/g) } @ids], [], 'each stands once in the log');
};

subtest 'threat 17: a peer that sends everything back, with itself behind it' => sub {
    my $fleet = Fleet->new(nodes => 2, directives => $QUIET);
    my ($n1, $n2) = $fleet->nodes;
    my $played = Played->new(name => 'n2', port => $n2->port, secret => $fleet->{secret});
    $n1->start;
    my ($answer) = $n1->call('runlog.note', ['loop']);
    my $id = $answer->{json}{id};
    my $with = sub { grep { $_->{body} =~ /"\Q$id\E"/ } @{$played->{requests}} };
    ok($played->serve(10, sub { $with->() }), 'n2 gets the call') or return;
    my $line = (split /\n/, ($with->())[0]{body})[1];
    my $log = log_of($n1);
    my @wrong = grep { ($_->{json}{duplicates} // 0) != 1 || $_->{json}{accepted} }
        map { my $arity = $_ % 3; $n1->relay('n2', ['n2'], [$line], arity => $arity) } 1 .. $TURNS;
    is_deeply([map { $_->{body} } @wrong], [], "sent back $TURNS times it is a duplicate");
    $played->serve(1, sub { $with->() > 1 });
    is(scalar(my @got = $with->()), 1, 'which is not handed on again');
    is($n1->runs($id), 1, 'it ran once');
    ok(log_of($n1) eq $log, 'the log is as before');
};

subtest 'threat 17: a peer that claims to be this node' => sub {
    my $fleet = Fleet->new(nodes => 2, directives => $QUIET);
    my ($n1) = $fleet->nodes;
    $n1->start;
    my @lines = lines('n1');
    my ($answer) = leaves_nothing($n1, 'message', 'what comes from itself', sub { $n1->relay('n1', ['n1', 'n2'], \@lines) });
    is_refusal($answer, 400, 'it does not talk to itself');
    is($n1->relay('n2', ['n1'], \@lines)->{json}{refused}{nodes}{n1}, 'unknown', 'nor is it behind itself');
    $fleet->once([ids(@lines)], 'the calls of it that came back ran once', living => [$n1]);
    tells_refusals($n1, 'message');
};

done_testing;
