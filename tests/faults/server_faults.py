"""What happens on the other side: server and network fail, keys are refused, answers are anything but answers."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agentdash.simulator.kinds import Kind
from tests.faults.actors import ROOT, start
from tests.faults.fault import Excuses, Fault, register
from tests.faults.proxy import bent, excess
from tests.faults.proxy.ways import WAYS
from tests.faults.proxy.wire import OURS
from tests.faults.stage import Stage

__all__ = ["bent", "excess"]
_FEW = (1, 2)
_STARTS_WITHIN_S = 10.0
_STALLED = 4
_OURS_IN_A_LINE = 2


def tell_simulator(stage: Stage, changes: dict[str, Any]) -> None:
    """Change the running server; one that is down or stopped just now stays as it is."""
    request = urllib.request.Request(
        f"{stage.simulator_url}/_simulator/config", data=json.dumps(changes).encode(), method="POST"
    )
    with suppress(OSError):
        urllib.request.urlopen(request, timeout=2).close()


# -- the server itself -----------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Down(Fault):
    """The server is gone: connections end, new ones are refused, until it is started again on its port."""

    def strike(self, stage: Stage) -> None:
        server = stage.server
        if server is None or not server.is_alive:
            return
        with urllib.request.urlopen(f"{stage.simulator_url}/_simulator/records", timeout=10) as response:
            seen = [json.loads(line) for line in response]
        server.kill()
        now = time.monotonic()
        stage.earlier_records += [
            record if record["finished_at"] is not None else record | {"finished_at": now, "kind": Kind.DISCONNECTED}
            for record in seen
        ]

    def heal(self, stage: Stage) -> None:
        if stage.server is not None and not stage.server.is_alive and stage.simulator_url:
            stage.start_server(int(stage.simulator_url.rpartition(":")[2]))


@dataclass(frozen=True, slots=True)
class Frozen(Fault):
    """The server is stopped: its kernel takes connections and requests, nobody answers."""

    def strike(self, stage: Stage) -> None:
        if stage.server is not None:
            stage.server.send(signal.SIGSTOP)

    def heal(self, stage: Stage) -> None:
        if stage.server is not None:
            stage.server.send(signal.SIGCONT)


@dataclass(frozen=True, slots=True)
class Changed(Fault):
    """The server behaves otherwise for a while. What changes, and what it was before."""

    changes: Callable[[Stage], dict[str, Any]] = field(default=lambda stage: {})
    healthy: Callable[[Stage], dict[str, Any]] = field(default=lambda stage: {})

    def strike(self, stage: Stage) -> None:
        tell_simulator(stage, self.changes(stage))

    def heal(self, stage: Stage) -> None:
        tell_simulator(stage, self.healthy(stage))


def _slow(stage: Stage) -> dict[str, Any]:
    first = stage.chance.choice((1.0, 4.0))
    return {"latency": {"distribution": "uniform", "first_token_s": first, "high_s": first + 2, "chunk_s": 0.05}}


def _fast(stage: Stage) -> dict[str, Any]:
    return {"latency": {"chunk_s": 0.0} | stage.simulator["latency"]}


def _failing(*kinds: str) -> Callable[[Stage], dict[str, Any]]:
    """Most requests, or all, fail so."""

    def changes(stage: Stage) -> dict[str, Any]:
        share = stage.chance.choice((0.3, 0.7, 1.0)) / len(kinds)
        return {"failures": dict.fromkeys(kinds, share)}

    return changes


def _well(*kinds: str) -> Callable[[Stage], dict[str, Any]]:
    return lambda stage: {"failures": dict.fromkeys(kinds, 0.0)}


def _storm(name: str, *kinds: str) -> Changed:
    return Changed(name, strikes=_FEW, lasts_s=(1.0, 6.0), changes=_failing(*kinds), healthy=_well(*kinds))


# -- keys ------------------------------------------------------------------------------------------------------------
_REFUSALS = ("invalid", "forbidden", "credit", "billing", "quota")


@dataclass(frozen=True, slots=True)
class KeysRefused(Fault):
    """One key is refused from now on, or all are for a while, and are good again."""

    everyone: bool = False
    kinds: tuple[str, ...] = _REFUSALS

    def strike(self, stage: Stage) -> None:
        names = ["key-1", "key-2"] if self.everyone else [stage.chance.choice(("key-1", "key-2"))]
        if not self.everyone and self.name in stage.notes:
            names = [stage.notes[self.name]]  # one stays good
        stage.notes[self.name] = names[0]
        tell_simulator(stage, {"keys": {name: {"kind": stage.chance.choice(self.kinds)} for name in names}})

    def heal(self, stage: Stage) -> None:
        """The server takes them again. A key out of use is tried again when the user says so."""
        if not stage.simulator_url or self.name not in stage.notes:
            return
        tell_simulator(stage, {"keys": {"key-1": {"kind": "ok"}, "key-2": {"kind": "ok"}}})
        if self.everyone and stage.project.exists():
            for name in ("key-1", "key-2"):
                stage.run("rotate", name)


# -- names -----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class NoNames(Fault):
    """The server's name does not resolve while a file is there; connections do not last, so that it matters."""

    def prepare(self, stage: Stage) -> None:
        base_url = start_proxy(stage)
        stage.base_url = base_url.replace("127.0.0.1", "localhost")
        flag = stage.folder / "no-names"
        error = stage.chance.choice((socket.EAI_AGAIN, socket.EAI_NONAME))
        stage.prepare_process.append(lambda: _patch_names(flag, error))

    def strike(self, stage: Stage) -> None:
        (stage.folder / "no-names").touch()
        order(stage, self.name, ["HTTP/1.0"], 1.0)

    def heal(self, stage: Stage) -> None:
        (stage.folder / "no-names").unlink(missing_ok=True)
        order(stage, self.name, [], 0.0)


