"""Everything a simulator can be told, as one frozen object that reads from and writes to JSON."""

from __future__ import annotations

import json
import math
import uuid
from dataclasses import dataclass, field, fields, replace
from itertools import pairwise
from typing import Any, Final, Literal

from agentdash.errors import UsageError
from agentdash.simulator.bucket import Limit
from agentdash.simulator.codec import decode, encode
from agentdash.simulator.kinds import RULE_KINDS, Kind
from agentdash.simulator.rules import Rule

_MOST_CLOCK_OFFSET_S: Final = 366 * 86_400

Remaining = Literal["bucket", "minute", "lies"]


@dataclass(frozen=True, slots=True)
class LimitChange:
    """From `at_s` seconds on (see `SimulatorConfig.timed_from`) the limits are `factor` times those configured."""

    at_s: float
    factor: float

    def __post_init__(self) -> None:
        if not (0 <= self.at_s < math.inf and 0 <= self.factor < math.inf):
            raise UsageError("schedule: at_s and factor must be finite numbers of at least 0")


@dataclass(frozen=True, slots=True)
class OrganizationConfig:
    """One set of limits. A limit of `None` is no limit, and is not advertised.

    Two entries with one `id` and different limits play two workspaces of one organisation.
    `headers`: `all`; `identity` (no rate-limit headers); `none` (a gateway: not even a request id).
    `remaining`, what those headers tell: what is in the `bucket`; what is left of the advertised `minute` (its limit
    less what was admitted in the last 60 s: the bucket's size is hidden); or `lies` (always all of it, with a reset
    that jumps about in the minute before now).
    `retry_after` on a 429: whole `seconds`, an HTTP `date`, `none` at all, or `long` (`retry_after_long_s`).
    `schedule`: changes of the limits, rate and bucket alike, in the order of time.
    """

    name: str
    requests: Limit | None = None
    input_tokens: Limit | None = None
    output_tokens: Limit | None = None
    id: str | None = None
    workspace_id: str | None = None
    headers: Literal["all", "identity", "none"] = "all"
    retry_after: Literal["seconds", "date", "none", "long"] = "seconds"
    retry_after_long_s: int = 86_400
    remaining: Remaining = "bucket"
    schedule: tuple[LimitChange, ...] = ()

    def __post_init__(self) -> None:
        if any(later.at_s < earlier.at_s for earlier, later in pairwise(self.schedule)):
            raise UsageError(f"organizations: {self.name}: the schedule is not in the order of time")

    @property
    def header_id(self) -> str:
        return self.id or str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{self.name}.agentdash.invalid"))


@dataclass(frozen=True, slots=True)
class Storm:
    """Every request between `start` and `end` (seconds, see `SimulatorConfig.timed_from`) gets `kind`."""

    start: float
    end: float
    kind: Kind = Kind.OVERLOADED

    def __post_init__(self) -> None:
        if self.kind not in RULE_KINDS:
            raise UsageError(f"storm: {self.kind} cannot be asked for")


@dataclass(frozen=True, slots=True)
class KeyBehaviour:
    """How requests with a key fare.

    `after`: so many requests are fine before `invalid`, `forbidden`, `credit` or `billing` begins.
    `quota`: `daily_requests` a UTC day, then `quota_status` with the date of regained access (`regain_at`, default the
    next midnight).
    """

    kind: Literal["ok", "invalid", "forbidden", "credit", "billing", "quota"] = "ok"
    after: int = 0
    daily_requests: int = 0
    quota_status: Literal[400, 429] = 400
    regain_at: str | None = None
    storms: tuple[Storm, ...] = ()


@dataclass(frozen=True, slots=True)
class KeyConfig:
    """A key the server knows. `name` stands for it in records; empty means `key-1` … by position."""

    key: str = field(repr=False)
    organization: str
    behaviour: KeyBehaviour = KeyBehaviour()
    name: str = ""
    workspace_id: str | None = None

    def __post_init__(self) -> None:
        if not self.key:
            raise UsageError("keys: a key is empty")


