"""The map of an objective over two coordinates: its heights and levels, its colours, and the marks on it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray

from fastgd.common.escape import for_picture
from fastgd.common.numbers import number
from fastgd.plots.landscapes.walks import Walk
from fastgd.plots.limits import FAR, OUTSIDE, Array, frame_of
from fastgd.plots.style import GREY, Look, dress_map, halo, head, key_line
from fastgd.store.surface_files import Surface

LEVELS = 22
# This share of the surface counts as valleys, whose heights are linear in the loss; above it they are logarithmic.
_VALLEY = 0.02
_PLAIN = 1e-250  # smaller differences count as none
_TAIL = 0.001  # the share of a surface at either end that does not decide heights and colours
# From the valleys up: pale where walks end, so that their lines stand out.
_HEIGHT_COLORS = ("#fdfcf7", "#eef1ec", "#d5e0e2", "#b3c7d2", "#8fabbf", "#7393ac")
_MARK: dict[str, Any] = {"linestyle": "", "markeredgecolor": "#222222"}
MINIMUM = _MARK | {"marker": "*", "color": "#ffd23f", "markersize": 12, "markeredgewidth": 0.8}
START = _MARK | {"marker": "o", "color": "white", "markersize": 6.5, "markeredgewidth": 1.2}
END: dict[str, Any] = {"markeredgecolor": "#222222", "markeredgewidth": 0.9}  # added to an optimizer's look
_DOTS = 40  # the most steps of a walk that are marked
APART = 0.018  # of the map's diagonal: the least distance of two marked steps
_LONG = 8  # diagonals: longer walks, which cross themselves, have thin lines
_FEW = 3  # up to so many values of parameters are named
_LEAST_STEPS = 8  # of its grid, in a part of a map
_BESIDE = 0.8  # inches beside a map, for the numbers of its axis
MOST_MINIMA = 150  # the most minima that are marked: more stars would hide the map


@dataclass(frozen=True)
class Plane(Surface):
    """The surface of a trial, in a plane that is none of two coordinates.

    Attributes
    ----------
    labels : tuple of str
        What its axes are.
    title, words : str
        Its name, and what else is to be said of it.
    """

    labels: tuple[str, str]
    title: str
    words: str


class Height:
    """The height of the objective on maps: logarithmic in the loss, except in the lowest valleys, where it is linear.

    Parameters
    ----------
    surface : Surface

    Attributes
    ----------
    low, scale : float
        Heights are linear near the lowest value, `low`, and logarithmic from `low + scale` on.
    top : float
        The greatest height, which single values far above all others have too.
    """

    def __init__(self, surface: Surface) -> None:
        seen = surface.loss[np.abs(surface.loss) < FAR]
        lowest = [value for value in surface.info.values if abs(value) < FAR]
        self.low = float(min([frame_of(seen, log=False, tail=_TAIL).low, *lowest]))
        valley = float(np.quantile(np.maximum(seen - self.low, 0.0), _VALLEY))
        self.scale = valley if valley > _PLAIN else 1.0
        self.top = np.inf
        self.top = frame_of(self(seen), log=False, tail=_TAIL).high

    def __call__(self, loss: Any) -> Any:
        """Return the heights of losses."""
        return np.minimum(np.log1p(np.maximum(np.asarray(loss) - self.low, 0.0) / self.scale), self.top)

    def cut_off(self, surface: Surface) -> str:
        """Return in words how much of a surface is higher than `top`; empty where nothing is."""
        highest = self.loss(self.top)
        above = surface.loss[surface.loss > highest * (1 + 1e-9)]
        if not len(above):
            return ""
        share = max(len(above) / surface.loss.size, 1e-4)
        return f"cut at {number(highest)}: {share:.2%} of the map is higher, up to {number(above.max())}"

    def loss(self, height: Any) -> Any:
        """Return the losses of heights."""
        return self.low + self.scale * np.expm1(np.asarray(height))


def height_colors() -> Colormap:
    """Return the colours of heights."""
    return LinearSegmentedColormap.from_list("heights", _HEIGHT_COLORS)


def remarks(surface: Surface) -> list[str]:
    """Return what is to be said of a map: where it cuts, and what it cuts off."""
    cut_off = "" if len(surface.y) == 1 else Height(surface).cut_off(surface)
    return list(filter(None, [cut_in_words(surface), cut_off]))


def head_of(axes: Axes, surface: Surface, named: bool, width: float, *more: str) -> None:
    """Write above a map of a width in inches its problem where `named`, or what plane it is, with remarks."""
    if isinstance(surface, Plane):
        head(axes, surface.title, "; ".join([*more, *remarks(surface)]), "", "#222222", width - _BESIDE)
    elif named:
        axes.set_title(for_picture(surface.info.problem))


def draw_map(axes: Axes, surface: Surface) -> None:
    """Draw an objective as filled contours."""
    height = Height(surface)
    values = height(surface.loss).T
    levels = levels_of(values)
    colors = height_colors()(np.linspace(0.0, 1.0, len(levels) - 1))
    axes.contourf(surface.x, surface.y, values, levels, colors=colors, zorder=0, antialiased=True)
    look: dict[str, Any] = {"colors": "#5c7d96", "linewidths": 0.35, "alpha": 0.55, "zorder": 0.5}
    lines = axes.contour(surface.x, surface.y, values, levels[1:-1], **look)
    if isinstance(surface, Plane):  # what matters of it is how high it is
        texts = axes.clabel(lines, levels[2:-1:3], fmt=lambda at: number(height.loss(at), 2), fontsize=6.5, colors=GREY)
        for text in texts or ():
            text.set_alpha(0.9)
    axes.set_xlim(surface.x[0], surface.x[-1])
    axes.set_ylim(surface.y[0], surface.y[-1])
    axes.set_xlabel(coordinate(surface, 0))
    axes.set_ylabel(coordinate(surface, 1))
    dress_map(axes)


def levels_of(heights: Array) -> Array:
    """Return the heights of contours: means of those at equal steps of height and of those that enclose equal areas.

    Equal steps alone leave plains empty; equal areas alone do not show how steep a slope is.
    """
    seen = heights[np.isfinite(heights)]
    shares = np.linspace(0.0, 1.0, LEVELS)
    steps = np.linspace(seen.min(), seen.max(), LEVELS)
    levels = np.unique((steps + np.quantile(seen, shares)) / 2)
    return levels if len(levels) > 1 else levels[0] + np.array([0.0, 1.0])  # a flat surface has one


def proportion(surface: Surface) -> float | None:
    """Return the height of a map of width 1 whose axes have the same scale; None if it would be too long."""
    found = float(np.ptp(surface.y) / np.ptp(surface.x))
    return found if 0.45 <= found <= 2.0 else None


def fit(figure: Figure, panels: Sequence[Axes], surfaces: Sequence[Surface], rows: int) -> None:
    """Give axes of maps equal scales, and the figure the height at which such maps fill their places.

    Matplotlib's layout alone leaves too little room for titles and keys, since it learns too late that axes shrink.
    """
    wanted = [proportion(surface) for surface in surfaces]
    highest = max(min(share or 0.8, 1.2) for share in wanted)
    engine = figure.get_layout_engine()
    assert engine is not None
    for _ in range(2):
        engine.execute(figure)
        box = panels[0].get_window_extent()
        missing = (box.width * highest - box.height) / figure.dpi
        figure.set_size_inches(figure.get_figwidth(), max(1.5, figure.get_figheight() + rows * missing))
    for axes, share in zip(panels, wanted, strict=True):
        if share is not None:
            axes.set_aspect("equal")


def coordinate(surface: Surface, axis: int) -> str:
    """Return the name of a coordinate."""
    if isinstance(surface, Plane):
        return surface.labels[axis]
    letter = "x" if surface.info.landscape else "w"
    return f"${letter}_{{{surface.info.parameters[axis]}}}$"


def mark_minima(axes: Axes, surface: Surface) -> None:
    """Put a star at each minimum, a larger one at the lowest."""
    minima, values = (found[:MOST_MINIMA] for found in _minima_with_values(surface))
    if not len(minima):
        return
    heights = surface.loss[np.abs(surface.loss) < FAR]
    lowest = values <= values.min(initial=np.inf) + 1e-6 * float(np.ptp(heights) if len(heights) else 0.0)
    small = MINIMUM | ({"markersize": 8} if len(minima) <= 12 else {"markersize": 4, "markeredgewidth": 0.4})
    axes.plot(*minima[~lowest].T, **small, zorder=6)
    axes.plot(*minima[lowest].T, **MINIMUM, zorder=6)


def around(surface: Surface, paths: Sequence[Array]) -> Surface:
    """Return the part of a surface in which paths are, with some room around them."""
    points = np.concatenate(paths)
    corners = np.array([[surface.x[0], surface.y[0]], [surface.x[-1], surface.y[-1]]])
    points = points[((points >= corners[0]) & (points <= corners[1])).all(axis=1)]
    if not len(points):
        return surface
    middle = (points.min(axis=0) + points.max(axis=0)) / 2
    # The part keeps the proportions of the map, and stays wide enough for its grid to look smooth.
    least = max(0.1, min(1.0, _LEAST_STEPS / (min(len(surface.x), len(surface.y)) - 1)))
    share = max(float(np.max(np.ptp(points, axis=0) / (corners[1] - corners[0]))) * 1.3, least)
    half = share / 2 * (corners[1] - corners[0])
    axes, low, high = (surface.x, surface.y), middle - half, middle + half
    x, y = (np.flatnonzero((axis >= a) & (axis <= b)) for axis, a, b in zip(axes, low, high, strict=True))
    return replace(surface, x=surface.x[x], y=surface.y[y], loss=surface.loss[np.ix_(x, y)])


def columns_of(count: int) -> int:
    """Return how many maps are side by side."""
    return {1: 1, 2: 2, 4: 2}.get(count, 3)


def minima_on(surface: Surface) -> Array:
    """Return the minima on the map."""
    return _minima_with_values(surface)[0]


def _minima_with_values(surface: Surface) -> tuple[Array, Array]:
    """Return the minima on the map, and their values."""
    seen = projected_minima(surface)
    low, high = (surface.x[0], surface.y[0]), (surface.x[-1], surface.y[-1])
    kept = ((seen >= low) & (seen <= high)).all(axis=1) & _in_cut(surface, _minima(surface))
    return seen[kept], np.array(surface.info.values, dtype=np.float64)[kept]


def projected_minima(surface: Surface) -> Array:
    """Return all known minima (k, 2) projected onto the map, also those that are not in its plane."""
    return _minima(surface)[:, list(surface.info.parameters)]


def _minima(surface: Surface) -> Array:
    return np.array(surface.info.minima, dtype=np.float64).reshape(-1, max(2, len(surface.info.at)))


def _in_cut(surface: Surface, points: Array) -> NDArray[np.bool_]:
    """Return which points (k, d) are in the plane of a map."""
    others = _others(surface)
    there: NDArray[np.bool_] = np.isclose(points[:, others], np.array(surface.info.at)[others], atol=1e-6).all(axis=1)
    return there


def _others(surface: Surface) -> list[int]:
    """Return the parameters that are constant on a map."""
    return [place for place in range(len(surface.info.at)) if place not in surface.info.parameters]


def cut_in_words(surface: Surface) -> str:
    """Return in words where a map cuts through more than two parameters; empty if there are only two."""
    if isinstance(surface, Plane):
        return surface.words
    others, minima = _others(surface), _minima(surface)
    if not others:
        return ""
    at = [surface.info.at[place] for place in others]
    if len(minima) and _in_cut(surface, minima[:1]).all():
        words = "a cut through the lowest minimum"
    elif not any(at):
        words = f"a cut at zero in the other {_parameters(len(at))}"
    elif len(at) <= _FEW:
        letter = "x" if surface.info.landscape else "w"
        words = "a cut at " + ", ".join(f"${letter}_{{{k}}}$ = {number(v)}" for k, v in zip(others, at, strict=True))
    else:
        words = f"a cut at given values of the other {_parameters(len(at))}"
    return words


def _parameters(count: int) -> str:
    return "parameter" if count == 1 else f"{count:,} parameters"


def is_off_map(surface: Surface, point: Array) -> bool:
    """Return whether a point (2,) is outside of a map."""
    x, y = point
    return not (surface.x[0] <= x <= surface.x[-1] and surface.y[0] <= y <= surface.y[-1])


def draw_walk(axes: Axes, walk: Walk, look: Look) -> None:
    """Draw a walk as a line, with dots at the first steps that can be told apart."""
    path = walk.path
    width = 1.4 if np.nansum(np.hypot(*np.diff(path, axis=0).T)) < _LONG * diagonal(axes) else 0.7
    (line,) = axes.plot(*path.T, color=look.color, linestyle=look.linestyle, linewidth=width, zorder=3)
    line.set(path_effects=halo(2.1 * width, 0.85), gid=f"walk {walk.trial_id}/{walk.start}")
    marked = path[apart(path, APART * diagonal(axes))]
    axes.plot(*marked.T, "o", color=look.color, markersize=3.2, markeredgewidth=0, zorder=4)


def mark_ends(axes: Axes, walks: Sequence[Walk], chosen: Mapping[str, Look]) -> None:
    """Mark where walks started and ended, above all lines; an end off the map is marked at the edge."""
    starts = np.unique(np.reshape([walk.path[0] for walk in walks if len(walk.path) > 1], (-1, 2)), axis=0)
    axes.plot(*starts.T, **START, zorder=7)
    low, high = np.transpose([axes.get_xlim(), axes.get_ylim()])
    for walk in walks:
        place = np.clip(walk.end, low, high)
        off_map = bool((place != walk.end).any())
        (mark,) = axes.plot(*place, **chosen[walk.trial_id].line(6.5) | END, clip_on=not off_map, zorder=8)
        if off_map:
            mark.set_gid(OUTSIDE)


def diagonal(axes: Axes) -> float:
    """Return the length of the map's diagonal."""
    return float(np.hypot(np.ptp(axes.get_xlim()), np.ptp(axes.get_ylim())))


