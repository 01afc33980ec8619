"""How kernels call a rule, which is a compile-time constant.

`update`, `prepare` and `readout` become calls of the rule's functions, and `lane` makes the hyper-parameters that they
expect: vectors of lanes for numbers, constants for categorical choices. A round of sums is a constant too, a `Round`.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import intrinsic, overload

from fastgd.core import (
    math,
    vector_math,  # noqa: F401 (rules use exp on vectors)
)
from fastgd.core.compile import jit
from fastgd.core.static import ChoiceType, function_of
from fastgd.core.vectors import I32, Vector, address, convert, llvm_function, splat, vector_suffix
from fastgd.optimizers import adam_series
from fastgd.optimizers.rule_functions import jitable

overload(math.exp, strict=False)(lambda z: lambda z: np.exp(z))
overload(math.power, strict=False)(lambda x, t: math.whole_power)
overload(math.sigmoid, strict=False)(lambda z: math.sigmoid)
overload(math.squares, strict=False)(lambda x: math.in_units)
overload(math.root, strict=False)(lambda sums: math.root)
overload(math.hypot, strict=False)(lambda x, y: math.hypot)
overload(adam_series.terms_of, strict=False)(lambda m, v, eps: adam_series.terms_of)
overload(adam_series.decayed_terms, strict=False)(lambda q, beta, growth: adam_series.decayed_terms)
overload(adam_series.sum_of_terms, strict=False)(lambda q, scale: adam_series.sum_of_terms)


def _vector(rule, shape, array) -> Vector:
    return Vector(array.dtype, shape.value.width)


@intrinsic
def lane(typingctx, rule, shape, H, index):
    """`lane(rule, shape, H, l)`: the hyper-parameters of the lanes at l, as the rule's functions take them.

    H is flat: a row of `shape.lanes` for each numeric hyper-parameter.
    """
    vector, layout = _vector(rule, shape, H), rule.value.layout
    kinds = [_tuple_type(cls, choices, vector) for cls, choices in layout]
    whole = kinds[0]
    for kind in kinds[1:]:
        whole = types.Tuple((whole, kind))

    def codegen(context, builder, sig, args):
        value, inside, row = None, None, 0
        for kind, (cls, choices) in zip(kinds, layout, strict=True):
            members = []
            for name in cls._fields:
                if name not in choices:
                    members.append(_load_row(context, builder, sig, args, shape.value, vector, row))
                    row += 1
                elif isinstance(choices[name], bool):
                    members.append(context.get_constant(types.boolean, choices[name]))
                else:
                    members.append(context.get_dummy_value())
            made = context.make_tuple(builder, kind, members)
            if inside is None:
                value, inside = made, kind
            else:
                inside = types.Tuple((inside, kind))
                value = context.make_tuple(builder, inside, (value, made))
        return value

    return whole(rule, shape, H, types.intp), codegen


def _tuple_type(cls: Any, choices: Mapping[str, Any], vector: Vector) -> Any:
    """The type of a NamedTuple: vectors of lanes, and constants where a choice is made while compiling."""
    members = [_member(choices[name]) if name in choices else vector for name in cls._fields]
    if all(member == vector for member in members):
        return types.NamedUniTuple(vector, len(members), cls)
    return types.NamedTuple(members, cls)


def _member(choice: Any) -> Any:
    return types.boolean if isinstance(choice, bool) else ChoiceType(choice)


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
    count = rule.value.sums
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
            added = builder.fadd(total, term)
            results.append(builder.select(here, added, total))
        return context.make_tuple(builder, sums, results)

    return sums(sums, terms, types.intp), codegen


@intrinsic
def across_lanes(typingctx, sums, across):
    """`across_lanes(sums, across)`: the sums; where `across`, all lanes are added up."""

    def codegen(context, builder, sig, args):
        results = []
        for total in cgutils.unpack_tuple(builder, args[0]):
            name = f"llvm.vector.reduce.fadd.{vector_suffix(total.type)}"
            element = total.type.element
            reduce = llvm_function(builder, name, element, [element, total.type])
            whole = splat(builder, builder.call(reduce, [ir.Constant(element, 0.0), total]), total.type.count)
            results.append(builder.select(args[1], whole, total))
        return context.make_tuple(builder, sums, results)

    return sums(sums, types.boolean), codegen


@intrinsic
def cast_all(typingctx, vectors, array):
    """`cast_all(vectors, array)`: a tuple of vectors with their elements in the type of an array."""
    result = types.UniTuple(Vector(array.dtype, vectors.dtype.count), len(vectors)) if len(vectors) else vectors

    def codegen(context, builder, sig, args):
        if not len(vectors):
            return args[0]
        kind = context.get_value_type(result.dtype)
        values = [convert(builder, value, kind) for value in cgutils.unpack_tuple(builder, args[0])]
        return context.make_tuple(builder, result, values)

    return result(vectors, array), codegen


@intrinsic
def store_rows(typingctx, rule, shape, array, index, values):
    """Store a tuple of vectors as rows of `shape.lanes` at l, in the array's type: the inverse of `rows`."""
    vector = _vector(rule, shape, array)

    def codegen(context, builder, sig, args):
        items = cgutils.unpack_tuple(builder, args[4]) if len(values) else ()
        for row, item in enumerate(items):
            at = builder.add(args[3], ir.Constant(args[3].type, row * shape.value.lanes))
            kind = context.get_value_type(vector)
            pointer = address(context, builder, sig.args[2], args[2], at, kind)
            builder.store(convert(builder, item, kind), pointer, align=vector.element.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(rule, shape, array, types.intp, values), codegen


@function_of(lambda rule, *_: jitable(rule.functions.update))
def update(rule, h, c, w, g, s):
    """Return (parameter, slots) after one step of the rule."""


@function_of(lambda rule, *_: jitable(rule.functions.prepare))
def prepare(rule, h, t, m):
    """Return the rule's quantities of step t, and the memory after it."""


@function_of(lambda step, *_: jitable(step.measure))
def measure(step, h, c, w, g, s, l2):
    """Return the terms of one parameter that are summed in a round."""


@function_of(lambda step, *_: jitable(step.conclude))
def conclude(step, h, c, t, m, sums, loss):
    """Return the quantities after a round, and the memory; `loss` is that of the batch without the penalty."""


@function_of(lambda rule, *_: jitable(rule.functions.readout))
def readout(rule, h, w, s):
    """Return the iterate that is reported."""


# --- a step's quantities ----------------------------------------------------------------------------------------------
# They are computed in float64 and then rounded once: in float32, `1 - beta` would lose most digits. For a cohort in
# float64, `exact` and `rounded` may be the same array.


@jit(inline="always")
def prepare_step(rule, shape, hyper, memory, exact, rounded, v, t):
    """Prepare the quantities of step t in the lanes at v; all arrays but `rounded` are float64."""
    h, kept = lane(rule, shape, hyper, v), rows(rule, shape, memory, v, "numbers")
    quantities, kept = prepare(rule, h, t, kept)
    store_rows(rule, shape, exact, v, quantities)
    store_rows(rule, shape, rounded, v, quantities)
    store_rows(rule, shape, memory, v, kept)


@jit(inline="always")
def conclude_sums(step, shape, hyper, memory, exact, rounded, v, t, sums, loss, across):
    """Conclude a round from sums over the parameters and the batch's loss; `across`: see `across_lanes`."""
    h, kept = lane(step, shape, hyper, v), rows(step, shape, memory, v, "numbers")
    known, totals = rows(step, shape, exact, v, "quantities"), across_lanes(sums, across)
    quantities, kept = conclude(step, h, known, t, kept, totals, loss)
    store_rows(step, shape, exact, v, quantities)
    store_rows(step, shape, rounded, v, quantities)
    store_rows(step, shape, memory, v, kept)
