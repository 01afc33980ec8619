"""Landscapes by name: built-in ones, users' classes, and users' plain functions."""

import copyreg
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from inspect import signature
from types import FunctionType
from typing import Any, NamedTuple

import numpy as np

from fastgd.common.errors import InputError
from fastgd.problems.landscapes.differences import differences
from fastgd.problems.landscapes.landscape import LANDSCAPES, MOST_DIMENSIONS, Array, Landscape
from fastgd.user_code.checks import check_syntax, dry_call, has_compiled
from fastgd.user_code.imports import find_attribute
from fastgd.user_code.kernel_values import Condition, Lane, Point
from fastgd.user_code.sources import find_same

_POINTS, _DIMENSIONS = 5, 3  # a gradient is compared with differences at 5 points, in each of 3 dimensions
_TOLERANCE = 1e-4  # of the difference between both, relative to the gradient
_ROUNDING = 1e-10  # of the value, in a difference of two


class NoParameters(NamedTuple):
    """The parameters of a plain function."""


def find_landscape(name: str, gradient: str | None = None) -> Landscape:
    """Return the record of a built-in landscape, or of a user's own by "package.module:name".

    That is a class decorated with `fastgd.problems.landscape`, or a function `f(x)` of a point whose coordinates are
    x[0], x[1], ...; it is evaluated at many points at once, so it is written with arithmetic and NumPy's element-wise
    functions, without branches on values. A user's module is looked for where Python looks, the current folder
    included.

    Parameters
    ----------
    name : str
        The name.
    gradient : str, optional
        "package.module:name" of a function `df(x, g)` that fills g with the gradient of a user's function. Without it,
        the gradient is taken by differences.

    Raises
    ------
    InputError
        There is no such landscape, module or attribute, it is not a landscape, or its gradient is not its value's.
    """
    if ":" not in name:
        if gradient is not None:
            raise InputError(f"landscape {name!r} has a gradient; gradient = {gradient!r} goes with functions of yours")
        return LANDSCAPES.find(name)
    found = find_attribute("landscape", name)
    record = getattr(found, "landscape", None)
    if not isinstance(record, Landscape):
        df = None if gradient is None else _function("gradient", gradient, find_attribute("gradient", gradient))
        record = _of_function(name, _function("landscape", name, found), gradient or "", df)
    elif gradient is not None:
        raise InputError(f"landscape {name!r} is a class: write its gradient there instead of {gradient!r}")
    return _checked(record, gradient or f"{name}.gradient")


def _reduced(record: Landscape) -> tuple[Any, ...]:
    names = (record.name, record.gradient_name or None)
    return find_same, (find_landscape, names, record.source if record.foreign else "")


# Landscapes hold functions: they are pickled by the names by which another process finds or imports them.
copyreg.pickle(Landscape, _reduced)


def _function(kind: str, name: str, found: Any) -> FunctionType:
    found = getattr(found, "py_func", found)  # a function that the user compiled is compiled anew, with the kernel
    if not isinstance(found, FunctionType):
        raise InputError(
            f"{kind} {name!r} is neither a function nor a NamedTuple decorated with @landscape"
            if kind == "landscape"
            else f"{kind} {name!r} is not a function"
        )
    takes = ("x", "g") if kind == "gradient" else ("x",)
    try:
        signature(found).bind(*takes)
    except TypeError:
        fills = " that fills g" if kind == "gradient" else ""
        text = f"must be a function of ({', '.join(takes)}){fills}; it is one of {signature(found)}"
        raise InputError(f"{kind} {name!r} {text}") from None
    return found


@cache
def _of_function(name: str, f: FunctionType, gradient: str, df: FunctionType | None) -> Landscape:
    def value(p: Any, x: Any) -> Any:
        return f(x)

    def of_value(p: Any, x: Any, g: Any) -> None:
        df(x, g)  # type: ignore[misc]

    return Landscape(
        name=name,
        cls=NoParameters,
        module=f.__module__,
        value=value,
        gradient=differences(value, "float64") if df is None else of_value,
        gradient_at=None,
        dimension=(1, MOST_DIMENSIONS),
        domain=((-5.0, 5.0),),
        customary_start=(-2.5,),
        parameters={},
        annotations={},
        reference="",
        difference=df is None,
        about=(f.__doc__ or "").strip().partition("\n")[0],
        gradient_name=gradient,
    )


