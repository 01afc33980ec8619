"""The critical-difference diagram: mean ranks of optimizers, and which of them the data do not tell apart."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fastgd.analysis import Results
from fastgd.common.escape import for_picture
from fastgd.common.numbers import number
from fastgd.plots.layout import Layout
from fastgd.plots.limits import Array
from fastgd.plots.pages import note
from fastgd.plots.readings import methods
from fastgd.plots.style import GREY, Look, looks, style, text_color

_ROW = 0.24  # inches, of a name
_BAR = 0.13  # inches, of a bar that joins what is not told apart


def ranks(
    results: Results,
    by: str | None = None,
    at: str = "final",
    blocks: str | None = None,
    alpha: float = 0.05,
    target: float | None = None,
    gap: float | None = None,
    fraction: float | None = None,
    unit: str | None = None,
) -> Figure:
    """Plot the mean rank of each optimizer, and bars that join those that differ by less than the critical difference.

    The diagram is that of Demsar (2006), JMLR 7, section 3.2.4: the best is at the left, and the length of the critical
    difference (Nemenyi) is above the axis. A line above the
    picture has Friedman's test, whether there is any difference.

    Parameters
    ----------
    results : Results
        The study's results.
    by, at, target, gap, fraction, unit : optional
        By what optimizers are ranked, as in `Results.best`.
    blocks : {"problem", "repeat"}, optional
        In what they are ranked, as in `Results.ranks`.
    alpha : float
        The level of the test.

    Returns
    -------
    matplotlib.figure.Figure
        The picture.

    Raises
    ------
    InputError
        As in `Results.ranks`; or there are no trials yet.
    """
    chosen = looks(methods(results))
    table = results.ranks(by, at, blocks, alpha, target=target, gap=gap, fraction=fraction, unit=unit)
    places = table["mean_rank"].to_numpy(dtype=np.float64)
    distance = float(table.attrs["critical_difference"])
    joined = cliques(places, distance)
    rows = (len(table) + 1) // 2
    below, above = _BAR * (len(joined) + 1) + _ROW * rows, 0.55
    with style():
        figure = Figure(figsize=(7.2, 0.6 + above + below), layout=Layout())
        axes = figure.subplots()
        axes.set_xlim(1 - 0.02 * len(table), max(len(table), 1 + distance) + 0.02 * len(table))
        axes.set_ylim(-below, above)
        axes.axis("off")
        _draw_axis(axes, len(table), distance)
        for row, (first, last) in enumerate(joined):
            ends = places[first] - 0.03, places[last] + 0.03
            axes.plot(ends, [-_BAR * (row + 0.8)] * 2, color=GREY, linewidth=3.2, solid_capstyle="butt", zorder=3)
        _draw_names(axes, table, _BAR * (len(joined) + 1), chosen)
        note(figure, _words(table))
    return figure


def cliques(places: Array, distance: float) -> list[tuple[int, int]]:
    """Return the largest groups of neighbours whose ends are less than a distance apart, as their first and last.

    Parameters
    ----------
    places : ndarray (k,)
        Mean ranks, ascending.
    distance : float
        The critical difference.
    """
    lasts = np.searchsorted(places, places + distance, side="left") - 1
    groups, reached = [], 0
    for first, last in enumerate(lasts.tolist()):
        if last > first and last > reached:
            groups.append((first, last))
            reached = last
    return groups


def _draw_axis(axes: Axes, count: int, distance: float) -> None:
    axes.plot([1, count], [0, 0], color="#222222", linewidth=0.9, zorder=2)
    every = 1 if count <= 20 else 5
    for rank in [1, *range(every if every > 1 else 2, count + 1, every)]:
        axes.plot([rank, rank], [0, 0.06], color="#222222", linewidth=0.9)
        axes.text(rank, 0.09, str(rank), ha="center", va="bottom", fontsize=7.5, color=GREY)
    for end in (1.0, 1 + distance):
        axes.plot([end, end], [0.32, 0.4], color="#222222", linewidth=0.9)
    axes.plot([1, 1 + distance], [0.36, 0.36], color="#222222", linewidth=0.9)
    words = f"critical difference {number(distance)}"
    axes.text(1, 0.43, words, ha="left", va="bottom", fontsize=7.5, color=GREY)


def _draw_names(axes: Axes, table: pd.DataFrame, top: float, chosen: Mapping[str, Look]) -> None:
    """Write the better half at the left and the others at the right, each joined to its place on the axis."""
    left, right = axes.get_xlim()
    half = (len(table) + 1) // 2
    for place, (name, rank) in enumerate(zip(table["method"], table["mean_rank"], strict=True)):
        is_left = place < half
        height = -top - _ROW * ((place if is_left else len(table) - 1 - place) + 0.5)
        look, side = chosen[str(name)], left if is_left else right
        axes.plot([rank, rank, side], [0, height, height], color=look.color, linewidth=0.9, zorder=1)
        mark: dict[str, Any] = {"color": look.color, "markersize": 5 * look.size, "zorder": 4}
        axes.plot(rank, 0, look.marker, **mark, markeredgecolor="white", markeredgewidth=0.4)
        words = (f"{name}  {rank:.2f}", "right", -4) if is_left else (f"{rank:.2f}  {name}", "left", 4)
        axes.annotate(
            for_picture(words[0]), (side, height), (words[2], 0), textcoords="offset points", ha=words[1], va="center",
            fontsize=8, color=text_color(look.color), annotation_clip=False,
        )  # fmt: skip


def _words(table: pd.DataFrame) -> str:
    about = table.attrs
    many = {"problem": "problems", "repeat": "pairs of problem and seed"}[about["blocks"]]
    ranked = f"mean ranks of {str(about['value']).replace('_', ' ')} over {about['count']:,} {many}"
    left = f", {about['left_out']:,} left out" if about["left_out"] else ""
    test = f"Friedman's test: p = {number(about['p_value'], 2)}"
    return f"{ranked}{left}; {test}; bars join what is not told apart at {number(about['alpha'])}"
