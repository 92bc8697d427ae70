# SPDX-License-Identifier: Apache-2.0
# Row 22: a signature that does not hold costs the same work whichever byte of it differs, and whichever key or entry it is close to.
#
# Not the time is measured, which a busy machine disturbs, but the instructions of svl_sign_verify in a server that callgrind runs: they are
# counted, so that "the same" means equal.  What sees nothing but the sender's own text may depend on it: the decoding of base64 is left
# out, and the ids and timestamps are alike.  What the processor makes of equal instructions is measured by bench/refusal.pl.
use strict;
use warnings;
use Client qw(sign);
use Fault qw(one_child);
use File::Temp ();
use Fleet;
use Fleet::Edit;
use MIME::Base64 qw(decode_base64 encode_base64);
use Test::More;
use Time::HiRes qw(time);

my ($valgrind) = grep { -x } map { "$_/valgrind" } split /:/, $ENV{PATH};
plan skip_all => 'SKIPPED: valgrind was not found' unless $valgrind;
plan skip_all => 'SKIPPED: callgrind counts no instrumented build' if $ENV{SVL_PRELOAD} || $ENV{SVL_SANITIZER};

my $KEYS = 8;
my $ENTRIES = 8;
my $BYTES = 32;   # of a mac
my $WARM = 5;     # requests until everything is bound and allocated that stays
my $FAR = 'v1,' . encode_base64("\xa5" x $BYTES, '');

my $httpd = $ENV{SVL_HTTPD} || '/usr/sbin/apache2';
my $scratch = File::Temp::tempdir('svl-threat22.XXXXXX', DIR => $ENV{SVL_TEST_TMP} || '/var/tmp', CLEANUP => 1);
chmod 0777, $scratch;
write_file("$scratch/httpd", 0755, "#!/bin/sh\nexec '$valgrind' -q --tool=callgrind --callgrind-out-file='$scratch/out.%p' --compress-strings=no"
    . " --toggle-collect=svl_sign_verify --dump-after=svl_sign_verify '$httpd' \"\$@\"\n");

my $fleet = Fleet->new(nodes => 1, durability => 'async', directives => one_child());
my ($node) = $fleet->nodes;
my @secrets = map { 'whsec_' . encode_base64(join('', map { chr int rand 256 } 1 .. 32), '') } 1 .. $KEYS;
write_file($fleet->{key_file}, 0600, join '', map { "key$_ $secrets[$_ - 1]\n" } 1 .. $KEYS);
{
    local $ENV{SVL_HTTPD} = "$scratch/httpd";
    $node->start;
}
my $client = $node->client(secret => $secrets[0], timeout => 60);
my %seen;
my $number = 0;
my $now = int time; # one timestamp for all: reading its digits may cost more or less

# Callgrind's files since the last look.
sub dumps { return grep { !$seen{$_}++ } glob "$scratch/out.*.*" }

# Instructions of the one call of svl_sign_verify that a file tells of, without those of svl_base64_decode below it.
sub instructions {
    my ($path) = @_;
    open my $file, '<', $path or die "cannot read $path: $!\n";
    my ($total, $decoding, $function, $callee) = (0, 0, '', '');
    while (my $line = <$file>) {
        if ($line =~ /^(c?)fn=(?:\(\d+\) ?)?(\S+)/) {
            ($1 ? $callee : $function) = $2;
        } elsif ($line =~ /^calls=/) {
            my ($cost) = <$file> =~ /^\S+ (\d+)/;
            $decoding += $cost if $callee =~ /^svl_base64_decode\b/;
        } elsif ($line =~ /^(?:totals|summary): (\d+)/) {
            $total = $1;
        }
    }
    return ($total, $decoding);
}

# The header with what is told of its entries: place => [key, byte that differs or undef]; the others are far from everything.
sub signature {
    my ($id, $body, %near) = @_;
    my @entries = ($FAR) x $ENTRIES;
    for my $place (keys %near) {
        my ($key, $byte) = @{$near{$place}};
        my $mac = decode_base64(sign($secrets[$key - 1], $id, $now, $body) =~ s/^v1,//r);
        substr($mac, $byte, 1) ^= "\x40" if defined $byte;
        $entries[$place - 1] = 'v1,' . encode_base64($mac, '');
    }
    return join ' ', @entries;
}

# One request; returns the instructions of its verification.
sub measured {
    my ($status, %near) = @_;
    my ($id, $body) = (sprintf('threat22-%031d', ++$number), '{"function":"example.echo"}'); # as long, and of like characters
    my $answer = $client->post($body, id => $id, timestamp => $now, signature => signature($id, $body, %near));
    my @files = dumps();
    die "status $answer->{status}\n" if $answer->{status} != $status;
    die scalar(@files) . " dumps of one request\n" if @files != 1;
    my ($total, $decoding) = instructions($files[0]);
    return $total - $decoding;
}

# A test: all of these take equally many.
sub same {
    my ($name, $status, @classes) = @_;
    my %of;
    push @{$of{measured($status, %$_)}}, $_ for @classes;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    is(scalar keys %of, 1, "$name: " . @classes . ' requests, ' . join(' and ', sort keys %of) . ' instructions each');
    return (sort keys %of)[0];
}

subtest 'threat 22: what is refused' => sub {
    measured(401) for 1 .. $WARM;
    my @counts = (same('whichever byte differs', 401, map { {1 => [1, $_]} } 0 .. $BYTES - 1),
                  same('whichever key it is close to', 401, map { {1 => [$_, 31]} } 1 .. $KEYS),
                  same('whichever entry is close', 401, map { {$_ => [1, 31]} } 1 .. $ENTRIES),
                  same('how many are close', 401, {}, {map { $_ => [$_, 0] } 1 .. $KEYS}, {map { $_ => [1, 31] } 1 .. $ENTRIES}));
    is_deeply([grep { $_ != $counts[0] } @counts], [], 'and all of these alike');
    cmp_ok($counts[0], '>', 8 * 1000, 'that is the work of eight keys');
};

subtest 'threat 22: what is accepted' => sub {
    measured(200, 1 => [1]) for 1 .. $WARM;
    same('whichever key and entry it is', 200, map { {$_->[0] => [$_->[1]]} } [1, 1], [1, 8], [8, 1], [8, 8], [4, 5]);
};

done_testing;
