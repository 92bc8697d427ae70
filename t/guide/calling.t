# SPDX-License-Identifier: Apache-2.0
# docs/calling.md: what it shows to do in a shell works as it stands.
use strict;
use warnings;
use Command ();
use Fleet;
use File::Basename qw(dirname);
use JSON::PP;
use Test::More;

my $page = dirname(__FILE__) . '/../../docs/calling.md';
my $fleet = Fleet->new(nodes => 2)->start;
my ($node) = $fleet->nodes;

sub blocks {
    open my $file, '<', $page or die "cannot read $page: $!\n";
    my $text = do { local $/; <$file> };
    return $text =~ /^```sh\n(.*?)^```$/msg;
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

done_testing;
