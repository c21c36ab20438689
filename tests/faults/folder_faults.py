"""What happens to a project's folder and files: deleted, moved away and back, replaced by something else.

Deleted data is gone, and what was in it is paid for again. What is left to promise, and is judged: every process ends
with a message soon after (it would go on paying for answers that nobody can keep), the next run begins anew and
completes everything, and no results file holds a task twice.
"""

from __future__ import annotations

import os
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.faults.actors import Actor
from tests.faults.disk_faults import excuse_crashes
from tests.faults.fault import Excuses, Fault, register
from tests.faults.stage import Stage

_ENDS_WITHIN_S = 20.0
_NOTES = "folder faults"
_GONE = Excuses(codes=frozenset({1, 2}), repeats=True, overlaps=True)
"""Whoever comes next begins a project of its own where one is gone: the two know nothing of each other."""
_IN_THE_WAY = Excuses(codes=frozenset({1, 2}), repeats=True)


def _remove(path: Path) -> None:
    """Whatever stands there, while others still write into it."""
    for _ in range(200):
        with suppress(FileNotFoundError, OSError):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        if not os.path.lexists(path):
            return
        time.sleep(0.002)


def _put_in_place(path: Path, what: str, stage: Stage) -> None:
    elsewhere = stage.folder / "elsewhere"
    if what == "a file":
        path.write_text("this is somebody else's\n")
    elif what == "a folder":
        path.mkdir()
        (path / "theirs").touch()
    elif what == "a pipe":
        os.mkfifo(path)
    elif what == "a link into nothing":
        path.symlink_to(stage.folder / "nothing" / "there")
    elif what == "a link to /dev/null":
        path.symlink_to(os.devnull)
    elif what == "a link to a folder":
        elsewhere.mkdir(exist_ok=True)
        path.symlink_to(elsewhere)
    elif what == "a link to a file":
        elsewhere = stage.folder / "theirs.txt"
        elsewhere.write_text("this is somebody else's\n")
        path.symlink_to(elsewhere)


def _has_open(actor: Actor, path: Path) -> bool:
    """Whether a process has begun on this file: one that only starts finds what is there then."""
    folder = Path(f"/proc/{actor.pid}/fd")
    with suppress(OSError):
        for name in os.listdir(folder):
            with suppress(OSError):
                if os.readlink(folder / name) == str(path):
                    return True
    return False


@dataclass(frozen=True, slots=True)
class Gone(Fault):
    """A part of the project (`.`: all of it) is deleted, or moved away and, if `comes_back`, back again.

    `replacements`: what may stand in its place meanwhile. Where the database is gone, those who ran on it must end.
    """

    part: str = "."
    comes_back: bool = False
    replacements: tuple[str, ...] = ()

    def strike(self, stage: Stage) -> None:
        if _NOTES in stage.notes or stage.notes.get("not now"):
            return  # one at a time: what was moved comes back to where it was
        path = stage.project / self.part if self.part != "." else stage.project
        if not path.exists():
            return
        excuse_crashes(stage)
        aside = stage.folder / "aside"
        _remove(aside)
        at_work = [actor for actor in stage.alive if _has_open(actor, stage.project / ".agentdash" / "state.db")]
        if self.comes_back or stage.chance.random() < 0.3:
            path.rename(aside)
        else:
            _remove(path)
        stage.notes[_NOTES] = (path, aside, at_work, time.monotonic())
        if self.replacements and stage.chance.random() < 0.7:
            with suppress(FileExistsError):  # somebody was faster
                _put_in_place(path, stage.chance.choice(self.replacements), stage)

    def heal(self, stage: Stage) -> None:
        if _NOTES not in stage.notes:
            return
        path, aside, at_work, since = stage.notes.pop(_NOTES)
        excuse_crashes(stage)
        if self.comes_back:
            if self.part != "results.jsonl":
                self._end_those_in_between(stage, at_work)
            _remove(path)
            path.parent.mkdir(exist_ok=True)
            aside.rename(path)
            excuse_crashes(stage)
            return
        if self.part == "results.jsonl":
            if path.is_symlink() or not path.is_file() or path.read_bytes().startswith(b"this is"):
                _remove(path)
            return
        if self.part != ".locks":
            self._must_have_ended(stage, at_work, since)
        if self.replacements and (path.is_symlink() or not path.is_dir() or (path / "theirs").exists()):
            _remove(path)
        if self.part.startswith(".agentdash"):
            # As the message asks. Where a new database has taken the file already, it writes it anew.
            with suppress(FileNotFoundError):
                (stage.project / "results.jsonl").rename(stage.folder / f"results-{time.monotonic_ns()}.old")

    @staticmethod
    def _end_those_in_between(stage: Stage, at_work: list[Actor]) -> None:
        """Processes that began another project in the place of the one that comes back."""
        for actor in stage.alive:
            if actor not in at_work:
                stage.kill(actor)

    @staticmethod
    def _must_have_ended(stage: Stage, at_work: list[Actor], since: float) -> None:
        """Nobody goes on claiming tasks for a database that is gone."""
        deadline = since + _ENDS_WITHIN_S
        late = at_work
        while time.monotonic() < deadline:
            late = [actor for actor in stage.alive if actor in at_work and not actor.is_stopped]
            for actor in late:
                actor.look()
                if time.monotonic() > since + _ENDS_WITHIN_S / 2:
                    actor.press("q")  # a dashboard whose run was over waits for its user, and claims nothing
            if not any(actor.is_alive for actor in late):
                return
            time.sleep(0.01)
        stage.trouble.append(f"still at work {_ENDS_WITHIN_S:.0f} s after its database was gone: {late[0].output.name}")


_PLACE = frozenset({"project place"})
_NOT_FOLDERS = ("a file", "a pipe", "a link into nothing", "a link to /dev/null", "a link to a folder")
_NOT_FILES = (*_NOT_FOLDERS[1:], "a folder", "a link to a file")

register(
    Gone("project folder deleted", excuses=_GONE, excludes=_PLACE, strikes=(1, 1), lasts_s=(0.0, 2.0)),
    Gone("project folder moved away and back", excuses=_GONE, excludes=_PLACE, lasts_s=(0.02, 2.5), comes_back=True),
    Gone("database folder deleted", excuses=_GONE, excludes=_PLACE, strikes=(1, 1), lasts_s=(0.0, 2.0),
         part=".agentdash", replacements=_NOT_FOLDERS),
    Gone("database file deleted", excuses=_GONE, excludes=_PLACE, strikes=(1, 1), lasts_s=(0.0, 2.0),
         part=".agentdash/state.db"),
    Gone("database folder moved away and back", excuses=_GONE, excludes=_PLACE, lasts_s=(0.02, 2.5), comes_back=True,
         part=".agentdash", replacements=_NOT_FOLDERS),
    Gone("lock folder deleted", excuses=_GONE, excludes=_PLACE, lasts_s=(0.0, 2.0), part=".locks",
         replacements=_NOT_FOLDERS),
    Gone("lock folder moved away and back", excuses=_GONE, excludes=_PLACE, lasts_s=(0.02, 2.5), comes_back=True,
         part=".locks", replacements=_NOT_FOLDERS),
    Gone("results file deleted", excuses=_IN_THE_WAY, excludes=_PLACE, lasts_s=(0.0, 2.0), part="results.jsonl",
         replacements=_NOT_FILES),
    Gone("results file moved away and back", excuses=_IN_THE_WAY, excludes=_PLACE, lasts_s=(0.02, 2.5), comes_back=True,
         part="results.jsonl", replacements=_NOT_FILES),
)  # fmt: skip
