"""Properties of a rule, proven by calling its functions on affine forms in place of numbers.

A proof holds for every step, every state and every value that it takes as unknown. What is not proven is not relied on:
where a step is not proven to be linear, for instance, each step updates all parameters.

What a rule is able to do is proven from its text (`user_code/affine_forms.py`), instead of being declared: its
functions are called with symbols, affine forms `const + sum_i a_i x_i` with numbers or unknown coefficients, and what
they return is read off. Whether a step is `lr` times a direction (`Rule.linear_in_rate`), goes on from where the
parameter is, or is linear where there is no gradient (`coasting.py`) then holds for every step, and for every value of
the study; branches on the step's number are followed both ways. At first these were probed by steps on numbers, at some
steps and points, and a rule that does something else in every seventh step passed. What cannot be proven is not done:
all parameters are updated, or an option is refused. The tests compare what is proven with steps on numbers, for every
rule of the registry.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from fastgd.user_code.affine_forms import Traced, Unknown, Unproven, every_way, is_one

Row = dict[int, Any]


def linear_map(step: Callable[..., Any], h: Any, coefficients: int, l2: Any, size: int) -> list[Row] | None:
    """Return the matrix of a step `step(h, c, l2, x) -> x` of a state of this size, or None: it is not linear.

    Parameters
    ----------
    step : callable
    h : NamedTuple
        Hyper-parameters: numbers that stay as they are, and `Traced` for those that change.
    coefficients : int
        The number of quantities in c, of which nothing is known.
    l2 : float or ndarray
    size : int

    Returns
    -------
    list of dict
        Of each row the entries that are not proven to be zero, by their column.
    """
    x = tuple(Traced.symbol(i) for i in range(size))
    values = _proven(lambda: step(h, _unknown(coefficients), l2, x))
    rows = None if values is None else [_form(value) for value in values]
    if rows is None or any(row.parts is None or not row.is_homogeneous for row in rows):
        return None
    return [dict(row.parts or {}) for row in rows]


def linear_in_rate(rule: Any, step: Callable[..., Any], size: int, *, moving: bool = True) -> bool:
    """Whether a step `step(h, c, x) -> x` of a state adds `lr` times a direction to x[0], and uses `lr` nowhere else.

    moving : bool
        Whether it must move x[0]; otherwise x[0] may also stay as it is.
    """
    if "lr" not in rule.fields:
        return False
    x = _unknown(size)
    values = dict(zip(rule.fields, _unknown(len(rule.fields)), strict=True))
    h = rule.instance(values | {"lr": Traced.symbol("lr")})

    def state_after(t: Any) -> tuple[Any, ...]:
        c, kept = _quantities(rule, h, t, x)
        return (*step(h, c, x), *kept)

    def holds(after: tuple[Any, ...]) -> bool:
        first, *others = map(_form, after)
        added = first.parts is not None and ("lr" in first.parts or not moving) and first.const is x[0].const
        return added and all(other.parts == {} for other in others)

    return bool(_proven(lambda: all(holds(after) for after in every_way(state_after))))


def _quantities(rule: Any, h: Any, t: Any, x: tuple[Any, ...]) -> tuple[Any, Any]:
    """Return the quantities of step t and the memory after it, for unknown memory and unknown sums of terms."""
    c, kept = rule.functions.prepare(h, t, _unknown(len(rule.memory)))
    for measure, conclude in rule.functions.rounds:
        terms = measure(h, c, x[0], Traced(), x[1:], Traced())
        if any(_form(term).parts != {} for term in terms):
            raise Unproven("a sum that depends on the rate")
        c, kept = conclude(h, c, t, kept, _unknown(len(terms)), Traced())
    return c, kept


def adds_gradient(rule: Any, values: Mapping[str, Any], *, resting: bool) -> bool:
    """Whether a step makes `a w + m g` of a parameter w and its gradient g, and keeps nothing of them.

    values : mapping of str to Any
        Every hyper-parameter: a number, an array, or `Traced` where it changes.
    resting : bool
        Whether a must be 1: a parameter without a gradient stays where it is.
    """
    if rule.slots or rule.functions.rounds or rule.has_readout:
        return False

    def step(h: Any, c: Any, _l2: Any, x: Any) -> Any:
        return rule.functions.update(h, c, x[0], x[1], ())[0], x[1]

    rows = linear_map(step, rule.instance(values), rule.coefficients, 0.0, 2)
    return rows is not None and (not resting or is_one(rows[0].get(0, 0.0)))


def share_of_move(rule: Any, values: Mapping[str, Any]) -> Any:
    """Return the share of a move of the parameter that a step without decay keeps, or None: it is not proven.

    values : mapping of str to Any
        Every hyper-parameter: a number, an array, or `Traced` where it changes. The share is a number or an array, too.
    """
    h = rule.instance({**values, **dict.fromkeys(rule.penalties, 0.0)})
    c, s = _unknown(rule.coefficients), _unknown(rule.slots)
    after = _proven(lambda: _form(rule.functions.update(h, c, Traced.symbol("w"), Traced(), s)[0]))
    share = None if after is None or after.parts is None else after.parts.get("w", 0.0)
    return None if isinstance(share, Unknown) else share


def _unknown(count: int) -> tuple[Traced, ...]:
    return tuple(Traced() for _ in range(count))


def _form(value: Any) -> Traced:
    return value if isinstance(value, Traced) else Traced(value)


def _proven(run: Callable[[], Any]) -> Any:
    """Return what `run` returns; None where a rule does something that a proof cannot follow."""
    try:
        with np.errstate(all="ignore"):
            return run()
    except Exception:  # a user's function may do anything with a symbol
        return None
