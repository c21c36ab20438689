"""The screen of one task: what it shows, and live output. Its keys are in test_task_keys.py."""

from __future__ import annotations

from typing import Any

import pytest

from agentdash.errors import StoreError
from agentdash.model import Attempt, OutputPart, TaskDetail, TaskState
from agentdash.ui.panels.document import Document
from agentdash.ui.screens.task import TaskScreen
from agentdash.ui.screens.tasktext import describe
from tests.ui.fake_run import FakeRun
from tests.ui.moments import HOSTILE, NOW
from tests.ui.screen_text import screen_lines, screen_text, until
from tests.ui.task_stage import (
    ANSWER,
    PAYLOAD,
    SIZES,
    Shown,
    a_run,
    a_task,
    may,
    settled,
    ticked_until,
)  # fmt: skip


# -- what it shows ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("size", SIZES)
async def test_a_finished_task_shows_all_of_it(size: tuple[int, int]) -> None:
    run = a_run(TaskState.RUNNING, priority=7)
    run.finish("t1", ANSWER)
    async with Shown(run).run_test(size=size) as pilot:
        text = await settled(pilot, "Summarise the incident.")
        title = text.split("\n")[1]
        for part in ("t1", "✔ done", "priority 7", "1 try", "worker-3"):
            assert part in title
        assert "Esc" in text.split("\n")[-1] or "esc" in text.split("\n")[-1]
        await pilot.press("G")
        seen = text + screen_text(pilot.app)
        for part in ("Parameters", "model: claude-sonnet-5-5", "max_tokens: 512", '"team": "night"', "Prompt", "Usage",
                     "Output", "cost: $", "first token: 0.4s", "key-2", "request: req_"):  # fmt: skip
            assert part in seen or size[1] < 30, part


async def test_attempts_are_told_with_their_errors() -> None:
    history = (
        Attempt(1, "worker-1", "key-1", "org-1234567890", NOW - 9, NOW - 6, "overload",
                "overloaded_error", "busy\nnow", "req_1"),
        Attempt(2, "worker-2", "key-2", None, NOW - 5, NOW - 4.5, "task", "invalid_request_error", "no", None),
    )  # fmt: skip
    text = describe(TaskDetail(a_task(TaskState.FAILED).row(), PAYLOAD, history=history)).attempts
    first, second = text.split("\n2. ")
    for part in (
        "1. ",
        "3.0s",
        "worker-1",
        "key-1",
        "org-1234\n",
        "overload",
        "overloaded_error: busy",
        "request req_1",
    ):
        assert part in first, part
    assert "0.5s" in second and "invalid_request_error: no" in second  # noqa: PT018 - one line of text


def test_the_message_batches_form_shows_its_messages() -> None:
    payload = {
        "params": {
            "model": "m",
            "messages": [
                {"role": "user", "content": "Hello"},
                {"role": "assistant", "content": [{"type": "text", "text": "Hi"}, {"type": "image", "source": 1}]},
                "odd",
            ],
        }
    }
    text = describe(TaskDetail(a_task().row(), payload))
    assert text.prompt.startswith("user:\nHello\n\nassistant:\nHi\n{")
    assert '"model": "m"' in text.parameters
    assert "Hello" not in text.parameters


def test_deep_and_endless_parameters_end() -> None:
    deep: Any = 1
    for _ in range(5000):
        deep = [deep]
    text = describe(TaskDetail(a_task().row(), {"prompt": "x", "deep": deep, "long": [1] * 500_000}))
    assert text.parameters.count("… and more") == 2
    assert len(text.parameters) < 1_000_000


async def test_a_task_that_does_not_exist_is_told() -> None:
    async with Shown(FakeRun(), "nope").run_test(size=(80, 24)) as pilot:
        await settled(pilot, "There is no task nope")
        assert may(pilot.app, ("copy_task", "save", "requeue", "cancel", "markdown")) == []
        await pilot.press("c", "s", "r", "x", "m", "backspace")
        assert not isinstance(pilot.app.screen, TaskScreen)


async def test_trouble_is_told_once_and_the_next_read_goes_on() -> None:
    run = a_run()
    run.errors["task_detail"] = StoreError("The database is away.")
    app = Shown(run)
    async with app.run_test(size=(80, 24)) as pilot:
        for _ in range(5):
            app.tick()
            await pilot.pause()
        assert app.told == ["The database is away."]
        del run.errors["task_detail"]
        await ticked_until(pilot, "Summarise")


async def test_a_finished_task_is_read_again_only_when_counts_changed() -> None:
    run = a_run(TaskState.RUNNING)
    run.finish("t1")
    app = Shown(run)
    async with app.run_test(size=(80, 24)) as pilot:
        await ticked_until(pilot, "Summarise")
        app.tick()
        await pilot.pause()
        asked = run.asked["task_detail"]
        for _ in range(5):
            app.tick()
            await pilot.pause()
        assert run.asked["task_detail"] == asked
        run.tasks["t2"] = a_task(id="t2")
        app.tick()
        await pilot.pause()
        assert run.asked["task_detail"] == asked + 1


async def test_an_unfinished_task_is_read_at_most_twice_a_second() -> None:
    run = a_run()
    app = Shown(run)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot, "Summarise")
        asked = run.asked["task_detail"]
        for _ in range(20):
            app.tick(0.25)
            await pilot.pause()
        assert asked + 8 <= run.asked["task_detail"] <= asked + 11


