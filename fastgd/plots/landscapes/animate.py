"""The film of a landscape: optimizers that move over the contour map, beside their losses."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from numpy.typing import NDArray

from fastgd.analysis import Results
from fastgd.plots.film import Film
from fastgd.plots.landscapes.contour import names, walks_on_maps
from fastgd.plots.landscapes.map import END, START, draw_map, mark_minima, proportion
from fastgd.plots.landscapes.walks import Walk, looks_of, starts_in_words
from fastgd.plots.layout import Layout
from fastgd.plots.limits import FAR, Array, drawable, frame_of, limits
from fastgd.plots.pages import note
from fastgd.plots.readings import label, methods
from fastgd.plots.style import Look, dress, halo, key, style
from fastgd.store.surface_files import Surface

FRAMES = 110
_LONG = 200  # with more steps than these, their axis is logarithmic


def animate(
    results: Results,
    trials: Sequence[str] | str | None = None,
    starts: Sequence[int] | int | None = None,
    problem: str | None = None,
    zoom: bool = False,
    frames: int = FRAMES,
) -> Film:
    """Make a film of optimizers that move over the contour map of a landscape, beside their losses.

    Frames are at equal ratios of the steps: each early step has a frame, later ones are farther and farther apart.

    Parameters
    ----------
    results : Results
        The study's results, with trajectories.
    trials, starts, problem, zoom
        As in `contour`; of several problems the first is shown.
    frames : int
        How many there are at most.

    Returns
    -------
    Film
        A matplotlib figure that shows the last frame. `save` writes it as .gif or .mp4, and the frame that it shows as
        a picture; `Film.go` goes to another frame.

    Raises
    ------
    InputError
        The study is none on landscapes, no trajectory was recorded, or the landscape has one coordinate.
    """
    maps = walks_on_maps(results, "animate", trials, starts, problem, zoom, single=False)
    surface, walks = maps[0]
    chosen = looks_of(methods(results), walks)
    with style():
        figure = Film(figsize=(9.0, 4.9), layout=Layout())
        share = proportion(surface) or 0.8
        left, right = figure.subplots(1, 2, width_ratios=[min(1.3, 1 / share), 0.9])
        moving = [*_map(left, surface, walks, chosen), *_losses(right, surface, walks, chosen)]
        text = left.text(0.02, 0.98, "", transform=left.transAxes, va="top", fontsize=9, fontweight="bold")
        text.set_path_effects(halo(2.5))
        key(figure, names(surface, walks, chosen))
        first = f"{surface.info.problem}, the first of {len(maps)} problems; problem= chooses" if len(maps) > 1 else ""
        note(figure, first, starts_in_words(walks))
        steps = _steps(int(max(walk.step[-1] for walk in walks)), frames)

        def move(frame: int) -> None:
            text.set_text(f"step {steps[frame]:,}")
            for place in moving:
                place.go(steps[frame])

        figure.animate(len(steps), [artist for place in moving for artist in place.artists] + [text], move)
    return figure


def _steps(last: int, frames: int) -> NDArray[np.int64]:
    """Return the steps that have a frame, at equal ratios."""
    found: NDArray[np.int64] = np.unique(np.rint(np.geomspace(1, last + 1, max(2, frames))).astype(np.int64)) - 1
    return found


class _Mover:
    """A line up to a step, and the point at its end."""

    def __init__(self, axes: Axes, points: Array, look: Look, width: float, rim: bool) -> None:
        effects = halo(width + 1.4, 0.85) if rim else []
        (self.line,) = axes.plot([], [], color=look.color, linewidth=width, path_effects=effects, zorder=3)
        (self.point,) = axes.plot([], [], **look.line(7.5) | END, zorder=8)
        self.points = points

    @property
    def artists(self) -> list[Artist]:
        return [self.line, self.point]

    def go(self, step: int) -> None:
        """Show the line up to a step."""
        seen = self.points[: step + 1]
        self.line.set_data(*seen.T)
        self.point.set_data(*seen[-1:].T)


def _map(axes: Axes, surface: Surface, walks: Sequence[Walk], chosen: Mapping[str, Look]) -> list[_Mover]:
    draw_map(axes, surface)
    mark_minima(axes, surface)
    if proportion(surface) is not None:
        axes.set_aspect("equal")
    starts = np.unique([walk.path[0] for walk in walks], axis=0)
    axes.plot(*starts.T, **START, zorder=2.5)
    return [_Mover(axes, walk.path, chosen[walk.trial_id], 1.5, rim=True) for walk in walks]


def _losses(axes: Axes, surface: Surface, walks: Sequence[Walk], chosen: Mapping[str, Look]) -> list[_Mover]:
    """Prepare the axes of the losses; they are logarithmic above the lowest value, where that is known."""
    low = surface.info.values[0] if surface.info.values else None
    seen = np.concatenate([walk.loss for walk in walks])
    seen, start = seen[np.abs(seen) < FAR], _start(walk.loss for walk in walks)
    if low is not None and seen.min(initial=np.inf) < low - 1e-9 * max(1.0, abs(start)):
        low = None  # a trial has found a lower one
    dress(axes)
    last = max(walk.step[-1] for walk in walks)
    axes.set_xlim((1, 1.3 * last) if last > _LONG else (0, 1.04 * last))
    axes.set_xscale("log" if last > _LONG else "linear")
    losses = [walk.loss if low is None else np.maximum(walk.loss - low, 0.0) for walk in walks]
    start, seen = _start(losses), np.concatenate(losses)
    seen = seen[np.abs(seen) < FAR]
    seen = seen[seen <= start + 0.5 * (start - seen.min(initial=start))]
    if low is not None and start > 1 / FAR:
        floor = max(frame_of(seen, [start], log=True).low, 1e-12 * start)
        axes.set_yscale("log")
        axes.set_ylim(floor / 2, 2 * start)
        losses = [np.where(loss > 0, loss, floor / 10) for loss in losses]
    else:
        limits(axes, seen, [start])
    axes.set_xlabel(label("step"))
    axes.set_ylabel("loss" if low is None else "loss above the lowest value")
    return [
        _Mover(axes, np.column_stack([walk.step, drawable(loss)]), chosen[walk.trial_id], 1.6, rim=False)
        for walk, loss in zip(walks, losses, strict=True)
    ]


def _start(losses: Iterable[Array]) -> float:
    """Return the highest loss at the start that axes can show."""
    return max((float(loss[0]) for loss in losses if abs(loss[0]) < FAR), default=0.0)
