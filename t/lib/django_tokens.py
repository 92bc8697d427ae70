# SPDX-License-Identifier: Apache-2.0
# Signs as an application with Django does.  Each line in is a request in JSON: {"call": …, "key": …} and, where it differs, "salt",
# "compress", "algorithm", and "ahead", by which the clock is wrong, in seconds.  Each line out is its token.
import base64
import json
import sys
import time
from unittest import mock

from django.conf import settings
from django.core import signing

settings.configure()
now = time.time

for line in sys.stdin:
    request = json.loads(line)
    key = base64.b64decode(request["bytes"]) if "bytes" in request else request["key"]
    settings.DEFAULT_HASHING_ALGORITHM = request.get("algorithm", "sha256")
    with mock.patch("time.time", lambda: now() + request.get("ahead", 0)):
        token = signing.dumps(request["call"], key=key, salt=request.get("salt", "serviceless"),
                              compress=request.get("compress", False))
    # what Django made Django takes, unless the clock is wrong
    assert signing.loads(token, key=key, salt=request.get("salt", "serviceless")) == request["call"]
    print(token, flush=True)
