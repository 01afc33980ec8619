"""A cohort in memory: its lanes' parameters and slots, advanced, measured and retired together."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from fastgd.common.properties import cached_property
from fastgd.core.static import Static
from fastgd.core.threads import Threads
from fastgd.core.vectors import aligned
from fastgd.engine.arrays import (
    PLAIN,
    SAGA,
    SNAPSHOT,
    SVRG,
    ApplySpan,
    GradientSums,
    Lanes,
    PartSpan,
    Scratch,
    StepSpan,
    chunks,
    part_rows,
    ranges_now_and_next,
)
from fastgd.engine.calls import KernelCall, Pace
from fastgd.engine.coast.window import Coasting, CoastingWindow
from fastgd.engine.lanes import Captured, LaneState
from fastgd.engine.rows.evaluation import Evaluation, MeasuredRows, Measures
from fastgd.engine.rows.norms import relative_moves
from fastgd.engine.rows.order import identity, reorder
from fastgd.engine.rows.spec import CohortSpec
from fastgd.engine.rule_kernels import Calls, calls_of, read_iterate
from fastgd.engine.rule_steps import apply_gradients
from fastgd.engine.tiles import TileLayout, is_double, make_scratch
from fastgd.optimizers.coasting import Coast
from fastgd.problems import Loss

Array = npt.NDArray[Any]

ESTIMATORS = {"none": PLAIN, "svrg": SVRG, "saga": SAGA}
MOST_SCHEDULED = 1 << 20  # scheduled values that are given to one kernel call


class ScheduleValues(Protocol):
    """The values of the scheduled hyper-parameters; `per_step`: whether they change within an epoch."""

    per_step: bool

    def reference(self, first: int, steps: int) -> Array:
        """Return (steps, m) or (1, m), the values of a lane whose rate is 1."""

    def __call__(self, first: int, steps: int) -> Array:
        """Return (steps, m, G) from step `first` (from 0) on, or (1, m, G) where nothing changes within an epoch."""


class AnyCohort(Protocol):
    """What a run needs of a cohort: of one that trains, or of a baseline's.

    Attributes
    ----------
    spec : CohortSpec
    d : int
        Features.
    line : DirectionLine, optional
        The line search's rates and evaluations.
    """

    spec: CohortSpec
    d: int
    line: Any

    @property
    def t(self) -> int:
        """Steps taken."""

    @property
    def alive(self) -> Array:
        """The lanes that still run, as positions in the spec: the order of everything that is returned."""

    def compile(self, gradient_norm: bool = False, measures: Sequence[Loss] = (), *, slopes: bool = False) -> None:
        """Compile, or load from the cache, every kernel that the cohort calls; the loss is always measured.

        `gradient_norm`, `slopes`: what takes the gradient of all rows, and the slopes of hidden units.
        """

    def advance(self, steps: int, poll: Callable[[], None] = lambda: None) -> None:
        """Take steps, in calls of some 50 ms; `poll` is called after each."""

    def parameters(self, which: Array | None = None) -> Array:
        """Return the reported iterates (alive, parameters) in float64; `which`: of these positions only."""

    def value_of(self, name: str) -> Array:
        """Return a hyper-parameter (alive,): what its schedule gave it in the last step."""

    def first_bad_step(self) -> Array:
        """Return the first step with a residual that was not finite (alive,), or 0."""

    def measure(self, rows: Sequence[tuple[Any, ...]], poll: Callable[[], None] = lambda: None) -> Measures:
        """Sum measures over sets of rows (each a `MeasuredRows`) at the reported iterates; changes no state."""

    def gradient_norms(self, poll: Callable[[], None] = lambda: None) -> Array:
        """Return the norms of the objective's gradient over all training rows at the reported iterates.

        Of shape (1 + layers, alive): of the whole gradient, and of each layer's part.
        """

    def dead_units(self, rows: tuple[Any, ...], poll: Callable[[], None] = lambda: None) -> Array:
        """Return the share of each hidden layer's units (layers, alive) with no slope at any of some rows."""

    def retire(self, keep: Array) -> None:
        """Go on with some lanes only: `keep` (alive,) bool. The others' bits stay as they are."""

    def capture(self) -> Captured:
        """Return arrays and whole numbers with which a fresh cohort goes on from here, bit for bit."""

    def restore(self, captured: Mapping[str, Any]) -> None:
        """Go on from what `capture` returned, in a cohort of the same spec and rows that has taken no step."""


