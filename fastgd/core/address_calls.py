"""Kernels called by their address: what a driver calls is compiled apart from it (`engine/rule_kernels.py`)."""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import intrinsic
from numpy.typing import NDArray

from fastgd.core.linked import needs_machine_code


@intrinsic
def call_at(typingctx, address, shape, *arguments):
    """`call_at(address, shape, a, b, ...)`: call the kernel `f(static, shape, a, b, ...)` by its address.

    An error in the kernel is noted beside its address, and raised after the call from Python has ended (see
    `raise_failed`): if the driver could stop at once, Numba would count references of every view in it, which takes a
    tenth of the time.

    Arrays must be C-contiguous, whole numbers are int64: what `address_of` compiles kernels for.
    """
    kinds = tuple(types.unliteral(kind) for kind in arguments)
    _check_passed(kinds)
    wanted = (shape, shape, *(types.int64 if isinstance(kind, types.Integer) else kind for kind in kinds))

    def codegen(context, builder, sig, args):
        values = zip(cgutils.unpack_tuple(builder, args[2]), arguments, wanted[2:], strict=True)
        cast = [context.cast(builder, value, found, kind) for value, found, kind in values]
        row = builder.inttoptr(args[0], ir.IntType(64).as_pointer())
        kind = context.call_conv.get_function_type(types.none, wanted).as_pointer()
        pointer = builder.inttoptr(builder.load(row), kind)
        given = [context.get_dummy_value(), context.get_dummy_value(), *cast]
        status, _ = context.call_conv.call_function(builder, pointer, types.none, wanted, given)
        with cgutils.if_unlikely(builder, status.is_error):
            builder.store(ir.Constant(ir.IntType(64), 1), builder.gep(row, [ir.Constant(ir.IntType(32), 1)]))
        return context.get_dummy_value()

    return types.void(types.int64, shape, types.StarArgTuple(arguments)), codegen


def _check_passed(kinds: Any) -> None:
    """Raise TypingError where an argument is not of a type that `address_of` compiles for."""
    for kind in kinds:
        if isinstance(kind, types.BaseTuple):
            _check_passed(kind)
            if any(isinstance(member, types.Integer) and member != types.int64 for member in kind):
                raise TypingError(f"whole numbers in a tuple that a kernel is passed by its address are int64: {kind}")
        if isinstance(kind, types.Array) and kind.layout != "C":
            raise TypingError(f"a kernel that is called by its address takes C-contiguous arrays, not {kind}")


# What was asked for before, by kernel and types: to compile takes 0.2 ms, also where there is nothing left to do.
_rows: dict[tuple[Any, tuple[Any, ...]], int] = {}
# For each kernel that is called by its address, by that address: its name, and [address, whether it has failed].
_called: dict[int, tuple[str, NDArray[np.int64]]] = {}


def address_of(kernel: Any, kinds: tuple[Any, ...]) -> int:
    """Compile a kernel for these types, or load it from the cache, and return the address to call it by."""
    if (known := _rows.get((kernel, kinds))) is not None:
        return known
    needs_machine_code(kernel.py_func, kinds)
    kernel.compile(kinds)
    compiled = kernel.overloads[kinds]
    code = int(compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name))
    _, row = _called.setdefault(code, (compiled.fndesc.qualname, np.array([code, 0], np.int64)))
    return _rows.setdefault((kernel, kinds), int(row.ctypes.data))


def raise_failed() -> None:
    """Raise RuntimeError where a kernel that was called by its address has failed."""
    for name, row in list(_called.values()):  # other threads may add to it
        if row[1]:
            row[1] = 0
            raise RuntimeError(f"the kernel {name} failed")
