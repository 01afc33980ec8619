"""Two configurations or methods under common random numbers: paired differences, and whether they tell them apart."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fastgd.analysis.criteria import Scores, sign_of
from fastgd.analysis.questions.ranking import OF_PROBLEM, numbers_of, ranked, scores_by, starts_of_problems, value_of
from fastgd.analysis.questions.ties import CONFIDENCE, half_widths, repeats_of, verdicts
from fastgd.analysis.questions.times import Goal
from fastgd.analysis.stored_study import StoredStudy, with_methods
from fastgd.common.errors import InputError, nearest

Array = NDArray[np.float64]
ALL = "all problems"
FEWEST_BOOTSTRAPPED = 5  # pairs: fewer leave the bootstrap's interval too narrow, since it cannot leave their range
FEWEST_TESTED = 6  # pairs: with fewer no signed-rank test can have p < 0.05
RESAMPLES = 9999


def compare(
    study: StoredStudy, a: str, b: str, by: str | Goal | None = None, at: str = "final", seed: int = 0
) -> pd.DataFrame:
    """Return the paired differences of two configurations or methods: see `Results.compare`."""
    scores = scores_by(study, by, at)
    ranking = ranked(study, scores)
    ranking = ranking.assign(problem=ranking["problem"].astype(str), number=numbers_of(study, ranking))
    own, other = (_on_problems(study, ranking, name) for name in (a, b))
    problems = [name for name in own if name in other]
    if not problems:
        where = [", ".join(found) for found in (own, other)]
        raise InputError(f"{a} and {b} have no problem in common: {a} ran on {where[0]}, and {b} on {where[1]}")
    if all(own[name]["number"] == other[name]["number"] for name in problems):
        raise InputError(f"{a} and {b} are the same configuration")
    random = np.random.default_rng(seed)
    rows = [_row(study, scores, name, own[name], other[name], random) for name in problems]
    table = pd.DataFrame(rows)
    if len(problems) > 1:
        scale = _scales(study, ranking, by, table)
        table = pd.concat([table, pd.DataFrame([_overall(table, scores.sign, scale, random)])], ignore_index=True)
    table["tied"] = table["tied"].astype("boolean")
    way = "the larger time" if isinstance(by, Goal) else "the way from the start to the best of the problem"
    table.attrs |= {"value": scores.name, "less_is_better": scores.sign > 0, "confidence": CONFIDENCE}
    table.attrs |= {"scale_over_problems": way} if len(problems) > 1 else {}
    return table


def _on_problems(study: StoredStudy, ranking: pd.DataFrame, name: str) -> dict[str, "pd.Series[Any]"]:
    """Return the row of a ranking that a name means on each problem: a trial's settings, or the best of a method."""
    methods = with_methods(ranking)["method"]
    named = (methods == name) | (ranking["optimizer"].astype(str) == name)
    if not named.any():
        number = _number_of_trial(study, name, sorted({*methods, *ranking["optimizer"].astype(str)}))
        settings = [column for column in study.identity if column not in OF_PROBLEM]
        known = ranking[settings].astype(object).where(ranking[settings].notna(), None)
        mine = known[(ranking["number"] == number).to_numpy()].to_numpy()[0]
        named = pd.Series((known.to_numpy() == mine).all(axis=1), index=ranking.index)
    first = ranking[named].drop_duplicates("problem")
    return {str(row["problem"]): row for _, row in first.iterrows()}


def _number_of_trial(study: StoredStudy, name: str, methods: Sequence[str]) -> int:
    trials, configuration, _ = study.configurations
    found = np.flatnonzero((trials["trial_id"].astype(str) == name).to_numpy())
    if not len(found):
        raise InputError(f"the study has neither a trial nor an optimizer {name!r}; {nearest(name, methods)}")
    return int(configuration[found[0]])


def _row(
    study: StoredStudy,
    scores: Scores,
    problem: str,
    own: "pd.Series[Any]",
    other: "pd.Series[Any]",
    random: np.random.Generator,
) -> dict[str, Any]:
    """Return the comparison on one problem."""
    difference, scale = _differences(study, scores, int(own["number"]), int(other["number"]))
    names = {"problem": problem, "a": own["trial_id"], "b": other["trial_id"]}
    values = {f"{scores.name}_a": own[scores.name], f"{scores.name}_b": other[scores.name]}
    return names | values | summary(difference, scale, scores.sign, random)


