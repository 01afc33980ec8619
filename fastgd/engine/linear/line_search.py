"""The loss of a linear model along each lane's direction, for line searches, from margins that are kept.

A linear model's margins along a direction are `Z + rate P`, where Z are those of the parameters and P those of the
direction. So a step passes over the features twice, for the gradient and for both sets of margins, however often the
objective is evaluated.

Gradient estimators live in the driver, as they belong to rows and not to rules: a linear model's gradient at an earlier
point is one residual a row. `recall` takes the table's residuals from the new ones before the product with X', `blend`
adds the table's mean gradient after it: one product, as without. Of the squared loss with `X'X`, the objective along a
direction is a parabola (`engine/linear/gram/gram_line.py`).
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastgd.common.properties import cached_property
from fastgd.core.address_calls import call_at
from fastgd.core.compile import jit
from fastgd.core.static import Static, static
from fastgd.core.threads import CALL_SECONDS, Threads
from fastgd.core.vectors import aligned, load, store, wide
from fastgd.engine.arrays import CHUNK_ROWS, PARTIAL_SUM_ROWS, BlockSpan, RowRange, Rows, SparseRows, chunks
from fastgd.engine.calls import KernelCall, Pace
from fastgd.engine.lanes import LaneState
from fastgd.engine.linear.evaluation_steps import CACHED_ROWS
from fastgd.engine.linear.tile_steps import gather, margins
from fastgd.engine.loss_kernels import losses_address, residuals_address
from fastgd.engine.rows.line_search import Run
from fastgd.engine.rows.visit import Visit
from fastgd.engine.tiles import TileLayout, make_scratch
from fastgd.problems import Loss

Array = npt.NDArray[Any]


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

    rates : (tiles, L); data.y are the targets in the order of Z; the worker's blocks are those of a `BlockSpan`.
    """
    worker, workers, first = span
    n, tiles = data.order.shape[0], Z.shape[0]
    one = data.X.dtype.type(1.0)
    for item in range(worker, totals.shape[0] * tiles, workers):
        block, tile = item // tiles, item % tiles
        out = totals[block, tile]
        stop = min((first + block + 1) * PARTIAL_SUM_ROWS, n)
        for low in range((first + block) * PARTIAL_SUM_ROWS, stop, CACHED_ROWS):
            count = min(CACHED_ROWS, stop - low)
            move(shape, Z[tile], P[tile], rates[tile], low, count, scratch.Z)
            y = data.y[low : low + count].reshape(-1)
            if slopes:
                call_at(data.residuals, shape, scratch.Z, y, count, one, scratch.check)
                add_slopes(shape, scratch.Z, P[tile], low, count, out)
            else:
                call_at(data.losses, shape, scratch.Z, y, count, out)


class RowsAlong:
    """The losses of rows at margins that are kept.

    Parameters
    ----------
    visit : Visit
        The training rows, in an order that no epoch changes.
    layout : TileLayout
    loss : Loss
    threads : Threads
    """

    def __init__(self, visit: Visit, layout: TileLayout, loss: Loss, threads: Threads) -> None:
        self._visit, self._threads, self._training = visit, threads, visit.rows
        self._loss, self._layout, self._dtype, self._n = loss, layout, self._training.X.dtype, len(visit.numbers)
        self._in_order = visit.targets
        self._shape = Static(layout.shape)
        room = (CHUNK_ROWS, layout.lanes, 0, self._dtype)
        self._scratch = [make_scratch(*room, targets=CHUNK_ROWS * loss.columns) for _ in range(threads.count)]
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
        step = chunks(min(pace.fitting(4.0 * self._training.d * state.tiles * lanes), self._visit.room))
        for low in range(0, self._n, step):
            high = min(self._n, low + step)
            self._visit.hold(self._threads, (low, high))
            spans = self._workers(RowSpan, low, high)
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
        rows = self._visit.of_worker(span.worker, self._rows)
        return KernelCall(project, (self._shape, rows, W, P, Z, Q, self._scratch[span.worker], span))

    def _along_call(self, Z: Array, P: Array, rates: Array, slopes: bool, totals: Array, span: BlockSpan) -> KernelCall:
        rows = self._rows._replace(y=self._in_order)
        given = (self._shape, rows, Z, P, rates, slopes, totals)
        return KernelCall(along, (*given, self._scratch[span.worker], span))
