"""From a task's id, which may be nearly any text, to the name of its branch."""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import Final

from agentdash.engine.command.attempts import safe_name

PREFIX: Final = "agentdash/"
HEADS: Final = "refs/heads/"

_PLAIN: Final = re.compile(r"(?!\.)(?!.*\.\.)(?!.*(?:\.|\.lock)$)[A-Za-z0-9._-]+", re.IGNORECASE)
_NOT_PLAIN: Final = re.compile(r"[^a-z0-9_]+")
_SLUG_CHARS: Final = 40
_DIGEST_BYTES: Final = 8


def branch_name(task_id: str, number: int = 1) -> str:
    """The branch of a task: `agentdash/ID` where git takes the id as it is, else `agentdash/slug@digest`.

    Neither `@` nor the `+` of the further names (`number` > 1: another project of the repository has the first one) is
    in a plain id, so no two tasks meet. There is no `/` in it: `a` and `a/b` could not both be branches.
    """
    name = task_id
    # Where files' names are told apart without regard to capitals, so are branches' names.
    if not _PLAIN.fullmatch(task_id) or safe_name(task_id) != f"task-{task_id}":
        slug = _NOT_PLAIN.sub("-", task_id.lower())[:_SLUG_CHARS].strip("-") or "task"
        digest = blake2b(task_id.encode("utf-8", "surrogatepass"), digest_size=_DIGEST_BYTES).hexdigest()
        name = f"{slug}@{digest}"
    return f"{PREFIX}{name}" + (f"+{number}" if number > 1 else "")
