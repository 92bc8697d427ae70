#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# Promise: `apachectl configtest` finds every error of the configuration, says which directive, which value and what would be
# right, and never shows a secret.  SVL_MODULE_DIR is the directory of mod_serviceless.so; HTTPD and APXS override what is
# found.
use strict;
use warnings;
use File::Temp qw(tempdir);
use FindBin;
use MIME::Base64 qw(encode_base64);
use Test::More;

plan skip_all => 'SVL_MODULE_DIR must name the directory of mod_serviceless.so' unless $ENV{SVL_MODULE_DIR};

my $dir = tempdir('serviceless-configtest-XXXXXX', TMPDIR => 1, CLEANUP => 1);
my ($apxs) = grep { defined && -x } $ENV{APXS}, map { my $d = $_; map { "$d/$_" } qw(apxs apxs2) }
    split(/:/, $ENV{PATH}), qw(/usr/sbin /usr/local/apache2/bin);
my $httpd = $ENV{HTTPD} || ask('SBINDIR') . '/' . ask('PROGNAME');
my $modules = $ENV{SVL_LIBEXECDIR} || ask('LIBEXECDIR');
my $main = "ServerName www\nListen 127.0.0.1:8081\n";
my $fleet = 'ServicelessNodes a=http://127.0.0.1:8081 b=http://127.0.0.1:8082 c=http://127.0.0.1:8083';
my @secrets = map { 'whsec_' . encode_base64(join('', map { chr int rand 256 } 1 .. 32), '') } 1 .. 6;
push @secrets, 'whsec_hunter2hunter2'; # the password of a URL
my $key = put('key', "# fleet\nmain $secrets[0]\nclient $secrets[1] call=cache.*\n");
my $fleet_key = put('fleet.key', "fleet $secrets[0]\n");
my $other_key = put('other.key', "main $secrets[2]\n");

# A node that is right, and more lines; async, because the tests may be on a tmpfs.
sub node { join("\n", $fleet, "ServicelessKeyFile $key", 'ServicelessDurability async', @_) . "\n" }
sub host { "Listen 127.0.0.1:8082\n<VirtualHost 127.0.0.1:8082>\nServerName other\n" . join("\n", @_) . "\n</VirtualHost>\n" }

sub ask { my ($what) = @_; die "no apxs; set APXS\n" unless $apxs; chomp(my $answer = `$apxs -q $what`); $answer }

sub put {
    my ($name, $text, $mode) = @_;
    open(my $file, '>', "$dir/$name") or die "$dir/$name: $!";
    print {$file} $text;
    close $file;
    chmod $mode // 0600, "$dir/$name";
    return "$dir/$name";
}

sub configtest {
    my ($conf) = @_;
    my $load = '';
    for ([mpm_event_module => 'mod_mpm_event.so'], [unixd_module => 'mod_unixd.so'],
         [authz_core_module => 'mod_authz_core.so'], [authz_host_module => 'mod_authz_host.so']) {
        $load .= "LoadModule $_->[0] $modules/$_->[1]\n" if -e "$modules/$_->[1]";
    }
    my $path = put('httpd.conf', "ServerRoot $dir\nPidFile $dir/pid\nDefaultRuntimeDir $dir\nErrorLog $dir/error.log\n$load"
        . "LoadModule serviceless_module $ENV{SVL_MODULE_DIR}/mod_serviceless.so\n$conf");
    my $output = `$httpd -t -d $dir -f $path 2>&1`;
    my $status = $?;
    for my $secret (@secrets) {
        fail("a secret is shown: $conf") if index($output, substr($secret, 6)) >= 0;
    }
    return ($status, $output);
}

sub passes {
    my ($name, $conf, $like) = @_;
    my ($status, $output) = configtest($conf);
    ok($status == 0 && (!$like || $output =~ $like), $name) or diag $output;
    unlike($output, qr/SVL\d/, "$name: without a warning") unless $like;
}

sub refuses {
    my ($name, $conf, $like) = @_;
    my ($status, $output) = configtest($conf);
    ok($status != 0 && $output =~ $like, $name) or diag "wanted $like\n$output";
}

