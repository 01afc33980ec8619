"""What lanes on a landscape are to those that run them: gradient methods and baselines alike."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from fastgd.engine.swarm.reading import LanesView, Moment, Reading
from fastgd.engine.swarm.spec import SwarmSpec

Array = npt.NDArray[Any]
Captured = dict[str, Array | int]


class LaneState(NamedTuple):
    """Where lanes are, and what their rule keeps, in the order of the lanes.

    Attributes
    ----------
    t : int
        Steps taken.
    x : ndarray (d, lanes)
    slots : ndarray (slots, d, lanes)
    memory : ndarray (numbers, lanes)
    """

    t: int
    x: Array
    slots: Array
    memory: Array


class Rates(Protocol):
    """What a line search has done.

    Attributes
    ----------
    rates : ndarray (lanes,)
        Those of the last step; at the start the largest.
    evaluations : ndarray (lanes,) int64
        How often each lane's value was asked for so far.
    """

    rates: Array
    evaluations: Array


class Lanes(Protocol):
    """Trials on one landscape, side by side.

    Attributes
    ----------
    spec : SwarmSpec
    t : int
        Steps taken.
    """

    spec: SwarmSpec
    t: int

    @property
    def line(self) -> Rates | None:
        """What the line search has done; None: there is none."""
        ...

    def compile(self) -> None:
        """Compile, or load from the cache, the kernels."""
        ...

    def advance(self, steps: int, poll: Callable[[], None] = ...) -> None:
        """Take steps; `poll` is called every some of them."""
        ...

    def read(self) -> Reading:
        """Return where the lanes are; changes no state."""
        ...

    def died(self) -> Array:
        """Return the first step after which a lane was not finite (lanes,), or 0."""
        ...

    def steps_to_tolerance(self, loss: Array) -> Array:
        """Return the steps after which the tolerance was first reached (lanes,) int64, or -1.

        loss : ndarray (lanes,)
            The values where the lanes are now.
        """
        ...

    def moment(self) -> Moment:
        """Return what is needed to read the lanes as they are now: copies."""
        ...

    def view(self, moments: Sequence[Moment]) -> LanesView:
        """Return what reads the lanes as they were at several moments, one after another."""
        ...

    def capture(self) -> Captured:
        """Return all that is needed to go on from here with the same bits: numbers, and arrays of lanes."""
        ...

    def restore(self, captured: Mapping[str, Array | int]) -> None:
        """Go on from where lanes of the same specification, starts and keys were captured."""
        ...


def arrays_like(own: Captured, captured: Mapping[str, Array | int]) -> dict[str, Array]:
    """Return the captured arrays; ValueError where one is not of the shape and type that these lanes' own have."""
    arrays = {}
    for name, like in own.items():
        if isinstance(like, np.ndarray):
            found = arrays[name] = np.array(captured[name])
            if found.shape != like.shape or found.dtype != like.dtype:
                raise ValueError(f"{name} is {found.dtype} {found.shape}, and not {like.dtype} {like.shape}")
    return arrays
