"""A cohort in memory: its lanes' parameters and slots, advanced, measured and retired together."""

import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numba
import numpy as np
import numpy.typing as npt

from fastgd.common.properties import cached_property
from fastgd.core.static import Static
from fastgd.core.threads import CALL_SECONDS, Threads, call
from fastgd.core.vectors import aligned
from fastgd.engine.arrays import (
    CHUNK,
    PLAIN,
    SAGA,
    SNAPSHOT,
    SVRG,
    Lanes,
    Rows,
    Scratch,
    SparseRows,
    make_rows,
    part_rows,
)
from fastgd.engine.coast.touching import Touching
from fastgd.engine.linear import single_steps, tile_steps
from fastgd.engine.linear.tile_steps import BLOCKS
from fastgd.engine.loss_kernels import losses_address, residuals_address
from fastgd.engine.rows.evaluation import Evaluation, Measures
from fastgd.engine.rows.line_search import DirectionLine
from fastgd.engine.rows.order import identity, shuffle, start_values
from fastgd.engine.rows.spec import CohortSpec
from fastgd.engine.rule_kernels import Calls, calls_of, read_iterate
from fastgd.engine.tiles import TileLayout, is_double, make_scratch
from fastgd.optimizers.coasting import EVERY_STEP
from fastgd.problems import Loss

Array = npt.NDArray[Any]

ESTIMATORS = {"none": PLAIN, "svrg": SVRG, "saga": SAGA}
MOST_SCHEDULED = 1 << 20  # values that a call with a schedule per step takes along


class ScheduleValues(Protocol):
    """The values of the scheduled hyper-parameters; `per_step`: whether they change within an epoch."""

    per_step: bool

    def reference(self, first: int, steps: int) -> Array:
        """Return (steps, m) or (1, m), the values of a lane whose rate is 1."""
        ...

    def __call__(self, first: int, steps: int) -> Array:
        """Return (steps, m, G) from step `first` (from 0) on, or (1, m, G) where nothing changes within an epoch."""
        ...


