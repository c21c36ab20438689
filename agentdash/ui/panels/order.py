"""How the queue is sorted: what a key or a click on a title makes of its query. Pure."""

from __future__ import annotations

from dataclasses import replace

from agentdash.model import TaskQuery
from agentdash.ui.panels import taskrows


def by_the_next(query: TaskQuery) -> TaskQuery:
    """Sorted by the next of `taskrows.SORTS`, round the end."""
    place = taskrows.SORTS.index(query.sort)
    return replace(query, sort=taskrows.SORTS[(place + 1) % len(taskrows.SORTS)], descending=False)


def the_other_way_round(query: TaskQuery) -> TaskQuery:
    """Sorted by the same, from its other end."""
    return replace(query, descending=not query.descending)


def by_column(query: TaskQuery, column: int) -> TaskQuery:
    """Sorted by that column; the other way round if it is the one already; as before if nothing sorts by it."""
    sort = taskrows.sort_of(column)
    if sort is query.sort:
        return the_other_way_round(query)
    return replace(query, sort=sort, descending=False) if sort is not None else query
