"""One reader a format. Each streams tasks out of an open file and sends what is wrong to `bad`."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from agentdash.engine.intake.bad import BadLines, Reject, printable
from agentdash.engine.intake.fields import task_spec, unknown_names
from agentdash.engine.intake.jsontext import InvalidJSON, StrictDecoder
from agentdash.engine.intake.text import MAX_BYTES, text_lines, whole_text
from agentdash.errors import BadInputError
from agentdash.model import TaskSpec

Reader = Callable[[BinaryIO, str, BadLines], Iterator[TaskSpec]]

_BLANKS = " \t\r\n"
_JSON_START = re.compile(r'[ \t\r\n]*(?:\[|(\{)[ \t\r\n]*"requests"[ \t\r\n]*:[ \t\r\n]*\[)')
_JSON_BLANK = re.compile(r"[ \t\r\n]*")
_COLUMNS = ("id", "prompt", "system", "model", "max_tokens", "priority")
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}", re.ASCII)


def read_jsonl(stream: BinaryIO, file: str, bad: BadLines) -> Iterator[TaskSpec]:
    """One JSON object a line. Blank lines are passed over."""
    decode = StrictDecoder().line
    for number, line in enumerate(text_lines(stream, file, bad), 1):
        text = line.strip(_BLANKS)
        if not text:
            continue
        try:
            spec = task_spec(decode(text), f"{file}:{number}")
        except InvalidJSON as error:
            indent = len(line) - len(line.lstrip(_BLANKS))
            bad.add(file, number, error.at(error.pos + indent))
        except Reject as reject:
            bad.add(file, number, str(reject))
        else:
            yield spec


def read_json(stream: BinaryIO, file: str, bad: BadLines) -> Iterator[TaskSpec]:
    """An array of tasks, or `{"requests": [...]}`. Decoded element by element, so that each has its line.

    Raises BadInputError where the text stops being JSON: what follows cannot be told apart any more.
    """
    text = whole_text(stream, file, too_big="Write one task a line into a .jsonl file: those may be of any size.")
    if not text.strip(_BLANKS):
        return
    start = _JSON_START.match(text)
    if start is None:
        raise BadInputError(
            f'{file}:1: expected an array of tasks or {{"requests": [...]}}',
            hint="A file with one task a line must be named .jsonl.",
        )
    decoder = StrictDecoder()
    position = _JSON_BLANK.match(text, start.end()).end()  # type: ignore[union-attr]  # it matches nothing, too
    line, counted = text.count("\n", 0, position) + 1, position
    more = text[position : position + 1] != "]"
    while more:
        try:
            value, end, problem = decoder.value(text, position)
        except InvalidJSON as error:
            raise _broken_json(file, text, error) from None
        try:
            if problem is not None:
                raise Reject(problem)
            spec = task_spec(value, f"{file}:{line}")
        except Reject as reject:
            bad.add(file, line, str(reject))
        else:
            yield spec
        position, more = _next_element(file, text, end)
        line, counted = line + text.count("\n", counted, position), position
    _end_of_json(file, text, position + 1, in_object=start[1] is not None)


def _next_element(file: str, text: str, end: int) -> tuple[int, bool]:
    """Where the next element starts, or where the closing bracket is and False."""
    position = _skip_blanks(text, end)
    if text[position : position + 1] == "]":
        return position, False
    if text[position : position + 1] != ",":
        raise _broken_json(file, text, InvalidJSON("expected ',' or ']'", position))
    return _skip_blanks(text, position + 1), True


def _end_of_json(file: str, text: str, position: int, *, in_object: bool) -> None:
    position = _skip_blanks(text, position)
    if in_object:
        if text[position : position + 1] != "}":
            raise _broken_json(file, text, InvalidJSON("expected '}' after requests", position))
        position = _skip_blanks(text, position + 1)
    if position != len(text):
        raise _broken_json(file, text, InvalidJSON("more text after the end of the value", position))


def _skip_blanks(text: str, position: int) -> int:
    found = _JSON_BLANK.match(text, position)
    return found.end() if found else position


def _broken_json(file: str, text: str, error: InvalidJSON) -> BadInputError:
    line = text.count("\n", 0, error.pos) + 1
    column = error.pos - (text.rfind("\n", 0, error.pos) + 1)
    return BadInputError(f"{file}:{line}: {error.at(column)}", hint="The file as a whole must be valid JSON.")


def read_prompt_lines(stream: BinaryIO, file: str, bad: BadLines) -> Iterator[TaskSpec]:
    """A prompt a line, taken as it stands but for its line end. Blank lines are passed over."""
    for number, line in enumerate(text_lines(stream, file, bad, nul=False), 1):
        prompt = line.rstrip("\r\n")
        if prompt and not prompt.isspace():
            yield task_spec({"prompt": prompt}, f"{file}:{number}")


def read_prompt_file(stream: BinaryIO, file: str, task_id: str) -> TaskSpec:
    """The whole file as one prompt; CRLF becomes LF and the last line ends go, so that editors do not change the hash.

    Raises BadInputError for what is no text, and Reject for an empty prompt or a file name that is no id.
    """
    text = whole_text(stream, file, nul=False, too_big="A prompt is at most that long.")
    return task_spec({"id": task_id, "prompt": text.replace("\r\n", "\n").rstrip("\n")}, f"{file}:1")


def read_csv(stream: BinaryIO, file: str, bad: BadLines) -> Iterator[TaskSpec]:
    """A row a task under a header; an empty cell is an absent field. A row's line is the one it starts on.

    Raises BadInputError for a header that cannot be used.
    """
    # The module's limit is 128 KB a cell and global: there is no other way to allow long prompts.
    csv.field_size_limit(max(csv.field_size_limit(), MAX_BYTES))
    rows = csv.reader(text_lines(stream, file, None, nul=False), strict=True)
    header: list[str] = []
    while True:
        line = rows.line_num + 1
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            if not header:
                raise BadInputError(f"{file}:{line}: the header is not valid CSV: {error}") from None
            bad.add(file, line, f"invalid CSV: {error}")
            continue
        if not row or (len(row) == 1 and not row[0].strip()):
            continue
        if not header:
            header = _header(file, line, row)
            continue
        try:
            spec = task_spec(_row_task(header, row), f"{file}:{line}")
        except Reject as reject:
            bad.add(file, line, str(reject))
        else:
            yield spec


def _header(file: str, line: int, row: list[str]) -> list[str]:
    names = [name.strip() for name in row]
    known = f"The columns are {', '.join(_COLUMNS)} and metadata.NAME, separated by commas."
    unknown = [name for name in names if name not in _COLUMNS and not (name.startswith("metadata.") and name[9:])]
    if unknown:
        reason = unknown_names("column", unknown, _COLUMNS)
        raise BadInputError(f"{file}:{line}: {reason}", hint=known)
    for index, name in enumerate(names):
        if name in names[:index]:
            raise BadInputError(f"{file}:{line}: the column '{printable(name)}' appears twice", hint=known)
    if "prompt" not in names:
        raise BadInputError(f"{file}:{line}: there is no column prompt", hint=known)
    return names


def _row_task(header: list[str], row: list[str]) -> dict[str, Any]:
    if len(row) != len(header):
        raise Reject(f"{len(row)} columns, but the header has {len(header)}")
    task: dict[str, Any] = {}
    metadata: dict[str, str] = {}
    for name, cell in zip(header, row, strict=True):
        if not cell and name != "prompt":
            continue
        if name.startswith("metadata."):
            metadata[name[9:]] = cell
        elif name in ("max_tokens", "priority"):
            if not _INTEGER.fullmatch(cell.strip()):
                raise Reject(f"{name} must be an integer, found a string")
            task[name] = int(cell)
        else:
            task[name] = cell
    if metadata:
        task["metadata"] = metadata
    return task
