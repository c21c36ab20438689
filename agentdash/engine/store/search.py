"""What it means that a task matches a text, as SQL."""

from __future__ import annotations

import re
from dataclasses import dataclass
from json.encoder import encode_basestring

from agentdash.engine.preview import PROMPT_FIRST
from agentdash.engine.store.codes import PENDING, RUNNING, storable
from agentdash.engine.store.ordering import condition, source
from agentdash.model import TaskState

_MAX_CHARS = 5000
"""A longer text is compared by its beginning: SQLite refuses patterns of more than 50,000 bytes."""
_WORKER = "worker-"
_NUMBER = re.compile("[0-9]*$")

_ERROR = (
    f"(error_type IS NOT NULL AND state <> {RUNNING} AND (error_type || ': ' || error_message) LIKE ?1 ESCAPE '\\')"
)
_BODY = "(body LIKE ?3 ESCAPE '\\' OR (body NOT LIKE ?4 ESCAPE '\\' AND body LIKE ?2 ESCAPE '\\'))"
_WORKED_ON = f"(state <> {PENDING} AND worker LIKE ?1 ESCAPE '\\')"


@dataclass(frozen=True, slots=True)
class Needle:
    """A text to look for: in ids, errors as they are shown, workers, and in the JSON of the tasks.

    ASCII letters match in any case, others as they are. None of it is a wildcard.
    """

    text: str

    @property
    def possible(self) -> bool:
        """Whether any task can hold it: SQLite keeps no NUL and no lone surrogate."""
        return storable(self.text) == self.text

    @property
    def may_be_worker(self) -> bool:
        """Whether it could be a part of `worker-<n>`; looking at that column costs as much as at the ids."""
        text = self.text[:_MAX_CHARS].lower()
        name = _NUMBER.sub("", text)
        return name == "" or (_WORKER.endswith(name) if name != text else name in _WORKER)

    def parameters(self) -> tuple[str, ...]:
        """The first ones of `query`, before the first and the last seq."""
        text = self.text[:_MAX_CHARS]
        json = _pattern(encode_basestring(text)[1:-1])
        # The field's name before the prompt is passed over, so that "prompt" does not match every task.
        beginning = f"{_pattern(PROMPT_FIRST)}%"
        return f"%{_pattern(text)}%", f"%{json}%", f"{beginning}{json}%", beginning

    def query(self, state: TaskState | None) -> str:
        """The matching tasks of a state whose seq is in a range, as one JSON array."""
        where = ["id LIKE ?1 ESCAPE '\\'", _ERROR, _BODY]
        if self.may_be_worker:
            where.insert(1, _WORKED_ON)
        tasks = source(state, few=state is TaskState.RUNNING)
        return (
            f"SELECT json_group_array(seq) FROM {tasks} CROSS JOIN bodies USING (seq)"
            f" WHERE tasks.seq BETWEEN ?5 AND ?6 AND {condition(state)} AND ({' OR '.join(where)})"
        )


def _pattern(text: str) -> str:
    """`text` for LIKE, where it stands for itself."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
