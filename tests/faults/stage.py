"""The place of one round: a project, a server, processes, and what was done to them."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.faults import session
from tests.faults.actors import ROOT, Actor, start
from tests.faults.fault import Excuses, Fault

CANARY = "sk-ant-canary-7Qw9ZpX3LkV5"
"""Every key of a round begins with this; no byte that is written anywhere may hold it."""
_SERVER_STARTS_S = 20.0
_AS_COMMANDS = 0.1
"""So many rounds run each task as a program of its own."""


class Stage:
    """One round's place. Faults change what is here: the configurations before the start, the processes after it.

    `deaths`: when (monotonic) a process was sent something that may end it. `notes` belongs to the faults.
    """

    def __init__(self, number: int, folder: Path, chance: random.Random, faults: tuple[Fault, ...]) -> None:
        self.number = number
        self.folder = folder
        self.chance = chance
        self.faults = faults
        self.project = folder / "project"
        self.source = folder / "tasks.jsonl"
        self.tasks = chance.randint(20, 80)
        self.workers = chance.randint(2, 8)
        self.keys = tuple(f"{CANARY}-{number}-{n}" for n in (1, 2))
        self.simulator: dict[str, Any] = {
            "organizations": [{"name": "org-a"}, {"name": "org-b"}],
            "keys": [{"key": self.keys[0], "organization": "org-a"}, {"key": self.keys[1], "organization": "org-b"}],
            "latency": {"distribution": "uniform", "first_token_s": 0.05, "high_s": 0.4},
            "answer_tokens": 20,
        }
        self.settings: dict[str, Any] = {"first_token_timeout_s": 5, "idle_timeout_s": 5, "drain_timeout_s": 5}
        self.arguments: list[str] = []
        self.environment: dict[str, str] = {}
        self.prepare_process: list[Callable[[], None]] = []
        self.base_url = ""
        """Where the program finds the API: the simulator, or what a fault has put before it."""
        self.simulator_url = ""
        self.actors: list[Actor] = []
        self.deaths: list[float] = []
        self.excuses = Excuses()
        for fault in faults:
            self.excuses |= fault.excuses
        self.as_commands = chance.random() < _AS_COMMANDS and all(fault.spares_programs for fault in faults)
        """Whether each task is a program (session.py), as an agent's session is."""
        self.notes: dict[str, Any] = {}
        self.trouble: list[str] = []
        self.on_close: list[Callable[[], None]] = []
        self.starts = 0
        self.server: Actor | None = None
        self.earlier_records: list[dict[str, Any]] = []
        """What a server saw that was killed and has forgotten it."""

    # -- the place ---------------------------------------------------------------------------------------------------
    def open(self) -> None:
        """Make the project and its tasks, and start the server."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.project.mkdir(exist_ok=True)
        lines = (json.dumps({"id": f"t{n}", "prompt": f"Round {self.number}, task {n}"}) for n in range(self.tasks))
        self.source.write_text("".join(f"{line}\n" for line in lines))
        self.start_server()
        self.base_url = self.base_url or self.simulator_url
        settings = "".join(f"{name} = {json.dumps(value)}\n" for name, value in self.settings.items())
        (self.project / "agentdash.toml").write_text(settings + (self._programs() if self.as_commands else ""))

    def _programs(self) -> str:
        """The part of the settings that makes tasks programs."""
        command = json.dumps([sys.executable, "-I", "-S", str(ROOT / "tests" / "faults" / "session.py")])
        rules = "".join(
            f"[[presets.session.failures]]\nclass = {json.dumps(name)}\nexit_code = {code}\n"
            for name, code in session.CODES.items()
        )
        limits = "timeout_s = 20\nkill_grace_s = 1\n"
        return f"processor = 'session'\n{limits}[presets.session]\ncommand = {command}\n{rules}"

    def start_server(self, port: int = 0) -> None:
        """Start the simulator, on its old port if given."""
        told = self.folder / f"server-{time.monotonic_ns()}.txt"
        config = ["--config", json.dumps(self.simulator), "--port", str(port)]
        self.server = start(config, module="agentdash.simulator", environment=dict(os.environ), cwd=ROOT, output=told)
        deadline = time.monotonic() + _SERVER_STARTS_S
        while b"\n" not in (text := told.read_bytes() if told.exists() else b""):
            self.server.look()
            if not self.server.is_alive or time.monotonic() > deadline:
                raise RuntimeError(f"the simulator does not start: {text!r}")
            time.sleep(0.005)
        self.simulator_url = json.loads(text.splitlines()[0])["base_url"]

    def close(self) -> None:
        """End everything that still lives, and undo what the faults did to the machine."""
        for actor in self.actors:
            if actor.is_alive:
                with suppress(ProcessLookupError):
                    os.kill(actor.pid, signal.SIGCONT)
                actor.kill()
            actor.close_terminal()
        if self.server is not None:
            self.server.send(signal.SIGCONT)
            self.server.kill()
        while self.on_close:
            self.on_close.pop()()

    # -- the program -------------------------------------------------------------------------------------------------
    def start(self, *, dashboard: bool = False, by_exec: bool = False, plain: bool = False) -> Actor:
        """Start `agentdash run`. `plain`: without what the faults do to new processes, as for the last run."""
        self.starts += 1
        command = ["run", str(self.source), "--project", str(self.project), "--workers", str(self.workers)]
        command += ["--stall-timeout", "60", *self.arguments]
        if not dashboard:
            command.append("--headless")
        actor = start(
            command,
            environment=self._environment(plain=plain),
            cwd=ROOT,
            output=self.folder / f"output-{self.starts}.txt",
            prepare=[] if plain else self.prepare_process,
            in_terminal=dashboard,
            by_exec=by_exec,
        )
        self.actors.append(actor)
        return actor

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Any other command on the project, to its end."""
        return subprocess.run(
            [sys.executable, "-m", "agentdash", *command, "--project", str(self.project)],
            env=self._environment(plain=True), cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def _environment(self, *, plain: bool) -> dict[str, str]:
        kept = {n: v for n, v in os.environ.items() if not n.startswith(("ANTHROPIC_", "AGENTDASH_"))}
        keys = {f"ANTHROPIC_API_KEY_{n}": key for n, key in enumerate(self.keys, 1)}
        own = {"ANTHROPIC_BASE_URL": self.simulator_url if plain else self.base_url, "HOME": str(self.folder)}
        own |= {"XDG_CONFIG_HOME": str(self.folder), "XDG_STATE_HOME": str(self.folder), "TERM": "xterm-256color"}
        return kept | keys | own | {"PYTHONPATH": str(ROOT)} | ({} if plain else self.environment)

    @property
    def alive(self) -> list[Actor]:
        """The processes that have not ended."""
        return [actor for actor in self.actors if actor.is_alive]

    def signal(self, actor: Actor, number: int) -> None:
        """Send a signal that may end a process, and remember when."""
        self.deaths.append(time.monotonic())
        actor.send(number)

    def kill(self, actor: Actor) -> None:
        """kill -9; the moment is remembered if the process had not ended by itself."""
        actor.kill()
        if actor.code == -signal.SIGKILL:
            self.deaths.append(time.monotonic())

    # -- seen from outside -------------------------------------------------------------------------------------------
    def results(self) -> bytes:
        """What stands in the results file."""
        path = self.project / "results.jsonl"
        try:
            return path.read_bytes() if path.is_file() else b""  # a fault may have put a pipe there
        except OSError:
            return b""

    @property
    def is_done(self) -> bool:
        """Whether every task seems to have its line."""
        return self.results().count(b"\n") >= self.tasks

    def programs(self) -> list[int]:
        """The programs of tasks that are still there."""
        home, found = f"HOME={self.folder}".encode(), []
        for path in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):
                variables = path.read_bytes().split(b"\0")
                if home in variables and any(variable.startswith(b"AGENTDASH_MARK=") for variable in variables):
                    found.append(int(path.parent.name))
        return found

    def records(self) -> list[dict[str, Any]]:
        """What the simulator saw, once it has nothing left to serve."""
        deadline = time.monotonic() + 10
        while True:
            with urllib.request.urlopen(f"{self.simulator_url}/_simulator/stats", timeout=10) as response:
                if json.load(response)["active"] == 0 or time.monotonic() > deadline:
                    break
            time.sleep(0.02)
        with urllib.request.urlopen(f"{self.simulator_url}/_simulator/records", timeout=10) as response:
            return [*self.earlier_records, *(json.loads(line) for line in response)]
