"""The memory that a study takes: this process as it is when the plan is made, and what is still to come.

What is to come is counted as the code allocates it, in bytes; `python -m benchmarks.memory` prints what is said beside
what processes of their own were found to take.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from fastgd.common.errors import InputError, TooLargeError
from fastgd.common.numbers import amount
from fastgd.common.system import MemoryLimit, memory, memory_budget, memory_limits, memory_use
from fastgd.core.threads import available_threads
from fastgd.datasets import Data
from fastgd.engine.arrays import PARTIAL_SUM_ROWS
from fastgd.engine.linear.evaluation_steps import evaluate_blocks, evaluate_single_blocks
from fastgd.engine.rows.model import Model
from fastgd.engine.rows.objective import MOST_TILE_BYTES, MOST_TILES, MOST_WORK
from fastgd.engine.shapes import Kernel, point_kernel
from fastgd.engine.swarm.steps import measure_groups
from fastgd.plan.estimates.compiled import is_compiled
from fastgd.plan.units.cohort import CohortUnit
from fastgd.plan.units.recording import MOST_RATES_AT_ONCE
from fastgd.plan.units.surfaces import SurfaceUnit
from fastgd.plan.units.swarm import SwarmUnit
from fastgd.store.disk.files import ROW_GROUP_ROWS
from fastgd.store.schema import COORDINATES
from fastgd.store.writer import MOST_WAITING_TABLES
from fastgd.study.models import BEST_ITERATE

# The process itself.
UNKNOWN_PROCESS_BYTES = 230e6  # once it has read its study, where the platform does not tell
LOADED_LIBRARIES_BYTES = 60e6  # the compiler's libraries and the first kernels, loaded from the cache
KERNEL_BYTES = {"dense": 1.7e6, "sparse": 1.7e6, "swarm": 7.8e6}  # the kernels of a method, by their kind
COMPILER_BYTES = 50e6  # what the compiler takes by itself, where kernels are not in the cache
COMPILED_METHOD_BYTES = {"dense": 7e6, "sparse": 28e6, "swarm": 7e6}  # and for the kernels of a method, by their kind
COMPILER_RESERVE_BYTES = 40e6  # left free besides: the compiler ends the process where it gets no memory
OTHER_BYTES = 11e6  # files, threads and modules that are imported late
STACK_BYTES, ARENA_BYTES = 8.4e6, 67e6  # addresses of a thread: its stack, and its part of the C library's memory
OTHER_THREADS = 3  # that write and read files, beside those that compute here and in Arrow
# Cohorts.
BYTES_PER_CURVE_NUMBER = 18.0  # of rows that wait for their file: in a buffer, in a table, and while it is compressed
BYTES_PER_CURVE_ROW = 60.0  # of such a row, beside its numbers
COPIES_OF_FEW_PARAMETERS = 3.5  # of final parameters on their way to the disk, where they are fewer than
MOST_WAITING_PARAMETER_BYTES = 120e6
FOLDER_SCAN_BYTES = 10e6  # of looking through the folder for the trials whose parameters it lacks
MOST_FINALIST_BYTES = 32e6  # of one problem, optimizer and seeds: parameters that are kept until the best are known
BYTES_PER_TRIAL_AT_END = 3_600  # in the tables that are made when all units have ended
# Landscapes.
BYTES_PER_SURFACE_POINT = 24
BYTES_PER_RANKED_TRIAL = 225  # in the ranking when all units have ended
SHARE_OF_LANES_KEPT = 0.5  # of a swarm's memory, which the system has not got back by then
SWARM_CHECKPOINTS_AT_ONCE = MOST_WAITING_TABLES + 3  # that wait, are written, fill a row group, and are made
BYTES_PER_SWARM_TRIAL = 140  # of a row of its trials, beside coordinates and hyper-parameters
MOST_TRAJECTORY_ROWS_AT_ONCE = 131_072
BYTES_READ_PER_TRAJECTORY_ROW = 200.0  # of what such a row is made from


def expected(unit: float, end: float, methods: Mapping[str, str]) -> float:
    """Return the most that this process will have taken.

    Parameters
    ----------
    unit : float
        Bytes of the largest part of the study that is in memory at a time.
    end : float
        Bytes that its end takes, when no part is there any more.
    methods : mapping of str to {"dense", "sparse", "swarm"}
        What has kernels of its own, and of which kind.
    """
    use = memory_use()
    now = use.resident or UNKNOWN_PROCESS_BYTES
    new = [kind for method, kind in methods.items() if not is_compiled(method)]
    return max(use.peak, now + loading(methods.values()) + compiling(new) + max(unit, end) + OTHER_BYTES)


def loading(kinds: Iterable[str]) -> float:
    """Return what the kernels of methods of some kinds take, as if this process had loaded none of them."""
    kernels_of_all = (evaluate_blocks, evaluate_single_blocks, measure_groups)
    loaded = any(getattr(kernel, "signatures", ()) for kernel in kernels_of_all)  # none, where nothing is compiled
    return LOADED_LIBRARIES_BYTES * (not loaded) + sum(KERNEL_BYTES[kind] for kind in kinds)


def compiling(kinds: Collection[str]) -> float:
    """Return what compiling the kernels of methods of some kinds takes, and keeps."""
    return COMPILER_BYTES * bool(kinds) + sum(COMPILED_METHOD_BYTES[kind] for kind in kinds)


def release() -> None:
    """Give back to the system what Arrow and the C library keep of memory that was freed."""
    for pool in (pa.default_memory_pool(), pa.system_memory_pool()):
        pool.release_unused()


# --- under limits -----------------------------------------------------------------------------------------------------


class Room(NamedTuple):
    """The bytes that a limit leaves for the parts of a study, beside kernels, their compiler and threads."""

    left: float
    limit: MemoryLimit

    def require(self, needed: float, what: str, advice: str) -> None:
        """Raise TooLargeError where something takes more; `advice` says what would take less."""
        if needed > self.left:
            apart = self.limit.left - self.left
            raise TooLargeError(
                f"{what} takes {amount(needed + apart, 'B')} of memory at the least, and of {self.limit.words}, "
                f"{amount(self.limit.most, 'B')}, {amount(self.limit.left, 'B')} are left: {advice}"
            )


def room(kinds: Collection[str] = ("dense",), threads: int | None = None) -> Room:
    """Return the tightest of the limits to this process.

    Kernels that are not in the cache are compiled, which needs more than to load them: the compiler aborts the process
    where it gets no memory, so there must be enough of it in any case. Threads take addresses, most of which are never
    written to.
    """
    taken = OTHER_BYTES + loading(kinds) + compiling(kinds) + COMPILER_RESERVE_BYTES
    started = (threads or available_threads()) + pa.cpu_count() + OTHER_THREADS
    addresses = ARENA_BYTES + (STACK_BYTES + ARENA_BYTES) * started
    apart = {"RLIMIT_AS": addresses, "RLIMIT_DATA": 1.5 * STACK_BYTES * started}
    rooms = (Room(limit.left - taken - apart.get(limit.name, 0.0), limit) for limit in memory_limits())
    return min(rooms, key=lambda room: room.left)


@contextmanager
def budget_beside(data: Sequence[Data], most: int | None) -> Iterator[None]:
    """Leave half of the memory to the pages of files where rows are streamed, unless the run's user says how much."""
    streamed = most is None and any(rows.origin == "stream" for rows in data)
    with memory_budget(memory() // 2 if streamed else None):
        yield


def require(threads: int | None = None) -> None:
    """Raise InputError where this process has not the memory for any study."""
    room(threads=threads).require(0.0, "a study, however small,", "raise it")


@contextmanager
def within_memory(path: Path) -> Iterator[None]:
    """Turn the errors of a run that gets no memory, or no threads, into one that says what its user can do."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and "start new thread" not in str(error):
            raise
        kept = f"what was done is kept in {path}, and the same command goes on from there"
        done = kept if path.exists() else "nothing was written"
        tightest = min(memory_limits(), key=lambda limit: limit.left)
        raise InputError(
            f"the memory does not suffice ({tightest.words}: {amount(tightest.most, 'B')}): {done}; "
            'fewer --threads, source = "map" for the rows of files, or more memory may help'
        ) from error


def of(unit: CohortUnit | SwarmUnit) -> float:
    """Return the bytes of a unit while it runs."""
    return of_cohort(unit) if isinstance(unit, CohortUnit) else of_swarm(unit)


def fitting(unit: CohortUnit | SwarmUnit, room: "Room") -> list[CohortUnit] | list[SwarmUnit]:
    """Return a unit in parts that fit into the memory there is, in the same kernel.

    Raises
    ------
    TooLargeError
        The smallest ones do not fit.
    """
    name = f"{unit.label}, {unit.spec.rule.optimizer.name},"
    if isinstance(unit, SwarmUnit):
        apart = 8.0 * len(unit.lanes) + of_trajectories(unit)
        fewer = replace(unit, most=max(1.0, (room.left - apart) / of_lane(unit)))
        room.require(
            of_swarm(fewer), f"a group of lanes of {name}", "fewer starts, dimensions or trajectories take less"
        )
        return [fewer]
    pieces = _pieces(unit, room.left)
    for piece in pieces:
        room.require(of_cohort(piece), f"a cohort of {name}", _less_than(piece))
    return pieces


def _less_than(unit: CohortUnit) -> str:
    """Return in words what would take less than a cohort."""
    found = ["a smaller network" if unit.spec.kernel.network else "fewer features"]
    found += ['dtype = "float32"'] if unit.itemsize > 4 else []
    found += ['record.parameters = "none"'] if unit.workload.parameters != "none" else []
    return f"{' or '.join(found)} would take less"


def _pieces(unit: CohortUnit, room: float) -> list[CohortUnit]:
    """Cut a cohort into pieces of whole tiles that take no more memory than there is, if they are small enough then."""
    if of_cohort(unit) <= room:
        return [unit]
    tile = unit.spec.kernel.lanes
    lanes = -(-unit.lanes // tile) * tile
    places = np.arange(unit.lanes)
    while lanes > tile and of_cohort(unit.select(places < lanes)) > room:
        lanes = -(-lanes // tile // 2) * tile
    return [unit.select(places // lanes == piece) for piece in range(-(-unit.lanes // lanes))]


def end_of(units: Sequence[CohortUnit | SwarmUnit]) -> float:
    """Return the bytes that a study takes when all units have ended: for the ranking, and for what is stored late."""
    trials = sum(unit.count for unit in units)
    swarms = [unit for unit in units if isinstance(unit, SwarmUnit)]
    if swarms:
        return SHARE_OF_LANES_KEPT * max(map(of_swarm, swarms)) + BYTES_PER_RANKED_TRIAL * trials
    return at_end((unit for unit in units if isinstance(unit, CohortUnit)), trials)


# --- over data --------------------------------------------------------------------------------------------------------


def of_cohort(unit: CohortUnit, *, saved: bool = True) -> float:
    """Return the bytes of a cohort: its lanes, what measures or saves them, and what waits to be stored.

    `saved`: its state is saved on its way, which an interruption may ask for at any time.
    """
    measured = _watching(unit) + _best_iterates(unit) + max(_measuring(unit), saved * _saving(unit))
    return unit.bytes + measured + _recording(unit) + _orders(unit) + unit.workload.copied


def _watching(unit: CohortUnit) -> float:
    """The copy of the parameters with which the last step before a checkpoint is compared."""
    return float(unit.itemsize * unit.spec.parameters(unit.d) * (unit.lanes + unit.padding) * unit.workload.updates)


def _best_iterates(unit: CohortUnit) -> float:
    """The best iterates so far, in float64."""
    return 8.0 * unit.lanes * unit.spec.parameters(unit.d) * (unit.workload.parameters == BEST_ITERATE)


def _saving(unit: CohortUnit) -> float:
    """The copy of a state that is saved: parameters, slots, an estimator's table; each part is copied twice for it."""
    lanes = float(unit.itemsize * unit.lanes)
    part, table = lanes * unit.spec.parameters(unit.d), lanes * unit.n * (unit.spec.estimator != "none")
    some = any(unit.courses) and not all(unit.courses)  # of its lanes are kept at the end, which takes a copy of them
    return (1 + some) * (1 + unit.spec.rule.slots) * part + (2 + some) * max(part, table) + _best_iterates(unit)


def _orders(unit: CohortUnit) -> float:
    """The orders in which training and held-out rows are visited, and a subsample of the training rows."""
    orders = 4.0 * (unit.n * (1 + unit.spec.shuffled) + unit.workload.held_out)
    return orders if unit.sampled == unit.n else orders + 4.0 * (unit.sampled + unit.n)


def _measuring(unit: CohortUnit) -> float:
    """What checkpoints and estimators compute from all parameters, and hold meanwhile."""
    parameters, spec = unit.spec.parameters(unit.d), unit.spec
    column, lanes = 8.0 * parameters, unit.lanes + unit.padding
    found = 2 * column * spec.kernel.lanes  # squares of a tile
    if unit.workload.gradient_norm or spec.estimator != "none":  # a gradient in two parts, and their sum
        found = max(
            found, column * (2 * lanes + 2 * spec.kernel.lanes), 3 * column * lanes * (spec.estimator != "none")
        )
    if unit.workload.effective_rates:
        slots = spec.rule.slots * column * lanes
        found = max(
            found, slots * unit.itemsize / 8 + 8.0 * min(MOST_RATES_AT_ONCE, parameters * lanes) * (3 + spec.rule.slots)
        )
    if unit.workload.updates:  # a step in float64, and its squares
        found = max(found, 4 * column * spec.kernel.lanes)
    if unit.workload.units:  # the largest slopes of units, also those of each thread, and which are dead
        found = max(found, 8.0 * unit.workload.units * (4 * lanes + available_threads() * spec.kernel.lanes))
    if unit.workload.of_weights:
        found = max(found, 3 * column * unit.lanes)
    return found + unit.baseline * of_points(parameters, unit.itemsize, unit.entries, sparse=spec.kernel.sparse)


def _recording(unit: CohortUnit) -> float:
    """What waits to be stored, and the trials that are written at the end."""
    trials = unit.count
    curves = min(len(unit.checkpoints) * trials, ROW_GROUP_ROWS)
    kept = 8.0 * unit.spec.parameters(unit.d)
    of_all = min(COPIES_OF_FEW_PARAMETERS * kept * trials, MOST_WAITING_PARAMETER_BYTES + 2 * kept)
    parameters = {"none": 0.0, "best": 2 * min(MOST_FINALIST_BYTES, 8 * kept), "all": of_all, BEST_ITERATE: of_all}
    curve = BYTES_PER_CURVE_NUMBER * (unit.workload.columns + 7) + BYTES_PER_CURVE_ROW
    return curves * curve + BYTES_PER_TRIAL_AT_END * trials + parameters[unit.workload.parameters]


def at_end(cohorts: Iterable[CohortUnit], trials: int) -> float:
    """Return what the end takes: the tables of all trials, and the final parameters that are stored or kept."""
    kept, stored = {}, 0.0
    for cohort in cohorts:
        parameters, which = 8.0 * cohort.spec.parameters(cohort.d), cohort.workload.parameters
        if which == "best":
            most = min(max(MOST_FINALIST_BYTES, parameters), 8 * parameters)
            for seeds in set(map(tuple, cohort.seeds)):
                kept[cohort.label, cohort.spec.rule.optimizer.name, seeds] = most
        stored += (which in ("all", BEST_ITERATE)) * parameters * cohort.count
    again = FOLDER_SCAN_BYTES * (bool(kept) or stored > 0)
    waiting = min(COPIES_OF_FEW_PARAMETERS * stored, MOST_WAITING_PARAMETER_BYTES)
    return BYTES_PER_TRIAL_AT_END * trials + sum(kept.values()) + waiting + again


def of_points(parameters: int, itemsize: int, entries: float, *, sparse: bool) -> float:
    """Return the bytes of points at which the objective of a linear model is evaluated together."""
    return _of_points(point_kernel(parameters, itemsize, sparse=sparse), parameters, itemsize, entries)


def of_objective(model: Model, d: int, itemsize: int, entries: float, *, sparse: bool) -> float:
    """Return the bytes of points at which the objective of any model is evaluated together."""
    kernel, parameters = model.point_kernel(d, itemsize, sparse=sparse), sum(group.size for group in model.groups(d))
    return _of_points(kernel, parameters, itemsize, model.multiply_adds(d, entries))


def _of_points(kernel: Kernel, parameters: int, itemsize: int, work: float) -> float:
    by_work = max(2, int(MOST_WORK / (PARTIAL_SUM_ROWS * kernel.lanes * max(1.0, work))))
    tiles = max(1, min(MOST_TILES, MOST_TILE_BYTES // (kernel.lanes * parameters * itemsize), by_work))
    return tiles * kernel.lanes * parameters * (itemsize + 3 * 8.0)


def of_surface(unit: SurfaceUnit) -> float:
    """Return the bytes of an error surface."""
    if unit.landscape is not None:
        return float(BYTES_PER_SURFACE_POINT * unit.points)
    itemsize = np.dtype(unit.dtype).itemsize
    together = of_points(unit.parameters, itemsize, unit.entries, sparse=unit.sparse)
    return together + BYTES_PER_SURFACE_POINT * unit.points


# --- landscapes -------------------------------------------------------------------------------------------------------


def of_swarm(unit: SwarmUnit, *, saved: bool = True) -> float:
    """Return the bytes of a swarm: the lanes that are there together, what waits to be stored, and trajectories."""
    together = min(len(unit.lanes), unit.lanes_at_once)
    return together * of_lane(unit, saved=saved) + of_trajectories(unit) + 8.0 * len(unit.lanes)


def of_lane(unit: SwarmUnit, *, saved: bool = True) -> float:
    """Return the bytes of a swarm's lane, of its rows that wait to be stored, and of copies while it is saved."""
    spec, shown = unit.spec, min(unit.spec.d, COORDINATES)
    curve = 8.0 * (7 + shown + bool(unit.search))
    trial = BYTES_PER_SWARM_TRIAL + 8.0 * (2 * shown + spec.rule.hyper)
    state = spec.numbers * np.dtype(spec.dtype).itemsize + 8.0 * spec.rule.numbers
    ending = max(2 * trial, saved * 2 * state)  # no state is saved any more while trials are written
    return unit.bytes_a_lane + curve * min(SWARM_CHECKPOINTS_AT_ONCE, len(unit.checkpoints)) + ending


def of_trajectories(unit: SwarmUnit) -> float:
    """Return the bytes of the states and rows of trajectories that are there together."""
    rows = min(MOST_TRAJECTORY_ROWS_AT_ONCE, len(unit.followed) * (unit.steps + 1) * unit.spec.d)
    return rows * (8.0 * (9 + unit.spec.rule.slots) * SWARM_CHECKPOINTS_AT_ONCE + BYTES_READ_PER_TRAJECTORY_ROW)
