"""A world in which pacing runs by itself: servers with real bucket arithmetic, a network with delays, and no clock but
the next event. A scenario of a thousand requests takes milliseconds and always ends in the same way."""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from agentdash.engine.limitheaders import INPUT_TOKENS, OUTPUT_TOKENS, REQUESTS, LimitReading, Standing
from agentdash.engine.pacing import Cost, PoolPacer, Ticket
from agentdash.simulator.bucket import Cost as Charge
from agentdash.simulator.bucket import Limit, OrganizationBuckets

Headers = Literal["bucket", "minute", "none", "lies"]


@dataclass(slots=True)
class WorldClock:
    """Time that is set by the next event."""

    time: float = 1000.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nobody sleeps here")


@dataclass(frozen=True, slots=True)
class Org:
    """One organisation's limits, and how its server tells them."""

    requests: Limit | None = None
    input_tokens: Limit | None = None
    output_tokens: Limit | None = None
    headers: Headers = "bucket"
    retry_after: Literal["seconds", "none", "long"] = "seconds"
    changes: tuple[tuple[float, float], ...] = ()
    """(seconds after the start, factor on the limits from then on)."""


@dataclass(frozen=True, slots=True)
class Task:
    """What a request takes, and what was thought that it would take."""

    input_tokens: float = 0.0
    output_tokens: float = 0.0
    estimate: Cost = Cost()


@dataclass(slots=True, eq=False)
class Server:
    """One organisation's side."""

    org: Org
    clock: WorldClock
    buckets: OrganizationBuckets = field(init=False)
    admitted_at: list[float] = field(default_factory=list)
    rejected_at: list[float] = field(default_factory=list)
    _minute: deque[tuple[float, float, float]] = field(default_factory=deque)

    def __post_init__(self) -> None:
        org = self.org
        self.buckets = OrganizationBuckets(self.clock, org.requests, org.input_tokens, org.output_tokens)

    def change(self, factor: float) -> None:
        def times(limit: Limit | None) -> Limit | None:
            return Limit(limit.per_minute * factor, limit.capacity * min(1.0, factor)) if limit else None

        org = self.org
        self.buckets.change(times(org.requests), times(org.input_tokens), times(org.output_tokens))

    def arrive(self, task: Task) -> tuple[float | None, LimitReading]:
        """None or the seconds until it would be admitted; and the headers."""
        now = self.clock.time
        short = self.buckets.admit(Charge(1, task.input_tokens, task.output_tokens))
        if short is None:
            self.admitted_at.append(now)
            self._minute.append((now, task.input_tokens, task.output_tokens))
            return None, self._reading()
        self.rejected_at.append(now)
        return short[1], self._reading()

    def _reading(self) -> LimitReading:
        if self.org.headers == "none":
            return LimitReading()
        while self._minute and self._minute[0][0] < self.clock.time - 60:
            self._minute.popleft()
        used = (float(len(self._minute)), sum(m[1] for m in self._minute), sum(m[2] for m in self._minute))
        standings = {}
        buckets = (self.buckets.requests, self.buckets.input_tokens, self.buckets.output_tokens)
        for number, (name, bucket) in enumerate(zip((REQUESTS, INPUT_TOKENS, OUTPUT_TOKENS), buckets, strict=True)):
            if bucket is None:
                continue
            limit = float(int(bucket.limit.per_minute))
            left = float(max(0, int(bucket.level())))
            if self.org.headers == "minute":
                left = max(0.0, limit - used[number])
            elif self.org.headers == "lies":
                left = limit
            if number and limit >= 10_000:
                left = float(round(left, -3))
            standings[name] = Standing(limit, left)
        return LimitReading("org", None, standings)


@dataclass(slots=True)
class Report:
    """How it went."""

    seconds: float
    ideal: float
    requests: int
    rejected: int
    servers: list[Server]
    waits: list[float]

    @property
    def over_ideal(self) -> float:
        return self.seconds / self.ideal

    @property
    def rejected_share(self) -> float:
        return self.rejected / self.requests

    def __str__(self) -> str:
        return f"{self.over_ideal:.3f} of ideal {self.ideal:.1f} s, {self.rejected} of {self.requests} rejected"


