"""`python -m agentdash.simulator`: the simulator as a process of its own, so that a benchmark keeps its loop."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from agentdash.errors import AgentdashError, UsageError
from agentdash.simulator import Simulator, SimulatorConfig


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m agentdash.simulator", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1 (default: a free one)")
    parser.add_argument("--config", default="{}", help="a file of JSON, or JSON itself")
    parser.add_argument("--exit-with-parent", action="store_true", help="end when stdin is closed")
    options = parser.parse_args()
    try:
        asyncio.run(_serve(_config(options.config), options.port, options.exit_with_parent))
    except AgentdashError as error:
        sys.stderr.write(f"{error.title}: {error.message}\n" + (f"{error.hint}\n" if error.hint else ""))
        return int(error.exit_code)
    except KeyboardInterrupt:
        pass
    return 0


def _config(text: str) -> SimulatorConfig:
    if not text.lstrip().startswith("{"):
        try:
            text = Path(text).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"--config {text}: {error}") from None
    return SimulatorConfig.from_json(text)


async def _serve(config: SimulatorConfig, port: int, exit_with_parent: bool) -> None:
    loop = asyncio.get_running_loop()
    end = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        with suppress(NotImplementedError):  # Windows: KeyboardInterrupt and TerminateProcess do it
            loop.add_signal_handler(number, end.set)
    simulator = Simulator(config, port=port)
    try:
        await simulator.__aenter__()
    except OSError as error:
        raise UsageError(f"--port {port}: {error.strerror or error}") from None
    try:
        sys.stdout.write(json.dumps({"base_url": simulator.base_url}) + "\n")
        sys.stdout.flush()
        if exit_with_parent:
            _on_stdin_end(lambda: loop.call_soon_threadsafe(end.set))
        await end.wait()
    finally:
        await simulator.__aexit__(None, None, None)


def _on_stdin_end(callback: Callable[[], object]) -> None:
    """Call back when stdin ends. A thread, as a loop cannot watch every kind of stdin; it reads past Python's buffer,
    whose lock would hold up the interpreter's end."""

    def read() -> None:
        with suppress(OSError):
            while os.read(0, 65_536):
                pass
        with suppress(RuntimeError):  # the loop has ended by itself
            callback()

    threading.Thread(target=read, name="simulator-stdin", daemon=True).start()


if __name__ == "__main__":
    sys.exit(main())
