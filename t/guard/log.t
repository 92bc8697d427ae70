# SPDX-License-Identifier: Apache-2.0
# Every log line for people has a stable tag of its own.
use strict;
use warnings;
use Sources;
use Test::More;

my (%where, @untagged);

for my $path (sources(qr{^mod_serviceless/(?:core|store|transport|httpd)/.*\.c$})) {
    my $code = code($path);
    my $line_of = sub { return 1 + (substr($code, 0, $_[0]) =~ tr/\n//) };
    while ($code =~ /\bSVLNO\((\d+)\)/g) {
        push @{$where{$1}}, "$path:" . $line_of->($-[0]);
    }
    while ($code =~ /\b(?:ap_log_\w*error\w*|ap_log_\w*data|svl_log_write)(?=\s*(\((?:[^()"]|"(?:[^"\\]|\\.)*"|(?1))*\))\s*;)/g) {
        my ($arguments, $at) = ($1, $-[0]);
        next if $arguments =~ /\b(?:APLOG|SVL_LOG)_(?:DEBUG|TRACE\d)\b/; # for developers
        next if $arguments =~ /"%s", text\)$/;                            # hands on a line that has its tag
        push @untagged, "$path:" . $line_of->($at) unless $arguments =~ /\bSVLNO\(/;
    }
}

cmp_ok(scalar keys %where, '>', 5, 'there are tags');
is_deeply({map { $_ => $where{$_} } grep { @{$where{$_}} > 1 } keys %where}, {}, 'no tag stands twice');
is_deeply([grep { !/^\d{4}$/ } keys %where], [], 'a tag has four digits');
is_deeply(\@untagged, [], 'every line at info and above is tagged');

done_testing;
