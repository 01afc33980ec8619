"""How long trials take to a loss: epochs, steps, samples or seconds, with trials that never get there."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fastgd.analysis.criteria import LOST, Scores, direction
from fastgd.analysis.curve_pieces import Array, Piece, check_metric, pieces
from fastgd.analysis.minima.least_known import minima
from fastgd.analysis.stored_study import StoredStudy, with_methods
from fastgd.common.errors import InputError, nearest
from fastgd.store.schema import UNFINISHED

# The units of time: the column of curves, and the column of the answer.
UNITS = {
    "epochs": ("epoch", "epochs"),
    "steps": ("step", "steps"),
    "samples": ("samples_seen", "samples"),
    "seconds": ("train_seconds", "amortised_seconds"),
}
EACH = ("configuration", "trial")


@dataclass(frozen=True)
class Goal:
    """What a trial is to reach, and in which unit the way there is measured: see `Results.time_to`."""

    target: float | None = None
    gap: float | None = None
    fraction: float | None = None
    unit: str | None = None
    interpolate: bool = False
    metric: str = "loss"

    def __post_init__(self) -> None:
        given = {name: value for name in ("target", "gap", "fraction") if (value := getattr(self, name)) is not None}
        if len(given) != 1:
            found = " and ".join(f"{name} = {value:g}" for name, value in given.items()) or "none of them"
            raise InputError(f"give one of target, gap and fraction: where a trial is to get; found {found}")
        ((name, value),) = given.items()
        if not np.isfinite(value) or (name == "gap" and value <= 0) or (name == "fraction" and not 0 < value <= 1):
            bounds = {"target": "finite", "gap": "above 0", "fraction": "above 0 and at most 1"}[name]
            raise InputError(f"{name} must be {bounds}, found {value:g}")
        if name != "target" and self.metric != "loss":
            raise InputError(f"{name} is measured from the least loss; for {self.metric!r} give a target")
        if self.unit is not None and self.unit not in UNITS:
            raise InputError(f"there is no unit {self.unit!r}; {nearest(self.unit, UNITS)}")

    def axis_of(self, study: StoredStudy) -> tuple[str, str]:
        """Return the column of curves that is the axis of time, and the name of the answer's column."""
        unit = self.unit or ("steps" if study.on_landscapes else "epochs")
        if study.on_landscapes and unit != "steps":
            raise InputError(f"studies on landscapes measure time in steps; curves have no {unit}")
        return UNITS[unit]

    @property
    def words(self) -> str:
        """The goal in words: "gap 0.001"."""
        name = next(name for name in ("target", "gap", "fraction") if getattr(self, name) is not None)
        what = self.metric.replace("_", " ") if name == "target" else name
        return f"{what} {getattr(self, name):g}"


@dataclass(frozen=True)
class Times:
    """When each trial in the study reached a goal, in the order of `StoredStudy.configurations`.

    Parameters
    ----------
    column : str
        The unit as a column.
    time : ndarray of shape (trials,)
        When; NaN if it did not.
    end : ndarray of shape (trials,)
        When its curve ended: a trial that did not get there is censored then. NaN without a curve.
    level : ndarray of shape (trials,)
        The metric to reach.
    """

    column: str
    time: Array
    end: Array
    level: Array

    @property
    def reached(self) -> NDArray[np.bool_]:
        """Which trials got there."""
        return ~np.isnan(self.time)

    @property
    def censored(self) -> Array:
        """The times, infinite for trials that did not get there."""
        return np.where(self.reached, self.time, np.inf)


def time_to(study: StoredStudy, goal: Goal, each: str = "configuration") -> pd.DataFrame:
    """Return how long trials, or the medians of configurations, take to a goal: see `Results.time_to`."""
    if each not in EACH:
        raise InputError(f"there are no times of each {each!r}; {nearest(each, EACH)}")
    times = times_of(study, goal)
    table = _by_trial(study, times) if each == "trial" else _by_configuration(study, times)
    source = sorted(set(minima(study)["source"])) if goal.target is None else []
    table.attrs |= {
        "goal": goal.words,
        "unit": times.column,
        "between_checkpoints": "interpolated" if goal.interpolate else "the first checkpoint at the goal",
        "minimum": ", ".join(source),
    }
    return table


def times_of(study: StoredStudy, goal: Goal) -> Times:
    """Return when each trial reached a goal.

    Raises
    ------
    InputError
        The metric or the unit was not recorded.
    """
    axis, column = goal.axis_of(study)
    check_metric(study, goal.metric)
    sign = direction(goal.metric)
    trials = study.configurations[0]
    least = _least_of_trials(study) if goal.metric == "loss" else np.full(len(trials), np.nan)
    level = sign * _levels(goal, least)
    walk = _Walk(level, least, goal, np.full(len(trials), np.nan))
    for piece in pieces(study, [axis, goal.metric]):
        walk.follow(piece, piece.values[axis], sign * piece.values[goal.metric])
    share = trials["cohort_lanes"].to_numpy(np.float64) if column == "amortised_seconds" else 1.0
    return Times(column, walk.time / share, walk.last_x / share, sign * walk.level)


def scores_of_times(study: StoredStudy, goal: Goal) -> Scores:
    """Return the times to a goal as what a ranking compares; a trial that did not get there is infinitely late."""
    times = times_of(study, goal)
    status = study.configurations[0]["status"]
    values = times.censored
    values[~times.reached & status.isin(UNFINISHED).to_numpy()] = np.nan
    return Scores(times.column, 1.0, values, ~times.reached & status.isin(LOST).to_numpy(), is_loss=False)


