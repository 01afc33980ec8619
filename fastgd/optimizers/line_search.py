"""Line searches: each step of a full batch chooses its rate by the objective along the rule's direction.

Each is a NamedTuple of numbers with a function `search(o, line, largest, before) -> rates`, where all arrays are
(lanes,), and `before` are the rates of the last step. No lane's rate depends on another lane.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple, Protocol, TypeAlias, get_type_hints

import numpy as np
import numpy.typing as npt
from annotated_types import Ge, Gt, Le, Lt

from fastgd.common.pickling import PickledByName
from fastgd.common.registry import OfClass, Registry
from fastgd.optimizers.record import C, Rate

Array: TypeAlias = npt.NDArray[np.float64]
Fraction = Annotated[float, Gt(0), Lt(1)]
Factor = Annotated[float, Ge(1)]
Whole = Annotated[int, Ge(1)]
Doublings = Annotated[int, Ge(1), Le(500)]  # more would leave the range of floats
TOLERANCES: Any = {"xrtol": 1e-12, "frtol": 1e-13}  # of an exact rate, and of the slope there


class Line(Protocol):
    """The objective of each lane along its direction, as a function of the rate.

    Attributes
    ----------
    value, slope : ndarray (lanes,)
        The objective and its derivative where the rate is 0.
    """

    value: Array
    slope: Array

    def values(self, rates: Array, which: npt.NDArray[np.intp] | None = None) -> Array:
        """Return the objective at rates of the lanes `which` (default: all); one evaluation of each."""
        ...

    def slopes(self, rates: Array, which: npt.NDArray[np.intp] | None = None) -> Array:
        """Return its derivative by the rate; it counts as one evaluation."""
        ...


@dataclass(frozen=True)
class LineSearch(OfClass, PickledByName, registry="LINE_SEARCHES"):
    """The record of a line search.

    Attributes
    ----------
    name : str
        The `kind` of the sub-table `line_search`.
    cls : type
        The NamedTuple with its function.
    fields : mapping of str to Any
        Its keys with their defaults; None: must be given.
    annotations : mapping of str to Any
        The type of each key with its bounds.
    witness, reference : str
        As for an optimizer.
    """

    name: str
    cls: type
    fields: Mapping[str, Any]
    annotations: Mapping[str, Any]
    witness: str
    reference: str


LINE_SEARCHES: Registry[LineSearch] = Registry("line search")


def line_search(name: str, *, witness: str, reference: str) -> Callable[[C], C]:
    """Make a NamedTuple class a line search."""

    def register(cls: C) -> C:
        annotations = get_type_hints(cls, include_extras=True)
        defaults: Mapping[str, Any] = cls._field_defaults  # type: ignore[attr-defined]
        fields = {key: defaults.get(key) for key in annotations}
        LINE_SEARCHES.add(LineSearch(name, cls, fields, annotations, witness, reference))
        return cls

    return register


@line_search("best", witness="the lectures' equations", reference="CS7015, lecture 5")
class Best(NamedTuple):
    """Best of a list: each step tries `lr r` for every r of `rates`, and keeps the rate with the lowest objective."""

    rates: tuple[Rate, ...]

    def search(o, line: Line, largest: Array, before: Array) -> Array:
        values = np.stack([line.values(rate * largest) for rate in o.rates])
        lowest = np.argmin(np.where(np.isnan(values), np.inf, values), axis=0)
        rates: Array = largest * np.array(o.rates)[lowest]
        return rates


@line_search(
    "armijo",
    witness="optax.scale_by_backtracking_linesearch",
    reference="Armijo (1966), https://doi.org/10.2140/pjm.1966.16.1; Nocedal & Wright (2006), section 3.1",
)
class Armijo(NamedTuple):
    """Backtracking: the first of `lr', shrink lr', shrink^2 lr', ...` with `F(rate) <= F(0) + slope rate F'(0)`.

    `lr'` is `grow` times the last step's rate, and at most `lr`. After `backtracks` of them the smallest is taken, and
    none where the objective is not finite even there; the next step then begins at `lr` again, where optax's would not
    move any more. The defaults are optax's.
    """

    shrink: Fraction = 0.8
    slope: Fraction = 1e-4
    grow: Factor = 1.5
    backtracks: Whole = 30

    def search(o, line: Line, largest: Array, before: Array) -> Array:
        rates = np.where(before > 0, np.minimum(o.grow * before, largest), largest)
        searching, finite = np.ones(len(rates), bool), np.zeros(len(rates), bool)
        for backtrack in range(o.backtracks + 1):
            which = np.flatnonzero(searching)
            if backtrack:
                rates[which] *= o.shrink
            values = line.values(rates[which], which)
            finite[which] = np.isfinite(values)
            searching[which] = ~(values <= line.value[which] + o.slope * rates[which] * line.slope[which])
            if not searching.any():
                break
        return np.where(finite, rates, 0.0)


@line_search("exact", witness="scipy.optimize", reference="Nocedal & Wright (2006), section 3.5")
class Exact(NamedTuple):
    """Exact search: the rate at which the objective's derivative along the direction is zero, to 12 digits.

    The first zero that is found from the last step's rate outwards, which is `lr` at the start; where the derivative
    stays negative, `2^doublings lr`. A direction that does not descend is not followed.
    """

    doublings: Doublings = 40

    def search(o, line: Line, largest: Array, before: Array) -> Array:
        from scipy.optimize import elementwise

        most = 2.0**o.doublings * largest
        low, high = np.zeros_like(largest), np.where(before > 0, before, largest)
        growing, endless = line.slope < 0, np.zeros(len(low), bool)
        while growing.any():
            which = np.flatnonzero(growing)
            growing[which] = line.slopes(high[which], which) < 0
            endless |= growing & (high >= most)
            growing &= ~endless
            low[growing], high[growing] = high[growing], np.minimum(2 * high, most)[growing]
        found = np.where(endless, most, 0.0)
        which = np.flatnonzero((line.slope < 0) & ~endless)
        if len(which):
            at = elementwise.find_root(line.slopes, (low[which], high[which]), args=(which,), tolerances=TOLERANCES)
            found[which] = np.where(np.isfinite(at.x), at.x, 0.0)
        return found
