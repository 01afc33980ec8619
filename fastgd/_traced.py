"""Values that stand for unknown numbers: what a rule does for *all* numbers is read off by calling it with these.

`Lane` is a value as kernels know it, and refuses what a kernel cannot do, at the line that asks for it. `Traced` is an
affine form `const + sum_i a_i x_i` of some symbols x: where a function returns one, it is proven to be linear in them,
whatever the unknown coefficients are.
"""

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")

# What kernels know of NumPy, by name; `fastgd/_math.py` says what each is for.
FUNCTIONS = (
    *("sqrt", "square", "absolute", "sign", "maximum", "minimum", "floor"),
    *("exp", "log", "log1p", "cbrt", "sin", "cos", "tanh"),
)
ARITHMETIC = ("add", "subtract", "multiply", "divide", "negative", "power")
COMPARISONS = ("less", "less_equal", "greater", "greater_equal")

AVAILABLE = "a kernel has + - * / ** and the comparisons < <= > >=, np.where, and of NumPy " + ", ".join(
    name.replace("absolute", "abs") for name in FUNCTIONS
)
INSTEAD = {
    "clip": "np.minimum(np.maximum(x, low), high)",
    "zeros_like": "x * 0",
    "ones_like": "x * 0 + 1",
    "full_like": "x * 0 + value",
    "reciprocal": "1 / x",
    "fmax": "np.maximum",
    "fmin": "np.minimum",
    "fabs": "np.abs",
    "log2": "np.log(x) / np.log(2)",
    "log10": "np.log(x) / np.log(10)",
    "expm1": "np.exp(x) - 1",
    "hypot": "np.sqrt(x * x + y * y)",
    "tan": "np.sin(x) / np.cos(x)",
    "floor_divide": "np.floor(x / y)",
    "remainder": "x - y * np.floor(x / y)",
    "equal": "np.abs(x - y) <= 0",
    "not_equal": "np.abs(x - y) > 0",
}
_ALIASES = {"true_divide": "divide", "abs": "absolute"}


class Unsupported(TypeError):  # noqa: N818 (its message speaks for it)
    """A kernel cannot do this with a value; the message says what it can do instead."""


class TooShort(IndexError):  # noqa: N818
    """A point has fewer coordinates than a function asks for."""


class Unproven(Exception):  # noqa: N818 (an answer, not an error)
    """A function does something with a number that no proof goes through."""


def instead(name: str) -> str:
    """Say what is available in place of a function of NumPy."""
    return f"write {INSTEAD[name]}" if name in INSTEAD else AVAILABLE


