# SPDX-License-Identifier: Apache-2.0
# docs/clients/call.sh: calls with curl and openssl, from a POSIX shell.
use strict;
use warnings;
use ClientProgram;
use Command;
use File::Temp ();
use MIME::Base64 qw(decode_base64);
use Test::More;

needs('curl', 'curl');
needs('openssl', 'openssl');
test_client('sh', document('call.sh'));

test_vectors(sub {
    my ($secret, $id, $timestamp, $body) = @_;
    my $hex = unpack 'H*', decode_base64($secret =~ s/^whsec_//r);
    my $command = 'printf %s "$2.$3.$4" | openssl dgst -sha256 -mac HMAC -macopt "hexkey:$1" -binary | base64';
    return 'v1,' . output_of('sh', '-c', $command, 'sh', $hex, $id, $timestamp, $body);
});

subtest 'the key is among the arguments of no process' => sub {
    my $bytes = join '', map { chr } 128 .. 159;
    my $directory = File::Temp->newdir('svl-spy.XXXXXX', TMPDIR => 1);
    my @spied = qw(awk base64 cat curl date head mktemp od openssl tr);
    open my $spy, '>', "$directory/spy" or die "cannot write: $!\n";
    print $spy qq(#!/bin/sh\necho "\${0##*/} \$*" >>"$directory/log"\nPATH='$ENV{PATH}' exec "\${0##*/}" "\$@"\n);
    close $spy or die "cannot write: $!\n";
    chmod 0755, "$directory/spy";
    symlink 'spy', "$directory/$_" for @spied;
    my $secret = MIME::Base64::encode_base64($bytes, '');
    my $run = command(['f'], program => ['sh', document('call.sh')], key_file => key_file("main whsec_$secret\n"),
                      env => {PATH => "$directory:$ENV{PATH}"}, answer => sub { signed_response(200, '{}', $_[0], "whsec_$secret") });
    is($run->{status}, 1, 'a call') or diag($run->{err});
    open my $log, '<', "$directory/log" or die "cannot read: $!\n";
    my $seen = do { local $/; <$log> };
    like($seen, qr/^$_ /m, "$_ ran") for qw(awk base64 curl od openssl);
    my ($hex, $decimal) = (unpack('H*', $bytes), '128 +129 +130');
    unlike($seen, qr/\Q$secret\E|$hex|$decimal/i, 'none was given the key');
};

done_testing;
