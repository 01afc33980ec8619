"""Runs the swarms of a study on landscapes: from checkpoint to checkpoint, with results streamed to disk."""

import re
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from numba.core.errors import NumbaError

from fastgd._errors import InputError
from fastgd._jit import compile_lock
from fastgd._noise import stream_keys
from fastgd._threads import Threads
from fastgd.engine.swarm import Reading, Swarm
from fastgd.engine.swarm_guesses import SwarmGuesses
from fastgd.schedules import chained
from fastgd.store.folder import Folder
from fastgd.store.schema import COORDINATES
from fastgd.store.swarm import Names, SwarmWriter
from fastgd.study.config import Study
from fastgd.study.events import CohortFinished, CohortStarted, Compiling, Event, Progress, Warning_
from fastgd.study.metrics import LOSS_EVALUATIONS
from fastgd.study.outcomes import DIVERGED, TAIL, Outcomes, judge, judge_guesses
from fastgd.study.stopwatch import Stopwatch
from fastgd.study.swarm_plan import StudyPlan, SwarmPlan
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

    def run(self, plan: StudyPlan) -> None:
        """Run what the folder lacks."""
        stored = self.folder.starts()
        missing = [swarm for swarm in (each.without(stored) for each in plan.swarms) if len(swarm.lanes)]
        self.total, self.done = plan.trials, plan.trials - sum(len(swarm.lanes) for swarm in missing)
        for index, swarm in enumerate(missing):
            if time.perf_counter() > self.deadline:
                break
            _SwarmRun(self, swarm, index, len(missing)).run()
        if left := self.total - self.done:
            self.emit(Warning_(f"max_seconds was over: {left:,} trials are left for the next run of the study"))


class _SwarmRun:
    """One swarm, part by part."""

    def __init__(self, owner: Landscapes, plan: SwarmPlan, index: int, total: int) -> None:
        self.owner, self.plan, self.index, self.total = owner, plan, index, total
        self.problem = owner.study.landscapes[plan.problem]
        self.minima = self.problem.known_minima()
        self.values = plan.spec.landscape.values(plan.spec.p, self.minima.T) if len(self.minima) else np.zeros(0)
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
                    writer.append("curves", len(lanes), self._curve_rows(swarm, lanes, reading))
            if plan.steps - step in (*TAIL, 0):
                tail.append(reading)
        terrain = plan.spec.box, self.minima, self.values, self.problem.tolerance
        if plan.spec.rule.optimizer.baseline:
            outcomes = judge_guesses(tail[-1], plan.steps, *terrain)
        else:
            outcomes = judge(first, tail, swarm.died(), plan.steps, *terrain, self.owner.study.stop.diverge)
        lost = int(np.count_nonzero(outcomes.status.codes == DIVERGED))
        self.diverged += lost
        self.owner.diverged += lost
        spent = {stage: watch.seconds[stage] - before[stage] for stage in ("compile", "train", "evaluate")}
        tolerance = swarm.steps_to_tolerance(tail[-1].loss)
        with watch.stage("store"):
            rows = self._trial_rows(lanes, outcomes, first, tail[-1], best, tolerance, spent)
            writer.append("trials", len(lanes), rows)

    def _compile(self, swarm: Swarm) -> None:
        self.owner.emit(Compiling(_kernel_of(self.plan)))
        compile_swarm(swarm)

    # --- rows ---------------------------------------------------------------------------------------------------------

    def _key(self, lanes: Array) -> dict[str, Any]:
        which, start = np.divmod(lanes, len(self.plan.starts))
        return {"trial_id": Names(self.plan.ids, which), "start": start}

    def _curve_rows(self, swarm: Swarm, lanes: Array, reading: Reading) -> dict[str, Any]:
        with np.errstate(over="ignore", invalid="ignore"):
            norm = np.linalg.norm(reading.positions, axis=0)
        which = lanes // len(self.plan.starts)
        rows = {"step": swarm.t, "loss": reading.loss, "grad_norm": reading.grad_norm, "param_norm": norm}
        rows["lr"] = swarm.line.rates if swarm.line else self.rates(swarm.t)[which]
        if swarm.line:
            rows[LOSS_EVALUATIONS] = swarm.line.evaluations.astype(np.float64)
        return self._key(lanes) | rows | _coordinates("x_", reading.positions)

    def _trial_rows(
        self,
        lanes: Array,
        outcomes: Outcomes,
        first: Reading,
        end: Reading,
        best: Array,
        tolerance: Array,
        spent: Mapping[str, float],
    ) -> dict[str, Any]:
        plan, spec = self.plan, self.plan.spec
        which = lanes // len(plan.starts)
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
            **{f"{stage}_seconds": seconds for stage, seconds in spent.items()},
        }
        numbers = {name: np.ma.masked_invalid(values[which]) for name, values in plan.numbers.items()}
        schedule = {f"schedule.{key}": value for key, value in plan.schedule.numbers.items()}
        found = {
            "status": outcomes.status,
            "reason": outcomes.reason,
            "minimum": outcomes.minimum,
            "steps": outcomes.steps,
            "steps_to_tolerance": np.ma.masked_less(tolerance, 0),
            "final_loss": end.loss,
            "best_loss": best,
            "final_grad_norm": end.grad_norm,
        }
        points = _coordinates("start_", first.positions) | _coordinates("end_", end.positions)
        return self._key(lanes) | own | numbers | schedule | found | points

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
                alive=len(plan.lanes),
                diverged=owner.diverged,
                done=owner.done,
                trials=owner.total,
                rate=0.0,
                seconds_left=None,
            )
        )


