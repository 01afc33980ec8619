"""Losses by name: built-in ones, and users' functions."""

import copyreg
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from types import FunctionType
from typing import Any, TypeVar, get_args

import numpy as np

from fastgd.common.errors import InputError
from fastgd.problems.losses import CLASS_LOSSES, LOSSES, MEASURES, MISSES, Loss, Targets, of_weighted_rows, with_outputs
from fastgd.user_code.checks import check_syntax, dry_call, has_compiled, line_of
from fastgd.user_code.imports import find_attribute, import_name
from fastgd.user_code.kernel_values import Condition, Lane
from fastgd.user_code.sources import find_same, modules_of, source_of

F = TypeVar("F", bound=FunctionType)

_TOLERANCE = 1e-4  # relative and absolute, between a derivative and finite differences
_TARGETS = {"binary": (0.0, 1.0), "unit": (0.0, 0.3, 1.0), "real": (-2.5, 0.0, 1.3), "count": (0.0, 1.0, 4.0)}


def loss(*, targets: Targets, derivative: Callable[[Any, Any], Any]) -> Callable[[F], F]:
    """Make a function `value(z, y)` of a margin and a target a loss, which a study names as "package.module:name".

    Both functions are written with arithmetic and NumPy's element-wise functions, without branches on values
    (`np.where` instead), and should be right for any finite margin: kernels call them on vectors of lanes.

    Parameters
    ----------
    targets : {"binary", "unit", "real", "count"}
        What y may be: 0 and 1; numbers from 0 to 1; any finite number; numbers >= 0.
    derivative : callable
        `derivative(z, y)`, that of the value by z. It is compared with differences when a study names the loss.

    Raises
    ------
    InputError
        There are no such targets.
    """
    if targets not in get_args(Targets):
        raise InputError(f"loss: targets = {targets!r}; valid: {', '.join(get_args(Targets))}")

    def register(function: F) -> F:
        name = import_name(function)
        summary = (function.__doc__ or "").strip().partition("\n")[0]
        record = Loss(name, summary, targets, function, derivative)
        modules_of(function.__module__, (derivative,))  # keeps the text that was imported
        function.loss = record  # type: ignore[attr-defined]
        return function

    return register


def find_loss(name: str) -> Loss:
    """Return the record of a built-in loss, or of a user's own by "package.module:name".

    A user's module is looked for where Python looks, the current folder included.

    Raises
    ------
    InputError
        There is no such loss, module or function, it is not decorated with `fastgd.problems.loss`, its functions do
        what kernels cannot, or its derivative is not that of its value.
    """
    if ":" not in name:
        return CLASS_LOSSES[name] if name in CLASS_LOSSES else LOSSES.find(name)
    record = getattr(find_attribute("loss", name), "loss", None)
    if not isinstance(record, Loss):
        attribute = name.partition(":")[2]
        raise InputError(f"loss {name!r}: decorate the function {attribute!r} with @fastgd.problems.loss(...)")
    return _checked(record, name)


def _find_measure(name: str, outputs: int, weighted: bool) -> Loss:
    known = (*MEASURES, *CLASS_LOSSES.values(), *MISSES.values())
    return of_weighted_rows(with_outputs(next(loss for loss in known if loss.name == name), outputs), weighted)


def _find_user_loss(name: str, outputs: int, weighted: bool) -> Loss:
    return of_weighted_rows(with_outputs(find_loss(name), outputs), weighted)


# Losses hold functions: they are pickled by the name by which another process finds or imports them.
copyreg.pickle(
    Loss,
    lambda loss: (
        find_same,
        (_find_user_loss if ":" in loss.name else _find_measure, (loss.name, loss.outputs, loss.weighted), loss.source),
    ),
)


@cache
def _checked(record: Loss, name: str) -> Loss:
    """Return the record under the name that finds it, with the hash of its source."""
    what, functions = f"loss {name!r}", (record.value, record.derivative)
    check_syntax(what, functions)
    for function in functions if not has_compiled(functions) else ():
        found = dry_call(what, function, Lane(), Lane())
        if not isinstance(found, Lane) or isinstance(found, Condition):
            raise InputError(f"{what}: {line_of(function)}: returns no value of z and y, but a {type(found).__name__}")
    _check_derivative(what, record)
    return replace(record, name=name, source=source_of(record.value.__module__, functions))


def _check_derivative(what: str, record: Loss) -> None:
    z = np.random.default_rng(0).uniform(-3, 3, 40)  # no whole or round numbers, where losses have their kinks
    for y in _TARGETS[record.targets]:
        target, step = np.full_like(z, y), 1e-6
        expected = dry_call(what, record.value, z + step, target) - dry_call(what, record.value, z - step, target)
        expected, found = expected / (2 * step), dry_call(what, record.derivative, z, target)
        if not np.allclose(found, expected, rtol=_TOLERANCE, atol=_TOLERANCE):
            at = int(np.argmax(np.abs(found - expected)))
            raise InputError(
                f"{what}: {line_of(record.derivative)}: is not the derivative of the value: at z = {z[at]:.4g}, "
                f"y = {y:g} it is {np.broadcast_to(found, z.shape)[at]:.6g}, and differences give {expected[at]:.6g}"
            )