class Cohort:
    """Trials that share one pass over the data; see `AnyCohort` for what it does.

    Parameters
    ----------
    spec : CohortSpec
    X : ndarray (N, d), C-contiguous, or csr_array (N, d)
    y : ndarray (N,), or (N, targets)
        Rows in the cohort's dtype.
    threads : Threads
    schedule : callable, optional
        The values of the scheduled hyper-parameters.
    rows : ndarray (n,) int32, optional
        Which of the rows train; by default all. The bits are those that these rows give alone.

    Attributes
    ----------
    state : LaneState
    window : CoastingWindow, optional
        Where a step touches the parameters of its batch alone.
    """

    def __init__(
        self,
        spec: CohortSpec,
        X: Any,
        y: Array,
        threads: Threads,
        schedule: ScheduleValues | None = None,
        rows: Array | None = None,
    ) -> None:
        self.spec, self.threads, self.schedule = spec, threads, schedule
        self.dtype = X.dtype
        self._of_all, self.d = X.shape
        self._some, self._rows = rows is not None, identity(self._of_all) if rows is None else rows
        self.n = len(self._rows)
        self.layout = TileLayout(spec.kernel, X.dtype.itemsize, spec.model.groups(self.d))
        self._order = self._rows.copy() if spec.shuffled else self._rows
        self._ordered: int | None = None if spec.shuffled else -1
        self.kernels = spec.model.kernels(spec.loss, X, y, self._order, self.layout, spec.batch_size)
        self._row_work = self.kernels.row_work(self.kernels.visit)
        self._rule, self._shape = Static(spec.rule), Static(self.layout.shape)
        names, penalties = list(spec.rule.fields), spec.rule.penalties
        driven = [names.index(name) for name in spec.scheduled]
        of_others = [-1 if name in penalties else row for name, row in zip(spec.scheduled, driven, strict=True)]
        self._which = np.array([driven, of_others], np.int64)
        self.window = self._make_window() if spec.touches else None
        self._allocate(np.arange(len(spec.hyper)))
        start = spec.model.start(spec.init, spec.seed, self.d)
        W = np.broadcast_to(start[:, None], (len(start), len(self.alive)))
        for row, values in enumerate((W, *spec.rule.start(spec.hyper, W))):
            self.layout.put(self.layout.blocks(self.lanes.state, row), values)
        self._pace = Pace(threads)
        self._first_step = 0  # the steps before the first over these rows: see `go_on`
        self._snapshot_at = -1  # the step before which the estimator's table was last filled
        self._evaluation = Evaluation(self.kernels, self._rows, threads)
        self.line = self.kernels.line(spec, threads, self._memory) if spec.line_search else None

    @property
    def t(self) -> int:
        """Steps taken."""
        return self.state.t

    @property
    def alive(self) -> Array:
        """The lanes that still run, as positions in the spec."""
        return self.state.alive

    @property
    def places(self) -> Array:
        """Where they stand in the tiles."""
        return self.state.places

    @property
    def lanes(self) -> Lanes:
        """The arrays that kernels work on."""
        return self.state.arrays

    def _make_window(self) -> CoastingWindow:
        spec, names = self.spec, list(self.spec.rule.fields)
        coast, one, rates = None, spec.hyper_rows(self.dtype)[:, :, 0].copy(), np.zeros(0)
        if isinstance(spec.untouched, Coast):
            coast = spec.untouched
            if coast.shared:
                rates, one[:, names.index("lr")] = spec.hyper[:, names.index("lr")], 1.0
        return CoastingWindow(Coasting(coast, spec.rule, spec.window, spec.scheduled, rates, one), self.d, self.threads)

    def _allocate(self, alive: Array, kept: tuple[Array, Array, Array] | None = None, t: int = 0) -> None:
        """Make room for some lanes; `kept`: state, table and mean, where they are there already."""
        count, spec, rule, layout = len(alive), self.spec, self.spec.rule, self.layout
        tiles, L, parameters = spec.kernel.tiles(count), layout.shape.lanes, layout.parameters
        values = spec.hyper_rows(self.dtype)[:, :, alive].reshape(-1, count)
        hyper = layout.spread(values, self.dtype)
        memory = np.tile(np.array(rule.memory, np.float64), spec.groups_apart(self.d))
        estimated = 0 if spec.estimator == "none" else parameters
        state, table, mean = kept or (
            aligned((tiles, (1 + rule.slots) * parameters * L), self.dtype),
            aligned((tiles, self._of_all * L if estimated else 0), self.dtype),
            aligned((tiles, estimated * L), self.dtype),
        )
        lanes = Lanes(
            groups=layout.table,
            state=state,
            hyper=hyper,
            exact=hyper if is_double(self.dtype) else layout.spread(values, np.float64),
            scheduled=np.zeros((1, tiles, len(spec.scheduled) * L)),
            which=self._which,
            memory=layout.spread(np.repeat(memory[:, None], count, axis=1), np.float64),
            bad=np.zeros((tiles, spec.kernel.lanes), np.int64),
            estimator=ESTIMATORS[spec.estimator],
            table=table,
            mean=mean,
        )
        self.state = LaneState(layout, lanes, alive, np.arange(count), alive, t)
        self.workers = min(self.threads.count, 2 if spec.kernel.halves else max(1, spec.kernel.parts) * tiles)
        self._memory = self.kernels.training_memory(spec, self.workers)
        large = spec.kernel.parts > 0
        self._gradients = aligned((spec.kernel.parts, tiles, parameters * L if large else 0), np.float64)
        self._losses = np.zeros((spec.kernel.parts, tiles, L))
        if self.window:
            self.window.allocate(self.state)
        self._iterate: Array | None = None  # what `iterate` returns, where it is not the state
        self._iterate_at = -1  # the step after which it was read

    # --- steps --------------------------------------------------------------------------------------------------------

    @property
    def batches(self) -> int:
        """Steps of an epoch."""
        return -(-self.n // self.spec.batch_size)

    def compile(self, gradient_norm: bool = False, measures: Sequence[Loss] = (), *, slopes: bool = False) -> None:
        """Compile, or load from the cache, every kernel that the cohort calls; the loss is always measured."""
        self.kernels.link()
        self.kernels.visit.compile()
        if self.spec.kernel.parts:
            self._gradient_call(PartSpan(0, 1, 0, 0, 0, 0, 0), 0).compile()
            self._apply_call(0, 1).compile()
        else:
            self._steps_call(0, 0, 1).compile()
        if self.spec.kernel.gram and self.batches == 1:
            self.kernels.compile_sums(self._memory[0])
        if self.spec.rule.has_readout:
            self._read_call(0, self.lanes.state).compile()
        gradients = gradient_norm or self.spec.estimator != "none"
        self._evaluation.compile(self.lanes.state, gradients, (self.spec.loss, *measures), slopes=slopes)
        if self.window:
            self.window.compile(self.state)
        if self.line:
            self.line.compile(self.state)
            self._apply_in_double_call(0, self._in_double(self.lanes)).compile()

    @cached_property
    def _calls(self) -> Any:
        return self.kernels.rule_calls(self.spec)

    def advance(self, steps: int, poll: Callable[[], None] = lambda: None) -> None:
        """Take steps, in calls of some 50 ms; `poll` is called after each."""
        self.kernels.link()
        end = self.t + steps
        while self.t < end:
            if self.spec.kernel.gram and self.batches == 1:
                self._whole_steps(end - self.t, poll)
                continue
            epoch, batch = divmod(self.t - self._first_step, self.batches)
            self._order_rows(epoch)
            if batch == 0:
                self._fill_table(epoch, poll)
            if self.spec.kernel.parts:
                self._large_step(batch, poll)
            else:
                if self.window and not self.window.room(self.t):
                    self.window.flush(self.state)
                self._small_steps(batch, min(end - self.t, self.batches - batch))
            poll()

    def _whole_steps(self, most: int, poll: Callable[[], None]) -> None:
        """Take steps of full batches by what is sufficient of all rows: their order does not matter."""
        self.kernels.sum_all_rows(self._memory, self._pace, poll)
        if self.spec.kernel.parts:
            self._large_step(0, poll)
        else:
            self._small_steps(0, most)
        poll()

    def _order_rows(self, epoch: int) -> None:
        if self._ordered not in (epoch, -1):
            reorder(self._order, self.spec.order, self.spec.seed, epoch)
            if self._some:
                self._order[:] = self._rows[self._order]
            self._ordered = epoch

    def _fill_table(self, epoch: int, poll: Callable[[], None]) -> None:
        """Take the residuals of all rows and their gradient, which SAGA starts from and SVRG renews every epoch."""
        due = {"none": False, "svrg": True, "saga": epoch == 0}[self.spec.estimator]
        if not due or self._snapshot_at == self.t:
            return
        if self.window:
            self.window.flush(self.state)  # the estimator's gradient, which moves what coasts, is about to change
        parts = self._evaluation.sum_gradients(self.lanes.state, poll, SNAPSHOT, self.lanes, self.t + 1)
        self.lanes.mean[:] = parts.sum(axis=0)
        self._snapshot_at = self.t

    def _schedule(self, steps: int) -> None:
        """Look up the scheduled values of the next steps."""
        if self.schedule is None or not self.spec.scheduled:
            return
        if self.batches == 1 and not self.schedule.per_step:  # each step is an epoch
            given = np.concatenate([self.schedule(self.t + step, 1) for step in range(steps)])
        else:
            given = self.schedule(self.t, steps)
        values = given[:, :, self.state.members].swapaxes(1, 2)
        values = self.spec.rule.usable(values, self.dtype, self.spec.scheduled).swapaxes(1, 2)
        spread = [self.layout.spread(row, np.float64) for row in values]
        self.state.arrays = self.lanes._replace(scheduled=np.ascontiguousarray(np.stack(spread)))
        if self.window and self.window.shares_schedule:
            self.window.schedule(self.schedule.reference(self.t, steps))

    def _work(self, rows: int) -> float:
        """Multiply-adds of one step over so many rows."""
        updated = self.lanes.state.size if self.window is None else 0
        if self.spec.kernel.gram:
            lanes, own = self.state.tiles * self.spec.kernel.lanes, 0.0 if self.batches == 1 else float(rows * self.d)
            return self.d * (2.0 * self.d * lanes + own) + 8.0 * updated
        return 4.0 * rows * self._row_work * self.state.tiles * self.spec.kernel.lanes + 8.0 * updated

    def _small_steps(self, batch: int, most: int) -> None:
        work = self._work(self.spec.batch_size)
        visit, whole = self.kernels.visit, self.spec.kernel.gram and self.batches == 1
        steps = min(most, self._pace.fitting(work), most if whole else max(1, visit.room // self.spec.batch_size))
        if self.window:
            steps = min(steps, self.window.room(self.t))
        if self.schedule is not None and (self.schedule.per_step or self.batches == 1):
            steps = min(steps, max(1, MOST_SCHEDULED // max(1, self.lanes.hyper.size)))
        self._schedule(steps)
        calls = [self._steps_call(worker, batch, steps) for worker in range(self.workers)]
        if whole:
            self._pace.run(calls, work * steps)
        else:
            rows = (self.spec.batch_size * each for each in (batch, batch + steps, batch + 2 * steps))
            first, middle, end = (min(row, self.n) for row in rows)
            visit.run(self._pace, calls, work * steps, [(first, middle)], [(middle, end)])
        self.state.t += steps

    def _steps_call(self, worker: int, batch: int, steps: int) -> KernelCall:
        span = StepSpan(worker, self.workers, batch, steps, self.t + 1, self.spec.batch_size)
        return self.kernels.steps(self.spec, self._calls, self.lanes, self.window, self._memory[worker], span)

    def _large_step(self, batch: int, poll: Callable[[], None]) -> None:
        start = batch * self.spec.batch_size
        rows = min(self.spec.batch_size, self.n - start)
        self._sum_gradient(start, rows, poll)
        self._schedule(1)
        if self.line:
            sums = self._gradients[0].reshape(self.state.tiles, self.layout.parameters, -1), self._losses[0].reshape(-1)
            rates = np.zeros(len(self.state.members))
            direction = self.direction()
            rates[np.searchsorted(self.state.members, self.alive)] = self.line.choose(
                self.state, direction, sums, self._pace, poll
            )
            self.state.arrays = self._at_rates(rates)
        self._apply(rows)
        self.state.t += 1

    def _sum_gradient(self, first: int, rows: int, poll: Callable[[], None]) -> None:
        """Sum the gradient of the rows of a batch, which begins at `first` in the order."""
        if self.spec.kernel.gram:
            spans = [PartSpan(worker, self.workers, 0, 0, 0, rows, self.t + 1) for worker in range(self.workers)]
            self._pace.run([self._gradient_call(span, first) for span in spans], self._work(rows))
            return
        self._gradients[:] = self._losses[:] = 0
        parts = self.spec.kernel.parts
        size, work, low = part_rows(rows, parts), self._work(1) * parts, 0
        while low < size:
            high = min(size, low + chunks(min(self._pace.fitting(work), self.kernels.visit.room // parts)))
            spans = [
                PartSpan(worker, self.workers, size, low, high, rows, self.t + 1) for worker in range(self.workers)
            ]
            calls = [self._gradient_call(span, first) for span in spans]
            both = ranges_now_and_next(spans[0], parts, first)
            self.kernels.visit.run(self._pace, calls, work * (high - low), *both)
            low = high
            poll()

    def _gradient_call(self, span: PartSpan, first: int) -> KernelCall:
        if self.spec.kernel.gram:
            return self.kernels.gradient_of_all(self._sums(), self._memory[span.worker], span)
        return self.kernels.gradient(self._sums(), self._memory[span.worker], span, first)

    def _sums(self) -> GradientSums:
        lanes, wants_losses = self.lanes, bool(self._calls.losses or self.spec.line_search)
        return GradientSums(
            lanes.state, self._gradients, self._losses, wants_losses, lanes.bad, lanes.table, lanes.estimator
        )

    def _apply(self, rows: int) -> None:
        """Take the rule's step of a batch of so many rows, whose gradient has been summed."""
        self.threads.run([self._apply_call(worker, rows) for worker in range(self.workers)])
        self._gradients[1:] = self._losses[1:] = 0  # the first now holds the sum of all

    def _apply_call(self, worker: int, rows: int) -> KernelCall:
        span = ApplySpan(worker, self.workers, self.t + 1, rows, self.n)
        memory = self._memory[worker]
        scratch = memory if isinstance(memory, Scratch) else memory[0]
        given = (self.lanes, self._gradients, self._losses, scratch, span)
        return KernelCall(apply_gradients, (self._calls, self._shape, *given))

    # --- line searches ------------------------------------------------------------------------------------------------

    def _at_rates(self, rates: Array) -> Lanes:
        """Return the lanes with rates of the lanes in the tiles in the place of the scheduled ones."""
        scheduled, row = self.lanes.scheduled.copy(), self.spec.scheduled.index("lr")
        L = self.layout.shape.lanes
        scheduled[0, :, row * L : (row + 1) * L] = self.layout.spread(rates[None], np.float64)
        return self.lanes._replace(scheduled=scheduled)

    def direction(self) -> Array:
        """Return what a step at rate 1 would add to the parameters (tiles, parameters * L); changes no state.

        The step is taken in float64: of a small step from large parameters, their difference would keep few digits.
        """
        parameters = self.layout.parameters * self.layout.shape.lanes
        lanes = self._in_double(self._at_rates(np.ones(len(self.state.members))))
        self.threads.run([self._apply_in_double_call(worker, lanes) for worker in range(self.workers)])
        self._gradients[1:] = self._losses[1:] = 0
        return np.ascontiguousarray(lanes.state[:, :parameters] - self.lanes.state[:, :parameters])

    def _in_double(self, lanes: Lanes) -> Lanes:
        """Return a copy of lanes in float64."""
        exact = lanes.exact.copy()
        state, table, mean = (array.astype(np.float64) for array in (lanes.state, lanes.table, lanes.mean))
        return lanes._replace(state=state, hyper=exact, exact=exact, memory=lanes.memory.copy(), table=table, mean=mean)

    @cached_property
    def _double(self) -> tuple[Calls, list[Scratch]]:
        """The rule's kernels in float64, and the workers' memory."""
        rule, shape = self.spec.rule, self.layout.shape
        groups, layers = self.spec.groups_apart(self.d), self.spec.kernel.network
        scratch = [
            make_scratch(0, shape.lanes, 0, np.float64, rule.counts, groups=groups) for _ in range(self.threads.count)
        ]
        return calls_of(rule, shape, np.float64, layers=layers), scratch

    def _apply_in_double_call(self, worker: int, lanes: Lanes) -> KernelCall:
        calls, scratch = self._double
        span = ApplySpan(worker, self.workers, self.t + 1, self.n, self.n)
        given = (lanes, self._gradients, self._losses, scratch[worker], span)
        return KernelCall(apply_gradients, (calls, self._shape, *given))

    # --- measures -----------------------------------------------------------------------------------------------------

    def _read_call(self, worker: int, out: Array) -> KernelCall:
        given = (self.lanes.state, self.lanes.hyper, out, worker, self.workers)
        return KernelCall(read_iterate, (self._rule, Static(self.layout.shape.of_lanes), *given))

    def iterate(self) -> Array:
        """The reported iterate (tiles, >= parameters * L); a view of the state where it is the state.

        It is read once for all that is asked of a step.
        """
        coasts = self.window is not None and self.window.coast is not None
        if not self.spec.rule.has_readout and not coasts:
            return self.lanes.state
        if self._iterate is None:
            self._iterate = aligned((self.state.tiles, self.layout.parameters * self.layout.shape.lanes), self.dtype)
        if self._iterate_at != self.t:
            if self.window and coasts:
                self.window.read(self.state, self._iterate)
            else:
                for worker in range(self.workers):
                    self._read_call(worker, self._iterate)()
            self._iterate_at = self.t
        return self._iterate

    def slots(self) -> list[Array]:
        """Return what the rule keeps for each parameter, up to date: (parameters, alive) for each slot."""
        state = self.window.up_to_date(self.state) if self.window else self.lanes.state
        return list(self.state.parts(state, first=1))

    def memory(self) -> Array:
        """Return what the rule keeps for each lane (numbers, alive) float64."""
        return self.state.gather(self.lanes.memory)

    def value_of(self, name: str) -> Array:
        """Return a hyper-parameter (alive,): what its schedule gave it in the last step."""
        row = list(self.spec.rule.fields).index(name)
        if name not in self.spec.scheduled:
            return self.spec.hyper[self.alive, row]
        return self.state.gather(self.lanes.exact)[row]

    def parameters(self, which: Array | None = None) -> Array:
        """Return the reported iterates (alive, parameters) in float64; `which`: of these positions only."""
        return self.layout.columns_at(self.iterate(), self.places if which is None else self.places[which])

    def first_bad_step(self) -> Array:
        """Return the first step with a residual that was not finite (alive,), or 0."""
        return self.lanes.bad.reshape(-1)[self.places]

    def measure(self, rows: Sequence[tuple[Any, ...]], poll: Callable[[], None] = lambda: None) -> Measures:
        """Sum measures over sets of rows (each a `MeasuredRows`) at the reported iterates; changes no state."""
        return self._evaluation.measure(self.iterate(), self.places, [MeasuredRows(*each) for each in rows], poll)

    def gradient_norms(self, poll: Callable[[], None] = lambda: None) -> Array:
        """Return the norms of the objective's gradient and of each layer's part of it (1 + layers, alive)."""
        return self._evaluation.gradient_norms(self.iterate(), self.places, self.spec.l2[self.alive], poll)

    def dead_units(self, rows: tuple[Any, ...], poll: Callable[[], None] = lambda: None) -> Array:
        """Return the share of each hidden layer's units (layers, alive) with no slope at any of some rows."""
        return self._evaluation.dead_units(self.iterate(), self.places, MeasuredRows(*rows), poll)

    def weights(self) -> Array:
        """Return a copy of the parameters that steps move, in their tiles: see `update_ratios`."""
        return self.lanes.state[:, : self.layout.parameters * self.layout.shape.lanes].copy()

    def update_ratios(self, before: Array) -> Array:
        """Return how far steps have moved each layer from where `weights` found it, relative to its norm there.

        Of shape (layers, alive). These are the parameters at which gradients are taken, whatever iterate is reported;
        no lane may have been retired since.
        """
        layers = self.layout.layers()
        pairs = zip(self._evaluation.tiles_of(before), self._evaluation.tiles_of(self.lanes.state), strict=True)
        return np.concatenate([relative_moves(*pair, layers) for pair in pairs], axis=1)[:, self.places]

    # --- lanes that end, and cohorts that go on elsewhere -------------------------------------------------------------

    def retire(self, keep: Array) -> None:
        """Go on with some lanes only: `keep` (alive,) bool. The others' bits stay as they are."""
        old = self.state
        old.alive, old.places = old.alive[keep], old.places[keep]
        if self.spec.kernel.tiles(len(old.alive)) == old.tiles or not len(old.alive):
            return
        captured, of_window = old.capture_hyper(), self.window.capture(old) if self.window else {}
        kept = [
            self.layout.pack(values, old.places) for values in (old.arrays.state, old.arrays.table, old.arrays.mean)
        ]
        self._allocate(old.alive, (kept[0], kept[1], kept[2]), old.t)
        self.state.restore_hyper(captured)
        if self.window:
            self.window.restore(self.state, of_window)

    def capture(self) -> Captured:
        """Return arrays and whole numbers with which a fresh cohort goes on from here, bit for bit."""
        window = self.window.capture(self.state) if self.window else {}
        line = self.line.capture(self.alive) if self.line else {}
        return {
            **self.state.capture(),
            "snapshot_at": self._snapshot_at,
            **{f"window.{name}": value for name, value in window.items()},
            **{f"line.{name}": value for name, value in line.items()},
        }

    def restore(self, captured: Mapping[str, Any]) -> None:
        """Go on from what `capture` returned, in a cohort of the same spec and rows that has taken no step."""
        if not len(captured["alive"]):
            self.retire(np.zeros(len(self.alive), bool))
            return
        if not np.array_equal(captured["alive"], self.alive):
            self._allocate(np.asarray(captured["alive"]))
        self.state.restore(captured)
        self._iterate_at = -1
        self._snapshot_at = int(captured["snapshot_at"])
        if self.window:
            self.window.restore(self.state, part_of(captured, "window."))
        if self.line:
            self.line.restore(self.alive, part_of(captured, "line."))

    def portable(self) -> Captured:
        """Return what a cohort of one rule over other rows goes on from: see `go_on`."""
        if self.window:
            self.window.flush(self.state)
        return self.state.capture()

    def go_on(self, captured: Mapping[str, Any]) -> None:
        """Go on with what `portable` returned of lanes over other rows, in a cohort that has taken no step.

        Parameters, slots, memory and the count of steps are theirs; hyper-parameters, and what is kept of rows, are of
        this cohort. Its rows are visited from the first batch on.
        """
        own = {name: self.state.gather(getattr(self.lanes, name)) for name in ("exact", "table", "mean")}
        self.state.restore({**captured, **own})
        self._iterate_at = -1
        self._first_step = self.t
        if self.window:
            self.window.begun = self.t


def part_of(captured: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Return what stands under a prefix, by the names behind it."""
    return {name.removeprefix(prefix): value for name, value in captured.items() if name.startswith(prefix)}
