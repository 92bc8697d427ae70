#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# What the module costs a request that has nothing to do with calls, in instructions, counted by callgrind: the same number however
# busy the machine is.
#
#   make check-built && perl -I t/lib bench/bystander.pl      (SVL_BUILDDIR names the build; needs valgrind)
#
# Three servers (prefork): the module without a node; a node whose functions run once a node; a node with functions that run in every
# child process.  Each serves REQUESTS requests for a page that does not exist; counted is what our hook and all that it calls execute.
use strict;
use warnings;
use File::Temp ();
use Fleet;
use Fleet::Edit;
use Table;
use Test::More ();

my $REQUESTS = 500;
my ($valgrind) = grep { -x } map { "$_/valgrind" } split /:/, $ENV{PATH} or die "valgrind was not found\n";
my $httpd = $ENV{SVL_HTTPD} || '/usr/sbin/apache2';
Test::More->builder->no_ending(1);

my $scratch = File::Temp::tempdir(CLEANUP => 1);
chmod 0777, $scratch;
write_file("$scratch/httpd", 0755, "#!/bin/sh\nexec '$valgrind' -q --tool=callgrind --callgrind-out-file='$scratch/out.%p' '$httpd' \"\$@\"\n");
$ENV{SVL_HTTPD} = "$scratch/httpd";

# Instructions of one request in our hook.
sub instructions {
    my ($make) = @_;
    my $hook = 0;
    unlink glob "$scratch/out.*";
    my $fleet = $make->();
    my ($node) = $fleet->nodes;
    $node->launch->wait_listening;
    my $client = $node->client;
    $client->get('/nothing')->{status} == 404 or die "no server\n" for 1 .. $REQUESTS;
    $client->disconnect;
    $fleet->stop;
    for my $file (glob "$scratch/out.*") {
        my $text = `callgrind_annotate --inclusive=yes --threshold=100 --show-percs=no '$file' 2>/dev/null`;
        $hook += $1 =~ s/,//gr if $text =~ /^\s*([\d,]+)\s+\S*:before_request\b/m;
    }
    return $hook / $REQUESTS;
}

my @directives = (directives => "LogLevel warn\nStartServers 1\nMinSpareServers 1\nMaxSpareServers 1\n", mpm => 'prefork');
my @servers = (
    ['no node' => sub {
        my $fleet = Fleet->new(nodes => 1, @directives);
        edit_conf(($fleet->nodes)[0], sub { s/^Serviceless.*\n//mg; s{^<Location.*?^</Location>\n}{}msg; s/^(?:LoadModule runlog|Runlog).*\n//mg });
        return $fleet;
    }],
    ['scope node' => sub { return Fleet->new(nodes => 1, @directives) }],
    ['scope child' => sub { return table_fleet(nodes => 1, @directives) }],
);
printf "%-12s %s\n", 'server', 'instructions a request';
printf "%-12s %.1f\n", $_->[0], instructions($_->[1]) for @servers;
