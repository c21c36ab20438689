"""The line in which tasks wait for their turn, over a real rotation, in virtual time."""

from __future__ import annotations

import asyncio
import math
from itertools import pairwise

from agentdash.engine.estimate import RequestSize
from agentdash.engine.limitheaders import LimitReading, Standing
from agentdash.engine.limits import Lease
from agentdash.engine.line import LeaseLine
from agentdash.engine.pacing import BUILD_S
from agentdash.engine.rotation import APIRotationState
from tests.support.keys import CREDENTIAL, Keys, limited
from tests.support.virtual_loop import EPOCH, LoopClock, ManualClock, let_pass, virtual

_SIZE = RequestSize()


class RunningClock(ManualClock):
    """The running loop's time, as the clock that `Keys` wants."""

    def now(self) -> float:
        return EPOCH + self.monotonic() - 1000.0

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds))


class CountingLine(LeaseLine):
    """Counts how often it looks."""

    looks = 0

    def look(self) -> None:
        self.looks += 1
        super().look()


class Bench:
    """Keys that have been answered once, a line before them, and what each waiter got, in the order of its turns."""

    def __init__(self, names: str = "a", *, per_minute: float = 1200, left: float = 0) -> None:
        self.keys = Keys(names, clock=RunningClock())
        self.state: APIRotationState = self.keys.state
        self.line = CountingLine(self.state, LoopClock(), on_room=self._room)
        self.state.on_change = self.line.look
        self.rooms = 0
        self.turns: list[tuple[str, float]] = []
        self.leases: list[Lease] = []
        if per_minute:
            for credential in self.state.credentials:
                lease = self.state.lease()
                assert lease is not None
                self.tell(lease, f"org-{credential.name}", per_minute, left)
                self.state.succeeded(lease.credential, lease)
                self.state.current_index = (self.state.current_index + 1) % len(names)
                self.state.release(lease)

    def _room(self) -> None:
        self.rooms += 1

    def tell(self, lease: Lease, organization: str, per_minute: float, left: float) -> None:
        self.state.read(lease, LimitReading(organization, None, {"requests": Standing(per_minute, left)}))

    @property
    def now(self) -> float:
        return asyncio.get_running_loop().time()

    @property
    def in_flight(self) -> int:
        return sum(credential.in_flight for credential in self.state.credentials)

    async def wait(self, name: str) -> Lease | None:
        lease = await self.line.turn(_SIZE)
        if lease is not None:
            self.turns.append((name, self.now))
            self.leases.append(lease)
        return lease

    async def queue(self, *names: str) -> list[asyncio.Task[Lease | None]]:
        """These wait, in this order."""
        tasks = []
        for name in names:
            tasks.append(asyncio.create_task(self.wait(name), name=name))
            await asyncio.sleep(0)
        return tasks

    def cool(self, retry_after: float) -> None:
        """A request that was on its way is rejected."""
        lease = self.state.lease()
        assert lease is not None
        self.state.failed(lease, limited(retry_after))
        self.state.release(lease)


@virtual
async def test_first_come_first_served_at_the_pace_of_the_limit() -> None:
    bench = Bench(per_minute=600, left=2)
    names = [f"t{number}" for number in range(40)]
    start = bench.now
    await asyncio.gather(*await bench.queue(*names))
    assert [name for name, _ in bench.turns] == names
    assert len(bench.line) == 0
    for number, (_, at) in enumerate(bench.turns):
        assert number + 1 <= 3 + 10 * (at - start) + 1e-6, "faster than three at once and ten a second"
    assert bench.now - start <= 4.2


@virtual
async def test_whoever_finds_room_and_nobody_in_line_goes_at_once() -> None:
    bench = Bench(per_minute=0)
    assert await bench.line.turn(_SIZE) is not None
    assert bench.line.looks == 0
    assert len(bench.line) == 0


@virtual
async def test_nobody_overtakes_those_in_line_although_there_is_room() -> None:
    bench = Bench(left=0)
    (first,) = await bench.queue("first")
    let_pass(1.0)  # there is room now, and the timer that would see it has not run yet
    late = asyncio.create_task(bench.wait("late"))
    await asyncio.gather(late, first)
    assert [name for name, _ in bench.turns] == ["first", "late"]


