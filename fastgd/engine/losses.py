"""Losses in kernels: chosen by number once for a block of rows, since a type for each would multiply compile times."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core.typing.templates import signature
from numba.extending import intrinsic, register_jitable

from fastgd._static import static
from fastgd._vectors import load, spread, store, total, wide, zeros
from fastgd.problems import LOSSES, MEASURES, Loss

SHARED_LOG = 8  # rows that share a logarithm: their products stay far below overflow


def _switch(name: str, records: Sequence[Loss], rows_of: Callable[[Loss], Callable[..., None]]) -> Any:
    """Return an intrinsic `f(loss, shape, Z, y, rows, scale, out)` that runs the loop of the loss with this number."""

    def typer(typingctx, loss, shape, Z, y, rows, scale, out):
        bodies = [rows_of(record) for record in records]

        def codegen(context, builder, sig, args):
            inner = signature(types.void, *sig.args[1:])
            done = builder.append_basic_block("loss.done")
            switch = builder.switch(args[0], done)
            for code, body in enumerate(bodies):
                block = builder.append_basic_block("loss")
                switch.add_case(ir.Constant(args[0].type, code), block)
                builder.position_at_end(block)
                context.compile_internal(builder, body, inner, args[1:])
                builder.branch(done)
            builder.position_at_end(done)
            return context.get_dummy_value()

        return types.void(types.intp, shape, Z, y, types.intp, scale, out), codegen

    typer.__name__ = name
    return intrinsic(typer)


def _residual_rows(loss: Loss) -> Callable[..., None]:
    derivative = register_jitable(loss.derivative)

    def body(shape, Z, y, rows, scale, out):
        L = static(shape, "lanes")
        for v in range(0, L, static(shape, "width")):
            check = load(shape, Z, v) * 0
            for i in range(rows):
                z = load(shape, Z, i * L + v)
                r = derivative(z, spread(shape, y[i]))
                check = check + (z + r) * 0
                store(Z, i * L + v, r * scale)
            store(out, v, check)

    return body


def _residuals_over_rows(loss: Loss) -> Callable[..., None]:
    derivative = register_jitable(loss.derivative)

    def body(shape, Z, y, rows, scale, out):
        check = load(shape, Z, 0) * 0
        for i in range(0, rows, static(shape, "width")):
            z = load(shape, Z, i)
            r = derivative(z, load(shape, y, i))
            check = check + (z + r) * 0
            store(Z, i, r * scale)
        out[0] = total(check)

    return body


def _value(loss: Loss) -> Any:
    """The loss's value in a kernel."""
    if loss.log_terms is None:
        return register_jitable(loss.value)
    terms = register_jitable(loss.log_terms)

    @register_jitable
    def value(z, y):
        a, e = terms(z, y)
        return a + np.log1p(e)

    return value


def _value_rows(loss: Loss) -> Callable[..., None]:
    if loss.log_terms is not None:
        return _log_value_rows(register_jitable(loss.log_terms))
    value = _value(loss)

    def body(shape, Z, y, rows, scale, out):
        L = static(shape, "lanes")
        for v in range(0, L, static(shape, "width")):
            sums = load(shape, out, v)
            for i in range(rows):
                sums = sums + wide(value(load(shape, Z, i * L + v), spread(shape, y[i])))
            store(out, v, sums)

    return body


def _log_value_rows(terms: Any) -> Callable[..., None]:
    """Sums of a + log(1 + e): with 1 + p the product of several 1 + e, nothing is lost where all e are small."""

    def body(shape, Z, y, rows, scale, out):
        L = static(shape, "lanes")
        for v in range(0, L, static(shape, "width")):
            sums = load(shape, out, v)
            for low in range(0, rows, SHARED_LOG):
                p = zeros(shape, Z)
                for i in range(low, min(low + SHARED_LOG, rows)):
                    a, e = terms(load(shape, Z, i * L + v), spread(shape, y[i]))
                    sums = sums + wide(a)
                    p = p * e + (p + e)
                sums = sums + wide(np.log1p(p))
            store(out, v, sums)

    return body


def _values_over_rows(loss: Loss) -> Callable[..., None]:
    value = _value(loss)

    def body(shape, Z, y, rows, scale, out):
        width = static(shape, "width")
        whole = rows - rows % width
        sums = wide(zeros(shape, Z))
        for i in range(0, whole, width):
            sums = sums + wide(value(load(shape, Z, i), load(shape, y, i)))
        out[0] += total(sums)
        if whole < rows:
            behind = whole + width
            store(Z, behind, value(load(shape, Z, whole), load(shape, y, whole)))
            for i in range(rows - whole):
                out[0] += Z[behind + i]

    return body


# residuals: Z (rows, L) becomes the derivative times `scale`; `out` (L) is NaN in a lane where a value was not finite.
residuals = _switch("residuals", list(LOSSES.values()), _residual_rows)
# residuals_of_rows: the same for one lane's margins Z (rows,), a whole number of vectors; `out` has one element.
residuals_of_rows = _switch("residuals_of_rows", list(LOSSES.values()), _residuals_over_rows)
# add_losses: the values of Z (rows, L) are added to `out` (L) in float64; `scale` is not used.
add_losses = _switch("add_losses", MEASURES, _value_rows)
# add_losses_of_rows: the same for one lane's margins Z (rows,), with room for a vector behind the last one.
add_losses_of_rows = _switch("add_losses_of_rows", MEASURES, _values_over_rows)
