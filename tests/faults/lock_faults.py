"""What happens to the files in `.locks`: deleted, replaced, cut, made links, folders, pipes, filled with garbage.

Whose lock file is taken from outside may meet a second request for its task; the fence admits one result all the same.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.faults.fault import Excuses, Fault, register
from tests.faults.stage import Stage

_MOST_FILES = 5
_GARBAGE = 10 << 20
_PLANTED = "planted in .locks"


@dataclass(frozen=True, slots=True)
class LockFiles(Fault):
    """Something is done to a few of the lock files that are there, or put where one will be wanted.

    `waits_for_heal`: it stands in the way until it is removed.
    """

    what: str = ""
    waits_for_heal: bool = False

    def unusable(self) -> str | None:
        return "root reads everything" if self.what == "unreadable" and os.geteuid() == 0 else None

    def strike(self, stage: Stage) -> None:
        folder = stage.project / ".locks"
        if not folder.is_dir():
            return
        stage.deaths.append(time.monotonic())
        held = [path for path in folder.glob("*") if path.name != ".gitignore"]
        free = [folder / f"task-t{n}.lock" for n in range(stage.tasks)]
        names = stage.chance.sample(held, min(len(held), _MOST_FILES)) + stage.chance.sample(free, 2)
        for path in names[: stage.chance.randint(1, len(names))]:
            # The program may be faster: a file that has gone meanwhile is nothing to damage.
            with suppress(FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError):
                self._damage(path, held or free, stage)
                stage.notes.setdefault(_PLANTED, []).append(path)

    def heal(self, stage: Stage) -> None:
        if not self.waits_for_heal:
            return
        stage.deaths.append(time.monotonic())
        for path in stage.notes.pop(_PLANTED, []):
            with suppress(FileNotFoundError, NotADirectoryError):
                if path.is_dir() and not path.is_symlink():
                    path.rmdir()
                elif path.is_symlink() or not path.is_file():
                    path.unlink()
                else:
                    path.chmod(0o600)

    def _damage(self, path: Path, others: list[Path], stage: Stage) -> None:
        if self.what == "cut":
            os.truncate(path, stage.chance.choice((0, 1, 20)))
        elif self.what == "garbage":
            with path.open("r+b" if path.exists() else "wb") as file:
                file.write(stage.chance.randbytes(1 << 16) * (_GARBAGE >> 16))
        elif self.what == "unreadable":
            path.chmod(0)
        elif self.what == "touched":
            os.utime(path, (0, 0) if stage.chance.random() < 0.5 else (4e9, 4e9))
        else:
            path.unlink(missing_ok=True)
            self._plant(path, others, stage)

    def _plant(self, path: Path, others: list[Path], stage: Stage) -> None:
        if self.what == "replaced":
            path.write_bytes(stage.chance.choice((b"", b"{}", b"somebody else's", stage.chance.randbytes(500))))
        elif self.what == "link":
            path.symlink_to(stage.chance.choice((Path(os.devnull), stage.folder / "nothing", *others[:3])))
        elif self.what == "hard link":
            os.link(stage.chance.choice(others), path)
        elif self.what == "folder":
            path.mkdir()
        elif self.what == "pipe":
            os.mkfifo(path)


_LOST = Excuses(overlaps=True, repeats=True)
"""Its holder stops a task whose lock is gone, and does not settle it."""
_BUSY = Excuses(codes=frozenset({4}), overlaps=True, repeats=True)
"""A name of another process's lock keeps a task busy as long as that process lives: a run may end as stalled."""
_IN_THE_WAY = Excuses(codes=frozenset({1, 2}), overlaps=True, repeats=True)
_FILES = frozenset({"project place", "lock files"})

register(
    LockFiles("lock files deleted", excuses=_LOST, excludes=_FILES, strikes=(1, 4), what="deleted"),
    LockFiles("lock files replaced", excuses=_LOST, excludes=_FILES, strikes=(1, 4), what="replaced"),
    LockFiles("lock files hard links", excuses=_BUSY, excludes=_FILES, strikes=(1, 4), what="hard link"),
    LockFiles("lock files links", excuses=_IN_THE_WAY, excludes=_FILES, lasts_s=(0.1, 2.0), what="link",
              waits_for_heal=True),
    LockFiles("lock files folders", excuses=_IN_THE_WAY, excludes=_FILES, lasts_s=(0.1, 2.0), what="folder",
              waits_for_heal=True),
    LockFiles("lock files pipes", excuses=_IN_THE_WAY, excludes=_FILES, lasts_s=(0.1, 2.0), what="pipe",
              waits_for_heal=True),
    LockFiles("lock files unreadable", excuses=_IN_THE_WAY, excludes=_FILES,
              lasts_s=(0.1, 2.0), what="unreadable", waits_for_heal=True),
    LockFiles("lock files cut", excludes=_FILES, strikes=(1, 4), what="cut"),
    LockFiles("lock files of garbage", excludes=_FILES, strikes=(1, 3), what="garbage"),
    LockFiles("lock files of another time", excludes=_FILES, strikes=(1, 4), what="touched"),
)  # fmt: skip
