"""A cohort in memory: its lanes' parameters and slots, advanced, measured and retired together."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numba
import numpy as np
import numpy.typing as npt

from fastgd._vectors import Static, aligned
from fastgd.engine import dense, single
from fastgd.engine.dense import CHUNK, Lanes, Rows, Scratch
from fastgd.engine.evaluate import BLOCK, evaluate_blocks
from fastgd.engine.order import shuffle, start_values
from fastgd.engine.rules import Rule
from fastgd.engine.shapes import Kernel, single_shape, tile_shape
from fastgd.engine.threads import Threads
from fastgd.problems import Loss

Array = npt.NDArray[Any]
GRADIENT_PARTS = 2  # of the rows, summed side by side for a gradient's norm
CALL_SECONDS = 0.05  # what a kernel call should last: short for Ctrl-C and progress, long against its start

MOST_SCHEDULED = 1 << 20  # values that a call with a schedule per step takes along


class ScheduleValues(Protocol):
    """The values of the scheduled hyper-parameters; `per_step`: whether they change within an epoch."""

    per_step: bool

    def __call__(self, first: int, steps: int) -> Array:
        """Return (steps, m, G) from step `first` (from 0) on, or (1, m, G) where nothing changes within an epoch."""
        ...


@dataclass(frozen=True)
class CohortSpec:
    """What a cohort computes.

    Attributes
    ----------
    rule : Rule
    hyper : ndarray (G, hyper) float64
        The numeric hyper-parameters of each lane, in the record's order.
    l2 : ndarray (G,) float64
    scheduled : tuple of str
        The hyper-parameters that a schedule drives.
    loss : Loss
    batch_size : int
    shuffled : bool
        Whether each epoch has its own order of the rows.
    intercept : bool
    init : "zeros" or float
        The start: zeros, or normal with this scale.
    seed : int
    kernel : Kernel
    """

    rule: Rule
    hyper: Array
    l2: Array
    scheduled: tuple[str, ...]
    loss: Loss
    batch_size: int
    shuffled: bool
    intercept: bool
    init: Any
    seed: int
    kernel: Kernel

    def hyper_rows(self) -> Array:
        """Return the rows of `Lanes.hyper` (2, hyper + 1, G): an intercept has no penalty and no decay."""
        weights = np.vstack([self.hyper.T, self.l2])
        intercept = weights.copy()
        intercept[-1] = 0
        names = list(self.rule.optimizer.hyper)
        if "weight_decay" in names:
            intercept[names.index("weight_decay")] = 0
        return np.stack([weights, intercept])


class _Tiles:
    """How lanes lie in tiles: (rows, G) <-> (tiles, rows * L); what fills the last tile repeats the last lane."""

    def __init__(self, kernel: Kernel, itemsize: int, d: int, intercept: bool) -> None:
        self.single = kernel.lanes == 1
        self.shape = single_shape(itemsize) if self.single else tile_shape(kernel.lanes, itemsize)
        self.kernel, self.d, self.intercept = kernel, d, int(intercept)
        self.padded = -(-d // self.shape.width) * self.shape.width if self.single else d

    @property
    def lanes(self) -> int:
        return self.kernel.lanes

    @property
    def parameters(self) -> int:
        """Rows of L lanes that hold the parameters (of `width` features, where there is one lane)."""
        return self.padded // self.shape.width + self.intercept if self.single else self.d + self.intercept

    def spread(self, values: Array, dtype: Any) -> Array:
        """Lay values (rows, G) out for the kernel: each lane's value in its place, or repeated through a vector."""
        rows, count = values.shape
        tiles = self.kernel.tiles(count)
        out = aligned((tiles, rows * self.shape.lanes), dtype)
        view = out.reshape(tiles, rows, self.shape.lanes)
        if self.single:
            view[:] = values.T[:, :, None]
        else:
            full = np.pad(values, ((0, 0), (0, tiles * self.lanes - count)), mode="edge")
            view[:] = full.reshape(rows, tiles, self.lanes).swapaxes(0, 1)
        return out

    def blocks(self, state: Array, row: int) -> Array:
        """View one part of the state (0: the parameters) as (tiles, parameters, L)."""
        size = self.parameters * self.shape.lanes
        return state[:, row * size : (row + 1) * size].reshape(len(state), self.parameters, self.shape.lanes)

    def columns(self, block: Array) -> Array:
        """Return parameters (d + intercept, lanes) from (tiles, parameters, L)."""
        if not self.single:
            return block.swapaxes(0, 1).reshape(self.parameters, -1)
        flat = block.reshape(len(block), -1)
        if not self.intercept:
            return flat[:, : self.d].T
        return np.concatenate([flat[:, : self.d], flat[:, self.padded : self.padded + 1]], axis=1).T

    def put(self, block: Array, columns: Array) -> None:
        """Write parameters (d + intercept, lanes) into (tiles, parameters, L)."""
        if self.single:
            flat = block.reshape(len(block), -1)
            flat[:, : self.d] = columns[: self.d].T
            if self.intercept:
                flat[:, self.padded] = columns[self.d]
        else:
            full = np.pad(columns, ((0, 0), (0, block.shape[0] * self.lanes - columns.shape[1])), mode="edge")
            block[:] = full.reshape(len(columns), -1, self.lanes).swapaxes(0, 1)