def _operator(name: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
    def forward(self: Any, other: Any) -> Any:
        return self._apply(name, self, other)

    def backward(self: Any, other: Any) -> Any:
        return self._apply(name, other, self)

    return forward, backward


class Symbol:
    """What `Lane` and `Traced` share: operators and NumPy's functions become calls of `_apply(name, *values)`."""

    __add__, __radd__ = _operator("add")
    __sub__, __rsub__ = _operator("subtract")
    __mul__, __rmul__ = _operator("multiply")
    __truediv__, __rtruediv__ = _operator("divide")
    __pow__, __rpow__ = _operator("power")
    __floordiv__, __rfloordiv__ = _operator("floor_divide")
    __mod__, __rmod__ = _operator("remainder")
    __lt__, __gt__ = _operator("less")[0], _operator("greater")[0]
    __le__, __ge__ = _operator("less_equal")[0], _operator("greater_equal")[0]
    __eq__, __ne__ = _operator("equal")[0], _operator("not_equal")[0]
    __hash__ = None  # type: ignore[assignment]

    def _apply(self, name: str, *values: Any) -> Any:
        raise NotImplementedError

    def __neg__(self) -> Any:
        return self._apply("negative", self)

    def __abs__(self) -> Any:
        return self._apply("absolute", self)

    def __array_ufunc__(self, ufunc: Any, method: str, *values: Any, **keywords: Any) -> Any:
        name = _ALIASES.get(ufunc.__name__, ufunc.__name__)
        if keywords:
            raise Unsupported(f"np.{name} takes no keyword arguments in a kernel, found {', '.join(keywords)}")
        if method != "__call__":
            raise Unsupported(f"np.{name}.{method} is not available; {AVAILABLE}")
        return self._apply(name, *values)

    def __array_function__(self, function: Any, kinds: Any, values: Any, keywords: Any) -> Any:
        name = function.__name__
        if name != "where":
            raise Unsupported(f"np.{name} is not available; {instead(name)}")
        if keywords or len(values) != 3:
            raise Unsupported("np.where takes a condition and two values in a kernel, and no keyword arguments")
        return self._apply("where", *values)


# --- what a kernel can do ---------------------------------------------------------------------------------------------


class Lane(Symbol):
    """A value as a kernel has it: one number of each lane. What it lacks raises `Unsupported`."""

    def _apply(self, name: str, *values: Any) -> Any:
        if name not in (*FUNCTIONS, *ARITHMETIC, *COMPARISONS, "where"):
            raise Unsupported(f"{_shown(name)} is not available; {instead(name)}")
        if name == "where":
            if not isinstance(values[0], Condition):
                raise Unsupported("np.where compares values; for choices and for t write `a if t == 1 else b`")
            values = values[1:]
        for value in values:
            if isinstance(value, Condition):
                raise Unsupported("the outcome of a comparison is a condition of np.where, and nothing else")
            if not isinstance(value, (Lane, int, float, np.number)):
                raise Unsupported(f"a value does not go with a {type(value).__name__}; it goes with values and numbers")
        return Condition() if name in COMPARISONS else Lane()

    def __bool__(self) -> bool:
        raise Unsupported(
            "lanes differ, so there is no `if`, `while`, `and`, `or`, `not`, min or max of values; "
            "write np.where(x > 0, a, b), np.maximum or np.minimum"
        )

    def __float__(self) -> float:
        raise Unsupported(f"a value is no single number, which `math`, float and int need; {AVAILABLE}")

    __int__ = __index__ = __complex__ = __round__ = __trunc__ = __float__

    def __str__(self) -> str:
        raise Unsupported("values have no text in a kernel: print, f-strings and str are not available")

    __repr__ = __str__

    def __format__(self, form: str) -> str:
        return str(self)

    def __len__(self) -> int:
        raise Unsupported("a value is one number of each lane: it has no length, no elements and no methods")

    def __getitem__(self, *_: Any) -> Any:
        return len(self)

    __setitem__ = __contains__ = __iter__ = __pos__ = __invert__ = __matmul__ = __getitem__

    def __and__(self, *_: Any) -> Any:
        raise Unsupported("conditions are not joined with & or |; write np.where(a > 0, np.where(b > 0, x, y), y)")

    __or__ = __xor__ = __rand__ = __ror__ = __rxor__ = __and__

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise Unsupported(f"a value has no {name!r} in a kernel; {AVAILABLE}")


class Condition(Lane):
    """The outcome of a comparison."""


def _shown(name: str) -> str:
    signs = {"floor_divide": "//", "remainder": "%", "equal": "==", "not_equal": "!="}
    return signs.get(name, f"np.{name}")


class Point(Symbol):
    """A point of `size` values, as a landscape's functions get it: `x[i]`, `x[i] = ...` and `len(x)`."""

    def __init__(self, size: int) -> None:
        self._size = size

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, index: Any) -> Lane:
        self._check(index)
        return Lane()

    def __setitem__(self, index: Any, value: Any) -> None:
        self._check(index)
        if not isinstance(value, Lane) or isinstance(value, Condition):
            raise Unsupported(f"a coordinate is set to a value, not to a {type(value).__name__}; write x[0] * 0 + 1")

    def _check(self, index: Any) -> None:
        if not isinstance(index, (int, np.integer)):
            raise Unsupported("a point is read by whole numbers, as x[0]; slices are not available")
        if not -self._size <= index < self._size:
            raise TooShort(f"x[{index}] of a point with {self._size} coordinates")

    def _apply(self, name: str, *values: Any) -> Any:  # noqa: ARG002
        raise Unsupported("a point is no array in a kernel: take its coordinates x[0], x[1], ..., in a loop if need be")

    def __array_function__(self, function: Any, kinds: Any, values: Any, keywords: Any) -> Any:
        return self._apply(function.__name__)

    def __iter__(self) -> Iterator[Lane]:
        raise Unsupported("a point is read as x[0], x[1], ...; it cannot be unpacked or looped over")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise Unsupported(f"a point has no {name!r} in a kernel, only x[i] and len(x)")


# --- proofs -----------------------------------------------------------------------------------------------------------


class Unknown:
    """A coefficient of which nothing is known, but that it does not depend on the symbols; equal to itself alone."""


def _is(coefficient: Any, number: float) -> bool:
    return not isinstance(coefficient, Unknown) and bool(np.all(np.asarray(coefficient) == number))


def is_one(coefficient: Any) -> bool:
    """Whether a coefficient is known to be 1."""
    return _is(coefficient, 1)


def _sum(a: Any, b: Any) -> Any:
    if _is(a, 0) or _is(b, 0):
        return b if _is(a, 0) else a
    return Unknown() if isinstance(a, Unknown) or isinstance(b, Unknown) else a + b


def _product(a: Any, b: Any) -> Any:
    if _is(a, 0) or _is(b, 0):
        return 0.0
    if _is(a, 1) or _is(b, 1):
        return b if _is(a, 1) else a
    return Unknown() if isinstance(a, Unknown) or isinstance(b, Unknown) else a * b


