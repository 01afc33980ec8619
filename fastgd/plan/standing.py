"""What a results folder holds of a study: which trials are missing there, which will run again, and why."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd

from fastgd.common.errors import InputError
from fastgd.common.parsing import from_toml
from fastgd.plan.budgets.race import after, stand_of
from fastgd.plan.plan import Plan, Unit
from fastgd.plan.turns import missing
from fastgd.plan.units.cohort import CohortUnit
from fastgd.store.contents import Contents
from fastgd.store.manifest import SCHEMA, Manifest, read_study
from fastgd.store.schema import FAILED
from fastgd.store.states import StateInfo
from fastgd.study.config import Study
from fastgd.study.models import BEST_ITERATE
from fastgd.study.values import as_list

# Keys of a study file that add trials, or that decide no number: a change of them runs nothing again.
NOT_DECISIVE = (
    "name",
    "optimizer",
    "schedule",
    "seed",
    "batch_size",
    "max_seconds",
    "snapshot_seconds",
    "surface",
    "reference",
)
NOT_DECISIVE_BELOW = (
    "problem.name",
    "problem.path",
    "problem.dataset",
    "problem.l2",
    "record.parameters",
    "record.state",
    "search.draws",
    "search.seed",
    "search.halving.factor",
    "search.halving.start",
)
COUNTS = ("starts.uniform", "starts.normal", "starts.sobol")  # the first of more starts are the starts that there were
# Columns in which a trial that runs again may differ from its stored results.
MAY_DIFFER = ("trial_id", "configuration", "dataset", "n", "d", "dtype", "layout", "sparse", "kernel", "starts")


@dataclass(frozen=True)
class Standing:
    """What a folder holds of a study.

    Attributes
    ----------
    path : Path
    held, missing : int
        The study's trials that are stored, and those that are not.
    timed_out : int
        Of those stored, how many ran out of time, and will run again.
    notes : tuple of str
        What will run again though it is stored, and why.
    left : Plan
        The plan of what is to run, in the units in which it is.
    """

    path: Path
    held: int
    missing: int
    timed_out: int
    notes: tuple[str, ...]
    left: Plan

    @property
    def lines(self) -> tuple[str, ...]:
        """All of it in words."""
        total = self.held + self.missing
        return f"{self.path} holds {self.held:,} of the {total:,} trials, and {self.missing:,} are missing", *self.notes


def standing(
    path: Path,
    study: Study,
    plan: Plan,
    states: Sequence[StateInfo] = (),
    steps: Mapping[str, int] = MappingProxyType({}),
) -> Standing | None:
    """Return what a folder holds of a study's plan; None: it holds no results.

    Parameters
    ----------
    path : Path
    study : Study
    plan : Plan
    states : sequence of StateInfo
        The states of finished trials there.
    steps : mapping of str to int
        The steps that units on their way have taken, by their names.

    Raises
    ------
    InputError
        The folder's results are damaged.
    """
    if not (path / "manifest.json").exists() or Manifest.read(path).schema != SCHEMA:
        return None
    contents, planned = Contents.read(path), plan.table
    rows = contents.table("trials", columns=["trial_id"])["trial_id"].to_pandas().astype(str).value_counts()
    weights = planned["starts"] if "starts" in planned else pd.Series(1, planned.index)
    held = int(weights.clip(upper=planned["trial_id"].map(rows).fillna(0)).sum())
    late = contents.trial_ids("timeout").intersection(planned["trial_id"])
    left = _left(plan, contents.done, states, contents)
    longer = [unit for unit in left.units if isinstance(unit, CohortUnit) and unit.origin]
    going_on = {trial for unit in longer for ids in unit.ids for trial in ids} - contents.trial_ids()
    notes = [f"{len(going_on):,} trials go on from where shorter ones ended"] if going_on else []
    anew = planned.assign(starts=weights)[~planned["trial_id"].isin(going_on)]
    notes += [*_changed(path, study, anew, contents), *_unkept(study, contents, planned)]
    if study.halving:
        waiting = stand_of(study, planned, contents).waiting
        over = dict.fromkeys(set(planned["trial_id"]) - waiting.keys())
        left, late = _left(plan, over, states, contents), set()
        left = replace(left, rounds=after(plan.rounds, min(waiting.values(), default=0)))
        where = f"goes on with {len(waiting):,} trials, to epoch {min(waiting.values()):,}" if waiting else "is over"
        notes += [f"its race {where}"] if held else []
    elif retired := contents.trial_ids("retired").intersection(planned["trial_id"]):
        notes.append(f"{len(retired):,} trials lost a race before: they are run to their end")
    if late:
        notes.append(f"{len(late):,} trials ran out of time before: they are run again")
    if failed := contents.trial_ids(FAILED).intersection(planned["trial_id"]):
        notes.append(f"{len(failed):,} trials failed before: they are run again")
    left = replace(left, units=[_behind(unit, steps) for unit in left.units])
    return Standing(path, held, int(weights.sum()) - held, len(late), tuple(notes), left)


def _left(plan: Plan, done: Mapping[str, Any], states: Sequence[StateInfo], contents: Contents) -> Plan:
    """Return what is left of a plan beside some trials, in the units in which it is run."""
    return replace(plan, units=missing(plan.units, done, states, contents.reached if states else {}))


def _behind(unit: Unit, steps: Mapping[str, int]) -> Unit:
    """Return a unit that knows how many steps it has taken, where it is a cohort on its way."""
    if not isinstance(unit, CohortUnit):
        return unit
    return replace(unit, taken=max(unit.taken, min(steps.get(unit.name, 0), unit.end)))


def _changed(path: Path, study: Study, planned: pd.DataFrame, contents: Contents) -> Iterator[str]:
    """Say which trials of the folder's study will run again as others, and which key of the file is why."""
    names = contents.columns.trials.names
    key = [str(name) for name in planned if name in names and name not in MAY_DIFFER]
    stored, wanted = contents.first_rows([*key, "in_study"]), planned["trial_id"].astype(object)
    old, new = stored[stored["in_study"] & ~stored.index.isin(wanted)], planned[~wanted.isin(stored.index)]
    again = new.merge(old[key].drop_duplicates(), on=key)
    if len(again):
        before = "" if Manifest.read(path).ended else ", the study before a run that was interrupted"
        unsaid = f"their data, their code{before} or the number of trials beside them"
        why = ", ".join(_different(path, study)) or unsaid
        yield f"{int(again['starts'].sum()):,} trials of {path} will run again because {why} changed"


