"""Tasks in worktrees from the command line: run, look at the work, clean up."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run, private_environment, wait_until
from tests.support.processes import ROOT
from tests.support.repositories import git, make_repository

Spawn = Callable[..., subprocess.Popen[str]]

WORK = (
    "pwd; case {prompt} in *change*) echo changed >> a.txt;; esac; case {prompt} in *add*) echo new > new.txt;; esac; "
    "case {prompt} in *fail*) exit 1;; esac"
)
RUN = ("run", "--headless", "--worktree", "--max-attempts", "1", "--shell", "--command", WORK)


@pytest.fixture
def checkout(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder is a checkout; with tasks that have changed, that have not, and that have failed."""
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    folder = make_repository(place / "checkout")
    monkeypatch.chdir(folder)
    return folder


def tasks(**prompts: str) -> str:
    """A task file beside the checkout, with its path."""
    lines = [json.dumps({"id": task_id.replace("__", "/"), "prompt": prompt}) for task_id, prompt in prompts.items()]
    Path("../tasks.jsonl").write_text("".join(f"{line}\n" for line in lines))
    return "../tasks.jsonl"


@pytest.fixture
def ran(agentdash: Run, checkout: Path) -> Path:
    """changes and adds has done so; quiet did nothing; failing left something in no commit."""
    done = agentdash(*RUN, tasks(busy="change and add", quiet="nothing", failing="change and fail"))
    assert done.code == 3, done.err
    return checkout


def result(checkout: Path, task_id: str) -> dict[str, Any]:
    lines = map(json.loads, (checkout / "results.jsonl").read_text().splitlines())
    return next(line["agentdash"] for line in lines if line["custom_id"] == task_id)


def branches(checkout: Path) -> list[str]:
    return git(checkout, "for-each-ref", "--format=%(refname:short)", "refs/heads/agentdash").splitlines()


def worktrees(checkout: Path) -> list[str]:
    folder = checkout / ".agentdash" / "worktrees"
    return sorted(os.listdir(folder)) if folder.exists() else []


# -- run ---------------------------------------------------------------------------------------------------------------
def test_each_task_works_in_its_own_worktree(agentdash: Run, ran: Path) -> None:
    assert branches(ran) == ["agentdash/busy", "agentdash/failing", "agentdash/quiet"]
    assert result(ran, "busy")["output"].strip() == str(ran / ".agentdash" / "worktrees" / "task-busy")
    work = result(ran, "busy")["value"]["worktree"]
    assert (work["branch"], work["files"], work["insertions"], work["deletions"]) == ("agentdash/busy", 2, 2, 0)
    assert result(ran, "quiet")["value"]["worktree"]["files"] == 0
    assert git(ran, "status", "--porcelain") == "?? results.jsonl"
    assert (ran / "a.txt").read_text() == "a\n"
    assert "agentdash/busy, +2 −0 in 2 files" in agentdash("show", "busy").out
    assert "agentdash/quiet, no changes" in agentdash("show", "quiet").out


def test_a_failed_task_goes_on_in_its_worktree_when_it_is_requeued(agentdash: Run, ran: Path) -> None:
    assert agentdash("requeue", "failing").code == 0
    assert agentdash(*RUN).code == 3
    assert (ran / ".agentdash" / "worktrees" / "task-failing" / "a.txt").read_text() == "a\nchanged\nchanged\n"


