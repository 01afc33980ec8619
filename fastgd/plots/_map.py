"""The map of an objective over two coordinates: its levels, its colours, and what is marked on it."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastgd.plots._style import GREY, Look
from fastgd.plots._walks import Walk
from fastgd.store.surfaces import Surface

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

Array = NDArray[np.float64]

LEVELS = 22
# Of the surface lies below this height, in which differences are shown as they are; above it by their ratios.
_VALLEY = 0.02
# From the valleys up: pale where walks end, so that their lines stand out there.
_TERRAIN = ("#fdfcf7", "#eef1ec", "#d5e0e2", "#b3c7d2", "#8fabbf", "#7393ac")
MINIMUM: dict[str, Any] = {
    "marker": "*",
    "linestyle": "",
    "color": "#ffd23f",
    "markersize": 12,
    "markeredgecolor": "#222222",
    "markeredgewidth": 0.8,
}
START: dict[str, Any] = {
    "marker": "o",
    "linestyle": "",
    "color": "white",
    "markersize": 6.5,
    "markeredgecolor": "#222222",
    "markeredgewidth": 1.2,
}
_DOTS = 40  # steps of a walk that are marked, at most
APART = 0.018  # of the map's diagonal, between two of them
_LONG = 8  # diagonals: lines of longer walks, which cross themselves, are thin
_MOST_MINIMA = 150  # that are marked: stars that touch hide the map


class Height:
    """What stands for the objective on maps: it grows with its logarithm, but for the lowest valleys.

    Parameters
    ----------
    surface : Surface
    """

    def __init__(self, surface: Surface) -> None:
        seen = surface.loss[np.isfinite(surface.loss)]
        self.low = float(min([seen.min(), *surface.info.values]))
        self.scale = float(np.quantile(seen - self.low, _VALLEY)) or 1.0

    def __call__(self, loss: Any) -> Any:
        """Return the heights of losses."""
        return np.log1p(np.maximum(np.asarray(loss) - self.low, 0.0) / self.scale)

    def loss(self, height: Any) -> Any:
        """Return the losses of heights."""
        return self.low + self.scale * np.expm1(np.asarray(height))


def terrain() -> "Colormap":
    """Return the colours of heights."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("terrain", _TERRAIN)


def draw_map(axes: "Axes", surface: Surface) -> None:
    """Draw an objective's contours, filled, with its minima."""
    height = Height(surface)
    values = height(surface.loss).T
    levels = levels_of(values)
    colors = terrain()(np.linspace(0.0, 1.0, len(levels) - 1))
    axes.contourf(surface.x, surface.y, values, levels, colors=colors, zorder=0, antialiased=True)
    axes.contour(surface.x, surface.y, values, levels[1:-1], colors="#5c7d96", linewidths=0.35, alpha=0.55, zorder=0.5)
    axes.set_xlim(surface.x[0], surface.x[-1])
    axes.set_ylim(surface.y[0], surface.y[-1])
    axes.set_xlabel(coordinate(surface, 0))
    axes.set_ylabel(coordinate(surface, 1))
    axes.tick_params(length=3, width=0.8, color="#8c8c8c", labelsize=8)
    axes.spines[:].set_visible(False)


def levels_of(heights: Array) -> Array:
    """Return levels between the lowest and the highest: half way between equal steps of height and equal areas.

    Equal steps alone leave plains empty, equal areas alone hide how steep a slope is.
    """
    seen = heights[np.isfinite(heights)]
    shares = np.linspace(0.0, 1.0, LEVELS)
    steps = np.linspace(seen.min(), seen.max(), LEVELS)
    return np.unique((steps + np.quantile(seen, shares)) / 2)


def proportion(surface: Surface) -> float | None:
    """Return the height of a map that is as wide as 1, if its axes have the same scale; None: they need not."""
    found = float(np.ptp(surface.y) / np.ptp(surface.x))
    return found if 0.45 <= found <= 2.0 else None


