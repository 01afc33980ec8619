"""Studies that run in memory: trials, curves and final parameters are returned, and no folder is opened.

What is run, and every bit of it, is that of `fastgd.run`: the same plan and the same units, with another sink. What
belongs to a folder has no place here: snapshots, rankings, parameters of the best trials alone.
"""

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from fastgd.common.errors import InputError
from fastgd.common.properties import cached_property
from fastgd.core.threads import Threads
from fastgd.datasets import Data
from fastgd.engine.lanes import Captured
from fastgd.engine.rows.cohort import Cohort
from fastgd.plan.cohorts import Penalties
from fastgd.plan.planner import make_plan
from fastgd.plan.units.cohort import CohortUnit
from fastgd.runs.clock import Clock
from fastgd.runs.units.cohort_run import compile_cohort
from fastgd.runs.units.schedule_values import ScheduleValues
from fastgd.runs.units.unit_run import run_unit
from fastgd.store.surface_files import Surface
from fastgd.study.config import Study

Array = npt.NDArray[Any]


class MemorySink:
    """A sink that keeps what it is handed: see `fastgd.runs.sinks.Sink`.

    Attributes
    ----------
    curves : list of dict
        The columns of each checkpoint of each unit.
    tables : list of DataFrame
        The trials of each unit.
    final : dict of str to ndarray (parameters,)
        The final parameters by trial.
    """

    def __init__(self) -> None:
        self.curves: list[dict[str, Any]] = []
        self.tables: list[pd.DataFrame] = []
        self.final: dict[str, Array] = {}

    def append(self, kind: str, columns: Mapping[str, Any], rows: int | None = None) -> None:  # noqa: ARG002
        """Take the rows of a checkpoint."""
        self.curves.append(dict(columns))

    def trials(self, trials: pd.DataFrame) -> None:
        """Take the trials of a cohort."""
        self.tables.append(trials)

    def parameters(self, trial_ids: Sequence[str], W: Array) -> None:
        """Take the final parameters (G, parameters) of trials."""
        self.final |= dict(zip(trial_ids, W.copy(), strict=True))

    def offer(self, key: Hashable, scores: Array, ids: Sequence[Sequence[str]], read: Callable[[Array], Array]) -> None:
        """Keep no parameters of the best alone: studies that run in memory keep all or none."""

    def surface(self, number: int, surface: Surface, specification: str) -> None:
        """Keep no error surface: studies that run in memory have none."""

    def save(self, name: str, state: Mapping[str, Any], *, cut: bool = False) -> None:
        """Save no state: what is interrupted is lost."""

    def saved(self, name: str, trial_ids: Collection[str]) -> dict[str, Array] | None:  # noqa: ARG002
        """Return None: no run began before."""
        return None

    def carry(self, trial_ids: Collection[str], last_step: int) -> None:
        """Take no rows of an earlier run: there is none."""


@dataclass(frozen=True, eq=False)
class MemoryResults:
    """What trials that ran in memory were found to be.

    Attributes
    ----------
    sinks : tuple of MemorySink
        Of the studies that they are of.
    """

    sinks: tuple[MemorySink, ...]

    @cached_property
    def trials(self) -> pd.DataFrame:
        """A row for each trial, with the columns that stored results have."""
        return pd.concat([table for sink in self.sinks for table in sink.tables], ignore_index=True)

    @cached_property
    def curves(self) -> pd.DataFrame:
        """A row for each checkpoint of each trial, with the columns that stored results have."""
        return pd.concat([pd.DataFrame(rows) for sink in self.sinks for rows in sink.curves], ignore_index=True)

    def parameters(self, trial_id: str) -> Array:
        """Return the final parameters (parameters,) float64 of a trial.

        Raises
        ------
        InputError
            The study has no such trial, or kept no parameters.
        """
        for sink in self.sinks:
            if trial_id in sink.final:
                return sink.final[trial_id]
        raise InputError(f"there are no parameters of a trial {trial_id!r}")

    def last(self, metric: str) -> dict[str, float]:
        """Return a metric at the last checkpoint of each trial that has it."""
        found: dict[str, float] = {}
        for sink in self.sinks:
            for columns in sink.curves:
                if metric in columns:
                    found |= zip(columns["trial_id"], np.ravel(columns[metric]).tolist(), strict=True)
        return found

    def curve(self, metric: str) -> list[float]:
        """Return a metric at each checkpoint of the first trial; nothing, where it was not measured."""
        rows = [columns for columns in self.sinks[0].curves if metric in columns]
        first = rows[0]["trial_id"][0] if rows else ""
        return [float(np.ravel(columns[metric])[0]) for columns in rows if columns["trial_id"][0] == first]