def _different(path: Path, study: Study) -> list[str]:
    """Return the keys of the study file that decide numbers, and that differ from those of the folder's study."""
    try:
        old = from_toml(read_study(path))
    except (InputError, ValueError):
        return []  # it is not the study that the trials are of; the run writes it anew
    new = from_toml(study.to_toml())
    problems = [as_list(each.get("problem", [])) for each in (old, new)]
    for each, own in zip(
        (old, new), problems, strict=True
    ):  # a problem that was added or left out changes none of the others
        each["problem"] = own[: min(map(len, problems))]
    stored = [each.get("record", {}).get("parameters") == BEST_ITERATE for each in (old, new)]
    old, new = _flat(old), _flat(new)
    keys = [key for key in dict.fromkeys([*old, *new]) if old.get(key) != new.get(key)]
    keys = [key for key in keys if not (key in COUNTS and key in old and key in new)]
    if not any("stream" in str(each.get("problem.source")) for each in (old, new)):  # in which rows have another order
        keys = [key for key in keys if key != "problem.source"]
    found = [key for key in keys if key.split(".")[0] not in NOT_DECISIVE and key not in NOT_DECISIVE_BELOW]
    return [*found, "record.parameters"] if stored[0] != stored[1] else found


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a table's values by their key paths; those of several tables of a name stand in one list."""
    flat: dict[str, Any] = {}
    for key, value in table.items():
        tables = value if isinstance(value, list) and value and isinstance(value[0], Mapping) else [value]
        for each in tables:
            below = _flat(each, f"{prefix}{key}.") if isinstance(each, Mapping) else {f"{prefix}{key}": each}
            for name, found in below.items():
                flat.setdefault(name, []).append(found)
    return flat


def _unkept(study: Study, contents: Contents, planned: pd.DataFrame) -> Iterator[str]:
    kept = study.record.parameters
    if kept not in ("all", BEST_ITERATE) or study.landscapes:
        return
    stored = contents.trial_ids().intersection(planned["trial_id"]) - contents.unfinished
    if unkept := stored - contents.parameter_ids():
        yield f'{len(unkept):,} trials will run again for record.parameters = "{kept}": theirs were not kept'
