"""The `.locks` folder: private to its owner, opened once, noticed when it is replaced."""

from __future__ import annotations

import errno
import logging
import os
import stat
from contextlib import suppress
from typing import Final

from agentdash.engine.locks.faults import lock_error
from agentdash.engine.locks.filesystem import filesystem_of, is_network_filesystem
from agentdash.errors import LockError

FOLDER_NAME: Final = ".locks"
_GITIGNORE: Final = b"# Written by agentdash: locks of running tasks.\n*\n"
_NEW_FILE: Final = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_OPEN_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

log = logging.getLogger(__name__)


class LockFolder:
    """A held descriptor of `PROJECT/.locks`, and the checks that it may be trusted.

    `fd` is -1 while closed; `one_case` is True where the file system does not tell capitals from small letters.
    """

    __slots__ = ("_allow_network", "_device", "_inode", "_warned", "fd", "one_case", "path", "writable")

    def __init__(self, project_dir: str | os.PathLike[str], *, allow_network_filesystem: bool) -> None:
        self.path = os.path.join(os.path.realpath(project_dir), FOLDER_NAME)
        self.fd = -1
        self.writable = False
        self.one_case = False
        self._allow_network = allow_network_filesystem
        self._warned = False
        self._device = self._inode = -1

    def prepare(self) -> int:
        """The descriptor of a folder that may be written to: made 0700 with its `.gitignore` if it is not there.

        Raises LockError when the folder is a link, another user's, on a network file system, or cannot be made.
        """
        if not self.writable:
            self._open(create=True)
        return self.fd

    def current(self) -> int | None:
        """The descriptor of the folder as it is now, opened again if it was replaced; None if there is none."""
        if not self._is_current():
            self.close()
            try:
                self._open(create=False)
            except FileNotFoundError:
                return None
        return self.fd

    def refresh(self) -> None:
        """Open (and make) the folder again if it was removed or replaced."""
        if not self._is_current():
            self.close()
            self._open(create=True)

    def close(self) -> None:
        """Close the descriptor; the next use opens it again."""
        if self.fd >= 0:
            os.close(self.fd)
        self.fd = -1
        self.writable = False

    def _is_current(self) -> bool:
        if self.fd < 0:
            return False
        try:
            found = os.stat(self.path, follow_symlinks=False)
        except OSError:
            return False
        return found.st_ino == self._inode and found.st_dev == self._device

    def _open(self, *, create: bool) -> None:
        self.close()
        try:
            self._refuse_network()
            if create:
                with suppress(FileExistsError):
                    os.mkdir(self.path, 0o700)
            self._refuse_link()
            self.fd = os.open(self.path, _OPEN_FOLDER)
            self._check_owner(create=create)
            if create:
                self._write_gitignore()
                self.writable = True
            self.one_case = self._ignores_case()
        except FileNotFoundError as error:
            self.close()
            if not create:
                raise
            raise lock_error(error, self.path) from error
        except OSError as error:
            self.close()
            raise lock_error(error, self.path) from error
        except BaseException:
            self.close()
            raise

    def _refuse_network(self) -> None:
        kind = filesystem_of(self.path)
        if not is_network_filesystem(kind):
            return
        if not self._allow_network:
            raise LockError(
                f"{os.path.dirname(self.path)} is on a network file system ({kind}), where locks do not hold",
                hint="Use a project folder on a local disk, or allow network file systems and run on one machine only.",
            )
        if not self._warned:
            self._warned = True
            log.warning(
                "locks on a network file system (%s) may not hold between machines",
                kind,
                extra={"action": "lock_network"},
            )

    def _refuse_link(self) -> None:
        mode = os.stat(self.path, follow_symlinks=False).st_mode
        if not stat.S_ISDIR(mode):
            what = "a symbolic link" if stat.S_ISLNK(mode) else "not a folder"
            raise LockError(f"{self.path} is {what}", hint="Remove it: agentdash makes its own folder.")

    def _check_owner(self, *, create: bool) -> None:
        found = os.fstat(self.fd)
        if found.st_uid != os.geteuid():
            raise LockError(
                f"{self.path} belongs to user {found.st_uid}, and this is user {os.geteuid()}",
                hint="Run as its owner, or remove the folder when no run uses it.",
            )
        self._device, self._inode = found.st_dev, found.st_ino
        if create and found.st_mode & 0o077:
            os.fchmod(self.fd, 0o700)

    def _write_gitignore(self) -> None:
        with suppress(FileNotFoundError):
            found = os.stat(".gitignore", dir_fd=self.fd, follow_symlinks=False)
            if found.st_size or not stat.S_ISREG(found.st_mode):
                return
        fd = os.open(".gitignore", _NEW_FILE, 0o600, dir_fd=self.fd)
        try:
            if os.pwrite(fd, _GITIGNORE, 0) != len(_GITIGNORE):
                os.ftruncate(fd, 0)  # the next start sees it empty and writes it again
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            os.close(fd)

    def _ignores_case(self) -> bool:
        """Whether `.gitignore` also answers to `.GITIGNORE`."""
        try:
            small = os.stat(".gitignore", dir_fd=self.fd, follow_symlinks=False)
            large = os.stat(".GITIGNORE", dir_fd=self.fd, follow_symlinks=False)
        except OSError:
            return False
        return small.st_ino == large.st_ino and small.st_dev == large.st_dev
