"""The ranking of a study's configurations by their median trial, or by their mean over folds."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fastgd.analysis.criteria import Scores, scores_of, sign_of, starts_of
from fastgd.analysis.questions.ties import repeats_of, tied
from fastgd.analysis.questions.times import Goal, scores_of_times
from fastgd.analysis.selections import selected
from fastgd.analysis.stored_study import StoredStudy, with_methods
from fastgd.common.errors import InputError, nearest
from fastgd.store.schema import UNFINISHED

# The groups of trials in a ranking, the best first; see `Results.best`.
REACHED_TARGET, ENDED, UNKNOWN, DIVERGED = range(4)
# The columns that say how many trials a configuration has, and in what they differ.
REPEATS = ("seeds", "splits", "folds", "starts")
# Of so many trials it is not asked which configurations are tied.
MOST_TIED = 500_000
# The columns of configurations that say which problem they are on.
OF_PROBLEM = ("problem", "dataset", "loss", "landscape", "n", "d", "noise", "layout", "sparse")


def ranking(
    study: StoredStudy,
    by: str | Goal | None = None,
    at: str = "final",
    where: str | Sequence[str] = (),
    each: str | None = None,
) -> pd.DataFrame:
    """Rank the study's configurations: see `Results.best`."""
    table = ranked(study, scores_by(study, by, at), where)
    return table if each is None else best_of_each(table, each)


def scores_by(study: StoredStudy, by: str | Goal | None, at: str = "final") -> Scores:
    """Return what trials are judged by: a metric, or the time to a goal."""
    return scores_of_times(study, by) if isinstance(by, Goal) else scores_of(study, by, at)


