"""A world in which pacing runs by itself: servers, a network with delays, clients with many workers, and no clock but
the next event. A scenario of a thousand requests takes milliseconds and always ends in the same way."""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from agentdash.engine.backoff import backoff_delay
from agentdash.engine.cost import Cost
from agentdash.engine.lateness import Lateness
from agentdash.engine.limitheaders import LimitReading
from agentdash.engine.limits import may_be_one_more
from agentdash.engine.pacing import PoolPacer, Ticket
from tests.pacing.servers import LONG_S, Org, Server, Task, WorldClock, ideal

_TIMER_LATE_S = 0.001
"""Timers fire up to so much late."""
_BARELY_S = 1e-9


@dataclass(frozen=True, slots=True)
class Network:
    """Delays in seconds: how long a request is on its way (with jitter and a rare spike), how long an answer takes."""

    way: float = 0.002
    jitter: float = 0.0005
    spike: float = 0.01
    spikes: float = 0.003
    answer: float = 0.05

    def draw(self, rng: random.Random) -> float:
        delay = self.way + rng.expovariate(1 / self.jitter) if self.jitter else self.way
        return delay + rng.random() * self.spike if rng.random() < self.spikes else delay


USUAL = Network()
CALM = Network(way=0.001, jitter=0.0002, spikes=0.001)


@dataclass(slots=True, eq=False)
class Pool:
    """One pool of the client: its pacer, and its cooldown, as `LimitPools` keeps it."""

    server: Server
    pacer: PoolPacer
    cools_until: float = 0.0
    probing: bool = True
    probes: int = 0
    probed_at: float = 0.0
    limited_in_a_row: int = 0
    limited_at: float = -math.inf

    def next_at(self, now: float, cost: Cost) -> float:
        if self.cools_until > now:
            return self.cools_until
        held = may_be_one_more(self.probes, self.probed_at, now) if self.probing and self.probes else None
        return held if held is not None else self.pacer.next_at(now, cost)

    def cool(self, now: float, sent_at: float, wait: float) -> None:
        """A request was rejected that could go in `wait` seconds."""
        if sent_at > self.limited_at:
            self.limited_in_a_row, self.limited_at = self.limited_in_a_row + 1, now
        told = {"seconds": math.ceil(max(1.0, wait)), "long": LONG_S}.get(self.server.org.retry_after)
        self.cools_until = max(self.cools_until, now + (told or backoff_delay(self.limited_in_a_row, 1.0, 60.0)))
        self.probing = True


@dataclass(slots=True, eq=False)
class Client:
    """One process: its pools, its idle workers, and the moment its timer is set to."""

    pools: list[Pool]
    free: int
    timer: float = math.inf
    head_since: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Sent:
    """A request on its way."""

    client: Client
    pool: Pool
    task: Task
    ticket: Ticket
    is_probe: bool


@dataclass(slots=True)
class Report:
    """How it went: `waits` is how long each request stood at the head of the line; `sent` when each went to whom."""

    seconds: float
    ideal: float
    requests: int
    rejected: int
    servers: list[Server]
    waits: list[float]
    sent: list[tuple[float, Server]]

    @property
    def over_ideal(self) -> float:
        return self.seconds / self.ideal

    @property
    def rejected_share(self) -> float:
        return self.rejected / self.requests

    def __str__(self) -> str:
        return f"{self.over_ideal:.3f} of ideal {self.ideal:.1f} s, {self.rejected} of {self.requests} rejected"