# The node that detection finds, shown by a second server that says it is the same one.
sub is_node {
    my ($name, $self, $conf, $nodes) = @_;
    my $common = "$nodes\nServicelessKeyFile $key\nServicelessDurability async\n";
    refuses($name, $conf . $common . "<VirtualHost *:9>\n$common\nServicelessSelf $self\n</VirtualHost>\n",
        qr/ServicelessNodes \Q$self\E: two servers here are this node/);
}

# What is right.
passes('no directive at all: inert', $main);
passes('the smallest node', $main . node());
passes('every directive', $main . node(
    'ServicelessSelf b', 'ServicelessNodeSet web a b', 'ServicelessNodeSet db c', 'ServicelessPath /relay/x',
    'ServicelessMode tree:5',
    'ServicelessHeader Host fleet.example.com', 'ServicelessHeader X-Note "two words"', 'ServicelessSimultaneousRequests 4',
    'ServicelessConnectTimeout 500ms', 'ServicelessTimeout 1min', 'ServicelessTolerance 30', 'ServicelessMaxBody 64K',
    'ServicelessStateDir state', 'ServicelessStoreSize 1m', 'ServicelessRetention 2h', 'ServicelessSyncInterval 0',
    'ServicelessFunction cache.purge nodes=web mode=tree timeout=500ms on_crash=Quarantine allow=main,client',
    'ServicelessFunction serviceless.outcome allow=main', 'ServicelessAccept django'));
passes('nodes over several lines, names from host and port, IPv6, a path', $main . <<"END");
ServicelessNodes https://a.example.com http://10.0.0.1/base/
ServicelessNodes http://[2001:db8::1]:8080
ServicelessSelf [2001:db8::1]:8080
ServicelessDurability async
ServicelessKeyFile $key
END
passes('a virtual host is a node of its own, of the same fleet with the same key', $main
    . node('ServicelessNodeSet web a b', 'ServicelessFunction f nodes=web', 'ServicelessHeader Host x')
    . host($fleet, "ServicelessKeyFile $key", 'ServicelessFunction f mode=tree', 'ServicelessTolerance 60'));
passes('a virtual host of another fleet, with a key of its own', $main . node('ServicelessNodeSet web a b')
    . host('ServicelessNodes x=http://127.0.0.1:8082', "ServicelessKeyFile $other_key"));
passes('a node on a virtual host only', $main . host(node()));
passes('a virtual host without directives', $main . node() . host());

# Which node this is.
my $loopback = 'ServicelessNodes a=http://127.0.0.1:8081 b=http://127.0.0.1:8082';
is_node('by address and port, all on loopback', 'b', "ServerName www\nListen 127.0.0.1:8082\n", $loopback);
is_node('by ServerName and its port', 'b', "ServerName two.example:8080\nListen 80\n",
    'ServicelessNodes a=http://one.example:8080 b=http://TWO.example:8080 c=http://two.example:80');
is_node('by ServerName and the port listened on', 'b', "ServerName two.example\nListen 8080\n",
    'ServicelessNodes a=http://two.example b=http://two.example:8080');
is_node('by ServerName and the usual port of the scheme', 'b', "ServerName two.example\nListen 8080\n",
    'ServicelessNodes a=https://one.example b=https://two.example');
is_node('by address, 10.0.0.1 is not 10.0.0.10', 'b', "ServerName www\nListen 10.0.0.10:80\n",
    'ServicelessNodes a=http://10.0.0.1 b=http://10.0.0.10 c=http://10.0.0.100');
is_node('by an IPv6 address in another spelling', 'b', "ServerName www\nListen [2001:db8::1]:80\n",
    'ServicelessNodes a=http://[2001:db8::2] b=http://[2001:db8:0:0::1]');
is_node('ServerName goes before the address', 'a', "ServerName one.example:80\nListen 10.0.0.2:80\n",
    'ServicelessNodes a=http://one.example b=http://10.0.0.2');
is_node('a virtual host takes its port from the main server', 'a', "ServerName www\nListen 8081\nListen 8082\n"
    . "<VirtualHost *:8082>\nServerName w\n</VirtualHost>\n", $loopback);
