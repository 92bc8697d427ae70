# SPDX-License-Identifier: Apache-2.0
# Threat 8: a header missing, twice, empty, an id or a timestamp outside of the grammar: 401.
use strict;
use warnings;
use Client qw(make_id);
use OneServer;
use Test::More;
use Unsigned;

my $client = client();

refusals 'threat 8: each of the three headers, exactly once' => sub {
    my $constant;
    for my $header (qw(webhook-id webhook-timestamp webhook-signature)) {
        my $message = $client->message($BODY);
        my ($line, $value) = $message =~ /^(\Q$header\E: ([^\r\n]*)\r\n)/m;
        my %bad = (missing => '', twice => $line x 2, 'twice, other case' => $line . uc($header) . ": $value\r\n",
                   'twice, first empty' => "$header:\r\n$line", 'twice, then empty' => "$line$header:\r\n",
                   'twice, then another' => "$line$header: x\r\n", empty => "$header:\r\n", blank => "$header:  \t\r\n",
                   'with a comma' => "$header: $value,\r\n", 'under another name' => "x-$line");
        for my $name (sort keys %bad) {
            my $answer = is_counted("$header $name", sub { client()->exchange($message =~ s/\Q$line\E/$bad{$name}/r) }, reason => 'header');
            is_problem($answer, 401, "$header $name");
            $constant //= $answer->{body};
            is($answer->{body}, $constant, "$header $name: constant body");
        }
    }
};
my $message = $client->message($BODY, id => 'case-' . make_id()) =~ s/^webhook-/Webhook-/mgr;
is(client()->exchange($message)->{status}, 200, 'threat 8: names of headers in another case are the same');

refusals 'threat 8: an id outside of the grammar' => sub {
    unauthorized('header', "id $_", id => $_, hostile => ", id $_")
        for 'a.b', '.', 'a:one', 'a b', 'a/b', '%s%n', "caf\xc3\xa9", '<b>', 'a,b', 'a' x 65, 'a' x 4000;
};
for my $id ('-', '_', 'Az09-_', 'a' x 64) {
    is($client->post($BODY, id => $id)->{status}, 200, "threat 8: id $id is taken");
}

refusals 'threat 8: a timestamp outside of the grammar' => sub {
    my $now = time;
    unauthorized('header', "timestamp '$_'", timestamp => $_) for "+$now", "-$now", "$now.5", "$now.9", "${now}junk", "$now 1", "0$now",
        "${now}0", substr($now, 0, 9), sprintf('0x%x', $now), sprintf('%x', $now), '1e9', '0', '99999999999999999999', 'now',
        sprintf('%.1e', $now);
};
subtest 'threat 8: blanks around a value are no part of it' => sub { # RFC 9110: 5.5
    is($client->post($BODY, timestamp => '  ' . time, signature => undef)->{status}, 401, 'signed with them: not');
    my $message = $client->message($BODY, id => my $id = make_id()) =~ s/^webhook-timestamp: /webhook-timestamp: \t  /mr;
    is(client()->exchange($message, id => $id)->{status}, 200, 'signed without them: taken');
};

ok(server_lives(), 'the server lives');

done_testing;
