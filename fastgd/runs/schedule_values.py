"""The values of a cohort's scheduled hyper-parameters, for the steps that the engine is about to take."""

from typing import Any

import numpy as np
import numpy.typing as npt

from fastgd.plan.cohort import CohortPlan
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
    cohort : CohortPlan
    driven : ndarray of bool (G,)
        Which lanes it drives.
    """

    def __init__(self, schedule: Schedule, cohort: CohortPlan, driven: Array) -> None:
        self.schedule, self.driven = schedule, driven
        self.lanes = np.flatnonzero(driven)
        self.row = cohort.spec.scheduled.index(schedule.of)
        self.parts = schedule.parts
        self.unit = 1 if schedule.per == "step" else cohort.batches  # steps of an index
        self.total = -(-cohort.steps // self.unit)
        self.starts = np.array(starts(self.parts))
        self.judged = [
            _Judged(number, part, cohort.lanes) for number, part in enumerate(self.parts) if part.record.feedback
        ]

    def values(self, step: Array) -> Array:
        """Return the values (steps, lanes driven) or (steps, 1) at steps from 0 on."""
        index = step // self.unit
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


class CohortSchedule:
    """Values of the scheduled hyper-parameters for all lanes of a cohort.

    Attributes
    ----------
    per_step : bool
        Whether any of them changes within an epoch.
    feedback : bool
        Whether any of them is judged at epoch ends.
    """

    def __init__(self, cohort: CohortPlan) -> None:
        self._cohort = cohort
        names = list(cohort.spec.rule.fields)
        self._base = cohort.spec.hyper[:, [names.index(name) for name in cohort.spec.scheduled]].T
        self._drivers = [
            _Driver(driver, cohort, cohort.which == number)
            for number, schedule in enumerate(cohort.schedules)
            for driver in schedule.drivers
            if (cohort.which == number).any()
        ]
        self._rate = cohort.spec.scheduled.index("lr") if "lr" in cohort.spec.scheduled else None
        self._loss = np.full(cohort.lanes, np.nan)  # the validation loss at the last epoch's end
        self.per_step = any(driver.schedule.per == "step" for driver in self._drivers)
        self.feedback = any(driver.judged for driver in self._drivers)

    def __call__(self, first: int, steps: int) -> Array:
        """Return (steps, m, G) from step `first` (from 0) on, or (1, m, G) where nothing changes within an epoch."""
        step = np.arange(first, first + (steps if self.per_step else 1))
        values = np.tile(self._base, (len(step), 1, 1))
        for driver in self._drivers:
            own, at = driver.values(step), (slice(None), driver.row, driver.lanes)
            values[at] = own * values[at] if driver.schedule.of == "lr" else own
        return values

    def reference(self, first: int, steps: int) -> Array:
        """Return the values (steps, m) or (1, m) of a lane with the first one's schedule whose rate is 1."""
        values = self(first, steps)[:, :, 0]
        if self._rate is not None:
            for driver in self._drivers:
                if driver.schedule.of == "lr":
                    step = np.arange(first, first + len(values))
                    values[:, self._rate] = driver.values(step)[:, 0]
        return values

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
        self._loss[lanes] = loss

    def rate(self, step: int) -> Array:
        """Return the rate (G,) that produced the iterate after `step` steps; before the first, the first one.

        At an epoch's end it is to be asked before that epoch is judged.
        """
        names = list(self._cohort.spec.rule.fields)
        if "lr" in self._cohort.spec.scheduled:
            return np.asarray(self(max(0, step - 1), 1)[0, self._cohort.spec.scheduled.index("lr")])
        if "lr" not in names:
            return np.full(self._cohort.lanes, np.nan)
        return self._cohort.spec.hyper[:, names.index("lr")]
