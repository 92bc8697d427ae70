# SPDX-License-Identifier: Apache-2.0
# Row 16: names of nodes in messages are looked up in the own configuration, and refused one by one; nobody else is ever asked for anything.
use strict;
use warnings;
use Client qw(json make_id);
use Fleet;
use IO::Select;
use IO::Socket::INET;
use Played;
use Refused;
use Test::More;
use Time::HiRes qw(time);

my $QUICK = 2;  # seconds of the processor for a message of the largest size
my $GROWS = 64; # MiB that a process may grow by it

# n2 and n3 are played by this test; nobody listens at n4.
my $fleet = Fleet->new(nodes => 4, mode => 'broadcast', directives => "ServicelessSyncInterval 0\nServicelessConnectTimeout 1s\n");
my ($n1, @others) = $fleet->nodes;
my ($n2, $n3) = map { Played->new(name => $_->name, port => $_->port, secret => $fleet->{secret}) } @others[0, 1];
my $outside = IO::Socket::INET->new(Listen => 64, LocalAddr => '127.0.0.1', LocalPort => 0) or die "cannot listen: $@";
my $elsewhere = '127.0.0.1:' . $outside->sockport;
$n1->start;

my $epoch = sprintf '%016x', int(time * 1000);
my $number = 0;

sub line {
    my (%o) = @_;
    return json({id => make_id(), function => 'runlog.note', args => ['routed'], kwargs => {}, origin => 'n2', set => 'all', epoch => $epoch,
                 seq => ++$number, issued => int(time * 1000), ttl => 600, %o});
}

sub id_of { return $_[0] =~ /"id":"([^"]+)"/ ? $1 : undef }

# Sends a relay message; its relay line may be anything.
sub message {
    my ($relay, @lines) = @_;
    return $n1->post(join('', map { (ref $_ ? json($_) : $_) . "\n" } {relay => {from => 'n2', route => [], arity => 0, %$relay}}, @lines),
                     type => 'application/x-ndjson');
}

# What the played nodes got that holds the id.
sub got {
    my ($id) = @_;
    $_->serve(0.05, sub { 0 }) for $n2, $n3;
    return map { my $node = $_; map { $node->{name} } grep { $_->{body} =~ /"\Q$id\E"/ } @{$node->{requests}} } $n2, $n3;
}

my @strange = ('nobody', 'n1', $elsewhere, '169.254.169.254', 'n3', "http://$elsewhere/", "http:$elsewhere", '[::1]:80', '../n3', "n3\r\nX: y",
               "\e[31m", '%s%n', '<b>n3</b>', '', 'n3 ', 'N3', 'x' x 65);

subtest 'threat 16: a route with names that are not configured, this node, and one name twice' => sub {
    my $call = line();
    my $counted = refusals($n1, 'message');
    my $answer = message({route => ['n3', @strange]}, $call);
    is("$answer->{status} $answer->{json}{accepted} " . ($answer->{signed} ? 'signed' : 'unsigned'), '202 1 signed', 'the call is accepted');
    is_deeply($answer->{json}{refused}{calls}, {}, 'as it is');
    my $nodes = $answer->{json}{refused}{nodes};
    is(keys %$nodes, @strange, 'each of the names is refused');
    is_deeply([grep { $_ ne 'unknown' } values %$nodes], [], 'as unknown');
    ok(!(grep { /[^\x20-\x7e]/ } keys %$nodes), 'without a raw byte of it');
    is(refusals($n1, 'message') - $counted, @strange, 'and counted');
    eventually { $n1->runs(id_of($call)) == 1 } 10, 'the call runs, once';
    ok(poll(sub { grep { $_ eq 'n3' } got(id_of($call)) }, 10), 'the node that is configured gets it');
    my ($request) = grep { $_->{body} =~ /\Q${\ id_of($call)}\E/ } @{$n3->{requests}};
    is_deeply(JSON::PP::decode_json($request->{body} =~ s/\n.*//sr)->{relay}{route}, [], 'with nobody behind it');
};

subtest 'threat 16: thousands of names' => sub {
    my $peak = peak($n1);
    my $call = line();
    my ($took, $answer) = spent($n1, sub { message({route => [map { "s$_" } 1 .. 10_000]}, $call) });
    cmp_ok($took, '<', $QUICK, "10,000 are dealt with in $took s");
    is("$answer->{status} $answer->{json}{accepted}", '202 1', 'the call is accepted');
    is(keys %{$answer->{json}{refused}{nodes}}, 10_000, 'all are refused');
    eventually { $n1->runs(id_of($call)) == 1 } 10, 'the call runs, once';
    my $refused = line();
    ($answer) = leaves_nothing($n1, 'message', '100,000 names', sub {
        ($took, $answer) = spent($n1, sub { message({route => [map { "s$_" } 1 .. 100_000]}, $refused) });
        cmp_ok($took, '<', $QUICK, "100,000 names: refused in $took s");
        return $answer;
    });
    is_refusal($answer, 400, '100,000 names');
    note(sprintf 'the largest process: %.1f MiB before, %.1f MiB after', $peak, peak($n1));
    grew_less(peak($n1) - $peak, $GROWS, 'the memory is bounded');
    is(message({}, $refused)->{json}{accepted}, 1, 'the id and the number of what was refused are free');
};

subtest 'threat 16: from whom' => sub {
    my $call = line();
    my @from = ('n1', 'nobody', $elsewhere, "http://$elsewhere/", "n2\r\nX: y", "\e]0;x\a", '<b>', '', undef, 2, ['n2'], 'n2 ', 'n' x 100_000);
    my @answers = leaves_nothing($n1, 'message', 'a sender that is no other node', sub { map { message({from => $_}, $call) } @from });
    is_refusal($answers[$_], 400, 'from ' . substr json($from[$_]), 0, 40) for 0 .. $#from;
    is(message({}, $call)->{json}{accepted}, 1, 'the id and the number are free');
};

subtest 'threat 16: nothing goes to any place that is not configured' => sub {
    $fleet->settle(0.3);
    $_->serve(0.2, sub { 0 }) for $n2, $n3;
    is_deeply([IO::Select->new($outside)->can_read(0)], [], 'who listens elsewhere was not connected to');
    is_deeply([grep { $_->{path} ne '/serviceless' || !$_->{signed} } map { @{$_->{requests}} } $n2, $n3], [], 'those that are got nothing else');
    is_deeply([map { $_->{name} } grep { !$_->{self} } @{$n1->status->{members}}], [qw(n2 n3 n4)], 'no name was added');
    unlike($n1->error_log, qr/node (?!n[234]\b)\S+ is (?:down|up)/, 'nor asked');
    tells_refusals($n1, 'message');
};

done_testing;
