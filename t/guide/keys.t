# SPDX-License-Identifier: Apache-2.0
# docs/keys.md: what it shows to do in a shell works as it stands.
use strict;
use warnings;
use Client qw(fingerprint);
use Command ();
use Fleet;
use File::Basename qw(dirname);
use File::Temp ();
use Test::More;

my $page = dirname(__FILE__) . '/../../docs/keys.md';
my $directory = File::Temp->newdir('svl-keys.XXXXXX', DIR => $ENV{SVL_TEST_TMP} || '/var/tmp');

sub slurp {
    my ($path) = @_;
    open my $file, '<', $path or die "cannot read $path: $!\n";
    local $/;
    return <$file>;
}

# Runs a block as it stands, in a directory of the test's own.
sub run_block {
    my ($block) = @_;
    local $ENV{PATH} = dirname(Command::path()) . ":$ENV{PATH}";
    open my $out, '-|', 'sh', '-c', "cd $directory && { $block\n}" or die "cannot run sh: $!\n";
    my $text = do { local $/; <$out> } // '';
    close $out;
    is($?, 0, 'it runs');
    return $text;
}

# The lines of a key file: [id, secret, permissions].
sub lines_of { return map { [split ' ', $_, 3] } split /\n/, slurp("$directory/$_[0]") }

my ($make, $show, $rotate, @more) = slurp($page) =~ /^```sh\n(.*?)^```$/msg;
is(scalar @more, 0, 'the page shows three things to do');

run_block($make);
my ($first, $shop) = lines_of('serviceless.keys');
is_deeply([map { @$_[0, 2] } $first, $shop], ['fleet-1', 'relay call', 'shop', 'call=cache.*'], 'a key file is made');
is((stat "$directory/serviceless.keys")[2] & 0777, 0600, 'for nobody else to read');
is(run_block($show), join('', map { "$_->[0] " . fingerprint($_->[1]) . "\n" } $first, $shop), 'its fingerprints are shown');

run_block($rotate);
my @ids = map { my @lines = lines_of("step-$_"); join ' ', map { $_->[0] } @lines } 0 .. 3;
is_deeply(\@ids, ['fleet-1 shop', 'fleet-1 shop fleet-2', 'fleet-2 fleet-1 shop', 'fleet-2 shop'], 'the three steps');
is((stat "$directory/step-$_")[2] & 0777, 0600, "step $_ is for nobody else to read") for 1 .. 3;

my $fleet = Fleet->new(nodes => 1, directives => "ServicelessKeyFile \"$directory/serviceless.keys\"\n");
chmod 0755, "$directory";
$fleet->{secret} = $first->[1];
my ($node) = $fleet->start->nodes;
for my $step (0 .. 3) {
    system('cp', '-p', "$directory/step-$step", "$directory/serviceless.keys") == 0 or die "cannot copy: $!\n";
    $node->graceful;
    my %shown;
    eventually {
        my $status = $node->status;
        %shown = map { $_->{id} => $_->{fingerprint} } @{$status->{keys}};
        return !$status->{old_children} && "@{[map { $_->{id} } @{$status->{keys}}]}" eq $ids[$step];
    } 20, "a node takes step $step";
    is_deeply(\%shown, {map { $_->[0] => fingerprint($_->[1]) } lines_of("step-$step")}, 'and shows the same fingerprints');
}

done_testing;
