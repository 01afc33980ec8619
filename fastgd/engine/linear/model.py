"""The linear model: margins `x . w + b`, of which a loss is a function of one variable."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fastgd.core.barrier import make_counters
from fastgd.core.static import Static
from fastgd.core.threads import Threads
from fastgd.core.vectors import aligned
from fastgd.engine.arrays import (
    CHUNK_ROWS,
    BlockSpan,
    GradientSums,
    Lanes,
    PartSpan,
    Rows,
    Scratch,
    SparseRows,
    StepSpan,
    chunks,
    most_entries,
    of_batch,
    part_rows,
    ranges_now_and_next,
)
from fastgd.engine.calls import KernelCall, Pace
from fastgd.engine.coast.window import CoastingWindow
from fastgd.engine.linear import batch_steps, block_steps, sparse_steps, sweep_steps, tile_steps
from fastgd.engine.linear.evaluation_steps import evaluate_blocks, evaluate_single_blocks
from fastgd.engine.linear.gram import gram_steps
from fastgd.engine.linear.gram.gram_line import ParabolaAlong
from fastgd.engine.linear.line_search import RowsAlong
from fastgd.engine.linear.single import single_sweeps
from fastgd.engine.linear.sparse_steps import LISTED_STEPS, Touched
from fastgd.engine.linear.sweep_steps import SweepCalls, sweep_calls_of
from fastgd.engine.linear.touched_rule import SparseCalls, sparse_calls_of
from fastgd.engine.loss_kernels import losses_address, residuals_address
from fastgd.engine.rows.line_search import AlongDirection, DirectionLine
from fastgd.engine.rows.order import start_values
from fastgd.engine.rows.spec import CohortSpec
from fastgd.engine.rows.visit import Visit
from fastgd.engine.rule_kernels import Calls, calls_of
from fastgd.engine.shapes import Kernel, gram_parts, point_kernel, tile_shape
from fastgd.engine.tiles import Group, TileLayout, is_double, make_scratch
from fastgd.optimizers.coasting import Coast
from fastgd.problems import Loss

Array = npt.NDArray[Any]
LISTED_ENTRIES = 1 << 15  # entries of sparse rows whose features are listed at a time, if no batch has more


@dataclass(frozen=True)
class LinearModel:
    """A weight for each feature, and an intercept if there is one; see `engine.rows.model.Model`.

    Attributes
    ----------
    intercept : bool
    """

    intercept: bool = True

    @property
    def compiled(self) -> str:
        """What its kernels are compiled for: nothing of its own."""
        return ""

    @property
    def units(self) -> tuple[int, ...]:
        """The units of each hidden layer: there are none."""
        return ()

    def groups(self, d: int) -> tuple[Group, ...]:
        """Return the weights, and the intercept, which is not penalised."""
        weights = Group("weights", (d,), penalised=True)
        return (weights, Group("intercept", (), penalised=False)) if self.intercept else (weights,)

    def start(self, init: str | float | tuple[float, ...], seed: int, d: int) -> Array:
        """Return the start (d + intercept,) float64 of every lane of a seed."""
        return start_values(init, seed, d + self.intercept)

    def point_kernel(self, d: int, itemsize: int, *, sparse: bool) -> Kernel:
        """Return the kernel that evaluates the objective at any points."""
        return point_kernel(d + self.intercept, itemsize, sparse=sparse)

    def working_bytes(self, d: int, kernel: Kernel, itemsize: int) -> int:
        """Return the bytes that a worker works in: few."""
        return 0

    def multiply_adds(self, d: int, entries: float) -> float:
        """Return those that a pass over a row takes for a lane: its entries."""
        return entries

    def kernels(
        self, loss: Loss, X: Any, y: Array, order: Array, layout: TileLayout, batch: int = 1
    ) -> "LinearKernels":
        """Return the model's kernels on rows X (n, d) with targets y (n,), or y (n, 2) with the rows' weights."""
        return LinearKernels(loss, Visit(X, y.reshape(len(y), -1), order, self.intercept, batch=batch), layout)


class LinearKernels:
    """The kernels of a linear model on some rows; see `engine.rows.model.ModelKernels`."""

    units = ()

    def __init__(self, loss: Loss, visit: Visit, layout: TileLayout) -> None:
        self.loss, self.visit, self.rows, self.layout = loss, visit, visit.rows, layout
        self.dtype, self.n = self.rows.X.dtype, len(visit.numbers)
        self._whole: gram_steps.Gram | None = None
        self._summed = False
        self._shape, self._double = Static(layout.shape), Static(tile_shape(layout.shape.lanes, 8))

    def visiting(self, order: Array, layout: TileLayout | None = None) -> "LinearKernels":
        """Return the kernels on the same rows in another order, and for another layout if one is given."""
        return LinearKernels(self.loss, self.visit.again(order), layout or self.layout)

    def link(self) -> None:
        """Compile, or load from the cache, what the kernels call of the loss."""
        if not self.rows.residuals:
            loss = (self.loss, self.layout.shape, self.dtype, self.layout.single)
            self.rows = self.rows._replace(residuals=residuals_address(*loss), losses=losses_address(*loss))

    def rule_calls(self, spec: CohortSpec) -> Calls | SparseCalls | SweepCalls:
        """Compile, or load from the cache, what the kernels call of a cohort's rule."""
        scheduled, shape = bool(spec.scheduled), self.layout.shape
        if spec.sweeps:
            return sweep_calls_of(spec.rule, shape, self.dtype, spec.batch_size, scheduled=scheduled)
        if not spec.touches:
            return calls_of(spec.rule, shape, self.dtype, scheduled=scheduled)
        coast = spec.untouched if isinstance(spec.untouched, Coast) else None
        rows = spec.batch_size == 1 and spec.estimator == "none"
        how: dict[str, Any] = {"scheduled": scheduled, "rows": rows, "adds": spec.adds_rows, "coast": coast}
        return sparse_calls_of(spec.rule, shape, self.dtype, **how)

    # --- memory -------------------------------------------------------------------------------------------------------

    def training_memory(self, spec: CohortSpec, workers: int) -> list[Any]:
        """Return a `Scratch` for each worker, and where steps touch some parameters alone, a `Touched` with it."""
        layout, shape, rule, large = self.layout, self.layout.shape, spec.rule, spec.kernel.parts > 0
        few = block_steps.BLOCKS_AT_ONCE * shape.rows
        gradient = few if self._in_blocks(spec) or spec.touches else layout.parameters + layout.single
        if large:  # in float64 it is the first of the parts
            gradient = 0 if is_double(self.dtype) else layout.parameters
        rows = min(CHUNK_ROWS, spec.batch_size) + 2 * shape.width  # losses of rows need a vector behind
        how: dict[str, Any] = {"single": layout.single, "total": spec.batch_size > self.rows.chunk and not large}
        how["targets"] = CHUNK_ROWS * self.loss.columns
        made = [make_scratch(rows, shape.lanes, gradient, self.dtype, rule.counts, **how) for _ in range(workers)]
        if spec.kernel.gram:
            return [(scratch, self._make_gram(spec)) for scratch in made]
        if spec.kernel.halves:
            halves = self._make_halves(spec.kernel.tiles(len(spec.hyper)))
            return [(scratch, halves) for scratch in made]
        if not spec.touches:
            return list(made)
        entries = most_entries(self.visit.indptr, spec.batch_size)
        listed = spec.batch_size > 1 or spec.estimator != "none"
        return [(scratch, self._make_touched(entries, listed)) for scratch in made]

    def _in_blocks(self, spec: CohortSpec) -> bool:
        return spec.in_blocks(self.rows.d, self.dtype.itemsize)

    def _make_gram(self, spec: CohortSpec) -> gram_steps.Gram:
        """Return a worker's memory; what is sufficient of all rows is made once, and all workers read it."""
        size, whole = (self.layout.parameters, self.layout.shape.lanes), spec.batch_size >= self.n
        if whole and self._whole is None:
            self._whole = gram_steps.make_gram(*size, batches=False)
        return gram_steps.make_gram(*size, self._whole, batches=not whole)

    def _make_halves(self, tiles: int) -> batch_steps.Halves:
        """Return what two workers know of each other's half of a batch."""
        L = self.layout.shape.lanes
        return batch_steps.Halves(
            make_counters(2),
            aligned((2, 2, tiles, self.layout.parameters * L), self.dtype),
            aligned((2, 2, tiles, L), np.float64),
            aligned((2, 2, tiles, L), self.dtype),
        )

    def _make_touched(self, entries: int, listed: bool) -> Touched:
        """Return a worker's lists of features; where they are not `listed`, a single row's own list serves."""
        most = max(entries, LISTED_ENTRIES) if listed else 1
        return Touched(
            np.full(self.rows.d if listed else 0, -1, np.int32),
            np.zeros(most, np.int32),
            np.zeros(most, np.int32),
            np.zeros((LISTED_STEPS + 1, 2), np.int64),
            aligned((min(entries, self.rows.d) * self.layout.shape.lanes if listed else 0,), self.dtype),
            aligned((2 * self.layout.shape.lanes,), self.dtype),
        )

    def reading_memory(self, workers: int, *, gradients: bool) -> list[Scratch]:
        """Return a `Scratch` for each worker, with room for a chunk's gradient where that is not summed in float64."""
        apart = gradients and not is_double(self.dtype) and not self.layout.kernel.sparse
        shape, rows = self.layout.shape, CHUNK_ROWS + 2 * self.layout.shape.width
        room = (rows, shape.lanes, self.layout.parameters if apart else 0, self.dtype)
        single, targets = self.layout.single, CHUNK_ROWS * self.loss.columns
        return [make_scratch(*room, single=single, targets=targets) for _ in range(workers)]

    # --- calls --------------------------------------------------------------------------------------------------------

    def steps(
        self, spec: CohortSpec, calls: Any, lanes: Lanes, window: CoastingWindow | None, memory: Any, span: StepSpan
    ) -> KernelCall:
        """Take mini-batch steps: for each batch and tile the gradient, then the rule."""
        rows = self.visit.of_worker(span.worker, self.rows)
        how = (calls, self._shape, rows, lanes)
        if window is not None:
            scratch, touched = memory
            given = (window.arrays, touched, scratch, span, window.taken(span.t - 1), window.how.size)
            return KernelCall(sparse_steps.advance, (*how, *given))
        if spec.kernel.gram:
            whole = spec.batch_size >= self.n
            return KernelCall(gram_steps.advance, (calls, self._shape, self._double, *how[2:], *memory, span, whole))
        if spec.sweeps_alone:
            which = (Static(spec.rule), Static(self.loss), self._shape, calls.begin)
            return KernelCall(single_sweeps.advance, (*which, *how[2:], memory, span))
        if spec.kernel.halves:  # each worker takes the steps of all lanes by itself
            own = copied(lanes) if span.worker > 0 else lanes
            return KernelCall(batch_steps.advance_halves, (*how[:3], own, *memory, span), memory[1].counters)
        steps = sweep_steps if spec.sweeps else block_steps if self._in_blocks(spec) else batch_steps
        return KernelCall(steps.advance, (*how, memory, span))

    def sum_all_rows(self, memory: Sequence[Any], pace: Pace, poll: Callable[[], None]) -> None:
        """Sum what is sufficient of all rows, once, in parts that are added in order."""
        if self._summed or self._whole is None:
            return
        parameters, lanes, n = self.layout.parameters, self.layout.shape.lanes, self.n
        parts, tiles = gram_parts(parameters), gram_steps.column_tiles(parameters, lanes)
        sums = aligned((parts, tiles, parameters * lanes), np.float64)
        size, low, work = part_rows(n, parts), 0, float(parts * parameters**2)
        while low < size:
            high = min(size, low + chunks(min(pace.fitting(work), self.visit.room // parts)))
            spans = [PartSpan(worker, len(memory), size, low, high, n, 0) for worker in range(len(memory))]
            calls = [self._gram_call(sums, memory[span.worker][1], span) for span in spans]
            both = ranges_now_and_next(spans[0], parts)
            self.visit.run(pace, calls, work * (high - low), *both)
            low = high
            poll()
        for part in sums[1:]:
            sums[0] += part
        gram_steps.put_sums(self._whole, sums[0], self.visit.targets)
        self._summed = True

    def _gram_call(self, sums: Array, gram: gram_steps.Gram, span: PartSpan) -> KernelCall:
        rows = self.visit.of_worker(span.worker, self.rows)
        return KernelCall(gram_steps.accumulate, (self._double, rows, sums, gram, span))

    def compile_sums(self, memory: Any) -> None:
        """Compile, or load from the cache, what sums over all rows."""
        sums = aligned((0, 0, 0), np.float64)
        self._gram_call(sums, memory[1], PartSpan(0, 1, 0, 0, 0, 0, 0)).compile()

    def gradient(self, sums: GradientSums, memory: Any, span: PartSpan, first: int = 0) -> KernelCall:
        """Add a part of a large batch, which begins at `first` in the order, to the sums in a buffer."""
        rows = of_batch(self.visit.of_worker(span.worker, self.rows), first, span.end)
        return KernelCall(tile_steps.accumulate, (self._shape, rows, sums, memory, span))

    def gradient_of_all(self, sums: GradientSums, memory: Any, span: PartSpan) -> KernelCall:
        """Put the gradient of all rows in a buffer, by what is sufficient of them."""
        return KernelCall(gram_steps.take_gradients, (self._shape, self._double, sums, memory[1], span))

    def visit_of(self, X: Any, y: Array, order: Array) -> Visit:
        """Return a visit of other rows, of which losses are summed."""
        return self.visit.other(X, y.reshape(len(y), -1), order)

    def row_work(self, visit: Visit) -> float:
        """Return the multiply-adds that a pass over a row takes for a lane."""
        return visit.entries

    def addresses(self, measures: Sequence[Loss]) -> Array:
        """Compile, or load from the cache, the kernels of some losses, and return their addresses."""
        how = (self.layout.shape, self.dtype, self.layout.single)
        return np.array([losses_address(measure, *how) for measure in measures], np.int64)

    def losses(
        self, rows: Rows | SparseRows, W: Array, measures: Array, totals: Array, memory: Scratch, span: BlockSpan
    ) -> KernelCall:
        """Sum measures over blocks of rows to totals (blocks, tiles, measures, lanes) float64."""
        kernel = evaluate_single_blocks if self.layout.single else evaluate_blocks
        return KernelCall(kernel, (self._shape, rows, W, measures, totals, memory, span))

    def slopes(self, rows: Any, W: Array, steepest: Array, memory: Any, span: PartSpan) -> KernelCall:
        """Raise NotImplementedError: a linear model has no hidden units."""
        raise NotImplementedError

    def line(self, spec: CohortSpec, threads: Threads, memory: Sequence[Any]) -> DirectionLine:
        """Return the objective along each lane's direction; `memory`: what training works in."""
        along: AlongDirection
        if spec.kernel.gram:
            along = ParabolaAlong([gram for _, gram in memory], self.layout.lanes)
        else:
            along = RowsAlong(self.visit.again(self.visit.numbers.copy()), self.layout, spec.loss, threads)
        return DirectionLine(along, self.layout, spec, self.n, threads)


def copied(lanes: Lanes) -> Lanes:
    """Return a copy of all that steps change."""
    hyper = lanes.hyper.copy()
    exact = hyper if lanes.exact is lanes.hyper else lanes.exact.copy()
    state, memory, bad = lanes.state.copy(), lanes.memory.copy(), lanes.bad.copy()
    return lanes._replace(state=state, hyper=hyper, exact=exact, memory=memory, bad=bad)
