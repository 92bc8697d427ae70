# SPDX-License-Identifier: Apache-2.0
# MPMs: event prefork
# Row 4: the disk is full before the log is; then there is room again.
use strict;
use warnings;
use Mounts;
use SmallDisk;
use Client qw(make_id);
use Fault;
use Fleet;
use Test::More;

my $ROOM = 9;               # MiB that the log finds at first, of which 4 are its journal; ServicelessStoreSize is 64
my $MORE = 2;               # MiB that are given back at a time
my $ROUNDS = amount(2, 8);
my $ARGUMENT = 'x' x 8000;
my $MOST = 2000;            # calls that must fill $ROOM
my $PATIENCE = 1.5;         # seconds of refusals after which the disk is full: what waits is committed once a second
my $LAST = 3000;            # small calls that must fill the last pages, and then the journal
my $HEALED = 5;             # seconds until calls are taken again
my $CROWD = 40;             # connections at the same time: more than the children of the start can serve
my $FEW = 10;               # of them that may find a page that has become free
my $BORN = 15;              # seconds until prefork has made as many children

my $disk = SmallDisk->new($ROOM + $MORE * $ROUNDS + 1);
note($disk->durable ? 'ext4, with fsync' : 'SKIPPED in part: no loop device, so tmpfs, without fsync');
$disk->reserve($MORE * $ROUNDS);
my $fleet = Fleet->new(nodes => 3, mode => 'broadcast', durability => $disk->durable ? 'fsync' : 'async',
                       directives => "ServicelessSyncInterval 1s\n",
                       each => {n1 => 'ServicelessStateDir "' . $disk->path . "/state\"\n"})->start;
my ($n1, $n2, $n3) = $fleet->nodes;
my (@ids, @unsure, %cut);

# Calls until it refuses and goes on refusing, then small calls until it refuses these as well.  Returns the last answer and the ids whose
# outcomes may have found no room: if their process ends before there is some, they run again.
sub fill {
    my $client = $n1->client;
    my ($answer, @late);
    for my $argument (($ARGUMENT) x $MOST, ('small') x $LAST) {
        next if @late && $argument eq $ARGUMENT;
        my $id = make_id();
        my $took = poll {
            $answer = $client->call('runlog.note', [$argument], id => $id);
            return $answer->{status} != 503;
        } ($argument eq $ARGUMENT ? $PATIENCE : 0);
        push @{$took ? \@ids : \@unsure}, $id;
        push @late, @ids[-3 .. -1] if !$took && !@late;
        push @late, $id if $took && @late;
        last if !$took && $argument ne $ARGUMENT;
    }
    return ($answer, @late);
}

# A call on each of many connections at once, by ids that are new or known.  With prefork each has a child of its own if there is time.
# Returns {status => [ids]}.
sub crowd {
    my ($births, @known) = @_;
    my @clients = map { $n1->client } 1 .. $CROWD;
    my %answered;
    $_->begin("\r\n") for @clients; # httpd skips an empty line
    poll { my @children = $n1->children; @children >= $CROWD } $BORN if $births && $fleet->{mpm} eq 'prefork';
    my $body = $clients[0]->call_body('runlog.note', [$ARGUMENT]);
    for my $i (0 .. $#clients) {
        my $id = $known[$i] //= make_id();
        $clients[$i]->begin($clients[$i]->message($body, id => $id), id => $id);
    }
    push @{$answered{$clients[$_]->finish->{status}}}, $known[$_] for 0 .. $#clients;
    return \%answered;
}

for my $round (1 .. $ROUNDS) {
    my @before = @ids;
    my ($answer, @late) = fill();
    my @known = @ids[scalar(@before) .. $#ids - @late];
    note(scalar(@ids) . ' calls accepted so far');
    is($answer->{status}, 503, "round $round: when the disk is full it refuses");
    like($answer->{headers}{'retry-after'} // '', qr/^[1-9]\d*$/, 'and says when to try again');
    ok($answer->{signed}, 'signed');
    $n1->graceful if $round == $ROUNDS; # all children are new ones
    my $answered = crowd($round == $ROUNDS && is_long());
    cmp_ok(@{$answered->{503} // []}, '>=', $CROWD - $FEW,
           "$CROWD at once are refused likewise" . ($round == $ROUNDS ? ', by children born meanwhile' : ''));
    is_deeply([grep { $_ != 503 && $_ != 200 } keys %$answered], [], 'and no other way');
    push @ids, @{$answered->{200} // []}; # while they came, some pages may have become free
    push @late, @{$answered->{200} // []};
    $cut{$_}{n1} = 1 for $round == $ROUNDS || $fleet->{mpm} eq 'prefork' ? @late : (); # prefork ends idle children
    my @during = map { $n2->call('runlog.note', ['meanwhile'])->{json}{id} } 1 .. 5;
    eventually { $fleet->arrived(\@during, $n2, $n3) } 10, 'the others go on';
    $disk->release($MORE);
    eventually { $n1->call('runlog.note', ['room'], id => make_id())->{status} == 200 } $HEALED, 'with room again it takes calls';
    eventually { @{crowd(0, @known[0 .. $CROWD - 1])->{200} // []} == $CROWD } $HEALED, 'every child does';
    push @ids, @during;
}
invariant($fleet, \@ids, 'all that was accepted ran once on each node', crashed => \%cut);
is_deeply([grep { my $id = $_; grep { $_->runs($id) > 1 } $fleet->nodes } @unsure], [], 'nothing that was refused ran twice');
like($n1->error_log, qr/SVL0200: the log \S+ cannot be written: .*No space left/, 'the log says why');
like($n1->error_log, qr/SVL0201: /, 'and that it is over');

done_testing;
