"""Real git repositories, small ones, and what a user sees of them."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from agentdash.engine.workspaces import Workspaces
from tests.support.repositories import git, make_repository


@pytest.fixture(autouse=True)
def _own_git(monkeypatch: pytest.MonkeyPatch) -> None:
    """No configuration of the machine's."""
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A user's checkout with two commits, of which one is tagged, and everything in it dirty that can be."""
    place = make_repository(tmp_path / "checkout")
    git(place, "tag", "first")
    (place / "a.txt").write_text("a\nsecond\n")
    git(place, "commit", "-qam", "second")
    git(place, "branch", "other", "first")
    (place / "a.txt").write_text("stashed\n")
    git(place, "stash", "-q")
    (place / "a.txt").write_text("a\nsecond\nin no commit\n")
    (place / "folder" / "staged.txt").write_text("staged\n")
    git(place, "add", "folder/staged.txt")
    (place / "new.txt").write_text("new\n")
    return place


@pytest.fixture
def workspaces(checkout: Path) -> Workspaces:
    """Those of a project in the checkout."""
    return open_workspaces(checkout)


def open_workspaces(project: Path, base: str | None = None) -> Workspaces:
    """As another process would have them."""
    return Workspaces(project, project / ".agentdash", base)


def seen_of(checkout: Path) -> dict[str, str]:
    """Everything of a checkout that is the user's: to be the same before and after."""
    common = checkout / git(checkout, "rev-parse", "--git-common-dir")
    own = checkout / git(checkout, "rev-parse", "--git-dir")
    refs = git(checkout, "for-each-ref", "--format=%(refname) %(objectname)").splitlines()
    return {
        "status": git(checkout, "status", "--porcelain", "--untracked-files=all"),
        "head": (own / "HEAD").read_text(),
        "index": hashlib.sha256((own / "index").read_bytes()).hexdigest(),
        "stash": git(checkout, "stash", "list"),
        "config": (common / "config").read_text(),
        "refs": "\n".join(ref for ref in refs if not ref.startswith("refs/heads/agentdash/")),
        "files": (checkout / "a.txt").read_text(),
    }


def entries(checkout: Path) -> list[str]:
    folder = checkout / ".git" / "worktrees"
    return sorted(os.listdir(folder)) if folder.is_dir() else []


async def is_whole(checkout: Path, workspaces: Workspaces) -> None:
    """What every mended worktree of t1 is like, and its repository."""
    place = await workspaces.prepare("t1", checkout)
    assert git(place, "rev-parse", "--show-toplevel") == str(place)
    assert git(place, "symbolic-ref", "HEAD") == "refs/heads/agentdash/t1"
    assert len(entries(checkout)) == 1
    assert git(checkout, "for-each-ref", "--format=%(refname)", "refs/heads/agentdash") == "refs/heads/agentdash/t1"
    assert os.listdir(workspaces.folder) == ["task-t1"]
    (place / "b.txt").write_text("works\n")
    git(place, "add", "b.txt")  # no lock is in the way
    git(place, "commit", "-qm", "works")
