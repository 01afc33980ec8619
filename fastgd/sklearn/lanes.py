"""Candidates of a search as lanes of one study: those that differ in what lanes may differ in share passes."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pandas as pd

from fastgd.datasets import Data
from fastgd.plan.units.cohort import CohortUnit
from fastgd.plan.units.methods import methods_of_block
from fastgd.runs.in_memory import MemoryResults, planned, run_race, run_units
from fastgd.sklearn.base import GDEstimator
from fastgd.sklearn.rows import Portion, data_of
from fastgd.sklearn.studies import OF_A_LANE, batch_size_of, optimizer_of, problem_of, strength, study_of
from fastgd.study.config import OptimizerBlock, Study

Key: TypeAlias = tuple[str, bytes, str]  # a lane's method with its numbers, and its schedule


class Split(NamedTuple):
    """A split of rows: those that train, those by which trials are judged, and its number among all folds."""

    train: Portion
    held: Portion
    fold: int


@dataclass(eq=False)
class Outcome:
    """What became of a candidate on a split.

    Attributes
    ----------
    model : GDEstimator or None
        With what it learnt; None: the training failed.
    error : str
        Why.
    retired : bool
        Whether it lost a race before it ended.
    values : dict of str to float
        Its metrics at the end.
    counts : dict of str to int
        The rows that train, and those by which it is judged, by the prefix of their metrics.
    fit_seconds, score_seconds : float
        Its share of the time that training took, and of that in which losses and metrics were measured.
    """

    model: GDEstimator | None = None
    error: str = ""
    retired: bool = False
    values: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    fit_seconds: float = 0.0
    score_seconds: float = 0.0


def sharing(estimators: Sequence[GDEstimator]) -> list[list[int]]:
    """Return which candidates share a study: those that differ in what a lane may have of its own."""
    groups: dict[str, list[int]] = {}
    for number, estimator in enumerate(estimators):
        own = {key: value for key, value in estimator.get_params(deep=False).items() if key not in OF_A_LANE}
        if not isinstance(own["random_state"], int | np.integer):
            own["random_state"] = None  # clones of a generator are alike, and have other addresses
        groups.setdefault(repr(sorted(own.items())), []).append(number)
    return list(groups.values())


def alike(estimator: GDEstimator, splits: Sequence[Split]) -> list[list[int]]:
    """Return which splits have batches of one size: the others run in a study of their own."""
    groups: dict[int | str, list[int]] = {}
    for number, split in enumerate(splits):
        groups.setdefault(batch_size_of(estimator, split.train.n), []).append(number)
    return list(groups.values())


def run_together(
    estimators: Sequence[GDEstimator],
    leader: GDEstimator,
    splits: Sequence[Split],
    metrics: Sequence[str],
    name: str,
    halving: Mapping[str, Any] | None = None,
    *,
    curves: bool = True,
) -> tuple[list[list[Outcome]], MemoryResults]:
    """Train candidates that share a study on every split, all at once.

    Parameters
    ----------
    estimators : sequence of GDEstimator
        Unfitted.
    leader : GDEstimator
        One of them, which knows the classes and the columns of the rows.
    splits : sequence of Split
        With the same tasks, and batches of one size.
    metrics : sequence of str
        What is recorded beside losses.
    name : str
        Tells the rows from those of other studies of the same search.
    halving : mapping, optional
        The keys of a race, from which the losers retire.
    curves : bool
        Whether losses are recorded after each epoch, and not at the end alone.

    Returns
    -------
    outcomes : list of list of Outcome
        Of each candidate on each split.
    results : MemoryResults

    Raises
    ------
    InputError
        A candidate has a parameter that is not valid.
    """
    by_split = [data_of(split.train, split.held, f"{name}, fold {split.fold}") for split in splits]
    data = [rows for of_task in zip(*by_split, strict=True) for rows in of_task]  # in the order of the study's splits
    # of one split, the data say what is held out: a problem says that something is
    held = {"folds": len(splits), "kind": "given"} if len(splits) > 1 else 0.5
    problems = [{**problem_of(leader, task), "validation": held} for task in splits[0].train.tasks]
    blocks = _Blocks.of(estimators)
    study = study_of(
        leader, problems, blocks.tables, splits[0].train.n, leader._seed(), metrics, halving, curves=curves
    )
    units = planned(study, data, leader._threads, blocks.penalties)
    keys, trials = [_key_of(block, study) for block in study.optimizer], _trials(units)
    of_each = [[trials[keys[block], l2, place] for place in range(len(data))] for block, l2 in blocks.of_each]
    if halving is None:
        results = run_units(units, data, leader._threads)
    else:
        racing = [(name, "all", candidate) for candidate, names in enumerate(of_each) for name in names]
        table = pd.DataFrame(racing, columns=["trial_id", "problem", "configuration"])
        results = run_race(study, units, table, data, leader._threads)
    _number_folds(results, [split.fold for split in splits])
    reader, count = _Reader(leader, study, data, results), len(splits)
    return [
        [reader.read(estimator, split, names[split::count]) for split in range(count)]
        for estimator, names in zip(estimators, of_each, strict=True)
    ], results


def _number_folds(results: MemoryResults, folds: Sequence[int]) -> None:
    """Give trials the numbers that their folds have in the search: a study may be of some of them, or of one."""
    for sink in results.sinks:
        for table in sink.tables:
            table["fold"] = folds[0] if len(folds) == 1 else table["fold"].map(dict(enumerate(folds)))


@dataclass
class _Blocks:
    """The tables of some optimizers, each once, the values of l2 that go with each, and which are each candidate's."""

    tables: list[dict[str, Any]]
    penalties: list[list[float]]
    of_each: list[tuple[int, float]]

    @classmethod
    def of(cls, estimators: Sequence[GDEstimator]) -> "_Blocks":
        """Return those of some candidates."""
        blocks, places = cls([], [], []), dict[str, int]()
        for estimator in estimators:
            table, l2 = optimizer_of(estimator), strength(estimator)[0]
            place = places.setdefault(repr(table), len(places))
            if place == len(blocks.tables):
                blocks.tables.append(table)
                blocks.penalties.append([])
            if l2 not in blocks.penalties[place]:
                blocks.penalties[place].append(l2)
            blocks.of_each.append((place, l2))
        return blocks


