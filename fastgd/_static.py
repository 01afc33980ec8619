"""Compile-time constants as arguments of kernels: two values are two specialisations."""

import operator
from typing import Any

from llvmlite import ir
from numba import types
from numba.core.pythonapi import NativeValue
from numba.extending import intrinsic, models, overload, register_model, typeof_impl, unbox


class Static:
    """A hashable value that a kernel knows while it compiles; two values are two specialisations."""

    def __init__(self, value: Any) -> None:
        self.value = value


_static_values: dict[str, Any] = {}


class StaticType(types.Type):
    """The type of a `Static`. Its name alone is its identity, so that the cache's index holds no user's class."""

    def __init__(self, value: Any) -> None:
        name = f"static({value!r})"
        _static_values[name] = value
        super().__init__(name=name)

    @property
    def value(self) -> Any:
        return _static_values[self.name]


@typeof_impl.register(Static)
def _typeof_static(static: Static, _context) -> StaticType:
    return StaticType(static.value)


register_model(StaticType)(models.OpaqueModel)


@unbox(StaticType)
def _unbox_static(_type, _object, context) -> NativeValue:
    return NativeValue(context.context.get_dummy_value())


@intrinsic(prefer_literal=True)
def static(typingctx, constant, name):
    """`static(constant, "name")`: the attribute of a Static's value, a whole number, as a constant."""
    value = int(getattr(constant.value, name.literal_value))

    def codegen(context, builder, sig, args):
        return ir.Constant(ir.IntType(64), value)

    return types.int64(constant, name), codegen


def only_if(name: str) -> Any:
    """Decorate a function of kernels, whose first argument is a Static: without that attribute nothing is compiled."""

    def decorate(function: Any) -> Any:
        def nothing(_constant, *_arguments):
            pass

        @overload(function, strict=False)
        def _choose(constant, *_arguments):
            return function if getattr(constant.value, name) else nothing

        return function

    return decorate


class ChoiceType(types.Type):
    """A categorical hyper-parameter in a rule: comparing it with a literal is decided while compiling."""

    def __init__(self, value: str) -> None:
        self.choice = value
        super().__init__(name=f"choice({value})")


register_model(ChoiceType)(models.OpaqueModel)


@overload(operator.eq)
def _choice_equals(choice, literal):
    if isinstance(choice, ChoiceType) and isinstance(literal, types.StringLiteral):
        same = choice.choice == literal.literal_value
        return lambda choice, literal: same
    return None
