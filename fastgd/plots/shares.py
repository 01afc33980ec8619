"""Lines of shares that rise in steps, a line for each optimizer: profiles and distributions of times."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from fastgd.common.escape import for_picture
from fastgd.plots.layout import Layout
from fastgd.plots.limits import Array, spans_decades, zoom
from fastgd.plots.scales import label_ticks
from fastgd.plots.style import GREY, Look, dress

# The most corners of a line, which may have one for each of a hundred thousand trials.
_CORNERS = 400


def draw_shares(
    table: pd.DataFrame,
    column: str,
    chosen: Mapping[str, Look],
    names: tuple[str, str],
    x_limits: Sequence[float] | None = None,
) -> Figure:
    """Draw the steps of each method's share, and a key beside the axes, the largest share first.

    Parameters
    ----------
    table : pandas.DataFrame
        `method`, the column, and `share`, which holds from there to the method's next row.
    column : str
        The horizontal column.
    chosen : mapping
        The look of each method.
    names : (str, str)
        Of the horizontal and of the vertical axis.
    x_limits : (float, float), optional
        The ends of the horizontal axis, in place of those that suit the numbers.
    """
    figure = Figure(figsize=(7.2, max(3.6, 1.2 + 0.19 * table["method"].nunique())), layout=Layout())
    axes: Axes = figure.subplots()
    dress(axes)
    x = table[column].to_numpy(dtype=np.float64)
    low, high = _scale(axes, x, table["share"].to_numpy(dtype=np.float64))
    ends: dict[str, tuple[float, float]] = {}
    for method in [name for name in chosen if name in set(table["method"])]:
        own = table[table["method"] == method]
        steps, shares = _thinned(own[column].to_numpy(np.float64), own["share"].to_numpy(np.float64))
        # A line goes on to the right edge, and on a logarithmic axis comes in at the left one.
        steps, shares = np.append(np.maximum(steps, low), high), np.append(shares, shares[-1])
        every = max(1, len(steps) // 12)
        place = list(chosen).index(method) % every
        (line,) = axes.plot(steps, shares, **chosen[method].line(4.5), linewidth=1.5, drawstyle="steps-post")
        line.set(markevery=(place, every), clip_on=False)
        line.set_label(for_picture(f"{method}  {shares[-1]:.0%}"))
        ends[method] = (float(shares[-1]), float(np.trapezoid(shares, np.log1p(steps))))
    axes.set_ylim(-0.02, 1.02)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set(xlabel=names[0], ylabel=names[1])
    zoom(axes, x_limits)
    if axes.get_xscale() == "log":
        label_ticks(axes.xaxis, axes.get_xlim())
    lines = dict(zip(ends, axes.lines, strict=True))
    handles = [lines[name] for name in sorted(ends, key=lambda name: ends[name], reverse=True)]
    legend = axes.legend(
        handles=handles, loc="center left", bbox_to_anchor=(1.01, 0.5), title="share at the end", alignment="left"
    )
    legend.get_title().set_color(GREY)
    return figure


def _scale(axes: Axes, x: Array, shares: Array) -> tuple[float, float]:
    """Set the horizontal limits about the steps, and return them; the axis is logarithmic where they span decades."""
    rises = np.unique(x[(shares > 0) & (x > 0)])
    if not len(rises):
        axes.set_xlim(0.0, 1.0)
        return 0.0, 1.0
    if spans_decades(rises, 10) or x.min() > 0:
        low = float(x[x > 0].min()) if x.min() > 0 else float(rises[0] / 1.5)
        ends = low, max(float(rises[-1]), low) * 1.3
        axes.set_xlim(*ends)  # first: matplotlib looks at them when the scale changes
        axes.set_xscale("log")
    else:
        ends = 0.0, float(rises[-1]) * 1.05
    axes.set_xlim(*ends)
    return ends


def _thinned(steps: Array, shares: Array) -> tuple[Array, Array]:
    if len(steps) <= _CORNERS:
        return steps, shares
    kept = np.unique(np.linspace(0, len(steps) - 1, _CORNERS).round().astype(np.int64))
    return steps[kept], shares[kept]
