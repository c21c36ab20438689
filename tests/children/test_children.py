"""Programs of a run: real processes, and none of them left, however the run ends."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from agentdash.engine.children import Child, Children, end_left_behind
from agentdash.engine.children import guardian as guardian_script
from agentdash.engine.children.guardian import MARK, MARK_BYTES, begun_at, family
from agentdash.engine.children.register import ChildRegister

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX sessions")
PATH = {"PATH": os.environ["PATH"]}
TRAP = "trap '' TERM; "


@asynccontextmanager
async def children(folder: Path) -> AsyncIterator[Children]:
    made = Children(folder / "children")
    try:
        yield made
    finally:
        made.close()


async def shell(made: Children, script: str, task: str = "t1") -> Child:
    """A shell that runs the script; it has begun when it says so."""
    child = await made.start(["sh", "-c", f"echo begun; {script}"], task=task, cwd=Path("/"), environment=PATH)
    assert await child.output.readline() == b"begun\n"
    return child


async def pids(child: Child, number: int) -> list[int]:
    """The numbers that a script tells, one a line."""
    return [int(await child.output.readline()) for _ in range(number)]


def is_alive(pid: int) -> bool:
    return begun_at(pid) is not None


async def until(is_so: Callable[[], bool]) -> None:
    """Bounded by the test's own time limit only."""
    while not is_so():  # noqa: ASYNC110 - the kernel tells nobody
        await asyncio.sleep(0.005)


async def gone(*numbers: int) -> bool:
    """Whether they all end."""
    await until(lambda: not any(is_alive(pid) for pid in numbers))
    return True


async def test_what_a_program_writes_and_how_it_ends_is_told(tmp_path: Path) -> None:
    async with children(tmp_path) as made:
        child = await made.start(
            ["sh", "-c", "cat; echo oh >&2; exit 3"], task="t1", cwd=tmp_path, environment=PATH, reads=True
        )
        await child.give(b"hello")
        assert (await child.output.read(), await child.errors.read()) == (b"hello", b"oh\n")
        assert await child.exit_code() == 3
        await child.end(1)


async def test_a_program_that_does_not_read_may_leave_what_it_is_given(tmp_path: Path) -> None:
    async with children(tmp_path) as made:
        child = await made.start(["true"], task="t1", cwd=tmp_path, environment=PATH, reads=True)
        await child.give(b"x" * 1_000_000)
        assert await child.exit_code() == 0
        await child.end(1)


async def test_it_works_in_its_folder_with_its_environment_and_no_other(tmp_path: Path) -> None:
    async with children(tmp_path) as made:
        child = await made.start(["env"], task="t1", cwd=tmp_path, environment={**PATH, "ONLY": "this"})
        names = {line.partition(b"=")[0] for line in (await child.output.read()).splitlines()}
        assert names - {b"PWD", b"SHLVL", b"_"} == {b"PATH", b"ONLY", b"AGENTDASH_MARK"}
        await child.end(1)


@pytest.mark.parametrize("escape", ["", "setsid ", "nohup "])
async def test_what_it_started_ends_with_it(tmp_path: Path, escape: str) -> None:
    async with children(tmp_path) as made:
        child = await shell(made, f"{escape}sleep 1000 & echo $!; exit 0")
        (started,) = await pids(child, 1)
        assert await child.exit_code() == 0
        assert is_alive(started)
        await child.end(5)
        assert await gone(started)


async def test_who_does_not_listen_is_killed_after_the_grace(tmp_path: Path) -> None:
    async with children(tmp_path) as made:
        child = await shell(made, TRAP + "(" + TRAP + "sleep 1000; sleep 1000) & echo $!; wait; sleep 1000")
        (started,) = await pids(child, 1)
        begun = time.monotonic()
        await child.end(0.2)
        assert time.monotonic() - begun >= 0.2
        assert await gone(started, child.pid)
        assert await child.exit_code() == -signal.SIGKILL


