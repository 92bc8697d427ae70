# SPDX-License-Identifier: Apache-2.0
# Threat 3: a node that is told that its timestamp is off signs afresh, and does not give the call up.  The test plays the other node; nodes
# with clocks that are wrong indeed are in t/fault/09_clock.t.
use strict;
use warnings;
use Client qw(json make_id);
use Fleet;
use Played;
use Test::More;
use Time::HiRes qw(time);

my $PATIENCE = 20; # seconds
my $PROBLEM = '{"type":"about:blank","title":"Unauthorized","status":401,"detail":"The signature headers do not authenticate the request."}';

my $fleet = Fleet->new(nodes => 2, mode => 'broadcast', directives => "ServicelessSyncInterval 0\n");
my $two = Played->new(name => 'n2', port => $fleet->node('n2')->port, secret => $fleet->{secret});
my $node = $fleet->node('n1')->start;

sub request_with {
    my ($id) = @_;
    return (grep { $_->{body} =~ /"id":"\Q$id\E"/ } @{$two->{requests}})[0];
}

# Calls $node, and returns the id and the request in which n2 gets it, if it does.
sub passed_on {
    my $id = make_id();
    my $answer = $node->call('runlog.note', ['x'], id => $id);
    is($answer->{status}, 200, 'threat 3: a call is accepted');
    return ($id, $two->serve($PATIENCE, sub { request_with($id) }));
}

sub counts_as_up { return !grep { $_ eq 'n2' } $node->sees_down }

$two->serve(1, sub { 1 }) until counts_as_up();
my ($known, $first) = passed_on();
ok($first && $first->{signed}, 'threat 3: the other node gets calls, signed');

$two->answer_with(sub { $two->acknowledgement($_[0], status => '401 Unauthorized', unsigned => 1, body => $PROBLEM) });
my %refused = map { passed_on() } 1 .. 3;
my @requests = values %refused;
is((grep { defined && $_->{signed} } @requests), 3, 'threat 3: all of three calls are sent and refused with 401');
my %ids = map { $_->{headers}{'webhook-id'} => 1 } $first, @requests;
is(keys %ids, 4, 'threat 3: each time under a fresh id');
is((grep { abs($_->{headers}{'webhook-timestamp'} - time) > $PATIENCE } @requests), 0, 'threat 3: and signed at that time');
eventually { $node->error_log =~ /SVL0303: node n2 refused a message: it answered 401; compare keys and clocks/ } 10,
    'threat 3: the log says what to compare';
ok(counts_as_up(), 'threat 3: who refuses is not down');

# It takes no note of the calls, so it asks for what it lacks.
my $question = json({sync => {from => 'n2', digest => '0' x 64, vector => {}}}) . "\n";
my $answer;
eventually {
    $answer = $node->post($question, type => 'application/x-ndjson');
    return !grep { $answer->{body} !~ /"id":"\Q$_\E"/ } keys %refused;
} $PATIENCE, 'threat 3: none of the calls was given up: it gets them when it asks';
ok($answer->{signed}, 'threat 3: signed');

$two->answer_with(undef);
my ($last, $request) = passed_on();
ok($request && $request->{signed}, 'threat 3: and calls go on');
is_deeply($fleet->runs($_), {n1 => 1}, "threat 3: $_ ran once here") for $known, sort(keys %refused), $last;

done_testing;
