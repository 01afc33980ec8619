"""What a cohort computes, and the memory that it takes."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from fastgd.engine.arrays import CHUNK_ROWS, chunk_rows
from fastgd.engine.coast.powers import table_size
from fastgd.engine.rows.model import Model
from fastgd.engine.shapes import MOST_SWEPT_ROWS, Kernel, gram_parts, single_shape
from fastgd.optimizers.coasting import EVERY_STEP, UNCHANGED, Coast, stays_in_frame
from fastgd.optimizers.proofs import adds_gradient
from fastgd.optimizers.rule import Rule
from fastgd.problems import Loss
from fastgd.user_code.affine_forms import Traced

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class CohortSpec:
    """What a cohort computes.

    Attributes
    ----------
    rule : Rule
    hyper : ndarray (G, hyper) float64
        The numeric hyper-parameters of each lane, in the rule's order.
    l2 : ndarray (G,) float64
    scheduled : tuple of str
        The hyper-parameters that a schedule drives.
    loss : Loss
    batch_size : int
    order : {"shuffle", "blocks", "sequential"}
        In which each epoch visits the rows: see `engine.rows.order`.
    model : Model
        What is minimised: see `engine.rows.model`.
    init : "zeros", float or tuple of float
        The start: zeros, normal with this scale, or a point of all parameters.
    seed : int
    kernel : Kernel
    estimator : {"none", "svrg", "saga"}
        How gradients are estimated; none: by the batch alone.
    line_search : NamedTuple, optional
        A line search of `optimizers.line_search`, for full batches; it drives `lr`, which is scheduled then.
    untouched : Coast, UNCHANGED or EVERY_STEP
        What becomes of parameters that a sparse mini-batch does not touch: they coast, they rest, or they step with all
        others.
    window : int
        The steps after which all parameters that coast are brought up to date; a power of two.
    listed : int
        The most entries that a batch of sparse rows can have, where its features are listed.
    """

    rule: Rule
    hyper: Array
    l2: Array
    scheduled: tuple[str, ...]
    loss: Loss
    batch_size: int
    order: str
    model: Model
    init: Any
    seed: int
    kernel: Kernel
    estimator: str = "none"
    line_search: Any = None
    untouched: Coast | str = EVERY_STEP
    window: int = 0
    listed: int = 0

    def parameters(self, d: int) -> int:
        """Return the number of parameters over d features."""
        return sum(group.size for group in self.model.groups(d))

    def groups_apart(self, d: int) -> int:
        """Return how many groups of parameters have quantities and memory of their own in the rule."""
        return len(self.model.groups(d)) if self.kernel.network and self.rule.apart else 1

    def penalised(self, d: int) -> Array:
        """Return which of the parameters over d features are penalised (parameters,) bool: the weights."""
        return np.concatenate([np.full(group.size, group.penalised) for group in self.model.groups(d)])

    def hyper_rows(self, dtype: Any) -> Array:
        """Return the rows of `Lanes.exact` (2, hyper + 1, G): what is not penalised has no l2 and no decay."""
        penalised = np.vstack([self.rule.usable(self.hyper, dtype).T, self.l2])
        others = penalised.copy()
        others[-1] = 0
        names = list(self.rule.fields)
        for name in self.rule.penalties:
            others[names.index(name)] = 0
        return np.stack([penalised, others])

    @property
    def shuffled(self) -> bool:
        """Whether each epoch has its own order of the rows."""
        return self.order != "sequential"

    @property
    def touches(self) -> bool:
        """Whether a step touches the parameters of its batch's features alone."""
        return self.kernel.sparse and not self.kernel.parts and self.untouched != EVERY_STEP

    @property
    def adds_rows(self) -> bool:
        """Whether a step adds a multiple of one sparse row to the parameters, or to what is kept of them in a frame."""
        if not self.touches or self.batch_size > 1 or self.estimator != "none":
            return False
        framed = isinstance(self.untouched, Coast) and self.untouched.framed
        rests = self.untouched == UNCHANGED and not np.any(self.l2)
        values = dict(zip(self.rule.fields, self.hyper.T, strict=True)) | {name: Traced() for name in self.scheduled}
        return (framed or rests) and adds_gradient(self.rule, values, resting=rests)

    @property
    def _feature_by_feature(self) -> bool:
        """Whether rows are dense, and the rule needs no other feature than the one whose step it takes."""
        kernel = self.kernel
        dense = not (kernel.sparse or kernel.parts or kernel.gram or kernel.halves)
        return dense and not self.rule.functions.rounds

    def in_blocks(self, d: int, itemsize: int) -> bool:
        """Whether the rule takes a few of d features at a time, as soon as their gradient is there.

        A batch is passed twice, and stays in the second-level cache.
        """
        return self._feature_by_feature and self.batch_size <= min(CHUNK_ROWS, 2 * chunk_rows(d, itemsize))

    @property
    def sweeps(self) -> bool:
        """Whether a step and the margins of the next batch are one sweep over the parameters."""
        few = self.kernel.lanes > 1 and self.batch_size <= MOST_SWEPT_ROWS
        return few and self._feature_by_feature and self.estimator == "none"

    @property
    def sweeps_alone(self) -> bool:
        """The same for one or two lanes, with batches of one row."""
        return self.kernel.lanes == 1 and self.batch_size == 1 and self._feature_by_feature

    def drivers(self, d: int, itemsize: int) -> tuple[Any, ...]:
        """Return what decides which driver takes the steps over dense rows."""
        return self.in_blocks(d, itemsize), self.sweeps_alone, self.sweeps and self.batch_size


