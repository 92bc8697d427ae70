# SPDX-License-Identifier: Apache-2.0
# Threat 19: GET, PUT, HEAD, OPTIONS and the like are 405; what a form of another site can post is 415.
use strict;
use warnings;
use OneServer;
use Test::More;

my $client = client();
my $body = $client->call_body('runlog.note', ['x']);

refusals 'threat 19: only POST' => sub {
    for my $method (qw(GET PUT OPTIONS DELETE PATCH PROPFIND WHATEVER)) {
        my $answer = is_refused(405, $method, $body, method => $method, reason => 'method');
        is($answer->{headers}{allow}, 'POST', "$method: Allow");
    }
    my $answer = is_counted('HEAD', sub { client()->post($body, method => 'HEAD') }, reason => 'method');
    is("$answer->{status} $answer->{headers}{allow} $answer->{body}", '405 POST ', 'HEAD: 405, without a body');
    is_problem(is_counted('a plain GET', sub { client()->get('/serviceless') }, reason => 'method'), 405, 'a plain GET');
    is_refused(405, 'methods have one spelling', $body, method => 'post', reason => 'method');
};

refusals 'threat 19: a form of another site cannot call' => sub {
    is_refused(415, "content type $_", $body, type => $_, reason => 'content-type')
        for 'text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data; boundary=x', '', 'text/plain; application/json',
        'application/jsonp', 'application/x-ndjsons', 'json';
    is_refused(415, "content type $_, not signed", 'data=x', type => $_, unsigned => 1, reason => 'content-type')
        for 'text/plain', 'application/x-www-form-urlencoded';
    my $answer = is_counted('no content type', sub { client()->exchange($client->message($body) =~ s/^Content-Type:[^\n]*\n//mr) },
                            reason => 'content-type');
    is_problem($answer, 415, 'no content type');
};

ok(server_lives(), 'the server lives');

done_testing;
