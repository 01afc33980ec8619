"""Convergence curves: the best configuration of each optimizer, and the spread of all its trials."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fastgd.analysis import Results
from fastgd.common.escape import for_picture
from fastgd.plots.bundles import Bundle, bundles_of
from fastgd.plots.layout import Layout
from fastgd.plots.limits import drawable, end_lines_below, limits, mark_outside, tell_outside, without_outliers, zoom
from fastgd.plots.pages import note, only, page_of
from fastgd.plots.readings import label, median_of, methods, problems_of
from fastgd.plots.scales import Scale, label_ticks, mark_floors, scale_of
from fastgd.plots.style import (
    GREY,
    PALE,
    Look,
    dress,
    head,
    key,
    key_band,
    key_line,
    looks,
    multiples,
    name_axes,
    scale_x,
    spread_labels,
    style,
    text_color,
)

# Up to so many trials of an optimizer are drawn as lines, more of them as quantiles.
_LINES = 50
_END = "|"
HEIGHT = 3.0  # inches, of the axes of a problem


@dataclass(frozen=True)
class View:
    """How curves are seen: the scales and limits of their axes, as `curves` takes them.

    `chance`: over what lines are medians, where their spread is chance; empty of starts and folds.
    """

    scale: Scale
    chance: str
    x_scale: str | None = None
    x_limits: Sequence[float] | None = None
    y_limits: Sequence[float] | None = None


def chance_of(results: Results) -> str:
    """Return over what lines are medians, where their spread is chance; empty of starts and folds."""
    return results.spread_over if results.repeats == "seeds" else ""


def curves(
    results: Results,
    metric: str | None = None,
    x: str | None = None,
    spread: bool | None = None,
    problem: str | None = None,
    page: int = 1,
    scale: str | None = None,
    x_scale: str | None = None,
    x_limits: Sequence[float] | None = None,
    y_limits: Sequence[float] | None = None,
) -> Figure:
    """Plot a metric over the training: by default its gap to the least value that is known.

    With `spread`, an optimizer has axes of its own: its best configuration stands out before all of its trials and, in
    grey, the best of the other optimizers. Many trials are drawn as the range of the middle 80 % and their median, in
    which a trial that diverged counts as infinite from then on. Without, the best configurations share axes, before the
    middle half of their seeds. Axes hold what most points of the best configurations need, and the start; triangles
    mark where one of them leaves the axes, and a line in the corner counts the trials that end outside.

    A gap is measured from the minimum of the trial's objective (`Results.minima`), or of another metric from the best
    value that any trial of the problem had; the axis says which. From the best seen, the trial that had it goes down to
    0, below the axis. What lies in the shade is less than the seeds differ by (the median over the optimizers' best
    configurations), or than the minimum is known to.

    Parameters
    ----------
    results : Results
        The study's results.
    metric : str, optional
        A metric of the curves; by default the loss that `Results.best` ranks by.
    x : {"epoch", "step", "samples_seen", "train_seconds"}, optional
        The horizontal axis; by default epochs, on landscapes steps.
    spread : bool, optional
        By default True where an optimizer has several configurations and one problem is drawn.
    problem : str, optional
        The only one to draw.
    page : int
        Of a study of many problems or optimizers, which of them to draw: the first ones, the next ones, ...
    scale : {"gap", "loss", "log"}, optional
        The gap on a logarithmic axis, the metric as it is, or the same on a logarithmic axis; by default the gap of
        losses, accuracies and r2, and other metrics as they are.
    x_scale : {"linear", "log"}, optional
        The scale of the horizontal axis; by default logarithmic where the checkpoints are at equal ratios.
    x_limits, y_limits : (float, float), optional
        The ends of the axes, in place of those that suit the numbers.

    Returns
    -------
    matplotlib.figure.Figure
        The picture.

    Raises
    ------
    InputError
        The metric, axis or scale does not exist or was not measured; or there is no such problem or page.
    """
    chosen = looks(methods(results))
    metric, x = metric or results.metric(), x or ("step" if results.on_landscapes else "epoch")
    view = View(scale_of(results, metric, scale), chance_of(results), x_scale, x_limits, y_limits)
    named = only(problems_of(results), problem)
    heights = [HEIGHT] * len(named)
    if spread is None and len(named) > 1:
        spread = False
    shown = page_of(named, page, "problems", heights)[0] if spread is False else named
    problems = bundles_of(results, metric, x, shown, view.scale)
    everyone = [bundle for bundles in problems.values() for bundle in bundles]
    if spread is None:
        spread = any(bundle.configurations > 1 for bundle in everyone)
    if spread:
        own, words = page_of(everyone, page, "optimizers")
    else:
        own, words = everyone, page_of(named, page, "problems", heights)[1]
    with style():
        if spread:
            figure = _small_multiples(own, everyone, chosen, view)
        else:
            figure = overview(problems, chosen, len(named) > 1, view)
        name_axes(figure.axes, label(x), view.scale.words(results, problems))
        key_of(figure, own, spread, results.spread_over)
        note(figure, words)
    return figure


def _small_multiples(
    bundles: Sequence[Bundle], everyone: Sequence[Bundle], chosen: Mapping[str, Look], view: View
) -> Figure:
    """Draw each optimizer in axes of its own, before the best of everyone on its problem."""
    lines = _are_lines(bundles)
    several = len({bundle.problem for bundle in everyone}) > 1
    figure, grid, width = multiples(len(bundles), (2.9, 2.3), 2.2, (0.6, 0.6), share_y=not several)
    for axes, bundle in zip(grid, bundles, strict=True):
        peers = [other for other in everyone if other.problem == bundle.problem]
        for other in peers:
            axes.plot(other.x, drawable(other.best), color=PALE, linewidth=0.9, zorder=1.5)
        look = chosen[bundle.method]
        if lines:
            axes.plot(bundle.x, drawable(bundle.values.T), color=look.color, linewidth=0.6, alpha=0.4, zorder=2)
        else:
            _band(axes, bundle, look)
        _best_line(axes, bundle, replace(look, linestyle="solid"), 0)  # dashes are for all trials here
        _mark_end(axes, bundle, look)
        head(axes, bundle.optimizer, bundle.settings, _diverged(bundle.diverged), look.color, width - 0.3)
        if several:
            axes.set_title(for_picture(bundle.problem), loc="right", color=GREY, fontsize=8)
        _scale(axes, peers, view)
        _mark_beyond(axes, [bundle], chosen)
        ends = bundle.values[:, -1]
        tell_outside(axes, ends, ends, "trial")
    return figure


def overview(problems: Mapping[str, Sequence[Bundle]], chosen: Mapping[str, Look], named: bool, view: View) -> Figure:
    """Draw the best configurations of all optimizers in common axes for each problem, named at their ends.

    Parameters
    ----------
    problems : mapping
        The curves of each problem.
    chosen : mapping
        The look of each method.
    named : bool
        Whether axes have the name of their problem.
    view : View
        The scales and limits of the axes.
    """
    everyone = [bundle for bundles in problems.values() for bundle in bundles]
    names = max(len(_name(bundle)) for bundle in everyone)
    figure = Figure(figsize=(4.8 + 0.062 * names, 0.5 + HEIGHT * len(problems)), layout=Layout())
    for axes, (problem, bundles) in zip(
        figure.subplots(len(problems), 1, squeeze=False).ravel(), problems.items(), strict=True
    ):
        for i, bundle in enumerate(bundles):
            _seeds(axes, bundle, chosen[bundle.method])
            _best_line(axes, bundle, chosen[bundle.method], i)
            _mark_end(axes, bundle, chosen[bundle.method])
        _scale(axes, bundles, view)
        _mark_beyond(axes, bundles, chosen)
        ends = np.array([bundle.best[-1] for bundle in bundles])
        tell_outside(axes, ends, ends, "line")
        _name_ends(axes, bundles, chosen)
        if named:
            axes.set_title(for_picture(problem))
    return figure


def _are_lines(bundles: Sequence[Bundle]) -> bool:
    return all(len(bundle.values) <= _LINES for bundle in bundles)


def _seeds(axes: Axes, bundle: Bundle, look: Look) -> None:
    """Draw the middle half of the best configuration's seeds."""
    if bundle.seeds > 1:
        low, high = drawable(bundle.low), drawable(bundle.high)
        axes.fill_between(bundle.x, low, high, color=look.color, alpha=0.15, linewidth=0, zorder=2)


