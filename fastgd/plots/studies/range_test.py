"""The picture of a range test: the loss along a rate that grew, and the rate to try."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fastgd.analysis import Results
from fastgd.common.escape import for_picture
from fastgd.common.numbers import number
from fastgd.plots.layout import Layout
from fastgd.plots.limits import drawable, limits, mark_outside, tell_outside
from fastgd.plots.pages import note, only, page_of
from fastgd.plots.readings import label, measure, median_of, methods, settings
from fastgd.plots.style import GREY, OUTLINED, Look, dress, key, key_line, looks, mark_start, style
from fastgd.search.rate_sweeps import SUGGESTED, RateSweep, sweeps_of

_ROOM = 0.35  # of the fall from the start to the least loss: the height above the start in which lines blow up


def range_(results: Results, by: str | None = None, problem: str | None = None, page: int = 1) -> Figure:
    """Plot the loss of a range test against the rate: a line for each optimizer, and a mark at the rate to try.

    The line of an optimizer is that of the configuration with the least loss, smoothed, before its values as they were
    recorded; other configurations are thin. Each problem and batch size has axes of its own. Lines are medians over the
    seeds.

    Parameters
    ----------
    results : Results
        Those of `fastgd.range_test`.
    by : str, optional
        The loss, as in `Results.best`.
    problem : str, optional
        The only one to draw.
    page : int
        Of a study of many problems and batch sizes, which of them to draw: the first ones, the next ones, ...

    Returns
    -------
    matplotlib.figure.Figure
        The picture.

    Raises
    ------
    InputError
        In none of the trials did the rate grow; or there is no such problem or page.
    """
    chosen, metric = looks(methods(results)), results.metric(by)
    sweeps = sweeps_of(results, by)
    named = only((sweep.configuration["problem"] for sweep in sweeps), problem)
    sweeps = [sweep for sweep in sweeps if sweep.configuration["problem"] in named]
    every = _cells(results, sweeps)
    shown, words = page_of(list(every), page, "panels", [3.1] * len(every))
    cells = {name: every[name] for name in shown}
    with style():
        figure = Figure(figsize=(7.2, 0.5 + 3.1 * len(cells)), layout=Layout())
        for axes, (name, own) in zip(figure.subplots(len(cells), squeeze=False).ravel(), cells.items(), strict=True):
            _draw(axes, own, chosen, _hyper_that_differs(results, sweeps))
            _scale(axes, own)
            _mark_beyond(axes, own, chosen)
            axes.set_xlabel(label("lr"))
            axes.set_ylabel(measure(results, metric))
            if len(every) > 1:
                axes.set_title(for_picture(name))
        _key(figure, [sweep for own in cells.values() for sweep in own], results.repeats)
        note(figure, words)
    return figure


def _cells(results: Results, sweeps: Sequence[RateSweep]) -> dict[str, list[RateSweep]]:
    """Return the sweeps of each problem and batch size, by the title of their axes."""
    columns = [name for name in ("problem", "l2", "batch_size") if name in results.identity]
    varied = [name for name in columns if len({sweep.configuration[name] for sweep in sweeps}) > 1]
    cells: dict[str, list[RateSweep]] = {}
    for sweep in sweeps:
        about = sweep.configuration
        words = [str(about[name]) if name == "problem" else f"{label(name)} {number(about[name])}" for name in varied]
        cells.setdefault(", ".join(words), []).append(sweep)
    return dict(sorted(cells.items(), key=lambda cell: [cell[1][0].configuration[name] for name in varied]))


def _hyper_that_differs(results: Results, sweeps: Sequence[RateSweep]) -> list[str]:
    """Return the hyper-parameters in which configurations of one optimizer differ."""
    values: dict[str, dict[str, set[Any]]] = {}
    for sweep in sweeps:
        for name in results.hyper:
            value = sweep.configuration[name]
            if value == value:
                values.setdefault(name, {}).setdefault(sweep.configuration["method"], set()).add(value)
    return [name for name, own in values.items() if any(len(found) > 1 for found in own.values())]


def _draw(axes: Axes, sweeps: Sequence[RateSweep], chosen: Mapping[str, Look], differing: Sequence[str]) -> None:
    """Draw the sweeps of one problem, and list the rates to try beside the axes, in the order of the study."""
    best: dict[str, RateSweep] = {}
    for sweep in sorted(sweeps, key=lambda sweep: float(np.min(sweep.smooth))):
        method = sweep.configuration["method"]
        if best.setdefault(method, sweep) is not sweep:
            axes.plot(sweep.rates, _seen(sweep, sweep.smooth), color=chosen[method].color, linewidth=0.7, alpha=0.45)
    for method in [name for name in chosen if name in best]:
        look, sweep = chosen[method], best[method]
        axes.plot(sweep.rates, _seen(sweep, sweep.loss), color=look.color, linewidth=0.8, alpha=0.35, zorder=2)
        every = max(1, len(sweep.rates) // 16)
        (line,) = axes.plot(sweep.rates, _seen(sweep, sweep.smooth), **look.line(4.5), linewidth=1.8, zorder=3)
        line.set(markevery=(list(chosen).index(method) * 5 % every, every), label=_name(sweep, differing))
        if sweep.suggestion == sweep.suggestion:
            height = np.interp(np.log(sweep.suggestion), np.log(sweep.rates), sweep.smooth)
            axes.plot(sweep.suggestion, height, **look.outlined(9), zorder=5)
    legend = axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), title="rate to try", alignment="left")
    legend.get_title().set_color(GREY)


def _name(sweep: RateSweep, differing: Sequence[str]) -> str:
    """Return the name of a line: the method, the rate to try, and the values of some hyper-parameters."""
    rate = number(sweep.suggestion) if sweep.suggestion == sweep.suggestion else "none"
    own = settings(pd.Series({**sweep.configuration, "variant": ""}), differing)
    return for_picture(f"{sweep.configuration['method']}  {rate}") + (f"\n{for_picture(own)}" if own else "")


def _seen(sweep: RateSweep, loss: Any) -> Any:
    """Return a line up to the place where it first leaves the axes after its least loss."""
    values = np.array(drawable(loss))
    place = int(np.argmin(sweep.smooth))
    gained = max(sweep.start - float(np.min(sweep.loss)), 0.0)
    above = np.flatnonzero(values[place:] > sweep.start + 0.9 * gained)  # smoothed ones go no higher than 1
    if len(above):
        values[place + int(above[0]) + 1 :] = np.nan
    return values


def _scale(axes: Axes, sweeps: Sequence[RateSweep]) -> None:
    dress(axes)
    start = float(np.median([sweep.start for sweep in sweeps]))
    lowest = np.array([np.min(sweep.smooth) for sweep in sweeps])
    limits(axes, np.minimum(lowest, start), [start])
    low, high = axes.get_ylim()
    log = axes.get_yscale() == "log"
    axes.set_ylim(low, high * (high / low) ** (_ROOM / 2) if log else high + _ROOM * (start - low or 1.0))
    axes.set_xscale("log")
    axes.set_xlim(_left(sweeps), max(float(sweep.rates[-1]) for sweep in sweeps))
    mark_start(axes, start)


def _mark_beyond(axes: Axes, sweeps: Sequence[RateSweep], chosen: Mapping[str, Look]) -> None:
    """Mark and count the sweeps whose least loss lies below the axes."""
    places = [int(np.argmin(sweep.smooth)) for sweep in sweeps]
    lowest = np.array([sweep.smooth[place] for sweep, place in zip(sweeps, places, strict=True)])
    for sweep, place, least in zip(sweeps, places, lowest, strict=True):
        if least < axes.get_ylim()[0]:
            color = chosen[sweep.configuration["method"]].color
            mark_outside(axes, sweep.rates[[place]], np.array([least]), color)
    tell_outside(axes, lowest, np.zeros(0), "line")


def _left(sweeps: Sequence[RateSweep]) -> float:
    """Return the left end of the axis: a decade below the rate at which the first loss begins to change."""
    moved = [np.abs(sweep.smooth - sweep.start) > 0.01 * abs(sweep.start - np.min(sweep.smooth)) for sweep in sweeps]
    first = min(float(sweep.rates[int(np.argmax(own))]) for sweep, own in zip(sweeps, moved, strict=True))
    return max(float(sweeps[0].rates[0]), first / 10)


def _key(figure: Figure, sweeps: Sequence[RateSweep], what: str) -> None:
    several = median_of((sweep.configuration[what] for sweep in sweeps), what)
    smooth = ", ".join(filter(None, ["smoothed", several]))
    handles = [
        key_line(markersize=9, label=f"{number(SUGGESTED)} x the rate of the least loss", **OUTLINED),
        key_line(linewidth=1.8, label=smooth),
        key_line(linewidth=0.8, alpha=0.5, label="as recorded"),
    ]
    key(figure, handles)
