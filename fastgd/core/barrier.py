"""Two kernels that run side by side and wait for each other, some microseconds apart.

Each counts its steps in a number of its own, and waits for the other's by reading it again and again: a lock of the
operating system would take longer than a step. Who has waited for long gives its processor away. Where that happens
again and again, one of the two goes on alone: other work has one of the processors, and meeting would mean to wait for
that.
"""

import sys
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastgd.core.compile import jit
from fastgd.core.vectors import address, llvm_function

PATIENCE = 1 << 12  # readings, some 100 microseconds, before the processor is given away
MOST_LATE = 4  # steps in which the other was waited for so long, before one goes on alone
LINE = 8  # numbers of a cache line: each counter has one to itself


def make_counters(count: int) -> np.ndarray[Any, Any]:
    """Return counters of steps for so many kernels, which stand apart in memory; the first says that one fails."""
    return np.zeros((count + 1) * LINE, np.int64)


@intrinsic
def _publish(typingctx, counters, index, value):
    """Write a counter, behind all that was written before it."""

    def codegen(context, builder, sig, args):
        place = address(context, builder, sig.args[0], args[0], args[1])
        builder.store_atomic(args[2], place, "release", 8)
        return context.get_dummy_value()

    return types.void(counters, types.intp, types.int64), codegen


@intrinsic
def _observed(typingctx, counters, index):
    """Read a counter, before all that is read behind it."""

    def codegen(context, builder, sig, args):
        return builder.load_atomic(address(context, builder, sig.args[0], args[0], args[1]), "acquire", 8)

    return types.int64(counters, types.intp), codegen


@intrinsic
def _pause(typingctx):
    """Tell the processor that this is a loop that waits."""

    def codegen(context, builder, sig, args):
        if llvm.get_process_triple().startswith(("x86", "i686", "amd64")):
            builder.call(llvm_function(builder, "llvm.x86.sse2.pause", ir.VoidType(), []), [])
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def _give_way(typingctx):
    """Give the processor to another thread."""

    def codegen(context, builder, sig, args):
        name = "SwitchToThread" if sys.platform == "win32" else "sched_yield"
        builder.call(llvm_function(builder, name, ir.IntType(32), []), [])
        return context.get_dummy_value()

    return types.void(), codegen


@jit(inner=True)
def begin(counters, own):
    """Begin a call: nobody is to go on alone."""
    counters[(own + 1) * LINE + 1] = 0


@jit(inner=True)
def meet(counters, own, other, step, late):
    """Say that a step is done, and wait until the other kernel has done it too.

    `late`: in how many steps of this call the other was waited for too long; after `MOST_LATE` both know that one goes
    on alone (`parted`). Return whether it was in this one.
    """
    if late > MOST_LATE and counters[(own + 1) * LINE + 1] == 0:
        counters[(own + 1) * LINE + 1] = step
    _publish(counters, (own + 1) * LINE, step)
    readings = 0
    while _observed(counters, (other + 1) * LINE) < step:
        readings += 1
        if readings < PATIENCE:
            _pause()
        elif counters[0]:  # the other does not come
            return True
        else:
            _give_way()
    return readings >= PATIENCE


@jit(inner=True)
def parted(counters, own, other, step):
    """Whether one of the two is to go on alone after this step, in which they have met: the same answer for both."""
    mine, others = counters[(own + 1) * LINE + 1], counters[(other + 1) * LINE + 1]
    return 0 < mine <= step or 0 < others <= step