async def test_who_is_in_a_hurry_does_not_wait_for_the_grace(tmp_path: Path) -> None:
    async with children(tmp_path) as made:
        child = await shell(made, "trap 'echo told' TERM; while :; do sleep 0.01; done")
        ending = asyncio.create_task(child.end(1000))
        assert await child.output.readline() == b"told\n"
        ending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await ending
        assert await gone(child.pid)


async def test_the_streams_end_though_somebody_else_holds_them(tmp_path: Path) -> None:
    """What hides its mark and leaves the session cannot be found; it is not waited for."""
    async with children(tmp_path) as made:
        child = await shell(made, "env -u AGENTDASH_MARK setsid sleep 1000 & echo $!; exit 0")
        (hidden,) = await pids(child, 1)
        try:
            await child.exit_code()
            await until(lambda: not family(child.pid, "none"))
            await child.end(1)
            assert await child.output.read() == b""
        finally:
            os.kill(hidden, signal.SIGKILL)


@pytest.mark.parametrize("turns", range(12))
async def test_a_start_that_is_cancelled_leaves_nothing_and_ends(tmp_path: Path, turns: int) -> None:
    async with children(tmp_path) as made:
        starting = asyncio.create_task(
            made.start(
                ["sleep", "1000"], task="t1", cwd=tmp_path, environment={**PATH, "HERE": str(tmp_path)}, reads=True
            )
        )
        for _ in range(turns):
            await asyncio.sleep(0)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        here = f"HERE={tmp_path}".encode()
        found = [path for path in Path("/proc").glob("[0-9]*/environ") if here in _read(path)]
        assert found == []


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


async def test_a_program_that_is_not_there_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    made = Children(tmp_path / "children")
    made._prefix = []
    with pytest.raises(FileNotFoundError):
        await made.start(["no-such-program"], task="t1", cwd=tmp_path, environment=PATH)
    with pytest.raises(FileNotFoundError):
        await made.start(["true"], task="t1", cwd=tmp_path / "nowhere", environment=PATH)
    made.close()
    assert list((tmp_path / "children").iterdir()) == []


RUN = """
import asyncio, os, sys
from pathlib import Path
from agentdash.engine.children import Children

async def main():
    made = Children(Path(sys.argv[1]))
    script = "sleep 1000 & echo $!; setsid sleep 1000 & echo $!; sleep 1000 & echo $!; wait"
    child = await made.start(["sh", "-c", script], task="task-t1", cwd=Path("/"), environment=dict(os.environ))
    for _ in range(3):
        print((await child.output.readline()).decode(), end="", flush=True)
    print(child.pid, made._guardian.pid, flush=True)
    await asyncio.sleep(1000)

asyncio.run(main())
"""


