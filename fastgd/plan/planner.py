"""From a study and its data to a plan."""

from collections.abc import Sequence

from fastgd.datasets import Data
from fastgd.plan.budgets.courses import state_notes
from fastgd.plan.budgets.race import race_notes, rounds_of
from fastgd.plan.cohorts import Penalties, cohorts_of, labels
from fastgd.plan.notes import (
    cohort_notes,
    data_notes,
    distinct,
    metric_notes,
    minima_notes,
    order_notes,
    schedule_notes,
)
from fastgd.plan.plan import Plan
from fastgd.plan.swarms import swarms_of
from fastgd.plan.units.surfaces import surface_of_landscape, surface_over_data
from fastgd.study.config import Study


def make_plan(study: Study, data: Sequence[Data] = (), penalties: Penalties | None = None) -> Plan:
    """Return the plan of a study.

    Parameters
    ----------
    study : Study
    data : sequence of Data
        The prepared data of each split of each problem; none, where the problems are landscapes.
    penalties : sequence of sequence of float, optional
        The values of l2 that go with each optimizer block; by default the problem's go with all of them.

    Raises
    ------
    InputError
        The study asks for what its data do not have, or for what the engine cannot do.
    """
    return _on_landscapes(study) if study.landscapes else _over_data(study, data, penalties)


def _over_data(study: Study, data: Sequence[Data], penalties: Penalties | None) -> Plan:
    cohorts = cohorts_of(study, data, penalties)
    of_rows = (data_notes(data), order_notes(study, data), metric_notes(study, data))
    notes = distinct(*of_rows, cohort_notes(cohorts), state_notes(study, cohorts))
    notes = distinct(notes, race_notes(study))
    if study.surface is None:
        return Plan(cohorts, notes=notes, rounds=rounds_of(study))
    splits = zip(study.splits, data, labels(study, data), strict=True)
    surfaces = tuple(
        surface_over_data(index, problem, rows, label, study.surface, study.dtype)
        for index, ((place, problem), rows, label) in enumerate(splits)
        if index == 0 or study.splits[index - 1][0] != place  # of a problem's first split alone
    )
    return Plan(cohorts, surfaces, notes, rounds_of(study))


def _on_landscapes(study: Study) -> Plan:
    swarms = swarms_of(study)
    drawn = (schedule_notes(swarm.schedule, swarm.steps) for swarm in swarms)
    problems = enumerate(study.landscapes)
    surfaces = tuple(surface_of_landscape(index, problem, study.surface) for index, problem in problems)
    return Plan(swarms, surfaces, distinct(minima_notes(study.landscapes), *drawn))
