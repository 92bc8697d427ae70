# SPDX-License-Identifier: Apache-2.0
# Threat 4: the same request again, to whichever child, after a graceful restart, a restart and a crash, here and on the other node: 200
# with the first outcome, and nothing runs.
use strict;
use warnings;
use Client qw(make_id);
use Fleet;
use Test::More;

my $TIMES = 20; # so that every child is asked
my $fleet = Fleet->new(nodes => 2)->start;
my ($node, $other) = $fleet->nodes;
my $id = make_id();
my $message = $node->client->message($node->client->call_body('runlog.note', ['x']), id => $id);
my $first = $node->client->exchange($message, id => $id);
is_deeply($first->{json}, {id => $id, node => 'n1', outcome => 'ok', result => ['x']}, 'threat 4: the first answer');
$fleet->once([$id], 'threat 4: it ran once everywhere');

sub stored {
    my ($of) = @_;
    my ($status, $text) = $fleet->command($of, 'log', '--json', $of->state_directory);
    is($status, 0, 'the log can be read');
    return $text;
}

# Sends the request over and over, each time over a connection of its own.
sub replay {
    my ($name) = @_;
    subtest "threat 4: again, $name" => sub {
        for my $asked ($node, $other) {
            my $stored = stored($asked);
            my @answers = map { $asked->client->exchange($message, id => $id) } 1 .. $TIMES;
            is((grep { $_->{status} == 200 && $_->{signed} } @answers), $TIMES, $asked->name . ': each is answered with 200, signed');
            is_deeply($answers[-1]{json}, {%{$first->{json}}, node => $asked->name, duplicate => JSON::PP::true}, 'the first outcome, marked');
            is((grep { $_->{body} ne $answers[0]{body} } @answers), 0, 'whichever child answers');
            ok($stored eq stored($asked), 'its log is unchanged');
        }
        $fleet->once([$id], 'it still ran once everywhere');
    };
    return;
}

replay('at once');
$node->graceful;
replay('after a graceful restart');
$node->stop;
$node->start;
replay('after a restart');
$node->kill9;
$node->start;
replay('after a crash');
my $answer = $node->call('runlog.note', ['y']);
$fleet->once([$answer->{json}{id}], 'threat 4: and calls go on');

done_testing;
