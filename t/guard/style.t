# SPDX-License-Identifier: Apache-2.0
# What a reader may rely on in every file.
use strict;
use warnings;
use Sources;
use Test::More;

my $LINES = 400;
my @forbidden = map { join '', @$_ } [qw(TO DO)], [qw(FIX ME)], [qw(X XX)], [qw(HA CK)];
my $forbidden = join '|', @forbidden;

my @code = sources(qr{\.(?:[ch]|p[lm]|PL|t|sh|m4|in|ac|am|supp|conf|py|php|mjs)$|^quickstart$|^\.ci/});
my @c = grep { /\.[ch]$/ } @code;
cmp_ok(scalar @code, '>', 30, 'there are sources to look at');

is_deeply([grep { !m{^conf/} && !(grep { /SPDX-License-Identifier: Apache-2\.0/ } (split /\n/, text($_))[0 .. 1]) } @code], [],
          'the first line (after #!) names the licence');
is_deeply([grep { text($_) =~ tr/\n// > $LINES } @code], [], "no file has more than $LINES lines");
is_deeply([grep { text($_) =~ /\t/ } @c], [], 'no tabs in C');
is_deeply([grep { text($_) =~ /[ \t]$/m } @code], [], 'no line ends in a blank');
is_deeply([grep { text($_) !~ /\n\z/ } @code], [], 'every file ends with a newline');
is_deeply([grep { text($_) =~ /\r/ } @code], [], 'no carriage returns');
is_deeply([grep { text($_) =~ /\b(?:$forbidden)\b/ } sources(qr/./)], [], 'nothing is left to be done');
is_deeply([grep { code($_) =~ /\b(?:strcpy|strcat|sprintf|vsprintf|gets|strtok)\s*\(/ } @c], [], 'no function without a bound');

# Tests wait for a condition (Poll), never for a time.
is_deeply([grep { m{^t/} && text($_) =~ /^[^#\n]*\b(?:(?:u?sleep|apr_sleep)[ (]+[\d.]+\b|select[ (]+undef, undef, undef, [\d.])/m } @code], [],
          'no test sleeps');
is_deeply([grep { m{^(?:t/|quickstart|\.ci)} && !/style\.t$/ && text($_) =~ /\b(?:pkill|killall)\b/ } @code], [],
          'processes are ended by their own ids');

done_testing;
