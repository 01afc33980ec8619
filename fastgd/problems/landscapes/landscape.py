"""What a landscape is: a NamedTuple of parameters with a value and a gradient, and the frozen record that describes
it.
"""

import math
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import FunctionType
from typing import Annotated, Any, TypeAlias, TypeVar, get_origin, get_type_hints

import numpy as np
from annotated_types import Ge, Gt, Lt
from numpy.typing import DTypeLike, NDArray

from fastgd.common.errors import InputError, nearest
from fastgd.common.properties import cached_property
from fastgd.common.registry import OfClass, Registry
from fastgd.problems.landscapes.differences import differences
from fastgd.user_code.imports import import_name
from fastgd.user_code.sources import modules_of, reached, source_of

Value: TypeAlias = Any  # a number, an array, or a kernel's vector of lanes
Point: TypeAlias = Any  # x[i] is coordinate i, a Value; len(x) is the dimension
Parameters: TypeAlias = Any  # an instance of the landscape's NamedTuple
Array: TypeAlias = NDArray[np.float64]

Positive = Annotated[float, Gt(0)]
NonNegative = Annotated[float, Ge(0)]

MOST_DIMENSIONS = 1000  # of a landscape that is defined in any dimension

C = TypeVar("C", bound=type)


@dataclass(frozen=True, repr=False, eq=False)
class Landscape(OfClass):
    """The record of a landscape.

    Attributes
    ----------
    name : str
        As in a study file; for a user's own, "package.module:name".
    cls : type
        The NamedTuple of its parameters.
    module : str
        Where its functions are written.
    value : callable
        `value(p, x)`, x of shape (d, ...): x[i] is coordinate i of all points. Without branches on values: kernels call
        it on vectors of lanes.
    gradient : callable
        `gradient(p, x, g)` fills g, shaped as x. Where it takes differences, x is changed meanwhile, and restored.
    gradient_at : callable or None
        `gradient_at(p, x, t, g)`: the gradient that step t is given, t a whole number from 1. None: it is `gradient`.
    dimension : (int, int)
        The least and the most coordinates.
    domain, customary_start : tuple
        What `box` and `start` repeat.
    parameters : mapping of str to float or tuple of float
        The parameters in order with their defaults.
    annotations : mapping of str to Any
        The type of each parameter with its bounds.
    reference : str
        For `fastgd list`.
    projected : bool
        Whether iterates are clamped to the box after each step.
    difference : bool
        Whether the gradient is taken by differences of the value.
    about, gradient_name : str
        Of a user's plain function: its summary, and the name of the function that is its gradient.
    """

    name: str
    cls: type
    module: str
    value: Callable[[Parameters, Point], Value]
    gradient: Callable[[Parameters, Point, Any], None]
    gradient_at: Callable[[Parameters, Point, int, Any], None] | None
    dimension: tuple[int, int]
    domain: tuple[Any, ...]
    customary_start: tuple[float, ...]
    parameters: Mapping[str, float | tuple[float, ...]]
    annotations: Mapping[str, Any]
    reference: str
    projected: bool = False
    difference: bool = False
    about: str = ""
    gradient_name: str = ""

    def __repr__(self) -> str:
        """Its identity in a kernel's type: the same in every process. Parameters are numbers at run time."""
        name = self.name if ":" in self.name else f"{self.module}:{self.name}"
        return " ".join(filter(None, ("landscape", name, self.gradient_name, self.source)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Landscape) and repr(self) == repr(other)

    def __hash__(self) -> int:
        return hash(repr(self))

    @property
    def summary(self) -> str:
        """The first line of the docstring."""
        return self.about or super().summary

    @property
    def foreign(self) -> bool:
        """Whether it is a user's own."""
        return not self.module.startswith("fastgd.")

    @property
    def online(self) -> bool:
        """Whether the gradient depends on the step; `gradient` is then that of the average objective, `value`."""
        return self.gradient_at is not None

    @cached_property
    def source(self) -> str:
        """A hash of its text, in all of the user's modules that it uses: an edited landscape is another one."""
        return source_of(self.module, self.helpers)

    @cached_property
    def helpers(self) -> tuple[FunctionType, ...]:
        """The Python functions that Numba has to compile: value, gradients, and the functions that they use."""
        gradients = (self.gradient_for(dtype) for dtype in (np.float32, np.float64))
        return reached([self.value, self.gradient, self.gradient_at, *gradients])

    def gradient_for(self, dtype: DTypeLike) -> Callable[[Parameters, Point, Any], None]:
        """Return `gradient`; where it is taken by differences, with the step that suits numbers of this type."""
        return differences(self.value, np.dtype(dtype).name) if self.difference else self.gradient

    def check_dimension(self, d: int) -> None:
        """Raise InputError unless it has d dimensions."""
        least, most = self.dimension
        if not least <= d <= most:
            has = f"{least}" if least == most else f"from {least} to {most}"
            raise InputError(f"landscape {self.name!r} has {has} dimension{'s' * (most > 1)}, not {d}")

    def box(self, d: int) -> Array:
        """Return the customary domain, shape (d, 2): what pictures show, and where starts are drawn."""
        self.check_dimension(d)
        return np.resize(np.array(self.domain, float), (d, 2))

    def start(self, d: int) -> Array:
        """Return the customary starting point, shape (d,)."""
        self.check_dimension(d)
        return np.resize(np.array(self.customary_start, float), d)

    def instance(self, **params: Any) -> Parameters:
        """Return the parameters, defaults where they are not given; a tuple of numbers becomes a float64 array.

        Raises
        ------
        InputError
            A name is not a parameter's, or a value is not allowed.
        """
        for key in params:
            if key not in self.parameters:
                hint = nearest(key, self.parameters) if self.parameters else "it has none"
                raise InputError(f"landscape {self.name!r} has no parameter {key!r}; {hint}")
        given = {key: self._checked(key, params.get(key, default)) for key, default in self.parameters.items()}
        made = self.cls(**given)
        fault = made.fault() if hasattr(made, "fault") else ""
        if fault:
            raise InputError(f"landscape {self.name!r}: {fault}")
        return made

    def _checked(self, key: str, found: Any) -> Any:
        many = isinstance(self.parameters[key], tuple)
        wanted = "numbers" if many else "a number"
        try:
            value = np.array(found, float)
        except (TypeError, ValueError):
            value = np.array(math.nan)
        if value.ndim != many or not np.all(np.isfinite(value)):
            raise InputError(f"landscape {self.name!r}: {key} = {found!r}, which must be {wanted}")
        for text, holds in _bounds(self.annotations[key]):
            if not np.all(holds(value)):
                raise InputError(f"landscape {self.name!r}: {key} = {found!r}, which must be {text}")
        return value if many else float(value)

    def minima(self, p: Parameters, d: int) -> Array:
        """Return the known local minima, shape (k, d), the lowest first; k is 0 where none are known."""
        self.check_dimension(d)
        known = getattr(self.cls, "minima", None)
        if known is None:
            return np.empty((0, d))
        with np.errstate(all="ignore"):  # Newton's method may diverge
            points = np.array(known(p, d), float).reshape(-1, d)
        return points[np.argsort(self.values(p, points.T), kind="stable")]

    def values(self, p: Parameters, X: Any) -> NDArray[Any]:
        """Return the values at the points X (d, G), shape (G,)."""
        X = _points(X)
        with np.errstate(all="ignore"):  # far away a value may overflow to infinity
            return np.asarray(self.value(p, X)).astype(X.dtype, copy=False)

    def gradients(self, p: Parameters, X: Any, t: int = 1) -> NDArray[Any]:
        """Return the gradients at the points X (d, G), shape (d, G); for an online landscape those of step t."""
        X = _points(X).copy()
        g: NDArray[Any] = np.zeros_like(X)
        with np.errstate(all="ignore"):
            if self.gradient_at is None:
                self.gradient_for(X.dtype)(p, X, g)
            else:
                self.gradient_at(p, X, t, g)
        return g


LANDSCAPES: Registry[Landscape] = Registry("landscape")


def landscape(
    *,
    name: str | None = None,
    dimension: tuple[int, int] = (1, MOST_DIMENSIONS),
    domain: tuple[Any, ...] = (-5.0, 5.0),
    start: Sequence[float] | float | None = None,
    projected: bool = False,
    reference: str = "",
) -> Callable[[C], C]:
    """Make a NamedTuple class a landscape.

    The class holds the parameters as fields with defaults: floats (with bounds as `annotated_types`), or tuples of
    floats. Its functions take the parameters `p` first. They are written with arithmetic, loops over coordinates and
    NumPy's element-wise functions, without branches on values (`np.where` instead), and sums start from their first
    term: kernels call them on vectors of lanes.

    `value(p, x) -> f`
        The value at a point; x[i] is its coordinate i.
    `gradient(p, x, g)`, optional
        Fills `g[i]`. Without it, the gradient is taken by differences.
    `gradient_at(p, x, t, g)`, optional
        The gradient that step t is given, t a whole number from 1 (branches on it are allowed), of an objective that
        changes from step to step; value and gradient are then those of its average.
    `minima(p, d) -> array (k, d)`, optional
        Known local minima. Called outside of kernels.
    `fault(p) -> str`, optional
        What is wrong with the parameters in combination, or "".

    Parameters
    ----------
    name : str, optional
        The built-in name. A user's own class needs none: a study names it as "package.module:Name".
    dimension : (int, int)
        The least and the most coordinates.
    domain : (float, float) or tuple of such pairs
        The range of every coordinate, or of each; repeated where there are more coordinates.
    start : float or sequence of float, optional
        The customary starting point, repeated where there are more coordinates. Otherwise, a quarter of the way
        through the domain.
    projected : bool
        Whether iterates are clamped to the domain after each step.
    reference : str
        What `fastgd list` shows.
    """

    def register(cls: C) -> C:
        if not hasattr(cls, "_field_defaults") or not hasattr(cls, "value"):
            raise InputError(f"landscape {cls.__name__!r} must be a NamedTuple with a function value(p, x)")
        pairs = domain if isinstance(domain[0], tuple) else (domain,)
        first = tuple(low + (high - low) / 4 for low, high in pairs) if start is None else tuple(np.ravel(start))
        value: Any = cls.value
        record = Landscape(
            name=name or import_name(cls),
            cls=cls,
            module=cls.__module__,
            value=value,
            gradient=getattr(cls, "gradient", None) or differences(value, "float64"),
            gradient_at=getattr(cls, "gradient_at", None),
            dimension=dimension,
            domain=pairs,
            customary_start=first,
            parameters=dict(cls._field_defaults),
            annotations=get_type_hints(cls, include_extras=True),
            reference=reference,
            projected=projected,
            difference=not hasattr(cls, "gradient"),
        )
        modules_of(cls.__module__)  # keeps the text that was imported
        cls.landscape = record  # type: ignore[attr-defined]
        if name is not None:
            LANDSCAPES.add(record)
        return cls

    return register


def _points(X: Any) -> NDArray[Any]:
    array: NDArray[Any] = np.asarray(X)
    return array if array.dtype.kind in "fc" else array.astype(float)


_BOUNDS = ((Gt, "gt", ">", operator.gt), (Ge, "ge", ">=", operator.ge), (Lt, "lt", "<", operator.lt))


def _bounds(annotation: Any) -> Iterator[tuple[str, Callable[[Any], Any]]]:
    """Yield each bound of an annotation as text, and as a test."""
    for bound in getattr(annotation, "__metadata__", ()) if get_origin(annotation) is Annotated else ():
        for kind, attribute, sign, holds in _BOUNDS:
            if isinstance(bound, kind):
                limit = getattr(bound, attribute)
                yield f"{sign} {limit:g}", partial(lambda at, test, v: test(v, at), limit, holds)
