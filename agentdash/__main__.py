"""The command `agentdash`. `--version` is answered before anything is loaded that it does not need."""

from __future__ import annotations

import gc
import sys

from agentdash._version import __version__


def main() -> int:
    """Run the command line in `sys.argv`; returns the exit code."""
    if sys.argv[1:] == ["--version"]:
        sys.stdout.write(f"agentdash {__version__}\n")
        return 0
    # Starting is importing: with the usual threshold the collector looks at the growing heap a thousand times.
    gc.set_threshold(10_000, 10, 10)
    if sys.argv[1:2] in (["run"], ["demo"]):
        gc.disable()  # until the run begins: `cli.session` turns it on again
    try:
        from agentdash.cli import main as run_command

        return run_command()
    except KeyboardInterrupt:  # while it is imported; the command itself has a way of its own
        return 130


if __name__ == "__main__":
    sys.exit(main())
