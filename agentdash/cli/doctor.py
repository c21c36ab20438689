"""`agentdash doctor`: is everything there that a run needs? Each finding in one line, never a secret."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from agentdash.cli.options import config_option, json_option, project_option
from agentdash.cli.output import say, say_json
from agentdash.config import Settings, load_settings
from agentdash.errors import AgentdashError, ExitCode
from agentdash.secret import redact
from agentdash.text import clean

OK, WARNING, PROBLEM = "ok", "warning", "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    check: str
    result: str
    detail: str


Check = Callable[[Settings], Iterator[Finding]]


@click.command(short_help="Check that all is there that a run needs.")
@project_option
@config_option
@json_option
def doctor(project: Path, config: Path | None, as_json: bool) -> int:
    """Check the environment, keys, folder, filesystem, clock and limits. Exit code 2 if something would not work."""
    found = list(examine(project, config))
    healthy = all(finding.result != PROBLEM for finding in found)
    if as_json:
        say_json({"ok": healthy, "checks": [asdict(finding) for finding in found]})
    else:
        for finding in found:
            say(f"{finding.result:8}  {finding.check:11}  {clean(finding.detail)}")
        say("Ready." if healthy else "Not ready: see the problems above.")
    return int(ExitCode.OK if healthy else ExitCode.USAGE)


def examine(project: Path, config: Path | None) -> Iterator[Finding]:
    """Every finding; a check that fails itself is one too."""
    from agentdash.cli.checks import CHECKS

    settings = Settings(project=project)
    try:
        settings = load_settings({"project": project}, config=config)
        workers = f"up to {settings.most_workers}" if settings.workers == "auto" else settings.workers
        yield Finding("settings", OK, f"{workers} workers, processor {redact(settings.processor)}")
    except AgentdashError as error:
        yield Finding("settings", PROBLEM, redact(error.message))
    for name, check in CHECKS.items():
        try:
            for finding in check(settings):
                yield Finding(finding.check, finding.result, redact(finding.detail))
        except AgentdashError as error:
            yield Finding(name, PROBLEM, redact(f"{error.message} {error.hint or ''}".strip()))
        except OSError as error:
            yield Finding(name, PROBLEM, redact(f"{error.strerror or error}: {error.filename or project}"))
