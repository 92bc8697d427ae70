#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Calls a function on a mod_serviceless fleet, with Python's standard library.

    export SERVICELESS_URL=https://HOST/serviceless SERVICELESS_KEY_FILE=FILE
    python3 call.py FUNCTION [JSON ...] [NAME:=JSON ...]

Prints the answer.  Exit status: 0 ok, 1 any other outcome, 2 usage, 3 refused, no answer, or one that is not to be believed.
"""
import base64
import hmac
import http.client
import json
import os
import re
import sys
import time
import urllib.parse
import uuid

TRIES, TIMEOUT, TOLERANCE = 3, 60, 300
NO_NODE = (
    "this is a page of its httpd or of a proxy, not a node's answer: is it the URL of an endpoint, and may this address use it?"
)


class NotBelieved(Exception):
    """There is no answer of a node."""


class NotReached(Exception):
    """Nothing was sent."""


def read_keys(path):
    """A key file has a line for each key: id, secret, permissions.  The first one signs.  A node signs its answer with the fleet's key
    and, when another one asked, with that one too: the application's own key is enough to check it."""
    keys = []
    with open(path, encoding="utf-8") as file:
        for line in file:
            words = line.split("#")[0].split()
            if words and (not keys or words[2:] == [] or "relay" in words[2:]):
                secret = words[1] if len(words) > 1 else ""
                keys.append(base64.b64decode(secret.removeprefix("whsec_"), validate=True))
                if not secret.startswith("whsec_") or len(keys[-1]) < 24:
                    raise ValueError("after the id stands whsec_ and the base64 of at least 24 bytes")
    if not keys:
        raise ValueError("it holds no key")
    return keys


def sign(key, message_id, timestamp, body):
    mac = hmac.digest(key, f"{message_id}.{timestamp}.".encode() + body, "sha256")
    return "v1," + base64.b64encode(mac).decode()


def is_believable(keys, call_id, headers, body):
    """True when a node signed the answer, for this call, and now."""
    message_id, timestamp, signatures = (headers.get(f"webhook-{name}", "") for name in ("id", "timestamp", "signature"))
    if not message_id.startswith(call_id + ":") or not re.fullmatch("[1-9][0-9]{9}", timestamp):
        return False
    if abs(time.time() - int(timestamp)) > TOLERANCE:
        return False
    expected = [sign(key, message_id, timestamp, body).encode() for key in keys]
    return any(hmac.compare_digest(mac, entry.encode()) for mac in expected for entry in signatures.split())


def post(url, headers, body):
    """Returns status, headers and body; raises NotReached, or OSError or HTTPException when there is no whole answer."""
    parts = urllib.parse.urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    try:
        connection = kind(parts.netloc, timeout=TIMEOUT)
        connection.connect()
    except (OSError, http.client.InvalidURL) as error:
        raise NotReached(f"no answer from {url}: it cannot be reached ({error!r})") from error
    try:
        connection.request("POST", parts.path or "/", body, headers)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def call(url, keys, function, args, kwargs, send=post, prefix=""):
    """Returns the answer, a dict.  Tries again with the same id when it is not known what became of a call: it never runs twice.
    send does what post does; prefix is that of the id."""
    call_id = prefix + str(uuid.uuid4())
    unknown = f"; call {call_id} may have been accepted"
    doubt = ""
    body = json.dumps({"function": function, "args": args, "kwargs": kwargs}).encode()
    for attempt in range(TRIES):
        if attempt:
            time.sleep(1)
        timestamp = int(time.time())
        headers = {
            "Content-Type": "application/json",
            "webhook-id": call_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": sign(keys[0], call_id, timestamp, body),
        }
        try:
            status, headers, answer = send(url, headers, body)
        except NotReached as error:
            problem = str(error)
            continue
        except (OSError, http.client.HTTPException) as error:
            problem = f"no answer from {url} ({error!r})"
            doubt = unknown
            continue
        if 200 <= status <= 299:
            if not is_believable(keys, call_id, headers, answer):
                raise NotBelieved(f"the answer of {url} is not signed by a node: it is not believed{unknown}")
            return json.loads(answer)
        problem = f"{url} answered {status}: " + (repr(answer[:500]) if answer.startswith(b"{") else NO_NODE)
        if status < 500:
            break
        doubt = unknown
    raise NotBelieved(problem + doubt)


def main(words):
    args, kwargs = [], {}
    try:
        url, key_file, function = os.environ["SERVICELESS_URL"], os.environ["SERVICELESS_KEY_FILE"], words[0]
        for word in words[1:]:
            keyword = re.fullmatch(r"([A-Za-z_][A-Za-z0-9_]*):=(.*)", word, re.DOTALL)
            if keyword:
                kwargs[keyword[1]] = json.loads(keyword[2])
            else:
                args.append(json.loads(word))
    except (LookupError, ValueError) as error:
        print(f"call.py: {error!r}\n{__doc__}", file=sys.stderr)
        return 2
    try:
        keys = read_keys(key_file)
    except (OSError, ValueError) as error:
        print(f"call.py: key file {key_file}: {error}", file=sys.stderr)
        return 3
    try:
        answer = call(url, keys, function, args, kwargs)
    except (NotBelieved, ValueError) as error:
        print(f"call.py: {error}", file=sys.stderr)
        return 3
    print(json.dumps(answer, ensure_ascii=False))
    return 0 if answer["outcome"] in ("ok", "accepted") else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