class Cohort:
    """Trials that share one pass over the data.

    Parameters
    ----------
    spec : CohortSpec
    X : ndarray (n, d), C-contiguous, or csr_array (n, d)
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
        self, spec: CohortSpec, X: Any, y: Array, threads: Threads, schedule: ScheduleValues | None = None
    ) -> None:
        self.spec, self.threads, self.schedule = spec, threads, schedule
        self.dtype = X.dtype
        self.t = 0
        self.alive = np.arange(len(spec.hyper))
        self.places = self.alive.copy()
        self.n, self.d = X.shape
        self.layout = TileLayout(spec.kernel, X.dtype.itemsize, self.d, spec.intercept)
        order = np.empty(self.n, np.int32) if spec.shuffled else identity(self.n)
        self.rows = make_rows(X, y, order)
        self.entries = max(1.0, self.rows.X.size / self.n)  # of a row
        self._ordered: int | None = None if spec.shuffled else -1
        self._rule, self._shape = Static(spec.rule), Static(self.layout.shape)
        names, penalties = list(spec.rule.fields), spec.rule.penalties
        driven = [names.index(name) for name in spec.scheduled]
        of_intercept = [-1 if name in penalties else row for name, row in zip(spec.scheduled, driven, strict=True)]
        self._which = np.array([driven, of_intercept], np.int64)
        sparse = spec.kernel.sparse and not spec.kernel.parts and spec.untouched != EVERY_STEP
        self.touching = Touching(self) if sparse else None
        self._allocate(len(self.alive))
        start = start_values(spec.init, spec.seed, self.d + spec.intercept)
        W = np.broadcast_to(start[:, None], (len(start), len(self.alive)))
        for row, values in enumerate((W, *spec.rule.start(spec.hyper, W))):
            self.layout.put(self.layout.blocks(self.lanes.state, row), values)
        self.rate = 2e9  # multiply-adds a second, until the first call is timed
        self._snapshot_at = -1  # the step before which the estimator's table was last filled
        self._evaluation = Evaluation(self)
        self.line = DirectionLine(self) if spec.line_search else None

    def _allocate(self, count: int, kept: tuple[Array, Array, Array] | None = None) -> None:
        """Make room for so many lanes; `kept`: state, table and mean, where they are there already."""
        tiles, L = self.spec.kernel.tiles(count), self.layout.shape.lanes
        rule, parameters = self.spec.rule, self.layout.parameters
        self._members = self.alive  # the lanes in the tiles: those that end stay there until a tile is free
        values = self.spec.hyper_rows(self.dtype)[:, :, self.alive].reshape(-1, count)
        hyper = self.layout.spread(values, self.dtype)
        memory = np.array(rule.memory, np.float64)
        estimated = 0 if self.spec.estimator == "none" else parameters
        state, table, mean = kept or (
            aligned((tiles, (1 + rule.slots) * parameters * L), self.dtype),
            aligned((tiles, self.n * L if estimated else 0), self.dtype),
            aligned((tiles, estimated * L), self.dtype),
        )
        self.lanes = Lanes(
            state=state,
            hyper=hyper,
            exact=hyper if is_double(self.dtype) else self.layout.spread(values, np.float64),
            scheduled=np.zeros((1, tiles, len(self.spec.scheduled) * L)),
            which=self._which,
            memory=self.layout.spread(np.repeat(memory[:, None], count, axis=1), np.float64),
            bad=np.zeros((tiles, self.spec.kernel.lanes), np.int64),
            estimator=ESTIMATORS[self.spec.estimator],
            table=table,
            mean=mean,
        )
        self.workers = min(self.threads.count, max(1, self.spec.kernel.parts) * tiles)
        large = self.spec.kernel.parts > 0
        small = self.spec.batch_size <= CHUNK and not self.layout.single and not rule.functions.rounds
        small = (small and not self.spec.kernel.sparse) or self.touching is not None
        gradient = BLOCKS * self.layout.shape.rows if small else parameters + self.layout.single
        if large:  # in float64 it is the first of the parts
            gradient = 0 if is_double(self.dtype) else parameters
        rows = min(CHUNK, self.spec.batch_size) + 2 * self.layout.shape.width  # losses of rows need a vector behind
        room = (rows, L, gradient, max(rule.counts.quantities), max(rule.counts.sums, default=0))
        how = {"single": self.layout.single, "total": self.spec.batch_size > CHUNK and not large}
        self.scratch = [make_scratch(*room, self.dtype, **how) for _ in range(self.workers)]
        self._gradients = aligned((self.spec.kernel.parts, tiles, parameters * L if large else 0), np.float64)
        self._losses = np.zeros((self.spec.kernel.parts, tiles, L))
        if self.touching:
            self.touching.allocate()

    # --- steps --------------------------------------------------------------------------------------------------------

    @property
    def batches(self) -> int:
        """Steps of an epoch."""
        return -(-self.n // self.spec.batch_size)

    def compile(self, gradient_norm: bool = False, measures: Sequence[Loss] = ()) -> None:
        """Compile, or load from the cache, every kernel that the cohort calls; the loss is always measured."""
        self._link()
        for kernel, arguments in self._kernels():
            kernel.compile(tuple(numba.typeof(argument) for argument in arguments))
        self._evaluation.compile(gradient_norm or self.spec.estimator != "none", measures)
        if self.touching:
            self.touching.compile()
        if self.line:
            self.line.compile()
            kernel, arguments = self._apply_in_double_call(0, self._lanes_in_double())
            kernel.compile(tuple(numba.typeof(argument) for argument in arguments))

    def _link(self) -> None:
        """Make sure of the addresses that the kernels call."""
        if not self.rows.residuals:
            loss = (self.spec.loss, self.layout.shape, self.dtype, self.layout.single)
            self.rows = self.rows._replace(residuals=residuals_address(*loss), losses=losses_address(*loss))

    def _kernels(self) -> list[tuple[Any, tuple[Any, ...]]]:
        kernels: list[tuple[Any, tuple[Any, ...]]] = [self._advance_call(0, 0, 1)] if not self.spec.kernel.parts else []
        if self.spec.kernel.parts:
            kernels += [self._accumulate_call(0, self.rows, 0, 0), self._apply_call(0, 1)]
        if self.spec.rule.has_readout:
            kernels.append(self._read_call(0, self.lanes.state))
        return kernels

    @cached_property
    def _calls(self) -> Calls:
        return calls_of(self.spec.rule, self.layout.shape, self.dtype, scheduled=bool(self.spec.scheduled))

    def advance(self, steps: int, poll: Callable[[], None] = lambda: None) -> None:
        """Take steps, in calls of some 50 ms; `poll` is called after each."""
        self._link()
        end = self.t + steps
        while self.t < end:
            epoch, batch = divmod(self.t, self.batches)
            self._order_rows(epoch)
            if batch == 0:
                self._fill_table(epoch, poll)
            if self.spec.kernel.parts:
                self._large_step(batch, poll)
            else:
                if self.touching and not self.touching.room:
                    self.touching.flush()
                self._small_steps(batch, min(end - self.t, self.batches - batch))
            poll()

    def _order_rows(self, epoch: int) -> None:
        if self._ordered not in (epoch, -1):
            shuffle(self.rows.order, self.spec.seed, epoch)
            self._ordered = epoch

    def _fill_table(self, epoch: int, poll: Callable[[], None]) -> None:
        """Take the residuals of all rows and their gradient, which SAGA starts from and SVRG renews every epoch."""
        due = {"none": False, "svrg": True, "saga": epoch == 0}[self.spec.estimator]
        if not due or self._snapshot_at == self.t:
            return
        if self.touching:
            self.touching.flush()  # an estimator's gradient is about to change
        parts = self._evaluation.sum_gradients(self.lanes.state, (False, SNAPSHOT), poll)
        self.lanes.mean[:] = parts.sum(axis=0)
        self._snapshot_at = self.t

    def _schedule(self, steps: int) -> None:
        if self.schedule is None or not self.spec.scheduled:
            return
        values = self.schedule(self.t, steps)[:, :, self._members].swapaxes(1, 2)
        values = self.spec.rule.usable(values, self.dtype, self.spec.scheduled).swapaxes(1, 2)
        spread = [self.layout.spread(row, np.float64) for row in values]
        self.lanes = self.lanes._replace(scheduled=np.ascontiguousarray(np.stack(spread)))
        if self.touching:
            self.touching.schedule(steps)

    def _work(self, rows: int) -> float:
        """Multiply-adds of one step over so many rows."""
        tiles = len(self.lanes.state)
        updated = self.lanes.state.size if self.touching is None else 0
        return 4.0 * rows * self.entries * tiles * self.spec.kernel.lanes + 8.0 * updated

    def _timed(self, work: float, calls: Sequence[Callable[[], Any]]) -> None:
        start = time.perf_counter()
        self.threads.run(calls)
        self.rate = work / max(time.perf_counter() - start, 1e-6)

    def _small_steps(self, batch: int, most: int) -> None:
        work = self._work(self.spec.batch_size)
        steps = max(1, min(most, int(CALL_SECONDS * self.rate / work)))
        if self.touching:
            steps = min(steps, self.touching.room)
        if self.schedule is not None and self.schedule.per_step:
            steps = min(steps, max(1, MOST_SCHEDULED // max(1, self.lanes.hyper.size)))
        self._schedule(steps)
        calls = [self._advance_call(worker, batch, steps) for worker in range(self.workers)]
        self._timed(work * steps, [call(kernel, arguments) for kernel, arguments in calls])
        self.t += steps

    def _advance_call(self, worker: int, batch: int, steps: int) -> tuple[Any, tuple[Any, ...]]:
        span = (worker, self.workers, batch, steps, self.t + 1, self.spec.batch_size)
        if self.touching:
            return self.touching.advance_call(worker, span)
        kernel = single_steps.advance if self.layout.single else tile_steps.advance
        scratch = self.scratch[worker]
        return kernel, (self._calls, self._shape, self.rows, self.lanes, scratch, span, self.spec.intercept)

    def _large_step(self, batch: int, poll: Callable[[], None]) -> None:
        start = batch * self.spec.batch_size
        rows = self.rows._replace(order=self.rows.order[start : start + self.spec.batch_size])
        self._sum_gradient(rows, self.lanes.state, self.t + 1, poll)
        self._schedule(1)
        if self.line:
            rates = np.zeros(len(self._members))
            rates[np.searchsorted(self._members, self.alive)] = self.line.choose(poll)
            self._drive_rate(rates)
        self._apply(len(rows.order))
        self.t += 1

    def _apply(self, rows: int) -> None:
        self.threads.run([call(*self._apply_call(worker, rows)) for worker in range(self.workers)])
        self._gradients[1:] = self._losses[1:] = 0  # the first now holds the sum of all

    def _drive_rate(self, rates: Array) -> None:
        """Put rates of the lanes in the tiles in the place of the scheduled ones."""
        scheduled, row = self.lanes.scheduled.copy(), self.spec.scheduled.index("lr")
        L = self.layout.shape.lanes
        scheduled[0, :, row * L : (row + 1) * L] = self.layout.spread(rates[None], np.float64)
        self.lanes = self.lanes._replace(scheduled=scheduled)

    def direction(self) -> Array:
        """Return what a step at rate 1 would add to the parameters (tiles, parameters * L); changes no state.

        The step is taken in float64: of a small step from large parameters, their difference would keep few digits.
        """
        kept, parameters = self.lanes, self.layout.parameters * self.layout.shape.lanes
        try:
            self._drive_rate(np.ones(len(self._members)))
            lanes = self._lanes_in_double()
            calls = [self._apply_in_double_call(worker, lanes) for worker in range(self.workers)]
            self.threads.run([call(kernel, arguments) for kernel, arguments in calls])
        finally:
            self.lanes = kept
        self._gradients[1:] = self._losses[1:] = 0
        return np.ascontiguousarray(lanes.state[:, :parameters] - kept.state[:, :parameters])

    def _lanes_in_double(self) -> Lanes:
        """Return a copy of the lanes in float64."""
        kept, exact = self.lanes, self.lanes.exact.copy()
        state, table, mean = (array.astype(np.float64) for array in (kept.state, kept.table, kept.mean))
        return kept._replace(state=state, hyper=exact, exact=exact, memory=kept.memory.copy(), table=table, mean=mean)

    @cached_property
    def _in_double(self) -> tuple[Calls, list[Scratch]]:
        """The rule's kernels in float64, and the threads' memory."""
        rule, L = self.spec.rule, self.layout.shape.lanes
        room = (0, L, 0, max(rule.counts.quantities), max(rule.counts.sums, default=0))
        scratch = [make_scratch(*room, np.float64, single=False) for _ in range(self.threads.count)]
        return calls_of(rule, self.layout.shape, np.float64), scratch

    def _apply_in_double_call(self, worker: int, lanes: Lanes) -> tuple[Any, tuple[Any, ...]]:
        kernel, (_, shape, _, gradients, losses, _, *others) = self._apply_call(worker, self.n)
        calls, scratch = self._in_double
        return kernel, (calls, shape, lanes, gradients, losses, scratch[worker], *others)

    def summed_gradient(self) -> Array:
        """Return the gradient of the last full batch, without penalty, once applied (tiles, parameters, L)."""
        return self._gradients[0].reshape(len(self.lanes.state), self.layout.parameters, -1)

    def summed_losses(self) -> Array:
        """Return the sums of its losses (tiles * L,)."""
        return self._losses[0].reshape(-1)

    def _sum_gradient(self, rows: Rows | SparseRows, W: Array, t: int, poll: Callable[[], None]) -> None:
        self._gradients[:] = self._losses[:] = 0
        size = part_rows(len(rows.order), self.spec.kernel.parts)
        low = 0
        while low < size:
            part = self._work(1) * self.spec.kernel.parts
            chunks = max(1, int(CALL_SECONDS * self.rate / part) // CHUNK)
            high = min(size, low + chunks * CHUNK)
            calls = [self._accumulate_call(worker, rows, low, high, W, t) for worker in range(self.workers)]
            self._timed(part * (high - low), [call(kernel, arguments) for kernel, arguments in calls])
            low = high
            poll()

    def _accumulate_call(
        self, worker: int, rows: Rows | SparseRows, low: int, high: int, W: Array | None = None, t: int = 0
    ) -> tuple[Any, tuple[Any, ...]]:
        end = len(rows.order)
        span = (worker, self.workers, part_rows(end, self.spec.kernel.parts), low, high, end, t)
        W = self.lanes.state if W is None else W
        how = (bool(self._calls.losses or self.line), self.lanes.estimator)
        return tile_steps.accumulate, (
            how, self._shape, rows, W, self.lanes, self._gradients, self._losses, self.scratch[worker], span,
            self.spec.intercept,
        )  # fmt: skip

    def _apply_call(self, worker: int, rows: int) -> tuple[Any, tuple[Any, ...]]:
        span = (worker, self.workers, self.t + 1, rows, self.n)
        return tile_steps.apply_gradients, (
            self._calls, self._shape, self.lanes, self._gradients, self._losses, self.scratch[worker], span, self.d,
            self.spec.intercept,
        )  # fmt: skip

    # --- measures -----------------------------------------------------------------------------------------------------

    def _read_call(self, worker: int, out: Array) -> tuple[Any, tuple[Any, ...]]:
        return read_iterate, (
            self._rule, self._shape, self.lanes.state, self.lanes.hyper, out, worker, self.workers
        )  # fmt: skip

    def iterate(self) -> Array:
        """The reported iterate (tiles, >= parameters * L); a view of the state where it is the state."""
        touching = self.touching if self.touching and self.touching.coast else None
        if not self.spec.rule.has_readout and not touching:
            return self.lanes.state
        out = aligned((len(self.lanes.state), self.layout.parameters * self.layout.shape.lanes), self.dtype)
        if touching:
            touching.read(out)
            return out
        for worker in range(self.workers):
            kernel, arguments = self._read_call(worker, out)
            kernel(*arguments)
        return out

    def slots(self) -> list[Array]:
        """Return what the rule keeps for each parameter, up to date: (d + intercept, alive) for each slot."""
        state = self.touching.up_to_date() if self.touching else self.lanes.state
        rows = range(1, 1 + self.spec.rule.slots)
        return [self.layout.columns(self.layout.blocks(state, row))[:, self.places] for row in rows]

    def value_of(self, name: str) -> Array:
        """Return a hyper-parameter (alive,): what its schedule gave it in the last step."""
        row = list(self.spec.rule.fields).index(name)
        if name not in self.spec.scheduled:
            return self.spec.hyper[self.alive, row]
        return self.layout.gather(self.lanes.exact)[row, self.places]

    def parameters(self, which: Array | None = None) -> Array:
        """Return the reported iterates (alive, d + intercept) in float64; `which`: of these positions only."""
        places, blocks = self.places if which is None else self.places[which], self.layout.blocks(self.iterate(), 0)
        out = np.empty((len(places), self.d + self.spec.intercept))
        tiles, columns = np.divmod(places, self.layout.lanes)
        for tile in np.unique(tiles):  # one by one: no copy of all of them is made
            own = tiles == tile
            out[own] = self.layout.columns(blocks[tile : tile + 1])[:, columns[own]].T
        return out

    def first_bad_step(self) -> Array:
        """Return the first step with a residual that was not finite (alive,), or 0."""
        return self.lanes.bad.reshape(-1)[self.places]

    def measure(
        self, rows: Sequence[tuple[Any, Array, Sequence[Loss]]], poll: Callable[[], None] = lambda: None
    ) -> Measures:
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
        kept, places = self.alive[keep], self.places[keep]
        if self.spec.kernel.tiles(len(kept)) == len(self.lanes.state) or not len(kept):
            self.alive, self.places = kept, places
            return
        old, old_places = self.lanes, places
        past = self.touching and self.touching.past
        self.alive, self.places = kept, np.arange(len(kept))
        state, table, mean = (self.layout.pack(values, old_places) for values in (old.state, old.table, old.mean))
        self._allocate(len(kept), (state, table, mean))
        self.lanes.bad.reshape(-1)[: len(kept)] = old.bad.reshape(-1)[old_places]
        # With its scheduled values: what is reported may depend on those of the last step.
        exact, memory = (self.layout.gather(rows)[:, old_places] for rows in (old.exact, old.memory))
        self.lanes.hyper[:] = self.layout.spread(exact, self.dtype)
        self.lanes.exact[:] = self.layout.spread(exact, np.float64)
        self.lanes.memory[:] = self.layout.spread(memory, np.float64)
        if self.touching and past:
            self.touching.retire(past, old_places)
