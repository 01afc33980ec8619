"""Losses in kernels: compiled for each loss, and called by address, once for a block of rows.

Where rows have weights, a row's weight is one more number of y behind its targets, and the loss is another one, whose
kernels multiply by it (`Loss.weighted`). Drivers know only how many numbers a row has, and are not compiled anew.
"""

from typing import Any

import numba
import numpy as np
from numba import types

import fastgd.core.vector_math  # noqa: F401 (losses use exp on vectors)
from fastgd.core.address_calls import address_of
from fastgd.core.compile import jit
from fastgd.core.static import Static, function_of, static
from fastgd.core.vectors import load, load_pairs, spread, store, total, wide, zeros
from fastgd.engine.shapes import Shape
from fastgd.optimizers.rule_functions import jitable
from fastgd.problems import Loss
from fastgd.user_code.sources import reached

SHARED_LOG_ROWS = 8  # rows that share a logarithm: their products stay far below overflow


def _compiled(loss: Loss, function: Any) -> Any:
    """Return a loss's function for kernels, and make those known that it calls."""
    for helper in reached([function]) if loss.foreign else filter(None, [loss.log_terms]):
        jitable(helper)
    return jitable(function)


@function_of(lambda loss, *_: _compiled(loss, loss.derivative))
def derivative(loss, z, y):
    """Return the derivative of a loss by z."""


@function_of(lambda loss, *_: _compiled(loss, loss.value))
def value(loss, z, y):
    """Return the value of a loss."""


@function_of(lambda loss, *_: jitable(loss.log_terms))
def log_terms(loss, z, y):
    """Return a and e of a value `a + log(1 + e)`."""


@jit(inner=True, inline="late")
def weighed(loss, y, row, number):
    """Return a number times the weight of a row of y (rows, columns); the number, where rows have no weights."""
    if static(loss, "weighted"):
        return number * y[row * static(loss, "columns") + static(loss, "weight_at")]
    return number


@jit(inner=True, inline="late")
def targets_of(loss, shape, y, row):
    """Return a vector of the targets of rows, from one on."""
    if static(loss, "weighted"):
        return load_pairs(shape, y, 2 * row)
    return load(shape, y, row)


@jit(inner=True, inline="late")
def weighed_rows(loss, shape, y, row, number):
    """Return a vector of a number times the weights of rows, from one on."""
    if static(loss, "weighted"):
        return load_pairs(shape, y, 2 * row + 1) * number
    return spread(shape, number)


@jit(inner=True)
def residuals(loss, shape, Z, y, rows, scale, check):
    """Make of Z (rows, outputs, L) the derivative times `scale` and the rows' weights.

    y (rows, columns) holds a target for each output; check (L) is NaN in a lane where a value was not finite.
    """
    L, outputs, columns = static(shape, "lanes"), static(loss, "outputs"), static(loss, "columns")
    for v in range(0, L, static(shape, "width")):
        finite = load(shape, Z, v) * 0
        for i in range(rows):
            own = weighed(loss, y, i, scale)
            for j in range(outputs):
                at = (i * outputs + j) * L + v
                z = load(shape, Z, at)
                r = derivative(loss, z, spread(shape, y[i * columns + j]))
                finite = finite + (z + r) * 0
                store(Z, at, r * own)
        store(check, v, finite)


@jit(inner=True)
def residuals_of_rows(loss, shape, Z, y, rows, scale, check):
    """The same for one lane's margins Z (rows,), a whole number of vectors; check has one element."""
    finite = load(shape, Z, 0) * 0
    for i in range(0, rows, static(shape, "width")):
        z = load(shape, Z, i)
        r = derivative(loss, z, targets_of(loss, shape, y, i))
        finite = finite + (z + r) * 0
        store(Z, i, r * weighed_rows(loss, shape, y, i, scale))
    check[0] = total(finite)


