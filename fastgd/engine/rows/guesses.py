"""Trials of a baseline over data: each step evaluates the objective at one more point, and the best one is kept."""

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastgd.core.random import stream_keys
from fastgd.core.threads import Threads
from fastgd.engine.rows.cohort import Cohort
from fastgd.engine.rows.evaluation import Measures
from fastgd.engine.rows.objective import Objective
from fastgd.engine.rows.spec import CohortSpec
from fastgd.problems import Loss

Array = npt.NDArray[Any]


class Guesses(Cohort):
    """Lanes of a baseline: where a lane is, is the best point that it has seen, the study's start among them.

    Points are evaluated many at a time, ahead of the steps that they belong to, and once for all lanes that share a
    box: those differ by their penalties alone.

    Parameters
    ----------
    spec : CohortSpec
        Its rule is a baseline's, its kernel a `point_kernel`.
    X : ndarray (n, d), C-contiguous, or csr_array (n, d)
    y : ndarray (n,)
    threads : Threads
    budget : int
        The steps of a trial.
    """

    def __init__(self, spec: CohortSpec, X: Any, y: Array, threads: Threads, budget: int) -> None:
        super().__init__(spec, X, y, threads)
        self._training, self._budget = (X, y, [spec.loss]), budget
        self._baseline: Any = spec.rule.optimizer.cls
        self._keys = stream_keys(spec.seed, [0])
        self._boxes, self._box_of = np.unique(spec.hyper, axis=0, return_inverse=True)
        self._objective = Objective(spec.loss, X, y, spec.intercept, threads)
        self._best = np.full(len(spec.hyper), np.nan)  # of each lane; not known before the first step
        self._first = self._end = 0  # the points that were looked at ahead
        self._ahead: list[tuple[Array, Array]] = []  # of each box, their mean losses and |w|^2
        self._remembered: dict[Hashable, Any] = {}  # what was measured since a lane last moved

    def compile(self, gradient_norm: bool = False, measures: Sequence[Loss] = ()) -> None:
        """Compile, or load from the cache, what evaluates."""
        self._evaluation.compile(gradient_norm, measures)

    def advance(self, steps: int, poll: Callable[[], None] = lambda: None) -> None:
        """Look at a point a step; `poll` is called between kernel calls."""
        if self.t == 0:
            self._evaluate_start(poll)
        end = self.t + steps
        while self.t < end:
            if self.t == self._end:
                self._look_ahead(poll)
            stop = min(end, self._end)
            for box in range(len(self._boxes)):
                self._keep_best(box, slice(self.t - self._first, stop - self._first))
            self.t = stop

    def _evaluate_start(self, poll: Callable[[], None]) -> None:
        measured = self.measure([self._training], poll)
        self._best[self.alive] = self._objective_of(
            measured.sums[0][0] / self.n, measured.penalised, self.spec.l2[self.alive]
        )

    def _objective_of(self, losses: Array, squares: Array, l2: Array) -> Array:
        """Return the objective; where it is no number, infinity."""
        values = losses + np.where(l2 > 0, 0.5 * l2 * squares, 0)
        return np.where(np.isnan(values), np.inf, values)

    def _look_ahead(self, poll: Callable[[], None]) -> None:
        """Evaluate the points of the next steps; those that a baseline does not have count as infinite."""
        count = min(self._objective.room, self._budget - self.t)
        ahead = []
        for box in range(len(self._boxes)):
            found, losses, squares = self._points(box, self.t, count), np.full(count, np.inf), np.zeros(count)
            if len(found):
                losses[: len(found)], squares[: len(found)] = self._objective.at(found, poll)
            ahead.append((losses, squares))
        self._first, self._end, self._ahead = self.t, self.t + count, ahead

    def _points(self, box: int, first: int, count: int) -> Array:
        """Return points (at most count, d + intercept) of a box."""
        low, high = self._boxes[box]
        ends = np.tile([low, high], (self.d + self.spec.intercept, 1))
        return np.asarray(self._baseline.points(ends, self._budget, self._keys, first, count)[0])

    def _keep_best(self, box: int, steps: slice) -> None:
        """Move the lanes of a box to the best of the points that were looked at in some steps, if it is better."""
        losses, squares = (values[steps] for values in self._ahead[box])
        mine = np.flatnonzero(self._box_of[self.alive] == box)
        if not len(mine):
            return
        lanes = self.alive[mine]
        values = self._objective_of(losses, squares, self.spec.l2[lanes][:, None])
        at = np.argmin(values, axis=1)
        found = values[np.arange(len(lanes)), at]
        better = found < self._best[lanes]
        self._best[lanes[better]] = found[better]
        for lane, number in zip(mine[better], at[better], strict=True):
            self._move(int(self.places[lane]), self._points(box, self._first + steps.start + int(number), 1)[0])

    def _move(self, place: int, point: Array) -> None:
        tile, column = divmod(place, self.layout.lanes)
        self.layout.blocks(self.lanes.state, 0)[tile, :, column] = point
        self._remembered.clear()

    # --- measures: most steps move no lane ----------------------------------------------------------------------------

    def measure(
        self, rows: Sequence[tuple[Any, Array, Sequence[Loss]]], poll: Callable[[], None] = lambda: None
    ) -> Measures:
        """Sum measures over rows at the best points: see `Cohort.measure`."""
        key = tuple((id(X), *(measure.name for measure in measures)) for X, _, measures in rows)
        measured: Measures = self._once(key, lambda: super(Guesses, self).measure(rows, poll))
        return measured

    def gradient_norm(self, poll: Callable[[], None] = lambda: None) -> Array:
        """Return the norm of the objective's gradient at the best points."""
        return np.asarray(self._once("gradient norm", lambda: super(Guesses, self).gradient_norm(poll)))

    def _once(self, key: Hashable, measure: Callable[[], Any]) -> Any:
        if key not in self._remembered:
            self._remembered[key] = measure()
        return self._remembered[key]

    def retire(self, keep: Array) -> None:
        """Go on with some lanes only: see `Cohort.retire`."""
        super().retire(keep)
        self._remembered.clear()
