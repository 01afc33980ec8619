"""Trials of a baseline over data: each step evaluates the objective at one more point, and the best one is kept.

Baselines are no rules. Random search and grids (`docs/baselines.md`) are recorded and planned as optimizers, with a
step that moves nothing; what runs them is a cohort, or a swarm, whose `advance` evaluates points and puts the best one
where a lane's parameters stand (`engine/rows/guesses.py`, `engine/swarm/guesses.py`). So checkpoints, metrics,
stopping, storing and resuming are those of any cohort. Points are the lanes of a second cohort that takes no steps
(`engine/rows/objective.py`), which error surfaces over data use too.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastgd.core.random import stream_keys
from fastgd.core.threads import Threads
from fastgd.core.vectors import aligned
from fastgd.engine.lanes import Captured
from fastgd.engine.rows.evaluation import Evaluation, MeasuredRows, Measures
from fastgd.engine.rows.objective import Objective
from fastgd.engine.rows.order import identity
from fastgd.engine.rows.spec import CohortSpec
from fastgd.engine.tiles import TileLayout
from fastgd.problems import Loss

Array = npt.NDArray[Any]


class Guesses:
    """Lanes of a baseline: where a lane is, is the best point that it has seen, the study's start among them.

    Points are evaluated many at a time, ahead of the steps that they belong to, and once for all lanes that share a
    box: those differ by their penalties alone. See `engine.rows.cohort.AnyCohort` for what else it does.

    Parameters
    ----------
    spec : CohortSpec
        Its rule is a baseline's, its kernel a `point_kernel`.
    X : ndarray (N, d), C-contiguous, or csr_array (N, d)
    y : ndarray (N,), or (N, targets)
    threads : Threads
    budget : int
        The steps of a trial.
    rows : ndarray (n,) int32, optional
        Which of the rows train; by default all.
    """

    line = None

    def __init__(
        self, spec: CohortSpec, X: Any, y: Array, threads: Threads, budget: int, rows: Array | None = None
    ) -> None:
        self.spec, self.t = spec, 0
        self.d, order = X.shape[1], identity(X.shape[0]) if rows is None else rows
        self.n = len(order)
        self.alive = self.places = np.arange(len(spec.hyper))
        self._layout = TileLayout(spec.kernel, X.dtype.itemsize, spec.model.groups(self.d))
        kernels = spec.model.kernels(spec.loss, X, y, order, self._layout)
        self._evaluation = Evaluation(kernels, order, threads)
        start = spec.model.start(spec.init, spec.seed, self.d)
        self._best_points = self._allocate(np.repeat(start[:, None], len(spec.hyper), axis=1), X.dtype)
        self._training, self._budget = MeasuredRows(X, y, [spec.loss], order), budget
        self._baseline: Any = spec.rule.optimizer.cls
        self._keys = stream_keys(spec.seed, [0])
        self._boxes, self._box_of = np.unique(spec.hyper, axis=0, return_inverse=True)
        self._objective = Objective(spec.loss, X, y, spec.model, threads, rows)
        self._best = np.full(len(spec.hyper), np.nan)  # of each lane; not known before the first step
        self._first = self._end = 0  # the points that were looked at ahead
        self._ahead: list[tuple[Array, Array]] = []  # of each box, their mean losses and |w|^2
        self._remembered: dict[Hashable, Any] = {}  # what was measured since a lane last moved

    def _allocate(self, columns: Array, dtype: Any) -> Array:
        """Return tiles with parameters (parameters, lanes)."""
        layout, tiles = self._layout, self._layout.kernel.tiles(columns.shape[1])
        out = aligned((tiles, layout.parameters * layout.shape.lanes), dtype)
        layout.put(layout.blocks(out, 0), columns)
        return out

    def compile(self, gradient_norm: bool = False, measures: Sequence[Loss] = (), *, slopes: bool = False) -> None:
        """Compile, or load from the cache, what evaluates."""
        self._evaluation.compile(self._best_points, gradient_norm, (self.spec.loss, *measures), slopes=slopes)

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
        """Return points (at most count, parameters) of a box."""
        low, high = self._boxes[box]
        ends = np.tile([low, high], (self._layout.count, 1))
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
        tile, column = divmod(place, self._layout.lanes)
        self._layout.blocks(self._best_points, 0)[tile, :, column] = point
        self._remembered.clear()

    def parameters(self, which: Array | None = None) -> Array:
        """Return the best points (alive, parameters) in float64; `which`: of these positions only."""
        return self._layout.columns_at(self._best_points, self.places if which is None else self.places[which])

    def value_of(self, name: str) -> Array:
        """Return a hyper-parameter (alive,)."""
        return self.spec.hyper[self.alive, list(self.spec.rule.fields).index(name)]

    def first_bad_step(self) -> Array:
        """Return zeros (alive,): no residuals are taken."""
        return np.zeros(len(self.alive), np.int64)

    def retire(self, keep: Array) -> None:
        """Go on with some lanes only: `keep` (alive,) bool."""
        self.alive, self.places = self.alive[keep], self.places[keep]
        if self.spec.kernel.tiles(len(self.places)) < len(self._best_points) and len(self.places):
            self._best_points = self._layout.pack(self._best_points, self.places)
            self.places = np.arange(len(self.places))
        self._remembered.clear()

    def capture(self) -> Captured:
        """Return with what a fresh one goes on from here: see `AnyCohort.capture`."""
        points = self._layout.columns(self._layout.blocks(self._best_points, 0))[:, self.places]
        return {"t": self.t, "alive": self.alive.copy(), "points": points, "best": self._best[self.alive]}

    def restore(self, captured: Mapping[str, Any]) -> None:
        """Go on from what `capture` returned; what was looked at ahead is looked at again."""
        self.t, self.alive = int(captured["t"]), np.asarray(captured["alive"])
        self.places = np.arange(len(self.alive))
        self._best_points = self._allocate(captured["points"], self._best_points.dtype)
        self._best[self.alive] = captured["best"]
        self._first = self._end = self.t
        self._remembered.clear()

    # --- measures: most steps move no lane ----------------------------------------------------------------------------

    def measure(self, rows: Sequence[tuple[Any, ...]], poll: Callable[[], None] = lambda: None) -> Measures:
        """Sum measures over rows at the best points: see `AnyCohort.measure`."""
        sets = [MeasuredRows(*each) for each in rows]
        key = tuple((id(of.X), id(of.order), *(measure.key for measure in of.measures)) for of in sets)
        measured: Measures = self._once(
            key, lambda: self._evaluation.measure(self._best_points, self.places, sets, poll)
        )
        return measured

    def gradient_norms(self, poll: Callable[[], None] = lambda: None) -> Array:
        """Return the norms of the objective's gradient at the best points (1 + layers, alive)."""
        l2 = self.spec.l2[self.alive]
        found = self._once(
            "gradient norm", lambda: self._evaluation.gradient_norms(self._best_points, self.places, l2, poll)
        )
        return np.asarray(found)

    def dead_units(self, rows: tuple[Any, ...], poll: Callable[[], None] = lambda: None) -> Array:
        """Return the share of each hidden layer's units (layers, alive) with no slope at any of some rows."""
        of = MeasuredRows(*rows)
        found = self._once(
            ("dead units", id(of.X), id(of.order)),
            lambda: self._evaluation.dead_units(self._best_points, self.places, of, poll),
        )
        return np.asarray(found)

    def _once(self, key: Hashable, measure: Callable[[], Any]) -> Any:
        if key not in self._remembered:
            self._remembered[key] = measure()
        return self._remembered[key]
