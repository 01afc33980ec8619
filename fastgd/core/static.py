"""Compile-time constants as arguments of kernels: a `Static`, what kernels ask of it, and categorical choices."""

import functools
import inspect
import operator
from collections.abc import Callable, Sequence
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
        """The constant."""
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


@intrinsic(prefer_literal=True)
def part(typingctx, constant, name):
    """`part(constant, "name")`: the attribute of a Static's value as a Static; None stays None."""
    value = getattr(constant.value, name.literal_value)
    result = types.none if value is None else StaticType(value)

    def codegen(context, builder, sig, args):
        return context.get_dummy_value()

    return result(constant, name), codegen


def typed_call(typingctx: Any, function: Any, kinds: Sequence[Any], places: Sequence[int]) -> Any:
    """Return what an intrinsic of these types returns that calls a function with its arguments at some places.

    Numba would compile a function of its own that only passes the arguments on.
    """
    typingctx.refresh()  # the function may have been made known a moment ago
    callee, given = typingctx.resolve_value_type(function), [kinds[place] for place in places]
    inner = callee.get_call_type(typingctx, given, {})

    def codegen(context, builder, sig, args):
        passed = [args[place] for place in places]
        cast = [context.cast(builder, *each) for each in zip(passed, given, inner.args, strict=True)]
        return context.get_function(callee, inner)(builder, cast)

    return inner.return_type(*kinds), codegen


def with_parameters_of(declaration: Callable[..., Any], typed: Callable[..., Any]) -> Callable[..., Any]:
    """Give an intrinsic `typed(typingctx, *kinds)` a declaration's parameters: Numba would pass a tuple of them."""
    functools.update_wrapper(typed, declaration)
    names = ["typingctx", *inspect.signature(declaration).parameters]
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    vars(typed)["__signature__"] = inspect.Signature([inspect.Parameter(name, kind) for name in names])
    return typed


def function_of(find: Callable[..., Any]) -> Callable[[Callable[..., Any]], Any]:
    """Make a declaration f(static, ...) callable in kernels.

    `find(value, ...)` returns, from the Static's value and the types of the other arguments, what is called with these.
    """

    def decorate(declaration: Callable[..., Any]) -> Any:
        def typed(typingctx, constant, *kinds):
            return typed_call(typingctx, find(constant.value, *kinds), (constant, *kinds), range(1, 1 + len(kinds)))

        return intrinsic(with_parameters_of(declaration, typed))

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