@jit(inner=True)
def add_losses(loss, shape, Z, y, rows, out):
    """Add the values of Z (rows, L) to out (L) float64, of one of several targets those where Z and y begin."""
    L, outputs, columns = static(shape, "lanes"), static(loss, "outputs"), static(loss, "columns")
    for v in range(0, L, static(shape, "width")):
        sums = load(shape, out, v)
        for i in range(rows):
            found = value(loss, load(shape, Z, i * outputs * L + v), spread(shape, y[i * columns]))
            sums = sums + wide(found) * weighed(loss, y, i, 1.0)
        store(out, v, sums)


@jit(inner=True)
def add_log_losses(loss, shape, Z, y, rows, out):
    """The same for values a + log(1 + e) of rows without weights, which share logarithms.

    p + 1 is the product of several e + 1, so that small e lose no digits.
    """
    L = static(shape, "lanes")
    for v in range(0, L, static(shape, "width")):
        sums = load(shape, out, v)
        for low in range(0, rows, SHARED_LOG_ROWS):
            p = zeros(shape, Z)
            for i in range(low, min(low + SHARED_LOG_ROWS, rows)):
                a, e = log_terms(loss, load(shape, Z, i * L + v), spread(shape, y[i]))
                sums = sums + wide(a)
                p = p * e + (p + e)
            sums = sums + wide(np.log1p(p))
        store(out, v, sums)


@jit(inner=True)
def add_losses_of_rows(loss, shape, Z, y, rows, out):
    """Add the values of one lane's margins Z (rows,), with room for a vector behind the last one, to out[0]."""
    width = static(shape, "width")
    whole, one = rows - rows % width, y.dtype.type(1.0)
    sums = wide(zeros(shape, Z))
    for i in range(0, whole, width):
        found = value(loss, load(shape, Z, i), targets_of(loss, shape, y, i))
        sums = sums + wide(found) * wide(weighed_rows(loss, shape, y, i, one))
    out[0] += total(sums)
    if whole < rows:
        behind = whole + width
        store(Z, behind, value(loss, load(shape, Z, whole), targets_of(loss, shape, y, whole)))
        for i in range(rows - whole):
            out[0] += Z[behind + i] * weighed(loss, y, whole + i, 1.0)


@jit(inner=True)
def residuals_of_targets(loss, shape, Z, y, rows, scale, check):
    """The same for several targets, of which a row's loss is the mean."""
    residuals(loss, shape, Z, y, rows, Z.dtype.type(scale / static(loss, "outputs")), check)


@jit(inner=True)
def add_losses_of_targets(loss, shape, Z, y, rows, out):
    """Add the means of each row's values, of Z (rows, targets, L) and y (rows, columns), to out (L) float64."""
    L, targets, columns = static(shape, "lanes"), static(loss, "outputs"), static(loss, "columns")
    for v in range(0, L, static(shape, "width")):
        sums = load(shape, out, v)
        for i in range(rows):
            of_row = wide(zeros(shape, Z))
            for j in range(targets):
                margin = load(shape, Z, (i * targets + j) * L + v)
                of_row = of_row + wide(value(loss, margin, spread(shape, y[i * columns + j])))
            sums = sums + of_row * weighed(loss, y, i, 1.0 / targets)
        store(out, v, sums)


@jit(inner=True)
def residuals_of_classes(loss, shape, Z, y, rows, scale, check):
    """The same for the softmax loss of Z (rows, classes, L); y has the number of each row's class."""
    L, classes, columns = static(shape, "lanes"), static(loss, "outputs"), static(loss, "columns")
    for v in range(0, L, static(shape, "width")):
        finite = load(shape, Z, v) * 0
        for i in range(rows):
            at, own = i * classes * L + v, (i * classes + np.int64(y[i * columns])) * L + v
            largest, scaled = largest_of(shape, Z, at, L, classes), weighed(loss, y, i, scale)
            total = zeros(shape, Z)
            for j in range(classes):
                e = np.exp(load(shape, Z, at + j * L) - largest)
                total = total + e
                store(Z, at + j * L, e)
            share = scaled / total
            for j in range(classes):
                store(Z, at + j * L, load(shape, Z, at + j * L) * share)
            store(Z, own, load(shape, Z, own) - scaled)
            finite = finite + (largest + total) * 0
        store(check, v, finite)


