"""Line searches of full-batch cohorts: the objective of each lane along the direction of its next step.

They drive `lr` as a schedule does: the gradient of a full batch is summed, a step at rate 1 on a copy of the state
gives the direction, and the search looks at the objective along it. Then the rule takes the step at the rate that was
chosen. What the mean loss along a direction is, a model knows; the penalty is a parabola.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from fastgd.core.threads import Threads
from fastgd.engine.arrays import FIRST, HALF, ROWS
from fastgd.engine.calls import KernelCall, Pace
from fastgd.engine.lanes import Captured, LaneState
from fastgd.engine.rows.spec import CohortSpec
from fastgd.engine.tiles import TileLayout

Array = npt.NDArray[Any]
Run = Callable[[Sequence[KernelCall]], None]  # calls kernels side by side


class AlongDirection(Protocol):
    """The mean loss over the training rows along each lane's direction, without a penalty."""

    def compile(self, state: LaneState) -> None:
        """Compile what is called, or load it from the cache."""

    def look(self, state: LaneState, direction: Array, value: Array, slope: Array, pace: Pace, run: Run) -> None:
        """Take in a direction (tiles, parameters * L), and the loss (alive,) and its derivative where it begins."""

    def evaluate(self, rates: Array, at: Array, slopes: bool, run: Run) -> Array:
        """Return the losses at some rates, or their derivatives by the rate, of the lanes `at` of those alive."""


class DirectionLine:
    """The objective of each lane that is alive along the direction of its next step; see `optimizers.line_search`.

    Parameters
    ----------
    along : AlongDirection
        The mean loss, to which a penalty is added.
    layout : TileLayout
    spec : CohortSpec
        With a line search.
    n : int
        Training rows.
    threads : Threads

    Attributes
    ----------
    rates : ndarray (G,)
        The rate of each lane's last step.
    evaluations : ndarray (G,) of int
    """

    def __init__(self, along: AlongDirection, layout: TileLayout, spec: CohortSpec, n: int, threads: Threads) -> None:
        self.spec, self.threads, self._layout, self._n, self._along = spec, threads, layout, n, along
        self._largest = spec.hyper[:, list(spec.rule.fields).index("lr")]
        self.rates, self.evaluations = self._largest.copy(), np.zeros(len(spec.hyper), np.int64)
        self._poll: Callable[[], None] = lambda: None
        self._alive = self._places = self._evaluated = np.zeros(0, np.intp)
        self.value = self.slope = self._curvature = np.zeros(0)

    def compile(self, state: LaneState) -> None:
        """Compile what a search calls, or load it from the cache."""
        self._along.compile(state)

    def choose(
        self, state: LaneState, direction: Array, sums: tuple[Array, Array], pace: Pace, poll: Callable[[], None]
    ) -> Array:
        """Return the rates (alive,) of the next step.

        Parameters
        ----------
        state : LaneState
        direction : ndarray (tiles, parameters * L) float64
            What a step at rate 1 would add to the parameters.
        sums : (ndarray (tiles, parameters, L), ndarray (tiles * L,))
            The mean gradient without penalty, and the sums of losses, at the parameters.
        pace : Pace
            Of training.
        poll : callable
            Called between kernel calls.
        """
        self._poll, self._alive, self._places = poll, state.alive, state.places
        with np.errstate(over="ignore", invalid="ignore"):  # a trial that diverges is data
            value, slope = self._measure_start(state, direction, *sums)
            self._along.look(state, direction, value, slope, pace, self._run)
            largest, before = self._largest[self._alive], self.rates[self._alive]
            self._evaluated = np.zeros(len(self._alive), np.int64)
            rates = self.spec.line_search.search(self, largest, before)
        # Not before: a search that is interrupted is made again.
        self.rates[self._alive] = rates
        self.evaluations[self._alive] += self._evaluated
        return rates

    def _measure_start(self, state: LaneState, direction: Array, G: Array, losses: Array) -> tuple[Array, Array]:
        """Take in the objective where the direction begins; return the mean loss alone, and its derivative."""
        l2, layout = self.spec.l2[self._alive], self._layout
        W, P = (layout.blocks(values, 0).astype(np.float64) for values in (state.arrays.state, direction))
        penalised = [slice(row[FIRST], row[FIRST] + row[ROWS]) for row in layout.table if row[HALF] == 0]

        def products(a: Array, b: Array, parts: list[slice]) -> Array:
            of_tiles = [
                reduce(np.add, [(x[part] * y[part]).sum(axis=0) for part in parts]) for x, y in zip(a, b, strict=True)
            ]
            return np.concatenate(of_tiles)[self._places]

        squares, mixed, curvature = (products(a, b, penalised) for a, b in ((W, W), (W, P), (P, P)))
        self._penalty = 0.5 * l2 * squares
        self._penalty_slope, self._curvature = l2 * mixed, l2 * curvature
        value, slope = losses[self._places] / self._n, products(G, P, [slice(None)])
        self.value, self.slope = value + self._penalty, slope + self._penalty_slope
        return value, slope

    def values(self, rates: Array, which: Array | None = None) -> Array:
        """Return the objective at rates of the lanes `which` of those alive."""
        at, means = self._evaluate(rates, which, slopes=False)
        penalty = self._penalty[at] + rates * self._penalty_slope[at] + 0.5 * rates * rates * self._curvature[at]
        return means + penalty

    def slopes(self, rates: Array, which: Array | None = None) -> Array:
        """Return its derivative by the rate."""
        at, means = self._evaluate(rates, which, slopes=True)
        return means + self._penalty_slope[at] + rates * self._curvature[at]

    def _evaluate(self, rates: Array, which: Array | None, slopes: bool) -> tuple[Array, Array]:
        """Return the lanes asked for, and the means over the rows of their losses or derivatives."""
        at = np.arange(len(self._alive)) if which is None else np.asarray(which)
        self._evaluated[at] += 1
        return at, self._along.evaluate(rates, at, slopes, self._run)

    def _run(self, calls: Sequence[KernelCall]) -> None:
        self.threads.run(calls)
        self._poll()

    def capture(self, alive: Array) -> Captured:
        """Return what the next search depends on, of the lanes that are alive."""
        return {"rates": self.rates[alive], "evaluations": self.evaluations[alive]}

    def restore(self, alive: Array, captured: Mapping[str, Any]) -> None:
        """Take over what `capture` returned."""
        self.rates[alive], self.evaluations[alive] = captured["rates"], captured["evaluations"]
