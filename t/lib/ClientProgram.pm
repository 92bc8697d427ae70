# SPDX-License-Identifier: Apache-2.0
package ClientProgram;

# What each program of docs/clients promises, against a real node and against played ones.
#
#   use ClientProgram;
#   needs('php', 'php-cli');                       # skips the whole test, and says so, where there is no php
#   test_client('php', document('call.php'));
#   test_vectors(sub { my ($secret, $id, $timestamp, $body) = @_; …; return $signature });
use strict;
use warnings;
use Client qw(json sign);
use Command;
use Exporter qw(import);
use File::Basename qw(dirname);
use File::Spec;
use Fleet;
use JSON::PP;
use Test::More;

our @EXPORT = qw(document needs output_of test_client test_vectors);

my ($main, $second, $caller, $stranger) = map { 'whsec_' . $_ x 32 } qw(A B C D);
my $keys = key_file("# keys of a fleet\n\n  main\t$main relay call=example.* # signs\r\ncaller $caller call\nsecond $second\n");
my @vectors = (
    ['msg_p5jXN8AQM9LWM0D4loKWxJek', 1614265330, '{"test": 2432232314}', 'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE='],
    ['c1', 1700000000, '{"id":"c1","function":"ping","args":[1],"kwargs":{},"origin":"node-a","route":["node-a"]}',
     'v1,8R+hDSby8QilLHpRtWD8B/EheI/SRrGeEcPtDtYnJ/s='],
);

# The path of a program of docs/clients.
sub document {
    my ($name) = @_;
    return File::Spec->rel2abs(dirname(__FILE__) . "/../../docs/clients/$name");
}

sub needs {
    my ($program, $package) = @_;
    return if grep { -x "$_/$program" } File::Spec->path;
    plan skip_all => "SKIPPED: $program is missing (Debian: $package)";
}

# What a program prints, without the newline.
sub output_of {
    my (@words) = @_;
    open my $out, '-|', @words or die "cannot run $words[0]: $!\n";
    my $text = do { local $/; <$out> } // '';
    close $out or die "$words[0] failed: $?\n";
    return $text =~ s/\n\z//r;
}

# The signatures of the protocol, as a sub makes them with a client's library.
sub test_vectors {
    my ($make) = @_;
    subtest 'its library makes the signatures of the protocol' => sub {
        for (@vectors) {
            my ($id, $timestamp, $body, $signature) = @$_;
            is($make->('whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw', $id, $timestamp, $body), $signature, $id);
        }
    };
    return;
}

# The answer that a run printed.
sub _printed {
    my ($run) = @_;
    return eval { decode_json($run->{out}) } // {};
}

sub _body {
    my ($request, %members) = @_;
    return json({id => $request->{headers}{'webhook-id'}, node => 'a', outcome => 'ok', result => 6, %members});
}

sub _good {
    my ($request, %members) = @_;
    return signed_response(200, _body($request, %members), $request, $main);
}

sub test_client {
    my (@program) = @_;
    # Runs the program against a node that is played by one sub, or by several that answer a request each.
    my $against = sub {
        my ($answer, @words) = @_;
        return command([@words ? @words : ('f')], program => \@program, key_file => $keys, path => '/serviceless', answer => $answer);
    };
    _test_real_node(@program);
    _test_request($against);
    _test_outcomes($against);
    _test_forged($against);
    _test_again($against);
    _test_refused(@program);
    return;
}

sub _test_real_node {
    my (@program) = @_;
    my $fleet = Fleet->new(nodes => 1)->start;
    my $url = 'http://' . $fleet->node('n1')->authority . '/serviceless';
    my $call = sub {
        my ($key_file, @words) = @_;
        return command(\@words, program => \@program, key_file => $key_file, env => {SERVICELESS_URL => $url});
    };
    subtest 'a node runs the call, and its answer is believed' => sub {
        my $run = $call->($fleet->{key_file}, 'example.sum', 1, 2, 'three:=3');
        is($run->{status}, 0, 'status') or diag($run->{err});
        my $answer = _printed($run);
        is_deeply([@{$answer}{qw(node outcome result)}], ['n1', 'ok', 6], 'answer');
        like($answer->{id}, qr/^[A-Za-z0-9_-]{16,64}$/, 'id');
        isnt(_printed($call->($fleet->{key_file}, 'example.sum'))->{id}, $answer->{id}, 'another id for another call');
    };
    subtest 'arguments arrive as they are' => sub {
        my @args = ('"\u00e9 ☺ 𝄞 \" \\\\ % $x `y` \'z\'"', '9223372036854775807', '-9223372036854775808', '[[],{},null,true]',
                    '0.1', '""');
        my %kwargs = (deep => '{"list":[{"ключ":[1,{"n":9007199254740993}]}],"empty":{}}', text => '"a:=b"');
        my $run = $call->($fleet->{key_file}, 'example.echo', @args, map { "$_:=$kwargs{$_}" } sort keys %kwargs);
        is($run->{status}, 0, 'status') or diag($run->{err});
        my $decode = sub { JSON::PP->new->utf8->allow_nonref->decode($_[0]) };
        my %given = (args => [map { $decode->($_) } @args], kwargs => {map { $_ => $decode->($kwargs{$_}) } keys %kwargs});
        is_deeply(_printed($run)->{result}, \%given, 'result');
        like($run->{out}, qr/\b$_\b/, "$_ keeps its digits") for qw(9223372036854775807 9223372036854775808 9007199254740993);
    };
    subtest 'a function that fails' => sub {
        my $run = $call->($fleet->{key_file}, 'example.fail', '"no such cache"');
        is($run->{status}, 1, 'status');
        is_deeply([@{_printed($run)}{qw(outcome detail)}], ['error', 'no such cache'], 'answer');
    };
    subtest 'what the node refuses' => sub {
        my $wrong = $call->($keys, 'example.sum', 1);
        is($wrong->{status}, 3, 'a wrong key: status');
        like($wrong->{err}, qr/ answered 401\b/, 'a wrong key: words');
        my $unknown = $call->($fleet->{key_file}, 'example.none');
        is($unknown->{status}, 3, 'no such function: status');
        like($unknown->{err}, qr/ answered 404\b.*example\.none/, 'no such function: words');
        is($wrong->{out} . $unknown->{out}, '', 'no answer is printed');
    };
    return;
}

