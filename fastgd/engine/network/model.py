"""Layered networks: a model of which every lane has weights of its own, layer by layer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

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
    SparseRows,
    StepSpan,
    make_rows,
)
from fastgd.engine.calls import KernelCall, Pace
from fastgd.engine.loss_kernels import losses_address, residuals_address
from fastgd.engine.network import steps
from fastgd.engine.network.activations import activation_addresses
from fastgd.engine.network.line import ForwardAlong
from fastgd.engine.network.passes import STRIDE, UNITS, Layers, Units
from fastgd.engine.network.starts import start_of_layer
from fastgd.engine.rows.line_search import DirectionLine
from fastgd.engine.rows.order import identity
from fastgd.engine.rows.spec import CohortSpec
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
        parts = []
        for number, (inputs, outputs) in enumerate(pairwise(self.widths(d)), 1):
            parts.extend(start_of_layer(init, seed, number, inputs, outputs, bias=self.bias))
        return np.concatenate(parts)

    def point_kernel(self, d: int, itemsize: int, *, sparse: bool) -> Kernel:
        """Return the kernel that evaluates the objective at any points."""
        return network_kernel(1, 1, itemsize, points=True)

    def working_bytes(self, d: int, kernel: Kernel, itemsize: int) -> int:
        """Return the bytes that a worker works in: units and slopes of some rows."""
        rows = self.unit_rows(d)
        return 2 * (rows * sum(width | 1 for width in self.widths(d)[1:])) * kernel.lanes * itemsize

    def multiply_adds(self, d: int, entries: float) -> float:
        """Return those that a pass over a row of d features takes for a lane."""
        return float(sum(inputs * outputs for inputs, outputs in pairwise(self.widths(d))))

    def kernels(self, loss: Loss, X: Any, y: Array, order: Array, layout: TileLayout) -> "NetworkKernels":
        """Return the model's kernels on rows X (n, d) with targets y (n,), or several, (n, targets)."""
        return NetworkKernels(self, loss, _dense(make_rows(X, y.reshape(-1), order, self.bias)), layout)

    def unit_rows(self, d: int) -> int:
        """Return the rows that are passed at once, a power of two: as many in tiles of any width, for the same bits."""
        each, rows = 2 * sum(self.widths(d)[1:]) * register_bits()[0] // 8, MOST_ROWS
        while rows > FEWEST_ROWS and rows * each > UNIT_BYTES:
            rows //= 2
        return rows

    def layers(self, d: int, rows: int) -> Array:
        """Return `Layers.table` (layers, 6), for a memory of some rows."""
        table: list[tuple[int, ...]] = []
        widths, parameters, units = self.widths(d), 0, 0
        for inputs, outputs in pairwise(widths):
            bias = parameters + inputs * outputs if self.bias else -1
            stride = outputs if len(table) == len(widths) - 2 else outputs | 1
            table.append((inputs, outputs, parameters, bias, units, stride))
            parameters, units = parameters + (inputs + self.bias) * outputs, units + rows * stride
        return np.array(table, np.int64)


