"""The demo's tasks: small, believable, the same for the same seed, a few of them such that the API refuses them."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

REFUSED = "[scan: corrupt image]"
"""Stands in the prompts that the demo's server refuses."""

_EVERY = 37
_JOBS = (
    ("incident", "Summarise this incident report in three sentences for the status page.", (
        "{time} UTC: {service} latency rose to {n} s. Cause: a missing index. {m} were delayed, none lost.",
        "{time} UTC: {service} answered {n} % of requests with 503 for {m} minutes. Cause: expired credentials.",
    )),
    ("ticket", "Sort this support ticket (billing, bug, question, praise) and answer it in one paragraph.", (
        "Since Tuesday the {service} page shows {n} of my {m} projects only. Nothing in the filters. Please help!",
        "We were charged twice for {n} seats of {service} in invoice {m}. Could you refund one of the two?",
    )),
    ("release", "Translate these release notes into German and keep the Markdown.", (
        "- **{service}** finds words inside attachments.\n- Exports no longer time out beyond {m} rows.",
        "- {service}: {n} new keyboard shortcuts.\n- Fixed: the list jumped after {m} entries.",
    )),
    ("review", "List what this code review comment asks for, one point a line.", (
        "The retry in {service} has no upper bound; cap it at {n}. The test sleeps {m} ms: wait for the event instead.",
        "Nice! Before merging: name the constant {n}, and log the {service} request id at debug level.",
    )),
)  # fmt: skip
_SERVICES = ("checkout", "search", "media", "billing", "login", "export")


def write_tasks(path: Path, number: int, seed: int) -> None:
    """Write a task file with so many tasks."""
    rng = random.Random(seed)
    lines = (json.dumps(_task(index, rng), ensure_ascii=False) for index in range(1, number + 1))
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _task(index: int, rng: random.Random) -> dict[str, Any]:
    name, system, texts = rng.choice(_JOBS)
    text = rng.choice(texts).format(
        time=f"{rng.randrange(24):02}:{rng.randrange(60):02}",
        service=rng.choice(_SERVICES),
        n=rng.randrange(2, 60),
        m=rng.randrange(100, 2000),
    )
    if index % _EVERY == _EVERY // 3:
        text += f" {REFUSED}"
    return {
        "id": f"{name}-{index:04}",
        "prompt": text,
        "system": system,
        "max_tokens": rng.choice((120, 200, 300)),
        "priority": 10 if name == "incident" else 0,
    }