class Cohort:
    """Trials that share one pass over the data.

    Parameters
    ----------
    spec : CohortSpec
    X : ndarray (n, d), C-contiguous
    y : ndarray (n,)
        Training rows in the cohort's dtype.
    threads : Threads
    schedule : callable, optional
        The values of the scheduled hyper-parameters.

    Attributes
    ----------
    alive : ndarray of int
        The lanes (columns of the spec) that still run, in the order of everything that is returned.
    t : int
        Steps taken.
    """

    def __init__(
        self, spec: CohortSpec, X: Array, y: Array, threads: Threads, schedule: ScheduleValues | None = None
    ) -> None:
        self.spec, self.threads, self.schedule = spec, threads, schedule
        self.dtype = X.dtype
        self.t = 0
        self.alive = np.arange(len(spec.hyper))
        self._places = self.alive.copy()
        self._n, self._d = X.shape
        self._tiles = _Tiles(spec.kernel, X.dtype.itemsize, self._d, spec.intercept)
        order = np.arange(self._n, dtype=np.int32)
        self._data = Rows(X.reshape(-1), y, order, self._d, spec.loss.code)
        self._ordered: int | None = None if spec.shuffled else -1
        self._rule, self._shape = Static(spec.rule), Static(self._tiles.shape)
        names = list(spec.rule.optimizer.hyper)
        self._which = np.array([names.index(name) for name in spec.scheduled], np.int64)
        self._allocate(len(self.alive))
        start = start_values(spec.init, spec.seed, self._d + spec.intercept)
        self._tiles.put(self._tiles.blocks(self._lanes.state, 0), np.repeat(start[:, None], len(self.alive), axis=1))
        self._rate = 2e9  # multiply-adds a second, until the first call is timed
        self._evaluation = _Evaluation(self)

    def _allocate(self, count: int) -> None:
        tiles, L = self.spec.kernel.tiles(count), self._tiles.shape.lanes
        rule, parameters = self.spec.rule, self._tiles.parameters
        hyper = self.spec.hyper_rows()[:, :, self.alive]
        self._lanes = Lanes(
            aligned((tiles, (1 + rule.slots) * parameters * L), self.dtype),
            self._tiles.spread(hyper.reshape(-1, count), self.dtype),
            np.zeros((1, tiles, len(self._which) * L), self.dtype),
            self._which,
            np.zeros((tiles, self.spec.kernel.lanes), np.int64),
        )
        self._workers = min(self.threads.count, max(1, self.spec.kernel.parts) * tiles)
        large = self.spec.kernel.parts > 0
        small = self.spec.batch_size <= CHUNK and not self._tiles.single
        gradient = 0 if large else self._tiles.shape.rows if small else parameters + self._tiles.single
        rows = min(CHUNK, self.spec.batch_size) + self._tiles.shape.width
        self._scratch = [
            make_scratch(rows, L, gradient, rule.coefficients, self.dtype, self._tiles.single)
            for _ in range(self._workers)
        ]
        self._gradients = aligned((self.spec.kernel.parts, tiles, parameters * L if large else 0), self.dtype)

    # --- steps --------------------------------------------------------------------------------------------------------

    @property
    def batches(self) -> int:
        """Steps of an epoch."""
        return -(-self._n // self.spec.batch_size)

    def compile(self) -> None:
        """Compile, or load from the cache, every kernel that the cohort calls."""
        for kernel, arguments in self._kernels():
            kernel.compile(tuple(numba.typeof(argument) for argument in arguments))
        self._evaluation.compile()

    def _kernels(self) -> list[tuple[Any, tuple[Any, ...]]]:
        module: Any = single if self._tiles.single else dense
        kernels = [self._advance_call(0, 0, 1)] if not self.spec.kernel.parts else []
        if self.spec.kernel.parts:
            kernels += [self._accumulate_call(0, self._data, 0, 0), self._apply_call(0)]
        if self.spec.rule.has_readout:
            kernels.append(self._read_call(module, 0, self._lanes.state))
        return kernels

    def advance(self, steps: int, poll: Callable[[], None] = lambda: None) -> None:
        """Take steps, in calls of some 50 ms; `poll` is called after each."""
        end = self.t + steps
        while self.t < end:
            epoch, batch = divmod(self.t, self.batches)
            self._order_rows(epoch)
            if self.spec.kernel.parts:
                self._large_step(batch, poll)
            else:
                self._small_steps(batch, min(end - self.t, self.batches - batch))
            poll()

    def _order_rows(self, epoch: int) -> None:
        if self._ordered not in (epoch, -1):
            shuffle(self._data.order, self.spec.seed, epoch)
            self._ordered = epoch

    def _schedule(self, steps: int) -> None:
        if self.schedule is None or not len(self._which):
            return
        values = self.schedule(self.t, steps)[:, :, self.alive]
        spread = [self._tiles.spread(row, self.dtype) for row in values]
        self._lanes = self._lanes._replace(scheduled=np.ascontiguousarray(np.stack(spread)))

    def _work(self, rows: int) -> float:
        """Multiply-adds of one step over so many rows."""
        tiles = len(self._lanes.state)
        return 2.0 * rows * self._d * tiles * self.spec.kernel.lanes + 8.0 * self._lanes.state.size

    def _timed(self, work: float, calls: Sequence[Callable[[], Any]]) -> None:
        start = time.perf_counter()
        self.threads.run(calls)
        self._rate = work / max(time.perf_counter() - start, 1e-6)

    def _small_steps(self, batch: int, most: int) -> None:
        work = self._work(self.spec.batch_size)
        steps = max(1, min(most, int(CALL_SECONDS * self._rate / work)))
        if self.schedule is not None and self.schedule.per_step:
            steps = min(steps, max(1, MOST_SCHEDULED // max(1, self._lanes.hyper.size)))
        self._schedule(steps)
        calls = [self._advance_call(worker, batch, steps) for worker in range(self._workers)]
        self._timed(work * steps, [_call(kernel, arguments) for kernel, arguments in calls])
        self.t += steps

    def _advance_call(self, worker: int, batch: int, steps: int) -> tuple[Any, tuple[Any, ...]]:
        span = (worker, self._workers, batch, steps, self.t + 1, self.spec.batch_size)
        kernel = single.advance if self._tiles.single else dense.advance
        scratch = self._scratch[worker]
        return kernel, (self._rule, self._shape, self._data, self._lanes, scratch, span, self.spec.intercept)

    def _large_step(self, batch: int, poll: Callable[[], None]) -> None:
        start = batch * self.spec.batch_size
        rows = self._data._replace(order=self._data.order[start : start + self.spec.batch_size])
        self._sum_gradient(rows, self._lanes.state, self.t + 1, poll)
        self._schedule(1)
        self.threads.run([_call(*self._apply_call(worker)) for worker in range(self._workers)])
        self.t += 1

    def _sum_gradient(self, rows: Rows, W: Array, t: int, poll: Callable[[], None]) -> None:
        self._gradients[:] = 0
        size = _part_rows(len(rows.order), self.spec.kernel.parts)
        low = 0
        while low < size:
            part = self._work(1) * self.spec.kernel.parts
            chunks = max(1, int(CALL_SECONDS * self._rate / part) // CHUNK)
            high = min(size, low + chunks * CHUNK)
            calls = [self._accumulate_call(worker, rows, low, high, W, t) for worker in range(self._workers)]
            self._timed(part * (high - low), [_call(kernel, arguments) for kernel, arguments in calls])
            low = high
            poll()

    def _accumulate_call(
        self, worker: int, rows: Rows, low: int, high: int, W: Array | None = None, t: int = 0
    ) -> tuple[Any, tuple[Any, ...]]:
        end = len(rows.order)
        span = (worker, self._workers, _part_rows(end, self.spec.kernel.parts), low, high, end, t)
        W = self._lanes.state if W is None else W
        scratch = self._scratch[worker]
        return dense.accumulate, (
            self._shape, rows, W, self._lanes.bad, self._gradients, scratch, span, self.spec.intercept
        )  # fmt: skip

    def _apply_call(self, worker: int) -> tuple[Any, tuple[Any, ...]]:
        span = (worker, self._workers, self.t + 1)
        return dense.apply_gradients, (
            self._rule, self._shape, self._lanes, self._gradients, self._scratch[worker], span, self._d,
            self.spec.intercept,
        )  # fmt: skip

    # --- measures -----------------------------------------------------------------------------------------------------

    def _read_call(self, module: Any, worker: int, out: Array) -> tuple[Any, tuple[Any, ...]]:
        if self._tiles.single:
            return module.read_iterate, (self._rule, self._shape, self._lanes, out)
        span = (worker, self._workers)
        return module.read_iterate, (self._rule, self._shape, self._lanes, out, span, self._tiles.parameters)

    def iterate(self) -> Array:
        """The reported iterate (tiles, >= parameters * L); a view of the state where it is the state."""
        if not self.spec.rule.has_readout:
            return self._lanes.state
        out = aligned((len(self._lanes.state), self._tiles.parameters * self._tiles.shape.lanes), self.dtype)
        for worker in range(1 if self._tiles.single else self._workers):
            kernel, arguments = self._read_call(single if self._tiles.single else dense, worker, out)
            kernel(*arguments)
        return out

    def parameters(self) -> Array:
        """Return the reported iterates (alive, d + intercept) in float64."""
        block = self._tiles.blocks(self.iterate(), 0)
        return self._tiles.columns(block)[:, self._places].T.astype(np.float64)

    def first_bad_step(self) -> Array:
        """Return the first step with a residual that was not finite (alive,), or 0."""
        return self._lanes.bad.reshape(-1)[self._places]

    def measure(
        self, rows: Sequence[tuple[Array, Array, Sequence[Loss]]], poll: Callable[[], None] = lambda: None
    ) -> "Measures":
        """Sum measures over rows at the reported iterate; changes no state.

        Parameters
        ----------
        rows : sequence of (X, y, measures)
            The sets of rows, each with what is summed over it.
        poll : callable
            Called between kernel calls.
        """
        return self._evaluation.measure(rows, poll)

    def gradient_norm(self, poll: Callable[[], None] = lambda: None) -> Array:
        """Return the norm of the objective's gradient over all training rows at the reported iterate (alive,)."""
        return self._evaluation.gradient_norm(poll)

    def retire(self, keep: Array) -> None:
        """Go on with some lanes only: `keep` (alive,) bool. The others' bits stay as they are."""
        kept, places = self.alive[keep], self._places[keep]
        if self.spec.kernel.tiles(len(kept)) == len(self._lanes.state) or not len(kept):
            self.alive, self._places = kept, places
            return
        old, old_places = self._lanes, places
        self.alive, self._places = kept, np.arange(len(kept))
        self._allocate(len(kept))
        for row in range(1 + self.spec.rule.slots):
            columns = self._tiles.columns(self._tiles.blocks(old.state, row))[:, old_places]
            self._tiles.put(self._tiles.blocks(self._lanes.state, row), columns)
        self._lanes.bad.reshape(-1)[: len(kept)] = old.bad.reshape(-1)[old_places]


@dataclass(frozen=True)
class Measures:
    """What a checkpoint measured: sums (measures, alive) for each set of rows, and |w|^2 with and without the intercept."""

    sums: list[Array]
    squares: Array
    penalised: Array


class _Evaluation:
    """Exact sums over all rows, in tiles; a single lane is put into the smallest tile."""

    def __init__(self, cohort: Cohort) -> None:
        self.cohort = cohort
        spec, itemsize = cohort.spec, cohort.dtype.itemsize
        kernel = Kernel(32 // itemsize) if spec.kernel.lanes == 1 else spec.kernel
        self.tiles = _Tiles(kernel, itemsize, cohort._d, spec.intercept)
        self.shape = Static(self.tiles.shape)
        self.scratch = [
            make_scratch(CHUNK + 8, self.tiles.shape.lanes, 0, 0, cohort.dtype, False)
            for _ in range(cohort.threads.count)
        ]

    def weights(self) -> Array:
        cohort, iterate = self.cohort, self.cohort.iterate()
        if not cohort._tiles.single:
            return iterate
        columns = cohort._tiles.columns(cohort._tiles.blocks(iterate, 0))
        out = aligned(
            (self.tiles.kernel.tiles(columns.shape[1]), self.tiles.parameters * self.tiles.lanes), cohort.dtype
        )
        self.tiles.put(self.tiles.blocks(out, 0), columns)
        return out

    def compile(self) -> None:
        rows, totals = self.cohort._data, np.zeros((1, 1, 1, self.tiles.lanes))
        arguments = self._arguments(0, 1, rows, self.cohort._lanes.state, np.zeros(1, np.int64), totals, 0)
        evaluate_blocks.compile(tuple(numba.typeof(argument) for argument in arguments))

    def measure(self, rows: Sequence[tuple[Array, Array, Sequence[Loss]]], poll: Callable[[], None]) -> Measures:
        W, places = self.weights(), self.cohort._places
        sums = [self._sums(W, X, y, measures, poll)[:, places] for X, y, measures in rows]
        # Tile by tile: a column's sum then has the same order wherever the lane stands.
        blocks = self.tiles.blocks(W, 0)
        squares = [np.square(block[: self.tiles.d], dtype=np.float64).sum(axis=0) for block in blocks]
        penalised = np.concatenate(squares)[places]
        if not self.tiles.intercept:
            return Measures(sums, penalised, penalised)
        bias = np.concatenate([np.square(block[self.tiles.d], dtype=np.float64) for block in blocks])[places]
        return Measures(sums, penalised + bias, penalised)

    def _sums(self, W: Array, X: Array, y: Array, measures: Sequence[Loss], poll: Callable[[], None]) -> Array:
        codes = np.array([measure.code for measure in measures], np.int64)
        n, d = X.shape
        rows = Rows(X.reshape(-1), y, _identity(n), d, self.cohort.spec.loss.code)
        total = np.zeros((len(W), len(codes), self.tiles.lanes))
        blocks, first, rate = -(-n // BLOCK), 0, 2e9
        work = float(BLOCK * d * len(W) * self.tiles.lanes)
        while first < blocks:
            count = min(blocks - first, max(1, int(CALL_SECONDS * rate / work)))
            part = np.zeros((count, *total.shape))
            workers = min(self.cohort.threads.count, count * len(W))
            start = time.perf_counter()
            self.cohort.threads.run(
                [
                    _call(evaluate_blocks, self._arguments(worker, workers, rows, W, codes, part, first))
                    for worker in range(workers)
                ]
            )
            rate = work * count / max(time.perf_counter() - start, 1e-6)
            for block in part:
                total += block
            first += count
            poll()
        return total.swapaxes(0, 1).reshape(len(codes), -1)

    def gradient_norm(self, poll: Callable[[], None]) -> Array:
        cohort, W, L = self.cohort, self.weights(), self.tiles.lanes
        n = cohort._n
        rows = cohort._data._replace(order=_identity(n))
        gradients = aligned((GRADIENT_PARTS, len(W), self.tiles.parameters * L), cohort.dtype)
        bad = np.zeros((len(W), L), np.int64)
        size, workers = _part_rows(n, GRADIENT_PARTS), min(cohort.threads.count, GRADIENT_PARTS * len(W))
        step = (
            max(1, int(CALL_SECONDS * cohort._rate / (2 * self.tiles.d * len(W) * L * GRADIENT_PARTS)) // CHUNK) * CHUNK
        )
        for low in range(0, size, step):
            spans = [(worker, workers, size, low, min(size, low + step), n, 0) for worker in range(workers)]
            cohort.threads.run(
                [
                    _call(
                        dense.accumulate,
                        (self.shape, rows, W, bad, gradients, self.scratch[span[0]], span, cohort.spec.intercept),
                    )
                    for span in spans
                ]
            )
            poll()
        total = gradients.sum(axis=0, dtype=np.float64)
        gradient = self.tiles.columns(total.reshape(len(W), -1, L))[:, cohort._places]
        weights = self.tiles.columns(self.tiles.blocks(W, 0))[: self.tiles.d, cohort._places]
        gradient[: self.tiles.d] += cohort.spec.l2[cohort.alive] * weights
        # Column by column in a fixed order, wherever the lanes stand.
        return np.sqrt(np.add.reduce(np.ascontiguousarray(gradient.T) ** 2, axis=1))

    def _arguments(
        self, worker: int, workers: int, rows: Rows, W: Array, codes: Array, totals: Array, first: int
    ) -> tuple[Any, ...]:
        span = (worker, workers, first)
        return self.shape, rows, W, codes, totals, self.scratch[worker], span, self.cohort.spec.intercept


def cohort_bytes(spec: CohortSpec, d: int, lanes: int, itemsize: int) -> int:
    """Return the bytes of a cohort's lanes: parameters and slots, the reported iterate, a large batch's partial sums."""
    columns = spec.kernel.tiles(lanes) * (single_shape(itemsize).width if spec.kernel.lanes == 1 else spec.kernel.lanes)
    rows = (d + spec.intercept) // (single_shape(itemsize).width if spec.kernel.lanes == 1 else 1) + 2
    copies = 1 + spec.rule.slots + spec.rule.has_readout + max(1, spec.kernel.parts)
    return copies * rows * columns * itemsize


def make_scratch(rows: int, lanes: int, gradient: int, coefficients: int, dtype: Any, single: bool) -> Scratch:
    """Return a thread's working memory; `gradient` in rows of L lanes."""
    return Scratch(
        np.zeros(CHUNK, np.int64),
        aligned((CHUNK + 64,), dtype),
        aligned((rows if single else rows * lanes,), dtype),
        aligned((max(1, gradient) * lanes,), dtype),
        aligned((max(1, coefficients) * lanes,), dtype),
        aligned((lanes,), dtype),
    )


def _call(kernel: Any, arguments: tuple[Any, ...]) -> Callable[[], Any]:
    return lambda: kernel(*arguments)


def _part_rows(rows: int, parts: int) -> int:
    return -(-rows // (parts * CHUNK)) * CHUNK


_identities: dict[int, Array] = {}


def _identity(n: int) -> Array:
    """The rows as they stand; the last two lengths are kept (training and validation rows)."""
    if n not in _identities:
        while len(_identities) > 1:
            _identities.pop(next(iter(_identities)))
        _identities[n] = np.arange(n, dtype=np.int32)
    return _identities[n]
