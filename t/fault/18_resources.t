# SPDX-License-Identifier: Apache-2.0
# MPMs: event prefork
# Row 18: children without descriptors, threads or memory: errors are answers and lines of the log, and when there is enough again all goes
# on.  A child that gets no memory is ended by httpd, whose pools know no failure; that loses nothing either.
use strict;
use warnings;
use Client qw(make_id);
use Fault;
use Fleet;
use POSIX ();
use Proc ();
use Test::More;

my $CALLS = amount(10, 200);
my $BACK = 15;                 # seconds until all is delivered when there is enough again
my $MEMORY = 2 * 1024 * 1024;  # bytes that a child may still get
my $LOAD = amount(10, 50);     # such calls: a log of 64 MiB holds them
my $LARGE = 'x' x 300_000;     # of a call that needs more than one arena has
# without AllowOverride httpd itself refuses with 403 what it has no descriptor to look for .htaccess for
my $DIRECTIVES = "<Directory />\n    AllowOverride None\n</Directory>\nServicelessConnectTimeout 500ms\nServicelessTimeout 2s\nServicelessSyncInterval 1s\n";

plan skip_all => 'SKIPPED: the command prlimit is missing' unless grep { -x "$_/prlimit" } split /:/, $ENV{PATH};

# Sets the soft limit only, so that it can be raised again, as the user of the process: root may lack the capability for others'.
sub set_limit {
    my ($pid, $limit) = @_;
    my ($user, $group) = (stat "/proc/$pid")[4, 5];
    my $child = fork // die "cannot fork: $!\n";
    if (!$child) {
        if (defined $user && $user != $>) {
            $) = "$group $group";
            $( = $group;
            ($<, $>) = ($user, $user);
        }
        open STDERR, '>', '/dev/null' or POSIX::_exit(126);
        { exec 'prlimit', '--pid', $pid, "--$limit:" }
        POSIX::_exit(127);
    }
    waitpid $child, 0;
    return !$?;
}

# What ended meanwhile does not matter; a child that was just born changes its user.
sub limit {
    my ($resource, $value, @pids) = @_;
    for my $pid (@pids) {
        my $set = poll { set_limit($pid, "$resource=$value") || !Proc::alive($pid) } 5;
        die "cannot limit $resource of $pid\n" unless $set;
    }
    return;
}

sub lowest_free_descriptor {
    my ($pid) = @_;
    my $free = 0;
    $free++ while readlink "/proc/$pid/fd/$free";
    return $free;
}

sub address_space {
    my ($pid) = @_;
    open my $file, '<', "/proc/$pid/statm" or return 0;
    return (split ' ', <$file>)[0] * 4096;
}

