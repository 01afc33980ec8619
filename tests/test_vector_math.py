"""sin, cos, log, tanh, sigmoid and whole powers of vectors in kernels, for several widths, against NumPy."""

from typing import NamedTuple

import numpy as np
import pytest
from cohorts import spread

import fastgd.core.vector_math  # noqa: F401 (teaches Numba the functions)
from fastgd.core import math
from fastgd.core.compile import jit
from fastgd.core.static import Static, static
from fastgd.core.vectors import load, store

DTYPES = ["float64", "float32"]
WIDTHS = [4, 8, 16]
ONE_WIDTH = pytest.mark.parametrize("width", spread(WIDTHS, [8]))  # `test_width_does_not_change_bits` tells the others
FARTHEST = {"float64": 2.0**40, "float32": 2.0**16}  # where sin and cos hand over to the C library


class Width(NamedTuple):
    width: int


def in_kernel(kernel, x, width):
    """Run a kernel `f(shape, x, out)`, padded to whole vectors."""
    padded = np.zeros(-(-len(x) // width) * width, x.dtype)
    padded[: len(x)] = x
    out = np.full_like(padded, 99)
    kernel(Static(Width(width)), padded, out)
    return out[: len(x)]


def ulps(found, expected):
    """The largest difference in units in the last place; `expected` has more digits than `found`."""
    return np.max(np.abs(found - expected) / np.spacing(np.abs(expected).astype(found.dtype)).astype(np.longdouble))


def exactly(function, x):
    """The function's values with more digits than x has, or as many where the machine knows no more."""
    return function(x.astype(np.longdouble))


# --- the functions ----------------------------------------------------------------------------------------------------


@jit
def _sin(shape, x, out):
    for i in range(0, x.shape[0], static(shape, "width")):
        store(out, i, np.sin(load(shape, x, i)))


@jit
def _cos(shape, x, out):
    for i in range(0, x.shape[0], static(shape, "width")):
        store(out, i, np.cos(load(shape, x, i)))


@jit
def _log(shape, x, out):
    for i in range(0, x.shape[0], static(shape, "width")):
        store(out, i, np.log(load(shape, x, i)))


@jit
def _sigmoid(shape, x, out):
    for i in range(0, x.shape[0], static(shape, "width")):
        store(out, i, math.sigmoid(load(shape, x, i)))


@jit
def _tanh(shape, x, out):
    for i in range(0, x.shape[0], static(shape, "width")):
        store(out, i, np.tanh(load(shape, x, i)))


def everywhere(dtype, low, high, count=100_000):
    """Numbers of every size between two powers of ten, of both signs."""
    rng = np.random.default_rng(0)
    return (10 ** rng.uniform(low, high, count) * rng.choice([-1, 1], count)).astype(dtype)


def around(points, dtype):
    """Points and their neighbours."""
    points = np.asarray(points).astype(dtype)
    return np.concatenate([points, np.nextafter(points, points.dtype.type(np.inf)), np.nextafter(points, -points)])


WAVES = [(_sin, np.sin), (_cos, np.cos)]


@ONE_WIDTH
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("kernel", "function"), WAVES)
def test_sin_and_cos_are_exact_to_the_last_place_or_two(kernel, function, dtype, width):
    """Also where they are next to 0, so relative to what is left there."""
    rng, far = np.random.default_rng(0), FARTHEST[dtype]
    x = [np.linspace(-20, 20, 200_001), everywhere(dtype, -30, np.log10(far)), rng.uniform(-far, far, 100_000)]
    roots = np.pi / 4 * np.concatenate([np.arange(-40_000, 40_000), rng.integers(0, far, 10_000)])
    x = np.concatenate([*x, around(roots[np.abs(roots) < far], dtype), [0, far, -far]]).astype(dtype)
    found = in_kernel(kernel, x, width)
    assert ulps(found, exactly(function, x)) <= 2
    assert np.abs(found).max() == 1  # never beyond: a landscape's minimum may not lie below 0


@ONE_WIDTH
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("kernel", "function"), WAVES)
def test_sin_and_cos_far_out(kernel, function, dtype, width):
    """Lanes beyond the reduction's reach are the C library's; their neighbours in a vector stay as they were."""
    far = everywhere(dtype, np.log10(FARTHEST[dtype]), np.log10(float(np.finfo(dtype).max)) - 0.1, 10_000)
    near = everywhere(dtype, -3, 3, 10_000)
    mixed = np.where(np.arange(10_000) % 3 == 0, far, near)
    found = in_kernel(kernel, mixed, width)
    assert ulps(found, exactly(function, mixed)) <= 2
    np.testing.assert_array_equal(found[mixed == near], in_kernel(kernel, near, width)[mixed == near])
    assert np.isnan(in_kernel(kernel, np.array([np.inf, -np.inf, np.nan], dtype), width)).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_sin_and_cos_of_zero(dtype):
    zeros = np.array([0.0, -0.0], dtype)
    np.testing.assert_array_equal(in_kernel(_sin, zeros, 4), [0, 0])
    np.testing.assert_array_equal(in_kernel(_cos, zeros, 4), [1, 1])


