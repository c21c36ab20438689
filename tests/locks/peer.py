"""A second process that locks on command: `Peer` in the test talks JSON lines to `main` in the other process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


class Peer:
    """One real process with one TaskLock. Each call waits for its answer, so tests need no sleep."""

    def __init__(self, project: Path, *, pass_fds: tuple[int, ...] = ()) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__, str(project)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            pass_fds=pass_fds,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )

    @property
    def pid(self) -> int:
        return self.process.pid

    def call(self, verb: str, *arguments: object) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([verb, *arguments]) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, f"the peer died in {verb}"
        return json.loads(answer)

    def kill(self) -> None:
        """kill -9, and wait until it is gone."""
        self.process.send_signal(signal.SIGKILL)
        self.finish()

    def finish(self) -> None:
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None and not stream.closed:
                stream.close()
        self.process.wait()


def main() -> None:
    from agentdash.engine.locks import TaskLock
    from agentdash.errors import LockError

    lock = TaskLock(sys.argv[1])
    for line in sys.stdin:
        verb, *arguments = json.loads(line)
        answer: Any
        try:
            if verb == "fork":
                answer = fork(lock, *arguments)
            elif verb == "spawn":
                answer = spawn(*arguments)
            elif verb == "limit_file_size":
                import resource

                resource.setrlimit(resource.RLIMIT_FSIZE, (arguments[0], resource.RLIM_INFINITY))
                answer = True
            else:
                answer = getattr(lock, verb)(*arguments)
        except LockError as error:
            answer = {"error": error.message, "hint": error.hint}
        print(json.dumps(answer), flush=True)


def fork(lock: Any, task_id: str, alive_fd: int, end: str) -> dict[str, Any]:
    """Fork a child that says what it sees, ends as `end` says, or lives on until `alive_fd` is at its end."""
    reader, writer = os.pipe()
    child = os.fork()
    if child:
        os.close(writer)
        with os.fdopen(reader) as said:
            answer: dict[str, Any] = json.load(said)
        if end != "live":
            os.waitpid(child, 0)
        return {**answer, "child": child}
    seen = {
        "held": list(lock.held()),
        "released": lock.release(task_id),
        "heartbeat": lock.heartbeat(task_id),
        "acquired": lock.acquire(task_id),
        "other": lock.acquire("child's own") and lock.release("child's own"),
        "descriptors": lock_descriptors(),
    }
    if end == "close":
        lock.close()
    del lock
    os.write(writer, json.dumps(seen).encode())
    os.close(writer)
    if end == "live":
        for fd in (0, 1):
            os.close(fd)
        os.read(alive_fd, 1)
    os._exit(0)


def spawn(alive_fd: int) -> dict[str, Any]:
    """Start an ordinary subprocess that inherits what it can and says which lock files it has open."""
    code = f"import sys, os; sys.path.insert(0, {str(Path(__file__).parent)!r}); import peer, json; "
    code += f"os.write(1, json.dumps(peer.lock_descriptors()).encode()); os.close(1); os.read({alive_fd}, 1)"
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, close_fds=False)
    assert child.stdout is not None
    return {"child": child.pid, "descriptors": json.load(child.stdout)}


def lock_descriptors() -> list[str]:
    """The lock files that this process has open (Linux)."""
    targets = []
    for name in os.listdir("/proc/self/fd"):
        try:
            targets.append(os.readlink(f"/proc/self/fd/{name}"))
        except OSError:
            continue
    return sorted(target for target in targets if "/task-" in target and ".lock" in target)


if __name__ == "__main__":
    main()
