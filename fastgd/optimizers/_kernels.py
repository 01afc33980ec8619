"""How kernels call what is written once: rules by their type, losses by their number.

A `Rule` is a compile-time constant; `update`, `prepare` and `readout` resolve to its functions, and `lane` makes the
NamedTuple of hyper-parameters that they expect, with vectors of lanes for numbers and constants for categorical
choices.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import intrinsic, overload, register_jitable

from fastgd import _math
from fastgd._static import ChoiceType
from fastgd._vectors import I32, Vector, address, llvm_function, splat, vector_suffix
from fastgd.optimizers import Optimizer

Array = npt.NDArray[Any]

overload(_math.exp, strict=False)(lambda z: lambda z: np.exp(z))
overload(_math.power, strict=False)(lambda x, t: _math.power)
overload(_math.sigmoid, strict=False)(lambda z: _math.sigmoid)


@dataclass(frozen=True)
class Rule:
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
    def of(cls, optimizer: Optimizer, options: Mapping[str, Any]) -> "Rule":
        """Return the rule with these options, defaults filled in."""
        return cls(optimizer, tuple((name, options.get(name, values[0])) for name, values in optimizer.options.items()))

    def __repr__(self) -> str:
        """The identity of the machine code: a changed source is another rule."""
        choices = ",".join(f"{name}={value}" for name, value in self.choices)
        return f"{self.optimizer.cls.__module__}:{self.optimizer.name}[{choices}]{self.optimizer.source}"

    @property
    def slots(self) -> int:
        """The number of slots."""
        return len(self.optimizer.slots)

    @property
    def hyper(self) -> int:
        """The number of numeric hyper-parameters."""
        return len(self.optimizer.hyper)

    @property
    def prepared(self) -> int:
        """The number of quantities that `prepare` returns."""
        return len(self._sample()[0])

    @property
    def sums(self) -> int:
        """The number of sums over the parameters that `conclude` gets."""
        return self._sample()[1]

    @property
    def terms(self) -> int:
        """The number of sums that the kernels keep: the batch's penalty may be one more."""
        return self.sums + self.batch_loss

    @property
    def coefficients(self) -> int:
        """The number of quantities that `rule` gets."""
        return self._sample()[2]

    @property
    def batch_loss(self) -> bool:
        """Whether `conclude` needs the batch's objective."""
        return self.optimizer.batch_loss

    def _sample(self) -> tuple[tuple[Any, ...], int, int]:
        """Return what `prepare` returns for some numbers, and how many `measure` and `conclude` return."""
        cls: Any = self.optimizer.cls
        memory = tuple(self.optimizer.memory.values())
        h = self.instance({name: 0.5 if value is None else value for name, value in self.optimizer.hyper.items()})
        c: tuple[Any, ...] = ()
        if hasattr(cls, "prepare"):
            c = cls.prepare(h, 1, memory)[0] if memory else cls.prepare(h, 1)
        if not hasattr(cls, "measure"):
            return c, 0, len(c)
        sums = cls.measure(h, c, 0.5, 0.5, (0.5,) * self.slots)
        return c, len(sums), len(cls.conclude(h, c, 1, memory, sums, 0.5)[0])

    @property
    def memory(self) -> int:
        """The number of a trial's numbers that are kept from step to step."""
        return len(self.optimizer.memory)

    @property
    def has_readout(self) -> bool:
        """Whether the reported iterate is not the state."""
        return hasattr(self.optimizer.cls, "readout")

    def start(self, hyper: Array, w: Array) -> tuple[Array, ...]:
        """Return the slots at the start, of the shape of w (parameters, lanes); `hyper` is (lanes, hyper)."""
        if not hasattr(self.optimizer.cls, "start"):
            return (np.zeros_like(w),) * self.slots
        h = self.instance(dict(zip(self.optimizer.hyper, hyper.T, strict=True)))
        return tuple(np.broadcast_to(slot, w.shape) for slot in self.optimizer.cls.start(h, w))

    def instance(self, values: Mapping[str, Any]) -> Any:
        """Return the optimizer's NamedTuple with these numeric values and this rule's choices."""
        return self.optimizer.cls(**values, **dict(self.choices))


def _vector(rule, shape, array) -> Vector:
    return Vector(array.dtype, shape.value.width)


