# SPDX-License-Identifier: Apache-2.0
# The status page: the same facts in three formats, no key in any.
use strict;
use warnings;
use OneServer;
use Poll;
use Test::More;

my $client = client();
is($client->call('runlog.note', [])->{status}, 200, 'a call');
is($client->call('runlog.fail', ['x'])->{json}{outcome}, 'error', 'a call that fails');
is($client->post('{}', signature => 'v1,' . 'A' x 43 . '=')->{status}, 401, 'a refusal');

my $html = $client->get('/serviceless-status');
is($html->{status}, 200, 'HTML');
like($html->{headers}{'content-type'}, qr{^text/html}, 'HTML: content type');
like($html->{body}, qr/runlog\.note/, 'HTML: names a function');

my $json = $client->get('/serviceless-status?format=json');
like($json->{headers}{'content-type'}, qr{^application/json}, 'JSON: content type');
is(ref $json->{json}, 'HASH', 'JSON: an object');

my $metrics = $client->get('/serviceless-status?format=prometheus');
like($metrics->{headers}{'content-type'}, qr{^text/plain}, 'Prometheus: content type');
like($metrics->{body}, qr/^serviceless_calls_total\{[^}]*function="runlog\.note"[^}]*outcome="ok"[^}]*\} [1-9]/m, 'a call is counted');
like($metrics->{body}, qr/^serviceless_calls_total\{[^}]*function="runlog\.fail"[^}]*outcome="error"[^}]*\} [1-9]/m, 'a failure is counted');
like($metrics->{body}, qr/^serviceless_rejected_total\{[^}]*reason="signature"[^}]*\} [1-9]/m, 'a refusal is counted by its reason');
like($metrics->{body}, qr/^# TYPE $_ /m, "$_ has a type") for qw(serviceless_calls_total serviceless_rejected_total
    serviceless_log_calls serviceless_pending_calls serviceless_function_seconds);

for ([main => keys_of('main')], [peer => keys_of('peer')]) {
    my ($id, $secret) = @$_;
    my ($text) = $secret =~ /whsec_(.*)/;
    unlike($html->{body} . $json->{body} . $metrics->{body} . error_log(), qr/\Q$text\E/, "key $id is shown nowhere");
}

done_testing;
