"""What running tasks write as they write it: the last part of each, for whoever watches."""

from __future__ import annotations

from agentdash.model import OutputPart

KEPT_CHARS = 64 * 1024
_MANY_CHUNKS = 512


class LiveOutput:
    """What one attempt has written so far. Its processor adds to it, from whatever thread it runs in."""

    __slots__ = ("_added", "_kept", "attempt", "wait")

    def __init__(self, attempt: int) -> None:
        self.attempt = attempt
        self.wait: tuple[float, str] | None = None
        """Until when (monotonic) the task's program waits by itself, and why."""
        # The position of the first chunk, in characters since the attempt began, and the chunks: replaced together, so
        # that a reader in another thread finds them fitting.
        self._kept: tuple[int, list[str]] = (0, [])
        self._added = 0  # chunks since they were last made one

    def add(self, text: str) -> None:
        """Take the next piece: an append, and every so often some copying."""
        self._kept[1].append(text)
        self._added += 1
        if self._added >= _MANY_CHUNKS or len(text) > KEPT_CHARS:
            self._shorten()

    def since(self, position: int) -> OutputPart:
        """What was written from a position on, as far as it is kept."""
        first, chunks = self._kept
        text = "".join(chunks)
        end = first + len(text)
        wanted = position if 0 <= position <= end else 0  # beyond the end: that of an earlier attempt
        start = max(wanted, end - KEPT_CHARS)
        return OutputPart(text[start - first :], end, self.attempt, dropped=start - wanted)

    def _shorten(self) -> None:
        """Make the chunks one, without its beginning if it is too long: many small ones take up far more than that."""
        first, chunks = self._kept
        text = "".join(chunks)
        self._kept = (first + max(0, len(text) - KEPT_CHARS), [text[-KEPT_CHARS:]])
        self._added = 0


class LiveOutputs:
    """The outputs of the tasks that run in this process, by id. Bounded: each, and by how many run."""

    def __init__(self) -> None:
        self._outputs: dict[str, LiveOutput] = {}

    def begin(self, task_id: str, attempt: int) -> LiveOutput:
        """An attempt begins; `attempt` tells it from earlier ones of the task."""
        output = self._outputs[task_id] = LiveOutput(attempt)
        return output

    def end(self, task_id: str) -> None:
        """The attempt has ended: what it wrote is in its result, if it has one."""
        self._outputs.pop(task_id, None)

    def wait(self, task_id: str) -> tuple[float, str] | None:
        """Until when (monotonic) a task's program waits by itself, and why."""
        output = self._outputs.get(task_id)
        return None if output is None else output.wait

    def since(self, task_id: str, position: int) -> OutputPart | None:
        """What a task has written since a position; None if it does not run here."""
        output = self._outputs.get(task_id)
        return None if output is None else output.since(position)
