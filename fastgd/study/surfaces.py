"""Surfaces of error: a problem's objective over a grid of two of its parameters, the lectures' brute force."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fastgd.store.surfaces import Surface, SurfaceInfo, write_surface
from fastgd.study.config import LandscapeProblem, Study

Array = npt.NDArray[np.float64]
POINTS = 240  # along an axis: finer than a picture of a README shows
LINE = 1000  # of a landscape with a single coordinate


def write_landscape_surfaces(study: Study, folder: Path) -> None:
    """Write the surfaces of a study's landscapes."""
    for number, problem in enumerate(study.landscapes):
        write_surface(folder, number, surface_of(problem))


def surface_of(problem: LandscapeProblem) -> Surface:
    """Return the values of a landscape over its domain.

    Of more than two coordinates, the first two vary, and the others stay at the lowest minimum, or at the usual start
    where none is known.
    """
    record, p, minima = problem.record, problem.instance(), problem.known_minima()
    at = minima[0] if len(minima) else record.start(problem.dimension)
    pair = (0, min(1, problem.dimension - 1))
    box = problem.box()
    x = np.linspace(box[0, 0], box[0, 1], POINTS if pair[1] else LINE)
    y = np.linspace(box[1, 0], box[1, 1], POINTS) if pair[1] else np.zeros(1)
    points = np.repeat(at[:, None], len(x) * len(y), axis=1)
    points[0], second = np.repeat(x, len(y)), np.tile(y, len(x))
    if pair[1]:
        points[1] = second
    info = SurfaceInfo(
        problem=problem.label,
        parameters=pair,
        at=at.tolist(),
        minima=minima.tolist(),
        values=record.values(p, minima.T).tolist() if len(minima) else [],
        landscape=problem.landscape,
    )
    loss: Any = record.values(p, points)
    return Surface(info, x, y, loss.reshape(len(x), len(y)))
