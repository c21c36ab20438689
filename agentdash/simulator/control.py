"""The simulator's own pages (`/_simulator/…`): records, counts, and changes at run time, for other processes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeVar

from aiohttp import web

from agentdash.errors import UsageError
from agentdash.simulator.codec import decode, encode
from agentdash.simulator.config import FailureRates, KeyBehaviour, Latency, OrganizationConfig
from agentdash.simulator.handler import Handler
from agentdash.simulator.rules import Rule

PREFIX = "/_simulator/"
_LINES_A_WRITE = 2_000
_SECTIONS = ("failures", "latency", "rules", "organizations", "keys")

T = TypeVar("T")


def apply_changes(handler: Handler, changes: Mapping[str, Any]) -> None:
    """Take over `changes` (plain JSON values) as a whole or, on a `UsageError`, not at all.

    `failures`, `latency` and each of `organizations` (by name) change only the fields given; `rules` and each
    behaviour in `keys` (by key name) are replaced.
    """
    if unknown := [name for name in changes if name not in _SECTIONS]:
        raise UsageError(f"config: unknown section {unknown[0]!r}", hint=f"known sections: {', '.join(_SECTIONS)}")
    faults = handler.faults
    failures = _merged(FailureRates, faults.rates, changes.get("failures", {}), "failures")
    latency = _merged(Latency, faults.latency, changes.get("latency", {}), "latency")
    listed = changes.get("rules", [])
    if not isinstance(listed, list | tuple):
        raise UsageError("rules: expected a list")
    rules = tuple(
        item if isinstance(item, Rule) else decode(Rule, item, f"rules[{number}]") for number, item in enumerate(listed)
    )
    organizations = {}
    for name, value in _by_name(changes, "organizations", handler.organizations):
        current = handler.organizations[name].config
        organizations[name] = _merged(OrganizationConfig, current, value, f"organizations.{name}")
        if organizations[name].name != name:
            raise UsageError(f"organizations.{name}: the name cannot change")
    behaviours = {
        name: _merged(KeyBehaviour, KeyBehaviour(), value, f"keys.{name}")
        for name, value in _by_name(changes, "keys", handler.keys)
    }
    faults.change_rates(failures)
    faults.latency = latency
    if "rules" in changes:
        faults.change_rules(rules)
    for name, organization in organizations.items():
        handler.organizations[name].change(organization)
    for name, behaviour in behaviours.items():
        handler.keys[name].change(behaviour)


def _merged(cls: type[T], current: T, value: Any, where: str) -> T:
    if isinstance(value, cls):
        return value
    if not isinstance(value, Mapping):
        raise UsageError(f"{where}: expected an object")
    return decode(cls, {**encode(current), **value}, where)


def _by_name(changes: Mapping[str, Any], section: str, known: Mapping[str, object]) -> list[tuple[str, Any]]:
    value = changes.get(section, {})
    if not isinstance(value, Mapping):
        raise UsageError(f"{section}: expected an object of names")
    for name in value:
        if name not in known:
            raise UsageError(f"{section}: unknown name {name!r}", hint=f"known: {', '.join(known)}")
    return list(value.items())


async def control(handler: Handler, request: web.BaseRequest) -> web.StreamResponse:
    """Answer a request below `PREFIX`. Only the machine itself may ask, and no web page through a borrowed name."""
    if not _is_local(request):
        return web.json_response({"error": "only for loopback"}, status=403)
    match request.method, request.path.removeprefix(PREFIX):
        case "GET", "records":
            return await _records(handler, request)
        case "GET", "stats":
            return web.json_response(handler.recorder.stats())
        case "POST", "config":
            return await _config(handler, request)
        case _:
            return web.json_response({"error": "no such page"}, status=404)


def _is_local(request: web.BaseRequest) -> bool:
    host = request.host.rsplit(":", 1)[0]
    return request.remote in ("127.0.0.1", "::1") and host in ("127.0.0.1", "localhost", "[::1]")


async def _records(handler: Handler, request: web.BaseRequest) -> web.StreamResponse:
    """JSON lines, oldest first; `?since=INDEX` leaves earlier ones out."""
    since = request.query.get("since", "0")
    if not since.isdecimal():
        return web.json_response({"error": "since: expected a number"}, status=400)
    records = handler.recorder.since(int(since))
    response = web.StreamResponse(headers={"content-type": "application/jsonl"})
    await response.prepare(request)
    for start in range(0, len(records), _LINES_A_WRITE):
        lines = [json.dumps(record.as_json()) for record in records[start : start + _LINES_A_WRITE]]
        await response.write(("\n".join(lines) + "\n").encode())
    await response.write_eof()
    return response


async def _config(handler: Handler, request: web.BaseRequest) -> web.StreamResponse:
    try:
        changes = json.loads(await request.read())
        if not isinstance(changes, dict):
            raise UsageError("config: expected an object")
        apply_changes(handler, changes)
    except UsageError as error:
        return web.json_response({"error": error.message, "hint": error.hint}, status=400)
    except ValueError as error:
        return web.json_response({"error": f"not JSON: {error}"}, status=400)
    return web.json_response({"ok": True})
