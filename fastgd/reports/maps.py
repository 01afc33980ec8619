"""Maps of landscapes and of loss surfaces, with the walks of optimizers on them: those of the pictures.

Plotly draws contours at equal steps, and the levels of the pictures are not equal: a height is written as its place
among the levels, in steps of a 65,534th of their number.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from fastgd.analysis import Results
from fastgd.common.errors import InputError
from fastgd.common.escape import for_terminal
from fastgd.plots.landscapes.contour import walks_on_maps
from fastgd.plots.landscapes.map import (
    MOST_MINIMA,
    Height,
    Plane,
    coordinate,
    levels_of,
    minima_on,
    proportion,
    remarks,
)
from fastgd.plots.landscapes.walks import Walk, looks_of, starts_in_words
from fastgd.plots.limits import Array
from fastgd.plots.readings import methods
from fastgd.plots.style import Look
from fastgd.reports.columns import base64_of
from fastgd.reports.looks import for_plotly
from fastgd.store.surface_files import Surface

MOST_MAPS = 12
MOST_CELLS = 160  # along an axis of a map
FIRST_STEPS, MOST_STEPS = 100, 400  # of a walk: the first ones, and evenly spaced ones of all
STEPS = 65_534  # of heights; one more marks what has none
_INDEX = re.compile(r"\$(\w)_\{(\d+)\}\$")  # as pictures write the name of a coordinate
_SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


def maps_of(results: Results) -> list[dict[str, Any]]:
    """Return the maps of a study, each with what walks on it; none where there is no such picture of it."""
    try:
        maps = walks_on_maps(results, "contour", None, None, None, zoom=False, single=False)
    except InputError:  # no surface or no step is stored, or axes cannot show it
        return []
    maps = [(surface, walks) for surface, walks in maps if len(surface.y) > 1]
    looks = looks_of(methods(results), [walk for _, walks in maps for walk in walks])
    return [_map(surface, walks, looks) for surface, walks in maps[:MOST_MAPS]]


def _map(surface: Surface, walks: list[Walk], looks: Mapping[str, Look]) -> dict[str, Any]:
    height = Height(surface)
    levels = levels_of(height(surface.loss))
    across, up = (_spaced(len(axis), MOST_CELLS) for axis in (surface.x, surface.y))
    places = np.interp(height(surface.loss[np.ix_(across, up)]).T, levels, np.linspace(0, STEPS, len(levels)))
    codes = np.where(np.isnan(places), STEPS + 1, np.rint(np.nan_to_num(places))).astype(np.uint16)
    thinned = any(len(walk.path) > MOST_STEPS for walk in walks)
    words = [
        *remarks(surface),
        starts_in_words(walks),
        f"of walks of more than {MOST_STEPS} steps the first {FIRST_STEPS} and evenly spaced ones" if thinned else "",
    ]
    title = surface.title if isinstance(surface, Plane) else surface.info.problem
    return {
        "title": _text(title),
        "words": [_text(each) for each in words if each],
        "labels": [_text(coordinate(surface, axis)) for axis in (0, 1)],
        "x": _short(surface.x[across]),
        "y": _short(surface.y[up]),
        "codes": base64_of(codes),
        "levels": levels.tolist(),
        "low": height.low,
        "scale": height.scale,
        "equal": proportion(surface) is not None,
        "minima": [_short(axis) for axis in minima_on(surface)[:MOST_MINIMA].T],
        "walks": [_walk(walk, looks[walk.trial_id]) for walk in walks if np.isfinite(walk.path).all(axis=1).any()],
    }


def _walk(walk: Walk, look: Look) -> dict[str, Any]:
    count = len(walk.path)
    kept = np.union1d(np.arange(min(count, FIRST_STEPS)), _spaced(count, MOST_STEPS - FIRST_STEPS))
    kept = kept if count > MOST_STEPS else np.arange(count)
    x, y = (_short(axis) for axis in walk.path[kept].T)
    more = {"start": walk.start, "status": walk.status, "end": _short(walk.end)}
    return {**for_plotly(_text(walk.name), look), **more, "x": x, "y": y, "step": kept.tolist()}


def _spaced(count: int, most: int) -> "np.ndarray[Any, np.dtype[np.int64]]":
    """Return places from the first to the last of some, at most so many."""
    return np.unique(np.rint(np.linspace(0, count - 1, min(count, most)))).astype(np.int64)


def _short(values: Array) -> list[float | None]:
    """Return numbers with six digits; None, which JSON has, where they are none."""
    return [float(f"{value:.6g}") if np.isfinite(value) else None for value in values]


def _text(text: str) -> str:
    """Return a text of a picture without its formulas."""
    return for_terminal(_INDEX.sub(lambda found: found[1] + found[2].translate(_SUBSCRIPTS), text))