@virtual
async def test_each_waits_for_his_turn_and_is_woken_once() -> None:
    """A timer for the first in line: the others are not woken for nothing, and nothing spins."""
    bench = Bench(per_minute=600)
    await asyncio.gather(*await bench.queue(*(f"t{number}" for number in range(100))))
    assert bench.line.looks <= 110
    assert bench.rooms >= 90  # each that leaves makes room for one more task


@virtual
async def test_a_long_wait_is_one_timer() -> None:
    """One request a minute: the timer is set once, however long it is."""
    bench = Bench(per_minute=1)
    start = bench.now
    await asyncio.gather(*await bench.queue("a", "b", "c"))
    assert 150 <= bench.now - start <= 200
    assert bench.line.looks <= 6


@virtual
async def test_who_is_cancelled_leaves_his_place_and_the_next_one_goes() -> None:
    bench = Bench(per_minute=60)
    first, second, third = await bench.queue("first", "second", "third")
    first.cancel()
    await asyncio.sleep(0)
    assert len(bench.line) == 2
    second.cancel()
    await third
    assert [name for name, _ in bench.turns] == ["third"]
    assert bench.in_flight == 1
    assert first.cancelled()
    assert second.cancelled()


@virtual
async def test_the_last_one_that_is_cancelled_leaves_no_timer() -> None:
    bench = Bench(per_minute=60)
    (only,) = await bench.queue("only")
    only.cancel()
    await asyncio.wait([only])
    looks = bench.line.looks
    await asyncio.sleep(100)
    assert bench.line.looks == looks
    assert len(bench.line) == 0


@virtual
async def test_a_lease_that_was_granted_to_one_who_is_cancelled_goes_to_the_next() -> None:
    bench = Bench(per_minute=60)
    first, second = await bench.queue("first", "second")
    (credential,) = bench.state.credentials
    before = credential.requests
    let_pass(2.0)
    bench.line.look()
    assert len(bench.line) == 1, "the first has his turn, and does not know of it yet"
    first.cancel()
    await second
    assert first.cancelled()
    assert [name for name, _ in bench.turns] == ["second"]
    assert bench.in_flight == 1
    assert credential.requests == before + 1, "what was not sent is not counted"


@virtual
async def test_sent_away_they_get_nothing_and_owe_nothing() -> None:
    bench = Bench(per_minute=60)
    waiting = await bench.queue("a", "b", "c")
    bench.line.send_away()
    assert await asyncio.gather(*waiting) == [None, None, None]
    assert bench.in_flight == 0
    assert len(bench.line) == 0
    looks = bench.line.looks
    await asyncio.sleep(100)
    assert bench.line.looks <= looks + 1


@virtual
async def test_a_long_cooldown_sends_the_line_away() -> None:
    """Their tasks go back to the queue, where another process or a later moment may take them."""
    bench = Bench("a", per_minute=1200, left=5)
    lease = bench.state.lease()
    assert lease is not None
    waiting = await bench.queue(*"bcdefghij")
    bench.state.failed(lease, limited(30.0))
    bench.state.release(lease)
    got = await asyncio.gather(*waiting)
    assert got[-1] is None
    assert len(bench.line) == 0
    start = bench.now
    assert await bench.line.turn(_SIZE) is None  # nor does one that comes later wait
    assert bench.now == start


@virtual
async def test_a_short_cooldown_is_waited_for() -> None:
    bench = Bench(per_minute=1200, left=50)
    start = bench.now
    bench.cool(1.5)
    waiting = await bench.queue("a", "b")
    got = await asyncio.gather(waiting[0])
    assert got[0] is not None
    assert got[0].is_probe
    assert bench.now >= start + 1.5
    assert not waiting[1].done(), "one probes before the others follow"
    bench.state.succeeded(got[0].credential, got[0])
    bench.state.release(got[0])
    assert await waiting[1] is not None


@virtual
async def test_without_a_usable_key_the_line_is_sent_away() -> None:
    bench = Bench(per_minute=60, left=1)
    lease = bench.state.lease()
    assert lease is not None
    waiting = await bench.queue("a", "b")
    bench.state.failed(lease, CREDENTIAL)
    bench.state.release(lease)
    assert await asyncio.gather(*waiting) == [None, None]
    assert await bench.line.turn(_SIZE) is None


