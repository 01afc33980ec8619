"""What of a study's work is to do, in which order: methods take turns, so that a study cut short has some of each."""

import itertools
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from fastgd.plan.budgets.courses import continued
from fastgd.plan.plan import Unit
from fastgd.plan.units.cohort import CohortUnit
from fastgd.store.states import StateInfo

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


def missing(
    units: Iterable[Unit], done: Mapping[str, Any], states: Sequence[StateInfo], reached: Mapping[str, float]
) -> list[Unit]:
    """Return what is missing of each unit: what there is least of comes first, else optimizers take turns.

    What goes on from the states of other trials is a unit of its own.

    Parameters
    ----------
    units : iterable of CohortUnit, or of SwarmUnit
    done : mapping
        The trials that are not to run; see `fastgd.store.contents.Contents.done`.
    states, reached
        See `fastgd.plan.budgets.courses.continued`.
    """
    left = [(unit, unit.without(done)) for unit in in_turns(units, lambda unit: unit.owner)]
    found = sorted(((rest.count / unit.count, rest) for unit, rest in left if rest), key=lambda pair: -pair[0])
    parts = (continued(rest, states, reached) if isinstance(rest, CohortUnit) else [rest] for _, rest in found)
    return list(itertools.chain.from_iterable(parts))
