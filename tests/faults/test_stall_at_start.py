"""A run that has stalled, or is told to stop, before its workers began ends all the same."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.commands import HEADLESS, environment, run, write_tasks
from tests.faults.raw_server import RawServer, error_reply

pytestmark = [pytest.mark.process, pytest.mark.slow, pytest.mark.timeout(180)]
USED_UP = "You have reached your specified API usage limits. You will regain access on 2999-12-01 at 00:00 UTC."


def test_a_key_that_was_used_up_before(tmp_path: Path) -> None:
    """The second run knows at once that there is no usable key, while the SDK is still being loaded."""
    write_tasks(tmp_path, [{"id": "a", "prompt": "p"}])
    with RawServer(lambda _: error_reply("400 Bad Request", "invalid_request_error", USED_UP)) as server:
        for _ in range(2):
            text = run(tmp_path, *HEADLESS, ANTHROPIC_API_KEY="a-key-used-up", ANTHROPIC_BASE_URL=server.url)
            assert b"Reason: no usable key" in text
            assert text.endswith(b"exit code 4")
        assert len(server.requests) == 1


HANGS = """
import os, sys, threading
import agentdash.engine.facade
import agentdash.engine.processors.clients as clients
agentdash.engine.facade._LOADS_WITHIN_S = 0.1
def hang():
    os.write(1, b"loading\\n")
    threading.Event().wait()
clients._import_sdk = hang
from agentdash.__main__ import main
sys.exit(main())
"""


def test_an_import_that_never_ends_keeps_nobody(tmp_path: Path) -> None:
    """As one that finds no memory has done: a run that is told to stop leaves, and the thread with it."""
    write_tasks(tmp_path, [{"id": "a", "prompt": "p"}])
    variables = environment(ANTHROPIC_API_KEY="made-up-key", ANTHROPIC_BASE_URL="http://127.0.0.1:1")
    command = [sys.executable, "-c", HANGS, *HEADLESS]
    with subprocess.Popen(
        command, cwd=tmp_path, env=variables, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"loading\n"
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 130
        finally:
            process.kill()