class Traced(Symbol):
    """`const + sum_i parts[i] x_i`, or, where `parts` is None, anything else that depends on the x.

    Coefficients are numbers, arrays of them (of lanes, say), or `Unknown`. A product with an exact zero is zero: what
    is proven holds as long as numbers are finite.
    """

    def __init__(self, const: Any = None, parts: Mapping[Any, Any] | None = MappingProxyType({})) -> None:
        self.const = Unknown() if const is None else const
        self.parts = None if parts is None else {i: a for i, a in parts.items() if not _is(a, 0)}

    @property
    def is_homogeneous(self) -> bool:
        """Whether nothing stands beside the symbols."""
        return _is(self.const, 0)

    @classmethod
    def symbol(cls, name: Any) -> "Traced":
        """Return the symbol of this name."""
        return cls(0.0, {name: 1.0})

    def __bool__(self) -> bool:
        raise Unproven("a branch on an unknown number")

    def __getattr__(self, name: str) -> Any:
        raise Unproven(f"{name!r} of an unknown number") if not name.startswith("__") else AttributeError(name)

    def _apply(self, name: str, *values: Any) -> Any:
        if name == "where":
            return _known(_chosen(*values))
        forms = [value if isinstance(value, Traced) else Traced(value) for value in values]
        if name in _ALGEBRA:
            return _known(_ALGEBRA[name](*forms))
        if name == "power" and forms[1].is_number(1):
            return values[0]
        return Traced() if all(form.parts == {} for form in forms) else Traced(0.0, None)

    def is_number(self, number: float) -> bool:
        """Whether this is known to be that number."""
        return self.parts == {} and _is(self.const, number)


def _known(form: Traced) -> Any:
    """A form, or the number that it is."""
    return form.const if form.parts == {} and not isinstance(form.const, Unknown) else form


def _added(a: Traced, b: Traced) -> Traced:
    if a.is_number(0) or b.is_number(0):
        return b if a.is_number(0) else a
    if a.parts is None or b.parts is None:
        return Traced(0.0, None)
    parts = {i: _sum(a.parts.get(i, 0.0), b.parts.get(i, 0.0)) for i in {**a.parts, **b.parts}}
    return Traced(_sum(a.const, b.const), parts)


def _scaled(form: Traced, factor: Any) -> Traced:
    if form.parts is None:
        return Traced(0.0) if _is(factor, 0) else form
    return Traced(_product(form.const, factor), {i: _product(a, factor) for i, a in form.parts.items()})


def _multiplied(a: Traced, b: Traced) -> Traced:
    for one, other in ((a, b), (b, a)):
        if one.parts == {}:
            return _scaled(other, one.const)
    return Traced(0.0, None)


def _divided(a: Traced, b: Traced) -> Traced:
    if a.is_number(0):
        return a
    if b.parts != {}:
        return Traced(0.0, None)
    with np.errstate(all="ignore"):
        return _scaled(a, Unknown() if isinstance(b.const, Unknown) else 1 / np.asarray(b.const))


_ALGEBRA: dict[str, Callable[..., Traced]] = {
    "add": _added,
    "subtract": lambda a, b: _added(a, _scaled(b, -1.0)),
    "negative": lambda a: _scaled(a, -1.0),
    "multiply": _multiplied,
    "square": lambda a: _multiplied(a, a),
    "divide": _divided,
}


def _chosen(condition: Any, *values: Any) -> Traced:
    """np.where: one of both, or where it is not known which, what they have in common."""
    a, b = (value if isinstance(value, Traced) else Traced(value) for value in values)
    if not isinstance(condition, Traced):
        if np.all(condition) or not np.any(condition):
            return a if np.all(condition) else b
        condition = Traced()
    if values[0] is values[1]:
        return a
    if condition.parts != {} or a.parts is None or b.parts is None:
        return Traced(0.0, None)
    parts = {i: _common(a.parts.get(i, 0.0), b.parts.get(i, 0.0)) for i in {**a.parts, **b.parts}}
    return Traced(_common(a.const, b.const), parts)


def _common(a: Any, b: Any) -> Any:
    if a is b:
        return a
    known = not isinstance(a, Unknown) and not isinstance(b, Unknown)
    return a if known and np.array_equal(a, b) else Unknown()


class StepNumber(Traced):
    """The number of a step, any whole number from 1; its comparisons come out as `way` says, then True."""

    def __init__(self, way: list[bool]) -> None:
        super().__init__()
        self.taken: list[bool] = []
        self._way = way

    def _apply(self, name: str, *values: Any) -> Any:
        if values[0] is self and name in (*COMPARISONS, "equal", "not_equal"):
            self.taken.append(self._way[len(self.taken)] if len(self.taken) < len(self._way) else True)
            return self.taken[-1]
        if values[0] is self and name == "remainder":
            return self  # a whole number, of which nothing is known either
        return super()._apply(name, *values)


MOST_WAYS = 32


def every_way(run: Callable[[StepNumber], T]) -> Iterator[T]:
    """Yield what `run(t)` returns for each way in which its comparisons of the step's number t may come out."""
    pending: list[list[bool]] = [[]]
    for _ in range(MOST_WAYS):
        way = pending.pop()
        step = StepNumber(way)
        yield run(step)
        pending += [[*step.taken[:i], not step.taken[i]] for i in range(len(way), len(step.taken))]
        if not pending:
            return
    raise Unproven("too many branches on the step")
