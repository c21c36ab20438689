"""A run that has stalled before its workers began ends all the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.commands import HEADLESS, run, write_tasks
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
