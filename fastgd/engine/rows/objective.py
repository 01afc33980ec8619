"""The exact objective at points of one's own, many at a time: a cohort that takes no steps."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastgd.core.threads import Threads
from fastgd.engine.linear.evaluation_steps import BLOCK
from fastgd.engine.rows.cohort import Cohort
from fastgd.engine.rows.spec import CohortSpec
from fastgd.engine.shapes import Kernel, point_kernel
from fastgd.optimizers import OPTIMIZERS
from fastgd.optimizers.rule import Rule
from fastgd.problems import Loss

Array = npt.NDArray[Any]
BYTES = 256 << 20  # of all tiles
MOST_TILES = 32
MOST_WORK = 4e8  # multiply-adds of a block of rows over all tiles: a kernel call takes a whole one


class Objective(Cohort):
    """The objective of a problem at any points.

    Parameters
    ----------
    loss : Loss
    X : ndarray (n, d), C-contiguous, or csr_array (n, d)
    y : ndarray (n,)
        Training rows.
    intercept : bool
    threads : Threads

    Attributes
    ----------
    room : int
        How many points are evaluated together.
    """

    def __init__(self, loss: Loss, X: Any, y: Array, intercept: bool, threads: Threads) -> None:
        parameters, itemsize = X.shape[1] + intercept, X.dtype.itemsize
        kernel = point_kernel(parameters, itemsize, sparse=not isinstance(X, np.ndarray))
        rule = Rule.of(OPTIMIZERS["sgd"], {})
        self.room = kernel.lanes * _tiles(kernel, parameters * itemsize, X.size / len(y))
        spec = CohortSpec(
            rule=rule,
            hyper=np.zeros((self.room, rule.hyper)),
            l2=np.zeros(self.room),
            scheduled=(),
            loss=loss,
            batch_size=1,
            shuffled=False,
            intercept=intercept,
            init="zeros",
            seed=0,
            kernel=kernel,
        )
        super().__init__(spec, X, y, threads)
        self._training = (X, y, [loss])

    def compile(self, gradient_norm: bool = False, measures: Sequence[Loss] = ()) -> None:
        """Compile, or load from the cache, what evaluates."""
        self._evaluation.compile(gradient_norm, measures)

    def at(self, points: Array, poll: Callable[[], None] = lambda: None) -> tuple[Array, Array]:
        """Return the mean losses, and |w|^2 without the intercept, of points.

        Parameters
        ----------
        points : ndarray (k, d + intercept)
            At most `room` of them; they are rounded to the type of the rows.
        poll : callable
            Called between kernel calls.

        Returns
        -------
        losses, squares : ndarray (k,) float64
        """
        self.alive = self.places = np.arange(len(points))
        self.layout.put(self.layout.blocks(self.iterate(), 0), points.T)
        measured = self.measure([self._training], poll)
        return measured.sums[0][0] / self.n, measured.penalised

    def iterate(self) -> Array:
        """The tiles that hold points."""
        return self.lanes.state[: self.spec.kernel.tiles(len(self.places))]


def _tiles(kernel: Kernel, lane_bytes: int, entries: float) -> int:
    """Return how many tiles are evaluated together: enough for the threads, and no more than keep calls short."""
    by_memory = BYTES // (kernel.lanes * lane_bytes)
    by_work = int(MOST_WORK / (BLOCK * kernel.lanes * max(1.0, entries)))
    return max(1, min(MOST_TILES, by_memory, max(2, by_work)))