# -- live output -----------------------------------------------------------------------------------------------------
async def test_live_output_streams_and_the_answer_takes_its_place() -> None:
    run = a_run(TaskState.RUNNING)
    app = Shown(run)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot, "Nothing yet.")
        for number in range(60):
            run.write("t1", f"line {number}\n")
            app.tick(0.25)
        text = await settled(pilot, "line 59")
        assert text.count("line 59") == 1
        await pilot.press("pageup")
        top = app.screen.query_one(Document).top_row
        run.write("t1", "line 60\n" * 30)
        app.tick()
        await pilot.pause()
        assert app.screen.query_one(Document).top_row == top
        run.finish("t1", "The whole answer.")
        await pilot.press("G")
        await ticked_until(pilot, "The whole answer.")
        assert "line 59" not in screen_text(app)


async def test_a_new_attempt_shows_only_its_own_output() -> None:
    run = a_run(TaskState.RUNNING)
    run.write("t1", "first")
    app = Shown(run)
    async with app.run_test(size=(80, 24)) as pilot:
        await ticked_until(pilot, "first")
        run.restart("t1")
        run.write("t1", "second and longer")
        text = await ticked_until(pilot, "second and longer")
        assert "first" not in text.replace("The first one", "")


async def test_what_was_dropped_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    run = a_run(TaskState.RUNNING)
    monkeypatch.setattr(run, "output_since", lambda *_: OutputPart("tail", 1234 + 4, 1, dropped=1234))
    async with Shown(run).run_test(size=(80, 24)) as pilot:
        await ticked_until(pilot, "1,234 characters are not shown")


async def test_what_an_attempt_wrote_stays_until_the_next_one_writes() -> None:
    run = a_run(TaskState.RUNNING)
    run.write("t1", "half an answer")
    app = Shown(run)
    async with app.run_test(size=(80, 24)) as pilot:
        await ticked_until(pilot, "half an answer")
        run.outputs.clear()
        run.tasks["t1"].state = TaskState.PENDING
        text = await ticked_until(pilot, "Output of the attempt before")
        assert "half an answer" in text
        run.tasks["t1"].state = TaskState.RUNNING
        run.write("t1", "")
        text = await ticked_until(pilot, "● running")
        assert "half an answer" in text
        assert "Output of the attempt before" in text
        run.write("t1", "another one")
        text = await ticked_until(pilot, "another one")
        assert "half an answer" not in text
        assert "Output, as it is written" in text


@pytest.mark.parametrize("restarts", [True, False])
async def test_a_quick_new_attempt_does_not_clear_before_it_writes(restarts: bool) -> None:
    run = a_run(TaskState.RUNNING)
    run.write("t1", "half an answer")
    app = Shown(run)
    async with app.run_test(size=(80, 24)) as pilot:
        await ticked_until(pilot, "half an answer")
        if restarts:  # nobody saw the first one end
            run.restart("t1")
            assert "half an answer" in await ticked_until(pilot, "Output of the attempt before")
            run.write("t1", "x")
        else:
            run.fail("t1", "api_error", "broken")
            assert "half an answer" in await ticked_until(pilot, "Output of the attempt before")
            run.finish("t1", "The whole answer.")
        text = await ticked_until(pilot, "Output, as it is written" if restarts else "The whole answer.")
        assert "half an answer" not in text
        assert "Output of the attempt before" not in text


async def test_an_attempt_that_wrote_nothing_leaves_nothing() -> None:
    run = a_run(TaskState.RUNNING)
    run.write("t1", "")
    app = Shown(run)
    async with app.run_test(size=(80, 24)) as pilot:
        await ticked_until(pilot, "Output, as it is written")
        run.fail("t1", "api_error", "broken")
        assert "Output of the attempt before" not in await ticked_until(pilot, "✖ failed")


async def test_every_section_can_be_read_on_a_small_screen() -> None:
    run = a_run(TaskState.RUNNING)
    run.finish("t1", ANSWER)
    async with Shown(run).run_test(size=(60, 20)) as pilot:
        text = await settled(pilot, "Summarise the incident.")
        document = pilot.app.screen.query_one(Document)
        await until(pilot, lambda: document.is_complete)
        assert document.size.height >= 16
        assert "esc" in text.split("\n")[-1].lower()
        seen = text
        while document.top_row < document.max_scroll_y:
            top = document.top_row
            await pilot.press("pagedown")
            assert document.top_row > top
            seen += screen_text(pilot.app)
        for part in (
            "Parameters",
            '"team": "night"',
            "Prompt",
            "Attempts",
            "Output",
            "All **well**.",
            "Usage",
            "cost: $",
        ):
            assert part in seen, part
        assert not any(line.rstrip().endswith("…") for line in seen.split("\n")), "a row was cut"


@pytest.mark.parametrize("size", SIZES)
async def test_hostile_text_never_reaches_the_screen(size: tuple[int, int]) -> None:
    task = a_task(
        TaskState.RUNNING, id=HOSTILE, payload={"prompt": HOSTILE, HOSTILE: HOSTILE, "m": {HOSTILE: [HOSTILE]}}
    )
    task.worker = HOSTILE
    run = FakeRun([task])
    app = Shown(run, HOSTILE)
    async with app.run_test(size=size) as pilot:
        await settled(pilot, "● running")
        run.write(HOSTILE, HOSTILE * 20)
        app.tick()
        await pilot.pause()
        assert all(line.isprintable() for line in screen_lines(app))
        run.finish(HOSTILE, HOSTILE)
        await ticked_until(pilot, "✔ done")
        for key in ("g", "G", "c"):
            await pilot.press(key)
            assert all(line.isprintable() for line in screen_lines(app))


async def test_a_line_of_a_megabyte_is_shown_in_part() -> None:
    run = a_run(payload={"prompt": "x" * 1_000_000})
    async with Shown(run).run_test(size=(80, 24)) as pilot:
        await settled(pilot, "xxxx")
        await until(pilot, lambda: pilot.app.screen.query_one(Document).is_complete)
        await pilot.press("G")
        assert "… 900 kB more: s saves all" in screen_text(pilot.app)
