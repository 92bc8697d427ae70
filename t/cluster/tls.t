# SPDX-License-Identifier: Apache-2.0
# MPMs: event prefork
# https peers: certificates and names are always verified, and nobody falls back to anything less.
use strict;
use warnings;
use Client qw(make_id);
use Fleet;
use Fleet::Edit;
use Test::More;
use TlsFleet;

subtest 'calls reach every node over verified TLS' => sub {
    my $fleet = tls_fleet(nodes => 3, certificate => \&make_certificate);
    my @ids = map { plain_client($_)->call('runlog.note', [$_->name])->{json}{id} } $fleet->nodes;
    $fleet->once(\@ids, 'each call ran once on each node');
    for my $node ($fleet->nodes) {
        my @requests = tls_requests($node);
        cmp_ok(@requests, '>=', 2, $node->name . ' got them over TLS');
        is_deeply([grep { !/ 202$/ } @requests], [], 'and took them');
    }
};

subtest 'a peer whose certificate does not hold is not reached' => sub {
    my %wrong = (n3 => 'expired', n4 => 'for another name', n5 => 'of an unknown CA');
    my %option = (n3 => [days => -1], n4 => [extensions => 'stranger'], n5 => [ca => 'unknown']);
    my $fleet = tls_fleet(nodes => 5, certificate => sub {
        my ($directory, $name) = @_;
        make_ca($directory, 'unknown') if $name eq 'n5';
        make_certificate($directory, $name, @{$option{$name} // []});
    });
    my ($n1, $n2, @bad) = $fleet->nodes;
    my @good = ($n1, $n2);
    my @ids = map { plain_client($n1)->call('runlog.note', [$_])->{json}{id} } 1 .. 10;
    $fleet->once(\@ids, 'calls reach the one whose certificate does', living => \@good);
    poll { my %peers = peers($n1); return !grep { $peers{$_}{up} } keys %wrong } 5;
    my %peers = peers($n1);
    ok($peers{n2}{up}, 'n2 is up');
    for my $node (@bad) {
        my ($name, $why) = ($node->name, "a certificate $wrong{$node->name}");
        my $peer = $peers{$name};
        ok(!$peer->{up}, "$why: the peer is down");
        cmp_ok($peer->{relays}{tls}, '>', 0, 'for a reason of TLS');
        is_deeply([grep { $_ ne 'tls' && $_ ne 'skipped' && $peer->{relays}{$_} } sort keys %{$peer->{relays}}], [], 'and no other');
        like($n1->error_log, qr/SVL\d{4}: node $name is down \(tls\): \S/, 'the log says so');
        is($node->runs, 0, 'it ran nothing');
        is_deeply([tls_requests($node)], [], 'and got no request');
        unlike($node->error_log, qr/speaking plain HTTP/, 'nor one without TLS');
    }
    my $before = $peers{n3}{relays}{tls};
    eventually { my %now = peers($n1); $now{n3}{relays}{tls} > $before } 15, 'the prober asks again';
    my %now = peers($n1);
    ok(!$now{n3}{up}, 'and is no less strict');
    is_deeply([map { $_->runs } @bad], [0, 0, 0], 'nothing ever ran there');
};

subtest 'peers that want a client certificate' => sub {
    my $own = "ServicelessTLSCertificateFile \"DIRECTORY/NODE.pem\"\nServicelessTLSCertificateKeyFile \"DIRECTORY/NODE.key\"\n";
    my $require = "SSLVerifyClient require\n    SSLVerifyDepth 1\n    SSLCACertificateFile \"DIRECTORY/ca.pem\"";
    my $fleet = tls_fleet(nodes => 3, certificate => \&make_certificate, directives => $own, tls => $require);
    my @ids = map { plain_client($_)->call('runlog.note', [$_->name])->{json}{id} } $fleet->nodes;
    $fleet->once(\@ids, 'get one: each call ran once on each node');
    $fleet->stop;

    my ($n1, @others) = $fleet->nodes;
    edit_conf($n1, sub { s/^ServicelessTLSCertificate(?:Key)?File.*\n//mg });
    $fleet->start;
    my $id = make_id();
    plain_client($n1)->call('runlog.note', ['x'], id => $id);
    eventually { my %peers = peers($n1); !$peers{n2}{up} && !$peers{n3}{up} } 10, 'without one, no peer is reached';
    is_deeply($fleet->runs($id), {n1 => 1}, 'and the call runs nowhere else');
};

done_testing;
