"""A cohort at work: from checkpoint to checkpoint, with lanes that end retired."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from fastgd.common.watched import require_unchanged
from fastgd.core.threads import Threads
from fastgd.datasets import Data
from fastgd.engine.lanes import selected
from fastgd.engine.rows.cohort import AnyCohort, Cohort
from fastgd.engine.rows.guesses import Guesses
from fastgd.plan.estimates.compiled import compiling
from fastgd.plan.units.cohort import CohortUnit
from fastgd.runs.clock import Clock, TimeIsOver
from fastgd.runs.measured.best_iterates import MOST_PARAMETERS_AT_ONCE, BestIterates
from fastgd.runs.measured.layer_gradients import LayerGradients
from fastgd.runs.measured.layer_updates import LayerUpdates
from fastgd.runs.measured.metrics import Recorder, measures_of
from fastgd.runs.sinks import Sink
from fastgd.runs.trials import TrialRecords
from fastgd.runs.units.schedule_values import ScheduleValues
from fastgd.runs.units.stopping import Stopping
from fastgd.runs.units.unit_work import UnitWork, below, prefixed
from fastgd.store.schema import FAILED
from fastgd.store.states import StateInfo
from fastgd.study.models import BEST_ITERATE

Array = npt.NDArray[Any]
_Part: TypeAlias = Stopping | TrialRecords | ScheduleValues | LayerGradients | LayerUpdates | BestIterates


def make_cohort(
    unit: CohortUnit,
    X: Any,
    y: Array,
    threads: Threads,
    schedule: ScheduleValues | None = None,
    rows: Array | None = None,
) -> AnyCohort:
    """Return the lanes of a unit at their start, over rows X (N, d) with targets y (N,), or over some of them."""
    if unit.baseline:
        return Guesses(unit.spec, X, y, threads, unit.steps, rows)
    return Cohort(unit.spec, X, y, threads, schedule, rows)


def compile_cohort(cohort: AnyCohort, unit: CohortUnit) -> None:
    """Compile what a cohort calls, or load it from the cache; a user's function that does not compile is named."""
    measures, work = measures_of(unit.record.metrics, unit.spec.loss), unit.workload
    with compiling(unit.spec.rule.optimizer, unit.spec.loss, method=unit.method):
        cohort.compile(work.gradient_norm, measures, slopes=work.units > 0)


