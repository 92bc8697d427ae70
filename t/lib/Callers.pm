# SPDX-License-Identifier: Apache-2.0
package Callers;

# Calls that are made while something happens to the servers.
#
#   my $answer = until_answered($node, $node->client->call_body('runlog.note', [1]), id => $id);
#   my @ids = under_load($fleet, sub { $node->graceful });
#   my @ids = under_load($fleet, sub { … }, each => sub { my ($client, $number) = @_; $client->{secret} = …; return 'a word' });
use strict;
use warnings;
use Client qw(make_id);
use Exporter qw(import);
use Fleet::Edit qw(write_file);
use Poll;
use POSIX ();
use Test::More;
use Time::HiRes qw(time);

our @EXPORT = qw(under_load until_answered);

my $CALLERS = 4;     # processes that call at the same time
my $CALLS = 20_000;  # of one caller, at most
my $PAUSE = 0.002;   # seconds between two calls of one caller
my $RETRIES = 20;    # of one call whose connection ends without an answer
my $PATIENCE = 20;   # seconds that until_answered goes on

# As a client does that wants its call accepted: sends the same id until it is answered, however often the server dies meanwhile.
sub until_answered {
    my ($node, $body, %o) = @_;
    my $answer;
    poll {
        my $client = $node->client(timeout => 5);
        $answer = $client->post($body, %o);
        $client->disconnect;
        return $answer->{status};
    } $PATIENCE;
    return $answer;
}

# One caller: calls a node after the other until the file $flag is gone.  A connection that ends without an answer is no failure: the
# same id is sent again.  Writes to $path a line each: accepted ID, retried WORDS, failed WORDS.
sub _keep_calling {
    my ($fleet, $number, $flag, $path, %o) = @_;
    my @clients = map { $_->client } $fleet->nodes;
    my $parent = getppid;
    my $text = '';
    for my $count (1 .. $CALLS) {
        last unless -e $flag && getppid == $parent;
        my $client = $clients[($count + $number) % @clients];
        my $id = make_id();
        my @word = $o{each} ? $o{each}->($client, $number) : ();
        my $message = $client->message($client->call_body('runlog.note', [$number, $count, @word]), id => $id);
        my $end = "failed $id: too many retries";
        for (1 .. $RETRIES) {
            my $answer = $client->exchange($message, id => $id);
            $end = $answer->{status} == 200 && $answer->{signed} ? "accepted $id"
                : "failed $id: " . ($answer->{status} ? "$answer->{status} $answer->{body}" : $answer->{error});
            last if $end !~ /closed without an answer/;
            $text .= "retried $id\n";
        }
        $text .= "$end\n";
        $client->disconnect unless $count % ($o{each_connection} // 20);
        select undef, undef, undef, $o{pause} // $PAUSE;
    }
    write_file($path, 0600, $text);
    return;
}

# Runs $work while several callers call all nodes, with as many calls a connection as $o{each_connection} says (20), and $o{pause}
# seconds between two of a caller.  $o{each} is called before each call with its client and the caller's number, from 1; what it returns
# is the call's third argument.  No request may fail.  Returns the ids that were accepted.
sub under_load {
    my ($fleet, $work, %o) = @_;
    my $flag = "$fleet->{directory}/load";
    my %path;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    write_file($flag, 0600, '');
    for my $number (1 .. $CALLERS) {
        my $path = "$flag.$number";
        my $child = fork // die "cannot fork: $!";
        if (!$child) {
            eval { _keep_calling($fleet, $number, $flag, $path, %o); 1 }
                or write_file($path, 0600, "failed: $@\n");
            POSIX::_exit(0);
        }
        $path{$child} = $path;
    }
    my $done = eval { $work->(); 1 };
    my $error = $@;
    unlink $flag;
    waitpid $_, 0 for keys %path;
    die $error unless $done;
    my %lines;
    for my $path (values %path) {
        open my $file, '<', $path or die "a caller wrote nothing: $!";
        while (<$file>) {
            chomp;
            push @{$lines{$1}}, $2 if /^(\w+):? (.*)/;
        }
    }
    my @accepted = @{$lines{accepted} // []};
    is_deeply([@{$lines{failed} // []}], [], 'no request failed');
    note(sprintf '%s: %d calls were accepted, %d connections ended without an answer', $fleet->{mpm}, scalar @accepted,
         scalar @{$lines{retried} // []});
    return @accepted;
}

1;
