"""The fault campaign: the real program against the simulator, and everything that can go wrong on a night.

    python -m tests.faults --short            two minutes
    python -m tests.faults                    ten minutes
    python -m tests.faults --long             an hour
    python -m tests.faults --list             the faults there are
    python -m tests.faults --seed 7 --round 1234    one round once more

Each round is a fresh project with one to three processes on it, headless or in a terminal, and one to three faults at
random moments. When all is well again a last run completes the work, and the round is judged from the outside. A round
that fails keeps its folder. The exit code is 1 if any did.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import tests.faults.everything  # noqa: F401  (makes the faults known)
from tests.faults.actors import preload
from tests.faults.campaign import draw, play_all, play_part, to_json, usable
from tests.faults.disk_faults import with_bad_disk
from tests.faults.rounds import play


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--short", action="store_const", const=110.0, dest="seconds", help="two minutes")
    length.add_argument("--long", action="store_const", const=3600.0, dest="seconds", help="an hour")
    length.add_argument("--seconds", type=float, help="so long (default: ten minutes)")
    parser.add_argument("--seed", type=int, help="default: drawn, and told")
    parser.add_argument("--only", action="append", default=[], metavar="FAULT", help="this fault; may be repeated")
    parser.add_argument("--jobs", type=int, default=max(2, os.cpu_count() or 2), help="rounds side by side")
    parser.add_argument("--first", type=int, default=0, metavar="N", help="begin with round N")
    parser.add_argument("--round", type=int, metavar="N", help="play round N alone")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write what came of it as JSON")
    parser.add_argument("--list", action="store_true", help="list the faults and end")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if (environment := with_bad_disk(os.environ)) != os.environ:
        os.execve(sys.executable, sys.orig_argv, environment)
    seed = random.SystemRandom().randrange(1 << 30) if options.seed is None else options.seed
    faults, why_not = usable()
    if unknown := set(options.only) - {fault.name for fault in faults}:
        parser.error(f"no such fault here: {', '.join(sorted(unknown))}")
    if options.list:
        print("\n".join([*(fault.name for fault in faults), *(f"{n} (not here: {w})" for n, w in why_not.items())]))
        return 0
    seconds = 600.0 if options.seconds is None else options.seconds
    if options.part:
        part, parts = map(int, options.part.split("/"))
        preload()
        for outcome in play_part(seed, part, parts, options.only, first=options.first, until_s=seconds):
            print(json.dumps(asdict(outcome)), flush=True)
        return 0
    if options.round is not None:
        preload()
        chosen = [fault for fault in faults if not options.only or fault.name in options.only]
        outcome = play(options.round, seed, draw(seed, options.round, chosen), Path(tempfile.mkdtemp()))
        print(outcome.line, *outcome.trouble, outcome.folder, sep="\n")
        return bool(outcome.trouble)
    print(f"seed {seed}, {options.jobs} rounds side by side", flush=True)
    report = play_all(seed, options.only, jobs=options.jobs, until_s=seconds, first=options.first)
    if options.report:
        options.report.write_text(to_json(report))
    print(report.table())
    print(
        f"{report.rounds} rounds in {report.seconds:.0f} s, {report.starts} starts, {report.kills} killed with -9, "
        f"{report.tasks} tasks; {report.repeated} answers paid for twice after an end; "
        f"{len(report.troubled)} rounds with trouble"
    )
    for name, reason in why_not.items():
        print(f"not tried: {name}: {reason}")
    for outcome in report.troubled:
        print(
            f"\nround {outcome.number}: {' + '.join(outcome.faults)} ({outcome.folder})", *outcome.trouble, sep="\n  "
        )
    return bool(report.troubled)


if __name__ == "__main__":
    sys.exit(main())
