"""What is known of one task as text: in which order, in which words, and its title."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from rich.color import Color as RichColor

from agentdash.model import Attempt, KeptOutput, LinkedTask, TaskDetail, TaskState
from agentdash.ui.panels.document import Document
from agentdash.ui.screens.tasktext import describe, saved_text
from agentdash.ui.themes import THEMES
from tests.ui.fake_run import FakeRun
from tests.ui.moments import NOW
from tests.ui.screen_text import screen_lines, screen_text
from tests.ui.task_stage import PAYLOAD, Shown, a_run, a_task, settled, ticked_until


def detail_of(run: FakeRun) -> TaskDetail:
    task = run.tasks["t1"]
    return TaskDetail(task.row(), task.payload, history=task.history, result=task.result)


def attempt(outcome: str, error: str = "invalid_request_error") -> Attempt:
    return Attempt(1, "worker-1", "key-1", None, NOW - 3, NOW, outcome, error)


def heads(detail: TaskDetail, *, live: bool = False) -> list[str]:
    return [head for head, _ in describe(detail).sections(detail.row.state, live=live)]


def test_how_a_task_ended_stands_first_and_what_runs_last() -> None:
    run = a_run(TaskState.RUNNING)
    assert heads(detail_of(run), live=True) == ["Prompt", "Parameters", "Attempts"]
    assert heads(detail_of(run)) == ["Prompt", "Parameters", "Attempts", "Output"]
    run.finish("t1", "Well.")
    assert heads(detail_of(run)) == ["Output", "Prompt", "Attempts", "Usage", "Parameters"]
    run = a_run(TaskState.RUNNING)
    run.fail("t1", "api_error", "broken")
    assert heads(detail_of(run)) == ["Error", "Prompt", "Attempts", "Parameters"]


def test_what_a_program_wrote_is_there_where_no_answer_is() -> None:
    kept = KeptOutput(2, "/p/.agentdash/attempts/t1/2.log", "why it failed\n", left_out=1234)
    run = a_run(TaskState.RUNNING)
    running = replace(detail_of(run), kept=kept)
    assert "Output of attempt 2" not in heads(running)
    run.fail("t1", "ExitCode", "3")
    failed = replace(detail_of(run), kept=kept)
    assert heads(failed) == ["Error", "Output of attempt 2", "Prompt", "Attempts", "Parameters"]
    text = "/p/.agentdash/attempts/t1/2.log\n\n… 1,234 bytes before this are in the file …\nwhy it failed\n"
    assert dict(describe(failed).sections(TaskState.FAILED, live=False))["Output of attempt 2"] == text
    assert "## Output of attempt 2" in saved_text("t1", describe(failed))
    waiting = TaskDetail(a_task(TaskState.PENDING).row(), PAYLOAD, history=failed.history, kept=kept)
    assert heads(waiting)[-1] == "Output of attempt 2"


def test_the_error_is_that_of_the_result_or_else_of_the_last_attempt() -> None:
    run = a_run(TaskState.RUNNING)
    run.fail("t1", "api_error", "broken [b]twice")
    failed = detail_of(run)
    assert describe(failed).error == "api_error: broken [b]twice"
    assert describe(TaskDetail(failed.row, {}, history=failed.history)).error == "api_error: broken [b]twice"
    assert describe(TaskDetail(failed.row, {})).error == ""


def test_a_failed_task_says_once_who_had_it() -> None:
    run = a_run(TaskState.RUNNING)
    run.fail("t1", "api_error", "broken")
    text = describe(detail_of(run))
    assert text.usage == ""
    assert all(part in text.attempts for part in ("worker-3", "key-2", "req_"))
    unknown = TaskDetail(run.tasks["t1"].row(), {}, result=run.tasks["t1"].result)
    assert "worker: worker-3" in describe(unknown).usage  # no attempt says it


@pytest.mark.parametrize(
    ("outcome", "shown"),
    [
        ("succeeded", "✔ done"),
        ("task", "✖ refused"),
        ("limited", "✖ rate limited"),
        ("service", "✖ service error"),
        ("overload", "✖ server overloaded"),
        ("crashed", "✖ process died"),
        ("credential", "✖ key refused"),
        ("quota", "✖ quota used up"),
        ("interrupted", "○ interrupted"),
    ],
)
def test_an_attempt_says_how_it_ended_in_words_and_by_a_sign(outcome: str, shown: str) -> None:
    text = describe(TaskDetail(a_task().row(), PAYLOAD, history=(attempt(outcome),))).attempts
    assert text.startswith(f"1. {shown}  ")


def test_an_exception_of_a_functions_own_was_not_refused_by_anybody() -> None:
    for error, word in (("ValueError", "failed"), ("pkg.BadInput", "failed"), ("invalid_request_error", "refused")):
        text = describe(TaskDetail(a_task().row(), PAYLOAD, history=(attempt("task", error),))).attempts
        assert text.startswith(f"1. ✖ {word}  ")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ({"a": 1, "b": ["x"]}, 'v: {"a": 1, "b": ["x"]}'),
        ([], "v: []"),
        (["x" * 56], f'v: ["{"x" * 56}"]'),
        (["x" * 57], f'v:\n  [\n    "{"x" * 57}"\n  ]'),
    ],
)
def test_a_small_value_stands_on_one_line(value: Any, shown: str) -> None:
    assert describe(TaskDetail(a_task().row(), {"prompt": "x", "v": value})).parameters == shown


def test_what_a_task_waits_for_and_what_waits_for_it_stand_with_their_states() -> None:
    after = (LinkedTask("t3", TaskState.FAILED), LinkedTask("t4", TaskState.SUCCEEDED))
    held = LinkedTask("t5", TaskState.PENDING, held=True)
    detail = TaskDetail(a_task(TaskState.PENDING).row(), PAYLOAD, after=after, needed_by=(held,))
    sections = describe(detail).sections(TaskState.PENDING, live=False)
    assert sections[0] == ("Waits for", "✖ t3  failed\n✔ t4  done")
    assert ("Needed by", "○ t5  pending, held") in sections
    ended = dict(describe(detail).sections(TaskState.SUCCEEDED, live=False))
    assert "Waits for" not in ended
    assert "Needed by" in ended


def test_the_file_keeps_the_parameters() -> None:
    text = saved_text("t1", describe(TaskDetail(a_task().row(), PAYLOAD)))
    assert text.startswith("# t1\n")
    assert "max_tokens: 512" in text


async def test_the_whole_of_a_long_id_can_be_read() -> None:
    name = "-".join(f"part{number}" for number in range(9))
    async with Shown(FakeRun([a_task(id=name)]), name).run_test(size=(60, 20)) as pilot:
        text = await settled(pilot, "Summarise")
        assert name not in text.split("\n")[0]
        assert f"id: {name}" in text


async def test_the_try_under_way_counts() -> None:
    run = a_run(TaskState.RUNNING)
    async with Shown(run).run_test(size=(80, 24)) as pilot:
        await settled(pilot, "Summarise")
        assert "● running  try 1  worker-3" in screen_lines(pilot.app)[1]
        run.tasks["t1"].attempts = 2
        await ticked_until(pilot, "try 3")


@pytest.mark.parametrize("theme", THEMES, ids=lambda theme: theme.name)
async def test_the_title_is_dimmer_than_the_id(theme: Any) -> None:
    app = Shown(a_run())
    async with app.run_test(size=(80, 24)) as pilot:
        app.register_theme(theme)
        app.theme = theme.name
        await settled(pilot, "Summarise")
        await pilot.pause()
        strip = app.screen._compositor.render_strips()[1]
        colours = {part.text.strip(): part.style for part in strip if part.text.strip() and part.style}
        name, rest = colours["t1"], colours["0 tries"]

    def contrast(style: Any) -> int:
        def light(colour: RichColor) -> int:
            return sum(colour.get_truecolor())

        return abs(light(style.color) - light(style.bgcolor))

    assert contrast(rest) < 0.8 * contrast(name)


async def test_who_followed_the_output_sees_the_answer() -> None:
    run = a_run(TaskState.RUNNING)
    run.write("t1", "line\n" * 80)
    app = Shown(run)
    async with app.run_test(size=(80, 24)) as pilot:
        await ticked_until(pilot, "line")
        await pilot.press("G")
        run.finish("t1", "The answer.\n" * 80)
        await ticked_until(pilot, "✔ done")
        await pilot.pause()
        assert app.screen.query_one(Document).top_row == 0
        assert "The answer." in screen_text(app)
