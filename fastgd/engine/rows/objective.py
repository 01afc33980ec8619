"""The exact objective at any points, many at a time."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from fastgd.core.threads import Threads
from fastgd.core.vectors import aligned
from fastgd.engine.arrays import PARTIAL_SUM_ROWS
from fastgd.engine.rows.evaluation import Evaluation, MeasuredRows
from fastgd.engine.rows.model import Model
from fastgd.engine.rows.visit import is_sparse
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
    X : ndarray (N, d), C-contiguous, or csr_array (N, d)
    y : ndarray (N,), or (N, targets)
    model : Model
    threads : Threads
    rows : ndarray (n,) int32, optional
        Which of the rows train; by default all.

    Attributes
    ----------
    kernel : Kernel
    room : int
        How many points are evaluated together.
    """

    def __init__(self, loss: Loss, X: Any, y: Array, model: Model, threads: Threads, rows: Array | None = None) -> None:
        groups, itemsize = model.groups(X.shape[1]), X.dtype.itemsize
        parameters = sum(group.size for group in groups)
        self.loss, self.kernel = loss, model.point_kernel(X.shape[1], itemsize, sparse=is_sparse(X))
        tiles = _tiles(self.kernel, parameters * itemsize, model.multiply_adds(X.shape[1], X.size / len(y)))
        self.room = self.kernel.lanes * tiles
        self._training, self._layout = MeasuredRows(X, y, [loss], rows), TileLayout(self.kernel, itemsize, groups)
        self._points = aligned((tiles, parameters * self.kernel.lanes), X.dtype)
        order = self._training.visited
        self._evaluation = Evaluation(model.kernels(loss, X, y, order, self._layout), order, threads)

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
        return measured.sums[0][0] / len(self._training.visited), measured.penalised


def _tiles(kernel: Kernel, lane_bytes: int, entries: float) -> int:
    """Return how many tiles are evaluated together: enough for the threads, and no more than keep calls short."""
    by_memory = MOST_TILE_BYTES // (kernel.lanes * lane_bytes)
    by_work = int(MOST_WORK / (PARTIAL_SUM_ROWS * kernel.lanes * max(1.0, entries)))
    return max(1, min(MOST_TILES, by_memory, max(2, by_work)))
