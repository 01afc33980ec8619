"""Mean ranks of methods, and how far apart they must be to mean something: Friedman's test, Nemenyi's distance."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fastgd.analysis.questions.ranking import numbers_of, ranked, scores_by, winners
from fastgd.analysis.questions.ties import repeats_of
from fastgd.analysis.questions.times import Goal
from fastgd.analysis.stored_study import StoredStudy
from fastgd.common.errors import InputError, nearest

Array = NDArray[np.float64]
BLOCKS = ("problem", "repeat")


def ranks(
    study: StoredStudy,
    by: str | Goal | None = None,
    at: str = "final",
    blocks: str | None = None,
    alpha: float = 0.05,
) -> pd.DataFrame:
    """Return the mean ranks of methods: see `Results.ranks`."""
    if blocks is not None and blocks not in BLOCKS:
        raise InputError(f"ranks cannot be taken in each {blocks!r}; {nearest(blocks, BLOCKS)}")
    if not 0 < alpha < 1:
        raise InputError(f"alpha must be between 0 and 1, found {alpha:g}")
    scores = scores_by(study, by, at)
    rows = trials_of_methods(study, winners(ranked(study, scores)), scores.values)
    blocks = blocks or ("problem" if rows["problem"].nunique() > 1 else "repeat")
    values = in_blocks(rows, ["problem"] if blocks == "problem" else ["problem", "repeat"])
    complete = values.dropna()
    if complete.empty or complete.shape[1] < 2:
        raise InputError(
            f"ranks compare at least two methods in one {blocks}: {values.shape[1]} methods, and {len(complete)} of "
            f"{len(values)} {blocks}s where all of them ended"
        )
    table = _table(complete, alpha)
    table.attrs |= {"blocks": blocks, "value": scores.name, "left_out": len(values) - len(complete)}
    return table


def trials_of_methods(study: StoredStudy, best: pd.DataFrame, values: Array) -> pd.DataFrame:
    """Return the trials of the best configurations of methods: problem, method, repeat and value."""
    trials, configuration, identities = study.configurations
    number, place = numbers_of(study, best), np.full(len(identities), -1)
    place[number] = np.arange(len(number))
    rows = np.flatnonzero(place[configuration] >= 0)
    own = place[configuration[rows]]
    names = {name: best[name].astype(str).to_numpy()[own] for name in ("problem", "method")}
    repeat = repeats_of([trials[name].to_numpy()[rows] for name in study.repeat_key])
    return pd.DataFrame({**names, "repeat": repeat, "value": values[rows]})


def in_blocks(rows: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Return the median of each method, a column, in each block, a row; NaN where a trial's end is not known."""

    def median(values: "pd.Series[float]") -> float:
        return float(np.median(values))

    if by == ["problem", "repeat"] and not rows.duplicated([*by, "method"]).any():
        return rows.set_index([*by, "method"])["value"].unstack("method")
    return rows.groupby([*by, "method"], sort=False)["value"].agg(median).unstack("method")


def _table(values: pd.DataFrame, alpha: float) -> pd.DataFrame:
    ranked_values = values.rank(axis=1, method="average")
    count, methods = ranked_values.shape
    distance = nemenyi(methods, count, alpha)
    mean = ranked_values.mean().sort_values(kind="stable")
    table = pd.DataFrame({"method": mean.index.astype(str), "mean_rank": mean.to_numpy()})
    table["first"] = (ranked_values[mean.index] == ranked_values.min(axis=1).to_numpy()[:, None]).sum().to_numpy()
    table["tied"] = table["mean_rank"] - table["mean_rank"].min() < distance
    statistic, p_value = friedman(ranked_values.to_numpy())
    table.attrs |= {"alpha": alpha, "count": count, "critical_difference": distance}
    table.attrs |= {"friedman": statistic, "p_value": p_value}
    return table


def nemenyi(methods: int, blocks: int, alpha: float = 0.05) -> float:
    """Return by how much two mean ranks must differ: `q sqrt(k (k + 1) / (6 N))` (Demsar 2006, JMLR 7, section 3.2.2).

    q is the Studentized range of k methods with infinitely many degrees of freedom, divided by `sqrt(2)`.
    """
    from scipy.stats import studentized_range

    q = float(studentized_range.ppf(1 - alpha, methods, np.inf)) / np.sqrt(2)
    return float(q * np.sqrt(methods * (methods + 1) / (6 * blocks)))


def friedman(ranks: Array) -> tuple[float, float]:
    """Return Friedman's statistic, corrected for ties, and its p-value; NaN for two methods, or one block."""
    if ranks.shape[1] < 3 or len(ranks) < 2:
        return np.nan, np.nan
    if (ranks == ranks[:, :1]).all():
        return 0.0, 1.0
    from scipy.stats import friedmanchisquare

    found = friedmanchisquare(*ranks.T)
    return float(found.statistic), float(found.pvalue)