def apart(path: Array, least: float) -> list[int]:
    """Return the places of the first points of a path, leaving out those nearer than `least` to the one before."""
    chosen = [0]
    for place in range(1, len(path)):
        if len(chosen) == _DOTS:
            break
        if not np.hypot(*(path[place] - path[chosen[-1]])) < least:
            chosen.append(place)
    return chosen


def map_handles(maps: "Sequence[tuple[Surface, Sequence[Walk]]]") -> list[Artist]:
    """Return the key of the marks on maps."""
    counts = [len(minima_on(surface)) for surface, _ in maps]
    marked = sum(min(count, MOST_MINIMA) for count in counts)
    name = "minimum" if marked == sum(counts) else f"minimum (the lowest {marked:,} of {sum(counts):,})"
    elsewhere = sum(np.count_nonzero(~_in_cut(surface, _minima(surface))) for surface, _ in maps)
    name += f" ({elsewhere:,} more beside the cut)" if elsewhere else ""
    minima = [key_line(**MINIMUM, label=name)] if marked else []
    if not any(walks for _, walks in maps):
        return list(minima)
    end = key_line(marker="s", linestyle="", markersize=5.5, markeredgecolor="#222222", label="end")
    if not any(len(walk.path) > 1 for _, walks in maps for walk in walks):  # ends alone
        return [end, *minima]
    dots = key_line(marker=".", linestyle="", markersize=5, label="first steps")
    return [key_line(**START, label="start"), dots, end, *minima]
