"""What a study does that its user may not expect, in words: shown by the plan, a run's first lines and the manifest."""

from collections.abc import Iterable, Sequence

import numpy as np

from fastgd.datasets import Data
from fastgd.schedules import unreached
from fastgd.study._landscapes import LandscapeProblem, no_minimum
from fastgd.study.cohort_plan import CohortPlan
from fastgd.study.config import Schedule
from fastgd.study.sparsity import dense_updates_note


def data_notes(data: Sequence[Data]) -> list[str]:
    """Return what was left out or changed while rows were read and prepared, with the name of their dataset."""
    return [f"{rows.dataset}: {note}" for rows in data for note in rows.notes]


def cohort_notes(cohorts: Iterable[CohortPlan]) -> list[str]:
    """Return what cohorts do at a cost, or in a way, that their study file does not show."""
    notes = []
    for cohort in cohorts:
        notes += [note for note in [dense_updates_note(cohort.spec)] if note]
        for number in sorted(set(cohort.which.tolist())):
            notes += schedule_notes(cohort.schedules[number], cohort.steps, cohort.batches)
    return notes


def schedule_notes(schedule: Schedule, steps: int, batches: int | None = None) -> list[str]:
    """Return what of a schedule lies beyond a budget of so many steps.

    An epoch has `batches` of them; None: there are no epochs, and every schedule counts steps.
    """
    notes = []
    for driver in schedule.drivers:
        unit, length = ("step", 1) if driver.per == "step" or batches is None else ("epoch", batches)
        found = unreached(driver.parts, driver.horizon, -(-steps // length), unit)
        notes += [f"the schedule of {driver.of}: {note}" for note in found]
    return notes


def minima_notes(problems: Iterable[LandscapeProblem]) -> list[str]:
    """Return which of the minima that a study gives are none, though they may be near one."""
    given = [(problem, point) for problem in problems for point in problem.minima or []]
    faults = [(problem.label, point, no_minimum(problem, np.array(point))[0]) for problem, point in given]
    return [f"{label}: minima has {point}, which is no minimum: {why}" for label, point, why in faults if why]


def distinct(*notes: Iterable[str]) -> tuple[str, ...]:
    """Return all notes in order, each once."""
    return tuple(dict.fromkeys(note for some in notes for note in some))
