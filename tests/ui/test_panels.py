"""What the panels show of a moment, at every width, and that nothing from outside does harm in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from rich.cells import cell_len
from textual.widget import Widget

from agentdash.model import CredentialView, Event, LockView, WorkerView
from agentdash.ui.panels.credentials import Credentials
from agentdash.ui.panels.events import MAX_EVENTS, Events
from agentdash.ui.panels.header import RunHeader
from agentdash.ui.panels.lines import Line, LineList
from agentdash.ui.panels.locks import Locks
from agentdash.ui.panels.workers import Workers
from tests.ui.moments import HOSTILE, KEYS, LOCKS, MONOTONIC, NOW, WORKERS, Stage, moment, regions_drawn, shown
from tests.ui.screen_text import screen_text, widget_lines, widget_text


def key_of(panel: LineList) -> object:
    """Which row the cursor stands on."""
    assert panel.current is not None
    return panel.current.key


async def test_workers_say_what_they_do_and_what_they_wait_for() -> None:
    assert await shown(Workers(id="panel"), "update", moment(workers=WORKERS), NOW, MONOTONIC) == [
        "╭─ Workers 5 · 2 unwell ─────────────────────╮",
        "│   # state     task or wait     for fail rec│",
        "│▸  1 ● running t1267           2.1s    0   0│",
        "│   2 ◐ backoff in 0:04, Inte…  8.0s    2   1│",
        "│   3 ○ idle                       –    0   0│",
        "│   4 ◌ waiting in 0:09         1.0s    0   0│",
        "│  10 ✖ parked  in 0:41, APIT…  1:15    8   0│",
        "│                                            │",
        "╰───────────────────── + - change, w revive ─╯",
    ]


async def test_workers_have_room_for_their_errors_where_it_is_wide() -> None:
    lines = await shown(Workers(id="panel"), "update", moment(workers=WORKERS), NOW, MONOTONIC, size=(120, 9))
    assert lines[3].split() == ["│", "2", "◐", "backoff", "in", "0:04", "8.0s", "2", "1", "InternalServerError", "│"]
    assert "last error" in lines[1]


async def test_long_ids_are_whole_before_errors_are_at_80_cells() -> None:
    workers = (replace(WORKERS[0], task="incident-1201"), WORKERS[1])
    lines = await shown(Workers(id="panel"), "update", moment(workers=workers), NOW, MONOTONIC, size=(80, 6))
    assert " incident-1201 " in lines[2]
    assert " InternalServerError" in lines[3]


@pytest.mark.parametrize(
    ("status", "words"),
    [("starting", "Workers start with the run."), ("running", "Workers start"), ("finished", "The run has ended.")],
)
async def test_no_workers_say_whether_some_will_come(status: str, words: str) -> None:
    none = moment(status=status, workers=())
    lines = await shown(Workers(id="panel"), "update", none, NOW, MONOTONIC)
    assert ("+ - change" in lines[-1]) == (status != "finished")  # there is nothing to change then
    assert words in "\n".join(await shown(Workers(id="panel"), "update", none, NOW, MONOTONIC))


async def test_a_task_whose_program_waits_says_for_how_long() -> None:
    view = WorkerView(
        "worker-1", "running", "t1", backoff_until=MONOTONIC + 12, since=NOW - 3, last_error="529 overloaded"
    )
    lines = await shown(Workers(id="panel"), "update", moment(workers=(view,)), NOW, MONOTONIC)
    assert "running in 0:12 t1" in lines[2]


async def test_only_workers_in_sight_are_drawn_and_scrolling_finds_the_others() -> None:
    made: list[str] = []

    class Counted(Workers):
        def fill(self, things: Sequence[WorkerView], make: Callable[[WorkerView], Line]) -> None:
            def counted(view: WorkerView) -> Line:
                made.append(view.id)
                return make(view)

            super().fill(things, counted)

    many = tuple(WorkerView(f"worker-{n}", "running", f"task-{n}", since=NOW) for n in range(1, 10_001))
    panel = Counted(id="panel")
    async with Stage(panel).run_test(size=(46, 12)) as pilot:
        panel.focus()
        for _ in range(2):
            made.clear()
            panel.update(moment(workers=many), NOW, MONOTONIC)
            await pilot.pause()
        assert len(made) < 40
        await pilot.press("end")
        assert "10000 ● running" in screen_text(pilot.app)  # at once, not with the next moment
        assert key_of(panel) == "worker-10000"
        panel.update(moment(workers=many[:3]), NOW, MONOTONIC)
        await pilot.pause()
        assert key_of(panel) == "worker-3"
        assert "10000" not in screen_text(pilot.app)


async def test_keys_show_what_they_share_and_how_long_they_cool() -> None:
    panel = Credentials(id="panel")
    keys = (*KEYS[:3], replace(KEYS[3], hint="…"))  # too short for an end of it to be shown
    assert await shown(panel, "update", moment(credentials=keys), NOW, size=(46, 7)) == [
        "╭─ Credentials 4 keys · 3 limits ────────────╮",
        "│    key   org      state           sent 429s│",
        "│▸ ★ key-1 org-aaaa ● ready         1.8k    2│",
        "│    key-2 org-aaaa ● ready           20    0│",
        "│    key-3 org-bbbb ◐ cools 0:41       7    7│",
        "│    key-4 –        ✖ 401 invalid      1    0│",
        "╰───────── Enter makes a key the active one ─╯",
    ]


@pytest.mark.parametrize(
    ("keys", "remark"),
    [
        (KEYS[:2], "2 keys, 1 organization: rotating adds no capacity"),
        (
            tuple(replace(key, organization=None, pool="group team") for key in KEYS[:3]),
            "3 keys, 1 limit: rotating adds no",
        ),
        (KEYS[:1], ""),
    ],
)
async def test_keys_with_one_limit_say_that_rotating_is_no_use(keys: tuple[CredentialView, ...], remark: str) -> None:
    lines = await shown(Credentials(id="panel"), "update", moment(credentials=keys), NOW, size=(84, 8))
    assert remark in lines[-1]
    assert ("rotating" in lines[-1]) == bool(remark)


async def test_the_remark_on_keys_is_whole_in_a_narrow_panel() -> None:
    lines = await shown(Credentials(id="panel"), "update", moment(credentials=KEYS[:2]), NOW, size=(46, 8))
    assert " 1 organization: rotating adds no capacity " in lines[-1] or " rotating adds no capacity " in lines[-1]
    assert "…" not in lines[-1]


async def test_a_used_up_key_says_until_when_and_the_active_one_is_named() -> None:
    used_up = replace(KEYS[2], state="exhausted", cooldown_until=NOW + 86400 * 40)
    keys = (KEYS[0], KEYS[1], used_up, replace(used_up, name="key-5", cooldown_until=None))
    text = "\n".join(await shown(Credentials(id="panel"), "update", moment(credentials=keys), NOW, size=(120, 9)))
    assert " key end " in text
    assert "● ready, active" in text
    assert "● ready, same limit as key-1" in text
    assert f"◌ exhausted until {moment_text(NOW + 86400 * 40)}" in text
    assert "◌ exhausted  " in text


def moment_text(timestamp: float) -> str:
    """A day as the panel writes it."""
    day = datetime.fromtimestamp(timestamp).astimezone()
    return f"{day.day} {day:%b}"


async def test_enter_on_a_key_chooses_it() -> None:
    panel = Credentials(id="panel")
    app = Stage(panel)
    async with app.run_test(size=(46, 9)) as pilot:
        panel.focus()
        panel.update(moment(), NOW)
        await pilot.press("down", "down", "enter")
        await pilot.pause()
        assert app.chosen == ["key-3"]


LONG = "325129b5-0c4e-4f0a-9d0e-6f1f3d2a7b11"


@pytest.mark.parametrize("width", [46, 80, 120])
async def test_an_organization_is_called_by_its_first_letters_at_every_width(width: int) -> None:
    keys = tuple(replace(key, organization=LONG) for key in KEYS)
    lines = await shown(Credentials(id="panel"), "update", moment(credentials=keys), NOW, size=(width, 9))
    assert (" organization " if width == 120 else " org ") in lines[1]
    assert all(" 325129b5 " in line for line in lines[2:6])
    assert LONG[:9] not in "\n".join(lines)


async def test_ends_of_keys_have_a_column_only_if_a_key_shows_one() -> None:
    hidden = tuple(replace(key, hint="…") for key in KEYS)
    for keys, there in ((KEYS, True), (hidden, False), ((KEYS[0], *hidden[1:]), True)):
        lines = await shown(Credentials(id="panel"), "update", moment(credentials=keys), NOW, size=(70, 9))
        assert (" key end " in lines[1]) == there


async def test_a_state_that_comes_from_a_limit_told_above_is_dim() -> None:
    keys = (*KEYS[:3], replace(KEYS[2], name="key-9"), KEYS[3])
    panel = Credentials(id="panel")
    async with Stage(panel).run_test(size=(46, 9)) as pilot:
        panel.update(moment(credentials=keys), NOW)
        await pilot.pause()
        cells = [line.cells[4] for line in panel._rows]
    assert [(cell.text, cell.style) for cell in cells] == [
        ("● ready", "good"), ("● ready", "dim"), ("◐ cools 0:41", "warn"), ("◐ cools 0:41", "dim"),
        ("✖ 401 invalid", "bad"),
    ]  # fmt: skip


async def test_locks_put_first_what_asks_for_a_look() -> None:
    assert await shown(Locks(id="panel"), "update", LOCKS, NOW, size=(60, 6)) == [
        "╭─ Locks 2 ────────────────────────────────────────────────╮",
        "│  task                    by    pid   age  beat state     │",
        "│▸ t0007                   w3   4000  2h00     – ✖ stale   │",
        "│  t1266                   w12  4711  2.5s  1.0s ● held    │",
        "│                                                          │",
        "╰─────────────────────────────────────── c cleans 1 stale ─╯",
    ]
    overdue = (replace(LOCKS[0], state="overdue"), replace(LOCKS[0], task_id="t3", pid=0, state="foreign"))
    lines = await shown(Locks(id="panel"), "update", overdue, NOW, size=(60, 6))
    assert "Locks 2 · 1 overdue" in lines[0]
    assert "cleans" not in lines[-1]
    assert "◆ foreign" in lines[3]
    low = await shown(Locks(id="panel"), "update", LOCKS, NOW, size=(60, 4))
    assert ["t0007" in low[1], "t1266" in low[2]] == [True, True]  # no titles there: two locks instead of one


async def test_locks_show_the_pid_beside_the_queue_and_no_state_touches_the_scrollbar() -> None:
    many = [replace(LOCKS[0], task_id=f"incident-{n}", pid=123_456, state="overdue") for n in range(20)]
    lines = await shown(Locks(id="panel"), "update", many, NOW, size=(46, 8))
    assert lines[1].split()[:6] == ["│", "task", "by", "pid", "age", "state"]
    assert "incident-0   w12  123456  2.5s ◔ overdue " in lines[2]


async def test_a_cursor_that_nobody_moved_stays_at_the_top_when_stale_locks_come() -> None:
    panel = Locks(id="panel")
    async with Stage(panel).run_test(size=(60, 8)) as pilot:
        panel.can_focus = False
        pilot.app.set_focus(None)
        await pilot.pause()
        panel.can_focus = True
        panel.update(LOCKS[:1], NOW)
        await pilot.pause()
        panel.update(LOCKS, NOW)
        await pilot.pause()
        assert (panel.cursor, key_of(panel)) == (0, "t0007")
        panel.focus()
        await pilot.pause()
        panel.update((replace(LOCKS[1], task_id="t0001"), *LOCKS), NOW)
        await pilot.pause()
        assert key_of(panel) == "t0007"  # keys go here now: what they mean must not change


async def test_a_panel_that_fails_from_the_start_has_a_name_and_says_all_of_it() -> None:
    for panel in (Workers, Credentials, Locks, Events):
        lines = await shown(panel(id="panel"), "fault", ValueError("x"), size=(30, 6))
        assert lines[0].startswith(f"╭─ {panel.__name__} ─")
        assert "this panel failed:" in lines[1]
        assert "ValueError, see the log" in lines[2]


def event(seq: int, kind: str = "failed", text: str = "") -> Event:
    return Event(seq, NOW + seq, kind, text or f"event {seq}")


async def test_events_stand_newest_first_and_are_bounded() -> None:
    panel = Events(id="panel")
    async with Stage(panel).run_test(size=(46, 6)) as pilot:
        await pilot.pause()
        assert "Nothing to tell yet" in screen_text(pilot.app)
        panel.add([event(1), event(2, "limited", "key-3 429, org B cools")])
        await pilot.pause()
        lines = widget_lines(panel)
        assert lines[0].startswith("╭─ Events 2 ─")
        assert "◐ key-3 429, org B cools" in lines[1]
        assert "✖ event 1" in lines[2]
        panel.add([event(seq) for seq in range(3, 5000)])
        await pilot.pause()
        assert panel.row_count == MAX_EVENTS
        assert "event 4999" in widget_lines(panel)[1]  # who looks at the newest goes on looking at the newest
        assert "the newest 1,000" in widget_text(panel)


async def test_what_is_said_again_within_seconds_is_counted() -> None:
    panel = Events(id="panel")
    async with Stage(panel).run_test(size=(46, 8)) as pilot:
        panel.add([event(1, "limited", "key-3 429"), event(2, "limited", "key-3 429")])
        panel.add([event(9, "limited", "key-3 429")])
        panel.add([event(10, "failed", "key-3 429"), event(11, "limited", "key-3 429")])
        panel.add([event(30, "limited", "key-3 429")])
        await pilot.pause()
        texts = [line.split(maxsplit=2)[-1].strip(" │") for line in widget_lines(panel)[1:6]]
        assert texts[:4] == ["◐ key-3 429", "◐ key-3 429", "✖ key-3 429", "◐ ×3 key-3 429"]
        assert "Events 6" in widget_lines(panel)[0]


async def test_who_reads_an_older_event_stays_with_it() -> None:
    panel = Events(id="panel")
    async with Stage(panel).run_test(size=(46, 6)) as pilot:
        panel.focus()
        panel.add([event(seq) for seq in range(1, 50)])
        await pilot.press("down", "down")
        panel.add([event(seq) for seq in range(50, 60)])
        await pilot.pause()
        assert key_of(panel) == 47
        assert "▸" in next(line for line in widget_lines(panel) if "event 47" in line)


EMPTY = moment(workers=(), credentials=())


@pytest.mark.parametrize(
    ("panel", "arguments", "words"),
    [
        (Workers, (EMPTY, NOW, MONOTONIC), "Workers start with the run."),
        (Credentials, (EMPTY, NOW), "This run needs no keys"),
        (Locks, ((), NOW), "No lock is held."),
    ],
)
async def test_an_empty_panel_says_what_would_fill_it(
    panel: type[LineList], arguments: tuple[object, ...], words: str
) -> None:
    lines = await shown(panel(id="panel"), "update", *arguments)
    assert words in " ".join(line.strip("│ ") for line in lines)


# -- what is hostile, what is narrow ---------------------------------------------------------------------------------
VILE_EVENTS = [Event(1, NOW, HOSTILE, HOSTILE), Event(2, 1e300, "failed", HOSTILE)]
VILE = moment(
    status=HOSTILE,
    project=HOSTILE,
    waiting_for=HOSTILE,
    workers=tuple(WorkerView(HOSTILE + str(n), HOSTILE, HOSTILE, 10**9, -1, 1e300, 1e300, HOSTILE) for n in range(5)),
    credentials=tuple(
        CredentialView(HOSTILE, HOSTILE, HOSTILE, HOSTILE, state, True, 1e300, 10**12, 10**12, HOSTILE)
        for state in ("ready", "cooling", "exhausted", "invalid", HOSTILE)
    ),
)
VILE_LOCKS = [LockView(HOSTILE, HOSTILE, 10**9, 1e300, HOSTILE, -1e300), LockView("", "", 0, 0.0, "stale")]


@pytest.mark.parametrize("width", [24, 46, 80, 200])
@pytest.mark.parametrize(
    ("panel", "method", "arguments"),
    [
        (RunHeader, "update", (VILE, NOW, MONOTONIC)),
        (Workers, "update", (VILE, NOW, MONOTONIC)),
        (Credentials, "update", (VILE, NOW)),
        (Locks, "update", (VILE_LOCKS, NOW)),
        (Events, "add", (VILE_EVENTS,)),
    ],
)
async def test_text_from_outside_is_only_text(
    panel: type[Widget], method: str, arguments: tuple[object, ...], width: int
) -> None:
    lines = await shown(panel(id="header" if panel is RunHeader else "panel"), method, *arguments, size=(width, 9))
    text = "\n".join(lines)
    assert "failed:" not in text
    assert "cannot be shown" not in text
    assert all(line.isprintable() for line in lines)
    assert max(map(cell_len, lines)) <= width
    assert "a[/]b" in text or width == 24


# -- drawing no more than needed -------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("panel", "arguments"),
    [(Workers, (moment(), NOW, MONOTONIC)), (Credentials, (moment(), NOW)), (Locks, (LOCKS, NOW))],
)
async def test_an_equal_moment_draws_nothing_again(
    panel: type[Workers | Credentials | Locks], arguments: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown_one = panel(id="panel")
    async with Stage(shown_one).run_test(size=(46, 12)) as pilot:
        for _ in range(3):
            shown_one.update(*arguments)
            await pilot.pause()
        drawn = regions_drawn(shown_one, monkeypatch)
        shown_one.update(*arguments)
        assert drawn == []


async def test_only_the_row_that_changed_is_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    panel = Workers(id="panel")
    async with Stage(panel).run_test(size=(46, 12)) as pilot:
        for _ in range(3):
            panel.update(moment(workers=WORKERS), NOW, MONOTONIC)
            await pilot.pause()
        drawn = regions_drawn(panel, monkeypatch)
        changed = (WORKERS[0], replace(WORKERS[1], consecutive_failures=3), *WORKERS[2:])
        panel.update(moment(workers=changed), NOW, MONOTONIC)
        assert [(region.y, region.height) for region in drawn] == [(2, 1)]
