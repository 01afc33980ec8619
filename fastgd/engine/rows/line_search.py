"""Line searches of full-batch cohorts: the objective along each lane's direction, from margins that are kept.

A linear model's margins along a direction are `Z + rate P`, where Z are those of the parameters and P those of the
direction. So a step passes over the features twice, for the gradient and for both sets of margins, however often the
objective is evaluated.
"""

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numba
import numpy as np
import numpy.typing as npt

from fastgd.common.properties import cached_property
from fastgd.core.compile import jit
from fastgd.core.static import Static, call_at, static
from fastgd.core.threads import CALL_SECONDS, call
from fastgd.core.vectors import aligned, load, store, wide
from fastgd.engine.arrays import CHUNK, Rows, SparseRows
from fastgd.engine.linear.evaluation_steps import BLOCK
from fastgd.engine.linear.tile_steps import gather, margins
from fastgd.engine.loss_kernels import losses_address, residuals_address
from fastgd.engine.rows.order import identity
from fastgd.engine.tiles import make_scratch

if TYPE_CHECKING:
    from fastgd.engine.rows.cohort import Cohort

Array = npt.NDArray[Any]
ROWS = 64  # whose margins stay in the first-level cache


@jit
def copy_margins(shape, data, low, count, W, out, scratch, intercept):
    """Write the margins of the rows order[low : low + count], which were gathered, to out (n * L)."""
    L = static(shape, "lanes")
    margins(shape, data, count, W, intercept, scratch, (low + count, low + count))
    for at in range(0, count * L, static(shape, "width")):
        store(out, low * L + at, load(shape, scratch.Z, at))


@jit
def project(shape, data, W, P, out_W, out_P, scratch, span, intercept):
    """Write the margins of W and P (tiles, >= parameters * L) for rows low ... high to (tiles, n * L).

    span: (worker, workers, low, high), low at a chunk's start.
    """
    worker, workers, low, high = span
    tiles = W.shape[0]
    chunks = (high - low + CHUNK - 1) // CHUNK
    for item in range(worker, chunks * tiles, workers):
        start, tile = low + item // tiles * CHUNK, item % tiles
        count = min(CHUNK, high - start)
        gather(data, start, count, scratch)
        copy_margins(shape, data, start, count, W[tile], out_W[tile], scratch, intercept)
        copy_margins(shape, data, start, count, P[tile], out_P[tile], scratch, intercept)


@jit
def move(shape, Z, P, rates, low, count, out):
    """Put Z + rate P of some rows into out (rows, L)."""
    L = static(shape, "lanes")
    for v in range(0, L, static(shape, "width")):
        rate = load(shape, rates, v)
        for i in range(count):
            at = (low + i) * L + v
            store(out, i * L + v, load(shape, Z, at) + rate * load(shape, P, at))