@intrinsic
def lane(typingctx, rule, shape, H, index):
    """`lane(rule, shape, H, l)`: the hyper-parameters of the lanes at l, as the optimizer's NamedTuple.

    H is flat: a row of `shape.lanes` for each numeric hyper-parameter.
    """
    vector, optimizer = _vector(rule, shape, H), rule.value.optimizer
    choices = dict(rule.value.choices)
    members = [_member(name, choices, vector) for name in optimizer.cls._fields]
    tuple_type = types.NamedTuple(members, optimizer.cls)
    if all(member == vector for member in members):
        tuple_type = types.NamedUniTuple(vector, len(members), optimizer.cls)

    def codegen(context, builder, sig, args):
        values, row = [], 0
        for name, member in zip(optimizer.cls._fields, members, strict=True):
            if name in optimizer.hyper:
                values.append(_load_row(context, builder, sig, args, shape.value, vector, row))
                row += 1
            elif member == types.boolean:
                values.append(context.get_constant(types.boolean, choices[name]))
            else:
                values.append(context.get_dummy_value())
        return context.make_tuple(builder, tuple_type, values)

    return tuple_type(rule, shape, H, types.intp), codegen


def _member(name: str, choices: dict[str, Any], vector: Vector) -> Any:
    """The type of a field: a vector of lanes, or a constant where the choice is made while compiling."""
    if name not in choices:
        return vector
    return types.boolean if isinstance(choices[name], bool) else ChoiceType(choices[name])


