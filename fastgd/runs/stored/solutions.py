"""Solutions: where stored trials ended, and where they were on their way, from running them again if need be."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow.compute as pc

from fastgd.analysis import Results
from fastgd.common.errors import InputError, nearest
from fastgd.core.threads import Threads
from fastgd.datasets import Data
from fastgd.plan.estimates import memory
from fastgd.plan.plan import Plan
from fastgd.plan.units.cohort import CohortUnit
from fastgd.runs.clock import Clock
from fastgd.runs.reporting.events import Event, Retracing
from fastgd.runs.stored.retraced import retrace
from fastgd.store.schema import UNFINISHED
from fastgd.study.models import BEST_ITERATE

Array = npt.NDArray[Any]
NO_END = (*UNFINISHED, "diverged", "failed")  # statuses of trials that have no end point to look around
MOST_STEPS = 201  # of a trajectory that are kept
MOST_STEP_BYTES = 256 << 20  # of the iterates at these steps, of all trials together


class Solution(NamedTuple):
    """A trial, its row of the results, and where it was after some steps, the last of them its end.

    Attributes
    ----------
    unit : CohortUnit
        Of the trial alone.
    row : pandas.Series
    steps : ndarray of int (k,)
    iterates : ndarray (k, parameters)
    """

    unit: CohortUnit
    row: "pd.Series[Any]"
    steps: Array
    iterates: Array

    @property
    def trial_id(self) -> str:
        """The trial."""
        return str(self.row["trial_id"])

    @property
    def end(self) -> Array:
        """The final parameters (parameters,)."""
        return np.asarray(self.iterates[-1])


def trials_of_one_problem(results: Results, trials: Sequence[str]) -> "list[pd.Series[Any]]":
    """Return the rows of trials that have an end point.

    Raises
    ------
    InputError
        There is no such trial in the study, it has no end point, or they are of different problems or splits.
    """
    rows = [_row(results, trial) for trial in trials]
    for trial, row in zip(trials, rows, strict=True):
        if row["problem"] != rows[0]["problem"]:
            raise InputError(
                f"trial {trial!r} is of the problem {row['problem']!r}, and {trials[0]!r} of {rows[0]['problem']!r}: "
                "they minimise different things, and there is nothing between them"
            )
        if row["split_seed"] != rows[0]["split_seed"]:
            raise InputError(
                f"trial {trial!r} is of split_seed {row['split_seed']}, and {trials[0]!r} of {rows[0]['split_seed']}: "
                "they minimise losses over different rows"
            )
    return rows


def _row(results: Results, trial: str) -> "pd.Series[Any]":
    found = results.trials[results.trials["trial_id"] == trial]
    if found.empty:
        near = nearest(trial, results.trials["trial_id"].head(1000))
        raise InputError(f"there is no trial {trial!r} in {results.path}; {near}")
    row = found.iloc[0]
    if not row["in_study"]:
        raise InputError(f"trial {trial!r} is of an earlier version of the study, and not of the one that is stored")
    if row["status"] in NO_END or not np.isfinite(row["final_loss"]):
        again = ": run the study again, which goes on with it" if row["status"] == "timeout" else ""
        raise InputError(f"trial {trial!r} ended as {row['status']!r}, and has no end point to look around{again}")
    return row


def solutions_of(
    results: Results,
    plan: Plan,
    rows: "Sequence[pd.Series[Any]]",
    data: Data,
    clock: Clock,
    threads: Threads,
    emit: Callable[[Event], None],
    *,
    walks: bool,
) -> list[Solution]:
    """Return the solutions of trials; `walks`: with their trajectories, else with their ends alone.

    Raises
    ------
    InputError
        A trial that is run again does not end where it did.
    """
    found = []
    for row in rows:
        unit = unit_of(results, plan, str(row["trial_id"]))
        final = unit.record.parameters != BEST_ITERATE
        stored = _stored(results, str(row["trial_id"])) if final else None
        if stored is not None and not walks:
            found.append(Solution(unit, row, np.array([row["steps"]]), stored[None]))
            continue
        steps = _steps(int(row["steps"]), unit, len(rows)) if walks else np.array([row["steps"]])
        needed = memory.of_cohort(unit, saved=False) + 8.0 * len(steps) * len(rows) * unit.spec.parameters(unit.d)
        memory.room().require(needed, f"running trial {row['trial_id']!r} again", 'record.parameters = "all" spares it')
        report_steps(clock, emit, str(row["trial_id"]), int(row["steps"]))
        solution = Solution(unit, row, steps, retrace(unit, data, steps, clock, threads))
        if stored is not None and not np.array_equal(solution.end, stored):
            raise other_end(results, solution)
        found.append(solution)
    return found


def unit_of(results: Results, plan: Plan, trial: str) -> CohortUnit:
    """Return the unit of a stored trial alone, with the kernel that it has in the whole study."""
    if trial not in plan.trial_ids:
        raise InputError(
            f"the study of {results.path} has no trial {trial!r} any more: fastgd, or a module of yours that the study "
            "names, has changed since it was run"
        )
    (unit,) = plan.only(trial).units
    assert isinstance(unit, CohortUnit)
    return unit


def report_steps(clock: Clock, emit: Callable[[Event], None], trial: str, steps: int) -> None:
    """Have a clock report how many of its steps a trial has taken that runs again."""

    def report(step: int, _: int) -> None:
        emit(Retracing(trial, step, steps))

    clock.report = report
    report(0, 1)


def other_end(results: Results, solution: Solution) -> InputError:
    """Return the error about a trial that is not where it was."""
    made = results.manifest
    return InputError(
        f"trial {solution.trial_id!r} does not end where it did: fastgd {made.fastgd} with numba "
        f"{made.packages.get('numba')} on {made.cpu} computed {results.path}, and this program, a module of yours or "
        "the processor is another one. Run the study again in another folder; where final parameters are stored "
        '(record.parameters = "all"), random directions without the trajectory need no second run'
    )


def _stored(results: Results, trial: str) -> Array | None:
    """Return the final parameters of a trial, if they were recorded."""
    rows = results.table("parameters", filter=pc.field("trial_id") == trial)
    return np.asarray(rows["parameters"][0].values, dtype=np.float64) if rows.num_rows else None


def _steps(steps: int, unit: CohortUnit, trials: int) -> Array:
    """Return the steps of a trajectory that are kept: the start, the end, and evenly spread ones between."""
    room = MOST_STEP_BYTES // (8 * unit.spec.parameters(unit.d) * trials)
    return np.unique(np.linspace(0, steps, min(MOST_STEPS, max(2, room))).round().astype(np.int64))
