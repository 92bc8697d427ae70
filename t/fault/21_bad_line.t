# SPDX-License-Identifier: Apache-2.0
# MPMs: event prefork
# Row 21: one bad line among 256, in relay and in sync: that line is refused and counted, the rest is delivered, the stream goes on.
use strict;
use warnings;
use Client qw(json make_id);
use Fault;
use Fleet;
use JSON::PP ();
use List::Util qw(sum0);
use Played;
use Test::More;
use Time::HiRes qw(time);

my $LINES = 256;
my $MORE = 20; # lines after them

# n3 is played by this test; the set west lacks n1.
my $fleet = Fleet->new(nodes => 3, directives => "ServicelessNodeSet west n2 n3\nServicelessSyncInterval 1s\nServicelessConnectTimeout 1s\n");
my ($n1, $n2) = $fleet->nodes;
$_->launch for $n1, $n2;
$_->wait_listening for $n1, $n2;

my $epochs = 0;
sub stream { return sprintf 'n3/all/%016x', int(time * 1000) * 1000 + ++$epochs }

sub line {
    my ($stream, $seq, %o) = @_;
    my ($origin, $set, $epoch) = split m{/}, $stream;
    return json({id => make_id(), function => 'runlog.note', args => [$seq], kwargs => {}, origin => $origin, set => $set,
                 epoch => $epoch, seq => $seq, issued => int(time * 1000), ttl => 600, %o});
}

sub id_of { return $_[0] =~ /"id":"([^"]+)"/ ? $1 : undef }

