"""What became of trials on a landscape: where they ended, and whether they had come to rest there.

A trial is read a few times in its last steps, at distances that double. These readings tell a trial that rests from one
that cycles, however long the cycle, and from one that was still on its way.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fastgd.engine.swarm.reading import Reading
from fastgd.store.disk.rows import Names
from fastgd.study.landscapes import SAME, LandscapeProblem

Array = npt.NDArray[Any]
# Shares of the domain's size:
MOST_MOVED_AT_REST = 1e-6  # a trial whose last readings moved by no more counts as at rest
MOST_DISTANCE_TO_MINIMUM = 0.05  # a trial that is further away from a minimum is not at it
# Shares of other sizes:
MOST_FLAT_GRADIENT = 1e-3  # of the gradient's norm at the start, or of the landscape's own slope: no slope is left
MOST_VALUE_DIFFERENCE = 1e-3  # of the spread of the known minima's values: a value as close to a minimum's is at it
MOST_HEIGHT_OF_PROGRESS = 0.5  # of its height above the lowest value: a trial that keeps more makes no progress
# A trial that travels gets twice as far in twice the steps. One that cycles gets no further than this many times:
MOST_GROWTH_OF_CYCLE = 1.5
RECENT_READINGS = 4  # the last ones, which are compared with those before them
LANES_AT_ONCE = 4096  # that are judged together: what is computed on the way stays in the cache
FEW_MINIMA = 16  # are looked at one by one; a tree of more finds the nearest faster, and takes 0.2 s to import

STATUSES = ("converged", "trapped", "cycling", "diverged", "completed")
CONVERGED, TRAPPED, CYCLING, DIVERGED, COMPLETED = range(len(STATUSES))
_WHY_DIVERGED = (
    "its coordinates are no finite numbers after the step in 'steps'",
    "its value rose far above that at the start",
    "its value falls without end",
)


@dataclass(frozen=True)
class Outcomes:
    """What became of some trials, each (lanes,).

    Attributes
    ----------
    status : Names
    reason : Names
    minimum : masked ndarray of int
        The minimum that they are at, in the order of the problem's; masked where it is none.
    steps : ndarray of int
        The steps that count: all, or those until a trial diverged.
    """

    status: Names
    reason: Names
    minimum: Array
    steps: Array


@dataclass(frozen=True)
class KnownLandscape:
    """What is known of a landscape.

    Attributes
    ----------
    box : ndarray (d, 2)
        The domain.
    minima : ndarray (k, d)
        Those that are known, the lowest first.
    values : ndarray (k,)
        Their values.
    tolerance : float
        A trial that ends by no more than this above the lowest value has converged.
    floor : float
        The lowest value that is known, of a minimum or within the domain.
    scale : float
        The landscape's own scale: how high a point of the domain is above the floor, in the median.
    """

    box: Array
    minima: Array
    values: Array
    tolerance: float
    floor: float = 0.0
    scale: float = 1.0

    @classmethod
    def of(cls, problem: LandscapeProblem) -> "KnownLandscape":
        """Return what is known of a problem's landscape."""
        minima = problem.known_minima()
        values = np.asarray(problem.values(minima.T), np.float64) if len(minima) else np.zeros(0)
        levels = np.array(problem.levels())
        floor = min((*values[:1], levels[0]))
        return cls(problem.box(), minima, values, problem.tolerance, floor, levels[1] - floor)

    @property
    def size(self) -> float:
        """The diagonal of the domain."""
        return float(np.linalg.norm(self.box[:, 1] - self.box[:, 0]))

    @property
    def slope(self) -> float:
        """The landscape's own slope."""
        return self.scale / self.size

    def is_below_lowest(self, loss: Array) -> Array:
        """Return whether values are below the lowest one that is known, by more than rounding makes of it."""
        lowest = -np.inf if self.lowest is None else self.lowest
        return np.asarray(loss < lowest - self.same_value)

    @property
    def same_value(self) -> float:
        """By how much values may differ that count as the same."""
        spread = float(np.ptp(self.values)) if len(self.values) else 0.0
        return max(self.tolerance, SAME * self.scale, MOST_VALUE_DIFFERENCE * spread, self.rounding)

    @property
    def rounding(self) -> float:
        """By how much values may differ by rounding alone."""
        return max(1e-12 * self.scale, 16 * float(np.finfo(float).eps) * abs(self.lowest or 0.0))

    @property
    def lowest(self) -> float | None:
        """The lowest value, if it is known."""
        return float(self.values[0]) if len(self.values) else None


