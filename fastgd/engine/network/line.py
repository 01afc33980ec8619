"""The loss of networks along each lane's direction, by forward passes over all rows at `W + rate P`."""

from typing import Any

import numpy as np
import numpy.typing as npt

from fastgd.common.properties import cached_property
from fastgd.core.threads import Threads
from fastgd.core.vectors import aligned
from fastgd.engine.arrays import PARTIAL_SUM_ROWS, BlockSpan
from fastgd.engine.calls import Pace
from fastgd.engine.lanes import LaneState
from fastgd.engine.rows.line_search import Run
from fastgd.engine.rows.model import ModelKernels
from fastgd.problems import Loss

Array = npt.NDArray[Any]


class ForwardAlong:
    """See `engine.rows.line_search.AlongDirection`; it knows no derivatives.

    Parameters
    ----------
    kernels : ModelKernels
        On the training rows in order.
    loss : Loss
    threads : Threads
    """

    def __init__(self, kernels: ModelKernels, loss: Loss, threads: Threads) -> None:
        self._kernels, self._loss, self._threads = kernels, loss, threads
        self._W = self._P = self._points = np.zeros((0, 0))
        self._places, self._memory = np.zeros(0, np.intp), kernels.reading_memory(threads.count, gradients=False)

    @cached_property
    def _addresses(self) -> Array:
        return self._kernels.addresses([self._loss])

    def compile(self, state: LaneState) -> None:
        """Compile what a search calls, or load it from the cache."""
        totals = np.zeros((1, 1, 1, self._kernels.layout.lanes))
        self._call(state.arrays.state, totals, BlockSpan(0, 1, 0)).compile()

    def look(self, state: LaneState, direction: Array, value: Array, slope: Array, pace: Pace, run: Run) -> None:  # noqa: ARG002
        """Keep the parameters and the direction."""
        size = direction.shape[1]
        self._W, self._P, self._places = state.arrays.state[:, :size].astype(np.float64), direction, state.places
        self._points = aligned(direction.shape, self._kernels.dtype)

    def evaluate(self, rates: Array, at: Array, slopes: bool, run: Run) -> Array:
        """Return the mean losses at some rates of the lanes `at` of those alive."""
        if slopes:
            raise NotImplementedError("studies refuse searches that need derivatives")
        L, places = self._kernels.layout.lanes, self._places[at]
        tiles, spread = np.unique(places // L), np.zeros((len(self._P), 1, L))
        spread.reshape(-1)[places] = rates
        moved = self._P[tiles].reshape(len(tiles), -1, L) * spread[tiles]
        points = self._points[: len(tiles)]
        points[:] = self._W[tiles] + moved.reshape(points.shape)
        total, workers, n = np.zeros((len(self._P), L)), self._threads.count, self._kernels.n
        for first in range(-(-n // PARTIAL_SUM_ROWS)):  # a call for each block, so that it stays short
            totals = np.zeros((1, len(tiles), 1, L))
            start = first * PARTIAL_SUM_ROWS
            self._kernels.visit.hold(self._threads, (start, min(start + PARTIAL_SUM_ROWS, n)))
            spans = [BlockSpan(worker, workers, first) for worker in range(workers)]
            run([self._call(points, totals, span) for span in spans])
            total[tiles] += totals[0, :, 0]
        return total.reshape(-1)[places] / n

    def _call(self, W: Array, totals: Array, span: BlockSpan) -> Any:
        rows = self._kernels.visit.of_worker(span.worker, self._kernels.rows)
        return self._kernels.losses(rows, W, self._addresses, totals, self._memory[span.worker], span)
