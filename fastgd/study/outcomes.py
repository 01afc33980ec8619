"""What became of trials on a landscape: where they ended, and whether they had come to rest there.

A trial is read a few times in its last steps, at distances that double. What it does there tells points where it rests
from cycles, whatever their length, and from trials that were still on their way.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from fastgd.engine.swarm import Reading
from fastgd.store.swarm import Names

Array = npt.NDArray[Any]
TAIL = (64, 32, 16, 8, 4, 2, 1)  # steps before the end at which trials are read
REST = 1e-6  # of the domain's size: who moved less in all these steps rests
FLAT = 1e-3  # of the gradient's size at the start: less is no slope
NEAR = 0.05  # of the domain's size: who is further from a minimum is not at it
CLOSE = 1e-3  # of the depth: a value so little above a minimum's is one at it
RECENT = 4  # of the readings, against those before
PROGRESS = 0.5  # of the value above the lowest: who has come down less since then makes none
RETURNS = 1.5  # times as far as in half the steps: who travels gets twice as far

STATUSES = ("converged", "trapped", "cycling", "diverged", "completed")
CONVERGED, TRAPPED, CYCLING, DIVERGED, COMPLETED = range(len(STATUSES))


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


def judge(
    first: Reading,
    tail: list[Reading],
    died: Array,
    steps: int,
    box: Array,
    minima: Array,
    values: Array,
    tolerance: float,
    diverge: float,
) -> Outcomes:
    """Return what became of trials.

    Parameters
    ----------
    first : Reading
        The start.
    tail : list of Reading
        In the last steps, the end being the last.
    died : ndarray of int (lanes,)
        The first step after which a trial was not finite, or 0.
    steps : int
    box : ndarray (d, 2)
        The domain.
    minima : ndarray (k, d)
        Those that are known, the lowest first.
    values : ndarray (k,)
        Their values.
    tolerance : float
        Above the lowest value: who is below it has converged.
    diverge : float
        How far the value may rise or, where nothing is known of a lowest value, fall, relative to that at the start.
    """
    end = tail[-1]
    size = float(np.linalg.norm(box[:, 1] - box[:, 0]))
    lost, why = _diverged(first, end, died, diverge, bool(len(minima)))
    lowest = values[0] if len(values) else np.nan
    with np.errstate(invalid="ignore", over="ignore"):
        moved = [np.linalg.norm(end.positions - reading.positions, axis=0) for reading in tail[:-1]]
        rests = np.max(moved, axis=0) <= REST * size
        flat = end.grad_norm <= FLAT * np.maximum(1, first.grad_norm)
        returns = moved[0] <= RETURNS * np.max(moved[1:], axis=0) if len(moved) > 1 else np.zeros(len(lost), bool)
        above = [reading.loss - (lowest if len(values) else 0.0) for reading in tail]
        cycles = ~rests & returns
        if len(tail) > RECENT:
            cycles &= np.max(above[-RECENT:], axis=0) >= PROGRESS * np.max(above[:-RECENT], axis=0)
    nearest, at_minimum = _nearest(end, minima, values, size, tolerance)
    status = np.full(len(lost), COMPLETED)
    status[cycles] = CYCLING
    status[rests & flat] = TRAPPED
    if len(values):
        lowest_ones = np.isclose(values, lowest, rtol=0, atol=max(tolerance, 1e-12))
        converged = end.loss <= lowest + tolerance
        here = at_minimum & rests
        status[here & ~lowest_ones[nearest]] = TRAPPED
        status[converged | (here & lowest_ones[nearest])] = CONVERGED
    status[lost] = DIVERGED
    known = np.isin(status, (CONVERGED, TRAPPED)) & at_minimum if len(values) else np.zeros(len(lost), bool)
    return Outcomes(
        status=Names(STATUSES, status),
        reason=_reasons(status, why, nearest, known, minima),
        minimum=np.ma.masked_array(nearest, ~known),
        steps=np.where(died > 0, died, steps),
    )


def judge_guesses(end: Reading, steps: int, box: Array, minima: Array, values: Array, tolerance: float) -> Outcomes:
    """Return what became of trials that looked at points and kept the best: see `judge` for the parameters."""
    size = float(np.linalg.norm(box[:, 1] - box[:, 0]))
    nearest, at_minimum = _nearest(end, minima, values, size, tolerance)
    lowest = values[0] if len(values) else -np.inf
    reached = end.loss <= lowest + tolerance
    return Outcomes(
        status=Names(STATUSES, np.where(reached, CONVERGED, COMPLETED)),
        reason=Names(["it looked at all of its points", "it reached the tolerance"], reached.astype(np.int64)),
        minimum=np.ma.masked_array(nearest, ~at_minimum),
        steps=np.full(len(reached), steps),
    )


def _diverged(first: Reading, end: Reading, died: Array, diverge: float, known: bool) -> tuple[Array, Array]:
    """Whether trials diverged, and which reason of `_LOST` they have."""
    with np.errstate(invalid="ignore", over="ignore"):
        bound = diverge * np.maximum(1, np.abs(first.loss))
        risen, fallen = end.loss - first.loss > bound, first.loss - end.loss > bound
    gone = (died > 0) | ~np.isfinite(end.loss)
    fallen &= not known
    return gone | risen | fallen, np.select([gone, risen, fallen], [0, 1, 2], 0)


_LOST = (
    "its coordinates are no finite numbers after the step in 'steps'",
    "its value rose far above that at the start",
    "its value falls without end",
)


def _nearest(end: Reading, minima: Array, values: Array, size: float, tolerance: float) -> tuple[Array, Array]:
    """The nearest minimum of each trial, and whether the trial is at it."""
    lanes = end.positions.shape[1]
    if not len(minima):
        return np.zeros(lanes, np.int64), np.zeros(lanes, bool)
    finite = np.isfinite(end.positions).all(axis=0)
    distance, nearest = np.full(lanes, np.inf), np.zeros(lanes, np.int64)
    distance[finite], nearest[finite] = cKDTree(minima).query(end.positions[:, finite].T)
    depth = max(1.0, float(np.ptp(values)))
    with np.errstate(invalid="ignore"):
        close = end.loss - values[nearest] <= max(tolerance, CLOSE * depth)
    return nearest, (distance <= NEAR * size) & close


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
