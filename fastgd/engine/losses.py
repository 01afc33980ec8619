"""Losses in kernels: chosen by number once for a block of rows, since a type for each would multiply compile times."""

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.core.typing.templates import signature
from numba.extending import intrinsic, register_jitable

from fastgd._static import static
from fastgd._vectors import load, spread, store, total, wide
from fastgd.problems import LOSSES, MEASURES


def _switch(name: str, records: Sequence[Any], attribute: str, rows_of: Callable[[Any], Callable[..., None]]) -> Any:
    """Return an intrinsic `f(loss, shape, Z, y, rows, scale, out)` that runs the loop of the loss with this number."""

    def typer(typingctx, loss, shape, Z, y, rows, scale, out):
        bodies = [rows_of(register_jitable(getattr(record, attribute))) for record in records]

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


def _residual_rows(derivative: Any) -> Callable[..., None]:
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


def _residuals_over_rows(derivative: Any) -> Callable[..., None]:
    def body(shape, Z, y, rows, scale, out):
        check = load(shape, Z, 0) * 0
        for i in range(0, rows, static(shape, "width")):
            z = load(shape, Z, i)
            r = derivative(z, load(shape, y, i))
            check = check + (z + r) * 0
            store(Z, i, r * scale)
        out[0] = total(check)

    return body


def _value_rows(value: Any) -> Callable[..., None]:
    def body(shape, Z, y, rows, scale, out):
        L = static(shape, "lanes")
        for v in range(0, L, static(shape, "width")):
            sums = load(shape, out, v)
            for i in range(rows):
                sums = sums + wide(value(load(shape, Z, i * L + v), spread(shape, y[i])))
            store(out, v, sums)

    return body


# residuals: Z (rows, L) becomes the derivative times `scale`; `out` (L) is NaN in a lane where a value was not finite.
residuals = _switch("residuals", list(LOSSES.values()), "derivative", _residual_rows)
# residuals_of_rows: the same for one lane's margins Z (rows,), a whole number of vectors; `out` has one element.
residuals_of_rows = _switch("residuals_of_rows", list(LOSSES.values()), "derivative", _residuals_over_rows)
# add_losses: the values of Z (rows, L) are added to `out` (L) in float64; `scale` is not used.
add_losses = _switch("add_losses", MEASURES, "value", _value_rows)
