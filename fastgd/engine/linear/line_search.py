"""Line searches of full-batch cohorts: the objective along each lane's direction, from margins that are kept.

A linear model's margins along a direction are `Z + rate P`, where Z are those of the parameters and P those of the
direction. So a step passes over the features twice, for the gradient and for both sets of margins, however often the
objective is evaluated.

Gradient estimators live in the driver, as they belong to rows and not to rules: a linear model's gradient at an earlier
point is one residual a row. `recall` takes the table's residuals from the new ones before the product with X', `blend`
adds the table's mean gradient after it: one product, as without. Line searches (`engine/linear/line_search.py`) drive
`lr` as a schedule does: the gradient of a full batch is summed, a step at rate 1 on a copy of the state gives the
direction, the margins of both are kept, and the search evaluates losses on `Z + rate P`. Then the rule takes the step
at the rate that was chosen. Of the squared loss with `X'X`, the objective along a direction is a parabola
(`engine/linear/gram_line.py`).
"""

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from fastgd.common.properties import cached_property
from fastgd.core.address_calls import call_at
from fastgd.core.compile import jit
from fastgd.core.static import Static, static
from fastgd.core.threads import CALL_SECONDS, Threads
from fastgd.core.vectors import aligned, load, store, wide
from fastgd.engine.arrays import CHUNK_ROWS, FIRST, HALF, PARTIAL_SUM_ROWS, ROWS, BlockSpan, RowRange, Rows, SparseRows
from fastgd.engine.calls import KernelCall, Pace
from fastgd.engine.lanes import Captured, LaneState
from fastgd.engine.linear.evaluation_steps import CACHED_ROWS
from fastgd.engine.linear.tile_steps import gather, margins
from fastgd.engine.loss_kernels import losses_address, residuals_address
from fastgd.engine.rows.order import identity
from fastgd.engine.rows.spec import CohortSpec
from fastgd.engine.tiles import TileLayout, make_scratch
from fastgd.problems import Loss

Array = npt.NDArray[Any]
Run = Callable[[Sequence[KernelCall]], None]  # calls kernels side by side


class RowSpan(NamedTuple):
    """The rows low to high, which the workers share chunk by chunk; low is a chunk's start."""

    worker: Any
    workers: Any
    low: Any
    high: Any


@jit(inner=True)
def copy_margins(shape, data, low, count, W, out, scratch):
    """Write the margins of the rows order[low : low + count], which were gathered, to out (n * L)."""
    L = static(shape, "lanes")
    margins(shape, data, count, W, scratch, RowRange(low + count, low + count))
    for at in range(0, count * L, static(shape, "width")):
        store(out, low * L + at, load(shape, scratch.Z, at))


@jit
def project(shape, data, W, P, out_W, out_P, scratch, span):
    """Write the margins of W and P (tiles, >= parameters * L) for the rows of a `RowSpan` to (tiles, n * L)."""
    tiles = W.shape[0]
    chunks = (span.high - span.low + CHUNK_ROWS - 1) // CHUNK_ROWS
    for item in range(span.worker, chunks * tiles, span.workers):
        start, tile = span.low + item // tiles * CHUNK_ROWS, item % tiles
        count = min(CHUNK_ROWS, span.high - start)
        gather(data, start, count, scratch)
        copy_margins(shape, data, start, count, W[tile], out_W[tile], scratch)
        copy_margins(shape, data, start, count, P[tile], out_P[tile], scratch)


@jit(inner=True)
def move(shape, Z, P, rates, low, count, out):
    """Put Z + rate P of some rows into out (rows, L)."""
    L = static(shape, "lanes")
    for v in range(0, L, static(shape, "width")):
        rate = load(shape, rates, v)
        for i in range(count):
            at = (low + i) * L + v
            store(out, i * L + v, load(shape, Z, at) + rate * load(shape, P, at))


@jit(inner=True)
def add_slopes(shape, R, P, low, count, out):
    """Add the products of residuals R (rows, L) and of the direction's margins to out (L) float64."""
    L = static(shape, "lanes")
    for v in range(0, L, static(shape, "width")):
        total = load(shape, out, v)
        for i in range(count):
            total = total + wide(load(shape, R, i * L + v)) * wide(load(shape, P, (low + i) * L + v))
        store(out, v, total)


@jit
def along(shape, data, Z, P, rates, slopes, totals, scratch, span):
    """Write the sums of losses at Z + rate P, or of their derivatives by the rate, to totals (blocks, tiles, L).

    rates : (tiles, L); the worker's blocks are those of a `BlockSpan`.
    """
    worker, workers, first = span
    n, tiles = data.y.shape[0], Z.shape[0]
    one = data.X.dtype.type(1.0)
    for item in range(worker, totals.shape[0] * tiles, workers):
        block, tile = item // tiles, item % tiles
        out = totals[block, tile]
        stop = min((first + block + 1) * PARTIAL_SUM_ROWS, n)
        for low in range((first + block) * PARTIAL_SUM_ROWS, stop, CACHED_ROWS):
            count = min(CACHED_ROWS, stop - low)
            move(shape, Z[tile], P[tile], rates[tile], low, count, scratch.Z)
            y = data.y[low : low + count]
            if slopes:
                call_at(data.residuals, shape, scratch.Z, y, count, one, scratch.check)
                add_slopes(shape, scratch.Z, P[tile], low, count, out)
            else:
                call_at(data.losses, shape, scratch.Z, y, count, out)