# What can be wrong: the line at a number of a stream, given the line before it; the status it is refused with; whether its number is
# covered all the same; whether it is a good one elsewhere.
my @kinds = map { my %kind; @kind{qw(words line status covered elsewhere)} = @$_; \%kind } (
    ['garbage', sub { 'garbage' }, 400, 0],
    ['a line cut short', sub { substr line(@_[0, 1]), 0, 100 }, 400, 0],
    ['no UTF-8', sub { line(@_[0, 1], args => ['X']) =~ s/X/\xff/r }, 400, 0],
    ['a key twice', sub { line(@_[0, 1]) =~ s/"ttl"/"seq":1,"ttl"/r }, 400, 0],
    ['an integer beyond 63 bits', sub { line(@_[0, 1]) =~ s/"args":\[/"args":[9223372036854775808,/r }, 400, 0],
    ['an id of another grammar', sub { line(@_[0, 1], id => 'a.b') }, 400, 0],
    ['no function', sub { line(@_[0, 1]) =~ s/"function":"[^"]+",//r }, 400, 1],
    ['args that are no array', sub { line(@_[0, 1], args => 'x') }, 400, 1],
    ['a call of long ago', sub { line(@_[0, 1], issued => int((time - 2 * 86400) * 1000)) }, 422, 1],
    ['an id that another call has', sub { line(@_[0, 1], id => id_of($_[2]), args => ['other']) }, 409, 1],
    ['a number that another call has', sub { line($_[0], $_[1] - 1) }, 409, 0],
    ['a set without the node', sub { line($_[0] =~ s{/all/}{/west/}r, $_[1]) }, 409, 0, 1],
);

# The lines of a new stream, one of them bad, at a place by chance: {stream, kind, at, lines, good (ids), nowhere (ids that must not run)}.
sub spoilt {
    my ($kind) = @_;
    my ($stream, $at) = (stream(), 2 + chance($LINES - 2));
    my @lines = map { line($stream, $_) } 1 .. $LINES;
    my $earlier = $lines[$at - 2];
    $lines[$at - 1] = $kind->{line}->($stream, $at, $earlier);
    my $id = id_of($lines[$at - 1]);
    return {stream => $stream, kind => $kind, at => $at, lines => \@lines,
            good => [map { id_of($_) } @lines[grep { $_ != $at - 1 } 0 .. $#lines]],
            nowhere => [grep { defined $_ && $_ ne id_of($earlier) && !$kind->{elsewhere} } $id]};
}

# Further lines, and a good one of the bad one's number where that is open.
sub more {
    my ($of) = @_;
    return map { line($of->{stream}, $_) } ($of->{kind}{covered} ? () : $of->{at}), $LINES + 1 .. $LINES + $MORE;
}

sub rejected { return sum0 values %{$_[0]->status->{rejected}} }

for my $of (map { spoilt($_) } @kinds) {
    my ($words, $status) = @{$of->{kind}}{qw(words status)};
    my $before = rejected($n1);
    my $ack = $n1->relay('n3', ['n2'], $of->{lines})->{json};
    is_deeply([$ack->{accepted}, map { $_->{status} } values %{$ack->{refused}{calls} // {}}], [$LINES - 1, $status],
              "relay, $words: refused with $status, and no other") or diag(json($ack));
    is(rejected($n1) - $before, 1, 'and counted');
    my @more = more($of);
    is($n1->relay('n3', ['n2'], \@more)->{json}{accepted}, @more, 'the stream goes on');
    invariant($fleet, [@{$of->{good}}, map { id_of($_) } @more], 'all but the bad line ran there, and on the node that it is relayed to',
              back => [$n1, $n2], quiet => 0.05, refused => $of->{nowhere});
}

# n3 holds a stream of each kind, and tells whoever asks; it never mends a line whose number is covered.
my @held = map { spoilt($_) } @kinds;
my %asked; # node to the vector that it told last

sub covers {
    my ($name, $of, $seq) = @_;
    my $numbers = $asked{$name}{$of->{stream}} // [0, []];
    return $seq <= $numbers->[0] || grep { $seq >= $_->[0] && $seq <= $_->[1] } @{$numbers->[1]};
}

my $played = Played->new(name => 'n3', port => $fleet->node('n3')->port, secret => $fleet->{secret});
$played->answer_with(sub {
    my ($request) = @_;
    return $played->acknowledgement($request) if $request->{body} !~ /^\{"sync"/;
    my $sync = JSON::PP::decode_json($request->{body} =~ s/\n.*//sr)->{sync};
    return $played->acknowledgement($request, status => '204 No Content', body => '') if $sync->{done};
    $asked{$sync->{from}} = $sync->{vector} if $sync->{vector};
    my $body = json({sync => {from => 'n3', digest => '0' x 64, vector => {map { $_->{stream} => [scalar @{$_->{lines}}, []] } @held}}}) . "\n";
    for my $of ($sync->{vector} ? @held : ()) {
        $body .= "$of->{lines}[$_ - 1]\n" for grep { !covers($sync->{from}, $of, $_) } 1 .. @{$of->{lines}};
    }
    return $played->acknowledgement($request, status => '200 OK', body => $body);
});

sub serve_until {
    my ($enough) = @_;
    my $end = time + 30;
    until ($enough->()) {
        return 0 if time > $end;
        $played->serve(0.1, sub { 1 });
    }
    return 1;
}

# True when both nodes have told the bad line's number as one that they have.
sub is_told {
    my ($of) = @_;
    return covers('n1', $of, $of->{at}) && covers('n2', $of, $of->{at});
}

sub all_good { return map { @{$_->{good}} } @held }

my %before = map { $_->name => rejected($_) } $n1, $n2;
ok(serve_until(sub { $fleet->arrived([all_good()], $n1, $n2) && !grep { $_->{kind}{covered} && !is_told($_) } @held }),
   'sync: all but the bad lines come, and the numbers that can be covered are');
cmp_ok(rejected($_) - $before{$_->name}, '>=', @kinds - ($_ == $n2), 'the others were counted by ' . $_->name) for $n1, $n2;
for my $of (@held) {
    invariant($fleet, $of->{good}, "sync, $of->{kind}{words}: the others ran", back => [$n1, $n2], quiet => 0.02, refused => $of->{nowhere});
    ok(!covers('n1', $of, $of->{at}), 'its number is asked for again') unless $of->{kind}{covered};
    my @more = more($of);
    $of->{good} = [map { id_of($_) } @more];
    $of->{lines}[$of->{at} - 1] = shift @more unless $of->{kind}{covered};
    push @{$of->{lines}}, @more;
}
ok(serve_until(sub { $fleet->arrived([all_good()], $n1, $n2) }), 'the streams go on, and good lines of the open numbers come');
invariant($fleet, [all_good()], 'once', back => [$n1, $n2]);

done_testing;
