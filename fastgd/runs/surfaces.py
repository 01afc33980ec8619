"""Surfaces of error: a problem's objective over a grid of two of its parameters, the lectures' brute force.

A landscape always has one, over its domain; a problem over data has the one that `[surface]` asks for.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fastgd.plan.grids import Grid, make_grid
from fastgd.store.surface_files import Surface, SurfaceInfo, holds_surface, keep_surfaces, write_surface
from fastgd.study.config import LandscapeProblem, Study
from fastgd.study.surface_block import SurfaceBlock

Array = npt.NDArray[np.float64]
AT_ONCE = 1 << 20  # numbers of the points of a landscape that are evaluated together


def write_landscape_surfaces(study: Study, folder: Path) -> None:
    """Write the surfaces of a study's landscapes that do not stand there."""
    for number, problem in enumerate(study.landscapes):
        grid, info = _of_landscape(problem, study.surface)
        text = specification(grid, info, source=problem.record.source, params=problem.params)
        if not holds_surface(folder, number, text):
            write_surface(folder, number, surface_of(problem, study.surface), text)
    keep_surfaces(folder, len(study.landscapes))


def surface_of(problem: LandscapeProblem, block: SurfaceBlock | None = None) -> Surface:
    """Return the values of a landscape over a grid.

    Without a block: over the domain, where of more than two coordinates the first two vary, and the others stay at the
    lowest minimum, or at the usual start where none is known.
    """
    grid, info = _of_landscape(problem, block)
    p, record = problem.instance(), problem.record
    loss = grid.over(lambda points: record.values(p, points.T), max(1, AT_ONCE // len(grid.at)))
    return Surface(info, grid.x, grid.y, loss)


def _of_landscape(problem: LandscapeProblem, block: SurfaceBlock | None) -> tuple[Grid, SurfaceInfo]:
    record, minima = problem.record, problem.known_minima()
    at = minima[0] if len(minima) else record.start(problem.dimension)
    grid = make_grid(block or SurfaceBlock(), problem.box(), at)
    info = SurfaceInfo(
        problem=problem.label,
        parameters=grid.axes,
        at=grid.at.tolist(),
        minima=minima.tolist(),
        values=record.values(problem.instance(), minima.T).tolist() if len(minima) else [],
        landscape=problem.landscape,
    )
    return grid, info


def specification(grid: Grid, info: SurfaceInfo, **more: Any) -> str:
    """Return all that decides a surface's numbers, as a text."""
    return json.dumps([grid.described(), asdict(info), more], sort_keys=True)