def _differences(study: StoredStudy, scores: Scores, own: int, other: int) -> tuple[Array, Array]:
    """Return the oriented differences of paired trials, and how large their values are."""
    trials, configuration, _ = study.configurations
    rows = np.flatnonzero((configuration == own) | (configuration == other))
    repeat = repeats_of([trials[name].to_numpy()[rows] for name in study.repeat_key])
    frame = pd.DataFrame({"repeat": repeat, "value": scores.values[rows]})
    mine = configuration[rows] == own
    pairs = frame[mine].merge(frame[~mine], on="repeat", suffixes=("_a", "_b"))
    with np.errstate(invalid="ignore"):
        difference = (pairs["value_a"] - pairs["value_b"]).to_numpy(np.float64)
    there = ~np.isnan(difference)
    return difference[there], np.abs(pairs["value_b"].to_numpy(np.float64))[there]


def summary(difference: Array, scale: Array, sign: float, random: np.random.Generator) -> dict[str, Any]:
    """Return what paired differences say: mean, median, intervals, signs, a test, and whether they are tied.

    Parameters
    ----------
    difference : ndarray of shape (pairs,)
        Oriented: below 0 where a is better. Infinite where one of a pair is lost.
    scale : ndarray of shape (pairs,)
        How large the values are, to tell rounding.
    sign : float
        By which an oriented difference is multiplied to be one of the values.
    random : numpy.random.Generator
        Of the bootstrap.
    """
    pairs, finite = len(difference), bool(np.isfinite(difference).all())
    told, known = verdicts(difference, scale, np.zeros(pairs, np.int64), 1)
    mean = _mean(difference)
    deviation = np.std(difference, ddof=1) if pairs > 1 and finite else np.nan
    width = float(half_widths(np.array([deviation]), np.array([pairs]))[0])
    ends = sorted((sign * (mean - width), sign * (mean + width))) if finite and pairs > 1 else (np.nan, np.nan)
    boot = sorted(sign * end for end in _bootstrapped(difference, random)) if finite else (np.nan, np.nan)
    return {
        "pairs": pairs,
        "mean_difference": sign * mean,
        "low": ends[0],
        "high": ends[1],
        "bootstrap_low": boot[0],
        "bootstrap_high": boot[1],
        "median_difference": sign * float(np.median(difference)) if pairs else np.nan,
        "a_better": int((difference < 0).sum()),
        "b_better": int((difference > 0).sum()),
        "equal": int((difference == 0).sum()),
        "p_value": _signed_ranks(difference),
        "tied": bool(told[0]) if known[0] else None,
    }


def _mean(difference: Array) -> float:
    """Return the mean; infinite where differences are infinite on one side, NaN where they are on both."""
    with np.errstate(invalid="ignore"):
        return float(np.mean(difference)) if len(difference) else np.nan


def _bootstrapped(difference: Array, random: np.random.Generator) -> tuple[float, float]:
    """Return the bootstrap's interval of the mean (BCa; Efron 1987); NaN for few pairs."""
    if len(difference) < FEWEST_BOOTSTRAPPED:
        return np.nan, np.nan
    if np.ptp(difference) == 0:
        return float(difference[0]), float(difference[0])
    from scipy.stats import bootstrap

    options: dict[str, Any] = {"confidence_level": CONFIDENCE, "n_resamples": RESAMPLES, "rng": random}
    found = bootstrap((difference,), np.mean, method="BCa", **options).confidence_interval
    return float(found.low), float(found.high)


def _signed_ranks(difference: Array) -> float:
    """Return the p-value of Wilcoxon's signed-rank test; NaN for few pairs. Infinite ones have the last ranks."""
    if len(difference) < FEWEST_TESTED:
        return np.nan
    if not difference.any():
        return 1.0
    from scipy.stats import wilcoxon

    beyond = 1 + 2 * np.max(np.abs(difference[np.isfinite(difference)]), initial=0.0)
    return float(wilcoxon(np.clip(difference, -beyond, beyond), zero_method="zsplit").pvalue)


def _scales(study: StoredStudy, ranking: pd.DataFrame, by: str | Goal | None, table: pd.DataFrame) -> Array:
    """Return by what the differences on each problem are divided, so that those of several can be compared."""
    value = value_of(ranking)
    if isinstance(by, Goal):
        ends = table[[f"{value}_a", f"{value}_b"]].to_numpy(np.float64)
        return np.asarray(np.where(np.isfinite(ends), ends, np.nan).max(axis=1))
    best = (sign_of(value) * ranking[value]).groupby(ranking["problem"]).min()
    start = starts_of_problems(study, by)
    return np.array([start[name] - best[name] for name in table["problem"]], dtype=np.float64)


def _overall(table: pd.DataFrame, sign: float, scale: Array, random: np.random.Generator) -> dict[str, Any]:
    """Return the comparison over problems: each is one pair, since its seeds say nothing about other problems."""
    mean = sign * table["mean_difference"].to_numpy(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where(np.isinf(mean), np.sign(mean), np.where(scale > 0, np.clip(mean / scale, -1, 1), np.nan))
    share = share[~np.isnan(share)]
    return {"problem": ALL, "a": "", "b": "", **summary(share, np.ones(len(share)), sign, random)}
