"""Task locks: one file a running task, held through the kernel, so that a dead holder's lock is free at once."""

from __future__ import annotations

import sys

from agentdash.engine.locks.filesystem import filesystem_of, is_network_filesystem
from agentdash.engine.locks.names import lock_file_name
from agentdash.engine.locks.record import HeldLock, LockRecord

if sys.platform == "win32":
    from agentdash.engine.locks.windows import TaskLock
else:
    from agentdash.engine.locks.posix import TaskLock

__all__ = ["HeldLock", "LockRecord", "TaskLock", "filesystem_of", "is_network_filesystem", "lock_file_name"]
