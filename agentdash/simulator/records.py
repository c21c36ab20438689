"""What the server saw, for tests: one record a request, bounded, with counts kept as they happen."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from agentdash.clock import Clock
from agentdash.simulator.kinds import Kind

_OVERLAP_EXAMPLES = 100


@dataclass(slots=True)
class RequestRecord:
    """One request. `key` is the key's name from the config (`unknown` or `missing` otherwise), never the key.

    `finished_at` is None, `status` 0 and `kind` pending while it is being served. A dropped connection keeps status 0,
    a broken stream has 200, a client that went away 499.
    """

    index: int
    received_at: float
    key: str
    organization: str
    prompt: str
    marker: str | None
    stream: bool
    endpoint: str = "messages"
    status: int = 0
    kind: Kind = Kind.PENDING
    finished_at: float | None = None
    input_tokens: int = 0
    output_tokens: int = 0

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


class Recorder:
    """A bounded sequence of records, oldest first, and running counts over all requests ever made."""

    def __init__(self, clock: Clock, max_records: int) -> None:
        self._clock = clock
        self._records: deque[RequestRecord] = deque(maxlen=max_records)
        self._waiters: list[asyncio.Future[None]] = []
        self._active_markers: Counter[str] = Counter()
        self._active_prompts: Counter[str] = Counter()
        self._overlaps: list[str] = []
        self._counts: Counter[tuple[str, str, str, int, Kind]] = Counter()
        self.total = 0
        self.active = 0
        self.max_active = 0
        self.overlapping_markers = 0
        self.overlapping_prompts = 0

    def __iter__(self) -> Iterator[RequestRecord]:
        return iter(tuple(self._records))

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> RequestRecord:
        return self._records[index]

    def since(self, index: int) -> list[RequestRecord]:
        """The records still kept whose `index` is at least `index`."""
        return [record for record in self._records if record.index >= index]

    def begin(
        self,
        received_at: float,
        key: str,
        organization: str,
        prompt: str,
        marker: str | None,
        stream: bool,
        endpoint: str,
    ) -> RequestRecord:
        record = RequestRecord(self.total, received_at, key, organization, prompt[:200], marker, stream, endpoint)
        self._records.append(record)
        self.total += 1
        self.active += 1
        if self.active > self.max_active:
            self.max_active = self.active
        if endpoint == "messages":
            self._enter(record)
        if self._waiters:
            self._wake()
        return record

    def finish(self, record: RequestRecord, status: int, kind: Kind) -> None:
        """State what became of `record`; only the first call counts."""
        if record.finished_at is not None:
            return
        record.finished_at = self._clock.monotonic()
        record.status = status
        record.kind = kind
        self.active -= 1
        self._counts[record.endpoint, record.key, record.organization, status, kind] += 1
        if record.endpoint == "messages":
            self._leave(record)
        if self._waiters:
            self._wake()

    def _enter(self, record: RequestRecord) -> None:
        if record.prompt:
            if record.prompt in self._active_prompts:
                self.overlapping_prompts += 1
            self._active_prompts[record.prompt] += 1
        if record.marker is not None:
            if record.marker in self._active_markers:
                self.overlapping_markers += 1
                if len(self._overlaps) < _OVERLAP_EXAMPLES:
                    self._overlaps.append(record.marker)
            self._active_markers[record.marker] += 1

    def _leave(self, record: RequestRecord) -> None:
        if record.prompt:
            _count_down(self._active_prompts, record.prompt)
        if record.marker is not None:
            _count_down(self._active_markers, record.marker)

    async def wait_until(self, condition: Callable[[Recorder], bool], timeout: float = 30.0) -> None:
        """Return once `condition(self)` holds; it is looked at again whenever a request begins or ends."""
        async with asyncio.timeout(timeout):
            while not condition(self):
                waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                self._waiters.append(waiter)
                await waiter

    def _wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()

    def stats(self) -> dict[str, Any]:
        """Counts as plain data. Finished requests are counted; `active` ones are not yet among them."""
        sums: dict[str, Counter[str]] = {
            name: Counter() for name in ("by_endpoint", "by_key", "by_organization", "by_status", "by_kind")
        }
        for parts, count in self._counts.items():
            for name, part in zip(
                ("by_endpoint", "by_key", "by_organization", "by_status", "by_kind"), parts, strict=True
            ):
                sums[name][str(part)] += count
        return {
            "requests": self.total,
            "active": self.active,
            "max_concurrent": self.max_active,
            "overlapping_markers": self.overlapping_markers,
            "overlapping_marker_examples": list(self._overlaps),
            "overlapping_prompts": self.overlapping_prompts,
            **{name: dict(counter) for name, counter in sums.items()},
        }


def _count_down(counter: Counter[str], name: str) -> None:
    if counter[name] > 1:
        counter[name] -= 1
    else:
        del counter[name]
