"""A planted key stands in no byte that is written, whoever quotes it: server, proxy, function, settings, a crash."""

from __future__ import annotations

import base64
import json
import re
import urllib.parse
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.faults.commands import AGENTDASH, HEADLESS, environment, run, run_all, run_as, write_tasks
from tests.faults.raw_server import RawServer, Request, error_reply, message_events, reply, stream_reply
from tests.faults.secrets import descendants, leaks, process_leaks
from tests.support.pty_terminal import PtyTerminal

pytestmark = [pytest.mark.process, pytest.mark.slow, pytest.mark.timeout(180)]

KEY = "zq7Canary.Qw9ZpX3LkV5tR2mN8bY4cJ6hG0sDfA1"
"""Like no key that a pattern could tell by its looks."""
OTHER = "pw7Canary-Ab3dEf6hIj9kLm2nOp5qRs8tUv1wXy4"
READING = (
    *(["status"], ["status", "--json"], ["tasks"], ["tasks", "--json"], ["keys"], ["keys", "--json"]),
    *(["doctor"], ["doctor", "--json"], ["locks"], ["config"], ["config", "--json"], ["export"]),
    *(["export", "--format", "csv"], ["export", "-o", "exported.jsonl"]),
)  # fmt: skip
REFUSED = "400 Bad Request"


# -- what servers say ------------------------------------------------------------------------------------------------
def quoting(request: Request) -> bytes | Iterator[bytes]:
    """Answers that hold the key of the request in all places but the answer's own text."""
    key, about = request.key, request.prompt
    headers = [
        *((name, f"x-{key}") for name in ("request-id", "anthropic-organization-id", "anthropic-workspace-id")),
        *((f"anthropic-ratelimit-requests-{name}", value) for name, value in (("limit", "900"), ("remaining", key))),
        ("retry-after", key),
    ]
    said = {
        "type": error_reply(REFUSED, key, "refused", headers=headers),
        "many": error_reply(REFUSED, "e", (key[5:] + key) * 300),
        "proxy": error_reply(REFUSED, "e", "Basic " + base64.b64encode(f"us:{key}".encode()).decode()),
        "part": error_reply(REFUSED, "e", f"wrong key {key[:14]}***, {key[-13:]}, {urllib.parse.quote(key)}"),
        "reason": reply(b"", status=f"400 {key}", headers=headers),
        "page": reply(f"<html>{key}".encode(), status=REFUSED, headers=[("content-type", f"text/{key}")]),
        "stop": stream_reply(*message_events("fine"), headers=headers),
    }
    return said.get(about) or error_reply(REFUSED, "invalid_request_error", f"refused: {key}", headers=headers)


SAID = ("type", "many", "proxy", "part", "reason", "page", "stop", "message")


def test_what_a_server_quotes_stays_here(tmp_path: Path) -> None:
    write_tasks(tmp_path, [{"id": about, "prompt": about} for about in SAID])
    with RawServer(quoting) as server:
        variables = {"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": server.url}
        texts = {"run": run(tmp_path, *HEADLESS, "--log-level", "debug", **variables)}
    assert texts["run"].endswith(b"exit code 3")
    texts |= run_all(tmp_path, [*READING, *(["show", about] for about in SAID)], **variables)
    assert b"refused: [redacted]" in texts["show message"]
    assert leaks([tmp_path], texts, [KEY]) == []


@pytest.mark.parametrize("raw", ["X{}\r\n\r\n", "HTTP/1.1 200 OK\r\nbad header {}\r\n\r\n", "events"])
def test_what_is_no_answer_at_all_is_not_quoted(raw: str, tmp_path: Path) -> None:
    def answer(request: Request) -> bytes:
        if raw != "events":
            return raw.format(request.key).encode()
        error = {"type": "error", "error": {"type": request.key, "message": request.key}}
        return stream_reply(*message_events("a")[:3], error)

    write_tasks(tmp_path, [{"id": "a", "prompt": "p"}])
    with RawServer(answer) as server:
        variables = {"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": server.url}
        texts = {"run": run(tmp_path, *HEADLESS[:-1], "2", **variables)}
    assert server.requests
    assert texts["run"].endswith(b"exit code 4")
    texts |= run_all(tmp_path, [["status"], ["show", "a"]], **variables)
    assert leaks([tmp_path], texts, [KEY]) == []


def test_an_answer_is_the_user_s_and_kept_as_it_is(tmp_path: Path) -> None:
    """Whoever asks a server that tells the key has it in the answer: changing answers is not ours. All else is."""
    write_tasks(tmp_path, [{"id": "a", "prompt": "p"}])
    with RawServer(lambda r: stream_reply(*message_events(f"your key is {r.key}", stop_reason=r.key))) as server:
        variables = {"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": server.url}
        texts = {"run": run(tmp_path, *HEADLESS, "--log-level", "debug", **variables)}
    (line,) = (tmp_path / "results.jsonl").read_text().splitlines()
    result = json.loads(line)
    assert result["agentdash"]["output"] == f"your key is {KEY}"
    assert result["result"]["message"]["stop_reason"] == KEY
    texts |= run_all(tmp_path, [command for command in READING if command[0] != "export"], **variables)
    logs = {str(path): path.read_bytes() for path in tmp_path.glob(".agentdash/*.log")}
    assert leaks([], texts | logs, [KEY]) == []


