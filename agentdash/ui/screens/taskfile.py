"""A task kept as a file in the project's folder."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path
from typing import Final

import aiofiles

from agentdash.ui.screens.tasktext import TaskText, saved_text

_NAME_CHARS: Final = 80
_MOST_FILES: Final = 10_000
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]+")


async def save(folder: Path, task_id: str, text: TaskText) -> Path:
    """Write a task to a new file that only its owner may read; never over another one. Raises OSError."""
    name = _UNSAFE.sub("_", task_id)[:_NAME_CHARS].strip("._-") or "task"
    data = await asyncio.to_thread(lambda: saved_text(task_id, text).encode())
    for number in range(1, _MOST_FILES):
        path = folder / (f"{name}.md" if number == 1 else f"{name}-{number}.md")
        try:
            async with aiofiles.open(path, "xb", opener=_for_its_owner) as file:
                await file.write(data)
        except FileExistsError:
            continue
        except OSError:
            path.unlink(missing_ok=True)
            raise
        return path
    raise FileExistsError(f"There are {_MOST_FILES - 1:,} files of that name already.")


def _for_its_owner(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
