"""Units of work for pictures: error surfaces, a problem's objective over a grid of two of its parameters."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fastgd.datasets import Data
from fastgd.plan.units.workload import entries_of
from fastgd.problems import Loss, find_loss, of_weighted_rows
from fastgd.store.surface_files import SurfaceInfo
from fastgd.study.config import LandscapeProblem, Problem
from fastgd.study.surface_block import SurfaceBlock

Array = npt.NDArray[np.float64]
POINTS_PER_AXIS = 240  # of two, by default: finer than a picture shows
POINTS_PER_LINE = 1000  # where there is one axis


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
    num = np.resize(block.num or [POINTS_PER_AXIS if len(axes) == 2 else POINTS_PER_LINE], len(axes))
    ends = [np.linspace(*each) for each in zip(low, high, num.tolist(), strict=True)]
    if block.at is not None:
        at = np.zeros(len(at)) if block.at == "zeros" else np.array(block.at)
    return Grid((axes[0], axes[-1]), ends[0], ends[1] if len(axes) == 2 else np.zeros(1), at)


@dataclass(frozen=True)
class SurfaceUnit:
    """The error surface of one problem.

    Attributes
    ----------
    problem : int
        The problem's place in the study.
    grid : Grid
    info : SurfaceInfo
        What is said of it in the results.
    specification : str
        All that decides its numbers.
    landscape : LandscapeProblem, optional
        The landscape; None: the problem is one over data.
    loss : Loss, optional
        Of a problem over data, as all that follows.
    l2 : float
        The first of its penalties.
    intercept : bool
    n : int
        Training rows.
    entries : float
        Entries of a row, on average.
    dtype : str
    sparse : bool
    """

    problem: int
    grid: Grid
    info: SurfaceInfo
    specification: str
    landscape: LandscapeProblem | None = None
    loss: Loss | None = None
    l2: float = 0.0
    intercept: bool = False
    n: int = 0
    entries: float = 0.0
    dtype: str = "float64"
    sparse: bool = False

    @property
    def label(self) -> str:
        """The problem's name in the results."""
        return self.info.problem

    @property
    def points(self) -> int:
        """How many points it has."""
        return self.grid.count

    @property
    def parameters(self) -> int:
        """The problem's parameters."""
        return len(self.grid.at)


def surface_of_landscape(index: int, problem: LandscapeProblem, block: SurfaceBlock | None) -> SurfaceUnit:
    """Return the surface of a landscape: every landscape has one.

    Without a block: over the domain, where of more than two coordinates the first two vary, and the others stay at the
    lowest minimum, or at the usual start where none is known.
    """
    record, minima = problem.record, problem.known_minima()
    at = minima[0] if len(minima) else record.start(problem.dimension)
    grid = make_grid(block or SurfaceBlock(), problem.box(), at)
    values = record.values(problem.instance(), minima.T).tolist() if len(minima) else []
    known = {"minima": minima.tolist(), "values": values, "landscape": problem.landscape}
    info = SurfaceInfo(problem.label, grid.axes, grid.at.tolist(), **known)
    text = _specification(grid, info, source=record.source, params=problem.params)
    return SurfaceUnit(index, grid, info, text, landscape=problem)


def surface_over_data(
    index: int, problem: Problem, data: Data, label: str, block: SurfaceBlock, dtype: str
) -> SurfaceUnit:
    """Return the surface of a problem over data that `[surface]` asks for."""
    parameters = data.X.shape[1] + problem.intercept
    loss = of_weighted_rows(find_loss(problem.loss), data.weights is not None)
    grid = make_grid(block, np.zeros((parameters, 2)), np.zeros(parameters))
    info = SurfaceInfo(problem=label, parameters=grid.axes, at=grid.at.tolist(), minima=[], values=[])
    name = repr(loss).removeprefix("loss ")  # a user's with the hash of its source
    l2, intercept, sparse = problem.l2[0], problem.intercept, data.sparse
    text = _specification(
        grid, info, data=data.fingerprint, loss=name, l2=l2, intercept=intercept, dtype=dtype, sparse=sparse
    )
    rows = data.n, entries_of(data)
    return SurfaceUnit(index, grid, info, text, None, loss, l2, intercept, *rows, dtype, sparse)


def _specification(grid: Grid, info: SurfaceInfo, **more: Any) -> str:
    return json.dumps([grid.described(), asdict(info), more], sort_keys=True)