@dataclass(frozen=True, slots=True)
class Network:
    """Delays in seconds: how long a request is on its way (with jitter and a rare spike), how long an answer takes."""

    way: float = 0.002
    jitter: float = 0.0005
    spike: float = 0.01
    spikes: float = 0.003
    answer: Callable[[random.Random], float] = lambda rng: 0.05

    def draw(self, rng: random.Random) -> float:
        delay = self.way + rng.expovariate(1 / self.jitter) if self.jitter else self.way
        return delay + rng.random() * self.spike if rng.random() < self.spikes else delay


@dataclass(slots=True, eq=False)
class Pool:
    """One pool of the client: its pacer, and its cooldown."""

    server: Server
    pacer: PoolPacer
    cools_until: float = 0.0
    probing: bool = True
    probes: int = 0
    limited_in_a_row: int = 0

    def next_at(self, now: float, cost: Cost) -> float:
        if self.cools_until > now:
            return self.cools_until
        if self.probing and self.probes:
            return math.inf
        return self.pacer.next_at(now, cost)


class World:
    """Runs all tasks through the pools, with so many workers."""

    def __init__(
        self, orgs: Sequence[Org], tasks: Sequence[Task], *, workers: int = 64, network: Network | None = None,
        seed: int = 0, processes: int = 1,
    ) -> None:  # fmt: skip
        self.clock = WorldClock()
        self.rng = random.Random(seed)
        self.network = network or Network()
        self.tasks = deque(tasks)
        self.total = len(tasks)
        self.workers = workers
        self.servers = [Server(org, self.clock) for org in orgs]
        self.processes = [[Pool(s, PoolPacer(self.clock.time)) for s in self.servers] for _ in range(processes)]
        for pools in self.processes:
            for pool in pools:
                pool.pacer.set_share(self.clock.time, 1 / processes)
        self.free = [workers // processes] * processes
        self.done = 0
        self.requests = self.rejected = 0
        self.waits: list[float] = []
        self.head_since: list[float] = [self.clock.time] * processes
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._number = 0
        self._pumps: list[float] = [math.inf] * processes

    def at(self, time: float, event: Callable[[], None]) -> None:
        self._number += 1
        heapq.heappush(self._events, (time, self._number, event))

    def run(self, most_s: float = 1e6) -> Report:
        start = self.clock.time
        for server in self.servers:
            for after, factor in server.org.changes:
                self.at(start + after, lambda s=server, f=factor: s.change(f))  # type: ignore[misc]
        for process in range(len(self.processes)):
            self.at(start, lambda p=process: self.pump(p))  # type: ignore[misc]
        while self.done < self.total:
            time, _, event = heapq.heappop(self._events)
            assert time - start < most_s, f"{self.total - self.done} tasks are not done after {most_s} s"
            self.clock.time = max(self.clock.time, time)
            event()
        return Report(self.clock.time - start, self.ideal(), self.requests, self.rejected, self.servers, self.waits)

    def ideal(self) -> float:
        """What nobody can do better: buckets full at the start, and never an idle moment."""
        tasks = list(self._all)
        needs = (len(tasks), sum(t.input_tokens for t in tasks), sum(t.output_tokens for t in tasks))
        best = 0.05
        for number, need in enumerate(needs):
            limits = [(s.org.requests, s.org.input_tokens, s.org.output_tokens)[number] for s in self.servers]
            if any(limit is None for limit in limits):
                continue
            best = max(
                best,
                self._time_for(need, [(limit, s.org) for limit, s in zip(limits, self.servers, strict=True) if limit]),
            )
        return best

    @staticmethod
    def _time_for(need: float, limits: Sequence[tuple[Limit, Org]]) -> float:
        low, high = 0.0, 1e7
        for _ in range(60):
            middle = (low + high) / 2
            given = 0.0
            for limit, org in limits:
                given += limit.capacity
                steps = [(0.0, 1.0), *org.changes, (math.inf, 1.0)]
                for (begin, factor), (end, _) in zip(steps, steps[1:], strict=False):
                    given += max(0.0, min(middle, end) - begin) * limit.per_second * factor
            low, high = (low, middle) if given >= need else (middle, high)
        return high

    def pump(self, process: int) -> None:
        """Send whatever may be sent, first come first served."""
        now = self.clock.time
        pools = self.processes[process]
        while self.free[process] and self.tasks:
            task = self.tasks[0]
            times = [pool.next_at(now, task.estimate) for pool in pools]
            best = next((pool for pool, at in zip(pools, times, strict=True) if at <= now + 1e-9), None)
            if best is None:
                at = min(times)
                if at < self._pumps[process] - 1e-9:
                    self._pumps[process] = at
                    # Timers fire a little late.
                    self.at(at + self.rng.random() * 0.001, lambda: self.woken(process, at))
                return
            self.tasks.popleft()
            self.waits.append(now - self.head_since[process])
            self.head_since[process] = now
            self.free[process] -= 1
            self.send(process, best, task)

    def woken(self, process: int, at: float) -> None:
        """A timer fired; one that was overtaken by an earlier one is none."""
        if self._pumps[process] == at:
            self._pumps[process] = math.inf
            self.pump(process)

    def send(self, process: int, pool: Pool, task: Task) -> None:
        ticket = pool.pacer.sent(self.clock.time, task.estimate)
        is_probe = pool.probing
        pool.probes += is_probe
        self.requests += 1
        self.at(
            self.clock.time + self.network.draw(self.rng), lambda: self.arrive(process, pool, task, ticket, is_probe)
        )

    def arrive(self, process: int, pool: Pool, task: Task, ticket: Ticket, is_probe: bool) -> None:
        wait, reading = pool.server.arrive(task)
        back = self.clock.time + self.network.draw(self.rng)
        if wait is None:
            back += self.network.answer(self.rng)
            self.at(back, lambda: self.answer(process, pool, task, ticket, reading, is_probe))
        else:
            self.at(back, lambda: self.reject(process, pool, task, ticket, reading, wait, is_probe))

    def answer(
        self, process: int, pool: Pool, task: Task, ticket: Ticket, reading: LimitReading, is_probe: bool
    ) -> None:
        now = self.clock.time
        pool.pacer.read(now, ticket, reading)
        pool.pacer.answered(now, ticket, input_tokens=task.input_tokens, output_tokens=task.output_tokens)
        pool.probes -= is_probe
        if pool.cools_until <= now:
            pool.probing, pool.limited_in_a_row = False, 0
        self.done += 1
        self.free[process] += 1
        self.pump(process)

    def reject(
        self, process: int, pool: Pool, task: Task, ticket: Ticket, reading: LimitReading, wait: float, is_probe: bool
    ) -> None:
        now = self.clock.time
        self.rejected += 1
        pool.probes -= is_probe
        pool.pacer.read(now, ticket, reading)
        pool.pacer.rejected(now, ticket, reading)
        kind = pool.server.org.retry_after
        pool.limited_in_a_row += 1
        cool = (
            math.ceil(max(1.0, wait))
            if kind == "seconds"
            else 60.0
            if kind == "long"
            else min(60.0, 2.0 ** (pool.limited_in_a_row - 1))
        )
        pool.cools_until = max(pool.cools_until, now + cool)
        pool.probing = True
        self.tasks.appendleft(task)
        self.free[process] += 1
        self.pump(process)
        self.at(pool.cools_until, lambda: self.pump(process))

    @property
    def _all(self) -> list[Task]:
        return self._given

    _given: list[Task]


def run(orgs: Sequence[Org], tasks: Sequence[Task] | int, **settings: object) -> Report:
    """One scenario."""
    given = [Task()] * tasks if isinstance(tasks, int) else list(tasks)
    world = World(orgs, given, **settings)  # type: ignore[arg-type]
    world._given = given
    return world.run()
