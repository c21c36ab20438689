"""What happens to processes: signals, stops, a closed terminal, others that join and leave, limits."""

from __future__ import annotations

import os
import resource
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.faults.actors import Actor
from tests.faults.fault import Excuses, Fault, register
from tests.faults.stage import Stage

_MOST_PROCESSES = 3


def one_of(stage: Stage) -> Actor | None:
    """A process that is running and not stopped."""
    running = [actor for actor in stage.alive if not actor.is_stopped]
    return stage.chance.choice(running) if running else None


@dataclass(frozen=True, slots=True)
class Signal(Fault):
    """One process, or all of them, get signals, `apart_s` one from the next."""

    numbers: tuple[int, ...] = ()
    apart_s: tuple[float, float] = (0.0, 0.05)

    def strike(self, stage: Stage) -> None:
        victims = stage.alive if stage.chance.random() < 0.2 else [actor for actor in [one_of(stage)] if actor]
        for position, number in enumerate(self.numbers):
            if position:
                time.sleep(stage.chance.uniform(*self.apart_s))
            for victim in victims:
                if number == signal.SIGKILL:
                    stage.kill(victim)
                else:
                    stage.signal(victim, number)
        if stage.chance.random() < 0.5 and len(stage.alive) < _MOST_PROCESSES:
            stage.start(dashboard=stage.chance.random() < 0.2)


@dataclass(frozen=True, slots=True)
class KillInStart(Fault):
    """A process is begun and killed while it starts: folder, database and locks are half made."""

    def strike(self, stage: Stage) -> None:
        victim = stage.start(dashboard=stage.chance.random() < 0.2)
        time.sleep(stage.chance.uniform(0.0, 0.15))
        stage.kill(victim)


@dataclass(frozen=True, slots=True)
class KillInSync(Fault):
    """All are killed just when the results file grows: between its growing and the note of how far it has come."""

    def strike(self, stage: Stage) -> None:
        before = len(stage.results())
        deadline = time.monotonic() + 0.5
        while len(stage.results()) == before and time.monotonic() < deadline:
            time.sleep(0.0002)
        for victim in stage.alive:
            stage.kill(victim)


@dataclass(frozen=True, slots=True)
class Stop(Fault):
    """A process is stopped, for longer than its heartbeats and the other processes' patience, and goes on."""

    everybody: bool = False

    def prepare(self, stage: Stage) -> None:
        stage.arguments += ["--stall-timeout", "7"]  # time in which it was stopped is no time without progress

    def strike(self, stage: Stage) -> None:
        victims = stage.alive if self.everybody else [actor for actor in [one_of(stage)] if actor]
        for victim in victims:
            stage.notes.setdefault(self.name, []).append(victim)
            victim.send(signal.SIGSTOP)

    def heal(self, stage: Stage) -> None:
        for victim in stage.notes.pop(self.name, []):
            victim.send(signal.SIGCONT)
            stage.deaths.append(time.monotonic())  # its connections may have been closed for silence


@dataclass(frozen=True, slots=True)
class CloseTerminal(Fault):
    """The window of a dashboard is closed."""

    def strike(self, stage: Stage) -> None:
        shown = [actor for actor in stage.alive if actor.terminal is not None]
        victim = shown[0] if shown else stage.start(dashboard=True)
        if not shown:
            time.sleep(stage.chance.uniform(0.0, 0.8))
            victim.look()
        victim.signalled.append((time.monotonic(), signal.SIGHUP))
        stage.deaths.append(time.monotonic())
        victim.close_terminal()


@dataclass(frozen=True, slots=True)
class Join(Fault):
    """Another process joins; one of them leaves, letting its tasks finish."""

    def strike(self, stage: Stage) -> None:
        if len(stage.alive) < _MOST_PROCESSES:
            stage.start(dashboard=stage.chance.random() < 0.2)
        elif (victim := one_of(stage)) is not None:
            stage.signal(victim, signal.SIGINT)


@dataclass(frozen=True, slots=True)
class Scarce(Fault):
    """Processes that start before it is healed have too little of something; then those that still run are ended."""

    def prepare(self, stage: Stage) -> None:
        stage.notes[self.name] = step = self.limit(stage)
        stage.prepare_process.append(step)

    def limit(self, stage: Stage) -> Callable[[], None]:
        """What a process does to itself."""
        raise NotImplementedError

    def heal(self, stage: Stage) -> None:
        step = stage.notes.pop(self.name, None)
        if step in stage.prepare_process:
            stage.prepare_process.remove(step)
            for actor in stage.alive:
                stage.signal(actor, signal.SIGTERM)


@dataclass(frozen=True, slots=True)
class FewDescriptors(Scarce):
    """A limit of open files that is too small for the workers, or for anything."""

    def limit(self, stage: Stage) -> Callable[[], None]:
        limit = stage.chance.choice((24, 40, 64, 128))
        return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))


@dataclass(frozen=True, slots=True)
class LittleMemory(Scarce):
    """A limit of address space little above what the program has at its start."""

    def limit(self, stage: Stage) -> Callable[[], None]:
        above = stage.chance.choice((8, 32, 64, 128)) << 20

        def limit() -> None:
            with open("/proc/self/statm") as file:
                now = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
            resource.setrlimit(resource.RLIMIT_AS, (now + above, now + above))

        return limit


_NO_PATIENCE = Excuses(codes=frozenset({4}))
"""Others may give up waiting for the tasks of one that stands still: they have seven seconds' patience here."""

register(
    Signal("kill -9", strikes=(3, 8), numbers=(signal.SIGKILL,)),
    KillInStart("kill -9 while starting", strikes=(2, 5)),
    KillInSync("kill -9 while results are written", strikes=(1, 3)),
    Signal("SIGTERM", numbers=(signal.SIGTERM,)),
    Signal("SIGHUP", numbers=(signal.SIGHUP,)),
    Signal("SIGINT twice", numbers=(signal.SIGINT, signal.SIGINT), apart_s=(0.0, 0.3)),
    Stop("SIGSTOP and SIGCONT", excuses=_NO_PATIENCE, lasts_s=(0.5, 12.0)),
    Stop("suspended", excuses=_NO_PATIENCE, everybody=True, lasts_s=(0.5, 8.0)),
    CloseTerminal("terminal closed"),
    Join("processes join and leave", strikes=(2, 4)),
    FewDescriptors(
        "few file descriptors",
        spares_programs=False,
        strikes=(1, 1),
        lasts_s=(1.0, 4.0),
        excuses=Excuses(codes=frozenset({1, 2}), fails=True, repeats=True),
    ),
    LittleMemory(
        "little memory",
        spares_programs=False,
        strikes=(1, 1),
        lasts_s=(1.0, 4.0),
        excuses=Excuses(
            codes=frozenset({1, 2, 70, -signal.SIGSEGV, -signal.SIGABRT}), fails=True, repeats=True, tracebacks=True
        ),
    ),
)
