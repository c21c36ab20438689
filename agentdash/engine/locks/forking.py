"""Keeps locks whole across `os.fork`: flock belongs to the open file, which a child shares with its parent.

If the child unlocked, the parent would lose its lock; if the child kept the descriptor, the lock would outlive the
parent. So the child closes every descriptor and unlocks none.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import Final, Protocol


class Inherited(Protocol):
    """Something that holds descriptors which a forked child must not keep."""

    def close_in_child(self) -> None:
        """Close all descriptors, unlock nothing, and be as good as new."""
        ...


# One guard for all lock objects. Held while a descriptor exists that is not recorded yet, and during a fork, so that a
# fork in another thread never copies a descriptor nobody would close. Re-entrant: a signal handler may fork.
GUARD: Final = threading.RLock()
_inherited: Final[weakref.WeakSet[Inherited]] = weakref.WeakSet()


def close_after_fork(holder: Inherited) -> None:
    """Have `holder.close_in_child()` called in every forked child."""
    with GUARD:
        _inherited.add(holder)


def _in_child() -> None:
    try:
        for holder in list(_inherited):
            holder.close_in_child()
    finally:
        GUARD.release()


os.register_at_fork(before=GUARD.acquire, after_in_parent=GUARD.release, after_in_child=_in_child)
