"""Optimizers on a NumPy array of the user's: the same steps as in studies, for parameters of any model.

>>> import numpy as np
>>> from fastgd import optimizers
>>> w = np.zeros(1000)
>>> adam = optimizers.adam(w, lr=1e-3)
>>> adam.step(2 * (w - 1))  # w changes in place

The rule's functions also step arrays of any size (`optimizers/arrays.py`): a pass over memory that asks for what comes
2 kB ahead, in parts that threads share; sums there run block by block.
"""

import itertools
from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter, ValidationError

from fastgd.common.errors import InputError, nearest
from fastgd.core.compile import jit
from fastgd.core.static import Static, static
from fastgd.core.threads import Threads, available_threads, call
from fastgd.core.vectors import aligned, load, prefetch, register_bits, spread, store, wide
from fastgd.optimizers.options import OPTIONS, TABLES, kind_of
from fastgd.optimizers.record import Optimizer
from fastgd.optimizers.rule import Round, Rule
from fastgd.optimizers.rule_calls import (
    add_terms,
    cast_all,
    conclude_sums,
    lane,
    load_slots,
    measure,
    no_sums,
    prepare_step,
    readout,
    rows,
    store_rows,
    store_slots,
    update,
)

Array = npt.NDArray[Any]
SINGLE_THREAD = 1 << 16  # parameters: for fewer, waking a second thread takes longer than the step
PARAMETERS_PER_SUM = 1 << 14  # whose terms make one partial sum
ELEMENTS_PER_PAGE = 4096
PREFETCH_BYTES = 2048  # how far ahead of a step memory is asked for; without it a step takes 1.1 to 1.2 times as long

_pool = cache(Threads)


class Width(NamedTuple):
    """The shape of the kernels: one vector, in which all lanes are alike."""

    lanes: int
    width: int


