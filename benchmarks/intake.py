"""How fast task files are read, and that memory stays flat: `python benchmarks/intake.py [LINES]`."""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from pathlib import Path

from agentdash.engine.intake import BadLines, read_tasks


def main(lines: int) -> None:
    prompt = 'Summarise the incident report of the "orders" service in three sentences.\n' * 3
    with tempfile.TemporaryDirectory() as folder:
        for name, extra in (("id and prompt", False), ("all fields", True)):
            path = Path(folder, "tasks.jsonl")
            with path.open("w", encoding="utf-8") as file:
                for number in range(lines):
                    task: dict[str, object] = {"id": f"t{number}", "prompt": prompt[:200]}
                    if extra:
                        task |= {"model": "claude-haiku-4-5", "max_tokens": 512, "priority": 1}
                        task["metadata"] = {"n": number}
                    file.write(json.dumps(task) + "\n")
            bad = BadLines()
            start = time.perf_counter()
            count = sum(1 for _ in read_tasks([str(path)], bad=bad))
            seconds = time.perf_counter() - start
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
            rate = f"{count:,} tasks in {seconds:.2f} s, {count / seconds:,.0f} lines/s"
            sys.stdout.write(f"{name}: {rate}, peak {peak} MB, bad lines {bad.count}\n")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
