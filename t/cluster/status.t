# SPDX-License-Identifier: Apache-2.0
# The status page of a node in a fleet: one set of facts in three formats.
use strict;
use warnings;
use Command ();
use Fleet;
use Test::More;

my $fleet = Fleet->new(nodes => 3, mode => 'broadcast', directives => "ServicelessNodeSet pair n1 n2\n"
    . "ServicelessFunction example.fail nodes=pair mode=tree:4 timeout=7s on_crash=quarantine allow=main\n")->start;
my ($one, $two, $three) = $fleet->nodes;

sub page {
    my ($format) = @_;
    return $one->get('/serviceless-status' . ($format ? "?format=$format" : ''));
}

# Prometheus text, read as strictly as Prometheus does: {name{labels} => value}, and the families' types.
sub samples {
    my ($text) = @_;
    my (%sample, %type, $family);
    for (split /\n/, $text) {
        if (/^# HELP (\w+) \S.*$/) {
            fail("$1 comes once") if exists $type{$1};
            $family = $1;
        } elsif (/^# TYPE (\w+) (counter|gauge|histogram)$/) {
            is($1, $family, "$1: TYPE follows HELP");
            $type{$1} = $2;
        } elsif (/^(\w+)(\{\w+="[^"\\]*"(?:,\w+="[^"\\]*")*\})? (\d+(?:\.\d+)?)$/) {
            my ($name, $key, $value) = ($1, $1 . ($2 // ''), $3);
            fail("$key belongs to its family") unless $name =~ /^\Q$family\E(?:_bucket|_sum|_count)?$/;
            fail("$key comes once") if exists $sample{$key};
            $sample{$key} = $value;
        } else {
            fail("a line of the format: $_");
        }
    }
    return (\%sample, \%type);
}

is($one->call('example.sum', [1, 2])->{json}{outcome}, 'ok', 'a call');
is($one->call('example.sum', ['x'])->{json}{outcome}, 'error', 'one that fails');
is($one->post('{}', signature => 'v1,' . 'A' x 43 . '=')->{status}, 401, 'a refusal');
eventually { $three->status->{log}{calls} == 2 } 20, 'the calls are everywhere';
eventually { $one->status->{members}[2]{relays}{ok} > 0 } 20, 'and acknowledged';

subtest 'JSON: what an operator asks' => sub {
    my $status = page('json')->{json};
    is_deeply([@$status{qw(node mode mpm missed)}], ['n1', 'broadcast', $fleet->{mpm}, 0], 'the node');
    like($status->{epoch}, qr/^[0-9a-f]{16}$/, 'its epoch');
    is(Command::command(['--version'])->{out}, "serviceless $status->{version}\n", 'its version is that of the command');
    like($status->{httpd}, qr{^Apache/2}, 'its server');
    cmp_ok($status->{uptime_s}, '>=', 0, 'how long it is up');
    is_deeply([map { $_->{name} } @{$status->{members}}], [qw(n1 n2 n3)], 'the members');
    is_deeply([map { $_->{up} ? 1 : 0 } @{$status->{members}}], [1, 1, 1], 'which are up');
    is($status->{members}[1]{url}, 'http://' . $two->authority . '/serviceless', 'their URLs');
    cmp_ok(abs $status->{members}[1]{clock_offset_ms}, '<', 2000, 'their clocks');
    is_deeply($status->{sets}, {all => [qw(n1 n2 n3)], pair => [qw(n1 n2)]}, 'the sets');
    is_deeply([@{$status->{functions}{'example.fail'}}{qw(set mode scope on_crash timeout_ms allow)}],
              ['pair', 'tree:4', 'node', 'quarantine', 7000, ['main']], 'a function as the administrator has it');
    is_deeply($status->{functions}{'example.sum'}{calls}, {ok => 1, error => 1}, 'how its calls ended');
    is($status->{functions}{'example.sum'}{seconds}{count}, 2, 'how long they took');
    is_deeply([@{$status->{log}}{qw(calls last pending size durability)}], [2, 2, 0, 64 << 20, 'fsync'], 'the log');
    cmp_ok($status->{log}{bytes}, '>', 0, 'its size');
    like($status->{log}{oldest}, qr/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/, 'its oldest call');
    is($status->{rejected}{signature}, 1, 'the refusal');
    my ($key) = @{$status->{keys}};
    is_deeply([@$key{qw(id relay signs call)}], ['main', JSON::PP::true, JSON::PP::true, ['*']], 'the key');
    like($key->{fingerprint}, qr/^[0-9a-f]{8}$/, 'its fingerprint');
    ok(exists $status->{members}[1]{down_since} && !defined $status->{members}[1]{down_since}, 'what is not the case is null');
    eventually { !page('json')->{json}{members}[1]{lag_calls} } 20, 'a peer that lacks nothing, when they compare next';
};

subtest 'Prometheus: names, labels and types as documented' => sub {
    my ($sample, $type) = samples(page('prometheus')->{body});
    is_deeply($type, {
        serviceless_calls_total => 'counter', serviceless_relays_total => 'counter', serviceless_rejected_total => 'counter',
        serviceless_syncs_total => 'counter', serviceless_peer_lag_calls => 'gauge',
        serviceless_missed_calls_total => 'counter', serviceless_peer_up => 'gauge', serviceless_log_calls => 'gauge',
        serviceless_old_children => 'gauge', serviceless_missing_key => 'gauge',
        serviceless_pending_calls => 'gauge', serviceless_function_seconds => 'histogram',
        serviceless_relay_seconds => 'histogram', serviceless_links_total => 'counter', serviceless_client_links_total => 'counter',
    }, 'families');
    my %expected = (
        'serviceless_calls_total{function="example.sum",outcome="ok"}' => 1,
        'serviceless_calls_total{function="example.sum",outcome="error"}' => 1,
        'serviceless_calls_total{function="example.echo",outcome="ok"}' => 0,
        'serviceless_peer_up{peer="n2"}' => 1, 'serviceless_peer_up{peer="n3"}' => 1,
        'serviceless_rejected_total{reason="signature"}' => 1, 'serviceless_rejected_total{reason="store-full"}' => 0,
        'serviceless_log_calls' => 2, 'serviceless_pending_calls' => 0, 'serviceless_missed_calls_total' => 0, 'serviceless_old_children' => 0, 'serviceless_client_links_total' => 0,
        'serviceless_missing_key' => 0,
        'serviceless_function_seconds_count{function="example.sum"}' => 2,
    );
    is($sample->{$_}, $expected{$_}, $_) for sort keys %expected;
    cmp_ok($sample->{'serviceless_relays_total{peer="n2",result="ok"}'}, '>', 0, 'relays');
    is((grep { /peer="n1"/ } keys %$sample), 0, 'a node is no peer of its own');
    my @series = grep { /_count\{/ } keys %$sample;
    cmp_ok(scalar @series, '>', 4, 'histograms');
    for my $series (@series) {
        my ($name, $label) = $series =~ /^(\w+)_count\{(.*)\}$/;
        my @bounds = map { /^\Q${name}\E_bucket\{\Q$label\E,le="(.*)"\}$/ ? $1 : () } keys %$sample;
        my @ascending = sort { ($a eq '+Inf') <=> ($b eq '+Inf') || $a <=> $b } @bounds;
        my @counts = map { $sample->{"${name}_bucket{$label,le=\"$_\"}"} } @ascending;
        is_deeply(\@counts, [sort { $a <=> $b } @counts], "$series: buckets are cumulative");
        is($counts[-1], $sample->{$series}, "$series: the last one has all");
        is($ascending[-1], '+Inf', "$series: and is +Inf");
        is_deeply([grep { !/^(?:\+Inf|\d+|\d+\.\d+)$/ } @bounds], [], "$series: bounds are plain numbers");
        ok(exists $sample->{"${name}_sum{$label}"}, "$series: has a sum");
    }
};

subtest 'HTML: a page whose elements end' => sub {
    my $page = page();
    like($page->{headers}{'content-type'}, qr{^text/html; charset=utf-8$}, 'content type');
    like($page->{body}, qr/\A<!DOCTYPE html>\n<html lang="en">/, 'beginning');
    like($page->{body}, qr/<td>example\.sum<\/td>/, 'a function');
    like($page->{body}, qr/<td>n3<\/td>/, 'a node');
    my @open;
    while ($page->{body} =~ m{<(/?)(\w+)[^>]*>}g) {
        next if $2 eq 'meta';
        $1 ? is(pop @open, $2, "</$2>") : push @open, $2;
    }
    is_deeply(\@open, [], 'nothing is left open');
};

subtest 'a peer that is down is shown as down' => sub {
    $three->stop;
    $one->call('example.sum', [1]);
    eventually { !$one->status->{members}[2]{up} } 20, 'JSON';
    my $peer = $one->status->{members}[2];
    cmp_ok($peer->{failures}, '>', 0, 'failures');
    like($peer->{down_since}, qr/^\d{4}-.*Z$/, 'since when');
    my ($sample) = samples(page('prometheus')->{body});
    is($sample->{'serviceless_peer_up{peer="n3"}'}, 0, 'Prometheus');
    cmp_ok($sample->{'serviceless_relays_total{peer="n3",result="connect"}'}, '>', 0, 'and why');
    like(page()->{body}, qr/<td>n3<\/td>.*down since \d{4}-/, 'HTML');
};

subtest 'only GET and HEAD, only there, only known formats' => sub {
    my $client = $one->client;
    my $ask = sub { $client->exchange("$_[0] HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n") };
    my $answer = $ask->('POST /serviceless-status');
    is($answer->{status}, 405, 'POST');
    like($answer->{headers}{allow}, qr/^GET,HEAD\b|^HEAD,GET\b/, 'Allow');
    $answer = $ask->('HEAD /serviceless-status?format=json');
    is($answer->{status}, 200, 'HEAD');
    is($answer->{headers}{'content-type'}, 'application/json', 'HEAD: content type');
    is($answer->{body}, '', 'HEAD: no body');
    $answer = $ask->('GET /serviceless-status?format=%3Cscript%3E');
    is($answer->{status}, 400, 'another format');
    is($answer->{body}, "There is no such format; the formats are html, json and prometheus.\n", 'and what there is');
    is($ask->('GET /serviceless-status?x=1&format=json')->{status}, 200, 'other arguments');
};

subtest 'a server without a node: 404' => sub {
    my $plain = Fleet->new(nodes => 1);
    my ($node) = $plain->nodes;
    my $path = $node->directory . '/httpd.conf';
    open my $file, '<', $path or die "cannot read $path: $!\n";
    my $text = do { local $/; <$file> };
    open $file, '>', $path or die "cannot write $path: $!\n";
    print $file $text =~ s/^Serviceless.*\n//mgr;
    close $file or die "cannot write $path: $!\n";
    $plain->start;
    is($node->get('/serviceless-status')->{status}, 404, 'status');
    is($node->post('{}')->{status}, 404, 'endpoint');
};

done_testing;
