"""What a study takes on other machines: on so many workers with so many threads each, from this machine's limits.

Units go to the worker that is free first, the largest ones before others, and one coordinator takes what comes back,
result by result. `benchmarks/scale.py` simulates the same with workers that are slow or fail; docs/scale.md compares
both with runs.
"""

import heapq
import pickle
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from fastgd.common.numbers import amount, count, seconds
from fastgd.plan.estimates import memory
from fastgd.plan.estimates.costs import (
    SECONDS_PER_UNIT_FILES,
    Cost,
    Pace,
    cost_of,
    kept_parameters,
    seconds_of_files,
    side_by_side,
    surface_cost,
)
from fastgd.plan.units.cohort import CohortUnit
from fastgd.plan.units.surfaces import SurfaceUnit
from fastgd.plan.units.swarm import SwarmUnit

START_SECONDS = 3.0  # of a worker's process and what it imports
COMPILE_SECONDS = 5.0  # of the kernels of a method, which are compiled once on a machine
TASK_SECONDS = 20e-3  # of a worker for a unit, beside what the unit computes: it is sent, begun, and answered
COMMIT_SECONDS = 10e-3  # of the coordinator for a unit, beside its rows
READ_BYTES = 1e9  # a second, at which a worker reads the data, where nothing else is said
PARTS_OF_A_SWARM = 4  # for each worker, at the most
BYTES_PER_SENT_NUMBER, BYTES_PER_SENT_NAME, BYTES_PER_SENT_TRIAL = 8, 24, 700  # of results on their way
CURVE_NUMBERS = 5  # of a row of curves, beside those that a study asks for

Unit = CohortUnit | SwarmUnit | SurfaceUnit


class Workers(NamedTuple):
    """Workers that are all alike, each on a machine of its own.

    Attributes
    ----------
    number, threads : int
        How many there are, and the threads of each.
    read : float
        Bytes a second at which each of them reads the data, whatever the others do.
    memory : float, optional
        Bytes of each: data that take more are read again in each pass. By default they have as much as is needed.
    """

    number: int
    threads: int
    read: float = READ_BYTES
    memory: float = np.inf


class Task(NamedTuple):
    """What a unit takes.

    Attributes
    ----------
    seconds : float
        Of a worker.
    commit : float
        Seconds of the coordinator, when its results have come.
    """

    seconds: float
    commit: float


def end_of(tasks: Sequence[Task], workers: int, start: float = 0.0) -> float:
    """Return the seconds until the last result is committed, of workers that all begin after `start`.

    A worker takes its next unit at once, the largest that is left; results wait for the coordinator in the order in
    which they come.
    """
    free, done = [start] * workers, []
    for task in sorted(tasks, key=lambda task: -task.seconds):
        end = free[0] + task.seconds
        heapq.heapreplace(free, end)
        done.append((end, task.commit))
    now = 0.0
    for end, commit in sorted(done):
        now = max(now, end) + commit
    return now