# -- what stands in the environment and in settings ------------------------------------------------------------------
def headers_back(request: Request) -> bytes:
    """An error that shows every header of the request, and the password that a proxy was given."""
    given = request.headers.get("proxy-authorization", "").removeprefix("Basic ")
    headers = json.dumps(dict(request.headers)) + base64.b64decode(given).decode()
    return error_reply(REFUSED, "e", headers)


@pytest.mark.parametrize("where", ["header", "proxy", "dead proxy"])
def test_secrets_of_others_that_travel_with_a_request(where: str, tmp_path: Path) -> None:
    write_tasks(tmp_path, [{"id": "a", "prompt": "p"}])
    with RawServer(headers_back) as server:
        port = server.port if where == "proxy" else 1
        proxy = {
            name: f"http://user:{OTHER}@127.0.0.1:{port}/" for name in ("HTTP_PROXY", "http_proxy") if where != "header"
        }
        url = server.url if where == "header" else "http://api.test.invalid"
        more = {"ANTHROPIC_CUSTOM_HEADERS": f"X-Mine: {OTHER}\nX-Two: b"} | proxy
        variables = {"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": url} | more
        texts = {"run": run(tmp_path, *HEADLESS[:-1], "2", "--log-level", "debug", **variables)}
        assert bool(server.requests) == (where != "dead proxy")
    texts |= run_all(tmp_path, [["status", "--json"], ["tasks"], ["show", "a"], ["doctor"], ["config"]], **variables)
    assert leaks([tmp_path], texts, [KEY, OTHER]) == []


WRONG = (
    'base_url = "https://user:{}@127.0.0.1/x"',
    'base_url = "https:/user:{}@[x/"',
    'base_url = "https://127.0.0.1/x?key={}"',
    'base_url = "https://127.0.0.1/x#{}"',
    'name = "{}"',
    'limit_group = "{}"',
    'api_key = "{}"',
    "name = {}",
)


@pytest.mark.parametrize("line", [*WRONG, 'api_key_env = "{}"'])
def test_a_key_in_the_wrong_place_of_the_settings(line: str, tmp_path: Path) -> None:
    name = KEY.replace(".", "_") if "env" in line else KEY  # as a variable may be called
    entry = [line.format(name), *([] if "env" in line else ['api_key_env = "MINE"'])]
    write_tasks(tmp_path, [{"id": "a", "prompt": "p"}])
    (tmp_path / "agentdash.toml").write_text("\n".join(["[[credentials]]", *entry, ""]))
    commands = [list(HEADLESS), ["keys"], ["doctor"], ["config"], ["config", "--json"]]
    texts = run_all(tmp_path, commands, MINE=KEY)
    assert leaks([], texts, [KEY, name]) == []
    assert b"api_key_env" in texts[" ".join(HEADLESS)] or b"credentials" in texts[" ".join(HEADLESS)] or "= {}" in line


@pytest.mark.parametrize("url", ["http://user:{}@127.0.0.1/x", "http://127.0.0.1/x?key={}", "http://[{}"])
def test_a_key_in_the_base_url(url: str, tmp_path: Path) -> None:
    write_tasks(tmp_path, [{"id": "a", "prompt": "p"}])
    variables = {"ANTHROPIC_API_KEY": "another-key-of-mine-4711", "ANTHROPIC_BASE_URL": url.format(OTHER)}
    texts = run_all(tmp_path, [list(HEADLESS), ["keys"], ["doctor"], ["config"]], **variables)
    assert b"No usable credentials: ANTHROPIC_BASE_URL" in texts[" ".join(HEADLESS)]
    assert leaks([tmp_path], texts, [OTHER]) == []


# -- what a user's function does -------------------------------------------------------------------------------------
FUNCTION = """
import asyncio, gc, os, threading, warnings
KEY = os.environ["MY_SERVICE_API_KEY"]
async def call(task, worker_id):
    about = task["prompt"]
    if about == "raise": raise ValueError("refused: " + KEY)
    if about == "class": raise type("E" + KEY, (Exception,), {})(KEY)
    if about == "group": raise ExceptionGroup(KEY, [ValueError(KEY)])
    if about == "base": raise BaseException(KEY)
    if about == "exit": raise SystemExit(KEY)
    if about == "fields":
        error = ValueError(KEY)
        error.status_code, error.type, error.request_id = 400, "t" + KEY, "r" + KEY
        raise error
    if about == "cause": raise RuntimeError("lost") from KeyError(KEY)
    async def lost(): raise ValueError(KEY)
    forgotten = asyncio.create_task(lost())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    del forgotten
    gc.collect()
    return "fine"
"""
DONE = ("raise", "class", "group", "base", "exit", "fields", "cause", "forgotten")


