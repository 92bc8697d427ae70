# SPDX-License-Identifier: Apache-2.0
package Bench::Instructions;

# Instructions a call, counted by callgrind in a fleet of two nodes (async, event): the same number however busy the machine is.
#
#   accept     the origin: the handler of a client's call with reply "accepted", its message to the peer included
#   hand on    the origin: what is done about the answer to that
#   receive    the peer: reading the message with the call, over a link or as a request, and answering it
#   run        the peer: reading the call from the log, running it and recording its outcome
#
# Two fleets with different numbers of calls are counted, so that what a process does once is left out.
use strict;
use warnings;
use Fault qw(one_child);
use File::Temp ();
use Fleet;
use Fleet::Edit;

my @CALLS = (50, 250);
my %FUNCTIONS = ( # of which node, added and subtracted
    'accept' => [n1 => '+svl_endpoint_handler'],
    'hand on' => [n1 => '+svl_relay_work', '+svl_relay_work_alarm'],
    'receive' => [n2 => '+svl_endpoint_handler', '+svl_links_serve', '-svl_links_run'],
    'run' => [n2 => '+svl_runs_batch_run'],
);
my ($valgrind) = grep { -x } map { "$_/valgrind" } split /:/, $ENV{PATH};

sub why_not { return $valgrind ? undef : 'valgrind is not installed' }

# Of all functions, for so many calls, one after the other.
sub _count {
    my ($calls) = @_;
    my $scratch = File::Temp::tempdir(CLEANUP => 1);
    chmod 0777, $scratch;
    my $httpd = $ENV{SVL_HTTPD} || '/usr/sbin/apache2';
    my $fleet = Fleet->new(nodes => 2, durability => 'async', directives => "LogLevel warn\nServicelessSyncInterval 1h\n" . one_child());
    my ($n1, $n2) = $fleet->nodes;
    for my $node ($n1, $n2) {
        my $name = $node->name;
        write_file("$scratch/$name", 0755, "#!/bin/sh\nexec '$valgrind' -q --tool=callgrind --callgrind-out-file='$scratch/$name.%p' '$httpd' \"\$@\"\n");
        local $ENV{SVL_HTTPD} = "$scratch/$name";
        $node->launch->wait_listening;
    }
    my $client = $n1->client(timeout => 60);
    for (1 .. $calls) {
        my $answer = $client->call('runlog.note', ['x' x 100], reply => 'accepted');
        $answer->{status} == 202 or die "a call was not accepted\n";
        poll { $fleet->arrived([$answer->{json}{id}], $n2) } 60 or die "n2 did not run call $_\n";
    }
    $client->disconnect;
    $fleet->stop;
    my %total;
    for my $what (keys %FUNCTIONS) {
        my ($name, @functions) = @{$FUNCTIONS{$what}};
        for my $file (glob "$scratch/$name.*") {
            my $text = `callgrind_annotate --inclusive=yes --threshold=100 --show-percs=no '$file' 2>/dev/null`;
            for (@functions) {
                my ($sign, $function) = /^([+-])(.+)/;
                $total{$what} += "${sign}1" * $1 =~ s/,//gr if $text =~ /^\s*([\d,]+)\s+\S*:\Q$function\E\b/m;
            }
        }
        die "callgrind saw nothing of '$what' at $name\n" unless $total{$what};
    }
    return \%total;
}

# Instructions a call: {accept => number, …}.
sub instructions {
    my ($few, $many) = map { _count($_) } @CALLS;
    return {map { $_ => int(($many->{$_} - $few->{$_}) / ($CALLS[1] - $CALLS[0]) + 0.5) } keys %FUNCTIONS};
}

1;
