"""What happens to the disk under a project: full, without inodes, read-only, slow, and a sync that fails.

A disk is a small tmpfs of the round's own. What the program may do while it cannot write is end with a message; what it
must not do is fail a task for it, or say that something is done which is not on the disk.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from tests.faults.fault import Excuses, Fault, register
from tests.faults.stage import Stage

_CANNOT_WRITE = Excuses(codes=frozenset({1, 2}), repeats=True)
"""1: a write failed while running, 2: the folder could not be used at the start. An answer may not have been kept."""
_BLOCK = b"\0" * 4096


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
    """The disk is mounted read-only for a while, as after an error on it. While a file is open for writing the kernel
    refuses that, so all the processes are killed just before; those that begin then meet it."""

    def strike(self, stage: Stage) -> None:
        excuse_crashes(stage)
        for victim in stage.alive:
            stage.kill(victim)
        _mount(self.disk(stage), "remount,ro")

    def heal(self, stage: Stage) -> None:
        _mount(self.disk(stage), "remount,rw")


_SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static int is_there(const char *name) { const char *path = getenv(name); return path && access(path, F_OK) == 0; }
static int is_file(int fd) { struct stat s; return fd > 2 && fstat(fd, &s) == 0 && S_ISREG(s.st_mode); }
static unsigned draw(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (unsigned)(now.tv_nsec / 97 * 2654435761u) >> 8;
}
static void wait_for_disk(int fd, unsigned one_in) {
    if (!is_there("DISK_IS_SLOW") || !is_file(fd) || draw() % one_in) return;
    struct timespec pause = {0, (20 + draw() % 280) * 1000000L};
    nanosleep(&pause, 0);
}
static int is_refused(int fd) {
    if (!is_there("SYNC_FAILS") || !is_file(fd) || draw() % 4) return 0;
    errno = EIO;
    return 1;
}
#define NEXT(type, name) ((type)dlsym(RTLD_NEXT, name))
int fsync(int fd) { wait_for_disk(fd, 1); return is_refused(fd) ? -1 : NEXT(int (*)(int), "fsync")(fd); }
int fdatasync(int fd) { wait_for_disk(fd, 1); return is_refused(fd) ? -1 : NEXT(int (*)(int), "fdatasync")(fd); }
ssize_t write(int fd, const void *data, size_t size) {
    wait_for_disk(fd, 8);
    return NEXT(ssize_t (*)(int, const void *, size_t), "write")(fd, data, size);
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
    wait_for_disk(fd, 8);
    return NEXT(ssize_t (*)(int, const void *, size_t, off_t), "pwrite")(fd, data, size, at);
}
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    wait_for_disk(fd, 8);
    return NEXT(ssize_t (*)(int, const void *, size_t, off64_t), "pwrite64")(fd, data, size, at);
}
"""


@dataclass(frozen=True, slots=True)
class Interposed(Fault):
    """A library loaded before all others stands between the program and the disk, and is told by a file to be bad.

    `variable`: the environment variable by which it knows that file.
    """

    variable: str = ""

    def unusable(self) -> str | None:
        return None if shutil.which("cc") else "there is no C compiler (cc)"

    def prepare(self, stage: Stage) -> None:
        stage.folder.mkdir(parents=True, exist_ok=True)
        library, source = stage.folder / "disk.so", stage.folder / "disk.c"
        if not library.exists():
            source.write_text(_SHIM)
            command = ["cc", "-O1", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"]
            subprocess.run(command, check=True, capture_output=True)
        stage.must_exec = True
        stage.environment |= {"LD_PRELOAD": str(library), "PYTHONDONTWRITEBYTECODE": "1"}
        stage.environment[self.variable] = str(stage.folder / self.variable)

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
    Interposed("slow disk", lasts_s=(1.0, 4.0), variable="DISK_IS_SLOW"),
    Interposed("a sync fails", excuses=_CANNOT_WRITE, lasts_s=(0.5, 3.0), variable="SYNC_FAILS"),
)  # fmt: skip
