"""How kernels call a landscape, which is a compile-time constant, on vectors of lanes."""

from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numba.np.arrayobj import populate_array

from fastgd.core.static import function_of, typed_call
from fastgd.core.vectors import address
from fastgd.optimizers.rule_functions import jitable
from fastgd.problems import Landscape

_NUMBERS = types.Array(types.float64, 1, "C")


def flat_parameters(p: Any) -> npt.NDArray[np.float64]:
    """Return a landscape's parameters one after another, of an array its length first: one type for all landscapes."""
    parts = [(value,) if np.ndim(value) == 0 else (len(value), *value) for value in p]
    return np.array([number for part in parts for number in part], np.float64)


@intrinsic
def parameters(typingctx, landscape, numbers):
    """`parameters(landscape, numbers)`: the NamedTuple of the parameters, from what `flat_parameters` made of it."""
    record: Landscape = landscape.value
    members = [_NUMBERS if isinstance(default, tuple) else types.float64 for default in record.parameters.values()]
    whole = types.NamedTuple(members, record.cls)

    def codegen(context, builder, sig, args):
        at, values = ir.Constant(ir.IntType(64), 0), []
        for kind in members:
            value = builder.load(address(context, builder, sig.args[1], args[1], at))
            at = builder.add(at, ir.Constant(at.type, 1))
            if kind is _NUMBERS:
                count = builder.fptosi(value, at.type)
                value = _view(context, builder, address(context, builder, sig.args[1], args[1], at), count)
                at = builder.add(at, count)
            values.append(value)
        return context.make_tuple(builder, whole, values)

    return whole(landscape, numbers), codegen


def _view(context: Any, builder: Any, data: Any, count: Any) -> Any:
    """An array of so many numbers that stand at an address."""
    view = context.make_array(_NUMBERS)(context, builder)
    size = ir.Constant(count.type, 8)
    populate_array(view, data=data, shape=[count], strides=[size], itemsize=size, meminfo=None)
    return view._getvalue()


def _compiled(landscape: Landscape, function: Any) -> Any:
    """Return a landscape's function for kernels, and make those known that it calls."""
    for helper in landscape.helpers:
        jitable(helper)
    return jitable(function)


@function_of(lambda landscape, *_: _compiled(landscape, landscape.value))
def value(landscape, p, x):
    """Return a landscape's value at x."""


@function_of(lambda landscape, p, x, g: _compiled(landscape, landscape.gradient_for(str(x.vector.element))))
def gradient(landscape, p, x, g):
    """Fill g with the gradient at x."""


@intrinsic
def step_gradient(typingctx, landscape, p, x, t, g):
    """Fill g with the gradient that step t gets at x."""
    record, kinds = landscape.value, (landscape, p, x, t, g)
    if record.online:
        return typed_call(typingctx, _compiled(record, record.gradient_at), kinds, (1, 2, 3, 4))
    function = _compiled(record, record.gradient_for(str(x.vector.element)))
    return typed_call(typingctx, function, kinds, (1, 2, 4))
