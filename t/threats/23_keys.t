# SPDX-License-Identifier: Apache-2.0
# Row 23: a key file that others can read or write, or that holds what is no key, keeps the server from starting; and a key is shown nowhere.
use strict;
use warnings;
use Command qw(command);
use File::Find qw(find);
use Fleet;
use Fleet::Edit;
use MIME::Base64 qw(decode_base64 encode_base64);
use Poll;
use Secrets;
use Test::More;

my $HTTPD = $ENV{SVL_HTTPD} || '/usr/sbin/apache2';
my $MODULES = $ENV{SVL_LIBEXECDIR} || '/usr/lib/apache2/modules';
my $STARTS = 30; # seconds

sub secret { my ($bytes) = @_; return 'whsec_' . encode_base64(join('', map { chr 1 + int rand 255 } 1 .. $bytes // 32), '') }
sub slurp { my ($path) = @_; open my $file, '<:raw', $path or return ''; local $/; return <$file> // '' }

# All files below a directory, but those that are to hold secrets.
sub written {
    my ($directory, @not) = @_;
    my %not = map { $_ => 1 } @not;
    my @files;
    find({no_chdir => 1, wanted => sub { push @files, $_ if -f && !$not{$_} }}, $directory);
    return @files;
}

my @kept = (secret(), secret(), secret());
my ($one, $two, $three) = @kept;
my ($half) = $three =~ /^(.{20})/;

# name => [key file, mode, what is said]
my %bad = (
    'readable by all' => ["main $one\n", 0604, qr/readable by all \(mode 0604\); chmod 600/],
    'readable by group and all' => ["main $one\n", 0644, qr/readable by all/],
    'writable by the group' => ["main $one\n", 0620, qr/writable by its group/],
    'writable by all' => ["main $one\n", 0602, qr/writable by all/],
    'a secret of 23 bytes' => ['main ' . secret(23) . "\n", 0600, qr/line 1: .*24 to 64 bytes/],
    'a secret of 65 bytes' => ['main ' . secret(65) . "\n", 0600, qr/line 1: .*24 to 64 bytes/],
    'half a secret' => ["main $half\n", 0600, qr/line 1: after the id/],
    'one secret twice' => ["main $one\nnext $two\nagain $one\n", 0600, qr/line 3: the secret is that of an earlier/],
    'one id twice' => ["main $one\nmain $two\n", 0600, qr/line 2: the id is that of an earlier/],
    'a secret without id' => ["$one\n", 0600, qr/line 1: /],
    'the secret first' => ["$one main\n", 0600, qr/line 1: /],
    'a secret as permission' => ["main $one $two\n", 0600, qr/line 1: a permission is/],
    'no key' => ["# none\n", 0600, qr/no key/],
    'nothing' => ['', 0600, qr/no key/],
    'no text' => ["\0\xff" x 100, 0600, qr/line 1: /],
    'missing' => [undef, 0600, qr/No such file/],
    'a directory' => ['directory', 0700, qr/not a plain file/],
);

# What a server says that is to start with its configuration, and whether it started: by `httpd -t`, and in earnest.
sub tried {
    my ($node) = @_;
    my $conf = $node->directory . '/httpd.conf';
    local $ENV{LD_PRELOAD} = $ENV{SVL_PRELOAD} // '';
    my $tested = `$HTTPD -d @{[$node->directory]} -f $conf -t 2>&1`;
    my $passed = $? == 0;
    $node->launch;
    my $ended = poll { !$node->running } $STARTS;
    my $said = slurp($node->directory . '/output') . $node->error_log;
    $node->stop if !$ended;
    return {passed => $passed, tested => $tested, started => !$ended, said => $said};
}

subtest 'threat 23: a server with a bad key file does not start' => sub {
    my $fleet = Fleet->new(nodes => 1, directives => "LogLevel trace8\n");
    my ($node) = $fleet->nodes;
    for my $name (sort keys %bad) {
        my ($text, $mode, $like) = @{$bad{$name}};
        my $path = "$fleet->{directory}/bad.key";
        unlink $path;
        if ($name eq 'a directory') {
            mkdir $path, $mode or die "cannot make $path: $!";
        } elsif (defined $text) {
            write_file($path, $mode, $text);
        }
        edit_conf($node, sub { s/^ServicelessKeyFile .*/ServicelessKeyFile "$path"/m });
        my $tried = tried($node);
        ok(!$tried->{passed}, "$name: httpd -t refuses it");
        ok(!$tried->{started}, "$name: the server does not start");
        like($tried->{$_}, qr/ServicelessKeyFile \S*: .*$like/s, "$name: and says so") for qw(tested said);
        my @secrets = grep { length > 30 } ($text // '') =~ /(whsec_\S+)/g;
        is_deeply([Secrets::shown([@secrets, @kept], written($fleet->{directory}, $path))], [], "$name: no file shows a secret");
        unlike("$tried->{tested}$tried->{said}", qr/whsec_[A-Za-z0-9]/, "$name: nor does it say any");
        $name eq 'a directory' ? rmdir $path : unlink $path;
    }
};

subtest 'threat 23: a key that two fleets share' => sub {
    my $fleet = Fleet->new(nodes => 1);
    my ($node) = $fleet->nodes;
    my $port = Fleet::free_port('127.0.0.1');
    my $other = "$fleet->{directory}/other.key";
    edit_conf($node, sub {
        $_ .= "Listen 127.0.0.1:$port\n<VirtualHost 127.0.0.1:$port>\n    ServerName other\n    ServicelessKeyFile \"$other\"\n"
            . "    ServicelessNodes x=http://127.0.0.1:$port\n    ServicelessStoreSize 16m\n</VirtualHost>\n";
    });
    write_file($other, 0600, "first $one\nsecond $fleet->{secret} call\n");
    my $tried = tried($node);
    ok(!$tried->{passed} && !$tried->{started}, 'the server does not start');
    like($tried->{said}, qr/the key (?:main|second) serves the fleets of the nodes n1 and x;/, 'it names the key by its id');
    is_deeply([Secrets::shown([$one, $fleet->{secret}], written($fleet->{directory}, $other, $fleet->{key_file}))], [], 'no file shows a secret');
    write_file($other, 0600, "first $one\n");
    $node->start;
    is($node->client(port => $port, secret => $one)->call('example.sum', [1])->{status}, 200, 'with keys of its own it does');
    is($node->client(port => $port)->call('example.sum', [1])->{status}, 401, 'and takes no other');
};

subtest 'threat 23: nothing that a server or the command writes shows a key' => sub {
    my $pages_of_httpd = join '', map { "LoadModule ${_}_module $MODULES/mod_$_.so\n<Location \"/server-$_\">\n    SetHandler server-$_\n</Location>\n" } qw(info status);
    my $fleet = Fleet->new(nodes => 2, directives => "${pages_of_httpd}ExtendedStatus On\nLogLevel trace8\nServicelessSyncInterval 1s\n"
        . "ServicelessFunction example.sum allow=main,app\n");
    my ($n1, $n2) = $fleet->nodes;
    my @keys = ($fleet->{key_file}, "$fleet->{directory}/wrong.key");
    my $log_config = -e "$MODULES/mod_log_config.so" ? "LoadModule log_config_module $MODULES/mod_log_config.so\n" : ''; # else it is built in
    my $format = join ' ', map { "%{$_}i" } qw(webhook-id webhook-timestamp webhook-signature authorization);
    my $access = "${log_config}LogFormat \"%h %r %>s $format %{webhook-signature}o\" all\nCustomLog access.log all\n";
    edit_conf($_, sub { $_ .= $access }) for $n1, $n2;
    write_file($keys[0], 0600, "main $fleet->{secret}\nnext $one relay\napp $two call=example.*\n");
    write_file($keys[1], 0600, "wrong $three\n");
    $fleet->start;
    my $pages = "$fleet->{directory}/pages";
    mkdir $pages or die "cannot make $pages: $!";
    my $count = 0;
    my $keep = sub { write_file("$pages/" . ++$count, 0600, $_[0]); return $_[0] };

    is($n1->call('example.sum', [1, 2])->{status}, 200, 'a call');
    is($n1->call('example.sum', [1], secret => $two)->{status}, 200, 'one with another key');
    is($n1->call('serviceless.ping', [], secret => $two)->{status}, 403, 'one that its key may not make');
    is($n1->call('example.sum', [1], secret => $three)->{status}, 401, 'one with a wrong key');
    is($n1->post('{', secret => $one)->{status}, 400, 'no call');
    is($n1->relay('nobody', [], [], secret => $one)->{status}, 400, 'no message');
    is($n1->call('example.fail', ['words'], reply => 'all')->{json}{outcome}, 'error', 'a call that fails everywhere');
    my @paths = (map({ "/serviceless-status$_" } '', '?format=json', '?format=prometheus', '?format=x'), '/server-status', '/serviceless',
                 map({ "/server-info$_" } '', map { "?$_" } qw(config server list hooks providers mod_serviceless.c)));
    $keep->($_->{body} . join ' ', %{$_->{headers}}) for map { $n1->get($_) } @paths;
    like($keep->($n1->get('/server-info?mod_serviceless.c')->{body}), qr/serviceless/, 'mod_info knows the module');
    like($keep->($n1->get('/server-info?config')->{body}), qr/ServicelessKeyFile/, 'and its directives');

    my $url = 'http://' . $n1->authority . '/serviceless';
    my $run = sub {
        my ($keys, @words) = @_;
        my $run = command(\@words, env => {SERVICELESS_URL => $url, SERVICELESS_KEY_FILE => $keys}, stdin => 'x');
        like($run->{status}, qr/^[0-3]$/, "`serviceless @words`");
        $keep->("$run->{out}$run->{err}");
    };
    $run->($keys[0], split / /) for 'call example.sum 1', 'call example.sum --all --json', 'call example.fail x', 'nodes', 'nodes --json', 'functions', 'sign',
        'sign --key none', 'verify --id x', 'outcome none', 'log ' . $n1->state_directory, 'log --json ' . $n1->state_directory;
    $run->($_, 'sign') for $keys[1], $n1->directory . '/httpd.conf', '/nonexistent';
    $run->($keys[1], 'call', 'example.sum');
    $keep->(scalar `$HTTPD -d @{[$n1->directory]} -f @{[$n1->directory]}/httpd.conf $_ 2>&1`) for '-t', '-S', '-M', '-t -D DUMP_CONFIG', '-t -D DUMP_RUN_CFG';
    $n1->graceful;
    write_file($keys[0], 0600, "main $fleet->{secret}\nnext $one relay\napp $two call=example.*\nhalf whsec_\n");
    $fleet->stop;
    $n1->launch;
    ok(poll(sub { !$n1->running }, $STARTS), 'a start with a broken line behind the keys fails');

    my @secrets = Secrets::of_files(@keys);
    is(scalar @secrets, 4, 'four secrets');
    my @files = written($fleet->{directory}, @keys);
    my $bytes = 0;
    $bytes += -s for @files;
    cmp_ok(scalar(grep { m{/(?:error\.log|access\.log|data\.mdb|output)$|/pages/} } @files), '>', 30, scalar(@files) . " files, $bytes bytes");
    unlike(slurp("$pages/$_"), qr/\Q$keys[0]\E/, "status page $_: nor the path of the key file") for 1 .. 3;
    is_deeply([Secrets::shown(\@secrets, @files)], [], 'none holds a secret, in text, bytes or hex');
    my ($fingerprint) = slurp("$pages/2") =~ /"fingerprint":"([0-9a-f]*)"/;
    is(length($fingerprint // ''), 8, 'what is shown of a key is 8 digits of its SHA-256');

    my @sown = map { "$pages/sown-$_" } 0 .. 3;
    for my $i (0 .. 3) {
        my ($text) = $secrets[$i] =~ /whsec_(.*)/;
        my $bytes = decode_base64($text);
        my @forms = ($text, $bytes, unpack('H*', $bytes), $text =~ s/\+/%2B/gr =~ s{/}{%2F}gr);
        write_file($sown[$i], 0600, 'x' x 5000 . $forms[$i] . 'x' x 5000);
    }
    my %found = map { s/: .*//r => 1 } Secrets::shown(\@secrets, @sown);
    is_deeply([sort keys %found], [sort @sown], 'where one is, it is found');
    unlink @sown;
};

done_testing;
