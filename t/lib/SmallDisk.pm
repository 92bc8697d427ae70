# SPDX-License-Identifier: Apache-2.0
package SmallDisk;

# A file system of few megabytes for one test: ext4 in a file where the kernel has loop devices, else tmpfs.  Before Fleet:
#
#   use Mounts; use SmallDisk;            # root only; elsewhere the test is skipped
#   my $disk = SmallDisk->new(16);        # MiB
#   $disk->durable                        # true: it is a file system that fsync means something on
#   $disk->reserve(4); $disk->release(2); # takes 4 MiB away by files, gives 2 back
#
# The file system ends with the namespace of Mounts, however the test ends.
use strict;
use warnings;
use Carp qw(croak);
use File::Path qw(remove_tree);
use File::Temp ();
use Mounts;
use Test::More;

my $MIB = 1024 * 1024;
my @disks;

sub new {
    my ($class, $size) = @_;
    my $directory = File::Temp::tempdir('svl-disk.XXXXXX', DIR => $ENV{SVL_TEST_TMP} || '/var/tmp');
    my $self = bless {directory => $directory, files => 0, owner => $$}, $class;
    my ($image, $path) = ("$directory/image", $self->path);

    chmod 0755, $directory;
    mkdir $path or croak "cannot make $path: $!";
    push @disks, $self;
    $self->{durable} = Mounts::quietly('truncate', '-s', "${size}M", $image)
        && Mounts::quietly(qw(mkfs.ext4 -q -F -m 0 -O ^has_journal), $image) && Mounts::quietly(qw(mount -o loop), $image, $path);
    if (!$self->{durable} && !Mounts::quietly(qw(mount -t tmpfs -o), "size=${size}m,mode=755", 'tmpfs', $path)) {
        plan skip_all => 'SKIPPED: neither ext4 in a file nor tmpfs can be mounted here';
    }
    chmod 0755, $path;
    return $self;
}

sub path { return "$_[0]{directory}/disk" }
sub durable { return $_[0]{durable} }

sub reserve {
    my ($self, $mib) = @_;
    for (1 .. $mib) {
        open my $file, '>:raw', $self->path . '/reserve.' . ++$self->{files} or croak "cannot reserve: $!";
        print $file "\xff" x $MIB;
        close $file or croak "cannot reserve: $!";
    }
    return;
}

sub release {
    my ($self, $mib) = @_;
    unlink $self->path . '/reserve.' . $self->{files}-- or croak "cannot release: $!" for 1 .. $mib;
    return;
}

# Runs after the servers of Fleet, which is loaded later, have ended.
END {
    my $status = $?;
    for my $disk (grep { $_->{owner} == $$ } @disks) {
        Mounts::quietly('umount', $disk->path);
        remove_tree($disk->{directory});
    }
    $? = $status;
}

1;
