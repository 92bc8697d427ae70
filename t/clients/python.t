# SPDX-License-Identifier: Apache-2.0
# docs/clients/call.py and link.py: calls with Python's standard library.
use strict;
use warnings;
use Client qw(sign);
use ClientProgram;
use Command;
use Fleet;
use IPC::Open2 qw(open2);
use JSON::PP qw(decode_json encode_json);
use Proc qw(alive);
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

my $CALLS = 50;
my @link = ('python3', document('link.py'));

# What a node answered by requests, by status.
sub requests_of {
    my ($node) = @_;
    open my $log, '<', $node->directory . '/access.log' or die "no access log: $!";
    my %count;
    /^(\d+) [^-]/ and $count{$1}++ while <$log>;
    return \%count;
}

for my $links (qw(on off)) {
    subtest "link.py, ServicelessLinks $links" => sub {
        my $fleet = Fleet->new(nodes => 1, directives => "ServicelessLinks $links\nCustomLog access.log \"%>s %{webhook-id}i\"\n")->start;
        my $node = $fleet->node('n1');
        local %ENV = (%ENV, SERVICELESS_URL => 'http://' . $node->authority . '/serviceless', SERVICELESS_KEY_FILE => $fleet->{key_file});
        local $SIG{PIPE} = 'IGNORE'; # a program that has ended fails the test
        my $child = open2(my $out, my $in, @link);
        my $ask = sub {
            my ($function, @args) = @_;
            print $in encode_json({function => $function, args => \@args}), "\n" or return {};
            $in->flush;
            return decode_json(scalar <$out> // '{}');
        };
        is(join(' ', map { $ask->('example.sum', $_, 1)->{result} } 1 .. $CALLS), join(' ', 2 .. $CALLS + 1), 'each call has its result');
        my ($status, $count) = $links eq 'on' ? (101, 1) : (200, $CALLS);
        eventually { (requests_of($node)->{$status} // 0) >= $count } 10, 'requests are logged'; # after they were answered
        is_deeply(requests_of($node), {$status => $count}, 'requests: ' . ($links eq 'on' ? 'one, upgraded' : 'one each'));
        my @before = $node->children;
        $node->graceful;
        eventually { !grep { alive($_) } @before } 20, 'the children of before are gone';
        my $answer = $ask->('example.sum', 7);
        is("$answer->{outcome} $answer->{result}", 'ok 7', 'after a restart, which ended the link');
        is($ask->('example.fail', 'no such cache')->{detail}, 'no such cache', 'a function that fails');
        close $in;
        waitpid $child, 0;
        is($? >> 8, 1, 'then the status is 1');
        $count += $links eq 'on' ? 1 : 2;
        eventually { (requests_of($node)->{$status} // 0) >= $count } 10, 'requests are logged';
        is_deeply(requests_of($node), {$status => $count}, 'requests: ' . ($links eq 'on' ? 'one, which got another link' : 'one each'));
        $fleet->stop;
        $fleet->no_crash;
    };
}

subtest 'link.py believes no more than call.py' => sub {
    my ($fleet_key, $other) = map { 'whsec_' . $_ x 32 } qw(A B);
    my $keys = key_file("main $fleet_key\n");
    my $given = sub {
        my ($key, $of, $status, $body) = @_;
        return command([], program => \@link, key_file => $keys, path => '/serviceless', answer => sub {
            my ($request) = @_;
            my ($id, $now) = (($of // $request->{headers}{'webhook-id'}) . ':a', time);
            return "HTTP/1.1 101 Switching Protocols\r\nUpgrade: serviceless-link\r\nConnection: Upgrade\r\n\r\n"
                . join(' ', $status, length $body, $id, $now, '-', sign($key, $id, $now, $body)) . "\n$body";
        }, stdin => qq({"function":"f"}\n));
    };
    my $body = '{"id":"x","node":"a","outcome":"ok","result":6}';
    my $run = $given->($fleet_key, undef, 200, $body);
    is("$run->{status} $run->{out}", '0 {"id": "x", "node": "a", "outcome": "ok", "result": 6}' . "\n", 'an answer that is signed') or diag($run->{err});
    like($run->{request}{headers}{'webhook-id'}, qr/^link-[\w-]{36}\z/, 'the id lets it ask for a link');
    for (['another key' => $other, undef, 200, $body], ['another call' => $fleet_key, 'link-x', 200, $body]) {
        my ($name, @given) = @$_;
        $run = $given->(@given);
        is("$run->{status} $run->{out}", '3 ', "$name: 3, and no output");
        like($run->{err}, qr/is not signed by a node/, "$name: why");
    }
    $run = $given->($fleet_key, undef, 403, '{"title":"no"}');
    is("$run->{status} $run->{out}", '3 ', 'a refusal: 3');
    is(command([], program => \@link)->{status}, 2, 'without a URL: 2');
};

done_testing;
