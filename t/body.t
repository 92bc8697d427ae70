# SPDX-License-Identifier: Apache-2.0
# Bodies that httpd's own limits end: of size, and of time.  What is hostile in itself is in t/threats.
use strict;
use warnings;
use Client qw(make_id);
use Framed;
use OneServer;
use Test::More;
use Time::HiRes qw(time);

my $client = client();
my $small = $client->call_body('runlog.note', ['x']);

subtest 'LimitRequestBody holds as well' => sub {
    my $long = $small . ' ' x (101 - length $small);
    is($client->post($small, path => '/limited')->{status}, 200, 'below it');
    is_problem(client()->post($long, path => '/limited'), 413, 'declared');
    my $id = make_id();
    my $head = head($id, $long, 'Transfer-Encoding: chunked') =~ s{/serviceless}{/limited}r;
    is_problem(client()->exchange($head . chunk($long) . "0\r\n\r\n"), 413, 'counted');
    is(runs($id), 0, 'nothing ran');
};

subtest 'another transfer encoding' => sub {
    like(conversation(head(make_id(), $small, 'Transfer-Encoding: gzip') . $small), qr{^HTTP/1\.1 (?:400|501) }, 'is not taken');
};

subtest 'a body that comes too slowly is 408' => sub {
    my $start = time;
    my $id = make_id();
    ends_with(408, 'half a body', head($id, $small, "Content-Length: @{[length $small]}") . substr($small, 0, 10),
              alone => 1, port => port_of('slow'), reason => 'body-slow');
    cmp_ok(time - $start, '<', 10, 'well before Timeout');
    is(client(port => port_of('slow'))->post($small, id => $id)->{json}{outcome}, 'ok', 'its id is free');
};

ok(server_lives(), 'the server lives');

done_testing;
