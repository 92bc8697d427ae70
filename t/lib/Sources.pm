# SPDX-License-Identifier: Apache-2.0
package Sources;

# The project's files, for the guards.
use strict;
use warnings;
use Exporter qw(import);
use File::Basename qw(dirname);
use File::Find qw(find);
use File::Spec;

our @EXPORT = qw(code includes sources text);

my $top = File::Spec->rel2abs(File::Spec->catdir(dirname(__FILE__), '..', '..'));
my @places = qw(mod_serviceless t conf bench docs m4 .ci .clang-tidy quickstart configure.ac Makefile.am README.md SECURITY.md CONTRIBUTING.md NOTICE CHANGES);

# Paths relative to the top that match, in order.  What autoreconf puts beside them is not ours.
sub sources {
    my ($pattern) = @_;
    my @found;
    find({no_chdir => 1, wanted => sub {
        return unless -f && !-B;
        my $path = File::Spec->abs2rel($_, $top);
        push @found, $path if $path =~ $pattern && $path !~ m{^m4/(?:libtool|lt)};
    }}, grep { -e } map { "$top/$_" } @places);
    return sort @found;
}

sub text {
    my ($path) = @_;
    open my $file, '<', "$top/$path" or die "cannot read $path: $!";
    local $/;
    return <$file> // '';
}

# C without comments; strings are kept; line numbers stay.
sub code {
    my $text = text(@_);
    $text =~ s{("(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)+')|(/\*.*?\*/|//[^\n]*)}{defined $1 ? $1 : "\n" x ($2 =~ tr/\n//) || ' '}gse;
    return $text;
}

# What a C file includes: "../core/x.h" as it stands, <x.h> without brackets.
sub includes {
    return code(@_) =~ /^[ \t]*#[ \t]*include[ \t]*["<]([^">]+)[">]/gm;
}

1;
