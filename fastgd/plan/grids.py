"""The grid of points over which a problem's error surface is computed."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fastgd.study.surface_block import SurfaceBlock

Array = npt.NDArray[np.float64]
POINTS = 240  # along an axis: finer than a picture of a README shows
LINE = 1000  # where there is one axis


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
