# SPDX-License-Identifier: Apache-2.0
# Row 26: who holds a key that may relay can call functions: it is trusted to.  It reaches no other host and no file, cannot fill the memory,
# and does not stop the node.
use strict;
use warnings;
use Client qw(json make_id);
use Fault qw(amount chance pick);
use File::Find qw(find);
use Fleet;
use Fleet::Edit qw(write_file);
use IO::Select;
use IO::Socket::INET;
use Played;
use Refused;
use Test::More;
use Time::HiRes qw(time);

my $TYPE = 'application/x-ndjson';
my $GROWS = 256;                   # MiB that a process may grow by seven messages of 1 MiB, all of small values, in as many threads
my $MUTANTS = amount(300, 20_000); # messages that were spoilt by chance
my $QUICK = 4;                     # seconds of the processor for any of its requests
my $PROMPT = 10;                   # seconds in which a call of others is answered
my $WAITERS = 40;                  # of its requests that wait a day at the same time

my $fleet = Fleet->new(nodes => 2, directives => "ServicelessSyncInterval 1s\nServicelessConnectTimeout 1s\n");
my ($n1, $n2) = $fleet->nodes;
my $secret = 'whsec_' . 'Q' x 43 . '=';
write_file($fleet->{key_file}, 0600, "peer $secret relay\nmain $fleet->{secret}\n");
my $outside = IO::Socket::INET->new(Listen => 64, LocalAddr => '127.0.0.1', LocalPort => 0) or die "cannot listen: $@";
my $elsewhere = '127.0.0.1:' . $outside->sockport;
my $played = Played->new(name => 'n2', port => $n2->port, secret => $secret);
$n1->start;
my $peer = $n1->client(secret => $secret);
my $epoch = sprintf '%016x', int(time * 1000);
my $number = 0;

sub line {
    my (%o) = @_;
    return {id => make_id(), function => 'runlog.note', args => ['hostile'], kwargs => {}, origin => 'n2', set => 'all', epoch => $epoch,
            seq => ++$number, issued => int(time * 1000), ttl => 600, %o};
}

sub message {
    my ($relay, @lines) = @_;
    return join '', map { (ref $_ ? json($_) : $_) . "\n" } {relay => {from => 'n2', route => [], arity => 1, %$relay}}, @lines;
}

sub sync { return json({sync => {from => 'n2', digest => '0' x 64, @_}}) . "\n" }
sub post { my ($body, %o) = @_; return $peer->post($body, type => $TYPE, %o) }

# All files of the fleet but those that tests and servers write all the time: path to size.
sub files {
    my %size;
    find({no_chdir => 1, wanted => sub { $size{$_} = -s if -f && !m{/(?:error|run)\.log$|/state/n1/|/output$} }}, $fleet->{directory});
    return \%size;
}

my $files = files();
my @children = $n1->children;
my $peak = peak($n1);

subtest 'threat 26: it can call functions' => sub {
    my $call = line();
    is(post(message({}, $call))->{json}{accepted}, 1, 'by relay');
    eventually { $n1->runs($call->{id}) == 1 } 10, 'it runs';
    is($peer->call('runlog.note', ['client'])->{status}, 403, 'as a client its key may not');
};

subtest 'threat 26: it reaches no other host' => sub {
    my @places = ($elsewhere, "http://$elsewhere/", "//$elsewhere", "n2\@$elsewhere", "n2:http://$elsewhere/");
    for my $place (@places) {
        my %url = map { $_ => "http://$elsewhere/" } qw(url callback reply_to node peer location);
        post(message({route => [$place, 'n2'], %url}, line(%url)));
        post(message({from => $place, %url}, line()));
        post(message({}, line($_ => $place))) for qw(origin set epoch id function);
        post(sync(vector => {"$place/all/$epoch" => [5, []], "n2/all/$epoch" => [1 << 40, []]}, %url));
    }
    post(message({}, line()), headers => ["Host: $elsewhere"], more => ["Forwarded: host=$elsewhere", map { "X-Forwarded-$_: $elsewhere" } qw(Host For)]);
    post(message({}, line()), path => "http://$elsewhere/serviceless");
    $played->answer_with(sub {
        my ($request) = @_;
        my @headers = ("Location: http://$elsewhere/", "Alt-Svc: h2=\"$elsewhere\"", "Refresh: 0; url=http://$elsewhere/", "Link: <http://$elsewhere/>; rel=preload");
        return $played->acknowledgement($request, status => '307 Temporary Redirect', headers => \@headers,
                                        body => json({from => 'n2', location => "http://$elsewhere/"}));
    });
    my $asked = @{$played->{requests}};
    $n1->call('runlog.note', ['redirected']);
    ok($played->serve(10, sub { @{$played->{requests}} > $asked + 2 }), 'it answers with redirects');
    is_deeply([IO::Select->new($outside)->can_read(0.2)], [], 'who listens elsewhere was not connected to');
    is_deeply([grep { $_->{path} ne '/serviceless' } @{$played->{requests}}], [], 'and itself gets nothing but the protocol');
};

