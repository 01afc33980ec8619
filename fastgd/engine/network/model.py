"""Layered networks: a model of which every lane has weights of its own, layer by layer."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastgd.core.static import Static
from fastgd.core.threads import Threads
from fastgd.core.vectors import aligned, register_bits
from fastgd.engine.arrays import (
    BlockSpan,
    GradientSums,
    Lanes,
    PartSpan,
    Rows,
    Scratch,
    StepSpan,
    of_batch,
)
from fastgd.engine.calls import KernelCall, Pace
from fastgd.engine.loss_kernels import losses_address, residuals_address
from fastgd.engine.network import steps
from fastgd.engine.network.activations import activation_addresses
from fastgd.engine.network.line import ForwardAlong
from fastgd.engine.network.passes import STRIDE, UNITS, Layers, Units
from fastgd.engine.network.starts import start_of_layer
from fastgd.engine.rows.line_search import DirectionLine
from fastgd.engine.rows.spec import CohortSpec
from fastgd.engine.rows.visit import Visit
from fastgd.engine.rule_kernels import Calls, calls_of
from fastgd.engine.shapes import LARGE_BATCH, Kernel
from fastgd.engine.tiles import Group, TileLayout, is_double, make_scratch
from fastgd.problems import Loss
from fastgd.problems.activations import Activation

Array = npt.NDArray[Any]
UNIT_BYTES = 2 << 20  # of the units of the rows that are passed at once, in the widest tile
FEWEST_ROWS, MOST_ROWS = 16, 64  # that are passed at once


@dataclass(frozen=True)
class Network:
    """A network: layers of units between features and outputs; see `engine.rows.model.Model`.

    Attributes
    ----------
    hidden : tuple of int
        The units of each hidden layer.
    activation : Activation
        Of the hidden layers; the last one has none.
    outputs : int
    bias : bool
        Whether every layer has biases, which are not penalised.
    """

    hidden: tuple[int, ...]
    activation: Activation
    outputs: int = 1
    bias: bool = True

    @property
    def compiled(self) -> str:
        """What its kernels are compiled for: the activation, and no width or depth."""
        return self.activation.name if self.hidden else ""

    @property
    def units(self) -> tuple[int, ...]:
        """The units of each hidden layer."""
        return self.hidden

    def widths(self, d: int) -> tuple[int, ...]:
        """Return the numbers of features, of each hidden layer's units, and of outputs."""
        return (d, *self.hidden, self.outputs)

    def groups(self, d: int) -> tuple[Group, ...]:
        """Return each layer's weights (inputs, outputs) and its biases (outputs,)."""
        found = []
        for number, (inputs, outputs) in enumerate(pairwise(self.widths(d)), 1):
            found.append(Group(f"weights_{number}", (inputs, outputs), penalised=True, layer=number))
            if self.bias:
                found.append(Group(f"bias_{number}", (outputs,), penalised=False, layer=number))
        return tuple(found)

    def start(self, init: Any, seed: int, d: int) -> Array:
        """Return the start (parameters,) float64 of every lane of a seed."""
        if isinstance(init, tuple):
            return np.array(init, np.float64)
        parts = []
        for number, (inputs, outputs) in enumerate(pairwise(self.widths(d)), 1):
            parts.extend(start_of_layer(init, seed, number, inputs, outputs, bias=self.bias))
        return np.concatenate(parts)

    def point_kernel(self, d: int, itemsize: int, *, sparse: bool) -> Kernel:
        """Return the kernel that evaluates the objective at any points."""
        return Kernel(register_bits()[0] // 8 // itemsize, sparse=sparse, network=True)

    def working_bytes(self, d: int, kernel: Kernel, itemsize: int) -> int:
        """Return the bytes that a worker works in: units and slopes of some rows."""
        sizes = _sizes(self, d, TileLayout(kernel, itemsize, self.groups(d)))
        return (2 * sizes.units + sizes.margins + sizes.turned) * itemsize

    def multiply_adds(self, d: int, entries: float) -> float:
        """Return those that a pass over a row of so many entries takes for a lane."""
        d, first, *others = self.widths(d)
        return entries * first + sum(inputs * outputs for inputs, outputs in pairwise((first, *others)))

    def kernel(
        self,
        d: int,
        lanes: int,
        batch_size: int,
        itemsize: int,
        *,
        tiles: bool = False,
        parts: bool = False,
        sparse: bool = False,
    ) -> Kernel:
        """Return the kernel for a cohort of so many lanes; in tiles, or with the batch in parts, if something needs it.

        A tile is a vector of lanes, as wide as the cohort fills one. Lanes that are fewer are faster one by one, as far
        as their layers fill vectors: a lane's numbers stay in the cache, and two threads share the lanes. The bits are
        the same; rules that sum over parameters would have others, and need tiles.
        """
        width, widest = 16 // itemsize, register_bits()[0] // 8 // itemsize
        large = batch_size >= LARGE_BATCH
        if not (large or tiles or parts or sparse) and lanes <= max(1.0, widest * self._filled(d, widest)):
            return Kernel(1, network=True)
        while width < widest and width < lanes:
            width *= 2
        summed = max(1, min(16, 16 // -(-lanes // width))) if large else int(parts)
        return Kernel(width, parts=summed, sparse=sparse, network=True)

    def _filled(self, d: int, width: int) -> float:
        """Return how much of vectors over units is used; for an only output they run over the units below."""
        layers = pairwise(self.widths(d))
        padded = sum(inputs * (-(-outputs // width) * width if outputs > 1 else 1) for inputs, outputs in layers)
        return self.multiply_adds(d, d) / padded

    def kernels(
        self, loss: Loss, X: Any, y: Array, order: Array, layout: TileLayout, batch: int = 1
    ) -> "NetworkKernels":
        """Return the model's kernels on rows X (n, d) with targets y (n,), or several, (n, targets)."""
        visit = Visit(X, y.reshape(len(y), -1), order, self.bias, flat=True, batch=batch)
        return NetworkKernels(self, loss, visit, layout)

    def unit_rows(self, d: int) -> int:
        """Return the rows that are passed at once, a power of two: as many in tiles of any width, for the same bits."""
        each, rows = 2 * sum(self.widths(d)[1:]) * register_bits()[0] // 8, MOST_ROWS
        while rows > FEWEST_ROWS and rows * each > UNIT_BYTES:
            rows //= 2
        return rows

    def layers(self, d: int, layout: TileLayout) -> Array:
        """Return `Layers.table` (layers, 6) for a layout."""
        rows, widths, single = self.unit_rows(d), self.widths(d), layout.single
        each = layout.shape.width if single else 1
        firsts = iter(layout.table[:, 0] * each)
        table: list[tuple[int, ...]] = []
        units = 0
        for inputs, outputs in pairwise(widths):
            weights, bias = next(firsts), next(firsts) if self.bias else -1
            stride = -(-outputs // each) * each if single else outputs | 1
            stride = outputs if len(table) == len(widths) - 2 else stride
            table.append((inputs, outputs, weights, bias, units, stride))
            units += rows * stride
        return np.array(table, np.int64)


class _Sizes(NamedTuple):
    """The elements of a worker's memory: see `engine.network.passes.Units`."""

    units: int
    margins: int
    turned: int


def _sizes(model: Network, d: int, layout: TileLayout) -> _Sizes:
    """Return them for a layout; a vector more than a single lane's units is read behind the last of them."""
    table, rows, width = model.layers(d, layout), model.unit_rows(d), layout.shape.width
    units = (int(table[-1, UNITS]) + rows * int(table[-1, STRIDE])) * layout.shape.step
    if not layout.single:
        return _Sizes(units, 0, 0)
    turned = [math.prod(-(-int(size) // width) * width for size in layer[:2]) for layer in table[1:]]
    return _Sizes(-(-units // width) * width + width, rows * model.outputs * width, max(turned, default=0))


class NetworkKernels:
    """The kernels of a network on some rows; see `engine.rows.model.ModelKernels`."""

    def __init__(self, model: Network, loss: Loss, visit: Visit, layout: TileLayout) -> None:
        self.model, self.loss, self.visit, self.layout = model, loss, visit, layout
        self.dtype, self.n, self.units = visit.rows.X.dtype, len(visit.numbers), model.units
        self._unit_rows = model.unit_rows(visit.rows.d)
        self.rows = visit.rows = visit.rows._replace(chunk=self._unit_rows)
        self._table = model.layers(self.rows.d, layout)
        self._layers = Layers(self._table, layout.parameters, loss.columns, 0, 0)
        self._shape = Static(layout.shape)

    def visiting(self, order: Array, layout: TileLayout | None = None) -> "NetworkKernels":
        """Return the kernels on the same rows in another order, and for another layout if one is given."""
        return NetworkKernels(self.model, self.loss, self.visit.again(order), layout or self.layout)

    def link(self) -> None:
        """Compile, or load from the cache, what the kernels call of the loss and of the activation."""
        if not self.rows.residuals:
            loss = (self.loss, self.layout.shape, self.dtype, False)
            self.rows = self.rows._replace(residuals=residuals_address(*loss), losses=losses_address(*loss))
            self._link_activation()

    def _link_activation(self) -> None:
        if not self._layers.activate:
            found = activation_addresses(self.model.activation, self.layout.shape, self.dtype)
            self._layers = self._layers._replace(activate=found[0], slope=found[1])

    def rule_calls(self, spec: CohortSpec) -> Calls:
        """Compile, or load from the cache, what the kernels call of a cohort's rule."""
        return calls_of(spec.rule, self.layout.shape, self.dtype, scheduled=bool(spec.scheduled), layers=True)

    def training_memory(self, spec: CohortSpec, workers: int) -> list[tuple[Scratch, Units]]:
        """Return the memory of each worker that takes a cohort's steps."""
        layout, rounds = self.layout, spec.rule.functions.rounds
        at_once = spec.batch_size <= self._unit_rows and not (rounds or layout.single or spec.kernel.sparse)
        gradient = layout.shape.rows * max(self.model.widths(self.rows.d)[1:]) if at_once else layout.parameters
        if spec.kernel.parts and is_double(self.dtype):  # it is the first of the parts
            gradient = 0
        total = spec.batch_size > self._unit_rows and not spec.kernel.parts
        how = {"total": total, "groups": spec.groups_apart(self.rows.d)}
        return [self._memory(gradient, spec.rule.counts, **how) for _ in range(workers)]

    def reading_memory(self, workers: int, *, gradients: bool) -> list[tuple[Scratch, Units]]:
        """Return the memory of each worker that sums losses, and gradients where these are asked for."""
        gradient = self.layout.parameters if gradients and not is_double(self.dtype) else 0
        return [self._memory(gradient) for _ in range(workers)]

    def _memory(self, gradient: int, counts: Any = None, **how: Any) -> tuple[Scratch, Units]:
        L, sizes = self.layout.shape.lanes, _sizes(self.model, self.rows.d, self.layout)
        targets = self._unit_rows * self.loss.columns
        scratch = make_scratch(0, L, gradient, self.dtype, counts, targets=targets, **how)
        values, slopes = (aligned((sizes.units,), self.dtype) for _ in range(2))
        margins = aligned((sizes.margins,), self.dtype) if sizes.margins else values[self._table[-1, UNITS] * L :]
        return scratch, Units(values, slopes, margins, aligned((sizes.turned,), self.dtype))

    def steps(self, spec: CohortSpec, calls: Any, lanes: Lanes, window: Any, memory: Any, span: StepSpan) -> KernelCall:
        """Take mini-batch steps: for each batch and tile forward and back, then the rule."""
        rows = self.visit.of_worker(span.worker, self.rows)
        return KernelCall(steps.advance, (calls, self._shape, self._layers, rows, lanes, *memory, span))

    def sum_all_rows(self, memory: Sequence[Any], pace: Pace, poll: Callable[[], None]) -> None:
        """Do nothing: nothing less than all rows is sufficient for a network."""

    def compile_sums(self, memory: Any) -> None:
        """Do nothing: see `sum_all_rows`."""

    def gradient(self, sums: GradientSums, memory: Any, span: PartSpan, first: int = 0) -> KernelCall:
        """Add a part of a large batch, which begins at `first` in the order, to the sums in a buffer."""
        rows = of_batch(self.visit.of_worker(span.worker, self.rows), first, span.end)
        return KernelCall(steps.accumulate, (self._shape, self._layers, rows, sums, *memory, span))

    def gradient_of_all(self, sums: GradientSums, memory: Any, span: PartSpan) -> KernelCall:
        """Raise NotImplementedError: see `sum_all_rows`."""
        raise NotImplementedError

    def visit_of(self, X: Any, y: Array, order: Array) -> Visit:
        """Return a visit of other rows, of which losses are summed."""
        visit = self.visit.other(X, y.reshape(len(y), -1), order)
        visit.rows = visit.rows._replace(chunk=self._unit_rows)
        return visit

    def row_work(self, visit: Visit) -> float:
        """Return the multiply-adds that a pass over a row takes for a lane."""
        return self.model.multiply_adds(visit.rows.d, visit.entries)

    def addresses(self, measures: Sequence[Loss]) -> Array:
        """Compile, or load from the cache, the kernels of some losses.

        Returns
        -------
        ndarray of shape (measures, 2)
            Their addresses, and the target that each begins with.
        """
        self._link_activation()
        shape, dtype = self.layout.shape, self.dtype
        found = [(losses_address(measure, shape, dtype, False), measure.target or 0) for measure in measures]
        return np.array(found, np.int64).reshape(-1, 2)

    def losses(self, rows: Rows, W: Array, measures: Array, totals: Array, memory: Any, span: BlockSpan) -> KernelCall:
        """Sum measures over blocks of rows to totals (blocks, tiles, measures, lanes) float64."""
        given = (self._shape, self._layers, rows, W, measures, totals, *memory, span)
        return KernelCall(steps.evaluate_blocks, given)

    def slopes(self, rows: Rows, W: Array, steepest: Array, memory: Any, span: PartSpan) -> KernelCall:
        """Raise steepest (parts, tiles, units * lanes) to the largest |slope| of each hidden unit at some rows."""
        self._link_activation()
        return KernelCall(steps.raise_slopes, (self._shape, self._layers, rows, W, steepest, *memory, span))

    def line(self, spec: CohortSpec, threads: Threads, memory: Sequence[Any]) -> DirectionLine:
        """Return the objective along each lane's direction."""
        return DirectionLine(
            ForwardAlong(self.visiting(self.visit.numbers), spec.loss, threads), self.layout, spec, self.n, threads
        )
