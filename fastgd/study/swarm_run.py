"""Runs the swarms of a study on landscapes: from checkpoint to checkpoint, with results streamed to disk."""

import time
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from fastgd._threads import Threads
from fastgd.engine.swarm import Reading, Swarm
from fastgd.store.folder import Folder
from fastgd.store.schema import COORDINATES
from fastgd.store.swarm import Names, SwarmWriter
from fastgd.study.config import Study
from fastgd.study.events import CohortFinished, CohortStarted, Compiling, Event, Progress, Warning_
from fastgd.study.metrics import LOSS_EVALUATIONS
from fastgd.study.outcomes import DIVERGED, TAIL, Ground, Outcomes, judge, judge_guesses
from fastgd.study.stopwatch import Stopwatch
from fastgd.study.swarm_plan import StudyPlan, SwarmPlan
from fastgd.study.swarms import compile_swarm, kernel_of, make_swarm, rates_of
from fastgd.study.trajectories import follow

Array = npt.NDArray[Any]
PROGRESS_SECONDS = 0.2
# What an interruption can lose beside the part that runs: rows of curves, some 100 MB, which compaction leaves alone.
COMMIT_ROWS, COMMIT_SECONDS = 8_000_000, 20.0


class Landscapes:
    """The run of a study's missing swarms.

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
        self.lower: dict[str, float] = {}  # by problem: a value that is below that of all minima that are known

    def run(self, plan: StudyPlan) -> None:
        """Run what the folder lacks."""
        stored = self.folder.starts()
        missing = [swarm for swarm in (each.without(stored) for each in plan.swarms) if len(swarm.lanes)]
        self.total, self.done = plan.trials, plan.trials - sum(len(swarm.lanes) for swarm in missing)
        for index, swarm in enumerate(missing):
            if time.perf_counter() > self.deadline:
                break
            _SwarmRun(self, swarm, index, len(missing)).run()
        for label, value in self.lower.items():
            text = "is below all minima that are known of it: these are not the lowest"
            self.emit(Warning_(f"{label}: the value {value:.6g}, which a trial found, {text}"))
        if left := self.total - self.done:
            self.emit(Warning_(f"max_seconds was over: {left:,} trials are left for the next run of the study"))


class _SwarmRun:
    """One swarm, part by part."""

    def __init__(self, owner: Landscapes, plan: SwarmPlan, index: int, total: int) -> None:
        self.owner, self.plan, self.index, self.total = owner, plan, index, total
        self.problem = owner.study.landscapes[plan.problem]
        self.ground = Ground.of(self.problem)
        self.rates = rates_of(plan)
        self.diverged = self.t = 0
        self._shown = 0.0

    def run(self) -> None:
        owner, plan = self.owner, self.plan
        began = time.perf_counter()
        owner.emit(CohortStarted(self.index, self.total, len(plan.lanes), plan.spec.kernel))
        parts = deque(plan.parts())
        try:
            while parts:
                with owner.folder.swarm() as writer:
                    self._run_parts(writer, parts)
        except _TimeIsOver:
            return
        seconds = time.perf_counter() - began
        owner.emit(CohortFinished(self.index, self.total, len(plan.lanes), self.diverged, seconds))

    def _run_parts(self, writer: SwarmWriter, parts: "deque[Array]") -> None:
        """Run parts until what an interruption would lose is worth a commit, and commit them."""
        owner, began, rows = self.owner, time.perf_counter(), 0
        done: list[Array] = []
        while parts and rows < COMMIT_ROWS and time.perf_counter() - began < COMMIT_SECONDS:
            done.append(parts.popleft())
            self._run_part(writer, done[-1])
            rows += len(self.plan.checkpoints) * len(done[-1])
        followed = np.intersect1d(self.plan.followed, np.concatenate(done))
        owner.watch.enter("evaluate")
        if len(followed):
            swarm = make_swarm(self.plan, followed, owner.threads)
            follow(self.plan, followed, swarm, self.rates, writer, self._poll)
        with owner.watch.stage("store"):
            writer.commit(f"{self.plan.ids[0]}, lane {done[0][0]}")
        owner.done += sum(map(len, done))

    def _run_part(self, writer: SwarmWriter, lanes: Array) -> None:
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
                    writer.append("curves", len(lanes), names | self._curve_rows(swarm, which, reading))
            if plan.steps - step in (*TAIL, 0):
                tail.append(reading)
        if plan.spec.rule.optimizer.baseline:
            outcomes = judge_guesses(self.ground, tail[-1], plan.steps)
        else:
            outcomes = judge(self.ground, first, tail, swarm.died(), plan.steps, self.owner.study.stop.diverge)
        lost = int(np.count_nonzero(outcomes.status.codes == DIVERGED))
        self.diverged += lost
        self.owner.diverged += lost
        found = np.min(best, where=np.isfinite(best), initial=np.inf)
        if self.ground.below(found):
            self.owner.lower[plan.label] = min(self.owner.lower.get(plan.label, np.inf), float(found))
        spent = {f"{stage}_seconds": watch.seconds[stage] - before[stage] for stage in ("compile", "train", "evaluate")}
        tolerance = swarm.steps_to_tolerance(tail[-1].loss)
        with watch.stage("store"):
            found = {"best_loss": best, "steps_to_tolerance": np.ma.masked_less(tolerance, 0)}
            rows = self._trial_rows(which, outcomes, first, tail[-1])
            writer.append("trials", len(lanes), names | configuration | rows | found | spent)

    def _compile(self, swarm: Swarm) -> None:
        self.owner.emit(Compiling(kernel_of(self.plan)))
        compile_swarm(swarm)

    # --- rows ---------------------------------------------------------------------------------------------------------

    def _curve_rows(self, swarm: Swarm, which: Array, reading: Reading) -> dict[str, Any]:
        """The rows of a checkpoint, but for what names them; `which` is the configuration of each."""
        with np.errstate(over="ignore", invalid="ignore"):
            norm = np.linalg.norm(reading.positions, axis=0)
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
        now = time.perf_counter()
        if now > self.owner.deadline:
            raise _TimeIsOver
        if now - self._shown < PROGRESS_SECONDS:
            return
        self._shown = now
        owner, plan = self.owner, self.plan
        owner.emit(
            Progress(
                cohort=self.index,
                cohorts=self.total,
                epoch=float(self.t),
                epochs=float(plan.steps),
                unit="step",
                alive=len(plan.lanes),
                diverged=owner.diverged,
                done=owner.done,
                trials=owner.total,
                rate=0.0,
                seconds_left=None,
            )
        )


def _coordinates(prefix: str, positions: Array) -> dict[str, Array]:
    return {f"{prefix}{i}": positions[i] for i in range(min(len(positions), COORDINATES))}


class _TimeIsOver(Exception):  # noqa: N818
    """`max_seconds` is over."""
