"""How many operations a rule's step, a loss or a landscape's gradient takes: each is called with numbers that count."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from typing import Any, TypeAlias

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from fastgd.optimizers.rule import Rule
from fastgd.problems import LOSSES, Landscape, Loss, with_outputs
from fastgd.problems.activations import Activation

# How often each kind of operation is done: "simple" (sums, products, comparisons), "division", "root", "function".
Operations: TypeAlias = Counter[str]

_KINDS = {"divide": "division", "reciprocal": "division", "sqrt": "root", "cbrt": "function", "power": "function"}
_FUNCTIONS = ("exp", "log", "sin", "cos", "tan", "arc", "sinh", "cosh", "erf")
MOST_TRACED_COORDINATES = 16  # of a landscape; more of them take operations in proportion


class _Counting(NDArrayOperatorsMixin):
    """Stands for a number, and counts the operations that it is part of."""

    def __init__(self, counts: Operations) -> None:
        self._counts = counts

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        name = ufunc.__name__
        if name == "power" and isinstance(inputs[1], int):  # by multiplications
            self._counts["simple"] += max(1, abs(inputs[1]).bit_length() - 1 + abs(inputs[1]).bit_count() - 1)
        elif name.startswith(_FUNCTIONS):
            self._counts["function"] += 1
        else:
            self._counts[_KINDS.get(name, "simple")] += 1
        return _Counting(self._counts)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        self._counts["simple"] += 1
        return _Counting(self._counts)


def of_rule(rule: Rule) -> Operations:
    """Return the operations of a step on one parameter, sums over the parameters included."""
    functions, h = rule.functions, rule.example()
    counts: Operations = Counter()
    w, g, *s = (_Counting(counts) for _ in range(2 + rule.slots))
    try:
        slots = functions.start(h, 0.5)
        c, m = functions.prepare(h, 1, rule.memory)
        for measure, conclude in functions.rounds:
            measure(h, c, w, g, tuple(s), 0.5)
            c, m = conclude(h, c, 1, m, measure(h, c, 0.5, 0.5, slots, 0.5), 0.5)
        functions.update(h, c, w, g, tuple(s))
    except Exception:  # a user's function may do what kernels can and these numbers cannot
        return Counter(simple=6 + 4 * rule.slots, division=1, root=1)
    return counts


def of_preparing(rule: Rule, t: int) -> int:
    """Return how many operations prepare step t of a lane, however many parameters it has; powers grow with t."""
    counts: Operations = Counter()
    h = rule.example()
    counted = [_Counting(counts) if isinstance(value, float) else value for value in h]
    with suppress(Exception):  # as above; few rules prepare anything that takes long
        rule.functions.prepare(type(h)(*counted), t, rule.memory)
    return counts.total()


def of_loss(loss: Loss, derivative: bool = False) -> Operations:
    """Return the operations of a loss, or of its derivative, for one row; a logarithm that rows share is left out."""
    if loss.of_classes:  # of each class a share
        own = of_loss(LOSSES["logistic"], derivative)
        return Counter({kind: number * loss.outputs for kind, number in own.items()})
    if loss.outputs > 1:
        own = of_loss(with_outputs(loss, 1), derivative)
        return Counter({kind: number * loss.outputs for kind, number in own.items()})
    counts: Operations = Counter()
    value: Any = loss.log_terms if loss.shares_logarithms else loss.value
    (loss.derivative if derivative else value)(_Counting(counts), _Counting(counts))
    return counts


def of_activation(activation: Activation, derivative: bool = False) -> Operations:
    """Return the operations of a hidden unit for one row, or of its derivative."""
    counts: Operations = Counter()
    (activation.derivative if derivative else activation.value)(_Counting(counts))
    return counts


def of_landscape(landscape: Landscape, p: Any, d: int, value: bool = False) -> Operations:
    """Return the operations of a gradient at one point of d coordinates, and of the value where that is asked for."""
    few = max(landscape.dimension[0], min(d, MOST_TRACED_COORDINATES))
    counts: Operations = Counter()
    x: Any = [_Counting(counts) for _ in range(few)]
    try:
        if landscape.gradient_at is None:
            landscape.gradient_for(np.float64)(p, x, [None] * few)
        else:
            landscape.gradient_at(p, x, 1, [None] * few)
        if value:
            landscape.value(p, x)
    except Exception:  # a user's function may do what kernels can and these numbers cannot
        counts = Counter(simple=20 * few, function=few)
    return Counter({kind: round(number * d / few) for kind, number in counts.items()})
