"""What a checkpoint measures: exact sums over all rows, and norms, at the reported iterates."""

import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numba
import numpy as np
import numpy.typing as npt

from fastgd.core.math import LARGEST_SUM, SMALLEST_SUM
from fastgd.core.static import Static
from fastgd.core.threads import CALL_SECONDS, call
from fastgd.core.vectors import aligned
from fastgd.engine.arrays import CHUNK, PLAIN, Rows, Scratch, SparseRows, make_rows, part_rows
from fastgd.engine.linear import tile_steps
from fastgd.engine.linear.evaluation_steps import BLOCK, evaluate_blocks, evaluate_single_blocks
from fastgd.engine.loss_kernels import losses_address, residuals_address
from fastgd.engine.rows.order import identity
from fastgd.engine.shapes import Kernel
from fastgd.engine.tiles import TileLayout, is_double, make_scratch
from fastgd.problems import Loss

if TYPE_CHECKING:
    from fastgd.engine.rows.cohort import Cohort

Array = npt.NDArray[Any]
GRADIENT_PARTS = 2  # of the rows, summed side by side for a gradient's norm
silently = np.errstate(over="ignore", invalid="ignore")  # a trial that diverges is data: its norms may be infinite


@dataclass(frozen=True)
class Measures:
    """Sums (measures, alive) over each set of rows, |w|^2 (alive,) with the intercept and without, and |w|."""

    sums: list[Array]
    squares: Array
    penalised: Array
    norms: Array


def norms(columns: Array) -> Array:
    """Return the norm of each column in float64, also where squares have no place among floats."""
    sums = np.square(columns, dtype=np.float64).sum(axis=0)
    found, plain = np.sqrt(sums), (sums > SMALLEST_SUM) & (sums < LARGEST_SUM)
    if not plain.all():
        largest = np.abs(columns).max(axis=0).astype(np.float64)
        scale = np.where(np.isfinite(largest) & (largest > 0), largest, 1.0)
        scaled = columns / scale
        found = np.where(plain, found, scale * np.sqrt(np.square(scaled, out=scaled).sum(axis=0)))
    return np.asarray(found)