@dataclass(frozen=True)
class Extrapolation:
    """What a study is expected to take on some workers.

    Attributes
    ----------
    workers : Workers
    units : int
    seconds : float
        Until all is stored.
    starting : float
        Seconds until a worker begins its first unit: its process, its kernels, its data.
    longest : float
        Seconds of the longest unit.
    coordinating : float
        Seconds of the coordinator, for all units.
    shares : mapping of str to float
        Seconds of all workers together, by what takes them.
    sent, returned, data : float
        Bytes over the network: units, results, and the data for each worker once, if they stay in its memory.
    streamed : float
        Bytes of data in all passes of all workers, if they do not stay there.
    disk, memory : float
        Bytes of the results, and of a worker.
    resting : int
        The units with fewer parts that run side by side than a worker has threads.
    here : Pace
        That of this machine's threads, which is that of as many there.
    """

    workers: Workers
    units: int
    seconds: float
    starting: float
    longest: float
    coordinating: float
    shares: Mapping[str, float]
    sent: float
    returned: float
    data: float
    streamed: float
    disk: float
    memory: float
    resting: int
    here: Pace

    @property
    def work(self) -> float:
        """Seconds of all workers together in units."""
        return sum(self.shares.values())

    @property
    def loading(self) -> float:
        """Seconds in which a worker reads the data before it begins."""
        return self.data / max(1, min(self.units, self.workers.number)) / self.workers.read

    @property
    def core_hours(self) -> float:
        """Hours of all threads of all workers, until all is stored."""
        return self.workers.number * self.workers.threads * self.seconds / 3600

    @property
    def busy(self) -> float:
        """The share of the workers' time in which they are at units."""
        return self.work / (self.workers.number * self.seconds)

    @property
    def bounds(self) -> dict[str, float]:
        """Seconds than which it takes no less, whatever else were faster."""
        return {
            "work": self.work / self.workers.number,
            "longest": self.starting + self.longest,
            "coordinator": self.coordinating,
            "start": self.starting,
        }

    @property
    def limit(self) -> str:
        """Which limit binds: a key of `shares`, "units", "unit", "coordinator" or "start"."""
        bounds = self.bounds
        binding = max(bounds, key=lambda name: bounds[name])
        if binding == "longest" and self.starting > self.longest:
            return "start"
        if binding == "longest":
            return "units" if self.units < self.workers.number else "unit"
        return max(self.shares, key=lambda name: self.shares[name]) if binding == "work" else binding

    def in_words(self) -> list[str]:
        """Return it as lines of text."""
        workers, bounds = self.workers, self.bounds
        disk, own, rate = (amount(size, "B") for size in (self.disk, self.memory, workers.read))
        sent, found, data = (amount(size, "B") for size in (self.sent, self.returned, self.data + self.streamed))
        often = "in every pass: they take more than its memory" if self.streamed else "once to every worker"
        there = f"{count(workers.number, 'worker')} of {count(workers.threads, 'thread')}"
        lines = [
            f"on {there}: about {seconds(self.seconds)}, {amount(self.core_hours)} core-hours, {self.busy:.0%} of them "
            f"in units; {disk} on disk, {own} of memory of each worker",
            f"over the network: {sent} of units, {found} of results, {data} of data, {often}",
            f"it takes no less than {seconds(bounds['work'])} for {count(self.units, 'unit')} that all workers share, "
            f"{seconds(self.longest)} for the longest of them, {seconds(self.coordinating)} for the coordinator, and "
            f"{seconds(self.starting)} for a worker to start, if it reads {rate}/s",
            f"what binds: {self._binding()}",
        ]
        if self.resting:
            lines.append(
                f"note: {self.resting:,} of {count(self.units, 'unit')} cannot keep {workers.threads} threads busy: "
                "more workers of fewer threads would do the same for fewer core-hours"
            )
        machine, threads = self.here
        here = f"{machine.gflops_float64:.3g} GFLOP/s in float64, {machine.gbytes:.3g} GB/s of memory"
        return [
            *lines,
            f"assumed: threads there are as fast as those here ({here} with {count(threads, 'thread')}); "
            "of many threads each often has less of the memory's bandwidth",
        ]

    def _binding(self) -> str:
        workers, share = self.workers.number, max(self.shares, key=lambda name: self.shares[name])
        rate, loading = self.units / max(self.coordinating, 1e-9), self.loading / max(self.starting, 1e-9)
        inside, more = f"{self.shares[share] / self.work:.0%} is {share}", "more workers do not help"
        words = {
            "units": f"too few units: {self.units:,} workers would take as long as {workers:,}, and more seeds or "
            f"batch sizes make more units; of the work, {inside}",
            "unit": f"the longest unit, of {seconds(self.longest)}: {more}; of the work, {inside}",
            "coordinator": f"the coordinator, which takes {rate:.0f} units a second: {more}, fewer and larger units do",
            "start": f"the start of a worker, {loading:.0%} of which is reading the data: {more}",
        }
        return words.get(
            self.limit, f"{self.limit}, {self.shares[share] / self.work:.0%} of the work: more workers help"
        )


OPERATIONS, BANDWIDTH = "the multiply-add peak", "the memory bandwidth of a worker"
READING, CALLS = "reading the data in every pass", "calls, checkpoints and looking up entries"


def extrapolated(
    units: Sequence[Unit], workers: Workers, total: Cost, methods: Mapping[str, str], here: Pace | None = None
) -> Extrapolation:
    """Return what units are expected to take on some workers.

    Parameters
    ----------
    units : sequence of CohortUnit, SwarmUnit and SurfaceUnit
    workers : Workers
    total : Cost
        Of all of them on this machine.
    methods : mapping of str to str
        What has kernels of its own, and of which kind.
    here : Pace, optional
        By default this machine's, with all threads that the process may use.
    """
    here = here or Pace.of(None)
    units = list(_divided(units, workers.number))
    rows = data_bytes(units)
    own = memory.UNKNOWN_PROCESS_BYTES + memory.loading(methods.values()) + max(map(_memory, units), default=0.0)
    streams = own + rows > workers.memory
    there = here.with_threads(workers.threads)
    loads = [_Load.of(unit, workers, there, rows if streams else 0.0) for unit in units]
    tasks = [Task(load.seconds, load.commit) for load in loads]
    starting = START_SECONDS + COMPILE_SECONDS * len(methods) + (0.0 if streams else rows / workers.read)
    used = min(workers.number, len(units))
    return Extrapolation(
        workers=workers,
        units=len(units),
        seconds=end_of(tasks, workers.number, starting),
        starting=starting,
        longest=max((task.seconds for task in tasks), default=0.0),
        coordinating=sum(task.commit for task in tasks),
        shares={name: sum(load.shares[name] for load in loads) for name in (OPERATIONS, BANDWIDTH, READING, CALLS)},
        sent=sum(len(pickle.dumps(unit)) for unit in units),
        returned=sum(map(_returned, units)),
        data=0.0 if streams else used * rows,
        streamed=sum(load.streamed for load in loads),
        disk=total.disk,
        memory=own + (0.0 if streams else rows),
        resting=sum(_side_by_side(unit) < workers.threads for unit in units),
        here=here,
    )