def _key_of(block: OptimizerBlock, study: Study) -> Key:
    """Return the key of the lanes that a table with single values makes."""
    (method,), (schedule,) = methods_of_block(block), block.schedules(study.schedule)
    numbers = np.array([values[0] for values in block.grids.values()], np.float64)
    return method.key, numbers.tobytes(), repr(schedule)


def _trials(units: Sequence[CohortUnit]) -> dict[tuple[Key, float, int], str]:
    """Return the trial of each key, l2 and place among the data."""
    found = {}
    for unit in units:
        method = f"{unit.spec.rule!r} {unit.spec.estimator} {unit.search!r}"
        for lane, ids in enumerate(unit.ids):
            key = method, unit.spec.hyper[lane].tobytes(), repr(unit.schedules[unit.which[lane]])
            found[key, float(unit.spec.l2[lane]), unit.problem] = ids[0]
    return found


class _Reader:
    """Reads what a run found of each candidate.

    Parameters
    ----------
    leader : GDEstimator
        Whose classes and columns all models have.
    study : Study
    data : sequence of Data
        Of each split of each task.
    results : MemoryResults
    """

    def __init__(self, leader: GDEstimator, study: Study, data: Sequence[Data], results: MemoryResults) -> None:
        self._fitted = {key: value for key, value in vars(leader).items() if key not in leader.get_params(deep=False)}
        self._study, self._data, self._results = study, data, results
        table, seconds = results.trials.set_index("trial_id"), ["train_seconds", "evaluate_seconds"]
        table[seconds] /= table[["cohort_lanes"]].to_numpy()  # lanes share the time of their cohort
        self._rows = table[["status", "reason", "steps", "epochs", *seconds]].to_dict("index")
        names = sorted(set().union(*(columns.keys() for sink in results.sinks for columns in sink.curves)))
        measured = [name for name in names if name.endswith(("loss", "accuracy", "r2"))]
        self._last = {name: results.last(name) for name in measured}

    def read(self, estimator: GDEstimator, split: int, trials: Sequence[str]) -> Outcome:
        """Return what became of a candidate on a split, from its trials, one of each task."""
        rows = [self._rows[trial] for trial in trials]
        fit, score = (sum(row[f"{stage}_seconds"] for row in rows) for stage in ("train", "evaluate"))
        retired = any(row["status"] == "retired" for row in rows)
        outcome = Outcome(retired=retired, fit_seconds=fit, score_seconds=score)
        if bad := [row["reason"] for row in rows if row["status"] == "diverged"]:
            outcome.error = f"the training diverged: {bad[0]}"
            return outcome
        model = copy.copy(estimator)
        model.__dict__.update(self._fitted)
        data = self._data[split :: len(self._data) // len(trials)]
        model._take_parameters(self._study, data, [self._results.parameters(id) for id in trials])
        model.n_iter_, model.t_ = max(1, ceil(max(row["epochs"] for row in rows))), max(row["steps"] for row in rows)
        outcome.model, outcome.counts = model, {"": data[0].n, "validation_": data[0].held_out}
        outcome.values = {name: last[trials[0]] for name, last in self._last.items() if trials[0] in last}
        return outcome
