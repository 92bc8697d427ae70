<?php
// SPDX-License-Identifier: Apache-2.0
// Calls a function on a mod_serviceless fleet, with PHP (8.1 or newer) and no extension.
//
//   export SERVICELESS_URL=https://HOST/serviceless SERVICELESS_KEY_FILE=FILE
//   php call.php FUNCTION [JSON ...] [NAME:=JSON ...]
//
// Prints the answer.  Exit status: 0 ok, 1 any other outcome, 2 usage, 3 refused, no answer, or one that is not to be believed.
declare(strict_types=1);

const TRIES = 3;
const TIMEOUT = 60; // seconds, as are the next
const TOLERANCE = 300;
const NO_NODE = "this is a page of its httpd or of a proxy, not a node's answer: is it the URL of an endpoint, and may this address use it?";
const NOT_REACHED = '/^(php_network_getaddresses|Connection refused|Network is unreachable|No route to host)/';

function fail(int $status, string $message): never
{
    fwrite(STDERR, "call.php: $message\n");
    exit($status);
}

// A key file has a line for each key: id, secret, permissions.  The first one signs.  A node signs its answer with the fleet's key and,
// when another one asked, with that one too: the application's own key is enough to check it.
function read_keys(string $path): array
{
    $keys = [];
    foreach (@file($path) ?: [] as $line) {
        $words = preg_split('/\s+/', preg_replace('/#.*/', '', $line), -1, PREG_SPLIT_NO_EMPTY);
        if ($words && (!$keys || count($words) == 2 || in_array('relay', $words))) {
            $key = str_starts_with($words[1] ?? '', 'whsec_') ? base64_decode(substr($words[1], 6), true) : false;
            if (!$key || strlen($key) < 24) {
                fail(3, "key file $path: after the id stands whsec_ and the base64 of at least 24 bytes");
            }
            $keys[] = $key;
        }
    }
    return $keys ?: fail(3, "the key file $path cannot be read, or holds no key");
}

// The body of a call.  Each argument is JSON and is put in as it stands, so that no number loses digits.  A program with values of its
// own takes json_encode(['function' => $function, 'args' => $args, 'kwargs' => (object) $kwargs]).
function call_body(string $function, array $words): string
{
    $args = $kwargs = [];
    foreach ($words as $word) {
        $is_keyword = preg_match('/^([A-Za-z_][A-Za-z0-9_]*):=(.*)$/s', $word, $parts);
        $value = $is_keyword ? $parts[2] : $word;
        json_decode($value);
        if (json_last_error() !== JSON_ERROR_NONE) {
            fail(2, "this is not JSON: $value");
        }
        if ($is_keyword) {
            $kwargs[] = "\"$parts[1]\":$value";
        } else {
            $args[] = $value;
        }
    }
    return sprintf('{"function":%s,"args":[%s],"kwargs":{%s}}', json_encode($function), implode(',', $args), implode(',', $kwargs));
}

function sign(string $key, string $id, string $timestamp, string $body): string
{
    return 'v1,' . base64_encode(hash_hmac('sha256', "$id.$timestamp.$body", $key, true));
}

// True when a node signed the answer, for this call, and now.
function is_believable(array $keys, string $call, array $headers, string $body): bool
{
    [$id, $timestamp, $signatures] = array_map(fn ($name) => $headers["webhook-$name"] ?? '', ['id', 'timestamp', 'signature']);
    if (!str_starts_with($id, "$call:") || !preg_match('/^[1-9][0-9]{9}$/D', $timestamp) || abs(time() - $timestamp) > TOLERANCE) {
        return false;
    }
    foreach ($keys as $key) {
        foreach (explode(' ', $signatures) as $entry) {
            if (hash_equals(sign($key, $id, $timestamp, $body), $entry)) {
                return true;
            }
        }
    }
    return false;
}

// Returns status, headers by name, and body; when there is no answer, 0, none, and why.
function post(string $url, array $headers, string $body): array
{
    $options = ['method' => 'POST', 'header' => $headers, 'content' => $body, 'timeout' => TIMEOUT, 'ignore_errors' => true,
                'follow_location' => 0];
    $stream = @fopen($url, 'rb', false, stream_context_create(['http' => $options]));
    if (!$stream) {
        return [0, [], preg_replace('/^.*Failed to open stream: /s', '', error_get_last()['message'] ?? '')];
    }
    $answer = stream_get_contents($stream);
    $lines = stream_get_meta_data($stream)['wrapper_data'];
    $found = [];
    foreach (array_slice($lines, 1) as $line) {
        [$name, $value] = explode(':', $line, 2) + ['', ''];
        $found[strtolower($name)] = trim($value);
    }
    $status = (int) (explode(' ', $lines[0])[1] ?? 0);
    return [$status, $found, $status ? $answer : 'it is no HTTP'];
}

// Returns the text of the answer.  Tries again with the same id when it is not known what became of a call: it never runs twice.
function call(string $url, array $keys, string $body): string
{
    $id = bin2hex(random_bytes(16));
    $unknown = "; call $id may have been accepted";
    $doubt = '';
    for ($attempt = 0; $attempt < TRIES; $attempt++) {
        if ($attempt) {
            sleep(1);
        }
        $now = (string) time();
        [$status, $headers, $answer] = post($url, ['Content-Type: application/json', "webhook-id: $id", "webhook-timestamp: $now",
                                                   'webhook-signature: ' . sign($keys[0], $id, $now, $body)], $body);
        if ($status >= 200 && $status <= 299) {
            return is_believable($keys, $id, $headers, $answer) ? $answer
                : fail(3, "the answer of $url is not signed by a node: it is not believed$unknown");
        }
        if (!$status) {
            $problem = "no answer from $url ($answer)";
            $doubt = preg_match(NOT_REACHED, $answer) ? $doubt : $unknown;
            continue;
        }
        $problem = "$url answered $status: "
            . (str_starts_with($answer, '{') ? json_encode(substr($answer, 0, 500), JSON_INVALID_UTF8_SUBSTITUTE) : NO_NODE);
        if ($status < 500) {
            break;
        }
        $doubt = $unknown;
    }
    fail(3, $problem . $doubt);
}

$url = getenv('SERVICELESS_URL');
$key_file = getenv('SERVICELESS_KEY_FILE');
$words = array_slice($argv, 1);
if (!$url || !$key_file || !$words) {
    fail(2, 'usage: call.php FUNCTION [JSON ...] [NAME:=JSON ...], with SERVICELESS_URL and SERVICELESS_KEY_FILE set');
}
$answer = call($url, read_keys($key_file), call_body($words[0], array_slice($words, 1)));
echo "$answer\n";
exit(in_array(json_decode($answer)->outcome, ['ok', 'accepted'], true) ? 0 : 1);
