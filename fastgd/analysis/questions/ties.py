"""Whether the repeats of two configurations tell them apart: paired differences and their interval.

Trials of two configurations with the same seed see the same rows in the same order, and start alike: their difference
varies far less than either does.
"""

from collections.abc import Sequence
from functools import lru_cache
from math import comb, cos, pi, sin, sqrt, tan
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
CONFIDENCE = 0.95
# Means that agree to so many digits differ by rounding, whatever their spread.
ROUNDING = 1e-12
FEWEST_SIGNS = 6  # pairs: with fewer, no sign test can reject at 95 %


@lru_cache(maxsize=4096)
def student(freedom: int, confidence: float = CONFIDENCE) -> float:
    """Return the number t for which a Student variable is in [-t, t] with this probability.

    The distribution has a closed form for whole degrees of freedom (Abramowitz and Stegun, 26.7.3 and 26.7.4), so that
    rankings need not import SciPy. Above 1,000 it is expanded about the normal one (26.7.5).
    """
    if freedom > 1000:
        z = NormalDist().inv_cdf((1 + confidence) / 2)
        return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
    low, high = 0.0, pi / 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, freedom) < confidence else (low, middle)
    return sqrt(freedom) * tan(low)


def _within(angle: float, freedom: int) -> float:
    """Return the probability that a Student variable is in [-t, t] with `t = sqrt(freedom) tan(angle)`."""
    odd = freedom % 2
    term, total = (cos(angle), cos(angle)) if odd else (1.0, 1.0)
    for k in range(2 + odd, freedom - 1, 2):
        term *= cos(angle) ** 2 * (k - 1) / k
        total += term
    if not odd:
        return sin(angle) * total
    return 2 / pi * (angle + (sin(angle) * total if freedom > 1 else 0.0))


def half_widths(deviation: Array, count: NDArray[np.int64], confidence: float = CONFIDENCE) -> Array:
    """Return half the width of Student's interval about means, from standard deviations; NaN for fewer than two."""
    factor = np.full(len(count), np.nan)
    for number in np.unique(count[count > 1]):
        factor[count == number] = student(int(number) - 1, confidence)
    return factor * deviation / np.sqrt(np.maximum(count, 1))


def tied(
    values: Array,
    configuration: NDArray[np.int64],
    repeat: NDArray[np.int64],
    best: NDArray[np.int64],
    confidence: float = CONFIDENCE,
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which configurations the repeats do not tell from the best of their problem, and of which that is known.

    Parameters
    ----------
    values : ndarray of shape (trials,)
        What is compared; infinite for a lost trial, NaN for an unknown one.
    configuration, repeat : ndarray of shape (trials,)
        The number of each trial's configuration, and of its seed (and start): equal ones make a pair.
    best : ndarray of shape (configurations,)
        The number of the best configuration of each one's problem.
    confidence : float
        Of the interval of the mean difference.

    Returns
    -------
    tied : ndarray of shape (configurations,)
        Whether 0 is in Student's interval of the mean paired difference; where a trial is lost in one of a pair, by
        the sign test.
    known : ndarray of shape (configurations,)
        Whether there are two pairs, and their differences are finite, have one sign, or are enough for a sign test.
    """
    with np.errstate(invalid="ignore"):  # of two lost trials nothing is known
        difference = values - _of_best(values, configuration, repeat, best)
    return verdicts(difference, np.abs(values), configuration, len(best), confidence)


def verdicts(
    difference: Array, scale: Array, group: NDArray[np.int64], groups: int, confidence: float = CONFIDENCE
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return for each group of paired differences whether 0 is in the interval of its mean, and whether it is known."""
    there = ~np.isnan(difference)
    difference, scale, group = difference[there], scale[there], group[there]
    count = np.bincount(group, minlength=groups)
    signs = [np.bincount(group[side], minlength=groups) for side in (difference > 0, difference < 0)]
    infinite = np.bincount(group, weights=np.isinf(difference), minlength=groups) > 0
    finite = np.where(np.isinf(difference), 0.0, difference)
    divisor = np.maximum(count, 1)
    mean = np.bincount(group, weights=finite, minlength=groups) / divisor
    squares = np.bincount(group, weights=(finite - mean[group]) ** 2, minlength=groups)
    size = np.bincount(group, weights=np.where(np.isfinite(scale), scale, 0.0), minlength=groups) / divisor
    width = half_widths(np.sqrt(squares / np.maximum(count - 1, 1)), count, confidence)
    same = np.abs(mean) <= np.fmax(width, ROUNDING * size)
    # Infinite differences have no mean: what tells then is their signs.
    one_sided = (signs[0] == count) | (signs[1] == count)
    known = (count > 1) & (~infinite | one_sided | (count >= FEWEST_SIGNS))
    balanced = np.minimum(*signs) > _sign_bounds(count, confidence)
    return np.where(infinite, balanced & ~one_sided, same) & known, known


def _sign_bounds(count: NDArray[np.int64], confidence: float) -> NDArray[np.int64]:
    bounds = np.zeros(len(count), np.int64)
    for number in np.unique(count):
        bounds[count == number] = sign_bound(int(number), confidence)
    return bounds


@lru_cache(maxsize=4096)
def sign_bound(pairs: int, confidence: float = CONFIDENCE) -> int:
    """Return how many of some pairs may at most be of the rarer sign for the sign test to reject; -1: none may.

    The two-sided test is exact up to 1,000 pairs, and takes the normal distribution beyond.
    """
    tail = (1 - confidence) / 2
    if pairs > 1000:
        return int(pairs / 2 + NormalDist().inv_cdf(tail) * sqrt(pairs) / 2 - 0.5)
    total, most = 0, -1
    while most < pairs and (total := total + comb(pairs, most + 1)) <= tail * 2**pairs:
        most += 1
    return most


def _of_best(
    values: Array, configuration: NDArray[np.int64], repeat: NDArray[np.int64], best: NDArray[np.int64]
) -> Array:
    """Return for each trial the value of the best one's trial with the same repeat; NaN where there is none."""
    repeats = 1 + int(repeat.max(initial=0))
    key = configuration * repeats + repeat
    winners = np.flatnonzero(np.isin(configuration, best))
    winners = winners[np.argsort(key[winners], kind="stable")]
    if not len(winners):
        return np.full(len(values), np.nan)
    wanted = best[configuration] * repeats + repeat
    place = np.minimum(np.searchsorted(key[winners], wanted), len(winners) - 1)
    return np.where(key[winners][place] == wanted, values[winners[place]], np.nan)


def repeats_of(columns: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Return the number of each trial's repeat, from the columns in which repeats differ."""
    number = np.zeros(len(columns[0]), np.int64)
    for values in columns:
        known, codes = np.unique(values, return_inverse=True)
        number = number * max(len(known), 1) + codes
    return number
