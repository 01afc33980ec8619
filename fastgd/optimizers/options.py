"""Options around any rule: what is done to its gradient before a step, or to its iterate after one.

Each is a NamedTuple of numbers with pure functions, written as rules are. A sub-table of an optimizer's block names
one: `clip = { norm = 1.0 }`. Kernels are compiled for a rule with its options; one that is not used costs nothing.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, NamedTuple, get_type_hints

import numpy as np
from annotated_types import Ge, Gt, Le, MultipleOf

from fastgd.common.errors import InputError, nearest
from fastgd.common.pickling import PickledByName
from fastgd.common.registry import OfClass, Registry
from fastgd.core.math import root, squares
from fastgd.optimizers.record import ALL_PARAMETERS, EACH_LAYER, C, Decay, NonNegative, Rate, Slots, Step, Value

Share = Annotated[float, Gt(0), Le(1)]
Period = Annotated[float, Ge(1), MultipleOf(1)]
Steps = Annotated[float, Ge(0), MultipleOf(1)]

PROXIMAL, MOVES = "proximal", "moves"  # what a rule must allow: see `Rule.refuses`


@dataclass(frozen=True)
class Option(OfClass, PickledByName, registry="OPTIONS"):
    """The record of an option.

    Attributes
    ----------
    name : str
        Its table's name and its kind.
    table, kind : str
        The sub-table of an optimizer's block, and which of the table's kinds it is.
    cls : type
        The NamedTuple with its functions.
    slots : tuple of str
        The state that it keeps for each parameter.
    memory : mapping of str to float
        The numbers that it keeps for each trial, with their values at the start.
    hyper : mapping of str to float or None
        Its numbers in order with their defaults; None: must be given.
    annotations : mapping of str to Any
        The type of each number with its bounds.
    needs : str
        What a rule must allow; empty: it goes with every rule.
    scope : int
        What it sums over, where a model has layers: ALL_PARAMETERS or EACH_LAYER.
    witness, reference : str
        As for an optimizer.
    """

    name: str
    table: str
    kind: str
    cls: type
    hyper: Mapping[str, float | None]
    annotations: Mapping[str, Any]
    slots: tuple[str, ...] = ()
    memory: Mapping[str, float] = field(default_factory=dict)
    needs: str = ""
    scope: int = ALL_PARAMETERS
    witness: str = "the paper"
    reference: str = ""

    @property
    def keys(self) -> tuple[str, ...]:
        """The names of its numbers beside those of a rule: the columns of the results."""
        return tuple(f"{self.table}.{name}" for name in self.hyper)


OPTIONS: Registry[Option] = Registry("option")


# From the inside out: averaging sees the iterate after look-ahead, and that sees the iterate after proximal steps.
TABLES = ("clip", "proximal", "lookahead", "averaging")


def kinds(table: str) -> dict[str, Option]:
    """Return the records of a table by their kinds."""
    return {record.kind: record for record in OPTIONS.values() if record.table == table}


def kind_of(table: str, given: Mapping[str, Any]) -> str:
    """Return the kind that the keys of a table name; `kind` may be left out where one kind alone has the other keys.

    Raises
    ------
    InputError
        They name none, or several.
    """
    records, keys, kind = kinds(table), given.keys() - {"kind"}, given.get("kind", "")
    if not isinstance(kind, str):
        raise InputError(f"kind must be a string, found {kind!r}; alternatives are a list of tables")
    if kind:
        if kind not in records:
            valid = nearest(kind, records) if records.keys() != {""} else "the table has one kind, without a name"
            raise InputError(f"there is no kind {kind!r}; {valid}")
        return kind
    known = {key for record in records.values() for key in record.hyper}
    if unknown := sorted(keys - known):
        raise InputError(f"{unknown[0]!r} is not a known key; {nearest(unknown[0], known)}")
    fits = [kind for kind, record in records.items() if keys <= record.hyper.keys() and _required(record) <= keys]
    if len(fits) == 1 or len(records) == 1:
        return fits[0] if fits else next(iter(records))
    hints = [f"kind = {kind!r} ({', '.join(record.hyper)})" for kind, record in records.items()]
    found = " and ".join(sorted(keys)) if keys else "an empty table"
    does = "do" if len(keys) > 1 else "does"
    raise InputError(f"{found} {does} not tell which kind is meant; give {' or '.join(hints)}")


def _required(record: Option) -> set[str]:
    return {name for name, value in record.hyper.items() if value is None}


def option(table: str, kind: str, **about: Any) -> Callable[[C], C]:
    """Make a NamedTuple class an option.

    `about` are the fields of `Option` that have defaults. The functions of the class take the option's numbers `o`
    first; all are optional:

    `measure(o, g) -> (x, ...)` with `conclude(o, sums) -> c`
        Sums over all parameters of terms of the gradient, and the quantities made of them.
    `prepare(o, t, m) -> (c, m)`
        The quantities of step t, and the memory after it.
    `gradient(o, c, g) -> g`
        The gradient that the rule gets.
    `begin(o, x) -> s`
        The slots at the start, from the iterate that is reported there.
    `after(o, h, c, w, x, s) -> (w, s)`
        The parameter and the slots after the rule's step to w, where x would be reported; `h` is the rule's.
    `readout(o, x, s) -> x`
        The iterate that is reported.
    """

    def register(cls: C) -> C:
        fields: Mapping[str, Any] = cls._field_defaults  # type: ignore[attr-defined]
        annotations = get_type_hints(cls, include_extras=True)
        name, hyper = f"{table}, {kind}" if kind else table, {name: fields.get(name) for name in annotations}
        OPTIONS.add(Option(name, table, kind, cls, hyper, annotations, **about))
        return cls

    return register


@option("clip", "value", witness="torch.nn.utils.clip_grad_value_")
class ClipValue(NamedTuple):
    """Clipping by value: `g = min(max(g, -value), value)`.

    The gradient of the objective, its penalty included. For gradients of which single entries are sometimes far too
    large; it changes their direction.
    """

    value: Rate

    def gradient(o, c: Slots, g: Value) -> Value:
        return np.minimum(np.maximum(g, -o.value), o.value)


@option(
    "clip",
    "norm",
    witness="torch.nn.utils.clip_grad_norm_",
    reference="Pascanu, Mikolov & Bengio (2013), https://arxiv.org/abs/1211.5063",
)
class ClipNorm(NamedTuple):
    """Clipping by norm: `g = g min(1, norm / (|g| + 1e-6))`.

    The norm is that of all parameters together, an intercept included, and the gradient that of the objective with its
    penalty. The small number is PyTorch's. For exploding gradients; it keeps their direction.
    """

    norm: Rate

    def measure(o, g: Value) -> Slots:
        return squares(g)

    def conclude(o, sums: Slots) -> Slots:
        return (np.sqrt(np.minimum(o.norm / (root(sums) + 1e-6), 1)),)  # its square may underflow in float32

    def gradient(o, c: Slots, g: Value) -> Value:
        return g * c[0] * c[0]


@option("clip", "layer_norm", scope=EACH_LAYER, witness="torch.nn.utils.clip_grad_norm_, called for each layer")
class ClipLayerNorm(NamedTuple):
    """Clipping by each layer's norm: `g = g min(1, layer_norm / (|g| + 1e-6))`, g being that of one layer.

    A layer is its weights and its biases together, as a module of PyTorch is, and its gradient that of the objective
    with its penalty. A layer whose gradient explodes is clipped, and the others keep their steps; so the direction of
    all parameters together may change. A linear model is one layer, as a point of a landscape is: there it is `norm`.
    """

    layer_norm: Rate

    def measure(o, g: Value) -> Slots:
        return squares(g)

    def conclude(o, sums: Slots) -> Slots:
        return (np.sqrt(np.minimum(o.layer_norm / (root(sums) + 1e-6), 1)),)  # as that of `ClipNorm`

    def gradient(o, c: Slots, g: Value) -> Value:
        return g * c[0] * c[0]


@option(
    "proximal",
    "",
    needs=PROXIMAL,
    reference="Combettes & Wajs (2005), https://doi.org/10.1137/050626090; Duchi & Singer (2009)",
)
class Proximal(NamedTuple):
    """Elastic net by proximal steps: `w = sign(w) max(0, |w| - lr l1) / (1 + lr l2)` after the rule's step.

    `lr` is the rate that the schedule gives, without what a rule makes of it besides, as adagrad's `lr_decay` does.
    The penalty `l1 |w| + l2/2 |w|^2` is not part of the loss that is recorded, as decoupled decay is not: the metric
    `composite_loss` is the loss with it, and `nonzeros` counts parameters. With `sgd` and full batches this is ISTA;
    with adaptive rules the threshold is the same for all parameters, and the fixed point another. An intercept is not
    penalised. For solutions with exact zeros.
    """

    l1: NonNegative = 0.0
    l2: NonNegative = 0.0

    def after(o, h: Any, c: Slots, w: Value, x: Value, s: Slots) -> Step:
        w, shrink = np.sign(w) * np.maximum(np.abs(w) - h.lr * o.l1, 0), h.lr * o.l2
        return w - shrink / (1 + shrink) * w, s  # not w / (1 + shrink): that sum loses digits


@option(
    "lookahead",
    "",
    slots=("slow",),
    memory={"since": 0.0},
    needs=MOVES,
    witness="optax.lookahead",
    reference="Zhang et al. (2019), https://arxiv.org/abs/1907.08610",
)
class Lookahead(NamedTuple):
    """Look-ahead steps: after every `every` steps, `slow += alpha (w - slow); w = slow`. The slow iterate is reported.

    The rule's own state goes on unchanged, and at a rate of 0 w still goes back to `slow`. The defaults are the
    paper's. It calms rules that oscillate, and lets larger rates be used.
    """

    every: Period = 5.0
    alpha: Share = 0.5

    def prepare(o, t: int, m: Slots) -> tuple[Slots, Slots]:
        since = m[0] + 1
        return (np.where(since >= o.every, o.alpha, 0 * o.alpha),), (np.where(since >= o.every, 0 * since, since),)

    def begin(o, x: Value) -> Slots:
        return (x,)

    def after(o, h: Any, c: Slots, w: Value, x: Value, s: Slots) -> Step:
        slow = np.where(c[0] > 0, s[0] + c[0] * (w - s[0]), s[0])  # not as 0 times a difference, which may be infinite
        return np.where(c[0] > 0, slow, w), (slow,)

    def readout(o, x: Value, s: Slots) -> Value:
        return s[0]


@option("averaging", "ema", slots=("average",), witness="torch.optim.swa_utils.get_ema_multi_avg_fn")
class ExponentialAverage(NamedTuple):
    """Exponential average of the iterates, `a = decay a + (1 - decay) w`, which is reported in place of w.

    From step `start + 1` on, whose iterate begins the average; until then the iterate itself is reported. The rule does
    not see it. While the rate is 0 the average goes on towards w. For mini-batches with a constant rate: the average
    lies where the rule circles around.
    """

    decay: Decay = 0.999
    start: Steps = 0.0

    def prepare(o, t: int, m: Slots) -> tuple[Slots, Slots]:
        return (np.where(t - o.start > 1, 1 - o.decay, 0 * o.decay + 1),), m

    def begin(o, x: Value) -> Slots:
        return (x,)

    def after(o, h: Any, c: Slots, w: Value, x: Value, s: Slots) -> Step:
        return w, (np.where(c[0] < 1, s[0] + c[0] * (x - s[0]), x),)

    def readout(o, x: Value, s: Slots) -> Value:
        return s[0]


@option(
    "averaging",
    "polyak",
    slots=("average",),
    witness="torch.optim.swa_utils.AveragedModel",
    reference="Ruppert (1988); Polyak & Juditsky (1992), https://doi.org/10.1137/0330046",
)
class PolyakAverage(NamedTuple):
    """Polyak's and Ruppert's average, the mean of the iterates from step `start + 1` on, which is reported.

    Until then the iterate itself is reported. The rule does not see it. Steps at a rate of 0 count as any. For
    mini-batches with a rate that falls slowly or not at all: the average converges at the best possible rate for convex
    objectives.
    """

    start: Steps = 0.0

    def prepare(o, t: int, m: Slots) -> tuple[Slots, Slots]:
        return (1 / np.maximum(t - o.start, 1),), m

    def begin(o, x: Value) -> Slots:
        return (x,)

    def after(o, h: Any, c: Slots, w: Value, x: Value, s: Slots) -> Step:
        return w, (np.where(c[0] < 1, s[0] + c[0] * (x - s[0]), x),)

    def readout(o, x: Value, s: Slots) -> Value:
        return s[0]
