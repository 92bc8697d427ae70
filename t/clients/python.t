# SPDX-License-Identifier: Apache-2.0
# docs/clients/call.py: calls with Python's standard library.
use strict;
use warnings;
use ClientProgram;
use File::Basename qw(dirname);
use Test::More;

needs('python3', 'python3');
$ENV{PYTHONDONTWRITEBYTECODE} = 1; # nothing is left beside the program
test_client('python3', document('call.py'));

# Its functions may be imported.
my $sign = <<'END';
import base64, sys
sys.path.insert(0, sys.argv[1])
from call import sign
secret, message_id, timestamp, body = sys.argv[2:]
print(sign(base64.b64decode(secret.removeprefix("whsec_")), message_id, timestamp, body.encode()))
END
test_vectors(sub { output_of('python3', '-c', $sign, dirname(document('call.py')), @_) });

done_testing;
