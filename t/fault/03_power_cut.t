# SPDX-License-Identifier: Apache-2.0
# MPMs: event prefork
# Row 3: a power cut.  The whole server is killed and the log's file and its journal replaced by what the kernel had been made to put on the
# disk, with a part of the pages that it had not (power_cut.c keeps the former).
# With fsync every answered call is there afterwards, runs beyond the first are flagged, and no number of a stream is given twice.  With
# async the file is set aside unread, a new epoch begins, and peers refill what had reached them.
use strict;
use warnings;
use Callers;
use Client qw(make_id);
use Fault;
use Fleet::Edit qw(write_file);
use Fleet;
use Test::More;

my $PAGE = 4096;
my $ALL = 100_000;                     # more calls than a log of these has
my $AT_ONCE = 16;                      # calls under way when the power is cut
my $OTHER_BOOT = 'f' x 36 . "\n";      # in the mark of a log without fsync: no boot id of this machine
my @directives = (directives => 'ServicelessSyncInterval 1s', mode => 'broadcast');

sub slurp {
    my ($path) = @_;
    open my $file, '<:raw', $path or die "cannot read $path: $!";
    local $/;
    return <$file>;
}

# What is on the disk of a file: the synced pages (with async there may be none), and of the others those that chance wants.  Returns how
# many differed, and how many of them came.
sub cut_file {
    my ($path, $odds) = @_;
    my ($now, $disk) = (slurp($path), -e "$path.synced" ? slurp("$path.synced") : '');
    my ($differ, $came) = (0, 0);
    for (my $at = 0; $at < length $now; $at += $PAGE) {
        my $page = substr $now, $at, $PAGE;
        next if $at < length $disk && $page eq substr $disk, $at, $PAGE;
        $differ++;
        next if chance(4) >= $odds - 1;
        $came++;
        $disk .= "\0" x ($at - length $disk) if $at > length $disk;
        substr $disk, $at, $at < length $disk ? $PAGE : 0, $page;
    }
    open my $file, '+<:raw', $path or die "cannot write $path: $!";
    print $file $disk;
    truncate $file, length $disk;
    close $file or die "cannot write $path: $!";
    return ($differ, $came);
}

# Of both.  What `running` says is of the boot that the power cut ended.
sub cut {
    my ($node) = @_;
    my $odds = 1 + chance(4);
    my @pages = (0, 0);
    for my $path (grep { -e } map { $node->state_directory . "/$_" } qw(data.mdb journal)) {
        my @more = cut_file($path, $odds);
        $pages[$_] += $more[$_] for 0, 1;
    }
    unlink $node->state_directory . '/running';
    return @pages;
}

