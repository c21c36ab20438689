"""From a task id, which may be nearly any text, to a file name that is safe, short and never shared by two ids."""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import Final

from agentdash.errors import LockError

PREFIX: Final = "task-"
SUFFIX: Final = ".lock"
MAX_ID_CHARS: Final = 200

# 120 keeps the whole name below 143 bytes, the limit of encrypted file systems such as eCryptfs.
_PLAIN: Final = re.compile(r"[A-Za-z0-9._-]{1,120}")
_PLAIN_ONE_CASE: Final = re.compile(r"[a-z0-9._-]{1,120}")
_NOT_PLAIN: Final = re.compile(r"[^a-z0-9._-]+")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_SLUG_CHARS: Final = 40
_DIGEST_BYTES: Final = 20


def lock_file_name(task_id: str, *, one_case: bool = False) -> str:
    """The name of the lock file of `task_id`, inside `.locks`.

    A plain id (up to 120 of `A-Z a-z 0-9 . _ -`) stands in it as it is. Any other id becomes `slug~digest`: `~` is not
    a plain character, so the two forms never meet, and the digest (160 bits of the id) tells the ids apart. With
    `one_case`, for folders that do not tell `T1` from `t1`, ids with capitals take the second form too.

    Raises LockError for an id with control characters or of more than 200 characters.
    """
    if (_PLAIN_ONE_CASE if one_case else _PLAIN).fullmatch(task_id):
        return f"{PREFIX}{task_id}{SUFFIX}"
    check_id(task_id, "task id")
    slug = _NOT_PLAIN.sub("_", task_id.lower())[:_SLUG_CHARS]
    digest = blake2b(task_id.encode("utf-8", "surrogatepass"), digest_size=_DIGEST_BYTES).hexdigest()
    return f"{PREFIX}{slug}~{digest}{SUFFIX}"


def check_id(text: str, what: str) -> None:
    """Raises LockError unless `text` has at most 200 characters and no control character."""
    if len(text) > MAX_ID_CHARS:
        raise LockError(f"{what} has {len(text)} characters", hint=f"Use at most {MAX_ID_CHARS}.")
    if _CONTROL.search(text):
        raise LockError(f"{what} {text!r} holds control characters", hint="Use printable characters only.")


def is_lock_file(name: str) -> bool:
    """Whether `name` has the form of a lock file's name."""
    return name.startswith(PREFIX) and name.endswith(SUFFIX) and len(name) > len(PREFIX) + len(SUFFIX)


def readable_id(name: str) -> str:
    """What the file name alone tells about the task: its id if it is plain, else the slug and the digest."""
    return name[len(PREFIX) : -len(SUFFIX)]