sub _test_request {
    my ($against) = @_;
    subtest 'the command verifies what it signs, by the first key' => sub {
        my $run = $against->(\&_good, 'cache.purge', '"/é"', 'recursive:=true');
        is($run->{status}, 0, 'status') or diag($run->{err});
        my ($line, $headers, $body) = @{$run->{request}}{qw(line headers body)};
        is($line, 'POST /serviceless HTTP/1.1', 'line');
        is($headers->{'content-type'}, 'application/json', 'content type');
        my %call = (function => 'cache.purge', args => ["/\x{e9}"], kwargs => {recursive => JSON::PP::true});
        is_deeply($run->{request}{json}, \%call, 'document');
        my @given = map { my $name = $_; ("--$name", $headers->{"webhook-$name"}) } qw(id timestamp signature);
        my $verified = command(['verify', @given], stdin => $body, key_file => $keys);
        is($verified->{status}, 0, 'verified') or diag($verified->{err});
        like($verified->{out}, qr/^signed by key main /, 'by whom');
    };
    return;
}

sub _test_outcomes {
    my ($against) = @_;
    subtest 'the status tells the outcome' => sub {
        my %status = (ok => 0, accepted => 0, pending => 1, 'no such outcome' => 1);
        for my $outcome (sort keys %status) {
            my $run = $against->(sub { _good($_[0], outcome => $outcome, result => {outcome => 'ok'}) });
            is($run->{status}, $status{$outcome}, $outcome);
            is(_printed($run)->{outcome}, $outcome, "$outcome is printed");
        }
    };
    return;
}

# The answer of a request, signed by $secret, with one more entry in the signature.
sub _with_entry {
    my ($request, $secret, $entry) = @_;
    return signed_response(200, _body($request), $request, $secret) =~ s/^(webhook-signature: )/$1$entry /mr;
}

