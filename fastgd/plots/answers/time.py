"""The time to a goal against the learning rate: which rates get there, and how fast."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fastgd.analysis import Results
from fastgd.common.errors import InputError, nearest
from fastgd.common.escape import for_picture
from fastgd.common.numbers import number
from fastgd.plots.layout import Layout
from fastgd.plots.limits import limits, spans_decades, zoom
from fastgd.plots.pages import note, only, page_of
from fastgd.plots.readings import label, median_of, methods, time_words
from fastgd.plots.scales import label_ticks
from fastgd.plots.studies.sensitivity import draw_lines, lost_points, mark_beyond, mark_lost, placed_rows
from fastgd.plots.style import Look, dress, key, key_band, key_line, looks, style

_FRACTION = 0.99


def time(
    results: Results,
    target: float | None = None,
    gap: float | None = None,
    fraction: float | None = None,
    unit: str | None = None,
    interpolate: bool = False,
    by: str | None = None,
    hyper: str = "lr",
    problem: str | None = None,
    page: int = 1,
    x_limits: Sequence[float] | None = None,
    y_limits: Sequence[float] | None = None,
) -> Figure:
    """Plot the time to a goal against the learning rate: a line for each optimizer.

    At each rate a line shows the configuration that is fastest over all other hyper-parameters: the median over its
    seeds, and their range as a band. Crosses above the axes mark the rates at which half of the seeds or more of every
    configuration did not get there.

    Parameters
    ----------
    results : Results
        The study's results.
    target, gap, fraction, unit, interpolate, by : optional
        The goal and the unit of time, as in `Results.time_to`; by default `fraction=0.99`.
    hyper : str
        Another numeric hyper-parameter in place of the learning rate.
    problem : str, optional
        The only one to draw.
    page : int
        Of a study of many problems, which of them to draw: the first ones, the next ones, ...
    x_limits, y_limits : (float, float), optional
        The ends of the axes, in place of those that suit the numbers.

    Returns
    -------
    matplotlib.figure.Figure
        The picture.

    Raises
    ------
    InputError
        As in `Results.time_to`; or there are no trials yet, or there is no such hyper-parameter, problem or page.
    """
    chosen = looks(methods(results))
    fraction = _FRACTION if target is None and gap is None and fraction is None else fraction
    table = results.time_to(target, gap, fraction, unit, interpolate, by)
    unit, goal = str(table.attrs["unit"]), str(table.attrs["goal"])
    table = _values(table, unit)
    numeric = [name for name in results.identity if name not in ("n", "d") and table[name].dtype.kind in "if"]
    if hyper not in numeric or table[hyper].isna().all():
        raise InputError(f"this study has no hyper-parameter {hyper!r}; {nearest(hyper, numeric)}")
    table, far = placed_rows(table, hyper)
    tables = {str(name): rows for name, rows in table.groupby("problem", sort=False)}
    every = {name: lost_points(tables[name], hyper, chosen) for name in only(tables, problem)}
    strips = {name: 0.12 * len(names) + 0.01 for name, names in every.items()}
    shown, words = page_of(list(every), page, "problems", [3.5 + inches for inches in strips.values()])
    heights = [inches for name in shown for inches in (strips[name], 3.0)]
    with style():
        layout = Layout(hspace=0.0)  # a strip belongs to the axes below it
        figure = Figure(figsize=(7.2, sum(heights) + 0.4 + 0.5 * len(shown)), layout=layout)
        grid = figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights).reshape(-1, 2)
        for (strip, axes), name in zip(grid, shown, strict=True):
            _panel(axes, tables[name], hyper, chosen, x_limits, y_limits)
            mark_lost(strip, axes, every[name], chosen)
            axes.set(xlabel=label(hyper), ylabel=time_words(unit, goal))
            if len(tables) > 1:
                strip.set_title(for_picture(name))
        drawn = pd.concat([tables[name] for name in shown])
        key(figure, _handles(drawn, results.repeats, any(every[name] for name in shown)))
        note(figure, words, far)
    return figure


def _values(table: pd.DataFrame, unit: str) -> pd.DataFrame:
    """Return times as values of a ranking: infinite where the goal was not reached."""
    found = table.rename(columns={f"{unit}{end}": f"value{end}" for end in ("", "_min", "_max")})
    found = found.astype(dict.fromkeys(found.select_dtypes("category"), object))
    for name in ("value", "value_min", "value_max"):
        found[name] = found[name].astype(np.float64).fillna(np.inf)
    return found


def _panel(
    axes: Axes, table: pd.DataFrame, hyper: str, chosen: Mapping[str, Look], x_limits: object, y_limits: object
) -> None:
    draw_lines(axes, table, hyper, chosen, {}, ("not reached", "not reached"))
    dress(axes)
    limits(axes, table.drop_duplicates(["method", hyper])["value"].to_numpy(dtype=np.float64))
    x = np.unique(table[hyper].dropna().to_numpy(dtype=np.float64))
    if spans_decades(x, 10):
        axes.set_xscale("log")
    if len(x) <= 8:
        axes.set_xticks(x, labels=[number(value) for value in x])
        axes.minorticks_off()
    zoom(axes, x_limits, y_limits)
    if axes.get_yscale() == "log":
        label_ticks(axes.yaxis, axes.get_ylim())
    mark_beyond(axes, table, hyper, chosen, bands=False)


def _handles(table: pd.DataFrame, what: str, missed: bool) -> list[Artist]:
    handles: list[Artist] = []
    if words := median_of(table["trials"], what):
        handles += [key_line(marker="o", markersize=4, label=words), key_band(f"range of the {what}")]
    handles.append(key_line(linestyle="", label="fastest", marker="o", markersize=8, markeredgecolor="black"))
    if missed:
        handles.append(key_line(linestyle="", label="not reached", marker="x", markersize=4))
    return handles
