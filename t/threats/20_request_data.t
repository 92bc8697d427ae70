# SPDX-License-Identifier: Apache-2.0
# Threat 20: Host, X-Forwarded-*, trailers, sub-requests and internal redirects change nothing; the endpoint declines what is not the
# client's own request.
use strict;
use warnings;
use Apache::Test ();
use Client qw(make_id sign);
use OneServer;
use Test::More;

my $client = client();
my $body = $client->call_body('runlog.note', ['x']);
my $root = Apache::Test::vars('documentroot');

# Makes a file below DocumentRoot.
sub publish {
    my ($directory, $name, $text) = @_;
    -d "$root/$directory" or mkdir "$root/$directory" or die "$root/$directory: $!";
    open my $file, '>', "$root/$directory/$name" or die "$root/$directory/$name: $!";
    print $file $text;
    close $file or die "$root/$directory/$name: $!";
    return;
}

subtest 'threat 20: what proxies and clients add changes nothing' => sub {
    my @headers = ('X-Forwarded-For: 10.0.0.1', 'X-Forwarded-Host: evil.example', 'X-Forwarded-Proto: https',
                   'Forwarded: for=10.0.0.1',
                   'X-HTTP-Method-Override: GET', 'X-Original-URL: /else', 'Authorization: Bearer x', 'Cookie: a=b',
                   'Range: bytes=0-1',
                   'If-None-Match: *', 'If-Modified-Since: Sun, 06 Nov 2050 08:49:37 GMT', 'Accept: text/html',
                   'Origin: http://evil.example',
                   'webhook-ids: x', 'Upgrade: websocket');
    for my $header ('Host: evil.example', 'Host: 127.0.0.1:1', @headers) {
        my $id = make_id();
        my $answer = client()->post($body, id => $id, headers => [$header]);
        is($answer->{status}, 200, $header);
        is_deeply($answer->{json}, {id => $id, node => 'one', outcome => 'ok', result => ['x']}, "$header: the same answer");
    }
    my $answer = client()->exchange($client->message($body) =~ s{^POST }{POST http://evil.example}r);
    is($answer->{json}{node}, 'one', 'another host in the request line');
};

subtest 'threat 20: headers after a chunked body are no headers' => sub {
    my ($id, $now) = (make_id(), time);
    my @signature = ("webhook-id: $id", "webhook-timestamp: $now",
                     'webhook-signature: ' . sign(keys_of('main'), $id, $now, $body));
    my $chunked = sub {
        my ($before, $after) = @_;
        return client()->exchange(join("\r\n", 'POST /serviceless HTTP/1.1', 'Host: x', 'Content-Type: application/json',
            'Transfer-Encoding: chunked', @$before, '', sprintf('%x', length $body), $body, '0', @$after, '', ''), id => $id);
    };
    is_problem($chunked->([], \@signature), 401, 'the signature behind the body');
    is_problem($chunked->([@signature[0, 1]], [$signature[2]]), 401, 'a part of it behind the body');
    is(runs($id), 0, 'nothing ran');
    is($chunked->(\@signature, ['webhook-id: other', 'Content-Encoding: gzip', 'webhook-signature: v1,x'])->{status}, 200,
       'before the body: others behind it change nothing');
    is(runs($id), 1, 'it ran');
};

subtest 'threat 20: redirects inside of the server and sub-requests do not reach the endpoint' => sub {
    settle();
    my ($id, $stored, $rejected) = (make_id(), stored(), rejected());
    my $answer = client()->post($body, id => $id, path => '/lost/page');
    is($answer->{status}, 404, 'ErrorDocument that names the endpoint');
    unlike($answer->{body}, qr/about:blank|outcome/, 'is not answered by it');
    publish('rewritten', 'page.html', 'text');
    for my $path ('/rewritten/page.html', '/rewritten/missing') {
        $answer = client()->post($body, id => $id, path => $path);
        cmp_ok($answer->{status}, '>=', 400, "$path, rewritten to the endpoint");
        unlike($answer->{body}, qr/about:blank|outcome/, 'is not answered by it');
    }
    publish('included', 'page.shtml', 'before <!--#include virtual="/serviceless" --> after');
    $answer = client()->get('/included/page.shtml');
    like($answer->{body}, qr/^before .* after$/s, 'a page that includes the endpoint');
    unlike($answer->{body}, qr/about:blank|outcome/, 'does not get its answer');
    is(runs($id), 0, 'nothing ran');
    ok($stored eq stored(), 'the log is unchanged');
    is_deeply(rejected(), $rejected, 'and nothing is counted: the endpoint was never asked');
    is($client->post($body, id => $id)->{status}, 200, 'the same request at the endpoint itself does');
    is(runs($id), 1, 'and runs');
};

ok(server_lives(), 'the server lives');

done_testing;
