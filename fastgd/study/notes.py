"""What a study does that its user may not expect, in words: shown by the plan, a run's first lines and the manifest."""

from collections.abc import Iterable, Sequence

import numpy as np

from fastgd.datasets import Data
from fastgd.problems import LOSSES
from fastgd.study.cohort_plan import CohortPlan
from fastgd.study.config import Study
from fastgd.study.sparsity import dense_updates_note


def data_notes(data: Sequence[Data]) -> list[str]:
    """Return what was left out or changed while rows were read and prepared, with the name of their dataset."""
    return [f"{rows.dataset}: {note}" for rows in data for note in rows.notes]


def metric_notes(study: Study, data: Sequence[Data]) -> list[str]:
    """Return which metrics of a problem stay empty because of its targets."""
    if not any(name.endswith("accuracy") for name in study.record.metrics):
        return []
    soft = [
        rows.dataset
        for problem, rows in zip(study.data_problems, data, strict=True)
        if LOSSES[problem.loss].targets == "unit" and not np.isin(rows.y, (0, 1)).all()
    ]
    return [f"{dataset}: accuracy is not recorded, as its targets are not only 0 and 1" for dataset in soft]


def cohort_notes(cohorts: Iterable[CohortPlan]) -> list[str]:
    """Return what cohorts do at a cost, or in a way, that their study file does not show."""
    return [note for cohort in cohorts if (note := dense_updates_note(cohort.spec))]


def distinct(*notes: Iterable[str]) -> tuple[str, ...]:
    """Return all notes in order, each once."""
    return tuple(dict.fromkeys(note for some in notes for note in some))
