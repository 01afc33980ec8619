"""Final parameters that a study keeps of trials whose other results are stored: `record.parameters`."""

from collections.abc import Callable

import numpy as np

from fastgd.analysis import Results
from fastgd.analysis import load as load_results
from fastgd.plan.cohort import without
from fastgd.plan.cohorts import Plan
from fastgd.runs.executor import Execution
from fastgd.runs.reporting.events import Event, Warning_
from fastgd.store.contents import Contents
from fastgd.store.folder import Folder


def best_trials(results: Results) -> set[str]:
    """Return the trials of each optimizer's best configuration on each problem, by the ranking of `Results.best`."""
    first = results.best().drop_duplicates(["problem", "optimizer"])
    return {trial for best in first["trial_id"] for trial in results.seeds_of(best)}


def store_parameters(plan: Plan, folder: Folder, execution: Execution, emit: Callable[[Event], None]) -> None:
    """Store the parameters that a study asks for and its folder lacks.

    Those of the best trials are known only when all have run; what was not kept until then is run again.
    """
    names = set(plan.trials["trial_id"])
    wanted = names if execution.keep == "all" else best_trials(load_results(folder.path)) & names
    lacking = wanted - Contents.read(folder.path).parameter_ids()
    finalists = execution.finalists.parameters()
    for d in {len(finalists[trial]) for trial in lacking & finalists.keys()}:
        own = {trial: w for trial, w in finalists.items() if trial in lacking and len(w) == d}
        with folder.parameters() as writer:
            writer.parameters(list(own), np.stack(list(own.values())))
            writer.commit_parameters()
    again = lacking - finalists.keys() - folder.timed_out()
    if again:
        emit(Warning_(f"{len(again):,} of the trials whose parameters are stored run again for them"))
        execution.run_for_parameters(without(plan.cohorts, names - again))
