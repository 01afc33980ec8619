"""The picture of a surface in three dimensions, with the trajectories of optimizers on it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.colors import LightSource
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from fastgd.analysis import Results
from fastgd.common.numbers import number
from fastgd.plots.landscapes.contour import names, page_of_maps, walks_on_maps
from fastgd.plots.landscapes.map import (
    APART,
    END,
    MINIMUM,
    START,
    Height,
    Plane,
    apart,
    columns_of,
    coordinate,
    head_of,
    height_colors,
    levels_of,
    map_handles,
    minima_on,
    remarks,
)
from fastgd.plots.landscapes.trial_maps import draw_line
from fastgd.plots.landscapes.walks import Walk, looks_of, starts_in_words
from fastgd.plots.layout import Layout
from fastgd.plots.limits import Array
from fastgd.plots.pages import note
from fastgd.plots.readings import methods
from fastgd.plots.style import GREY, Look, figure_of, halo, key, list_below, style
from fastgd.store.surface_files import Surface

_FACES = 140  # along each axis; finer faces could not be seen
_ASPECT = (1.0, 1.0, 0.55)
_LIFT = 0.008  # of the height: lines are so far above the surface, not within it
_LIGHT = (300.0, 40.0)  # azimuth and elevation of the light
# Elevations and azimuths of the eye, tried in this order; the first that shows nearly as much as the best is taken.
_VIEWS = [(elevation, azimuth) for elevation in (42.0, 56.0) for azimuth in (-60, -120, -30, -150, 30, 150, 60, 120)]
_ENOUGH = 0.93  # of what the best view shows
_LOOKS = 300  # points of walks by which a view is chosen
_MARCH = 120  # points of a ray towards the eye
_AT_ONCE = 4096  # rays that are followed at once, which bounds the memory
_LINES = 20_000  # the most points of contour lines
WIDTHS = {1: 6.4, 2: 4.2, 3: 3.3}


def surface(
    results: Results,
    trials: Sequence[str] | str | None = None,
    starts: Sequence[int] | int | None = None,
    problem: str | None = None,
    zoom: bool = False,
    view: tuple[float, float] | None = None,
    axes: Any = None,
    page: int = 1,
    directions: str | None = None,
) -> Figure:
    """Plot the objective as a surface in three dimensions, and the trajectories on it: axes for each problem.

    Heights are logarithmic above the lowest valleys; a line beside the picture says from which loss on. Parts of
    trajectories behind a ridge are pale. Of a study over data, the surfaces are those that `contour` draws.

    Parameters
    ----------
    results : Results
        The study's results, with trajectories; or of a study over data, with surfaces.
    trials, starts, problem, zoom, directions
        As in `contour`.
    view : tuple of float, optional
        Elevation and azimuth of the eye, in degrees; by default a view that shows most of the trajectories.
    axes : mpl_toolkits.mplot3d.Axes3D, optional
        Where to draw one problem, in place of a new figure.
    page : int
        Of a study of many problems, which of them to draw: the first ones, the next ones, ...

    Returns
    -------
    matplotlib.figure.Figure
        The picture.

    Raises
    ------
    InputError
        The study is none on landscapes, no trajectory was recorded, or the landscape has one coordinate.
    """
    maps = walks_on_maps(results, "surface", trials, starts, problem, zoom, axes is not None, directions)
    chosen = looks_of(methods(results), [walk for _, walks in maps for walk in walks])
    with style():
        if axes is not None:
            _draw(axes, *maps[0], chosen, view)
            list_below(axes, [*names(*maps[0], chosen), *map_handles(maps)])
            return figure_of(axes)
        shown, words = page_of_maps(maps, page, WIDTHS)
        figure = _figure(shown, chosen, view, len(maps) > 1)
        note(figure, words, starts_in_words([walk for _, walks in shown for walk in walks]))
        return figure


def _figure(
    maps: "Sequence[tuple[Surface, list[Walk]]]",
    chosen: Mapping[str, Look],
    view: tuple[float, float] | None,
    named: bool,
) -> Figure:
    columns = columns_of(len(maps))
    rows, width = -(-len(maps) // columns), WIDTHS[columns]
    figure = Figure(figsize=(width * columns, rows * (0.82 * width + 0.4) + 0.3), layout=Layout())
    for place, (surface, walks) in enumerate(maps, start=1):
        flat = len(surface.y) == 1
        axes = figure.add_subplot(rows, columns, place, projection=None if flat else "3d")
        _draw(axes, surface, walks, chosen, view)
        below = 34 if flat else 20 if isinstance(surface, Plane) else 10  # the names of a plane's axes are longer
        list_below(axes, names(surface, walks, chosen), width, points=below)
        head_of(axes, surface, named, width, *([] if flat else [scale_in_words(Height(surface))]))
    key(figure, map_handles(maps))
    return figure


def _draw(
    axes: Any, surface: Surface, walks: Sequence[Walk], chosen: Mapping[str, Look], view: tuple[float, float] | None
) -> None:
    if isinstance(surface, Plane) and len(surface.y) == 1:
        draw_line(axes, surface, walks, chosen)
        return
    height = Height(surface)
    relief = Relief(surface.x, surface.y, height(surface.loss), view or _VIEWS[0])
    relief.view = view or _best_view(relief, walks, minima_on(surface))
    axes.set_proj_type("ortho")
    axes.view_init(*relief.view)
    axes.set_box_aspect(_ASPECT, zoom=1.0)
    axes.computed_zorder = False  # it orders artists by their mean distance, so that lines would vanish in the surface
    _draw_relief(axes, surface, relief)
    for walk in walks:
        _draw_walk(axes, walk, relief, chosen[walk.trial_id])
    _mark(axes, surface, walks, relief, chosen)
    _dress(axes, surface, height, relief)


class Relief:
    """Heights over a rectangle: they give paths their height, and tell which points the eye can see.

    Parameters
    ----------
    x, y : ndarray of shape (nx,) and (ny,)
    z : ndarray of shape (nx, ny)
        The heights.
    view : tuple of float
        Elevation and azimuth of the eye, in degrees.
    """

    def __init__(self, x: Array, y: Array, z: Array, view: tuple[float, float]) -> None:
        self.low, self.size = np.array([x[0], y[0]]), np.array([np.ptp(x), np.ptp(y)])
        self.z, self.top = z, float(np.nanmax(z)) or 1.0
        self.view = view

    def at(self, points: Array) -> Array:
        """Return the heights at points (..., 2); NaN outside of the relief."""
        from scipy.ndimage import map_coordinates

        place = (points - self.low) / self.size * (np.array(self.z.shape) - 1)
        outside = ~((place >= 0) & (place <= np.array(self.z.shape) - 1)).all(axis=-1)
        heights: Array = map_coordinates(self.z, np.moveaxis(place, -1, 0), order=1, mode="nearest")
        return np.where(outside, np.nan, heights)

    def drape(self, path: Array) -> Array:
        """Return points (k, 3) on the relief, along the straight lines between the points of a path (n, 2)."""
        share = np.abs(np.diff(path, axis=0)) / self.size
        pieces = np.nan_to_num(np.ceil(share.max(axis=1, initial=0.0) * _FACES)).clip(1, _FACES).astype(np.int64)
        parts = [np.linspace(a, b, n, endpoint=False) for a, b, n in zip(path[:-1], path[1:], pieces, strict=True)]
        return self.on(np.concatenate([*parts, path[-1:]]))

    def on(self, points: Array) -> Array:
        """Return points (k, 2) with their heights; NaN outside of the relief."""
        heights = self.at(points) + _LIFT * self.top
        on: Array = np.where(np.isnan(heights)[:, None], np.nan, np.column_stack([points, heights]))
        return on

    def seen(self, points: Array) -> NDArray[np.bool_]:
        """Return which points (k, 3) the eye sees, since no part of the relief hides them."""
        parts = [points[first : first + _AT_ONCE] for first in range(0, len(points), _AT_ONCE)]
        return np.concatenate([self._seen(part) for part in parts]) if parts else np.zeros(0, bool)

    def _seen(self, points: Array) -> NDArray[np.bool_]:
        distance = np.linspace(0.01, 1.6, _MARCH)[:, None, None]
        elevation, azimuth = np.radians(self.view)
        flat = np.cos(elevation)
        eye = np.array([flat * np.cos(azimuth), flat * np.sin(azimuth), np.sin(elevation)])
        ray = points + distance * eye * np.array([*self.size, self.top]) / _ASPECT
        with np.errstate(invalid="ignore"):
            above: NDArray[np.bool_] = self.at(ray[..., :2]) > ray[..., 2]
        return np.asarray(~above.any(axis=0))


def _draw_relief(axes: Any, surface: Surface, relief: Relief) -> None:
    every_x, every_y = -(-len(surface.x) // _FACES), -(-len(surface.y) // _FACES)
    x, y, z = surface.x[::every_x], surface.y[::every_y], relief.z[::every_x, ::every_y]
    look: dict[str, Any] = {"blend_mode": "soft", "vert_exag": _ASPECT[2], "vmin": 0.0, "vmax": 1.0}
    colors = LightSource(*_LIGHT).shade(z / relief.top, height_colors(), dx=1 / len(y), dy=1 / len(x), **look)
    _draw_levels(axes, x, y, z, relief)
    faces = axes.plot_surface(
        *np.meshgrid(x, y, indexing="ij"), z, facecolors=colors, rcount=len(x), ccount=len(y), shade=False,
        linewidth=0, antialiased=False, zorder=1,
    )  # fmt: skip
    faces.set_rasterized(True)


def _draw_levels(axes: Any, x: Array, y: Array, z: Array, relief: Relief) -> None:
    """Draw the contour lines of the map, where the eye sees them."""
    found = Figure().subplots().contour(x, y, z.T, levels_of(z)[1:-1]).allsegs
    length = sum(len(segment) for level in found for segment in level)
    found = found[:: -(-length // _LINES)]  # a rugged landscape is clearer with fewer lines
    gap = np.full((1, 2), np.nan)
    lines = [part for level in found for segment in level for part in (segment, gap)]
    if lines:
        points = relief.on(np.concatenate(lines))
        seen = np.where(relief.seen(points)[:, None], points, np.nan)
        axes.plot(*seen.T, color="#4f738d", linewidth=0.4, alpha=0.6, zorder=1.5)


def _best_view(relief: Relief, walks: Sequence[Walk], minima: Array) -> tuple[float, float]:
    """Return a view that shows most of the walks."""
    points = np.concatenate([np.empty((0, 3)), *(relief.drape(walk.path) for walk in walks)])
    if not len(points):
        return _VIEWS[0]
    points = points[:: max(1, len(points) // _LOOKS)]
    # The lowest minima count too: they should be seen.
    points = np.concatenate([points, np.repeat(relief.on(minima[:4]), max(1, len(points) // 16), axis=0)])
    seen = []
    for view in _VIEWS:
        relief.view = view
        seen.append(np.count_nonzero(relief.seen(points) & np.isfinite(points[:, 2])))
    return _VIEWS[int(np.argmax(np.array(seen) >= _ENOUGH * max(seen)))]


def _draw_walk(axes: Any, walk: Walk, relief: Relief, look: Look) -> None:
    line = relief.drape(walk.path)
    seen = relief.seen(line)
    axes.plot(*line.T, color=look.color, linewidth=0.9, alpha=0.35, zorder=2)
    front = np.where(seen[:, None], line, np.nan)
    axes.plot(
        *front.T, color=look.color, linestyle=look.linestyle, linewidth=1.6, path_effects=halo(3.0, 0.8), zorder=3
    )
    least = APART * float(np.hypot(*relief.size))
    dots = relief.on(walk.path[apart(walk.path, least)])
    shown = np.where(relief.seen(dots)[:, None], dots, np.nan)
    axes.plot(*shown.T, "o", color=look.color, markersize=3.4, markeredgewidth=0, zorder=4)


def _mark(axes: Any, surface: Surface, walks: Sequence[Walk], relief: Relief, chosen: Mapping[str, Look]) -> None:
    """Mark minima, starts and ends."""
    minima = relief.on(minima_on(surface))
    few = {} if len(minima) <= 12 else {"markersize": 4, "markeredgewidth": 0.4}
    seen = relief.seen(minima)
    axes.plot(*minima[seen].T, **MINIMUM | few, zorder=5)
    axes.plot(*minima[~seen].T, **MINIMUM | few, alpha=0.35, zorder=5)
    starts = relief.on(np.unique(np.reshape([walk.path[0] for walk in walks if len(walk.path) > 1], (-1, 2)), axis=0))
    axes.plot(*starts.T, **START, zorder=6)
    for walk in walks:
        axes.plot(*relief.on(walk.end[None]).T, **chosen[walk.trial_id].line(6.5) | END, zorder=7)


def _dress(axes: Any, surface: Surface, height: Height, relief: Relief) -> None:
    """Set limits, few ticks and thin panes."""
    axes.set_xlim(surface.x[0], surface.x[-1])
    axes.set_ylim(surface.y[0], surface.y[-1])
    axes.set_zlim(0.0, relief.top)
    axes.set_xlabel(coordinate(surface, 0), labelpad=-4)
    axes.set_ylabel(coordinate(surface, 1), labelpad=-4)
    if not isinstance(surface, Plane):
        words = [scale_in_words(height), *remarks(surface)]
        style_of_words = {"ha": "right", "va": "top", "fontsize": 7.5, "color": GREY}
        axes.text2D(1.0, 0.99, "\n".join(words), transform=axes.transAxes, **style_of_words)
    marks = _marks(height, relief.top)
    axes.set_zticks(height(marks), labels=[_tick_label(mark) for mark in marks])
    for axis in (axes.xaxis, axes.yaxis, axes.zaxis):
        axis.set_pane_color((1.0, 1.0, 1.0, 0.0))
        axis.line.set_color("#b3b3b3")
        axis._axinfo["grid"].update(color="#ebebeb", linewidth=0.6)
        axis._axinfo["tick"].update(inward_factor=0.0, outward_factor=0.15)
        axis.set_tick_params(labelsize=7.5, pad=-2, color="#b3b3b3")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(5))


def scale_in_words(height: Height) -> str:
    """Return in words how heights grow with the loss."""
    return f"height: loss, logarithmic from {number(height.low + height.scale)} on"


def _marks(height: Height, top: float) -> Array:
    """Return the losses at the ticks of the height: decades if there are some, and heights that are well apart."""
    low, high = (float(height.loss(at)) for at in (0.0, top))
    if low < 1e-6 * high and top > 3.0:
        values = 10.0 ** np.arange(np.floor(np.log10(high)), np.log10(height.scale) - 1, -1)
    else:
        values = np.array(MaxNLocator(5).tick_values(low, high))[::-1]
    values = values[(values >= low) & (values <= high)]
    kept: list[float] = [low] if abs(low) < 1e-6 * high else []
    for value in values:
        if all(abs(height(value) - height(other)) > 0.12 * top for other in kept):
            kept.append(float(value))
    return np.array(kept)


def _tick_label(loss: float) -> str:
    if loss >= 1e4:
        return f"$10^{{{np.log10(loss):.0f}}}$" if np.log10(loss) % 1 == 0 else number(loss, 2)
    return "0" if abs(loss) < 1e-12 else number(loss, 4)
