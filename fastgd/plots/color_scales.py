"""Scales of colours from the best value to the one at the start, on which small differences near the best show."""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.colors import Colormap, LogNorm, Normalize, PowerNorm
from matplotlib.figure import FigureBase

from fastgd.common.errors import InputError
from fastgd.common.numbers import number
from fastgd.plots.limits import Array, Frame, frame_of, pair
from fastgd.plots.scales import Scale, label_ticks

BETTER = "#e7298a"  # the colour of values better than the scale has, far from all colours of the scale
_COLORS = "viridis"


def norm_of(values: Array, start: float, scale: Scale, limits: Sequence[float] | None) -> Normalize:
    """Return the colour scale from the best value to the one at the start, or between limits that a user gave.

    Raises
    ------
    InputError
        The limits are no two numbers, or not above 0 on a logarithmic scale.
    """
    if scale.more_is_better:
        lowest = max(float(np.min(values[np.isfinite(values)], initial=np.inf)), start)
        frame = frame_of(values[values >= start], always=[lowest], log=scale.log or False)
    else:
        highest = min(float(np.max(values[np.isfinite(values)], initial=-np.inf)), start)
        frame = frame_of(values[values <= start], always=[highest], log=scale.log)
    if ends := pair(limits, "limits"):
        if frame.log and ends[0] <= 0:
            raise InputError(f"limits must be above 0, as this scale is logarithmic; found {limits!r}")
        frame = Frame(*ends, frame.log)
    if frame.log:
        return LogNorm(frame.low, frame.high)
    return PowerNorm(2.0 if scale.more_is_better else 0.5, frame.low, frame.high)


def ends_of(norm: Normalize) -> tuple[float, float]:
    """Return the lowest and the highest value of a scale."""
    assert norm.vmin is not None
    assert norm.vmax is not None
    return float(norm.vmin), float(norm.vmax)


def colors(scale: Scale) -> Colormap:
    """Return the colours of a scale: the best value is dark, and better ones than the scale has are of their own."""
    if scale.more_is_better:
        return mpl.colormaps[_COLORS].reversed().with_extremes(over=BETTER)
    return mpl.colormaps[_COLORS].with_extremes(under=BETTER)


def beyond(values: Array, norm: Normalize) -> str:
    """Return at which ends of a colour scale values lie beyond it, in matplotlib's words."""
    finite, (low, high) = values[np.isfinite(values)], ends_of(norm)
    below, above = bool((finite < low).any()), bool((finite > high).any())
    return {(True, True): "both", (True, False): "min", (False, True): "max"}.get((below, above), "neither")


def color_bar(
    figure: FigureBase, axes: Axes | Sequence[Axes], norm: Normalize, values: Array, scale: Scale
) -> Colorbar:
    """Draw the scale of colours beside axes; `values`: those that are shown.

    A gap of 0 is the best seen itself, and does not lie beyond the scale.
    """
    shown = values[values > 0] if scale.is_gap else values
    bar = figure.colorbar(ScalarMappable(norm, colors(scale)), ax=axes, extend=beyond(shown, norm), pad=0.02)
    bar.outline.set_visible(False)
    if isinstance(norm, PowerNorm):  # at equal steps of colour, the best value among them
        marks = np.asarray(norm.inverse(np.linspace(0.0, 1.0, 5))).tolist()
        bar.set_ticks(marks, labels=[number(mark, 4) for mark in marks])
    else:
        label_ticks(bar.ax.yaxis, ends_of(norm))
    return bar
