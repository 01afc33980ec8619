"""How the benchmarks take times, and ratios of times."""

from collections.abc import Callable
from time import perf_counter

import numpy as np

PAIRS = 5  # alternated, of which the median counts
REPEATS = 3  # of what is tracked by itself: the fastest counts, as for the machine's limits


def seconds(run: Callable[[], object]) -> float:
    """Return the time of one call."""
    since = perf_counter()
    run()
    return perf_counter() - since


def fastest(run: Callable[[], object]) -> float:
    """Return the seconds of the fastest of a few calls."""
    return min(seconds(run) for _ in range(REPEATS))


def ratio(one: Callable[[], object], other: Callable[[], object]) -> float:
    """Return the time of the one over that of the other, the median of alternated pairs."""
    return float(np.median([seconds(one) / seconds(other) for _ in range(PAIRS)]))
