"""What a cohort minimises: the interface between its lanes and the kernels of a model.

The cohort owns lanes, order, steps and calls. A model owns its groups of parameters, its kernels, and what these keep
in a worker's memory. A kernel that has a batch's whole gradient hands it to the rule by
`engine.rule_steps.finish_batch`, which knows groups and no model.

Linear models (`engine.linear`) and networks (`engine.network`) are the two there are. A network's groups W1, b1, W2,
b2 stand one after another in a tile, and so do their gradients; its units, deltas and slopes are in a worker's
memory, which the model makes and nobody else looks into. Losses and measures of a checkpoint are the same kernels for
both, called by address on what the last layer gives; so sums over rows, and all that is made of them, are shared.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from fastgd.core.threads import Threads
from fastgd.engine.arrays import BlockSpan, GradientSums, Lanes, PartSpan, StepSpan
from fastgd.engine.calls import KernelCall, Pace
from fastgd.engine.coast.window import CoastingWindow
from fastgd.engine.rows.visit import Visit
from fastgd.engine.shapes import Kernel
from fastgd.engine.tiles import Group, TileLayout
from fastgd.problems import Loss

Array = npt.NDArray[Any]


class Model(Protocol):
    """A model: a description that weighs nothing, and can be pickled."""

    @property
    def compiled(self) -> str:
        """What its kernels are compiled for, beside loss, rule and shape of the tile."""

    @property
    def units(self) -> tuple[int, ...]:
        """The units of each hidden layer, of which a checkpoint may tell whether they are dead."""

    def groups(self, d: int) -> tuple[Group, ...]:
        """Return the groups of parameters over d features, in the order in which they stand in a tile."""

    def start(self, init: Any, seed: int, d: int) -> Array:
        """Return the start (parameters,) float64 of every lane of a seed."""

    def point_kernel(self, d: int, itemsize: int, *, sparse: bool) -> Kernel:
        """Return the kernel that evaluates the objective at any points: the same for any number of them."""

    def working_bytes(self, d: int, kernel: Kernel, itemsize: int) -> int:
        """Return the bytes that a worker works in beside a tile's parameters, where these are not few."""

    def multiply_adds(self, d: int, entries: float) -> float:
        """Return those that a pass over a row of so many entries, among d features, takes for a lane."""

    def kernels(self, loss: Loss, X: Any, y: Array, order: Array, layout: TileLayout, batch: int = 1) -> "ModelKernels":
        """Return the model's kernels on rows X (n, d), visited in an order (n,), with y (n,) or (n, columns).

        Of a loss of weighted rows, the last column of y has the weights; `batch`: how many rows a call takes at least.
        """


class ModelKernels(Protocol):
    """A model's kernels on some rows, for lanes in one layout.

    Attributes
    ----------
    layout : TileLayout
    dtype : dtype
    n : int
        Rows that are visited.
    rows : NamedTuple
        The training rows.
    visit : Visit
        What brings them to where kernels find them.
    """

    layout: TileLayout
    dtype: np.dtype[Any]
    n: int
    rows: Any
    visit: Visit

    @property
    def units(self) -> tuple[int, ...]:
        """See `Model.units`."""

    def visiting(self, order: Array, layout: TileLayout | None = None) -> "ModelKernels":
        """Return the kernels on the same rows in another order, and for another layout if one is given."""

    def link(self) -> None:
        """Compile, or load from the cache, what the kernels call of the loss."""

    def rule_calls(self, spec: Any) -> Any:
        """Compile, or load from the cache, what the kernels call of a cohort's rule."""

    def training_memory(self, spec: Any, workers: int) -> list[Any]:
        """Return the memory of each worker that takes a cohort's steps."""

    def reading_memory(self, workers: int, *, gradients: bool) -> list[Any]:
        """Return the memory of each worker that sums losses, and gradients where these are asked for."""

    def steps(
        self, spec: Any, calls: Any, lanes: Lanes, window: CoastingWindow | None, memory: Any, span: StepSpan
    ) -> KernelCall:
        """Take mini-batch steps: for each batch and tile the gradient, then the rule."""

    def sum_all_rows(self, memory: Sequence[Any], pace: Pace, poll: Callable[[], None]) -> None:
        """Sum over all rows, once, what steps of full batches go on with; asked for where the kernel is `gram`."""

    def compile_sums(self, memory: Any) -> None:
        """Compile, or load from the cache, what sums over all rows."""

    def gradient(self, sums: GradientSums, memory: Any, span: PartSpan, first: int = 0) -> KernelCall:
        """Add a part of a large batch, which begins at `first` in the order, to the sums in a buffer."""

    def gradient_of_all(self, sums: GradientSums, memory: Any, span: PartSpan) -> KernelCall:
        """Put the gradient of all rows in a buffer, from what `sum_all_rows` summed."""

    def visit_of(self, X: Any, y: Array, order: Array) -> Visit:
        """Return a visit of other rows, of which losses are summed in an order (n,)."""

    def row_work(self, visit: Visit) -> float:
        """Return the multiply-adds that a pass over a row takes for a lane."""

    def addresses(self, measures: Any) -> Array:
        """Compile, or load from the cache, the kernels of some losses, and return what `losses` calls them by."""

    def losses(self, rows: Any, W: Array, measures: Array, totals: Array, memory: Any, span: BlockSpan) -> KernelCall:
        """Sum measures over blocks of rows to totals (blocks, tiles, measures, lanes) float64."""

    def slopes(self, rows: Any, W: Array, steepest: Array, memory: Any, span: PartSpan) -> KernelCall:
        """Raise steepest (parts, tiles, units * lanes) to the largest |slope| of each hidden unit at some rows."""

    def line(self, spec: Any, threads: Threads, memory: Sequence[Any]) -> Any:
        """Return the objective along each lane's direction, for line searches; `memory`: of training."""
