# SPDX-License-Identifier: Apache-2.0
# Outcomes over links: each is told in time, whatever the function does, and by the thread of the link where that takes no time.
use strict;
use warnings;
use Client qw(make_id);
use Fleet;
use Fleet::Edit;
use JSON::PP qw(decode_json);
use Link;
use Test::More;
use Time::HiRes qw(time);

my $PATIENCE = 20; # seconds that an outcome is waited for
my $USUAL = 20;    # runs that take no time, though the first one may
my $LONG = Fleet::signals_are_late() ? 6 : 4; # seconds that a run takes then
my $TRIES = 4;     # until the thread of a link runs it: one of the usual ones may have taken long as well
my $SOON = Fleet::signals_are_late() ? 3 : 2; # seconds in which what does not wait for it is done

subtest 'an outcome is answered in time, and the one of a run that takes long for once is pending' => sub {
    my $taken = 0;
    for my $try (1 .. $TRIES) {
        last if $taken;
        my $fleet = Fleet->new(nodes => 2, durability => 'async', directives => "LogLevel serviceless:debug\n")->start;
        my $node = $fleet->node('n1');
        my ($socket) = ask_for_link($node);
        my $seq = 0;
        my $ask = sub {
            my ($seconds, $milliseconds) = @_;
            my $id = make_id();
            return ($id, frame($node, relayed($node, $id, function => 'runlog.sleep', args => [$seconds], seq => ++$seq,
                                              asked => {reply => 'outcome', timeout_ms => $milliseconds}), id => "m-$id"));
        };
        my $rest = '';
        my $told = sub {
            my ($id, $outcome, $name) = @_;
            my ($status, $of, $body, $signed) = @{answer($socket, \$rest, $node->client->{secret})};
            is("$status $of $signed", "200 m-$id:n1 1", "an answer to the message, $name");
            is(decode_json($body)->{outcome}, $outcome, $name);
        };
        for (1 .. $USUAL) {
            my ($id, $message) = $ask->(0, 5000);
            syswrite $socket, $message;
            $told->($id, 'ok', 'an outcome');
            is($node->runs($id), 1, 'of a call that has run');
        }
        my $logged = length $node->error_log;
        my ($long, $first) = $ask->($LONG, 500);
        my ($short, $behind) = $ask->(0, 5000);
        my $start = time;
        syswrite $socket, $first . $behind;
        $told->($long, 'pending', 'one that takes longer than is waited for is pending');
        cmp_ok(time - $start, '>=', 0.45, 'after that time');
        $taken += substr($node->error_log, $logged) =~ /SVL0386: \d+ links get another thread/;
        $told->($short, 'ok', 'what came right behind it has run');
        cmp_ok(time - $start, '<', $SOON, sprintf 'all of it while the long one runs: %.2f s', time - $start);
        ($long, my $again) = $ask->($LONG, 1000 * $PATIENCE);
        syswrite $socket, $again;
        $told->($long, 'ok', 'one that is waited for is told when it ends');
        is($node->runs($long), 1, 'and ran once');
        (undef, my $unheard) = $ask->(0, 5000);
        my ($other) = ask_for_link($node);
        syswrite $other, $unheard;
        close $other; # who does not wait for an answer harms nobody
        ($long, my $last) = $ask->($LONG, 1000 * $PATIENCE);
        syswrite $socket, $last;
        eventually { $node->runs($long) } 10, 'one that runs when the node stops';
        $node->ask_to_stop;
        $told->($long, 'pending', 'is pending');
        ends($socket, 'and the link ends');
        $fleet->stop;
        $fleet->no_crash;
    }
    cmp_ok($taken, '>', 0, 'the thread of a link ran the long one, and another one answered');
};

subtest 'outcomes over a link are those that a request would be told' => sub {
    my $fleet = Fleet->new(nodes => 2, durability => 'async')->start;
    my $node = $fleet->node('n1');
    my ($socket) = ask_for_link($node);
    my $seq = 0;
    my $told = sub {
        my ($id, %o) = @_;
        syswrite $socket, frame($node, relayed($node, $id, seq => ++$seq, asked => {reply => 'outcome', timeout_ms => 5000}, %o));
        return decode_json(answer($socket)->[2]);
    };
    my $id = make_id();
    is($told->($id)->{outcome}, 'ok', 'a call');
    is($told->($id, seq => 1)->{outcome}, 'ok', 'the same again');
    is($told->($id, args => ['other'])->{outcome}, 'refused', 'its id with another content');
    is($told->(make_id(), function => 'no.such')->{outcome}, 'unknown-function', 'a function that is not there');
    is($told->(make_id(), function => 'runlog.fail_on', args => ['n1'])->{outcome}, 'error', 'one that fails');
    is($node->runs($id), 1, 'the first ran once');
    $fleet->stop;
    $fleet->no_crash;
};

subtest 'a function that takes long for once is pending everywhere at the deadline' => sub {
    my $fleet = Fleet->new(nodes => 3, durability => 'async')->start;
    my $one = $fleet->node('n1');
    my $all = sub {
        my ($seconds, $timeout) = @_;
        my $answer = $one->call('runlog.sleep', [$seconds], reply => 'all', timeout => $timeout)->{json};
        return join ' ', map { $answer->{outcomes}{$_}{outcome} } $fleet->names;
    };
    $all->(0, 5) for 1 .. $USUAL;
    eventually { 2 == grep { $_ } links_of($one) } 10, 'n1 has got links';
    is($all->(0, 5), 'ok ok ok', 'usually it takes no time') for 1 .. $USUAL;
    my $start = time;
    is($all->($LONG, $SOON), 'pending pending pending', 'one that does');
    cmp_ok(time - $start, '<', $LONG, sprintf 'and that is told in time: %.2f s', time - $start);
    is($all->(0, 5), 'ok ok ok', 'and does not hold up the next one');
    $fleet->stop;
    $fleet->no_crash;
};

done_testing;
