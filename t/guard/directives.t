#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# Promise: the directives of the code, of conf/serviceless.conf and of docs/directives.md are the same, with the same defaults, and none
# that people rely on is renamed.
use strict;
use warnings;
use FindBin;
use Test::More;

my $root = $ENV{top_srcdir} || "$FindBin::Bin/../..";

# What is published: a name leaves this list with a major version, never else.  undef: no default.
my %published = (
    ServicelessKeyFile => undef, ServicelessNodes => undef, ServicelessSelf => 'auto', ServicelessNodeSet => undef,
    ServicelessPath => '/serviceless', ServicelessMode => 'bounce', ServicelessHeader => undef,
    ServicelessSimultaneousRequests => '10', ServicelessConnectTimeout => '2s', ServicelessTimeout => '10s',
    ServicelessTolerance => '300s', ServicelessMaxBody => '1m', ServicelessStateDir => '/var/lib/apache2/serviceless',
    ServicelessStoreSize => '1g', ServicelessDurability => 'fsync', ServicelessRetention => '24h', ServicelessSyncInterval => '5s',
    ServicelessFunction => undef, ServicelessLinks => 'on', ServicelessAccept => 'off', ServicelessTLSCACertificateFile => undef,
    ServicelessTLSCertificateFile => undef, ServicelessTLSCertificateKeyFile => undef,
);
my %context = (
    NODE => 'server config and virtual host, with ServicelessNodes',
    ANY => 'server config and virtual host',
    MAIN => 'server config',
);

sub slurp {
    my ($name) = @_;
    open(my $file, '<', "$root/$name") or die "$root/$name: $!";
    local $/;
    return scalar <$file>;
}

my $code = slurp('mod_serviceless/httpd/directives.h');
my $conf = slurp('conf/serviceless.conf');
my $docs = slurp('docs/directives.md');
my ($state_dir) = $code =~ /#define SVL_DEFAULT_STATEDIR "([^"]+)"/;

my %rows;
while ($code =~ /ROW\(\w+, "(\w+)", \w+, \w+, \w+, (\w+), [^,"]+, [^,"]+, (NULL|SVL_DEFAULT_STATEDIR|"[^"]*"),[\s\\]+"([^"]*)",[\s\\]+"([^"]*)"\)/g) {
    my ($name, $place, $default, $syntax, $summary) = ($1, $2, $3, $4, $5);
    $default = $default eq 'NULL' ? undef : $default eq 'SVL_DEFAULT_STATEDIR' ? $state_dir : substr($default, 1, -1);
    $rows{$name} = { place => $place, default => $default, syntax => $syntax, summary => $summary };
}
is_deeply({ map { $_ => $rows{$_}{default} } keys %rows }, \%published, 'the code has the published directives and defaults');
is(scalar(() = $code =~ /^\s+ROW\(/mg), scalar keys %rows, 'every row of the code is understood here');

my %sections;
$sections{$1} = $2 while $docs =~ /^## (\w+)\n(.*?)(?=^## |\z)/msg;
is_deeply([sort keys %sections], [sort keys %rows], 'the documentation has a section for each');

for my $name (sort keys %rows) {
    my ($row, $text) = ($rows{$name}, $sections{$name} // '');
    my ($syntax) = $text =~ /^- Syntax: `(.*)`$/m;
    my ($default) = $text =~ /^- Default: (?:`([^`]*)`|none|required)/m;
    my ($context) = $text =~ /^- Context: (.*)$/m;
    is($syntax, "$name $row->{syntax}", "$name: the syntax in the documentation");
    ok($text =~ /^- Default: /m && ($default // '') eq ($row->{default} // ''), "$name: the default in the documentation");
    is($context, $context{ $row->{place} }, "$name: the context in the documentation");
    like($text, qr/^```apache\n.*?^\Q$name\E /ms, "$name: an example in the documentation") unless $name eq 'ServicelessKeyFile';
    like($conf, defined $row->{default} ? qr/^#\Q$name $row->{default}\E$/m : qr/^#?\Q$name\E \S/m, "$name: in the configuration");
}
for (['the configuration', $conf], ['the documentation', $docs]) {
    my ($where, $text) = @$_;
    my %unknown = map { $_ => 1 } grep { !$rows{$_} } $text =~ /\b(Serviceless[A-Z]\w*)/g;
    is(join(' ', sort keys %unknown), '', "$where knows no other directive");
    like($text, qr/SetHandler \Q$_\E$/m, "$where shows the handler $_") for $where eq 'the configuration' ? qw(serviceless serviceless-status) : 'serviceless';
}

done_testing();
