"""Hostile text in every field that reaches screen, log or file: shown, kept as it is, and obeyed by nobody."""

from __future__ import annotations

import json
import os
import re
import time
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from tests.faults.commands import AGENTDASH, environment, on_terminals, run_all
from tests.faults.hostile import (
    BAD_BYTES,
    CONTROLS,
    ESCAPES,
    LONG,
    MARKER,
    SHORT,
    foreign_in_lines,
    foreign_sequences,
)
from tests.faults.raw_server import RawServer, Request, error_reply, message_events, stream_reply
from tests.support.pty_terminal import PtyTerminal

pytestmark = [pytest.mark.process, pytest.mark.slow, pytest.mark.timeout(180)]

ITEMS = (*SHORT, *LONG)
ANSWER, REFUSE, RETURN, RAISE = "answer", "refuse", "return", "raise"
FOLDER = os.fsdecode(b"p\x1b]0;t\x07\x1b[7777m\xff\xe2\x80\xae\xc2\x9b31m\n[bold]$x" + "é\u0301".encode())
FILE = os.fsdecode(b"t\x1b[2J\r\n\xc2\x9b7777m\xff\xe2\x81\xa6[@click=app.quit].jsonl")
FUNCTION = """
import json
ITEMS = json.load(open("items.json"))
class Odd(Exception):
    pass
def call(task, worker_id):
    about, number, _ = task["prompt"].split("|", 2)
    item = ITEMS[int(number)]
    if about == "return":
        return item if int(number) % 2 else {item: [item]}
    error = type(item[:80].replace("\\0", "") if item.isprintable() else "Odd", (Odd,), {})(item)
    error.status_code, error.type, error.request_id = 400, item, item
    raise error
"""
AT_ONCE = 4
_MOST_MB = 700
_SECONDS = 60.0


def is_text(item: str) -> bool:
    """Whether UTF-8 has it."""
    return not any("\ud800" <= c <= "\udfff" for c in item)


def task(number: int, item: str, about: str) -> dict[str, Any]:
    """A task that holds the item wherever a task may hold text. Ids take no control characters."""
    fits = len(item) < 150 and is_text(item) and not {unicodedata.category(c) for c in item} & {"Cc", "Zl", "Zp"}
    held = (item if is_text(item) else MARKER)[: None if about == ANSWER else 1000]
    return {
        "id": f"{about}{number} {item}" if fits else f"{about}{number}",
        "prompt": f"{about}|{number}|{held}",
        "system": held,
        "model": held[:200],
        "metadata": {held[:200]: [held[:200]]},
    }


def as_header(item: str) -> bytes:
    """What of the item an HTTP header can carry to the client: no control characters but C1."""
    kept = re.sub("[\\x00-\\x1f\\x7f]", "", item[:500])
    return b"x" + kept.encode("utf-8", "surrogatepass")


def hostile(request: Request) -> bytes:
    """Answers with the item that the prompt names, everywhere."""
    about, number, _ = request.prompt.split("|", 2)
    item = ITEMS[int(number)]
    value = BAD_BYTES[int(number) % len(BAD_BYTES)] if int(number) % 3 == 0 else as_header(item)
    names = ("request-id", "anthropic-organization-id", "anthropic-workspace-id", "retry-after", "date")
    limits = [f"anthropic-ratelimit-requests-{name}" for name in ("limit", "remaining", "reset")]
    headers = [(name, value) for name in (*names, *limits)]
    if about == REFUSE:
        return error_reply("400 Bad Request", item, item, headers=headers)
    return stream_reply(*message_events(item, stop_reason=item, model=item[:500], id=item[:500]), headers=headers)