class Evaluation:
    """Exact sums over all rows; for a gradient's norm, single lanes are put into the smallest tile."""

    def __init__(self, cohort: "Cohort") -> None:
        self.cohort: Cohort = weakref.proxy(cohort)  # which owns this: no cycle keeps its memory
        spec, itemsize = cohort.spec, cohort.dtype.itemsize
        kernel = Kernel(32 // itemsize) if spec.kernel.lanes == 1 else spec.kernel
        self.tiles = TileLayout(kernel, itemsize, cohort.d, spec.intercept)
        self.scratch = self._make_scratch(cohort.layout)
        self.tile_scratch = self._make_scratch(self.tiles, self.tiles.parameters)

    def _make_scratch(self, layout: TileLayout, gradient: int = 0) -> list[Scratch]:
        """Return each thread's working memory, with room for a chunk's gradient where that is not summed in float64."""
        lanes, dtype = layout.shape.lanes, self.cohort.dtype
        room = CHUNK + 2 * layout.shape.width
        gradient = 0 if is_double(dtype) or self.cohort.spec.kernel.sparse else gradient
        return [
            make_scratch(room, lanes, gradient, 0, 0, dtype, layout.single) for _ in range(self.cohort.threads.count)
        ]

    def _weights(self) -> Array:
        """Return the reported iterates (tiles, >= parameters * L) in tiles."""
        cohort, iterate = self.cohort, self.cohort.iterate()
        if not cohort.layout.single:
            return iterate
        columns = cohort.layout.columns(cohort.layout.blocks(iterate, 0))
        out = aligned(
            (self.tiles.kernel.tiles(columns.shape[1]), self.tiles.parameters * self.tiles.lanes), cohort.dtype
        )
        self.tiles.put(self.tiles.blocks(out, 0), columns)
        return out

    def compile(self, gradient_norm: bool, measures: Sequence[Loss]) -> None:
        """Compile what the measures call, or load it from the cache."""
        cohort, state = self.cohort, self.cohort.lanes.state
        totals = np.zeros((1, 1, 1, cohort.layout.lanes))
        kernel, arguments = self._call(0, 1, cohort.rows, state, np.zeros(1, np.int64), totals, 0)
        kernel.compile(tuple(numba.typeof(argument) for argument in arguments))
        for measure in (cohort.spec.loss, *measures):
            self._address(measure)
        if gradient_norm:
            arguments = self._gradient_arguments(state, np.zeros((1, 1, 1)), (False, PLAIN), (0,) * 7)
            tile_steps.accumulate.compile(tuple(numba.typeof(argument) for argument in arguments))

    @silently
    def measure(self, rows: Sequence[tuple[Any, Array, Sequence[Loss]]], poll: Callable[[], None]) -> Measures:
        """Sum measures over sets of rows: see `Cohort.measure`."""
        cohort, W = self.cohort, self.cohort.iterate()
        d, places = cohort.d, cohort.places
        sums = [self._sums(W, X, y, measures, poll)[:, places] for X, y, measures in rows]
        # Tile by tile: a column's sum then has the same order wherever the lane stands.
        tiles = cohort.layout.tiles(W)
        penalised = np.concatenate([np.square(tile[:d], dtype=np.float64).sum(axis=0) for tile in tiles])[places]
        found = np.concatenate([norms(tile) for tile in tiles])[places]
        if not cohort.spec.intercept:
            return Measures(sums, penalised, penalised, found)
        bias = np.concatenate([np.square(tile[d], dtype=np.float64) for tile in tiles])[places]
        return Measures(sums, penalised + bias, penalised, found)

    def _sums(self, W: Array, X: Any, y: Array, measures: Sequence[Loss], poll: Callable[[], None]) -> Array:
        addresses = np.array([self._address(measure) for measure in measures], np.int64)
        n = X.shape[0]
        lanes = self.cohort.layout.lanes
        rows = make_rows(X, y, identity(n))
        total = np.zeros((len(W), len(addresses), lanes))
        blocks, first, rate = -(-n // BLOCK), 0, 2e9
        work = BLOCK * max(1.0, rows.X.size / n) * len(W) * lanes
        while first < blocks:
            count = min(blocks - first, max(1, int(CALL_SECONDS * rate / work)))
            part = np.zeros((count, *total.shape))
            workers = min(self.cohort.threads.count, count * len(W))
            calls = [self._call(worker, workers, rows, W, addresses, part, first) for worker in range(workers)]
            start = time.perf_counter()
            self.cohort.threads.run([call(kernel, arguments) for kernel, arguments in calls])
            rate = work * count / max(time.perf_counter() - start, 1e-6)
            for block in part:
                total += block
            first += count
            poll()
        return total.swapaxes(0, 1).reshape(len(addresses), -1)

    def _address(self, measure: Loss) -> int:
        layout = self.cohort.layout
        return losses_address(measure, layout.shape, self.cohort.dtype, layout.single)

    def _call(
        self, worker: int, workers: int, rows: Rows | SparseRows, W: Array, measures: Array, totals: Array, first: int
    ) -> tuple[Any, tuple[Any, ...]]:
        cohort, span = self.cohort, (worker, workers, first)
        kernel = evaluate_single_blocks if cohort.layout.single else evaluate_blocks
        shape, scratch = Static(cohort.layout.shape), self.scratch[worker]
        return kernel, (shape, rows, W, measures, totals, scratch, span, cohort.spec.intercept)

    @silently
    def gradient_norm(self, poll: Callable[[], None]) -> Array:
        """Return the norm of the objective's gradient: see `Cohort.gradient_norm`."""
        cohort, W = self.cohort, self._weights()
        gradients = self.sum_gradients(W, (False, PLAIN), poll)
        l2 = np.zeros(len(W) * self.tiles.lanes)
        l2[cohort.places] = cohort.spec.l2[cohort.alive]
        # Tile by tile, as for |w|^2.
        norms = [
            self._tile_gradient_norm(gradients[:, tile], weights, l2[tile * self.tiles.lanes :][: self.tiles.lanes])
            for tile, weights in enumerate(self.tiles.blocks(W, 0))
        ]
        return np.concatenate(norms)[cohort.places]

    def sum_gradients(self, W: Array, how: tuple[bool, int], poll: Callable[[], None]) -> Array:
        """Return the mean gradient of all rows without the penalty at W, in parts (parts, tiles, parameters * L)."""
        cohort = self.cohort
        gradients = aligned((GRADIENT_PARTS, len(W), self.tiles.parameters * self.tiles.lanes), np.float64)
        size, workers = part_rows(cohort.n, GRADIENT_PARTS), min(cohort.threads.count, GRADIENT_PARTS * len(W))
        work = 4.0 * GRADIENT_PARTS * cohort.entries * len(W) * self.tiles.lanes
        count = max(1, int(CALL_SECONDS * cohort.rate / work) // CHUNK) * CHUNK
        for low in range(0, size, count):
            span = (workers, size, low, min(size, low + count), cohort.n, cohort.t + 1)
            calls = [self._gradient_arguments(W, gradients, how, (worker, *span)) for worker in range(workers)]
            cohort.threads.run([call(tile_steps.accumulate, arguments) for arguments in calls])
            poll()
        return gradients

    def _tile_gradient_norm(self, parts: Array, weights: Array, l2: Array) -> Array:
        gradient = parts.sum(axis=0).reshape(-1, self.tiles.lanes)
        gradient[: self.tiles.d] += l2 * weights[: self.tiles.d]
        return norms(gradient)

    def _gradient_arguments(
        self, W: Array, gradients: Array, how: tuple[bool, int], span: tuple[int, ...]
    ) -> tuple[Any, ...]:
        cohort = self.cohort
        address = residuals_address(cohort.spec.loss, self.tiles.shape, cohort.dtype, single=False)
        rows, lanes = cohort.rows._replace(order=identity(cohort.n), residuals=address), cohort.lanes
        if how[1] == PLAIN:  # a measure leaves no note, and its tiles may be other ones
            room = np.zeros((len(W), self.tiles.lanes), np.int64)
            lanes = lanes._replace(bad=room, table=np.zeros((len(W), 0), cohort.dtype))
        losses = np.zeros((*gradients.shape[:2], self.tiles.lanes))
        shape, scratch = Static(self.tiles.shape), self.tile_scratch[span[0]]
        return how, shape, rows, W, lanes, gradients, losses, scratch, span, cohort.spec.intercept
