"""The import contract of pyproject.toml, proved at run time: each case asks a fresh interpreter what it has loaded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TERMINAL = {"click", "rich", "textual"}
HEAVY = {"aiohttp", "anthropic"}

# Prints the exit code and then the top-level names loaded, on the real stdout, after the code under test.
REPORT = """
import sys
code = 0
try:
    {body}
except SystemExit as exit:
    code = exit.code or 0
print("loaded", code, *sorted({{name.partition(".")[0] for name in sys.modules}}))
"""

IMPORT_ALL = "import importlib, pkgutil, {0}; [importlib.import_module(m.name) for m in {1}]"
WALK = 'pkgutil.walk_packages({0}.__path__, "{0}.")'


def run(body: str, *argv: str, cwd: Path) -> tuple[str, str, set[str], str]:
    """Run `body` with `argv`; return its exit code, what it printed, the top-level modules it loaded, and stderr."""
    program = REPORT.format(body=body)
    done = subprocess.run(
        [sys.executable, "-c", program, *argv], cwd=cwd, capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 0, done.stderr
    output, _, report = done.stdout.rpartition("loaded ")
    code, *names = report.split()
    return code, output, set(names), done.stderr


def run_main(*argv: str, cwd: Path) -> tuple[str, str, set[str], str]:
    """Run the command `agentdash` as its console script does."""
    return run("from agentdash.__main__ import main; sys.exit(main())", *argv, cwd=cwd)


@pytest.mark.parametrize("module", ["agentdash", "agentdash.engine", "agentdash.engine.facade"])
def test_import_loads_no_terminal_and_no_sdk(module: str, tmp_path: Path) -> None:
    _, _, loaded, _ = run(f"import {module}", cwd=tmp_path)
    assert not loaded & (TERMINAL | HEAVY)


@pytest.mark.parametrize("package", ["agentdash.engine", "agentdash.simulator"])
def test_no_module_of_a_headless_package_loads_the_terminal(package: str, tmp_path: Path) -> None:
    body = IMPORT_ALL.format(package, WALK.format(package))
    _, _, loaded, _ = run(body, cwd=tmp_path)
    assert "agentdash" in loaded
    assert not loaded & TERMINAL


def test_version_loads_only_what_it_needs(tmp_path: Path) -> None:
    code, output, loaded, errors = run_main("--version", cwd=tmp_path)
    assert (code, errors) == ("0", "")
    assert "0." in output
    assert not loaded & {"aiohttp", "anthropic", "genai_prices", "pydantic", "rich", "textual"}


@pytest.mark.parametrize("command", ["status", "tasks"])
def test_commands_for_scripts_load_neither_sdk_nor_dashboard(command: str, tmp_path: Path) -> None:
    code, _, loaded, errors = run_main(command, "--project", str(tmp_path), "--json", cwd=tmp_path)
    assert code in {"0", "2"}, errors  # 2: there is no project in the folder
    assert "No such" not in errors  # click's word for an unknown command or option, which is 2 as well
    assert not loaded & {"aiohttp", "anthropic", "textual"}