sub _test_forged {
    my ($against) = @_;
    my $signed = sub { my ($request, @more) = @_; return signed_response(200, _body($request), $request, @more) };
    my %forged = (
        'not signed' => sub { response(200, _body($_[0]), 'Content-Type: application/json') },
        'signed by another key' => sub { $signed->($_[0], $stranger) },
        'signed by a key that may only call' => sub { $signed->($_[0], $caller) },
        'signed for another call' => sub { $signed->($_[0], $main, id => 'another:a') },
        'signed for a call whose id begins so' => sub { $signed->($_[0], $main, id => $_[0]{headers}{'webhook-id'} . 'x:a') },
        'the signature of a call, not of an answer' => sub { $signed->($_[0], $main, id => $_[0]{headers}{'webhook-id'}) },
        'too old' => sub { $signed->($_[0], $main, timestamp => time - 400) },
        'of the future' => sub { $signed->($_[0], $main, timestamp => time + 400) },
        'changed on the way' => sub { $signed->($_[0], $main) =~ s/"result":6/"result":7/r },
        'of another version' => sub { $signed->($_[0], $main) =~ s/^webhook-signature: v1,/webhook-signature: v2,/mr },
        'an empty signature' => sub { $signed->($_[0], $main) =~ s/^(webhook-signature:) \S+/$1 /mr },
        'without a timestamp' => sub { $signed->($_[0], $main) =~ s/^webhook-timestamp: \d+\r\n//mr },
        'a signature that is none' => sub { $signed->($_[0], $main) =~ s/^(webhook-signature: ).*\r/$1v1 , \xff v1,* \$(id)\r/mr },
    );
    subtest 'an answer that no node signed is not believed' => sub {
        for my $name (sort keys %forged) {
            my $run = $against->($forged{$name});
            is($run->{status}, 3, "$name: status");
            is($run->{out}, '', "$name: not printed");
            like($run->{err}, qr/not signed by a node.*not believed.*\Q$run->{request}{headers}{'webhook-id'}\E/, "$name: words");
        }
    };
    subtest 'any key that may relay speaks for a node, and one good signature is enough' => sub {
        my $nonsense = 'v1,' . 'A' x 43 . '=';
        my %good = (
            'another key of the file' => sub { $signed->($_[0], $second) },
            'after a wrong one' => sub { _with_entry($_[0], $main, $nonsense) },
            'after one of another version' => sub { _with_entry($_[0], $second, 'v1a,xyz') },
            'with 202' => sub { signed_response(202, _body($_[0], outcome => 'accepted'), $_[0], $main) },
        );
        for my $name (sort keys %good) {
            my $run = $against->($good{$name});
            is($run->{status}, 0, $name) or diag($run->{err});
        }
    };
    return;
}

sub _test_again {
    my ($against) = @_;
    my $busy = sub { response(503, '{"title":"Service Unavailable","status":503}') };
    subtest 'after 5xx or no answer: the same call again, three times at most' => sub {
        my $run = $against->([$busy, sub { '' }, \&_good]);
        is($run->{status}, 0, 'status') or diag($run->{err});
        my @requests = @{$run->{requests}};
        is(scalar @requests, 3, 'three requests');
        is($_->{headers}{'webhook-id'}, $requests[0]{headers}{'webhook-id'}, 'same id') for @requests[1, 2];
        is($_->{body}, $requests[0]{body}, 'same content') for @requests[1, 2];
        my @times = map { $_->{headers}{'webhook-timestamp'} } @requests;
        cmp_ok($times[2], '>', $times[0], 'a fresh timestamp');
        is_deeply([map { sign($main, @{$_->{headers}}{qw(webhook-id webhook-timestamp)}, $_->{body}) } @requests],
                  [map { $_->{headers}{'webhook-signature'} } @requests], 'a fresh signature');
        $run = $against->([$busy, $busy, $busy]);
        is($run->{status}, 3, 'then it is told');
        like($run->{err}, qr/ answered 503\b/, 'and why');
        like($run->{err}, qr/call \Q$run->{requests}[0]{headers}{'webhook-id'}\E may have been accepted/, 'and of which call');
    };
    subtest 'after 4xx: not again' => sub {
        my $run = $against->(sub { response(403, '{"title":"Forbidden","status":403,"detail":"not this key"}') });
        is($run->{status}, 3, 'status');
        like($run->{err}, qr/ answered 403\b.*not this key/, 'words');
        unlike($run->{err}, qr/may have been accepted/, 'it was not accepted');
        $run = $against->(sub { response(404, '<html><title>no such page</title>') });
        like($run->{err}, qr/ answered 404\b.* is it the URL of an endpoint/, 'not a node: words');
        unlike($run->{err}, qr/<html>/, 'not a page');
        $run = $against->([sub { '' }, sub { response(404, '{}') }]);
        like($run->{err}, qr/ answered 404\b.*may have been accepted/, 'but the first may have been accepted, when it got no answer');
        $run = $against->(sub { response(302, '', 'Location: /elsewhere') });
        is($run->{status}, 3, 'nor to where a redirect points');
    };
    return;
}

sub _test_refused {
    my (@program) = @_;
    subtest 'without an address, a key or a function nothing is sent' => sub {
        my @with = (program => \@program, env => {SERVICELESS_URL => 'http://127.0.0.1:' . Fleet::free_port('127.0.0.1') . '/serviceless'});
        is(command([], @with, key_file => $keys)->{status}, 2, 'no function');
        is(command(['f'], @with)->{status}, 2, 'no key file');
        is(command(['f'], program => \@program, key_file => $keys)->{status}, 2, 'no address');
        my ($secret) = $main =~ /whsec_(.*)/;
        my %files = ('no such file' => '/nonexistent/keys', 'no key' => key_file("# nothing\n"), 'no secret' => key_file("main\n"),
                     'no prefix' => key_file("main $secret\n"), 'an empty one' => key_file("main $main\nsecond whsec_\n"),
                     'no base64' => key_file("main $main*\n"));
        for my $name (sort keys %files) {
            my $run = command(['f'], @with, key_file => $files{$name});
            is($run->{status}, 3, "$name: status");
            like($run->{err}, qr/key file /, "$name: words");
            unlike($run->{err}, qr/A{32}|no answer/, "$name: no secret is shown, nothing is sent");
        }
        my $run = command(['f'], @with, key_file => $keys);
        is($run->{status}, 3, 'nobody there: status');
        like($run->{err}, qr/no answer from http:/, 'nobody there: words');
        unlike($run->{err}, qr/may have been accepted/, 'nobody there: so nobody accepted it');
    };
    return;
}

1;
