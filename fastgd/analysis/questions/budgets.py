"""What a search of k random configurations is expected to find: exact order statistics of the stored grid."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fastgd.analysis.criteria import scores_of, starts_of
from fastgd.analysis.questions.times import medians
from fastgd.analysis.stored_study import StoredStudy, with_methods
from fastgd.common.errors import InputError

Array = NDArray[np.float64]
MOST_POINTS = 200  # sizes of a search: of more, some that are equally far apart in the logarithm


def budget(
    study: StoredStudy,
    by: str | None = None,
    at: str = "final",
    interval: float = 0.9,
    replacement: bool = True,
) -> pd.DataFrame:
    """Return the expected best of k random configurations of each method: see `Results.budget`."""
    if not 0 < interval < 1:
        raise InputError(f"interval must be between 0 and 1, found {interval:g}")
    scores, start = scores_of(study, by, at), starts_of(study, by)
    _, configuration, identities = study.configurations
    # Whoever tries a configuration that ends above its start, or diverges, still has the start.
    values = np.where(scores.unknown, np.nan, np.fmin(scores.values, np.where(np.isnan(start), np.inf, start)))
    own = _own(study, values, configuration, len(identities))
    table = with_methods(identities).reset_index(drop=True)
    if np.isinf(own).any():
        lost = table["method"][int(np.flatnonzero(np.isinf(own))[0])]
        raise InputError(f"a configuration of {lost} diverged, and the start of its trials has no {scores.name}")
    known = ~np.isnan(own)
    table = table.assign(problem=table["problem"].astype(str), value=own)[known]
    found = [
        _expected(str(problem), str(method), group["value"].to_numpy(), scores.sign, scores.name, interval, replacement)
        for (problem, method), group in table.groupby(["problem", "method"], sort=False)
    ]
    result = pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=["problem", "method", "trials"])
    result.attrs |= {
        "value": scores.name,
        "interval": interval,
        "replacement": replacement,
        "unknown": int((~known).sum()),
    }
    return result


def _own(study: StoredStudy, values: Array, configuration: NDArray[np.int64], count: int) -> Array:
    """Return what each configuration counts: the median of its trials, or over folds their mean, as it is ranked."""
    if not study.has_folds:
        return np.asarray(medians(values, configuration, count)[1], dtype=np.float64)
    sizes = np.bincount(configuration, minlength=count)
    return np.asarray(np.bincount(configuration, weights=values, minlength=count) / np.maximum(sizes, 1))


def _expected(
    problem: str, method: str, values: Array, sign: float, name: str, interval: float, replacement: bool
) -> pd.DataFrame:
    """Return the expected best of k configurations, for k from 1 to all of them."""
    values = np.sort(values)
    sizes = _sizes(len(values))
    chances = np.array([least_probabilities(len(values), int(k), replacement) for k in sizes])
    cumulative = np.cumsum(chances, axis=1)
    tails = ((1 - interval) / 2, 0.5, (1 + interval) / 2)
    # A rounding error must not make the last value's probability less than the tail that is asked for.
    places = [np.minimum((cumulative < tail - 1e-12).sum(axis=1), len(values) - 1) for tail in tails]
    low, median, high = (sign * values[place] for place in places)
    low, high = (low, high) if sign > 0 else (high, low)
    columns = {f"expected_{name}": sign * (chances @ values), "low": low, "median": median, "high": high}
    return pd.DataFrame(
        {"problem": problem, "method": method, "trials": sizes, **columns, "configurations": len(values)}
    )


def _sizes(count: int) -> NDArray[np.int64]:
    if count <= MOST_POINTS:
        return np.arange(1, count + 1)
    return np.unique(np.geomspace(1, count, MOST_POINTS).round().astype(np.int64))


def least_probabilities(count: int, k: int, replacement: bool) -> Array:
    """Return the probability that each of `count` sorted values is the least of k random ones.

    With replacement, the least one is beyond the first i with probability `((n - i) / n)^k` (Dodge et al. 2019, section
    3, as the best of k draws from the empirical distribution); without, with `C(n - i, k) / C(n, k)`.
    """
    rest = count - np.arange(count + 1)
    if replacement:
        beyond = (rest / count) ** k
    else:
        factorials = np.cumsum(np.log(np.maximum(np.arange(count + 1), 1)))  # their logarithms
        ways = factorials[rest] - factorials[np.maximum(rest - k, 0)] - factorials[count] + factorials[count - k]
        beyond = np.where(rest >= k, np.exp(ways), 0.0)
    return np.asarray(-np.diff(beyond), dtype=np.float64)