@ONE_WIDTH
@pytest.mark.parametrize("dtype", DTYPES)
def test_log_is_exact_to_the_last_place(dtype, width):
    form, rng = np.finfo(dtype), np.random.default_rng(0)
    tiny, huge = float(form.smallest_normal), float(form.max)
    x = [2 ** rng.uniform(np.log2(tiny), np.log2(huge) - 1e-6, 100_000), np.linspace(0.5, 2, 100_001)]
    x = [*x, 1 + rng.normal(0, 1e-3, 10_000), 2 ** rng.uniform(np.log2(form.smallest_subnormal), np.log2(tiny), 10_000)]
    powers = around(2.0 ** np.arange(-100, 100) * np.sqrt(0.5), dtype)  # where the power of two changes
    x = np.concatenate([*x, around([1.0], dtype), powers, [tiny, huge, form.smallest_subnormal]]).astype(dtype)
    more_digits = np.finfo(np.longdouble).eps < np.finfo(np.float64).eps
    assert ulps(in_kernel(_log, x, width), exactly(np.log, x)) <= (1 if more_digits else 1.5)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_log_at_its_ends(dtype, width):
    x = np.array([0.0, -0.0, 1.0, np.inf, -1.0, -1e-30, -np.inf, np.nan], dtype)
    expected = [-np.inf, -np.inf, 0, np.inf, np.nan, np.nan, np.nan, np.nan]
    np.testing.assert_array_equal(in_kernel(_log, x, width), expected)


@ONE_WIDTH
@pytest.mark.parametrize("dtype", DTYPES)
def test_tanh_is_exact_to_a_few_places(dtype, width):
    x = [np.linspace(-25, 25, 100_001), np.linspace(-1, 1, 100_001), everywhere(dtype, -30, 3)]
    steps = around(np.log(2) / 2 * (np.arange(-60, 60) + 0.5), dtype)  # where the power of two changes
    x = np.concatenate([*x, steps]).astype(dtype)
    found = in_kernel(_tanh, x, width)
    assert ulps(found, exactly(np.tanh, x)) <= 3
    assert np.abs(found).max() == 1


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_tanh_at_its_ends(dtype, width):
    x = np.array([0.0, -0.0, 1e30, np.inf, -np.inf, np.nan], dtype)
    found = in_kernel(_tanh, x, width)
    np.testing.assert_array_equal(found, [0, 0, 1, 1, -1, np.nan])
    np.testing.assert_array_equal(np.signbit(found[:2]), [False, True])


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_sigmoid_is_exact_to_two_places(dtype, width):
    least = -87.0 if dtype == "float32" else -708.0
    numbers = np.random.default_rng(0)
    parts = numbers.uniform(least, -least, 4000), numbers.normal(0, 1, 4000), numbers.uniform(-40, 40, 4000)
    x = np.concatenate(parts).astype(dtype)
    x = x[x > 0.99 * least]
    assert ulps(in_kernel(_sigmoid, x, width), exactly(lambda z: 1 / (1 + np.exp(-z)), x)) < 2.1


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_sigmoid_at_its_ends(dtype, width):
    x = np.array([0.0, -0.0, 1e-30, np.inf, 1e30, 800, -800, -1e30, -np.inf, np.nan], dtype)
    np.testing.assert_array_equal(in_kernel(_sigmoid, x, width), [0.5, 0.5, 0.5, 1, 1, 1, 0, 0, 0, np.nan])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernel", [_sin, _cos, _log, _tanh, _sigmoid])
