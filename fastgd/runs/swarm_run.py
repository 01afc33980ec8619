"""Runs the swarms of a study on landscapes: from checkpoint to checkpoint, with results streamed to disk."""

import time
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from fastgd.core.threads import Threads
from fastgd.engine.rows.evaluation import norms
from fastgd.engine.swarm.lanes import Lanes
from fastgd.engine.swarm.reading import Reading
from fastgd.plan.recording import LOSS_EVALUATIONS, TAIL
from fastgd.plan.swarms import StudyPlan, SwarmPlan
from fastgd.plan.turns import in_turns
from fastgd.runs.clock import Stopwatch
from fastgd.runs.outcomes import DIVERGED, KnownLandscape, Outcomes, judge, judge_guesses
from fastgd.runs.reporting.events import CohortFinished, CohortStarted, Compiling, Event, Progress, Warning_
from fastgd.runs.swarms import compile_swarm, kernel_of, make_swarm, rates_of
from fastgd.runs.trajectories import record_trajectories
from fastgd.store.folder import Folder
from fastgd.store.rows import Names
from fastgd.store.schema import COORDINATES
from fastgd.store.writer import PartWriter
from fastgd.study.config import Study

Array = npt.NDArray[Any]
PROGRESS_SECONDS = 0.2
# What an interruption can lose beside the part that runs: rows of curves, some 100 MB, which compaction leaves alone.
COMMIT_ROWS, COMMIT_SECONDS = 8_000_000, 20.0
LEAST_SECONDS = 0.25  # a run computes at least so long and stores it, even if max_seconds is shorter


class Landscapes:
    """The run of a study's missing swarms.

    Their optimizers take turns, commit by commit. Under a deadline a part is small enough for all to have a share of
    the time that is left, and the first commit of a run is made in any case: however short the time is, a study that
    is run again and again comes to its end.

    Parameters
    ----------
    study : Study
    folder : Folder
        Where results go.
    threads : Threads
    watch : Stopwatch
    emit : callable
        Receives the events.
    """

    def __init__(
        self, study: Study, folder: Folder, threads: Threads, watch: Stopwatch, emit: Callable[[Event], None]
    ) -> None:
        self.study, self.folder, self.threads = study, folder, threads
        self.watch, self.emit = watch, emit
        self.deadline = time.perf_counter() + study.max_seconds if study.max_seconds else np.inf
        self.total = self.done = self.diverged = 0
        self.lower: dict[str, float] = {}  # by problem: the lowest value found, if below those of all known minima
        self.stored = False  # whether this run has stored anything

    @property
    def over(self) -> bool:
        """Whether the time is over, and the run may end."""
        return self.stored and time.perf_counter() > self.deadline

    def run(self, plan: StudyPlan) -> None:
        """Run what the folder lacks."""
        missing = self._missing(plan)
        self.total, self.done = plan.trials, plan.trials - sum(len(swarm.lanes) for swarm in missing)
        turns = deque(_SwarmRun(self, swarm, index, len(missing)) for index, swarm in enumerate(missing))
        while turns and not self.over:
            swarm = turns.popleft()
            swarm.go_on(len(turns))
            if len(swarm.left):
                turns.append(swarm)
        for label, value in self.lower.items():
            text = "is below all minima that are known of it: these are not the lowest"
            self.emit(Warning_(f"{label}: the value {value:.6g}, which a trial found, {text}"))
        if left := self.total - self.done:
            self.emit(Warning_(f"max_seconds was over: {left:,} trials are left for the next run of the study"))

    def _missing(self, plan: StudyPlan) -> list[SwarmPlan]:
        """What the folder lacks of each swarm: first that of which it has least, else in turns."""
        stored = self.folder.starts()
        ordered = in_turns(plan.swarms, lambda swarm: (swarm.problem, swarm.spec.rule.optimizer.name))
        rest = [(swarm, swarm.without(stored)) for swarm in ordered]
        rest.sort(key=lambda pair: -len(pair[1].lanes) / len(pair[0].lanes))
        return [missing for _, missing in rest if len(missing.lanes)]


