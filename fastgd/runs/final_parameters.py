"""Parameters that a study keeps of trials whose other results are stored: `record.parameters`."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from fastgd.analysis import Results
from fastgd.analysis import load as load_results
from fastgd.datasets import Data
from fastgd.plan.plan import Plan
from fastgd.plan.units.cohort import CohortUnit
from fastgd.runs.executor import Executor
from fastgd.runs.reporting.events import Warning_
from fastgd.store.contents import Contents
from fastgd.store.schema import FAILED


def best_trials(results: Results) -> set[str]:
    """Return the trials of each optimizer's best configuration on each problem, by the ranking of `Results.best`."""
    first = results.best().drop_duplicates(["problem", "optimizer"])
    return {trial for best in first["trial_id"] for trial in results.seeds_of(best)}


def store_parameters(plan: Plan, data: Sequence[Data], kept: str, executor: Executor) -> None:
    """Store the parameters that a study asks for and its folder lacks.

    Those of the best trials are known only when all have run; what was not kept until then is run again.

    Parameters
    ----------
    plan : Plan
    data : sequence of Data
        Of each problem.
    kept : {"best", "all", "best_iterate"}
        Whose parameters the study keeps.
    executor : Executor
        With those that were kept while the trials ran.
    """
    folder = executor.folder
    names = set(plan.trial_ids)
    wanted = best_trials(load_results(folder.path)) & names if kept == "best" else names
    lacking = wanted - Contents.read(folder.path).parameter_ids()
    finalists = executor.finalists.parameters()
    for d in {len(finalists[trial]) for trial in lacking & finalists.keys()}:
        own = {trial: w for trial, w in finalists.items() if trial in lacking and len(w) == d}
        with folder.writer(parameters_only=True) as writer:
            writer.parameters(list(own), np.stack(list(own.values())))
            writer.commit()
    if again := lacking - finalists.keys() - folder.unfinished() - Contents.read(folder.path).trial_ids(FAILED):
        executor.emit(Warning_(f"{len(again):,} of the trials whose parameters are stored run again for them"))
        executor.run(_keeping(plan, names - again, "all" if kept == "best" else kept), data)


def _keeping(plan: Plan, done: set[str], kept: str) -> list[CohortUnit]:
    """Return what is left of a plan beside some trials, for the parameters of all of them."""
    cohorts = [unit for unit in plan.units if isinstance(unit, CohortUnit)]
    left = [unit for cohort in cohorts if (unit := cohort.without(done))]
    records = [unit.record.model_copy(update={"parameters": kept}) for unit in left]
    return [replace(unit, record=own, parameters_only=True) for unit, own in zip(left, records, strict=True)]
