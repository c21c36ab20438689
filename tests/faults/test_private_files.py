"""What is written is for its owner only, whatever the umask, and never goes through what others have put there."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.commands import HEADLESS, run, run_as, write_tasks

pytestmark = [pytest.mark.process, pytest.mark.slow, pytest.mark.timeout(180)]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
FUNCTION = "def call(task, worker_id):\n    return task['prompt']\n"
COMMAND = (*HEADLESS, "--processor", "mine:call")
STATE_FILES = ("state.db", "state.db-wal", "state.db-shm", "results.lock", "agentdash.log")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with one task and the function that does it."""
    write_tasks(tmp_path / "project", [{"id": "a", "prompt": "private"}])
    (tmp_path / "project" / "mine.py").write_text(FUNCTION)
    return tmp_path / "project"


def modes(*folders: Path) -> dict[str, str]:
    """The mode of all that is not the test's own."""
    found = [path for folder in folders for path in (folder, *folder.rglob("*"))]
    return {str(path): oct(stat.S_IMODE(path.lstat().st_mode)) for path in found}


@pytest.mark.parametrize("umask", [0o000, 0o022])
def test_nothing_is_readable_for_others(umask: int, project: Path) -> None:
    text = run_as(project, [*COMMAND, "--log-level", "debug"], umask=umask)
    assert text.endswith(b"exit code 0")
    run_as(project, ["export", "-o", "exported.jsonl"], umask=umask)
    files = modes(project / ".agentdash", project / ".locks") | modes(*(project / f for f in FILES))
    assert {str(project / name) for name in (".agentdash/state.db", ".locks/.gitignore")} <= set(files)
    assert {path: mode for path, mode in files.items() if mode not in ("0o700", "0o600")} == {}


FILES = ("results.jsonl", "exported.jsonl")


def test_folders_that_were_open_are_closed(project: Path) -> None:
    for name in (".agentdash", ".locks"):
        (project / name).mkdir()
        (project / name).chmod(0o777)
    assert run(project, *COMMAND).endswith(b"exit code 0")
    assert {oct((project / name).stat().st_mode & 0o777) for name in (".agentdash", ".locks")} == {"0o700"}


# -- what others have put there --------------------------------------------------------------------------------------
def plant_link(path: Path, victim: Path) -> None:
    path.symlink_to(victim)


def plant_dangling(path: Path, victim: Path) -> None:
    victim.unlink()
    path.symlink_to(victim)


def plant_pipe(path: Path, victim: Path) -> None:
    os.mkfifo(path)


def plant_folder(path: Path, victim: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize("name", STATE_FILES)
@pytest.mark.parametrize("plant", [plant_link, plant_dangling, plant_pipe, plant_folder])
def test_what_is_planted_in_the_state_folder_is_refused(
    plant: Callable[[Path, Path], None], name: str, project: Path, tmp_path: Path
) -> None:
    from agentdash.engine.store import SqliteTaskStore
    from agentdash.errors import StoreError

    victim = tmp_path / "victim"
    victim.write_text("")
    (project / ".agentdash").mkdir(mode=0o700)
    plant(project / ".agentdash" / name, victim)
    with pytest.raises(StoreError, match=rf"{name} is not a plain file") as caught:
        SqliteTaskStore(project)
    assert caught.value.hint
    assert not victim.exists() if plant is plant_dangling else victim.read_text() == ""
    assert [path.name for path in (project / ".agentdash").iterdir()] == [name]


def test_the_command_says_why(project: Path, tmp_path: Path) -> None:
    assert run(project, *COMMAND).endswith(b"exit code 0")
    log = project / ".agentdash" / "agentdash.log"
    log.unlink(missing_ok=True)
    log.symlink_to(tmp_path / "victim")
    for arguments in (COMMAND, ("status",), ("show", "a")):
        text = run(project, *arguments)
        assert b"agentdash.log is not a plain file." in text
        assert text.endswith(b"exit code 2")
    assert not (tmp_path / "victim").exists()


def test_a_crash_report_is_not_written_through_a_link(project: Path, tmp_path: Path) -> None:
    (project / ".agentdash").mkdir(mode=0o700)
    (project / ".agentdash" / "agentdash.log").symlink_to(tmp_path / "victim")
    broken = (
        "import sys; from agentdash.cli import status; status.open_project = None; "
        "from agentdash.__main__ import main; sys.exit(main())"
    )
    text = run_as(project, ["status"], code=broken)
    assert b"the details could not be written to a log" in text
    assert not (tmp_path / "victim").exists()


@pytest.mark.parametrize("name", [".agentdash", ".locks"])
def test_a_link_in_place_of_a_folder_is_refused(name: str, project: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (project / name).symlink_to(tmp_path / "elsewhere")
    text = run(project, *COMMAND)
    assert f"{name} is".encode() in text
    assert text.endswith(b"exit code 2")
    assert list((tmp_path / "elsewhere").iterdir()) == []


@as_root
@pytest.mark.parametrize("name", [".agentdash", ".locks"])
def test_a_folder_of_another_user_is_refused(name: str, project: Path) -> None:
    (project / name).mkdir(mode=0o777)
    os.chown(project / name, 12345, 12345)
    text = run(project, *COMMAND)
    assert b"belongs to" in text
    assert text.endswith(b"exit code 2")
    assert list((project / name).iterdir()) == []


def test_a_linked_project_is_the_user_s_own_wish(project: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(project)
    shutil.move(project / "t.jsonl", tmp_path)
    text = run(tmp_path, *COMMAND, "--project", str(link), PYTHONPATH=f"{os.environ.get('PYTHONPATH', '')}:{project}")
    assert text.endswith(b"exit code 0"), text
    assert (project / ".agentdash" / "state.db").exists()


@pytest.mark.parametrize("plant", [os.mkfifo, os.mkdir])
def test_results_that_are_no_file_are_refused(plant: Callable[[Path], None], project: Path) -> None:
    plant(project / "results.jsonl")
    text = run(project, *COMMAND)
    assert b"results.jsonl" in text
    assert text.endswith(b"exit code 2")
