"""The least value that is known of each objective of a study: where gaps are measured from."""

import numpy as np
import pandas as pd

from fastgd.analysis.minima.certified import key_of, least_seen, rounding_of_trials
from fastgd.analysis.stored_study import StoredStudy
from fastgd.store.optima import OptimumInfo

BEST_SEEN, CERTIFIED, CONTRADICTED, KNOWN = "best seen", "certified", "contradicted", "known"


def minima(study: StoredStudy) -> pd.DataFrame:
    """Return the least known value of each objective: see `Results.minima`."""
    table = least_seen(study).assign(error=float("nan"), source=BEST_SEEN)
    if study.on_landscapes:
        return _with_known(study, table)
    dtype = str(study.study.get("dtype", "float64"))
    stored = {key_of(info, study.objective): info for info in study.stored_optima if info.bound is not None}
    rows = []
    for row in table.to_dict("records"):
        info = stored.get(tuple(row[name] for name in study.objective))
        found = (row["minimum"], row["error"], row["source"])
        rows.append(found if info is None else _certified(info, float(row["minimum"]), dtype))
    minimum, error, source = zip(*rows, strict=True) if rows else ((), (), ())
    return table.assign(
        minimum=np.array(minimum, dtype=np.float64), error=np.array(error, dtype=np.float64), source=source
    )


def _certified(info: OptimumInfo, best_seen: float, dtype: str) -> tuple[float, float, str]:
    """Return the minimum of an objective, its error and its source, from a solve and from what trials saw."""
    assert info.error is not None
    if not best_seen < info.minimum:
        return info.minimum, info.error, CERTIFIED
    rounding = rounding_of_trials(info, dtype)
    lowest = info.minimum - info.error
    if best_seen < lowest - rounding:
        return best_seen, float("nan"), CONTRADICTED
    return best_seen, max(best_seen - lowest, rounding), CERTIFIED


def _with_known(study: StoredStudy, table: pd.DataFrame) -> pd.DataFrame:
    """Return the minima of landscapes, with the known ones that stored surfaces name and that no trial undercuts."""
    known = {info.problem: min(info.values) for info in study.surface_infos if info.landscape and info.values}
    lower = np.array([known.get(str(name), np.inf) for name in table["problem"]])
    is_known = lower <= table["minimum"].to_numpy(dtype=np.float64)
    return table.assign(
        minimum=np.where(is_known, lower, table["minimum"]), source=np.where(is_known, KNOWN, table["source"])
    )


def over_splits(minima: pd.DataFrame) -> pd.DataFrame:
    """Return minima, of which that of a problem and penalty is the least one over all splits of the rows."""
    if "split_seed" not in minima:
        return minima
    least = minima.sort_values("minimum", kind="stable").drop_duplicates(["problem", "l2"]).sort_index()
    return least.drop(columns="split_seed").reset_index(drop=True)
