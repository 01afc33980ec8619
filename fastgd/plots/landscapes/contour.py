"""The contour map of a landscape, with the trajectories of optimizers on it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fastgd.analysis import Results
from fastgd.common.errors import InputError
from fastgd.common.escape import for_picture
from fastgd.plots.configurations import surfaces_of
from fastgd.plots.landscapes.map import (
    Height,
    around,
    columns_of,
    cut_in_words,
    draw_map,
    draw_walk,
    fit,
    is_off_map,
    map_handles,
    mark_ends,
    mark_minima,
    proportion,
)
from fastgd.plots.landscapes.walks import Walk, looks_of, starts_in_words, walks_of
from fastgd.plots.layout import Layout
from fastgd.plots.pages import note, only, page_of
from fastgd.plots.readings import methods
from fastgd.plots.style import GREY, Look, figure_of, key, key_line, list_below, panels, style
from fastgd.store.surface_files import Surface

# The width of a map in inches, by the number of maps side by side.
WIDTHS = {1: 6.0, 2: 3.9, 3: 3.0}


def contour(
    results: Results,
    trials: Sequence[str] | str | None = None,
    starts: Sequence[int] | int | None = None,
    problem: str | None = None,
    zoom: bool = False,
    axes: Axes | None = None,
    page: int = 1,
) -> Figure:
    """Plot the trajectories of optimizers on the contour map of a landscape: axes for each problem.

    Heights are logarithmic above the lowest valleys; levels are means of equal steps of height and of equal areas.
    Dots are the first steps, as far as they can be told apart. With more than two coordinates the map is a cut, which a
    line above it names, and trajectories are projected onto it. An end outside of the map is marked at its edge. Each
    configuration has a colour of its own.

    Parameters
    ----------
    results : Results
        The study's results, with trajectories; of a study over data, the surface alone is drawn.
    trials : sequence of str or "all", optional
        Ids of configurations; by default the best of each optimizer on each problem.
    starts : sequence of int or int, optional
        Numbers of starts; by default the first four that were recorded.
    problem : str, optional
        The only one to draw.
    zoom : bool
        Whether to show only the part of the map in which they walk.
    axes : matplotlib.axes.Axes, optional
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
        No surface was computed, no trajectory was recorded, or the landscape has one coordinate.
    """
    maps = walks_on_maps(results, "contour", trials, starts, problem, zoom, single=axes is not None)
    chosen = looks_of(methods(results), [walk for _, walks in maps for walk in walks])
    with style():
        if axes is not None:
            draw(axes, *maps[0], chosen)
            axes.set_aspect("equal" if proportion(maps[0][0]) else "auto")
            list_below(axes, [*names(*maps[0], chosen), *map_handles(maps)])
            return figure_of(axes)
        shown, words = page_of_maps(maps, page, WIDTHS)
        figure = _figure(shown, chosen, len(maps) > 1)
        note(figure, words, starts_in_words([walk for _, walks in shown for walk in walks]))
        if figure.get_suptitle():
            fit(figure, list(figure.axes), [surface for surface, _ in shown], -(-len(shown) // columns_of(len(shown))))
        return figure


def _figure(maps: "Sequence[tuple[Surface, list[Walk]]]", chosen: Mapping[str, Look], named: bool) -> Figure:
    columns = columns_of(len(maps))
    rows, width = -(-len(maps) // columns), WIDTHS[columns]
    figure = Figure(figsize=(width * columns, rows * width), layout=Layout())
    grid = panels(figure, len(maps), False, False, columns)
    for axes, (surface, walks) in zip(grid, maps, strict=True):
        draw(axes, surface, walks, chosen)
        list_below(axes, names(surface, walks, chosen), width)
        if named:
            axes.set_title(for_picture(surface.info.problem))
    key(figure, map_handles(maps))
    fit(figure, grid, [surface for surface, _ in maps], rows)
    return figure


def walks_on_maps(
    results: Results,
    kind: str,
    trials: Sequence[str] | str | None,
    starts: Sequence[int] | int | None,
    problem: str | None,
    zoom: bool,
    single: bool,
) -> list[tuple[Surface, list[Walk]]]:
    """Return each problem's surface and the walks on it; see `contour` for the options, and what may be wrong."""
    methods(results)  # refuses a folder that holds no trials yet
    only_map = kind != "animate" and not results.on_landscapes  # over data no trajectories are recorded
    walks = [] if only_map else walks_of(results, kind, trials, starts)
    surfaces = surfaces_of(results, kind)
    there = list(dict.fromkeys(walk.problem for walk in walks if walk.problem in surfaces)) or list(surfaces)
    named = only(there, problem, f" in {results.path}")
    shown = [name for name in surfaces if name in named]
    if single and len(shown) > 1:
        raise InputError(f"axes take one problem: choose it by problem=, one of {', '.join(shown)}")
    maps = []
    for name in shown:
        surface = surfaces[name]
        own = [replace(walk, axes=surface.info.parameters) for walk in walks if walk.problem == name]
        maps.append((around(surface, [walk.path for walk in own]) if zoom and own else surface, own))
    return maps


def page_of_maps(
    maps: "Sequence[tuple[Surface, list[Walk]]]", page: int, widths: Mapping[int, float]
) -> "tuple[list[tuple[Surface, list[Walk]]], str]":
    """Return the maps of a page, of as many as `page_of` says, and the sentence that names them."""
    columns = columns_of(len(maps))
    return page_of(maps, page, "problems", [widths[columns] / columns] * len(maps))


def draw(axes: Axes, surface: Surface, walks: Sequence[Walk], chosen: Mapping[str, Look]) -> None:
    """Draw a map and the walks on it."""
    draw_map(axes, surface)
    mark_minima(axes, surface)
    for walk in walks:
        draw_walk(axes, walk, chosen[walk.trial_id])
    mark_ends(axes, walks, chosen)
    if words := "\n".join(filter(None, [cut_in_words(surface), Height(surface).cut_off(surface)])):
        axes.set_title(words, loc="right", fontsize=7.5, color=GREY)


def names(surface: Surface, walks: Sequence[Walk], chosen: Mapping[str, Look]) -> list[Artist]:
    """Return the key of the walks: their configurations, and how many of them diverge or end off the map."""
    lines = []
    for name in dict.fromkeys(walk.trial_id for walk in walks):
        own = [walk for walk in walks if walk.trial_id == name]
        diverged = [walk.status == "diverged" for walk in own]
        outside = [is_off_map(surface, walk.end) and walk.status != "diverged" for walk in own]
        ends = _share(diverged, "diverge", "diverges"), _share(outside, "end off the map", "ends off the map")
        words = (for_picture(own[0].name), *ends)
        look = chosen[name].line(6) | {"markeredgecolor": "#222222", "markeredgewidth": 0.6}
        lines.append(key_line(**look, linewidth=1.6, label=", ".join(filter(None, words))))
    return list(lines)


def _share(those: Sequence[bool], several: str, one: str) -> str:
    """Return in words how many do something; empty where none does."""
    if not any(those):
        return ""
    return one if all(those) else f"{sum(those)} of {len(those)} {several}"
