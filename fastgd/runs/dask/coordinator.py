"""The executor of a cluster: it sends units to workers, commits what they find, and tries again what is lost."""

import pickle
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from distributed import Client

from fastgd.common.errors import InputError
from fastgd.core.threads import Threads
from fastgd.datasets import Data
from fastgd.plan.plan import Unit
from fastgd.plan.units.cohort import CohortUnit
from fastgd.plan.units.surfaces import SurfaceUnit
from fastgd.plan.units.swarm import SwarmUnit
from fastgd.runs.clock import PROGRESS_SECONDS, STAGES, Clock, TimeIsOver
from fastgd.runs.dask.crew import Crew, Lost, Post, SentData
from fastgd.runs.dask.messages import Answer, DataKey, States, Task, Terms
from fastgd.runs.dask.worker import OTHER_BITS, differences_of
from fastgd.runs.executor import (
    COMMIT_SECONDS,
    GATHER_SECONDS,
    Batch,
    Executor,
    Work,
    ends_whole,
    parameters_only,
    samples_of,
)
from fastgd.runs.reporting.events import CohortFinished, CohortStarted, Compiling, Event, Warning_
from fastgd.runs.units.cohort_run import failed_trials
from fastgd.runs.units.swarm_run import failed_rows
from fastgd.runs.units.unit_run import run_unit
from fastgd.store.folder import Folder
from fastgd.store.schema import trials_table
from fastgd.store.snapshots import Snapshots

DEPTH = 2  # tasks that a worker has: one that it is at, and the next one
MOST_FAILURES = 3  # of a unit, after which it is given up
PARTS_A_WORKER = 4  # no part of a swarm is more of all work than a worker's share in so many parts
WAIT_SECONDS = 0.1  # for answers, until events are looked at
NONE_SECONDS = 900.0  # that a run waits where all workers that it had are gone
STOP_SECONDS = 10.0  # that workers have to answer as far as they are, when the run is interrupted


@dataclass(eq=False)
class Errand:
    """A unit, or a part of a swarm, on its way to its results.

    Attributes
    ----------
    unit : CohortUnit, SwarmUnit or SurfaceUnit
    work : Work, optional
        What it is of; None: a surface is by itself.
    batch : Batch, optional
        Its own, once it has a saved state.
    state : mapping, optional
        From which the next task goes on.
    failures : list of str
        Why it has failed so far.
    tried : list of str
        On which workers.
    step : int
        The step of the state.
    done, diverged : int
        The trials that had ended by then, and those of them that diverged.
    """

    unit: Unit | SurfaceUnit
    work: Work | None = None
    batch: Batch | None = None
    state: Any = None
    failures: list[str] = field(default_factory=list)
    tried: list[str] = field(default_factory=list)
    step: int = 0
    done: int = 0
    diverged: int = 0


