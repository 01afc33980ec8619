"""Which share of a study's problems methods solve, and how fast: performance and data profiles, and distributions."""

import numpy as np
import pandas as pd

from fastgd.analysis.curve_pieces import Array
from fastgd.analysis.questions.method_ranks import in_blocks, trials_of_methods
from fastgd.analysis.questions.ranking import ranked, winners
from fastgd.analysis.questions.times import Goal, scores_of_times, times_of
from fastgd.analysis.stored_study import StoredStudy, with_methods
from fastgd.common.errors import InputError, nearest

KINDS = ("performance", "data")
OF = ("best", "all")


def profiles(study: StoredStudy, goal: Goal, kind: str = "performance") -> pd.DataFrame:
    """Return performance or data profiles of methods: see `Results.profiles`."""
    if kind not in KINDS:
        raise InputError(f"there are no {kind!r} profiles; {nearest(kind, KINDS)}")
    scores = scores_of_times(study, goal)
    late = np.where(scores.unknown, np.inf, scores.values)
    rows = trials_of_methods(study, winners(ranked(study, scores)), late)
    times = in_blocks(rows, ["problem", "repeat"])
    complete = times.dropna()
    if complete.empty:
        raise InputError("no problem and seed has trials of all methods: there is nothing to compare")
    axis, costs, least = ("ratio", _ratios(complete), 1.0) if kind == "performance" else (scores.name, complete, 0.0)
    table = pd.concat([_steps(str(name), costs[name].to_numpy(), axis, least) for name in costs], ignore_index=True)
    table.attrs |= {"goal": goal.words, "unit": scores.name, "kind": kind, "instances": len(complete)}
    table.attrs |= {"left_out": len(times) - len(complete), "solved": int(np.isfinite(complete).any(axis=1).sum())}
    return table


def ecdf(study: StoredStudy, goal: Goal, of: str = "best") -> pd.DataFrame:
    """Return which share of each method's trials has reached a goal, over time: see `Results.ecdf`."""
    if of not in OF:
        raise InputError(f"there is no distribution of {of!r} trials; {nearest(of, OF)}")
    if of == "best":
        scores = scores_of_times(study, goal)
        rows, column = trials_of_methods(study, winners(ranked(study, scores)), scores.values), scores.name
    else:
        times = times_of(study, goal)
        _, configuration, identities = study.configurations
        names = with_methods(identities)["method"].to_numpy()[configuration]
        rows, column = pd.DataFrame({"method": names, "value": times.censored}), times.column
    values = rows["value"].fillna(np.inf)
    groups = values.groupby(rows["method"].astype(str), sort=False)
    tables = [_steps(str(name), own.to_numpy(), column) for name, own in groups]
    table = (
        pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=["method", column, "share", "trials"])
    )
    table.attrs |= {"goal": goal.words, "unit": column, "of": of}
    return table


def _ratios(times: pd.DataFrame) -> pd.DataFrame:
    """Return each time as a multiple of the least of its row: 1 is the fastest; infinite where the goal was missed."""
    values = times.to_numpy(dtype=np.float64)
    least = values.min(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = np.where(np.isinf(values), np.inf, np.where(values == least, 1.0, values / least))
    return pd.DataFrame(ratios, index=times.index, columns=times.columns)


def _steps(method: str, costs: Array, axis: str, least: float = 0.0) -> pd.DataFrame:
    """Return the steps of the share of costs that are at most x: a row where it rises, and one at the least x."""
    finite, counts = np.unique(costs[np.isfinite(costs)], return_counts=True)
    x, share = finite, np.cumsum(counts) / len(costs)
    if not len(x) or x[0] > least:
        x, share = np.r_[least, x], np.r_[0.0, share]
    return pd.DataFrame({"method": method, axis: x, "share": share, "trials": len(costs)})