def fit(figure: "Figure", panels: "Sequence[Axes]", surfaces: Sequence[Surface], rows: int) -> None:
    """Give a figure the height at which maps of equal scales fill their places, and their axes these scales.

    Matplotlib's layout leaves too little room for titles and keys where it finds out too late that axes shrink.
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
    letter = "x" if surface.info.landscape else "w"
    return f"${letter}_{{{surface.info.parameters[axis]}}}$"


def mark_minima(axes: "Axes", surface: Surface) -> None:
    """Put a star at each minimum, the larger the lower it is."""
    minima, values = (found[:_MOST_MINIMA] for found in _minima_on(surface))
    if not len(minima):
        return
    heights = surface.loss[np.isfinite(surface.loss)]
    lowest = values <= values.min(initial=np.inf) + 1e-6 * float(np.ptp(heights) if len(heights) else 0.0)
    small = MINIMUM | ({"markersize": 8} if len(minima) <= 12 else {"markersize": 4, "markeredgewidth": 0.4})
    axes.plot(*minima[~lowest].T, **small, zorder=6)
    axes.plot(*minima[lowest].T, **MINIMUM, zorder=6)


def around(surface: Surface, paths: Sequence[Array]) -> Surface:
    """Return the part of a surface in which paths lie, as far as they lie on it, with some room."""
    points = np.concatenate(paths)
    corners = np.array([[surface.x[0], surface.y[0]], [surface.x[-1], surface.y[-1]]])
    points = points[((points >= corners[0]) & (points <= corners[1])).all(axis=1)]
    if not len(points):
        return surface
    middle = (points.min(axis=0) + points.max(axis=0)) / 2
    # Maps keep their proportions, and stay wide enough for their grid to look smooth.
    share = max(float(np.max(np.ptp(points, axis=0) / (corners[1] - corners[0]))) * 1.3, 0.1)
    half = share / 2 * (corners[1] - corners[0])
    axes, low, high = (surface.x, surface.y), middle - half, middle + half
    x, y = (np.flatnonzero((axis >= a) & (axis <= b)) for axis, a, b in zip(axes, low, high, strict=True))
    return Surface(surface.info, surface.x[x], surface.y[y], surface.loss[np.ix_(x, y)])


def columns_of(count: int) -> int:
    """Return how many maps stand side by side."""
    return {1: 1, 2: 2, 4: 2}.get(count, 3)


def inside(surface: Surface) -> Array:
    """Return the minima on the map."""
    return _minima_on(surface)[0]


def _minima_on(surface: Surface) -> tuple[Array, Array]:
    """Return the minima on the map, and their values."""
    info = surface.info
    minima = np.array(info.minima, dtype=np.float64).reshape(-1, max(2, len(info.at)))[:, list(info.parameters)]
    low, high = (surface.x[0], surface.y[0]), (surface.x[-1], surface.y[-1])
    kept = ((minima >= low) & (minima <= high)).all(axis=1)
    return minima[kept], np.array(info.values, dtype=np.float64)[kept]


def draw_walk(axes: "Axes", walk: Walk, look: Look) -> "list[Artist]":
    """Draw where a walk went: a line, the steps that can be told apart as dots, and where it ended."""
    from matplotlib.patheffects import Normal, Stroke

    path = walk.path
    width = 1.4 if np.nansum(np.hypot(*np.diff(path, axis=0).T)) < _LONG * diagonal(axes) else 0.7
    halo = [Stroke(linewidth=2.1 * width, foreground="white", alpha=0.85), Normal()]
    (line,) = axes.plot(
        *path.T, color=look.color, linestyle=look.linestyle, linewidth=width, path_effects=halo, zorder=3
    )
    line.set_gid(f"walk {walk.trial_id}/{walk.start}")
    told = path[apart(path, APART * diagonal(axes))]
    (dots,) = axes.plot(*told.T, "o", color=look.color, markersize=3.2, markeredgewidth=0, zorder=4)
    return [line, dots]


def mark_ends(axes: "Axes", walks: Sequence[Walk], chosen: Mapping[str, Look]) -> None:
    """Mark where walks started and ended, above all lines."""
    starts = np.unique([walk.path[0] for walk in walks], axis=0)
    axes.plot(*starts.T, **START, zorder=7)
    for walk in walks:
        look, path = chosen[walk.method], walk.path
        end = path[np.isfinite(path).all(axis=1)][-1]
        edge = {"markeredgecolor": "#222222", "markeredgewidth": 0.9}
        axes.plot(*end, **look.line(6.5) | edge, zorder=8, clip_on=True)


def diagonal(axes: "Axes") -> float:
    """Return the length of the map's diagonal."""
    return float(np.hypot(np.ptp(axes.get_xlim()), np.ptp(axes.get_ylim())))


def apart(path: Array, least: float) -> list[int]:
    """Return the first points of a path that are at least so far from the one chosen before."""
    chosen = [0]
    for place in range(1, len(path)):
        if len(chosen) == _DOTS:
            break
        if not np.hypot(*(path[place] - path[chosen[-1]])) < least:
            chosen.append(place)
    return chosen


def map_handles(maps: "Sequence[tuple[Surface, Sequence[Walk]]]") -> "list[Artist]":
    """Return what a key says of the marks on maps."""
    from matplotlib.lines import Line2D

    minima = [Line2D([], [], **MINIMUM, label="minimum")] if any(ground.info.minima for ground, _ in maps) else []
    if not any(walks for _, walks in maps):
        return list(minima)
    end = Line2D([], [], color=GREY, marker="s", linestyle="", markersize=5.5, markeredgecolor="#222222", label="end")
    dots = Line2D([], [], color=GREY, marker=".", linestyle="", markersize=5, label="first steps")
    return [Line2D([], [], **START, label="start"), dots, end, *minima]