class ArrayOptimizer:
    """An optimizer with its state for one array.

    Parameters
    ----------
    record : Optimizer
        The rule.
    w : ndarray, float32 or float64, C-contiguous
        The parameters, of any shape; `step` changes them in place. Their values are the start.
    threads : int, optional
        By default all processors that the process may use. The number changes no bits.
    **values
        Hyper-parameters and choices of the rule, by name, those left out having their defaults; and options around it
        as mappings: `clip={"norm": 1.0}`, `averaging={"kind": "ema"}`. All of w counts as weights, none as intercept.

    Attributes
    ----------
    w : ndarray
        The parameters at which the next gradient is to be taken.
    t : int
        Steps taken.

    Raises
    ------
    InputError
        The array is of another type, or a value is missing, unknown or out of its range.
    """

    def __init__(self, record: Optimizer, w: Array, *, threads: int | None = None, **values: Any) -> None:
        if not isinstance(w, np.ndarray) or w.dtype not in (np.float32, np.float64) or not w.flags.carray:
            found = type(w).__name__
            if isinstance(w, np.ndarray):
                fault = "" if w.flags.carray else " that is strided" if w.flags.writeable else " that is read-only"
                found = f"array of {w.dtype}{fault}"
            raise InputError(f"{record.name}: w must be a C-contiguous array of float32 or float64, not this {found}")
        self.record, self.w, self.t = record, w, 0
        rule, self._values = _rule_of(record, values)
        width = register_bits()[0] // 8 // w.itemsize
        self._rule, self._shape = Static(rule), Static(Width(width, width))
        self._set_hyper()
        # A step's quantities are computed in float64, and then rounded to the type of w.
        self._memory = self._spread(list(rule.memory), np.float64)
        self._exact_c = self._spread([0.0] * max(rule.counts.quantities), np.float64)
        self._c = self._spread([0.0] * max(rule.counts.quantities))
        # Slots are whole pages and a cache line apart: at equal offsets in pages they would share the cache's sets.
        self._stride = -(-(w.size + width) // ELEMENTS_PER_PAGE) * ELEMENTS_PER_PAGE + 64 // w.itemsize
        self._slots = aligned((rule.slots * self._stride,), w.dtype)
        hyper = np.array([list(self._values.values())])
        for slot, start in zip(self.slots.values(), rule.start(hyper, w.reshape(-1, 1)), strict=True):
            slot[...] = start.reshape(w.shape)
        self._pool = _pool(available_threads() if threads is None else threads)
        self._rest = aligned((2, width), w.dtype)  # the last parameters and gradients, fewer than a vector holds

    @property
    def slots(self) -> dict[str, Array]:
        """The state of each parameter by name, in the shape of w: views."""
        w, names = self.w, self._rule.value.slot_names
        rows = self._slots.reshape(-1, self._stride)[:, : w.size] if names else ()
        return {name: row.reshape(w.shape) for name, row in zip(names, rows, strict=True)}

    def step(self, g: Array, *, loss: float | None = None, **values: float) -> None:
        """Take one step.

        Parameters
        ----------
        g : ndarray, of w's shape and type
            The gradient at w.
        loss : float, optional
            The objective at w, for the rules that need it.
        **values
            Hyper-parameters that change from this step on: what a schedule says. Those of an option are called
        "table.name".

        Raises
        ------
        InputError
            The gradient does not fit, or a value is unknown or out of its range.
        """
        if not isinstance(g, np.ndarray) or (g.shape, g.dtype) != (self.w.shape, self.w.dtype):
            found = f"{g.dtype} {g.shape}" if isinstance(g, np.ndarray) else type(g).__name__
            raise InputError(f"{self.record.name}: g must be {self.w.dtype} {self.w.shape} as w is, not {found}")
        if self.record.batch_loss and loss is None:
            raise InputError(f"{self.record.name} needs the objective at w: step(g, loss=...)")
        if values:
            self._values = _checked(self._rule.value, {**self._values, **values}, rate_of_zero=True)
            self._set_hyper()
        self.t += 1
        prepare_step(self._rule, self._shape, self._exact, self._memory, self._exact_c, self._c, 0, self.t)
        w, g = self.w.reshape(-1), np.ascontiguousarray(g).reshape(-1)
        for index in range(len(self._rule.value.functions.rounds)):
            self._conclude(Round(self._rule.value, index), w, g, loss)
        self._each(step_range, w, g)

    def _conclude(self, step: Round, w: Array, g: Array, loss: float | None) -> None:
        """Do a round of sums: each block by itself, then the blocks in order, so that bits do not depend on threads."""
        blocks, workers = -(-w.size // PARAMETERS_PER_SUM), self._pool.count if w.size > SINGLE_THREAD else 1
        totals = np.zeros((blocks, step.sums * self._shape.value.width))
        cuts = [blocks * worker // workers for worker in range(workers + 1)]
        whole = w.size - w.size % self._shape.value.width
        fixed = (Static(step), self._shape, self._exact, self._exact_c, self._stride)
        spans = itertools.pairwise(cuts)
        self._pool.run([call(measure_blocks, (*fixed, w, g, self._slots, totals, whole, *span)) for span in spans])
        sums = totals.sum(axis=0)
        if whole < w.size:
            self._rest[:, : w.size - whole] = w[whole:], g[whole:]
            measure_rest(*fixed, *self._rest, self._slots[whole:], sums, w.size - whole)
        numbers = self._exact, self._memory, self._exact_c, self._c
        conclude_step(Static(step), self._shape, *numbers, self.t, sums, float(loss or 0))

    def iterate(self) -> Array:
        """Return the iterate that the rule reports: a copy of w, unless it is an average or the like."""
        out = self.w.copy()
        if self._rule.value.has_readout:
            self._each(read_range, out.reshape(-1), out.reshape(-1))
        return out

    def _spread(self, numbers: list[float], dtype: Any = None) -> Array:
        width = self._shape.value.width
        return np.ascontiguousarray(np.repeat(np.array(numbers, dtype or self.w.dtype), width))

    def _set_hyper(self) -> None:
        """Put the hyper-parameters where kernels read them."""
        values = np.array([list(self._values.values())], np.float64)
        usable = self._rule.value.usable(values, self.w.dtype)[0].tolist()
        self._exact, self._hyper = self._spread(usable, np.float64), self._spread(usable)

    def _each(self, kernel: Any, w: Array, g: Array) -> None:
        """Run a kernel over all parameters: whole vectors side by side, then what is left over in a copy."""
        width = self._shape.value.width
        whole = w.size - w.size % width
        workers = self._pool.count if whole > SINGLE_THREAD else 1
        cuts = [whole // width * worker // workers * width for worker in range(workers + 1)]
        fixed = (self._rule, self._shape, self._hyper, self._c, self._stride)
        spans = itertools.pairwise(cuts)
        self._pool.run([call(kernel, (*fixed, w, g, self._slots, *span)) for span in spans])
        if whole < w.size:
            rest = self._rest[:, : w.size - whole]
            rest[:] = w[whole:], g[whole:]
            kernel(*fixed, *self._rest, self._slots[whole:], 0, width)
            w[whole:] = rest[0]


def _rule_of(record: Optimizer, given: dict[str, Any]) -> tuple[Rule, dict[str, float]]:
    """Return the rule with its choices and options, and the value of each of its hyper-parameters in order."""
    tables = {table: given[table] for table in TABLES if table in given}
    for table, values in tables.items():
        if not isinstance(values, Mapping):
            raise InputError(f"{record.name}: {table} must be a mapping of its numbers, found {values!r}")
    options = {table: _kind_of(record, table, values) for table, values in tables.items()}
    choices = {name: given.get(name, values[0]) for name, values in record.options.items()}
    for name, value in choices.items():
        if value not in record.options[name]:
            raise InputError(f"{record.name}: {name} = {value!r}; valid: {', '.join(map(repr, record.options[name]))}")
    rule = Rule.of(record, choices, options)
    numbers = {name: value for name, value in given.items() if name not in (*tables, *choices)}
    of_options = {f"{table}.{key}": v for table, values in tables.items() for key, v in values.items() if key != "kind"}
    return rule, _checked(rule, numbers | of_options)


def _kind_of(record: Optimizer, table: str, values: dict[str, Any]) -> str:
    try:
        return kind_of(table, values)
    except InputError as error:
        raise InputError(f"{record.name}: {table}: {error}") from None


def _checked(rule: Rule, given: dict[str, Any], *, rate_of_zero: bool = False) -> dict[str, float]:
    """Return the value of each hyper-parameter in order, defaults filled in; a schedule may give a rate of 0."""
    record, complete = rule.optimizer, {**rule.fields, **given}
    for name in complete:
        if name not in rule.fields:
            raise InputError(f"{record.name} has no {name!r}; {nearest(name, [*rule.fields, *record.options])}")
    for name, value in complete.items():
        if value is None:
            raise InputError(f"{record.name} needs {name!r}")
        if name == "lr" and rate_of_zero and value == 0:
            continue
        try:
            TypeAdapter(rule.annotations[name]).validate_python(value)
        except ValidationError as error:
            message = error.errors()[0]["msg"].lower()
            raise InputError(f"{record.name}: {name} = {value!r}: {message}") from None
    for option in map(OPTIONS.find, rule.options):
        if why := rule.base.refuses(option.needs, {name: [complete[name]] for name in rule.base.fields}):
            raise InputError(f"{record.name} does not go with {option.table}: {why}")
    return complete


# --- kernels ----------------------------------------------------------------------------------------------------------


@jit
def conclude_step(step, shape, exact, memory, exact_c, c, t, sums, loss):
    """Conclude the quantities of step t from sums (terms * width,) float64, each of which is spread over a vector."""
    totals = rows(step, shape, sums, 0, "sums")
    conclude_sums(step, shape, exact, memory, exact_c, c, 0, t, totals, spread(shape, loss), True)


@jit(inner=True)
def _terms_at(step, shape, exact, exact_c, w, g, slots, i, stride):
    """The terms of the parameters at i, in float64."""
    h, quantities = lane(step, shape, exact, 0), rows(step, shape, exact_c, 0, "quantities")
    at, s = wide(load(shape, w, i)), cast_all(load_slots(step, shape, slots, i - stride, stride), exact)
    return measure(step, h, quantities, at, wide(load(shape, g, i)), s, at * 0)


@jit
def measure_blocks(step, shape, exact, exact_c, stride, w, g, slots, totals, whole, first, last):
    """Write the sums over blocks first ... last of the parameters before `whole` to totals (blocks, terms * width)."""
    width = static(shape, "width")
    for block in range(first, last):
        sums = no_sums(step, shape)
        for i in range(block * PARAMETERS_PER_SUM, min(whole, (block + 1) * PARAMETERS_PER_SUM), width):
            sums = add_terms(sums, _terms_at(step, shape, exact, exact_c, w, g, slots, i, stride), width)
        store_rows(step, shape, totals[block], 0, sums)


@jit
def measure_rest(step, shape, exact, exact_c, stride, w, g, slots, sums, used):
    """Add the terms of `used` parameters, less than a vector, to sums (terms * width,)."""
    terms = _terms_at(step, shape, exact, exact_c, w, g, slots, 0, stride)
    store_rows(step, shape, sums, 0, add_terms(rows(step, shape, sums, 0, "sums"), terms, used))


@jit
def step_range(rule, shape, hyper, c, stride, w, g, slots, start, stop):
    """Step the parameters start ... stop, whose slots are `stride` apart."""
    h, quantities = lane(rule, shape, hyper, 0), rows(rule, shape, c, 0, "coefficients")
    ahead = PREFETCH_BYTES // w.itemsize
    for i in range(start, stop, static(shape, "width")):
        prefetch(w, i + ahead)
        prefetch(g, i + ahead)
        for slot in range(static(rule, "slots")):
            prefetch(slots, i + ahead + slot * stride)
        s = load_slots(rule, shape, slots, i - stride, stride)
        new, s = update(rule, h, quantities, load(shape, w, i), load(shape, g, i), s)
        store(w, i, new)
        store_slots(rule, shape, slots, i - stride, stride, s)


@jit
def read_range(rule, shape, hyper, c, stride, w, g, slots, start, stop):
    """Put the iterate that is reported in the place of w; the arguments are those of `step_range`."""
    h = lane(rule, shape, hyper, 0)
    for i in range(start, stop, static(shape, "width")):
        s = load_slots(rule, shape, slots, i - stride, stride)
        store(w, i, readout(rule, h, load(shape, w, i), s))
