"""Parallel coordinates: every configuration over all hyper-parameters that vary, coloured by where it ended."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize, to_rgba
from matplotlib.figure import Figure

from fastgd.analysis import Results
from fastgd.common.errors import InputError, nearest
from fastgd.common.escape import for_picture
from fastgd.common.numbers import number
from fastgd.plots.color_scales import color_bar, colors, ends_of, norm_of
from fastgd.plots.layout import Layout
from fastgd.plots.limits import Array, placed, spans_decades
from fastgd.plots.pages import note, only, page_of
from fastgd.plots.readings import label, lost_words, methods, settings, valued_ranking, varied
from fastgd.plots.scales import Scale, scale_of, start_of
from fastgd.plots.studies.heatmap import ABOUT
from fastgd.plots.style import GREY, halo, key, key_line, style

_HEIGHT = 3.4  # inches, of a problem
_PLACES = 120  # on an axis: values that are closer could not be told apart, and share a line
_TICKS = 7  # the most labels of an axis of numbers
_NAMES = 20  # the most of an axis of names
_NONE = -0.1  # where a configuration without a hyper-parameter crosses its axis
_MOST = 12  # axes, of which a page has room for the names
_LOST = "#c4c4c4"
_TICK: dict[str, Any] = {
    **{"xytext": (3, 0), "textcoords": "offset points", "va": "center"},
    **{"fontsize": 7, "zorder": 5, "path_effects": halo(2.0)},
}
_BEST: dict[str, Any] = {"color": "black", "linewidth": 1.6}


def parallel(
    results: Results,
    by: str | None = None,
    at: str = "final",
    columns: Sequence[str] | str | None = None,
    problem: str | None = None,
    page: int = 1,
    scale: str | None = None,
    limits: Sequence[float] | None = None,
) -> Figure:
    """Plot each configuration as a line through its values of all hyper-parameters: which of these decide the loss.

    Where lines of one colour meet on an axis, its value decides. A line has the colour of the best configuration that
    goes through it, as the median over the seeds, and good ones lie before bad ones; it is grey where all of them are
    lost. The best configuration of the problem is black. A configuration without a hyper-parameter passes below its
    axis.

    Parameters
    ----------
    results : Results
        The study's results.
    by, at : str, optional
        What to show, as in `Results.best`: a loss or another metric.
    columns : sequence of str, optional
        The axes: "method" and columns of the configurations; by default those in which
        configurations of one optimizer differ.
    problem : str, optional
        The only one to draw.
    page : int
        Of a study of many problems, which of them to draw: the first ones, the next ones, ...
    scale : {"gap", "loss", "log"}, optional
        Colours over the logarithm of the gap (the default), over the loss, or over its logarithm.
    limits : (float, float), optional
        The ends of the scale of colours, in place of those that suit the numbers.

    Returns
    -------
    matplotlib.figure.Figure
        The picture.

    Raises
    ------
    InputError
        A column or scale does not exist, or fewer than two columns differ; or there is no such problem or page.
    """
    order = methods(results)
    ranking, metric = valued_ranking(results, by, at)
    names, words = _columns(results, ranking, columns)
    shown_as = scale_of(results, metric, scale)
    ranking, start = shown_as.ranking(ranking), start_of(results, shown_as)
    tables = {str(name): rows for name, rows in ranking.groupby("problem", sort=False)}
    shown, paged = page_of(only(tables, problem), page, "problems", [_HEIGHT] * len(tables))
    with style():
        width = min(3.0 + 1.05 * len(names), 14.0)
        figure = Figure(figsize=(width, 0.5 + _HEIGHT * len(shown)), layout=Layout())
        for axes, name in zip(figure.subplots(len(shown), 1, squeeze=False).ravel(), shown, strict=True):
            own = tables[name]
            norm = norm_of(own["value"].to_numpy(dtype=np.float64), start[name], shown_as, limits)
            axes.set_ylim(-0.16 if own[names].isna().any(axis=None) else -0.04, 1.04)
            across = [_axis(own, column, order) for column in names]
            _draw(axes, own, across, norm, shown_as)
            _draw_axes(axes, across)
            _frame(axes, names)
            if len(tables) > 1:
                axes.set_title(for_picture(name), pad=20)
            bar = color_bar(figure, axes, norm, own["value"].to_numpy(dtype=np.float64), shown_as)
            bar.set_label(f"{at} {shown_as.words(results, [name])}")
        best = settings(tables[shown[0]].iloc[0], [one for one in names if one != "method"]) if len(shown) == 1 else ""
        key(figure, _handles(results, pd.concat([tables[name] for name in shown]), best))
        note(figure, paged, words)
    return figure


def _columns(results: Results, ranking: pd.DataFrame, asked: Any) -> tuple[list[str], str]:
    """Return the columns that are axes, and in words which ones are left out."""
    known = ["method", *(name for name in results.identity if name not in ABOUT)]
    if asked is not None:
        names = [asked] if isinstance(asked, str) else list(asked)
        for name in names:
            if name not in known:
                raise InputError(f"this study has no hyper-parameter {name!r}; {nearest(name, known)}")
        if len(set(names)) < 2 or len(set(names)) < len(names):
            raise InputError(f"parallel coordinates need two different columns or more, found {names}")
        return names, ""
    # What differs between optimizers alone says no more than their names.
    differ = {name for _, own in ranking.groupby("method") for name in varied(results, own)}
    differ |= {"method"} if ranking["method"].nunique() > 1 else set()
    names = [name for name in known if name in differ]
    if len(names) < 2:
        which = f"only in {label(names[0])}" if names else "in nothing"
        raise InputError(f"configurations of this study differ {which}: parallel coordinates need two columns or more")
    left = names[_MOST:]
    return names[:_MOST], f"not shown: {', '.join(map(label, left))}; columns = [...] chooses" if left else ""


@dataclass(frozen=True)
class Axis:
    """An axis: where each configuration crosses it, and its labels at their places, from 0 to 1."""

    places: Array
    ticks: Array
    labels: list[str]


def _axis(ranking: pd.DataFrame, column: str, order: Sequence[str]) -> Axis:
    """Lay out an axis: logarithmic for values over decades, else linear; names at equal distances."""
    values = ranking[column]
    if values.dtype.kind not in "if":
        return _axis_of_names(values, order if column == "method" else [])
    numbers = values.to_numpy(dtype=np.float64)
    there = ~np.isnan(numbers) & placed(numbers)
    seen = np.unique(numbers[there])
    if not len(seen):
        return Axis(np.full(len(numbers), _NONE), np.zeros(0), [])
    log = len(seen) > 1 and spans_decades(seen, 10)
    low, high = (np.log(seen[[0, -1]]) if log else seen[[0, -1]]).tolist()

    def place(of: Array) -> Array:
        return ((np.log(of) if log else of) - low) / (high - low) if high > low else np.full(len(of), 0.5)

    places = np.full(len(numbers), _NONE)
    places[there] = place(numbers[there])
    shown = seen[np.unique(np.linspace(0, len(seen) - 1, min(_TICKS, len(seen))).round().astype(np.int64))]
    return Axis(places, place(shown), [number(value) for value in shown])


def _axis_of_names(values: "pd.Series[Any]", order: Sequence[str]) -> Axis:
    names = [str(name) for name in values.dropna().unique()]
    names = sorted(names, key=lambda name: (list(order).index(name) if name in order else len(order), name))
    at = {name: (place / (len(names) - 1) if len(names) > 1 else 0.5) for place, name in enumerate(reversed(names))}
    places = values.astype(object).map(lambda name: at.get(str(name), _NONE)).to_numpy(dtype=np.float64)
    every = math.ceil(len(names) / _NAMES)
    shown = [name or "plain" for name in names[::every]]
    return Axis(places, np.array([at[name] for name in names[::every]]), [for_picture(name) for name in shown])


def _draw(axes: Axes, ranking: pd.DataFrame, across: Sequence[Axis], norm: Normalize, scale: Scale) -> None:
    """Draw lines between neighbouring axes: one for all configurations whose values are the same on both."""
    values = ranking["value"].to_numpy(dtype=np.float64)
    lost = ~np.isfinite(values)
    badness = np.where(lost, np.inf, -values if scale.more_is_better else values)
    for i, (left, right) in enumerate(pairwise(across)):
        ends = np.round(np.column_stack([left.places, right.places]) * _PLACES).astype(np.int64)
        # Lost ones come first in a group of equal lines only where there is no other.
        order = np.lexsort((badness, ends[:, 1], ends[:, 0]))
        first = np.flatnonzero(np.any(np.diff(ends[order], axis=0, prepend=-(10**6)), axis=1))
        best = order[first]
        best = best[np.argsort(badness[best], kind="stable")[::-1]]  # the best in front
        heights = ends[best] / _PLACES
        lines = np.stack([np.broadcast_to([i, i + 1.0], heights.shape), heights], axis=2)
        shown = colors(scale)(np.asarray(norm(np.clip(values[best], *ends_of(norm)))))
        shown[lost[best]] = to_rgba(_LOST)
        axes.add_collection(
            LineCollection(
                list(lines), colors=shown, linewidths=np.where(lost[best], 0.6, 1.1), rasterized=len(best) > 500
            ),
            autolim=False,
        )
    if len(values) and not lost[0]:
        axes.plot(range(len(across)), [axis.places[0] for axis in across], **_BEST, path_effects=halo(3.5), zorder=4)


def _draw_axes(axes: Axes, across: Sequence[Axis]) -> None:
    """Draw the axes with their labels."""
    for i, axis in enumerate(across):
        axes.axvline(i, color=GREY, linewidth=0.8, zorder=3)
        for height, text in zip(axis.ticks, axis.labels, strict=True):
            axes.annotate(text, (i, height), **_TICK)
        if (axis.places == _NONE).any():
            axes.annotate("none", (i, _NONE), color=GREY, **_TICK)


def _frame(axes: Axes, names: Sequence[str]) -> None:
    """Name the axes above them, and leave room for the labels of the last one."""
    axes.set_xlim(-0.05, len(names) - 1 + 0.35)
    axes.set_xticks(range(len(names)), labels=["optimizer" if name == "method" else label(name) for name in names])
    axes.xaxis.tick_top()
    axes.tick_params(length=0, labelsize=8)
    axes.yaxis.set_visible(False)
    axes.spines[:].set_visible(False)


def _handles(results: Results, ranking: pd.DataFrame, best: str) -> list[Artist]:
    values = ranking["value"].to_numpy(dtype=np.float64)
    handles: list[Artist] = []
    if np.isfinite(values).any():
        told = f": {ranking['method'].iloc[0]} {best}" if best else ""
        handles.append(key_line(label=for_picture(f"best{told}"), **_BEST))
    if not np.isfinite(values).all():
        handles.append(key_line(label=lost_words(results, values), color=_LOST, linewidth=1.5))
    return handles
