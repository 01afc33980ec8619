"""The rounds of a race, as far as its costs depend on them: how many trials of a cohort run how far."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import ceil
from typing import NamedTuple

import numpy as np

from fastgd.plan.units.cohort import CohortUnit


class Round(NamedTuple):
    """The epochs of a race between two comparisons of its trials.

    Attributes
    ----------
    first, last : int
        The epochs at which it begins and ends.
    share : float
        Of all trials those that run it.
    """

    first: int
    last: int
    share: float


def in_rounds(unit: CohortUnit, rounds: Sequence[Round]) -> Iterator[CohortUnit]:
    """Yield a cohort as it is expected to run in some rounds: for estimates, since nobody knows yet who loses."""
    for each in rounds:
        begin, end = each.first * unit.batches, each.last * unit.batches
        after = unit.checkpoints > begin if begin else unit.checkpoints >= 0
        yield replace(
            unit.select(np.arange(unit.lanes) < ceil(each.share * unit.lanes)),
            steps=end - begin,
            checkpoints=unit.checkpoints[after & (unit.checkpoints <= end)],
            taken=0,
            until=None if each is rounds[-1] else end - begin,
        )