# Calls to $node on one connection, and on new ones.  Returns the ids that were answered 200, and how often each status came.
sub load {
    my ($node, $argument, $client) = @_;
    my (@ids, %statuses);
    for (1 .. ($argument eq $LARGE ? $LOAD : $CALLS)) {
        my $id = make_id();
        my $status = ($client // $node->client(timeout => 5))->call('runlog.note', [$argument], id => $id)->{status};
        $statuses{$status}++;
        push @ids, $id if $status == 200;
    }
    note(join ', ', map { "$_: $statuses{$_}" } sort keys %statuses);
    return (\@ids, \%statuses);
}

sub warm_fleet {
    my (%o) = @_;
    my $fleet = Fleet->new(nodes => 3, mode => 'broadcast', directives => $DIRECTIVES, %o)->start;
    return ($fleet, $fleet->nodes);
}

subtest 'out of descriptors' => sub {
    my ($fleet, $n1, $n2, $n3) = warm_fleet();
    my $client = $n1->client(timeout => 5);
    my $warm = $client->call('runlog.note', ['warm'])->{json}{id};
    $fleet->once([$warm], 'all nodes work');
    my ($pid) = map { $_->{pid} } $n1->runs_of($warm);
    $n2->kill9; # so that connections to it are gone
    $n2->start;
    limit('nofile', lowest_free_descriptor($pid), $pid);
    my ($ids, $statuses) = load($n1, 'no descriptors', $client);
    is_deeply([grep { $_ != 200 && $_ != 503 } keys %$statuses], [], 'answers go on, or say 503');
    my ($others) = load($n2, 'meanwhile');
    limit('nofile', 1024, grep { Proc::alive($_) } $pid);
    invariant($fleet, [$warm, @$ids, @$others], 'with descriptors again each call ran once on each node', deadline => $BACK);
    my ($peer) = grep { $_->{name} eq 'n3' } @{$n1->status->{members}};
    ok($peer->{up}, 'no peer was blamed');
};

subtest 'out of threads' => sub {
    my ($fleet, $n1, $n2, $n3) = warm_fleet();
    # nothing was relayed yet, so no child has threads for that; the lead may have one for sync; httpd's own must be there
    poll { !grep { my @threads = glob "/proc/$_/task/*"; @threads <= 16 } $n1->children } 10 if $fleet->{mpm} ne 'prefork';
    limit('nproc', 1, $n1->children);
    my ($ids, $statuses) = load($n1, 'no threads');
    is_deeply($statuses, {200 => $CALLS}, 'calls are accepted') if $fleet->{mpm} ne 'prefork'; # which makes children, by root's leave
    my ($others) = load($n2, 'meanwhile');
    eventually { $n1->error_log =~ /SVL0309|SVL0113/ } 5, 'the log says so';
    unlike($n1->error_log, qr/exit signal/, 'no child crashed');
    limit('nproc', 10_000, grep { Proc::alive($_) } $n1->children);
    invariant($fleet, [@$ids, @$others], 'with threads again each call ran once on each node', deadline => $BACK);
};

subtest 'children that are born without threads' => sub {
    my ($fleet, $n1) = warm_fleet();
    plan skip_all => 'other MPMs need threads themselves' if $fleet->{mpm} ne 'prefork';
    limit('nproc', 1, $n1->pid);
    $n1->graceful;
    my (undef, $statuses) = load($n1, 'born');
    is_deeply($statuses, {503 => $CALLS}, 'they answer 503');
    like($n1->error_log, qr/SVL0134: /, 'and the log says why');
    limit('nproc', 10_000, $n1->pid);
    limit('nproc', 10_000, $n1->children); # all that were born before
    my @ids;
    eventually { my ($ids, $after) = load($n1, 'again'); push @ids, @$ids; return !$after->{503} } $BACK, 'with threads they take calls';
    invariant($fleet, \@ids, 'which run once on each node', deadline => $BACK);
};

subtest 'out of memory' => sub {
    my ($fleet, $n1, $n2, $n3) = warm_fleet(crashes => 1);
    my $warm = $n1->call('runlog.note', ['warm'])->{json}{id};
    $fleet->once([$warm], 'all nodes work');
    limit('as', address_space($_) + $MEMORY, $_) for $n1->children;
    my ($ids, $statuses) = load($n1, $LARGE);
    my ($others) = load($n2, $LARGE);
    is_deeply([grep { !/^(?:200|503|0|500)$/ } keys %$statuses], [], 'answers are 200 or errors, or the child was ended');
    limit('as', 'unlimited', grep { Proc::alive($_) } $n1->children);
    my (@again, $last);
    eventually { my $id = make_id(); $n1->call('runlog.note', ['again'], id => $id)->{status} == 200 && push @again, $id } $BACK, 'calls go on';
    invariant($fleet, [$warm, @$ids, @$others, @again], 'nothing that was accepted is lost', crashed => 1, deadline => $BACK);
    my @signals = $n1->error_log =~ /exit signal (\w+)/g;
    is_deeply([grep { !/^Abort/ } @signals], [], 'no child crashed otherwise (' . @signals . ' were ended by httpd)');
};

done_testing;
