# SPDX-License-Identifier: Apache-2.0
# ServicelessAccept django: calls as tokens that Django itself signs (Debian's python3-django).  The node is `other`; `one` is as by default.
use strict;
use warnings;
use Apache::Test ();
use Client qw(json make_id);
use IPC::Open2 qw(open2);
use MIME::Base64 qw(encode_base64);
use OneServer;
use Poll;
use Test::More;

my $FORM = 'application/x-www-form-urlencoded';
my $LIMIT = 1 << 20; # ServicelessMaxBody of that node

# Not a Python of somebody's own: the one that has Debian's Django.
my $helper = open2(my $tokens, my $requests, '/usr/bin/python3', Apache::Test::vars('t_dir') . '/lib/django_tokens.py');
$requests->autoflush;

# The token of a call; options are those of t/lib/django_tokens.py.
sub token {
    my ($call, %o) = @_;
    print $requests json({call => $call, key => keys_of('other'), %o}) . "\n";
    return (<$tokens> // die "Django signed nothing: is python3-django installed?\n") =~ s/\s+\z//r;
}

sub form_of {
    return 'data=' . $_[0] =~ s/:/%3A/gr; # as urllib.parse.urlencode has it
}

# Posts a form to the node that takes them.  Options: id and secret, by which the answer must be signed, and those of Client::post.
sub post_form {
    my ($form, %o) = @_;
    my $client = client(port => port_of('other'), secret => keys_of('other'));
    return $client->post($form, unsigned => 1, type => $FORM, id => 'none', %o);
}

# Posts a call as Django signs it.
sub post_call {
    my ($call, %o) = @_;
    my $secret = $o{key} // keys_of('other');
    return post_form(form_of(token($call, %o)), id => $call->{id} // 'none', secret => $secret);
}

sub call {
    my ($function, $args, %more) = @_;
    return {id => make_id(), function => $function, args => $args, %more};
}

my $constant = client()->post('{}', secret => 'whsec_' . 'A' x 43 . '=')->{body};

# A test: a form is refused: nothing runs, and it is counted once.  Options: reason, and those of post_form.
sub form_is_refused {
    my ($status, $name, $form, %o) = @_;
    my $reason = delete $o{reason};
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $answer = is_counted($name, sub { post_form($form, %o) }, port => port_of('other'), reason => $reason);
    is_problem($answer, $status, $name);
    return $answer if $status != 401;
    is($answer->{body}, $constant, "$name: the body never says why");
    ok(!exists $answer->{headers}{'webhook-signature'}, "$name: no signature");
    return $answer;
}

subtest 'a call that Django signed runs, and the answer is signed as any other' => sub {
    for my $compress (JSON::PP::false, JSON::PP::true) {
        my $call = call('runlog.note', ["caf\x{e9} \x{2603}", 'x' x 200], kwargs => {deep => [1, {two => undef}]});
        my $answer = post_call($call, compress => $compress);
        my $name = $compress ? 'compressed' : 'plain';
        is($answer->{status}, 200, "$name: 200") or diag($answer->{body});
        is_deeply([@{$answer->{json}}{qw(id node outcome)}], [$call->{id}, 'other', 'ok'], "$name: its id, node and outcome");
        is_deeply($answer->{json}{result}[0], $call->{args}[0], "$name: the arguments came as they were");
        ok($answer->{signed}, "$name: signed, with webhook-id $call->{id}:other");
        is(runs($call->{id}), 1, "$name: it ran once");
    }
    my $call = call('runlog.note', []);
    delete $call->{args};
    is(post_call($call)->{json}{outcome}, 'ok', 'args and kwargs may be missing');
    is(post_form('data=' . token(call('runlog.note', [])))->{status}, 200, 'colons need not be escaped');
    is(post_form(form_of(token(call('runlog.note', []))), type => "$FORM; charset=UTF-8")->{status}, 200, 'a charset is passed over');
};

subtest 'the further members of a call' => sub {
    is(post_call(call('runlog.note', [], reply => 'accepted'))->{status}, 202, 'reply accepted');
    my $all = post_call(call('runlog.note', [], reply => 'all', timeout => 5));
    is(join(' ', sort keys %{$all->{json}{outcomes}}), 'other stranger', 'reply all');
    is(post_call(call('runlog.note', [], nodes => 'solo', mode => 'tree:2', ttl => 60))->{status}, 200, 'nodes, mode and ttl');
    is_problem(post_call(call('runlog.note', [], nodes => 'nowhere')), 400, 'a set that is not configured');
    is_problem(post_call(call('runlog.note', [], user => 'x')), 400, 'a member that no call has');
};

subtest 'an id is required, and makes a repetition a duplicate' => sub {
    my $call = call('runlog.note', ['once']);
    my $form = form_of(token($call));
    is(post_form($form)->{json}{duplicate}, undef, 'the first time');
    my $again = post_form($form, id => $call->{id});
    is("$again->{status} $again->{json}{outcome}", '200 ok', 'the same token again: the recorded outcome');
    ok($again->{json}{duplicate} && $again->{signed}, 'as a duplicate, signed');
    ok(post_call($call, compress => JSON::PP::true, ahead => -5)->{json}{duplicate}, 'so is the same call in another token');
    my $client = client(port => port_of('other'), secret => keys_of('other'));
    ok($client->call('runlog.note', ['once'], id => $call->{id})->{json}{duplicate}, 'and as JSON');
    is(runs($call->{id}), 1, 'it ran once');
    my $conflict = post_call({%$call, args => ['twice']});
    is_problem($conflict, 409, 'the same id with other content');
    ok($conflict->{signed}, 'which is signed: whoever asks is known');
    for my $id (undef, '', 'a.b', "a\n", 'a' x 65, 7, JSON::PP::true) {
        my %call = (%{call('runlog.note', [])}, id => $id);
        form_is_refused(400, 'id ' . json($id), form_of(token(\%call)));
    }
    delete $call->{id};
    form_is_refused(400, 'no id', form_of(token($call)));
};

subtest 'what Django signed is still no call' => sub {
    form_is_refused(400, $_->[0], form_of(token($_->[1])))
        for ['the example of its documentation', {foo => 'bar'}], ['a text', 'hello'], ['a list', [1 .. 19]], ['null', undef],
        ['no function', {id => make_id()}], ['args that are no list', {%{call('runlog.note', [])}, args => 'x'}];
    is_problem(post_call(call('no.such', [])), 404, 'an unknown function');
};

subtest 'keys may call what they may' => sub {
    my %expected = (other => [200, 200, 200], reader => [200, 403, 403], mate => [403, 403, 403]);
    for my $key (sort keys %expected) {
        my @asked = qw(example.sum runlog.note caller.nothing);
        for my $i (0 .. $#asked) {
            my $answer = post_call(call($asked[$i], []), key => keys_of($key));
            is($answer->{status}, $expected{$key}[$i], "$key, $asked[$i]: $expected{$key}[$i]");
            ok($answer->{signed}, "signed by $key as well");
        }
    }
};

subtest 'tokens that no key of this node made so' => sub {
    my $call = call('runlog.note', []);
    my $good = token($call);
    my ($payload, $stamp, $mac) = split /:/, $good;
    my $decoded = keys_of('other') =~ s/^whsec_//r;
    my %bad = (
        'SHA-1' => token($call, algorithm => 'sha1'), 'SHA-512' => token($call, algorithm => 'sha512'),
        'the default salt' => token($call, salt => 'django.core.signing'), 'another salt' => token($call, salt => 'x'),
        'a key of another node' => token($call, key => keys_of('main')), 'a SECRET_KEY' => token($call, key => 'django-insecure-x'),
        'the bytes of the key' => token($call, bytes => $decoded), 'the key without its prefix' => token($call, key => $decoded),
        'tampered' => ($payload =~ s/^(.)(.)/$1X/r) . ":$stamp:$mac", 'moved in time' => $payload . ':' . ($stamp =~ s/(.)$/$1 eq 'z' ? 'y' : 'z'/er) . ":$mac",
        'no signature' => "$payload:$stamp", 'no timestamp' => "$payload:$mac", 'a part more' => "x:$good", 'an empty signature' => "$payload:$stamp:",
        'marked as compressed' => ".$good", 'the SHA-1 example of Django' => 'ImhlbGxvIg:1QaUZC:YIye-ze3TTx7gtSv422nZA4sgmk', 'nothing' => '',
    );
    form_is_refused(401, $_, form_of($bad{$_})) for sort keys %bad;
    form_is_refused(401, "$_ s", form_of(token($call, ahead => $_))) for -100_000, -310, 310, 100_000;
    is(post_call(call('runlog.note', []), ahead => $_)->{status}, 200, "$_ s is taken") for -290, 290;
    is(post_form(form_of($good))->{json}{duplicate}, undef, 'of all of these nobody remembers the id');
};

subtest 'a form has the token and nothing else' => sub {
    my $good = form_of(token(call('runlog.note', [])));
    my $json = json(call('runlog.note', []));
    form_is_refused(401, "form $_->[0]", $_->[1])
        for ['empty', ''], ['twice', "$good&$good"], ['another field', "$good&x=1"], ['another field first', "x=1&$good"],
        ['a trailing &', "$good&"], ['another name', $good =~ s/data/token/r], ['a newline', "$good\r\n"], ['a NUL', "$good%00"],
        ['a bad escape', "$good%zz"], ['half an escape', "$good%3"], ['a blank', "$good+"], ['JSON', $json], ['JSON in it', "data=$json"];
    form_is_refused(401, "with $_", $good, more => ["$_: x"]) for qw(webhook-id webhook-timestamp webhook-signature);
    form_is_refused(401, 'with valid headers', $good, unsigned => 0);
    form_is_refused(401, 'headers alone', $json, unsigned => 0);
    is_problem(post_form($good, more => ['Content-Encoding: gzip']), 415, 'a content encoding');
    is_problem(post_form($good, type => 'application/json'), 401, 'as application/json');
    is_problem(post_form($good, type => 'multipart/form-data; boundary=x'), 415, 'as multipart/form-data');
    is(post_form($good)->{json}{outcome}, 'ok', 'alone it is taken');
};

subtest 'nothing inflates beyond ServicelessMaxBody' => sub {
    my $form = form_of(token(call('runlog.note', ['x' x $LIMIT]), compress => JSON::PP::true));
    cmp_ok(length $form, '<', $LIMIT / 500, 'a call of over 1 MiB in a form of some kilobytes');
    form_is_refused(413, 'it', $form);
    $form = form_of(token(call('runlog.note', ['x' x ($LIMIT - 1000)]), compress => JSON::PP::true));
    is(length post_form($form)->{json}{result}[0], $LIMIT - 1000, 'one that fits is run');
    form_is_refused(413, 'a form over the limit', 'data=' . 'x' x $LIMIT);
};

subtest 'it is off by default' => sub {
    my $form = form_of(token(call('runlog.note', []), key => keys_of('main')));
    is_problem(client()->post($form, unsigned => 1, type => $FORM), 415, 'a token of Django');
    is_problem(client()->post($form, type => $FORM), 415, 'and with a signature');
};

subtest 'the log says why, and shows nothing of the form' => sub {
    my $good = form_of(token(call('runlog.note', [])));
    my %why = (header => 'data=%1b%5bx', timestamp => form_of(token(call('runlog.note', []), ahead => 999)),
               signature => form_of(token(call('runlog.note', []), salt => 'x')));
    for my $reason (sort keys %why) {
        my $from = length error_log();
        eventually {
            post_form($why{$reason});
            return error_log($from) =~ /SVL\d{4}: refused: $reason \(401\): .*(?:token|form)/;
        } 10, "reason $reason";
    }
    unlike(error_log(), qr/whsec_|eyJ|\e/, 'no key, no token, nothing unprintable');
};

my $plain = client(port => port_of('other'), secret => keys_of('other'));
is($plain->call('runlog.note', [])->{json}{outcome}, 'ok', 'signed JSON is taken as before');
ok(server_lives(), 'the server lives');
close $requests;
waitpid $helper, 0;
is($?, 0, 'Django had nothing to complain about');

done_testing;
