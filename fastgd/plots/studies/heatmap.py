"""Heatmap: where each optimizer ends, over two of its hyper-parameters."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from fastgd.analysis import Results
from fastgd.common.errors import InputError, nearest
from fastgd.common.escape import for_picture
from fastgd.common.numbers import number
from fastgd.plots.cells import cells
from fastgd.plots.color_scales import BETTER, color_bar, colors, ends_of, norm_of
from fastgd.plots.layout import Layout
from fastgd.plots.limits import Array, pair
from fastgd.plots.pages import blocks_of, note, only, page_of
from fastgd.plots.readings import label, lost_words, methods, settings, valued_ranking
from fastgd.plots.scales import Scale, noise_of, scale_of, start_of
from fastgd.plots.style import dress_map, head, key, key_line, looks, panels, shape, stacked, style

_ROW = 2.5  # inches
LOST: dict[str, Any] = {"facecolor": "#f2f2f2", "edgecolor": "#b3b3b3", "hatch": "////", "linewidth": 0}
STAR: dict[str, Any] = {"marker": "*", "color": "white", "markersize": 11, "markeredgecolor": "black", "linestyle": ""}
_NOISE: dict[str, Any] = {"color": "#d55e00", "linewidth": 1.6}

# Columns that say what a configuration minimises and with which optimizer; the others are its settings.
ABOUT = ("problem", "dataset", "landscape", "loss", "n", "d", "noise", "optimizer", "variant")


def heatmap(
    results: Results,
    x: str = "lr",
    y: str | None = None,
    by: str | None = None,
    at: str = "final",
    problem: str | None = None,
    page: int = 1,
    scale: str | None = None,
    x_limits: Sequence[float] | None = None,
    y_limits: Sequence[float] | None = None,
    limits: Sequence[float] | None = None,
) -> Figure:
    """Plot the final loss, by default its gap, over two hyper-parameters as colours: axes for each optimizer.

    A cell shows the configuration that is best over all other hyper-parameters, as the median over its seeds. Colours
    end at the loss before the first step, and are spread such that small differences near the best one show. Single
    values far below all others do not stretch them: these cells have a colour of their own.

    A gap is measured from the minimum of the configuration's objective (`Results.minima`), or of the validation loss
    from the least one that any trial of the problem had; the scale of colours says which, and a mark on it by how much
    seeds differ: the median over the optimizers' best configurations.

    Parameters
    ----------
    results : Results
        The study's results.
    x, y : str
        Columns of the configurations, numbers or not: hyper-parameters, `batch_size`, `l2`, `schedule`, ... By default
        y is the one of an optimizer with the most values.
    by, at : str, optional
        What to show, as in `Results.best`: a loss or another metric.
    problem : str, optional
        The only one to draw.
    page : int
        Of a study of many problems or optimizers, which of them to draw: the first ones, the next ones, ...
    scale : {"gap", "loss", "log"}, optional
        Colours over the logarithm of the gap (the default), over the loss, or over its logarithm.
    x_limits, y_limits : (float, float), optional
        Draw only cells whose values of x and y are between these.
    limits : (float, float), optional
        The ends of the scale of colours, in place of those that suit the numbers.

    Returns
    -------
    matplotlib.figure.Figure
        The picture.

    Raises
    ------
    InputError
        A column or scale does not exist, or no optimizer has several values of both; or there is no such problem or
        page.
    """
    chosen = looks(methods(results))
    ranking, metric = valued_ranking(results, by, at)
    shown_as = scale_of(results, metric, scale)
    noise = noise_of(results, ranking) if shown_as.is_gap else {}
    ranking = shown_as.ranking(ranking)
    maps = [_zoomed(found, x, x_limits, y_limits) for found in maps_of(results, ranking, x, y, list(chosen))]
    start = start_of(results, shown_as)
    problems = only(dict.fromkeys(found.problem for found in maps), problem)
    blocks = blocks_of(maps, problems)
    rows, columns = shape(max(map(len, blocks)))
    what = "problems" if len(blocks) == len(problems) else "parts"
    blocks, words = page_of(blocks, page, what, [_ROW * rows] * len(blocks))
    with style():
        size = (1.3 + 2.6 * max(columns, 1.4), 0.5 + _ROW * rows * len(blocks))
        figure = Figure(figsize=size, layout=Layout())
        parts, below, floors = stacked(figure, len(blocks)), list[Array](), list[float]()
        for part, own in zip(parts, blocks, strict=True):
            name = own[0].problem
            values = np.concatenate([found.table["value"] for found in maps if found.problem == name])
            norm = norm_of(values, start[name], shown_as, limits)
            # A gap of 0 is the best seen itself, which has the star and the first colour.
            told = values[values > 0] if shown_as.is_gap else values
            below.append(told[(told < ends_of(norm)[0]) & (not shown_as.more_is_better)])
            grid = panels(part, len(own), share_x=False, share_y=False)
            for axes, found in zip(grid, own, strict=True):
                _draw(axes, found, x, norm, shown_as)
                head(axes, found.optimizer, found.best, "", chosen[found.method].color, 2.0)
            bar = color_bar(part, grid, norm, values, shown_as)
            words_of = f"{at} {shown_as.words(results, [name])}"
            bar.set_label(words_of + (f", {for_picture(name)}" if len(problems) > 1 else ""))
            spread, (low, high) = noise.get(name, 0.0), ends_of(norm)
            if low < spread < high:
                bar.ax.axhline(spread, **_NOISE)
                floors.append(spread)
        shown = np.concatenate([found.table["value"] for own in blocks for found in own])
        key(figure, _handles(results, shown, np.concatenate(below), floors))
        note(figure, words, left_out(chosen, maps))
    return figure


@dataclass(frozen=True)
class Map:
    """An optimizer's results on one problem over two columns.

    Parameters
    ----------
    problem, method, optimizer : str
        Their names.
    y : str
        The vertical column.
    table : pandas.DataFrame
        The best configuration of each cell, best first.
    best : str
        The best cell in words.
    """

    problem: str
    method: str
    optimizer: str
    y: str
    table: pd.DataFrame
    best: str


def maps_of(
    results: Results, ranking: pd.DataFrame, x: str, y: str | None, order: list[str], kind: str = "heatmap"
) -> list[Map]:
    """Return the maps of the optimizers that have several values of both columns, in the order of the study.

    Parameters
    ----------
    results : Results
    ranking : pandas.DataFrame
        Configurations, best first, with `method` and a `value`.
    x, y : str
        The columns; without y the one with the most values.
    order : list of str
        The study's methods.
    kind : str
        The picture, for messages.

    Raises
    ------
    InputError
        A column does not exist, or no optimizer has several values of both.
    """
    columns = [name for name in results.identity if name not in ABOUT]
    for name in (x, y):
        if name is not None and name not in columns:
            raise InputError(f"this study has no hyper-parameter {name!r}; {nearest(name, columns)}")
    maps = []
    for (problem, method), rows in ranking.groupby(["problem", "method"], sort=False):
        several = {name: rows[name].nunique() for name in columns if rows[name].nunique() > 1 and name != x}
        if rows[x].nunique() > 1 and (y in several if y else several):
            vertical = y or max(several, key=lambda name: several[name])
            table = rows.dropna(subset=[x, vertical]).drop_duplicates([x, vertical])
            best = table.iloc[0]
            words = settings(best, [x, vertical])
            maps.append(Map(str(problem), str(method), str(best["optimizer"]), vertical, table, words))
    if not maps:
        raise InputError(
            f"no optimizer of this study has several values of {label(x)} and of {label(y) if y else 'another'}: "
            f"a {kind} needs two hyper-parameters that vary"
        )
    return sorted(maps, key=lambda found: order.index(found.method))


def left_out(order: Iterable[str], maps: Iterable[Map]) -> str:
    """Return in words which methods have no map; empty where all have one."""
    shown = {found.method for found in maps}
    missing = [name for name in order if name not in shown]
    return f"not shown, as only one hyper-parameter of theirs varies: {', '.join(missing)}" if missing else ""


def _zoomed(found: Map, x: str, x_limits: Any, y_limits: Any) -> Map:
    """Return the part of a map whose columns have values within limits."""
    table = found.table
    for column, given, name in ((x, x_limits, "x_limits"), (found.y, y_limits, "y_limits")):
        ends = pair(given, name)
        if ends is None:
            continue
        if table[column].dtype.kind not in "if":
            raise InputError(f"{name}: the values of {label(column)} are no numbers")
        kept = table[table[column].between(*ends)]
        if kept.empty:
            values = ", ".join(map(number, np.unique(table[column])[:8]))
            raise InputError(
                f"{name}: {label(column)} has no value from {ends[0]:g} to {ends[1]:g}; there are {values}"
            )
        table = kept
    return found if table is found.table else replace(found, table=table, best=settings(table.iloc[0], [x, found.y]))


def _draw(axes: Axes, found: Map, x: str, norm: Normalize, scale: Scale) -> None:
    """Draw the cells of a map, and a star in the best one."""
    table = found.table.pivot(index=found.y, columns=x, values="value")
    columns, rows = cells(axes, "x", table.columns.to_numpy()), cells(axes, "y", table.index.to_numpy())
    values = table.to_numpy(dtype=np.float64)
    if scale.is_gap:
        values = np.where(values <= 0, ends_of(norm)[0], values)
    run = found.table.assign(run=True).pivot(index=found.y, columns=x, values="run").notna().to_numpy()
    # Masked cells show the hatch below them: there even the best configuration diverged.
    axes.set_facecolor(LOST["facecolor"])
    axes.patch.set(hatch=LOST["hatch"], edgecolor=LOST["edgecolor"])
    seen = np.ma.masked_invalid(values)
    if isinstance(norm, LogNorm):  # it would mask values that are not positive
        seen = np.ma.masked_invalid(np.where(values > 0, values, np.where(np.isnan(values), np.nan, 1e-300)))
    axes.pcolormesh(columns.edges, rows.edges, seen, norm=norm, cmap=colors(scale), rasterized=True)
    never_run = np.ma.masked_where(run, np.zeros_like(values))
    axes.pcolormesh(columns.edges, rows.edges, never_run, cmap=ListedColormap(["white"]), rasterized=True)
    best = found.table.iloc[0]
    if np.isfinite(best["value"]):
        row, column = table.index.get_loc(best[found.y]), table.columns.get_loc(best[x])
        axes.plot(columns.centers[column], rows.centers[row], **STAR)
    axes.set_xlabel(label(x))
    axes.set_ylabel(label(found.y))
    dress_map(axes)


def _handles(results: Results, values: Array, below: Array, floors: Sequence[float]) -> list[Artist]:
    """Return the key of the marks; `below`: values below the scales of their problems, `floors`: the seeds' noise."""
    handles: list[Artist] = [key_line(label="best", **STAR)]
    if not np.isfinite(values).all():
        handles.append(Patch(label=lost_words(results, values), **LOST))
    if len(below):
        handles.append(Patch(facecolor=BETTER, label=f"below the scale, down to {number(below.min())}"))
    if floors:
        spread = number(floors[0], 2) if len(floors) == 1 else f"{number(min(floors), 2)} to {number(max(floors), 2)}"
        handles.append(key_line(label=f"on the scale: {results.spread_over} differ by {spread}", **_NOISE))
    return handles