def planned(
    study: Study, data: Sequence[Data], threads: int | None = None, penalties: Penalties | None = None
) -> list[CohortUnit]:
    """Return the units of a study over its data, cut to the memory that this process may use."""
    plan = make_plan(study, data, penalties).within_limits(threads)
    return [unit for unit in plan.units if isinstance(unit, CohortUnit)]


def run_in_memory(
    study: Study, data: Sequence[Data], *, threads: int | None = None, starts: Sequence[Array] | None = None
) -> MemoryResults:
    """Run every trial of a study over data, and return what was found.

    Parameters
    ----------
    study : Study
        Its problems name no data.
    data : sequence of Data
        The prepared data of each split of each problem.
    threads : int, optional
        By default all processors that the process may use. The number changes no bits.
    starts : sequence of ndarray (parameters,), optional
        Where the trials of each split start, in place of what the study says.

    Raises
    ------
    InputError
        The data do not fit the study, or the memory does not suffice.
    """
    units = planned(study, data, threads)
    if starts is not None:
        units = [_from(unit, starts[unit.problem]) for unit in units]
    return run_units(units, data, threads)


@np.errstate(over="ignore", invalid="ignore")  # trials that diverge are data
def run_units(units: Sequence[CohortUnit], data: Sequence[Data], threads: int | None = None) -> MemoryResults:
    """Run units that are `planned` over data, and return what was found."""
    sink, clock = MemorySink(), Clock("plan")
    with Threads(threads) as pool:
        for unit in units:
            run_unit(unit, data[unit.problem], sink, clock, pool)
    return MemoryResults((sink,))


def _from(unit: CohortUnit, start: Array) -> CohortUnit:
    """Return a unit whose lanes start at a point."""
    return replace(unit, spec=replace(unit.spec, init=tuple(start.tolist())))


# --- rows that come in portions ---------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Learnt:
    """Where a trial is that learns from portions of rows, each of which it passes over once.

    Attributes
    ----------
    parameters : ndarray (parameters,)
        What it reports.
    rule : str
        Whose state it has; empty: of none.
    state : dict
        That state, with the steps so far.
    passes : int
        The portions so far, which schedules count as epochs.
    """

    parameters: Array
    rule: str = ""
    state: Captured = field(default_factory=dict)
    passes: int = 0

    @property
    def steps(self) -> int:
        """The steps so far."""
        return int(self.state.get("t", 0))


@np.errstate(over="ignore", invalid="ignore")
def learn(study: Study, data: Data, before: Learnt | None = None, *, threads: int | None = None) -> Learnt:
    """Pass over a portion of rows once, and go on with the state that the portions before left.

    Parameters
    ----------
    study : Study
        Of one trial. Its epochs are the horizon of its schedule, and its seed orders this portion.
    data : Data
        The portion.
    before : Learnt, optional
        Where the trial is. The state of another rule is left behind: the new one begins at its parameters.
    threads : int, optional

    Raises
    ------
    InputError
        The study does not fit the data.
    """
    (unit,) = planned(study, [data], threads)
    rule, passes, schedule = repr(unit.spec.rule), 0, ScheduleValues.of(unit)
    if before is not None:
        unit, passes = _from(unit, before.parameters), before.passes
    with Threads(threads) as pool:
        cohort = Cohort(unit.spec, data.X, data.y, pool, schedule)
        compile_cohort(cohort, unit)
        if before is not None and before.rule == rule:
            cohort.go_on(before.state)
        schedule.go_on(cohort.t, passes)
        cohort.advance(unit.batches)
        return Learnt(cohort.parameters()[0], rule, cohort.portable(), passes + 1)
