# SPDX-License-Identifier: Apache-2.0
# Threat 14: signed bodies that are not strict JSON: 400.
use strict;
use warnings;
use Client qw(json);
use OneServer;
use Test::More;

my $call = sub { return '{"function":"runlog.note","args":[' . $_[0] . ']}' };
my $nested = sub { return '[' x $_[0] . ']' x $_[0] };

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
my %no_call = map { $_ => 1 } 'an array', 'a string', 'null';

refusals 'threat 14: JSON is strict' => sub {
    for my $name (sort keys %bad) {
        my $answer = is_refused(400, $name, $bad{$name}, reason => $no_call{$name} ? 'call' : 'json');
        ok($answer->{signed}, "$name: signed, because the request was");
    }
};

my %line = (id => 'strict', function => 'runlog.note', kwargs => {}, origin => 'two', set => 'all', epoch => '00000000000000ab', seq => 1,
            issued => time * 1000, ttl => 60);
my $line = json({%line, args => ['here']});
my $relay = json({relay => {from => 'two', route => [], arity => 1}});

refusals 'threat 14: in messages of nodes, too' => sub {
    my $post = sub { return client()->post(join('', map { "$_\n" } @_), type => 'application/x-ndjson') };
    for my $args ('NaN', '1e400', '9223372036854775808', '"\ud800"', '"a\u0000b"', '{"a":1,"a":1}', $nested->(32), "\"\xff\"") {
        my $answer = is_counted("a call of $args", sub { $post->($relay, $line =~ s/"here"/$args/r) }, reason => 'json');
        is("$answer->{status} $answer->{json}{accepted}", '202 0', 'is not accepted');
        is((values %{$answer->{json}{refused}{calls}})[0]{status}, 400, 'but refused with 400');
        unlike($answer->{body}, qr/[^\x20-\x7e]/, 'in printable words');
    }
    for my $bad ($relay . 'x', $relay =~ s/"arity":1/"arity":1,"arity":1/r, $relay =~ s/1/1e400/r, "\xef\xbb\xbf$relay", $relay =~ s/two/\\u0000/r,
                 '{"sync":{"from":"two","digest":NaN}}', '{"sync":{"from":"two","from":"two","digest":"x"}}', "$relay\0") {
        is_refused(400, 'the line ' . $bad =~ s/[^\x20-\x7e]/?/gr, "$bad\n", type => 'application/x-ndjson', reason => 'message');
    }
};

my %good = ('nested 32 deep' => $nested->(30), 'brackets in a string' => '"' . '[' x 100 . '"',
            'a pair of surrogates' => '"\ud83d\ude00"',
            'all of UTF-8' => "\"\x7f\xc2\x80\xdf\xbf\xe0\xa0\x80\xef\xbf\xbf\xf0\x90\x80\x80\xf4\x8f\xbf\xbf\"",
            'the smallest numbers' => '-0,0e5,-0.0,5e-324,1E+2', 'an underflow' => '1e-400',
            'an escaped solidus' => '"\/"');
subtest 'threat 14: what is strict is taken' => sub {
    for my $name (sort keys %good) {
        is(client()->post($call->($good{$name}))->{status}, 200, "$name is taken");
    }
};

ok(server_lives(), 'the server lives');

done_testing;
