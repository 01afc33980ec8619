"""Paired differences: how much worse optimizers are than one of them on the same seeds, with intervals."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fastgd.analysis import Results
from fastgd.common.errors import InputError
from fastgd.common.escape import for_picture
from fastgd.common.numbers import number
from fastgd.plots.layout import Layout
from fastgd.plots.limits import frame_of, zoom
from fastgd.plots.pages import note, only, page_of
from fastgd.plots.readings import UNITS, measure, methods
from fastgd.plots.style import GREY, Look, dress, key, key_line, looks, style, text_color

_ROW = 0.23  # inches, of an optimizer
_ALL = "all problems"


def compare(
    results: Results,
    a: str | Sequence[str] | None = None,
    b: str | None = None,
    by: str | None = None,
    at: str = "final",
    target: float | None = None,
    gap: float | None = None,
    fraction: float | None = None,
    unit: str | None = None,
    problem: str | None = None,
    page: int = 1,
    x_limits: Sequence[float] | None = None,
) -> Figure:
    """Plot the mean paired difference of optimizers or configurations to one of them, with Student's 95 % interval.

    A filled mark is a difference that the data tell: its interval does not hold 0. An open one is tied, and a cross is
    a difference without an interval, of less than two pairs. For the definitions see `Results.compare`.

    Parameters
    ----------
    results : Results
        The study's results.
    a : str or sequence of str, optional
        What to compare: optimizers, methods or ids of trials; by default all other methods.
    b : str, optional
        With what; by default with the method that is best, of several problems by its mean rank.
    by, at, target, gap, fraction, unit : optional
        By what, as in `Results.best`.
    problem : str, optional
        The only one to draw.
    page : int
        Of a study of many problems, which of them to draw: the first ones, the next ones, ...
    x_limits : (float, float), optional
        The ends of the horizontal axis, in place of those that suit the numbers.

    Returns
    -------
    matplotlib.figure.Figure
        The picture.

    Raises
    ------
    InputError
        As in `Results.compare`; or there are no trials yet, or nothing to compare, or no such problem or page.
    """
    chosen = looks(methods(results))
    judge: dict[str, Any] = {"by": by, "target": target, "gap": gap, "fraction": fraction, "unit": unit}
    b = b or str(results.best(at=at, each="method", over="problem", **judge)["method"].iloc[0])
    others = [name for name in chosen if name != b] if a is None else [a] if isinstance(a, str) else list(a)
    if not others:
        raise InputError(f"{b} is the only optimizer of this study: there is nothing to compare it with")
    tables = [results.compare(name, b, at=at, **judge).assign(name=name) for name in others]
    rows, about = pd.concat(tables, ignore_index=True), tables[0].attrs
    every = [name for name in only(rows["problem"], problem) if problem or name != _ALL]
    every += [_ALL] if problem is None and (rows["problem"] == _ALL).any() else []
    counts = {name: int((rows["problem"] == name).sum()) for name in every}
    shown, words = page_of(every, page, "problems", [0.9 + _ROW * counts[name] for name in every])
    with style():
        heights = [0.9 + _ROW * counts[name] for name in shown]
        figure = Figure(figsize=(7.2, 0.6 + sum(heights)), layout=Layout())
        grid = figure.subplots(len(shown), 1, squeeze=False, height_ratios=heights).ravel()
        for axes, name in zip(grid, shown, strict=True):
            _draw(axes, rows[rows["problem"] == name].sort_values("mean_difference"), chosen)
            zoom(axes, x_limits)
            axes.set_xlabel(_axis(results, about, b, name == _ALL))
            if len(every) > 1:
                axes.set_title(for_picture(name))
        key(figure, _handles(rows[rows["problem"].isin(shown)]))
        note(figure, words)
    return figure


def _axis(results: Results, about: Mapping[Any, Any], b: str, overall: bool) -> str:
    """Return the name of an axis: "final validation loss minus that of adam (less is better)"."""
    value = str(about["value"])
    if overall:
        return for_picture(f"mean difference to {b}, as a share of {about['scale_over_problems']}")
    where, _, metric = value.partition("_")
    named = f"{where} {measure(results, metric)}" if where in ("final", "best") else UNITS.get(value, value)
    return f"{named} minus that of {for_picture(b)}, {'less' if about['less_is_better'] else 'more'} is better"


def _draw(axes: Axes, rows: pd.DataFrame, chosen: Mapping[str, Look]) -> None:
    """Draw a row for each comparison, the best at the top."""
    dress(axes)
    axes.grid(False, axis="y")
    axes.axvline(0.0, color="#222222", linewidth=0.9, zorder=2)
    middle, low, high = (rows[name].to_numpy(dtype=np.float64) for name in ("mean_difference", "low", "high"))
    frame = frame_of(np.concatenate([middle, low, high]), always=[0.0], log=False)
    room = 0.05 * (frame.high - frame.low or 1.0)
    axes.set_xlim(frame.low - room, frame.high + room)
    tied = rows["tied"].to_numpy(dtype=object)
    for place, name in enumerate(rows["name"]):
        look = chosen.get(str(name), Look(GREY, "o", "solid", 1.0))
        axes.plot([low[place], high[place]], [place, place], color=look.color, linewidth=1.6, zorder=3)
        known = not pd.isna(tied[place])
        mark: dict[str, Any] = {"markersize": 6.5 * look.size, "color": look.color, "zorder": 4}
        if not known:
            mark |= {"marker": "x", "markeredgewidth": 1.5}
        else:
            mark |= {"marker": look.marker, "markerfacecolor": "white" if tied[place] else look.color}
        where = float(np.clip(middle[place], *axes.get_xlim())) if np.isfinite(middle[place]) else axes.get_xlim()[1]
        axes.plot(where, place, linestyle="", clip_on=False, **mark)
        if where != middle[place]:  # beyond the axes, or infinite
            far = number(middle[place]) if np.isfinite(middle[place]) else "diverged"
            side = ("left", 7) if where < middle[place] or not np.isfinite(middle[place]) else ("right", -7)
            axes.annotate(far, (where, place), (side[1], 0), textcoords="offset points", va="center", ha=side[0],
                          fontsize=7, color=GREY, annotation_clip=False)  # fmt: skip
    axes.set_yticks(range(len(rows)), labels=[for_picture(name) for name in rows["name"]])
    for tick, name in zip(axes.get_yticklabels(), rows["name"], strict=True):
        tick.set_color(text_color(chosen[str(name)].color) if str(name) in chosen else GREY)
    axes.set_ylim(len(rows) - 0.5, -0.5)


def _handles(rows: pd.DataFrame) -> list[Artist]:
    tied, pairs = rows["tied"], rows["pairs"]
    least, most = int(pairs.min()), int(pairs.max())
    told = f"{least:,} pairs" if least == most else f"{least:,} to {most:,} pairs"
    handles: list[Artist] = [key_line(linewidth=1.6, label=f"95 % interval of the mean, {told}")]
    if (~tied.fillna(True)).any():
        handles.append(key_line(linestyle="", marker="o", markersize=6, label="the data tell them apart"))
    if tied.fillna(False).any():
        handles.append(key_line(linestyle="", marker="o", markersize=6, markerfacecolor="white", label="tied"))
    if tied.isna().any():
        handles.append(key_line(linestyle="", marker="x", markersize=6, label="not known"))
    return handles
