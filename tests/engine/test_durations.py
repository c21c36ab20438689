"""Times as users write them: what is read is what was meant, and all else is refused."""

from __future__ import annotations

import time as system_time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, time, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentdash.durations import LONGEST_S, parse_duration, parse_moment, written_duration

NOW = datetime(2026, 11, 21, 14, 0, tzinfo=UTC).timestamp()


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Local time is that of Berlin."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    system_time.tzset()
    yield
    monkeypatch.undo()
    system_time.tzset()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30), ("45m", 2700), ("2h30m", 9000), ("90", 90), ("0.5", 0.5), ("1.5h", 5400), ("1d2h", 93_600), (7, 7)],
)
def test_how_long(text: object, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "0", "0s", "-1", "1m2h", "1h1h", "5 m", "h", "2x", "nan", "inf", "1e3", "٣s", 0, -1, True, None, "9" * 400],
)
def test_what_is_no_duration(text: object) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)


@given(st.integers(1, int(LONGEST_S) - 1))
def test_a_duration_is_read_as_it_is_written(seconds: int) -> None:
    assert parse_duration(written_duration(seconds)) == seconds


@given(st.text() | st.text("0123456789.:dhmsTZ+- "))
def test_any_text_is_a_time_or_refused(text: str) -> None:
    with suppress(ValueError):
        assert 0 < parse_duration(text) < LONGEST_S
    try:
        at = parse_moment(text)(NOW)
    except ValueError:
        return
    assert at == at


@given(st.times(), st.integers(-14 * 60, 14 * 60), st.floats(1, 4e9))
def test_a_time_of_day_is_the_next_one_in_its_zone(clock: time, minutes: int, now: float) -> None:
    clock = clock.replace(microsecond=0)
    zone = timezone(timedelta(minutes=minutes))
    at = parse_moment(clock.replace(tzinfo=zone).isoformat())(now)
    assert now < at <= now + 86_400
    assert datetime.fromtimestamp(at, zone).time() == clock


@pytest.mark.usefixtures("berlin")
def test_without_a_zone_it_is_local_time() -> None:
    assert parse_moment("07:30")(NOW) == datetime(2026, 11, 22, 6, 30, tzinfo=UTC).timestamp()
    assert parse_moment("15:30")(NOW) == datetime(2026, 11, 21, 14, 30, tzinfo=UTC).timestamp()
    assert parse_moment("15:00")(NOW) == NOW + 86_400, "it is 15:00 now"
    assert parse_moment("2026-06-01 07:30")(NOW) == datetime(2026, 6, 1, 5, 30, tzinfo=UTC).timestamp()


@pytest.mark.usefixtures("berlin")
def test_on_the_day_on_which_clocks_are_changed_it_is_still_the_next_one() -> None:
    before = datetime(2026, 10, 24, 22, 0, tzinfo=UTC).timestamp()  # midnight; at 3:00 it becomes 2:00
    assert parse_moment("07:30")(before) == before + 8.5 * 3600
    forward = datetime(2027, 3, 27, 23, 0, tzinfo=UTC).timestamp()  # midnight; there is no 2:30
    assert forward < parse_moment("02:30")(forward) < forward + 4 * 3600


def test_zones_and_dates() -> None:
    at = datetime(2026, 11, 22, 6, 30, tzinfo=UTC).timestamp()
    moments = ("2026-11-22T07:30+01:00", "2026-11-22 06:30:00Z", "06:30Z", "07:30+0100", "7:30+01:00")
    assert {parse_moment(text)(NOW) for text in moments} == {at}
    assert parse_moment(datetime(2026, 11, 22, 6, 30, tzinfo=UTC))(NOW) == at, "TOML has moments of its own"
    assert parse_moment(time(6, 30, tzinfo=UTC))(NOW) == at


@pytest.mark.parametrize(
    "text",
    ["", "25:00", "07:60", "7", "0730", "07:30 Berlin", "2026-11-22", "2026-13-01T00:00", "0001-01-01T00:00", 7, None],
)
def test_what_is_no_moment(text: object) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - whatever it says: the settings say what it should have been
        parse_moment(text)