@jit
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

    rates : (tiles, L); span: (worker, workers, first block).
    """
    worker, workers, first = span
    n, tiles = data.y.shape[0], Z.shape[0]
    one = data.X.dtype.type(1.0)
    for item in range(worker, totals.shape[0] * tiles, workers):
        block, tile = item // tiles, item % tiles
        out = totals[block, tile]
        stop = min((first + block + 1) * BLOCK, n)
        for low in range((first + block) * BLOCK, stop, ROWS):
            count = min(ROWS, stop - low)
            move(shape, Z[tile], P[tile], rates[tile], low, count, scratch.Z)
            y = data.y[low : low + count]
            if slopes:
                call_at(data.residuals, shape, (scratch.Z, y, count, one, scratch.check))
                add_slopes(shape, scratch.Z, P[tile], low, count, out)
            else:
                call_at(data.losses, shape, (scratch.Z, y, count, out))


class DirectionLine:
    """The objective of each lane that is alive along the direction of its next step; see `optimizers._line_search`.

    Parameters
    ----------
    cohort : Cohort
        With a line search, in tiles.
    """

    def __init__(self, cohort: "Cohort") -> None:
        self.cohort: Cohort = weakref.proxy(cohort)  # which owns this: no cycle keeps its memory
        self.evaluations = np.zeros(len(cohort.spec.hyper), np.int64)  # of each lane of the spec
        self.rates = cohort.spec.hyper[:, list(cohort.spec.rule.fields).index("lr")].copy()
        layout, dtype = cohort.layout, cohort.dtype
        self._shape = Static(layout.shape)
        self._scratch = [make_scratch(CHUNK, layout.lanes, 0, 0, 0, dtype, False) for _ in range(cohort.threads.count)]
        self._poll: Callable[[], None] = lambda: None
        self._Z = self._P = aligned((0, 0), dtype)
        self.value = self.slope = self._curvature = np.zeros(0)

    @cached_property
    def _data(self) -> Rows | SparseRows:
        cohort = self.cohort
        loss = (cohort.spec.loss, cohort.layout.shape, cohort.dtype, False)
        addresses = {"residuals": residuals_address(*loss), "losses": losses_address(*loss)}
        return cohort.rows._replace(order=identity(cohort.n), **addresses)

    def compile(self) -> None:
        """Compile what a search calls, or load it from the cache."""
        state, totals = self.cohort.lanes.state, np.zeros((0, 0, 0))
        rates = np.zeros((0, 0), state.dtype)
        calls = [(project, self._project_call(state, state, state, state, (0,) * 4))]
        calls.append((along, self._along_call(state, state, rates, True, totals, (0,) * 3)))
        for kernel, arguments in calls:
            kernel.compile(tuple(numba.typeof(argument) for argument in arguments))

    def choose(self, poll: Callable[[], None]) -> Array:
        """Return the rates (alive,) of the next step, whose gradient has been summed."""
        cohort, search = self.cohort, self.cohort.spec.line_search
        self._poll, lanes = poll, cohort.alive
        largest = cohort.spec.hyper[lanes, list(cohort.spec.rule.fields).index("lr")]
        with np.errstate(over="ignore", invalid="ignore"):  # a trial that diverges is data
            self._look(cohort.direction())
            self.rates[lanes] = search.search(self, largest, self.rates[lanes])
        return self.rates[lanes]

    def _look(self, direction: Array) -> None:
        """Take in a direction (tiles, parameters * L) float64: its margins, and what is added to the losses."""
        cohort, state = self.cohort, self.cohort.lanes.state
        tiles, L, P = len(state), cohort.layout.lanes, direction.astype(cohort.dtype, copy=False)
        if len(self._Z) != tiles:  # at first, and when lanes have ended
            self._Z, self._P = (aligned((tiles, cohort.n * L), cohort.dtype) for _ in range(2))
        step = max(1, int(CALL_SECONDS * cohort.rate / (4.0 * cohort.d * tiles * L)) // CHUNK) * CHUNK
        for low in range(0, cohort.n, step):
            self._run(project, self._project_call, state, P, self._Z, self._P, (low, min(cohort.n, low + step)))
        self._measure_start(direction)

    def _measure_start(self, direction: Array) -> None:
        cohort = self.cohort
        l2, d = cohort.spec.l2[cohort.alive], cohort.d
        W, P = (cohort.layout.blocks(values, 0).astype(np.float64) for values in (cohort.lanes.state, direction))
        G = cohort.summed_gradient()

        def products(a: Array, b: Array) -> Array:
            return np.concatenate([(x * y).sum(axis=0) for x, y in zip(a, b, strict=True)])[cohort.places]

        squares, mixed, self._curvature = (products(a[:, :d], b[:, :d]) for a, b in ((W, W), (W, P), (P, P)))
        self._penalty = 0.5 * l2 * squares
        self._penalty_slope, self._curvature = l2 * mixed, l2 * self._curvature
        self.value = cohort.summed_losses()[cohort.places] / cohort.n + self._penalty
        self.slope = products(G, P) + self._penalty_slope

    def values(self, rates: Array, which: Array | None = None) -> Array:
        """Return the objective at rates of the lanes `which` of those alive."""
        at, sums = self._evaluate(rates, which, slopes=False)
        penalty = self._penalty[at] + rates * self._penalty_slope[at] + 0.5 * rates * rates * self._curvature[at]
        return sums + penalty

    def slopes(self, rates: Array, which: Array | None = None) -> Array:
        """Return its derivative by the rate."""
        at, sums = self._evaluate(rates, which, slopes=True)
        return sums + self._penalty_slope[at] + rates * self._curvature[at]

    def _evaluate(self, rates: Array, which: Array | None, slopes: bool) -> tuple[Array, Array]:
        """Return the lanes asked for, and the means over the rows of their losses or derivatives."""
        cohort, tiles, L = self.cohort, len(self._Z), self.cohort.layout.lanes
        at = np.arange(len(cohort.alive)) if which is None else np.asarray(which)
        spread = np.zeros(tiles * L, cohort.dtype)
        spread[cohort.places[at]] = rates
        rows, total = spread.reshape(tiles, L), np.zeros((tiles, L))
        blocks, most = -(-cohort.n // BLOCK), max(1, int(CALL_SECONDS * 3e8 / (BLOCK * tiles * L)))
        for first in range(0, blocks, most):
            part = np.zeros((min(most, blocks - first), tiles, L))
            self._run(along, self._along_call, self._Z, self._P, rows, slopes, part, (first,))
            for block in part:
                total += block
        self.evaluations[cohort.alive[at]] += 1
        return at, total.reshape(-1)[cohort.places[at]] / cohort.n

    def _run(self, kernel: Any, arguments: Callable[..., tuple[Any, ...]], *values: Any) -> None:
        """Run a kernel on all threads; the last value is its span, without the worker and their number."""
        threads, (*fixed, span) = self.cohort.threads, values
        spans = [(worker, threads.count, *span) for worker in range(threads.count)]
        threads.run([call(kernel, arguments(*fixed, own)) for own in spans])
        self._poll()

    def _project_call(self, W: Array, P: Array, Z: Array, Q: Array, span: tuple[int, ...]) -> tuple[Any, ...]:
        return self._shape, self._data, W, P, Z, Q, self._scratch[span[0]], span, self.cohort.spec.intercept

    def _along_call(
        self, Z: Array, P: Array, rates: Array, slopes: bool, totals: Array, span: tuple[int, ...]
    ) -> tuple[Any, ...]:
        return self._shape, self._data, Z, P, rates, slopes, totals, self._scratch[span[0]], span
