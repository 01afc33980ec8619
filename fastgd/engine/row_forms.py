"""Rows that take a study's form, standardised or rounded, when kernels look them up: into a buffer of the worker's.

There they stay in its first caches for as long as they are needed, and memory is read as by rows that are multiplied
where they lie. A value has the bits that it has in a copy of all rows: (x - mean) / deviation in float64, rounded.

Divisions would take longer than all products with 32 lanes. An exact quotient is made of products instead: x times the
reciprocal is within 2 ulp of it; each of two corrections by the remainder, which a fused multiply-add knows exactly,
makes it the nearest number (P. Markstein, Computation of elementary functions on the IBM RISC System/6000 processor, IBM
Journal of Research and Development 34, 1990, theorems 6 to 8). Where remainders may not be exact, as of numbers near the
smallest ones, the processor divides.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba.extending import intrinsic

from fastgd.core.compile import jit
from fastgd.core.static import StaticType
from fastgd.core.vectors import aligned, cast, load, load_some, store, total, wide, zeros
from fastgd.datasets.record import Scaling
from fastgd.engine.arrays import CHUNK_ROWS, Form

Array = npt.NDArray[Any]
WIDTH = 8  # numbers of a vector of float64
LEAST = 2.0**-300  # of means and deviations with which products are exact; their reciprocals at the most
SLOTS = CHUNK_ROWS  # rows that a buffer has room for: as many as kernels look up at a time


class Doubles(NamedTuple):
    """The shape of a vector."""

    width: int


@intrinsic
def doubles(typingctx):
    """Return the shape of vectors of float64, whatever the lanes' type."""

    def codegen(context, builder, sig, args):
        return context.get_dummy_value()

    return StaticType(Doubles(WIDTH))(), codegen


@jit(inner=True, inline="late")
def slot_values(d):
    """Return the numbers of a slot: whole vectors, so that what is stored behind a row is in no other's place."""
    return (d + WIDTH - 1) // WIDTH * WIDTH


def make_buffer(d: int, dtype: Any) -> Array:
    """Return a worker's buffer of rows that take their form, flat."""
    return aligned((SLOTS * int(slot_values.py_func(d)),), dtype)


def form_of(scaling: Scaling | None, d: int) -> Form:
    """Return what kernels do with the values of dense rows that are standardised, or rounded alone.

    Behind the features stand others, which become 0, up to a whole vector. Where products may not make the quotients
    of a feature, its `inverse` is none.
    """
    values = int(slot_values.py_func(d))
    mean, deviation, inverse = np.zeros(values), np.ones(values), np.zeros(values)
    inverse[:d] = 1
    if scaling is not None:
        mean[:d], deviation[:d] = scaling.mean, scaling.deviation
        size, by = np.abs(mean[:d]), deviation[:d]
        # The difference of a number and a mean that is not small is 0, or not much smaller than that.
        known = (by == 1) | ((size >= LEAST) & (size <= 1 / LEAST) & (by >= LEAST) & (by <= 1 / LEAST))
        inverse[:d] = np.where(known, 1 / by, np.nan)
    return Form(mean, deviation, inverse)


@jit(inner=True, inline="late")
def quotient(x, deviation, inverse):
    """Return x / deviation, to the nearest number; NaN where products do not give it."""
    q = x * inverse
    q = q - (q * deviation - x) * inverse
    return q - (q * deviation - x) * inverse


@jit(inner=True, inline="late")
def formed(source, place, shape, form, j, whole):
    """Return a vector of source[place:] in the form of features from j on; `whole`: whether as many are there."""
    if whole:
        x = wide(load(shape, source, place)) - load(shape, form.mean, j)
    else:
        x = wide(load_some(shape, source, place, source.shape[0] - place)) - load(shape, form.mean, j)
    return quotient(x, load(shape, form.deviation, j), load(shape, form.inverse, j))


@jit(inner=True)
def form_rows(source, order, low, count, form, d, X, slot):
    """Put the rows order[low : low + count] of the source in slots of X, from one on, standardised and rounded."""
    shape, values = doubles(), slot_values(d)
    doubts = zeros(shape, form.mean)
    for i in range(count):
        first, to = np.int64(order[low + i]) * d, (slot + i) * values
        for j in range(0, values, WIDTH):
            q = formed(source, first + j, shape, form, j, first + values <= source.shape[0])
            doubts = doubts + q * 0
            store(X, to + j, cast(q, X))
    if total(doubts) != 0:
        divide_rows(source, order, low, count, form, d, X, slot)


@jit(inner=True)
def divide_rows(source, order, low, count, form, d, X, slot):
    """Do the same where products do not make all quotients."""
    for i in range(count):
        first, to = np.int64(order[low + i]) * d, (slot + i) * slot_values(d)
        for j in range(d):
            X[to + j] = X.dtype.type((np.float64(source[first + j]) - form.mean[j]) / form.deviation[j])
