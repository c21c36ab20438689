"""What a project keeps of its tasks' worktrees: `.agentdash/workspaces/`, a file a task and a file a base."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

from agentdash.engine.command.attempts import safe_name

_SUFFIX: Final = ".json"
_BASE: Final = "base-"
_NEW_FILE: Final = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0)


@dataclass(frozen=True, slots=True)
class WorkspaceRecord:
    """A task's worktree. `repository` is the git directory that all worktrees share, `base` the commit it began from,
    `folder` where the task works in it. Until it is `ready` no program has ever worked in it."""

    task: str
    branch: str
    base: str
    repository: str
    folder: str = ""
    ready: bool = False


class Records:
    """The files of `folder`, for their owner only. What cannot be read is not there; writing raises OSError."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._real = Path(os.path.realpath(folder))

    def read(self, task_id: str) -> WorkspaceRecord | None:
        """A task's record."""
        return self._record(self._of(task_id))

    def write(self, record: WorkspaceRecord) -> None:
        """Keep it, whole or not at all."""
        new = self._write_new(
            self._of(record.task), {**asdict(record), "repository": self._told(Path(record.repository))}
        )
        os.replace(new, self._of(record.task))

    def remove(self, task_id: str) -> None:
        """Forget a task's worktree."""
        self._of(task_id).unlink(missing_ok=True)

    def all(self) -> Iterator[WorkspaceRecord]:
        """Every task's record, in no order."""
        with suppress(FileNotFoundError):
            for name in sorted(os.listdir(self.folder)):
                if name.endswith(_SUFFIX) and not name.startswith(_BASE):
                    record = self._record(self.folder / name)
                    if record is not None:
                        yield record

    def base(self, checkout: str, ref: str) -> str | None:
        """The commit that `ref` of a checkout stood for when it was first needed."""
        found = _load(self._of_base(checkout, ref)).get("commit")
        return found if isinstance(found, str) else None

    def keep_base(self, checkout: str, ref: str, commit: str) -> str:
        """Keep it for good; returns what another process has kept meanwhile, if one has."""
        place = self._of_base(checkout, ref)
        new = self._write_new(place, {"checkout": checkout, "ref": ref, "commit": commit})
        try:
            os.link(new, place)
        except FileExistsError:
            kept = self.base(checkout, ref)
            if kept is not None:
                return kept
            os.replace(new, place)
        finally:
            new.unlink(missing_ok=True)
        return commit

    def forget_bases(self) -> None:
        """When no worktree is left: the next one begins from what its base is then."""
        with suppress(FileNotFoundError):
            for path in self.folder.glob(f"{_BASE}*{_SUFFIX}"):
                path.unlink(missing_ok=True)

    def _record(self, path: Path) -> WorkspaceRecord | None:
        found = _load(path)
        texts = [found.get(name) for name in ("task", "branch", "base", "repository", "folder")]
        if not all(isinstance(text, str) for text in texts):
            return None
        task, branch, base, repository, folder = map(str, texts)
        repository = os.path.normpath(self._real / repository)
        return WorkspaceRecord(task, branch, base, repository, folder, found.get("ready") is True)

    def _told(self, path: Path) -> str:
        """A path of the repository: relative to here if the project is in it, since they are moved together."""
        return os.path.relpath(path, self._real) if self._real.is_relative_to(path.parent) else str(path)

    def _of(self, task_id: str) -> Path:
        return self.folder / f"{safe_name(task_id)}{_SUFFIX}"

    def _of_base(self, checkout: str, ref: str) -> Path:
        if self._real.is_relative_to(checkout):
            checkout = os.path.relpath(checkout, self._real)
        both = f"{checkout}\0{ref}".encode("utf-8", "surrogatepass")
        return self.folder / f"{_BASE}{blake2b(both, digest_size=16).hexdigest()}{_SUFFIX}"

    def _write_new(self, place: Path, values: Mapping[str, Any]) -> Path:
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = place.with_name(f".{place.name}.{os.getpid()}.tmp")
        with open(os.open(new, _NEW_FILE, 0o600), "w", encoding="ascii") as file:
            json.dump(dict(values), file)
            file.flush()
            os.fsync(file.fileno())
        return new


def _load(path: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