class _SwarmRun:
    """One swarm, part by part; `left` are the lanes that are still to be run."""

    def __init__(self, owner: Landscapes, plan: SwarmPlan, index: int, total: int) -> None:
        self.owner, self.plan, self.index, self.total = owner, plan, index, total
        self.problem = owner.study.landscapes[plan.problem]
        self.landscape = KnownLandscape.of(self.problem)
        self.rates = rates_of(plan)
        self.left = plan.lanes
        self.seconds = self.speed = 0.0  # spent so far; lanes computed a second, once some are
        self.diverged = self.t = self.running = 0
        self._shown = 0.0

    def go_on(self, others: int) -> None:
        """Run some of the lanes and commit them; where the time is over before, they stay.

        others : int
            The number of other swarms that wait.
        """
        owner, began = self.owner, time.perf_counter()
        if not self.seconds:
            owner.emit(CohortStarted(self.index, self.total, len(self.plan.lanes), self.plan.spec.kernel))
        try:
            with owner.folder.writer(in_thread=True) as writer:
                done = self._run_parts(writer, others)
        except _TimeIsOver:
            return
        self.left, self.running = self.left[done:], 0
        owner.done, owner.stored = owner.done + done, True
        self.seconds += time.perf_counter() - began
        if not len(self.left):
            lanes = len(self.plan.lanes)
            owner.emit(CohortFinished(self.index, self.total, lanes, self.diverged, self.seconds))

    def _run_parts(self, writer: PartWriter, others: int) -> int:
        """Run parts until what an interruption would lose is worth a commit, and commit them; return their lanes."""
        owner, done, rows, seconds, follows = self.owner, 0, 0, 0.0, False
        enough = COMMIT_SECONDS if owner.deadline == np.inf else 0.0 if owner.stored else LEAST_SECONDS
        while not done or (done < len(self.left) and rows < COMMIT_ROWS and seconds < enough):
            part = self.left[done : done + self._fitting(others)]
            followed = np.intersect1d(self.plan.followed, part)
            if done and bool(len(followed)) != follows:  # a part of the folder has trajectories from the start, or none
                break
            follows = bool(len(followed))
            self.running, before = len(part), _computed(owner.watch)
            self._run_part(writer, part, followed)
            spent = max(_computed(owner.watch) - before, 1e-6)
            self.speed, seconds = len(part) / spent, seconds + spent
            done += len(part)
            rows += len(self.plan.checkpoints) * len(part)
        with owner.watch.stage("store"):
            writer.commit(name=f"{self.plan.ids[0]}, lane {self.left[0]}")
        return done

    def _fitting(self, others: int) -> int:
        """How many lanes come next: what memory holds, and under a deadline no more than will be done in time.

        At first, when it is not known how long they take, that is a single group. The time that is left is shared with
        the other swarms; two shares are kept back, for storing and for what takes longer than was foreseen.
        """
        owner = self.owner
        if owner.deadline == np.inf:
            return self.plan.together
        least = 0.0 if owner.stored else LEAST_SECONDS
        share = max(least, (owner.deadline - time.perf_counter()) / (others + 3))
        width = self.plan.spec.width
        groups = min(share * self.speed, self.plan.together) // width
        return max(1, int(groups)) * width

    def _run_part(self, writer: PartWriter, lanes: Array, followed: Array) -> None:
        watch, plan = self.owner.watch, self.plan
        before = dict(watch.seconds)
        watch.enter("evaluate")
        swarm = make_swarm(plan, lanes, self.owner.threads)
        with watch.stage("compile"):
            self._compile(swarm)
        which, start = np.divmod(lanes, len(plan.starts))
        names = {"trial_id": Names(plan.ids, which), "start": start}
        configuration = {"configuration": Names(plan.configurations, which)}
        first, best, tail = swarm.read(), np.full(len(lanes), np.inf), []
        recorded = set(plan.checkpoints.tolist())
        stops = sorted({*recorded, *(step for ago in TAIL if (step := plan.steps - ago) >= 0), plan.steps})
        for step in stops:
            watch.enter("train")
            swarm.advance(step - swarm.t, self._poll)
            self.t = step
            watch.enter("evaluate")
            reading = first if step == 0 else swarm.read()
            if step in recorded:
                best = np.fmin(best, reading.loss)
                with watch.stage("store"):
                    writer.append("curves", names | self._curve_rows(swarm, which, reading), len(lanes))
            if plan.steps - step in (*TAIL, 0):
                tail.append(reading)
        if plan.spec.rule.optimizer.baseline:
            outcomes = judge_guesses(self.landscape, tail[-1], plan.steps)
        else:
            outcomes = judge(self.landscape, first, tail, swarm.died(), plan.steps, self.owner.study.stop.diverge)
        diverged = int(np.count_nonzero(outcomes.status.codes == DIVERGED))
        self.diverged += diverged
        self.owner.diverged += diverged
        found = np.min(best, where=np.isfinite(best), initial=np.inf)
        if self.landscape.is_below_lowest(found):
            self.owner.lower[plan.label] = min(self.owner.lower.get(plan.label, np.inf), float(found))
        spent = {f"{stage}_seconds": watch.seconds[stage] - before[stage] for stage in ("compile", "train", "evaluate")}
        tolerance = swarm.steps_to_tolerance(tail[-1].loss)
        if len(followed):
            again = make_swarm(plan, followed, self.owner.threads)
            record_trajectories(plan, followed, again, self.rates, writer, self._poll)
        with watch.stage("store"):
            found = {"best_loss": best, "steps_to_tolerance": np.ma.masked_less(tolerance, 0)}
            rows = self._trial_rows(which, outcomes, first, tail[-1])
            writer.append("trials", names | configuration | rows | found | spent, len(lanes))

    def _compile(self, swarm: Lanes) -> None:
        self.owner.emit(Compiling(kernel_of(self.plan)))
        compile_swarm(swarm, self.plan.method)

    # --- rows ---------------------------------------------------------------------------------------------------------

    def _curve_rows(self, swarm: Lanes, which: Array, reading: Reading) -> dict[str, Any]:
        """The rows of a checkpoint, but for what names them; `which` is the configuration of each."""
        with np.errstate(over="ignore", invalid="ignore"):
            norm = norms(reading.positions)
        rows = {"step": swarm.t, "loss": reading.loss, "grad_norm": reading.grad_norm, "param_norm": norm}
        rows["lr"] = swarm.line.rates if swarm.line else self.rates(swarm.t)[which]
        if swarm.line:
            rows[LOSS_EVALUATIONS] = swarm.line.evaluations.astype(np.float64)
        return rows | _coordinates("x_", reading.positions)

    def _trial_rows(self, which: Array, outcomes: Outcomes, first: Reading, end: Reading) -> dict[str, Any]:
        plan, spec = self.plan, self.plan.spec
        own = {
            "problem": plan.label,
            "landscape": spec.landscape.name,
            "d": spec.d,
            "noise": spec.noise,
            "optimizer": spec.rule.optimizer.name,
            "variant": plan.variant,
            "schedule": plan.schedule.label,
            "seed": plan.seed,
            "dtype": spec.dtype,
            "kernel": spec.kernel,
            "in_study": True,
            "cohort_id": plan.ids[0][:12],
            "cohort_lanes": len(plan.lanes),
        }
        numbers = {name: np.ma.masked_invalid(values[which]) for name, values in plan.numbers.items()}
        schedule = {f"schedule.{key}": value for key, value in plan.schedule.numbers.items()}
        found = {
            "status": outcomes.status,
            "reason": outcomes.reason,
            "minimum": outcomes.minimum,
            "steps": outcomes.steps,
            "final_loss": end.loss,
            "final_grad_norm": end.grad_norm,
        }
        points = _coordinates("start_", first.positions) | _coordinates("end_", end.positions)
        return own | numbers | schedule | found | points

    def _poll(self) -> None:
        owner, plan = self.owner, self.plan
        if owner.over:
            raise _TimeIsOver
        now = time.perf_counter()
        if now - self._shown < PROGRESS_SECONDS:
            return
        self._shown = now
        owner.emit(
            Progress(
                cohort=self.index,
                cohorts=self.total,
                epoch=float(self.t),
                epochs=float(plan.steps),
                unit="step",
                alive=self.running,
                diverged=owner.diverged,
                done=owner.done,
                trials=owner.total,
                rate=0.0,
                seconds_left=None,
                share=(owner.done + self.running * self.t / plan.steps) / owner.total,
            )
        )


def _computed(watch: Stopwatch) -> float:
    return watch.seconds["train"] + watch.seconds["evaluate"]


def _coordinates(prefix: str, positions: Array) -> dict[str, Array]:
    return {f"{prefix}{i}": positions[i] for i in range(min(len(positions), COORDINATES))}


class _TimeIsOver(Exception):  # noqa: N818
    """`max_seconds` is over."""
