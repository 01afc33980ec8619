"""A part of a swarm at work: from checkpoint to checkpoint, then judged."""

from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from fastgd.core.random import stream_keys
from fastgd.core.threads import Threads
from fastgd.engine.rows.norms import norms
from fastgd.engine.swarm.guesses import SwarmGuesses
from fastgd.engine.swarm.lanes import Lanes
from fastgd.engine.swarm.reading import Reading
from fastgd.engine.swarm.swarm import Swarm
from fastgd.plan.estimates.compiled import compiling
from fastgd.plan.units.recording import LOSS_EVALUATIONS, TAIL_STEPS
from fastgd.plan.units.swarm import SwarmUnit
from fastgd.runs.clock import Clock, TimeIsOver
from fastgd.runs.sinks import Sink
from fastgd.runs.units.outcomes import DIVERGED, KnownLandscape, Outcomes, judge, judge_guesses
from fastgd.runs.units.schedule_values import ScheduleValues
from fastgd.runs.units.trajectories import record_trajectories
from fastgd.runs.units.unit_work import UnitWork, below, prefixed
from fastgd.store.disk.rows import Names
from fastgd.store.schema import COORDINATES, FAILED

Array = npt.NDArray[Any]


def make_swarm(unit: SwarmUnit, lanes: Array, threads: Threads) -> Lanes:
    """Return some lanes of a unit at their start."""
    which, start = unit.places(lanes)
    occurs = np.bincount(which) > 0
    used, which = np.flatnonzero(occurs), (np.cumsum(occurs) - 1)[which]
    keys = stream_keys(unit.seed, unit.number_of(start))
    lanes_of = (unit.spec, unit.hyper[used], which, unit.starts[start], keys, threads)
    if unit.spec.rule.optimizer.baseline:
        return SwarmGuesses(*lanes_of, unit.steps)
    return Swarm(*lanes_of, partial(ScheduleValues.of(unit).reference, per_step=True) if unit.spec.scheduled else None)


def compile_swarm(swarm: Lanes, unit: SwarmUnit) -> None:
    """Compile what a swarm calls, or load it from the cache; a user's function that does not compile is named."""
    with compiling(unit.spec.landscape, unit.spec.rule.optimizer, method=unit.method):
        swarm.compile()


