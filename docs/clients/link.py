#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes many calls over a link, a connection that is kept and needs no request for each; needs call.py beside it.

    export SERVICELESS_URL=http://HOST/serviceless SERVICELESS_KEY_FILE=FILE
    python3 link.py < CALLS

CALLS has a line for each, such as {"function": "example.sum", "args": [1, 2, 3], "kwargs": {}}.  Prints the answers, a line each, in
this order.  Exit status: 0 all ok, 1 any other outcome, 2 usage, 3 refused, no answer, or one that is not to be believed: no further call
is made then.
"""
import http.client
import json
import os
import select
import sys
import time
import urllib.parse

from call import TIMEOUT, NotBelieved, NotReached, call, read_keys

PREFIX = "link-"  # of the id of a call that asks for a link
AGAIN = 60  # seconds after a question in vain


class Link:
    """A connection to a node, kept, which the node makes a link or not: without one each call is a request."""

    def __init__(self):
        self.connection = self.given = None  # given: what the node answered the request with that became a link
        self.next = 0  # when to ask for one again, after it was not given

    def prefix(self):
        """Of the id of the next call: only one that asks for a link has that of a link."""
        if self.connection and not self.is_idle():
            self.close()
        return PREFIX if not self.given and time.monotonic() >= self.next else ""

    def send(self, url, headers, body):
        """Returns status, headers and body; raises NotReached, or OSError or HTTPException when there is no whole answer.  Then it is
        closed, and the next call asks for another one."""
        try:
            if self.connection and not self.is_idle():
                self.close()
            return self.frame(headers, body) if self.given else self.request(url, headers, body)
        except (OSError, http.client.HTTPException):
            self.close()
            raise

    def is_idle(self):
        """False when something came that nothing was asked for: the end of the connection, which may come at any time."""
        return not select.select([self.connection.sock], [], [], 0)[0]

    def connect(self, url, parts):
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        try:
            self.connection = kind(parts.netloc, timeout=TIMEOUT)
            self.connection.connect()
        except (OSError, http.client.InvalidURL) as error:
            raise NotReached(f"no answer from {url}: it cannot be reached ({error!r})") from error

    def request(self, url, headers, body):
        """One whose id has the prefix asks for a link.  A node that gives one answers the call over it."""
        parts = urllib.parse.urlsplit(url)
        asks = headers["webhook-id"].startswith(PREFIX) and parts.scheme != "https"
        upgrade = {"Connection": "Upgrade", "Upgrade": "serviceless-link"} if asks else {}
        if not self.connection:
            self.connect(url, parts)
        self.connection.request("POST", parts.path or "/", body, {**headers, **upgrade})
        answer = self.connection.getresponse()
        if answer.status == 101:
            self.given = answer
            return self.read()
        self.next = time.monotonic() + AGAIN if asks else self.next
        text = answer.read()
        if answer.will_close:
            self.close()
        return answer.status, answer.headers, text

    def frame(self, headers, body):
        message_id, timestamp, signature = (headers[f"webhook-{name}"] for name in ("id", "timestamp", "signature"))
        self.connection.sock.sendall(f"0 {len(body)} {message_id} {timestamp} - {signature}\n".encode() + body)
        return self.read()

    def read(self):
        words = self.given.fp.readline(1024).decode("ascii", "replace").rstrip("\n").split(" ", 5)
        if len(words) != 6 or not words[0].isdecimal() or not words[1].isdecimal():
            raise http.client.HTTPException("the link ended, or brought no answer")
        status, length, message_id, timestamp, _, signature = words
        answer = self.given.fp.read(int(length))
        if len(answer) != int(length):
            raise http.client.IncompleteRead(answer, int(length) - len(answer))
        return int(status), {"webhook-id": message_id, "webhook-timestamp": timestamp, "webhook-signature": signature}, answer

    def close(self):
        if self.connection:
            self.connection.close()
        self.connection = self.given = None


def main():
    try:
        url, key_file = os.environ["SERVICELESS_URL"], os.environ["SERVICELESS_KEY_FILE"]
    except LookupError as error:
        print(f"link.py: {error!r}\n{__doc__}", file=sys.stderr)
        return 2
    link, status = Link(), 0
    try:
        keys = read_keys(key_file)
        for line in sys.stdin:
            wanted = json.loads(line)
            answer = call(url, keys, wanted["function"], wanted.get("args", []), wanted.get("kwargs", {}), link.send, link.prefix())
            print(json.dumps(answer, ensure_ascii=False), flush=True)
            status = status if answer["outcome"] in ("ok", "accepted") else 1
    except (OSError, NotBelieved, LookupError, TypeError, AttributeError, ValueError) as error:
        print(f"link.py: {error}", file=sys.stderr)
        return 3
    finally:
        link.close()
    return status


if __name__ == "__main__":
    sys.exit(main())