@jit(inner=True)
def largest_of(shape, Z, at, L, classes):
    """Return the largest margin of a row; NaN where one is."""
    largest, every = load(shape, Z, at), load(shape, Z, at) * 0
    for j in range(1, classes):
        z = load(shape, Z, at + j * L)
        largest, every = np.maximum(largest, z), every + z * 0
    return largest + every


@jit(inner=True)
def add_losses_of_classes(loss, shape, Z, y, rows, out):
    """Add the softmax losses of Z (rows, classes, L) to out (L) float64."""
    L, classes, columns = static(shape, "lanes"), static(loss, "outputs"), static(loss, "columns")
    for v in range(0, L, static(shape, "width")):
        sums = load(shape, out, v)
        for i in range(rows):
            at, own = i * classes * L + v, (i * classes + np.int64(y[i * columns])) * L + v
            largest, total = largest_of(shape, Z, at, L, classes), zeros(shape, Z)
            for j in range(classes):
                total = total + np.exp(load(shape, Z, at + j * L) - largest)
            found = np.log(total) + (largest - load(shape, Z, own))
            sums = sums + wide(found) * weighed(loss, y, i, 1.0)
        store(out, v, sums)


@jit(inner=True)
def add_misses(loss, shape, Z, y, rows, out):
    """Count the rows of Z (rows, classes, L) in which `loss.most` classes come before the row's own by their margins.

    A row counts as much as its weight. Of equal margins the first is the larger one, as it is for a prediction: a model
    of zeros predicts the first class.
    """
    L, classes, columns = static(shape, "lanes"), static(loss, "outputs"), static(loss, "columns")
    for v in range(0, L, static(shape, "width")):
        sums = load(shape, out, v)
        for i in range(rows):
            at, label = i * classes * L + v, np.int64(y[i * columns])
            own, none = load(shape, Z, at + label * L), largest_of(shape, Z, at, L, classes) * 0
            larger = zeros(shape, Z)
            for j in range(label):
                larger = larger + np.where(load(shape, Z, at + j * L) >= own, none + 1, none)
            for j in range(label + 1, classes):
                larger = larger + np.where(load(shape, Z, at + j * L) > own, none + 1, none)
            found = np.where(larger >= static(loss, "most"), none + 1, none)
            sums = sums + wide(found) * weighed(loss, y, i, 1.0)
        store(out, v, sums)


def residuals_address(loss: Loss, shape: Shape, dtype: Any, single: bool) -> int:
    """Return the address of `residuals`, or of its form for one lane."""
    kind, array, kinds = _types(loss, shape, dtype)
    kernel = residuals_of_rows if single else residuals
    if loss.of_classes:
        kernel = residuals_of_classes
    elif loss.outputs > 1:
        kernel = residuals_of_targets
    return address_of(kernel, (*kinds, array, array, types.int64, kind, array))


def losses_address(loss: Loss, shape: Shape, dtype: Any, single: bool) -> int:
    """Return the address of `add_losses`, or of the form that suits the loss or one lane."""
    _, array, kinds = _types(loss, shape, dtype)
    kernel = add_losses_of_rows if single else add_log_losses if loss.shares_logarithms else add_losses
    if loss.of_classes:
        kernel = add_misses if loss.most else add_losses_of_classes
    elif loss.outputs > 1 and loss.target is None:
        kernel = add_losses_of_targets
    return address_of(kernel, (*kinds, array, array, types.int64, types.Array(types.float64, 1, "C")))


def _types(loss: Loss, shape: Shape, dtype: Any) -> tuple[Any, Any, tuple[Any, Any]]:
    kind = numba.from_dtype(np.dtype(dtype))
    return kind, types.Array(kind, 1, "C"), (numba.typeof(Static(loss)), numba.typeof(Static(shape.of_lanes)))
