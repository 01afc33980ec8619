"""Where the trials of a landscape study start."""

import hashlib
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fastgd.common.errors import InputError
from fastgd.common.folders import expanded
from fastgd.core.random import normal_numbers, stream_keys, uniform_numbers
from fastgd.datasets import load_points
from fastgd.datasets.record import check_memory
from fastgd.engine.rows.order import stream_key
from fastgd.plan.ids import digest, rows_of
from fastgd.study.landscapes import MOST_STARTS, LandscapeProblem, Starts, start_count

Array = npt.NDArray[np.float64]
COPIES_WHILE_MADE = 3  # of the starts, while they are made
SOBOL_BITS = 30  # of a coordinate of Sobol's sequence, which repeats after 2^30 points


def make_starts(starts: Starts | None, problem: LandscapeProblem) -> Array:
    """Return the starts of a problem (S, d).

    Those that are drawn keep their numbers when more are asked for: the first of many are the few.

    Raises
    ------
    InputError
        A file does not hold starts, there are too many, or their coordinates are too large for numbers.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        points = _points(starts, problem)
    if not np.isfinite(points).all():
        point = points[np.flatnonzero(~np.isfinite(points).all(axis=1))[0]]
        raise InputError(f"starts: {point.tolist()} is none; low, high, center and scale must make finite numbers")
    return points


def _points(starts: Starts | None, problem: LandscapeProblem) -> Array:
    d = problem.dimension
    if starts is None or starts.kind is None:
        return problem.record.start(d)[None]
    first, second = _ends(starts, problem)
    if (count := start_count(starts, problem)) <= MOST_STARTS:
        what = f"starts: {count:,} points of {d:,} coordinates"
        check_memory(COPIES_WHILE_MADE * 8 * count * d, what, "float64", "fewer starts take less")
    match starts.kind:
        case "points":
            return np.array(starts.points, np.float64)
        case "grid":
            return _grid(_counts(starts, d), first, second)
        case "uniform":
            return first + (second - first) * _uniform(starts.uniform or 0, d, starts.seed)
        case "sobol":
            return first + (second - first) * _sobol(starts.sobol or 0, d, starts.seed)
        case "normal":
            return first + second * _normal(starts.normal or 0, d, starts.seed)
    return _read(expanded(starts.path or ""), d)


def fingerprint(starts: Starts | None, problem: LandscapeProblem, points: Array) -> str:
    """Return a hash of what start number i is, whatever i: drawing more starts does not change it.

    Of starts that are drawn it holds the first raw numbers of their stream, which are the same on every machine.
    """
    kind = starts.kind if starts is not None else None
    content: list[Any]
    if starts is None or kind in (None, "points"):
        content = [row.hex() for row in rows_of(points)]
    elif kind == "path":
        content = [hashlib.sha256(np.ascontiguousarray(points, "<f8").tobytes()).hexdigest()]
    elif kind == "grid":
        content = [kind, _counts(starts, problem.dimension), *_ends(starts, problem)]
    else:
        raw = _uniform(1, problem.dimension, starts.seed)[0]
        content = [kind, [number.hex() for number in raw.tolist()], *_ends(starts, problem)]
    return str(digest(content).hexdigest())


def _ends(starts: Starts, problem: LandscapeProblem) -> tuple[Array, Array]:
    """Return the lower and upper ends (d,) of the box in which starts lie; of normal ones, center and scale."""
    d, box = problem.dimension, problem.box()
    if starts.kind == "normal":
        center = np.resize(starts.center, d) if starts.center is not None else problem.record.start(d)
        return np.asarray(center, np.float64), np.full(d, starts.scale)
    low = np.resize(starts.low, d) if starts.low is not None else box[:, 0]
    high = np.resize(starts.high, d) if starts.high is not None else box[:, 1]
    if not np.all(low < high):
        raise InputError(f"starts.low = {low.tolist()} must be below starts.high = {high.tolist()}")
    return np.asarray(low, np.float64), np.asarray(high, np.float64)


def _counts(starts: Starts, d: int) -> Any:
    return np.resize(starts.grid or [], d)


def _grid(counts: Any, low: Array, high: Array) -> Array:
    if (total := prod(counts.tolist())) > MOST_STARTS:
        raise InputError(f"starts.grid = {counts.tolist()} makes {total:,} starts; the most are {MOST_STARTS:,}")
    axes = [np.linspace(a, b, count) for a, b, count in zip(low, high, counts, strict=True)]
    return np.stack([axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")], axis=1)


def _streams(seed: int, count: int) -> Any:
    """The keys of each start's own stream of numbers."""
    return stream_keys(stream_key(seed, "starts"), np.arange(count))


def _uniform(count: int, d: int, seed: int) -> Array:
    return uniform_numbers(_streams(seed, count), 0, d)


def _normal(count: int, d: int, seed: int) -> Array:
    keys = _streams(seed, count)
    return np.stack([normal_numbers(keys, i) for i in range(d)], axis=1)


def _sobol(count: int, d: int, seed: int) -> Array:
    """Sobol's sequence, each coordinate shifted digit by digit by a number of the seed's, which keeps its balance."""
    from scipy.stats import qmc

    whole = 1 << max(0, count - 1).bit_length()  # a power of two is balanced; the first of them are what is asked for
    digits = (qmc.Sobol(d, scramble=False, bits=SOBOL_BITS).random(whole)[:count] * 2.0**53).astype(np.uint64)
    shift = (_uniform(1, d, seed)[0] * 2.0**53).astype(np.uint64) - np.uint64(1)
    return np.asarray((digits ^ shift) * 2.0**-53)


def _read(path: Path, d: int) -> Array:
    """Read a row for each start, from a table with d columns of numbers."""
    try:
        points = load_points(path)
    except InputError as error:
        raise InputError(f"starts.path: {error}") from None
    if points.shape[1] != d:
        found = f"starts.path: {path} has shape {points.shape}"
        raise InputError(f"{found}; it must have {d} columns, a row for each start")
    return points
