"""The servers that a run asks: each has one backoff, which all workers share."""

from __future__ import annotations

from agentdash.clock import Clock
from agentdash.engine.backoff import ServiceBackoff
from agentdash.engine.rotation import APIRotationState

_LOCAL = "local"
_NO_REASON = "the server does not answer"


class Services:
    """The backoffs by base URL. `backoff_s` is the first wait and the longest one, in seconds.

    A user's function asks its service in a way of its own: that has a backoff without a URL.
    """

    def __init__(self, rotation: APIRotationState | None, clock: Clock, backoff_s: tuple[float, float]) -> None:
        self.all: dict[str, ServiceBackoff] = {}
        self._rotation = rotation
        self._clock = clock
        self._backoff_s = backoff_s

    def of(self, server: str | None = None) -> ServiceBackoff:
        """The shared backoff of a server (None: the user's function)."""
        key = server or _LOCAL
        if key not in self.all:
            base, most = self._backoff_s
            self.all[key] = ServiceBackoff(base_delay=base, max_delay=most, clock=self._clock)
        return self.all[key]

    @property
    def is_down(self) -> bool:
        """Whether every server this run asks is taken to be down."""
        return bool(self.all) and all(service.is_down for service in self.all.values())

    def hold(self, worker: str, *, probing: bool) -> tuple[float, str] | None:
        """Until when (monotonic) a worker should ask none of them, and why; None if it may ask one.

        A probing worker is not held by the backoff of a server that is down.
        """
        if all(service.is_calm for service in self.all.values()):  # nearly always: this is asked before each task
            return None
        services = self._in_use()
        starts = [(s, service) for service in services if (s := service.start_for(worker, probing=probing)) is not None]
        if not starts or len(starts) < len(services):
            return None
        start, service = min(starts, key=lambda pair: pair[0])
        return start, service.reason or _NO_REASON

    def outage(self) -> tuple[float, str] | None:
        """Until when (monotonic) no server that could be asked is asked, and why; None if one is."""
        services = self._in_use()
        waits = [(until, service) for service in services if (until := service.until) is not None]
        if not waits or len(waits) < len(services):
            return None
        until, service = min(waits, key=lambda pair: pair[0])
        return until, service.reason or _NO_REASON

    def _in_use(self) -> list[ServiceBackoff]:
        servers: list[str | None] = [None]
        if self._rotation is not None:
            wall = self._clock.now()
            servers = [c.server for c in self._rotation.credentials if c.is_usable(wall)]
        return [self.of(server) for server in dict.fromkeys(servers)]
