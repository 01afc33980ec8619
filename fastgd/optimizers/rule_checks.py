"""Checks of a user's own rule before it is compiled: one message names the function, its line and what is wrong."""

import itertools
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from fastgd.common.errors import InputError
from fastgd.user_code.checks import check_syntax, dry_call, has_compiled, line_of
from fastgd.user_code.kernel_values import Condition, Lane

_IN_KERNELS = ("prepare", "rule", "measure", "conclude", "readout", "coast", "lift", "lower")
_STEPS = (1, 2, 3, 10)  # for which the functions are called


class _Check:
    """Calls the functions of one rule, with one set of choices, on stand-ins for a kernel's values."""

    def __init__(self, record: Any, choices: dict[str, Any]) -> None:
        self.what, self.record, self.cls = f"optimizer {record.name!r}", record, record.cls
        self.h = record.cls(**{name: Lane() for name in record.hyper}, **choices)
        self.slots = _lanes(len(record.slots))
        self.quantities: int | None = None

    def step(self, t: int) -> None:
        memory = _lanes(len(self.record.memory))
        c: tuple[Any, ...] = ()
        if hasattr(self.cls, "prepare"):
            if memory:
                c, _ = self._pair(self.cls.prepare, (self.h, t, memory), len(memory), "memory")
            else:
                c = self._tuple(self.cls.prepare, self.call(self.cls.prepare, self.h, t), "quantities")
        if hasattr(self.cls, "measure"):
            terms = self.call(self.cls.measure, self.h, c, Lane(), Lane(), self.slots)
            sums = _lanes(len(self._tuple(self.cls.measure, terms, "terms")))
            c, _ = self._pair(self.cls.conclude, (self.h, c, t, memory, sums, Lane()), len(memory), "memory")
        if self.quantities not in (None, len(c)):
            last = self.cls.conclude if hasattr(self.cls, "measure") else self.cls.prepare
            self.fail(last, f"returns {len(c)} quantities at step {t} and {self.quantities} at step 1")
        self.quantities = len(c)
        self._pair(self.cls.rule, (self.h, c, Lane(), Lane(), self.slots), len(self.slots), "slots", first="parameter")
        if hasattr(self.cls, "readout"):
            found = self.call(self.cls.readout, self.h, Lane(), self.slots)
            self._value(self.cls.readout, found, "the iterate")
        self._coast(c)

    def _coast(self, c: tuple[Any, ...]) -> None:
        """Check `coast`, `lift` and `lower`; with quotients, `coast` takes terms that are not made here."""
        if hasattr(self.cls, "lift"):
            y = self._tuple(self.cls.lift, self.call(self.cls.lift, self.h, Lane(), self.slots), "numbers")
            if hasattr(self.cls, "lower"):
                found = self.call(self.cls.lower, self.h, self.slots, y)
                self._tuple(self.cls.lower, found, "slots", len(self.slots))
        elif self.record.quotients or not hasattr(self.cls, "coast"):
            return
        else:
            y = self.slots
        if hasattr(self.cls, "coast"):
            self._pair(self.cls.coast, (self.h, c, Lane(), y), len(y), "numbers", first="parameter")

    def call(self, function: Callable[..., Any], *values: Any) -> Any:
        return dry_call(self.what, function, *values)

    def fail(self, function: Callable[..., Any], text: str) -> None:
        raise InputError(f"{self.what}: {line_of(function)}: {text}")

    def _pair(
        self, function: Callable[..., Any], given: tuple[Any, ...], count: int, kind: str, first: str = "quantities"
    ) -> tuple[Any, tuple[Any, ...]]:
        found = self.call(function, *given)
        if not isinstance(found, tuple) or len(found) != 2:
            self.fail(function, f"returns {_described(found)}; it must return ({first}, {kind}), two things")
        if first == "parameter":
            self._value(function, found[0], "the parameter")
        else:
            self._tuple(function, found[0], first)
        return found[0], self._tuple(function, found[1], kind, count)

    def _tuple(self, function: Callable[..., Any], found: Any, kind: str, count: int | None = None) -> tuple[Any, ...]:
        if not isinstance(found, tuple):
            self.fail(function, f"returns {_described(found)} where a tuple of {kind} must stand; write (x,) for one")
        if count is not None and len(found) != count:
            names = self.record.memory if kind == "memory" else self.record.slots if kind == "slots" else ()
            named = f" ({', '.join(names)})" if names else ""
            self.fail(function, f"returns {len(found)} {kind} where there are {count}{named}")
        things: tuple[Any, ...] = found
        for value in things:
            self._value(function, value, f"one of the {kind}")
        return things

    def _value(self, function: Callable[..., Any], found: Any, name: str) -> None:
        if not isinstance(found, Lane) or isinstance(found, Condition):
            made = "; make a value of all lanes of it, as in h.lr * 0 + 1" if isinstance(found, (int, float)) else ""
            self.fail(function, f"returns {_described(found)} for {name}{made}")


def _lanes(count: int) -> tuple[Lane, ...]:
    return tuple(Lane() for _ in range(count))


def _described(found: Any) -> str:
    if isinstance(found, Condition):
        return "the outcome of a comparison"
    if isinstance(found, Lane):
        return "one value"
    if isinstance(found, tuple):
        return f"{len(found)} things"
    return f"the number {found}" if isinstance(found, (int, float)) else f"a {type(found).__name__}"


@cache
def _checked(cls: type) -> None:
    record: Any = cls.optimizer  # type: ignore[attr-defined]
    what = f"optimizer {record.name!r}"
    if not hasattr(cls, "rule"):
        raise InputError(f"{what} has no function rule(h, c, w, g, s) that returns (w, s)")
    if hasattr(cls, "measure") != hasattr(cls, "conclude"):
        raise InputError(f"{what}: measure and conclude go together, and it has one of them")
    functions = [getattr(cls, name) for name in _IN_KERNELS if hasattr(cls, name)]
    check_syntax(what, functions)
    if not has_compiled(functions):
        for choices in itertools.product(*record.options.values()):
            check = _Check(record, dict(zip(record.options, choices, strict=True)))
            for t in _STEPS:
                check.step(t)
    _check_outside(what, record)


def _check_outside(what: str, record: Any) -> None:
    """Check the functions that are called outside of kernels, on arrays of two trials and three parameters."""
    values = {name: np.full(2, 0.5 if value is None else value) for name, value in record.hyper.items()}
    h = record.cls(**values, **{name: options[0] for name, options in record.options.items()})
    if hasattr(record.cls, "effective"):
        memory = tuple(np.full(2, value) for value in record.memory.values())
        dry_call(what, record.cls.effective, h, 1, memory, (np.ones((3, 2)),) * len(record.slots))
    if not hasattr(record.cls, "start"):
        return
    start = record.cls.start
    found = dry_call(what, start, h, np.ones((3, 2)))
    if not isinstance(found, tuple) or len(found) != len(record.slots):
        count, names = len(record.slots), ", ".join(record.slots)
        raise InputError(f"{what}: {line_of(start)}: returns {_described(found)}; there are {count} slots ({names})")


def check_rule(record: Any) -> None:
    """Raise InputError where the functions of a rule of a user's own are not what kernels can take; once a class."""
    if record.foreign:
        _checked(record.cls)
