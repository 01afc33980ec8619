"""The exact objective at any points, many at a time."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from fastgd.core.threads import Threads
from fastgd.core.vectors import aligned
from fastgd.engine.arrays import PARTIAL_SUM_ROWS
from fastgd.engine.rows.evaluation import Evaluation
from fastgd.engine.rows.model import Model
from fastgd.engine.rows.order import identity
from fastgd.engine.shapes import Kernel
from fastgd.engine.tiles import TileLayout
from fastgd.problems import Loss

Array = npt.NDArray[Any]
MOST_TILE_BYTES = 256 << 20  # of all tiles together
MOST_TILES = 32
MOST_WORK = 4e8  # multiply-adds of one block of rows over all tiles, which is the least that a kernel call takes


class Objective:
    """The objective of a problem at any points.

    Parameters
    ----------
    loss : Loss
    X : ndarray (n, d), C-contiguous, or csr_array (n, d)
    y : ndarray (n,), or (n, targets)
        Training rows.
    model : Model
    threads : Threads

    Attributes
    ----------
    kernel : Kernel
    room : int
        How many points are evaluated together.
    """

    def __init__(self, loss: Loss, X: Any, y: Array, model: Model, threads: Threads) -> None:
        groups, itemsize = model.groups(X.shape[1]), X.dtype.itemsize
        parameters = sum(group.size for group in groups)
        self.loss, self.kernel = loss, model.point_kernel(X.shape[1], itemsize, sparse=not isinstance(X, np.ndarray))
        tiles = _tiles(self.kernel, parameters * itemsize, model.multiply_adds(X.shape[1], X.size / len(y)))
        self.room = self.kernel.lanes * tiles
        self._training, self._layout = (X, y, [loss]), TileLayout(self.kernel, itemsize, groups)
        self._points = aligned((tiles, parameters * self.kernel.lanes), X.dtype)
        self._evaluation = Evaluation(model.kernels(loss, X, y, identity(len(y)), self._layout), threads)

    def compile(self) -> None:
        """Compile, or load from the cache, what evaluates."""
        self._evaluation.compile(self._points, gradients=False, measures=[self.loss])

    def at(self, points: Array, poll: Callable[[], None] = lambda: None) -> tuple[Array, Array]:
        """Return the mean losses, and |w|^2 of what is penalised, of points.

        Parameters
        ----------
        points : ndarray (k, parameters)
            At most `room` of them; they are rounded to the type of the rows.
        poll : callable
            Called between kernel calls.

        Returns
        -------
        losses, squares : ndarray (k,) float64
        """
        W = self._points[: self.kernel.tiles(len(points))]
        self._layout.put(self._layout.blocks(W, 0), points.T)
        measured = self._evaluation.measure(W, np.arange(len(points)), [self._training], poll)
        return measured.sums[0][0] / len(self._training[1]), measured.penalised


def _tiles(kernel: Kernel, lane_bytes: int, entries: float) -> int:
    """Return how many tiles are evaluated together: enough for the threads, and no more than keep calls short."""
    by_memory = MOST_TILE_BYTES // (kernel.lanes * lane_bytes)
    by_work = int(MOST_WORK / (PARTIAL_SUM_ROWS * kernel.lanes * max(1.0, entries)))
    return max(1, min(MOST_TILES, by_memory, max(2, by_work)))
