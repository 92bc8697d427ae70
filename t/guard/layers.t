# SPDX-License-Identifier: Apache-2.0
# A lower layer never includes a higher one, and each library has one user.
use strict;
use warnings;
use Sources;
use Test::More;

# What a layer may include of the project, and of httpd.
my %may = (
    core => {layers => [qw(core)]},
    store => {layers => [qw(store core)]},
    transport => {layers => [qw(transport store core)]},
    httpd => {layers => [qw(httpd transport store core)], httpd => 1, interface => 1},
    companions => {layers => [], httpd => 1, interface => 1},
    cli => {layers => [qw(cli transport store core)], more => {'../httpd/keyfile.h' => 1}},
);
my $of_httpd = qr{^(?:httpd|http_\w+|ap_\w+|util_\w+|mod_\w+|mpm_common|scoreboard|unixd|heartbeat)\.h$};

my %here = map { $_ => 1 } sources(qr{^mod_serviceless/.*\.[ch]$});

for my $layer (sort keys %may) {
    my $may = $may{$layer};
    my @wrong;
    for my $path (sources(qr{^mod_serviceless/$layer/.*\.[ch]$})) {
        for my $name (includes($path)) {
            my $layer_of = $name =~ m{^(?:\.\./)*(\w+)/} && $may{$1} ? $1 : $here{"mod_serviceless/$layer/$name"} ? $layer : '';
            my $fine = $name eq 'mod_serviceless.h' ? $may->{interface}
                : $may->{more}{$name} ? 1
                : $layer_of ? grep { $_ eq $layer_of } @{$may->{layers}}
                : $name =~ $of_httpd ? $may->{httpd}
                : 1;
            push @wrong, "$path includes $name" unless $fine;
        }
    }
    is_deeply(\@wrong, [], "$layer includes only what it may");
}

# keyfile.c is compiled into the command as well.
is_deeply([grep { $_ =~ $of_httpd || m{^\.\./(?!core/)} } map { includes($_) } sources(qr{^mod_serviceless/httpd/keyfile\.[ch]$})], [],
          'httpd/keyfile.c needs APR and core only');

my @c = sort keys %here;
cmp_ok(scalar @c, '>', 20, 'there are sources to look at');
is_deeply([grep { !m{/store/} && grep { $_ eq 'lmdb.h' } includes($_) } @c], [], 'lmdb.h is included in store/ only');
is_deeply([grep { $_ ne 'mod_serviceless/transport/curl.c' && grep { m{^curl/} } includes($_) } @c], [],
          'curl.h is included in transport/curl.c only');
is_deeply([grep { !m{/core/django\.c$|/store/journal_file\.c$} && grep { $_ eq 'zlib.h' } includes($_) } @c], [],
          'zlib.h is included in core/django.c and store/journal_file.c only');
is_deeply([grep { !m{/core/json\.c$} && code($_) =~ /\bjson_(?:load|dump)\w*\s*\(|\bJSON_(?!INTEGER_FORMAT|INTEGER_IS_LONG_LONG|OBJECT\b|ARRAY\b|STRING\b|INTEGER\b|REAL\b|TRUE\b|FALSE\b|NULL\b)[A-Z]/ } @c],
          [], "jansson's options stand in core/json.c only");
is_deeply([grep { m{/core/} && code($_) =~ /\b(?:request_rec|server_rec|apr_time_now|apr_file_open|apr_socket_create)\b/ } @c], [],
          'the core knows no server, no clock, no file and no socket');

done_testing;