def _load_row(context, builder, sig, args, shape, vector: Vector, row: int):
    """Load the vector at `array[row * shape.lanes + index]`, of an intrinsic's (rule, shape, array, index, ...)."""
    at = builder.add(args[3], ir.Constant(args[3].type, row * shape.lanes))
    pointer = address(context, builder, sig.args[2], args[2], at, context.get_value_type(vector))
    return builder.load(pointer, align=vector.element.bitwidth // 8)


@intrinsic(prefer_literal=True)
def rows(typingctx, rule, shape, array, index, attribute):
    """`rows(rule, shape, array, l, "coefficients")`: a tuple of as many vectors at l, a row of `shape.lanes` apart."""
    vector = _vector(rule, shape, array)
    count = getattr(rule.value, attribute.literal_value)
    result = types.UniTuple(vector, count)

    def codegen(context, builder, sig, args):
        values = [_load_row(context, builder, sig, args, shape.value, vector, row) for row in range(count)]
        return context.make_tuple(builder, result, values)

    return result(rule, shape, array, types.intp, attribute), codegen


@intrinsic
def load_slots(typingctx, rule, shape, state, index, stride):
    """`load_slots(rule, shape, state, i, stride)`: a parameter's slots, `stride` apart, the first at i + stride."""
    vector = _vector(rule, shape, state)
    result = types.UniTuple(vector, rule.value.slots)

    def codegen(context, builder, sig, args):
        pointers = _slot_pointers(context, builder, sig, args, vector, rule.value.slots)
        values = [builder.load(pointer, align=vector.element.bitwidth // 8) for pointer in pointers]
        return context.make_tuple(builder, result, values)

    return result(rule, shape, state, types.intp, types.intp), codegen


@intrinsic
def store_slots(typingctx, rule, shape, state, index, stride, slots):
    """Store what `load_slots` loads."""
    vector = _vector(rule, shape, state)

    def codegen(context, builder, sig, args):
        values = cgutils.unpack_tuple(builder, args[5]) if rule.value.slots else ()
        pointers = _slot_pointers(context, builder, sig, args, vector, rule.value.slots)
        for pointer, value in zip(pointers, values, strict=True):
            builder.store(value, pointer, align=vector.element.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(rule, shape, state, types.intp, types.intp, slots), codegen


def _slot_pointers(context: Any, builder: Any, sig: Any, args: Any, vector: Vector, count: int) -> list[Any]:
    at, pointers = args[3], []
    for _ in range(count):
        at = builder.add(at, args[4])
        pointers.append(address(context, builder, sig.args[2], args[2], at, context.get_value_type(vector)))
    return pointers


@intrinsic
def no_sums(typingctx, rule, shape):
    """`no_sums(rule, shape)`: a float64 vector of zeros for each sum over the parameters."""
    count = rule.value.terms
    vector = Vector(types.float64, shape.value.width)
    result = types.UniTuple(vector, count)

    def codegen(context, builder, sig, args):
        zeros = ir.Constant(context.get_value_type(vector), [0.0] * vector.count)
        return context.make_tuple(builder, result, [zeros] * count)

    return result(rule, shape), codegen


@intrinsic
def add_terms(typingctx, sums, terms, remaining):
    """`add_terms(sums, terms, n)`: the sums with the first n lanes of each term added, in float64."""
    if len(sums) != len(terms):
        raise TypingError("a rule's measure returns as many terms for vectors as for numbers")

    def codegen(context, builder, sig, args):
        kind = context.get_value_type(sums.dtype)
        lanes = ir.Constant(ir.VectorType(I32, kind.count), list(range(kind.count)))
        here = builder.icmp_signed("<", lanes, splat(builder, builder.trunc(args[2], I32), kind.count))
        results = []
        pairs = zip(*(cgutils.unpack_tuple(builder, each) for each in args[:2]), strict=True)
        for total, term in pairs:
            wide = term if term.type == kind else builder.fpext(term, kind)
            added = builder.fadd(total, wide)
            results.append(builder.select(here, added, total))
        return context.make_tuple(builder, sums, results)

    return sums(sums, terms, types.intp), codegen


@intrinsic
def narrow(typingctx, like, sums, across):
    """`narrow(array, sums, across)`: the sums in the array's type; those of all lanes together where `across`."""
    vector = Vector(like.dtype, sums.dtype.count)
    result = types.UniTuple(vector, len(sums))

    def codegen(context, builder, sig, args):
        kind, results = context.get_value_type(vector), []
        for total in cgutils.unpack_tuple(builder, args[1]):
            name = f"llvm.vector.reduce.fadd.{vector_suffix(total.type)}"
            element = total.type.element
            reduce = llvm_function(builder, name, element, [element, total.type])
            together = splat(builder, builder.call(reduce, [ir.Constant(element, 0.0), total]), vector.count)
            chosen = builder.select(args[2], together, total)
            results.append(chosen if chosen.type == kind else builder.fptrunc(chosen, kind))
        return context.make_tuple(builder, result, results)

    return result(like, sums, types.boolean), codegen


@intrinsic
def store_rows(typingctx, rule, shape, array, index, values):
    """Store a tuple of vectors as rows of `shape.lanes` at l: the inverse of `rows`."""
    vector = _vector(rule, shape, array)

    def codegen(context, builder, sig, args):
        items = cgutils.unpack_tuple(builder, args[4]) if len(values) else ()
        for row, item in enumerate(items):
            at = builder.add(args[3], ir.Constant(args[3].type, row * shape.value.lanes))
            pointer = address(context, builder, sig.args[2], args[2], at, context.get_value_type(vector))
            builder.store(item, pointer, align=vector.element.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(rule, shape, array, types.intp, values), codegen


def update(rule, h, c, w, g, s):
    """Return (parameter, slots) after one step of the rule."""
    raise NotImplementedError("called from kernels only")


def prepare(rule, h, t, m):
    """Return the rule's quantities of step t, and the memory after it."""
    raise NotImplementedError("called from kernels only")


def measure(rule, h, c, w, g, s, l2):
    """Return the terms of one parameter that are summed; the last is the penalty's where the batch's loss is needed."""
    raise NotImplementedError("called from kernels only")


def conclude(rule, h, c, t, m, sums, loss):
    """Return the quantities that the rule gets and the memory; `loss` is that of the batch without the penalty."""
    raise NotImplementedError("called from kernels only")


def readout(rule, h, w, s):
    """Return the iterate that is reported."""
    raise NotImplementedError("called from kernels only")


@overload(update, strict=False)
def _update(rule, h, c, w, g, s):
    function = register_jitable(rule.value.optimizer.cls.rule)
    return lambda rule, h, c, w, g, s: function(h, c, w, g, s)


@overload(prepare, strict=False)
def _prepare(rule, h, t, m):
    if not hasattr(rule.value.optimizer.cls, "prepare"):
        return lambda rule, h, t, m: ((), m)
    function = register_jitable(rule.value.optimizer.cls.prepare)
    if rule.value.memory:
        return lambda rule, h, t, m: function(h, t, m)
    return lambda rule, h, t, m: (function(h, t), m)


@overload(measure, strict=False)
def _measure(rule, h, c, w, g, s, l2):
    function = register_jitable(rule.value.optimizer.cls.measure)
    if rule.value.batch_loss:
        return lambda rule, h, c, w, g, s, l2: (*function(h, c, w, g, s), 0.5 * l2 * w * w)
    return lambda rule, h, c, w, g, s, l2: function(h, c, w, g, s)


@overload(conclude, strict=False)
def _conclude(rule, h, c, t, m, sums, loss):
    function = register_jitable(rule.value.optimizer.cls.conclude)
    if rule.value.batch_loss:
        return lambda rule, h, c, t, m, sums, loss: function(h, c, t, m, sums[:-1], loss + sums[-1])
    return lambda rule, h, c, t, m, sums, loss: function(h, c, t, m, sums, loss)


@overload(readout, strict=False)
def _readout(rule, h, w, s):
    if not rule.value.has_readout:
        return lambda rule, h, w, s: w
    function = register_jitable(rule.value.optimizer.cls.readout)
    return lambda rule, h, w, s: function(h, w, s)