class CohortRun(UnitWork):
    """One cohort, from its start to the end of its last lane.

    Parameters
    ----------
    unit : CohortUnit
    data : Data
    sink : Sink
    clock : Clock
    threads : Threads

    Attributes
    ----------
    records : TrialRecords
        What became of each lane.
    """

    def __init__(self, unit: CohortUnit, data: Data, sink: Sink, clock: Clock, threads: Threads) -> None:
        self.unit, self.schedule, self._files = unit, ScheduleValues.of(unit), data.files
        self.cohort = make_cohort(unit, data.X, data.y_and_weights, threads, self.schedule, data.rows)
        super().__init__(unit, self.cohort, unit.trial_ids, sink, clock)
        self.recorder = Recorder(
            data, unit.spec.loss, unit.record.metrics, unit.record.rows, features=not unit.spec.kernel.network
        )
        self.records = TrialRecords(unit.lanes)
        layers = unit.spec.model.groups(unit.d)[-1].layer
        self.updates = LayerUpdates(unit.lanes, layers * unit.workload.updates)
        self.gradients = LayerGradients(unit.lanes, layers)
        self.best = BestIterates(unit.lanes, unit.spec.parameters(unit.d) * (unit.record.parameters == BEST_ITERATE))
        self.stopping = Stopping.start(unit.stop, np.full(unit.lanes, np.nan), unit.baseline, unit.scale)
        self._kept_state = self._waits = False

    def run(self) -> None:
        """Run it from its start, or from where an earlier run saved it, and hand its trials to the sink."""
        if self.clock.over and self.unit.parameters_only:
            raise TimeIsOver
        if self.clock.over:
            self._end_timeout()
        else:
            self._train()
        self.clock.enter("store")
        self._hand_over_trials()

    def require_right(self) -> None:
        """Raise InputError where a file whose rows are mapped was changed."""
        require_unchanged(self._files)

    def _train(self) -> None:
        unit = self.unit
        with self.clock.compiling(unit.kernels):
            compile_cohort(self.cohort, unit)
        self.clock.enter("evaluate")
        with self.clock.interruption.deferred():
            if not (self.go_on() or self._go_on_from_origin()):
                self._start()
            for step in unit.checkpoints[(unit.checkpoints > self.recorded) & (unit.checkpoints <= unit.end)]:
                if not len(self.cohort.alive):
                    break
                reached = self._advance(int(step))
                if self.unit.parameters_only and not reached:
                    self.save()
                    raise TimeIsOver
                self._checkpoint(reached)
            if len(self.cohort.alive):
                self._wait()
            elif not self.records.count("timeout"):
                self._keep_state()

    def _start(self) -> None:
        metrics = self._measure(exact=True)
        self._keep(metrics)
        unit = self.unit
        watched = metrics[unit.stop.watch]
        self.stopping = Stopping.start(unit.stop, metrics["loss"], unit.baseline, unit.scale, watched)
        self._end(*self._judge(metrics))
        self.recorded = 0

    def _measure(self, *, exact: bool) -> dict[str, Array]:
        return self.recorder.record(self.cohort, self.poll, exact) | self.updates.at(self.cohort)

    def _keep(self, metrics: dict[str, Array]) -> None:
        """Record a checkpoint; where it ends an epoch, the schedules with feedback are judged on its bits."""
        self._write(metrics)
        self.gradients.observe(self.cohort.alive, self.cohort.t, metrics)
        if self.schedule.feedback and self.cohort.t % self.unit.batches == 0:
            self.schedule.judge(self.cohort.t, self.cohort.alive, metrics["validation_loss"])

    def _advance(self, step: int) -> bool:
        """Go on to a checkpoint; False where the time is over before."""
        try:
            for stop in self._epoch_ends(step):
                self.clock.enter("train")
                self.cohort.advance(stop - self.cohort.t, self.check)
                self.clock.enter("evaluate")
                loss = self.recorder.validation_loss(self.cohort, self.poll)
                self.schedule.judge(stop, self.cohort.alive, loss)
            self.clock.enter("train")
            self.updates.advance(self.cohort, step, self.check, self.clock)
        except TimeIsOver:
            return False
        finally:
            self.clock.enter("evaluate")
        return True

    def _epoch_ends(self, step: int) -> Iterable[int]:
        """Return the epoch ends before a checkpoint at which schedules with feedback are judged."""
        if not self.schedule.feedback:
            return ()
        batches = self.unit.batches
        return range((self.schedule.judged // batches + 1) * batches, step, batches)

    def _checkpoint(self, reached: bool) -> None:
        """Record the lanes and judge them; where the time was over before (not `reached`), they are recorded alone.

        A lane that is judged between two checkpoints would end where it does not in a run that nothing cuts short.
        """
        before = {} if reached else self.own_state()
        if self.cohort.t == self.recorded:  # the time was over within the step that follows a checkpoint
            self._cut(before)
            return
        last = not reached or self.cohort.t == self.unit.steps
        metrics = self._measure(exact=last)
        over = not reached or (self.clock.over and not self.unit.parameters_only)
        lanes = len(self.cohort.alive)
        status, reasons = self._judge(metrics) if reached else (np.full(lanes, "", object), [""] * lanes)
        ended = (status != "") | over
        if self.recorder.sampled and not last and ended.any():  # the last values of a trial are those of all rows
            exact = self._measure(exact=True)
            metrics = {name: np.where(ended, exact[name], values) for name, values in metrics.items()}
        self._keep(metrics)
        self._end(status, reasons)
        if reached:
            self.recorded = self.cohort.t
        if self.cohort.t == self.unit.steps:
            self._keep_state()
            self._end_all("completed", "")
        elif over and self.cohort.t != self.unit.end:
            self._cut(self.own_state() if reached else before)

    def _wait(self) -> None:
        """End all lanes where they are to wait, and hand over their state, from which they go on."""
        lanes, unit, self._waits = self.cohort.alive, self.unit, True
        self._hand_over_state(f"{unit.name}-{self.cohort.t}", lanes, self.cohort.t)
        self._end_all("timeout", f"waits at epoch {self.cohort.t / unit.batches:g} for the others in its race")

    def _cut(self, state: dict[str, Array]) -> None:
        """End all lanes as the time is over, and save where they are: the next run goes on from there."""
        if len(lanes := self.cohort.alive):
            left = self.unit.select(np.isin(np.arange(self.unit.lanes), lanes))
            own = {name: values[lanes] for name, values in state.items()}
            self.save_as(left.name, own, {**self.cohort.capture(), "alive": np.arange(len(lanes))}, cut=True)
        self._end_timeout()

    def _end_timeout(self) -> None:
        self._end_all("timeout", self.clock.reason)

    def _end_all(self, status: str, reason: str) -> None:
        lanes = len(self.cohort.alive)
        self._end(np.full(lanes, status, object), [reason] * lanes)

    def _judge(self, metrics: dict[str, Array]) -> tuple[Array, list[str]]:
        epoch = self.cohort.t / self.unit.batches
        return self.stopping.judge(self.cohort.alive, metrics["loss"], epoch, metrics[self.unit.stop.watch])

    def _end(self, status: Array, reasons: list[str]) -> None:
        """Retire the lanes whose status is set."""
        ended = status != ""
        if not ended.any():
            return
        lanes, bad = self.cohort.alive, self.cohort.first_bad_step()
        self._hand_over_parameters(lanes, np.flatnonzero(ended))
        for position in np.flatnonzero(ended):
            first = int(bad[position]) if status[position] == "diverged" else 0
            told = [reasons[position], *self.gradients.words(lanes[position])]
            if first:
                told.insert(1, f"the first residual that is not finite came in step {first}")
            reason = "; ".join(filter(None, told))
            self.records.end(lanes[position], status[position], reason, first or self.cohort.t)
        trials = np.array([len(self.unit.ids[lane]) for lane in lanes[ended]])
        self.clock.ended(int(trials.sum()), int(trials[status[ended] == "diverged"].sum()))
        self.cohort.retire(~ended)

    # --- to the sink --------------------------------------------------------------------------------------------------

    def _hand_over_parameters(self, lanes: Array, ended: Array) -> None:
        """Hand over the parameters of lanes that end, where the study keeps them."""
        unit, chosen = self.unit, lanes[ended]
        if unit.record.parameters in ("all", BEST_ITERATE):
            positions = np.repeat(ended, [len(unit.ids[lane]) for lane in chosen])
            ids = [trial for lane in chosen for trial in unit.ids[lane]]
            some = max(1, MOST_PARAMETERS_AT_ONCE // unit.spec.parameters(unit.d))
            best = unit.record.parameters == BEST_ITERATE
            with self.clock.stage("store"):
                for first in range(0, len(ids), some):
                    part = positions[first : first + some]
                    W = self.best.of(lanes[part]) if best else self.cohort.parameters(part)
                    self.sink.parameters(ids[first : first + some], W)
        if unit.record.parameters == "best" and not self._waits:  # what waits has not its final parameters yet
            for seeds in dict.fromkeys(tuple(unit.seeds[lane]) for lane in chosen):
                own = np.array([tuple(unit.seeds[lane]) == seeds for lane in chosen])
                self._offer((unit.label, unit.spec.rule.optimizer.name, seeds), chosen[own], ended[own])

    def _offer(self, key: tuple[Any, ...], lanes: Array, positions: Array) -> None:
        ids = [self.unit.ids[lane] for lane in lanes]
        self.sink.offer(key, self.records.scores(lanes), ids, lambda some: self.cohort.parameters(positions[some]))

    def _write(self, metrics: dict[str, Array]) -> None:
        """Hand over a checkpoint of the lanes that are alive."""
        lanes, step, unit = self.cohort.alive, self.cohort.t, self.unit
        self.best.observe(self.cohort, self.records.observe(lanes, step, metrics))
        counts = [len(unit.ids[lane]) for lane in lanes]
        columns: dict[str, Any] = {name: np.repeat(values, counts) for name, values in metrics.items()}
        line = self.cohort.line
        columns["lr"] = np.repeat((line.rates if line else self.schedule.rate(step))[lanes], counts)
        columns["trial_id"] = [trial for lane in lanes for trial in unit.ids[lane]]
        columns["step"], columns["epoch"] = step, step / unit.batches
        columns["samples_seen"] = unit.samples(step)
        columns["train_seconds"] = self.spent("train")
        with self.clock.stage("store"):
            self.sink.append("curves", columns)

    def _hand_over_trials(self) -> None:
        self.sink.trials(_trial_columns(self.unit, self.records, self.spent))

    # --- trials of which longer ones go on ----------------------------------------------------------------------------

    def _keep_state(self) -> None:
        """Hand over, once, the state of the lanes from which longer trials can go on: as it is before these end."""
        unit, lanes = self.unit, np.flatnonzero([bool(course) for course in self.unit.courses])
        if not (self._kept_state or unit.parameters_only or unit.steps % unit.batches) and len(lanes):
            self._hand_over_state(unit.name, lanes, unit.steps)
            self._kept_state = True

    def _hand_over_state(self, name: str, lanes: Array, steps: int) -> None:
        """Hand over the state of some lanes under a name; `steps`: how many they took, or had when they ended."""
        self.require_right()
        unit, own = self.unit, {name: values[lanes] for name, values in self.own_state().items()}
        courses = tuple(unit.courses[lane] if unit.courses else "" for lane in lanes)
        info = StateInfo(name, courses, tuple(unit.ids[lane][0] for lane in lanes), steps)
        with self.clock.stage("store"):
            self.sink.keep(self.packed(own, selected(self.cohort.capture(), lanes)), info)

    def _go_on_from_origin(self) -> bool:
        """Go on from where shorter trials ended, or these waited, with their rows; False: from nowhere.

        What ended before the budget that it had then, ends there now, too.
        """
        unit, origin = self.unit, self.unit.origin
        if origin is None or unit.parameters_only or (state := self.sink.kept(origin)) is None:
            return False
        lanes = np.array(origin.lanes)
        own = {name: values for name, values in state.items() if not name.startswith("engine.")}
        own |= {name: values[lanes] for name, values in own.items() if values.ndim}
        self.take_over(own, selected(below("engine", state), lanes))
        with self.clock.stage("store"):
            for names in _renamings(origin.trials, unit.ids):
                self.sink.carry_renamed("curves", names, self.recorded)
            if unit.record.parameters in ("all", BEST_ITERATE):
                over = np.flatnonzero(self.records.ended)
                for names in _renamings([origin.trials[lane] for lane in over], [unit.ids[lane] for lane in over]):
                    self.sink.carry_renamed("parameters", names)
        return True

    # --- saved states -------------------------------------------------------------------------------------------------

    @property
    def alive(self) -> int:
        """The number of lanes that still run."""
        return len(self.cohort.alive)

    @property
    def _parts(self) -> dict[str, _Part]:
        return {
            "stopping": self.stopping,
            "records": self.records,
            "schedule": self.schedule,
            "gradients": self.gradients,
            "updates": self.updates,
            "best": self.best,
        }

    def own_state(self) -> dict[str, Array]:
        """Return what is saved beside the engine's state, each (G,)."""
        found = {"recorded": np.full(self.unit.lanes, self.recorded)}
        for name, part in self._parts.items():
            found |= prefixed(name, {key: values.copy() for key, values in part.state().items()})
        return found

    def restore(self, state: dict[str, Array]) -> None:
        """Take over a saved state."""
        self.recorded = int(state["recorded"][0])
        for name, part in self._parts.items():
            part.restore(below(name, state))


def failed_trials(unit: CohortUnit, reason: str) -> dict[str, Any]:
    """Return the columns of the trials of a unit that has failed, and why."""
    records = TrialRecords(unit.lanes)
    for lane in range(unit.lanes):
        records.end(lane, FAILED, reason, 0)
    return _trial_columns(unit, records, lambda _: 0.0)


def _trial_columns(unit: CohortUnit, records: TrialRecords, spent: Callable[[str], float]) -> dict[str, Any]:
    """Return the columns of the trials of a unit; `spent(stage)` gives seconds."""
    return {
        **unit.trial_columns(),
        **records.columns([len(trials) for trials in unit.ids], unit.batches),
        "cohort_id": unit.name,
        "cohort_lanes": unit.lanes,
        **{f"{stage}_seconds": spent(stage) for stage in ("compile", "train", "evaluate")},
    }


def _renamings(old: Sequence[str], new: Sequence[Sequence[str]]) -> Iterator[dict[str, str]]:
    """Yield new names of trials, of which each may have several: as many mappings as one of them has."""
    for names in itertools.zip_longest(*new):
        yield {one: other for one, other in zip(old, names, strict=True) if other is not None}
