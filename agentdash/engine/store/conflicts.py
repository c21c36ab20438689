"""What `add` says of ids that are there twice, and of tasks that wait for what cannot be: the same words from every
form of the store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from agentdash.errors import BadInputError
from agentdash.model import TaskSpec

_SHOWN = 20
_IDS_SHOWN = 3
_CIRCLE_BEGIN, _CIRCLE_END = 6, 2
_HINT = "Give each task an id of its own; for changed tasks take new ids or another --project."
_LINK_HINT = (
    "A task may wait for any task of these files or of the project, without a circle. --skip-bad adds the others."
)


@dataclass(slots=True)
class Conflicts:
    """Collects conflicts; keeps the first twenty and counts them all."""

    lines: list[str] = field(default_factory=list)
    count: int = 0
    copies: dict[str, int] = field(default_factory=dict)
    bad_links: int = 0

    def rename(self, spec: TaskSpec) -> TaskSpec:
        """The next task of the same content, without an id of its own: `…-2`, `…-3`, the same at a second reading."""
        copy = self.copies.get(spec.id, 1) + 1
        self.copies[spec.id] = copy
        return replace(spec, id=f"{spec.id}-{copy}")

    def duplicate(self, spec: TaskSpec) -> None:
        """The id stands twice in what is being added."""
        self._note(f"{spec.source}: duplicate id {spec.id!r}")

    def changed(self, spec: TaskSpec) -> None:
        """The project knows the id with another content."""
        self._note(f"{spec.source}: task {spec.id!r} is in this project already, with another content")

    def unknown(self, spec: TaskSpec, ids: Sequence[str]) -> None:
        """The task waits for tasks that are not there."""
        shown = ", ".join(repr(task_id) for task_id in ids[:_IDS_SHOWN])
        more = f" and {len(ids) - _IDS_SHOWN} more" if len(ids) > _IDS_SHOWN else ""
        self._note_link(f"{spec.source}: after names {shown}{more}: there is no such task here or in this project")

    def circle(self, specs: Sequence[TaskSpec]) -> None:
        """Each of the tasks waits for the next, and the last for the first."""
        ids = [repr(spec.id) for spec in (*specs, specs[0])]
        if len(ids) > _CIRCLE_BEGIN + _CIRCLE_END + 1:
            left_out = len(ids) - _CIRCLE_BEGIN - _CIRCLE_END
            ids[_CIRCLE_BEGIN:-_CIRCLE_END] = [f"… ({left_out:,} more) …"]
        self._note_link(f"{specs[0].source}: after goes in a circle: {' → '.join(ids)}")

    def depends(self, spec: TaskSpec, on: str) -> None:
        """The task waits for one that is left out; only told where that is allowed."""
        self._note_link(f"{spec.source}: after names {on!r}, which is left out")

    def raise_if_any(self) -> None:
        """Raise `BadInputError` with every conflict listed (the first twenty and the count)."""
        if self.count:
            more = f"\n… and {self.count - len(self.lines)} more" if self.count > len(self.lines) else ""
            what, hint = ("conflicting task", "conflicting tasks"), _HINT
            if self.bad_links:
                what, hint = ("task that waits for what cannot be", "tasks that wait for what cannot be"), _LINK_HINT
            raise BadInputError(
                f"{self.count} {what[self.count > 1]}, nothing was added:\n" + "\n".join(self.lines) + more, hint=hint
            )

    def _note_link(self, line: str) -> None:
        self.bad_links += 1
        self._note(line)

    def _note(self, line: str) -> None:
        self.count += 1
        if len(self.lines) < _SHOWN:
            self.lines.append(line)
