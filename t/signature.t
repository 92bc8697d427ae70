# SPDX-License-Identifier: Apache-2.0
# Requests that are not signed as they must be: 401, a constant body, nothing run, nothing remembered, a line in the log.
use strict;
use warnings;
use Client qw(fingerprint make_id sign);
use MIME::Base64 qw(encode_base64);
use OneServer;
use Poll;
use Test::More;
use Time::HiRes ();

my $client = client();
my $body = $client->call_body('runlog.note', ['x']);
my $constant;

# Posts what must be refused with 401; options are those of Client::post.
sub unauthorized {
    my ($name, %o) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $answer = is_refused(401, $name, delete $o{body} // $body, %o);
    $constant //= $answer->{body};
    is($answer->{body}, $constant, "$name: the body never says why");
    ok(!exists $answer->{headers}{'webhook-signature'}, "$name: no signature that could be used elsewhere");
    return;
}

# One signed request, as options that can be varied.
sub signed {
    my ($id, $now) = (make_id(), time);
    my $good = sign(keys_of('main'), $id, $now, $body);
    return ({id => $id, timestamp => $now, signature => $good}, $good, $good =~ s/^v1,//r);
}

subtest 'a body, id or timestamp that was not signed so' => sub {
    my ($o, $good);
    my $fresh = sub { ($o, $good) = signed(); return %$o };
    unauthorized('tampered body', $fresh->(), body => $body =~ s/"x"/"y"/r);
    unauthorized('a byte more', $fresh->(), body => "$body\n");
    unauthorized('a byte less', $fresh->(), body => substr $body, 0, -1);
    unauthorized('no body', $fresh->(), body => '');
    unauthorized('another id', $fresh->(), id => make_id());
    unauthorized('another timestamp', $fresh->(), timestamp => time + 5);
    # id "." timestamp "." body: the parts must not change places
    unauthorized('a dot moved', $fresh->(), body => ".$body");
    unauthorized('a letter before the id', $fresh->(), id => 'x' . make_id());
    is($client->post($body, %$o)->{status}, 200, 'what was signed so is taken');
};

subtest 'a key that is not in the file' => sub {
    unauthorized('no key of this fleet', secret => 'whsec_' . encode_base64('k' x 32, ''));
    unauthorized('the key of another fleet on the same server', secret => keys_of('other'));
    unauthorized('the key as text', secret => 'whsec_' . encode_base64(keys_of('main'), ''));
    unauthorized('an empty key', secret => 'whsec_');
    my $other = client(port => port_of('other'), secret => keys_of('other'));
    is($other->call('runlog.note', [])->{json}{node}, 'other', 'that key is good there');
    unauthorized('a key of this fleet there', client => client(port => port_of('other')));
};

subtest 'a timestamp over the tolerance, old or ahead' => sub {
    unauthorized("$_ s", timestamp => time + $_) for -100_000, -310, 310, 100_000;
    is($client->post($body, timestamp => time + $_)->{status}, 200, "$_ s is taken") for -290, 290;
};

subtest 'each of the three headers, exactly once' => sub {
    for my $header (qw(webhook-id webhook-timestamp webhook-signature)) {
        my $message = $client->message($body);
        my ($line, $value) = $message =~ /^(\Q$header\E: ([^\r\n]*)\r\n)/m;
        my %bad = (missing => '', twice => $line x 2, 'twice, other case' => $line . uc($header) . ": $value\r\n",
                   'twice, first empty' => "$header:\r\n$line", 'twice, then empty' => "$line$header:\r\n",
                   'twice, then another' => "$line$header: x\r\n", empty => "$header:\r\n", blank => "$header:  \t\r\n",
                   'with a comma' => "$header: $value,\r\n", 'under another name' => "x-$line");
        for my $name (sort keys %bad) {
            my $before = runs();
            my $answer = client()->exchange($message =~ s/\Q$line\E/$bad{$name}/r);
            is_problem($answer, 401, "$header $name");
            is($answer->{body}, $constant, "$header $name: constant body");
            is(runs(), $before, "$header $name: nothing ran");
        }
    }
    my $message = $client->message($body, id => 'case-' . make_id()) =~ s/^webhook-/Webhook-/mgr;
    is(client()->exchange($message)->{status}, 200, 'names of headers in another case are the same');
};

subtest 'an id outside of the grammar' => sub {
    unauthorized("id $_", id => $_) for 'a.b', '.', 'a:one', 'a b', 'a/b', '%s%n', "caf\xc3\xa9", '<b>', 'a,b', 'a' x 65,
    'a' x 4000;
    is($client->post($body, id => $_)->{status}, 200, "id $_ is taken") for '-', '_', 'Az09-_', 'a' x 64;
};

subtest 'a timestamp outside of the grammar' => sub {
    my $now = time;
    unauthorized("timestamp '$_'", timestamp => $_) for "+$now", "-$now", "$now.5", "${now}junk", "$now 1", "0$now", "${now}0",
        substr($now, 0, 9), sprintf('0x%x', $now), '1e9', '0', '99999999999999999999', 'now', sprintf('%.1e', $now);
};

subtest 'signatures: one valid among at most eight' => sub {
    my $wrong = 'v1,' . 'A' x 43 . '=';
    my @digits = ('A' .. 'Z', 'a' .. 'z', 0 .. 9, '+', '/');
    my %digit;
    @digit{@digits} = 0 .. 63;
    my @bad = (
        ['nine, one valid', sub { join ' ', ($wrong) x 8, $_[0] }], ['nine valid', sub { join ' ', ($_[0]) x 9 }],
        ['eight wrong', sub { join ' ', ($wrong) x 8 }], ['a third part', sub { "$_[0],x" }], ['no version', sub { $_[1] }],
        ['version only', sub { 'v1' }], ['version and comma', sub { 'v1,' }],
        (map { my $v = $_; [$v, sub { "$v,$_[1]" }] } qw(v0 v1a V1 v10 v2 v-1)),
        ['no padding', sub { $_[0] =~ s/=$//r }], ['too much padding', sub { "$_[0]=" }],
        ['bits after the end', sub { $_[0] =~ s/(.)=$/$digits[$digit{$1} | 1]=/r }],
        ['hex', sub { 'v1,' . unpack 'H*', $_[1] }],
        ['SHA-1', sub { 'v1,' . 'A' x 27 . '=' }], ['in quotes', sub { "\"$_[0]\"" }],
        ['comma for blank', sub { "$wrong,$_[0]" }],
        ['two blanks', sub { "$wrong  $_[0]" }], ['a tab for the blank', sub { "$wrong\t$_[0]" }],
        ['an entry without comma', sub { "x $_[0]" }],
        ['a malformed v1 beside a valid one', sub { "v1,x $_[0]" }], ['the URL alphabet', sub { 'v1,-_' . substr $_[1], 2 }],
        ['one bit changed', sub { $_[0] =~ s/,(.)/',' . $digits[$digit{$1} ^ 1]/er }]);
    for (@bad) {
        my ($o, @good) = signed();
        unauthorized("signature: $_->[0]", %$o, signature => $_->[1]->(@good));
    }
    for my $place (0 .. 7) {
        my @entries = ($wrong) x 8;
        my ($fresh, $valid) = signed();
        $entries[$place] = $valid;
        is($client->post($body, %$fresh, signature => "@entries")->{status}, 200, "valid at place $place of eight");
        is(runs($fresh->{id}), 1, 'and ran');
    }
    my ($o, $good) = signed();
    is($client->post($body, %$o, signature => "v1a,anything v0,\x{21} v2,AAAA $good")->{status}, 200,
       'other versions are ignored');
};

# What the status shows of a key that is missing.
sub missing { return ($client->get('/serviceless-status?format=json')->{json}{missing_key} // {})->{fingerprint} // 'none' }

subtest 'webhook-key is a hint: it is told of when no key has that fingerprint, and changes nothing else' => sub {
    my $stranger = 'whsec_' . encode_base64('s' x 32, '');
    my $print = fingerprint($stranger);
    my $refused = sub { unauthorized("webhook-key $_[0]", secret => $stranger, more => ["webhook-key: $_[0]"]) };
    my $lacks = qr/refused: signature \(401\), id [\w-]+: no key made the signature of [\w-]+; its sender says the key with fingerprint/;
    my $from = length error_log();
    is(missing(), 'none', 'none was named so far');
    $refused->($_) for map({ fingerprint(keys_of($_)) } qw(main caller peer)), uc $print, "0x$print", "$print x", "${print}0",
        substr($print, 1), "$print, $print", "$print;", '', '%s%s%s%s', 'whsec_AA', "\xff" x 8, 'a' x 4000;
    unauthorized('webhook-key twice', secret => $stranger, more => ["webhook-key: $print", "webhook-key: $print"]);
    unauthorized('with a good signature of another time', timestamp => time - 1000, more => ["webhook-key: $print"]);
    is($client->post($body, more => ["webhook-key: $_"])->{status}, 200, "a good signature is taken whatever key is named: $_")
        for $print, 'junk';
    is(missing(), 'none', 'none of these is a key that is missing');
    unlike(error_log($from), qr/fingerprint/, 'and no line of the log says so');
    eventually { $client->post($body, secret => $stranger, more => ["webhook-key: $print"]); error_log($from) =~ /$lacks $print did/ } 10,
        'a key that is missing is named in the log';
    is(missing(), $print, 'and on the status page');
    $refused->($print);
    eventually { $client->post($body, secret => $stranger, more => ["webhook-key: ffffffff"]); missing() eq 'ffffffff' } 5, 'the last one is shown';
};

subtest 'the log tells the reason once a second, and the address' => sub {
    my ($from, $start) = (length error_log(), Time::HiRes::time());
    my $reason = qr/\[client 127\.0\.0\.1:\d+\] SVL\d{4}: refused: signature \(401\), id [\w-]+/;
    my $many = client();
    $many->post($body, secret => 'whsec_' . 'A' x 43 . '=') for 1 .. 100;
    my $lines = () = error_log($from) =~ /$reason/g;
    cmp_ok($lines, '<=', 2 + Time::HiRes::time() - $start, 'a hundred refusals, a line a second at most');
    eventually {
        $many->post($body, secret => 'whsec_' . 'A' x 43 . '=');
        return error_log($from) =~ /$reason.*; [1-9]\d* more since the last line/;
    } 10, 'the next line says how many there were';
    unlike(error_log(), qr/; 0 more since/, 'if there were any');
    like(error_log(), qr/refused: $_ \(401\)/, "reason $_") for qw(header timestamp signature);
    unlike(error_log(), qr/whsec_/, 'no key in the log');
    unlike(error_log(), qr/[^\x20-\x7e\n]/, 'nothing unprintable in the log');
    unlike(error_log(), qr/, id [\w-]*[^\w:;,\n-]/, 'no id that does not fit the grammar');
};

ok(server_lives(), 'the server lives');

done_testing;
