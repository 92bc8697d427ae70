# SPDX-License-Identifier: Apache-2.0
# Signed bodies that are not strict JSON, or name things as nothing may be named: 400, and nothing unescaped reaches log or
# page.
use strict;
use warnings;
use Client qw(json make_id);
use OneServer;
use Poll;
use Test::More;

my $from = length error_log();
my $call = sub { return '{"function":"runlog.note","args":[' . $_[0] . ']}' };
my $nested = sub { return '[' x $_[0] . ']' x $_[0] };

subtest 'JSON is strict' => sub {
    my %bad = (
        'nothing' => '', 'blanks' => "  \n", 'half' => '{"function":', 'an array' => '[]', 'a string' => '"runlog.note"',
        'null' => 'null',
        'duplicate keys' => '{"function":"runlog.note","args":[],"args":[]}',
        'duplicate keys inside' => $call->('{"a":1,"a":1}'),
        'duplicate keys by an escape' => $call->('{"a":1,"\u0061":1}'), 'NaN' => $call->('NaN'),
        'Infinity' => $call->('-Infinity'),
        '1e400' => $call->('1e400'), '-1e400' => $call->('-1e400'), '2^63' => $call->('9223372036854775808'),
        '-2^63-1' => $call->('-9223372036854775809'), 'a number with 400 digits' => $call->('9' x 400), '01' => $call->('01'),
        '+1' => $call->('+1'), '.5' => $call->('.5'), '1.' => $call->('1.'), '0x10' => $call->('0x10'),
        'a lone high surrogate' => $call->('"\ud800"'), 'a lone low surrogate' => $call->('"\udc00x"'),
        'two high surrogates' => $call->('"\ud800\ud800"'), 'NUL, escaped' => $call->('"a\u0000b"'),
        'NUL, raw' => $call->("\"a\0b\""),
        'NUL in a key' => $call->('{"a\u0000":1}'), 'NUL after the end' => $call->('1') . "\0",
        'a raw newline in a string' => $call->("\"\n\""),
        'bytes after the end' => $call->('1') . 'x', 'two documents' => $call->('1') x 2,
        'a byte order mark' => "\xef\xbb\xbf" . $call->('1'),
        'UTF-16' => join('', map { "$_\0" } split //, $call->('1')), 'invalid UTF-8' => $call->("\"\xff\""),
        'overlong UTF-8' => $call->("\"\xc0\xaf\""), 'a surrogate in UTF-8' => $call->("\"\xed\xa0\x80\""),
        'beyond Unicode' => $call->("\"\xf4\x90\x80\x80\""), 'a comment' => $call->('1/* */'),
        'a trailing comma' => $call->('1,'),
        'single quotes' => "{'function':'runlog.note'}", 'nested over 32' => $call->($nested->(31)),
        'nested 20,000 deep' => $call->($nested->(20_000)), 'opened 60,000 times' => '[' x 60_000,
        'objects over 32' => '{"function":"runlog.note","args":[' . '{"a":' x 31 . '1' . '}' x 31 . ']}',
    );
    for my $name (sort keys %bad) {
        my $answer = is_refused(400, $name, $bad{$name});
        ok($answer->{signed}, "$name: signed, because the request was");
    }
    my %good = ('nested 32 deep' => $nested->(30), 'brackets in a string' => '"' . '[' x 100 . '"',
                'a pair of surrogates' => '"\ud83d\ude00"',
                'all of UTF-8' => "\"\x7f\xc2\x80\xdf\xbf\xe0\xa0\x80\xef\xbf\xbf\xf0\x90\x80\x80\xf4\x8f\xbf\xbf\"",
                'the smallest numbers' => '-0,0e5,-0.0,5e-324,1E+2', 'an underflow' => '1e-400',
                'an escaped solidus' => '"\/"');
    for my $name (sort keys %good) {
        is(client()->post($call->($good{$name}))->{status}, 200, "$name is taken");
    }
};

my @names = ("a\r\nb", "\n", "\e[31mred", "a\tb", '../x', '/etc/passwd', '%s%n%n%n', '<b>x</b>', '"', '', ' ', 'a b', "a\x{7f}",
             "a\x{9b}31m", "caf\x{e9}",
             "\x{202e}x", 'x' x 129, 'x' x 5000);

subtest 'names that fit no grammar are 400' => sub {
    for my $name (@names, '1a', '.a', '-a', 'a:b') {
        is_refused(400, 'function ' . json($name), json({function => $name}));
    }
    for my $name (@names, 'x' x 65) {
        is_refused(400, 'nodes ' . json($name), json({function => 'runlog.note', nodes => $name}));
        is_refused(400, 'member ' . json($name), json({function => 'runlog.note', $name => 1}));
    }
    is_refused(400, "$_->[0] " . json($_->[1]), json({function => 'runlog.note', $_->[0] => $_->[1]}))
        for map { my $name = $_; map { [$_ => $name] } qw(mode reply id) } @names;
};

subtest 'names in the messages of nodes, too' => sub {
    my $peer = client(secret => keys_of('peer'));
    my %line = (function => 'runlog.note', args => [], kwargs => {}, origin => 'two', set => 'all', epoch => '00000000000000aa',
                seq => 1,
                issued => time * 1000, ttl => 60);
    for my $name (@names) {
        my $shown = json($name);
        is_problem($peer->relay($name, [], []), 400, "from $shown");
        my $answer = $peer->relay('two', [$name], [{%line, id => make_id(), $name => 1, seq => $line{seq}++}]);
        is($answer->{status}, 202, "route $shown");
        is(scalar keys %{$answer->{json}{refused}{nodes}}, 1, 'is refused');
        unlike($answer->{body}, qr/[^\x20-\x7e]/, 'and shown escaped');
        for my $member (qw(function origin set epoch id)) {
            $answer = $peer->relay('two', [], [{%line, id => make_id(), seq => $line{seq}++, $member => $name}]);
            is(scalar keys %{$answer->{json}{refused}{calls}}, 1, "$member $shown is refused");
            unlike($answer->{body}, qr/[^\x20-\x7e]/, 'and shown escaped');
        }
    }
};

subtest 'what reaches the log is printable' => sub {
    my $log = error_log($from);
    like($log, qr/refused: json \(400\)/, 'reason json');
    like($log, qr/refused: call \(400\)/, 'reason call');
    like($log, qr/refused: message \(400\)/, 'reason message');
    unlike($log, qr/[^\x20-\x7e\n]/, 'no control character, no byte over 126');
    is(scalar(grep { !/^\[/ } split /\n/, $log), 0, 'no line that a request began');
    unlike($log, qr/0x[0-9a-f]{6,}|\(null\)/, 'no % of a request was a conversion');
};

subtest 'nor does it reach the status page' => sub {
    my $page = client()->get('/serviceless-status')->{body};
    unlike($page, qr{<b>x|\.\./x|%s%n|etc/passwd}, 'no name of a request in it');
    unlike($page, qr/[^\x20-\x7e\n\xc2-\xf4\x80-\xbf]/, 'no control character in it');
};

ok(server_lives(), 'the server lives');

done_testing;
