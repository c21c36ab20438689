"""Organisations and keys at run time: limits, quotas, and the headers that tell a client where it stands."""

from __future__ import annotations

import math
from collections import deque
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from agentdash.clock import Clock
from agentdash.simulator.bucket import Cost, OrganizationBuckets
from agentdash.simulator.config import KeyBehaviour, KeyConfig, OrganizationConfig, Storm
from agentdash.simulator.kinds import Kind
from agentdash.simulator.standing import LONGEST_WAIT_S, Standing
from agentdash.simulator.timing import Stopwatch
from agentdash.simulator.wire import http_date

_UNCONDITIONAL = {
    "invalid": Kind.UNAUTHORIZED,
    "forbidden": Kind.FORBIDDEN,
    "credit": Kind.CREDIT,
    "billing": Kind.BILLING,
}


class Organization:
    """The buckets of one organisation, and its headers."""

    def __init__(self, config: OrganizationConfig, clock: Clock, stopwatch: Stopwatch) -> None:
        self.config = config
        self._clock = clock
        self._stopwatch = stopwatch
        self._ahead = deque(config.schedule)
        self._buckets = OrganizationBuckets(clock, config.requests, config.input_tokens, config.output_tokens)
        self._standing = Standing(self._buckets, clock)

    def change(self, config: OrganizationConfig) -> None:
        """New limits and header settings from now on, by the factor its schedule says; what is in the buckets stays."""
        self._keep_schedule()
        self.config = config
        age = self._stopwatch.age()
        self._ahead = deque(step for step in config.schedule if step.at_s > age)
        past = [step.factor for step in config.schedule if step.at_s <= age]
        self._set(past[-1] if past else 1.0, None)

    def _keep_schedule(self) -> None:
        """Make the changes that are due, each as of its own moment."""
        while self._ahead and self._ahead[0].at_s <= self._stopwatch.age():
            step = self._ahead.popleft()
            self._set(step.factor, self._stopwatch.moment(step.at_s))

    def _set(self, factor: float, at: float | None) -> None:
        config = self.config
        requests, input_tokens, output_tokens = (
            limit and limit.times(factor) for limit in (config.requests, config.input_tokens, config.output_tokens)
        )
        self._buckets.change(requests, input_tokens, output_tokens, at)

    def admit(self, input_tokens: int, output_tokens: int) -> tuple[str, float] | None:
        """None, or which limit is short and for how many seconds."""
        if self._buckets.unlimited:
            return None
        if self._ahead:
            self._keep_schedule()
        cost = Cost(1, input_tokens, output_tokens)
        short = self._buckets.admit(cost)
        if short is None and self.config.remaining == "minute":
            self._standing.admitted(cost)
        return short

    def retry_after(self, wait_s: float) -> bytes:
        """The `retry-after` header of a 429, as the config wants it."""
        seconds = math.ceil(min(max(wait_s, 1.0), LONGEST_WAIT_S))
        match self.config.retry_after:
            case "none":
                return b""
            case "long":
                return b"retry-after: %d\r\n" % self.config.retry_after_long_s
            case "date":
                return b"retry-after: %s\r\n" % http_date(math.ceil(self._clock.now()) + seconds)
            case "seconds":
                return b"retry-after: %d\r\n" % seconds

    def limit_headers(self) -> bytes:
        """The documented `anthropic-ratelimit-*` headers, as the config wants them."""
        if self._buckets.unlimited or self.config.headers != "all":
            return b""
        return self._standing.headers(self.config.remaining)


@lru_cache(maxsize=1024)
def _identity(organization: OrganizationConfig, workspace_id: str | None) -> bytes:
    if organization.headers == "none":
        return b""
    text = f"anthropic-organization-id: {organization.header_id}\r\n"
    if workspace := workspace_id or organization.workspace_id:
        text += f"anthropic-workspace-id: {workspace}\r\n"
    return text.encode()


class Key:
    """One key: whose it is, how it behaves, and how much of its quota is used."""

    def __init__(self, config: KeyConfig, organization: Organization, clock: Clock) -> None:
        self.config = config
        self.organization = organization
        self.behaviour = config.behaviour
        self._clock = clock
        self._served = 0
        self._today = 0
        self._served_today = 0

    @property
    def name(self) -> str:
        return self.config.name

    @property
    def storms(self) -> tuple[Storm, ...]:
        return self.behaviour.storms

    def change(self, behaviour: KeyBehaviour) -> None:
        """A new behaviour from now on, its counts at zero."""
        self.behaviour = behaviour
        self._served = self._today = self._served_today = 0

    def identity_headers(self) -> bytes:
        return _identity(self.organization.config, self.config.workspace_id)

    def refusal(self) -> Kind | None:
        """What the key itself makes of a request now, before any limit is looked at."""
        if (kind := _UNCONDITIONAL.get(self.behaviour.kind)) is not None:
            return kind if self._served >= self.behaviour.after else None
        if self.behaviour.kind == "quota" and self._used_today() >= self.behaviour.daily_requests:
            return Kind.QUOTA
        return None

    def count(self) -> None:
        """One more request was let through."""
        self._served += 1
        if self.behaviour.kind == "quota":
            self._served_today = self._used_today() + 1

    def _used_today(self) -> int:
        today = int(self._clock.now() // 86_400)
        if today != self._today:
            self._today, self._served_today = today, 0
        return self._served_today

    def quota_message(self) -> str:
        midnight = datetime.fromtimestamp(self._clock.now(), UTC).replace(hour=0, minute=0) + timedelta(days=1)
        date = self.behaviour.regain_at or f"{midnight:%Y-%m-%d at %H:%M} UTC"
        return f"You have reached your specified API usage limits. You will regain access on {date}."
