"""A program in the place of an agent: it writes down how it was called, and plays a recording of the real one.

`standin.py CASE [ARGUMENTS…]`: CASE is a file in `recorded`, by its name. Where it was called from, with what, is added
as a line of JSON to the file that the environment variable STANDIN_CALLS names.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

RECORDED = Path(__file__).parent / "recorded"


def main(case: str, *arguments: str) -> int:
    call = {"arguments": arguments, "stdin": sys.stdin.read(), "environment": dict(os.environ), "cwd": os.getcwd()}
    with open(os.environ["STANDIN_CALLS"], "a", encoding="utf-8") as file:
        file.write(json.dumps(call) + "\n")
    ended = json.loads((RECORDED / "cases.json").read_text(encoding="utf-8"))[case]
    sys.stdout.write((RECORDED / f"{case}.jsonl").read_text(encoding="utf-8"))
    sys.stdout.flush()
    sys.stderr.write(ended["stderr"])
    return int(ended["exit"])


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
