# SPDX-License-Identifier: Apache-2.0
# docs/clients/call.mjs: calls with Node.js and the package standardwebhooks.
#
# npm installs the package below the build tree, once, in the versions and with the checksums of package-lock.json beside this file, from
# the registry that it is configured for.  Without a network the first time, this test fails.
use strict;
use warnings;
use ClientProgram;
use File::Basename qw(dirname);
use File::Copy qw(copy);
use File::Path qw(make_path);
use File::Temp ();
use Fleet ();
use Test::More;

my $here = dirname(__FILE__);
my $directory = Fleet::build_directory() . '/clients';

sub text {
    my ($path) = @_;
    open my $file, '<', $path or return '';
    local $/;
    return <$file>;
}

sub install {
    my $done = "$directory/node_modules/.package-lock.json"; # what npm writes last
    return if -e $done && text("$directory/package-lock.json") eq text("$here/package-lock.json");
    needs('npm', 'npm');
    make_path($directory);
    for my $name (qw(package.json package-lock.json)) {
        copy("$here/$name", "$directory/$name") or die "cannot write $directory/$name: $!\n";
    }
    my $npm = "cd '$directory' && npm ci --cache cache --ignore-scripts --no-audit --no-fund --fetch-timeout 60000 2>&1";
    my $output = `$npm`;
    $? == 0 && -e $done or die "npm did not install standardwebhooks, which needs a network the first time:\n$output";
    return;
}

needs('node', 'nodejs');
install();

# The program as a user has it: a copy, beside the packages that were installed for it.
my $project = File::Temp->newdir('svl-client.XXXXXX', TMPDIR => 1);
copy(document('call.mjs'), "$project/call.mjs") or die "cannot write $project/call.mjs: $!\n";
symlink "$directory/node_modules", "$project/node_modules" or die "cannot write $project/node_modules: $!\n";
test_client('node', "$project/call.mjs");

my $sign = <<'END';
const { Webhook } = require("standardwebhooks");
const [secret, id, timestamp, body] = process.argv.slice(1);
const webhook = new Webhook(secret);
const signature = webhook.sign(id, new Date(timestamp * 1000), body);
Date.now = () => timestamp * 1000;
webhook.verify(body, { "webhook-id": id, "webhook-timestamp": timestamp, "webhook-signature": `v1,AAAA ${signature}` });
console.log(signature);
END
test_vectors(sub {
    local $ENV{NODE_PATH} = "$directory/node_modules";
    return output_of('node', '-e', $sign, '--', @_);
});

done_testing;
