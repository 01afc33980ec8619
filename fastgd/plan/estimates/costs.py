"""What a study is expected to cost: seconds from the machine's measured limits, bytes on disk and in memory.

Each part of a run is so many multiply-adds at the machine's peak and so many bytes at its bandwidth
(`engine/machine.py`), by the constants below. They were measured by `python -m benchmarks.costs`, which prints what it
predicts beside what it finds: a study that runs alone is meant to take between 1 / 1.5 and 1.5 times what is said here.
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
from fastgd.engine.network.model import Network
from fastgd.engine.rows.model import Model
from fastgd.engine.shapes import Kernel, point_kernel, single_shape
from fastgd.optimizers.coasting import EVERY_STEP, Coast
from fastgd.plan.estimates import memory
from fastgd.plan.estimates.operations import Operations, of_activation, of_landscape, of_loss, of_preparing, of_rule
from fastgd.plan.units.cohort import CohortUnit
from fastgd.plan.units.surfaces import SurfaceUnit
from fastgd.plan.units.swarm import SwarmUnit
from fastgd.problems import Loss

# --- constants: measured on an EPYC (Zen 4) and a Xeon with AVX-512, by the processors' clocks -----------------------

# Operations on a vector of lanes, in multiply-adds at the machine's peak.
MULTIPLY_ADDS_PER_OPERATION = {"simple": 0.9, "division": 14.0, "root": 15.0, "function": 32.0}
MULTIPLY_ADDS_PER_CATCH_UP = {False: 28.0, True: 210.0}  # of a parameter that coasted: linear, or with a series
SECONDS_PER_CATCH_UP = {False: 3e-9, True: 20e-9}  # beside: how far it coasted, which the lanes of a tile share
NOISE_OPERATIONS: Operations = Operations({"simple": 100, "root": 1, "function": 2})  # of a normal number
MEASURE_OPERATIONS: Operations = Operations({"simple": 6})  # of accuracy or r2, where the margins are there
# Rows and tiles.
SECONDS_PER_SPREAD_NUMBER = 0.23e-9  # of a row, brought to the lanes of a tile, beside multiply-adds at the peak
SHARE_OF_PEAK = 0.92  # what other products reach
LAYER_FACTOR = {1: 1.95, 2: 1.4}  # of a network's lane, by half registers of its tile: units are vectors, to be loaded
UNHIDDEN_SHARE = 0.5  # of the shorter one of computing with a row and reading it
SHUFFLED_FACTOR = {False: 1.5, True: 0.6}  # more than reading a row in order, of tiles and of single lanes
UNSHUFFLED_BYTES = 16 << 20  # of rows that are found at once wherever they stand
CACHE_BANDWIDTH_FACTOR = 5.0  # of parameters and slots, many of them in caches, against that of long arrays
ACCESSES_PER_ENTRY = {"train": 3, "evaluate": 1}  # reads and writes of a lane's parameter
SECONDS_PER_ENTRY = {"train": 3.0e-9, "evaluate": 1.5e-9}  # and tile, beside these accesses
SECOND_LEVEL_BYTES, UNCACHED_FACTOR = 1 << 20, 0.4  # more than long arrays, for the first access past that cache
SECONDS_PER_SINGLE_LANE_ROW = {"train": 18e-9, "evaluate": 9e-9}
SECONDS_PER_MAPPED_BYTE = 0.15e-9  # of rows in a file whose pages the system holds, on a thread
SECONDS_PER_FORMED_VALUE = {False: 0.4e-9, True: 0.7e-9}  # standardised or rounded, by a thread; of sparse rows
SECONDS_PER_TILE_STEP = {False: 0.13e-6, True: 0.03e-6}  # of batches of some rows, and of few: a sweep is one call
SECONDS_PER_ROUND = 0.2e-6  # of sums over all parameters, beside these
SECONDS_PER_PREPARED_OPERATION = 1.7e-9  # of a vector of lanes, before a step: each waits for the one before
SECONDS_PER_MEETING = 1e-6  # of two threads that share a batch
SHARED_BATCH_FACTOR = 1.25  # of a batch that they share: in each step one waits for the other
PASSES_OVER_HALVES = 3  # over a tile's gradient, whose halves are kept and added
SECONDS_PER_CALL = 0.09e-3  # of kernels: calls end with an epoch, at a checkpoint and with a large batch
LINE_EVALUATIONS_PER_STEP = 12  # of a line search
LINE_CALLS_PER_STEP = 5  # of one by X'X
# Checkpoints of a cohort.
SECONDS_PER_CHECKPOINT = 0.5e-3  # beside the sums; half as long again with the gradient's norm
SECONDS_PER_UNMOVED_CHECKPOINT = 0.1e-3  # at which no lane has moved since the one before
SECONDS_PER_EFFECTIVE_RATE = 50e-9  # of a feature and lane
SECONDS_PER_COMPARED_PARAMETER = 12e-9  # of a lane, whose last step is measured
# Storing.
SECONDS_PER_UNIT_FILES = 25e-3  # of files of its own: cohorts that take less than a second share them
SECONDS_PER_SHARED_FILES, SECONDS_PER_SHARING_UNIT = 1.0, 1e-3
SECONDS_PER_STORED_CHECKPOINT, SECONDS_PER_CURVE_ROW = 0.03e-3, 2e-6  # of a cohort, and of each of its rows
SECONDS_PER_STATE, SECONDS_PER_STATE_BYTE = 10e-3, 1e-9  # which is kept for trials that go on later
SECONDS_PER_SWARM_TRIAL = 1.3e-6
SECONDS_PER_SWARM_NUMBER = 13e-9  # in curves, which a thread of its own writes
FOLDER_SECONDS, FOLDER_BYTES = 0.04, 26_000  # of any results
BYTES_PER_NUMBER = 5.0  # compressed from 8
BYTES_PER_TRIAL = 40  # of a cohort, compressed
BYTES_PER_SWARM_TRIAL = 12  # compressed, beside its coordinates
# Compiling, of one processor: what all methods of a kind share, and what each of them takes.
SECONDS_PER_COMPILED_KIND = {"dense": 2.0, "sparse": 2.0, "swarm": 1.0}
SECONDS_PER_COMPILED_METHOD = {"dense": 0.8, "sparse": 2.0, "swarm": 1.0}
COMPILING_PROCESSES = 1.4  # that a run and its second process are worth, which takes a thread from the run
# Swarms.
SECONDS_PER_SWARM_STEP = 0.8e-9  # of a lane, beside its operations
SECONDS_PER_READING, SECONDS_PER_READ_COORDINATE = 7e-9, 4.5e-9  # of a lane at a checkpoint
SECONDS_PER_JUDGED_TRIAL, SECONDS_PER_JUDGED_COORDINATE = 0.6e-6, 0.1e-6  # of judging what became of it
SECONDS_PER_FOLLOWED_STEP, SECONDS_PER_TRAJECTORY_ROW = 36e-6, 0.23e-6


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
        return self.computing + self.storing

    @property
    def computing(self) -> float:
        """Seconds of all but storing."""
        return self.training + self.evaluation

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

    def with_threads(self, threads: int) -> Pace:
        """Return that of so many threads which are each as fast as one of these."""
        return Pace(Machine(*(limit * threads / self.threads for limit in self.machine)), threads)

    def speed(self, dtype: str) -> Speed:
        """Return how fast each thread is where all of them work."""
        peak = self.machine.gflops_float32 if dtype == "float32" else self.machine.gflops_float64
        return Speed(2e-9 * self.threads / peak, 1e-9 * self.threads / self.machine.gbytes, self.threads)


class Speed(NamedTuple):
    """How fast each of `threads` is, in seconds.

    Attributes
    ----------
    operation : float
        Of a multiply-add of one lane.
    byte : float
        Of a byte that is read in order.
    threads : int
    """

    operation: float
    byte: float
    threads: int

    @property
    def spread(self) -> float:
        """Seconds of spreading a number of a row over a tile; none where only what is no arithmetic is asked for."""
        return SECONDS_PER_SPREAD_NUMBER if self.operation else 0.0

    def of_operations(self, counts: Operations) -> float:
        """Return the seconds of operations on one lane."""
        return self.operation * sum(MULTIPLY_ADDS_PER_OPERATION[kind] * number for kind, number in counts.items())

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
    multiply_adds: float
    itemsize: int
    loss: Loss
    speed: Speed
    model: Model | None = None

    @property
    def tiles(self) -> int:
        return self.kernel.tiles(self.lanes)

    @property
    def single(self) -> bool:
        return self.kernel.lanes == 1

    @property
    def row_bytes(self) -> int:
        return self.features * self.itemsize

    def _products(self, passes: int) -> float:
        """Return the seconds of a row's products with the lanes of a tile."""
        number = self.kernel.lanes * self.speed.operation  # of the row, which is multiplied into every lane
        if self.single or self.kernel.network:
            return passes * self.multiply_adds * number / SHARE_OF_PEAK
        return passes * self.multiply_adds * (number + self.speed.spread)

    def seconds(self, what: str, measures: int = 1) -> float:
        """Return the seconds of a row and a tile; training goes over it twice, and three times through layers."""
        passes = 1 if what != "train" else 3 if self.kernel.network else 2
        loss = self.speed.of_operations(of_loss(self.loss, derivative=what == "train"))
        loss += (measures - 1) * self.speed.of_operations(MEASURE_OPERATIONS)
        width = self.kernel.lanes * self.itemsize
        if self.kernel.sparse:
            uncached = max(0.0, 1 - SECOND_LEVEL_BYTES / (self.features * width)) * UNCACHED_FACTOR
            look_up = width * self.speed.byte * (ACCESSES_PER_ENTRY[what] / CACHE_BANDWIDTH_FACTOR + uncached)
            return self.kernel.lanes * loss + self.multiply_adds * (SECONDS_PER_ENTRY[what] + look_up)
        if self.single and self.kernel.network:  # whose loss is taken of whole vectors
            loss *= single_shape(self.itemsize).width
        computing = self._products(passes) + self.kernel.lanes * (loss + self._units(what == "train"))
        reading = self.row_bytes * self.speed.byte
        if self.single and not self.kernel.network:
            computing += SECONDS_PER_SINGLE_LANE_ROW[what]
        elif self.kernel.parts or self.kernel.halves:  # whose gradient is summed behind
            reading *= passes
        if self.kernel.network and not self.single:
            computing *= LAYER_FACTOR[min(2, max(1, width // 32))]
        # Tiles take turns with the rows that caches hold: in training those of a thread, else all.
        reading /= self.tiles if what == "evaluate" else ceil(self.tiles / self.speed.threads)
        return max(computing, reading) + UNHIDDEN_SHARE * min(computing, reading)

    def _units(self, derivative: bool) -> float:
        """Return the seconds of a row's hidden units, for one lane."""
        if not isinstance(self.model, Network):
            return 0.0
        counts = of_activation(self.model.activation)
        if derivative:
            counts += of_activation(self.model.activation, derivative=True)
        return sum(self.model.units) * self.speed.of_operations(counts)

    def over(self, rows: float, what: str, measures: int = 1) -> float:
        """Return the wall time of a pass over so many rows, which threads share."""
        parts = 1 if what == "train" else ceil(rows / 4096)
        tasks = self.tiles * max(self.kernel.parts, parts, 1)
        return self.speed.shared(rows * self.tiles * self.seconds(what, measures), tasks)


def cohort_cost(unit: CohortUnit, pace: Pace) -> Cost:
    """Return what a cohort is expected to cost; where it goes on, all of its rows are stored, but not computed."""
    trials, state = unit.count, state_bytes(unit)
    curves = len(unit.checkpoints) * trials
    training, evaluation = _computing(unit.left, pace.speed(unit.dtype))
    return Cost(
        training=training,
        evaluation=evaluation,
        storing=seconds_of_files(training + evaluation)
        + SECONDS_PER_CURVE_ROW * curves
        + SECONDS_PER_STORED_CHECKPOINT * len(unit.checkpoints)
        + (state > 0) * SECONDS_PER_STATE
        + SECONDS_PER_STATE_BYTE * state,
        disk=curves * (1 + BYTES_PER_NUMBER * unit.workload.columns)
        + trials * BYTES_PER_TRIAL
        + 8.0 * kept_parameters(unit)
        + (unit.until is None) * state,  # of trials that wait, it is there until they go on
        memory=memory.of_cohort(unit, saved=state > 0 or training + evaluation >= unit.saved_after),
    )


def _computing(unit: CohortUnit, speed: Speed) -> tuple[float, float]:
    """Return the seconds of a cohort's training and evaluation."""
    rows = _Rows(unit.spec.kernel, unit.lanes, unit.d, unit.work, unit.itemsize, unit.spec.loss, speed, unit.spec.model)
    training, evaluation = _training(unit, rows), _evaluation(unit, rows)
    work, kernel = unit.workload, unit.spec.kernel
    mapped = SECONDS_PER_MAPPED_BYTE * work.mapped / speed.threads
    formed = SECONDS_PER_FORMED_VALUE[kernel.sparse] * work.formed / speed.threads
    # A thread gives rows their form for its own tiles: those of a batch once for all, those of a large one for each.
    times = 1 if kernel.sparse else rows.tiles if kernel.parts else min(rows.tiles, speed.threads)
    training += (mapped + formed * times) * unit.n * (unit.epochs + unit.snapshots(unit.steps))
    evaluation += (mapped + formed) * (unit.n * unit.evaluated + work.held_out * len(unit.checkpoints))
    return training, evaluation


def seconds_of_files(computing: float) -> float:
    """Return the seconds of the files of a cohort that is computed in so many: short ones share theirs with others."""
    return SECONDS_PER_UNIT_FILES * min(1.0, computing / SECONDS_PER_SHARED_FILES) + SECONDS_PER_SHARING_UNIT


def state_bytes(unit: CohortUnit) -> float:
    """Return the bytes of the state that is kept when a cohort ends: of all lanes, or of those that have a course."""
    lanes = unit.lanes if unit.until is not None else sum(map(bool, unit.courses))
    numbers = unit.spec.parameters(unit.d) * (1 + unit.spec.rule.slots) + unit.n * (unit.spec.estimator != "none")
    return float(lanes * numbers * unit.itemsize)


def kept_parameters(unit: CohortUnit) -> int:
    """Return how many final parameters of a cohort's trials are stored."""
    trials = {"none": 0, "best": 1}.get(unit.workload.parameters, unit.count)
    return trials * unit.spec.parameters(unit.d)


def side_by_side(unit: CohortUnit) -> int:
    """Return how many threads can work at a step of a cohort."""
    kernel = unit.spec.kernel
    return kernel.tiles(unit.lanes) * max(1, kernel.parts, 2 * kernel.halves)


def _training(unit: CohortUnit, rows: _Rows) -> float:
    spec = unit.spec
    if unit.baseline:
        boxes = len(np.unique(spec.hyper, axis=0))
        parameters, sparse = spec.parameters(unit.d), spec.kernel.sparse
        points = _points(parameters, unit.work, unit.itemsize, spec.loss, sparse, rows.speed)
        visits = boxes * unit.steps / points.lanes
        return visits * (SECONDS_PER_CALL + points.over(unit.n, "evaluate"))
    if spec.kernel.gram:
        return _by_squares(unit, rows)
    calls = SECONDS_PER_CALL * (ceil(unit.epochs) + len(unit.checkpoints))
    snapshots = unit.snapshots(unit.steps) * rows.over(unit.n, "train")
    if spec.line_search is not None:
        margins = 2 * rows.over(unit.n, "evaluate", 0)
        margin = 2 * unit.itemsize * rows.speed.byte / CACHE_BANDWIDTH_FACTOR  # that is kept
        lane = rows.speed.of_operations(of_loss(spec.loss)) + margin
        values = unit.n * rows.tiles * spec.kernel.lanes * lane / rows.speed.threads
        snapshots += unit.steps * (margins + LINE_EVALUATIONS_PER_STEP * (values + SECONDS_PER_CALL))
    snapshots += unit.epochs * _finding(unit, rows)
    batch, update = unit.n / unit.batches * rows.seconds("train") * rows.tiles, rows.tiles * _update(unit, rows)
    calls += SECONDS_PER_CALL * unit.steps if spec.kernel.parts else 0.0
    if spec.kernel.halves:
        return calls + snapshots + unit.steps * (_in_halves(unit, rows, batch) + update)
    return calls + snapshots + unit.steps * rows.speed.shared(batch + update, side_by_side(unit))


def _finding(unit: CohortUnit, rows: _Rows) -> float:
    """Return the seconds of an epoch in which a thread waits for rows that stand anywhere in memory."""
    if unit.spec.kernel.sparse or unit.spec.order != "shuffle" or unit.batches == 1:
        return 0.0
    far = max(0.0, 1 - UNSHUFFLED_BYTES / (unit.n * rows.row_bytes))
    sharing = min(rows.speed.threads, max(1, rows.kernel.parts, 2 * rows.kernel.halves))
    return unit.n * far * SHUFFLED_FACTOR[rows.single] * rows.row_bytes * rows.speed.byte / sharing


def _in_halves(unit: CohortUnit, rows: _Rows, batch: float) -> float:
    """Return the seconds of a batch that two threads share; each of them takes the rule's step, of all lanes."""
    numbers = unit.spec.parameters(unit.d) * (unit.lanes + unit.padding)
    kept = PASSES_OVER_HALVES * numbers * unit.itemsize * rows.speed.byte / CACHE_BANDWIDTH_FACTOR
    shared = batch / 2 * SHARED_BATCH_FACTOR + SECONDS_PER_MEETING
    return kept + (batch if rows.speed.threads == 1 else shared)


def _by_squares(unit: CohortUnit, rows: _Rows) -> float:
    """Return the seconds of steps from X'X, which full batches make once, and others each."""
    spec, speed, P = unit.spec, rows.speed, unit.spec.parameters(unit.d)
    product = speed.operation * P * P / SHARE_OF_PEAK
    product_of_tile = spec.kernel.lanes * product + speed.spread * P * P
    step = speed.shared(rows.tiles * (product_of_tile + _update(unit, rows)), rows.tiles)
    if spec.line_search is not None:  # the direction's product too, and calls of their own
        step = 2 * step + LINE_CALLS_PER_STEP * SECONDS_PER_CALL
    calls = SECONDS_PER_CALL * len(unit.checkpoints)
    if spec.batch_size >= unit.n:
        return calls + speed.shared(unit.n * product, speed.threads) + unit.steps * step
    return calls + SECONDS_PER_CALL * ceil(unit.epochs) + unit.steps * (spec.batch_size * product + step)


def _update(unit: CohortUnit, rows: _Rows) -> float:
    """Return the seconds of a rule's step on the parameters of a tile."""
    spec, speed, lanes = unit.spec, rows.speed, unit.spec.kernel.lanes
    sparse = spec.kernel.sparse and not spec.kernel.parts
    parameters = float(spec.parameters(unit.d) if spec.kernel.network else unit.d)
    if sparse and spec.untouched != EVERY_STEP:
        parameters = 0.0 if spec.adds_rows else unit.workload.touched  # what is added are accesses of the row's entries
    kept = (1 + spec.rule.slots) * unit.itemsize  # bytes that are read and written
    computing, moving = speed.of_operations(of_rule(spec.rule)), kept * speed.byte / CACHE_BANDWIDTH_FACTOR
    parameter = computing + moving
    swept = (spec.sweeps or spec.sweeps_alone) and not spec.kernel.network
    if swept:  # which moves parameters once for a step and the products of both batches, and meanwhile
        products = 2 * min(spec.batch_size, unit.n) * (speed.operation + speed.spread / lanes)
        parameter = max(computing, moving - products)
    shared = 0.0  # by the lanes
    if sparse and isinstance(spec.untouched, Coast) and not spec.untouched.framed:
        parameter += MULTIPLY_ADDS_PER_CATCH_UP[spec.untouched.replays] * speed.operation
        shared = SECONDS_PER_CATCH_UP[spec.untouched.replays]
    return _preparing(unit) + SECONDS_PER_TILE_STEP[swept] + parameters * (lanes * parameter + shared)


def _preparing(unit: CohortUnit) -> float:
    """Return the seconds in which a tile prepares a step, however few parameters it moves."""
    rule, vectors = unit.spec.rule, ceil(unit.spec.kernel.lanes / single_shape(unit.itemsize).width)
    operations = of_preparing(rule, max(1, unit.steps))
    return len(rule.functions.rounds) * SECONDS_PER_ROUND + vectors * SECONDS_PER_PREPARED_OPERATION * operations


def _evaluation(unit: CohortUnit, rows: _Rows) -> float:
    work, checkpoints, unmoved = unit.workload, len(unit.checkpoints), 0.0
    if unit.baseline:  # measured only when a better point is found: the n-th one is, once in n
        moves = min(checkpoints, 1 + ceil(unit.lanes * log(1 + unit.steps)))
        checkpoints, unmoved = moves, (checkpoints - moves) * SECONDS_PER_UNMOVED_CHECKPOINT
    exact = min(checkpoints, 2)
    seconds = checkpoints * SECONDS_PER_CHECKPOINT + exact * rows.over(unit.n, "evaluate", work.measures)
    seconds += (checkpoints - exact) * rows.over(unit.sampled, "evaluate", work.measures)
    if work.held_out:
        seconds += checkpoints * rows.over(work.held_out, "evaluate", work.held_out_measures)
        seconds += work.feedback * max(0.0, unit.epochs - checkpoints) * rows.over(work.held_out, "evaluate")
    if work.gradient_norm:
        seconds += checkpoints * (0.5 * SECONDS_PER_CHECKPOINT + _tiled(rows).over(unit.n, "train"))
    if work.units:
        exact_rows, others = exact * unit.n, (checkpoints - exact) * unit.sampled
        seconds += 0.5 * checkpoints * SECONDS_PER_CHECKPOINT + rows.over(exact_rows + others, "evaluate")
    if work.updates:
        numbers = unit.spec.parameters(unit.d) * (unit.lanes + unit.padding)
        seconds += checkpoints * (0.5 * SECONDS_PER_CHECKPOINT + SECONDS_PER_COMPARED_PARAMETER * numbers)
    return unmoved + seconds + work.effective_rates * checkpoints * unit.lanes * unit.d * SECONDS_PER_EFFECTIVE_RATE


def _tiled(rows: _Rows) -> _Rows:
    """Return the rows with the tiles that sum a gradient's norm, in two parts; single lanes take the smallest tile."""
    lanes = 32 // rows.itemsize if rows.single else rows.kernel.lanes
    kernel = Kernel(lanes, parts=2, sparse=rows.kernel.sparse)
    return _Rows(kernel, rows.lanes, rows.features, rows.multiply_adds, rows.itemsize, rows.loss, rows.speed)


def _points(parameters: int, multiply_adds: float, itemsize: int, loss: Loss, sparse: bool, speed: Speed) -> _Rows:
    """Return the rows with a tile of points for each thread."""
    kernel = point_kernel(parameters, itemsize, sparse=sparse)
    return _Rows(kernel, kernel.lanes * speed.threads, parameters, multiply_adds, itemsize, loss, speed)


# --- error surfaces ---------------------------------------------------------------------------------------------------


def surface_cost(unit: SurfaceUnit, pace: Pace) -> Cost:
    """Return what an error surface is expected to cost; a landscape's values take no time that counts."""
    stored = Cost(storing=SECONDS_PER_UNIT_FILES, disk=7.0 * unit.points + 1_000, memory=memory.of_surface(unit))
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
    lane = speed.of_operations(_swarm_step(unit)) + SECONDS_PER_SWARM_STEP
    step = lane * groups * spec.width * unit.steps
    curves, shown = len(unit.checkpoints) * lanes, min(d, 8)
    columns = 7 + shown + bool(unit.search)
    followed, slots = len(unit.followed) * (unit.steps + 1), spec.rule.slots
    training = speed.shared(step, min(groups, 64)) * (1 + bool(unit.search) * LINE_EVALUATIONS_PER_STEP)
    return Cost(
        training=training,
        evaluation=curves * (SECONDS_PER_READING + SECONDS_PER_READ_COORDINATE * d)
        + lanes * (SECONDS_PER_JUDGED_TRIAL + SECONDS_PER_JUDGED_COORDINATE * d)
        + bool(followed) * (unit.steps + 1) * SECONDS_PER_FOLLOWED_STEP
        + followed * d * SECONDS_PER_TRAJECTORY_ROW,
        storing=SECONDS_PER_UNIT_FILES
        + lanes * SECONDS_PER_SWARM_TRIAL
        + curves * columns * SECONDS_PER_SWARM_NUMBER / min(2, threads),
        disk=curves * BYTES_PER_NUMBER * (3 + shown)
        + lanes * (BYTES_PER_SWARM_TRIAL + BYTES_PER_NUMBER * shown)
        + followed * d * 8.0 * (2.5 + slots),
        memory=memory.of_swarm(unit, saved=training >= unit.saved_after),
    )


def _swarm_step(unit: SwarmUnit) -> Operations:
    """The operations of a step of one lane: its gradient, noise, the rule, and the value where steps are counted."""
    spec = unit.spec
    counts = of_landscape(spec.landscape, spec.p, spec.d, value=spec.threshold is not None)
    for own in (of_rule(spec.rule), NOISE_OPERATIONS if spec.noise else Operations()):
        counts.update({kind: number * spec.d for kind, number in own.items()})
    return counts


# --- together ---------------------------------------------------------------------------------------------------------


def cost_of(unit: CohortUnit | SwarmUnit, pace: Pace) -> Cost:
    """Return what a unit is expected to cost."""
    return cohort_cost(unit, pace) if isinstance(unit, CohortUnit) else swarm_cost(unit, pace)


def compiling(methods: Mapping[str, str], threads: int) -> float:
    """Return by how many seconds a run is longer that compiles the kernels of methods, each of some kind.

    A second process does most of it while the first methods run, on a processor that these have no more.
    """
    own = sum(SECONDS_PER_COMPILED_METHOD[kind] for kind in methods.values())
    return (own + sum(SECONDS_PER_COMPILED_KIND[kind] for kind in set(methods.values()))) / min(
        COMPILING_PROCESSES, threads
    )


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
    return Cost(found.training, found.evaluation, found.storing + FOLDER_SECONDS, found.disk + FOLDER_BYTES, most)
