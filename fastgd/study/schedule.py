"""The values of a cohort's scheduled hyper-parameters, for the steps that the engine is about to take."""

from typing import Any

import numpy as np
import numpy.typing as npt

from fastgd.schedules import factors
from fastgd.study.config import Schedule
from fastgd.study.plan import CohortPlan

Array = npt.NDArray[Any]


class CohortSchedule:
    """Values of the scheduled hyper-parameters for all lanes of a cohort.

    Attributes
    ----------
    per_step : bool
        Whether any of them changes within an epoch.
    """

    def __init__(self, cohort: CohortPlan) -> None:
        self._cohort = cohort
        names = list(cohort.spec.rule.optimizer.hyper)
        self._columns = [names.index(name) for name in cohort.spec.scheduled]
        self.per_step = any(schedule.per == "step" for schedule in cohort.schedules)

    def __call__(self, first: int, steps: int) -> Array:
        """Return (steps, m, G) from step `first` (from 0) on, or (1, m, G) where nothing changes within an epoch."""
        cohort = self._cohort
        index = np.arange(first, first + (steps if self.per_step else 1))
        values = np.empty((len(index), len(self._columns), cohort.lanes))
        for row, name in enumerate(cohort.spec.scheduled):
            base = cohort.spec.hyper[:, self._columns[row]]
            values[:, row] = base
            for number, schedule in enumerate(cohort.schedules):
                if schedule.of == name and schedule.name != "constant":
                    lanes = cohort.which == number
                    factor = self._factors(schedule, index)[:, None]
                    values[:, row, lanes] = factor * base[lanes] if name == "lr" else factor
        return values

    def _factors(self, schedule: Schedule, index: Array) -> Array:
        cohort = self._cohort
        if schedule.per == "step":
            return factors(schedule.name, schedule.params, schedule.horizon, index, cohort.steps)
        epochs = -(-cohort.steps // cohort.batches)
        return factors(schedule.name, schedule.params, schedule.horizon, index // cohort.batches, epochs)

    def rate(self, step: int) -> Array:
        """Return the rate (G,) that produced the iterate after `step` steps; before the first, the first one."""
        names = list(self._cohort.spec.rule.optimizer.hyper)
        if "lr" in self._cohort.spec.scheduled:
            return np.asarray(self(max(0, step - 1), 1)[0, self._cohort.spec.scheduled.index("lr")])
        if "lr" not in names:
            return np.full(self._cohort.lanes, np.nan)
        return self._cohort.spec.hyper[:, names.index("lr")]
