# SPDX-License-Identifier: Apache-2.0
# docs/companions.md: the module of the guide is built with the command of the guide, loads before and after mod_serviceless,
# and does what the guide says.
#
# SVL_PKG_CONFIG_PATH: a directory with an installed serviceless.pc.  Without it, header and .pc are installed from the build
# tree into a directory of this test's own.
use strict;
use warnings;
use Command ();
use Fleet;
use File::Basename qw(dirname);
use File::Find qw(find);
use File::Spec;
use File::Temp ();
use JSON::PP;
use Test::More;

my $guide = File::Spec->rel2abs(dirname(__FILE__) . '/../../docs/companions.md');
my $directory = File::Temp->newdir('svl-guide.XXXXXX', DIR => $ENV{SVL_TEST_TMP} || '/var/tmp');
chmod 0755, "$directory";

# The fenced blocks of the guide: [language, text].
sub blocks {
    open my $file, '<', $guide or die "cannot read $guide: $!\n";
    my $text = do { local $/; <$file> };
    my @blocks;
    push @blocks, [$1, $2] while $text =~ /^```(\w+)\n(.*?)^```$/msg;
    return @blocks;
}

sub first_block {
    my ($language, $pattern) = @_;
    my ($block) = grep { $_->[0] eq $language && $_->[1] =~ $pattern } blocks();
    return $block ? $block->[1] : '';
}

# Installs what companions need, as `make install` does, below the test's directory.
sub install_interface {
    return if $ENV{SVL_PKG_CONFIG_PATH};
    my $prefix = "$directory/prefix";
    my @make = ('make', '-s', '-C', Fleet::build_directory(), "DESTDIR=$prefix", 'install-includeHEADERS',
                'install-pkgconfigDATA');
    local @ENV{qw(MAKEFLAGS MFLAGS MAKELEVEL)}; # this is no part of the make that runs the tests
    delete @ENV{qw(MAKEFLAGS MFLAGS MAKELEVEL)};
    my $output = `@make 2>&1`;
    is($?, 0, 'header and pkg-config file are installed') or BAIL_OUT($output);
    find({no_chdir => 1, wanted => sub { $ENV{SVL_PKG_CONFIG_PATH} = dirname($_) if /serviceless\.pc$/ }}, $prefix);
    $ENV{PKG_CONFIG_SYSROOT_DIR} = $prefix;
    return;
}

# Runs a command of the guide in the module's directory.
sub run_there {
    my ($command) = @_;
    local $ENV{PKG_CONFIG_PATH} = $ENV{SVL_PKG_CONFIG_PATH};
    local $ENV{PATH} = ($ENV{APXS} ? dirname($ENV{APXS}) . ':' : '') . $ENV{PATH};
    my $output = `cd $directory && { $command
} 2>&1`;
    return ($? >> 8, $output);
}

