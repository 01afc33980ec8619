"""Surfaces of error: a problem's objective over a grid of two of its parameters, the lectures' brute force.

A landscape always has one, over its domain; a problem over data has the one that `[surface]` asks for.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fastgd.store.surfaces import Surface, SurfaceInfo, holds_surface, keep_surfaces, write_surface
from fastgd.study._surface import SurfaceBlock
from fastgd.study.config import LandscapeProblem, Study

Array = npt.NDArray[np.float64]
POINTS = 240  # along an axis: finer than a picture of a README shows
LINE = 1000  # where there is one axis
AT_ONCE = 1 << 20  # numbers of the points of a landscape that are evaluated together


@dataclass(frozen=True)
class Grid:
    """The points of a surface.

    Attributes
    ----------
    axes : tuple of (int, int)
        The parameters along x and y; the same one twice: a line, and y is 0.
    x : ndarray (nx,)
    y : ndarray (ny,)
    at : ndarray (parameters,)
        Where the others stay.
    """

    axes: tuple[int, int]
    x: Array
    y: Array
    at: Array

    @property
    def count(self) -> int:
        """How many points there are."""
        return len(self.x) * len(self.y)

    def points(self, first: int, count: int) -> Array:
        """Return some of the points (count, parameters), y running faster than x."""
        column, row = np.divmod(np.arange(first, min(self.count, first + count)), len(self.y))
        points = np.repeat(self.at[None], len(column), axis=0)
        if self.axes[0] != self.axes[1]:
            points[:, self.axes[1]] = self.y[row]
        points[:, self.axes[0]] = self.x[column]
        return points

    def over(self, values: Callable[[Array], Array], at_once: int) -> Array:
        """Return a function's values (nx, ny); it is called with `at_once` points (k, parameters) at a time."""
        parts = [values(self.points(first, at_once)) for first in range(0, self.count, at_once)]
        return np.concatenate(parts).reshape(len(self.x), len(self.y))

    def described(self) -> dict[str, Any]:
        """Return what it is, for a surface's specification."""
        return {"x": self.x.tolist(), "y": self.y.tolist(), "axes": self.axes, "at": self.at.tolist()}


def make_grid(block: SurfaceBlock, box: Array, at: Array) -> Grid:
    """Return the grid that a study asks for.

    Parameters
    ----------
    block : SurfaceBlock
    box : ndarray (parameters, 2)
        The range of each parameter, where the block names none.
    at : ndarray (parameters,)
        Where the other parameters stay, likewise.
    """
    axes = block.axes(len(at))
    low = np.resize(block.low if block.low is not None else box[axes, 0], len(axes))
    high = np.resize(block.high if block.high is not None else box[axes, 1], len(axes))
    num = np.resize(block.num or [POINTS if len(axes) == 2 else LINE], len(axes))
    ends = [np.linspace(*each) for each in zip(low, high, num.tolist(), strict=True)]
    if block.at is not None:
        at = np.zeros(len(at)) if block.at == "zeros" else np.array(block.at)
    return Grid((axes[0], axes[-1]), ends[0], ends[1] if len(axes) == 2 else np.zeros(1), at)


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
