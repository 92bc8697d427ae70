# SPDX-License-Identifier: Apache-2.0
package Fleet::Edit;

# Changes to the configuration of a Fleet's node that is not started yet, or is restarted afterwards.
#
#   edit_conf($node, sub { s/^Serviceless.*\n//mg });    # $_ is the text of httpd.conf
use strict;
use warnings;
use Carp qw(croak);
use Exporter qw(import);

our @EXPORT = qw(edit_conf write_file);

sub edit_conf {
    my ($node, $change) = @_;
    my $path = $node->directory . '/httpd.conf';
    open my $in, '<', $path or croak "cannot read $path: $!";
    local $_ = do { local $/; <$in> };
    $change->();
    write_file($path, 0644, $_);
    return;
}

sub write_file {
    my ($path, $mode, $text) = @_;
    open my $file, '>', $path or croak "cannot write $path: $!";
    chmod $mode, $path;
    print $file $text;
    close $file or croak "cannot write $path: $!";
    return;
}

1;
