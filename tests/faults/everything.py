"""Every module that makes faults known."""

from tests.faults import (
    clock_faults,
    database_faults,
    disk_faults,
    folder_faults,
    lock_faults,
    process_faults,
    server_faults,
)

__all__ = [
    "clock_faults",
    "database_faults",
    "disk_faults",
    "folder_faults",
    "lock_faults",
    "process_faults",
    "server_faults",
]
