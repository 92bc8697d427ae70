# SPDX-License-Identifier: Apache-2.0
# Threat 15: names of functions, nodes and sets with CR LF, ESC, ../, %s or HTML in them: 400, and they never reach a log or a page
# unescaped.
use strict;
use warnings;
use Client qw(json make_id);
use OneServer;
use Test::More;

my $TYPE = 'application/x-ndjson';
my $from = length error_log();
my @names = ("a\r\nb", "a\r\n[Mon Jan 01 00:00:00 2001] [core:error] forged", "\n", "\e[31mred", "a\tb", '../x', '/etc/passwd', '%s%n%n%n',
             '<b>x</b>', '<script>alert(1)</script>', '"', "'><img src=x>", '', ' ', 'a b', "a\x{7f}", "a\x{9b}31m", "caf\x{e9}", "\x{202e}x",
             'x' x 129, 'x' x 5000);
my $seq = 0;

sub line {
    my (%o) = @_;
    return {id => make_id(), function => 'runlog.note', args => [], kwargs => {}, origin => 'two', set => 'all', epoch => '00000000000000aa',
            seq => ++$seq, issued => time * 1000, ttl => 60, %o};
}

# Those that hold what no text may show raw.
sub hostile {
    my ($name) = @_;
    utf8::encode($name);
    return $name =~ /[^\x20-\x7e]/ && length $name > 1 ? (hostile => $name) : ();
}

refusals 'threat 15: in calls of clients' => sub {
    is_refused(400, 'function ' . json($_), json({function => $_}), reason => 'call', hostile($_)) for @names, '1a', '.a', '-a', 'a:b';
    for my $name (@names, 'x' x 65) {
        is_refused(400, 'nodes ' . json($name), json({function => 'runlog.note', nodes => $name}), reason => 'call', hostile($name));
        is_refused(400, 'member ' . json($name), json({function => 'runlog.note', $name => 1}), reason => 'call', hostile($name));
    }
    for my $member (qw(mode reply id)) {
        is_refused(400, "$member " . json($_), json({function => 'runlog.note', $member => $_}), reason => 'call', hostile($_)) for @names;
    }
};

refusals 'threat 15: in relay and sync messages' => sub {
    for my $name (@names) {
        my ($shown, @o) = (json($name), type => $TYPE, reason => 'message', hostile($name));
        is_refused(400, "from $shown", json({relay => {from => $name, route => [], arity => 1}}) . "\n", @o);
        is_refused(400, "sync from $shown", json({sync => {from => $name, digest => '0' x 64}}) . "\n", @o);
        is_refused(400, "$_ $shown", json({sync => {from => 'two', digest => '0' x 64, $_ => $name}}) . "\n", @o) for qw(digest after);
        is_refused(400, "stream $shown", json({sync => {from => 'two', vector => {$name => [1, []]}}}) . "\n", @o);
        my $answer = is_counted("route $shown", sub { client()->relay('two', [$name], []) }, reason => 'message', hostile($name));
        is(scalar keys %{$answer->{json}{refused}{nodes}}, 1, 'the name is refused');
        unlike($answer->{body}, qr/[^\x20-\x7e]/, 'and shown escaped');
        for my $member (qw(origin set epoch id)) {
            $answer = is_counted("$member $shown", sub { client()->relay('two', [], [line($member => $name)]) }, reason => 'call', hostile($name));
            is(scalar keys %{$answer->{json}{refused}{calls}}, 1, 'the line is refused');
            unlike($answer->{body}, qr/[^\x20-\x7e]/, 'and shown escaped');
        }
    }
};

# The number of such a line is covered, so the log has an entry.
subtest 'threat 15: a line that says all but its function' => sub {
    for my $name (@names) {
        my $line = line(function => $name);
        my $answer = is_counted('function ' . json($name), sub { client()->relay('two', [], [$line]) }, reason => 'call');
        is($answer->{json}{refused}{calls}{$line->{id}}{status}, 400, 'the line is refused');
        unlike($answer->{body}, qr/[^\x20-\x7e]/, 'and shown escaped');
    }
    is(client()->relay('two', [], [line($_ => 1)])->{json}{accepted}, 1, 'the member ' . json($_) . ' is nothing to the node') for @names;
    settle();
    unlike(stored(), qr/[\x00-\x09\x0b-\x1f\x7f]|\xc2[\x80-\x9f]/, 'the command shows no control character');
};

subtest 'threat 15: what reaches the error log is printable' => sub {
    my $log = error_log($from);
    unlike($log, qr/[^\x20-\x7e\n]/, 'no control character, no byte over 126');
    is(scalar(grep { !/^\[/ } split /\n/, $log), 0, 'no line that a request began');
    unlike($log, qr/0x[0-9a-f]{6,}|\(null\)/, 'no % of a request was a conversion');
};

subtest 'threat 15: nor does it reach the status page' => sub {
    for my $query ('', '?format=json', '?format=prometheus', '?format=%3Cscript%3Ealert(1)%3C/script%3E', '?"><b>x</b>', '?format=%0d%0aX:%20y') {
        my $answer = client()->get("/serviceless-status$query");
        unlike($answer->{body}, qr{<b>x|<script|<img|\.\./x|%s%n|etc/passwd|forged}, "$query: no name of a request in it");
        unlike($answer->{body}, qr/[^\x20-\x7e\n\xc2-\xf4\x80-\xbf]/, "$query: no control character in it");
        ok(!exists $answer->{headers}{x}, "$query: no header of its making");
    }
};

ok(server_lives(), 'the server lives');

done_testing;
