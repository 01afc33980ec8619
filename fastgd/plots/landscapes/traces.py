"""The picture of single trials step by step: parameters, gradients, the slots of the rule, and effective rates."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from fastgd.analysis import Results
from fastgd.common.errors import InputError
from fastgd.common.escape import for_picture
from fastgd.plots.landscapes.walks import Walk, starts_in_words, walks_of
from fastgd.plots.layout import Layout
from fastgd.plots.limits import FAR, Array, limits, mark_outside, tell_outside
from fastgd.plots.pages import TALLEST, note, page_of
from fastgd.plots.readings import label, methods
from fastgd.plots.style import Look, dress, head, key, key_line, looks, style

# Colours of coordinates. They differ from those of optimizers in lightness, and from each other in dashes too.
_COLORS = ("#1b4f8a", "#d98032", "#5aa469", "#9b6fb3", "#c2a83e", "#7a7a7a")
_DASHES: tuple[Any, ...] = ("solid", (0, (4, 1.2)), (0, (1.2, 1)), (0, (6, 1, 1, 1)), (0, (2, 2)), (0, (8, 2)))
_COLUMNS = 4  # up to so many trials are all drawn
_WIDEST = 8  # the most columns of a picture
_PLACES = 400  # steps whose values decide the limits
_REACH = 9.0  # the `reach` of limits, far beyond the middle values: the first steps are to be seen
_FIXED = ("x", "gradient")
_EFFECTIVE = "effective_lr"
_SLOT = "slot."
# Slots with these names decide the effective rate, and are drawn next to it.
_SQUARES = ("square", "largest", "accumul")
_FLAT = 20  # panels whose ranges differ by this factor do not share a scale: one would be a flat line
_NAMES = {"x": "parameter", "gradient": "gradient", _EFFECTIVE: "effective rate"}


def traces(
    results: Results,
    trials: Sequence[str] | str | None = None,
    start: int | None = None,
    steps: int | None = None,
    log: bool | None = None,
    coordinates: Sequence[int] | None = None,
    page: int = 1,
) -> Figure:
    """Plot every step of trials: a column for each, with its parameters, their gradients, and the slots of its rule.

    The panels of a column share the steps; those of a row share their scale where they show the same quantity. The
    lowest row is the effective rate, which multiplies each parameter's gradient; it is not known at the start.

    Parameters
    ----------
    results : Results
        The study's results, with trajectories.
    trials : sequence of str or "all", optional
        Ids of configurations; by default all that were recorded, if they are at most four, else the best of each
        optimizer.
    start : int, optional
        The number of the start; by default the first that was recorded.
    steps : int, optional
        How many to show; by default all.
    log : bool, optional
        Whether steps stand on a logarithmic axis; by default where there are more than 200.
    coordinates : sequence of int, optional
        Which of the parameters to show; by default the first six.
    page : int
        Of many trials, which to draw: the first ones, the next ones, ...

    Returns
    -------
    matplotlib.figure.Figure
        The picture.

    Raises
    ------
    InputError
        The study is none on landscapes, or no trajectory was recorded.
    """
    found = _walks(results, trials, start)
    walks, words = page_of(found, page, "trials", [TALLEST / _WIDEST] * len(found))
    shown = list(coordinates if coordinates is not None else range(min(len(_COLORS), walks[0].x.shape[1])))
    if wrong := [number for number in shown if not 0 <= number < len(_COLORS) or number >= walks[0].x.shape[1]]:
        raise InputError(
            f"there is no coordinate {wrong[0]} to trace; they are 0 to {walks[0].x.shape[1] - 1}, up to 5"
        )
    last = int(min(steps or np.inf, max(walk.step[-1] for walk in walks)))
    with style():
        figure = _figure(walks, shown, last, last > 200 if log is None else log, looks(methods(results)))
        d = walks[0].x.shape[1]
        few = f"{len(shown)} of {d:,} coordinates" if coordinates is None and len(shown) < d else ""
        note(figure, words, starts_in_words(walks), few)
        return figure


def _figure(walks: Sequence[Walk], shown: Sequence[int], last: int, log: bool, chosen: Mapping[str, Look]) -> Figure:
    rows = _rows(walks)
    width = {1: 5.6, 2: 3.6, 3: 2.7}.get(len(walks), 2.3)
    figure = Figure(figsize=(0.6 + width * len(walks), 0.9 + 1.2 * len(rows)), layout=Layout())
    grid = figure.subplots(len(rows), len(walks), sharex=True, squeeze=False)
    several = len({walk.problem for walk in walks}) > 1
    for column, walk in enumerate(walks):
        for axes, names in zip(grid[:, column], rows, strict=True):
            _panel(axes, walk, names[column], shown, last, log)
        words = ", ".join(filter(None, [walk.problem if several else "", walk.settings]))
        head(grid[0, column], walk.method, words, "", chosen[walk.method].color, width - 0.4)
    for panels, names in zip(grid, rows, strict=True):
        _scale(list(panels), names, log)
    for axes in grid[-1]:
        axes.set_xlabel(label("step"))
        axes.tick_params(labelbottom=True)
        if log:
            axes.set_xscale("log")
            axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlim(1 if log else 0, last)
    for axes in figure.axes:
        if axes.get_visible():
            _mark_beyond(axes)
    key(figure, _handles(shown))
    return figure


def _walks(results: Results, trials: Sequence[str] | str | None, start: int | None) -> list[Walk]:
    """Return the walks from one start: all if they are few, else those of the best of each optimizer."""
    if trials is None:
        every = walks_of(results, "traces", "all", start)
        trials = "all" if len({walk.trial_id for walk in every}) <= _COLUMNS else None
    walks = walks_of(results, "traces", trials, start, whole=True)
    return [walk for walk in walks if walk.start == walks[0].start]


def _rows(walks: Sequence[Walk]) -> list[list[str | None]]:
    """Return for each row of panels which quantity each column shows there; None for an empty panel.

    Slots of squares, which decide the effective rate, are in the rows just above it.
    """
    own = []
    for walk in walks:
        slots = [name for name in walk.more if name.startswith(_SLOT)]
        own.append(sorted(slots, key=lambda name: any(word in name for word in _SQUARES)))
    most = max(len(slots) for slots in own)
    padded = [[None] * (most - len(slots)) + slots for slots in own]
    rows: list[list[str | None]] = [["x"] * len(walks)]
    if any("gradient" in walk.more for walk in walks):  # a gradient that is NaN in all steps is left out
        rows.append(["gradient" if "gradient" in walk.more else None for walk in walks])
    rows += [list(row) for row in zip(*padded, strict=True)]
    effective = [_EFFECTIVE if _EFFECTIVE in walk.more else None for walk in walks]
    return [*rows, effective] if any(effective) else rows


def _panel(axes: Axes, walk: Walk, name: str | None, shown: Sequence[int], last: int, log: bool) -> None:
    """Draw a quantity of a walk, with a line for each coordinate; a logarithmic axis of steps cannot show step 0."""
    if name is None:
        axes.set_visible(False)
        return
    dress(axes)
    values = walk.x if name == "x" else walk.more[name]
    kept = (walk.step <= last) & (walk.step >= (log or name == _EFFECTIVE))
    for number in shown:
        seen = np.where(np.abs(values[kept, number]) < FAR, values[kept, number], np.nan)
        axes.plot(walk.step[kept], seen, color=_COLORS[number], linestyle=_DASHES[number], linewidth=1.3)
    if name == "gradient":
        axes.axhline(0.0, color="#bdbdbd", linewidth=0.7, zorder=1, gid="zero")


def _scale(panels: Sequence[Axes], names: Sequence[str | None], log_steps: bool) -> None:
    """Set the scales of a row and name its axes; panels with the same quantity share a scale if none would be flat."""
    drawn = [(axes, name, _seen(axes, log_steps)) for axes, name in zip(panels, names, strict=True) if name is not None]
    spans = [float(np.ptp(seen)) for _, _, seen in drawn]
    same = len({name for _, name, _ in drawn}) == 1
    shared = same and (drawn[0][1] == _EFFECTIVE or min(spans) * _FLAT >= max(spans))
    whole = np.concatenate([seen for _, _, seen in drawn])
    for place, (axes, name, seen) in enumerate(drawn):
        assert name is not None
        values = whole if shared else seen
        # Limits include the first values, except of rates and slots, whose first values may be extreme.
        lines = [line for own, _, _ in drawn if shared or own is axes for line in _lines(own)]
        first = [float(np.asarray(line.get_ydata())[0]) for line in lines]
        log_suits = (values > 0).all() if name in _FIXED else (values >= 0).all()
        limits(axes, values, first if name in _FIXED else (), log=None if log_suits else False, reach=_REACH)
        log = axes.get_yscale() == "log"
        axes.yaxis.set_major_locator(LogLocator(numticks=4) if log else MaxNLocator(4, min_n_ticks=3))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.tick_params(labelsize=7.5, labelleft=place == 0 or not shared)
        if place == 0 or not shared:
            axes.set_ylabel(for_picture(_name(name)), fontsize=8)


def _lines(axes: Axes) -> list[Line2D]:
    """Return the lines of the coordinates."""
    return [line for line in axes.lines if not line.get_gid()]


def _mark_beyond(axes: Axes) -> None:
    """Mark where lines leave a panel, and count those that do."""
    lines = [(np.asarray(line.get_xdata()), np.asarray(line.get_ydata()), line.get_color()) for line in _lines(axes)]
    for x, y, color in lines:
        mark_outside(axes, x, y, str(color), first=True)
    ends = np.array([[y[np.isfinite(y)].min(), y[np.isfinite(y)].max()] for _, y, _ in lines if np.isfinite(y).any()])
    low, high = ends.reshape(-1, 2).T
    tell_outside(axes, low, high, "line")


def _seen(axes: Axes, log: bool) -> Array:
    """Return the values in a panel at steps that are equally far apart on their axis."""
    values = np.concatenate([_along(line, log) for line in _lines(axes)])
    return values[np.isfinite(values)] if np.isfinite(values).any() else np.zeros(1)


def _along(line: Line2D, log: bool) -> Array:
    steps, values = np.asarray(line.get_xdata()), np.asarray(line.get_ydata())
    low, high = max(float(steps[0]), float(log)), float(steps[-1])
    places = (np.geomspace if log else np.linspace)(low, max(low, high), _PLACES)
    return values[np.minimum(np.searchsorted(steps, places), len(steps) - 1)]


def _name(name: str) -> str:
    return _NAMES.get(name, name.removeprefix(_SLOT).replace("_", " "))


def _handles(shown: Sequence[int]) -> list[Artist]:
    return [
        key_line(color=_COLORS[number], linestyle=_DASHES[number], linewidth=1.6, label=f"$x_{{{number}}}$")
        for number in shown
    ]