@cache
def _checked(record: Landscape, gradient: str) -> Landscape:
    """Return the record with the dimensions that it can have; InputError where its gradient is not its value's."""
    _check_kernels(record)
    dimensions = [d for d, _ in zip(_evaluable(record), range(_DIMENSIONS), strict=False)]
    if not dimensions:
        raise InputError(f"landscape {record.name!r} cannot be evaluated in any dimension up to {record.dimension[1]}")
    for d in dimensions if not record.difference else ():
        if not _agrees(record, _some_points(record, d)):
            raise InputError(
                f"gradient {gradient!r} is not that of {record.name!r}: "
                f"it differs from differences of the value by more than {_TOLERANCE:g} of its size in {d} dimensions"
            )
    return replace(record, dimension=(dimensions[0], record.dimension[1]))


def _check_kernels(record: Landscape) -> None:
    """Raise InputError where a landscape's functions do what kernels cannot."""
    what = f"landscape {record.name!r}"
    functions = (record.value, *(() if record.difference else (record.gradient, record.gradient_at)))
    check_syntax(what, functions)
    if has_compiled(functions):
        return
    seen = 0
    for d in range(record.dimension[0], record.dimension[1] + 1):
        try:
            _check_at(what, record, d)
        except IndexError:
            continue
        seen += 1
        if seen == _DIMENSIONS:
            return


def _check_at(what: str, record: Landscape, d: int) -> None:
    p = dry_call(what, record.instance)
    if hasattr(record.cls, "minima"):
        dry_call(what, record.cls.minima, p, d)
    found = dry_call(what, record.value, p, Point(d))
    if not isinstance(found, Lane) or isinstance(found, Condition):
        raise InputError(f"{what}: returns no value of the point, but a {type(found).__name__}")
    if not record.difference:
        dry_call(what, record.gradient, p, Point(d), Point(d))
    if record.gradient_at is not None:
        for t in (1, 2, 3):
            dry_call(what, record.gradient_at, p, Point(d), t, Point(d))


def _some_points(record: Landscape, d: int) -> Array:
    low, high = record.box(d)[:, :, None].swapaxes(0, 1)
    points: Array = low + np.random.default_rng(d).random((d, _POINTS)) * (high - low)
    return points


def _evaluable(record: Landscape) -> Iterator[int]:
    """Yield the dimensions in which value and gradient can be computed: a function of x[0] and x[1] needs two."""
    p = record.instance()
    for d in range(record.dimension[0], record.dimension[1] + 1):
        points = _some_points(record, d)
        try:
            shape = np.shape(record.values(p, points))
            record.gradients(p, points)
        except IndexError:
            continue
        except Exception as error:  # the user's function may raise anything
            text = f"landscape {record.name!r} cannot be evaluated for x of shape {points.shape}, many points at once"
            raise InputError(f"{text}: {error}") from error
        if shape != (_POINTS,):
            raise InputError(f"landscape {record.name!r} gives values of shape {shape} for x of shape {points.shape}")
        yield d


def _agrees(record: Landscape, X: Array) -> bool:
    """Whether the gradient is that of differences, where both are finite."""
    p, by_differences = record.instance(), np.empty_like(X)
    found = np.zeros_like(X)
    with np.errstate(all="ignore"):
        record.gradient(p, X.copy(), found)
        differences(record.value, "float64")(p, X.copy(), by_differences)
        size = np.maximum(np.linalg.norm(by_differences, axis=0), np.linalg.norm(found, axis=0))
        error = np.linalg.norm(found - by_differences, axis=0)
        allowed = _TOLERANCE * size + _ROUNDING * np.abs(record.values(p, X))
    return bool(np.all((error <= allowed) | ~np.isfinite(error)))