@virtual
async def test_while_one_pool_cools_the_others_send() -> None:
    bench = Bench("ab", per_minute=1200, left=10)
    bench.cool(60.0)
    waiting = await bench.queue(*(f"t{number}" for number in range(30)))
    got = await asyncio.gather(*waiting)
    assert {lease.credential.name for lease in got if lease is not None} == {"b"}
    assert None not in got


@virtual
async def test_the_paces_of_all_pools_add_up() -> None:
    bench = Bench("abc", per_minute=600)
    start = bench.now
    got = await asyncio.gather(*await bench.queue(*(f"t{number}" for number in range(90))))
    assert 2.7 <= bench.now - start <= 3.4
    used = [lease.credential.name for lease in got if lease is not None]
    assert all(25 <= used.count(name) <= 35 for name in "abc")


@virtual
async def test_as_many_may_stand_in_line_as_go_within_a_second() -> None:
    bench = Bench("ab", per_minute=600)
    await asyncio.gather(*await bench.queue("x"))
    assert bench.line.most == 20
    assert Bench(per_minute=0).line.most > 1_000_000
    slow = Bench(per_minute=6)
    assert slow.line.most == 1


@virtual
async def test_when_the_next_one_goes_is_known() -> None:
    bench = Bench(per_minute=60)
    at = bench.line.next_at()
    assert bench.now < at <= bench.now + 2.1
    (first,) = await bench.queue("first")
    assert math.isclose(bench.line.next_at(), at, abs_tol=0.01)
    await first
    assert math.isclose(bench.now, at, abs_tol=0.01)


@virtual
async def test_one_who_is_being_cancelled_is_passed_over() -> None:
    """He stands in line until his task runs once more; what happens meanwhile is no business of his."""
    bench = Bench(per_minute=60)
    first, second = await bench.queue("first", "second")
    let_pass(2.0)
    first.cancel()
    bench.line.look()
    await second
    assert [name for name, _ in bench.turns] == ["second"]
    assert bench.in_flight == 1


@virtual
async def test_one_who_is_being_cancelled_is_not_sent_away_too() -> None:
    bench = Bench(per_minute=60)
    first, second = await bench.queue("first", "second")
    first.cancel()
    bench.line.send_away()
    assert await second is None


@virtual
async def test_what_is_heard_while_it_looks_takes_nobodys_turn() -> None:
    """News from another process is a change, and a change makes the line look: once more, inside its own look."""
    bench = Bench(per_minute=600)
    turns = [asyncio.create_task(bench.line.turn(_SIZE)) for _ in range(8)]
    await asyncio.sleep(0)

    def hear() -> None:
        bench.state.on_change()
        let_pass(0.2)

    bench.state.hear = hear
    leases = [await turn for turn in turns]
    assert all(lease is not None for lease in leases)
    assert len(bench.line) == 0
    assert bench.state.credentials[0].in_flight == 8


@virtual
async def test_a_limit_without_bursts_has_its_requests_built_before_and_sent_at_their_moment() -> None:
    bench = Bench(per_minute=1200, left=0)
    meter = next(iter(bench.state.pool_of(bench.state.credentials[0]).pacers.values())).meters["requests"]
    assert meter.is_tiny
    loop, left = asyncio.get_running_loop(), []
    for _ in range(4):
        lease = await bench.line.turn(_SIZE)
        assert lease is not None
        granted = loop.time()
        assert lease.ticket.leaves_at - granted <= BUILD_S + 1e-6
        await bench.state.leave(lease)
        assert (
            lease.ticket.leaves_at - 0.0021 <= loop.time()
        )  # the last two ms are turns, and no time passes in them here
        left.append(lease.ticket.leaves_at)
        bench.state.release(lease)
    gaps = [later - earlier for earlier, later in pairwise(left)]
    assert all(gap >= 0.05 for gap in gaps), gaps


@virtual
async def test_where_bursts_are_taken_nothing_is_waited_for_once_it_is_built() -> None:
    bench = Bench(per_minute=1200, left=20)
    lease = await bench.line.turn(_SIZE)
    assert lease is not None
    before = asyncio.get_running_loop().time()
    await bench.state.leave(lease)
    assert asyncio.get_running_loop().time() == before
