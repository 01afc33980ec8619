"""The squared loss along a direction p, by what is sufficient: a parabola whose curvature is `p' A p`."""

from typing import Any

import numpy as np
import numpy.typing as npt

from fastgd.core.static import Static
from fastgd.engine.calls import KernelCall, Pace
from fastgd.engine.lanes import LaneState
from fastgd.engine.linear.gram.gram_steps import Gram, curvatures
from fastgd.engine.rows.line_search import Run
from fastgd.engine.shapes import tile_shape

Array = npt.NDArray[Any]


class ParabolaAlong:
    """See `engine.rows.line_search.AlongDirection`.

    Parameters
    ----------
    memory : list of Gram
        Of each worker, with A of all rows.
    lanes : int
        Of a tile.
    """

    def __init__(self, memory: list[Gram], lanes: int) -> None:
        self._memory, self._shape = memory, Static(tile_shape(lanes, 8))
        self._value = self._slope = self._curvature = np.zeros(0)

    def compile(self, state: LaneState) -> None:  # noqa: ARG002
        """Compile what a search calls, or load it from the cache."""
        none = np.zeros((0, 0))
        self._call(none, none, 0, 1).compile()

    def look(self, state: LaneState, direction: Array, value: Array, slope: Array, pace: Pace, run: Run) -> None:  # noqa: ARG002
        """Take in the three numbers of each lane's parabola."""
        curvature = np.zeros((state.tiles, state.layout.lanes))
        workers = min(len(self._memory), state.tiles)
        run([self._call(direction, curvature, worker, workers) for worker in range(workers)])
        self._value, self._slope, self._curvature = value, slope, curvature.reshape(-1)[state.places]

    def evaluate(self, rates: Array, at: Array, slopes: bool, run: Run) -> Array:  # noqa: ARG002
        """Return the losses at some rates, or their derivatives by the rate, of the lanes `at` of those alive."""
        bend = rates * self._curvature[at]
        return self._slope[at] + bend if slopes else self._value[at] + rates * (self._slope[at] + 0.5 * bend)

    def _call(self, direction: Array, out: Array, worker: int, workers: int) -> KernelCall:
        return KernelCall(curvatures, (self._shape, self._memory[worker], direction, out, worker, workers))
