"""How a task looks as a line of the queue."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentdash.model import LinkedTask, TaskQuery, TaskRow, TaskState
from agentdash.ui.panels import taskrows
from agentdash.ui.panels.cells import place
from tests.ui.moments import NOW

_PENDING = [("a", ""), ("○ pending", "dim"), ("–", "dim"), ("–", "dim"), ("–", "dim")]


@pytest.mark.parametrize(
    ("row", "cells"),
    [
        (
            TaskRow(1, "a", TaskState.RUNNING, 0, 2, "worker-12", NOW - 2.3, 0.0, "words", "earlier"),
            [("a", ""), ("● running", "accent"), ("3", "warn"), ("w12", ""), ("2.3s", ""), ("words", "")],
        ),
        (
            TaskRow(1, "a", TaskState.PENDING, available_at=NOW + 11.2, text="words", error="earlier", tries=1),
            [("a", ""), ("○ pending", "dim"), ("1", ""), ("–", "dim"), ("in 12s", "warn"), ("earlier", "dim")],
        ),
        (
            TaskRow(1, "a", TaskState.PENDING, available_at=NOW - 5, text="words"),
            [("a", ""), ("○ pending", "dim"), ("–", "dim"), ("–", "dim"), ("–", "dim"), ("words", "")],
        ),
        (
            TaskRow(1, "a", TaskState.PENDING, text="words", waits_for=("b", "c"), waits_for_more=1200),
            [*_PENDING, ("waits for b, c and 1,200 more", "dim")],
        ),
        (
            TaskRow(1, "a", TaskState.PENDING, waits_for=("b",), held_by=LinkedTask("c", TaskState.FAILED)),
            [*_PENDING, ("held: c failed", "warn")],
        ),
        (
            TaskRow(1, "a", TaskState.PENDING, waits_for=("b",), held_by=LinkedTask("c", TaskState.CANCELLED)),
            [*_PENDING, ("held: c was cancelled", "warn")],
        ),
        (
            TaskRow(1, "a", TaskState.FAILED, 0, 3, None, NOW - 7300, 0.0, "words", "400: refused"),
            [("a", ""), ("✖ failed", "bad"), ("3", "warn"), ("–", "dim"), ("2h01", "dim"), ("refused (400)", "bad")],
        ),
        (
            TaskRow(1, "a", TaskState.SUCCEEDED, 0, 1, None, NOW - 75, 0.0, "words", "earlier"),
            [("a", ""), ("✔ done", "good"), ("1", ""), ("–", "dim"), ("1:15", "dim"), ("words", "")],
        ),
        (
            TaskRow(1, "a", TaskState.CANCELLED, text="words"),
            [("a", ""), ("⊘ cancelled", "dim"), ("–", "dim"), ("–", "dim"), ("–", "dim"), ("words", "")],
        ),
    ],
)
def test_cells_of_a_task(row: TaskRow, cells: list[tuple[str, str]]) -> None:
    shown = taskrows.line(row, NOW, marked=False)
    assert [(cell.text, cell.style) for cell in shown.cells] == cells
    assert shown.key == 1


@given(st.floats(0, 1e12))
def test_a_wait_fits_its_column(seconds: float) -> None:
    shown = taskrows.line(TaskRow(1, "a", TaskState.PENDING, available_at=NOW + seconds), NOW, marked=False)
    assert len(shown.cells[4].text) <= 6


def test_the_id_stays_and_the_text_has_room_at_every_width() -> None:
    for width in range(20, 200):
        placed = dict(place(taskrows.columns(width, 40, TaskQuery()), width - 2))
        assert {0, 1, 5} <= set(placed) or width < 30, width
        assert placed[0] >= 6, width
        assert placed.get(5, 0) >= 12 or width < 56, width
        assert len(placed) == 6 or width < 76, width


text = st.text(st.characters(codec=None), max_size=60)
rows = st.builds(
    TaskRow,
    seq=st.integers(),
    id=text,
    state=st.sampled_from(TaskState),
    tries=st.integers(0, 10**9),
    worker=st.none() | text,
    since=st.none() | st.floats(),
    available_at=st.floats(),
    text=text,
    error=st.none() | text,
)


@given(rows, st.booleans())
def test_any_task_can_be_shown(row: TaskRow, marked: bool) -> None:
    assert len(taskrows.line(row, NOW, marked=marked).cells) == 6
    taskrows.id_cells(row)