def make_swarm(plan: SwarmPlan, lanes: Array, threads: Threads) -> Swarm:
    """Return some lanes at their start."""
    which, start = np.divmod(lanes, len(plan.starts))
    used, which = np.unique(which, return_inverse=True)
    keys = stream_keys(plan.seed, start)
    lanes_of = (plan.spec, plan.hyper[used], which, plan.starts[start], keys, threads)
    if plan.spec.rule.optimizer.baseline:
        return SwarmGuesses(*lanes_of, plan.steps)
    return Swarm(*lanes_of, schedule_of(plan))


def compile_swarm(swarm: Swarm) -> None:
    """Compile what a swarm calls, under the cache's lock; a user's function that does not compile is named."""
    landscape, optimizer = swarm.spec.landscape, swarm.spec.rule.optimizer
    try:
        with compile_lock():
            swarm.compile()
    except NumbaError as error:
        if not (landscape.foreign or optimizer.foreign):
            raise
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        found = [line for line in lines if "Cannot" in line or "No implementation" in line]
        text = re.sub(r" at 0x[0-9a-f]+", "", found[-1] if found else lines[0])
        raise InputError(
            f"{(landscape if landscape.foreign else optimizer).name!r}: its functions do not compile; they may use "
            f"arithmetic and NumPy's element-wise functions, and np.where in place of `if`. Numba says: {text}"
        ) from error


def compile_swarms(plan: StudyPlan, note: Callable[[str], None]) -> int:
    """Compile what the swarms of a plan call; return how many distinct kernels there were.

    Parameters
    ----------
    plan : StudyPlan
    note : callable
        Receives the name of each before it is compiled.
    """
    done = set()
    with Threads(1) as threads:
        for swarm in plan.swarms:
            if (name := _kernel_of(swarm)) not in done:
                note(name)
                compile_swarm(make_swarm(swarm, swarm.lanes[:1], threads))
                done.add(name)
    return len(done)


def _kernel_of(plan: SwarmPlan) -> str:
    spec = plan.spec
    name = spec.rule.optimizer.name + (f" ({spec.rule.variant})" if spec.rule.variant else "")
    return f"{name} on {spec.landscape.name}, {spec.kernel}, {spec.dtype}"


def _coordinates(prefix: str, positions: Array) -> dict[str, Array]:
    return {f"{prefix}{i}": positions[i] for i in range(min(len(positions), COORDINATES))}


def schedule_of(plan: SwarmPlan) -> Callable[[int, int], Array] | None:
    """Return the scheduled values (steps, m) from a step on: of the rate a factor, of others the value."""
    names = plan.spec.scheduled
    if not names:
        return None
    drivers = {driver.of: driver for driver in plan.schedule.drivers}

    def values(first: int, steps: int) -> Array:
        index = np.arange(first, first + steps)
        rows = np.ones((steps, len(names)))
        for column, name in enumerate(names):
            if name in drivers:
                driver = drivers[name]
                rows[:, column] = chained(driver.parts, driver.horizon, index, plan.steps)
        return rows

    return values


def rates_of(plan: SwarmPlan) -> Callable[[int], Array]:
    """Return the rates (C,) that produced the iterate after a step; after none, the first ones."""
    names = list(plan.spec.rule.fields)
    if "lr" not in names:
        return lambda _: np.full(len(plan.hyper), np.nan)
    base = plan.hyper[:, names.index("lr")]
    schedule = schedule_of(plan)
    if schedule is None or "lr" not in plan.spec.scheduled:
        return lambda _: base
    column = plan.spec.scheduled.index("lr")
    return lambda step: np.asarray(base * schedule(max(0, step - 1), 1)[0, column])


class _TimeIsOver(Exception):  # noqa: N818
    """`max_seconds` is over."""
