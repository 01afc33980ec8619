"""Where the trials of a landscape study start."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from fastgd._errors import InputError
from fastgd.study._landscapes import LandscapeProblem, Starts

Array = npt.NDArray[np.float64]
MOST = 1 << 26  # starts of a study
SUFFIXES = (".csv", ".parquet", ".npy")


def make_starts(starts: Starts | None, problem: LandscapeProblem) -> Array:
    """Return the starts of a problem (S, d).

    Those that are drawn keep their numbers when more are asked for: the first of many are the few.

    Raises
    ------
    InputError
        A file does not hold starts, or there are too many.
    """
    d = problem.dimension
    if starts is None or starts.kind is None:
        return problem.record.start(d)[None]
    box = problem.box()
    low = np.resize(starts.low, d) if starts.low is not None else box[:, 0]
    high = np.resize(starts.high, d) if starts.high is not None else box[:, 1]
    if not np.all(low < high):
        raise InputError(f"starts.low = {low.tolist()} must be below starts.high = {high.tolist()}")
    match starts.kind:
        case "points":
            return np.array(starts.points, np.float64)
        case "grid":
            return _grid(np.resize(starts.grid or [], d), low, high)
        case "uniform":
            return np.asarray(low + (high - low) * _uniform(starts.uniform or 0, d, starts.seed))
        case "sobol":
            return np.asarray(low + (high - low) * _sobol(starts.sobol or 0, d, starts.seed))
        case "normal":
            center = np.resize(starts.center, d) if starts.center is not None else problem.record.start(d)
            drawn = np.random.Generator(np.random.Philox(starts.seed)).standard_normal((starts.normal or 0, d))
            return np.asarray(center + starts.scale * drawn)
    return _read(Path(starts.path or ""), d)


def fingerprint(starts: Starts | None, problem: LandscapeProblem, points: Array) -> str:
    """Return a hash of what start number i is, whatever i: drawing more starts does not change it."""
    kind = starts.kind if starts is not None else None
    if starts is None or kind not in ("uniform", "normal", "sobol"):
        return hashlib.blake2b(np.ascontiguousarray(points, "<f8").tobytes(), digest_size=10).hexdigest()
    own = starts.model_dump(exclude={kind})
    return hashlib.blake2b(repr((kind, own, problem.box().tolist())).encode(), digest_size=10).hexdigest()


def _grid(counts: Any, low: Array, high: Array) -> Array:
    if (total := float(np.prod(counts.astype(np.float64)))) > MOST:
        raise InputError(f"starts.grid = {counts.tolist()} makes {total:,.0f} starts; the most are {MOST:,}")
    axes = [np.linspace(a, b, count) for a, b, count in zip(low, high, counts, strict=True)]
    return np.stack([axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")], axis=1)


def _uniform(count: int, d: int, seed: int) -> Array:
    return np.random.Generator(np.random.Philox(seed)).random((count, d))


def _sobol(count: int, d: int, seed: int) -> Array:
    from scipy.stats import qmc

    whole = 1 << max(0, count - 1).bit_length()  # a power of two is balanced; the first of them are what is asked for
    return np.asarray(qmc.Sobol(d, scramble=True, rng=seed).random(whole)[:count])


def _read_csv(path: Path) -> pd.DataFrame:
    """Read a table with or without names of its columns."""
    frame = pd.read_csv(path)
    try:
        [float(name) for name in frame.columns]
    except ValueError:
        return frame
    return pd.read_csv(path, header=None)


def _read(path: Path, d: int) -> Array:
    """Read a row for each start, from a table with d columns of numbers."""
    if path.suffix not in SUFFIXES:
        raise InputError(f"starts.path: {path} must end in one of {', '.join(SUFFIXES)}")
    try:
        if path.suffix == ".npy":
            points = np.load(path, allow_pickle=False)
        else:
            frame = pd.read_parquet(path) if path.suffix == ".parquet" else _read_csv(path)
            points = frame.to_numpy(dtype=np.float64)
    except FileNotFoundError:
        raise InputError(f"starts.path: {path}: there is no such file") from None
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"starts.path: {path} cannot be read as numbers: {error}") from None
    points = np.asarray(points, np.float64)
    if points.ndim != 2 or points.shape[1] != d or not len(points):
        found = f"starts.path: {path} has shape {points.shape}"
        raise InputError(f"{found}; it must have {d} columns, a row for each start")
    if not np.isfinite(points).all():
        row = int(np.flatnonzero(~np.isfinite(points).all(axis=1))[0])
        raise InputError(f"starts.path: {path}, row {row}: {points[row].tolist()} must be finite numbers")
    return points
