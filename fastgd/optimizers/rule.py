"""A rule as kernels see it: an optimizer with its choices, and the options around it.

A rule with an option around it is a rule again, so that callers need not know of options.

A rule may say more than its step, and pays for nothing that it does not say: `prepare` (what depends on the step and
not on the parameter, and a trial's `memory`: Nadam's running product, a sum of weights), `start` (slots that are not
zero: RProp's steps, the start that dual averaging keeps), `readout` (the iterate that is reported), and `measure` with
`conclude` (sums over all parameters: norms for LAMB, distances for DoG, with `batch_loss` the objective for Polyak's
step). A rule that measures needs the whole gradient before the first parameter moves; the tile kernel then keeps it in
a `(d, L)` buffer, as it does for large batches. Sums run over the parameters in order, in float64, by the thread that
owns the tile, so their bits do not depend on threads.

What there is once a step is float64 in every cohort: hyper-parameters, memory, quantities, the terms of sums. Only what
`rule` gets is rounded to the cohort's type, once: `1 - beta2` of a rounded 0.99999 would be off by 0.14 %. So a rule's
constants belong in `prepare`. Squares that are summed for a norm come from `squares` and `root` (`core/math.py`), which
keep very large and very small ones in units of their own. Gradients of many rows are summed in chunks of 256 in the
cohort's type, and the chunks in float64 (`engine/row_sums.py`); shorter chunks would cost more than 2 % of a full
batch.

An option around a rule is a rule again (`optimizers/options.py`). Clipping, proximal steps, look-ahead and averaging
are NamedTuples with pure functions too. `rule_functions.py` brings the functions of every rule into one form, and
`WithOption` here makes functions of that form out of an option and the rule inside: the gradient on its way in, the
iterate on its way out, slots, memory and quantities side by side. So no kernel knows of options, and they work in every
engine and on arrays. Clipping by norm needs a sum before the sums of a rule like LAMB, which see the clipped gradient:
sums come in rounds, and what a round concludes is known in the next.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastgd.common.numbers import number
from fastgd.common.pickling import PickledByFields
from fastgd.common.properties import cached_property
from fastgd.optimizers.options import MOVES, PROXIMAL, TABLES, Option, kinds
from fastgd.optimizers.proofs import linear_in_rate, share_of_move
from fastgd.optimizers.record import ALL_PARAMETERS, EACH_GROUP, Optimizer
from fastgd.optimizers.rule_functions import RuleFunctions, of_optimizer, with_option
from fastgd.user_code.affine_forms import Traced

Array = npt.NDArray[Any]


class Counts(NamedTuple):
    """How many quantities a step has before each round of sums and after the last, and how many sums each round has."""

    quantities: tuple[int, ...]
    sums: tuple[int, ...]


@dataclass(frozen=True)
class Rule(PickledByFields):
    """An optimizer with its categorical choices: what a kernel is specialised by.

    Attributes
    ----------
    optimizer : Optimizer
    choices : tuple of (str, value)
        Every option of the optimizer, in order.
    """

    optimizer: Optimizer
    choices: tuple[tuple[str, Any], ...]

    @classmethod
    def of(cls, optimizer: Optimizer, choices: Mapping[str, Any], options: Mapping[str, str] | None = None) -> "Rule":
        """Return the rule with these choices, defaults filled in, and with options: the kind of each by its table."""
        pairs = tuple((name, choices.get(name, values[0])) for name, values in optimizer.options.items())
        rule = cls(optimizer, pairs)
        for option in chosen(options or {}):
            rule = WithOption(optimizer, pairs, rule, option)
        return rule

    def __repr__(self) -> str:
        """The identity of the machine code: a changed source is another rule."""
        choices = ",".join(f"{name}={value}" for name, value in self.choices)
        return f"{self.optimizer.cls.__module__}:{self.optimizer.name}[{choices}]{self.optimizer.source}"

    @property
    def variant(self) -> str:
        """What is not the default: the column `variant`."""
        return self.optimizer.variant(dict(self.choices))

    @property
    def fields(self) -> Mapping[str, float | None]:
        """The names of the numeric hyper-parameters in order, with their defaults."""
        return self.optimizer.hyper

    @property
    def annotations(self) -> Mapping[str, Any]:
        """The type of each numeric hyper-parameter with its bounds."""
        return self.optimizer.annotations

    @property
    def penalties(self) -> tuple[str, ...]:
        """The hyper-parameters that shrink weights: an intercept has none of them."""
        return tuple(name for name in self.fields if name in ("weight_decay", "proximal.l1", "proximal.l2"))

    @property
    def memory(self) -> tuple[float, ...]:
        """The numbers that it keeps for each trial, at the start."""
        return tuple(self.optimizer.memory.values())

    @property
    def framed(self) -> bool:
        """Whether a parameter is kept as it was some steps ago: it is not, unless it coasts (`optimizers.coasting`)."""
        return False

    @property
    def slot_names(self) -> tuple[str, ...]:
        """What it keeps for each parameter."""
        return self.optimizer.slots

    @property
    def slots(self) -> int:
        """The number of slots."""
        return len(self.slot_names)

    @property
    def numbers(self) -> int:
        """How many numbers it keeps for each trial."""
        return len(self.memory)

    @property
    def hyper(self) -> int:
        """The number of numeric hyper-parameters."""
        return len(self.fields)

    @property
    def options(self) -> tuple[str, ...]:
        """The names of the options around it, from the inside out."""
        return ()

    @cached_property
    def base(self) -> "Rule":
        """The rule without options."""
        return Rule(self.optimizer, self.choices)

    @property
    def batch_loss(self) -> bool:
        """Whether `conclude` needs the batch's objective."""
        return self.optimizer.batch_loss

    @property
    def has_readout(self) -> bool:
        """Whether the reported iterate is not the state."""
        return hasattr(self.optimizer.cls, "readout")

    @property
    def layout(self) -> tuple[tuple[type, Mapping[str, Any]], ...]:
        """The NamedTuples of its hyper-parameters with their choices, from the inside out."""
        return ((self.optimizer.cls, dict(self.choices)),)

    def start(self, hyper: Array, w: Array) -> tuple[Array, ...]:
        """Return the slots at the start, of the shape of w (parameters, lanes); `hyper` is (lanes, hyper)."""
        h = self.instance(dict(zip(self.fields, hyper.T, strict=True)))
        return tuple(np.broadcast_to(slot, w.shape) for slot in self.functions.start(h, w))

    def usable(self, hyper: Array, dtype: Any, names: Iterable[str] | None = None) -> Array:
        """Return hyper-parameters (..., names; default: all) as kernels take them: eps is a normal float, not 0.

        With eps = 0, a parameter that has had no gradient would become 0 / 0. Divided by a normal float it stays where
        it is, as on sparse rows, where it is not touched; and added to the root of any other float, the smallest normal
        one changes no digit. Rules that sum over parameters compare eps with norms, which may be smaller still: they
        guard their divisions themselves.
        """
        names, hyper = list(self.fields if names is None else names), np.array(hyper, np.float64)
        if "eps" in names and not self.measures:
            eps = hyper[..., names.index("eps")]
            eps[:] = np.maximum(eps, np.finfo(dtype).tiny)
        return hyper

    def instance(self, values: Mapping[str, Any]) -> Any:
        """Return `h` with these numeric values and this rule's choices."""
        return self.optimizer.cls(**values, **dict(self.choices))

    @cached_property
    def functions(self) -> RuleFunctions:
        """Its functions, which work on numbers, on arrays and in kernels."""
        return of_optimizer(self.optimizer)

    @property
    def measures(self) -> bool:
        """Whether the optimizer itself sums over the parameters."""
        return hasattr(self.optimizer.cls, "measure")

    @property
    def scopes(self) -> tuple[int, ...]:
        """What each round sums over, where a model has layers: ALL_PARAMETERS, EACH_LAYER or EACH_GROUP."""
        layerwise = self.optimizer.family == "layer-wise"
        return (EACH_GROUP if layerwise else ALL_PARAMETERS,) * len(self.functions.rounds)

    @property
    def apart(self) -> bool:
        """Whether groups of parameters have quantities of their own, where a model has layers."""
        return any(scope != ALL_PARAMETERS for scope in self.scopes)

    # --- what follows from the functions ------------------------------------------------------------------------------

    @cached_property
    @np.errstate(all="ignore")
    def counts(self) -> Counts:
        """The numbers of quantities and sums, found by a step on numbers."""
        h, functions, half = self.example(), self.functions, np.float64(0.5)
        slots = functions.start(h, half)
        c, m = functions.prepare(h, 1, self.memory)
        quantities, sums = [len(c)], []
        for measure, conclude in functions.rounds:
            terms = measure(h, c, half, half, slots, half)
            c, m = conclude(h, c, 1, m, terms, half)
            sums.append(len(terms))
            quantities.append(len(c))
        return Counts(tuple(quantities), tuple(sums))

    @property
    def coefficients(self) -> int:
        """The number of quantities that the step gets."""
        return self.counts.quantities[-1]

    def example(self) -> Any:
        """Return `h` with the default values."""
        return self.instance(self._defaults)

    @property
    def _defaults(self) -> dict[str, np.float64]:
        """The default values, as NumPy's floats: these divide by zero without an exception, as kernels do."""
        return {name: np.float64(0.5 if value is None else value) for name, value in self.fields.items()}

    @cached_property
    def linear_in_rate(self) -> bool:
        """Whether a step is proven to be `lr` times a direction, and the slots not to depend on `lr`."""
        if self.measures or self.has_readout:
            return False

        def step(h: Any, c: Any, x: Any) -> Any:
            w, s = self.functions.update(h, c, x[0], x[1], x[2:])
            return (w, *s)

        return linear_in_rate(self, step, 2 + self.slots)

    @cached_property
    def moves(self) -> bool:
        """Whether a step with the default values starts from the parameter's value: in dual averaging it does not."""
        return not (self.has_readout or self._undoes({}))

    def _undoes(self, values: Mapping[str, Sequence[float]], scheduled: Iterable[str] = ()) -> str:
        """Say for which values a step is not proven to keep half of a move of the parameter; empty: for none."""
        grid = {name: values.get(name, [default]) for name, default in self._defaults.items()}
        changing = [name for name in scheduled if name in grid]
        axes = dict(zip(grid, np.ix_(*grid.values()), strict=True))
        share = share_of_move(self, {**axes, **{name: Traced() for name in changing}})
        if share is None:
            when = f" where {' and '.join(changing)} changes" if changing else ""
            return f"it is not known how much of a move is left after a step{when}"
        # An axis for each hyper-parameter, of length 1 where it has no effect.
        share = np.reshape(share, np.shape(share) or [1] * len(grid))
        undone = np.argwhere(~(share >= 0.5))
        if not len(undone):
            return ""
        found = {name: grid[name][place] for name, place in zip(grid, undone[0], strict=True)}
        told = [f"{name} = {number(value)}" for name, value in found.items() if value != self.fields[name]]
        return f"with {', '.join(told)} less than half of a move is left after a step"

    def refuses(
        self,
        needs: str,
        values: Mapping[str, Sequence[float]] = MappingProxyType({}),
        scheduled: Iterable[str] = (),
    ) -> str:
        """Say why an option does not go with this rule; empty: it does.

        Parameters
        ----------
        needs : str
            What the option needs of a rule.
        values : mapping of str to sequence of float
            What the hyper-parameters may be, in all combinations; by default their defaults.
        scheduled : iterable of str
            Those that take other values in the run.
        """
        known = "as far as its text proves" if self.optimizer.foreign else ""
        if needs == PROXIMAL and not self.linear_in_rate:
            why = "its step is not the rate times a direction, and a proximal step's threshold is the rate times l1"
        elif needs == MOVES and self.has_readout:
            return "it reports another point than the one from which it steps, so a move would not be seen"
        elif needs == MOVES and (why := self._undoes(values, scheduled)):
            anew = "it computes the parameters anew in each step, from sums of all gradients, which would undo a move"
            why = why if self.moves else anew
        else:
            return ""
        return f"{known}, {why}".removeprefix(", ")