def start_run(folder: Path) -> tuple[subprocess.Popen[str], list[int], int, int]:
    """A process with a program and what that started: (it, those it started, the program, the guardian)."""
    run = subprocess.Popen([sys.executable, "-c", RUN, str(folder)], stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None
    started = [int(run.stdout.readline()) for _ in range(3)]
    program, guardian = map(int, run.stdout.readline().split())
    return run, started, program, guardian


async def test_after_a_kill_the_guardian_ends_everything(tmp_path: Path) -> None:
    run, started, program, guardian = await asyncio.to_thread(start_run, tmp_path / "children")
    run.kill()
    run.communicate()
    assert await gone(*started, program, guardian)
    assert list((tmp_path / "children").iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc/locks")
async def test_the_guardian_waits_for_a_lock_that_a_dying_run_still_has(tmp_path: Path) -> None:
    """The kernel may close the pipe between the two before it lets go of the lock."""
    register = ChildRegister(tmp_path / "children")
    mark = "00" * MARK_BYTES
    program = subprocess.Popen(["sleep", "1000"], start_new_session=True, env={**PATH, MARK: mark})
    register.begun(register.add(mark, "t1"), program.pid, mark, "t1")
    command = [sys.executable, "-I", "-S", guardian_script.__file__, str(register.path)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as guard:
        await until(lambda: guard.poll() is not None or _waits_for_a_lock(guard.pid))
        assert guard.poll() is None
        assert is_alive(program.pid)
        os.close(register._descriptor)
        assert await asyncio.to_thread(guard.wait) == 0
    assert program.wait() == -signal.SIGKILL
    assert list((tmp_path / "children").iterdir()) == []


async def test_a_program_whose_number_was_not_yet_written_down_is_known_by_its_mark(tmp_path: Path) -> None:
    """A kill in the moment after the start of a program, which has left something behind itself already."""
    register = ChildRegister(tmp_path / "children")
    mark = "01" * MARK_BYTES
    register.add(mark, "t1")
    program = subprocess.Popen(["sleep", "1000"], start_new_session=True, env={**PATH, MARK: mark})
    os.close(register._descriptor)
    assert end_left_behind(tmp_path / "children") == (["t1"], True)
    assert program.wait() == -signal.SIGKILL


def _waits_for_a_lock(pid: int) -> bool:
    waiting = (line.split() for line in Path("/proc/locks").read_text().splitlines() if "->" in line)
    return any(fields[5] == str(pid) for fields in waiting)


async def test_where_the_guardian_is_killed_as_well_the_next_run_ends_it(tmp_path: Path) -> None:
    folder = tmp_path / "children"
    run, started, program, guardian = await asyncio.to_thread(start_run, folder)
    assert end_left_behind(folder) == ([], False)  # it lives: nothing is to be ended
    os.kill(guardian, signal.SIGKILL)
    run.kill()
    run.communicate()
    assert await gone(program) or sys.platform != "linux"  # the kernel's part
    assert all(map(is_alive, started))
    assert end_left_behind(folder, "another task") == ([], True)
    assert all(map(is_alive, started))
    async with children(tmp_path) as made:
        child = await made.start(["true"], task="task-t1", cwd=tmp_path, environment=PATH)
        assert await gone(*started)
        await child.end(1)


async def test_a_new_run_ends_what_any_task_has_left(tmp_path: Path) -> None:
    folder = tmp_path / "children"
    run, started, _, guardian = await asyncio.to_thread(start_run, folder)
    os.kill(guardian, signal.SIGKILL)
    run.kill()
    run.communicate()
    async with children(tmp_path) as made:
        await made.sweep()
        assert await gone(*started)
        assert list(folder.iterdir()) == []


def test_a_number_that_names_another_process_by_now_is_left_alone(tmp_path: Path) -> None:
    bystander = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    try:
        register = tmp_path / f"{Path('/proc/sys/kernel/random/boot_id').read_text()[:8]}-1-x"
        register.write_text(f'{{"pid": {bystander.pid}, "begun": "1", "mark": "{"0" * 16}", "task": "t"}}\n')
        assert end_left_behind(tmp_path) == ([], True)
        assert bystander.poll() is None
        assert list(tmp_path.iterdir()) == []
    finally:
        bystander.kill()
        bystander.wait()


def test_the_session_of_those_whose_leader_is_outside_of_a_container_is_nobodys() -> None:
    assert family(0, "none") == family(1, "none") == []


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"garbage\n",
        b'{"pid": "x"}\n',
        b"\0" * 1000,
        b'{"pid": 1}\n[]\n',
        b'{"pid": 0, "begun": null, "mark": "0000000000000000", "task": "t"}',
    ],
)
def test_a_register_that_cannot_be_read_ends_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "00000000-1-x").write_bytes(content)
    (tmp_path / "link").symlink_to("/etc/passwd")
    assert end_left_behind(tmp_path) == ([], True)
    assert [path.name for path in tmp_path.iterdir()] == ["link"]


async def test_slots_are_used_again(tmp_path: Path) -> None:
    async with children(tmp_path) as made:
        for _ in range(20):
            child = await made.start(["true"], task="t1", cwd=tmp_path, environment=PATH)
            await child.end(1)
        (register,) = (tmp_path / "children").iterdir()
        assert register.stat().st_size == 320
        assert register.read_bytes().strip() == b""
        assert register.stat().st_mode & 0o777 == 0o600
        assert register.parent.stat().st_mode & 0o777 == 0o700
