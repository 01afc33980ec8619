"""Register blocks: products of which all sums stay in the registers until they are complete.

LLVM does not keep a two-dimensional block of accumulators of an array in registers; named vector values do. One emitter
makes the products of linear models and of networks, which differ in where their numbers lie.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir

from fastgd.core.vectors import I32, call_llvm, constant, llvm_function, splat, vector_suffix


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
    mask: Any = None,
) -> None:
    """Emit `out(r, v) += sum_k left(k)(r) right(k, v)` for a block of some rows r and vectors v; with `times`, `*=`.

    `left(k)` returns what emits a row's vector; `right` and `out` return pointers to vectors. `align`: of an element.
    `mask`: which elements of `out` there are, if not all.
    """
    count, vectors = size
    zero = ir.Constant(inner.type, 0)
    cells = [(r, v) for r in range(count) for v in range(vectors)]
    places = {cell: out(*cell) for cell in cells}
    start = stood = {cell: _load(builder, places[cell], align, mask) for cell in cells}
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
        _store(builder, result, places[cell], align, mask)


def _load(builder: Any, pointer: Any, align: int, mask: Any) -> Any:
    if mask is None:
        return builder.load(pointer, align=align)
    kind = pointer.type.pointee
    function = llvm_function(
        builder, f"llvm.masked.load.{vector_suffix(kind)}.p0", kind, [pointer.type, I32, mask.type, kind]
    )
    return builder.call(function, [pointer, I32(align), mask, constant(kind, 0.0)])


def _store(builder: Any, value: Any, pointer: Any, align: int, mask: Any) -> None:
    if mask is None:
        builder.store(value, pointer, align=align)
        return
    name, kinds = f"llvm.masked.store.{vector_suffix(value.type)}.p0", [value.type, pointer.type, I32, mask.type]
    builder.call(llvm_function(builder, name, ir.VoidType(), kinds), [value, pointer, I32(align), mask])


def first_elements(builder: Any, count: Any, width: int) -> Any:
    """Emit the mask of the first elements of a vector."""
    numbers = ir.Constant(ir.VectorType(count.type, width), list(range(width)))
    return builder.icmp_signed("<", numbers, splat(builder, count, width))


def alignment(element: Any) -> int:
    """Return the alignment of an element of a vector: that of whole vectors is not promised."""
    return 8 if isinstance(element, ir.DoubleType) else 4
