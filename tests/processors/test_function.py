"""The user's own function as a processor: how it is called, in a thread or not, cancelled, timed out, loaded."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from agentdash.engine.errorfacts import describe
from agentdash.engine.failures import classify
from agentdash.engine.processors import FunctionProcessor, TaskContext, load_function
from agentdash.engine.rotation import APIRotationState
from agentdash.engine.runner import TaskRunner
from agentdash.engine.store import Claim
from agentdash.errors import UsageError
from agentdash.model import Answer, FailureClass, OutputPart, Task, TaskState
from agentdash.simulator import Simulator
from tests.processors.asking import clients, credential, task


def context(**fields: Any) -> TaskContext:
    return TaskContext("worker-7", 1, **fields)


async def run(function: Any, payload: dict[str, Any] | None = None, **settings: Any) -> Answer:
    return await FunctionProcessor(function, **settings).run(Task(1, "t1", payload or {"prompt": "p"}), context())


# -- calling ---------------------------------------------------------------------------------------------------------
async def test_an_async_function_runs_in_the_loop() -> None:
    async def work(task: Any, worker_id: str) -> str:
        return f"{task['id']} {task['prompt']} {worker_id} {threading.current_thread() is threading.main_thread()}"

    answer = await run(work)
    assert answer.output == "t1 p worker-7 True"


async def test_a_sync_function_runs_in_a_thread() -> None:
    def work(task: Any, worker_id: str) -> dict[str, Any]:
        return {"main": threading.current_thread() is threading.main_thread(), "id": task["id"]}

    answer = await run(work)
    assert answer.value == {"main": False, "id": "t1"}
    assert answer.output == '{"main": false, "id": "t1"}'


async def test_the_task_alone_is_enough() -> None:
    assert (await run(lambda task: task["id"].upper())).output == "T1"


async def test_an_object_with_an_async_call_is_a_function() -> None:
    class Work:
        async def __call__(self, task: Any, worker_id: str) -> str:
            return "called"

    assert (await run(Work())).output == "called"


async def test_a_sync_function_may_return_a_coroutine() -> None:
    async def later() -> str:
        return "later"

    assert (await run(lambda task, worker_id: later())).output == "later"


async def test_nothing_returned_is_an_empty_answer() -> None:
    assert await run(lambda task: None) == Answer()


@pytest.mark.parametrize("number", [100])
async def test_more_than_32_sync_functions_at_once(number: int) -> None:
    together = threading.Barrier(number, timeout=10)
    processor = FunctionProcessor(lambda task: together.wait())
    answers = await asyncio.gather(*(processor.run(task(), context()) for _ in range(number)))
    assert len(answers) == number


# -- context ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("sync", [False, True])
async def test_a_context_brings_the_leased_client_progress_and_the_cancel_token(sync: bool) -> None:
    seen: list[Any] = []
    said: list[OutputPart | None] = []

    async def ask(task: Any, context: TaskContext) -> Any:
        seen.append(context)
        context.progress("asking")
        said.append(runner.outputs.since("t1", 0))
        return await context.client.messages.create(
            model="claude-sonnet-5-5", max_tokens=50, messages=[{"role": "user", "content": task["prompt"]}]
        )

    def plainly(task: Any, ctx: TaskContext) -> str:
        seen.append(ctx)
        ctx.progress("asking")
        said.append(runner.outputs.since("t1", 0))
        return f"{ctx.credential.name if ctx.credential else ''} {ctx.is_cancelled}"

    async with Simulator() as simulator:
        source = clients()
        key = credential(simulator.base_url)
        processor = FunctionProcessor(plainly if sync else ask)
        runner = TaskRunner(processor, rotation=APIRotationState([key]), clients=source)
        try:
            settlement = await runner.attempt(Claim(task(), "owner", "worker-0", time.time()))
        finally:
            await source.close()
        requests = simulator.records.total
    assert processor.needs_credentials
    assert settlement.state is TaskState.SUCCEEDED, settlement.failure
    assert seen[0].credential is key
    assert seen[0].client is not None
    assert seen[0].is_cancelled is False
    assert said == [OutputPart("asking", 6, attempt=0)]
    assert requests == (0 if sync else 1)
    assert settlement.answer is not None
    if not sync:
        assert settlement.answer.message is not None
        assert settlement.answer.output
        assert settlement.answer.usage is not None, "an SDK message says what it used"
        assert settlement.answer.cost_usd is not None


async def test_without_a_context_no_credentials_are_needed() -> None:
    assert not FunctionProcessor(lambda task, worker_id: None).needs_credentials


async def test_an_sdk_error_in_a_function_is_the_keys_or_the_services_not_the_tasks() -> None:
    async def ask(task: Any, context: TaskContext) -> Any:
        return await context.client.messages.create(
            model="m", max_tokens=5, messages=[{"role": "user", "content": "Hi"}]
        )

    async with Simulator() as simulator:
        source = clients()
        wrong = credential(simulator.base_url, "sk-not-a-key-of-this-server")
        runner = TaskRunner(FunctionProcessor(ask), rotation=APIRotationState([wrong]), clients=source)
        try:
            settlement = await runner.attempt(Claim(task(), "owner", "worker-0", time.time()))
        finally:
            await source.close()
    assert settlement.failure is not None
    assert settlement.failure.failure_class is FailureClass.CREDENTIAL
    assert settlement.state is TaskState.PENDING


# -- cancelling and time ---------------------------------------------------------------------------------------------
async def test_a_cancelled_sync_function_is_told_and_waited_for() -> None:
    started, ended = threading.Event(), threading.Event()
    tokens: list[TaskContext] = []

    def work(task: Any, context: TaskContext) -> None:
        tokens.append(context)
        started.set()
        while not context.is_cancelled:
            time.sleep(0.005)
        time.sleep(0.1)  # it takes its time to clean up
        ended.set()

    running = asyncio.create_task(FunctionProcessor(work).run(task(), context()))
    await asyncio.to_thread(started.wait, 10)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert ended.is_set()
    assert tokens[0].is_cancelled


async def test_cancelling_twice_still_waits_for_the_end() -> None:
    """Cancelled by the user, then the run stops at once: the thread still works on the task, so it is still ours."""
    started, release, ended = threading.Event(), threading.Event(), threading.Event()

    def work(task: Any) -> None:
        started.set()
        release.wait(10)
        ended.set()

    running = asyncio.create_task(FunctionProcessor(work).run(task(), context()))
    await asyncio.to_thread(started.wait, 10)
    for _ in range(3):
        running.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert not running.done()
    release.set()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert ended.is_set()


async def test_an_error_of_a_cancelled_function_is_not_left_unread() -> None:
    started, release = threading.Event(), threading.Event()

    def work(task: Any) -> None:
        started.set()
        release.wait(10)
        raise ValueError("on the way out")

    complaints: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, what: complaints.append(what))
    running = asyncio.create_task(FunctionProcessor(work).run(task(), context()))
    await asyncio.to_thread(started.wait, 10)
    running.cancel()
    release.set()
    with pytest.raises(asyncio.CancelledError):
        await running
    del running
    import gc

    gc.collect()
    await asyncio.sleep(0)
    assert not complaints


async def _sleep(task: Any) -> None:
    await asyncio.sleep(30)


def _sleep_in_thread(task: Any, context: TaskContext) -> None:
    while not context.is_cancelled:
        time.sleep(0.005)


@pytest.mark.parametrize("function", [_sleep, _sleep_in_thread])
async def test_a_function_that_takes_too_long_costs_the_task_an_attempt(function: Any) -> None:
    with pytest.raises(Exception, match=r"within 0\.1 s") as caught:
        await run(function, timeout_s=0.1)
    failure = classify(describe(caught.value, time.time()))
    assert failure.failure_class is FailureClass.TASK
    assert not failure.permanent


async def _times_out(task: Any) -> None:
    raise TimeoutError("the database did not answer")


async def _times_out_inside(task: Any) -> None:
    async with asyncio.timeout(0.01):
        await asyncio.sleep(30)


@pytest.mark.parametrize("function", [_times_out, _times_out_inside])
async def test_a_timeout_of_its_own_is_not_taken_for_its_budget(function: Any) -> None:
    with pytest.raises(TimeoutError) as caught:
        await run(function, timeout_s=20)
    assert "20 s" not in str(caught.value)


async def test_a_result_that_came_in_time_is_kept() -> None:
    assert (await run(lambda task: "quick", timeout_s=20)).output == "quick"


# -- loading ---------------------------------------------------------------------------------------------------------
@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


def test_a_function_of_a_module_in_this_folder(here: Path) -> None:
    (here / "mine_loads.py").write_text("class Kit:\n    @staticmethod\n    def work(task): return 'done'\n")
    assert load_function("mine_loads:Kit.work")({}) == "done"


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        ("nothing", "MODULE:FUNCTION"),
        (":function", "MODULE:FUNCTION"),
        ("module:", "MODULE:FUNCTION"),
        ("", "MODULE:FUNCTION"),
        ("no_such_module_anywhere:f", "no_such_module_anywhere"),
        ("mine_errors:missing", "missing"),
        ("mine_errors:NUMBER", "NUMBER"),
        ("mine_errors:work.deeper", "deeper"),
        ("mine_broken:f", "ZeroDivisionError"),
        ("mine_syntax:f", "SyntaxError"),
        ("mine_exits:f", "SystemExit"),
        ("..:f", ".."),
        ("a b/c:f", "a b/c"),
    ],
)
def test_what_cannot_be_loaded_is_named(here: Path, reference: str, says: str) -> None:
    (here / "mine_errors.py").write_text("NUMBER = 7\ndef work(task): ...\n")
    (here / "mine_broken.py").write_text("1 / 0\n")
    (here / "mine_syntax.py").write_text("def f(:\n")
    (here / "mine_exits.py").write_text("import sys; sys.exit(3)\n")
    with pytest.raises(UsageError) as caught:
        load_function(reference)
    assert says in caught.value.message
