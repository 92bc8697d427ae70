# SPDX-License-Identifier: Apache-2.0
package Unsigned;

# Requests to the one server that are not signed as they must be: 401, and the body never says why.
use strict;
use warnings;
use Client qw(make_id sign);
use Exporter qw(import);
use OneServer;
use Test::More;

our @EXPORT = qw($BODY signed unauthorized);

our $BODY = Client->call_body('runlog.note', ['x']);
my $CONSTANT = '{"type":"about:blank","title":"Unauthorized","status":401,'
    . '"detail":"The signature headers do not authenticate the request."}';

# Posts what must be refused for $reason; options: body, and those of is_refused.  Inside refusals.
sub unauthorized {
    my ($reason, $name, %o) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $answer = is_refused(401, $name, delete $o{body} // $BODY, %o, reason => $reason);
    is($answer->{body}, $CONSTANT, "$name: the body is constant");
    ok(!exists $answer->{headers}{'webhook-signature'}, "$name: no signature that could be used elsewhere");
    return;
}

# One signed request, as options that can be varied; with its signature, and that without the version.
sub signed {
    my ($id, $now) = (make_id(), time);
    my $good = sign(keys_of('main'), $id, $now, $BODY);
    return ({id => $id, timestamp => $now, signature => $good}, $good, $good =~ s/^v1,//r);
}

1;
