"""The curves of a page: of each some checkpoints, as whole numbers of two bytes on a scale for each metric.

A loss is written as the logarithm of its distance from the least known value of its objective, since that is what tells
optimizers apart: 65,000 steps over at most 24 decades are precise to a thousandth of the distance.
"""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fastgd.analysis import METRICS
from fastgd.plots.readings import measure
from fastgd.reports.columns import base64_of
from fastgd.reports.selection import Selection

AXES = ("trial_id", "start", "step", "epoch", "samples_seen", "lr", "train_seconds")
MOST_METRICS = 6
# Numbers of curves that a page may hold, two bytes each; they leave most of 15 MB to others.
MOST_NUMBERS = 2_000_000
FEWEST_POINTS, MOST_POINTS = 12, 160
LEVELS = 65_533  # and three marks: for what was not measured, and for values beyond either end; 0 is the minimum itself
BEYOND, NOT_MEASURED = LEVELS + 1, LEVELS + 2
MOST_DECADES = 24
FAR = 1e4  # losses so many times farther from the minimum than at the start are beyond the scale

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]


def curves_of(selection: Selection, objectives: Whole, minima: Floats) -> dict[str, Any]:
    """Return the curves of the page's trials.

    Parameters
    ----------
    selection : Selection
    objectives : ndarray of shape (trials,)
        The objective of each trial, as its position in `minima`.
    minima : ndarray of shape (objectives,)
        The least known values, from which the training loss is measured.

    Returns
    -------
    dict
        `patterns`: lists of steps (and epochs), which many curves share; `pattern`: which one each trial has;
        `metrics`: their scales and numbers, one curve after the other; `most`: the checkpoints of the longest curve,
        and `points`: how many of a curve the page holds at most.
    """
    dataset = selection.results.curves_dataset
    metrics = _metrics(dataset.schema.names)
    points = int(np.clip(MOST_NUMBERS // max(1, len(selection.rows) * len(metrics)), FEWEST_POINTS, MOST_POINTS))
    owner, columns = _read(selection, metrics)
    order = np.lexsort((columns["step"], owner))
    owner, columns = owner[order], {name: values[order] for name, values in columns.items()}
    counts = np.bincount(owner, minlength=len(selection.rows))
    kept = _thinned(counts, points)
    owner, columns = owner[kept], {name: values[kept] for name, values in columns.items()}
    of_page = np.bincount(owner, minlength=len(selection.rows))
    pattern, patterns = _patterns(of_page, [columns[name] for name in ("step", "epoch") if name in columns])
    scaled = [_scaled(name, columns[name], columns["step"], objectives[owner], minima) for name in metrics]
    words = {name: measure(selection.results, name) for name in metrics}
    return {
        "axes": [name for name in ("epoch", "step") if name in columns],
        "pattern": base64_of(pattern.astype(np.uint32)),
        "patterns": patterns,
        "metrics": [{**each, "label": words[each["name"]]} for each in scaled if each],
        "most": int(counts.max(initial=0)),
        "points": points,
    }


def _metrics(names: list[str]) -> list[str]:
    """Return the metrics that the page shows: losses first."""
    found = [name for name in names if name not in AXES and not name.startswith("x_")]
    return sorted(found, key=lambda name: (name not in METRICS, found.index(name)))[:MOST_METRICS]


def _read(selection: Selection, metrics: list[str]) -> tuple[Whole, dict[str, Floats]]:
    """Return for each checkpoint of the page's trials its trial, and its columns; files are read in pieces."""
    dataset = selection.results.curves_dataset
    starts = "start" in dataset.schema.names
    axes = [name for name in ("step", "epoch") if name in dataset.schema.names]
    ids = selection.column("trial_id").astype(str).to_numpy(dtype=object)
    known, name_of = np.unique(ids.astype(str), return_inverse=True)
    start = selection.column("start").to_numpy(dtype=np.int64) if starts else np.zeros(len(ids), dtype=np.int64)
    stride = int(start.max(initial=0)) + 1
    keys = name_of * stride + start
    by_key = np.argsort(keys)
    names = pa.array(known.tolist(), pa.string())
    wanted = ["trial_id", *(["start"] if starts else []), *axes, *metrics]
    owners: list[Whole] = [np.zeros(0, dtype=np.int64)]
    found: dict[str, list[Floats]] = {name: [np.zeros(0)] for name in (*axes, *metrics)}
    for batch in dataset.to_batches(columns=wanted):
        texts = batch["trial_id"].cast(pa.string())
        place = pc.fill_null(pc.index_in(texts, names), -1).to_numpy(zero_copy_only=False).astype(np.int64)
        number = batch["start"].to_numpy(zero_copy_only=False) if starts else np.zeros(len(place), dtype=np.int64)
        key = np.where((place >= 0) & (number < stride), place * stride + number, -1)
        at = np.minimum(np.searchsorted(keys[by_key], key), len(keys) - 1)
        own = np.flatnonzero(keys[by_key][at] == key)
        owners.append(by_key[at[own]])
        for name, parts in found.items():
            parts.append(batch[name].to_numpy(zero_copy_only=False)[own].astype(np.float64))
    return np.concatenate(owners), {name: np.concatenate(parts) for name, parts in found.items()}


def _thinned(counts: Whole, points: int) -> Whole:
    """Return the positions of the checkpoints to keep: the first, the last, and evenly spaced ones of each curve."""
    first = np.cumsum(counts) - counts
    few = np.minimum(counts, points)
    within = np.arange(int(few.sum())) - np.repeat(np.cumsum(few) - few, few)
    share = np.repeat((counts - 1) / np.maximum(few - 1, 1), few)
    kept: Whole = np.repeat(first, few) + np.rint(within * share).astype(np.int64)
    return kept


def _patterns(counts: Whole, axes: list[Floats]) -> tuple[Whole, list[list[list[float]]]]:
    """Return which of several lists of places each curve has, and the lists, one for each axis."""
    width = int(counts.max(initial=0))
    mask = np.arange(width) < counts[:, None]
    padded = np.full((len(axes), len(counts), width), -1.0)
    for axis, values in zip(padded, axes, strict=True):
        axis[mask] = values
    joined = np.concatenate([counts[:, None], *padded], axis=1)
    _, first, pattern = np.unique(joined, axis=0, return_index=True, return_inverse=True)
    lists = [[[_short(x) for x in axis[row, : counts[row]]] for axis in padded] for row in first]
    return pattern.reshape(-1), [list(reversed(each)) for each in lists]  # epochs come first, as on the page


def _short(value: float) -> float:
    """Return a place on an axis with six digits, whole where it is."""
    rounded = float(f"{value:.6g}") if abs(value) < 1e6 else float(value)
    return int(rounded) if rounded.is_integer() else rounded


def _scaled(name: str, values: Floats, steps: Floats, objectives: Whole, minima: Floats) -> dict[str, Any] | None:
    """Return a metric's numbers on a scale of 65,534 levels; None if it was not measured."""
    if np.isnan(values).all():
        return None
    about = {"name": name}
    if name not in METRICS:
        finite = values[np.isfinite(values)]
        low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 0.0)
        return about | {"scale": "linear", "low": low, "high": high, "codes": _codes(values, low, high)}
    bases = minima if name == "loss" else _least(values, objectives, len(minima))
    with np.errstate(invalid="ignore", divide="ignore"):
        distance = values - bases[objectives]
        logarithm = np.where(distance > 0, np.log10(distance), np.where(distance <= 0, -np.inf, distance))
    finite = np.isfinite(logarithm)
    start = logarithm[finite & (steps == 0)]
    far = float(start.max()) + np.log10(FAR) if len(start) else np.inf
    high = min(float(logarithm[finite].max()), far) if finite.any() else 0.0
    low = max(float(logarithm[finite].min(initial=high)), high - MOST_DECADES)
    codes = _codes(logarithm, low, high)
    listed = [float(base) if np.isfinite(base) else None for base in bases]
    return about | {"scale": "gap", "low": low, "high": high, "bases": listed, "codes": codes}


def _least(values: Floats, objectives: Whole, count: int) -> Floats:
    """Return the least finite value of each objective."""
    least = np.full(count, np.inf)
    finite = np.isfinite(values)
    np.minimum.at(least, objectives[finite], values[finite])
    return least


def _codes(values: Floats, low: float, high: float) -> str:
    """Return levels from `low` (1) to `high` (`LEVELS`), in base64; 0 is below them, `BEYOND` above or infinite."""
    width = (high - low) or 1.0
    with np.errstate(invalid="ignore"):
        level = 1 + np.rint((np.clip(values, low, high) - low) / width * (LEVELS - 1))
    level = np.where(values < low, 0, level)
    level = np.where(np.isnan(values), NOT_MEASURED, np.where(values > high, BEYOND, level))
    return base64_of(level.astype(np.uint16))
