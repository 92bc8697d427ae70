# SPDX-License-Identifier: Apache-2.0
# Threat 24: there is no open mode: a server without a node answers nothing, wherever the handler is set; nodes without a key, or a key
# without nodes, keep the server from starting; a server without directives is left alone.
use strict;
use warnings;
use Client ();
use File::Path qw(remove_tree);
use File::Temp ();
use Fleet ();
use Fleet::Node ();
use OneServer ();
use Test::More;

my $ENOTIMPL = 70023; # of apr_errno.h
my $directory = File::Temp::tempdir('svl-inert.XXXXXX', DIR => $ENV{SVL_WORK});
my @nodes;

# A server of its own with the modules, the handlers set, and these directives.
sub server {
    my ($name, $directives) = @_;
    my $node = Fleet::Node->new(fleet => {directory => $directory}, name => $name, host => '127.0.0.1',
                                port => Fleet::free_port('127.0.0.1'));
    my $own = $node->directory;
    my $load = sub { my ($path, @names) = @_; return join '', map { "LoadModule ${_}_module \"$path/mod_$_.so\"\n" } @names };
    mkdir $own or die "$own: $!";
    mkdir "$own/htdocs" or die "$own/htdocs: $!";
    open my $file, '>', "$own/httpd.conf" or die "$own/httpd.conf: $!";
    print $file "ServerRoot \"$own\"\nDocumentRoot \"$own/htdocs\"\nDefaultRuntimeDir \"$own\"\nPidFile \"$own/httpd.pid\"\n",
        "ErrorLog \"$own/error.log\"\nLogLevel notice serviceless:debug\nListen ", $node->authority, "\nServerName ",
        $node->authority, "\n",
        $load->($ENV{SVL_LIBEXECDIR}, "mpm_$ENV{SVL_TEST_MPM}", 'authz_core'),
        $load->("$ENV{SVL_WORK}/modules", qw(serviceless serviceless_example runlog caller)),
        $ENV{SVL_TEST_MPM} eq 'prefork' ? "StartServers 3\n"
        : "StartServers 2\nThreadsPerChild 8\nServerLimit 2\nMaxRequestWorkers 16\n",
        "<Location \"/serviceless\">\nSetHandler serviceless\n</Location>\n",
        "<Location \"/caller\">\nSetHandler caller\n</Location>\n", $directives;
    close $file or die "$own/httpd.conf: $!";
    push @nodes, $node;
    return $node->start;
}

END {
    my $status = $?;
    $_->end for @nodes;
    my @reports = glob "$directory/*/sanitizer.*";
    diag("sanitizer: @reports"), $status ||= 1 if @reports;
    remove_tree($directory) unless $status;
    $? = $status;
}

# Asks $node in every way there is; it must answer 404, and say why once.
sub is_no_node {
    my ($node, $path) = @_;
    $path //= '/serviceless';
    my $client = Client->new(port => $node->port, path => $path, secret => OneServer::keys_of('main'));
    my $body = $client->call_body('example.sum', [1]);
    for my $n (1 .. 10) {
        my %answers = ('a signed call' => $client->post($body), 'an unsigned one' => $client->post($body, unsigned => 1),
                       'a message of a node' => $client->relay('n1', [], []), 'GET' => $client->get($path),
                       'below the path' => $client->post($body, path => "$path/below"));
        $client->disconnect;
        next if $n > 1;
        for (sort keys %answers) {
            is($answers{$_}{status}, 404, "$_: 404");
            unlike($answers{$_}{body}, qr/outcome/, "$_: no outcome");
            ok(!exists $answers{$_}{headers}{'webhook-signature'}, "$_: nothing signed");
        }
    }
    my $words = qr/SVL\d{4}: the handler serviceless is set, but server \S+ has no node: add/;
    is(scalar(() = $node->error_log =~ /$words/g), 1, 'the log says what to add, once');
    return;
}