class AlongDirection(Protocol):
    """The mean loss over the training rows along each lane's direction, without a penalty."""

    def compile(self, state: LaneState) -> None:
        """Compile what is called, or load it from the cache."""

    def look(self, state: LaneState, direction: Array, value: Array, slope: Array, pace: Pace, run: Run) -> None:
        """Take in a direction (tiles, parameters * L), and the loss (alive,) and its derivative where it begins."""

    def evaluate(self, rates: Array, at: Array, slopes: bool, run: Run) -> Array:
        """Return the losses at some rates, or their derivatives by the rate, of the lanes `at` of those alive."""


class RowsAlong:
    """The losses of rows at margins that are kept.

    Parameters
    ----------
    rows : Rows or SparseRows
        The training rows.
    layout : TileLayout
    loss : Loss
    workers : int
    """

    def __init__(self, rows: Rows | SparseRows, layout: TileLayout, loss: Loss, workers: int) -> None:
        self._loss, self._layout, self._dtype, self._n = loss, layout, rows.X.dtype, len(rows.y)
        self._training = rows._replace(order=identity(self._n))
        self._shape = Static(layout.shape)
        self._scratch = [make_scratch(CHUNK_ROWS, layout.lanes, 0, self._dtype) for _ in range(workers)]
        self._Z = self._P = aligned((0, 0), self._dtype)
        self._places = np.zeros(0, np.intp)

    @cached_property
    def _rows(self) -> Rows | SparseRows:
        """The rows, with the kernels of the loss."""
        loss = (self._loss, self._layout.shape, self._dtype, False)
        return self._training._replace(residuals=residuals_address(*loss), losses=losses_address(*loss))

    def compile(self, state: LaneState) -> None:
        """Compile what a search calls, or load it from the cache."""
        W = state.arrays.state
        self._project_call(W, W, W, W, RowSpan(0, 1, 0, 0)).compile()
        self._along_call(W, W, np.zeros((0, 0), W.dtype), True, np.zeros((0, 0, 0)), BlockSpan(0, 1, 0)).compile()

    def look(self, state: LaneState, direction: Array, value: Array, slope: Array, pace: Pace, run: Run) -> None:  # noqa: ARG002
        """Keep the margins of the parameters and of the direction."""
        W, P, lanes = state.arrays.state, direction.astype(self._dtype, copy=False), self._layout.lanes
        self._places = state.places
        if len(self._Z) != state.tiles:  # at first, and when lanes have ended
            self._Z, self._P = (aligned((state.tiles, self._n * lanes), self._dtype) for _ in range(2))
        step = max(1, pace.fitting(4.0 * self._training.d * state.tiles * lanes) // CHUNK_ROWS) * CHUNK_ROWS
        for low in range(0, self._n, step):
            spans = self._workers(RowSpan, low, min(self._n, low + step))
            run([self._project_call(W, P, self._Z, self._P, span) for span in spans])

    def evaluate(self, rates: Array, at: Array, slopes: bool, run: Run) -> Array:
        """Return the means over the rows of their losses at some rates, or of their derivatives by the rate."""
        tiles, L = len(self._Z), self._layout.lanes
        spread = np.zeros(tiles * L, self._dtype)
        spread[self._places[at]] = rates
        by_tiles, total = spread.reshape(tiles, L), np.zeros((tiles, L))
        blocks, most = -(-self._n // PARTIAL_SUM_ROWS), max(1, int(CALL_SECONDS * 3e8 / (PARTIAL_SUM_ROWS * tiles * L)))
        for first in range(0, blocks, most):
            part = np.zeros((min(most, blocks - first), tiles, L))
            spans = self._workers(BlockSpan, first)
            run([self._along_call(self._Z, self._P, by_tiles, slopes, part, span) for span in spans])
            for block in part:
                total += block
        return total.reshape(-1)[self._places[at]] / self._n

    def _workers(self, span: Any, *place: int) -> list[Any]:
        return [span(worker, len(self._scratch), *place) for worker in range(len(self._scratch))]

    def _project_call(self, W: Array, P: Array, Z: Array, Q: Array, span: RowSpan) -> KernelCall:
        return KernelCall(project, (self._shape, self._rows, W, P, Z, Q, self._scratch[span.worker], span))

    def _along_call(self, Z: Array, P: Array, rates: Array, slopes: bool, totals: Array, span: BlockSpan) -> KernelCall:
        given = (self._shape, self._rows, Z, P, rates, slopes, totals)
        return KernelCall(along, (*given, self._scratch[span.worker], span))


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
