"""What `add` says of ids that are there twice: the same words from every form of the store."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from agentdash.errors import BadInputError
from agentdash.model import TaskSpec

_SHOWN = 20


@dataclass(slots=True)
class Conflicts:
    """Collects conflicts; keeps the first twenty and counts them all."""

    lines: list[str] = field(default_factory=list)
    count: int = 0
    copies: dict[str, int] = field(default_factory=dict)

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

    def raise_if_any(self) -> None:
        """Raise `BadInputError` with every conflict listed (the first twenty and the count)."""
        if self.count:
            more = f"\n… and {self.count - len(self.lines)} more" if self.count > len(self.lines) else ""
            raise BadInputError(
                f"{self.count} conflicting task{'s' if self.count > 1 else ''}, nothing was added:\n"
                + "\n".join(self.lines)
                + more,
                hint="Give each task an id of its own; for changed tasks take new ids or another --project.",
            )

    def _note(self, line: str) -> None:
        self.count += 1
        if len(self.lines) < _SHOWN:
            self.lines.append(line)