# Builds a module of the guide with its command for mod_flags.
sub build {
    my ($name) = @_;
    my $source = first_block('c', qr{^/\* mod_$name\.c});
    like($source, qr/^module AP_MODULE_DECLARE_DATA ${name}_module = \{$/m, "the guide has the whole source of mod_$name");
    open my $file, '>', "$directory/mod_$name.c" or die "cannot write: $!\n";
    print $file $source;
    close $file or die "cannot write: $!\n";
    my $command = first_block('sh', qr/^apxs -c /) =~ s/mod_flags/mod_$name/gr;
    my ($status, $output) = run_there($command =~ s/-c /-c -Wc,-Wall -Wc,-Werror /r);
    is($status, 0, 'it builds without a warning') or diag($output);
    ($status, $output) = run_there("rm -rf .libs *.la *.lo *.slo *.o && $command");
    is($status, 0, 'it builds with the command of the guide') or diag($output);
    system 'cp', "$directory/.libs/mod_$name.so", "$directory/mod_$name.so"; # the next one begins by removing .libs
    return "$directory/mod_$name.so";
}

# A fleet with the module, loaded before or after mod_serviceless, and the configuration of the guide.
sub fleet_with {
    my ($module, $order) = @_;
    my $conf = first_block('apache', qr/^LoadModule flags_module/);
    my $load = "LoadModule flags_module \"$module\"\n";
    $conf =~ s/^LoadModule flags_module .*\n//m;
    my $fleet = Fleet->new(nodes => 2, directives => $order eq 'after' ? $load . $conf : $conf);
    for my $node ($order eq 'before' ? $fleet->nodes : ()) {
        my $path = $node->directory . '/httpd.conf';
        open my $file, '<', $path or die "cannot read $path: $!\n";
        my $text = do { local $/; <$file> };
        $text =~ s/^(LoadModule serviceless_module)/$load$1/m or die "$path does not load mod_serviceless\n";
        open $file, '>', $path or die "cannot write $path: $!\n";
        print $file $text;
        close $file or die "cannot write $path: $!\n";
    }
    return $fleet->start;
}

sub is_denied {
    my ($node) = @_;
    return $node->get('/')->{status} == 403;
}

install_interface();
my $module = build('flags');
BAIL_OUT('the module of the guide was not built') unless -e $module;

for my $order (qw(before after)) {
    subtest "loaded $order mod_serviceless" => sub {
        my $fleet = fleet_with($module, $order);
        my ($one, $two) = $fleet->nodes;
        my @call = map { s/\s*#.*//r } first_block('sh', qr/^serviceless call flags/) =~ /^serviceless (call .*)$/mg;
        is(scalar @call, 3, 'the guide shows three calls');
        my ($on, $off, $list) = map { [split ' '] } @call;

        ok(!is_denied($one) && !is_denied($two), 'at first the flag is off');
        my ($status, $output) = $fleet->command($one, @$on);
        is($status, 0, 'it is set');
        like($output, qr/ n1 +ok +true$/m, 'and says so');
        eventually { is_denied($one) && is_denied($two) } 10, 'requests to both nodes see it';
        ($status, $output) = $fleet->command($two, @$list, '--json');
        my %flags = (maintenance => JSON::PP::true, beta => JSON::PP::false);
        is_deeply(decode_json($output)->{result}, \%flags, 'so does flags.list');

        my %old = map { $_ => 1 } $one->children;
        $one->graceful;
        my $renewed = sub { my @now = $one->children; return @now && !grep { $old{$_} } @now };
        eventually { $renewed->() } 20, 'after a graceful restart, with new processes,';
        ok(is_denied($one), 'the flag is as it was');
        is(($fleet->command($two, @$off))[0], 0, 'it is set to off, on the other node');
        eventually { !is_denied($one) && !is_denied($two) } 10, 'requests to both nodes see that as well';
        is(($fleet->command($one, 'call', 'flags.set', 'nonsense'))[0], 1, 'a flag that is not configured is an error');
        is(($fleet->command($one, 'call', 'flags.set', 'beta', 'on=maybe'))[0], 1, 'and so is a value that is none');
    };
}

subtest 'the newest call wins, whatever the order of arrival' => sub {
    my $fleet = fleet_with($module, 'after');
    my ($one) = $fleet->nodes;
    my $now = int(time) * 1000;
    my $line = sub {
        my ($seq, $issued, $on) = @_;
        return {id => "order-$seq", function => 'flags.set', args => ['beta'],
                kwargs => {on => $on ? JSON::PP::true : JSON::PP::false}, origin => 'n2', set => 'all',
                epoch => '0123456789abcdef', seq => $seq, issued => $issued, ttl => 3600};
    };
    my $flag = sub { decode_json(($fleet->command($one, 'call', 'flags.list', '--json'))[1])->{result}{beta} };
    is($one->relay('n2', [], [$line->(2, $now + 5, 1)])->{status}, 202, 'a call arrives');
    eventually { $flag->() } 10, 'and turns the flag on';
    is($one->relay('n2', [], [$line->(1, $now, 0)])->{status}, 202, 'an older one arrives after it');
    eventually { command_log($one) =~ /order-1 .* ok / } 10, 'and has run';
    ok($flag->(), 'the flag stays on');
};

subtest 'state in each child process' => sub {
    my $rates = build('rates');
    my $fleet = Fleet->new(nodes => 2, directives => "LoadModule rates_module \"$rates\"\nRatesFile rates\n<Location \"/rates\">\n    SetHandler rates\n</Location>\n");
    my $write = sub {
        for my $node ($fleet->nodes) {
            open my $file, '>', $node->directory . '/rates' or die "cannot write: $!\n";
            print $file @_;
            close $file or die "cannot write: $!\n";
        }
    };
    my @seen;
    my $ask = sub { # on connections of their own: of any child
        my ($name) = @_;
        @seen = map { my $client = $_->client; my $answer = $client->get("/rates?$name"); $client->disconnect; $answer->{body} } map { ($_) x 20 } $fleet->nodes;
        return {map { $_ => 1 } @seen};
    };
    $write->("small 1.5\n");
    $fleet->start;
    is_deeply($ask->('small'), {"1.5\n" => 1}, 'children begin with what the file has');
    $write->("small 2\nlarge 7\n");
    my ($status, $output) = $fleet->command($fleet->node('n1'), 'call', 'rates.reload', '--all');
    is($status, 0, 'one call') or diag($output);
    like($output, qr/^$_ +ok +[\d.]+ +2$/m, "$_ is through") for $fleet->names;
    is_deeply($ask->('small'), {"2\n" => 1}, 'every child of every node has the new table');
    $_->graceful for $fleet->nodes;
    is_deeply($ask->('large'), {"7\n" => 1}, 'so have those of a restarted server');
};

sub command_log {
    my ($node) = @_;
    return Command::command(['log', $node->state_directory])->{out};
}

done_testing;
