"""Functions that `agentdash run --processor my_functions:NAME` can run; start it from this folder.

A function is given the task as a dict (with its id and whatever its line holds) and returns anything JSON can hold.
"""

from __future__ import annotations

import asyncio
from typing import Any


async def count_words(task: dict[str, Any], worker_id: str) -> dict[str, Any]:
    """`--processor my_functions:count_words`: a coroutine; hundreds of them share one thread."""
    await asyncio.sleep(0.01)  # in a real one: a request, a query
    return {"words": len(task["prompt"].split()), "counted_by": worker_id}


async def review(task: dict[str, Any], worker_id: str, context: Any) -> str:
    """`--processor my_functions:review`: asks twice, with the client of the key that was leased for this task.

    A parameter named `context` brings the leased client, `context.progress(text)` and `context.cancelled`. Errors of
    the SDK may go up: limits and overload are dealt with outside and never cost the task an attempt.
    """
    draft = await _ask(context.client, task["prompt"])
    context.progress("draft done\n")
    return await _ask(context.client, f"Improve this text; answer with the text only:\n\n{draft}")


def shout(task: dict[str, Any]) -> str:
    """`--processor my_functions:shout`: a plain function; each call runs in a thread of its own."""
    return str(task["prompt"]).upper()


async def _ask(client: Any, prompt: str) -> str:
    message = await client.messages.create(
        model="claude-haiku-4-5", max_tokens=300, messages=[{"role": "user", "content": prompt}]
    )
    return "".join(block.text for block in message.content if block.type == "text")
