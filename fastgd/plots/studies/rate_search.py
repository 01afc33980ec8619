"""The picture of a search of rates: the loss against the rate in all rounds, and the rates of each round."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from fastgd.analysis import with_methods
from fastgd.common.errors import InputError
from fastgd.common.numbers import number
from fastgd.plots.layout import Layout
from fastgd.plots.limits import limits, mark_outside, tell_outside
from fastgd.plots.pages import drawn_from, note, page_of
from fastgd.plots.readings import label, settings
from fastgd.plots.style import GREY, OUTLINED, Look, dress, head, key, key_line, looks, shape, style
from fastgd.search.found_rates import AT_END, DIVERGED, FILE, FOUND, NO_RATE, FoundRates, columns_to_show


def tune(tuning: FoundRates, page: int = 1) -> Figure:
    """Plot a search of rates: for each optimizer the loss against the rate, and below it the rates of each round.

    The dark line is of the rounds with the whole budget, the light one of the rounds before. The dark bar is the
    bracket of the best rate; the broad light bar holds the rates that are about as good. Crosses are rates at which the
    median seed diverged.

    Parameters
    ----------
    tuning : FoundRates
        What `fastgd.tune` returned, or `FoundRates.load` read.
    page : int
        Of many panels, which to draw: the first ones, the next ones, ...

    Returns
    -------
    matplotlib.figure.Figure
        The picture.

    Raises
    ------
    InputError
        No optimizer has a rate that was searched, or there is no such page.
    """
    answers = with_methods(tuning.answers)
    chosen = looks(list(dict.fromkeys(answers["method"])))
    searched = answers[answers["status"] != NO_RATE]
    if searched.empty:
        raise InputError(f"no optimizer of the search in {tuning.path} has a rate: there is nothing to draw")
    shown, words = page_of(range(len(searched)), page, "panels")
    rows, columns = shape(len(shown))
    width = 3.1 if columns < 4 else 2.6
    rounds = 0.07 * len(tuning.rounds) + 0.1
    with style(), drawn_from(tuning.path / FILE):
        layout = Layout(hspace=0.0, h_pad=0.02)  # a strip belongs to the axes above it
        figure = Figure(figsize=(0.4 + width * columns, 0.5 + (2.75 + rounds) * rows), layout=layout)
        grid = figure.subplots(2 * rows, columns, squeeze=False, height_ratios=[2.1, rounds] * rows)
        pairs = [(grid[2 * row, column], grid[2 * row + 1, column]) for row in range(rows) for column in range(columns)]
        for place, (axes, strip) in enumerate(pairs):
            if place >= len(shown):
                axes.remove()
                strip.remove()
                continue
            _panel(axes, strip, tuning, searched, shown[place], chosen, width)
            if place % columns == 0:
                axes.set_ylabel(label(tuning.metric))
                strip.set_ylabel("round", color=GREY, fontsize=7.5)
        _key(figure, tuning)
        note(figure, words)
    return figure


def _panel(
    axes: Axes,
    strip: Axes,
    tuning: FoundRates,
    searched: pd.DataFrame,
    place: int,
    chosen: Mapping[str, Look],
    width: float,
) -> None:
    answer = searched.iloc[place]
    look = chosen[answer["method"]]
    points = tuning.points[tuning.points["answer"] == answer.name]
    peers = tuning.points[tuning.points["answer"].isin(searched.index[searched["problem"] == answer["problem"]])]
    _losses(axes, points, answer, look)
    _scale(axes, points, peers, float(answer["start"]))
    _mark_beyond(axes, points, look)
    _rounds(strip, axes, points, answer, look, len(tuning.rounds))
    head(axes, answer["method"], _sentence(searched, answer), _best(answer), look.color, width - 0.3)


def _best(answer: "pd.Series[Any]") -> str:
    return "diverged" if answer["status"] == DIVERGED else f"rate {number(answer['lr'])}"


def _sentence(searched: pd.DataFrame, answer: "pd.Series[Any]") -> str:
    """Return the line below a title: the settings of the answer, and how flat the optimum is."""
    columns = [name for name in columns_to_show(searched, (*FOUND, "method")) if name not in ("optimizer", "variant")]
    own = answer.copy()
    own["variant"] = ""  # it stands in the title
    if "batch_size" in answer:
        own["batch_size"] = number(answer["batch_size"])
    ratio = answer["flat_high"] / answer["flat_low"]
    flat = f"flat over {math.log10(ratio):.1f} decades" if ratio > 1 else ""
    return ", ".join(filter(None, (settings(own, columns), flat, "at an end" if answer["status"] == AT_END else "")))


def _losses(axes: Axes, points: pd.DataFrame, answer: "pd.Series[Any]", look: Look) -> None:
    """Draw the loss against the rate, after a part of the budget and after the whole of it."""
    pale = _mixed(look.color, 0.5)
    for full, color, width, size in ((False, pale, 1.1, 2.6), (True, look.color, 1.6, 3.4)):
        own = points[points["full"] == full].drop_duplicates("lr").sort_values("lr")
        seen = own[np.isfinite(own["loss"])]
        axes.plot(
            seen["lr"], seen["loss"], color=color, linewidth=width, marker="o", markersize=size,
            markeredgecolor="white", markeredgewidth=0.3, zorder=3 + full,
        )  # fmt: skip
        lost = own[~np.isfinite(own["loss"])]
        axes.plot(lost["lr"], np.full(len(lost), 0.97), "x", color=color, markersize=3.5, markeredgewidth=1.0,
                  transform=axes.get_xaxis_transform(), zorder=3)  # fmt: skip
    if math.isfinite(answer["loss"]):
        axes.plot(answer["lr"], answer["loss"], color=look.color, markersize=7.5, **OUTLINED, zorder=6)
    if answer["flat_high"] > answer["flat_low"]:
        axes.axvspan(answer["flat_low"], answer["flat_high"], color=look.color, alpha=0.09, linewidth=0, zorder=0.5)


def _rounds(strip: Axes, axes: Axes, points: pd.DataFrame, answer: "pd.Series[Any]", look: Look, rounds: int) -> None:
    """Draw the rates of each round in a row of its own, the first one above."""
    pale = _mixed(look.color, 0.5)
    for number_, own in points.groupby("round"):
        color = look.color if own["full"].iloc[0] else pale
        ends = [float(own["lr"].min()), float(own["lr"].max())]
        strip.plot(ends, np.full(2, number_), color=color, linewidth=1.0, alpha=0.6, zorder=2)
        strip.plot(
            own["lr"], np.full(len(own), number_), "|", color=color, markersize=3.5, markeredgewidth=0.9, zorder=3
        )
    for each in (axes, strip):
        low, high = answer["low"], answer["high"]
        if low < high:
            each.axvspan(low, high, color=look.color, alpha=0.35, linewidth=0, zorder=1)
    strip.set_xscale("log")
    strip.set_xlim(axes.get_xlim())
    strip.set_ylim(rounds - 0.4, -0.6)
    strip.set_yticks(sorted({0, rounds - 1}))
    strip.tick_params(which="major", length=3, width=0.8, color="#8c8c8c", labelsize=8.5)
    strip.tick_params(which="minor", length=1.5, width=0.6, color="#b3b3b3")
    strip.tick_params(axis="y", length=0, labelsize=6.5, labelcolor=GREY)
    strip.spines["left"].set_visible(False)
    strip.grid(True, axis="x", color="#ebebeb", linewidth=0.7)
    strip.set_axisbelow(True)
    strip.set_xlabel(label("lr"))
    axes.tick_params(axis="x", which="both", length=0, labelbottom=False)
    axes.spines["bottom"].set_visible(False)


def _scale(axes: Axes, points: pd.DataFrame, peers: pd.DataFrame, start: float) -> None:
    """Set limits from the least loss of the problem to the one at the start."""
    dress(axes)
    losses = peers["loss"].to_numpy(dtype=np.float64)
    limits(axes, losses[losses <= start] if (losses < start).any() else losses, [start])
    axes.set_xscale("log")
    low, high = points["lr"].min(), points["lr"].max()
    margin = (high / low) ** 0.04 if high > low else 2.0
    axes.set_xlim(low / margin, high * margin)
    axes.axhline(start, color=GREY, linewidth=0.8, linestyle=(0, (1, 2)), zorder=1)


def _mark_beyond(axes: Axes, points: pd.DataFrame, look: Look) -> None:
    """Mark and count what lies outside the axes."""
    seen = points[np.isfinite(points["loss"])]
    losses = seen["loss"].to_numpy(dtype=np.float64)
    mark_outside(axes, seen["lr"].to_numpy(dtype=np.float64), losses, look.color)
    tell_outside(axes, losses, losses, "point")


def _mixed(color: str, white: float) -> tuple[float, float, float]:
    red, green, blue = (white + (1 - white) * part for part in to_rgb(color))
    return red, green, blue


def _key(figure: Figure, tuning: FoundRates) -> None:
    """Put a key of the lines and bars below the panels."""
    dot: dict[str, Any] = {"marker": "o", "markeredgecolor": "white", "markeredgewidth": 0.3}
    handles: list[Any] = []
    lines: tuple[tuple[bool, Any, float, float], ...] = ((False, _mixed(GREY, 0.5), 1.1, 2.6), (True, GREY, 1.6, 3.4))
    for full, color, width, size in lines:
        budgets = [one.budget for one in tuning.rounds if one.full == full]
        if budgets:
            (unit,) = budgets[0]
            least, most = min(one[unit] for one in budgets), max(one[unit] for one in budgets)
            several = f"{least:,} to {most:,}" if least < most else f"{most:,}"
            text = f"after {several} {unit if most > 1 else unit[:-1]}"
            handles.append(key_line(color=color, linewidth=width, markersize=size, label=text, **dot))
    handles.append(key_line(markersize=7.5, label="best", **OUTLINED))
    for low, high, alpha, name in (("low", "high", 0.4, "bracket"), ("flat_low", "flat_high", 0.12, "about as good")):
        if (tuning.answers[low] < tuning.answers[high]).any():
            handles.append(Patch(facecolor=GREY, alpha=alpha, label=name))
    if not np.isfinite(tuning.points["loss"]).all():
        handles.append(key_line(marker="x", linestyle="", markersize=4, label="diverged"))
    key(figure, handles)
