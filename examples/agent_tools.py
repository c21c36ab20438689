"""Tools for `agentdash run examples/agent.jsonl --tools agent_tools`; start it from this folder, or name it with a dot.

Each function with a docstring is a tool: the model reads its docstring and type hints, and is told what it returns, or
what it raised. A coroutine runs in the event loop, a plain function in a thread, where it may block.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

_STOCK = {"lamp": (12, "39.90"), "desk": (3, "249.00"), "chair": (0, "119.50")}


async def find_article(name: str) -> dict[str, str | int]:
    """Look up an article of the shop: how many are in stock, and its price in euros.

    Args:
        name: the article, in the singular, such as "lamp"
    """
    amount, price = _STOCK[name.lower()]  # of another name: a KeyError, which the model reads
    return {"name": name.lower(), "in_stock": amount, "price": price}


def add_tax(net: Decimal, country: Literal["de", "fr", "at"] = "de") -> str:
    """The price with value added tax, in euros.

    Args:
        net: the price without it
        country: where the customer lives
    """
    rate = {"de": Decimal("1.19"), "fr": Decimal("1.20"), "at": Decimal("1.20")}[country]
    return f"{net * rate:.2f}"
