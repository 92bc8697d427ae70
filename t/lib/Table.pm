# SPDX-License-Identifier: Apache-2.0
package Table;

# A fleet whose nodes have the companion mod_table, and what its children noted.
#
#   my $fleet = table_fleet(nodes => 3);
#   write_table($node, 17);
#   my %ran = ran($node, $id);       # pid => how often
use strict;
use warnings;
use Exporter qw(import);
use Fleet;
use Fleet::Edit qw(write_file);

our @EXPORT = qw(began began_after missed_in ran table_fleet write_table);

# Options as for Fleet->new.
sub table_fleet {
    my (%o) = @_;
    my $fleet;
    my $own = $o{directives} // '';
    my $libs = Fleet::build_directory() . '/.libs';
    return Fleet->new(%o, directives => "LoadModule table_module \"$libs/mod_table.so\"\n<Location \"/table\">\n    SetHandler table\n</Location>\n$own",
        each => sub {
            my ($node) = @_;
            write_table($node, 0);
            return 'TableFile "' . $node->directory . "/table\"\nTableLog \"" . $node->directory . "/table.log\"\n";
        });
}

# At once for who reads it.
sub write_table {
    my ($node, $number) = @_;
    my $path = $node->directory . '/table';
    write_file("$path.new", 0644, "$number\n");
    rename "$path.new", $path or die "cannot rename: $!";
    return;
}

sub _lines {
    my ($node) = @_;
    open my $file, '<', $node->directory . '/table.log' or return;
    return map { [split ' '] } grep { /\n\z/ } <$file>;
}

# In which children a call ran: (pid => how often).
sub ran {
    my ($node, $id) = @_;
    my %ran;
    $ran{$_->[1]}++ for grep { $_->[2] eq $id } _lines($node);
    return %ran;
}

# The children that have begun, dead ones too: (pid => 1).
sub began {
    my ($node) = @_;
    return map { $_->[1] => 1 } grep { $_->[0] eq 'began' } _lines($node);
}

# The children that began when a call had run in one of @among, so that it is no news to them: (pid => 1).
sub began_after {
    my ($node, $id, @among) = @_;
    my %among = map { $_ => 1 } @among;
    my ($has_run, %after);
    for (_lines($node)) {
        if ($_->[0] eq 'began') { $after{$_->[1]} = 1 if $has_run }
        else { $has_run ||= $_->[2] eq $id && $among{$_->[1]} }
    }
    return %after;
}

# How many calls the children were told to have missed: (pid => [number, …]).
sub missed_in {
    my ($node) = @_;
    my %missed;
    push @{$missed{$_->[1]}}, $_->[3] for grep { $_->[0] eq 'missed' } _lines($node);
    return %missed;
}

1;
