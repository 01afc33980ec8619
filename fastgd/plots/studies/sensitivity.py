"""Sensitivity: where each optimizer ends, against its learning rate or another hyper-parameter."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

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
from fastgd.plots.limits import (
    OUTSIDE,
    Array,
    drawable,
    end_lines_below,
    limits,
    mark_outside,
    placed,
    spans_decades,
    tell_outside,
    zoom,
)
from fastgd.plots.pages import note, only, page_of
from fastgd.plots.readings import label, lost_words, median_of, methods, valued_ranking
from fastgd.plots.scales import Scale, label_ticks, mark_floors, noise_of, scale_of, start_of
from fastgd.plots.studies.rate_marks import mark_rates, one_of_each
from fastgd.plots.style import GREY, Look, dress, key, key_band, key_line, looks, mark_start, style, text_color

_WORDS = ("diverged", "no loss")  # for a best loss that is infinite, and for one that is missing

_MANY = 8  # from more optimizers on, bands are so pale that the lines stand out


def sensitivity(
    results: Results,
    by: str | None = None,
    at: str = "final",
    hyper: str = "lr",
    problem: str | None = None,
    page: int = 1,
    scale: str | None = None,
    x_limits: Sequence[float] | None = None,
    y_limits: Sequence[float] | None = None,
) -> Figure:
    """Plot the final loss against the learning rate, a line for each optimizer: by default its gap to the least known.

    At each rate a line shows the configuration that is best over all other hyper-parameters: the median over its
    seeds, and their range as a band. Crosses above the axes mark the rates at which even that one diverged. What ends
    above the loss at the start, and single values far from all others, lie outside the axes: triangles at their edge
    mark them, and a line in their corner counts them. The key says which optimizer is best at the lowest or highest
    rate that was tried: a better one may lie beyond. Where minima are stored (`fastgd optimum`), thin lines stand at
    the rates that theory names for gradient descent: 1/L, 2/(L + mu) and 2/L.

    A gap is measured from the minimum of the configuration's objective (`Results.minima`), or of the validation loss
    from the least one that any trial of the problem had; the axis says which. What lies in the shade is less than
    the seeds differ by (the median over the optimizers' best configurations), or than the minimum is known to.

    Parameters
    ----------
    results : Results
        The study's results.
    by, at : str, optional
        What to show, as in `Results.best`: a loss or another metric.
    hyper : str
        Another numeric hyper-parameter in place of the learning rate.
    problem : str, optional
        The only one to draw.
    page : int
        Of a study of many problems, which of them to draw: the first ones, the next ones, ...
    scale : {"gap", "loss", "log"}, optional
        The gap on a logarithmic axis (the default), the loss, or the loss on a logarithmic axis.
    x_limits, y_limits : (float, float), optional
        The ends of the axes, in place of those that suit the numbers.

    Returns
    -------
    matplotlib.figure.Figure
        The picture.

    Raises
    ------
    InputError
        The hyper-parameter or the scale does not exist, or is not a number; or there is no such problem or page.
    """
    chosen = looks(methods(results))
    ranking, metric = valued_ranking(results, by, at)
    numeric = [name for name in results.identity if name not in ("n", "d") and ranking[name].dtype.kind in "if"]
    if hyper not in numeric or ranking[hyper].isna().all():
        raise InputError(f"this study has no hyper-parameter {hyper!r}; {nearest(hyper, numeric)}")
    ends = _ends(results, ranking, hyper)
    ranking, far = placed_rows(ranking, hyper)
    shown_as = scale_of(results, metric, scale)
    noise, start = noise_of(results, ranking), start_of(results, shown_as)
    ranking = shown_as.ranking(ranking)
    tables = {str(name): rows for name, rows in ranking.groupby("problem", sort=False)}
    every = {name: lost_points(tables[name], hyper, chosen) for name in only(tables, problem)}
    strips = {name: 0.12 * len(names) + 0.01 for name, names in every.items()}
    shown, words = page_of(list(every), page, "problems", [3.5 + inches for inches in strips.values()])
    lost = {name: every[name] for name in shown}
    heights = [inches for name in shown for inches in (strips[name], 3.0)]
    with style():
        layout = Layout(hspace=0.0)  # a strip belongs to the axes below it
        figure = Figure(figsize=(7.2, sum(heights) + 0.4 + 0.5 * len(shown)), layout=layout)
        marks: list[Artist] = []
        grid = figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights).reshape(-1, 2)
        for (strip, axes), name in zip(grid, shown, strict=True):
            digits = 3 if shown_as.is_gap else 5
            draw_lines(axes, tables[name], hyper, chosen, ends.get(name, {}), digits=digits)
            _scale(axes, tables[name], hyper, start[name], shown_as)
            zoom(axes, x_limits, y_limits)
            if axes.get_yscale() == "log":
                label_ticks(axes.yaxis, axes.get_ylim())
            end_lines_below(axes)
            mark_floors(axes, shown_as, name, noise.get(name, 0.0), results.spread_over)
            mark_beyond(axes, tables[name], hyper, chosen, bands=not shown_as.is_gap)
            marks += mark_rates(axes, results, tables[name], hyper)
            mark_lost(strip, axes, lost[name], chosen)
            axes.set_xlabel(label(hyper))
            axes.set_ylabel(f"{at} {shown_as.words(results, [name])}")
            if len(tables) > 1:
                strip.set_title(for_picture(name))
        values = np.concatenate([values for names in lost.values() for _, values in names.values()] or [np.zeros(0)])
        key(figure, [*_handles(pd.concat([tables[name] for name in shown]), values, results), *one_of_each(marks)])
        note(figure, words, far)
    return figure


def placed_rows(ranking: pd.DataFrame, hyper: str) -> tuple[pd.DataFrame, str]:
    """Return the configurations whose value of a hyper-parameter an axis can show, and a note on the others."""
    near = placed(ranking[hyper])
    if not near.any():
        raise InputError(f"no value of {label(hyper)} has a place on an axis: they are {ranking[hyper].tolist()[:8]}")
    far = int(ranking.loc[~near, hyper].nunique())
    values = "1 value" if far == 1 else f"{far:,} values"
    return ranking[near], f"not shown: {values} of {label(hyper)} too large or too small for an axis" if far else ""


def _ends(results: Results, ranking: pd.DataFrame, hyper: str) -> dict[str, dict[str, str]]:
    """Return for each problem the methods that are best at an end of their rates, and at which."""
    found: dict[str, dict[str, str]] = {}
    if hyper == "lr":
        for _, best in results.best_at_ends(ranking).iterrows():
            found.setdefault(str(best["problem"]), {})[str(best["method"])] = str(best["end"])
    return found


def draw_lines(
    axes: Axes,
    ranking: pd.DataFrame,
    hyper: str,
    chosen: Mapping[str, Look],
    ends: Mapping[str, str],
    lost: tuple[str, str] = _WORDS,
    digits: int = 5,
) -> None:
    """Draw a line for each optimizer, and a key beside the axes, best first.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
    ranking : pandas.DataFrame
        Configurations, best first, with `method`, `value`, `value_min` and `value_max`.
    hyper : str
        The column that is the horizontal axis.
    chosen : mapping
        The look of each method.
    ends : mapping
        For methods whose best value is at an end of those tried: which end.
    lost : (str, str)
        Words for a best value that is infinite, and for one that is missing.
    digits : int
        Of the best value.
    """
    for method, rows in ranking.groupby("method", sort=False):  # in the order of the ranking
        look, best = chosen[str(method)], rows.iloc[0]
        settled = number(best["value"], digits) if np.isfinite(best["value"]) else lost[int(np.isnan(best["value"]))]
        where = f" at {number(best[hyper])}" if np.isfinite(best["value"]) else ""
        where += f", {ends[str(method)]} tried" if str(method) in ends else ""
        if np.isnan(best[hyper]):  # a rule without this hyper-parameter
            words = for_picture(f"{method}  {settled}")
            axes.axhline(float(drawable(best["value"])), color=look.color, linestyle=(0, (1, 2)), label=words)
            continue
        line = rows.drop_duplicates(hyper).sort_values(hyper)
        x, y, low, high = (line[name].to_numpy(dtype=np.float64) for name in (hyper, "value", "value_min", "value_max"))
        band: dict[str, Any] = {"alpha": 0.15 if len(chosen) <= _MANY else 0.06, "linewidth": 0, "zorder": 2}
        axes.fill_between(x, drawable(low), drawable(high), color=look.color, **band)
        y = np.where(np.isfinite(y), y, np.nan)
        words, every = for_picture(f"{method}  {settled}{where}"), max(1, len(x) // 24)
        axes.plot(x, y, **look.line(4), linewidth=1.5, markevery=every, label=words, zorder=3)
        axes.plot(best[hyper], best["value"], **look.outlined(8), zorder=5)
    legend = axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), title=f"best {label(hyper)}", alignment="left")
    legend.get_title().set_color(GREY)


def _scale(axes: Axes, ranking: pd.DataFrame, hyper: str, start: float, scale: Scale) -> None:
    """Set limits from the least loss to the one at the start, and logarithmic axes where they help."""
    dress(axes)
    # The least of a median's seeds may be the value that gaps are measured from: it says nothing of how low axes go.
    seen = [ranking["value"]] if scale.is_gap else [ranking["value"], ranking["value_min"]]
    values = np.concatenate(seen).astype(np.float64)
    better = values >= start if scale.more_is_better else values <= start
    limits(axes, values[better] if (better & (values != start)).any() else values, always=[start], log=scale.log)
    mark_start(axes, start)
    x = np.unique(ranking[hyper].dropna().to_numpy(dtype=np.float64))
    if spans_decades(x, 10):
        axes.set_xscale("log")
    if len(x) <= 8:
        axes.set_xticks(x, labels=[number(value) for value in x])
        axes.minorticks_off()


def mark_beyond(
    axes: Axes, ranking: pd.DataFrame, hyper: str, chosen: Mapping[str, Look], *, bands: bool = True
) -> None:
    """Mark and count what lies outside the axes: medians, and with `bands` their lowest seeds."""
    best = ranking[ranking[hyper].notna()].drop_duplicates(["method", hyper])
    least = "value_min" if bands else "value"
    for method, rows in best.groupby("method", sort=False):  # best first
        look = chosen[str(method)]
        x, y, low = (rows[name].to_numpy(dtype=np.float64) for name in (hyper, "value", least))
        beyond = np.where(low < axes.get_ylim()[0], low, np.where(np.isinf(y), np.nan, y))
        mark_outside(axes, x, beyond, look.color)
        if y[0] < axes.get_ylim()[0]:  # the mark of the best, at the edge
            edge = axes.get_xaxis_transform()
            axes.plot(x[0], 0.0, **look.outlined(8), transform=edge, clip_on=False, zorder=8, gid=OUTSIDE)
    low, high = (best[name].to_numpy(dtype=np.float64) for name in (least, "value"))
    tell_outside(axes, low, high, "point")


def lost_points(ranking: pd.DataFrame, hyper: str, chosen: Iterable[str]) -> dict[str, tuple[Array, Array]]:
    """Return for each optimizer where even its best configuration has no finite loss, and the value there."""
    best = ranking.drop_duplicates(["method", hyper])
    lost = best[~np.isfinite(best["value"]) & best[hyper].notna()]
    rows = {name: lost.loc[lost["method"] == name, [hyper, "value"]].to_numpy(dtype=np.float64).T for name in chosen}
    return {name: (x, values) for name, (x, values) in rows.items() if len(x)}


def mark_lost(strip: Axes, axes: Axes, lost: Mapping[str, tuple[Array, Array]], chosen: Mapping[str, Look]) -> None:
    """Fill the strip above the axes: a row for each optimizer, with crosses where it diverged, rings without a loss."""
    for row, (name, (x, values)) in enumerate(lost.items()):
        for there, marker in ((np.isinf(values), "x" if len(x) <= 30 else "|"), (np.isnan(values), "o")):
            if there.any():
                own: dict[str, Any] = {"color": chosen[name].color, "markersize": 3.5, "markeredgewidth": 1.0}
                strip.plot(x[there], np.full(there.sum(), row), marker, **own, markerfacecolor="none")
    strip.set_xscale(axes.get_xscale())
    strip.set_xlim(axes.get_xlim())
    strip.set_ylim(len(lost) - 0.4, -0.6)
    strip.set_yticks(range(len(lost)), labels=[for_picture(name) for name in lost])
    for tick, name in zip(strip.get_yticklabels(), lost, strict=True):
        tick.set_color(text_color(chosen[name].color))
    strip.xaxis.set_visible(False)
    strip.tick_params(which="both", length=0, labelsize=7)
    strip.spines[:].set_visible(False)


def _handles(ranking: pd.DataFrame, lost: Array, results: Results) -> list[Artist]:
    handles: list[Artist] = []
    words = median_of(ranking[results.repeats], results.repeats)
    if words and results.has_folds:  # these are compared by their means
        words = (
            f"mean of {' x '.join(f'{ranking[name].max():,} {name}' for name in ('seeds', 'folds') if name in ranking)}"
        )
    if words:
        handles.append(key_line(marker="o", markersize=4, label=words))
        handles.append(key_band(f"range of the {results.spread_over}"))
    best: dict[str, Any] = {"marker": "o", "markersize": 8, "markeredgecolor": "black"}
    handles.append(key_line(linestyle="", label="best", **best))
    for there, marker in ((np.isinf(lost), "x"), (np.isnan(lost), "o")):
        if there.any():
            own: dict[str, Any] = {"marker": marker, "markersize": 4, "markerfacecolor": "none"}
            handles.append(key_line(linestyle="", label=lost_words(results, lost[there]), **own))
    return handles
