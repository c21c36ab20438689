"""The user's own keys, and the palette, which knows every action by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentdash.errors import UsageError
from agentdash.ui.app import DashboardApp
from tests.ui.fake_run import FakeRun
from tests.ui.opened import opened


@pytest.fixture
def run(tmp_path: Path) -> FakeRun:
    return FakeRun.seeded(tasks=400, workers=16, project_path=tmp_path)


async def test_a_users_keymap_replaces_keys(run: FakeRun) -> None:
    async with opened(run, keymap={"pause": "f5"}) as (_, pilot):
        await pilot.press("p")
        assert not run.called("pause")
        await pilot.press("f5")
        assert run.called("pause")


def test_a_keymap_with_an_unknown_action_is_refused(run: FakeRun) -> None:
    with pytest.raises(UsageError) as raised:
        DashboardApp(run, keymap={"pausse": "f5"})
    assert "pausse" in raised.value.message
    assert raised.value.hint is not None
    assert "pause" in raised.value.hint


@pytest.mark.parametrize(
    ("keys", "part"),
    [({"rotate": "q"}, "quit_run"), ({"pause": "nokey++"}, "no key"), ({"pause": "f5", "rotate": "f5"}, "f5")],
)
def test_a_key_that_is_taken_or_unknown_is_refused(run: FakeRun, keys: dict[str, str], part: str) -> None:
    with pytest.raises(UsageError) as raised:
        DashboardApp(run, keymap=keys)
    assert part in raised.value.message


def test_two_keys_may_change_places(run: FakeRun) -> None:
    DashboardApp(run, keymap={"pause": "K", "rotate": "p"})


async def test_the_palette_has_every_action(run: FakeRun) -> None:
    async with opened(run) as (app, _):
        titles = {command.title for command in app.get_system_commands(app.screen)}
        for name in ("Pause or", "Pause and interrupt", "Requeue all failed", "Next key", "Worker more", "Worker fewer",
                     "Errors", "Log", "Help", "Quit", "Filter", "Revive", "Clean locks", "Zoom", "Theme", "Mark",
                     "Sort", "Open the task"):  # fmt: skip
            assert any(title.startswith(name) for title in titles), name
