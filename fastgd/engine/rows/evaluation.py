"""What a checkpoint measures: exact sums over all rows, and norms, at the reported iterates."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastgd.common.properties import cached_property
from fastgd.core.threads import Threads
from fastgd.core.vectors import LINE_BYTES, aligned
from fastgd.datasets.staged_rows import StagedRows
from fastgd.engine.arrays import (
    CHUNK_ROWS,
    PARTIAL_SUM_ROWS,
    PLAIN,
    BlockSpan,
    GradientSums,
    Lanes,
    PartSpan,
    chunks,
    part_rows,
    ranges_now_and_next,
)
from fastgd.engine.calls import InTurn, KernelCall, Pace
from fastgd.engine.rows.model import ModelKernels
from fastgd.engine.rows.norms import add_squares, norms, silently, squares
from fastgd.engine.rows.order import identity
from fastgd.engine.rows.visit import Visit
from fastgd.engine.shapes import Kernel
from fastgd.engine.tiles import TileLayout
from fastgd.problems import Loss
from fastgd.problems.activations import DEAD_SLOPE

Array = npt.NDArray[Any]
Block = tuple[int, int]  # the number of a set of rows, and of `PARTIAL_SUM_ROWS` of them
Run = Callable[[Sequence[InTurn], float], None]
GRADIENT_PARTS = 2  # parts of the rows that are summed side by side for a gradient's norm


class MeasuredRows(NamedTuple):
    """Rows X (N, d) with targets y (N,) or (N, targets), and what is summed over them.

    `order` (n,) int32: which of them, and in which order; None: all as they stand.
    """

    X: Any
    y: Array
    measures: Sequence[Loss]
    order: Array | None = None

    @property
    def visited(self) -> Array:
        """Which rows are visited (n,) int32."""
        return identity(len(self.y)) if self.order is None else self.order


@dataclass(frozen=True)
class Measures:
    """Sums (measures, alive) over each set of rows, |w|^2 (alive,) with the intercept and without, and |w|."""

    sums: list[Array]
    squares: Array
    penalised: Array
    norms: Array


def without_entries(X: Any) -> Any:
    """Return as many rows (N, 0), or sparse (N, d), without an entry: their margins are those of weights of zero."""
    if isinstance(X, np.ndarray) or (isinstance(X, StagedRows) and not X.sparse):
        return np.zeros((X.shape[0], 0), X.dtype)
    from scipy.sparse import csr_array

    arrays = np.zeros(0, X.dtype), np.zeros(0, np.int32), np.zeros(X.shape[0] + 1, np.int64)
    return csr_array(arrays, shape=X.shape)


class Evaluation:
    """Exact sums over all rows, at iterates of any number of tiles.

    Parameters
    ----------
    kernels : ModelKernels
        On the training rows, in the layout of the iterates. For a gradient, single lanes go into the smallest tile.
    in_order : ndarray (n,) int32
        The training rows as they stand.
    threads : Threads
    """

    def __init__(self, kernels: ModelKernels, in_order: Array, threads: Threads) -> None:
        layout, itemsize = kernels.layout, kernels.dtype.itemsize
        self._kernels, self._layout, self._threads = kernels.visiting(in_order), layout, threads
        self._tiles = layout
        if layout.single:
            smallest = Kernel(32 // itemsize, network=layout.kernel.network)
            self._tiles = TileLayout(smallest, itemsize, layout.groups)
        self._tile_kernels = kernels.visiting(in_order, self._tiles) if layout.single else self._kernels
        self._pace = Pace(threads)

    @cached_property
    def _tile_memory(self) -> list[Any]:
        return self._tile_kernels.reading_memory(self._threads.count, gradients=True)

    @cached_property
    def _memory(self) -> list[Any]:
        if not self._layout.single:
            return self._tile_memory
        return self._kernels.reading_memory(self._threads.count, gradients=False)

    def compile(self, W: Array, gradients: bool, measures: Sequence[Loss], *, slopes: bool = False) -> None:
        """Compile what the measures call, or load it from the cache; `gradients`, `slopes`: what takes these, too."""
        self._kernels.visit.compile()
        rows, addresses = self._kernels.rows, self._kernels.addresses(measures)
        totals = np.zeros((1, 1, 1, self._layout.lanes))
        self._kernels.losses(rows, W, addresses, totals, self._memory[0], BlockSpan(0, 1, 0)).compile()
        KernelCall(add_squares, (np.zeros((1, 1), self._kernels.dtype), np.zeros(1))).compile()
        if gradients:
            self._tile_kernels.link()
            sums, span = self._gradient_sums(W[:0], PLAIN), PartSpan(0, 1, 0, 0, 0, 0, 0)
            self._tile_kernels.gradient(sums, self._tile_memory[0], span).compile()
        if slopes:
            span, steepest = PartSpan(0, 1, 0, 0, 0, 0, 0), aligned((0, 0, 0), self._kernels.dtype)
            kernels = self._tile_kernels
            kernels.slopes(kernels.rows, W, steepest, self._tile_memory[0], span).compile()

    @silently
    def measure(
        self,
        W: Array,
        places: Array,
        rows: Sequence[MeasuredRows],
        poll: Callable[[], None],
    ) -> Measures:
        """Sum measures over sets of rows at the iterates W (tiles, ...) of the lanes at some places."""
        differing = self._differing(W)
        times = len(W) // len(differing)
        if len(differing) == 1 and not (self._layout.kernel.network or differing.any()):  # the start of most trials
            rows = [of._replace(X=without_entries(of.X)) for of in rows]
        sums = [np.tile(each, (1, times))[:, places] for each in self._sums(differing, rows, poll)]
        # Tile by tile: a column's sum then has the same order wherever the lane stands.
        tiles = self.tiles_of(W)
        found: list[list[Array]] = [[] for _ in tiles]
        share = -(-len(tiles) // self._threads.count)
        parts = [slice(first, first + share) for first in range(0, len(tiles), share)]
        self._threads.run([partial(self._put_sizes, tiles[part], found[part]) for part in parts])
        norm, penalised, *others = (np.concatenate(sizes)[places] for sizes in zip(*found, strict=True))
        return Measures(sums, reduce(np.add, others, penalised), penalised, norm)

    @silently
    def _put_sizes(self, tiles: Sequence[Array], found: Sequence[list[Array]]) -> None:
        """Append for each tile its columns' norms, the squares of what is penalised, and those of each other group."""
        for tile, sizes in zip(tiles, found, strict=True):
            penalised, others = (
                [squares(tile[part]) for part in self._layout.slices(which)] for which in (True, False)
            )
            sizes.extend([norms(tile, squares(tile)), reduce(np.add, penalised), *others])

    def _sums(self, W: Array, sets: Sequence[MeasuredRows], poll: Callable[[], None]) -> list[Array]:
        """Sum measures over sets of rows, which share the calls, at the lanes of some tiles: each (measures, lanes)."""
        kernels, lanes = self._kernels, self._layout.lanes
        given = [(kernels.visit_of(of.X, of.y, of.visited), kernels.addresses(of.measures)) for of in sets]
        totals = [np.zeros((len(W), len(addresses), lanes)) for _, addresses in given]
        blocks = [(i, block) for i, of in enumerate(sets) for block in range(-(-len(of.visited) // PARTIAL_SUM_ROWS))]
        work = PARTIAL_SUM_ROWS * max(kernels.row_work(visit) for visit, _ in given) * len(W) * lanes
        while blocks:
            now, run = self._passing([visit for visit, _ in given], blocks[: self._pace.fitting(work)])
            blocks = blocks[len(now) :]
            workers = min(self._threads.count, len(now) * len(W))
            calls: list[list[KernelCall]] = [[] for _ in range(workers)]
            parts = []
            for i, group in groupby(now, itemgetter(0)):
                own = [block for _, block in group]
                parts.append((i, np.zeros((len(own), *totals[i].shape))))
                for worker, its in enumerate(calls):
                    span = BlockSpan(worker, workers, own[0])
                    where = (parts[-1][1], self._memory[worker], span)
                    its.append(kernels.losses(given[i][0].of_worker(worker), W, given[i][1], *where))
            run([InTurn(its) for its in calls], work * len(now))
            for i, part in parts:
                for of_block in part:
                    totals[i] += of_block
            poll()
        return [total.swapaxes(0, 1).reshape(total.shape[1], -1) for total in totals]

    def _passing(self, visits: Sequence[Visit], blocks: Sequence[Block]) -> tuple[Sequence[Block], Run]:
        """Return which of some blocks are passed over at a time, and what runs the calls that do so.

        Rows that have to be held first are those of one set.
        """
        if not any(visit.held for visit in visits):
            return blocks, self._pace.run
        which, first = blocks[0]
        visit = visits[which]
        blocks = [block for block in blocks if block[0] == which][: visit.room // PARTIAL_SUM_ROWS or 1]
        places = ((first + times * len(blocks)) * PARTIAL_SUM_ROWS for times in range(3))
        start, middle, end = (min(place, len(visit.numbers)) for place in places)
        return blocks, partial(visit.run, self._pace, now=[(start, middle)], following=[(middle, end)])

    def _differing(self, W: Array) -> Array:
        """Return one tile where all are the same, as they are at the start; else all of them."""
        own = W[:, : self._layout.parameters * self._layout.shape.lanes].view(np.uint8)
        for some in (own[:, :LINE_BYTES], own):  # they differ early, if they do
            if not all(np.array_equal(some[0], other) for other in some[1:]):
                return W
        return W[:1]

    @silently
    def gradient_norms(self, W: Array, places: Array, l2: Array, poll: Callable[[], None]) -> Array:
        """Return the norms of the objective's gradient at W, of lanes at some places with penalties l2 (places,).

        Returns
        -------
        ndarray of shape (1 + layers, places)
            Of the whole gradient, and of each layer's part.
        """
        W, lanes = self._in_tiles(W), self._tiles.lanes
        gradients = self.sum_gradients(W, poll)
        penalties = np.zeros(len(W) * lanes)
        penalties[places] = l2
        # Tile by tile, as for |w|^2.
        found = [
            self._tile_gradient_norms(gradients[:, tile], weights, penalties[tile * lanes :][:lanes])
            for tile, weights in enumerate(self._tiles.blocks(W, 0))
        ]
        return np.concatenate(found, axis=1)[:, places]

    @silently
    def dead_units(self, W: Array, places: Array, rows: MeasuredRows, poll: Callable[[], None]) -> Array:
        """Return the share of each hidden layer's units (layers, places) that are dead at the iterates W.

        Such a unit has at none of the rows a derivative above `DEAD_SLOPE`. Where one is no number, the share is none.
        """
        W = self._in_tiles(W)
        differing = self._differing(W)
        steepest = self._steepest(differing, rows, poll)
        steepest = np.tile(steepest, (1, len(W) // len(differing)))[:, places]
        dead = np.where(np.isnan(steepest), np.nan, steepest <= DEAD_SLOPE)
        ends = np.cumsum(self._kernels.units)
        return np.stack([layer.sum(axis=0) / len(layer) for layer in np.split(dead, ends[:-1])])

    def _steepest(self, W: Array, of: MeasuredRows, poll: Callable[[], None]) -> Array:
        """Return the largest size of each hidden unit's derivative at some rows (units, lanes), of the lanes in W."""
        kernels, lanes, n = self._tile_kernels, self._tiles.lanes, len(of.visited)
        visit = kernels.visit_of(of.X, of.y, of.visited)
        parts = min(-(-self._threads.count // len(W)), -(-n // CHUNK_ROWS), max(1, visit.room // CHUNK_ROWS))
        size, workers = part_rows(n, parts), min(self._threads.count, parts * len(W))
        steepest = aligned((parts, len(W), sum(kernels.units) * lanes), kernels.dtype)
        work, low = parts * kernels.row_work(visit) * len(W) * lanes, 0
        while low < size:
            high = min(size, low + chunks(min(self._pace.fitting(work), visit.room // parts)))
            spans = [PartSpan(worker, workers, size, low, high, n, 0) for worker in range(workers)]
            calls = [
                kernels.slopes(visit.of_worker(span.worker), W, steepest, self._tile_memory[span.worker], span)
                for span in spans
            ]
            both = ranges_now_and_next(spans[0], parts)
            visit.run(self._pace, calls, work * (high - low), *both)
            low = high
            poll()
        return np.concatenate(steepest.max(axis=0).reshape(len(W), -1, lanes), axis=1)  # NaN is kept

    def tiles_of(self, W: Array) -> list[Array]:
        """Return the parameters (count, lanes) of tiles; a network that is alone goes into one, for the same bits."""
        if self._layout.kernel.network:
            return self._tiles.tiles(self._in_tiles(W))
        return self._layout.tiles(W)

    def _in_tiles(self, W: Array) -> Array:
        if not self._layout.single:
            return W
        tiles, columns = self._tiles, self._layout.columns(self._layout.blocks(W, 0))
        out = aligned((tiles.kernel.tiles(columns.shape[1]), tiles.parameters * tiles.lanes), W.dtype)
        tiles.put(tiles.blocks(out, 0), columns)
        return out

    def sum_gradients(
        self, W: Array, poll: Callable[[], None], estimator: int = PLAIN, lanes: Lanes | None = None, t: int = 0
    ) -> Array:
        """Return the mean gradient of all rows without the penalty at W, in parts (parts, tiles, parameters * L).

        Parameters
        ----------
        W : ndarray (tiles, >= parameters * L)
        poll : callable
            Called between kernel calls.
        estimator : int
            SNAPSHOT fills the table of `lanes`, whose steps `t` with residuals that are not finite are noted.
        lanes : Lanes, optional
        t : int
        """
        self._tile_kernels.link()
        sums, n = self._gradient_sums(W, estimator, lanes), self._tile_kernels.n
        size, workers = part_rows(n, GRADIENT_PARTS), min(self._threads.count, GRADIENT_PARTS * len(W))
        visit = self._tile_kernels.visit
        work = 4.0 * GRADIENT_PARTS * self._tile_kernels.row_work(visit) * len(W) * self._tiles.lanes
        pace, low = Pace(self._threads), 0
        while low < size:
            high = min(size, low + chunks(min(pace.fitting(work), visit.room // GRADIENT_PARTS)))
            spans = [PartSpan(worker, workers, size, low, high, n, t) for worker in range(workers)]
            calls = [self._tile_kernels.gradient(sums, self._tile_memory[span.worker], span) for span in spans]
            both = ranges_now_and_next(spans[0], GRADIENT_PARTS)
            visit.run(pace, calls, work * (high - low), *both)
            low = high
            poll()
        return sums.gradients

    def _gradient_sums(self, W: Array, estimator: int, lanes: Lanes | None = None) -> GradientSums:
        """Return where gradients go; a measure leaves no note, and its tiles may be other ones than the lanes'."""
        tiles, L = len(W), self._tiles.lanes
        return GradientSums(
            W=W,
            gradients=aligned((GRADIENT_PARTS, tiles, self._tiles.parameters * L), np.float64),
            losses=np.zeros((GRADIENT_PARTS, tiles, L)),
            wants_losses=False,
            bad=np.zeros((tiles, L), np.int64) if lanes is None else lanes.bad,
            table=np.zeros((tiles, 0), W.dtype) if lanes is None else lanes.table,
            estimator=estimator,
        )

    def _tile_gradient_norms(self, parts: Array, weights: Array, l2: Array) -> Array:
        gradient = parts.sum(axis=0).reshape(-1, self._tiles.lanes)
        for part in self._tiles.slices(penalised=True):
            gradient[part] += l2 * weights[part]
        return np.stack([norms(gradient), *(norms(gradient[part]) for part in self._tiles.layers())])
