"""The values of scheduled hyper-parameters, for the steps that the engine is about to take."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastgd.common.properties import cached_property
from fastgd.plan.ids import digest
from fastgd.plan.units.cohort import CohortUnit
from fastgd.plan.units.swarm import SwarmUnit
from fastgd.schedules import Part, chained, starts
from fastgd.study.config import Schedule

Array = npt.NDArray[Any]


class _Judged:
    """A part of a chain that is judged at epoch ends, with a state for each lane of the cohort."""

    def __init__(self, number: int, part: Part, lanes: int) -> None:
        self.number = number
        self.rule = part.record.cls(**part.params)
        self.state = self.rule.begin(lanes)

    def judge(self, lanes: Array, before: Array, loss: Array) -> None:
        """Bring the state of some lanes to the next epoch."""
        own = type(self.state)(*(values[lanes] for values in self.state))
        for values, new in zip(self.state, self.rule.judge(own, before, loss), strict=True):
            values[lanes] = new


class _Driver:
    """The schedule of one hyper-parameter for some lanes.

    Parameters
    ----------
    schedule : Schedule
    row : int
        The hyper-parameter's place among those that are scheduled.
    driven : ndarray of bool (G,)
        Which lanes it drives.
    steps : int
        The budget.
    batches : int
        Steps of an epoch.
    whole : Schedule
        The lanes' schedule, of all hyper-parameters.
    """

    def __init__(self, schedule: Schedule, row: int, driven: Array, steps: int, batches: int, whole: Schedule) -> None:
        self.schedule, self.row, self.driven, self._whole = schedule, row, driven, whole
        self.lanes = np.flatnonzero(driven)
        self.parts = schedule.parts
        self.unit = 1 if schedule.per == "step" else batches  # steps of an index
        self.first, self.index = 0, 0  # a step, and its index
        self.total = -(-steps // self.unit)
        self.starts = np.array(starts(self.parts))
        self.judged = [
            _Judged(number, part, len(driven)) for number, part in enumerate(self.parts) if part.record.feedback
        ]

    @cached_property
    def name(self) -> str:
        """Its name among all drivers of all schedules."""
        return f"{digest(self._whole.model_dump()).hexdigest()}.{self.schedule.of}"

    def values(self, step: Array) -> Array:
        """Return the values (steps, lanes driven) or (steps, 1) at steps from 0 on."""
        index = self.index + (step - self.first) // self.unit
        low = int(index[0])
        distinct = np.arange(low, int(index[-1]) + 1)  # an epoch's index stands for many steps
        values = chained(self.parts, self.schedule.horizon, distinct, self.total)[:, None]
        for judged in self.judged:
            active = np.searchsorted(self.starts, distinct, side="right") - 1 == judged.number
            values = np.where(active[:, None], judged.state.value[self.lanes], values)
        return np.asarray(values[index - low])

    def judge(self, step: int, lanes: Array, before: Array, loss: Array) -> None:
        """Judge the parts that the steps up to this one have reached."""
        mine = self.driven[lanes]
        for judged in self.judged:
            if step > self.starts[judged.number] * self.unit and mine.any():
                judged.judge(lanes[mine], before[mine], loss[mine])


class ScheduleValues:
    """Values of the scheduled hyper-parameters of lanes.

    Parameters
    ----------
    fields : collection of str
        The rule's hyper-parameters.
    hyper : ndarray (G, hyper)
        Their values in each lane; on a landscape, in each configuration.
    scheduled : sequence of str
        Those of them that are scheduled.
    schedules : sequence of Schedule
    which : ndarray of int (G,)
        Each lane's schedule.
    steps, batches : int
        The budget, and the steps of an epoch.

    Attributes
    ----------
    per_step : bool
        Whether any of them changes within an epoch.
    feedback : bool
        Whether any of them is judged at epoch ends.
    judged : int
        The step up to which they are judged.
    """

    def __init__(
        self,
        fields: Collection[str],
        hyper: Array,
        scheduled: Sequence[str],
        schedules: Sequence[Schedule],
        which: Array,
        steps: int,
        batches: int,
    ) -> None:
        names = list(fields)
        self._base = hyper[:, [names.index(name) for name in scheduled]].T
        self._drivers = [
            _Driver(driver, scheduled.index(driver.of), which == number, steps, batches, schedule)
            for number, schedule in enumerate(schedules)
            for driver in schedule.drivers
            if driver.of in scheduled and (which == number).any()
        ]
        self._rate = scheduled.index("lr") if "lr" in scheduled else None
        self._constant = hyper[:, names.index("lr")] if "lr" in names else np.full(len(hyper), np.nan)
        self._loss = np.full(len(hyper), np.nan)  # the validation loss at the last epoch's end
        self.judged = 0
        self.per_step = any(driver.schedule.per == "step" for driver in self._drivers)
        self.feedback = any(driver.judged for driver in self._drivers)

    @classmethod
    def of(cls, unit: CohortUnit | SwarmUnit) -> "ScheduleValues":
        """Return those of a unit; on a landscape every schedule counts steps."""
        spec = unit.spec
        if isinstance(unit, CohortUnit):
            lanes = unit.schedules, unit.which, unit.steps, unit.batches
            return cls(spec.rule.fields, unit.spec.hyper, spec.scheduled, *lanes)
        which = np.zeros(len(unit.hyper), np.int64)
        return cls(spec.rule.fields, unit.hyper, spec.scheduled, [unit.schedule], which, unit.steps, 1)

    def __call__(self, first: int, steps: int) -> Array:
        """Return (steps, m, G) from step `first` (from 0) on, or (1, m, G) where nothing changes within an epoch."""
        step = np.arange(first, first + (steps if self.per_step else 1))
        values = np.tile(self._base, (len(step), 1, 1))
        for driver in self._drivers:
            own, at = driver.values(step), (slice(None), driver.row, driver.lanes)
            values[at] = own * values[at] if driver.schedule.of == "lr" else own
        return values

    def reference(self, first: int, steps: int, per_step: bool | None = None) -> Array:
        """Return the values (steps, m) or (1, m) of the first lane, as if its rate were 1."""
        each = self.per_step if per_step is None else per_step
        step = np.arange(first, first + (steps if each else 1))
        values = np.tile(self._base[:, 0], (len(step), 1))
        for driver in self._drivers:
            if driver.driven[0]:
                values[:, driver.row] = driver.values(step)[:, 0]
        return values

    def go_on(self, step: int, epoch: int) -> None:
        """Count from a step that begins an epoch, in which epochs had other numbers of steps before."""
        for driver in self._drivers:
            if driver.schedule.per == "epoch":
                driver.first, driver.index = step, epoch

    @property
    def _judged(self) -> list[tuple[str, Any]]:
        """The state of each part with feedback, by a name that does not depend on the other lanes' schedules."""
        return [(f"{driver.name}.{part.number}", part.state) for driver in self._drivers for part in driver.judged]

    def state(self) -> dict[str, Array]:
        """Return what is to be saved of the schedules with feedback, each (G,)."""
        found = {f"{key}.{name}": values for key, own in self._judged for name, values in own._asdict().items()}
        return {**found, "loss": self._loss, "judged": np.full(len(self._loss), self.judged)}

    def restore(self, state: Mapping[str, Array]) -> None:
        """Go on from a state that was saved."""
        for key, own in self._judged:
            for name, values in own._asdict().items():
                values[:] = state[f"{key}.{name}"]
        self._loss[:], self.judged = state["loss"], int(state["judged"][0])

    def judge(self, step: int, lanes: Array, loss: Array) -> None:
        """Take in the validation losses at an epoch's end.

        Parameters
        ----------
        step : int
            Steps so far; 0: the start, with which the first epoch is compared.
        lanes : ndarray of int (alive,)
        loss : ndarray (alive,)
            Their validation losses. What a lane's are decides about no other lane.
        """
        for driver in self._drivers:
            driver.judge(step, lanes, self._loss[lanes], loss)
        self._loss[lanes], self.judged = loss, step

    def rate(self, step: int) -> Array:
        """Return the rate (G,) that produced the iterate after `step` steps; before the first, the first one.

        At an epoch's end it is to be asked before that epoch is judged.
        """
        if self._rate is None:
            return self._constant
        return np.asarray(self(max(0, step - 1), 1)[0, self._rate])
