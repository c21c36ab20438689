"""One round of the crash points: a life that ends at a point, a look at what it left, the life after, the judgement."""

from __future__ import annotations

import os
import select
import shutil
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from tests.faults import crash_work
from tests.faults.crash_hooks import Hooks, Point
from tests.faults.crash_judge import Left, judge_calls, judge_death, judge_end, look
from tests.faults.crash_scenarios import Command, Scenario, Server

LIFE_LIMIT_S = 60.0
TRIES = 4
"""A point may come at another time in a run of several threads: so often is a run that missed it begun again."""


class Listing(NamedTuple):
    """What one run did: its points in order with whether they can be done by half, and traces no point covers."""

    points: list[tuple[str, bool]]
    uncovered: list[str]


class Lane:
    """Rounds of one scenario, one after the other, always in one place: paths are part of what a project remembers."""

    def __init__(self, folder: Path, scenario: Scenario, server: Server) -> None:
        self.folder = folder
        self.name = f"{folder.parent.name} {folder.name}"
        self.scenario = scenario
        self.server = server
        self.project = folder / "project"
        self.calls = folder / "calls.txt"
        self.note = folder / "points.txt"
        self.modules = folder / "modules.txt"
        folder.mkdir(parents=True)
        self._prepared: list[Left] = []
        self._prepare()

    def _prepare(self) -> None:
        self.project.mkdir()
        self.scenario.write_tasks(self.project / "tasks.jsonl", self.name)
        for command in self.scenario.before:
            self._live(command)
            self._prepared.append(self._look())
        self.project.rename(self.folder / "template")

    def list_points(self) -> Listing:
        """Run to the end, and tell the way."""
        self._begin()
        code = self._live(self.scenario.command, listing=True)
        lines = self.note.read_text(errors="replace").splitlines()
        uncovered = [line[2:] for line in lines if line.startswith("! ")]
        if code != self.scenario.command.code:
            uncovered.append(f"exit code {code}: {self._output()}")
        return Listing([(line[2:], line[0] == "/") for line in lines if line[0] != "!"], sorted(set(uncovered)))

    def die_at(self, point: Point) -> dict[str, object]:
        """One round, or several until one met the point: die there, run again, judge."""
        trouble: list[str] = []
        killed = 0
        for _ in range(TRIES):
            self._begin()
            killed = self._live(self.scenario.command, target=point)
            if killed not in (-signal.SIGKILL, self.scenario.command.code):
                trouble.append(f"exit code {killed} before it: {self._output()}")
            trouble += self._go_on()
            if trouble:
                number = len(list(self.folder.glob("kept-*")))
                shutil.copytree(self.project, self.folder / f"kept-{number}")
                trouble.append(f"kept as {self.folder}/kept-{number}")
            if killed == -signal.SIGKILL or trouble:
                break
        return {"point": str(tuple(point)), "killed": killed == -signal.SIGKILL, "trouble": trouble}

    def _go_on(self) -> list[str]:
        """The life after: the same commands again, to the end, and the judgement."""
        scenario = self.scenario
        deaths = [*self._prepared, self._look()]
        lives = [Counter[str]() for _ in self._prepared] + [self._asked()]
        trouble = list(judge_death(deaths[-1]))
        for command in scenario.after:
            if (code := self._live(command)) != command.code:
                trouble.append(f"exit code {code} after it: {self._output()}")
                return trouble
        lives.append(self._asked())
        trouble += judge_end(self.project, frozenset(scenario.tasks), deaths)
        trouble += judge_calls(frozenset(scenario.tasks), lives, deaths)
        return trouble

    def _begin(self) -> None:
        shutil.rmtree(self.project, ignore_errors=True)
        shutil.copytree(self.folder / "template", self.project)
        self.calls.write_text("")
        self._since = time.monotonic()

    def _output(self) -> str:
        """The last lines of what the last command said."""
        return (self.folder / "output.txt").read_text(errors="replace")[-500:]

    def _look(self) -> Left:
        return look(self.project, self.folder / "copy")

    def _asked(self) -> Counter[str]:
        """The tasks that were asked for since this was last asked."""
        if self.scenario.uses_server:
            since, self._since = self._since, self.server.when_idle()
            return self.server.asked(self.name, since)
        asked = Counter(self.calls.read_text().split())
        self.calls.write_text("")
        return asked

    def _live(self, command: Command, *, target: Point | None = None, listing: bool = False) -> int:
        """Run one command in a child of its own; its exit code, or minus the signal that ended it."""
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reading)
            self._be(command, target or command.death, listing=listing)
        os.close(writing)
        ready, _, _ = select.select([reading], [], [], LIFE_LIMIT_S)
        os.close(reading)
        if not ready:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return 1000  # no exit code: it hung
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def _be(self, command: Command, target: Point | None, *, listing: bool) -> None:
        """The child: become the program."""
        code = 99
        try:
            output = os.open(self.folder / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            nothing = os.open(os.devnull, os.O_RDONLY)
            for stream, source in ((0, nothing), (1, output), (2, output)):
                os.dup2(source, stream)
            sys.dont_write_bytecode = True
            os.environ.update(self.server.environment)
            os.environ.update(command.environment)
            os.environ[crash_work.CALLS] = str(self.calls)
            sys.argv = ["agentdash", *(text.replace("PROJECT", str(self.project)) for text in command.arguments)]
            if target is not None or listing:
                note = os.open(self.note, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
                crash_work.hooks.append(Hooks(str(self.project), note, target))
                crash_work.hooks[0].install()
            from agentdash.__main__ import main as run

            code = run()
            if listing:
                self.modules.write_text("\n".join(sys.modules))
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)