def judge(
    landscape: KnownLandscape, first: Reading, tail: list[Reading], died: Array, steps: int, diverge: float
) -> Outcomes:
    """Return what became of trials.

    Parameters
    ----------
    landscape : KnownLandscape
    first : Reading
        The start.
    tail : list of Reading
        Readings in the last steps, of which the last is the end.
    died : ndarray of int (lanes,)
        The first step after which a trial was not finite, or 0.
    steps : int
    diverge : float
        How far the value may rise or, where no lowest value is known, fall, relative to how high the start is above the
        floor, or to the landscape's own scale where that is more.
    """
    parts = [slice(first, first + LANES_AT_ONCE) for first in range(0, len(died), LANES_AT_ONCE)]
    found = [
        _judge(landscape, first.of(lanes), [each.of(lanes) for each in tail], died[lanes], steps, diverge)
        for lanes in parts
    ]
    nearest = np.concatenate([np.ma.getdata(part.minimum) for part in found])
    return Outcomes(
        status=Names(STATUSES, np.concatenate([part.status.codes for part in found])),
        reason=Names(found[0].reason.names, np.concatenate([part.reason.codes for part in found])),
        minimum=np.ma.masked_array(nearest, np.concatenate([np.ma.getmaskarray(part.minimum) for part in found])),
        steps=np.concatenate([part.steps for part in found]),
    )


def _judge(
    landscape: KnownLandscape, first: Reading, tail: list[Reading], died: Array, steps: int, diverge: float
) -> Outcomes:
    """Return what became of some trials; see `judge`."""
    end, lowest = tail[-1], landscape.lowest
    diverged, why = _diverged(landscape, first, end, died, diverge)
    moved = _moved(tail)
    rests = moved.max(axis=0) <= MOST_MOVED_AT_REST * landscape.size
    nearest, at_minimum = _nearest(landscape, end)
    status = np.full(len(diverged), COMPLETED)
    status[~rests & _cycles(moved, tail, lowest)] = CYCLING
    status[rests & (end.grad_norm <= MOST_FLAT_GRADIENT * np.maximum(landscape.slope, first.grad_norm))] = TRAPPED
    if lowest is not None:
        at_lowest = landscape.values[nearest] <= lowest + max(landscape.tolerance, landscape.rounding)
        status[rests & at_minimum & ~at_lowest] = TRAPPED
        reached = (end.loss <= lowest + landscape.tolerance) & ~landscape.is_below_lowest(end.loss)
        status[reached | (rests & at_minimum & at_lowest)] = CONVERGED
    status[diverged] = DIVERGED
    known = at_minimum & np.isin(status, (CONVERGED, TRAPPED))
    return Outcomes(
        status=Names(STATUSES, status),
        reason=_reasons(status, why, nearest, known, landscape.minima),
        minimum=np.ma.masked_array(nearest, ~known),
        steps=np.where(died > 0, died, steps),
    )


def judge_guesses(landscape: KnownLandscape, end: Reading, steps: int) -> Outcomes:
    """Return what became of trials that looked at points and kept the best."""
    nearest, at_minimum = _nearest(landscape, end)
    lowest = -np.inf if landscape.lowest is None else landscape.lowest
    reached = (end.loss <= lowest + landscape.tolerance) & ~landscape.is_below_lowest(end.loss)
    return Outcomes(
        status=Names(STATUSES, np.where(reached, CONVERGED, COMPLETED)),
        reason=Names(["it looked at all of its points", "it reached the tolerance"], reached.astype(np.int64)),
        minimum=np.ma.masked_array(nearest, ~at_minimum),
        steps=np.full(len(reached), steps),
    )


def _moved(tail: list[Reading]) -> Array:
    """How far trials are at the end from where they were before (readings, lanes)."""
    with np.errstate(invalid="ignore", over="ignore"):
        return np.array([np.linalg.norm(tail[-1].positions - before.positions, axis=0) for before in tail[:-1]])