@dataclass(frozen=True, repr=False)
class WithOption(Rule):
    """A rule with an option around it.

    Attributes
    ----------
    inner : Rule
    option : Option
    """

    inner: Rule
    option: Option

    def __repr__(self) -> str:
        """The identity of the machine code."""
        return f"{self.inner!r}+{self.option.name}"

    @property
    def options(self) -> tuple[str, ...]:
        """The names of the options around it, from the inside out."""
        return (*self.inner.options, self.option.name)

    @property
    def variant(self) -> str:
        """The rule's, and the kind of the option."""
        own = f"{self.option.table}={self.option.kind}" if self.option.kind else self.option.table
        return f"{self.inner.variant}, {own}".removeprefix(", ")

    @property
    def fields(self) -> Mapping[str, float | None]:
        """The rule's, then the option's as "table.name"."""
        return {**self.inner.fields, **dict(zip(self.option.keys, self.option.hyper.values(), strict=True))}

    @property
    def annotations(self) -> Mapping[str, Any]:
        """The rule's and the option's."""
        own = (self.option.annotations[name] for name in self.option.hyper)
        return {**self.inner.annotations, **dict(zip(self.option.keys, own, strict=True))}

    @property
    def memory(self) -> tuple[float, ...]:
        """The rule's, then the option's."""
        return self.inner.memory + tuple(self.option.memory.values())

    @property
    def slot_names(self) -> tuple[str, ...]:
        """The rule's, then the option's as "table.name"."""
        return self.inner.slot_names + tuple(f"{self.option.table}.{name}" for name in self.option.slots)

    @property
    def has_readout(self) -> bool:
        """Whether the reported iterate is not the state."""
        return hasattr(self.option.cls, "readout") or self.inner.has_readout

    @property
    def scopes(self) -> tuple[int, ...]:
        """That of the option's own round, which comes first, then those of the rule's."""
        own = (self.option.scope,) if hasattr(self.option.cls, "measure") else ()
        return own + self.inner.scopes

    @property
    def layout(self) -> tuple[tuple[type, Mapping[str, Any]], ...]:
        """The NamedTuples of the rule, then that of the option."""
        return (*self.inner.layout, (self.option.cls, {}))

    def instance(self, values: Mapping[str, Any]) -> Any:
        """Return (the rule's h, the option's)."""
        own = {name: values[key] for name, key in zip(self.option.hyper, self.option.keys, strict=True)}
        inner = {key: value for key, value in values.items() if key in self.inner.fields}
        return self.inner.instance(inner), self.option.cls(**own)

    @cached_property
    def functions(self) -> RuleFunctions:
        """The rule's functions with the option's around them; the option's quantities come first."""
        return with_option(
            self.inner.functions, self.option, self.inner.slots, len(self.inner.memory), len(self.layout) - 1
        )


@dataclass(frozen=True)
class Round(PickledByFields):
    """One of the rounds in which a rule sums over all parameters: what a kernel of sums is specialised by.

    Attributes
    ----------
    rule : Rule
    index : int
    """

    rule: Rule
    index: int

    def __repr__(self) -> str:
        """The identity of the machine code."""
        return f"{self.rule!r}, round {self.index}"

    def __getattr__(self, name: str) -> Any:
        """Kernels ask for attributes of a rule: they are those of `rule`."""
        return getattr(self.rule, name)

    @property
    def sums(self) -> int:
        """How many sums it has."""
        return self.rule.counts.sums[self.index]

    @property
    def quantities(self) -> int:
        """How many quantities are known before it."""
        return self.rule.counts.quantities[self.index]

    @property
    def measure(self) -> Callable[..., Any]:
        """The terms of one parameter."""
        return self.rule.functions.rounds[self.index][0]

    @property
    def conclude(self) -> Callable[..., Any]:
        """The quantities and the memory that the sums give."""
        return self.rule.functions.rounds[self.index][1]


def chosen(options: Mapping[str, str]) -> list[Option]:
    """Return the records of options, from the inside out: of each table, one kind."""
    return [kinds(table)[options[table]] for table in TABLES if table in options]
