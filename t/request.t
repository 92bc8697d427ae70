# SPDX-License-Identifier: Apache-2.0
# The endpoint is one of httpd's: what it takes, and who may ask it.  What is hostile in itself is in t/threats.
use strict;
use warnings;
use Client qw(make_id);
use OneServer;
use Test::More;

my $client = client();
my $body = $client->call_body('runlog.note', ['x']);

subtest 'content types of calls' => sub {
    is($client->post($body, type => $_)->{status}, 200, "$_ is taken")
        for 'application/json', 'application/json; charset=utf-8', 'Application/JSON', 'application/json ;x=y';
};

subtest 'access control is httpd\'s own' => sub {
    my $id = make_id();
    my $answer = client()->post($body, id => $id, path => '/closed');
    is($answer->{status}, 403, 'Require all denied');
    unlike($answer->{body}, qr/about:blank/, 'answered by httpd');
    is(runs($id), 0, 'nothing ran');
};

ok(server_lives(), 'the server lives');

done_testing;