WINDOW_BYTES = 16 << 20  # of a tile's window of steps, if its state is not much larger
FEWEST_STEPS, MOST_STEPS = 64, 1 << 20  # of a window
FRAMED_WINDOWS = 8  # as long is a window in whose frame parameters can be kept: its end is then most of what it costs


def coasting(spec: CohortSpec, untouched: Coast | str, d: int, entries: float, itemsize: int) -> CohortSpec:
    """Return a cohort in which parameters without a gradient coast, rest or step; see `window_steps`."""
    window = window_steps(untouched, spec, d, entries, itemsize)
    if isinstance(untouched, Coast):
        for steps in (min(FRAMED_WINDOWS * window, MOST_STEPS), window):
            if stays_in_frame(untouched, spec.hyper, spec.l2, steps, itemsize):
                return replace(spec, untouched=replace(untouched, framed=True), window=steps)
    return replace(spec, untouched=untouched, window=window)


def window_steps(untouched: Coast | str, spec: CohortSpec, d: int, entries: float, itemsize: int) -> int:
    """Return the steps after which all parameters of a cohort are brought up to date.

    So many that this costs a sixteenth of what the batches' entries do, if the steps' matrices, where they differ, do
    not take more than a quarter of the parameters' memory.

    Parameters
    ----------
    untouched : Coast, UNCHANGED or EVERY_STEP
    spec : CohortSpec
    d : int
    entries : float
        Of a row, on average.
    itemsize : int
    """
    if isinstance(untouched, str):
        return 0
    wanted = 16 * d / max(1.0, min(d, entries * spec.batch_size))
    if not untouched.steady:
        state = (1 + spec.rule.slots) * d * spec.kernel.lanes * itemsize
        wanted = min(wanted, max(WINDOW_BYTES, state // 4) / _step_bytes(untouched, spec, itemsize))
    return int(1 << int(np.log2(np.clip(wanted, FEWEST_STEPS, MOST_STEPS))))


def _step_bytes(coast: Coast, spec: CohortSpec, itemsize: int) -> int:
    """The bytes that a tile keeps of a step: two nodes of the tree, and what steps one by one need."""
    numbers = 2 * _matrix_numbers(coast, spec)
    if coast.replays:
        numbers += spec.kernel.lanes * (spec.rule.coefficients + bool(spec.scheduled) * (spec.rule.hyper + 1))
    return numbers * itemsize


def _matrix_numbers(coast: Coast, spec: CohortSpec) -> int:
    return len(coast.entries) * (1 if coast.shared else spec.kernel.lanes)


def _window_bytes(coast: Coast, spec: CohortSpec, itemsize: int) -> int:
    """The bytes that a tile keeps of a window of steps."""
    if coast.steady:
        return table_size(spec.window) * _matrix_numbers(coast, spec) * itemsize
    return spec.window * _step_bytes(coast, spec, itemsize)


def cohort_bytes(spec: CohortSpec, n: int, d: int, lanes: int, itemsize: int) -> int:
    """Return a cohort's bytes.

    Parameters and slots, the reported iterate, a large batch's partial sums, an estimator's table of residuals, the
    margins and the second state of a line search, and where parameters coast, the window of steps.
    """
    width = single_shape(itemsize).width if spec.kernel.lanes == 1 else 1
    columns, rows = spec.kernel.tiles(lanes) * max(width, spec.kernel.lanes), spec.parameters(d) // width + 2
    coasts = isinstance(spec.untouched, Coast)
    wide = 8 // itemsize  # sums of many rows, and the step that gives a line search its direction, are in float64
    gradients = wide * spec.kernel.parts or (not spec.kernel.sparse or spec.untouched == EVERY_STEP)
    copies = 1 + spec.rule.slots + (spec.rule.has_readout or coasts) + gradients
    if spec.kernel.halves:  # the halves' sums in two turns, and the second thread's own lanes
        copies += 4 + 1 + spec.rule.slots
    tables = 0
    if spec.estimator != "none":
        copies, tables = copies + 1, 1
    if spec.line_search is not None:
        copies, tables = copies + wide * (2 + spec.rule.slots) + 1, 0 if spec.kernel.gram else 2
    window = 0
    if isinstance(spec.untouched, Coast):
        window = spec.kernel.tiles(lanes) * (_window_bytes(spec.untouched, spec, itemsize) + 4 * d)
    if spec.listed:  # at most a worker for each tile
        lists = min(spec.listed, d) * spec.kernel.lanes * itemsize + 8 * spec.listed + 4 * d
        window += spec.kernel.tiles(lanes) * lists
    gram = 0
    if spec.kernel.gram:  # of all rows with its parts, or a worker's own with its sums, and some rows of each
        P, lanes_of_tile = spec.parameters(d), spec.kernel.lanes
        workers, whole = spec.kernel.tiles(lanes), spec.batch_size >= n
        squares = gram_parts(P) + 3 if whole else 2 * workers
        gram = 8 * (
            (P + lanes_of_tile) * P * squares + workers * (P + lanes_of_tile) * (CHUNK_ROWS + 3 * lanes_of_tile)
        )
    working = spec.kernel.tiles(lanes) * spec.model.working_bytes(d, spec.kernel, itemsize)
    return (copies * rows + tables * n) * columns * itemsize + window + gram + working
