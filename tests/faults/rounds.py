"""One round of the campaign: a project, one to three processes on it, faults at random moments, and the verdict."""

from __future__ import annotations

import random
import shutil
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tests.faults.actors import STACKS_SIGNAL, Actor
from tests.faults.fault import Fault
from tests.faults.judge import judge
from tests.faults.stage import Stage

ROUND_LIMIT_S = 120.0
"""A round that takes longer hangs."""
_LAST_TRIES = 4
_LOOK_S = 0.003
_STRIKES_WITHIN_S = (0.05, 3.0)
_PRESS_AGAIN_S = 0.3


@dataclass(slots=True)
class Outcome:
    """What came of one round. `tried`: how often each fault was done."""

    number: int
    seed: int
    faults: list[str]
    tasks: int = 0
    starts: int = 0
    kills: int = 0
    seconds: float = 0.0
    tried: dict[str, int] = field(default_factory=dict)
    lost: int = 0
    twice: int = 0
    repeated: int = 0
    leaked: int = 0
    escaped: int = 0
    trouble: list[str] = field(default_factory=list)
    folder: str = ""

    @property
    def line(self) -> str:
        """In one line, for who watches."""
        verdict = "ok" if not self.trouble else "TROUBLE: " + "; ".join(self.trouble[:4])
        return (
            f"round {self.number}: {' + '.join(self.faults)}: {self.tasks} tasks, {self.starts} starts, "
            f"{self.seconds:.1f} s: {verdict}"
        )


def play(number: int, seed: int, faults: tuple[Fault, ...], root: Path) -> Outcome:
    """Play a round. Everything in it is drawn from seed and number, so that it can be had again."""
    chance = random.Random(f"{seed}/{number}")
    outcome = Outcome(number, seed, [fault.name for fault in faults])
    stage = Stage(number, root / f"round-{number:05}", chance, faults)
    started = time.monotonic()
    try:
        _Course(stage, outcome).run()
        judge(stage, outcome)
    except Exception as error:  # a fault of the campaign itself: a finding as well, and no end of the campaign
        outcome.trouble.append(f"the round broke: {error!r} {traceback.format_exc(limit=-3)}")
    finally:
        outcome.trouble[:0] = stage.trouble
        outcome.seconds = time.monotonic() - started
        outcome.tasks, outcome.starts = stage.tasks, stage.starts
        for fault in faults:
            _heal(fault, stage)
        stage.close()
    if outcome.trouble:
        outcome.folder = str(stage.folder)
    else:
        shutil.rmtree(stage.folder, ignore_errors=True)
    return outcome


def _heal(fault: Fault, stage: Stage) -> None:
    try:
        fault.heal(stage)
    except Exception as error:
        stage.trouble.append(f"{fault.name} could not be healed: {error!r}")


class _Course:
    """How a round goes: strikes and healings by the clock, processes begun again while there is work."""

    def __init__(self, stage: Stage, outcome: Outcome) -> None:
        self.stage = stage
        self.outcome = outcome
        self._plan: list[tuple[float, Callable[[], None]]] = []
        self._pressed = 0.0

    def run(self) -> None:
        stage, chance = self.stage, self.stage.chance
        for fault in stage.faults:
            fault.prepare(stage)
        stage.open()
        started = time.monotonic()
        for _ in range(chance.choice((1, 1, 2, 3))):
            self._start()
        for fault in stage.faults:
            for _ in range(chance.randint(*fault.strikes)):
                at = started + chance.uniform(*_STRIKES_WITHIN_S)
                self._plan.append((at, partial(self._strike, fault)))
        while self._plan or stage.alive or not stage.is_done:
            if time.monotonic() - started > ROUND_LIMIT_S:
                self._hangs()
                break
            self._look()
            time.sleep(_LOOK_S)
        for fault in stage.faults:
            _heal(fault, stage)
        self._finish()

    def _look(self) -> None:
        """What is due now: strikes, processes that ended, one begun again if all of them have."""
        stage = self.stage
        now = time.monotonic()
        if stage.server is not None:
            stage.server.look()
        for due in sorted((item for item in self._plan if item[0] <= now), key=lambda item: item[0]):
            self._plan.remove(due)
            due[1]()
        for actor in stage.actors:
            actor.look()
        if not stage.alive and (self._plan or not stage.is_done):
            if len(stage.actors) > 60:
                raise RuntimeError("it ends again and again")
            self._start()
        if stage.is_done:
            self._leave(now)

    def _leave(self, now: float) -> None:
        """Leave the dashboards of a finished run: they stay open for their user."""
        if now - self._pressed > _PRESS_AGAIN_S:
            self._pressed = now
            for actor in self.stage.alive:
                actor.press("q")

    def _start(self) -> None:
        chance = self.stage.chance
        self.stage.start(dashboard=chance.random() < 0.25, by_exec=chance.random() < 0.05)

    def _strike(self, fault: Fault) -> None:
        self.outcome.tried[fault.name] = self.outcome.tried.get(fault.name, 0) + 1
        fault.strike(self.stage)
        lasts = self.stage.chance.uniform(*fault.lasts_s)
        self._plan.append((time.monotonic() + lasts, partial(fault.heal, self.stage)))

    def _hangs(self) -> None:
        """Nothing came to an end: write down what each process is doing."""
        self.stage.trouble.append(f"not done after {ROUND_LIMIT_S:.0f} s: see the stacks at the end of the outputs")
        for actor in self.stage.alive:
            actor.send(STACKS_SIGNAL)
        time.sleep(0.5)
        for actor in self.stage.alive:
            self.stage.kill(actor)

    def _finish(self) -> None:
        """All is well again: one more run completes what was left undone, and there must be nothing it cannot do."""
        stage = self.stage
        for attempt in range(_LAST_TRIES):
            if attempt and stage.excuses.fails:
                requeued = stage.run("requeue", "--failed")
                if requeued.returncode not in (0, 1):
                    stage.trouble.append(f"requeue: exit code {requeued.returncode}: {requeued.stderr[-300:]}")
            last = stage.start(plain=True)
            self._wait(last)
            if last.code == 0:
                return
            if not (stage.excuses.fails and last.code == 3) or attempt == _LAST_TRIES - 1:
                stage.trouble.append(f"exit code {last.code} at the end: {_tail(last)}")
                return

    def _wait(self, actor: Actor) -> None:
        deadline = time.monotonic() + ROUND_LIMIT_S
        while actor.is_alive and time.monotonic() < deadline:
            actor.look()
            time.sleep(_LOOK_S)
        if actor.is_alive:
            self._hangs()


def _tail(actor: Actor) -> str:
    return actor.output.read_bytes()[-400:].decode("utf-8", "replace")