class World:
    """Runs all tasks through the pools, first come first served, with so many workers."""

    def __init__(
        self, orgs: Sequence[Org], tasks: Sequence[Task], *, workers: int, network: Network, seed: int, processes: int
    ) -> None:
        self.clock = WorldClock()
        self.rng = random.Random(seed)
        self.network = network
        self.tasks = deque(tasks)
        self.servers = [Server(org, self.clock) for org in orgs]
        self.clients = [self._client(1 / processes, max(1, workers // processes)) for _ in range(processes)]
        self.done = self.rejected = 0
        self.waits: list[float] = []
        self.sent: list[tuple[float, Server]] = []
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._number = 0

    def _client(self, share: float, workers: int) -> Client:
        now, lateness = self.clock.time, Lateness()
        pools = [Pool(server, PoolPacer(now, lateness)) for server in self.servers]
        for pool in pools:
            pool.pacer.set_share(now, share)
        return Client(pools, workers, head_since=now)

    def _at(self, time: float, event: Callable[[], None]) -> None:
        self._number += 1
        heapq.heappush(self._events, (time, self._number, event))

    def run(self, most_s: float) -> float:
        """Returns how long it took. A task that is never done, or not within `most_s`, is an `AssertionError`."""
        start, total = self.clock.time, len(self.tasks)
        for server in self.servers:
            for after, factor in server.org.changes:
                self._at(start + after, partial(server.change, factor))
        for client in self.clients:
            self._at(start, partial(self._pump, client))
        while self.done < total:
            assert self._events, f"{total - self.done} tasks are not done, and nothing will happen"
            time, _, event = heapq.heappop(self._events)
            assert time - start < most_s, f"{total - self.done} tasks are not done after {most_s} s"
            self.clock.time = max(self.clock.time, time)
            event()
        return self.clock.time - start

    def _pump(self, client: Client) -> None:
        """Send whatever may be sent."""
        now = self.clock.time
        while client.free and self.tasks:
            task = self.tasks[0]
            times = [pool.next_at(now, task.estimate) for pool in client.pools]
            pool = next((p for p, at in zip(client.pools, times, strict=True) if at <= now + _BARELY_S), None)
            if pool is None:
                at = min(times)
                if at < client.timer - _BARELY_S:
                    client.timer = at
                    self._at(at + self.rng.random() * _TIMER_LATE_S, partial(self._woken, client, at))
                return
            self.tasks.popleft()
            self.waits.append(now - client.head_since)
            client.head_since = now
            client.free -= 1
            self._send(client, pool, task)

    def _woken(self, client: Client, at: float) -> None:
        """A timer fired; one that was overtaken by an earlier one is none."""
        if client.timer == at:
            client.timer = math.inf
            self._pump(client)

    def _send(self, client: Client, pool: Pool, task: Task) -> None:
        now = self.clock.time
        if pool.probing and not pool.probes:
            pool.probed_at = now
        sent = Sent(client, pool, task, pool.pacer.sent(now, task.estimate), pool.probing)
        pool.probes += sent.is_probe
        self.sent.append((sent.ticket.leaves_at, pool.server))
        self._at(sent.ticket.leaves_at + self.network.draw(self.rng), partial(self._arrive, sent))

    def _arrive(self, sent: Sent) -> None:
        wait, reading = sent.pool.server.arrive(sent.task)
        back = self.clock.time + self.network.draw(self.rng)
        if wait is None:
            self._at(back + self.network.answer, partial(self._answer, sent, reading))
        else:
            self._at(back, partial(self._reject, sent, reading, wait))

    def _answer(self, sent: Sent, reading: LimitReading) -> None:
        now, pool, task = self.clock.time, sent.pool, sent.task
        pool.pacer.read(now, sent.ticket, reading)
        pool.pacer.answered(now, sent.ticket, input_tokens=task.input_tokens, output_tokens=task.output_tokens)
        if pool.cools_until <= now:
            pool.probing, pool.limited_in_a_row = False, 0
        self.done += 1
        self._ended(sent)

    def _reject(self, sent: Sent, reading: LimitReading, wait: float) -> None:
        now, pool = self.clock.time, sent.pool
        self.rejected += 1
        pool.pacer.read(now, sent.ticket, reading)
        pool.pacer.rejected(now, sent.ticket, reading)
        pool.cool(now, sent.ticket.sent_at, wait)
        self.tasks.appendleft(sent.task)
        self._ended(sent)

    def _ended(self, sent: Sent) -> None:
        sent.pool.probes -= sent.is_probe
        sent.client.free += 1
        for client in self.clients:
            if client.free:
                self._pump(client)


def run(
    orgs: Sequence[Org],
    tasks: Sequence[Task] | int,
    *,
    workers: int = 64,
    network: Network = USUAL,
    seed: int = 0,
    processes: int = 1,
    most_s: float = 1e6,
) -> Report:
    """One scenario, to its end; `tasks` as a number are requests without tokens."""
    given = [Task()] * tasks if isinstance(tasks, int) else tasks
    world = World(orgs, given, workers=workers, network=network, seed=seed, processes=processes)
    seconds = world.run(most_s)
    return Report(seconds, ideal(orgs, given), len(world.sent), world.rejected, world.servers, world.waits, world.sent)
