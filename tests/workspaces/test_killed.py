"""kill -9, cancelling and several processes while worktrees are made: nothing is lost, and nothing is in the way."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from agentdash.engine.workspaces import Workspaces
from tests.support.processes import ROOT, eventually, python
from tests.support.repositories import git
from tests.workspaces.conftest import entries, is_whole, open_workspaces, seen_of

PREPARE = """
import asyncio, sys
from pathlib import Path
from agentdash.engine.workspaces import Workspaces
project = Path(sys.argv[1])
async def main():
    workspaces = Workspaces(project, project / ".agentdash")
    for task in sys.argv[2:]:
        print(await workspaces.prepare(task, project), flush=True)
asyncio.run(main())
"""
KILLING_GIT = """#!/bin/sh
number=$(( $(cat '{count}' 2>/dev/null || echo 0) + 1 ))
echo $number > '{count}'
if [ $number != {at} ]; then exec '{git}' "$@"; fi
case {when} in
before) ;;
after) '{git}' "$@" ;;
*) '{git}' "$@" & sleep {when}; kill -9 $! ;;
esac
kill -9 $PPID
"""


@pytest.mark.process
@pytest.mark.parametrize("when", ["before", "after", "0.002"])
@pytest.mark.parametrize("at", range(1, 7))
async def test_kill_9_at_each_git_command(checkout: Path, tmp_path: Path, at: int, when: str) -> None:
    before = seen_of(checkout)
    real = shutil.which("git")
    (tmp_path / "bin").mkdir()
    wrapper = tmp_path / "bin" / "git"
    wrapper.write_text(KILLING_GIT.format(count=tmp_path / "count", at=at, when=when, git=real))
    wrapper.chmod(0o755)
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    done = subprocess.run(
        [sys.executable, "-c", PREPARE, str(checkout), "t1"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PATH": path},
        capture_output=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    assert seen_of(checkout) == before
    await is_whole(checkout, open_workspaces(checkout))
    assert seen_of(checkout) == before


@pytest.mark.process
@pytest.mark.parametrize("at", range(1, 9))
async def test_kill_9_while_a_lost_entry_is_made_anew(
    checkout: Path, workspaces: Workspaces, tmp_path: Path, at: int
) -> None:
    place = await workspaces.prepare("t1", checkout)
    (place / "a.txt").write_text("in no commit\n")
    shutil.rmtree(checkout / ".git" / "worktrees")
    (tmp_path / "bin").mkdir()
    wrapper = tmp_path / "bin" / "git"
    wrapper.write_text(KILLING_GIT.format(count=tmp_path / "count", at=at, when="after", git=shutil.which("git")))
    wrapper.chmod(0o755)
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    subprocess.run(
        [sys.executable, "-c", PREPARE, str(checkout), "t1"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PATH": path},
        capture_output=True,
        check=False,
    )
    await is_whole(checkout, open_workspaces(checkout))
    assert (place / "a.txt").read_text() == "in no commit\n"


@pytest.mark.process
async def test_two_processes_at_once(checkout: Path) -> None:
    before = seen_of(checkout)
    evens, odds = [f"t{n}" for n in range(0, 16, 2)], [f"t{n}" for n in range(1, 16, 2)]
    with python(PREPARE, checkout, *evens) as one, python(PREPARE, checkout, *odds) as other:
        outs = await asyncio.gather(*(asyncio.to_thread(child.communicate) for child in (one, other)))
        assert (one.returncode, other.returncode) == (0, 0)
    places = [Path(line) for out, _ in outs for line in out.splitlines()]
    assert len(set(places)) == len(entries(checkout)) == 16
    assert {git(place, "rev-parse", "--abbrev-ref", "HEAD") for place in places} == {
        f"agentdash/{name}" for name in evens + odds
    }
    assert seen_of(checkout) == before


@pytest.mark.process
async def test_two_processes_that_make_the_first_one_begin_from_one_base(checkout: Path) -> None:
    with python(PREPARE, checkout, "t1") as one, python(PREPARE, checkout, "t2") as other:
        for child in (one, other):
            await asyncio.to_thread(child.communicate)
    assert len(list((checkout / ".agentdash" / "workspaces").glob("base-*.json"))) == 1


@pytest.mark.process
async def test_a_git_that_outlives_its_run_keeps_the_others_out(checkout: Path, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    wrapper = tmp_path / "bin" / "git"
    wrapper.write_text(
        f"""#!/bin/sh
case "$*" in *"worktree add"*)
    touch '{tmp_path}/adding'; kill -9 $PPID
    while [ ! -e '{tmp_path}/go' ]; do sleep 0.01; done ;;
esac
exec '{shutil.which("git")}' "$@"
"""
    )
    wrapper.chmod(0o755)
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    subprocess.run(
        [sys.executable, "-c", PREPARE, str(checkout), "t1"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PATH": path},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    assert (tmp_path / "adding").exists()
    workspaces = open_workspaces(checkout)
    making = asyncio.create_task(is_whole(checkout, workspaces))
    await asyncio.sleep(0.2)
    assert not making.done()
    (tmp_path / "go").touch()
    await making


@pytest.mark.parametrize("at", range(1, 7))
async def test_a_task_that_is_cancelled_while_it_is_made_is_mended(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    (tmp_path / "bin").mkdir()
    wrapper = tmp_path / "bin" / "git"
    wrapper.write_text(
        f"""#!/bin/sh
number=$(( $(cat '{tmp_path}/count' 2>/dev/null || echo 0) + 1 ))
echo $number > '{tmp_path}/count'
if [ $number = {at} ]; then touch '{tmp_path}/waits'; sleep 60; fi
exec '{shutil.which("git")}' "$@"
"""
    )
    wrapper.chmod(0o755)
    before = seen_of(checkout)
    with monkeypatch.context() as patch:
        patch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
        making = asyncio.create_task(open_workspaces(checkout).prepare("t1", checkout))
        await asyncio.to_thread(eventually, (tmp_path / "waits").exists, within=30)
        making.cancel()
        with pytest.raises(asyncio.CancelledError):
            await making
    assert seen_of(checkout) == before
    await is_whole(checkout, open_workspaces(checkout))


async def test_a_task_that_is_cancelled_while_git_is_started_does_not_hang(
    checkout: Path, workspaces: Workspaces
) -> None:
    for turns in range(40):
        making = asyncio.create_task(workspaces.prepare("t1", checkout))
        for _ in range(turns):
            await asyncio.sleep(0)
        making.cancel()
        with pytest.raises(asyncio.CancelledError):
            await making
    await is_whole(checkout, workspaces)
