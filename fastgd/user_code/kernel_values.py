"""Stand-ins for the values of a kernel: a user's function is called on them once before it is compiled.

A `Lane` has the operations of a vector of lanes (`fastgd.core.vectors`). Any other operation raises `Unsupported` in
the user's own line, where Numba would report an error deep in a kernel.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

# What kernels know of NumPy, by name; `fastgd/core/math.py` says what each is for.
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
    """What `Lane` and `Traced` share: every operation on them calls `_apply(name, *values)`."""

    __add__, __radd__ = _operator("add")
    __sub__, __rsub__ = _operator("subtract")
    __mul__, __rmul__ = _operator("multiply")
    __truediv__, __rtruediv__ = _operator("divide")
    __pow__, __rpow__ = _operator("power")
    __floordiv__, __rfloordiv__ = _operator("floor_divide")
    __mod__, __rmod__ = _operator("remainder")
    __divmod__, __rdivmod__ = _operator("divmod")
    __lshift__, __rlshift__ = _operator("left_shift")
    __rshift__, __rrshift__ = _operator("right_shift")
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


class Lane(Symbol):
    """A value as a kernel has it, one number for each lane. An operation that kernels lack raises `Unsupported`."""

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

    def __float__(self, *_: Any) -> float:
        raise Unsupported(f"a value is no single number, which `math`, float, round and np.array need; {AVAILABLE}")

    __int__ = __index__ = __complex__ = __round__ = __trunc__ = __array__ = __float__

    def __str__(self) -> str:
        raise Unsupported("values have no text in a kernel: print, f-strings and str are not available")

    __repr__ = __str__

    def __format__(self, form: str) -> str:
        return str(self)

    def __len__(self) -> int:
        raise Unsupported("a value is one number of each lane: it has no length, no elements and no methods")

    def __getitem__(self, *_: Any) -> Any:
        return len(self)

    __setitem__ = __contains__ = __iter__ = __matmul__ = __getitem__

    def __pos__(self) -> Any:
        raise Unsupported("a sign + is not available; leave it out")

    def __and__(self, *_: Any) -> Any:
        raise Unsupported(
            "conditions are not joined with & or |, nor turned round with ~; "
            "write np.where(a > 0, np.where(b > 0, x, y), y)"
        )

    __or__ = __xor__ = __rand__ = __ror__ = __rxor__ = __invert__ = __and__

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise Unsupported(f"a value has no {name!r} in a kernel; {AVAILABLE}")


class Condition(Lane):
    """The outcome of a comparison."""


def _shown(name: str) -> str:
    signs = {"floor_divide": "//", "remainder": "%", "equal": "==", "not_equal": "!="}
    signs |= {"divmod": "divmod", "left_shift": "<<", "right_shift": ">>"}
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
