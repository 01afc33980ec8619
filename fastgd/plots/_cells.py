"""Cells of a picture over two hyper-parameters: where they lie on axes that suit their values."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastgd.plots._style import number, spans_decades

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = NDArray[np.float64]
_MANY = 6  # values that make an axis of numbers; fewer are cells of equal size with their values as labels


@dataclass(frozen=True)
class Cells:
    """Where the cells of an axis lie: `centers` of shape (cells,) and `edges` of shape (cells + 1,)."""

    centers: Array
    edges: Array


def cells(axes: "Axes", axis: str, values: NDArray[Any]) -> Cells:
    """Lay an axis out: logarithmic for a grid over decades, linear for equal steps, else cells of equal size."""
    count = len(values)
    numbers = values.astype(np.float64) if values.dtype.kind in "if" else np.zeros(0)
    if count >= _MANY and _equal_steps(numbers):
        return Cells(numbers, _edges(numbers))
    if count >= _MANY and spans_decades(numbers, 10):
        axes.set(**{f"{axis}scale": "log"})
        logs = np.log(numbers)
        return Cells(np.exp(logs), np.exp(_edges(logs)))
    shown = np.arange(0, count, math.ceil(count / 8))
    words = [value if isinstance(value, str) else number(float(value)) for value in values[shown]]
    axes.set(**{f"{axis}ticks": shown, f"{axis}ticklabels": words})
    return Cells(np.arange(count, dtype=np.float64), np.arange(-0.5, count))


def _equal_steps(values: Array) -> bool:
    steps = np.diff(values)
    return len(steps) > 0 and bool(np.ptp(steps) <= 1e-6 * steps.max())


def _edges(centers: Array) -> Array:
    middles = (centers[1:] + centers[:-1]) / 2
    return np.concatenate([[2 * centers[0] - middles[0]], middles, [2 * centers[-1] - middles[-1]]])
