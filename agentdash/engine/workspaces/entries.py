"""What ties a worktree's folder to its repository: `.git` in the one, `worktrees/NAME/` in the other.

git writes them one after the other, so a kill leaves any part of it. They are read here as files, since git itself
would look for a repository further up where the tie is broken, and find the user's own.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

_ENTRIES: Final = "worktrees"
_MOST_BYTES: Final = 1 << 14
_BEING_MADE: Final = "initializing"
_NOT_NAMING: Final = re.compile(r"[^A-Za-z0-9]")


def entry_of(common: Path, place: Path) -> Path | None:
    """The entry of the worktree at `place`, if folder and entry name each other; else None."""
    entry = _named_by(place)
    if entry is None or entry.parent != common / _ENTRIES or _read(entry / "HEAD") is None:
        return None
    return entry if _folder_of(entry) == _real(place) else None


def tie(entry: Path, place: Path) -> None:
    """Let a worktree's folder and an entry name each other. Raises OSError."""
    for path, text in ((entry / "gitdir", f"{place / '.git'}\n"), (place / ".git", f"gitdir: {entry}\n")):
        new = path.with_name(f"{path.name}.new")
        new.write_bytes(os.fsencode(text))
        os.replace(new, path)


def moved_entry(common: Path, place: Path) -> Path | None:
    """The entry that `place` names, by its name alone, if no other worktree is tied to it: repository or project were
    moved, or copied."""
    named = _named_by(place)
    if named is None:
        return None
    entry = common / _ENTRIES / named.name
    if _read(entry / "HEAD") is None:
        return None
    folder = _folder_of(entry)
    return entry if folder is None or _named_by(folder) != entry or folder == _real(place) else None


def drop_entries(common: Path, *places: Path) -> None:
    """Remove the entries that name `places`, locked or not, and what a killed git has left of making one for them.

    To be called by who is alone with the repository. The branch, and with it every commit, stays.
    """
    for entry in _entries(common):
        named = _folder_of(entry)
        if any(named == _real(place) or (named is None and _was_begun_for(entry, place.name)) for place in places):
            remove_tree(entry)
    with suppress(OSError):  # not empty
        (common / _ENTRIES).rmdir()


def lost_entries(common: Path, folder: Path) -> Iterator[Path]:
    """The places inside `folder` that have an entry and no worktree any more."""
    for entry in _entries(common):
        named = _folder_of(entry)
        if named is not None and named.parent == _real(folder) and not named.exists():
            yield named


def remove_tree(place: Path) -> None:
    """Remove a folder with all that is in it, also what forbids it by its mode. Raises OSError."""

    def allow(function: Callable[..., Any], path: str, _: object) -> None:
        folder = os.path.dirname(path)
        os.chmod(folder, os.stat(folder).st_mode | stat.S_IRWXU)
        if not os.path.islink(path) and os.path.isdir(path):
            os.chmod(path, stat.S_IRWXU)
            shutil.rmtree(path)
        else:
            os.unlink(path)

    if place.is_symlink() or place.is_file():
        place.unlink()
    elif place.exists():
        shutil.rmtree(place, onerror=allow)


def _named_by(place: Path) -> Path | None:
    """The entry that the `.git` of a worktree names."""
    said = _read(place / ".git")
    if said is None or not said.startswith("gitdir:"):
        return None
    return _joined(place, said.removeprefix("gitdir:").strip())


def _entries(common: Path) -> list[Path]:
    try:
        return [path for path in (common / _ENTRIES).iterdir() if path.is_dir() and not path.is_symlink()]
    except OSError:
        return []


def _folder_of(entry: Path) -> Path | None:
    """The worktree that an entry is for."""
    said = _read(entry / "gitdir")
    return _joined(entry, said.strip()).parent if said and said.strip() else None


def _was_begun_for(entry: Path, name: str) -> bool:
    """git makes an entry's name of the folder's, with other marks for some and a number behind it if it is taken."""
    if (_read(entry / "locked") or _BEING_MADE).strip() != _BEING_MADE:
        return False
    mine, wanted = _NOT_NAMING.sub("", entry.name), _NOT_NAMING.sub("", name.removesuffix(".lock"))
    return mine.rstrip("0123456789") == wanted.rstrip("0123456789")


def _read(path: Path) -> str | None:
    try:
        with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            return os.fsdecode(file.read(_MOST_BYTES))
    except OSError:
        return None


def _joined(folder: Path, path: str) -> Path:
    """A path that may be relative to `folder`; its own last part is not followed if it is a link."""
    whole = Path(os.path.join(folder, path))
    return Path(os.path.realpath(whole.parent), whole.name)


def _real(place: Path) -> Path:
    return Path(os.path.realpath(place.parent), place.name)
