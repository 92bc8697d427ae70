# SPDX-License-Identifier: Apache-2.0
# Threat 6: an id that came before, with other content: 409.
use strict;
use warnings;
use Client qw(make_id);
use OneServer;
use Test::More;

my $client = client();

my $id = make_id();
my $body = sub { return '{"function":"runlog.note","args":[' . $_[0] . ']}' };
is($client->post($body->('{"a":1,"b":[true,2.0]}'), id => $id)->{status}, 200, 'threat 6: a call');

refusals 'threat 6: content is compared as values' => sub {
    my @same = ($body->('{"b":[true,2.0],"a":1}'), $body->(' { "b" : [ true , 2.00 ] , "\u0061" : 1 } '),
                '{"args":[{"a":1,"b":[true,0.2e1]}],"function":"runlog.note","kwargs":{}}',
                '{"function":"runlog.note","args":[{"a":1,"b":[true,2.0]}],"mode":"broadcast","ttl":5,"timeout":1,"nodes":"all"}');
    is($client->post($_, id => $id)->{json}{duplicate}, JSON::PP::true, "the same: $_") for @same;
    my @other = ($body->('{"a":1.0,"b":[true,2.0]}'), $body->('{"a":1,"b":[true,2]}'), $body->('{"a":1,"b":[1,2.0]}'),
                 $body->('{"a":"1","b":[true,2.0]}'), $body->('{"a":1,"b":[2.0,true]}'), $body->('{"a":1}'),
                 $body->('{"a":1,"b":[true,2.0]},null'), $body->('{"A":1,"b":[true,2.0]}'), '{"function":"runlog.note"}',
                 '{"function":"runlog.fail","args":[{"a":1,"b":[true,2.0]}]}',
                 '{"function":"runlog.note","args":[{"a":1,"b":[true,2.0]}],"kwargs":{"x":null}}',
                 '{"function":"runlog.note","args":[{"a":1,"b":[true,2.0]}],"nodes":"solo"}');
    for (@other) {
        my $answer = is_refused(409, "other: $_", $_, id => $id, taken => 1, reason => 'conflict');
        ok($answer->{signed}, 'signed');
    }
    is($client->post($same[0], id => $id)->{json}{duplicate}, JSON::PP::true, 'none of them took the place of the first');
};
is(runs($id), 1, 'threat 6: it ran once');

refusals 'threat 6: from another key' => sub {
    is_refused(409, 'a call', $body->('2'), id => $id, taken => 1, reason => 'conflict', secret => keys_of('caller'));
};

# The number of such a line is covered, so the log has an entry.
subtest 'threat 6: from a node' => sub {
    my %line = (id => $id, function => 'runlog.note', args => ["\e[2J"], kwargs => {}, origin => 'two', set => 'all',
                epoch => '00000000000000cc', seq => 1, issued => time * 1000, ttl => 600);
    my $answer = is_counted('a line', sub { client()->relay('two', [], [\%line]) }, reason => 'conflict');
    is($answer->{json}{refused}{calls}{$id}{status}, 409, 'it is refused with 409');
    is((grep { /"\Q$id\E"/ } split /^/, stored()), 1, 'the log holds the first content only');
    unlike(stored(), qr/\[2J/, 'and nothing of the other');
};

subtest 'threat 6: two contents for one id at once: one of them wins everywhere' => sub {
    my $id = make_id();
    my @messages = map { $client->message($client->call_body('runlog.note', [$_]), id => $id) } 'x', 'y';
    my @answers = at_once($id, (@messages) x 16);
    my @won = map { my $i = $_; scalar grep { $answers[2 * $_ + $i]{status} == 200 } 0 .. 15 } 0, 1;
    is("@{[sort { $a <=> $b } @won]}", '0 16', 'all requests of one content are answered, none of the other');
    is(scalar(grep { $_->{status} == 409 } @answers), 16, 'these are conflicts');
    is(runs($id), 1, 'one run');
};

ok(server_lives(), 'the server lives');

done_testing;
