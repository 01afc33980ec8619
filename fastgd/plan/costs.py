"""What a study is expected to cost: seconds from the machine's measured limits, bytes on disk and in memory.

Each part of a run is so many multiply-adds at the machine's peak and so many bytes at its bandwidth
(`engine/machine.py`), by the constants below. They were measured by `python -m benchmarks.costs`, which prints what it
predicts beside what it finds: a study that runs alone is meant to take between half and twice of what is said here.
Lanes that end early cost less. Starting the program, reading data and compiling kernels come on top.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import ceil, log
from typing import NamedTuple

import numpy as np

from fastgd.common.numbers import amount, seconds
from fastgd.core.threads import available_threads
from fastgd.engine.machine import Machine, limits
from fastgd.engine.shapes import Kernel, point_kernel
from fastgd.optimizers.coasting import EVERY_STEP, Coast
from fastgd.plan import memory
from fastgd.plan.cohort import CohortUnit
from fastgd.plan.operations import Operations, of_landscape, of_loss, of_rule
from fastgd.plan.surfaces import SurfaceUnit
from fastgd.plan.swarm import SwarmUnit
from fastgd.problems import Loss

# --- constants: measured on a Xeon with AVX-512, by the processors' clocks, the least of several --------------------

# Multiply-adds at the peak that an operation on a vector of lanes takes.
WEIGHTS = {"simple": 1.3, "division": 24.0, "root": 32.0, "function": 60.0}
PEAK_OF_ROWS = 0.85  # what products of rows and lanes reach of it
NARROW = {1: 2.6, 2: 1.45, 4: 1.2, 8: 1.0}  # what a lane costs more in a tile of so many half registers (engine.shapes)
SLOT = 5.0  # multiply-adds that reading and writing a parameter or a slot takes
NOISE: Operations = Operations({"simple": 12, "root": 1, "function": 2})  # a normal number
MEASURE: Operations = Operations({"simple": 6})  # accuracy or r2, of margins that are there
COASTING = {False: 65.0, True: 350.0}  # multiply-adds of a parameter that catches up: linear, or with a series
SINGLE_READS = 1.5  # how often one lane's kernel reads a row
SPARSE_BANDWIDTH = 1.4  # of looking up parameters, against that of long arrays
TOUCHES = {"train": 3, "evaluate": 1}  # reads and writes of a lane's parameter for an entry
ENTRY = {"train": 8e-9, "evaluate": 3.5e-9}  # seconds of an entry and tile, beside
ROW_OF_SINGLE = 25e-9  # seconds of a row in one lane's kernel
STEP_OF_TILE = {False: 1e-6, True: 0.1e-6}  # seconds of a step and tile, by whether rows are sparse
CALL = 0.2e-3  # seconds of a call of kernels, which ends with an epoch, at a checkpoint and with a large batch
CHECKPOINT = 1.2e-3  # seconds of a cohort's checkpoint, and of its gradient's norm, beside the sums
UNMOVED = 0.15e-3  # seconds of a checkpoint at which nothing has moved since the one before
LINE_EVALUATIONS = 12  # of a line search in each step
RATE_OF_FEATURE = 50e-9  # seconds of a feature and lane of the metric effective_lr
# Storing.
COHORT_FILES = 12e-3  # seconds of a cohort's files
CURVE_ROWS, CURVE_ROW = 0.2e-3, 3e-6  # seconds of a cohort's checkpoint, and of each of its rows
SWARM_TRIAL = 2e-6  # seconds of a trial of a swarm
SWARM_VALUE = 21e-9  # seconds of a number of a swarm's curves, which a thread of its own writes
FOLDER, FOLDER_BYTES = 0.05, 26_000  # seconds and bytes of any results
TRIAL_BYTES = 40  # of a cohort's trial, compressed
VALUE_BYTES = 5.0  # of a number, compressed from 8
SWARM_VALUES = 12  # bytes of a swarm's trial, compressed, beside its coordinates
# Swarms: seconds.
READING, READING_OF_COORDINATE = 15e-9, 10e-9  # of a lane's checkpoint, and of each coordinate there
JUDGED, JUDGED_COORDINATE = 1.3e-6, 0.2e-6  # of judging what became of a trial, and of each coordinate
FOLLOWED_STEP, FOLLOWED_ROW = 80e-6, 0.5e-6  # of a step of trajectories, and of each row


@dataclass(frozen=True)
class Cost:
    """What a study, or a part of it, is expected to take.

    Attributes
    ----------
    training, evaluation, storing : float
        Seconds. Compiling kernels that are not in the cache comes on top.
    disk, memory : float
        Bytes: of the results' files, and in memory at the peak.
    """

    training: float = 0.0
    evaluation: float = 0.0
    storing: float = 0.0
    disk: float = 0.0
    memory: float = 0.0

    @property
    def seconds(self) -> float:
        """Seconds of all of it."""
        return self.training + self.evaluation + self.storing

    def in_words(self) -> str:
        """Return it as a line of text."""
        parts = (("training", self.training), ("evaluation", self.evaluation), ("storing", self.storing))
        spent = ", ".join(f"{name} {seconds(value)}" for name, value in parts)
        disk, memory = (amount(size, "B") for size in (self.disk, self.memory))
        return f"about {seconds(self.seconds)} ({spent}), {disk} on disk, {memory} of memory"

    def times(self, factor: float) -> Cost:
        """Return the cost of so many times as much, one after the other."""
        return Cost(
            factor * self.training, factor * self.evaluation, factor * self.storing, factor * self.disk, self.memory
        )

    def __add__(self, other: Cost) -> Cost:
        """Return what both cost, one after the other: the memory is that of the larger one."""
        return Cost(
            self.training + other.training,
            self.evaluation + other.evaluation,
            self.storing + other.storing,
            self.disk + other.disk,
            max(self.memory, other.memory),
        )


NOTHING = Cost()


class Pace(NamedTuple):
    """A machine's limits with so many threads."""

    machine: Machine
    threads: int

    @classmethod
    def of(cls, threads: int | None) -> Pace:
        """Return this machine's; by default with all threads that the process may use."""
        return cls(limits(threads), threads or available_threads())

    def speed(self, dtype: str) -> Speed:
        """Return how fast each thread is where all of them work."""
        peak = self.machine.gflops_float32 if dtype == "float32" else self.machine.gflops_float64
        return Speed(2e-9 * self.threads / peak, 1e-9 * self.threads / self.machine.gbytes, self.threads)