def test_what_a_function_raises(tmp_path: Path) -> None:
    """Its keys are its own: no credential of ours is loaded, and what it raises is told all the same."""
    write_tasks(tmp_path, [{"id": about, "prompt": about} for about in DONE])
    (tmp_path / "mine.py").write_text(FUNCTION)
    mine = {"MY_SERVICE_API_KEY": KEY}
    texts = {"run": run(tmp_path, *HEADLESS, "--processor", "mine:call", "--log-level", "debug", **mine)}
    assert texts["run"].endswith(b"exit code 3")
    texts |= run_all(tmp_path, [*READING, *(["show", about] for about in DONE)], **mine)
    assert b"refused: [redacted]" in texts["show raise"]
    assert leaks([tmp_path], texts, [KEY]) == []


# -- what the dashboard shows ----------------------------------------------------------------------------------------
BROKEN_DASHBOARD = """
import os, sys
from agentdash.ui.app import DashboardApp
def broken(self):
    key = os.environ["ANTHROPIC_API_KEY"]
    raise TypeError(f"{key} was refused, {key[:20]} too")
DashboardApp.action_log = broken
from agentdash.__main__ import main
sys.exit(main())
"""


def refusing(request: Request) -> bytes:
    return error_reply(REFUSED, request.key, f"refused: {request.key} " * 30, headers=[("request-id", request.key)])


def _is_back_from(shown: str, terminal: PtyTerminal) -> bool:
    """Whether the screen has gone: a key that comes at once behind an Escape is taken for Alt and that key."""
    return shown not in (text := terminal.text()) and "─ Credentials" in text


def test_every_screen_of_the_dashboard(tmp_path: Path) -> None:
    write_tasks(tmp_path, [{"id": f"t{n}", "prompt": "p"} for n in range(4)])
    screens: list[str] = []
    with RawServer(refusing) as server:
        variables = environment(ANTHROPIC_API_KEY=KEY, ANTHROPIC_BASE_URL=server.url)
        command = [*AGENTDASH, "run", "t.jsonl", "--max-attempts", "1", "--log-level", "debug"]
        with PtyTerminal(command, cwd=tmp_path, environment=variables) as terminal:
            terminal.wait_for("FINISHED", 20)
            pids = [terminal.process.pid, *descendants(terminal.process.pid)]
            found = process_leaks(pids, [KEY]) + process_leaks(pids[1:], [KEY], ["environ"])
            for keys, shown in (
                ("\r", "Attempts"),
                ("e", "Failed tasks by error"),
                ("l", "─ Log"),
                ("?", "Take no"),
                ("\x10", "Search"),
            ):
                terminal.send(keys)
                terminal.wait_for(shown)
                screens.append(terminal.text())
                terminal.send("\x1b")
                terminal.wait_for(partial(_is_back_from, shown, terminal))
            terminal.send("q")
            terminal.wait_exit()
            output = terminal.output
    assert found == []
    assert re.search(rb"\.\.\.|\xe2\x80\xa6" + KEY[-4:].encode(), output)  # the end of the key tells it from others
    assert leaks([tmp_path], [output, *screens], [KEY]) == []


def test_a_dashboard_that_breaks_down(tmp_path: Path) -> None:
    write_tasks(tmp_path, [{"id": "a", "prompt": "p"}])
    with RawServer(refusing) as server:
        variables = environment(ANTHROPIC_API_KEY=KEY, ANTHROPIC_BASE_URL=server.url)
        command = [AGENTDASH[0], "-c", BROKEN_DASHBOARD, "run", "t.jsonl", "--max-attempts", "1"]
        with PtyTerminal(command, cwd=tmp_path, environment=variables) as terminal:
            terminal.wait_for("FINISHED", 20)
            terminal.send("l")
            assert terminal.wait_exit() == 1
            output = terminal.output
    assert b"internal error in the dashboard: TypeError: [redacted] was refused, [redacted] too" in output
    assert "in broken" in (tmp_path / ".agentdash/agentdash.log").read_text()
    assert leaks([tmp_path], [output], [KEY]) == []


BROKEN_ENGINE = """
import os, sys
from agentdash.engine.facade import Engine
async def broken(self, **_):
    raise RuntimeError("of " + os.environ["ANTHROPIC_API_KEY"])
Engine.run = broken
from agentdash.__main__ import main
sys.exit(main())
"""


def test_a_program_that_breaks_down(tmp_path: Path) -> None:
    write_tasks(tmp_path, [{"id": "a", "prompt": "p"}])
    variables = {"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": "http://127.0.0.1:1", "AGENTDASH_DEBUG": "1"}
    text = run_as(tmp_path, HEADLESS, variables, code=BROKEN_ENGINE)
    assert b"Internal error: RuntimeError: of [redacted]" in text
    assert b"Traceback" in text
    assert "in broken" in (tmp_path / ".agentdash/agentdash.log").read_text()
    assert leaks([tmp_path], [text], [KEY]) == []
