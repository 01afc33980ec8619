"""Baselines: random search and grid search, which evaluate the objective and use no gradient.

Studies name them as optimizers, and they are recorded as such: their hyper-parameters are columns. They are not rules,
and have no kernel: a baseline lists points, and a trial keeps the best of them.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from fastgd.optimizers.record import BASELINES, describe

Array = npt.NDArray[Any]
C = TypeVar("C", bound=type)


def baseline(*, name: str, reference: str, drawn: bool) -> Callable[[C], C]:
    """Register a baseline.

    The class holds the box as fields, and has

    `points(box, budget, keys, first, count) -> (len(keys) or 1, k, d)`
        Its points number `first` to `first + count` (from 0), or as many as there are: from each key's random stream,
        or the same for all keys. `box` (d, 2) has their bounds, `budget` is the number of a trial's steps.

    Parameters
    ----------
    name, reference : str
    drawn : bool
        Whether its points depend on the seed.
    """

    def register(cls: C) -> C:
        cls.rule = _unchanged  # type: ignore[attr-defined]
        texts = {"family": "baseline", "witness": "none", "reference": reference}
        state = {"slots": (), "memory": {}, "batch_loss": False, "lazy": ("closed", "closed")}
        BASELINES.add(describe(cls, name, {**state, **texts, "drawn": drawn}))
        return cls

    return register


def _unchanged(h: Any, c: Any, w: Any, g: Any, s: Any) -> Any:
    """A rule that ignores the gradient."""
    return w, s


@baseline(
    name="random_search",
    drawn=True,
    reference="Bergstra & Bengio (2012), https://www.jmlr.org/papers/v13/bergstra12a.html",
)
class RandomSearch(NamedTuple):
    """Points drawn uniformly from a box, one a step, whose best one is kept: the lectures' guess work.

    Point t of a seed is the same whatever the budget.
    """

    low: float
    high: float

    @staticmethod
    def points(box: Array, budget: int, keys: Array, first: int, count: int) -> Array:
        """Return points (keys, count, d) from the counter-based streams of the keys."""
        from fastgd.core.random import uniform_numbers  # imports Numba

        d = len(box)
        numbers = uniform_numbers(keys, first * d, count * d).reshape(len(keys), count, d)
        return np.asarray(np.minimum(box[:, 0] + (box[:, 1] - box[:, 0]) * numbers, box[:, 1]))


@baseline(name="grid", drawn=False, reference="LaValle, Branicky & Lindemann (2004), doi:10.1177/0278364904045481")
class Grid(NamedTuple):
    """All points of a grid over a box, one a step, whose best one is kept: the lectures' brute force.

    Along each of d parameters there are k points, ends included, the largest k with k^d <= the budget; a single one is
    the middle. They are visited in an order that is shuffled once and for all, so that any part of them covers the
    whole box. What is left of the budget is not used.
    """

    low: float
    high: float

    @staticmethod
    def points(box: Array, budget: int, keys: Array, first: int, count: int) -> Array:
        """Return points (1, count, d), the same for all keys; fewer where the grid ends."""
        k = points_per_axis(budget, len(box))
        if k == 1:
            return np.asarray(box.mean(axis=1)[None, None][:, first : first + count])
        which = _shuffled(k ** len(box))[first : first + count]
        points = np.empty((len(which), len(box)))
        for axis, (low, high) in reversed(list(enumerate(box))):
            which, place = np.divmod(which, k)
            points[:, axis] = np.linspace(low, high, k)[place]
        return points[None]


def points_per_axis(budget: int, d: int) -> int:
    """Return the largest k with k^d <= budget, which is at least 1."""
    k = max(1, round(budget ** (1 / d)))
    while k**d > budget:
        k -= 1
    while (k + 1) ** d <= budget:
        k += 1
    return int(k)


@lru_cache(maxsize=1)
def _shuffled(count: int) -> Array:
    """Return the numbers below `count` in an order that depends on nothing else."""
    from fastgd.core.random import stream_keys, uniform_numbers  # imports Numba

    return np.argsort(uniform_numbers(stream_keys(0, [0]), 0, count)[0], kind="stable")