def _levels(goal: Goal, least: Array) -> Array:
    """Return the level of each trial; NaN where its start decides it."""
    if goal.target is not None:
        return np.full(len(least), goal.target)
    return least + goal.gap if goal.gap is not None else np.full(len(least), np.nan)


class _Walk:
    """Follows the curves of all trials, one piece after another, until each reaches its level."""

    def __init__(self, level: Array, least: Array, goal: Goal, time: Array) -> None:
        self.level, self.least, self.goal, self.time = level, least, goal, time
        self.last_x, self._last_y = np.full_like(time, np.nan), np.full_like(time, np.nan)

    @np.errstate(over="ignore", invalid="ignore")  # trials that diverge are data
    def follow(self, piece: Piece, x: Array, y: Array) -> None:
        """Follow the curves through a piece: time and metric at checkpoints, less being better."""
        trial, begins = piece.trial, piece.begins
        if self.goal.fraction is not None:
            first = np.flatnonzero(begins & np.isnan(self.last_x[trial]))
            own = trial[first]
            self.level[own] = y[first] - self.goal.fraction * (y[first] - self.least[own])
        hits = np.flatnonzero((y <= self.level[trial]) & np.isnan(self.time[trial]))
        hits = hits[np.diff(trial[hits], prepend=-1) != 0]
        before_x = np.where(begins[hits], self.last_x[trial[hits]], x[hits - 1])
        before_y = np.where(begins[hits], self._last_y[trial[hits]], y[hits - 1])
        self.time[trial[hits]] = self._when(trial[hits], (before_x, before_y), (x[hits], y[hits]))
        lasts = piece.lasts
        self.last_x[trial[lasts]], self._last_y[trial[lasts]] = x[lasts], y[lasts]

    def _when(self, trial: NDArray[np.int64], before: tuple[Array, Array], after: tuple[Array, Array]) -> Array:
        """Return when the level was reached between two checkpoints."""
        (x0, y0), (x1, y1) = before, after
        if not self.goal.interpolate:
            return x1
        level, least = self.level[trial], self.least[trial]
        with np.errstate(divide="ignore"):
            logarithmic = np.log((y0 - least) / (level - least)) / np.log((y0 - least) / (y1 - least))
            straight = (y0 - level) / (y0 - y1)
        positive = (y1 > least) & (level > least) & np.isfinite(y0)
        share = np.clip(np.where(positive, logarithmic, straight), 0.0, 1.0)
        # A trial that starts at its level is there at once; from an infinite loss nothing can be interpolated.
        return np.where(np.isnan(x0) | ~np.isfinite(y0) | np.isnan(share), x1, x0 + share * (x1 - x0))


def _least_of_trials(study: StoredStudy) -> Array:
    """Return the least known value of each trial's objective."""
    trials, configuration, identities = study.configurations
    by = study.objective
    own = [name for name in by if name in identities]
    keys = identities[own].astype({"problem": str}).iloc[configuration].reset_index(drop=True)
    keys = keys.assign(**{name: trials[name].to_numpy() for name in by if name not in own})
    known = minima(study)[[*by, "minimum"]].astype({"problem": str})
    codes = keys.groupby(by, sort=False, dropna=False).ngroup().to_numpy()
    first = np.unique(codes, return_index=True)[1]  # there may be millions of trials, and few objectives
    found = keys.iloc[first].merge(known, on=by, how="left")["minimum"].to_numpy(dtype=np.float64)
    return np.asarray(found[codes])


def _by_trial(study: StoredStudy, times: Times) -> pd.DataFrame:
    trials, configuration, identities = study.configurations
    about = with_methods(identities)[["problem", "method", *(["lr"] if "lr" in identities else [])]]
    table = about.iloc[configuration].reset_index(drop=True)
    keys = dict.fromkeys([*study.trial_key, *study.repeat_key, "status"])
    table = pd.concat([trials[list(keys)].reset_index(drop=True), table], axis=1)
    return table.assign(
        level=times.level, **{times.column: times.time}, reached=times.reached, censored_at=_ends(times)
    )


def _ends(times: Times) -> Array:
    return np.where(times.reached, np.nan, times.end)


def _by_configuration(study: StoredStudy, times: Times) -> pd.DataFrame:
    _, configuration, identities = study.configurations
    table = with_methods(identities).drop(columns="method")
    table.insert(1, "method", with_methods(identities)["method"])
    found = medians(times.censored, configuration, len(identities))
    columns: dict[str, Any] = {times.column: found[1]} | {f"{times.column}_{end}": found[k] for end, k in _ENDS.items()}
    reached = np.bincount(configuration, weights=times.reached, minlength=len(identities)).astype(np.int64)
    trials = np.bincount(configuration, minlength=len(identities))
    finite = {name: np.where(np.isfinite(values), values, np.nan) for name, values in columns.items()}
    table = table.assign(**finite, reached=reached, trials=trials)
    order = np.lexsort((-reached / np.maximum(trials, 1), found[1], pd.factorize(table["problem"])[0]))
    return table.iloc[order].reset_index(drop=True)


_ENDS = {"min": 0, "max": 2}


def medians(values: Array, group: NDArray[np.int64], groups: int) -> Array:
    """Return the least, the median and the largest of each group's values (3, groups), which may be infinite.

    Of an even number, the median is the mean of the middle two: infinite if one of them is.
    """
    found = np.full((3, groups), np.nan)
    order = np.lexsort((values, group))
    first = np.flatnonzero(np.diff(group[order], prepend=-1))
    count = np.diff(first, append=len(order))
    own = group[order[first]]
    lower, upper = values[order[first + (count - 1) // 2]], values[order[first + count // 2]]
    found[:, own] = values[order[first]], (lower + upper) / 2, values[order[first + count - 1]]
    return found