subtest 'threat 26: it reaches no file' => sub {
    my @paths = ('../../../../../etc/passwd', '/etc/passwd', 'file:///etc/passwd', '..', 'n1/../../keys', "data.mdb\0", 'lock.mdb', '|id', '$(id)', '`id`');
    for my $path (@paths) {
        post(message({route => [$path]}, line(args => [$path], kwargs => {$path => $path})));
        post(message({}, line($_ => $path))) for qw(id function origin set epoch);
        post(sync(vector => {"n2/$path/$epoch" => [1, []]}));
        post(message({}, line()), path => "/serviceless/$path") if $path !~ /\0/;
    }
    is_deeply(files(), $files, 'no file came, went or changed its size');
    my $shown = join '', map { $n1->get("/serviceless-status?format=$_")->{body} } qw(html json prometheus);
    unlike($shown, qr/root:|\Q$fleet->{directory}\E/, 'no page shows what is in one, or where it is');
};

subtest 'threat 26: it does not fill the memory' => sub {
    my @large = (message({}, map { line(args => ['x' x 1000]) } 1 .. 900), message({}, line(args => ['x' x 1_000_000])),
                 message({route => [map { "s$_" } 1 .. 10_000]}, line()), join('', message({}) x 20_000), message({}, ('{}') x 60_000),
                 message({}, line(args => [map { [] } 1 .. 300_000])), message({}, line(kwargs => {map { $_ => 0 } 1 .. 60_000})));
    for my $i (0 .. $#large) {
        my ($took, $answer) = spent($n1, sub { post($large[$i]) });
        ok($answer->{status} =~ /^(?:202|400|413)$/, "message $i, of " . length($large[$i]) . " bytes: $answer->{status}");
        cmp_ok($took, '<', $QUICK, "with $took s of the processor");
    }
    note(sprintf 'the largest process: %.1f MiB before, %.1f MiB after', $peak, peak($n1));
    grew_less(peak($n1) - $peak, $GROWS, 'the memory is bounded');
};

subtest 'threat 26: it does not stop the node' => sub {
    my @bodies = (message({}, line(), line()), message({route => ['n2'], reply => 'outcome', timeout_ms => 1}, line()),
                  sync(vector => {"n2/all/$epoch" => [17, [[19, 22]]]}, pruned => {"n2/all/$epoch" => 3}));
    my @pieces = (split(//, '{}[]",:-/'), "\0", "\xff", "\n", '9' x 20, '1e999', 'null', '\\u0000', 'n1', '"relay"', '"sync"', '');
    my %statuses;
    for (1 .. $MUTANTS) {
        my $body = pick(@bodies);
        substr $body, chance(length $body), chance(4), pick(@pieces) for 0 .. chance(4);
        $statuses{post($body)->{status}}++;
    }
    note(join ', ', map { "$statuses{$_} times $_" } sort keys %statuses);
    is_deeply([grep { !/^(?:20[024]|400|503)$/ } keys %statuses], [], "$MUTANTS spoilt messages: each is answered");

    my @waiters = map { $n1->client(secret => $secret) } 1 .. $WAITERS;
    for my $waiter (@waiters) {
        my $body = message({reply => 'outcome', timeout_ms => 86_400_000}, line(function => 'example.sleep', args => [60]));
        $waiter->begin($waiter->message($body, type => $TYPE));
    }
    my $start = time;
    is($n1->client->call('runlog.note', ['beside them'])->{status}, 200, "$WAITERS of its requests would wait a day: others are answered");
    cmp_ok(time - $start, '<', $PROMPT, sprintf 'after %.2f s', time - $start);
    $_->disconnect for @waiters;

    $n1->status->{missed} =~ /^\d+$/ or fail('the count of what is missed is a number');
    my %now = map { $_ => 1 } $n1->children;
    is_deeply([grep { !$now{$_} } @children], [], 'no child was lost') if $fleet->{mpm} ne 'prefork'; # which ends idle ones
    $fleet->no_crash;
    my $id = $n1->call('runlog.note', ['after it'])->{json}{id};
    is($n1->runs($id), 1, 'a call of others runs');
    is(Command::command(['log', '--json', $n1->state_directory])->{status}, 0, 'the log is whole');
    unlike($n1->error_log, qr/[^\x20-\x7e\n]/, 'and no raw byte of it is in the error log');
};

done_testing;
