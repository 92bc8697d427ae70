# SPDX-License-Identifier: Apache-2.0
package Bench;

# Compares things side by side: they take turns, round after round, so that a noisy machine is noisy for all of them; what counts is the
# median of the rounds and its ratio to another's.  Prints a table while it goes, and keeps everything as JSON.
#
#   my $bench = Bench->new(rounds => 5);
#   $bench->compare('latency to the last of 4 nodes', 'us', [
#       {name => 'chain', take => sub { … }},                       # returns one number
#       {name => 'bounce', take => sub { … }, to => 'chain', goal => 1.3},
#   ]);
#   $bench->skip('Redis', 'redis-server is not installed');
#   $bench->keep($path);
use strict;
use warnings;
use JSON::PP;
use List::Util qw(max min);
use POSIX qw(strftime uname);

sub new {
    my ($class, %o) = @_;
    $| = 1;
    return bless {rounds => 5, tables => [], skipped => [], %o}, $class;
}

sub median {
    my @sorted = sort { $a <=> $b } @_;
    return @sorted % 2 ? $sorted[$#sorted / 2] : ($sorted[@sorted / 2 - 1] + $sorted[@sorted / 2]) / 2;
}

# The subjects take turns; the first round warms them and does not count.  goal: the most that the ratio to the subject `to` may be, or
# with more => 1 the least.
sub compare {
    my ($self, $title, $unit, $subjects, %o) = @_;
    my (%all, @rows);

    for my $round (0 .. $self->{rounds}) {
        for my $subject (@$subjects) {
            my $value = $subject->{take}->();
            push @{$all{$subject->{name}}}, $value if $round;
        }
    }
    my %median = map { $_ => median(@{$all{$_}}) } keys %all;
    printf "\n%s\n%-34s %12s %12s %12s  %s\n", $title, '', $unit, 'least', 'most', 'ratio';
    for my $subject (@$subjects) {
        my $name = $subject->{name};
        my @values = @{$all{$name}};
        my $row = {name => $name, median => $median{$name}, least => min(@values), most => max(@values)};
        if (defined(my $to = $subject->{to})) {
            # round by round: what disturbs a round disturbs both
            $row->{ratio} = median(map { $values[$_] / $all{$to}[$_] } 0 .. $#values);
            $row->{to} = $to;
            $row->{goal} = $subject->{goal} if defined $subject->{goal};
        }
        printf "%-34s %12.5g %12.5g %12.5g", $name, @{$row}{qw(median least most)};
        printf '  %.2f of %s', @{$row}{qw(ratio to)} if $row->{to};
        if (defined $row->{goal}) {
            $row->{reached} = ($o{more} ? $row->{ratio} >= $row->{goal} : $row->{ratio} <= $row->{goal}) ? JSON::PP::true : JSON::PP::false;
            printf ' (goal: %s %.2f%s)', $o{more} ? 'at least' : 'at most', $row->{goal}, $row->{reached} ? '' : ', NOT reached';
        }
        print "\n";
        push @rows, $row;
    }
    push @{$self->{tables}}, {title => $title, unit => $unit, rounds => $self->{rounds}, rows => \@rows};
    return @rows;
}

sub skip {
    my ($self, $what, $why) = @_;
    print "SKIPPED: $what ($why)\n";
    push @{$self->{skipped}}, {what => $what, why => $why};
    return;
}

sub _first_line {
    my ($command) = @_;
    my ($line) = split /\n/, `$command 2>/dev/null` // '';
    return $line // '';
}

# What the numbers were measured on.
sub machine {
    my ($self) = @_;
    my ($model) = do { open my $file, '<', '/proc/cpuinfo' or die "cannot read /proc/cpuinfo: $!\n"; local $/; <$file> =~ /^model name\s*:\s*(.*)$/m };
    return $self->{machine} //= {
        processor => $model // 'unknown', processors => 0 + _first_line('nproc'), kernel => (uname())[2],
        httpd => _first_line(($ENV{SVL_HTTPD} || '/usr/sbin/apache2') . ' -v') =~ s/^Server version: //r, mpm => $ENV{SVL_TEST_MPM} || 'event',
    };
}

# Writes everything to a file.
sub keep {
    my ($self, $path, %more) = @_;
    my $text = JSON::PP->new->canonical->pretty->encode({
        %more, date => strftime('%Y-%m-%d', gmtime), machine => $self->machine, tables => $self->{tables}, skipped => $self->{skipped},
    });
    open my $file, '>', $path or die "cannot write $path: $!\n";
    print $file $text;
    close $file or die "cannot write $path: $!\n";
    print "\nkept: $path\n";
    return;
}

1;
