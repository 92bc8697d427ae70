# SPDX-License-Identifier: Apache-2.0
# webhook-key is a hint: it is told of when no key has that fingerprint, and changes nothing else.
use strict;
use warnings;
use Client qw(fingerprint);
use MIME::Base64 qw(encode_base64);
use OneServer;
use Poll;
use Test::More;
use Unsigned;

my $client = client();
my $stranger = 'whsec_' . encode_base64('s' x 32, '');
my $print = fingerprint($stranger);
my $lacks = qr/refused: signature \(401\), id [\w-]+: no key made the signature of [\w-]+; its sender says the key with fingerprint/;
my $from = length error_log();

# What the status shows of a key that is missing.
sub missing { return ($client->get('/serviceless-status?format=json')->{json}{missing_key} // {})->{fingerprint} // 'none' }

sub told { return $client->post($BODY, secret => $stranger, more => ["webhook-key: $_[0]"]) }

is(missing(), 'none', 'none was named so far');

refusals 'what is no fingerprint, or that of a key which is there, is not told' => sub {
    unauthorized('signature', "webhook-key $_", secret => $stranger, more => ["webhook-key: $_"])
        for map({ fingerprint(keys_of($_)) } qw(main caller peer)), uc $print, "0x$print", "$print x", "${print}0",
        substr($print, 1), "$print, $print", "$print;", '', '%s%s%s%s', 'whsec_AA', "\xff" x 8, 'a' x 4000;
    unauthorized('signature', 'webhook-key twice', secret => $stranger, more => ["webhook-key: $print", "webhook-key: $print"]);
    unauthorized('timestamp', 'with a good signature of another time', timestamp => time - 1000, more => ["webhook-key: $print"]);
};
is($client->post($BODY, more => ["webhook-key: $_"])->{status}, 200, "a good signature is taken whatever key is named: $_")
    for $print, 'junk';
is(missing(), 'none', 'none of these is a key that is missing');
unlike(error_log($from), qr/fingerprint/, 'and no line of the log says so');

eventually { told($print); error_log($from) =~ /$lacks $print did/ } 10, 'a key that is missing is named in the log';
is(missing(), $print, 'and on the status page');
like($client->get('/serviceless-status?format=prometheus')->{body}, qr/^serviceless_missing_key 1$/m, 'and as a metric');
eventually { told('ffffffff'); missing() eq 'ffffffff' } 5, 'the last one is shown';

ok(server_lives(), 'the server lives');

done_testing;