@dataclass(frozen=True, slots=True)
class FailureRates:
    """Probabilities a request, in [0, 1] and at most 1 together; field names are `Kind` values.

    The `*_stream` kinds and `error_event` break a stream part-way; without streaming, `drop`/`reset` break the body,
    `cut_stream` ends it early, `hang_stream` is `hang` and `error_event` is a plain 529.
    """

    api_error: float = 0.0
    bad_gateway: float = 0.0
    unavailable: float = 0.0
    gateway_timeout: float = 0.0
    overloaded: float = 0.0
    rate_limited: float = 0.0
    drop_before: float = 0.0
    reset_before: float = 0.0
    drop_stream: float = 0.0
    reset_stream: float = 0.0
    cut_stream: float = 0.0
    error_event: float = 0.0
    hang: float = 0.0
    hang_stream: float = 0.0
    storms: tuple[Storm, ...] = ()

    def __post_init__(self) -> None:
        for name, rate in self.rates():
            if not 0 <= rate <= 1:
                raise UsageError(f"failures.{name}: expected a probability from 0 to 1, found {rate}")
        if sum(rate for _, rate in self.rates()) > 1 + 1e-9:
            raise UsageError("failures: the probabilities add up to more than 1")

    def rates(self) -> list[tuple[str, float]]:
        return [(spec.name, getattr(self, spec.name)) for spec in fields(self) if spec.name != "storms"]


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds to the first token, and between the chunks of a stream (a plain answer waits for all of them).

    `fixed`: `first_token_s`. `uniform`: from `first_token_s` to `high_s`. `lognormal`: median `first_token_s` with
    `sigma`, at most `high_s` (0: no bound).
    """

    distribution: Literal["fixed", "uniform", "lognormal"] = "fixed"
    first_token_s: float = 0.0
    high_s: float = 0.0
    sigma: float = 0.5
    chunk_s: float = 0.0

    def __post_init__(self) -> None:
        if min(self.first_token_s, self.high_s, self.sigma, self.chunk_s) < 0:
            raise UsageError("latency: no field may be negative")
        if self.distribution == "uniform" and self.high_s < self.first_token_s:
            raise UsageError("latency: high_s is below first_token_s")


@dataclass(frozen=True, slots=True)
class SimulatorConfig:
    """The whole simulator. `answer_tokens` is one length or a range; `models` empty means any model is known.

    `tool_use`: a request with tools gets a tool call, until its last message brings a tool result.
    `clock_offset_s`: how far the server's clock is off (above 0: ahead), in all dates that it states.
    `timed_from`: what storms and changes of limits are timed from, the server's `start` or its `first_request`.
    """

    organizations: tuple[OrganizationConfig, ...] = (OrganizationConfig("org-a"),)
    keys: tuple[KeyConfig, ...] = (KeyConfig("sim-key-1-0000", "org-a"),)
    failures: FailureRates = FailureRates()
    latency: Latency = Latency()
    rules: tuple[Rule, ...] = ()
    seed: int = 0
    answer_tokens: int | tuple[int, int] = (30, 90)
    tool_use: bool = False
    models: tuple[str, ...] = ()
    max_records: int = 1_000_000
    clock_offset_s: float = 0.0
    timed_from: Literal["start", "first_request"] = "start"

    def __post_init__(self) -> None:
        names = [organization.name for organization in self.organizations]
        if len(set(names)) != len(names):
            raise UsageError("organizations: two have the same name")
        named = tuple(replace(key, name=key.name or f"key-{n}") for n, key in enumerate(self.keys, start=1))
        object.__setattr__(self, "keys", named)
        for key in named:
            if key.organization not in names:
                raise UsageError(f"keys: {key.name} belongs to an unknown organization {key.organization!r}")
        if len({key.name for key in named}) != len(named) or len({key.key for key in named}) != len(named):
            raise UsageError("keys: two have the same name or the same key")
        low, high = self.answer_range
        if not 1 <= low <= high:
            raise UsageError(f"answer_tokens: expected 1 <= low <= high, found {self.answer_tokens}")
        if self.max_records < 1:
            raise UsageError("max_records: at least 1")
        if not abs(self.clock_offset_s) <= _MOST_CLOCK_OFFSET_S:
            raise UsageError("clock_offset_s: at most a year ahead or behind")

    @property
    def answer_range(self) -> tuple[int, int]:
        tokens = self.answer_tokens
        return (tokens, tokens) if isinstance(tokens, int) else tokens

    @classmethod
    def simple(cls, keys: int = 1, *, organizations: int = 1, **settings: Any) -> SimulatorConfig:
        """So many keys (`sim-key-1-0000` …) dealt round to organisations without limits."""
        names = [f"org-{chr(ord('a') + n)}" for n in range(organizations)]
        return cls(
            organizations=tuple(OrganizationConfig(name) for name in names),
            keys=tuple(KeyConfig(f"sim-key-{n + 1}-0000", names[n % organizations]) for n in range(keys)),
            **settings,
        )

    @classmethod
    def demo(cls, *, seed: int = 0) -> SimulatorConfig:
        """Three keys of two organisations, believable limits, latency and failures: what `agentdash demo` shows."""
        first = OrganizationConfig("org-a", Limit(1200, 24), Limit(240_000, 20_000), Limit(240_000, 12_000))
        # The second tells what is left of its minute, not how small a burst it takes: that has to be found out.
        second = OrganizationConfig(
            "org-b", Limit(600, 12), Limit(120_000, 10_000), Limit(120_000, 6_000), remaining="minute"
        )
        return cls(
            organizations=(first, second),
            keys=(
                KeyConfig("sim-key-1-7Qx2", "org-a"),
                KeyConfig("sim-key-2-9fKe", "org-a"),
                KeyConfig("sim-key-3-m1Aa", "org-b"),
            ),
            failures=FailureRates(
                api_error=0.01,
                overloaded=0.01,
                rate_limited=0.004,
                drop_stream=0.01,
                cut_stream=0.005,
                error_event=0.005,
            ),
            latency=Latency("lognormal", first_token_s=0.3, sigma=0.6, high_s=4.0, chunk_s=0.015),
            seed=seed,
        )

    @classmethod
    def from_json(cls, text: str) -> SimulatorConfig:
        """The config that `text` states; `UsageError` names what is wrong with it."""
        try:
            value = json.loads(text)
        except ValueError as error:
            raise UsageError(f"simulator config: not JSON: {error}") from None
        return decode(cls, value, "simulator config")

    def to_json(self) -> str:
        """The JSON that `from_json` reads back as an equal object. Holds the (simulated) keys."""
        return json.dumps(encode(self))
