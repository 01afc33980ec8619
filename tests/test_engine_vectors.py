"""Vectors of lanes in kernels: each function that a rule or a loss may use, against NumPy."""

import itertools
import math

import numpy as np
import pytest

from fastgd.core.compile import jit
from fastgd.core.math import exp, power, sigmoid
from fastgd.core.static import Static, static
from fastgd.core.vectors import aligned, load, register_bits, store, total, wide
from fastgd.engine.shapes import tile_shape
from fastgd.optimizers import rule_calls  # noqa: F401 (teaches Numba the functions of fastgd.core.math)

DTYPES = ["float64", "float32"]
SPECIAL = [0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 3.0, 1e-30, -1e30, np.inf, -np.inf, np.nan]


def vector_of(dtype):
    """The shape of one vector of this machine."""
    itemsize = np.dtype(dtype).itemsize
    return tile_shape(register_bits()[0] // 8 // itemsize, itemsize)


def in_kernel(kernel, *columns, dtype):
    """Run a kernel `f(shape, a, b, out)` on columns, padded to whole vectors; return float64."""
    width = vector_of(dtype).width
    count = -(-len(columns[0]) // width) * width
    arrays = []
    for column in (*columns, []):
        array = aligned((count,), dtype)
        array[: len(column)] = column
        arrays.append(array)
    kernel(Static(vector_of(dtype)), *arrays)
    return arrays[-1][: len(columns[0])].astype(np.float64)


# --- exp, log1p and the cube root -------------------------------------------------------------------------------------


@jit
def _exp(shape, x, out):
    for i in range(0, x.shape[0], static(shape, "width")):
        store(out, i, np.exp(load(shape, x, i)))


@jit
def _log1p(shape, x, out):
    for i in range(0, x.shape[0], static(shape, "width")):
        store(out, i, np.log1p(load(shape, x, i)))


@jit
def _cbrt(shape, x, out):
    for i in range(0, x.shape[0], static(shape, "width")):
        store(out, i, np.cbrt(load(shape, x, i)))


def ulps(found, expected, dtype):
    """The largest difference in units in the last place; `expected` has more digits than dtype."""
    return np.max(np.abs(found - expected) / np.spacing(np.abs(expected).astype(dtype)).astype(np.longdouble))


@pytest.mark.parametrize("dtype", DTYPES)
def test_exp_is_exact_to_the_last_place_or_two(dtype):
    ends = (-707.9, 709.78) if dtype == "float64" else (-86.8, 88.72)
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.uniform(*ends, 100_000), rng.uniform(-1, 1, 100_000), rng.normal(0, 1e-5, 1000)])
    # where the power of two changes, and where the result ends
    steps = np.log(2) * (np.arange(-100, 100) + 0.5)
    x = np.concatenate([x, steps, np.nextafter(steps, np.inf), ends, [0.0]]).astype(dtype)
    found = in_kernel(_exp, x, dtype=dtype)
    assert ulps(found, np.exp(x.astype(np.longdouble)), dtype) <= 2
    assert found[-1] == 1


