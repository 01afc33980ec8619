"""Which configurations and trials of a study a page holds: all of them, or of many an equal share of each optimizer."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.compute as pc
from numpy.typing import NDArray

from fastgd.analysis import Results
from fastgd.common.errors import InputError
from fastgd.plots.readings import ranking_of

MOST_CONFIGURATIONS = 40_000
MOST_TRIALS = 20_000
MOST_STARTS = 40  # of a configuration on a landscape, where there are more trials than a page holds


@dataclass(frozen=True)
class Selection:
    """What a page shows of a study.

    Parameters
    ----------
    results : Results
        The study.
    ranking : pandas.DataFrame
        All configurations, as `Results.best` ranks them, with `method`.
    shown : ndarray of shape (configurations,)
        The positions in the ranking of the configurations that the page holds.
    rows : ndarray of shape (trials,)
        The positions of its trials among those in the study.
    owners : ndarray of shape (trials,)
        The configuration of each of these trials, as its position in `shown`.
    all_trials : int
        How many trials the study has.
    """

    results: Results
    ranking: pd.DataFrame
    shown: NDArray[np.int64]
    rows: NDArray[np.int64]
    owners: NDArray[np.int64]
    all_trials: int

    @property
    def configurations(self) -> pd.DataFrame:
        """The configurations that the page holds, the best first within each problem."""
        return self.ranking.iloc[self.shown].reset_index(drop=True)

    def column(self, name: str) -> "pd.Series[Any]":
        """Return a column of the trials that the page holds; one column at a time is read, since trials may be many."""
        table = self.results.table("trials", columns=[name], filter=pc.field("in_study"))
        found: pd.Series[Any] = table.take(self.rows).to_pandas()[name]
        return found


def select(results: Results) -> Selection:
    """Choose what a page shows.

    Raises
    ------
    InputError
        No trial of the study is there yet.
    """
    ranking = ranking_of(results, None, "final")
    if ranking.empty:
        raise InputError(f"{results.path} holds no trials of its study yet: there is nothing to report")
    places = _places(results, ranking)
    shown = np.flatnonzero(_first_of_groups(ranking, MOST_CONFIGURATIONS))
    position = np.full(len(ranking), -1, dtype=np.int64)
    position[shown] = np.arange(len(shown))
    owners = position[places]
    rows = np.flatnonzero(owners >= 0)
    if len(rows) > MOST_TRIALS:
        rows = _of_many(rows, owners, ranking.iloc[shown])
    return Selection(results, ranking, shown, rows, owners[rows], len(places))


def _places(results: Results, ranking: pd.DataFrame) -> NDArray[np.int64]:
    """Return for each trial in the study the position of its configuration in the ranking."""
    trials, codes, _ = results.configurations
    # Every configuration has the trial at its median in the ranking; on landscapes, starts share its name.
    first = ~trials["trial_id"].duplicated().to_numpy()
    code_of = pd.Series(codes[first], index=trials["trial_id"][first].astype(str))
    places = np.zeros(len(ranking), dtype=np.int64)
    places[code_of[ranking["trial_id"].astype(str)].to_numpy()] = np.arange(len(ranking))
    return places[codes]


def _first_of_groups(ranking: pd.DataFrame, most: int) -> NDArray[np.bool_]:
    """Return which configurations are the best of their problem and optimizer, an equal share of each."""
    groups = ranking.groupby(["problem", "method"], sort=False)
    share = most // max(1, groups.ngroups) if len(ranking) > most else len(ranking)
    chosen: NDArray[np.bool_] = (groups.cumcount() < max(1, share)).to_numpy()
    return chosen


def _of_many(rows: NDArray[np.int64], owners: NDArray[np.int64], shown: pd.DataFrame) -> NDArray[np.int64]:
    """Return some trials of many: those of the best configurations of each problem and optimizer, of each some."""
    mine = owners[rows]
    order = np.lexsort((rows, mine))
    sorted_owners = mine[order]
    first = np.flatnonzero(np.diff(sorted_owners, prepend=-1))
    count = np.diff(first, append=len(order))
    within = np.arange(len(order)) - np.repeat(first, count)
    each = np.minimum(count, MOST_STARTS)
    # Evenly spaced among the starts or seeds of a configuration, which are in the order of their numbers.
    few, all_of = np.repeat(each, count), np.repeat(count, count)
    kept = order[(within + 1) * few // all_of > within * few // all_of]
    group = shown.groupby(["problem", "method"], sort=False).ngroup().to_numpy()[mine[kept]]
    place = pd.Series(group).groupby(group).cumcount().to_numpy()
    share = max(1, MOST_TRIALS // len(np.unique(group)))
    return np.sort(rows[kept[place < share]])
