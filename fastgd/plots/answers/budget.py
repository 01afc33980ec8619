"""What a budget of trials buys: the best of k random configurations of each optimizer, as it is expected to be."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fastgd.analysis import Results
from fastgd.common.escape import for_picture
from fastgd.common.numbers import number
from fastgd.plots.layout import Layout
from fastgd.plots.limits import drawable, limits, zoom
from fastgd.plots.pages import note, only, page_of
from fastgd.plots.readings import methods
from fastgd.plots.scales import Scale, label_ticks, over_problems, scale_of
from fastgd.plots.style import GREY, Look, dress, key, key_band, key_line, looks, style

_HEIGHT = 3.4  # inches, of the axes of a problem
_MANY = 8  # from more optimizers on, only the best one has a band


def budget(
    results: Results,
    by: str | None = None,
    at: str = "final",
    interval: float = 0.9,
    replacement: bool = True,
    problem: str | None = None,
    page: int = 1,
    scale: str | None = None,
    x_limits: Sequence[float] | None = None,
    y_limits: Sequence[float] | None = None,
) -> Figure:
    """Plot what the best of k random configurations of an optimizer is expected to be, a line for each optimizer.

    Where lines cross, the better optimizer depends on how many configurations one can afford. Bands hold the best of
    the k with a probability, by default 90 %. For the definitions see `Results.budget`.

    Parameters
    ----------
    results : Results
        The study's results.
    by, at : str, optional
        As in `Results.best`; a metric.
    interval : float
        The probability of the bands.
    replacement : bool
        Whether a configuration may be drawn again.
    problem : str, optional
        The only one to draw.
    page : int
        Of a study of many problems, which of them to draw: the first ones, the next ones, ...
    scale : {"gap", "loss", "log"}, optional
        The gap on a logarithmic axis (the default), the metric, or the metric on a logarithmic axis.
    x_limits, y_limits : (float, float), optional
        The ends of the axes, in place of those that suit the numbers.

    Returns
    -------
    matplotlib.figure.Figure
        The picture.

    Raises
    ------
    InputError
        As in `Results.budget`; or there are no trials yet, or there is no such problem, page or scale.
    """
    chosen = looks(methods(results))
    table = results.budget(by, at, interval, replacement)
    value = str(table.attrs["value"])
    shown_as = over_problems(scale_of(results, value.removeprefix(f"{at}_"), scale))
    table = table.rename(columns={f"expected_{value}": "value", "low": "value_min", "high": "value_max"})
    table = shown_as.ranking(table.astype({"problem": str, "method": str}))
    shown, words = page_of(named := only(table["problem"], problem), page, "problems", [_HEIGHT] * len(named))
    unknown = int(table.attrs.get("unknown", 0))
    with style():
        figure = Figure(figsize=(7.2, 0.5 + _HEIGHT * len(shown)), layout=Layout())
        for axes, name in zip(figure.subplots(len(shown), 1, squeeze=False).ravel(), shown, strict=True):
            _draw(axes, table[table["problem"] == name], chosen, shown_as)
            _scale(axes, table[table["problem"] == name], shown_as)
            zoom(axes, x_limits, y_limits)
            for axis, ends in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
                if axis.get_scale() == "log":
                    label_ticks(axis, ends)
            axes.set_xlabel("configurations tried at random")
            axes.set_ylabel(f"expected {at} {shown_as.words(results, [name])}")
            if len(named) > 1:
                axes.set_title(for_picture(name))
        whose = ", of the best optimizer" if len(chosen) > _MANY else ""
        key(figure, [key_line(linewidth=1.6, label="expected"), key_band(f"{interval:.0%} of searches{whose}")])
        left = f"left out: {unknown:,} configurations that ran out of time or lost a race" if unknown else ""
        note(figure, words, left)
    return figure


def _draw(axes: Axes, table: pd.DataFrame, chosen: Mapping[str, Look], scale: Scale) -> None:
    """Draw each optimizer's line, and a key beside the axes, the best at the largest budget first."""
    last = table.groupby("method", sort=False)["value"].last()
    order = last.sort_values(kind="stable", ascending=not scale.more_is_better).index
    for method in order:
        own, look = table[table["method"] == method], chosen[str(method)]
        x, y, low, high = (own[name].to_numpy(np.float64) for name in ("trials", "value", "value_min", "value_max"))
        if len(order) <= _MANY or method == order[0]:
            axes.fill_between(x, drawable(low), drawable(high), color=look.color, alpha=0.15, linewidth=0, zorder=2)
        words = for_picture(f"{method}  {number(y[-1])} after {int(x[-1]):,}")
        axes.plot(x, drawable(y), **look.line(4), linewidth=1.6, markevery=max(1, len(x) // 12), label=words, zorder=3)
    legend = axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), title="expected at the end", alignment="left")
    legend.get_title().set_color(GREY)


def _scale(axes: Axes, table: pd.DataFrame, scale: Scale) -> None:
    dress(axes)
    values = table["value"].to_numpy(dtype=np.float64)
    limits(axes, values, log=scale.log)
    most = float(table["trials"].max())
    axes.set_xlim(1.0, max(most, 2.0))
    if most > 10:
        axes.set_xscale("log")
        axes.set_xlim(1.0, most)
