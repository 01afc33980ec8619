"""Studies that run in memory: trials, curves and final parameters are returned, and no folder is opened.

What is run, and every bit of it, is that of `fastgd.run`: the same plan and the same units, with another sink. What
belongs to a folder has no place here: snapshots, rankings, parameters of the best trials alone.
"""

from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
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
from fastgd.plan.budgets.race import LOST, standing
from fastgd.plan.cohorts import Penalties
from fastgd.plan.planner import make_plan
from fastgd.plan.units.cohort import CohortUnit, Origin
from fastgd.runs.clock import Clock
from fastgd.runs.units.cohort_run import compile_cohort
from fastgd.runs.units.schedule_values import ScheduleValues
from fastgd.runs.units.unit_run import run_unit
from fastgd.store.schema import UNFINISHED
from fastgd.store.states import StateInfo
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
        self._states: dict[str, dict[str, Array]] = {}
        self._lanes: dict[str, tuple[str, int]] = {}  # of trials that wait: their states

    def append(self, kind: str, columns: Mapping[str, Any], rows: int | None = None) -> None:  # noqa: ARG002
        """Take the rows of a checkpoint."""
        self.curves.append(dict(columns))

    def trials(self, trials: Mapping[str, Any]) -> None:
        """Take the trials of a cohort."""
        self.tables.append(pd.DataFrame(trials).astype({"fold": "Int64", "best_step": "Int64"}))

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

    def keep(self, state: Mapping[str, Any], info: StateInfo) -> None:
        """Take the state of trials that wait."""
        self._states[info.name] = dict(state)
        self._lanes |= {trial: (info.name, lane) for lane, trial in enumerate(info.trials)}

    def kept(self, origin: Origin) -> dict[str, Array] | None:
        """Return the state of trials that waited; it is needed once."""
        return self._states.pop(origin.name)

    def carry_renamed(self, kind: str, names: Mapping[str, str], last_step: int | None = None) -> None:
        """Leave rows where they are: trials that waited go on under their own names."""

    def origin_of(self, unit: CohortUnit) -> Origin | None:
        """Return where the lanes of a unit waited; None: they did not."""
        found = [self._lanes[ids[0]] for ids in unit.ids if ids[0] in self._lanes]
        if not found:
            return None
        return Origin(found[0][0], tuple(lane for _, lane in found), tuple(ids[0] for ids in unit.ids))


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
        tables = [
            pd.concat(sink.tables).drop_duplicates("trial_id", keep="last")  # the last is of the end of what waited
            for sink in self.sinks
        ]
        return pd.concat(tables, ignore_index=True)

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


# --- races ------------------------------------------------------------------------------------------------------------


class _SoFar:
    """What a race knows of trials so far: see `fastgd.plan.budgets.race.Known`."""

    def __init__(self, sink: MemorySink) -> None:
        trials = MemoryResults((sink,)).trials if sink.tables else pd.DataFrame({"trial_id": [], "status": []})
        self._ended = dict(zip(trials["trial_id"], trials["status"], strict=True))
        self._losses: dict[str, dict[float, float]] = {}
        for columns in sink.curves:
            for trial, loss in zip(columns["trial_id"], np.ravel(columns["validation_loss"]).tolist(), strict=True):
                self._losses.setdefault(trial, {})[float(columns["epoch"])] = loss

    def is_finished(self, trial: str) -> bool:
        return self._ended.get(trial, UNFINISHED[0]) not in UNFINISHED

    def loss(self, trial: str, epoch: int) -> float | None:
        found = self._losses.get(trial, {}).get(float(epoch))
        if found is None and self.is_finished(trial):
            found = np.inf if self._ended[trial] in LOST else list(self._losses[trial].values())[-1]
        return None if found is None else np.inf if np.isnan(found) else found


@np.errstate(over="ignore", invalid="ignore")
def run_race(
    study: Study, units: Sequence[CohortUnit], racing: pd.DataFrame, data: Sequence[Data], threads: int | None = None
) -> MemoryResults:
    """Run units that are `planned` in rounds, after each of which the losers end as `retired`.

    Parameters
    ----------
    study : Study
        One with `search.halving`.
    units : sequence of CohortUnit
    racing : pandas.DataFrame
        The trials (`trial_id`) of each `configuration` that is in the race of a `problem`.
    data : sequence of Data
        Of each split.
    threads : int, optional
    """
    sink, clock = MemorySink(), Clock("plan")
    with Threads(threads) as pool:
        while (stand := standing(study, racing, _SoFar(sink))).waiting:
            for unit in units:
                for part in _waiting(unit, stand.waiting):
                    run_unit(replace(part, origin=sink.origin_of(part)), data[part.problem], sink, clock, pool)
    for table in sink.tables:
        lost = table["trial_id"].isin(stand.retired)
        table.loc[lost, "status"] = "retired"
        table.loc[lost, "reason"] = table.loc[lost, "trial_id"].map(stand.retired)
    return MemoryResults((sink,))


def _waiting(unit: CohortUnit, waiting: Mapping[str, int]) -> Iterator[CohortUnit]:
    """Yield the lanes of a unit that are to go on, those that go on to the same epoch together."""
    epochs = np.array([waiting.get(ids[0], 0) for ids in unit.ids])
    for epoch in np.unique(epochs[epochs > 0]):
        yield replace(unit.select(epochs == epoch), until=int(epoch) * unit.batches)


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
        cohort = Cohort(unit.spec, data.X, data.y_and_weights, pool, schedule, data.rows)
        compile_cohort(cohort, unit)
        if before is not None and before.rule == rule:
            cohort.go_on(before.state)
        schedule.go_on(cohort.t, passes)
        cohort.advance(unit.batches)
        return Learnt(cohort.parameters()[0], rule, cohort.portable(), passes + 1)
