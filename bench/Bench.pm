# SPDX-License-Identifier: Apache-2.0
package Bench;

# Compares things side by side: they take turns, round after round, so that a noisy machine is noisy for all of them; what counts is the
# median of the rounds and its ratio to another's.  Prints a table while it goes, and keeps everything as JSON.
#
#   my $bench = Bench->new(rounds => 5);
#   $bench->compare('latency to the last of 4 nodes', 'us', [
#       {name => 'chain', take => sub { … }},                                        # returns one number
#       {name => 'bounce', take => sub { … }, to => [['chain', 1.3], ['Redis']]},     # ratios, and the most that they may be
#       {name => 'calling', take => sub { … }, goal => 30, after => sub { … }},      # the most that it may be itself; waits for quiet
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

# Of how many digits, and whether a goal is reached.
sub _judge {
    my ($value, $goal, $more) = @_;
    my $reached = $more ? $value >= $goal : $value <= $goal;
    return ($reached ? JSON::PP::true : JSON::PP::false, sprintf ' (goal: %s %g%s)', $more ? 'at least' : 'at most', $goal, $reached ? '' : ', NOT reached');
}

# The subjects take turns; the first round warms them and does not count.  With more => 1 goals are the least.  Ratios are those of each
# round: what disturbs a round disturbs both.
sub compare {
    my ($self, $title, $unit, $subjects, %o) = @_;
    my (%all, @rows);

    my $rounds = $o{rounds} // $self->{rounds};
    for my $round (0 .. $rounds) {
        for my $subject (@$subjects) {
            my $value = $subject->{take}->();
            push @{$all{$subject->{name}}}, $value if $round;
            $subject->{after}->() if $subject->{after};
        }
    }
    printf "\n%s\n%-40s %12s %12s %12s\n", $title, '', $unit, 'least', 'most';
    for my $subject (@$subjects) {
        my $name = $subject->{name};
        my @values = @{$all{$name}};
        my $row = {name => $name, median => median(@values), least => min(@values), most => max(@values)};
        my @words;
        if (defined $subject->{goal}) {
            ($row->{reached}, $words[0]) = _judge($row->{median}, $row->{goal} = $subject->{goal}, $o{more});
        }
        for (@{$subject->{to} // []}) {
            my ($to, $goal) = @$_;
            my $ratio = {to => $to, ratio => median(map { $values[$_] / $all{$to}[$_] } 0 .. $#values)};
            my $word = '';
            ($ratio->{reached}, $word) = _judge($ratio->{ratio}, $ratio->{goal} = $goal, $o{more}) if defined $goal;
            push @words, sprintf '%.2f of %s%s', $ratio->{ratio}, $to, $word;
            push @{$row->{ratios}}, $ratio;
        }
        printf "%-40s %12.5g %12.5g %12.5g  %s\n", $name, @{$row}{qw(median least most)}, join '; ', @words;
        push @rows, $row;
    }
    push @{$self->{tables}}, {title => $title, unit => $unit, rounds => $rounds, rows => \@rows};
    return @rows;
}

# Numbers that are counted, not measured, beside those of another run ({name => number}), if there is one: what grew by more than $most
# times is told.
sub count {
    my ($self, $title, $unit, $now, $before, $most) = @_;
    my @rows;
    printf "\n%s\n%-40s %12s %12s\n", $title, '', $unit, 'before';
    for my $name (sort keys %$now) {
        my $row = {name => $name, median => $now->{$name}, before => $before->{$name}};
        my $grew = $row->{before} && $row->{median} > $most * $row->{before};
        $row->{grew} = JSON::PP::true if $grew;
        printf "%-40s %12d %12s  %s\n", $name, $row->{median}, $row->{before} // '',
            $grew ? sprintf('WARNING: %.0f%% more', 100 * $row->{median} / $row->{before} - 100) : '';
        push @rows, $row;
    }
    push @{$self->{tables}}, {title => $title, unit => $unit, rounds => 1, rows => \@rows};
    return;
}

sub skip {
    my ($self, $what, $why) = @_;
    return if $self->{told}{$what}++;
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
        redis => _first_line('redis-server --version'), nats => _first_line('nats-server --version'),
        erlang => _first_line(q{erl -noshell -eval 'io:format("~s~n", [erlang:system_info(otp_release)]), halt().'}),
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
    return;
}

1;