def ranked(study: StoredStudy, scores: Scores, where: str | Sequence[str] = ()) -> pd.DataFrame:
    """Rank the study's configurations by scores of its trials."""
    trials, configuration, identities = study.configurations
    order_by = _sort_keys(trials, scores)
    if len(where):
        kept = selected(with_methods(identities), where)[configuration]
        trials, configuration, order_by = trials[kept], configuration[kept], order_by[kept]
    value, sign = scores.name, scores.sign
    # Sorted, the trials of one configuration are neighbours, and the middle one is their median.
    score, epochs, group = (order_by[name].to_numpy() for name in ("score", "epochs", "group"))
    # There may be millions of trials: keys that are the same for all of them would cost time for nothing.
    differing = [values for values in (epochs, group) if (values != values[:1]).any()]
    order = np.lexsort((score, *differing, configuration))
    first = np.flatnonzero(np.diff(configuration[order], prepend=-1))
    count = np.diff(first, append=len(order))
    middle, upper, last = order[first + (count - 1) // 2], order[first + count // 2], order[first + count - 1]
    unfinished = {name: (trials["status"] == name).to_numpy() for name in UNFINISHED}
    at, judged = (score[middle] + score[upper]) / 2, upper  # the one whose group is the configuration's
    of_folds = study.has_folds
    if of_folds:  # folds are compared by their means, as cross-validation is: the worst one decides the group
        at, judged = np.add.reduceat(score[order], first) / count if len(first) else np.zeros(0), last
    least = _extreme(np.fmin, score[order], first)
    most = np.where(group[last] == UNKNOWN, np.nan, _extreme(np.fmax, score[order], first))
    columns = {
        value: sign * at,
        **({f"{value}_std": _deviation(score[order], first, count, at)} if of_folds else {}),
        f"{value}_min": least if sign > 0 else -most,
        f"{value}_max": most if sign > 0 else -least,
        **_counts(study, trials, order, first, count),
        "diverged": _sums(group[order] == DIVERGED, first),
        **{name: _sums(own[order], first) for name, own in unfinished.items() if own.any()},
    }
    if (group == REACHED_TARGET).any():
        columns["target_epochs"] = np.where(
            group[judged] == REACHED_TARGET, (epochs[middle] + epochs[upper]) / 2, np.nan
        )
    columns |= {name: trials[name].to_numpy()[middle] for name in study.trial_key}
    table: pd.DataFrame = identities.iloc[configuration[middle]].assign(**columns)
    problem, reached = pd.factorize(table["problem"])[0], columns.get("target_epochs", np.zeros(len(table)))
    places = np.lexsort((table["diverged"], at, reached, group[judged], problem))
    table = table.iloc[places].reset_index(drop=True)
    table.insert(0, "rank", table.groupby("problem", sort=False).cumcount() + 1)
    numbers = configuration[middle][places]
    told = _tied(study, trials, configuration, order_by, numbers, table["rank"].to_numpy() == 1)
    table.insert(table.columns.tolist().index(f"{value}_max") + 1, "tied", told)
    return table


def best_of_each(ranking: pd.DataFrame, each: str) -> pd.DataFrame:
    """Return the best configuration of each value of a column, within each problem: see `Results.best`."""
    table = with_methods(ranking)
    if each not in table:
        raise InputError(f"configurations have no {each!r}; {nearest(each, table.columns)}")
    first = ~table.duplicated(["problem", each]).to_numpy()
    return ranking[first].reset_index(drop=True)


def winners(ranking: pd.DataFrame) -> pd.DataFrame:
    """Return the best configuration of each method on each problem, with the column `method`."""
    table = with_methods(ranking)
    table = table.assign(problem=table["problem"].astype(str))
    return table.drop_duplicates(["problem", "method"]).reset_index(drop=True)


def numbers_of(study: StoredStudy, ranking: pd.DataFrame) -> NDArray[np.int64]:
    """Return the number in `StoredStudy.configurations` of each row of a ranking."""
    trials, configuration, _ = study.configurations
    codes, names = pd.factorize(trials["trial_id"])
    first = np.flatnonzero(~pd.Series(codes).duplicated())
    places = pd.Index(list(map(str, names))).get_indexer(pd.Index(ranking["trial_id"].astype(str)))
    return configuration[first][places]


def over_problems(study: StoredStudy, ranking: pd.DataFrame, by: str | Goal | None, each: str | None) -> pd.DataFrame:
    """Return how configurations, or the best of each value of a column, rank over all problems: see `Results.best`."""
    value = value_of(ranking)
    table = with_methods(ranking)
    table = table.assign(problem=table["problem"].astype(str))
    keys = [each] if each else ["method", *(name for name in study.identity if name not in OF_PROBLEM)]
    lost = ranking["diverged"] > 0
    place = table.groupby("problem", sort=False).cumcount() + 1
    gap = None if isinstance(by, Goal) else normalised_gaps(study, ranking, by)
    table = table.assign(place=place, gap=gap, lost=lost)
    groups = table.groupby(keys, dropna=False, sort=False, observed=True)
    found: pd.DataFrame = groups.agg(
        problems=("problem", "nunique"),
        mean_rank=("place", "mean"),
        **({} if gap is None else {"mean_normalised_gap": ("gap", "mean")}),
        worst_rank=("place", "max"),
        diverged_on=("lost", "sum"),
    ).reset_index()
    found = found.sort_values(["problems", "mean_rank"], ascending=[False, True], kind="stable", ignore_index=True)
    found.insert(0, "rank", np.arange(1, len(found) + 1))
    found.attrs |= {"value": value, "problems": int(table["problem"].nunique())}
    return found


def normalised_gaps(study: StoredStudy, ranking: pd.DataFrame, by: str | None) -> NDArray[np.float64]:
    """Return how far each configuration stands from the best of its problem, 0, to the start, 1.

    What ends above the start, or diverges, counts as 1. NaN where the start was not measured.
    """
    value = ranking[value_of(ranking)].to_numpy(np.float64) * sign_of(value_of(ranking))
    problem = ranking["problem"].astype(str)
    best = pd.Series(value).groupby(problem.to_numpy()).transform("min").to_numpy()
    begin = problem.map(starts_of_problems(study, by)).to_numpy(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.clip((value - best) / (begin - best), 0.0, 1.0)
    return np.where(begin > best, share, np.nan)


def starts_of_problems(study: StoredStudy, by: str | None) -> dict[str, float]:
    """Return the median of the metric at the start of each problem's trials, times its sign."""
    _, configuration, identities = study.configurations
    problems = identities["problem"].astype(str).to_numpy()[configuration]
    values = pd.Series(starts_of(study, by)).groupby(problems).median()
    return {str(name): float(value) for name, value in values.items()}


def _tied(
    study: StoredStudy,
    trials: pd.DataFrame,
    configuration: NDArray[np.int64],
    order_by: pd.DataFrame,
    numbers: NDArray[np.int64],
    first: NDArray[np.bool_],
) -> Any:
    """Return which configurations of a ranking the repeats do not tell from the first of their problem.

    `numbers` are the configurations in the order of the ranking, `first` which of them are the first of a problem.
    """
    if len(trials) > MOST_TIED or not len(trials):
        return pd.array([None] * len(numbers), dtype="boolean")
    place = np.zeros(1 + int(configuration.max()), np.int64)
    place[numbers] = np.arange(len(numbers))
    best = np.flatnonzero(first)[np.cumsum(first) - 1]
    own = place[configuration]
    score, epochs, group = (order_by[name].to_numpy() for name in ("score", "epochs", "group"))
    reached = group == REACHED_TARGET
    # Where the best one reached the target, what counts is when: a trial that did not is infinitely late.
    late = np.where(group == UNKNOWN, np.nan, np.where(reached, epochs, np.inf))
    timed = (np.bincount(own, reached, len(numbers)) > np.bincount(own, minlength=len(numbers)) / 2)[best]
    repeat = repeats_of([trials[name].to_numpy() for name in study.repeat_key])
    found, known = tied(np.where(timed[own], late, score), own, repeat, best)
    return pd.arrays.BooleanArray(found, ~known)


def best_at_ends(study: StoredStudy, ranking: pd.DataFrame, hyper: str = "lr") -> pd.DataFrame:
    """Return the best configurations whose rate is the lowest or highest one tried: see `Results.best_at_ends`."""
    columns, value = [*ranking.columns, "end", "rates"], value_of(ranking)
    if hyper not in ranking or ranking.empty:
        return ranking.iloc[:0].reindex(columns=columns)
    alike = ranking[[name for name in study.identity if name != hyper]]
    alike = alike.astype(object).where(alike.notna(), None)
    winners = []
    for _, own in ranking.groupby(["problem", "optimizer", "variant"], dropna=False, sort=False, observed=True):
        best, others = own.iloc[0], alike.loc[own.index].to_numpy()
        rates = own[hyper][(others == others[0]).all(axis=1)].dropna()
        end = {rates.min(): "lowest", rates.max(): "highest"}.get(best[hyper])
        if rates.nunique() > 1 and end and np.isfinite(best[value]):
            winners.append({**best, "end": end, "rates": rates.nunique()})
    return pd.DataFrame(winners, columns=columns)


def _counts(
    study: StoredStudy,
    trials: pd.DataFrame,
    order: NDArray[np.int64],
    first: NDArray[np.int64],
    count: NDArray[np.int64],
) -> dict[str, NDArray[Any]]:
    """Return how many seeds each configuration has, and how many splits or starts, where a study has several."""
    if not study.on_landscapes:
        return _seeds_and_splits(trials, order, first, count)
    if trials["seed"].nunique() <= 1:  # there may be millions of trials: counting is not needed
        return {"seeds": np.minimum(count, 1), "starts": count}
    own = trials.iloc[order].groupby(np.repeat(np.arange(len(first)), count))
    return {"seeds": own["seed"].nunique().to_numpy(), "starts": own["start"].nunique().to_numpy()}


def _seeds_and_splits(
    trials: pd.DataFrame, order: NDArray[np.int64], first: NDArray[np.int64], count: NDArray[np.int64]
) -> dict[str, NDArray[Any]]:
    if trials["split_seed"].nunique() <= 1:
        return {"seeds": count}
    own = trials.iloc[order].groupby(np.repeat(np.arange(len(first)), count))
    splits = "folds" if trials["fold"].notna().any() else "splits"
    return {"seeds": own["seed"].nunique().to_numpy(), splits: own["split_seed"].nunique().to_numpy()}


def _sort_keys(trials: pd.DataFrame, scores: Scores) -> pd.DataFrame:
    """Return the sort keys of trials in a ranking: group, then epochs, then score; see `Results.best`."""
    score, lost, unknown = scores.values, scores.lost, scores.unknown & ~scores.lost
    reached = (trials["status"] == "target").to_numpy() & scores.is_loss & ~lost
    group = np.select([lost, reached, unknown], [DIVERGED, REACHED_TARGET, UNKNOWN], ENDED)
    epochs = np.where(reached, trials["epochs"].to_numpy(dtype=np.float64), 0.0) if reached.any() else 0.0
    return pd.DataFrame({"group": group.astype(np.int8), "epochs": epochs, "score": score})


def _extreme(of: np.ufunc, values: NDArray[np.float64], first: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.asarray(of.reduceat(values, first) if len(first) else np.zeros(0))


def _deviation(
    score: NDArray[np.float64], first: NDArray[np.int64], count: NDArray[np.int64], mean: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the standard deviation of each configuration's scores about their mean; NaN where that is infinite."""
    if not len(first):
        return np.zeros(0)
    with np.errstate(invalid="ignore"):
        squares = np.add.reduceat(np.square(score - np.repeat(mean, count)), first)
    return np.asarray(np.where(np.isfinite(mean), np.sqrt(squares / count), np.nan))


def _sums(values: NDArray[np.bool_], first: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.asarray(np.add.reduceat(values.astype(np.int64), first) if len(first) else np.zeros(0, np.int64))


def spread_of(ranking: pd.DataFrame) -> str:
    """Return the column of a ranking of folds that has the deviation over these."""
    return f"{value_of(ranking)}_std"


def value_of(ranking: pd.DataFrame) -> str:
    """Return the column by which a ranking is ordered."""
    return next(name for name in map(str, ranking.columns) if f"{name}_min" in ranking)
