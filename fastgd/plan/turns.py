"""The order in which a study's work is done: methods take turns, so that a study cut short has something on each."""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from typing import TypeVar

T = TypeVar("T")


def in_turns(items: Iterable[T], whose: Callable[[T], Hashable]) -> list[T]:
    """Return the first item of each owner, then the second of each, and so on, otherwise in their order.

    Parameters
    ----------
    items : iterable
    whose : callable
        Tells the owner of an item.
    """
    turns: Counter[Hashable] = Counter()
    placed = []
    for item in items:
        owner = whose(item)
        placed.append((turns[owner], item))
        turns[owner] += 1
    return [item for _, item in sorted(placed, key=lambda each: each[0])]
