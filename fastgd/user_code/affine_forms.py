"""Affine forms in place of numbers: what a function returns for them proves what it does for *all* numbers.

`Traced` is an affine form `const + sum_i a_i x_i` in symbols x. A function that is called on such forms and returns one
is proven to be linear in the symbols, whatever the unknown coefficients are.
"""

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np

from fastgd.user_code.kernel_values import COMPARISONS, Symbol

T = TypeVar("T")


class Unproven(Exception):  # noqa: N818 (an answer, not an error)
    """A function does something with an unknown number that a proof cannot follow, such as a branch."""


class Unknown:
    """A coefficient that is not known, but does not depend on the symbols; equal to no other coefficient."""


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
        """Whether the constant is known to be 0."""
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
    """Return the number that a form is known to be, else the form."""
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
    """Return `np.where` of two forms: one of them, or, if the condition is unknown, what both have in common."""
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
    """The number of a step, any whole number from 1. Its comparisons come out as `way` lists, and then True."""

    def __init__(self, way: list[bool]) -> None:
        super().__init__()
        self.taken: list[bool] = []
        self._way = way

    def _apply(self, name: str, *values: Any) -> Any:
        if values[0] is self and name in (*COMPARISONS, "equal", "not_equal"):
            self.taken.append(self._way[len(self.taken)] if len(self.taken) < len(self._way) else True)
            return self.taken[-1]
        if values[0] is self and name == "remainder":
            return self  # another unknown whole number
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
