"""Line searches on landscapes: the value of each lane along the direction of its next step."""

import weakref
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fastgd.common.properties import cached_property

if TYPE_CHECKING:
    from fastgd.engine.swarm.swarm import Swarm

Array = npt.NDArray[Any]


class SwarmLine:
    """The value of each lane along its rule's direction; see `optimizers._line_search`.

    Parameters
    ----------
    swarm : Swarm
        With a line search.

    Attributes
    ----------
    rates : ndarray (lanes,)
        Those of the last step; at the start the largest.
    evaluations : ndarray (lanes,) int64
        How often each lane's value was asked for so far.
    value, slope : ndarray (lanes,)
        The value where the lanes are, and its derivative by the rate there.
    """

    def __init__(self, swarm: "Swarm") -> None:
        self.swarm: Swarm = weakref.proxy(swarm)  # which owns this: no cycle keeps its memory
        self.row = list(swarm.spec.rule.fields).index("lr")
        self.largest = swarm.hyper[swarm.which, self.row]
        self.rates = self.largest.copy()
        self.evaluations = np.zeros(len(self.rates), np.int64)
        self.value = self.slope = np.zeros(0)
        self._x = self._direction = np.zeros((0, 0))

    def choose(self) -> None:
        """Choose the rates of the next step."""
        swarm = self.swarm
        with np.errstate(over="ignore", invalid="ignore"):  # a trial that diverges is data
            self._x = swarm.positions()
            self._direction = self._ask_direction()
            self.value = self._values(self._x)
            gradient = swarm.spec.landscape.gradients(swarm.spec.p, self._x)
            self.slope = (gradient * self._direction).sum(axis=0)
            self.rates = swarm.spec.line_search.search(self, self.largest, self.rates)
        swarm.set_hyper(self.row, self.rates)

    @cached_property
    def double(self) -> "Swarm":
        """A swarm in float64 that takes the steps at rate 1: (x - d) - x has what digits x leaves of d."""
        swarm = self.swarm
        spec, keys = replace(swarm.spec, dtype="float64", threshold=None), swarm.groups.keys[swarm.places]
        made: Swarm = swarm.__class__(
            spec, swarm.hyper, swarm.which, swarm.positions().T, keys, swarm.threads, swarm.schedule
        )
        made.set_hyper(self.row, np.ones(len(self.rates)))
        return made

    def _ask_direction(self) -> Array:
        """Where a step at rate 1 would lead."""
        self.double.stand_as(self.swarm)
        self.double.step(1)
        return self.double.positions() - self._x

    def _values(self, X: Array) -> Array:
        spec = self.swarm.spec
        return np.asarray(spec.landscape.values(spec.p, X), np.float64)

    def values(self, rates: Array, which: Array | None = None) -> Array:
        """Return the value at rates of the lanes `which`."""
        at = np.arange(len(self.rates)) if which is None else np.asarray(which)
        self.evaluations[at] += 1
        return self._values(self._x[:, at] + rates * self._direction[:, at])

    def slopes(self, rates: Array, which: Array | None = None) -> Array:
        """Return its derivative by the rate."""
        at = np.arange(len(self.rates)) if which is None else np.asarray(which)
        self.evaluations[at] += 1
        spec, along = self.swarm.spec, self._direction[:, at]
        gradient = spec.landscape.gradients(spec.p, self._x[:, at] + rates * along)
        return np.asarray((gradient * along).sum(axis=0))
