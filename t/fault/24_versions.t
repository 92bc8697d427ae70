# SPDX-License-Identifier: Apache-2.0
# MPMs: event
# Row 24: nodes of two versions, one with unknown members in all that it says: call lines are passed on untouched, byte for byte, through
# relay and through sync; unknown members of relay lines, sync lines and acknowledgements disturb nothing.
use strict;
use warnings;
use Client qw(json make_id);
use Fault;
use Fleet;
use JSON::PP ();
use Played;
use Test::More;
use Time::HiRes qw(time);

my $TYPE = 'application/x-ndjson';
my $WRONG = '0' x 64; # a digest that no vector has
my $FUTURE = '"later":{"b":[1,{"a":null}],"a":"\u00e4"}';
my $epochs = 0;

sub stream { return sprintf 'n3/all/%016x', int(time * 1000) * 1000 + ++$epochs }

# Lines as another writer of JSON would write them: another order of members, spaces, escapes, numbers; members that are not known.
sub lines {
    my ($stream, $count) = @_;
    my (undef, undef, $epoch) = split m{/}, $stream;
    return map {
        my ($id, $issued) = (make_id(), int(time * 1000));
        my @members = (qq("function":"runlog.note"), qq("args": [1.0, 1e2, -0, "\\u0061\\/", "\xc3\xa4", {"z":1,"a":2}]), qq("kwargs" :{}),
                       qq("origin":"n3"), qq("set":"all"), qq("epoch":"$epoch"), qq("seq":$_), qq("issued":$issued), qq("ttl":600), qq("id":"$id"),
                       $FUTURE, qq("x$_":$_.50));
        push @members, splice @members, 0, $_ % @members;
        '{' . join(', ', @members) . '}';
    } 1 .. $count;
}

sub ids_of { return map { /"id":"([^"]+)"/ } @_ }

# What a node gives who lacks everything.
sub given {
    my ($node) = @_;
    my $answer = $node->post(qq({"sync":{"from":"n3",$FUTURE,"digest":"$WRONG","vector":{}},$FUTURE}\n), type => $TYPE);
    my (undef, @lines) = split /\n/, $answer->{body};
    return $answer->{status} == 200 ? @lines : ();
}

sub same {
    my ($got, $expected, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return is_deeply([sort @$got], [sort @$expected], $name);
}

my $count = amount(50, 2000);

subtest 'relay' => sub {
    my $fleet = Fleet->new(nodes => 3, directives => "ServicelessSyncInterval 0\n");
    my ($n1, $n2) = $fleet->nodes;
    $_->launch for $n1, $n2;
    $_->wait_listening for $n1, $n2;
    my $played = Played->new(name => 'n3', port => $fleet->node('n3')->port, secret => $fleet->{secret});
    $played->answer_with(sub {
        my ($request) = @_;
        my $calls = () = $request->{body} =~ /"seq"/g;
        return $played->acknowledgement($request, body => qq({"from":"n3","accepted":$calls,"duplicates":0,$FUTURE,"refused":{$FUTURE}}));
    });
    my $stream = stream();
    my @lines = lines($stream, $count);
    my $relay = qq({"relay":{"from":"n3",$FUTURE,"route":["n2","n3"],"arity":1},$FUTURE}\n);
    my $answer = $n1->post($relay . join('', map { "$_\n" } @lines), type => $TYPE);
    is_deeply([$answer->{status}, $answer->{json}{accepted}], [202, $count], 'a newer node relays') or diag($answer->{body});
    my @came;
    $played->serve(15, sub { @came = grep { !/^\{"relay"/ } map { split /\n/, $_->{body} } @{$played->{requests}}; return @came >= $count });
    same(\@came, \@lines, 'by way of both nodes all lines come to the third as they were');
    invariant($fleet, [ids_of(@lines)], 'and ran on both', back => [$n1, $n2]);
    eventually { my ($n3) = grep { $_->{name} eq 'n3' } @{$n2->status->{members}}; $n3->{up} && $n3->{relays}{ok} } 5,
        'acknowledgements with more members count';
};

subtest 'sync' => sub {
    my $fleet = Fleet->new(nodes => 3, directives => "ServicelessSyncInterval 1s\nServicelessConnectTimeout 1s\n");
    my ($n1, $n2) = $fleet->nodes;
    my $stream = stream();
    my @lines = lines($stream, $count);
    my $played = Played->new(name => 'n3', port => $fleet->node('n3')->port, secret => $fleet->{secret});
    $played->answer_with(sub {
        my ($request) = @_;
        return $played->acknowledgement($request) if $request->{body} !~ /^\{"sync"/;
        my $sync = JSON::PP::decode_json($request->{body} =~ s/\n.*//sr)->{sync};
        return $played->acknowledgement($request, status => '503 Busy', body => '') if $sync->{from} ne 'n1'; # n2 has them of n1
        return $played->acknowledgement($request, status => '204 No Content', body => '') if $sync->{done};
        my $lacks = $sync->{vector} && !$sync->{vector}{$stream};
        my $vector = json({$stream => [$count, []]});
        return $played->acknowledgement($request, status => '200 OK', body => join "\n",
            qq({"sync":{"from":"n3","digest":"$WRONG",$FUTURE,"vector":$vector,"pruned":{}},$FUTURE}), ($lacks ? @lines : ()), '');
    });
    $_->launch for $n1, $n2;
    $_->wait_listening for $n1, $n2;
    my @ids = ids_of(@lines);
    my $end = time + 30;
    until ($fleet->arrived(\@ids, $n1, $n2) || time > $end) {
        $played->serve(0.1, sub { 1 });
    }
    invariant($fleet, \@ids, 'a newer node has calls: both others have and run them', back => [$n1, $n2]);
    # one transfer at a time: n1 may be busy with n2
    for my $node ($n1, $n2) {
        my @given;
        eventually { (@given = given($node)) >= $count } 10, 'calls that are no longer young are given by ' . $node->name;
        same(\@given, \@lines, 'as they were');
    }
};

done_testing;