class SwarmRun(UnitWork):
    """The lanes of a unit, all of which are in memory together, from their start to the end.

    Parameters
    ----------
    unit : SwarmUnit
    sink : Sink
    clock : Clock
    threads : Threads
    """

    def __init__(self, unit: SwarmUnit, sink: Sink, clock: Clock, threads: Threads) -> None:
        self.unit, self.threads = unit, threads
        self.swarm = make_swarm(unit, unit.lanes, threads)
        super().__init__(unit, self.swarm, unit.ids, sink, clock)
        self.rates = ScheduleValues.of(unit).rate
        self.which, start = unit.places(unit.lanes)
        self.names = _names(unit, self.which, start)
        self.best = np.full(len(unit.lanes), np.inf)
        self.first: Reading | None = None
        self.tail: list[Reading] = []
        self._checkpoints = set(unit.checkpoints.tolist())

    def run(self) -> None:
        """Run it, and hand its trials to the sink."""
        self.clock.enter("evaluate")
        with self.clock.compiling(self.unit.kernels):
            compile_swarm(self.swarm, self.unit)
        with self.clock.interruption.deferred():
            self.go_on()
            try:
                for step in [step for step in self._stops() if step > self.recorded]:
                    self._go_to(step)
            except TimeIsOver:
                self.save()
                raise
        first = self.first
        assert first is not None
        outcomes, tolerance = self._judge(first), self.swarm.steps_to_tolerance(self.tail[-1].loss)
        spent = {f"{stage}_seconds": self.spent(stage) for stage in ("compile", "train", "evaluate")}
        self._follow()
        lost = int(np.count_nonzero(outcomes.status.codes == DIVERGED))
        self.clock.ended(len(self.which), lost)
        found = {"best_loss": self.best, "steps_to_tolerance": np.ma.masked_less(tolerance, 0)}
        rows = self._trial_rows(outcomes, first, self.tail[-1])
        planned = _planned_rows(self.unit, self.which)
        with self.clock.stage("store"):
            self.sink.append("trials", self.names | planned | rows | found | spent, len(self.which))

    def _stops(self) -> list[int]:
        """Return the steps at which lanes are recorded, or read to be judged in the end."""
        steps = self.unit.steps
        tail = (step for ago in TAIL_STEPS if (step := steps - ago) >= 0)
        return sorted({*self._checkpoints, *tail, steps})

    def _go_to(self, step: int) -> None:
        self.clock.enter("train")
        self.swarm.advance(step - self.swarm.t, self.check)
        self.clock.enter("evaluate")
        reading = self.swarm.read()
        self.first = reading if step == 0 else self.first
        if step in self._checkpoints:
            self.best = np.fmin(self.best, reading.loss)
            with self.clock.stage("store"):
                self.sink.append("curves", self.names | self._curve_rows(reading), len(self.which))
        if self.unit.steps - step in (*TAIL_STEPS, 0):
            self.tail.append(reading)
        self.recorded = step

    def _judge(self, first: Reading) -> Outcomes:
        unit, known = self.unit, KnownLandscape.of(self.unit.landscape)
        if known.is_below_lowest(found := np.min(self.best, where=np.isfinite(self.best), initial=np.inf)):
            self.clock.found_below(unit.label, float(found))
        if unit.spec.rule.optimizer.baseline:
            return judge_guesses(known, self.tail[-1], unit.steps)
        return judge(known, first, self.tail, self.swarm.died(), unit.steps, unit.stop.diverge)

    def _follow(self) -> None:
        """Run the lanes whose every step is recorded once more, step by step."""
        if len(followed := self.unit.followed):
            swarm = make_swarm(self.unit, followed, self.threads)
            poll = partial(self.clock.check, self.unit.steps, len(followed))
            record_trajectories(self.unit, followed, swarm, self.rates, self.sink, poll)

    # --- rows ---------------------------------------------------------------------------------------------------------

    def _curve_rows(self, reading: Reading) -> dict[str, Any]:
        """Return the rows of a checkpoint, but for what names them."""
        line = self.swarm.line
        rows = {"step": self.swarm.t, "loss": reading.loss, "grad_norm": reading.grad_norm}
        rows["param_norm"] = partial(norms, reading.positions)
        rows["lr"] = line.rates if line else self.rates(self.swarm.t)[self.which]
        if line:
            rows[LOSS_EVALUATIONS] = line.evaluations.astype(np.float64)
        return rows | _coordinates("x_", reading.positions)

    def _trial_rows(self, outcomes: Outcomes, first: Reading, end: Reading) -> dict[str, Any]:
        found = {
            "status": outcomes.status,
            "reason": outcomes.reason,
            "minimum": outcomes.minimum,
            "steps": outcomes.steps,
            "final_loss": end.loss,
            "final_grad_norm": end.grad_norm,
        }
        points = _coordinates("start_", first.positions) | _coordinates("end_", end.positions)
        return found | points

    # --- saved states -------------------------------------------------------------------------------------------------

    @property
    def alive(self) -> int:
        """The number of lanes."""
        return len(self.which)

    def own_state(self) -> dict[str, Any]:
        """Return what is saved beside the engine's state."""
        readings = [reading for reading in (self.first, *self.tail) if reading is not None]
        own = {"done": np.array(self.recorded), "best": self.best, "readings": np.array(len(readings))}
        for at, reading in enumerate(readings):
            own |= prefixed(f"reading.{at}", vars(reading))
        return own

    def restore(self, state: dict[str, Array]) -> None:
        """Take over a saved state."""
        self.recorded, self.best = int(state["done"]), state["best"]
        self.first, *self.tail = (Reading(**below(f"reading.{at}", state)) for at in range(int(state["readings"])))


def failed_rows(unit: SwarmUnit, reason: str) -> dict[str, Any]:
    """Return the rows of the trials of a unit that has failed, and why."""
    which, start = unit.places(unit.lanes)
    became = {"status": FAILED, "reason": reason, "steps": 0}
    return _names(unit, which, start) | _planned_rows(unit, which) | became


def _names(unit: SwarmUnit, which: Array, start: Array) -> dict[str, Any]:
    return {"trial_id": Names(unit.ids, which), "start": unit.number_of(start)}


def _planned_rows(unit: SwarmUnit, which: Array) -> dict[str, Any]:
    """Return what the plan knows of the trials of configurations `which` (lanes,)."""
    spec, numbers = unit.spec, unit.numbers.items()
    return {
        **unit.columns,
        "configuration": Names(unit.configurations, which),
        "landscape": spec.landscape.name,
        "d": spec.d,
        "noise": spec.noise,
        "dtype": spec.dtype,
        "kernel": unit.kernel,
        "in_study": True,
        "cohort_id": unit.whole[0],
        "cohort_lanes": unit.whole[1],
        **{name: np.ma.masked_invalid(values[which]) for name, values in numbers},
    }


def _coordinates(prefix: str, positions: Array) -> dict[str, Array]:
    return {f"{prefix}{i}": positions[i] for i in range(min(len(positions), COORDINATES))}
