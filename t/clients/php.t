# SPDX-License-Identifier: Apache-2.0
# docs/clients/call.php: calls with PHP.
use strict;
use warnings;
use ClientProgram;
use Test::More;

needs('php', 'php-cli');
test_client('php', document('call.php'));

my $sign = <<'END';
[, $secret, $id, $timestamp, $body] = $argv;
echo 'v1,', base64_encode(hash_hmac('sha256', "$id.$timestamp.$body", base64_decode(substr($secret, 6)), true));
END
test_vectors(sub { output_of('php', '-r', $sign, '--', @_) });

done_testing;