def _best_line(axes: Axes, bundle: Bundle, look: Look, i: int) -> None:
    every = max(1, len(bundle.x) // 8)
    (line,) = axes.plot(bundle.x, drawable(bundle.best), **look.line(5), linewidth=1.8, zorder=4)
    line.set_markevery((i % every, every))  # shifted, so that markers of close lines do not cover each other


def _mark_end(axes: Axes, bundle: Bundle, look: Look) -> None:
    """Mark where the best configuration ended, if others went on; its line goes on with its last value."""
    if _ended_early(bundle):
        value = np.interp(bundle.end, bundle.x, drawable(bundle.best))
        axes.plot(bundle.end, value, _END, color=look.color, markersize=8, markeredgewidth=1.6, zorder=5)


def _ended_early(bundle: Bundle) -> bool:
    return bool(np.isfinite(bundle.best[-1]) and bundle.end < 0.98 * bundle.x[-1])


def _name(bundle: Bundle) -> str:
    return f"{bundle.optimizer}  {bundle.settings if np.isfinite(bundle.best[-1]) else 'diverged'}"


def _diverged(share: float) -> str:
    return f"{share:.0%} diverged" if share >= 0.01 else "under 1% diverged" if share else ""


def _band(axes: Axes, bundle: Bundle, look: Look) -> None:
    """Draw all trials of an optimizer as the range of the middle 80 % and their median."""
    low, median, high = (drawable(values) for values in bundle.quantiles((0.1, 0.5, 0.9)))
    axes.fill_between(bundle.x, low, high, color=look.color, alpha=0.13, linewidth=0, zorder=2)
    axes.plot(bundle.x, median, color=look.color, linewidth=1.1, linestyle=(0, (4, 2)), alpha=0.9, zorder=3)


def _scale(axes: Axes, bundles: Sequence[Bundle], view: View) -> None:
    """Set limits that show the best curves from their start on, and logarithmic axes where they help."""
    dress(axes)
    log = view.scale.log
    start = [float(np.median(np.concatenate([bundle.values[:, 0] for bundle in bundles])))]
    # A logarithmic axis has no place for a gap of 0, nor does it go on to it.
    lines = [np.where(bundle.best > 0, bundle.best, np.nan) if log else bundle.best for bundle in bundles]
    limits(axes, np.concatenate(without_outliers(lines, start)), always=start, log=log)
    scale_x(axes, np.concatenate([bundle.x for bundle in bundles]), view.x_scale)
    if log:
        low, high = axes.get_ylim()
        axes.set_ylim(low / (high / low) ** 0.1, high)  # room for notes: good lines end close together
    zoom(axes, view.x_limits, view.y_limits)
    if log:
        label_ticks(axes.yaxis, axes.get_ylim())
    end_lines_below(axes)
    noise = [bundle.noise for bundle in bundles if view.chance and bundle.noise > 0]
    mark_floors(axes, view.scale, bundles[0].problem, float(np.median(noise)) if noise else 0.0, view.chance)


def _mark_beyond(axes: Axes, bundles: Sequence[Bundle], chosen: Mapping[str, Look]) -> None:
    """Mark where the best configurations leave the axes."""
    for bundle in bundles:
        mark_outside(axes, bundle.x, drawable(bundle.best), chosen[bundle.method].color, first=True)


def _name_ends(axes: Axes, bundles: Sequence[Bundle], chosen: Mapping[str, Look]) -> None:
    """Write each optimizer's name and settings beside the end of its line."""
    ends = axes.transData.transform([(bundle.x[-1], drawable(bundle.best)[-1]) for bundle in bundles])
    heights = axes.transAxes.inverted().transform(ends)[:, 1]
    wanted = np.clip(np.nan_to_num(heights), 0.0, 1.0)
    for bundle, end, place in zip(bundles, wanted, spread_labels(wanted.tolist(), gap=0.06), strict=True):
        look = chosen[bundle.method]
        axes.plot([1.0, 1.04], [end, place], color=PALE, linewidth=0.8, transform=axes.transAxes, clip_on=False)
        mark: dict[str, Any] = {"color": look.color, "markersize": 5 * look.size, "clip_on": False}
        axes.plot(1.055, place, look.marker, transform=axes.transAxes, **mark)
        text: dict[str, Any] = {"color": text_color(look.color), "fontsize": 8, "va": "center"}
        axes.text(1.08, place, for_picture(_name(bundle)), transform=axes.transAxes, **text)


def key_of(figure: Figure, bundles: Sequence[Bundle], spread: bool, what: str) -> None:
    """Put a key of the lines below the picture."""
    name = ", ".join(filter(None, ("best configuration", median_of((bundle.seeds for bundle in bundles), what))))
    handles: list[Artist] = [key_line(linewidth=2.0, label=name)]
    if not spread and any(bundle.seeds > 1 for bundle in bundles):
        handles.append(key_band(f"middle half of the {what}"))
    if spread and _are_lines(bundles):
        handles.append(key_line(linewidth=0.6, alpha=0.6, label="each trial"))
    elif spread:
        handles.append(key_line(linewidth=1.1, linestyle=(0, (4, 2)), label="median of all trials"))
        handles.append(key_band("middle 80 % of all trials"))
    if spread and len(bundles) > 1:
        handles.append(key_line(color=PALE, linewidth=0.9, label="best of the others"))
    if any(_ended_early(bundle) for bundle in bundles):
        handles.append(key_line(marker=_END, linestyle="", markeredgewidth=1.6, label="ended"))
    key(figure, handles)
