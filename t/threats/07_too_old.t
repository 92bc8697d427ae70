# SPDX-License-Identifier: Apache-2.0
# Threat 7: what was issued before the retention began is 422: nobody can tell any more whether it ran.  Only a node can say when a call was
# issued; the call of a client is as old as its timestamp, whose tolerance is far below the retention.
use strict;
use warnings;
use Client qw(make_id);
use OneServer;
use Test::More;

my $RETENTION = 24 * 3600; # ServicelessRetention, by default
my $epoch = sprintf '%016x', time * 1000 + $$;
my ($number, $age) = (0, $RETENTION + 60);

sub line {
    my ($age, %o) = @_;
    return {id => make_id(), function => 'runlog.note', args => ["\e[31mold"], kwargs => {}, origin => 'two', set => 'all', epoch => $epoch,
            seq => ++$number, issued => (time - $age) * 1000, ttl => 600, %o};
}

# The entries of the log that are calls, without those that tell of missed ones.
sub calls { return join '', grep { !/"outcome":"missed"/ } split /^/, stored() }

settle();
my ($before, $from) = (calls(), length error_log());

subtest 'threat 7: issued before the retention began' => sub {
    my @old = (line($age), line(100 * $age), line($age, issued => 1), line($age, function => 'no.such'));
    for my $line (@old) {
        my $answer = is_counted("issued $line->{issued}", sub { client()->relay('two', [], [$line]) }, reason => 'too-old', hostile => "\e[31m");
        is($answer->{status}, 202, 'the message is acknowledged');
        is($answer->{json}{accepted}, 0, 'the call is not accepted');
        is($answer->{json}{refused}{calls}{$line->{id}}{status}, 422, 'but refused with 422');
        unlike($answer->{body}, qr/[^\x20-\x7e]/, 'in printable words');
    }
    is(calls(), $before, 'the log holds none of them');
    for my $line (@old) {
        is(runs($line->{id}), 0, "$line->{id} did not run");
        is(client()->call('runlog.note', ['after'], id => $line->{id})->{json}{duplicate}, undef, 'and its id is free');
    }
    like(error_log($from), qr/SVL0151: refused: too-old \(422\), id [\w-]+/, 'the log tells the reason');
    unlike(error_log($from), qr/[^\x20-\x7e\n]/, 'and nothing unprintable');
};

# It is forgotten an hour from now: not while another test looks whether the log is unchanged.
subtest 'threat 7: issued inside of the retention' => sub {
    my $young = line($RETENTION - 3600, ttl => 2 * $RETENTION);
    is(client()->relay('two', [], [$young])->{json}{accepted}, 1, 'is accepted');
    settle();
    is(runs($young->{id}), 1, 'and runs');
};

ok(server_lives(), 'the server lives');

done_testing;