@pytest.mark.parametrize("dtype", DTYPES)
def test_log1p_is_exact_to_a_few_places(dtype):
    rng = np.random.default_rng(0)
    powers = 2.0 ** np.arange(20) - 1  # where the power of two in 1 + x changes
    x = [rng.uniform(0, 1, 100_000), rng.uniform(0, 300, 100_000), 10 ** rng.uniform(-30, 15, 100_000), powers]
    x = np.concatenate([*x, np.nextafter(powers[1:], 0), np.nextafter(powers, np.inf)]).astype(dtype)
    found = in_kernel(_log1p, x, dtype=dtype)
    assert ulps(found, np.log1p(x.astype(np.longdouble)), dtype) <= 3
    assert in_kernel(_log1p, [0.0], dtype=dtype) == 0
    assert np.isnan(in_kernel(_log1p, [np.nan], dtype=dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_cube_root_is_exact_to_a_place_or_two(dtype):
    form, rng = np.finfo(dtype), np.random.default_rng(0)
    ends = np.log2(float(form.smallest_normal)), np.log2(float(form.max)) - 2
    x = [2 ** rng.uniform(*ends, 100_000), rng.uniform(0.9, 9, 100_000), [float(form.smallest_normal)]]
    x = np.concatenate(x).astype(dtype)
    found = in_kernel(_cbrt, x, dtype=dtype)
    assert ulps(found, np.cbrt(x.astype(np.longdouble)), dtype) <= 2
    np.testing.assert_array_equal(in_kernel(_cbrt, [0.0, form.smallest_subnormal, np.nan], dtype=dtype), [0, 0, np.nan])


@pytest.mark.parametrize("dtype", DTYPES)
def test_exp_at_its_ends(dtype):
    form = np.finfo(dtype)
    largest = np.log(form.max.astype(np.longdouble))
    below = np.nextafter(np.dtype(dtype).type(largest), np.dtype(dtype).type(0))
    above = np.dtype(dtype).type(largest) * np.dtype(dtype).type(1 + 4 * form.eps)
    found = in_kernel(_exp, [below, above, 1e4, np.inf, -1e4, -np.inf, np.nan], dtype=dtype)
    assert form.max / 1.001 < found[0] <= form.max
    np.testing.assert_array_equal(found[1:], [np.inf, np.inf, np.inf, 0, 0, np.nan])


@pytest.mark.parametrize("dtype", DTYPES)
def test_exp_never_falls(dtype):
    """It falls to 0 only where results are no longer normal numbers."""
    x = np.sort(np.linspace(-800, 720, 1 << 18).astype(dtype))
    found = in_kernel(_exp, x, dtype=dtype)
    assert (np.diff(found[np.isfinite(found)]) >= 0).all()
    assert found[found > 0].min() < 1e3 * np.finfo(dtype).smallest_normal


# --- the others -------------------------------------------------------------------------------------------------------


@jit
def _maximum(shape, a, b, out):
    for i in range(0, a.shape[0], static(shape, "width")):
        store(out, i, np.maximum(load(shape, a, i), load(shape, b, i)))


@jit
def _minimum(shape, a, b, out):
    for i in range(0, a.shape[0], static(shape, "width")):
        store(out, i, np.minimum(load(shape, a, i), load(shape, b, i)))


@jit
def _arithmetic(shape, a, b, out):
    for i in range(0, a.shape[0], static(shape, "width")):
        x, y = load(shape, a, i), load(shape, b, i)
        x += y
        x -= 1
        x *= 2.0
        x /= y
        store(out, i, -x + abs(y) * np.floor(x) - (3 - y))


@jit
def _where(shape, a, b, out):
    for i in range(0, a.shape[0], static(shape, "width")):
        x, y, zero = load(shape, a, i), load(shape, b, i), load(shape, out, i)
        less = np.where(x < y, 1.0, np.where(x <= y, zero + 2, 3.0))
        greater = np.where(x > y, zero + 10, np.where(x >= y, 20.0, zero + 30))
        store(out, i, less + greater)


@jit
def _by_name(shape, a, b, out):
    for i in range(0, a.shape[0], static(shape, "width")):
        x, y = load(shape, a, i), load(shape, b, i)
        x = np.subtract(np.multiply(2, np.divide(np.add(x, y), y)), np.negative(x))
        less = np.where(np.less(x, y), x, np.where(np.less_equal(x, 1), 1.0, y))
        store(out, i, np.where(np.greater(x, 3), less, np.where(np.greater_equal(x, 2), y, less)))


@jit
def _roots_and_signs(shape, a, b, out):
    for i in range(0, a.shape[0], static(shape, "width")):
        store(out, i, np.sign(load(shape, a, i)) * np.sqrt(np.abs(load(shape, b, i))))


def pairs(values):
    return np.array(list(itertools.product(values, values))).T


def quiet(function, *columns, dtype):
    with np.errstate(all="ignore"):
        return function(*(np.asarray(column, dtype) for column in columns))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("kernel", "function"), [(_maximum, np.maximum), (_minimum, np.minimum)])
def test_not_a_number_wins(kernel, function, dtype):
    """As in NumPy: a lane that diverged may not be clamped back to life."""
    a, b = pairs(SPECIAL)
    np.testing.assert_array_equal(in_kernel(kernel, a, b, dtype=dtype), quiet(function, a, b, dtype=dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_arithmetic(dtype):
    def formula(x, y):
        x = ((x + y) - 1) * 2 / y
        return -x + abs(y) * np.floor(x) - (3 - y)

    a, b = pairs([value for value in SPECIAL if abs(value) < 1e6])
    np.testing.assert_allclose(
        in_kernel(_arithmetic, a, b, dtype=dtype), quiet(formula, a, b, dtype=dtype), rtol=4 * np.finfo(dtype).eps
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_comparisons_with_what_is_not_a_number_are_false(dtype):
    a, b = pairs(SPECIAL)
    a, b = a.astype(dtype), b.astype(dtype)
    less = np.where(a < b, 1, np.where(a <= b, 2, 3))
    greater = np.where(a > b, 10, np.where(a >= b, 20, 30))
    np.testing.assert_array_equal(in_kernel(_where, a, b, dtype=dtype), less + greater)


@pytest.mark.parametrize("dtype", DTYPES)
def test_operators_by_their_names(dtype):
    def formula(x, y):
        x = 2 * ((x + y) / y) + x
        less = np.where(x < y, x, np.where(x <= 1, 1.0, y))
        return np.where(x > 3, less, np.where(x >= 2, y, less))

    a, b = pairs([0.5, 1.0, -2.0, 4.0])
    np.testing.assert_array_equal(in_kernel(_by_name, a, b, dtype=dtype), quiet(formula, a, b, dtype=dtype))


@jit
def _quotients(shape, a, b, out):
    for i in range(0, a.shape[0], static(shape, "width")):
        store(out, i, load(shape, a, i) / load(shape, b, i))


@jit
def _roots(shape, a, b, out):
    for i in range(0, a.shape[0], static(shape, "width")):
        store(out, i, np.sqrt(load(shape, a, i)) + load(shape, b, i) * 0)


def assert_within_an_ulp(found, expected):
    """Of the type of what is expected; what is not finite is exactly so."""
    with np.errstate(all="ignore"):
        near = np.abs(found - expected.astype(np.float64)) <= np.spacing(np.abs(expected))
    same = (found == expected) | (np.isnan(found) & np.isnan(expected))
    assert (same | (near & np.isfinite(expected))).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_roots_and_signs(dtype):
    a, b = pairs(SPECIAL)
    expected = quiet(lambda a, b: np.sign(a) * np.sqrt(np.abs(b)), a, b, dtype=dtype)
    assert_within_an_ulp(in_kernel(_roots_and_signs, a, b, dtype=dtype), expected)


def numbers_of_any_size(dtype, count, seed=0):
    """Return numbers whose bits are drawn: of all exponents, infinities and not a number among them."""
    whole = np.dtype(f"i{np.dtype(dtype).itemsize}")
    info = np.iinfo(whole)
    bits = np.random.default_rng(seed).integers(info.min, info.max, (2, count), whole, endpoint=True)
    return bits.view(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_quotients(dtype):
    """To an ulp, also beside zeros, infinities and what overflows."""
    info = np.finfo(dtype)
    ends = pairs([*SPECIAL, info.max, -info.max / 2, info.tiny, -info.tiny / 8, info.smallest_subnormal])
    near = 1 + np.random.default_rng(1).random((2, 4096))
    for a, b in (ends, numbers_of_any_size(dtype, 4096), near):
        found, expected = in_kernel(_quotients, a, b, dtype=dtype), quiet(np.divide, a, b, dtype=dtype)
        normal = ~(np.abs(a) < np.finfo(dtype).tiny) | (a == 0)
        assert_within_an_ulp(found[normal], expected[normal])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernel", [_quotients, _roots])
def test_elements_do_not_depend_on_each_other(kernel, dtype):
    """Of quotients and roots: a lane has the same bits beside one that diverged."""
    width = vector_of(dtype).width
    a, b = 1 + np.random.default_rng(3).random((2, 256 * width))
    alone = in_kernel(kernel, a, b, dtype=dtype)
    beside = np.arange(len(a)) % width == 1
    found = in_kernel(kernel, np.where(beside, np.nan, a), b, dtype=dtype)
    np.testing.assert_array_equal(found[~beside], alone[~beside])
    assert np.isnan(found[beside]).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_quotients_of_subnormal_numbers(dtype):
    """They are those of a number within half of the last place."""
    place, random = float(np.finfo(dtype).smallest_subnormal), np.random.default_rng(2)
    a, b = place * random.integers(-1000, 1000, 4096), np.exp(random.uniform(-60, 0, 4096)).astype(dtype)
    found, expected = (in_kernel(_quotients, a, b, dtype=dtype) / place, a / b.astype(np.float64) / place)
    assert (np.abs(found - expected) <= 1 + (0.5 + 1e-6) / b + np.finfo(dtype).eps * np.abs(expected)).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_roots(dtype):
    a, b = numbers_of_any_size(dtype, 4096)
    zeros = np.zeros_like(b)
    assert_within_an_ulp(in_kernel(_roots, a, zeros, dtype=dtype), quiet(np.sqrt, a, dtype=dtype))
    some = np.abs(np.nan_to_num(a, posinf=1, neginf=1))
    found = in_kernel(_roots, some, zeros, dtype=dtype)
    assert_within_an_ulp(found, np.sqrt(some))


@jit
def _sum(shape, x, out):
    out[0] = total(load(shape, x, 0))


@jit
def _wide(shape, x, out):
    store(out, 0, wide(load(shape, x, 0)) * 0.1)


@pytest.mark.parametrize("dtype", DTYPES)
def test_sum_is_taken_in_pairs(dtype):
    """Each element passes through as many additions as the tree of pairs has levels, each half an ulp at most."""
    width = vector_of(dtype).width
    x = np.random.default_rng(0).standard_normal((100, width)).astype(dtype)
    x[50:, 0] = 1e6  # what is left where a large element is added first
    levels = np.log2(width)
    for row in x:
        bound = levels * np.finfo(dtype).eps / 2 * np.abs(row.astype(np.float64)).sum() * (1 + 1e-6)
        assert abs(float(in_kernel(_sum, row, dtype=dtype)[0]) - math.fsum(row.tolist())) <= bound


def test_wide_is_float64():
    shape = vector_of("float32")
    x, out = aligned((shape.width,), "float32"), aligned((shape.width,), "float64")
    x[:] = np.arange(shape.width) / 3
    _wide(Static(shape), x, out)
    np.testing.assert_array_equal(out, x.astype(np.float64) * 0.1)


# --- fastgd.core.math: NumPy here, vectors there ---------------------------------------------------------------------


@jit
def _power(shape, x, t, out):
    for i in range(0, x.shape[0], static(shape, "width")):
        store(out, i, power(load(shape, x, i), int(t[0])))


@jit
def _sigmoid(shape, x, out):
    for i in range(0, x.shape[0], static(shape, "width")):
        store(out, i, sigmoid(load(shape, x, i)))


@pytest.mark.parametrize("t", [0, 1, 2, 3, 10, 999, 1_000_003])
def test_power(t):
    x = np.array([0.0, 0.5, 0.9, 0.999, 0.9999999, 1.0])
    # a rounding error a multiplication, of which each doubles those before it
    np.testing.assert_allclose(power(x, t), x**t, rtol=max(1, t) * 2e-16, atol=1e-300)
    np.testing.assert_array_equal(in_kernel(_power, x, [t] * len(x), dtype="float64"), power(x, t))


def test_sigmoid_in_a_kernel_and_in_numpy():
    """No warning on the way: NumPy's functions are silent at both ends."""
    z = np.concatenate([np.linspace(-700, 700, 1001), np.linspace(-3, 3, 1001), [-1e300, 1e300]])
    np.testing.assert_allclose(in_kernel(_sigmoid, z, dtype="float64"), sigmoid(z), rtol=1e-15, atol=1e-307)


def test_exp_is_silent_where_it_overflows():
    np.testing.assert_array_equal(exp(np.array([-1e300, 0.0, 1e300])), [0, 1, np.inf])