class _Load(NamedTuple):
    """A unit on a worker: its task, by what takes the seconds, and the bytes of rows that it reads."""

    seconds: float
    commit: float
    shares: Mapping[str, float]
    streamed: float

    @classmethod
    def of(cls, unit: Unit, workers: Workers, pace: Pace, rows: float) -> "_Load":
        """Return it, of a worker at a pace; `rows`: the bytes of data that are read in every pass."""

        def cost(**infinite: float) -> Cost:
            own = pace._replace(machine=pace.machine._replace(**infinite))
            return surface_cost(unit, own) if isinstance(unit, SurfaceUnit) else cost_of(unit, own)

        own, peak = cost(), {"gflops_float64": np.inf, "gflops_float32": np.inf}
        whole, rest = own.computing, cost(**peak, gbytes=np.inf).computing
        operations, reading = cost(gbytes=np.inf).computing - rest, cost(**peak).computing - rest
        overlap = (whole - rest) / max(operations + reading, 1e-12)  # rows are read while products are computed
        streamed = rows * (unit.left.passes if isinstance(unit, CohortUnit) else 1.0)
        late = max(0.0, streamed / workers.read - whole)  # for rows that computing waits for
        rest += TASK_SECONDS
        shares = {OPERATIONS: overlap * operations, BANDWIDTH: overlap * reading, READING: late, CALLS: rest}
        if late:  # what is computed meanwhile costs nothing more
            shares = {OPERATIONS: 0.0, BANDWIDTH: 0.0, READING: whole + late, CALLS: TASK_SECONDS}
        files = seconds_of_files(whole) if isinstance(unit, CohortUnit) else SECONDS_PER_UNIT_FILES
        commit = own.storing - files + COMMIT_SECONDS
        return cls(sum(shares.values()), commit, shares, streamed)


def _divided(units: Iterable[Unit], workers: int) -> Iterator[Unit]:
    """Yield units; those of swarms in parts, as many as leave some for each worker."""
    units = list(units)
    swarms = [unit for unit in units if isinstance(unit, SwarmUnit)]
    share = sum(unit.flops for unit in swarms) / (PARTS_OF_A_SWARM * workers)
    for unit in units:
        left: SwarmUnit | None = unit if isinstance(unit, SwarmUnit) else None
        if left is None:
            yield unit
        while left is not None:
            groups = max(1, int(share / left.flops * left.count) // left.spec.width)
            part, left = left.cut(min(left.lanes_at_once, groups * left.spec.width))
            yield part


def data_bytes(units: Iterable[Unit]) -> float:
    """Return the bytes of the rows of all units in memory; problems over the same data share them."""
    found: dict[object, float] = {}
    for unit in units:
        if isinstance(unit, CohortUnit):
            entry = unit.itemsize + 4 * unit.spec.kernel.sparse
            size = (unit.n + unit.workload.held_out) * (8 + unit.entries * entry)
            name = unit.columns.get("dataset", unit.problem)
            found[name] = max(size, found.get(name, 0.0))
    return sum(found.values())


def of_rows(unit: CohortUnit, n: int) -> CohortUnit:
    """Return a cohort as it would be with n training rows: as many epochs, and as many checkpoints."""
    spec, work, factor = unit.spec, unit.workload, n / unit.n
    if spec.batch_size >= unit.n:
        spec = replace(spec, batch_size=n)
    found = replace(unit, n=n, spec=spec)
    factor_of_steps = found.batches / unit.batches
    held_out, copied = round(factor * work.held_out), factor * work.copied
    return replace(
        found,
        steps=round(factor_of_steps * unit.steps),
        taken=round(factor_of_steps * unit.taken),
        checkpoints=np.rint(factor_of_steps * unit.checkpoints).astype(unit.checkpoints.dtype),
        workload=replace(work, held_out=held_out, copied=copied),
    )


def _memory(unit: Unit) -> float:
    return memory.of_surface(unit) if isinstance(unit, SurfaceUnit) else memory.of(unit)


def _returned(unit: Unit) -> float:
    """Return the bytes of a unit's results."""
    if isinstance(unit, SurfaceUnit):
        return 8.0 * unit.points
    curves, trials = len(unit.checkpoints) * unit.count, float(BYTES_PER_SENT_TRIAL * unit.count)
    if isinstance(unit, CohortUnit):
        row = BYTES_PER_SENT_NAME + BYTES_PER_SENT_NUMBER * (CURVE_NUMBERS + unit.workload.columns)
        return curves * row + trials + 8.0 * kept_parameters(unit)
    coordinates = min(unit.spec.d, 8)
    return BYTES_PER_SENT_NUMBER * (curves * (CURVE_NUMBERS + coordinates) + unit.count * (20 + 2 * coordinates))


def _side_by_side(unit: Unit) -> float:
    """Return how many threads a unit can keep busy."""
    if isinstance(unit, CohortUnit):
        return side_by_side(unit)
    return np.inf if isinstance(unit, SurfaceUnit) else -(-unit.count // unit.spec.width)