def _cycles(moved: Array, tail: list[Reading], lowest: float | None) -> Array:
    """Whether trials come back to where they were, and their values have not fallen much.

    Where no lowest value is known, the lowest of the trial's own readings stands for it; a trial whose recent values
    are then all lower than those before is still falling.
    """
    if len(tail) <= RECENT_READINGS:
        return np.zeros(moved.shape[1], bool)
    with np.errstate(invalid="ignore", over="ignore"):
        loss = np.array([reading.loss for reading in tail])
        before, recent = loss[:-RECENT_READINGS], loss[-RECENT_READINGS:]
        base = loss.min(axis=0) if lowest is None else np.minimum(lowest, loss.min(axis=0))
        high = recent.max(axis=0) - base >= MOST_HEIGHT_OF_PROGRESS * (before.max(axis=0) - base)
        if lowest is None:
            high &= recent.max(axis=0) >= before.min(axis=0)
    return np.asarray(high & (moved[0] <= MOST_GROWTH_OF_CYCLE * moved[1:].max(axis=0)))


def _diverged(
    landscape: KnownLandscape, first: Reading, end: Reading, died: Array, diverge: float
) -> tuple[Array, Array]:
    """Whether trials diverged, and the number of the reason; where a minimum is known, none falls without end."""
    with np.errstate(invalid="ignore", over="ignore"):
        bound = diverge * np.maximum(landscape.scale, np.abs(first.loss - landscape.floor))
        bound[bound == 0] = np.inf  # on a plain at whose height it starts, nothing says what is much
        risen, fallen = end.loss - first.loss > bound, (first.loss - end.loss > bound) & (landscape.lowest is None)
    not_finite = (died > 0) | ~np.isfinite(end.loss)
    return not_finite | risen | fallen, np.select([not_finite, risen, fallen], [0, 1, 2], 0)


def _nearest(landscape: KnownLandscape, end: Reading) -> tuple[Array, Array]:
    """The nearest minimum of each trial, and whether the trial is at it."""
    if not len(landscape.minima):
        return np.zeros(end.positions.shape[1], np.int64), np.zeros(end.positions.shape[1], bool)
    find = _nearest_of_few if len(landscape.minima) <= FEW_MINIMA else _nearest_of_many
    distance, nearest = find(landscape.minima, end.positions)
    with np.errstate(invalid="ignore"):
        close = np.abs(end.loss - landscape.values[nearest]) <= landscape.same_value
    return nearest, (distance <= MOST_DISTANCE_TO_MINIMUM * landscape.size) & close


def _nearest_of_few(minima: Array, points: Array) -> tuple[Array, Array]:
    """The distance of points (d, lanes) to the nearest minimum, and its number; of several, the first one's."""
    lowest, nearest = np.full(points.shape[1], np.inf), np.zeros(points.shape[1], np.int64)
    with np.errstate(invalid="ignore", over="ignore"):
        for number, minimum in enumerate(minima):
            squares = np.square(points - minimum[:, None]).sum(axis=0)
            closer = squares < lowest
            lowest[closer], nearest[closer] = squares[closer], number
    return np.sqrt(lowest), nearest


def _nearest_of_many(minima: Array, points: Array) -> tuple[Array, Array]:
    """The same, by a tree."""
    from scipy.spatial import cKDTree

    distance, nearest = np.full(points.shape[1], np.inf), np.zeros(points.shape[1], np.int64)
    finite = np.isfinite(points).all(axis=0)
    distance[finite], nearest[finite] = cKDTree(minima).query(points[:, finite].T)
    nearest[np.isinf(distance)] = 0  # too far for a distance: the query has no answer, and it is at none
    return distance, nearest


def _reasons(status: Array, why: Array, nearest: Array, known: Array, minima: Array) -> Names:
    """Why, in words: what is said of a status, or of the minimum that a trial is at."""
    names = [
        "it reached the tolerance",
        "it rests where the slope is gone, at no minimum that is known",
        "it keeps moving, and its value falls no more",
        "",
        "it was still on its way",
        *_WHY_DIVERGED,
        *(f"it is at minimum {k}, {_shown(point)}" for k, point in enumerate(minima)),
    ]
    codes = np.where(status == DIVERGED, len(STATUSES) + why, status)
    return Names(names, np.where(known, len(STATUSES) + len(_WHY_DIVERGED) + nearest, codes))


def _shown(point: Array) -> str:
    numbers = [f"{number:.4g}" for number in point[:4]]
    return f"({', '.join(numbers)}{', ...' if len(point) > 4 else ''})"