def write_project(folder: Path) -> None:
    """Tasks, the function's texts, and settings that name keys and models in the same way."""
    folder.mkdir()
    for name, kinds in ((FILE, (ANSWER, REFUSE)), ("function.jsonl", (RETURN, RAISE))):
        tasks = [task(number, item, about) for number, item in enumerate(ITEMS) for about in kinds]
        with (folder / name).open("w", encoding="ascii") as file:
            file.writelines(json.dumps(one) + "\n" for one in tasks)
    (folder / "items.json").write_text(json.dumps(ITEMS), encoding="ascii")
    (folder / "mine.py").write_text(FUNCTION)
    names = [item for item in SHORT if is_text(item)]
    entries = [
        {"name": f"{n}{name}", "api_key_env": f"KEY_{n}", "model": name, "limit_group": name}
        for n, name in enumerate(names)
    ]
    lines = [f"model = {_toml(ESCAPES[0])}"]
    for entry in entries:
        lines += ["[[credentials]]", *(f"{name} = {_toml(value)}" for name, value in entry.items())]
    (folder / "agentdash.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _toml(text: str) -> str:
    escaped = "".join(c if c.isalnum() and c.isascii() else f"\\U{ord(c):08x}" for c in text)
    return f'"{escaped}"'


KEYS = {f"KEY_{number}": f"key-number-{number}-0123456789" for number in range(len(SHORT))}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    """A project that has met every item, and what its headless run wrote on its terminal."""
    project = tmp_path_factory.mktemp("hostile") / FOLDER
    write_project(project)
    command = ["run", FILE, "--headless", "--max-attempts", "1", "--log-level", "debug", "--workers", "16"]
    with RawServer(hostile) as server:
        (done,) = on_terminals(project, [command], ANTHROPIC_BASE_URL=server.url, **KEYS).values()
    code, output = done
    assert code == 3, output[-2000:]
    return project, output


def results(project: Path) -> dict[str, Any]:
    """The lines of the results file by id."""
    lines = (project / "results.jsonl").read_bytes().split(b"\n")
    assert lines.pop() == b""
    return {line["custom_id"]: line for line in map(json.loads, lines)}


def test_progress_lines(place: tuple[Path, bytes]) -> None:
    _, output = place
    assert MARKER.encode() in output
    assert foreign_sequences(output) == []


def test_results_hold_the_text_as_it_came(place: tuple[Path, bytes]) -> None:
    found = results(place[0])
    for number, item in enumerate(ITEMS):
        answered = found[task(number, item, ANSWER)["id"]]
        assert answered["agentdash"]["output"] == item
        assert answered["result"]["message"]["stop_reason"] == item


def test_the_log_has_a_line_for_each_event(place: tuple[Path, bytes]) -> None:
    lines = (place[0] / ".agentdash" / "agentdash.log").read_bytes().split(b"\n")
    assert lines.pop() == b""
    events = [json.loads(line) for line in lines]
    assert all(event["message"].isprintable() for event in events), [
        e for e in events if not e["message"].isprintable()
    ]
    refused = [event for event in events if event["action"] == "failed" and "refuse" in event["message"]]
    assert len(refused) >= len(ITEMS)
    assert all(line.isascii() and len(line) < 20_000 for line in lines)


def test_json_outputs_are_json(place: tuple[Path, bytes]) -> None:
    project = place[0]
    shown = task(0, ITEMS[0], REFUSE)["id"]
    commands = [["status", "--json"], ["keys", "--json"], ["locks", "--json"], ["config", "--json"],
                ["tasks", "--json"], ["show", shown, "--json"], ["doctor", "--json"], ["export"]]  # fmt: skip
    for name, written in run_all(project, commands, **KEYS).items():
        lines = written.decode().split("\n")
        assert lines.pop() == ""
        if name == "export":
            lines = [line for line in lines if not line.endswith("not finished yet.")]
        for line in lines:
            json.loads(line)
            assert line.isascii() or name == "export"


def test_commands_on_a_terminal(place: tuple[Path, bytes]) -> None:
    project = place[0]
    chosen = [task(n, item, REFUSE if n % 2 else ANSWER)["id"] for n, item in enumerate(ITEMS)]
    commands = [["status"], ["tasks"], ["keys"], ["locks"], ["config"], ["doctor"], ["export"],
                ["export", "--format", "csv"],
                ["show", "no such task \x1b]0;x\x07"], ["requeue", "\u202e"], ["run", FILE + "\x1b]0;y\x07"],
                ["run", "--headless", "--processor", "mod\x1b]0;z\x07\u202e:f"], ["run", "--config", "\x1b[2J\x9b"],
                ["run", "--theme", "\x1b[2J"], ["\x1b]0;no\x07"], ["--\x1b[2J"]]  # fmt: skip
    commands += [["show", one] for one in chosen[::6]]
    written: dict[str, tuple[int, bytes]] = {}
    for start in range(0, len(commands), AT_ONCE):
        written |= on_terminals(project, commands[start : start + AT_ONCE], **KEYS)
    assert len(written) == len(commands)
    assert [name for name, (_, output) in written.items() if not output] == []
    found = {name: foreign_in_lines(output) for name, (_, output) in written.items()}
    assert {name: foreign for name, foreign in found.items() if foreign} == {}


def test_bad_input_is_told_in_harmless_lines(tmp_path: Path) -> None:
    """Ids that are refused, files that are none, names of fields: all of it is named in the message."""
    bad: list[dict[str, Any]] = [{"id": item, "prompt": "p"} for item in (*ESCAPES, *CONTROLS)]
    bad += [{item: item, "prompt": "p"} for item in SHORT] + [{"prompt": "p", "model": [item]} for item in SHORT]
    (tmp_path / FILE).write_text("".join(json.dumps(one) + "\n" for one in bad))
    (tmp_path / "u.csv").write_bytes(b"id,prompt," + b"\x1b]0;x\x07,".join(BAD_BYTES) + b"\n")
    (tmp_path / "v.json").write_bytes(b'[{"\x1b]0;\x07' + LONG[2].encode() + b'"}]')
    written = on_terminals(tmp_path, [["run", name] for name in (FILE, "u.csv", "v.json")], ANTHROPIC_API_KEY="x")
    assert [code for code, _ in written.values()] == [2, 2, 2]
    assert [foreign_in_lines(output) for _, output in written.values()] == [[], [], []]


def memory_mb(pid: int) -> float:
    """The most memory a process has had."""
    found = re.search(r"VmHWM:\s*(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


class AnyText(PtyTerminal):
    """pyte's own way to read its screen stumbles over marks that stand alone."""

    def screen(self) -> list[str]:
        self.pump()
        rows, columns = range(self._screen.lines), range(self._screen.columns)
        return ["".join(self._screen.buffer[row][column].data for column in columns).rstrip() for row in rows]


def press_until(terminal: PtyTerminal, key: str, shown: str) -> None:
    """Press a key, and again where the list was just being drawn anew under it."""
    for _ in range(5):
        terminal.send(key)
        try:
            terminal.wait_for(shown, 6.0)
        except AssertionError:
            continue
        return


def test_the_dashboard(place: tuple[Path, bytes]) -> None:
    """It runs a function that returns and raises every item, over the tasks that a server has answered with them."""
    project = place[0]
    command = [*AGENTDASH, "run", "function.jsonl", "--processor", "mine:call", "--max-attempts", "1"]
    started = time.monotonic()
    with AnyText(command, cwd=project, environment=environment()) as terminal:
        terminal.wait_for("FINISHED", _SECONDS)
        for opened, shown, keys in (
            ("\r", "esc Back", "jjjj \x1b"),
            ("", "─ Workers", "4jjjjj"),
            ("\r", "esc Back", "GgG\x1b"),
            ("", "─ Workers", ""),
            ("e", "Failed tasks by error", "jjj\x1b"),
            ("", "─ Workers", "5G"),
            ("\r", "esc Back", "mG\x1b\x1b"),
            ("", "─ Workers", ""),
            ("l", "─ Log", "Gkkkg\x1b"),
            ("", "─ Workers", ""),
            ("/", "id, text", f"{MARKER}\r"),
        ):
            press_until(terminal, opened, shown)
            terminal.wait_for(shown)
            for key in keys:
                terminal.send(key)
                terminal.pump(0.05)
        most_mb = memory_mb(terminal.process.pid)
        terminal.resize(80, 24)
        terminal.pump(0.3)
        terminal.send("\x1b\x1b")
        terminal.pump(0.3)
        terminal.send("q")
        terminal.pump(0.2)
        terminal.send("q")
        terminal.wait_exit(_SECONDS)
        output = terminal.output
    assert b"internal error" not in output
    assert MARKER.encode() in output
    assert foreign_sequences(output, bell=True) == []
    assert most_mb < _MOST_MB
    assert time.monotonic() - started < 2 * _SECONDS
    found = results(project)
    for number, item in enumerate(ITEMS):
        returned = found[task(number, item, RETURN)["id"]]["agentdash"]["value"]
        assert returned == (item if number % 2 else {item: [item]})
        assert found[task(number, item, RAISE)["id"]]["agentdash"]["state"] == "failed"
