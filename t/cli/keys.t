# SPDX-License-Identifier: Apache-2.0
# The command: making keys, signing, verifying.
use strict;
use warnings;
use Client qw(sign);
use Command;
use Test::More;

my $secret = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw';
my $keys = key_file("vector $secret\n");
my $other = key_file("other whsec_" . 'B' x 32 . "\n");

# The vectors of docs/PROTOCOL.md: id, timestamp, body, signature.
my @vectors = (
    ['msg_p5jXN8AQM9LWM0D4loKWxJek', 1614265330, '{"test": 2432232314}', 'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE='],
    ['c1', 1700000000, '{"id":"c1","function":"ping","args":[1],"kwargs":{},"origin":"node-a","route":["node-a"]}',
     'v1,8R+hDSby8QilLHpRtWD8B/EheI/SRrGeEcPtDtYnJ/s='],
);

subtest 'keygen writes a line for a key file, and each time another' => sub {
    my @runs = map { command(['keygen']) } 1 .. 2;
    for my $run (@runs) {
        is($run->{status}, 0, 'status');
        like($run->{out}, qr{\A[A-Za-z0-9_-]{1,64} whsec_[A-Za-z0-9+/]{43}=\n\z}, 'one line');
    }
    my ($first, $second) = map { [split ' ', $_->{out}] } @runs;
    isnt($first->[0], $second->[0], 'another id');
    isnt($first->[1], $second->[1], 'another secret');
    is(command(['sign'], key_file => key_file($runs[0]{out}))->{status}, 0, 'the line can be used');
};

subtest 'keygen takes an id and permissions' => sub {
    my $run = command(['keygen', '--id', 'app-1', 'call=cache.*', 'relay']);
    like($run->{out}, qr/\Aapp-1 whsec_\S+ call=cache\.\* relay\n\z/, 'line');
    for my $words (['keygen', 'fly'], ['keygen', '--id', 'a b'], ['keygen', '--id='], ['keygen', 'call=a b']) {
        my $run = command($words);
        is($run->{status}, 2, "@$words: usage");
        is($run->{out}, '', 'no key');
        like($run->{err}, qr/^serviceless: /, 'words');
    }
};

subtest 'sign makes the signatures of the protocol, as header lines' => sub {
    for (@vectors) {
        my ($id, $timestamp, $body, $signature) = @$_;
        my $run = command(['sign', '--id', $id, "--timestamp=$timestamp"], stdin => $body, key_file => $keys);
        is($run->{status}, 0, "$id: status");
        is($run->{out}, "webhook-id: $id\nwebhook-timestamp: $timestamp\nwebhook-signature: $signature\n", "$id: lines");
    }
};

subtest 'sign makes an id and takes the time by itself' => sub {
    my $run = command(['sign'], stdin => 'x', key_file => $keys);
    my %line = $run->{out} =~ /^([a-z-]+): (.*)$/mg;
    like($line{'webhook-id'}, qr/^[A-Za-z0-9_-]{1,64}$/, 'id');
    cmp_ok(abs(time - $line{'webhook-timestamp'}), '<=', 5, 'time');
    is($line{'webhook-signature'}, sign($secret, $line{'webhook-id'}, $line{'webhook-timestamp'}, 'x'), 'signature');
};

subtest 'sign signs the bytes as they are, and with the key that is named' => sub {
    my $body = "\0\r\n\xff" x 50_000;
    my $two = key_file("first whsec_" . 'C' x 32 . "\nsecond $secret call\n");
    my @fixed = ('--id', 'x', '--timestamp', '1700000000');
    my $named = command(['sign', @fixed, '--key', 'second'], stdin => $body, key_file => $two);
    like($named->{out}, qr/^webhook-signature: \Q${\ sign($secret, 'x', 1700000000, $body)}\E$/m, 'named key');
    my $first = command(['sign', @fixed], stdin => $body, key_file => $two);
    like($first->{out}, qr/^webhook-signature: \Q${\ sign('whsec_' . 'C' x 32, 'x', 1700000000, $body)}\E$/m, 'first key');
    is(command(['sign', '--key', 'none'], key_file => $two)->{status}, 2, 'a key that is not there');
};

subtest 'verify says which key signed, and refuses what none signed' => sub {
    for (@vectors) {
        my ($id, $timestamp, $body, $signature) = @$_;
        my @given = ('verify', '--id', $id, '--timestamp', $timestamp, '--signature', $signature);
        my $run = command(\@given, stdin => $body, key_file => $keys);
        is($run->{status}, 0, "$id: verified");
        like($run->{out}, qr/^signed by key vector \([0-9a-f]{8}\)/, "$id: by whom");
        is(command(\@given, stdin => "$body ", key_file => $keys)->{status}, 3, "$id: another body");
        my $stranger = command(\@given, stdin => $body, key_file => $other);
        is($stranger->{status}, 3, "$id: another key");
        like($stranger->{err}, qr/^serviceless: not verified: /, "$id: words");
    }
    my ($id, $timestamp, $body, $signature) = @{$vectors[0]};
    my @malformed = ('verify', '--id', $id, '--timestamp', $timestamp, '--signature', 'v1,x');
    is(command(\@malformed, stdin => $body, key_file => $keys)->{status}, 3, 'a malformed signature');
    is(command(['verify', '--id', $id, '--timestamp', '+614265330', '--signature', $signature], key_file => $keys)->{status}, 2,
       'a malformed timestamp');
    is(command(['verify', '--id', $id], key_file => $keys)->{status}, 2, 'headers missing');
};

subtest 'verify checks an answer as well' => sub {
    my $signature = sign($secret, 'c1:node-a', 1700000000, '{}');
    my @given = ('verify', '--id', 'c1:node-a', '--timestamp', '1700000000', '--signature', $signature);
    is(command(\@given, stdin => '{}', key_file => $keys)->{status}, 0, 'verified');
};

subtest 'no secret is shown, and a key file that others can read is refused' => sub {
    my ($text) = $secret =~ /whsec_(.*)/;
    my $open = key_file("vector $secret\n", 0644);
    my $run = command(['sign'], key_file => $open);
    is($run->{status}, 3, 'readable by all: refused');
    like($run->{err}, qr/readable by all.*chmod 600/, 'what to do');
    my $broken = command(['sign'], key_file => key_file("vector ${secret}x\n"));
    is($broken->{status}, 3, 'a broken line: refused');
    my $missing = command(['sign', '--key-file', '/nonexistent/keys']);
    is($missing->{status}, 3, 'a missing file: refused');
    like($missing->{err}, qr{/nonexistent/keys}, 'names it');
    unlike($run->{out} . $run->{err} . $broken->{out} . $broken->{err}, qr/\Q$text\E/, 'no secret in any word');
    is(command(['sign'])->{status}, 2, 'no key file given: usage');
};

done_testing;
