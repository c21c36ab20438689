"""git repositories for tests."""

from __future__ import annotations

import subprocess
from pathlib import Path

_OPTIONS = ("-c", "user.name=User", "-c", "user.email=user@localhost", "-c", "init.defaultBranch=main")


def git(place: Path, *arguments: str, fails: bool = False) -> str:
    """Run git as a user does, without touching the index for a mere look; returns what it printed."""
    done = subprocess.run(
        ["git", "--no-optional-locks", *_OPTIONS, *arguments], cwd=place, capture_output=True, text=True, check=False
    )
    assert fails or done.returncode == 0, done.stderr
    return done.stdout.rstrip("\n")


def make_repository(place: Path) -> Path:
    """A repository with one commit: `a.txt`, `folder/b.txt`; what is named `ignored…` is."""
    (place / "folder").mkdir(parents=True)
    (place / "a.txt").write_text("a\n")
    (place / "folder" / "b.txt").write_text("b\n")
    (place / ".gitignore").write_text("ignored*\n")
    git(place, "init", "-q")
    git(place, "add", "-A")
    git(place, "commit", "-qm", "first")
    return place
