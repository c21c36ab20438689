"""`agentdash export`: the results of a project in task order, as JSON lines or CSV."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import click

from agentdash.cli.options import project_option
from agentdash.cli.output import count, is_terminal, tell
from agentdash.cli.project import open_project
from agentdash.engine.store import SqliteTaskStore
from agentdash.errors import StoreError
from agentdash.model import FINISHED_STATES
from agentdash.text import clean

_PLAIN = ("state", "attempts", "worker", "credential", "organization", "started_at", "finished_at", "duration_s")
_HEADS = ("id", *_PLAIN, "input_tokens", "output_tokens", "cost_usd", "error_type", "error_message", "output")


@click.command(short_help="Write the results as JSON lines or CSV.")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Write here, not on stdout.")
@click.option("--format", "form", type=click.Choice(["jsonl", "csv"]), default="jsonl", show_default=True)
@project_option
def export(output: Path | None, form: str, project: Path) -> None:
    """Write the results of the finished tasks, in the order of the tasks."""
    lines = _csv_lines if form == "csv" else _json_lines
    with open_project(project) as store:
        unfinished = store.counts().unfinished
        written = 0
        if output is None:
            make = _for_terminal if is_terminal(sys.stdout) else str.encode
            for line in lines(store):
                sys.stdout.buffer.write(make(line))
                written += 1
            sys.stdout.buffer.flush()
        else:
            with _replacing(output) as file:
                for line in lines(store):
                    file.write(line.encode())
                    written += 1
    results = count(written - (form == "csv"), "result")
    if output is not None:
        tell(f"{results} written to {clean(str(output))}.")
    if unfinished:
        tell(f"{count(unfinished, 'task')} of the project {'is' if unfinished == 1 else 'are'} not finished yet.")


def _results(store: SqliteTaskStore) -> Iterator[str]:
    for record in store.tasks(FINISHED_STATES):
        if (line := store.result(record.id)) is not None:
            yield line


def _json_lines(store: SqliteTaskStore) -> Iterator[str]:
    for line in _results(store):
        yield line + "\n"


def _csv_lines(store: SqliteTaskStore) -> Iterator[str]:
    buffer = io.StringIO()
    writer = csv.writer(buffer)

    def row(cells: tuple[object, ...]) -> str:
        buffer.seek(0)
        buffer.truncate()
        writer.writerow(cells)
        return buffer.getvalue().encode(errors="backslashreplace").decode()

    yield row(_HEADS)
    for line in _results(store):
        yield row(_cells(json.loads(line)))


def _cells(result: dict[str, Any]) -> tuple[object, ...]:
    details = result.get("agentdash") or {}
    usage = details.get("usage") or {}
    error = result["result"].get("error") or {}
    tokens = (usage.get("input_tokens"), usage.get("output_tokens"), details.get("cost_usd"))
    rest = (error.get("type"), error.get("message"), details.get("output"))
    return (result["custom_id"], *(details.get(name) for name in _PLAIN), *tokens, *rest)


def _for_terminal(line: str) -> bytes:
    """What a person looks at is shown, not interpreted by the terminal."""
    return f"{clean(line.rstrip())}\n".encode()


@contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    """A file that appears under its name when it is complete, readable by its owner only."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            with open(descriptor, "wb") as file:
                yield file
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror}.", hint="Name another file with -o.") from None