def test_a_project_outside_of_the_repository(agentdash: Run, checkout: Path, place: Path) -> None:
    project = place / "project"
    lines = [{"id": "t1", "prompt": "change", "workdir": str(checkout / "folder")}]
    (place / "t.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    done = agentdash(*RUN, "../t.jsonl", "--project", str(project))
    assert done.code == 0, done.err
    assert branches(checkout) == ["agentdash/t1"]
    assert result(project, "t1")["output"].strip() == str(project / ".agentdash" / "worktrees" / "task-t1" / "folder")
    done = agentdash(*RUN, tasks(t2="change"), "--project", str(project))
    assert (done.code, "in no checkout of a git repository" in done.err) == (2, True)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--processor", "cli_functions:echo"), "A worktree is for a command"),
        (("--processor", "messages"), "A worktree is for a command"),
        (("--command", "true", "--worktree-base", "nowhere"), "There is no commit 'nowhere'"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_made(
    options: tuple[str, ...], says: str, agentdash: Run, checkout: Path
) -> None:
    done = agentdash("run", "--headless", "--worktree", *options, tasks(t1="x"))
    assert (done.code, says in done.err) == (2, True), done.err
    assert not (checkout / ".agentdash").exists()


def test_a_repository_without_a_commit_is_refused(agentdash: Run, place: Path) -> None:
    git(place, "init", "-q")
    (place / "t.txt").write_text("one\n")
    done = agentdash(*RUN, "t.txt")
    assert (done.code, "has no commit yet" in done.err) == (2, True)
    assert not (place / ".agentdash").exists()


def test_settings_may_say_it(agentdash: Run, checkout: Path) -> None:
    git(checkout, "tag", "begin")
    (checkout / "a.txt").write_text("later\n")
    git(checkout, "commit", "-qam", "later")
    (checkout / "agentdash.toml").write_text('worktree = true\nworktree_base = "begin"\n')
    assert agentdash("run", "--headless", "--command", "cat a.txt", tasks(t1="x")).code == 0
    assert result(checkout, "t1")["output"] == "a\n"


@pytest.mark.process
def test_kill_9_and_a_second_run_leave_every_branch_as_it_should_be(
    agentdash: Run, spawn: Spawn, checkout: Path
) -> None:
    names = [f"t{n}" for n in range(8)]
    tasks(**dict.fromkeys(names, "work"))
    work = "echo {id} >> a.txt; until [ -e ../../../go ]; do sleep 0.02; done; git status -s > /dev/null"
    options = ("--worktree", "--shell", "--command", work, "--workers", "3", "--project", str(checkout))
    command = ("run", "--headless", *options)
    process = spawn(*command, "tasks.jsonl")
    wait_until(lambda: len(worktrees(checkout)) >= 3, process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    (checkout / "go").touch()
    again = spawn(*command)
    out, err = again.communicate()
    assert again.returncode == 0, out + err
    assert branches(checkout) == [f"agentdash/{name}" for name in names]
    for name in names:
        text = git(checkout, "show", f"agentdash/{name}:a.txt")
        assert text.splitlines() in (["a", name], ["a", name, name])  # some were begun before the kill
    assert git(checkout, "status", "--porcelain").splitlines() == ["?? go", "?? results.jsonl"]
    assert len(git(checkout, "worktree", "list").splitlines()) == 9


# -- diff --------------------------------------------------------------------------------------------------------------
def diff(*arguments: str) -> tuple[int, str]:
    """In a process of its own: git writes to its standard output."""
    command = [sys.executable, "-m", "agentdash", "diff", *arguments]
    done = subprocess.run(command, env=private_environment(PYTHONPATH=str(ROOT)), stdout=subprocess.PIPE, check=False)
    return done.returncode, done.stdout.decode()


def test_diff_shows_commits_changes_and_new_files(ran: Path) -> None:
    place = ran / ".agentdash" / "worktrees" / "task-busy"
    (place / "later.txt").write_text("in no commit\n")
    index = (ran / ".git" / "worktrees" / "task-busy" / "index").read_bytes()
    code, text = diff("busy")
    assert code == 0
    for line in ("+changed", "+new", "+in no commit", "+++ b/later.txt"):
        assert line in text.splitlines()
    code, text = diff("busy", "--stat")
    assert "3 files changed, 3 insertions(+)" in text
    assert diff("quiet") == (0, "")
    assert "+changed" in diff("failing")[1]
    assert git(place, "status", "--porcelain") == "?? later.txt"
    assert (ran / ".git" / "worktrees" / "task-busy" / "index").read_bytes() == index


def test_diff_of_a_worktree_that_is_gone_is_that_of_its_branch(ran: Path) -> None:
    shutil.rmtree(ran / ".agentdash" / "worktrees" / "task-busy")
    code, text = diff("busy", "--stat")
    assert (code, "2 files changed" in text) == (0, True)


def test_diff_of_what_there_is_not(agentdash: Run, ran: Path) -> None:
    done = agentdash("diff", "nobody")
    assert (done.code, "There is no task nobody" in done.err) == (2, True)
    agentdash("run", "--headless", "--command", "true", tasks(plain="x"))
    done = agentdash("diff", "plain")
    assert (done.code, "There is no worktree of 'plain'" in done.err) == (2, True)
    shutil.rmtree(ran / ".agentdash" / "worktrees" / "task-busy")
    git(ran, "worktree", "prune")
    git(ran, "branch", "-qD", "agentdash/busy")
    done = agentdash("diff", "busy")
    assert (done.code, "cannot be made" in done.err) == (2, True)


# -- clean -------------------------------------------------------------------------------------------------------------
def test_clean_keeps_what_is_merged_nowhere(agentdash: Run, ran: Path) -> None:
    done = agentdash("clean", "--worktrees", "--yes")
    assert done.code == 0
    assert "busy is kept: agentdash/busy has 1 commit that is merged nowhere." in done.err
    assert "failing is kept: it has changes that are in no commit." in done.err
    assert done.out.splitlines()[-1] == "Removed: 1 worktree, 1 branch."
    assert branches(ran) == ["agentdash/busy", "agentdash/failing"]
    assert worktrees(ran) == ["task-busy", "task-failing"]
    assert len(list((ran / ".agentdash" / "attempts").iterdir())) == 3


def test_clean_removes_what_is_merged(agentdash: Run, ran: Path) -> None:
    git(ran, "merge", "-q", "agentdash/busy")
    done = agentdash("clean", "busy", "quiet", "--yes")
    assert done.out.splitlines()[-1] == "Removed: 2 worktrees, 2 branches, the output of 2 tasks."
    assert branches(ran) == ["agentdash/failing"]
    assert worktrees(ran) == ["task-failing"]
    assert os.listdir(ran / ".git" / "worktrees") == ["task-failing"]
    assert os.listdir(ran / ".agentdash" / "attempts") == ["task-failing"]
    assert agentdash("clean", "busy", "quiet").out == "There is nothing to remove.\n"


def test_clean_refuses_as_a_whole_what_was_named(agentdash: Run, ran: Path) -> None:
    for task_id in ("busy", "failing"):
        done = agentdash("clean", "quiet", task_id, "--yes")
        assert (done.code, "nothing was removed" in done.err) == (2, True)
    assert agentdash("clean", "nobody", "--yes").code == 2
    assert len(worktrees(ran)) == 3


def test_clean_force_removes_all_of_them(agentdash: Run, ran: Path) -> None:
    done = agentdash("clean", "--all", "--force", "--yes")
    assert done.out.splitlines()[-1] == "Removed: 3 worktrees, 3 branches, the output of 3 tasks."
    assert (branches(ran), worktrees(ran)) == ([], [])
    assert not (ran / ".git" / "worktrees").exists()
    assert os.listdir(ran / ".agentdash" / "workspaces") == []  # the next run begins from what HEAD is then
    assert agentdash("diff", "busy").code == 2


def test_clean_may_keep_the_branches(agentdash: Run, ran: Path) -> None:
    done = agentdash("clean", "--worktrees", "--keep-branches", "--yes")
    assert done.out.splitlines()[-1] == "Removed: 2 worktrees."
    assert worktrees(ran) == ["task-failing"]
    assert "agentdash/busy" in branches(ran)
    assert "2 files changed" in diff("busy", "--stat")[1]


def test_clean_leaves_what_is_not_finished(agentdash: Run, ran: Path) -> None:
    agentdash("requeue", "failing")
    done = agentdash("clean", "failing", "--force", "--yes")
    assert (done.code, "failing is pending" in done.err) == (2, True)
    agentdash("clean", "--all", "--force", "--yes")
    assert worktrees(ran) == ["task-failing"]
    assert os.listdir(ran / ".agentdash" / "attempts") == ["task-failing"]


def test_clean_leaves_a_task_whose_lock_somebody_holds(agentdash: Run, ran: Path) -> None:
    from agentdash.engine.locks import TaskLock

    other = TaskLock(ran)
    assert other.acquire("busy")
    done = agentdash("clean", "--all", "--force", "--yes")
    other.close()
    assert "busy is kept: somebody works on it." in done.err
    assert worktrees(ran) == ["task-busy"]


def test_clean_asks_first(agentdash: Run, ran: Path) -> None:
    done = agentdash("clean", "--all")
    assert (done.code, "there is nobody to ask" in done.err) == (2, True)
    assert "quiet: worktree" in done.out
    assert len(worktrees(ran)) == 3
    done = agentdash("clean")
    assert (done.code, "Say what to remove" in done.err) == (2, True)


def test_clean_prunes_the_entries_of_worktrees_that_are_gone(agentdash: Run, ran: Path, place: Path) -> None:
    git(ran, "worktree", "add", "-q", "--detach", str(place / "mine"))
    shutil.rmtree(place / "mine")  # the user's own, which is none of our business
    for name in ("busy", "quiet"):
        shutil.rmtree(ran / ".agentdash" / "worktrees" / f"task-{name}")
    (ran / ".agentdash" / "workspaces" / "task-quiet.json").unlink()
    agentdash("clean", "--worktrees", "--keep-branches", "--yes")
    assert sorted(os.listdir(ran / ".git" / "worktrees")) == ["mine", "task-busy", "task-failing"]


def test_clean_counts_commits_that_only_the_worktree_has(agentdash: Run, ran: Path) -> None:
    place = ran / ".agentdash" / "worktrees" / "task-quiet"
    git(place, "checkout", "-q", "--detach")
    (place / "a.txt").write_text("detached\n")
    git(place, "commit", "-qam", "detached")
    for options in ((), ("--keep-branches",)):
        done = agentdash("clean", "quiet", "--yes", *options)
        assert (done.code, "nothing was removed" in done.err) == (2, True)


def test_clean_keeps_repositories_that_are_inside(agentdash: Run, ran: Path) -> None:
    place = ran / ".agentdash" / "worktrees" / "task-quiet"
    make_repository(place / "cloned")
    git(place, "add", "cloned")
    git(place, "commit", "-qm", "with a clone")
    git(ran, "merge", "-q", "agentdash/quiet")
    done = agentdash("clean", "quiet", "--yes")
    assert (done.code, "repositories of its own" in done.err) == (2, True)


def test_clean_keeps_a_branch_that_is_in_use(agentdash: Run, ran: Path, place: Path) -> None:
    git(ran / ".agentdash" / "worktrees" / "task-quiet", "checkout", "-q", "--detach")
    git(ran, "worktree", "add", "-q", str(place / "mine"), "agentdash/quiet")
    done = agentdash("clean", "quiet", "--yes")
    assert "The branch agentdash/quiet is kept" in done.err
    assert (place / "mine" / "a.txt").exists()
    assert "agentdash/quiet" in branches(ran)


def test_clean_removes_what_its_modes_forbid(agentdash: Run, ran: Path) -> None:
    place = ran / ".agentdash" / "worktrees" / "task-quiet" / "ignored-cache"
    (place / "inner").mkdir(parents=True)
    (place / "inner" / "file").write_text("x")
    (place / "inner").chmod(0o500)
    place.chmod(0o500)
    assert agentdash("clean", "quiet", "--yes").code == 0
    assert "task-quiet" not in worktrees(ran)


@pytest.mark.parametrize("command", [["diff", "t0"], ["clean", "--all"]], ids=lambda command: command[0])
def test_no_project_is_made(command: list[str], agentdash: Run, place: Path) -> None:
    done = agentdash(*command, "--project", "nowhere")
    assert (done.code, "There is no agentdash project in nowhere" in done.err) == (2, True)
    assert not (place / "nowhere").exists()