def network_kernel(lanes: int, batch_size: int, itemsize: int, *, points: bool = False, parts: bool = False) -> Kernel:
    """Return the kernel for a cohort of so many networks, or of any number of points.

    A tile is a vector of lanes, as wide as the cohort fills one. `parts`: whether something needs a batch in parts.
    """
    width, widest = 16 // itemsize, register_bits()[0] // 8 // itemsize
    while width < widest and (points or width < lanes):
        width *= 2
    tiles = 1 if points else -(-lanes // width)
    if batch_size >= LARGE_BATCH and not points:
        return Kernel(width, parts=max(1, min(16, 16 // tiles)), network=True)
    return Kernel(width, parts=int(parts), network=True)


def _dense(rows: Rows | SparseRows) -> Rows:
    if not isinstance(rows, Rows):
        raise TypeError("networks take dense rows")
    return rows


class NetworkKernels:
    """The kernels of a network on some rows; see `engine.rows.model.ModelKernels`."""

    def __init__(self, model: Network, loss: Loss, rows: Rows, layout: TileLayout) -> None:
        self.model, self.loss, self.layout = model, loss, layout
        self.dtype, self.n = rows.X.dtype, len(rows.order)
        self._unit_rows = model.unit_rows(rows.d)
        self.rows = rows._replace(chunk=self._unit_rows)
        self._table = model.layers(rows.d, self._unit_rows)
        self._layers = Layers(self._table, layout.count, loss.columns, 0, 0)
        self._shape = Static(layout.shape)

    def visiting(self, order: Array, layout: TileLayout | None = None) -> "NetworkKernels":
        """Return the kernels on the same rows in another order, and for another layout if one is given."""
        rows = self.rows._replace(order=order, residuals=0, losses=0)
        return NetworkKernels(self.model, self.loss, rows, layout or self.layout)

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
        at_once = spec.batch_size <= self._unit_rows and not spec.rule.functions.rounds
        gradient = self.layout.shape.rows * max(self.model.widths(self.rows.d)[1:]) if at_once else self.layout.count
        if spec.kernel.parts and is_double(self.dtype):  # it is the first of the parts
            gradient = 0
        total = spec.batch_size > self._unit_rows and not spec.kernel.parts
        how = {"total": total, "groups": spec.groups_apart(self.rows.d)}
        return [self._memory(gradient, spec.rule.counts, **how) for _ in range(workers)]

    def reading_memory(self, workers: int, *, gradients: bool) -> list[tuple[Scratch, Units]]:
        """Return the memory of each worker that sums losses, and gradients where these are asked for."""
        gradient = self.layout.count if gradients and not is_double(self.dtype) else 0
        return [self._memory(gradient) for _ in range(workers)]

    def _memory(self, gradient: int, counts: Any = None, **how: Any) -> tuple[Scratch, Units]:
        L, units = self.layout.lanes, int(self._table[-1, UNITS] + self._unit_rows * self._table[-1, STRIDE])
        targets = self._unit_rows * self.loss.columns
        scratch = make_scratch(0, L, gradient, self.dtype, counts, targets=targets, **how)
        return scratch, Units(aligned((units * L,), self.dtype), aligned((units * L,), self.dtype))

    def steps(self, spec: CohortSpec, calls: Any, lanes: Lanes, window: Any, memory: Any, span: StepSpan) -> KernelCall:
        """Take mini-batch steps: for each batch and tile forward and back, then the rule."""
        return KernelCall(steps.advance, (calls, self._shape, self._layers, self.rows, lanes, *memory, span))

    def sum_all_rows(self, memory: Sequence[Any], pace: Pace, poll: Callable[[], None]) -> None:
        """Do nothing: nothing less than all rows is sufficient for a network."""

    def compile_sums(self, memory: Any) -> None:
        """Do nothing: see `sum_all_rows`."""

    def gradient(self, sums: GradientSums, memory: Any, span: PartSpan, first: int = 0) -> KernelCall:
        """Add a part of a large batch, which begins at `first` in the order, to the sums in a buffer."""
        rows = self.rows._replace(order=self.rows.order[first : first + span.end])
        return KernelCall(steps.accumulate, (self._shape, self._layers, rows, sums, *memory, span))

    def gradient_of_all(self, sums: GradientSums, memory: Any, span: PartSpan) -> KernelCall:
        """Raise NotImplementedError: see `sum_all_rows`."""
        raise NotImplementedError

    def rows_of(self, X: Any, y: Array) -> Rows:
        """Return other rows, of which losses are summed."""
        return _dense(make_rows(X, y.reshape(-1), identity(len(y)), self.model.bias))._replace(chunk=self._unit_rows)

    def row_work(self, rows: Rows) -> float:
        """Return the multiply-adds that a pass over a row takes for a lane."""
        return self.model.multiply_adds(rows.d, rows.d)

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

    def line(self, spec: CohortSpec, threads: Threads, memory: Sequence[Any]) -> DirectionLine:
        """Return the objective along each lane's direction."""
        in_order = self.visiting(identity(self.n))
        return DirectionLine(ForwardAlong(in_order, spec.loss, threads.count), self.layout, spec, self.n, threads)
