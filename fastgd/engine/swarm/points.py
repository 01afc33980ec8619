"""Points of a landscape in kernels: coordinates that are vectors of lanes, in registers where there are few of them."""

import operator
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

from fastgd.core.vectors import Vector, address


class Point(types.Type):
    """Some vectors of one type, by their place in memory: `x[i]`, `x[i] = ...`, `len(x)`."""

    def __init__(self, vector: Vector) -> None:
        self.vector = vector
        super().__init__(name=f"Point({vector})")


@register_model(Point)
class _PointModel(models.StructModel):
    def __init__(self, manager: Any, fe_type: Point) -> None:
        pointer = types.CPointer(fe_type.vector)
        super().__init__(manager, fe_type, [("data", pointer), ("size", types.intp)])


def _place(context, builder, kind: Point, point, index):
    struct = cgutils.create_struct_proxy(kind)(context, builder, value=point)
    below = builder.icmp_signed("<", index, ir.Constant(index.type, 0))  # x[-1]: decided while compiling
    index = builder.select(below, builder.add(index, struct.size), index)
    return builder.gep(struct.data, [index]), kind.vector.element.bitwidth // 8


@infer_global(operator.getitem)
class _GetItem(AbstractTemplate):
    def generic(self, args: Any, kws: Any) -> Any:
        if len(args) == 2 and isinstance(args[0], Point) and isinstance(args[1], types.Integer):
            return signature(args[0].vector, args[0], types.intp)
        return None


@infer_global(operator.setitem)
class _SetItem(AbstractTemplate):
    def generic(self, args: Any, kws: Any) -> Any:
        if len(args) == 3 and isinstance(args[0], Point) and isinstance(args[1], types.Integer):
            return signature(types.none, args[0], types.intp, args[0].vector)
        return None


@infer_global(len)
class _Len(AbstractTemplate):
    def generic(self, args: Any, kws: Any) -> Any:
        return signature(types.intp, *args) if len(args) == 1 and isinstance(args[0], Point) else None


@lower_builtin(operator.getitem, Point, types.Integer)
def _get_item(context, builder, sig, args):
    pointer, align = _place(context, builder, sig.args[0], *args)
    return builder.load(pointer, align=align)


@lower_builtin(operator.setitem, Point, types.Integer, Vector)
def _set_item(context, builder, sig, args):
    pointer, align = _place(context, builder, sig.args[0], *args[:2])
    builder.store(args[2], pointer, align=align)
    return context.get_dummy_value()


@lower_builtin(len, Point)
def _len(context, builder, sig, args):
    return cgutils.create_struct_proxy(sig.args[0])(context, builder, value=args[0]).size


@intrinsic(prefer_literal=True)
def point(typingctx, shape, array, index, size, room):
    """`point(shape, array, i, n, "slots")`: n vectors that start at array[i], or n on the stack.

    On the stack, there are `(1 + getattr(shape.value, room)) * dimension` at most, where the shape has a `dimension`;
    what has a constant size and place there ends up in registers.
    """
    vector = Vector(array.dtype, shape.value.width)
    kind, tile = Point(vector), shape.value
    count = getattr(tile, room.literal_value) * tile.dimension

    def codegen(context, builder, sig, args):
        struct = cgutils.create_struct_proxy(kind)(context, builder)
        element = context.get_value_type(vector)
        if count:
            whole = ir.ArrayType(element, count)
            stack = cgutils.alloca_once(builder, whole)
            struct.data = builder.bitcast(stack, ir.PointerType(element))
            struct.size = ir.Constant(ir.IntType(64), count)
        else:
            struct.data = address(context, builder, sig.args[1], args[1], args[2], element)
            struct.size = args[3]
        return struct._getvalue()

    return kind(shape, array, types.intp, types.intp, room), codegen
