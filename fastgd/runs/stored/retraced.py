"""A stored trial run again, alone: the same bits, with the iterates that were not stored."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from fastgd.common.watched import require_unchanged
from fastgd.core.threads import Threads
from fastgd.datasets import Data
from fastgd.plan.units.cohort import CohortUnit
from fastgd.runs.clock import Clock
from fastgd.runs.measured.metrics import Recorder
from fastgd.runs.units.cohort_run import compile_cohort, make_cohort
from fastgd.runs.units.schedule_values import ScheduleValues
from fastgd.study.config import Record

Array = npt.NDArray[Any]


def retrace(unit: CohortUnit, data: Data, steps: Array, clock: Clock, threads: Threads) -> Array:
    """Return the reported iterates (k, parameters) float64 of a trial after some steps.

    Parameters
    ----------
    unit : CohortUnit
        Of one trial, with the kernel that this has in the whole study.
    data : Data
    steps : ndarray of int (k,)
        Ascending. They need not be checkpoints: evaluation changes no state, nor does it matter where calls are cut.
    clock : Clock
        Reports the steps.
    threads : Threads

    Raises
    ------
    InputError
        A file whose rows are mapped was changed.
    """
    unit = replace(unit, record=Record())  # nothing but the loss is measured
    schedule = ScheduleValues.of(unit)
    cohort = make_cohort(unit, data.X, data.y_and_weights, threads, schedule, data.rows)
    with clock.compiling(unit.kernels):
        compile_cohort(cohort, unit)
    recorder, found = Recorder(data, unit.spec.loss, ()), np.empty((len(steps), unit.spec.parameters(unit.d)))

    def report() -> None:
        clock.check(cohort.t, 1)

    begin = -1  # the start is judged, too
    for place, step in enumerate(steps.tolist()):
        for stop in _stops(begin, step, unit.batches if schedule.feedback else 0):
            cohort.advance(stop - cohort.t, report)
            if schedule.feedback and stop % unit.batches == 0:
                schedule.judge(stop, cohort.alive, recorder.validation_loss(cohort, report))
        found[place], begin = cohort.parameters()[0], step
    require_unchanged(data.files)
    return found


def _stops(begin: int, step: int, batches: int) -> Iterator[int]:
    """Yield where to stop on the way to a step: at ends of epochs behind `begin`, if these are judged, and there."""
    if batches:
        yield from range((begin // batches + 1) * batches, step, batches)
    yield step
