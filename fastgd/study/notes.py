"""What a study does that its user may not expect, in words: shown by the plan, a run's first lines and the manifest."""

from collections.abc import Iterable, Sequence

from fastgd.datasets import Data
from fastgd.study.cohort_plan import CohortPlan
from fastgd.study.sparsity import dense_updates_note
from fastgd.study.summary import Cost

NOTED_SECONDS = 5.0  # what takes less is not worth a note


def data_notes(data: Sequence[Data]) -> list[str]:
    """Return what was left out or changed while rows were read and prepared, with the name of their dataset."""
    return [f"{rows.dataset}: {note}" for rows in data for note in rows.notes]


def cohort_notes(cohorts: Iterable[CohortPlan]) -> list[str]:
    """Return what cohorts do at a cost, or in a way, that their study file does not show."""
    found = ((dense_updates_note(cohort.spec), _subsample_note(cohort)) for cohort in cohorts)
    return [note for notes in found for note in notes if note]


def _subsample_note(cohort: CohortPlan) -> str:
    if cohort.sampled == cohort.n:
        return ""
    return (
        f"{cohort.label}: between a trial's first and last checkpoint, its loss is that of {cohort.sampled:,} of the "
        f"{cohort.n:,} training rows (record.rows), always the same; stop rules judge by it"
    )


def cost_notes(cost: Cost) -> list[str]:
    """Return what takes longer than the steps themselves, where a study could do with less of it."""
    notes = []
    if cost.evaluation > max(cost.training, NOTED_SECONDS):
        notes.append(
            f"evaluation is expected to take {_times(cost.evaluation / cost.training)} as long as training; fewer "
            "checkpoints (record.every), fewer metrics or, over data, a subsample (record.rows) cost less"
        )
    if cost.storing > max(cost.training, NOTED_SECONDS):
        notes.append(
            f"storing is expected to take {_times(cost.storing / cost.training)} as long as training, and "
            f"{cost.disk / 1e9:.1f} GB; fewer checkpoints (record.every) or fewer starts cost less"
        )
    return notes


def _times(ratio: float) -> str:
    return f"{ratio:.0f} times" if ratio < 100 else "more than 100 times"


def distinct(*notes: Iterable[str]) -> tuple[str, ...]:
    """Return all notes in order, each once."""
    return tuple(dict.fromkeys(note for some in notes for note in some))
