"""The ranking of a study's configurations by their median trial."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fastgd.analysis.stored_study import StoredStudy
from fastgd.common.errors import InputError, nearest

AT = ("final", "best")
# Trials with these statuses rank behind all others, since their last loss says nothing.
LOST = ("diverged", "failed")
# The groups of trials in a ranking, the best first; see `Results.best`.
REACHED_TARGET, ENDED, UNKNOWN, DIVERGED = range(4)


def ranking(study: StoredStudy, by: str | None = None, at: str = "final") -> pd.DataFrame:
    """Rank the study's configurations: see `Results.best`."""
    if at not in AT:
        raise InputError(f"results cannot be ranked at {at!r}; {nearest(at, AT)}")
    value = f"{at}_{study.metric(by)}"
    trials, configuration, identities = study.configurations
    order_by = _sort_keys(trials, value)
    # Sorted, the trials of one configuration are neighbours, and the middle one is their median.
    score, epochs, group = (order_by[name].to_numpy() for name in ("score", "epochs", "group"))
    # There may be millions of trials: keys that are the same for all of them would cost time for nothing.
    differing = [values for values in (epochs, group) if (values != values[:1]).any()]
    order = np.lexsort((score, *differing, configuration))
    first = np.flatnonzero(np.diff(configuration[order], prepend=-1))
    count = np.diff(first, append=len(order))
    middle, upper, last = order[first + (count - 1) // 2], order[first + count // 2], order[first + count - 1]
    own = (trials["status"] == "timeout").to_numpy()
    columns = {
        value: (score[middle] + score[upper]) / 2,
        f"{value}_min": _extreme(np.fmin, score[order], first),
        f"{value}_max": np.where(group[last] == UNKNOWN, np.nan, _extreme(np.fmax, score[order], first)),
        **_counts(study, trials, order, first, count),
        "diverged": _sums(group[order] == DIVERGED, first),
        **({"timeout": _sums(own[order], first)} if own.any() else {}),
    }
    if (group == REACHED_TARGET).any():
        columns["target_epochs"] = np.where(
            group[upper] == REACHED_TARGET, (epochs[middle] + epochs[upper]) / 2, np.nan
        )
    columns |= {name: trials[name].to_numpy()[middle] for name in study.trial_key}
    table: pd.DataFrame = identities.iloc[configuration[middle]].assign(**columns)
    problem, reached = pd.factorize(table["problem"])[0], columns.get("target_epochs", np.zeros(len(table)))
    keys = (table["diverged"], table[value], reached, group[upper], problem)
    table = table.iloc[np.lexsort(keys)].reset_index(drop=True)
    table.insert(0, "rank", table.groupby("problem", sort=False).cumcount() + 1)
    return table


def best_at_ends(study: StoredStudy, ranking: pd.DataFrame) -> pd.DataFrame:
    """Return the best configurations whose rate is the lowest or highest one tried: see `Results.best_at_ends`."""
    columns, value = [*ranking.columns, "end", "rates"], value_of(ranking)
    if "lr" not in ranking or ranking.empty:
        return ranking.iloc[:0].reindex(columns=columns)
    alike = ranking[[name for name in study.identity if name != "lr"]]
    alike = alike.astype(object).where(alike.notna(), None)
    winners = []
    for _, own in ranking.groupby(["problem", "optimizer", "variant"], dropna=False, sort=False, observed=True):
        best, others = own.iloc[0], alike.loc[own.index]
        rates = own["lr"][[row == others.values[0].tolist() for row in others.values.tolist()]].dropna()
        end = {rates.min(): "lowest", rates.max(): "highest"}.get(best["lr"])
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
    return {"seeds": own["seed"].nunique().to_numpy(), "splits": own["split_seed"].nunique().to_numpy()}


def _sort_keys(trials: pd.DataFrame, value: str) -> pd.DataFrame:
    """Return the sort keys of trials in a ranking: group, then epochs, then score; see `Results.best`."""
    status = trials["status"]
    score = trials[value].to_numpy(dtype=np.float64, copy=True)
    lost, reached = status.isin(LOST).to_numpy(), (status == "target").to_numpy()
    unknown = ((status == "timeout").to_numpy() | np.isnan(score)) & ~lost
    score[lost], score[unknown] = np.inf, np.nan
    group = np.select([lost, reached, unknown], [DIVERGED, REACHED_TARGET, UNKNOWN], ENDED)
    epochs = np.where(reached, trials["epochs"].to_numpy(dtype=np.float64), 0.0) if reached.any() else 0.0
    return pd.DataFrame({"group": group.astype(np.int8), "epochs": epochs, "score": score})


def _extreme(of: np.ufunc, values: NDArray[np.float64], first: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.asarray(of.reduceat(values, first) if len(first) else np.zeros(0))


def _sums(values: NDArray[np.bool_], first: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.asarray(np.add.reduceat(values.astype(np.int64), first) if len(first) else np.zeros(0, np.int64))


def value_of(ranking: pd.DataFrame) -> str:
    """Return the column by which a ranking is ordered."""
    return next(name for name in map(str, ranking.columns) if f"{name}_min" in ranking)