def test_width_does_not_change_bits(kernel, dtype):
    x = np.abs(everywhere(dtype, -10, 10))
    found = [in_kernel(kernel, x, width) for width in WIDTHS]
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


# --- whole powers -----------------------------------------------------------------------------------------------------


@jit
def _positive_powers(shape, x, out):
    for i in range(0, x.shape[0], static(shape, "width")):
        v = load(shape, x, i)
        w = v
        w **= 2
        store(out, i, np.where(v > 2, v**7, np.where(v > 1, w, np.where(v > 0, v**3, v**1))))


@jit
def _other_powers(shape, x, out):
    for i in range(0, x.shape[0], static(shape, "width")):
        v = load(shape, x, i)
        store(out, i, np.where(v > 2, v**-3, np.where(v > 1, np.square(v), np.where(v >= 0, v**-1, v**0))))


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_powers_are_products(dtype, width):
    """Those of repeated squaring, bit for bit."""
    x = np.linspace(-3, 3, 601).astype(dtype)
    squares, cubes = x * x, x * x * x
    positive = np.where(x > 2, cubes * cubes * x, np.where(x > 1, squares, np.where(x > 0, cubes, x)))
    np.testing.assert_array_equal(in_kernel(_positive_powers, x, width), positive)
    with np.errstate(divide="ignore"):
        other = np.where(x > 2, 1 / cubes, np.where(x > 1, squares, np.where(x >= 0, 1 / x, 1)))
    assert np.isinf(other).any()
    np.testing.assert_array_equal(in_kernel(_other_powers, x, width), other)


@jit
def _some_powers(shape, x, out):
    for i in range(0, x.shape[0], static(shape, "width")):
        v = load(shape, x, i)
        size = np.abs(v)
        roots = np.where(v > 2, size**0.5, np.where(v > 1, size**-1.75, 1.5**v))
        store(out, i, np.where(v > -1, roots, np.where(v > -2, np.power(size, v), v ** x.shape[0])))


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_other_powers_are_those_of_numpy(dtype, width):
    """Any real exponent: a number, one that is known when the kernel runs, a vector."""
    x = np.linspace(-3, 3, 48).astype(dtype)
    size = np.abs(x).astype(float)
    roots = np.where(x > 2, size**0.5, np.where(x > 1, size**-1.75, 1.5 ** x.astype(float)))
    expected = np.where(x > -1, roots, np.where(x > -2, size ** x.astype(float), x.astype(float) ** 48))
    np.testing.assert_allclose(in_kernel(_some_powers, x, width), expected, rtol=4 * np.finfo(dtype).eps)


@jit
def _roots(shape, x, out):
    for i in range(0, x.shape[0], static(shape, "width")):
        store(out, i, load(shape, x, i) ** 0.3)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_negative_number_has_no_real_root(dtype):
    x = np.array([-1.0, -0.0, 0.0, np.inf], dtype)
    np.testing.assert_array_equal(in_kernel(_roots, x, 4), [np.nan, 0, 0, np.inf])
