"""The cells of a picture over two hyper-parameters: where they are, on axes that suit the values."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator
from numpy.typing import NDArray

from fastgd.common.escape import for_picture
from fastgd.common.numbers import is_whole, number
from fastgd.plots.limits import Array, placed, spans_decades

_LABELS = {"x": 6, "y": 8}  # the most labels of an axis
_MANY = 6  # from so many values on, cells lie on an axis of numbers; fewer have equal sizes and their values as labels


@dataclass(frozen=True)
class Cells:
    """Where the cells of an axis are: `centers` of shape (cells,) and `edges` of shape (cells + 1,)."""

    centers: Array
    edges: Array


def cells(axes: Axes, axis: str, values: NDArray[Any]) -> Cells:
    """Lay out an axis: logarithmic for a grid over decades, linear for equal steps, else cells of equal size."""
    count = len(values)
    numbers = values.astype(np.float64) if values.dtype.kind in "if" and placed(values).all() else np.zeros(0)
    if count >= _MANY and _equal_steps(numbers):
        return Cells(numbers, _edges(numbers))
    if count >= _MANY and spans_decades(numbers, 10):
        axes.set(**{f"{axis}scale": "log"})
        if all(map(is_whole, numbers)):  # such as batch sizes: the values instead of powers of ten
            _label(axes, axis, numbers, numbers)
        logs = np.log(numbers)
        return Cells(np.exp(logs), np.exp(_edges(logs)))
    _label(axes, axis, np.arange(count, dtype=np.float64), values)
    return Cells(np.arange(count, dtype=np.float64), np.arange(-0.5, count))


def _label(axes: Axes, axis: str, places: Array, values: NDArray[Any]) -> None:
    """Label some of the places with their values, and remove all other ticks."""
    shown = slice(0, None, math.ceil(len(values) / _LABELS[axis]))
    words = [for_picture(value) if isinstance(value, str) else number(value) for value in values[shown]]
    axes.set(**{f"{axis}ticks": places[shown], f"{axis}ticklabels": words})
    getattr(axes, f"{axis}axis").set_minor_locator(NullLocator())


def _equal_steps(values: Array) -> bool:
    steps = np.diff(values)
    return len(steps) > 0 and bool(np.ptp(steps) <= 1e-6 * steps.max())


def _edges(centers: Array) -> Array:
    middles = (centers[1:] + centers[:-1]) / 2
    return np.concatenate([[2 * centers[0] - middles[0]], middles, [2 * centers[-1] - middles[-1]]])
