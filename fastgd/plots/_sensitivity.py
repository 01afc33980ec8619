"""Sensitivity: where each optimizer ends, against its learning rate or another hyper-parameter."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fastgd._errors import InputError, nearest
from fastgd.analysis import Results
from fastgd.plots._style import (
    GREY,
    Look,
    drawable,
    dress,
    key,
    label,
    limits,
    looks,
    measure,
    methods,
    number,
    ranking_of,
    spans_decades,
    start_of,
    style,
    text_color,
)

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def sensitivity(results: Results, by: str | None = None, at: str = "final", hyper: str = "lr") -> "Figure":
    """Plot the final loss against the learning rate: a line for each optimizer.

    At each rate a line shows the configuration that is best over all other hyper-parameters: the median over its
    seeds, and their range as a band. Crosses above the axes mark the rates at which even that one diverged. What ends
    above the loss at the start lies outside the axes.

    Parameters
    ----------
    results : Results
        The study's results.
    by, at : str, optional
        The loss, as in `Results.best`.
    hyper : str
        Another numeric hyper-parameter in place of the learning rate.

    Returns
    -------
    matplotlib.figure.Figure
        The picture.

    Raises
    ------
    InputError
        The hyper-parameter does not exist, or is not a number.
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    chosen = looks(methods(results))
    metric = results.metric(by)
    ranking = ranking_of(results, by, at).rename(
        columns={f"{at}_{metric}{end}": f"value{end}" for end in ("", "_min", "_max")}
    )
    numeric = [name for name in results.identity if name not in ("n", "d") and ranking[name].dtype.kind in "if"]
    if hyper not in numeric or ranking[hyper].isna().all():
        raise InputError(f"this study has no hyper-parameter {hyper!r}; {nearest(hyper, numeric)}")
    start = start_of(results, metric)
    problems = dict(iter(ranking.groupby("problem", sort=False)))
    lost = {problem: _diverged(rows, hyper, chosen) for problem, rows in problems.items()}
    heights = [inches for names in lost.values() for inches in (0.12 * len(names) + 0.01, 3.0)]
    with style():
        layout = ConstrainedLayoutEngine(hspace=0.0)  # a strip belongs to the axes below it
        figure = Figure(figsize=(7.2, sum(heights) + 0.4 + 0.5 * len(problems)), layout=layout)
        grid = figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights).reshape(-1, 2)
        for (strip, axes), (problem, rows) in zip(grid, problems.items(), strict=True):
            _draw(axes, rows, hyper, chosen)
            _scale(axes, rows, hyper, start[str(problem)])
            _mark_diverged(strip, axes, lost[problem], chosen)
            axes.set_xlabel(label(hyper))
            axes.set_ylabel(f"{at} {measure(results, metric)}")
            if len(problems) > 1:
                strip.set_title(str(problem))
        key(figure, _handles(ranking, any(lost.values()), results.repeats))
    return figure


def _draw(axes: "Axes", ranking: pd.DataFrame, hyper: str, chosen: Mapping[str, Look]) -> None:
    """Draw a line for each optimizer, and list them beside the axes, best first."""
    for method, rows in ranking.groupby("method", sort=False):  # in the order of the ranking
        look, best = chosen[str(method)], rows.iloc[0]
        settled = f"{best['value']:#.5g}" if np.isfinite(best["value"]) else "diverged"
        where = f" at {number(best[hyper])}" if np.isfinite(best["value"]) else ""
        if np.isnan(best[hyper]):  # a rule without this hyper-parameter
            axes.axhline(best["value"], color=look.color, linestyle=(0, (1, 2)), label=f"{method}  {settled}")
            continue
        line = rows.drop_duplicates(hyper).sort_values(hyper)
        x, y, low, high = (line[name].to_numpy(dtype=np.float64) for name in (hyper, "value", "value_min", "value_max"))
        axes.fill_between(x, drawable(low), drawable(high), color=look.color, alpha=0.15, linewidth=0, zorder=2)
        axes.plot(
            x,
            np.where(np.isfinite(y), y, np.nan),
            **look.line(4),
            linewidth=1.5,
            markevery=max(1, len(x) // 24),
            label=f"{method}  {settled}{where}",
            zorder=3,
        )
        outlined = {**look.line(8), "markeredgecolor": "black", "markeredgewidth": 0.8}
        axes.plot(best[hyper], best["value"], **outlined, zorder=5)
    legend = axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), title=f"best {label(hyper)}", alignment="left")
    legend.get_title().set_color(GREY)


