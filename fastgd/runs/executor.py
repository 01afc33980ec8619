"""Executors run units, commit what they find, and say how far the run is: here one unit after another."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from functools import partial

import numpy as np

from fastgd.core.threads import Threads
from fastgd.datasets import Data
from fastgd.plan.plan import Unit
from fastgd.plan.units.cohort import CohortUnit
from fastgd.plan.units.surfaces import SurfaceUnit
from fastgd.plan.units.swarm import SwarmUnit
from fastgd.runs.ahead import compiled_ahead
from fastgd.runs.clock import Clock, TimeIsOver
from fastgd.runs.reporting.events import CohortFinished, CohortStarted, Compiling, Event, Progress, Surveying, Warning_
from fastgd.runs.sinks import FolderSink
from fastgd.runs.trials import Finalists
from fastgd.runs.units.unit_run import run_unit
from fastgd.store.folder import Folder
from fastgd.store.snapshots import Snapshots
from fastgd.store.surface_files import holds_surface, keep_surfaces
from fastgd.store.writer import PartWriter

# Parts of a swarm are committed together once they have so many rows of curves (some 100 MB, which compaction leaves
# alone), or have taken so long: an interruption loses no more, beside the part that runs.
COMMIT_ROWS, COMMIT_SECONDS = 8_000_000, 20.0
# Short cohorts are committed together, those of so long: a commit waits for the disk as long for one as for hundreds.
GATHER_SECONDS = 1.0
LEAST_SECONDS = 0.25  # a run on landscapes computes at least so long and stores it, even if max_seconds is shorter


@dataclass
class Work:
    """A unit that is on its way: `left` is what is still to run of it."""

    index: int
    unit: Unit
    left: Unit | None
    seconds: float = 0.0
    speed: float = 0.0  # lanes of a swarm that are computed a second, once some are
    diverged: int = 0
    began: float = 0.0  # of units elsewhere: when, and how many of its parts are not committed yet
    parts: int = 0


class Batch:
    """A part of the results: the units whose rows it takes are committed together.

    Parameters
    ----------
    executor : Executor
    unit : CohortUnit or SwarmUnit
        The first of them.
    began : float, optional
        When it began, on the clock of `time.perf_counter`; by default now.

    Attributes
    ----------
    sink : FolderSink
    rows : int
        How many it has, as far as they are counted.
    committed : list of callable
        What is called when they are committed, one of each unit that has ended.
    """

    def __init__(self, executor: "Executor", unit: Unit, began: float | None = None) -> None:
        self.stack, self.name = ExitStack(), unit.name
        self.began = time.perf_counter() if began is None else began
        writer = executor.folder.writer(parameters_only=parameters_only(unit))
        self.sink = FolderSink(
            executor.folder, self.stack.enter_context(writer), executor.finalists, executor.snapshots
        )
        self.rows = 0
        self.committed: list[Callable[[], None]] = []


class Executor:
    """Runs the missing units of a plan, in one way or another.

    It owns the deadline, progress, interruptions and the order of commits, and is the only one that writes results.
    Swarms are run part by part. Under a deadline a part is small enough for all swarms to have a share of the time that
    is left, and the first commit of a run on landscapes is made in any case: however short the time is, a study that is
    run again and again comes to its end.

    Parameters
    ----------
    folder : Folder
        Where results go.
    clock : Clock
    threads : Threads
    emit : callable
        Receives the events.
    trials : int
        All trials of the plan.
    snapshots : Snapshots
        Of the folder.

    Attributes
    ----------
    finalists : Finalists
        Parameters of trials that may turn out to be the best.
    """

    def __init__(
        self,
        folder: Folder,
        clock: Clock,
        threads: Threads,
        emit: Callable[[Event], None],
        trials: int,
        snapshots: Snapshots,
    ) -> None:
        self.folder, self.clock, self.threads, self.emit = folder, clock, threads, emit
        self.finalists, self.trials, self.snapshots = Finalists(), trials, snapshots
        self._stored = False
        self._batch: Batch | None = None  # of short units
        self._left: list[Unit] = []  # what is still on its way, and goes on in the next run
        self._flops = self._finished = self._computed = 0.0
        self._done_before = 0.0  # operations of the finished units that earlier runs did
        clock.announce = lambda kernels: emit(Compiling(kernels))

    def run(self, units: Sequence[Unit], data: Sequence[Data], *, together: bool = False) -> None:
        """Run units and commit what they find.

        Parameters
        ----------
        units : sequence of CohortUnit, or of SwarmUnit
            In the order in which they are begun.
        data : sequence of Data
            Of each problem.
        together : bool
            Commit short units together. Units that replace what is stored of their trials are best run so: with each
            commit, the files that hold it are written again.
        """
        self._finished = self._done_before = 0.0
        self._flops, self._computed = sum(unit.flops for unit in units), self.clock.computed
        self.clock.done = self.trials - sum(unit.count for unit in units)
        works = deque(Work(index, unit, unit) for index, unit in enumerate(units))
        self.clock.waits = bool(works) and works[0].unit.kind == "swarm"
        left = self._work_off(works, data, together=together)
        self._left += left
        for label, value in self.clock.lowest.items():
            text = "is below all minima that are known of it: these are not the lowest"
            self.emit(Warning_(f"{label}: the value {value:.6g}, which a trial found, {text}"))
        if count := sum(unit.count for unit in left):
            what = f"the parameters of {count:,} trials" if parameters_only(left[0]) else f"{count:,} trials"
            self.emit(Warning_(f"max_seconds was over: {what} are left for the next run of the study"))

    def _work_off(self, works: deque[Work], data: Sequence[Data], *, together: bool) -> list[Unit]:
        """Run units and commit what they find; return what the time did not suffice for."""
        raise NotImplementedError

    def ahead_of(self, units: Sequence[Unit]) -> AbstractContextManager[None]:  # noqa: ARG002
        """Prepare, while a block runs, for units that are about to run in it."""
        return nullcontext()

    def close(self) -> None:
        """Let go of what other processes keep for this run."""

    def drop_stale_snapshots(self) -> None:
        """Delete the snapshots of what is no longer on its way, once all units of the run have had their turn."""
        self.snapshots.sweep()
        stale = set(self.snapshots.names()) - self.snapshots.taken
        self.snapshots.drop({name for name in stale if not any(_goes_on(unit, name) for unit in self._left)})
        self.folder.kept.intersection_update(self.snapshots.rows())

    def _is_stored(self, unit: Unit) -> bool:
        """Whether all trials of a cohort are stored, as far as an earlier run came with them."""
        return isinstance(unit, CohortUnit) and self.folder.unfinished().issuperset(unit.trial_ids)

    def _sink(self, writer: PartWriter) -> FolderSink:
        return FolderSink(self.folder, writer, self.finalists, self.snapshots)

    # --- commits ------------------------------------------------------------------------------------------------------

    def _commit_if_due(self, seconds: float) -> None:
        """Commit the units of the shared batch, if it began so long ago or they are many."""
        if (batch := self._batch) is not None and batch.committed:
            age = time.perf_counter() - batch.began
            if self.clock.waits or batch.rows >= COMMIT_ROWS or age >= seconds:
                self._commit()

    def _commit(self) -> None:
        if (batch := self._batch) is not None:
            self._batch = None
            self._commit_batch(batch)

    def _commit_batch(self, batch: Batch) -> None:
        with self.clock.stage("store"), batch.stack:
            if batch.committed:
                batch.sink.commit(batch.name)
                self._stored, self.clock.waits = True, False
        for tell in batch.committed:
            tell()

    # --- parts of swarms ----------------------------------------------------------------------------------------------

    def _cut(self, unit: Unit, work: Work, others: int) -> tuple[Unit, Unit | None]:
        """Return what of a unit runs next, and what is left: of a swarm as many lanes as memory and time have room for.

        Under a deadline that is at first, when it is not known how long lanes take, a single group. The time that is
        left is shared with the other swarms; two shares are kept back, for storing and for what takes longer than was
        foreseen.
        """
        if isinstance(unit, CohortUnit):
            return unit, None
        for name in self.snapshots.names():  # a part that was on its way goes on as it is
            if lanes := _begins_with(unit, name):
                return unit.cut(lanes)
        lanes = self._most_lanes(unit)
        if self.clock.limit < np.inf:
            least = 0.0 if self._stored else LEAST_SECONDS
            share = max(least, self.clock.left / (others + 3))
            lanes = max(1, int(min(share * work.speed, lanes) // unit.spec.width)) * unit.spec.width
        return unit.cut(lanes)

    def _most_lanes(self, unit: SwarmUnit) -> int:
        """Return how many lanes of a swarm a part has at the most: whole groups."""
        return unit.lanes_at_once

    def _report(
        self,
        unit: Unit,
        index: int,
        total: int,
        step: int,
        alive: int,
        *,
        rate: float,
        running: float,
        earlier: float,
        done: int = 0,
        diverged: int = 0,
    ) -> None:
        """Say how far the run is.

        step, alive : int
            Of a unit that runs.
        rate : float
            Samples times lanes per second.
        running, earlier : float
            The operations of units that run, and of those done by earlier runs, which are among them.
        done, diverged : int
            Trials of units that run elsewhere: those that have ended, beside those that the clock has counted.
        """
        batches = unit.batches if isinstance(unit, CohortUnit) else 1
        share = (self._finished + running) / self._flops
        self.emit(
            Progress(
                cohort=index,
                cohorts=total,
                epoch=step / batches,
                epochs=unit.end / batches,
                unit="epoch" if isinstance(unit, CohortUnit) else "step",
                alive=alive,
                diverged=self.clock.diverged + diverged,
                done=self.clock.done + done,
                trials=self.trials,
                rate=rate,
                seconds_left=self._seconds_left(share, (self._done_before + earlier) / self._flops),
                share=share,
            )
        )

    def _seconds_left(self, share: float, earlier: float) -> float | None:
        """Estimate the rest from the share of the work that is done, some of it by earlier runs; None: too early."""
        if share - earlier < 0.005:
            return None
        return (self.clock.computed - self._computed) * (1 - share) / (share - earlier)

    # --- error surfaces -----------------------------------------------------------------------------------------------

    def run_surfaces(self, units: Sequence[SurfaceUnit], data: Sequence[Data]) -> None:
        """Compute and write the error surfaces that the folder lacks, and delete those that the study has no more."""
        path = self.folder.path
        missing = [unit for unit in units if not holds_surface(path, unit.problem, unit.specification)]
        try:
            self._survey(missing, data)
        except TimeIsOver:
            self.emit(Warning_("max_seconds was over: the error surface is left for the next run of the study"))
        keep_surfaces(path, len(units))

    def _survey(self, units: Sequence[SurfaceUnit], data: Sequence[Data]) -> None:
        """Compute and write error surfaces."""
        raise NotImplementedError

    def _surveying(self, unit: SurfaceUnit, done: int, points: int) -> None:
        """Say how far an error surface is."""
        self.emit(Surveying(unit.label, done, points))


class LocalExecutor(Executor):
    """Runs units here, one after another, on all threads; those of different optimizers take turns."""

    def _work_off(self, works: deque[Work], data: Sequence[Data], *, together: bool) -> list[Unit]:
        total = len(works)
        try:
            while works and not (ends_whole(works[0].unit) and self.clock.over):
                work = works.popleft()
                self._go_on(work, len(works), total, data, works if together else None)
                if work.left is not None:
                    works.append(work)
                with self.clock.interruption.deferred():
                    self._commit_if_due(GATHER_SECONDS)
        finally:
            with self.clock.interruption.deferred():
                self._commit()  # what has ended, also where another unit is interrupted
        return [work.left for work in works if work.left is not None]

    def ahead_of(self, units: Sequence[Unit]) -> AbstractContextManager[None]:
        """Compile, while a block runs, what the units after the first one call."""
        return compiled_ahead(units, self.threads.count)

    def _go_on(self, work: Work, others: int, total: int, data: Sequence[Data], following: deque[Work] | None) -> None:
        """Run some of a unit, or all of it, and commit that; where the time is over before, it stays.

        others : int
            The number of other units that wait.
        following : deque of Work, optional
            Units that are committed with it, as long as that is worth no commit of its own. By default a short cohort
            is committed with others that have ended before or end after it.
        """
        began, unit = time.perf_counter(), work.unit
        if self.clock.over and self._is_stored(unit):  # as far as an earlier run came with it
            self._left.append(unit)
            work.left = None
            return
        in_thread, works = unit.kind == "swarm", [work]
        try:
            with self.folder.writer(in_thread=in_thread, parameters_only=parameters_only(unit)) as writer:
                sink = self._sink(writer)
                name = self._run_parts(work, sink, others, total, data)
                while following and time.perf_counter() - began < COMMIT_SECONDS and not self.clock.over:
                    works.append(following.popleft())
                    self._run_parts(works[-1], sink, others, total, data)
                self.clock.enter("store")
                tell = partial(self._tell_finished, works, total)
                if following is None and not in_thread and self._handed_over(sink, unit, began, tell):
                    return
                sink.commit(name)
        except TimeIsOver:
            return
        self._stored, self.clock.waits = True, False
        tell()

    def _handed_over(self, sink: FolderSink, unit: Unit, began: float, tell: Callable[[], None]) -> bool:
        """Hand a unit over to the shared batch, if it is short; return whether it is.

        A batch that has not got all of it, whatever the reason, is not committed.
        """
        with self.clock.interruption.deferred():
            batch, self._batch = self._batch or Batch(self, unit, began), None
            if found := sink.hand_over(batch.sink):
                batch.committed.append(tell)
            self._batch = batch
        return found

    def _tell_finished(self, works: Sequence[Work], total: int) -> None:
        for each in works:
            if each.left is None:
                self.emit(CohortFinished(each.index, total, each.unit.width, each.diverged, each.seconds))

    def _run_parts(self, work: Work, sink: FolderSink, others: int, total: int, data: Sequence[Data]) -> str:
        """Run parts of a unit until what an interruption would lose is worth a commit; return what names them."""
        began, own = time.perf_counter(), data[work.unit.problem] if data else None
        if not work.seconds:
            self.emit(CohortStarted(work.index, total, work.unit.width, work.unit.kernel))
        name, rows, seconds, left = "", 0, 0.0, work.left
        enough = COMMIT_SECONDS if self.clock.limit == np.inf else 0.0 if self._stored else LEAST_SECONDS
        while left is not None:
            part, left = self._cut(left, work, others)
            name = name or part.name
            before, diverged = self.clock.computed, self.clock.diverged
            self.clock.report = partial(self._report_unit, part, work.index, total, dict(self.clock.seconds))
            self.clock.resumed = 0
            run_unit(part, own, sink, self.clock, self.threads)
            self._done_before += self.clock.resumed / part.end * part.flops
            spent = max(self.clock.computed - before, 1e-6)
            work.speed, seconds = part.width / spent, seconds + spent
            work.diverged += self.clock.diverged - diverged
            self._finished += part.flops
            rows += len(part.checkpoints) * part.count
            if rows >= COMMIT_ROWS or seconds >= enough:
                break
        work.left = left
        work.seconds += time.perf_counter() - began
        return name

    def _report_unit(self, unit: Unit, index: int, total: int, before: dict[str, float], step: int, alive: int) -> None:
        """Say how far the run is, of which one unit runs; what others have left does not wait for its end."""
        self._commit_if_due(GATHER_SECONDS)
        train, resumed = self.clock.seconds["train"] - before["train"], self.clock.resumed
        earlier, running = (at / unit.end * unit.flops for at in (resumed, step))
        rate = samples_of(unit, resumed, step) * alive / train if train else 0.0
        self._report(unit, index, total, step, alive, rate=rate, running=running, earlier=earlier)

    def _survey(self, units: Sequence[SurfaceUnit], data: Sequence[Data]) -> None:
        for unit in units:
            self.clock.report = lambda done, points, unit=unit: self._surveying(unit, done, points)
            rows = data[unit.problem] if unit.landscape is None else None
            with self.folder.writer() as writer:
                run_unit(unit, rows, self._sink(writer), self.clock, self.threads)


def samples_of(unit: Unit, first: int, last: int) -> int:
    """Return how many rows a lane of a unit sees between two steps; on landscapes none."""
    return unit.samples(last) - unit.samples(first) if isinstance(unit, CohortUnit) else 0


def parameters_only(unit: Unit) -> bool:
    """Return whether all but the final parameters of a unit's trials is stored already."""
    return isinstance(unit, CohortUnit) and unit.parameters_only


def ends_whole(unit: Unit) -> bool:
    """Return whether a unit has no results where the time is over before its end."""
    return isinstance(unit, SwarmUnit) or unit.parameters_only


def _goes_on(unit: Unit, name: str) -> bool:
    """Return whether a unit, or the first part of it, goes on from the snapshot of a name."""
    return bool(_begins_with(unit, name)) if isinstance(unit, SwarmUnit) else unit.name == name


def _begins_with(unit: SwarmUnit, name: str) -> int:
    """Return with how many lanes of a swarm its part of a name begins; 0: with no such part."""
    lanes = int(count) if (count := name.rpartition("-")[2]).isdigit() and "-" in name else 0
    return lanes if 0 < lanes <= unit.count and unit.cut(lanes)[0].name == name else 0