subtest 'threat 24: without any directive the module is inert' => sub {
    my $node = server('bare', '');
    is_no_node($node);
    my $client = Client->new(port => $node->port);
    is($client->get('/caller?function=example.sum&args=[1]')->{json}{status}, $ENOTIMPL,
       'a companion that calls gets APR_ENOTIMPL');
    my $told = $client->get('/caller?registrations')->{json};
    is($told->{good}, 'APR_SUCCESS', 'one that registers is not troubled');
    is($told->{'before child_init'}, 'APR_ENOTIMPL', 'before child_init: the same');
    ok(!-e $node->directory . '/state', 'no log is made');
    ok(!(grep { !/httpd\.conf|htdocs|error\.log|httpd\.pid|output/ } glob $node->directory . '/*'), 'no other file either')
        or diag(join ' ', glob $node->directory . '/*');
    is($client->get('/')->{status}, 404, 'the server serves the rest');
    $node->graceful;
    is($client->get('/serviceless')->{status}, 404, 'also after a graceful restart');
    $node->stop;
    unlike($node->error_log, qr/\[(?:crit|alert|emerg)\]|exit signal/, 'it came and went in peace');
};

subtest 'threat 24: a node in one virtual host makes no node of the others' => sub {
    my $port = Fleet::free_port('127.0.0.1');
    open my $keys, '>', "$directory/keys" or die "$directory/keys: $!";
    chmod 0600, "$directory/keys";
    print $keys 'main ', OneServer::keys_of('main'), "\n";
    close $keys or die "$directory/keys: $!";
    my $node = server('beside', "Listen 127.0.0.1:$port\nServicelessStateDir \"$directory/beside/state\"\n"
        . "<VirtualHost 127.0.0.1:$port>\n"
        . "ServerName 127.0.0.1:$port\nServicelessKeyFile \"$directory/keys\"\nServicelessNodes n1=http://127.0.0.1:$port\n"
        . "ServicelessStoreSize 4m\n</VirtualHost>\n");
    is_no_node($node);
    my $client = Client->new(port => $port, secret => OneServer::keys_of('main'));
    my $answer = $client->call('example.sum', [1, 2]);
    is($answer->{json}{result}, 3, 'the virtual host answers');
    is($answer->{json}{node}, 'n1', 'with its node');
    is($client->get('/caller?function=example.sum&args=[1]')->{json}{outcome}, 'ok', 'a companion can call in it');
    is(Client->new(port => $node->port)->get('/caller?function=example.sum&args=[1]')->{json}{status}, $ENOTIMPL,
       'and not beside it');
    $node->stop;
};

subtest 'threat 24: the handler in .htaccess' => sub {
    my $node = server('htaccess', "<Directory \"$directory/htaccess/htdocs\">\nAllowOverride FileInfo\n</Directory>\n");
    open my $file, '>', $node->directory . '/htdocs/.htaccess' or die "cannot write .htaccess: $!";
    print $file "SetHandler serviceless\n";
    close $file or die "cannot write .htaccess: $!";
    is_no_node($node, '/anywhere');
    $node->stop;
};

subtest 'threat 24: nodes without a key, or a key without nodes: the server does not start' => sub {
    my %half = ("ServicelessNodes n1=http://127.0.0.1:9\nServicelessSelf n1" => qr/ServicelessNodes: it needs ServicelessKeyFile on the same server/,
                "ServicelessKeyFile \"$directory/keys\"" => qr/ServicelessKeyFile \S+: it needs ServicelessNodes on the same server/,
                'ServicelessMaxBody 64k' => qr/ServicelessMaxBody \S+: it needs ServicelessNodes on the same server/);
    for my $directive (sort keys %half) {
        my $name = 'half-' . $directive =~ s/ .*//sr;
        ok(!eval { server($name, "$directive\n"); 1 }, "$directive: it does not start");
        like($@, qr/did not start:.*$half{$directive}/s, 'and says what is missing');
    }
};

done_testing;
