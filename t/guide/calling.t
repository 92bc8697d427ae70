# SPDX-License-Identifier: Apache-2.0
# docs/calling.md: what it shows to do in a shell, and in Python with Django, works as it stands.
use strict;
use warnings;
use Command ();
use Fleet;
use File::Basename qw(dirname);
use JSON::PP;
use Test::More;

my $page = dirname(__FILE__) . '/../../docs/calling.md';
my $fleet = Fleet->new(nodes => 2, directives => "ServicelessAccept django\n")->start;
my ($node) = $fleet->nodes;

# The page's blocks of a language, sh unless told otherwise.
sub blocks {
    my $language = $_[0] // 'sh';
    open my $file, '<', $page or die "cannot read $page: $!\n";
    my $text = do { local $/; <$file> };
    return $text =~ /^```$language\n(.*?)^```$/msg;
}

# Runs a block as it stands, but for the address of the node.
sub run_block {
    my ($block) = @_;
    local $ENV{SERVICELESS_URL} = 'http://' . $node->authority . '/serviceless';
    local $ENV{SERVICELESS_KEY_FILE} = $fleet->{key_file};
    local $ENV{PATH} = dirname(Command::path()) . ":$ENV{PATH}";
    open my $out, '-|', 'sh', '-c', $block or die "cannot run sh: $!\n";
    my $text = do { local $/; <$out> };
    close $out;
    return $text;
}

my @sending = grep { /curl/ } blocks();
is(scalar @sending, 2, 'the page shows two ways to send a call');
for my $block (@sending) {
    my $name = $block =~ /openssl/ ? 'with curl and openssl' : 'with curl and the command';
    my $answer = eval { decode_json(run_block($block)) };
    is_deeply([@{$answer // {}}{qw(node outcome result)}], ['n1', 'ok', 6], $name);
}

my ($shown) = map { /^(serviceless call example\.sum .*)$/m } blocks();
like(run_block($shown), qr/ n1 +ok +6$/m, 'with the command');

my ($source, $session) = blocks('python');
my ($secret) = do { open my $file, '<', $fleet->{key_file} or die "no key file: $!\n"; join('', <$file>) =~ /(whsec_\S+)/ };

# Runs the page's Python, as in an application with these settings, and then its session; @statements stand between.
sub run_python {
    my ($key, @statements) = @_;
    my $url = 'http://' . $node->authority . '/serviceless';
    open my $python, '|-', '/usr/bin/python3', '-', $session or die "cannot run python3: $!\n";
    print $python join "\n", 'from django.conf import settings', "settings.configure(SERVICELESS_URL='$url', SERVICELESS_KEY='$key')",
        $source, @statements, 'import doctest, sys', 'run = doctest.DocTestRunner()',
        'run.run(doctest.DocTestParser().get_doctest(sys.argv[1], globals(), "the page", None, 0), out=lambda text: None)',
        'sys.exit(run.failures)', '';
    return close($python) ? 0 : $? >> 8;
}

like($session, qr/^>>> call\(/m, 'the page shows a session in Python');
is(run_python($secret), 0, 'with Django: the result that the page shows');
isnt(run_python($secret =~ s/_(.)/'_' . ($1 eq 'A' ? 'B' : 'A')/er), 0, 'but not with another key');
my $stranger = 'whsec_' . 'A' x 32;
isnt(run_python($secret, 'sign = signing.dumps', "signing.dumps = lambda call, key, **how: sign(call, key='$secret', **how)",
                "settings.SERVICELESS_KEY = '$stranger'"), 0, 'nor from an answer that is not signed by the key');

done_testing;
