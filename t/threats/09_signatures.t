# SPDX-License-Identifier: Apache-2.0
# Threat 9: one valid signature among at most eight is taken, of version v1 and in canonical base64; all else is 401.
use strict;
use warnings;
use OneServer;
use Test::More;
use Unsigned;

my $client = client();
my $wrong = 'v1,' . 'A' x 43 . '=';
my @digits = ('A' .. 'Z', 'a' .. 'z', 0 .. 9, '+', '/');
my %digit;
@digit{@digits} = 0 .. 63;

refusals 'threat 9: signatures that are none' => sub {
    my @bad = (
        ['nine, one valid', 'header', sub { join ' ', ($wrong) x 8, $_[0] }], ['nine valid', 'header', sub { join ' ', ($_[0]) x 9 }],
        ['eight wrong', 'signature', sub { join ' ', ($wrong) x 8 }], ['a third part', 'header', sub { "$_[0],x" }],
        ['no version', 'header', sub { $_[1] }], ['version only', 'header', sub { 'v1' }], ['version and comma', 'header', sub { 'v1,' }],
        (map { my $v = $_; [$v, 'header', sub { "$v,$_[1]" }] } qw(v0 v1a V1 v10 v2 v-1)),
        ['no padding', 'header', sub { $_[0] =~ s/=$//r }], ['too much padding', 'header', sub { "$_[0]=" }],
        ['bits after the end', 'header', sub { $_[0] =~ s/(.)=$/$digits[$digit{$1} | 1]=/r }],
        ['hex', 'header', sub { 'v1,' . unpack 'H*', $_[1] }], ['SHA-1', 'header', sub { 'v1,' . 'A' x 27 . '=' }],
        ['in quotes', 'header', sub { "\"$_[0]\"" }], ['comma for blank', 'header', sub { "$wrong,$_[0]" }],
        ['two blanks', 'header', sub { "$wrong  $_[0]" }], ['a tab for the blank', 'header', sub { "$wrong\t$_[0]" }],
        ['an entry without comma', 'header', sub { "x $_[0]" }],
        ['a malformed v1 beside a valid one', 'header', sub { "v1,x $_[0]" }],
        ['the URL alphabet', 'header', sub { 'v1,-_' . substr $_[1], 2 }],
        ['one bit changed', 'signature', sub { $_[0] =~ s/,(.)/',' . $digits[$digit{$1} ^ 1]/er }]);
    for (@bad) {
        my ($o, @good) = signed();
        unauthorized($_->[1], "signature: $_->[0]", %$o, signature => $_->[2]->(@good));
    }
    my ($o) = signed();
    unauthorized('header', 'a signature of 8,000 bytes', %$o, signature => 'v1,' . 'A' x 8000, hostile => 'A' x 60);
};

subtest 'threat 9: one valid among at most eight is taken' => sub {
    for my $place (0 .. 7) {
        my @entries = ($wrong) x 8;
        my ($fresh, $valid) = signed();
        $entries[$place] = $valid;
        is($client->post($BODY, %$fresh, signature => "@entries")->{status}, 200, "valid at place $place of eight");
        is(runs($fresh->{id}), 1, 'and ran');
    }
    my ($o, $good) = signed();
    is($client->post($BODY, %$o, signature => "v1a,anything v0,\x{21} v2,AAAA $good")->{status}, 200, 'other versions are ignored');
};

ok(server_lives(), 'the server lives');

done_testing;
