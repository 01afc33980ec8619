"""The picture of basins of attraction: the minimum that each start leads to, and after how many steps."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.compute as pc
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from fastgd.analysis import Results
from fastgd.common.errors import InputError, nearest
from fastgd.common.numbers import number
from fastgd.plots.configurations import check_landscapes, chosen_of, surfaces_of
from fastgd.plots.landscapes.basin_colors import DIVERGED, OTHERS, Codes, by_minimum, by_steps, code_of, hues
from fastgd.plots.landscapes.map import coordinate, fit, map_handles, mark_minima, projected_minima, proportion
from fastgd.plots.layout import Layout
from fastgd.plots.limits import Array
from fastgd.plots.pages import TALLEST, note, only, page_of
from fastgd.plots.studies.heatmap import LOST
from fastgd.plots.studies.phase import shades, step_bar
from fastgd.plots.style import Look, dress_map, figure_of, head, key, looks, name_axes, panels, shape, stacked, style
from fastgd.store.surface_files import Surface

COLORS = ("minimum", "steps")

_PANELS = 12  # the most panels of a page
_FEWEST = 16  # the fewest starts that make a picture
_DOTS = 5000  # up to so many starts off a grid are dots; of more, each pixel shows the nearest start
_PIXELS = 500
_DARK = "#3b5568"


@dataclass(frozen=True)
class Basins:
    """Where the starts of a configuration lead to.

    Parameters
    ----------
    problem, method, settings : str
        Their names, and the configuration in words.
    points : ndarray of shape (k, 2)
        The starts.
    codes : ndarray of shape (k,)
        The number of the minimum of each start, or ELSEWHERE, COMPLETED, CYCLING or DIVERGED.
    steps : ndarray of shape (k,)
        The steps to the tolerance; NaN where it was not reached.
    """

    problem: str
    method: str
    settings: str
    points: Array
    codes: Codes
    steps: Array


def basins(
    results: Results,
    color: str = "minimum",
    trials: Sequence[str] | str | None = None,
    problem: str | None = None,
    axes: Axes | None = None,
    page: int = 1,
) -> Figure:
    """Plot which minimum each start leads to: axes for the best configuration of each optimizer.

    Starts on a grid make an image. Others are dots; if there are thousands, each point shows the nearest start. Each
    minimum has a colour, which is darker where more steps led to the tolerance above the lowest value; the shades go
    from the fewest to the most steps of that optimizer. Starts that led to a higher minimum have the plain colour.

    Parameters
    ----------
    results : Results
        The study's results, with many starts of two coordinates.
    color : {"minimum", "steps"}
        Whether to show the minima, or the steps alone, on one scale for all optimizers.
    trials : sequence of str or "all", optional
        Ids of configurations; by default the best of each optimizer on each problem.
    problem : str, optional
        The only one to draw.
    axes : matplotlib.axes.Axes, optional
        Where to draw one configuration, in place of a new figure.
    page : int
        Of many panels, which to draw: the first twelve, the next ones, ...

    Returns
    -------
    matplotlib.figure.Figure
        The picture.

    Raises
    ------
    InputError
        The study is none on landscapes, or has too few starts, or starts of another number of coordinates.
    """
    if color not in COLORS:
        raise InputError(f"basins are coloured by {color!r}; {nearest(color, COLORS)}")
    order = check_landscapes(results, "basins")
    surfaces = surfaces_of(results, "basins")
    chosen = chosen_of(results, order, trials)
    there = [name for name in surfaces if name in set(chosen["problem"])]
    named = only(there, problem, f" in {results.path}")
    rows = [row for _, row in chosen.iterrows() if row["problem"] in named]
    if axes is not None and len(rows) > 1:
        raise InputError("axes take one configuration on one problem: choose by problem= and trials=")
    rows.sort(key=lambda row: there.index(row["problem"]))
    shown, words = page_of(rows, page, "panels", _heights(rows))
    found = [_read(results, row, surfaces[row["problem"]].info.parameters) for row in shown]
    with style():
        if axes is not None:
            surface = surfaces[found[0].problem]
            _draw(axes, found[0], surface, _norm(found), color)
            axes.set_aspect("equal" if proportion(surface) else "auto")
            return figure_of(axes)
        figure = _figure(found, surfaces, color, looks(order))
        note(figure, words)
        return figure


def _heights(rows: Sequence[Any]) -> list[float]:
    """Return the inches that each panel takes of a page, which holds at most twelve."""
    count = Counter(row["problem"] for row in rows)
    columns = shape(max(count.values()))[1]
    inches = {name: _width(columns) * math.ceil(own / columns) / own for name, own in count.items()}
    return [max(TALLEST / _PANELS, inches[row["problem"]]) for row in rows]


def _width(columns: int) -> float:
    return {1: 4.6, 2: 3.4, 3: 2.6}.get(columns, 2.2)


def _figure(found: Sequence[Basins], surfaces: dict[str, Surface], color: str, chosen: Mapping[str, Look]) -> Figure:
    problems = [name for name in surfaces if any(one.problem == name for one in found)]
    rows, columns = shape(max(sum(one.problem == name for one in found) for name in problems))
    width = _width(columns)
    size = (max(5.2, 1.1 + width * columns), width * rows * len(problems))
    figure = Figure(figsize=size, layout=Layout())
    everywhere: list[Axes] = []
    for part, name in zip(stacked(figure, len(problems)), problems, strict=True):
        own = [one for one in found if one.problem == name]
        grid = panels(part, len(own))
        for axes, one in zip(grid, own, strict=True):
            _draw(axes, one, surfaces[name], _norm(own if color == "steps" else [one]), color)
            remark = name if len(problems) > 1 else ""
            head(axes, one.method, _outcome(one), remark, chosen[one.method].color, width - 0.3)
        name_axes(grid, *(f"start, {coordinate(surfaces[name], axis)}" for axis in (0, 1)))
        if color == "steps":
            step_bar(part, grid, _norm(own), np.concatenate([one.steps for one in own]))
        key(part, _handles(own, surfaces[name], color), figure.get_figwidth())
        everywhere += grid
    fit(figure, everywhere, [surfaces[one.problem] for one in found], rows * len(problems))
    return figure


def _read(results: Results, row: Any, parameters: Sequence[int]) -> Basins:
    starts = [f"start_{place}" for place in parameters]
    columns = [*starts, "status", "minimum", "steps_to_tolerance"]
    own = pc.field("in_study") & (pc.field("trial_id") == row["trial_id"])
    table = results.table("trials", columns=columns, filter=own).to_pandas()
    if len(table) < _FEWEST:
        raise InputError(
            f"basins show where many starts lead to, and {results.path} has {len(table)}: run a study with "
            "[starts] grid = 200, which are 200 x 200 of them"
        )
    status = table["status"]
    others = np.array([code_of(name) for name in status.cat.categories], dtype=np.int64)
    minimum = table["minimum"].to_numpy(dtype=np.float64, na_value=np.nan)
    codes = np.where(np.isnan(minimum), others[status.cat.codes], np.nan_to_num(minimum)).astype(np.int64)
    return Basins(
        problem=str(row["problem"]),
        method=str(row["method"]),
        settings=str(row["settings"]),
        points=table[starts].to_numpy(dtype=np.float64),
        codes=codes,
        steps=table["steps_to_tolerance"].to_numpy(dtype=np.float64, na_value=np.nan),
    )


# --- starts on a grid, and others -------------------------------------------------------------------------------------


def grid_of(points: Array) -> tuple[Array, Array, Codes] | None:
    """Return the axes (nx,) and (ny,) of a grid of points, and the point (nx, ny) at each of its places.

    Return None if the points are no grid.
    """
    x, y = np.unique(points[:, 0]), np.unique(points[:, 1])
    if min(len(x), len(y)) < 2 or len(x) * len(y) != len(points):
        return None
    place = np.searchsorted(x, points[:, 0]) * len(y) + np.searchsorted(y, points[:, 1])
    which = np.full(len(points), -1)
    which[place] = np.arange(len(points))
    return None if (which < 0).any() else (x, y, which.reshape(len(x), len(y)))


def _raster(points: Array) -> tuple[Array, Array, Codes]:
    """Return a grid of pixels, and the nearest of the points at each."""
    from scipy.spatial import cKDTree

    low, high = points.min(axis=0), points.max(axis=0)
    x, y = (np.linspace(a, b, _PIXELS) for a, b in zip(low, high, strict=True))
    pixels = np.stack(np.meshgrid(x, y, indexing="ij"), axis=-1)
    _, which = cKDTree(points / (high - low)).query(pixels / (high - low))
    return x, y, np.asarray(which, dtype=np.int64)


# --- pictures ---------------------------------------------------------------------------------------------------------


def _draw(axes: Axes, one: Basins, surface: Surface, norm: Normalize, color: str) -> None:
    if color == "steps":
        colors = by_steps(one.codes, one.steps, shades(), norm)
    else:
        colors = by_minimum(one.codes, one.steps, hues(projected_minima(surface)), norm)
    grid = grid_of(one.points)
    if grid is None and len(one.points) <= _DOTS:
        size = min(60.0, 0.9 * (72 * 2.2) ** 2 / len(one.points))  # square points: most of the axes
        diverged = one.codes == DIVERGED
        x, y = one.points[~diverged].T
        axes.scatter(x, y, c=colors[~diverged] / 255, s=size, linewidths=0, rasterized=True)
        x, y = one.points[diverged].T
        axes.scatter(x, y, s=size, facecolors="white", edgecolors="#b3b3b3", linewidths=0.5)
    else:
        _image(axes, colors, *(grid or _raster(one.points)))
    mark_minima(axes, surface)
    dress_map(axes)


def _image(axes: Axes, colors: NDArray[np.uint8], x: Array, y: Array, which: Codes) -> None:
    half_x, half_y = np.ptp(x) / (len(x) - 1) / 2, np.ptp(y) / (len(y) - 1) / 2
    extent = (x[0] - half_x, x[-1] + half_x, y[0] - half_y, y[-1] + half_y)
    axes.set_facecolor(LOST["facecolor"])
    axes.patch.set(hatch=LOST["hatch"], edgecolor=LOST["edgecolor"])
    axes.imshow(colors[which].swapaxes(0, 1), origin="lower", extent=extent, aspect="auto")


def _outcome(one: Basins) -> str:
    """Return in words a configuration, the share of starts that led to a minimum, and the steps of nine in ten."""
    arrived = one.codes >= 0
    share = float(np.mean(arrived))
    outcome = {0.0: "none arrive", 1.0: "all arrive"}.get(share, f"{np.clip(share, 0.001, 0.999):.1%} arrive")
    if np.isfinite(one.steps).sum() > arrived.sum() / 2 > 0:
        low, high = np.nanquantile(one.steps, [0.05, 0.95])
        outcome += f" in {low:.0f} to {high:.0f} steps"
    return ", ".join(filter(None, (one.settings, outcome)))


def _norm(found: Sequence[Basins]) -> Normalize:
    """Return the colour scale of the steps, without the few slowest and fastest, which would make the others alike."""
    steps = np.concatenate([one.steps[np.isfinite(one.steps)] for one in found])
    low, high = np.quantile(np.maximum(steps, 1.0), [0.01, 0.995]) if len(steps) else (1.0, 10.0)
    return LogNorm(low, max(high, low + 1.0), clip=True)


def _handles(found: Sequence[Basins], surface: Surface, color: str) -> list[Artist]:
    seen = set(np.unique(np.concatenate([np.unique(one.codes) for one in found])).tolist())
    minima, handles = projected_minima(surface), list[Any]()
    colors = hues(minima)
    if color == "minimum" and len(minima) <= len(colors) and len(minima) <= 8:
        points = [f"({', '.join(map(number, minimum))})" for minimum in minima]
        handles = [Patch(facecolor=colors[k], label=points[k]) for k in range(len(minima)) if k in seen]
    elif color == "minimum":
        handles = [
            Patch(facecolor=colors[0], label=f"lowest of {len(minima)} minima"),
            Patch(facecolor=colors[1], label="another; neighbours differ"),
        ]
    for code, (name, grey) in OTHERS.items():
        if code in seen:
            handles.append(Patch(label=name, **LOST) if code == DIVERGED else Patch(facecolor=grey, label=name))
    if color == "minimum" and any(np.isfinite(one.steps).any() for one in found):
        handles.append(Patch(facecolor=_DARK, label="darker: more steps to the tolerance"))
    return [*handles, *map_handles([(surface, [])])]
