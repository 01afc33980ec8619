"""Line searches on landscapes: the value of each lane along the direction of its next step."""

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from fastgd.engine.swarm.lanes import LaneState
from fastgd.engine.swarm.spec import SwarmSpec

Array = npt.NDArray[Any]


class UnitSteps(Protocol):
    """Takes steps of the same rule and lanes, in float64 and at rate 1: (x - d) - x has what digits x leaves of d."""

    def compile_steps(self) -> None:
        """Compile, or load from the cache, the kernel."""
        ...

    def stand_at(self, lanes: LaneState) -> None:
        """Take over where the lanes are, and what their rule keeps."""
        ...

    def step(self, count: int) -> None:
        """Take steps."""
        ...

    def positions(self) -> Array:
        """Return where the lanes are (d, lanes)."""
        ...


class SwarmLine:
    """The value of each lane along its rule's direction; see `optimizers.line_search`.

    Parameters
    ----------
    spec : SwarmSpec
        With a line search.
    largest : ndarray (lanes,)
        The largest rates.
    unit : UnitSteps

    Attributes
    ----------
    rates : ndarray (lanes,)
        Those of the last step; at the start the largest.
    evaluations : ndarray (lanes,) int64
        How often each lane's value was asked for so far.
    value, slope : ndarray (lanes,)
        The value where the lanes are, and its derivative by the rate there.
    """

    def __init__(self, spec: SwarmSpec, largest: Array, unit: UnitSteps) -> None:
        self.spec, self.largest, self.unit = spec, largest, unit
        self.rates = largest.copy()
        self.evaluations = np.zeros(len(largest), np.int64)
        self.value = self.slope = np.zeros(0)
        self._x = self._direction = np.zeros((0, 0))

    def choose(self, lanes: LaneState) -> None:
        """Choose the rates of the next step."""
        with np.errstate(over="ignore", invalid="ignore"):  # a trial that diverges is data
            self._x = lanes.x
            self._direction = self._ask_direction(lanes)
            self.value = self._values(self._x)
            gradient = self.spec.landscape.gradients(self.spec.p, self._x)
            self.slope = (gradient * self._direction).sum(axis=0)
            self.rates = self.spec.line_search.search(self, self.largest, self.rates)

    def _ask_direction(self, lanes: LaneState) -> Array:
        """Where a step at rate 1 would lead."""
        self.unit.stand_at(lanes)
        self.unit.step(1)
        return self.unit.positions() - lanes.x

    def _values(self, X: Array) -> Array:
        return np.asarray(self.spec.landscape.values(self.spec.p, X), np.float64)

    def values(self, rates: Array, which: Array | None = None) -> Array:
        """Return the value at rates of the lanes `which`."""
        at = np.arange(len(self.rates)) if which is None else np.asarray(which)
        self.evaluations[at] += 1
        return self._values(self._x[:, at] + rates * self._direction[:, at])

    def slopes(self, rates: Array, which: Array | None = None) -> Array:
        """Return its derivative by the rate."""
        at = np.arange(len(self.rates)) if which is None else np.asarray(which)
        self.evaluations[at] += 1
        along = self._direction[:, at]
        gradient = self.spec.landscape.gradients(self.spec.p, self._x[:, at] + rates * along)
        return np.asarray((gradient * along).sum(axis=0))
