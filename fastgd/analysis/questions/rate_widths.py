"""How much the right rate matters: the best one, how wide the range about it is, and what moves it."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fastgd.analysis.criteria import scores_of, sign_of
from fastgd.analysis.questions.ranking import OF_PROBLEM, best_at_ends, ranked, starts_of_problems, value_of
from fastgd.analysis.stored_study import StoredStudy, with_methods
from fastgd.common.errors import InputError, nearest

Array = NDArray[np.float64]
_OF_METHOD = ["problem", "method"]


def sensitivity(
    study: StoredStudy, hyper: str = "lr", within: float = 0.1, by: str | None = None, at: str = "final"
) -> pd.DataFrame:
    """Return how much a hyper-parameter matters to each method: see `Results.sensitivity`."""
    if not 0 <= within < 1:
        raise InputError(f"within must be at least 0 and below 1, found {within:g}")
    ranking, start = _ranking(study, hyper, by, at), starts_of_problems(study, by)
    edges = with_methods(best_at_ends(study, ranking, hyper))
    ends = {(str(row["problem"]), str(row["method"])): row["end"] for row in edges.to_dict("records")}
    moves = _strongest(_interactions(study, ranking, hyper))
    rows = []
    for (problem, method), own in ranking.groupby(_OF_METHOD, sort=False):
        if own[hyper].notna().any():
            key = (str(problem), str(method))
            width = _width(study, own, hyper, within, start.get(key[0], np.nan))
            about = {"end": ends.get(key, ""), **moves.get(key, _STILL)}
            rows.append({"problem": key[0], "method": key[1], **width, **about})
    if not rows:
        raise InputError(f"no configuration has a {hyper}: there is nothing to compare")
    table = pd.DataFrame(rows)
    table.attrs |= {"hyper": hyper, "within": within, "value": value_of(ranking)}
    return table


_STILL = {"moves_with": "", "moves_by_decades": 0.0}


def interactions(study: StoredStudy, hyper: str = "lr", by: str | None = None, at: str = "final") -> pd.DataFrame:
    """Return the best value of a hyper-parameter for each value of each other setting: see `Results.interactions`."""
    return _interactions(study, _ranking(study, hyper, by, at), hyper)


def _ranking(study: StoredStudy, hyper: str, by: str | None, at: str) -> pd.DataFrame:
    numeric = [name for name in study.identity if name in (*study.hyper, "batch_size", "l2")]
    if hyper not in numeric:
        raise InputError(f"configurations have no numeric {hyper!r}; {nearest(hyper, numeric)}")
    ranking = with_methods(ranked(study, scores_of(study, by, at)))
    return ranking.assign(problem=ranking["problem"].astype(str))


def _width(study: StoredStudy, own: pd.DataFrame, hyper: str, within: float, start: float) -> dict[str, Any]:
    """Return the best value, and the range about it that is nearly as good, all other settings being the same."""
    value = value_of(own)
    others = [name for name in study.identity if name != hyper]
    best = own[own[hyper].notna()].iloc[0]
    known = own[others].astype(object).where(own[others].notna(), None).to_numpy()
    mine = known[own.index.get_loc(best.name)]
    alike = own[(known == mine).all(axis=1)].sort_values(hyper)
    x, y = alike[hyper].to_numpy(np.float64), sign_of(value) * alike[value].to_numpy(np.float64)
    place = int(np.flatnonzero(x == best[hyper])[0])
    # where even the best one is lost, there is no range
    bound = y[place] + within * (start - y[place]) if np.isfinite(y[place]) else np.nan
    low, high = _range(y, place, bound)
    return {
        hyper: best[hyper],
        value: best[value],
        "low": x[low] if low is not None else np.nan,
        "high": x[high] if high is not None else np.nan,
        "decades": np.log10(x[high] / x[low]) if low is not None and high is not None and x[low] > 0 else np.nan,
        "values": len(x),
    }


def _range(y: Array, place: int, bound: float) -> tuple[int | None, int | None]:
    """Return the ends of the values about a place that are at most `bound`; None if the place itself is not."""
    good = y <= bound
    if not good[place]:
        return None, None
    bad = np.flatnonzero(~good)
    return int(bad[bad < place].max(initial=-1)) + 1, int(bad[bad > place].min(initial=len(y))) - 1


def _interactions(study: StoredStudy, ranking: pd.DataFrame, hyper: str) -> pd.DataFrame:
    """Return the best value of a hyper-parameter at each value of each other setting; see `interactions`."""
    value, tables = value_of(ranking), []
    good = ranking[ranking[hyper].notna() & np.isfinite(ranking[value])]
    others = [name for name in study.identity if name not in (hyper, *OF_PROBLEM)]
    for other in others:
        first = good.drop_duplicates([*_OF_METHOD, other])
        several = first.groupby(_OF_METHOD, sort=False)[other].transform("nunique") > 1
        own = first[several & first[other].notna()]
        if len(own):
            table = own[[*_OF_METHOD, other, hyper, value]].rename(columns={other: "setting_value"})
            table.insert(2, "setting", other)
            tables.append(table.astype({"setting_value": object}))
    columns = [*_OF_METHOD, "setting", "setting_value", hyper, value]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)


def _strongest(table: pd.DataFrame) -> dict[tuple[str, str], dict[str, Any]]:
    """Return for each problem and method the setting with which its best value moves most, and by how many decades."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    hyper = table.columns[4]
    for (problem, method, setting), own in table.groupby([*_OF_METHOD, "setting"], sort=False):
        values = own[hyper].to_numpy(np.float64)
        decades = float(np.log10(values.max() / values.min())) if values.min() > 0 else np.nan
        key = (str(problem), str(method))
        if decades > found.get(key, {"moves_by_decades": 0.0})["moves_by_decades"]:
            found[key] = {"moves_with": str(setting), "moves_by_decades": decades}
    return found