is_node('a wildcard listener has the loopback addresses', 'b', "ServerName www\nListen 8082\n", $loopback);
is_node('an IPv4 wildcard has them too', 'b', "ServerName www\nListen 0.0.0.0:8082\n", $loopback);
SKIP: {
    my ($own) = grep { /^\d+\.\d+\.\d+\.\d+$/ && !/^127\./ } split ' ', `hostname -I 2>/dev/null`;
    skip 'this machine has no address but loopback', 1 unless $own;
    is_node('a wildcard listener has the addresses of the interfaces', 'b', "ServerName www\nListen 8082\n",
        "ServicelessNodes a=http://203.0.113.9:8082 b=http://$own:8082 c=http://$own:8083 d=http://127.0.0.1:8082");
}
refuses('an IPv4 wildcard has no IPv6 address', "ServerName www\nListen 0.0.0.0:8082\nServicelessNodes b=http://[::1]:8082\n"
    . "ServicelessKeyFile $key\nServicelessDurability async\n", qr/none of the nodes is this server/);
refuses('none: the candidates are named', "ServerName www\nListen 127.0.0.1:8089\n" . node(),
    qr{ServicelessSelf\ auto:\ none\ of\ the\ nodes\ is\ this\ server\ \(ServerName\ www,\ Listen\ 127\.0\.0\.1:8089\):
       \ a\ \(http://127\.0\.0\.1:8081\),\ b\ .*c\ .*;\ list\ it\ in\ ServicelessNodes,\ or\ name\ one\ of\ them}x);
refuses('several: they are named', "ServerName www\nListen 8081\nListen 8082\n" . node(),
    qr/ServicelessSelf auto: several nodes could be this server .*: a .*, b [^,]*; name one of them with ServicelessSelf/);
refuses('loopback tells nothing unless all nodes are on it', "ServerName www\nListen 80\n"
    . "ServicelessNodes a=http://127.0.0.1 b=http://192.0.2.1\nServicelessKeyFile $key\nServicelessDurability async\n",
    qr/none of the nodes is this server/);
refuses('another port is another server', "ServerName one.example:8080\nListen 10.0.0.1:8080\n"
    . "ServicelessNodes a=http://one.example b=http://10.0.0.1\nServicelessKeyFile $key\nServicelessDurability async\n",
    qr/none of the nodes is this server/);
refuses('a virtual host has its own address only',
    "ServerName www\nListen 8081\nListen 8082\n<VirtualHost *:8082>\nServerName w\n"
    . "$fleet\nServicelessKeyFile $key\nServicelessDurability async\n</VirtualHost>\n<VirtualHost *:8081>\nServerName w\n"
    . "$fleet\nServicelessSelf b\nServicelessKeyFile $key\nServicelessDurability async\n</VirtualHost>\n",
    qr/ServicelessNodes b: two servers here/);
refuses('a name that is not there', $main . node('ServicelessSelf d'),
    qr/ServicelessSelf d: there is no node with this name in ServicelessNodes.*\(line \d+ of .*httpd\.conf\)/);
refuses('a name that is none', $main . node('ServicelessSelf a/b'),
    qr{ServicelessSelf a/b: it must be auto, or the name of a node});

# Nodes and keys belong together.
refuses('nodes without a key', "$main$fleet\n", qr/ServicelessNodes: it needs ServicelessKeyFile on the same server/);
for my $line ("ServicelessKeyFile $key", 'ServicelessSelf a', 'ServicelessNodeSet web a', 'ServicelessPath /x',
    'ServicelessMode tree',
    'ServicelessHeader Host x', 'ServicelessSimultaneousRequests 3', 'ServicelessConnectTimeout 1s', 'ServicelessTimeout 1s',
    'ServicelessTolerance 9s', 'ServicelessMaxBody 2m', 'ServicelessStoreSize 2g', 'ServicelessDurability async',
    'ServicelessRetention 2h', 'ServicelessSyncInterval 9s', 'ServicelessFunction f mode=tree', 'ServicelessAccept django',
    'ServicelessTLSCACertificateFile x', 'ServicelessTLSCertificateFile x', 'ServicelessTLSCertificateKeyFile x') {
    my ($name) = $line =~ /^(\S+)/;
    refuses("$name without nodes", "$main$line\n", qr/$name \S+: it needs ServicelessNodes on the same server/);
    refuses("$name in a virtual host without nodes", $main . node() . host($line),
        qr/$name \S+: it needs ServicelessNodes on the same/);
}
refuses('a state directory without nodes', "${main}ServicelessStateDir /x\n",
    qr{ServicelessStateDir /x: it needs ServicelessNodes});
refuses('a state directory in a virtual host', $main . host(node('ServicelessStateDir /x')),
    qr/ServicelessStateDir cannot occur within <VirtualHost> section/);
refuses('a directive in a directory', $main . node() . "<Directory />\nServicelessMode tree\n</Directory>\n",
    qr/ServicelessMode.*(?:not allowed|cannot occur)/);
refuses('a virtual host inherits no key file', $main . node() . host($fleet, 'ServicelessSelf b'),
    qr/ServicelessNodes: it needs ServicelessKeyFile on the same server; a virtual host inherits none/);
refuses('one key for two fleets', $main . node() . host('ServicelessNodes x=http://127.0.0.1:8082', "ServicelessKeyFile $key"),
    qr/ServicelessKeyFile: the key main serves the fleets of the nodes a and x; each fleet needs keys of its own/);
refuses('one node twice', $main . node() . host($fleet, "ServicelessKeyFile $key", 'ServicelessSelf a'),
    qr/ServicelessNodes a: two servers here are this node/);

# ServicelessKeyFile.
my $with_key = sub { my ($path) = @_; $main . "$fleet\nServicelessDurability async\nServicelessKeyFile $path\n" };
refuses('a missing key file', $with_key->("$dir/missing"), qr{ServicelessKeyFile \S+/missing: key file .*No such file});
refuses('a directory as key file', $with_key->($dir), qr/ServicelessKeyFile \S+: .*it is not a plain file/);
for ([0644 => 'readable by all'], [0602 => 'writable by all'], [0620 => 'writable by its group']) {
    my $path = put('open.key', "main $secrets[3]\n", $_->[0]);
    refuses("a key file $_->[1]", $with_key->($path), qr/ServicelessKeyFile \S+: .*it is $_->[1] .*chmod 600/);
}
passes('a key file readable by the group: a warning', $with_key->(put('group.key', "main $secrets[3]\n", 0640)),
    qr/SVL0002: ServicelessKeyFile: key file \S+: it is readable by its group/);
for (
    ['an empty key file', "# nothing\n\n", qr/it holds no key/],
    ['a short secret', "main whsec_AAAA\n", qr/line 1: .*24 to 64/],
    ['a secret that is no base64', "\nmain whsec_$secrets[3]\n", qr/line 2: /],
    ['no secret', "main\n", qr/line 1: /],
    ['an id twice', "a $secrets[3]\na $secrets[4]\n", qr/line 2: the id is that of an earlier line/],
    ['a secret twice', "a $secrets[3]\nb $secrets[3]\n", qr/line 2: the secret is that of an earlier line/],
    ['an unknown permission', "a $secrets[3] relays\n", qr/line 1: a permission is relay, call or call=glob/],
    ['no key that may relay', "a $secrets[3] call\n", qr/none of its keys may relay/],
) {
    refuses($_->[0], $with_key->(put('bad.key', $_->[1])), qr/ServicelessKeyFile \S+: .*$_->[2]/);
}
refuses('a secret instead of a path', $with_key->($secrets[0]),
    qr/ServicelessKeyFile \(a secret\): it must be the path of a file/);

# ServicelessNodes.
my $with_nodes = sub {
    "${main}ServicelessKeyFile $key\nServicelessDurability async\nServicelessSelf a\nServicelessNodes @_\n"
};
my $host_wrong = qr/the host of the URL must be/;
for (
    ['ftp://a', qr/a URL begins with http/],
    ['a', qr/a URL begins with http/],
    ['a=b', qr/a URL begins with http/],
    ['a=http://', qr/a node is|$host_wrong/],
    ['a=http:///x', $host_wrong],
    ['a=http://h?x=1', qr/no query/],
    ['"a=http://h#x"', qr/no query, no fragment/],
    ['a=http://u:hunter2hunter2@h', qr/no user name/],
    ['a=http://h:0', qr/the port of the URL/],
    ['a=http://h:65616', qr/the port of the URL/],
    ['a=http://h:', qr/the port of the URL/],
    ['a=http://h:x', qr/a node is|the port/],
    ['a=http://10.0.0', $host_wrong],
    ['a=http://10.0.0.256', $host_wrong],
    ['a=http://[::1', qr/a node is|$host_wrong/],
    ['a=http://[10.0.0.1]', $host_wrong],
    ['a=http://[fe80::1%25eth0]', qr/a node is|$host_wrong/],
    ['a=http://-h', $host_wrong],
    ['a=http://h_%00', $host_wrong],
    ['"a=http://h/x y"', qr/the path of the URL/],
    ['a=http://h/x/../y', qr/the path of the URL/],
    ['a=http://h/%2e', qr/the path of the URL/],
    ['=http://h', qr/the name before =/],
    ['..=http://h', qr/the name before =/],
    ['.=http://h', qr/the name before =/],
    ['a,b=http://h', qr/the name before =/],
    [('n' x 65) . '=http://h', qr/the name before =/],
    ['http://' . ('h' x 63) . '.example', qr/longer than 64 characters; write name=url/],
    ['a=http://h/' . ('x' x 1024), qr/at most 1024/],
    ['a=http://h a=http://i', qr/the name is that of an earlier node/],
    ['a=http://h b=http://H:80/', qr/the URL is that of an earlier node/],
    ['a=http://[::1] b=http://[0:0::1]', qr/the URL is that of an earlier node/],
) {
    refuses("node $_->[0]", $with_nodes->($_->[0]), qr/ServicelessNodes .*$_->[1]/);
}
refuses('no nodes', $with_nodes->(''), qr/ServicelessNodes: the nodes of the fleet must follow/);
refuses('more nodes than a route can name', $with_nodes->(join "\nServicelessNodes ", map {
    my $i = $_; join ' ', map { "n$_=http://h$_" } $i * 100 .. $i * 100 + 99 } 0 .. 100), qr/a fleet has at most 10000 nodes/);

# Bounds and words: each value that is wrong, and what would be right.
my %right = (
    ServicelessMode => [qr/it must be bounce, broadcast, tree or tree:K/, qw(star tree: tree:1 tree:x tree:10001 bounce:2)],
    ServicelessPath => [qr/it must begin with \//, 'x', '/x/', '/x?y', '/a/../b', '"/a b"', '/%41', '/' . 'x' x 256],
    ServicelessSimultaneousRequests => [qr/it must be a number from 1 to 1000/, qw(0 -1 1001 x 1x 99999999999)],
    ServicelessConnectTimeout => [qr/it must be a duration from 1ms to 24h/, qw(0 -1 5x 1sec 25h 5m 1.5s 99999999999999999999)],
    ServicelessTimeout => [qr/it must be a duration from 1ms to 24h/, qw(0 -1s 5mx)],
    ServicelessTolerance => [qr/it must be a duration from 1s to 24h/, qw(0 0s 999ms -5 25h)],
    ServicelessMaxBody => [qr/it must be a size from 1k to 1g/, qw(0 1023 2g 1t 1kb -1 x 99999999999999999999 9999999999999g)],
    ServicelessStoreSize => [qr/it must be a size from 1m to 16384g/, qw(0 1023k 1t 16385g 99999999999999999g)],
    ServicelessDurability => [qr/it must be fsync or async/, qw(sync on)],
    ServicelessRetention => [qr/it must be a duration from 1s to 8784h/, qw(0 9000h 1d)],
    ServicelessSyncInterval => [qr/it must be a duration from 100ms to 1h.*or 0 for never/, qw(99ms 2h -1 x)],
    ServicelessAccept => [qr/it must be off or django/, qw(flask on)],
);
for my $name (sort keys %right) {
    my ($sentence, @values) = @{ $right{$name} };
    refuses("$name $_", $main . node("$name $_"), qr/\Q$name\E \S.*: $sentence/) for @values;
}
refuses('a retention below three tolerances', $main . node('ServicelessRetention 899s'),
    qr/ServicelessRetention 899s: it must be at least three times ServicelessTolerance, which is 300s: 15min or more/);
passes('a retention of three tolerances', $main . node('ServicelessRetention 900s'));
refuses('a tolerance over a third of the default retention', $main . node('ServicelessTolerance 9h'),
    qr/ServicelessRetention 24h: .*27h/);

# ServicelessNodeSet.
for (
    ['web', qr/the name of the set and the names of its nodes must follow/],
    ['all a b', qr/ServicelessNodeSet all: the set all is always/],
    ['web a d', qr/ServicelessNodeSet web d: there is no node with this name/],
    ['web a a', qr/ServicelessNodeSet web a: .*already/],
    ['we/b a', qr{ServicelessNodeSet we/b: a name is}],
    ["web a\nServicelessNodeSet web b", qr/there is such a set already/],
) {
    refuses("set $_->[0]", $main . node("ServicelessNodeSet $_->[0]"), $_->[1]);
}

# ServicelessHeader: the value may be a password, so no message shows it.
for (
    ['X-A', qr/the name of a header and its value must follow/],
    ['"X A" v', qr/the name of a header holds/],
    ['"" v', qr/the name of a/],
    ['X-A ""', qr/the value of a header/],
    ["X-A \"$secrets[5]\t\x01\"", qr/the value of a header/],
    ['X-A: v', qr/the name of a header/],
    ['webhook-id x', qr/sets this header itself/],
    ['webhook-key x', qr/itself/],
    ['Content-Type x', qr/itself/],
    ['content-length 1', qr/itself/],
    ['Connection close', qr/itself/],
    ['Transfer-Encoding chunked', qr/itself/],
    ['Expect x', qr/itself/],
    ['a b c', qr/must follow/],
) {
    refuses("header $_->[0]", $main . node("ServicelessHeader $_->[0]"), qr/ServicelessHeader .*$_->[1]/);
}

# ServicelessFunction.
for (
    ['', qr/the name of a function must follow/],
    ['9x mode=tree', qr/the name of a function/],
    ['f', qr/at least one option must follow/],
    ['f color=red', qr/f color=red: an option is nodes=/],
    ['f tree', qr/f tree: an option is/],
    ['f mode=star', qr/mode= must be bounce/],
    ['f mode=tree mode=tree', qr/stands in the line already/],
    ['f nodes=web', qr/f nodes=web: there is no such set here/],
    ['f nodes=', qr/nodes= must be followed/],
    ['f timeout=0', qr/after timeout= it must be a duration from 1ms to 24h/],
    ['f timeout=5x', qr/after timeout=/],
    ['f on_crash=panic', qr/on_crash= must be rerun or quarantine/],
    ['f allow=', qr/allow= must be followed/],
    ['f allow=main,', qr/allow= must be followed/],
    ['f allow=main,nobody', qr/ServicelessKeyFile has no key with the id nobody/],
    ["f mode=tree\nServicelessFunction f mode=bounce", qr/a later line is about this function too/],
) {
    refuses("function $_->[0]", $main . node("ServicelessFunction $_->[0]"), qr/ServicelessFunction.*$_->[1]/);
}
refuses('an inherited function of a set that the other fleet has not', $main . node('ServicelessNodeSet web a',
    'ServicelessFunction f nodes=web')
    . host('ServicelessNodes x=http://127.0.0.1:8082', "ServicelessKeyFile $other_key"),
        qr/f nodes=web: there is no such set here/);

# ServicelessStateDir.
SKIP: {
    chomp(my $type = `stat -f -c %T /dev/shm 2>/dev/null`);
    skip '/dev/shm is no tmpfs', 3 unless $type eq 'tmpfs';
    my $node = "$fleet\nServicelessKeyFile $key\nServicelessStateDir /dev/shm/serviceless/state\n";
    refuses('fsync in memory', "$main$node",
        qr{ServicelessStateDir /dev/shm/serviceless/state: it is on a file system in memory});
    passes('async in memory', "$main${node}ServicelessDurability async\n");
}
refuses('a file as state directory', $main . node("ServicelessStateDir $key"),
    qr/ServicelessStateDir \S+: it must be a directory/);
refuses('no path', $main . node('ServicelessStateDir ""'), qr/ServicelessStateDir takes one argument, path/);

# TLS.
SKIP: {
    for my $name (qw(one two)) {
        my $request = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=$name";
        system("$request -keyout $dir/$name.key -out $dir/$name.crt 2>/dev/null") == 0
            or skip 'no openssl command', 9;
    }
    system("openssl rsa -aes128 -passout pass:x -in $dir/one.key -out $dir/locked.key 2>/dev/null");
    my $damaged = `cat $dir/one.crt $dir/two.crt`;
    put('both.crt', $damaged);
    $damaged =~ s/[^\n]+\n([^\n]+\n-----END CERTIFICATE-----\n)\z/$1/;
    put('damaged.crt', $damaged);
    my $tls = sub { my ($ca, $crt, $k) = @_;
        $main . node(($ca ? "ServicelessTLSCACertificateFile $ca" : ()), ($crt ? "ServicelessTLSCertificateFile $crt" : ()),
            ($k ? "ServicelessTLSCertificateKeyFile $k" : ())) };
    passes('certificates and their key', $tls->('both.crt', 'one.crt', 'one.key'));
    passes('a client certificate with its chain', $tls->('', 'both.crt', 'one.key'));
    refuses('a missing file', $tls->('none.crt'),
        qr{ServicelessTLSCACertificateFile \S+/none.crt: it must be a file that root can read});
    refuses('a key as a CA', $tls->('one.key'), qr/ServicelessTLSCACertificateFile \S+: it must be a PEM file of certificates/);
    refuses('a damaged CA file', $tls->('damaged.crt'),
        qr/ServicelessTLSCACertificateFile \S+: it must be a PEM file of certificates/);
    refuses('a certificate without key', $tls->('', 'one.crt'),
        qr/ServicelessTLSCertificateFile \S+: ServicelessTLSCertificateKeyFile must/);
    refuses('a key without certificate', $tls->('', '', 'one.key'),
        qr/ServicelessTLSCertificateKeyFile \S+: ServicelessTLSCertificateFile/);
    refuses('the key of another certificate', $tls->('', 'one.crt', 'two.key'),
        qr/KeyFile \S+: it must be the key of the certificate/);
    refuses('a certificate as key', $tls->('', 'one.crt', 'one.crt'), qr/KeyFile \S+: it must be a PEM file of a private key/);
    refuses('a key with a password', $tls->('', 'one.crt', 'locked.key'), qr/KeyFile \S+: .*without a password/);
}

# The annotated configuration can be used as it stands, and so can every line that it has as a comment.
{
    open(my $file, '<', "$FindBin::Bin/../../conf/serviceless.conf") or die "conf/serviceless.conf: $!";
    my $conf = do { local $/; <$file> };
    $conf =~ s/^#(?=Serviceless)//mg;
    $conf =~ s{^LoadModule (\S+) +\S+/(mod_\w+\.so)}{$1 eq 'serviceless_module' ? '' : "LoadModule $1 $ENV{SVL_MODULE_DIR}/$2"}meg;
    $conf =~ s{^(ServicelessKeyFile) .*}{$1 $fleet_key}m;
    $conf =~ s{^(ServicelessDurability) .*}{$1 async}m;
    my %tls = -e "$dir/one.crt" ? (Key => 'one.key', '' => 'one.crt', CA => 'both.crt') : ();
    $conf =~ s{^(ServicelessTLS(CA|)Certificate(Key|)File) .*}{%tls ? "$1 $tls{$2 || $3}" : ''}meg;
    passes('conf/serviceless.conf, with every line', "ServerName a.example.com:443\nListen 127.0.0.1:8081\n$conf");
}
refuses('a value that is missing', $main . node('ServicelessMode'),
    qr/ServicelessMode takes one argument, bounce\|broadcast\|tree/);

done_testing();
