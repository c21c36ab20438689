"""What holds for every test: nothing of the user's own machine leaks in, and nothing moves by chance."""

from __future__ import annotations

import os
import random
import signal

import pytest
from hypothesis import settings
from textual import constants

settings.register_profile("default", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, max_examples=50, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")


if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup the processes of the tests would ignore it as well


@pytest.fixture(autouse=True)
def _same_chances() -> None:
    """Jitter draws the same in every run of a test."""
    random.seed(0)


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No key, setting or configuration of the user reaches a test or the processes it starts."""
    for name in os.environ:
        if name.startswith(("AGENTDASH_", "ANTHROPIC_")) or name in {"NO_COLOR", "FORCE_COLOR"}:
            monkeypatch.delenv(name)
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    for kind in ("CACHE", "CONFIG", "DATA", "STATE"):
        monkeypatch.setenv(f"XDG_{kind}_HOME", str(home / kind.lower()))
    monkeypatch.setenv("TEXTUAL_ANIMATIONS", "none")
    # Textual reads that variable when imported, which the snapshot plugin does before this file is read.
    monkeypatch.setattr(constants, "TEXTUAL_ANIMATIONS", "none")
