"""How errors reach the user: what was foreseen as title, message and hint, the rest in the log; never with a secret."""

from __future__ import annotations

import os
import traceback
from pathlib import Path

import click
from click.exceptions import NoArgsIsHelpError

from agentdash.cli.output import tell
from agentdash.errors import AgentdashError, ExitCode, NoMemoryError, means_no_memory
from agentdash.secret import redact
from agentdash.text import clean, clean_lines


def report_error(error: AgentdashError) -> int:
    """Print an error of ours; returns the exit code."""
    print_error(error.title, error.message, error.hint)
    return int(error.exit_code)


def print_error(title: str, message: str, hint: str | None = None) -> None:
    """Title, message and hint on stderr."""
    tell(f"{title}: {clean_lines(redact(message))}")
    if hint:
        tell(f"Hint: {clean_lines(redact(hint))}")


def report_usage(error: click.ClickException) -> int:
    """Print what click says of a wrong option or argument."""
    if isinstance(error, NoArgsIsHelpError):
        tell(error.format_message())
        return int(ExitCode.USAGE)
    context = error.ctx if isinstance(error, click.UsageError) else None
    hint = f"`{context.command_path} --help` tells what there is." if context else None
    print_error("Bad usage", error.format_message(), hint)
    return int(ExitCode.USAGE)


def report_crash(error: BaseException, project: Path) -> int:
    """An error that nobody foresaw: into the log, with one line on stderr."""
    if means_no_memory(error):
        return report_error(NoMemoryError())
    if _is_database_error(error):
        from agentdash.engine.store.faults import translate

        return report_error(translate(error))  # type: ignore[arg-type]
    name = f"{type(error).__name__}: {clean(redact(str(error)))}" if str(error) else type(error).__name__
    if os.environ.get("AGENTDASH_DEBUG") == "1":
        tell(redact("".join(traceback.format_exception(error))))
    path = _write_log(error, project)
    where = f"the details are in {clean(str(path))}" if path else "and the details could not be written to a log"
    tell(f"Internal error: {name}; {where}.")
    return int(ExitCode.INTERNAL)


def _is_database_error(error: BaseException) -> bool:
    """Told by name: most commands that fail otherwise never load SQLite."""
    return any(kind.__module__ == "sqlite3" and kind.__name__ == "Error" for kind in type(error).__mro__)


def _write_log(error: BaseException, project: Path) -> Path | None:
    from agentdash.engine.log import LOGGER, close_log, open_log

    folder = _log_folder(project)
    path = folder / "agentdash.log"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        size = path.stat().st_size if path.exists() else 0
        handler = open_log(folder, "error")
        try:
            LOGGER.error("internal error", exc_info=error, extra={"action": "crash"})
        finally:
            close_log(handler)
        return path if path.stat().st_size > size else None
    except OSError:
        return None


def _log_folder(project: Path) -> Path:
    state = project / ".agentdash"
    if state.is_dir() and not state.is_symlink():
        return state
    import platformdirs

    return Path(platformdirs.user_log_dir("agentdash", appauthor=False))
