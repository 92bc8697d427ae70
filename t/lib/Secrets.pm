# SPDX-License-Identifier: Apache-2.0
package Secrets;

# Looks for keys where none may be: in files, as the text that a key file holds, and as its bytes, raw or in hex.
#
#   my @secrets = Secrets::of_files("$directory/keys");
#   my @found = Secrets::shown(\@secrets, glob "$directory/*.log");      # ("…/error.log: the text of a secret", …)
use strict;
use warnings;
use MIME::Base64 qw(decode_base64);

my $CHUNK = 1 << 20; # bytes that are looked at at a time
my $OVERLAP = 256;   # more than any form of a secret has

# The whsec_… of key files.
sub of_files {
    my %seen;
    for my $path (@_) {
        open my $file, '<:raw', $path or next;
        local $/;
        $seen{$_}++ for (<$file> // '') =~ m{(whsec_[A-Za-z0-9+/]{32,}=*)}g;
    }
    return sort keys %seen;
}

# What of a secret shows it: (name => pattern, …).  Its text without the padding, which a reader could guess.
sub _forms {
    my ($secret) = @_;
    my ($text) = $secret =~ /^(?:whsec_)?([^=]+)/;
    my $bytes = decode_base64($secret =~ s/^whsec_//r);
    my $hex = unpack 'H*', $bytes;
    my $escaped = $text =~ s{([+/])}{sprintf '%%%02X', ord $1}ger;
    return ('the text of a secret' => qr/\Q$text\E/, 'a secret, escaped for a URL' => qr/\Q$escaped\E/i,
            'the bytes of a secret' => qr/\Q$bytes\E/, 'the bytes of a secret in hex' => qr/$hex/i);
}

sub shown {
    my ($secrets, @paths) = @_;
    my %pattern;
    for my $secret (@$secrets) {
        my %form = _forms($secret);
        push @{$pattern{$_}}, $form{$_} for keys %form;
    }
    my @found;
    for my $path (@paths) {
        open my $file, '<:raw', $path or next;
        my ($text, %here) = ('');
        while (read $file, $text, $CHUNK, length $text) {
            for my $form (keys %pattern) {
                $here{$form} ||= grep { $text =~ $_ } @{$pattern{$form}};
            }
            $text = substr $text, -$OVERLAP if length $text > $OVERLAP;
        }
        push @found, map { "$path: $_" } sort grep { $here{$_} } keys %here;
    }
    return @found;
}

1;