def _patch_names(flag: Path, error: int) -> None:
    resolve = socket.getaddrinfo

    def failing(host: Any, *rest: Any, **more: Any) -> Any:
        if host == "localhost" and flag.exists():
            raise socket.gaierror(error, os.strerror(0) if error == socket.EAI_AGAIN else "Name or service not known")
        return resolve(host, *rest, **more)

    socket.getaddrinfo = failing


# -- answers ---------------------------------------------------------------------------------------------------------
def start_proxy(stage: Stage) -> str:
    """The proxy before the server, begun when the first fault of a round needs it; returns its URL."""
    if "proxy" in stage.notes:
        return str(stage.notes["proxy"])
    stage.folder.mkdir(parents=True, exist_ok=True)
    told = stage.folder / "proxy.txt"
    actor = start([str(stage.folder)], module="tests.faults.proxy", environment=dict(os.environ), cwd=ROOT, output=told)
    stage.on_close.append(actor.kill)
    deadline = time.monotonic() + _STARTS_WITHIN_S
    while b"\n" not in (text := told.read_bytes() if told.exists() else b""):
        actor.look()
        if not actor.is_alive or time.monotonic() > deadline:
            raise RuntimeError(f"the proxy does not start: {text!r}")
        time.sleep(0.005)
    stage.notes["proxy"] = str(json.loads(text.splitlines()[0])["base_url"])
    stage.notes["orders"] = {}
    return str(stage.notes["proxy"])


def order(stage: Stage, name: str, faults: list[str], share: float) -> None:
    """What the proxy is to do from now on in the name of one fault: the last of several that strike at once counts."""
    orders: dict[str, Any] = stage.notes["orders"]
    orders.pop(name, None)
    if faults:
        orders[name] = {"faults": faults, "share": share}
    told = stage.folder / "proxy.json"
    if not orders:
        told.unlink(missing_ok=True)
        return
    new = told.with_suffix(".new")
    new.write_text(json.dumps(list(orders.values())[-1]))
    new.replace(told)


@dataclass(frozen=True, slots=True)
class BadAnswers(Fault):
    """A share of the requests is answered in one of the proxy's ways of this name."""

    def prepare(self, stage: Stage) -> None:
        stage.base_url = stage.base_url or start_proxy(stage)

    def strike(self, stage: Stage) -> None:
        order(stage, self.name, [self.name], stage.chance.choice((0.2, 0.5, 1.0)))

    def heal(self, stage: Stage) -> None:
        if "orders" not in stage.notes:
            return
        order(stage, self.name, [], 0.0)
        log = stage.folder / "proxy-log.jsonl"
        notes = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
        unclean = [note["crossed"] for note in notes if note["way"] == "unclean"]
        crossed = sum(unclean)
        if stage.results().count(OURS.encode()) > crossed * _OURS_IN_A_LINE:
            _once(stage, "a task was given the answer to nobody's question")
        if crossed < len(unclean):
            _once(stage, "a request went over a connection on which something had come unasked")
        if any(note["way"] == "elsewhere" for note in notes):
            keys = " with the key" if any(note.get("key") for note in notes) else ""
            _once(stage, f"a redirect was followed{keys}")


def _once(stage: Stage, trouble: str) -> None:
    if trouble not in stage.trouble:
        stage.trouble.append(trouble)


_MORE_WORK = Excuses(repeats=True)
"""The simulator's answer did not arrive whole, so it is asked again."""
_GIVEN_UP = Excuses(repeats=True, overlaps=True)
"""The client gave up waiting and asks again; the server learns of it late."""
_MUCH_WORK = Excuses(repeats=True, overlaps=True, busy=True)
"""Gigabytes go to and fro, and what comes behind them may come too late."""
_EXCUSES = {
    "connections reset": _MORE_WORK,
    "streams cut": _MORE_WORK,
    "answers to nobody": _GIVEN_UP,  # the proxy passes on what it has read, whether its client is there or not
    "100 MB answers": _MUCH_WORK,
    "endless answers": _MUCH_WORK,
    "gzip bombs": _MUCH_WORK,
    "1xx floods": _MUCH_WORK,
}

register(
    Down("server down", strikes=_FEW, lasts_s=(1.0, 8.0), excludes=frozenset({"server"})),
    Frozen("server frozen", strikes=(1, 1), lasts_s=(2.0, 9.0), excludes=frozenset({"server"}), excuses=_GIVEN_UP),
    Changed("server slow", strikes=(1, 1), lasts_s=(3.0, 9.0), excuses=_GIVEN_UP, changes=_slow, healthy=_fast),
    _storm("429 storm", "rate_limited"),
    _storm("529 storm", "overloaded", "unavailable"),
    _storm("5xx storm", "api_error", "bad_gateway", "gateway_timeout"),
    _storm("error events", "error_event"),
    KeysRefused("one key refused", strikes=_FEW, lasts_s=(1.0, 6.0), excludes=frozenset({"keys"})),
    KeysRefused(
        "every key refused", strikes=(1, 1), lasts_s=(1.0, 6.0), excludes=frozenset({"keys"}), everyone=True,
        excuses=Excuses(codes=frozenset({_STALLED})),
    ),
    NoNames("DNS failing", strikes=_FEW, lasts_s=(2.0, 8.0)),
    *(
        BadAnswers(name, strikes=_FEW, lasts_s=(1.0, 6.0), excuses=_EXCUSES.get(name, Excuses()))
        for name in WAYS
        if name != "HTTP/1.0"
    ),
    BadAnswers("HTTP/1.0", strikes=_FEW, lasts_s=(1.0, 6.0)),
)  # fmt: skip
