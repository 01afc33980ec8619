"""Activations in kernels: compiled for each, and called by address, once for a layer of some rows."""

from typing import Any

import numba
from numba import types

import fastgd.core.vector_math  # noqa: F401 (activations use exp, tanh and erf on vectors)
from fastgd.core.address_calls import address_of
from fastgd.core.compile import jit
from fastgd.core.static import Static, function_of, static
from fastgd.core.vectors import load, store
from fastgd.optimizers.rule_functions import jitable
from fastgd.problems.activations import Activation


@function_of(lambda activation, *_: jitable(activation.value))
def value(activation, z):
    """Return the value of an activation."""


@function_of(lambda activation, *_: jitable(activation.derivative))
def derivative(activation, z):
    """Return the derivative of an activation."""


@jit(inner=True)
def activate(activation, shape, values, slopes, at, count):
    """Make units of `count` vectors of sums at values[at:]."""
    L = static(shape, "lanes")
    for v in range(at, at + count * L, L):
        store(values, v, value(activation, load(shape, values, v)))


@jit(inner=True)
def activate_with_slopes(activation, shape, values, slopes, at, count):
    """Make units of `count` vectors of sums at values[at:], and put the derivatives at slopes[at:]."""
    L = static(shape, "lanes")
    for v in range(at, at + count * L, L):
        z = load(shape, values, v)
        store(values, v, value(activation, z))
        store(slopes, v, derivative(activation, z))


def activation_addresses(activation: Activation, shape: Any, dtype: Any) -> tuple[int, int]:
    """Return the addresses of `activate` and of `activate_with_slopes`."""
    array = types.Array(numba.from_dtype(dtype), 1, "C")
    given = (Static(activation), Static(shape.of_lanes))
    kinds = (*map(numba.typeof, given), array, array, types.int64, types.int64)
    return address_of(activate, kinds), address_of(activate_with_slopes, kinds)
