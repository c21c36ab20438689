"""What `doctor` looks at, one function a matter."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sqlite3
import stat
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from agentdash.cli.doctor import OK, PROBLEM, WARNING, Check, Finding
from agentdash.cli.keys import without_userinfo
from agentdash.cli.output import amount
from agentdash.cli.project import open_project
from agentdash.config import Settings
from agentdash.engine.credentials import load_credentials, require_credentials
from agentdash.engine.locks import filesystem_of, is_network_filesystem
from agentdash.engine.store.sqlite import DATABASE, STATE_DIR

_PACKAGES = ("aiofiles", "aiohttp", "anthropic", "click", "genai-prices", "platformdirs", "rich", "textual")
_OLDEST_SQLITE = (3, 35, 0)
_EARLIEST, _LATEST = 1_735_689_600, 4_102_444_800  # 2025 to 2100: outside of that a clock is not set
_MOST_SKEW_S = 5.0
_OTHER_FILES = 64
_LITTLE_SPACE, _TOO_LITTLE_SPACE = 1 << 30, 50 << 20


def _python(_: Settings) -> Iterator[Finding]:
    fine = sys.version_info >= (3, 11)
    yield Finding("python", OK if fine else PROBLEM, f"{platform.python_version()} at {sys.executable}")


def _sqlite(_: Settings) -> Iterator[Finding]:
    fine = sqlite3.sqlite_version_info >= _OLDEST_SQLITE
    yield Finding("sqlite", OK if fine else PROBLEM, f"{sqlite3.sqlite_version} (3.35 or newer is needed)")


def _packages(_: Settings) -> Iterator[Finding]:
    found: list[str] = []
    for name in _PACKAGES:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            yield Finding("packages", PROBLEM, f"{name} is not installed")
    yield Finding("packages", OK, ", ".join(found))


def _keys(settings: Settings) -> Iterator[Finding]:
    loaded = load_credentials(configured=settings.credentials)
    for credential in require_credentials(loaded):
        server = without_userinfo(credential.server)
        yield Finding("keys", OK, f"{credential.name} {credential.api_key.hint} for {server}")
    for note in loaded.notes:
        yield Finding("keys", WARNING, note)


def _folder(settings: Settings) -> Iterator[Finding]:
    """Writable, or its nearest parent that exists is; what is there already is private and can be opened."""
    project = settings.project.absolute()
    place = _existing(project)
    with tempfile.TemporaryFile(dir=place):
        pass
    yield Finding("folder", OK, f"{project} can be written" if place == project else f"{project} can be made")
    state = project / STATE_DIR
    for path, mode in ((state, 0o700), (state / DATABASE, 0o600), (project / ".locks", 0o700)):
        if os.name != "nt" and path.exists() and (actual := stat.S_IMODE(path.stat().st_mode)) & ~mode:
            yield Finding("folder", WARNING, f"{path} has mode {actual:04o}, others can read it; {mode:04o} is right")
    if (state / DATABASE).exists():
        with open_project(project) as store:
            yield Finding("folder", OK, f"the project holds {store.counts().total:,} tasks")


def _filesystem(settings: Settings) -> Iterator[Finding]:
    kind = filesystem_of(_existing(settings.project.absolute()))
    if not is_network_filesystem(kind):
        yield Finding("filesystem", OK, kind or "type unknown, taken to be local")
        return
    result = WARNING if settings.allow_network_filesystem else PROBLEM
    yield Finding("filesystem", result, f"{kind} is a network filesystem: locks do not hold between machines")


def _clock(settings: Settings) -> Iterator[Finding]:
    now = time.time()
    if not _EARLIEST < now < _LATEST:
        yield Finding("clock", PROBLEM, f"it says {time.strftime('%Y-%m-%d', time.gmtime(now))}")
        return
    with tempfile.NamedTemporaryFile(dir=_existing(settings.project.absolute())) as file:
        skew = os.stat(file.name).st_mtime - time.time()
    if abs(skew) > _MOST_SKEW_S:
        yield Finding("clock", WARNING, f"the filesystem's clock is {skew:+.0f} s from this machine's")
    else:
        yield Finding("clock", OK, time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now)))


def _open_files(settings: Settings) -> Iterator[Finding]:
    if os.name == "nt":
        return
    import resource

    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    needed = 2 * settings.most_workers + _OTHER_FILES  # a lock and a connection each
    fine = limit == resource.RLIM_INFINITY or limit >= needed
    has = "no limit" if limit == resource.RLIM_INFINITY else f"{limit:,} allowed"
    detail = f"{has}, about {needed:,} needed for {settings.most_workers:,} workers"
    yield Finding("open files", OK if fine else PROBLEM, detail if fine else f"{detail}; raise it with `ulimit -n`")


def _disk(settings: Settings) -> Iterator[Finding]:
    free = shutil.disk_usage(_existing(settings.project.absolute())).free
    result = PROBLEM if free < _TOO_LITTLE_SPACE else WARNING if free < _LITTLE_SPACE else OK
    yield Finding("disk", result, f"{amount(free)} bytes free")


def _existing(path: Path) -> Path:
    """`path`, or the nearest folder above it that exists."""
    while not path.is_dir() and path != path.parent:
        if path.exists():
            raise NotADirectoryError(20, "not a folder", str(path))
        path = path.parent
    return path


CHECKS: Mapping[str, Check] = {
    "python": _python,
    "sqlite": _sqlite,
    "packages": _packages,
    "keys": _keys,
    "folder": _folder,
    "filesystem": _filesystem,
    "clock": _clock,
    "open files": _open_files,
    "disk": _disk,
}