class Coordinator(Executor):
    """Runs units on the workers of a Dask cluster.

    Parameters
    ----------
    folder, clock, threads, emit, trials, snapshots
        See `Executor`.
    client : distributed.Client
    terms : Terms
    data : SentData, optional
        What is sent to workers, where they do not load the data themselves.
    done_with : callable
        Told what data the run was over, returns those that workers are to let go of.
    """

    def __init__(
        self,
        folder: Folder,
        clock: Clock,
        threads: Threads,
        emit: Callable[[Event], None],
        trials: int,
        snapshots: Snapshots,
        *,
        client: Client,
        terms: Terms,
        data: SentData | None,
        done_with: Callable[[DataKey], Collection[DataKey]],
    ) -> None:
        super().__init__(folder, clock, threads, emit, trials, snapshots)
        self._terms = replace(terms, columns=folder.columns)
        self._crew: Crew[Errand] = Crew(client, terms.run, data)
        self._done_with = done_with
        self._errands: deque[Errand] = deque()  # that go on, or are tried again
        self._works: deque[Work] = deque()
        self._total = 0
        self._saved: set[str] = set()  # the names of units that earlier runs have saved
        self._together = self._told_of_none = False
        self._alone_since = np.inf  # when workers were last seen
        self._reported = 0.0
        self._spent = dict.fromkeys(STAGES, 0.0)  # seconds of workers

    def close(self) -> None:
        """Let go of what workers keep for this run."""
        self._crew.close(self._done_with(self._terms.data))

    # --- the way of units ---------------------------------------------------------------------------------------------

    def _work_off(self, works: deque[Work], data: Sequence[Data], *, together: bool) -> list[Unit]:
        self._total, self._together = len(works), together or (bool(works) and works[0].unit.kind == "swarm")
        if self.clock.limit == np.inf:  # the largest first, so that none is left for the end
            works = deque(sorted(works, key=lambda work: -work.unit.flops))
        self._works, self._saved = works, set(self.snapshots.names())
        self._serve()
        left = [errand.unit for errand in self._errands] + [work.left for work in self._works if work.left is not None]
        self._errands.clear()
        return self._end_late([unit for unit in left if not isinstance(unit, SurfaceUnit)], data)

    def _survey(self, units: Sequence[SurfaceUnit], data: Sequence[Data]) -> None:  # noqa: ARG002
        self._works = deque()
        self._errands += [Errand(unit) for unit in units]
        self._serve()
        if self._errands:
            self._errands.clear()
            raise TimeIsOver

    def _serve(self) -> None:
        """Send out what there is to do and take what comes back, until all is done or the time is over."""
        self.clock.enter("train")
        before = self.clock.read()["train"]
        waits = COMMIT_SECONDS if self._together and self.clock.limit == np.inf else GATHER_SECONDS
        try:
            with self.clock.interruption.deferred():
                while self._send_out() or self._crew.posts:
                    for post, answer in self._crew.answers(WAIT_SECONDS):
                        self._take(post, answer)
                    self._commit_if_due(waits)
                    self._say()
                    if self.clock.interruption:
                        self._stop()
                        break
                self._commit()
        finally:
            self._drop_batches()
            self._attribute(self.clock.read()["train"] - before)

    def _attribute(self, waited: float) -> None:
        """Attribute the seconds of waiting for workers to stages, in proportion to what these have taken."""
        if total := sum(self._spent.values()):
            self.clock.seconds["train"] -= waited
            for stage, seconds in self._spent.items():
                self.clock.seconds[stage] += waited * seconds / total
        self._spent = dict.fromkeys(STAGES, 0.0)

    def _send_out(self) -> bool:
        """Give workers what they have room for; return whether anything is left to give."""
        self._crew.look()
        self._admit()
        while self._is_left() and not self.clock.over:
            tried = self._errands[0].tried if self._errands else ()
            address = self._crew.room(DEPTH if self.clock.limit == np.inf else 1, tried)
            if address is None:
                break
            self._send(self._next(), address)
        if not self._is_left() and (address := self._crew.room(1)) and (key := self._crew.waiting()):
            self._send(self._crew.take_back(key), address)
        self._require_workers()
        return self._is_left() and not self.clock.over

    def _is_left(self) -> bool:
        return bool(self._errands or self._works)

    def _next(self) -> Errand:
        """Return what is to be done next: of the next unit, if it is a swarm, a part."""
        if self._errands:
            return self._errands.popleft()
        work = self._works.popleft()
        assert work.left is not None
        if work.left is work.unit:
            self.emit(CohortStarted(work.index, self._total, work.unit.width, work.unit.kernel))
            work.began = time.perf_counter()
        part, work.left = self._cut(work.left, work, len(self._works))
        work.parts += 1
        if work.left is not None:
            self._works.append(work)
        return Errand(part, work)

    def _most_lanes(self, unit: SwarmUnit) -> int:
        """Return how many lanes of a swarm a part has at the most: as many as leave some work for each worker."""
        share = self._flops / (PARTS_A_WORKER * max(1, len(self._crew.usable)))
        groups = max(1, int(share / unit.flops * unit.count) // unit.spec.width)
        return min(super()._most_lanes(unit), groups * unit.spec.width)

    def _send(self, errand: Errand, address: str) -> None:
        """Send an errand to a worker."""
        unit, states = errand.unit, States(saved=errand.state)
        if isinstance(unit, CohortUnit | SwarmUnit) and errand.state is None:
            states = self._states_of(errand, unit)
        task = Task(
            key=f"fastgd-{self._terms.run}-{uuid4().hex[:12]}",
            terms=self._terms,
            unit=pickle.dumps(unit),
            limit=self.clock.limit,
            seconds=self.clock.left,
            waits=self.clock.waits,
            snapshot_seconds=self.clock.snapshot_seconds,
        )
        self._crew.send(errand, task, states, address)

    def _states_of(self, errand: Errand, unit: Unit) -> States:
        """Return the states of earlier runs, or of other trials, that a unit goes on from."""
        if unit.name in self._saved:
            errand.batch = errand.batch or Batch(self, unit)
            if (saved := errand.batch.sink.saved(unit.name, unit.trial_ids)) is not None:
                return States(saved=saved)
        if isinstance(unit, CohortUnit) and unit.origin is not None and not unit.parameters_only:
            found = self.snapshots.finished.load(unit.origin.name)
            return States(kept=None if found is None else found.state)
        return States()

    # --- answers ------------------------------------------------------------------------------------------------------

    def _take(self, post: Post[Errand], answer: Answer | Lost) -> None:
        """Take what became of a task."""
        errand = post.whose
        if isinstance(answer, Lost):
            if answer.to_blame:
                self._fail(errand, post.worker, str(answer), for_good=answer.for_good)
            else:
                self._errands.appendleft(errand)
            return
        self._spent = {stage: own + answer.seconds.get(stage, 0.0) for stage, own in self._spent.items()}
        for label, value in answer.lowest.items():
            self.clock.found_below(label, value)
        if answer.differences:
            self._note_differences(answer.differences)
        match answer.end:
            case "done":
                self._finish(errand, answer)
            case "paused" | "over":
                self._pause(errand, answer)
            case "failed":
                self._fail(errand, post.worker, answer.text)
            case "refused":
                self._refuse(post.worker, answer.text)
                self._errands.appendleft(errand)

    def _finish(self, errand: Errand, answer: Answer) -> None:
        """Take the results of a unit, which are committed now or with others."""
        if isinstance(errand.unit, SurfaceUnit):
            with self.folder.writer() as writer:
                answer.found.hand_over(self._sink(writer), errand.unit, carry=False)
            return
        unit, work = errand.unit, errand.work
        assert work is not None
        self.clock.ended(errand.done + answer.done, errand.diverged + answer.diverged)
        batch = self._hand_over(errand, answer, errand.batch or self._shared_batch(unit))
        batch.committed.append(partial(self._committed, errand))
        batch.rows += sum(table.num_rows for _, table in answer.found.tables)
        self._done_before += answer.resumed / unit.end * unit.flops * (errand.state is None)
        self._finished += unit.flops
        work.diverged += errand.diverged + answer.diverged
        work.speed = unit.width / max(answer.seconds["train"] + answer.seconds["evaluate"], 1e-6)
        if errand.batch:
            self._commit_batch(errand.batch)

    def _hand_over(self, errand: Errand, answer: Answer, batch: Batch) -> Batch:
        """Hand what a unit has found over to the sink of a batch."""
        with self.clock.stage("store"):
            answer.found.hand_over(batch.sink, errand.unit, carry=errand.state is None)
        return batch

    def _shared_batch(self, unit: Unit) -> Batch:
        if self._batch is None:
            self._batch = Batch(self, unit)
        return self._batch

    def _pause(self, errand: Errand, answer: Answer) -> None:
        """Save the state of a unit that goes on in another task, or in another run."""
        if answer.found.state is not None and not isinstance(errand.unit, SurfaceUnit):
            errand.batch = self._hand_over(errand, answer, errand.batch or Batch(self, errand.unit))
            errand.state, errand.failures, errand.tried = answer.found.state, [], []
            errand.step = int(answer.found.state["engine.t"])
            errand.done, errand.diverged = errand.done + answer.done, errand.diverged + answer.diverged
        self._errands.appendleft(errand)

    def _fail(self, errand: Errand, worker: str, text: str, *, for_good: bool = False) -> None:
        """Try a unit again, on another worker if there is one, or give it up: its trials have failed then."""
        errand.failures.append(text)
        errand.tried.append(worker)
        if len(errand.failures) < MOST_FAILURES and not for_good:
            self._errands.append(errand)
            return
        unit = errand.unit
        if isinstance(unit, SurfaceUnit):
            self.emit(Warning_(f"the error surface of {unit.label} is left for the next run: {text}"))
            return
        reason = f"failed {len(errand.failures)} times, at last: {text}"
        what = f"{unit.count:,} trials of {unit.spec.rule.optimizer.name} on {unit.label}"
        self.emit(Warning_(f"{what} {reason}; the next run of the study tries them again"))
        assert errand.work is not None
        self._finished += unit.flops
        if errand.batch:
            errand.batch.stack.close()
            errand.batch = None
        if parameters_only(unit) or self._is_stored(unit):
            errand.work.parts -= 1
            return
        batch, count = self._shared_batch(unit), unit.count
        if isinstance(unit, CohortUnit):
            rows = trials_table(failed_trials(unit, reason), self.folder.columns)
            unfinished = pa.array(list(self.folder.unfinished()), pa.string())
            rows = rows.filter(pc.invert(pc.is_in(rows["trial_id"], unfinished)))  # others stay as far as they came
            batch.sink.take_trials(rows)
            count = len(rows)
        else:
            batch.sink.append("trials", failed_rows(unit, reason), unit.count)
        batch.committed.append(partial(self._committed, errand))
        self.clock.ended(count, 0)

    def _admit(self) -> None:
        """Take in workers that have come, or refuse them."""
        for worker, versions in self._crew.newcomers():
            if isinstance(versions, str):
                self._refuse(worker, f"it has not this fastgd ({versions})")
            elif (differences := differences_of(versions, self._terms)) and not self._terms.allow_mixed:
                self._refuse(worker, OTHER_BITS.format(differences))

    def _refuse(self, worker: str, why: str) -> None:
        """Give a worker nothing more."""
        if worker not in self._crew.refused:
            self._crew.refused[worker] = why
            self.emit(Warning_(f"the worker {worker} is not used: {why}"))

    def _note_differences(self, differences: str) -> None:
        self.folder.note(f"some trials were computed by workers with {differences}")

    def _require_workers(self) -> None:
        """Raise InputError where no worker may run the study; tell where there is none at all."""
        crew = self._crew
        if crew.workers and crew.refused.keys() >= crew.workers.keys() and not crew.posts:
            why = "; ".join(f"{address}: {text}" for address, text in crew.refused.items())
            raise InputError(f"no worker of the cluster can run the study ({why})")
        if crew.workers:
            self._alone_since = time.monotonic()
        elif time.monotonic() - self._alone_since > NONE_SECONDS:
            raise InputError(
                f"all workers of the cluster are gone, for {NONE_SECONDS:g} s: what was committed is kept, and the "
                "same command goes on from there"
            )
        elif not self._told_of_none:
            self._told_of_none = True
            self.emit(Warning_("the cluster has no workers: waiting for them"))

    # --- commits ------------------------------------------------------------------------------------------------------

    def _committed(self, errand: Errand) -> None:
        """Note that the results of a unit are stored."""
        work, errand.batch = errand.work, None
        assert work is not None
        work.parts -= 1
        if work.left is None and not work.parts:
            seconds = time.perf_counter() - work.began
            self.emit(CohortFinished(work.index, self._total, work.unit.width, work.diverged, seconds))

    def _drop_batches(self) -> None:
        """Close what was not committed; states that were saved stay."""
        batches = [self._batch, *(errand.batch for errand in self._errands)]
        batches += [post.whose.batch for post in self._crew.posts.values()]
        for batch in filter(None, batches):
            batch.stack.close()
        self._batch = None

    # --- ends ---------------------------------------------------------------------------------------------------------

    def _stop(self) -> None:
        """Take from workers what they have, as far as they are; what they do not answer soon is lost."""
        self._crew.stop()
        end = time.monotonic() + STOP_SECONDS
        while any("step" in post.told for post in self._crew.posts.values()) and time.monotonic() < end:
            for post, answer in self._crew.answers(WAIT_SECONDS):
                self._take(post, answer)

    def _end_late(self, units: Sequence[Unit], data: Sequence[Data]) -> list[Unit]:
        """End cohorts that were not begun as the time was over; return what is left for another run."""
        saved, late = set(self.snapshots.names()), list[Unit]()
        for unit in units:
            if not ends_whole(unit):  # what is stored, or saved, stays as it is
                (self._left if self._is_stored(unit) or unit.name in saved else late).append(unit)
        if late:
            with self.folder.writer() as writer:
                sink = self._sink(writer)
                for unit in late:
                    run_unit(unit, data[unit.problem], sink, self.clock, self.threads)
                sink.commit(late[0].name)
        return [unit for unit in units if ends_whole(unit)]

    # --- progress -----------------------------------------------------------------------------------------------------

    def _say(self) -> None:
        """Say how far the run is, a few times a second."""
        while self._crew.compiling:
            self.emit(Compiling(self._crew.compiling.popleft()))
        now = time.perf_counter()
        if now - self._reported < PROGRESS_SECONDS:
            return
        self._reported = now
        self.clock.read()
        rate = running = earlier = 0.0
        done = diverged = 0
        first: tuple[Work, Unit, dict[str, Any]] | None = None
        for post in self._crew.posts.values():
            unit, work, told = post.whose.unit, post.whose.work, post.told
            if isinstance(unit, SurfaceUnit):
                if "step" in told:
                    self._surveying(unit, told["step"], told["alive"])
                continue
            running += told.get("step", post.whose.step) / unit.end * unit.flops
            done += post.whose.done + told.get("done", 0)
            diverged += post.whose.diverged + told.get("diverged", 0)
            if "step" in told and work is not None:
                samples = samples_of(unit, told["resumed"], told["step"]) * told["alive"]
                rate += samples / told["train"] if told["train"] else 0.0
                earlier += told["resumed"] / unit.end * unit.flops * (post.whose.state is None)
                first = first or (work, unit, told)
        if first is not None:
            work, unit, told = first
            self._report(
                unit,
                work.index,
                self._total,
                told["step"],
                told["alive"],
                rate=rate,
                running=running,
                earlier=earlier,
                done=done,
                diverged=diverged,
            )
