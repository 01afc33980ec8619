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
    Plane,
    around,
    columns_of,
    draw_map,
    draw_walk,
    fit,
    head_of,
    is_off_map,
    map_handles,
    mark_ends,
    mark_minima,
    proportion,
    remarks,
)
from fastgd.plots.landscapes.trial_maps import draw_line, maps_of_trials
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
    directions: str | None = None,
) -> Figure:
    """Plot the trajectories of optimizers on the contour map of a landscape: axes for each problem.

    Heights are logarithmic above the lowest valleys; levels are means of equal steps of height and of equal areas.
    Dots are the first steps, as far as they can be told apart. With more than two coordinates the map is a cut, which a
    line above it names, and trajectories are projected onto it. An end outside of the map is marked at its edge. Each
    configuration has a colour of its own.

    Of a study over data, the maps are its error surfaces, if it has a table `[surface]`, and those that
    `fastgd surface` computed about the ends of trials, with numbers at their lines. The loss between two solutions is
    a line.

    Parameters
    ----------
    results : Results
        The study's results, with trajectories; or of a study over data, with surfaces.
    trials : sequence of str or "all", optional
        Ids of configurations; by default the best of each optimizer on each problem. Of a study over data, the trials
        whose surfaces are drawn; by default all.
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
    directions : {"random", "pca", "between"}, optional
        Of surfaces of trials, the only ones to draw.

    Returns
    -------
    matplotlib.figure.Figure
        The picture.

    Raises
    ------
    InputError
        No surface was computed, no trajectory was recorded, or the landscape has one coordinate.
    """
    maps = walks_on_maps(results, "contour", trials, starts, problem, zoom, axes is not None, directions)
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
        head_of(axes, surface, named, width)
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
    directions: str | None = None,
) -> list[tuple[Surface, list[Walk]]]:
    """Return each problem's surface and the walks on it; see `contour` for the options, and what may be wrong."""
    methods(results)  # refuses a folder that holds no trials yet
    if kind != "animate" and not results.on_landscapes:
        found = _over_data(results, kind, trials, directions)
    else:
        found = _on_landscapes(results, kind, walks_of(results, kind, trials, starts))
    named = only([surface.info.problem for surface, _ in found], problem, f" in {results.path}")
    found = [(surface, walks) for surface, walks in found if surface.info.problem in named]
    if single and len(found) > 1:
        choice = f"choose it by problem=, one of {', '.join(named)}"
        if len(named) < len(found):
            choice += ", and its surface by trials= and directions="
        raise InputError(f"axes take one problem: {choice}")
    return [
        (around(surface, [walk.path for walk in walks]) if zoom and walks and len(surface.y) > 1 else surface, walks)
        for surface, walks in found
    ]


def _on_landscapes(results: Results, kind: str, walks: Sequence[Walk]) -> list[tuple[Surface, list[Walk]]]:
    """Return the maps on which something walks, or all of them where nothing does."""
    surfaces = surfaces_of(results, kind)
    there = {walk.problem for walk in walks if walk.problem in surfaces} or set(surfaces)
    return [
        (surface, [replace(walk, axes=surface.info.parameters) for walk in walks if walk.problem == name])
        for name, surface in surfaces.items()
        if name in there
    ]


def _over_data(
    results: Results, kind: str, trials: Sequence[str] | str | None, directions: str | None
) -> list[tuple[Surface, list[Walk]]]:
    """Return the error surfaces that the study asks for, on which nothing walks, then the surfaces of its trials."""
    of_trials = maps_of_trials(results, kind, trials, directions)
    asked = trials is not None or directions is not None
    if of_trials and (asked or not results.surfaces):
        return list(of_trials)
    return [*((surface, []) for surface in surfaces_of(results, kind).values()), *of_trials]


def page_of_maps(
    maps: "Sequence[tuple[Surface, list[Walk]]]", page: int, widths: Mapping[int, float]
) -> "tuple[list[tuple[Surface, list[Walk]]], str]":
    """Return the maps of a page, of as many as `page_of` says, and the sentence that names them."""
    columns = columns_of(len(maps))
    what = "surfaces" if any(isinstance(surface, Plane) for surface, _ in maps) else "problems"
    return page_of(maps, page, what, [widths[columns] / columns] * len(maps))


def draw(axes: Axes, surface: Surface, walks: Sequence[Walk], chosen: Mapping[str, Look]) -> None:
    """Draw a map and the walks on it, or a line."""
    if isinstance(surface, Plane) and len(surface.y) == 1:
        draw_line(axes, surface, walks, chosen)
        return
    draw_map(axes, surface)
    mark_minima(axes, surface)
    for walk in walks:
        draw_walk(axes, walk, chosen[walk.trial_id])
    mark_ends(axes, walks, chosen)
    if not isinstance(surface, Plane):
        axes.set_title("\n".join(remarks(surface)), loc="right", fontsize=7.5, color=GREY)


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
