"""The functions of a rule in one form, with or without options around it.

They work on numbers, on arrays and in kernels, where Numba compiles each function that `jitable` marks.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

from numba.extending import register_jitable

from fastgd.optimizers.options import Option
from fastgd.optimizers.record import Optimizer
from fastgd.user_code.sources import functions_of, reached

# Small, and called where every instruction counts. Cached, since each call for a function would add an overload.
jitable = cache(register_jitable(forceinline=True))


class RuleFunctions(NamedTuple):
    """The functions of a rule; `h` are its hyper-parameters, `m` its memory, `c` the quantities of a step.

    Attributes
    ----------
    prepare : (h, t, m) -> (c, m)
    rounds : tuple of (measure, conclude)
        Each sums over all parameters: `measure(h, c, w, g, s, l2) -> terms` gives the terms of one parameter, and
        `conclude(h, c, t, m, sums, loss) -> (c, m)` the quantities from the sums, for the next round or the step.
        Where the batch's loss is needed, the last term is the penalty.
    update : (h, c, w, g, s) -> (w, s)
    readout : (h, w, s) -> w
    start : (h, w) -> s
    """

    prepare: Callable[..., Any]
    rounds: tuple[tuple[Callable[..., Any], Callable[..., Any]], ...]
    update: Callable[..., Any]
    readout: Callable[..., Any]
    start: Callable[..., Any]


def of_optimizer(optimizer: Optimizer) -> RuleFunctions:
    """Return the functions of an optimizer without options."""
    cls: Any = optimizer.cls
    for helper in reached(functions_of(cls)) if optimizer.foreign else ():  # what a user's functions call
        jitable(helper)
    rounds: tuple[tuple[Callable[..., Any], Callable[..., Any]], ...] = ()
    if hasattr(cls, "measure"):
        rounds = ((_measure(cls, optimizer.batch_loss), _conclude(cls, optimizer.batch_loss)),)
    start = getattr(cls, "start", lambda h, w: (w * 0,) * len(optimizer.slots))
    return RuleFunctions(
        _prepare(cls, bool(optimizer.memory)), rounds, cls.rule, getattr(cls, "readout", _state), start
    )


def _state(h: Any, w: Any, s: Any) -> Any:
    return w


def _prepare(cls: Any, memory: bool) -> Callable[..., Any]:
    if not hasattr(cls, "prepare"):
        return lambda h, t, m: ((), m)
    own = jitable(cls.prepare)
    return own if memory else lambda h, t, m: (own(h, t), m)


def _measure(cls: Any, batch_loss: bool) -> Callable[..., Any]:
    own = jitable(cls.measure)
    if batch_loss:
        return lambda h, c, w, g, s, l2: (*own(h, c, w, g, s), 0.5 * l2 * w * w)
    return lambda h, c, w, g, s, l2: own(h, c, w, g, s)


def _conclude(cls: Any, batch_loss: bool) -> Callable[..., Any]:
    own = jitable(cls.conclude)
    if batch_loss:
        return lambda h, c, t, m, sums, loss: own(h, c, t, m, sums[:-1], loss + sums[-1])
    return own


def with_option(inner: RuleFunctions, option: Option, slots: int, memory: int, depth: int) -> RuleFunctions:
    """Return the functions of a rule with an option around it, whose quantities come first.

    Parameters
    ----------
    inner : RuleFunctions
        Of the rule.
    option : Option
    slots, memory : int
        How many slots and numbers the rule keeps: those of the option come after them.
    depth : int
        The number of options, this one included.
    """
    of, own = option.cls, _own_quantities(option)
    innermost = jitable(_innermost(depth))
    prepare_inner, update_inner, readout_inner = map(jitable, (inner.prepare, inner.update, inner.readout))
    prepare_own, gradient, after, readout_own = (jitable(getattr(of, name, absent)) for name, absent in _ABSENT.items())

    def prepare(h, t, m):
        c, kept = prepare_inner(h[0], t, m[:memory])
        mine, own_kept = prepare_own(h[1], t, m[memory:])
        return mine + c, kept + own_kept

    def update(h, c, w, g, s):
        w, kept = update_inner(h[0], c[own:], w, gradient(h[1], c[:own], g), s[:slots])
        w, mine = after(h[1], innermost(h), c[:own], w, readout_inner(h[0], w, kept), s[slots:])
        return w, kept + mine

    def readout(h, w, s):
        return readout_own(h[1], readout_inner(h[0], w, s[:slots]), s[slots:])

    def start(h, w):
        kept = inner.start(h[0], w)
        begin = getattr(of, "begin", lambda o, x: ())
        return (*kept, *begin(h[1], inner.readout(h[0], w, kept)))

    rounds = tuple(_inner_round(*functions, gradient, own, slots, memory) for functions in inner.rounds)
    if hasattr(of, "measure"):
        rounds = (_own_round(of), *rounds)
    return RuleFunctions(prepare, rounds, update, readout, start)


# The functions that an option does not define, as if it did nothing there.
_ABSENT: dict[str, Callable[..., Any]] = {
    "prepare": lambda o, t, m: ((), m),
    "gradient": lambda o, c, g: g,
    "after": lambda o, h, c, w, x, s: (w, s),
    "readout": lambda o, x, s: x,
}


def _own_quantities(option: Option) -> int:
    """The number of quantities that an option adds to a step."""
    of: Any = option.cls
    o = of(*(0.5 if value is None else value for value in option.hyper.values()))
    if hasattr(of, "measure"):
        return len(of.conclude(o, of.measure(o, 0.5)))
    return len(of.prepare(o, 1, tuple(option.memory.values()))[0]) if hasattr(of, "prepare") else 0


def _innermost(depth: int) -> Callable[..., Any]:
    """Return the function that takes the optimizer's own `h` out of that of a rule with so many options."""
    if depth == 0:
        return lambda h: h
    inner = jitable(_innermost(depth - 1))
    return lambda h: inner(h[0])


def _own_round(of: Any) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return the round in which an option sums over the gradient, before its rule's own."""
    own_measure, own_conclude = jitable(of.measure), jitable(of.conclude)

    def measure(h, c, w, g, s, l2):
        return own_measure(h[1], g)

    def conclude(h, c, t, m, sums, loss):
        return own_conclude(h[1], sums) + c, m

    return measure, conclude


def _inner_round(
    inner_measure: Any, inner_conclude: Any, gradient: Any, own: int, slots: int, memory: int
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return a round of the rule inside, which sees its own quantities and the option's gradient."""
    inner_measure, inner_conclude = jitable(inner_measure), jitable(inner_conclude)

    def measure(h, c, w, g, s, l2):
        return inner_measure(h[0], c[own:], w, gradient(h[1], c[:own], g), s[:slots], l2)

    def conclude(h, c, t, m, sums, loss):
        concluded, kept = inner_conclude(h[0], c[own:], t, m[:memory], sums, loss)
        return c[:own] + concluded, kept + m[memory:]

    return measure, conclude
