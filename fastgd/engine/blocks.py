"""Register blocks: products of which all sums stay in the registers until they are complete.

LLVM does not keep a two-dimensional block of accumulators of an array in registers; named vector values do. One emitter
makes the products of linear models and of networks, which differ in where their numbers lie.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir

from fastgd.core.vectors import call_llvm, constant


def emit_block(
    builder: Any,
    size: tuple[int, int],
    inner: Any,
    left: Callable[[Any], Callable[[int], Any]],
    right: Callable[[Any, int], Any],
    out: Callable[[int, int], Any],
    align: int,
    *,
    times: bool = False,
) -> None:
    """Emit `out(r, v) += sum_k left(k)(r) right(k, v)` for a block of some rows r and vectors v; with `times`, `*=`.

    `left(k)` returns what emits a row's vector; `right` and `out` return pointers to vectors. `align`: of an element.
    """
    count, vectors = size
    zero = ir.Constant(inner.type, 0)
    cells = [(r, v) for r in range(count) for v in range(vectors)]
    places = {cell: out(*cell) for cell in cells}
    start = stood = {cell: builder.load(places[cell], align=align) for cell in cells}
    kind = stood[0, 0].type
    if times:
        start = dict.fromkeys(cells, constant(kind, 0.0))

    before = builder.block
    loop, done = builder.append_basic_block("block"), builder.append_basic_block("block.done")
    builder.cbranch(builder.icmp_signed("<", zero, inner), loop, done)
    builder.position_at_end(loop)
    k = builder.phi(inner.type)
    totals = {cell: builder.phi(kind) for cell in cells}
    k.add_incoming(zero, before)
    factors = [builder.load(right(k, v), align=align) for v in range(vectors)]
    row = left(k)
    results = {}
    for r in range(count):
        x = row(r)
        for v in range(vectors):
            results[r, v] = call_llvm(builder, "fma", x, factors[v], totals[r, v])
    following = builder.add(k, ir.Constant(k.type, 1))
    k.add_incoming(following, loop)
    builder.cbranch(builder.icmp_signed("<", following, inner), loop, done)
    builder.position_at_end(done)
    for cell in cells:
        totals[cell].add_incoming(start[cell], before)
        totals[cell].add_incoming(results[cell], loop)
        final = builder.phi(kind)
        final.add_incoming(start[cell], before)
        final.add_incoming(results[cell], loop)
        results[cell] = final
    for cell in cells:
        result = builder.fmul(results[cell], stood[cell]) if times else results[cell]
        builder.store(result, places[cell], align=align)


def alignment(element: Any) -> int:
    """Return the alignment of an element of a vector: that of whole vectors is not promised."""
    return 8 if isinstance(element, ir.DoubleType) else 4
