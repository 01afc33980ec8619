"""What a study does that its user may not expect, in words: shown by the plan, a run's first lines and the manifest."""

from collections.abc import Iterable, Sequence

import numpy as np

from fastgd.datasets import Data
from fastgd.plan.estimates.costs import Cost
from fastgd.plan.sparsity import dense_updates_note
from fastgd.plan.units.cohort import CohortUnit
from fastgd.problems import find_loss
from fastgd.schedules import unreached
from fastgd.study.config import Schedule, Study
from fastgd.study.landscapes import LandscapeProblem, no_minimum

LEAST_NOTED_SECONDS = 5.0  # what takes less is not worth a note
MOST_NOTES_SHOWN = 20  # notes on a plan's cohorts; the manifest has all of them


def data_notes(data: Sequence[Data]) -> list[str]:
    """Return what was left out or changed while rows were read and prepared, with the name of their dataset."""
    return [f"{rows.dataset}: {note}" for rows in data for note in rows.notes]


def order_notes(study: Study, data: Sequence[Data]) -> list[str]:
    """Return which rows are visited in another order than the study says."""
    if study.order != "shuffle":
        return []
    streams = dict.fromkeys(rows.dataset for rows in data if rows.origin == "stream")
    return [f'{dataset}: rows that stream are shuffled as order = "blocks" shuffles them' for dataset in streams]


def metric_notes(study: Study, data: Sequence[Data]) -> list[str]:
    """Return which metrics of a problem stay empty because of its targets."""
    if not any(name.endswith("accuracy") for name in study.record.metrics):
        return []
    soft = [
        rows.dataset
        for (_, problem), rows in zip(study.splits, data, strict=True)
        if find_loss(problem.loss).targets == "unit" and not np.isin(rows.training_targets, (0, 1)).all()
    ]
    return [f"{dataset}: accuracy is not recorded, as its targets are not only 0 and 1" for dataset in soft]


def cohort_notes(cohorts: Iterable[CohortUnit]) -> list[str]:
    """Return what cohorts do at a cost, or in a way, that their study file does not show."""
    notes = []
    for cohort in cohorts:
        notes += [note for note in (dense_updates_note(cohort.spec), _subsample_note(cohort)) if note]
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


def _subsample_note(cohort: CohortUnit) -> str:
    if cohort.sampled == cohort.n:
        return ""
    return (
        f"{cohort.label}: between a trial's first and last checkpoint, its loss is that of {cohort.sampled:,} of the "
        f"{cohort.n:,} training rows (record.rows), always the same; stop rules judge by it"
    )


def cost_notes(cost: Cost, *, on_landscapes: bool) -> list[str]:
    """Return what a study could do with less of, where what is found out about trials outweighs their training."""
    spent = cost.evaluation + cost.storing * on_landscapes
    if spent <= max(cost.training, LEAST_NOTED_SECONDS):
        return []
    times = f"{spent / cost.training:.2g} times" if spent < 100 * cost.training else "more than 100 times"
    if on_landscapes:
        return [
            f"recording is expected to take {times} as long as the steps; fewer checkpoints (record.every), "
            "trajectories (record.trajectories) or starts cost less"
        ]
    return [
        f"evaluation is expected to take {times} as long as training; fewer checkpoints (record.every), fewer metrics, "
        "or a subsample of the rows between the first checkpoint and the last (record.rows) cost less"
    ]


def in_short(notes: Sequence[str]) -> tuple[str, ...]:
    """Return the first notes, and how many more there are."""
    more = len(notes) - MOST_NOTES_SHOWN
    return (*notes[:MOST_NOTES_SHOWN], f"... and {more:,} more of this kind") if more > 1 else tuple(notes)


def distinct(*notes: Iterable[str]) -> tuple[str, ...]:
    """Return all notes in order, each once."""
    return tuple(dict.fromkeys(note for some in notes for note in some))
