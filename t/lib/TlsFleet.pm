# SPDX-License-Identifier: Apache-2.0
package TlsFleet;

# A Fleet whose nodes are https URLs, with certificates made for the test.  Where mod_ssl or the command openssl is missing, the test is
# skipped.
#
#   my $fleet = tls_fleet(nodes => 3, certificate => \&make_certificate);   # started
#   plain_client($n1)->call(…)                                              # each node has a port without TLS too, for the test alone
#
# Options of tls_fleet: nodes; certificate, a sub that gets the fleet's directory, where ca.pem and ca.key are, and the name of a node, and
# makes NAME.pem and NAME.key; directives for every node, and tls for the host with TLS (DIRECTORY and NODE in them are replaced); sync, the
# interval (default: 0); each, a sub for edit_conf that gets the node.
use strict;
use warnings;
use Exporter qw(import);
use File::Spec;
use Fleet;
use Fleet::Edit;
use POSIX ();
use Test::More;

our @EXPORT = qw(make_ca make_certificate peers plain_client tls_fleet tls_requests);

my $modules = $ENV{SVL_LIBEXECDIR} || '/usr/lib/apache2/modules';
plan skip_all => "mod_ssl is not in $modules" unless -e "$modules/mod_ssl.so";
plan skip_all => 'the command openssl is missing' unless grep { -x "$_/openssl" } File::Spec->path;

my $QUICK = "ServicelessConnectTimeout 1s\nServicelessTimeout 5s\n";
my $EXTENSIONS = <<'END';
[req]
distinguished_name = empty
[empty]
[ca]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
[node]
basicConstraints = critical, CA:FALSE
subjectAltName = IP:127.0.0.1
extendedKeyUsage = serverAuth, clientAuth
[named]
basicConstraints = critical, CA:FALSE
subjectAltName = DNS:peer.test
extendedKeyUsage = serverAuth
[stranger]
basicConstraints = critical, CA:FALSE
subjectAltName = DNS:stranger.test, IP:127.0.0.2
extendedKeyUsage = serverAuth
END

# Runs openssl in a directory; its output is a file there.
sub openssl {
    my ($directory, @words) = @_;
    my $child = fork // die "cannot fork: $!";
    if (!$child) {
        chdir $directory and open STDOUT, '>>', 'output' and open STDERR, '>&', \*STDOUT or POSIX::_exit(126);
        { exec 'openssl', @words }
        POSIX::_exit(127);
    }
    waitpid $child, 0;
    die "openssl @words failed in $directory\n" if $?;
    return;
}

my @NEW = qw(req -config cnf -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes);
my $serial = 1;

# A CA: NAME.pem and NAME.key.
sub make_ca {
    my ($directory, $name) = @_;
    write_file("$directory/cnf", 0600, $EXTENSIONS);
    openssl($directory, @NEW, '-x509', '-subj', "/CN=$name", '-days', 2, '-extensions', 'ca', '-keyout', "$name.key",
            '-out', "$name.pem");
    return;
}

# A certificate of a CA, likewise; days below 0: it has expired.
sub make_certificate {
    my ($directory, $name, %o) = @_;
    my $ca = $o{ca} // 'ca';
    openssl($directory, @NEW, '-subj', "/CN=$name", '-keyout', "$name.key", '-out', "$name.csr");
    openssl($directory, 'x509', '-req', '-in', "$name.csr", '-CA', "$ca.pem", '-CAkey', "$ca.key", '-set_serial', ++$serial, '-days',
            $o{days} // 2, '-extfile', 'cnf', '-extensions', $o{extensions} // 'node', '-out', "$name.pem");
    return;
}

sub tls_fleet {
    my (%o) = @_;
    my $fleet = Fleet->new(nodes => $o{nodes}, mode => 'broadcast', directives => 'ServicelessSyncInterval ' . ($o{sync} // 0) . "\n");
    my $directory = $fleet->{directory};
    make_ca($directory, 'ca');
    for my $node ($fleet->nodes) {
        my ($name, $authority) = ($node->name, $node->authority);
        $node->{plain} = Fleet::free_port($node->host);
        $o{certificate}->($directory, $name);
        edit_conf($node, sub {
            s{=http://}{=https://}g;
            $_ = "LoadModule ssl_module \"$modules/mod_ssl.so\"\n" . $_ . $QUICK . ($o{directives} // '') . <<"END";
Listen 127.0.0.1:$node->{plain}
ServicelessTLSCACertificateFile "$directory/ca.pem"
LogFormat "%a %r %>s" tls
<VirtualHost $authority>
    ServerName $authority
    SSLEngine on
    SSLCertificateFile "$directory/$name.pem"
    SSLCertificateKeyFile "$directory/$name.key"
    CustomLog "@{[$node->directory]}/tls.log" tls
    @{[($o{tls} // '') =~ s/DIRECTORY/$directory/gr]}
</VirtualHost>
END
            s/DIRECTORY/$directory/g;
            s/NODE/$name/g;
        });
        edit_conf($node, sub { $o{each}->($node) }) if $o{each};
    }
    return $fleet->start;
}

sub plain_client {
    my ($node) = @_;
    return $node->client(port => $node->{plain});
}

# What $node knows of its peers: {name => member of the status}.
sub peers {
    my ($node) = @_;
    my $status = plain_client($node)->get('/serviceless-status?format=json')->{json};
    return map { $_->{name} => $_ } grep { !$_->{self} } @{$status->{members}};
}

sub tls_requests {
    my ($node) = @_;
    open my $log, '<', $node->directory . '/tls.log' or return;
    return map { chomp; $_ } <$log>;
}

1;
