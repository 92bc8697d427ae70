# SPDX-License-Identifier: Apache-2.0
# Threat 1: a tampered body, a wrong key, a removed key: 401.
use strict;
use warnings;
use Apache::Test ();
use Client qw(make_id);
use MIME::Base64 qw(encode_base64);
use OneServer;
use Poll;
use Test::More;
use Unsigned;

my ($o) = signed();

refusals 'threat 1: a body, id or timestamp that was not signed so' => sub {
    my $fresh = sub { return %{(signed())[0]} };
    my @signature = ('signature');
    unauthorized(@signature, 'tampered body', $fresh->(), body => $BODY =~ s/"x"/"y"/r);
    unauthorized(@signature, 'a byte more', $fresh->(), body => "$BODY\n");
    unauthorized(@signature, 'a byte less', $fresh->(), body => substr $BODY, 0, -1);
    unauthorized(@signature, 'no body', $fresh->(), body => '');
    unauthorized(@signature, 'another id', $fresh->(), id => make_id());
    unauthorized(@signature, 'another timestamp', $fresh->(), timestamp => time + 5);
    # id "." timestamp "." body: the parts must not change places
    unauthorized(@signature, 'a dot moved', $fresh->(), body => ".$BODY");
    unauthorized(@signature, 'a letter before the id', $fresh->(), id => 'x' . make_id());
    unauthorized(@signature, 'raw bytes behind the body', $fresh->(), body => "$BODY\e[31m\r\n", hostile => "\e[31m");
    unauthorized('header', 'not signed at all', unsigned => 1);
    is_refused(401, 'a message of a node, tampered with', '{"relay":{"from":"two","route":[],"arity":1}}' . "\n",
               type => 'application/x-ndjson', $fresh->(), reason => 'signature');
};
is(client()->post($BODY, %$o)->{status}, 200, 'threat 1: what was signed so is taken');

my $other = client(port => port_of('other'), secret => keys_of('other'));

refusals 'threat 1: a key that is not in the file' => sub {
    unauthorized('signature', 'no key of this fleet', secret => 'whsec_' . encode_base64('k' x 32, ''));
    unauthorized('signature', 'the key of another fleet on the same server', secret => keys_of('other'));
    unauthorized('signature', 'the key as text', secret => 'whsec_' . encode_base64(keys_of('main'), ''));
    unauthorized('signature', 'an empty key', secret => 'whsec_');
    unauthorized('signature', 'a key of this fleet there', client => client(port => port_of('other')));
};
is($other->call('runlog.note', [])->{json}{node}, 'other', 'threat 1: that key is good there');

# Adds a line to the server's key file, or takes it away, and restarts it gracefully.
my $path = Apache::Test::vars('t_conf') . '/keys';
sub rewrite_keys {
    my ($change) = @_;
    open my $in, '<', $path or die "cannot read $path: $!";
    local $_ = do { local $/; <$in> };
    $change->();
    open my $out, '>', $path or die "cannot write $path: $!";
    print $out $_;
    close $out or die "cannot write $path: $!";
    restart_gracefully();
    eventually { client()->get('/serviceless-status?format=json')->{json}{old_children} == 0 } 30, 'threat 1: no child has the keys of before';
    return;
}

my $secret = 'whsec_' . encode_base64(join('', map { chr int rand 256 } 1 .. 32), '');
rewrite_keys(sub { $_ .= "guest $secret call\n" });
is(client()->post($BODY, secret => $secret)->{status}, 200, 'threat 1: a key that was added is good');
rewrite_keys(sub { s/^guest .*\n//m });

refusals 'threat 1: a key that was removed' => sub {
    unauthorized('signature', 'by any child', secret => $secret) for 1 .. 10;
};
unlike(error_log(), qr/whsec_|\Q@{[$secret =~ s{^whsec_}{}r]}\E/, 'threat 1: no key in the log');

ok(server_lives(), 'the server lives');

done_testing;