# Calls $node until the power is cut: returns those that were answered with their outcome, those that were accepted, and the others.
sub calls_until_cut {
    my ($node) = @_;
    my @calls = map {
        my $client = $node->client(timeout => 5);
        [$client, make_id(), $client->call_body('runlog.note', [$_], reply => $_ % 2 ? 'local' : 'accepted')]
    } 1 .. $AT_ONCE;
    $_->[0]->begin($_->[0]->message($_->[2], id => $_->[1]), id => $_->[1]) for @calls;
    my @answers = map { $_->[0]->finish } @calls[0 .. chance($AT_ONCE)];
    $node->kill9;
    push @answers, map { $_->[0]->finish } @calls[@answers .. $#calls]; # what reached the kernel in time
    my %ids;
    for my $i (0 .. $#calls) {
        push @{$ids{$answers[$i]{status}}}, $calls[$i][1];
    }
    return map { $ids{$_} // [] } 200, 202, 0;
}

# What a node's log has: {stream and number => id}; the second id of a number that has two is told.
sub numbers_are_once {
    my ($fleet) = @_;
    my (%id_of, %epochs, @twice);
    for my $node ($fleet->nodes) {
        my (undef, $log) = $fleet->command($node, 'log', '--json', '-n', $ALL, $node->state_directory);
        while ($log =~ /"id":"([^"]+)".*?"origin":"(\w+)".*?"epoch":"([0-9a-f]{16})","seq":(\d+)/g) {
            my ($id, $number) = ($1, "$2 $3 $4");
            $epochs{$2}{$3} = 1;
            push @twice, "$number: $id and $id_of{$number}" if ($id_of{$number} //= $id) ne $id;
        }
    }
    cmp_ok(scalar keys %id_of, '>', 0, 'the logs have numbered calls');
    is_deeply(\@twice, [], 'no number of a stream was given twice');
    return {map { $_ => scalar keys %{$epochs{$_}} } keys %epochs};
}

subtest 'fsync: what was answered is there after a power cut' => sub {
    my $fleet = Fleet->new(nodes => 2, preload => 'power_cut', @directives)->start;
    my ($node, $other) = $fleet->nodes;
    my (@with_outcome, @accepted, @silent, $differed, $came);
    for my $round (1 .. amount(4, 60)) {
        my @calls = calls_until_cut($node);
        push @with_outcome, @{$calls[0]};
        push @accepted, @{$calls[1]};
        push @silent, @{$calls[2]};
        my @pages = cut($node);
        $differed += $pages[0];
        $came += $pages[1];
        $node->start;
    }
    invariant($fleet, [@with_outcome, @accepted], 'each answered call ran once on each node, or again where its run was flagged',
              flagged => 1);
    is_deeply([grep { $node->runs($_) != 1 } @with_outcome], [], 'what was answered with its outcome ran once where the power was cut');
    # What was not answered may be there or not, but it is the same for all nodes.
    my @there = grep { $node->runs($_) || $other->runs($_) } @silent;
    invariant($fleet, \@there, 'and so did those that were accepted without an answer', flagged => 1) if @there;
    numbers_are_once($fleet);
    unlike($node->error_log, qr/SVL0210|SVL0211/, 'no log was set aside');
    note(sprintf '%d calls answered with their outcome, %d accepted, %d without an answer, of which %d are there; %d pages were not synced, '
         . '%d of them came', scalar @with_outcome, scalar @accepted, scalar @silent, scalar @there, $differed, $came);
};

subtest 'async: the log is set aside unread, and peers refill it' => sub {
    my $fleet = Fleet->new(nodes => 2, durability => 'async', preload => 'power_cut', @directives)->start;
    my ($node, $other) = $fleet->nodes;
    my $rounds = amount(2, 20);
    my (@ids, @late, %lost);
    for my $round (1 .. $rounds) {
        my @before = map { $_->call('runlog.note', [$round])->{json}{id} } ($node, $other) x 5;
        invariant($fleet, \@before, "round $round: calls ran", crashed => 1);
        push @ids, @before;
        $lost{$_} = {$node->name => $rounds - $round + 1} for @before;
        push @late, map { @$_ } calls_until_cut($node);
        cut($node);
        write_file($node->state_directory . '/boot', 0600, $OTHER_BOOT);
        $node->start;
        is(scalar(() = $node->error_log =~ /SVL0210/g), $round, 'the log says that it was set aside');
        my ($id) = map { $_->call('runlog.note', ['after'])->{json}{id} } $node;
        push @ids, $id;
        $lost{$id} = {$node->name => $rounds - $round};
    }
    my $held = sub {
        my (undef, $log) = $fleet->command($node, 'log', '--json', '-n', $ALL, $node->state_directory);
        return !grep { $log !~ /"id":"\Q$_\E"/ } @ids;
    };
    eventually { $held->() } 20, 'what had reached a peer is in the new log';
    invariant($fleet, \@ids, 'each ran on each node, and again, flagged, with each new log', lost => \%lost, flagged => 1);
    is_deeply([grep { $other->runs($_) != 1 } @ids], [], 'once where nothing was lost');
    my @there = grep { $other->runs($_) } @late;
    is_deeply([grep { $other->runs($_) != 1 } @there], [], 'as did those under way that had reached it');
    eventually { !grep { !$node->runs($_) } @there } 20, 'which the node has, too';
    my $epochs = numbers_are_once($fleet);
    cmp_ok($epochs->{$node->name}, '>=', $rounds + 1, 'each time its stream began a new epoch');
};

done_testing;
