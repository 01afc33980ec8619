"""Lazy updates: how a parameter coasts through steps in which its gradient is zero.

On sparse data most parameters have no gradient in most steps, and a rule may move them all the same, by momentum, decay
or a penalty. Where such a step is a linear map of the parameter and its slots, many steps are one product of small
matrices, and a parameter is brought up to date when it is needed again.

On sparse rows a step should cost what the batch's entries cost. It touches a few parameters; but momentum, decay and
averages move the others too: they coast. Common practice leaves them where they are, and calls the result by the rule's
name. Here it is `sparse = "masked"`, there to be measured; the default is exact.

A step without a gradient is a linear map of a parameter and its slots for more rules than one would think. This module
proves it, and where the matrix has zeros and ones, by calling the rule's own functions with symbols for the state, for
the lanes' own values: what depends on the step is unknown, and so are scheduled values. So SGD with a penalty, momentum
with one, Nesterov in both forms, averaged and schedule-free descent, LaProp, look-ahead around any of them, SVRG and
SAGA (with their constant gradient as one more number of the state) coast without a line of code of their own. Where
nothing moves (AdaGrad, SGD without a penalty), nothing is done.

Where the step is not linear, a rule may say in which numbers it is (`lift`, `coast`, `lower`). Lion's step is a sign
that lasts, MADGRAD's a point that stays, FTRL's parameter does not move while its sums follow the rate. Adam's `m /
(sqrt(v) + eps)` is a series of terms that each fall by a factor of their own; the sums of these factors over the steps
are linear, are the same for all parameters, and the kernel makes of six of them what a parameter needs, by powers
around their mean: one formula for gradients of any size beside eps (`adam_series.py`, `engine/coast/matrices.py`). A
first form summed the terms as they stand, which serves only while eps is small; the residuals of a good fit are soon so
small that it was not. Where a state is unknown it is NaN, which the kernel sees: it then takes the steps one by one
with the rule itself, until they have no more say. AdaBelief and Adan, whose roots have no series, always do. So every
rule that needs no sums over all parameters is exact; the others (LAMB, LARS, D-Adaptation), and most with `l2 > 0`,
update all parameters in every step. The plan says so, and the column `sparse`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fastgd.common.errors import InputError
from fastgd.common.pickling import PickledByFields
from fastgd.common.properties import cached_property
from fastgd.optimizers.adam_series import TERMS, terms_of
from fastgd.optimizers.proofs import linear_in_rate, linear_map
from fastgd.optimizers.rule import Rule
from fastgd.optimizers.rule_functions import jitable
from fastgd.user_code.affine_forms import Traced, is_one

Array = npt.NDArray[Any]
Entry = tuple[int, int]

# Without a gradient a parameter does not change; or it must be updated in every step.
UNCHANGED, EVERY_STEP = "rest", "step"


@dataclass(frozen=True)
class Coast(PickledByFields):
    """How parameters coast under a rule: what a kernel is specialised by.

    The state x is the parameter, then what the rule's `lift` makes of its slots (by default the slots themselves), then
    the constant gradient that an estimator adds. A step without another gradient is `x = M x`.

    Attributes
    ----------
    rule : Rule
    entries : tuple of (int, int)
        Where M, or a product of such matrices, may have numbers that differ from those of the identity.
    ones : tuple of int
        Where its diagonal is always 1; off the diagonal, M is zero where it has no entry.
    drift : bool
        Whether an estimator's gradient is part of the state.
    shared : bool
        Whether all lanes have the same M but for their rates: it is then kept once, for a rate of 1.
    horizon : int
        Where steps are taken one by one: how many, until nothing but decay is left in any lane.
    steady : bool
        Whether each step has the same M: nothing is scheduled, and the rule has no quantities of a step.
    framed : bool
        Whether what is kept of a parameter is what it was, or would have been, when the window of steps began: see
        `stays_in_frame`.
    """

    rule: Rule
    entries: tuple[Entry, ...]
    ones: tuple[int, ...]
    drift: bool
    shared: bool
    horizon: int
    steady: bool = False
    framed: bool = False

    def __repr__(self) -> str:
        """The identity of the machine code."""
        kind = f"{self.drift} {self.shared} {self.steady} {self.framed}"
        return f"{self.rule!r} coasting {self.entries} {self.ones} {kind}"

    def __getattr__(self, name: str) -> Any:
        """Kernels ask for attributes of a rule: they are those of `rule`."""
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.rule, name)

    @property
    def size(self) -> int:
        """The length of the state x."""
        return size_of(self.rule, self.drift)

    @property
    def replays(self) -> bool:
        """Whether the state may be unknown (NaN): then the steps are taken one by one."""
        return lifts_slots(self.rule)

    @property
    def series_starts(self) -> tuple[int, ...]:
        """At which places of the state the series of quotients begin."""
        count = len(self.rule.optimizer.quotients) if declares_coast(self.rule) else 0
        return tuple(1 + self.rule.slots + TERMS * index for index in range(count))

    @cached_property
    def step(self) -> Callable[..., Any]:
        """`step(h, c, l2, x) -> x`, without a gradient but that of the penalty and of the estimator."""
        return step_of(self.rule, self.drift)


def declares_coast(rule: Rule) -> bool:
    """Whether a rule says itself how its parameters coast."""
    return not rule.options and hasattr(rule.optimizer.cls, "coast")


def lifts_slots(rule: Rule) -> bool:
    """Whether a rule that says how its parameters coast makes the state of more than its slots."""
    return declares_coast(rule) and (hasattr(rule.optimizer.cls, "lift") or bool(rule.optimizer.quotients))


def lift_of(rule: Rule) -> Callable[..., Any]:
    """Return `lift(h, w, s) -> y`, the state after the parameter."""
    if not lifts_slots(rule):
        return lambda h, w, s: s
    if hasattr(rule.optimizer.cls, "lift"):
        own: Callable[..., Any] = rule.optimizer.cls.lift
        return own
    known = not dict(rule.choices).get("eps_inside", False)  # the series of `sqrt(v + eps)` converges less often
    return _with_series(rule.optimizer.quotients, 1.0 if known else np.nan)


def _with_series(quotients: Sequence[tuple[int, int]], known: float) -> Callable[..., Any]:
    """Return the lift that appends the terms of each quotient to the slots; `known` is NaN to take no series."""
    (m, v), others = quotients[-1], quotients[:-1]
    before = jitable(_with_series(others, known)) if others else jitable(lambda h, w, s: s)
    return lambda h, w, s: before(h, w, s) + terms_of(s[m], s[v] * known, h.eps)


def _horizon(rule: Rule, hyper: Array) -> int:
    """Return after how many steps no lane has momentum: `horizon`, and one more for a rule that keeps gradients."""
    cls = rule.optimizer.cls
    if not declares_coast(rule) or not hasattr(cls, "horizon"):
        return 2**62
    h = rule.instance(dict(zip(rule.fields, hyper.T, strict=True)))
    return int(min(np.max(cls.horizon(h)) + 1, 2**62))


def lower_of(rule: Rule) -> Callable[..., Any]:
    """Return `lower(h, s, y) -> s`, the slots after some steps, from those before and the state."""
    if declares_coast(rule) and hasattr(rule.optimizer.cls, "lower"):
        lower: Callable[..., Any] = rule.optimizer.cls.lower
        return lower
    slots = rule.slots
    return lambda h, s, y: y[:slots]


def size_of(rule: Rule, drift: bool) -> int:
    """Return the length of the state."""
    h = rule.example()
    with np.errstate(all="ignore"):
        return 1 + len(lift_of(rule)(h, 0.5, (0.25,) * rule.slots)) + drift


def step_of(rule: Rule, drift: bool) -> Callable[..., Any]:
    """Return `step(h, c, l2, x) -> x`."""
    if declares_coast(rule):
        coast = jitable(rule.optimizer.cls.coast)  # type: ignore[attr-defined]

        def lifted(h, c, l2, x):
            w, y = coast(h, c, x[0], x[1:])
            return (w, *y)

        return lifted
    update = jitable(rule.functions.update)
    if drift:

        def drifting(h, c, l2, x):
            w, s = update(h, c, x[0], l2 * x[0] + x[-1], x[1:-1])
            return (w, *s, x[-1])

        return drifting

    def plain(h, c, l2, x):
        w, s = update(h, c, x[0], l2 * x[0], x[1:])
        return (w, *s)

    return plain


# --- the proof --------------------------------------------------------------------------------------------------------


def prove_coasting(
    rule: Rule, hyper: Array, l2: Array, *, scheduled: Sequence[str] = (), drift: bool = False, same: bool = False
) -> Coast | str:
    """Return how the parameters of some lanes coast, or UNCHANGED or EVERY_STEP.

    Parameters
    ----------
    rule : Rule
    hyper : ndarray (G, hyper)
    l2 : ndarray (G,)
    scheduled : sequence of str
        The hyper-parameters that take other values in the run.
    drift : bool
        Whether an estimator adds a constant gradient in each step.
    same : bool
        Whether all lanes have the same schedule, without feedback.
    """
    penalised = bool(np.any(l2 > 0))
    if rule.functions.rounds or (declares_coast(rule) and (penalised or drift)):
        return EVERY_STEP
    if lifts_slots(rule) and set(scheduled) - {"lr"}:
        return EVERY_STEP  # the state depends on values that change
    if declares_coast(rule) and rule.optimizer.foreign and not rule.optimizer.quotients:
        _check_declared(rule, hyper)
    size, step = size_of(rule, drift), step_of(rule, drift)
    values = dict(zip(rule.fields, hyper.T, strict=True)) | {name: Traced() for name in scheduled}
    rows = linear_map(step, rule.instance(values), rule.coefficients, l2, size)
    if rows is None:
        return EVERY_STEP
    entries, ones = _structure(rows)
    if not entries and len(ones) == size:
        return UNCHANGED
    shared = (
        same
        and not (penalised or rule.has_readout)
        and 0 in ones
        and all(k != 0 for _, k in entries)
        and linear_in_rate(rule, lambda h, c, x: step(h, c, 0.0, x), size, moving=False)
        and _same_but_rate(rule, hyper)
    )
    steady = not (scheduled or rule.coefficients)
    return Coast(rule, entries, ones, drift, shared, _horizon(rule, hyper), steady)


# How small a window's steps may make a parameter, by the size of its type: at the window's begin it was as much larger,
# and must not overflow there, be it as large as 1e26, or 1e187.
SMALLEST_SHARE = {4: 2.0**-40, 8: 2.0**-400}


def stays_in_frame(coast: Coast, hyper: Array, l2: Array, window: int, itemsize: int) -> bool:
    """Return whether parameters can be kept as what they were, or would have been, when the window of steps began.

    Where each step without a gradient multiplies a parameter by the same positive factor f, and leaves the rest as it
    is, as steps of plain descent with a penalty do, nothing has to be brought up to date: w / f^k, kept after k steps,
    does not change while w coasts. What this costs is a multiplication where w is read, and one where it is written.

    Parameters
    ----------
    coast : Coast
    hyper : ndarray (G, hyper)
    l2 : ndarray (G,)
    window : int
        Its steps.
    itemsize : int
        Of the parameters.
    """
    if not coast.steady or coast.entries != ((0, 0),) or coast.shared or coast.replays:
        return False
    h = coast.rule.instance(dict(zip(coast.rule.fields, hyper.T, strict=True)))
    factors = np.asarray(coast.step(h, (), l2, (1.0,) + (0.0,) * (coast.size - 1))[0])
    least = SMALLEST_SHARE[itemsize] ** (1 / window)
    return bool(np.all((factors >= least) & (factors <= 1)))


def _same_but_rate(rule: Rule, hyper: Array) -> bool:
    others = np.delete(hyper, list(rule.fields).index("lr"), axis=1)
    return bool((others == others[0]).all())


def _check_declared(rule: Rule, hyper: Array) -> None:
    """Refuse a user's rule whose `coast` is not its `rule` without a gradient: both are called, and compared.

    Built-in rules are compared with dense data by the tests.
    """
    h, functions = rule.instance(dict(zip(rule.fields, hyper.T, strict=True))), rule.functions
    rng, lanes = np.random.default_rng(0), len(hyper)
    memory = tuple(np.full(lanes, value) for value in rule.memory)
    lift, lower, coast = lift_of(rule), lower_of(rule), rule.optimizer.cls.coast  # type: ignore[attr-defined]
    w = rng.standard_normal((4, lanes))
    s = functions.start(h, w)
    for t in range(1, 60):
        g = rng.standard_normal((4, lanes)) if t % 20 < 8 else np.zeros((4, lanes))
        with np.errstate(all="ignore"):
            c, memory = functions.prepare(h, t, memory)
            y = lift(h, w, s)
            x, y = coast(h, c, w, y)
            found = (x, *lower(h, s, y))
            w, s = functions.update(h, c, w, g, s)
        known = np.all([np.isfinite(np.broadcast_to(value, w.shape)) for value in (x, *y)], axis=0)
        same = [np.allclose((one - other)[known], 0, atol=1e-6) for one, other in zip(found, (w, *s), strict=True)]
        if not (g.any() or all(same)):
            name = rule.optimizer.name
            raise InputError(f"optimizer {name!r}: its coast is not its rule without a gradient, in step {t} for one")


def _structure(rows: Sequence[Mapping[int, Any]]) -> tuple[tuple[Entry, ...], tuple[int, ...]]:
    """Return where products of such matrices may differ from the identity, and where their diagonal is 1."""
    size = len(rows)
    paths: Array = np.eye(size, dtype=bool)
    for i, row in enumerate(rows):
        paths[i, list(row)] = True
    for _ in range(size):
        paths = paths @ paths
    acyclic = ~np.any(paths & paths.T & ~np.eye(size, dtype=bool), axis=1)  # no path leads back to it
    ones = tuple(i for i in range(size) if acyclic[i] and is_one(rows[i].get(i, 0.0)))
    entries = [(i, k) for i in range(size) for k in range(size) if paths[i, k] and not (i == k and i in ones)]
    return tuple(entries), ones