def _scale(axes: "Axes", ranking: pd.DataFrame, hyper: str, start: float) -> None:
    """Set limits from the least loss to the one at the start, and logarithmic axes where they help."""
    dress(axes)
    values = ranking[["value", "value_min"]].to_numpy()
    seen = np.append(values[values <= start], start) if (values < start).any() else values
    limits(axes, seen)
    axes.axhline(start, color=GREY, linewidth=0.8, linestyle=(0, (1, 2)), zorder=1)
    axes.annotate("start", (0, start), (3, 2), xycoords=axes.get_yaxis_transform(), textcoords="offset points",
                  fontsize=7.5, color=GREY, annotation_clip=True)  # fmt: skip
    x = np.unique(ranking[hyper].dropna().to_numpy(dtype=np.float64))
    if spans_decades(x, 10):
        axes.set_xscale("log")
    if len(x) <= 8:
        axes.set_xticks(x, labels=[number(value) for value in x])
        axes.minorticks_off()


def _diverged(ranking: pd.DataFrame, hyper: str, chosen: Iterable[str]) -> dict[str, NDArray[np.float64]]:
    """Return for each optimizer the values of a hyper-parameter at which even the best configuration diverged."""
    best = ranking.drop_duplicates(["method", hyper])
    lost = best[np.isinf(best["value"]) & best[hyper].notna()]
    found = {name: lost.loc[lost["method"] == name, hyper].to_numpy(dtype=np.float64) for name in chosen}
    return {name: values for name, values in found.items() if len(values)}


def _mark_diverged(
    strip: "Axes", axes: "Axes", lost: Mapping[str, NDArray[np.float64]], chosen: Mapping[str, Look]
) -> None:
    """Fill the strip above the axes: a row for each optimizer, with a cross wherever it diverged."""
    for row, (name, x) in enumerate(lost.items()):
        marker = "x" if len(x) <= 30 else "|"
        strip.plot(x, np.full(len(x), row), marker, color=chosen[name].color, markersize=3.5, markeredgewidth=1.0)
    strip.set_xscale(axes.get_xscale())
    strip.set_xlim(axes.get_xlim())
    strip.set_ylim(len(lost) - 0.4, -0.6)
    strip.set_yticks(range(len(lost)), labels=list(lost))
    for tick, name in zip(strip.get_yticklabels(), lost, strict=True):
        tick.set_color(text_color(chosen[name].color))
    strip.xaxis.set_visible(False)
    strip.tick_params(which="both", length=0, labelsize=7)
    strip.spines[:].set_visible(False)


def _handles(ranking: pd.DataFrame, lost: bool, what: str) -> "list[Artist]":
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    best = Line2D([], [], color=GREY, marker="o", linestyle="", markersize=8, markeredgecolor="black", label="best")
    cross = Line2D([], [], color=GREY, marker="x", linestyle="", markersize=4, label="diverged")
    handles: list[Artist] = [best, cross] if lost else [best]
    if (seeds := ranking[what].max()) > 1:
        median = Line2D([], [], color=GREY, marker="o", markersize=4, label=f"median of {seeds:,} {what}")
        handles = [median, Patch(facecolor=GREY, alpha=0.25, label=f"range of the {what}"), *handles]
    return handles