class Speed(NamedTuple):
    """Seconds of a multiply-add of one lane, and of a byte that is read in order, of each of `threads`."""

    operation: float
    byte: float
    threads: int

    def of_operations(self, counts: Operations) -> float:
        """Return the seconds of operations on one lane."""
        return self.operation * sum(WEIGHTS[kind] * number for kind, number in counts.items())

    def shared(self, seconds: float, tasks: int) -> float:
        """Return the wall time of tasks that take so many seconds together, on all threads."""
        return seconds * ceil(tasks / self.threads) / tasks


# --- cohorts ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Rows:
    """Rows of a problem and the tiles that pass over them."""

    kernel: Kernel
    lanes: int
    features: int
    entries: float
    itemsize: int
    loss: Loss
    speed: Speed

    @property
    def tiles(self) -> int:
        return self.kernel.tiles(self.lanes)

    @property
    def single(self) -> bool:
        return self.kernel.lanes == 1

    def _of_lane(self, multiply_adds: float, operations: float) -> float:
        """Seconds of a row and lane: products at what rows reach of the peak, and what a loss takes."""
        narrow = 1.0 if self.single else NARROW[min(8, max(1, self.kernel.lanes * self.itemsize // 32))]
        return narrow * (self.speed.operation * multiply_adds / PEAK_OF_ROWS + operations)

    def seconds(self, what: str, measures: int = 1) -> float:
        """Return the seconds of a row and a tile; training goes over it twice."""
        passes = 2 if what == "train" else 1
        loss = self.speed.of_operations(of_loss(self.loss, derivative=what == "train"))
        loss += (measures - 1) * self.speed.of_operations(MEASURE)
        width = self.kernel.lanes * self.itemsize
        if self.kernel.sparse:
            look_up = TOUCHES[what] * width * self.speed.byte / SPARSE_BANDWIDTH
            return self.kernel.lanes * loss + self.entries * (ENTRY[what] + look_up)
        reads = passes if self.kernel.parts else SINGLE_READS if self.single and what == "train" else 1.0
        row = reads * self.features * self.itemsize * self.speed.byte
        return row + ROW_OF_SINGLE * self.single + self.kernel.lanes * self._of_lane(passes * self.features, loss)

    def over(self, rows: float, what: str, measures: int = 1) -> float:
        """Return the wall time of a pass over so many rows, which threads share."""
        parts = 1 if what == "train" else ceil(rows / 4096)
        tasks = self.tiles * max(self.kernel.parts, parts, 1)
        return self.speed.shared(rows * self.tiles * self.seconds(what, measures), tasks)


def cohort_cost(unit: CohortUnit, pace: Pace) -> Cost:
    """Return what a cohort is expected to cost."""
    speed = pace.speed(unit.dtype)
    rows = _Rows(unit.spec.kernel, unit.lanes, unit.d, unit.entries, unit.itemsize, unit.spec.loss, speed)
    trials = unit.count
    curves, work = len(unit.checkpoints) * trials, unit.workload
    kept = {"none": 0, "best": 1, "all": trials}[work.parameters] * unit.spec.parameters(unit.d)
    return Cost(
        training=_training(unit, rows),
        evaluation=_evaluation(unit, rows),
        storing=COHORT_FILES + CURVE_ROW * curves + CURVE_ROWS * len(unit.checkpoints),
        disk=curves * (1 + VALUE_BYTES * work.columns) + trials * TRIAL_BYTES + 8.0 * kept,
        memory=memory.of_cohort(unit),
    )


def _training(unit: CohortUnit, rows: _Rows) -> float:
    spec, calls = unit.spec, CALL * (ceil(unit.epochs) + len(unit.checkpoints))
    if unit.baseline:
        boxes = len(np.unique(spec.hyper, axis=0))
        parameters, sparse = spec.parameters(unit.d), spec.kernel.sparse
        points = _points(parameters, unit.entries, unit.itemsize, spec.loss, sparse, rows.speed)
        return calls + boxes * unit.steps * points.over(unit.n, "evaluate") / points.lanes
    snapshots = unit.snapshots(unit.steps) * rows.over(unit.n, "train")
    if spec.line_search is not None:
        margins = 2 * rows.over(unit.n, "evaluate", 0)
        lane = rows.speed.of_operations(of_loss(spec.loss)) + 2 * SLOT * rows.speed.operation  # margins are kept
        values = unit.n * rows.tiles * spec.kernel.lanes * lane / rows.speed.threads
        snapshots += unit.steps * (margins + LINE_EVALUATIONS * (values + CALL))
    step = unit.n / unit.batches * rows.seconds("train") * rows.tiles + rows.tiles * _update(unit, rows)
    calls += CALL * unit.steps if spec.kernel.parts else 0.0
    return calls + snapshots + unit.steps * rows.speed.shared(step, rows.tiles * max(1, spec.kernel.parts))


def _update(unit: CohortUnit, rows: _Rows) -> float:
    """Return the seconds of a rule's step on the parameters of a tile."""
    spec, speed, lanes = unit.spec, rows.speed, unit.spec.kernel.lanes
    sparse = spec.kernel.sparse and not spec.kernel.parts
    parameters = unit.workload.touched if sparse and spec.untouched != EVERY_STEP else float(unit.d)
    parameter = speed.of_operations(of_rule(spec.rule)) + SLOT * (1 + spec.rule.slots) * speed.operation
    if sparse and isinstance(spec.untouched, Coast):
        parameter += COASTING[spec.untouched.replays] * speed.operation
    return STEP_OF_TILE[sparse and spec.untouched != EVERY_STEP] + parameters * lanes * parameter


def _evaluation(unit: CohortUnit, rows: _Rows) -> float:
    work, checkpoints, unmoved = unit.workload, len(unit.checkpoints), 0.0
    if unit.baseline:  # what was measured of the best point holds until there is a better one: the n-th is, once in n
        moves = min(checkpoints, 1 + ceil(unit.lanes * log(1 + unit.steps)))
        checkpoints, unmoved = moves, (checkpoints - moves) * UNMOVED
    exact = min(checkpoints, 2)
    seconds = checkpoints * CHECKPOINT + exact * rows.over(unit.n, "evaluate", work.measures)
    seconds += (checkpoints - exact) * rows.over(unit.sampled, "evaluate", work.measures)
    if work.held_out:
        seconds += checkpoints * rows.over(work.held_out, "evaluate", work.held_out_measures)
        seconds += work.feedback * max(0.0, unit.epochs - checkpoints) * rows.over(work.held_out, "evaluate")
    if work.gradient_norm:
        seconds += checkpoints * (0.5 * CHECKPOINT + _tiled(rows).over(unit.n, "train"))
    return unmoved + seconds + work.effective_rates * checkpoints * unit.lanes * unit.d * RATE_OF_FEATURE


def _tiled(rows: _Rows) -> _Rows:
    """The rows with the tiles that sum a gradient's norm, in two parts: single lanes go into the smallest one."""
    lanes = 32 // rows.itemsize if rows.single else rows.kernel.lanes
    kernel = Kernel(lanes, parts=2, sparse=rows.kernel.sparse)
    return _Rows(kernel, rows.lanes, rows.features, rows.entries, rows.itemsize, rows.loss, rows.speed)


def _points(parameters: int, entries: float, itemsize: int, loss: Loss, sparse: bool, speed: Speed) -> _Rows:
    """Return the rows with a tile of points for each thread."""
    kernel = point_kernel(parameters, itemsize, sparse=sparse)
    return _Rows(kernel, kernel.lanes * speed.threads, parameters, entries, itemsize, loss, speed)


# --- error surfaces ---------------------------------------------------------------------------------------------------


def surface_cost(unit: SurfaceUnit, pace: Pace) -> Cost:
    """Return what an error surface is expected to cost; a landscape's values take no time that counts."""
    stored = Cost(storing=COHORT_FILES, disk=7.0 * unit.points + 1_000, memory=memory.of_surface(unit))
    if unit.loss is None:
        return stored
    speed, itemsize = pace.speed(unit.dtype), np.dtype(unit.dtype).itemsize
    points = _points(unit.parameters, unit.entries, itemsize, unit.loss, unit.sparse, speed)
    return stored + Cost(evaluation=unit.points * points.over(unit.n, "evaluate") / points.lanes)


# --- swarms -----------------------------------------------------------------------------------------------------------


def swarm_cost(unit: SwarmUnit, pace: Pace) -> Cost:
    """Return what a swarm is expected to cost."""
    spec, lanes, d = unit.spec, len(unit.lanes), unit.spec.d
    speed, threads = pace.speed(spec.dtype), pace.threads
    groups = ceil(lanes / spec.width)
    step = speed.of_operations(_swarm_step(unit)) * groups * spec.width * unit.steps
    curves, shown = len(unit.checkpoints) * lanes, min(d, 8)
    columns = 7 + shown + bool(unit.search)
    followed, slots = len(unit.followed) * (unit.steps + 1), spec.rule.slots
    return Cost(
        training=speed.shared(step, min(groups, 64)) * (1 + bool(unit.search) * LINE_EVALUATIONS),
        evaluation=curves * (READING + READING_OF_COORDINATE * d)
        + lanes * (JUDGED + JUDGED_COORDINATE * d)
        + bool(followed) * (unit.steps + 1) * FOLLOWED_STEP
        + followed * d * FOLLOWED_ROW,
        storing=COHORT_FILES + lanes * SWARM_TRIAL + curves * columns * SWARM_VALUE / min(2, threads),
        disk=curves * VALUE_BYTES * (3 + shown)
        + lanes * (SWARM_VALUES + VALUE_BYTES * shown)
        + followed * d * 8.0 * (2.5 + slots),
        memory=memory.of_swarm(unit),
    )


def _swarm_step(unit: SwarmUnit) -> Operations:
    """The operations of a step of one lane: its gradient, noise, the rule, and the value where steps are counted."""
    spec = unit.spec
    counts = of_landscape(spec.landscape, spec.p, spec.d, value=spec.threshold is not None)
    for own in (of_rule(spec.rule), NOISE if spec.noise else Operations()):
        counts.update({kind: number * spec.d for kind, number in own.items()})
    return counts


# --- together ---------------------------------------------------------------------------------------------------------


def cost_of(unit: CohortUnit | SwarmUnit, pace: Pace) -> Cost:
    """Return what a unit is expected to cost."""
    return cohort_cost(unit, pace) if isinstance(unit, CohortUnit) else swarm_cost(unit, pace)


def total(parts: Iterable[Cost], end: float, methods: Mapping[str, str]) -> Cost:
    """Return the cost of a study: its parts one after another, its files, and the process that runs it.

    Parameters
    ----------
    parts : iterable of Cost
    end : float
        Bytes in memory at the end, when results are merged and ranked.
    methods : mapping of str to str
        What has kernels of its own, and of which kind; see `memory.expected`.
    """
    found = sum(parts, NOTHING)
    most = memory.expected(found.memory, end, methods)
    return Cost(found.training, found.evaluation, found.storing + FOLDER, found.disk + FOLDER_BYTES, most)
