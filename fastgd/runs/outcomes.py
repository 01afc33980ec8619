"""What became of trials on a landscape: where they ended, and whether they had come to rest there.

A trial is read a few times in its last steps, at distances that double. What it does there tells points where it rests
from cycles, whatever their length, and from trials that were still on their way.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from fastgd.engine.swarm.reading import Reading
from fastgd.store.rows import Names
from fastgd.study.landscapes import SAME, LandscapeProblem

Array = npt.NDArray[Any]
REST = 1e-6  # of the domain's size: a trial whose last readings moved by less counts as at rest
FLAT = 1e-3  # of the gradient's size at the start, or of the landscape's own slope: a smaller gradient is no slope
NEAR = 0.05  # of the domain's size: a trial that is further from a minimum is not at it
CLOSE = 1e-3  # of the difference between known minima's values: a value that is closer to a minimum's is one at it
RECENT = 4  # readings at the end are compared with those before them:
PROGRESS = 0.5  # a trial that keeps more than this part of its height above the lowest value makes no progress
RETURNS = 1.5  # a trial that travels gets twice as far in twice the steps; one that cycles gets less than this times

STATUSES = ("converged", "trapped", "cycling", "diverged", "completed")
CONVERGED, TRAPPED, CYCLING, DIVERGED, COMPLETED = range(len(STATUSES))
_LOST = (
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
class Ground:
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
    def of(cls, problem: LandscapeProblem) -> "Ground":
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

    def below(self, loss: Array) -> Array:
        """Return whether values are below the lowest one that is known, by more than rounding makes of it."""
        lowest = -np.inf if self.lowest is None else self.lowest
        return np.asarray(loss < lowest - self.same)

    @property
    def same(self) -> float:
        """By how much values may differ that count as the same."""
        spread = float(np.ptp(self.values)) if len(self.values) else 0.0
        return max(self.tolerance, SAME * self.scale, CLOSE * spread, self.rounding)

    @property
    def rounding(self) -> float:
        """By how much values may differ by rounding alone."""
        return max(1e-12 * self.scale, 16 * float(np.finfo(float).eps) * abs(self.lowest or 0.0))

    @property
    def lowest(self) -> float | None:
        """The lowest value, if it is known."""
        return float(self.values[0]) if len(self.values) else None


def judge(ground: Ground, first: Reading, tail: list[Reading], died: Array, steps: int, diverge: float) -> Outcomes:
    """Return what became of trials.

    Parameters
    ----------
    ground : Ground
    first : Reading
        The start.
    tail : list of Reading
        In the last steps, the end being the last.
    died : ndarray of int (lanes,)
        The first step after which a trial was not finite, or 0.
    steps : int
    diverge : float
        How far the value may rise or, where no lowest value is known, fall, relative to how high the start is above the
        floor, or to the landscape's own scale where that is more.
    """
    end, lowest = tail[-1], ground.lowest
    lost, why = _diverged(ground, first, end, died, diverge)
    moved = _moved(tail)
    rests = moved.max(axis=0) <= REST * ground.size
    nearest, at_minimum = _nearest(ground, end)
    status = np.full(len(lost), COMPLETED)
    status[~rests & _cycles(moved, tail, lowest)] = CYCLING
    status[rests & (end.grad_norm <= FLAT * np.maximum(ground.slope, first.grad_norm))] = TRAPPED
    if lowest is not None:
        at_lowest = ground.values[nearest] <= lowest + max(ground.tolerance, ground.rounding)
        status[rests & at_minimum & ~at_lowest] = TRAPPED
        reached = (end.loss <= lowest + ground.tolerance) & ~ground.below(end.loss)
        status[reached | (rests & at_minimum & at_lowest)] = CONVERGED
    status[lost] = DIVERGED
    known = at_minimum & np.isin(status, (CONVERGED, TRAPPED))
    return Outcomes(
        status=Names(STATUSES, status),
        reason=_reasons(status, why, nearest, known, ground.minima),
        minimum=np.ma.masked_array(nearest, ~known),
        steps=np.where(died > 0, died, steps),
    )


def judge_guesses(ground: Ground, end: Reading, steps: int) -> Outcomes:
    """Return what became of trials that looked at points and kept the best."""
    nearest, at_minimum = _nearest(ground, end)
    lowest = -np.inf if ground.lowest is None else ground.lowest
    reached = (end.loss <= lowest + ground.tolerance) & ~ground.below(end.loss)
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

    Where no lowest value is known, that of the trial's own readings stands for it. A trial that is then lower than ever
    before is still falling.
    """
    if len(tail) <= RECENT:
        return np.zeros(moved.shape[1], bool)
    with np.errstate(invalid="ignore", over="ignore"):
        loss = np.array([reading.loss for reading in tail])
        before, recent = loss[:-RECENT], loss[-RECENT:]
        base = loss.min(axis=0) if lowest is None else np.minimum(lowest, loss.min(axis=0))
        high = recent.max(axis=0) - base >= PROGRESS * (before.max(axis=0) - base)
        if lowest is None:
            high &= recent.max(axis=0) >= before.min(axis=0)
    return np.asarray(high & (moved[0] <= RETURNS * moved[1:].max(axis=0)))


def _diverged(ground: Ground, first: Reading, end: Reading, died: Array, diverge: float) -> tuple[Array, Array]:
    """Whether trials diverged, and which of `_LOST` is why; where there is a minimum, none falls without end."""
    with np.errstate(invalid="ignore", over="ignore"):
        bound = diverge * np.maximum(ground.scale, np.abs(first.loss - ground.floor))
        bound[bound == 0] = np.inf  # on a plain at whose height it starts, nothing says what is much
        risen, fallen = end.loss - first.loss > bound, (first.loss - end.loss > bound) & (ground.lowest is None)
    gone = (died > 0) | ~np.isfinite(end.loss)
    return gone | risen | fallen, np.select([gone, risen, fallen], [0, 1, 2], 0)


def _nearest(ground: Ground, end: Reading) -> tuple[Array, Array]:
    """The nearest minimum of each trial, and whether the trial is at it."""
    lanes = end.positions.shape[1]
    distance, nearest = np.full(lanes, np.inf), np.zeros(lanes, np.int64)
    if not len(ground.minima):
        return nearest, np.zeros(lanes, bool)
    finite = np.isfinite(end.positions).all(axis=0)
    distance[finite], nearest[finite] = cKDTree(ground.minima).query(end.positions[:, finite].T)
    nearest[np.isinf(distance)] = 0  # too far for a distance: the query has no answer, and it is at none
    with np.errstate(invalid="ignore"):
        close = np.abs(end.loss - ground.values[nearest]) <= ground.same
    return nearest, (distance <= NEAR * ground.size) & close


def _reasons(status: Array, why: Array, nearest: Array, known: Array, minima: Array) -> Names:
    """Why, in words: what is said of a status, or of the minimum that a trial is at."""
    names = [
        "it reached the tolerance",
        "it rests where the slope is gone, at no minimum that is known",
        "it keeps moving, and its value falls no more",
        "",
        "it was still on its way",
        *_LOST,
        *(f"it is at minimum {k}, {_shown(point)}" for k, point in enumerate(minima)),
    ]
    codes = np.where(status == DIVERGED, len(STATUSES) + why, status)
    return Names(names, np.where(known, len(STATUSES) + len(_LOST) + nearest, codes))


def _shown(point: Array) -> str:
    numbers = [f"{number:.4g}" for number in point[:4]]
    return f"({', '.join(numbers)}{', ...' if len(point) > 4 else ''})"
