"""What a swarm computes: a rule, a landscape, and what is noted of each lane on the way."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fastgd.core.vectors import register_bits
from fastgd.engine.swarm.groups import MOST_COORDINATES_IN_REGISTERS, LandscapeNumbers, SwarmShape
from fastgd.engine.swarm.landscape_calls import flat_parameters
from fastgd.optimizers.rule import Rule
from fastgd.problems import Landscape

Array = npt.NDArray[Any]
# Vectors of a group. The steps of several overlap, where one would wait for its own results. A rule without slots
# computes so little that it waits longer, and gains a tenth from more vectors, and from hyper-parameters that are read
# anew in each step. What a lane keeps has to leave room in 32 registers: plain descent whose steps are counted takes
# 1.45 times as long with eight vectors as with four, and Adam 1.15 times as long with four as with two.
VECTORS_OF_A_GROUP = 4
VECTORS_OF_A_GROUP_WITHOUT_SLOTS = 8
FEWEST_VECTORS, MOST_KEPT_VECTORS = 2, 24


@dataclass(frozen=True)
class SwarmSpec:
    """What a swarm computes.

    Attributes
    ----------
    rule : Rule
    landscape : Landscape
    p : NamedTuple
        The landscape's parameters.
    box : ndarray (d, 2)
        The domain.
    dtype : str
    noise : float
        The standard deviation of what is added to each partial derivative.
    threshold : float, optional
        The value at which the tolerance is reached; None: steps to it are not counted.
    scheduled : tuple of str
        The hyper-parameters that a schedule drives.
    line_search : NamedTuple, optional
        A line search of `optimizers.line_search`: what chooses the rate of each step and lane.
    """

    rule: Rule
    landscape: Landscape
    p: Any
    box: Array
    dtype: str = "float64"
    noise: float = 0.0
    threshold: float | None = None
    scheduled: tuple[str, ...] = ()
    line_search: Any = None

    @property
    def d(self) -> int:
        """The dimension."""
        return len(self.box)

    @property
    def width(self) -> int:
        """Lanes of a group."""
        vectors = VECTORS_OF_A_GROUP if self.rule.slots else VECTORS_OF_A_GROUP_WITHOUT_SLOTS
        kept = 2 * (self.threshold is not None)
        kept += (1 + self.rule.slots) * self.d if self.d <= MOST_COORDINATES_IN_REGISTERS else 0
        while vectors > FEWEST_VECTORS and vectors * kept > MOST_KEPT_VECTORS:
            vectors //= 2
        return vectors * register_bits()[0] // 8 // np.dtype(self.dtype).itemsize

    @property
    def numbers(self) -> int:
        """What a lane keeps in its group's block: coordinates, slots, the marks of the tolerance."""
        return (1 + self.rule.slots) * self.d + 2

    @property
    def kernel(self) -> str:
        """What stands in the column `kernel`."""
        return f"swarm-{self.width}"

    @property
    def shape(self) -> SwarmShape:
        """The shape of a group."""
        return SwarmShape(
            lanes=self.width,
            width=self.width,
            dimension=self.d if self.d <= MOST_COORDINATES_IN_REGISTERS else 0,
            slots=self.rule.slots,
            noisy=self.noise > 0,
            tracked=self.threshold is not None,
            projected=self.landscape.projected,
            rereads=bool(self.scheduled) or not self.rule.slots,
        )

    @property
    def land(self) -> LandscapeNumbers:
        """The landscape's numbers."""
        box = np.ascontiguousarray(self.box, np.float64)
        return LandscapeNumbers(flat_parameters(self.p), box, float(self.noise), float(self.threshold or 0.0))
