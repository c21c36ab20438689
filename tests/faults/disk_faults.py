"""What happens to the disk under a project: full, without quota or inodes, read-only, slow, and a sync that fails.

A disk is a small tmpfs of the round's own. What the program may do while it cannot write is end with a message; what it
must not do is fail a task for it, or say that something is done which is not on the disk.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.faults.fault import Excuses, Fault, register
from tests.faults.stage import Stage

_CANNOT_WRITE = Excuses(codes=frozenset({1, 2}), repeats=True)
"""1: a write failed while running, 2: the folder could not be used at the start. An answer may not have been kept."""
_BLOCK = b"\0" * 4096
_SOURCE = Path(__file__).with_name("bad_disk.c")
_PRELOAD = "LD_PRELOAD"
_FILES_CLOSE_S = 2.0


def excuse_crashes(stage: Stage) -> None:
    """From now on processes end without settling what they hold: their tasks come back as those of a dead owner."""
    stage.deaths.extend([time.monotonic()] * 3)


def _mount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(folder)], check=True, capture_output=True)


@dataclass(frozen=True, slots=True)
class SmallDisk(Fault):
    """A tmpfs on the project folder (or on one for the results alone), with these mount options."""

    options: str = "size=24m"
    for_results: bool = False

    def unusable(self) -> str | None:
        return None if os.geteuid() == 0 else "mounting a disk needs root"

    def disk(self, stage: Stage) -> Path:
        """Where the disk is mounted."""
        return stage.folder / "results-disk" if self.for_results else stage.project

    def prepare(self, stage: Stage) -> None:
        disk = self.disk(stage)
        disk.mkdir(parents=True)
        _mount(disk, self.options)
        stage.on_close.append(lambda: _unmount(disk, stage.folder / "disk-after"))
        if self.for_results:
            stage.project.mkdir()
            (stage.project / "results.jsonl").symlink_to(disk / "results.jsonl")  # where the verdict looks for it
            stage.arguments += ["--results", str(disk / "results.jsonl")]


def _unmount(disk: Path, copy: Path) -> None:
    """Unmount, but keep what was on it beside the outputs: a round that fails is looked at later."""
    shutil.copytree(disk, copy, symlinks=True, ignore_dangling_symlinks=True, dirs_exist_ok=True)
    subprocess.run(["umount", "-l", str(disk)], check=True)


@dataclass(frozen=True, slots=True)
class DiskFull(SmallDisk):
    """A ballast file takes all room but a few blocks, so that it is now the database, now a lock that finds none."""

    def strike(self, stage: Stage) -> None:
        excuse_crashes(stage)
        ballast = self.disk(stage) / "ballast"
        with ballast.open("ab", buffering=0) as file:
            try:
                while True:
                    file.write(_BLOCK)
            except OSError:
                os.truncate(
                    ballast, max(0, ballast.stat().st_size - stage.chance.choice((0, 0, 1, 3, 10)) * len(_BLOCK))
                )

    def heal(self, stage: Stage) -> None:
        (self.disk(stage) / "ballast").unlink(missing_ok=True)
        excuse_crashes(stage)


@dataclass(frozen=True, slots=True)
class NoInodes(SmallDisk):
    """Every file that the disk can name is taken: nothing new can be made, what is there can still grow."""

    def strike(self, stage: Stage) -> None:
        excuse_crashes(stage)
        folder = self.disk(stage) / "ballast"
        try:
            folder.mkdir(exist_ok=True)
            for number in range(10_000):
                (folder / str(number)).touch()
        except OSError:
            pass
        for path in sorted(folder.glob("*"))[: stage.chance.choice((0, 0, 1, 2, 4))]:
            path.unlink()

    def heal(self, stage: Stage) -> None:
        shutil.rmtree(self.disk(stage) / "ballast", ignore_errors=True)
        excuse_crashes(stage)


@dataclass(frozen=True, slots=True)
class ReadOnly(SmallDisk):
    """The disk is mounted read-only for a while. While a file is open for writing the kernel refuses that, so all the
    processes are killed just before; those that begin then meet it."""

    def strike(self, stage: Stage) -> None:
        excuse_crashes(stage)
        for victim in stage.alive:
            stage.kill(victim)
        deadline = time.monotonic() + _FILES_CLOSE_S
        while True:
            try:
                _mount(self.disk(stage), "remount,ro")
            except subprocess.CalledProcessError:  # the kernel may close the last file of the dead a moment later
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
            else:
                return

    def heal(self, stage: Stage) -> None:
        _mount(self.disk(stage), "remount,rw")


def with_bad_disk(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment whose programs have a disk that can be made bad (bad_disk.c); as it is without a C compiler.

    The campaign itself is started in it, so that its forks are as well.
    """
    if shutil.which("cc") is None:
        return dict(environment)
    version = hashlib.sha256(_SOURCE.read_bytes()).hexdigest()[:12]
    library = _SOURCE.parent / "__pycache__" / f"bad_disk-{version}.so"
    if not library.exists():
        library.parent.mkdir(exist_ok=True)
        made = library.with_suffix(f".{os.getpid()}")
        command = ["cc", "-O1", "-Wall", "-shared", "-fPIC", "-o", str(made), str(_SOURCE), "-ldl"]
        subprocess.run(command, check=True, capture_output=True)
        made.rename(library)
    return {**environment, _PRELOAD: str(library)}


@dataclass(frozen=True, slots=True)
class BadDisk(Fault):
    """A library loaded before all others stands between the program and the disk, and is told by a file to be bad.

    `variable`: the environment variable by which it knows that file.
    """

    variable: str = ""

    def unusable(self) -> str | None:
        return None if "bad_disk" in os.environ.get(_PRELOAD, "") else "there is no C compiler (cc)"

    def prepare(self, stage: Stage) -> None:
        stage.environment |= {"PYTHONDONTWRITEBYTECODE": "1", self.variable: str(stage.folder / self.variable)}

    def strike(self, stage: Stage) -> None:
        if self.excuses.repeats:
            excuse_crashes(stage)
        (stage.folder / self.variable).touch()

    def heal(self, stage: Stage) -> None:
        (stage.folder / self.variable).unlink(missing_ok=True)


_ONE_DISK = frozenset({"project place"})

register(
    DiskFull("disk full", excuses=_CANNOT_WRITE, excludes=_ONE_DISK, lasts_s=(0.1, 2.5)),
    DiskFull("disk of the results full", excuses=_CANNOT_WRITE, excludes=_ONE_DISK, lasts_s=(0.1, 2.5),
             options="size=400k", for_results=True),
    NoInodes("no inodes left", excuses=_CANNOT_WRITE, excludes=_ONE_DISK, lasts_s=(0.1, 2.5),
             options="size=24m,nr_inodes=40"),
    ReadOnly("read-only disk", excuses=_CANNOT_WRITE, excludes=_ONE_DISK, lasts_s=(0.1, 2.0)),
    BadDisk("slow disk", lasts_s=(1.0, 4.0), variable="DISK_IS_SLOW"),
    BadDisk("a sync fails", excuses=_CANNOT_WRITE, lasts_s=(0.5, 3.0), variable="SYNC_FAILS"),
    BadDisk("disk turns read-only under the run", excuses=_CANNOT_WRITE, lasts_s=(0.1, 2.0),
            variable="DISK_IS_READ_ONLY"),
    BadDisk("disk quota used up", excuses=_CANNOT_WRITE, lasts_s=(0.1, 2.5), variable="QUOTA_IS_USED_UP"),
    BadDisk("no room for the log", lasts_s=(0.1, 20.0), variable="LOG_HAS_NO_ROOM"),
)  # fmt: skip
