"""A study's race at work: rounds, after each of which the losers end as `retired` (`fastgd.plan.budgets.race`).

A round runs every unit to its next stage, where its lanes wait: their rows are committed, as those of trials that ran
out of time, and their states are kept. The next round goes on with the lanes that are left, each from its state.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from fastgd.datasets import Data
from fastgd.plan.budgets.race import Stand, stand_of
from fastgd.plan.plan import Plan, Unit
from fastgd.plan.turns import missing
from fastgd.plan.units.cohort import CohortUnit
from fastgd.runs.executor import Executor
from fastgd.store.contents import Contents
from fastgd.store.states import StateInfo, drop_superseded, infos_of
from fastgd.study.config import Study


def run_race(study: Study, plan: Plan, data: Sequence[Data], executor: Executor) -> Stand:
    """Run the rounds of a race until it is over, or the time is; return how it stands then.

    Parameters
    ----------
    study : Study
    plan : Plan
    data : sequence of Data
        Of each split of each problem.
    executor : Executor
    """
    path, states = executor.folder.path, executor.snapshots.finished
    stand = stand_of(study, plan.table, contents := Contents.read(path))
    while stand.waiting:
        units = round_of(plan, stand, contents.reached, infos_of(states))
        executor.run(units, data, together=True)
        before, stand = stand, stand_of(study, plan.table, contents := Contents.read(path))
        drop_superseded(states, contents.reached, stand.waiting)
        if stand == before or executor.clock.over:
            break
    return stand


def round_of(plan: Plan, stand: Stand, reached: Mapping[str, float], states: Sequence[StateInfo]) -> list[Unit]:
    """Return what is to run until the trials that wait are at their next stages."""
    others = dict.fromkeys(set(plan.trial_ids) - set(stand.waiting))
    units = []
    for unit in plan.units:
        assert isinstance(unit, CohortUnit)
        epochs = {stand.waiting[trial] for ids in unit.ids for trial in ids if trial in stand.waiting}
        units += [replace(unit, until=epoch * unit.batches) for epoch in epochs]
    return missing(units, others, states, reached)
