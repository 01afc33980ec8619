"""The colours of basins: a hue for each minimum, darker with more steps, and greys for starts that reach none."""

import numpy as np
from matplotlib.colors import Colormap, Normalize, to_rgb
from numpy.typing import NDArray

from fastgd.plots.limits import Array

Codes = NDArray[np.int64]
Bytes = NDArray[np.uint8]

# Paul Tol's light scheme and two more colours, whose hues differ enough to be shaded.
HUES = ("#77aadd", "#ee8866", "#44bb99", "#eedd88", "#ffaabb", "#b48fc9", "#bbcc33", "#99ddff")
# Codes of how a start may end other than at a minimum, with their names and colours.
ELSEWHERE, COMPLETED, CYCLING, DIVERGED = -1, -2, -3, -4
OTHERS = {
    ELSEWHERE: ("at rest elsewhere", "#c9bfae"),
    COMPLETED: ("still on its way", "#e3e3e3"),
    CYCLING: ("cycling", "#8f8f8f"),
    DIVERGED: ("diverged", "#ffffff"),
}
_DARKEST = 0.3  # brightness of the darkest shade of a hue
_LEVELS = 64  # shades of a hue


def code_of(status: str) -> int:
    """Return the code of a start that does not end at a minimum, by its status."""
    codes = {"converged": ELSEWHERE, "trapped": ELSEWHERE, "cycling": CYCLING, "diverged": DIVERGED}
    return codes.get(status, COMPLETED)


def hues(minima: Array) -> Array:
    """Return the colours (k, 3) of minima (k, 2), lowest first: neighbours differ, and none looks like the lowest."""
    colors = np.array([to_rgb(name) for name in HUES])
    if len(minima) <= len(HUES):
        return colors[: len(minima)]
    chosen = np.zeros(len(minima), dtype=np.int64)
    for place in range(1, len(minima)):
        distance = np.linalg.norm(minima[:place] - minima[place], axis=1)
        # the distance to the nearest minimum of each colour
        nearest = [np.min(distance[chosen[:place] == color], initial=np.inf) for color in range(1, len(HUES))]
        chosen[place] = 1 + int(np.argmax(nearest))
    return colors[chosen]


def by_minimum(codes: Codes, steps: Array, colors: Array, norm: Normalize) -> Bytes:
    """Return the colours (..., 4) of starts: the hue of the minimum, darker with more steps."""
    light = 1.0 - (1.0 - _DARKEST) * np.linspace(0.0, 1.0, _LEVELS)
    return _table(colors[:, None, :] * light[None, :, None])[codes, _level(steps, norm)]


def by_steps(codes: Codes, steps: Array, colors: Colormap, norm: Normalize) -> Bytes:
    """Return the colours (..., 4) of starts by their steps; starts without any are coloured as in `by_minimum`."""
    came = np.where(np.isfinite(steps), 0, np.where(codes >= 0, ELSEWHERE, codes))
    return _table(colors(np.linspace(0.0, 1.0, _LEVELS))[None, :, :3])[came, _level(steps, norm)]


def _table(colors: Array) -> Bytes:
    """Return the colours (k + 4, levels, 4) of k minima, and of the other ends at their negative codes.

    Diverged starts are transparent, so that the hatch of the axes shows there.
    """
    others = np.array([to_rgb(OTHERS[code][1]) for code in sorted(OTHERS)])
    whole = np.concatenate([colors, np.repeat(others[:, None, :], _LEVELS, axis=1)])
    alpha = np.ones((*whole.shape[:2], 1))
    alpha[DIVERGED] = 0.0
    found: Bytes = np.rint(255 * np.concatenate([whole, alpha], axis=-1)).astype(np.uint8)
    return found


def _level(steps: Array, norm: Normalize) -> Codes:
    place = np.nan_to_num(np.ma.filled(norm(steps), 0.0), nan=0.0)
    level: Codes = np.rint((_LEVELS - 1) * np.clip(place, 0.0, 1.0)).astype(np.int64)
    return level
