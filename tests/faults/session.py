"""An agent's program in small: it asks the API once, over plain HTTP, and leaves something running behind its back.

Run as `python -I -S session.py`, with the prompt on its standard input; what came of it is its exit code (`CODES`).
"""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
from urllib.parse import urlsplit

CODES = {"service": 11, "limited": 12, "credential": 13, "overload": 14, "quota": 15}
_BY_STATUS = {401: "credential", 403: "credential", 402: "quota", 429: "limited", 503: "overload", 529: "overload"}
_TIMEOUT_S = 5.0
_MOST_BYTES = 1 << 20


def main() -> int:
    prompt = sys.stdin.read()
    subprocess.Popen(["sleep", "600"], stdin=subprocess.DEVNULL, start_new_session=True)  # as a shell tool's server is
    server = urlsplit(os.environ["ANTHROPIC_BASE_URL"])
    connection = http.client.HTTPConnection(server.hostname or "", server.port, timeout=_TIMEOUT_S)
    body = {"model": "claude-haiku-4-5", "max_tokens": 64, "messages": [{"role": "user", "content": prompt}]}
    headers = {"x-api-key": os.environ["ANTHROPIC_API_KEY"], "anthropic-version": "2023-06-01"}
    try:
        connection.connect()
    except OSError:
        return CODES["overload"]
    try:
        connection.request("POST", "/v1/messages", json.dumps(body), {"content-type": "application/json", **headers})
        response = connection.getresponse()
        data = response.read(_MOST_BYTES)
        if response.status != 200:
            return CODES[_BY_STATUS.get(response.status, "service")]
        message = json.loads(data)
        if message["stop_reason"] is None:
            return CODES["service"]
        print(message["content"][0]["text"])
    except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError):
        return CODES["service"]
    return 0


if __name__ == "__main__":
    sys.exit(main())
