"""Normal numbers in kernels: the same as in NumPy, for every width, and normal."""

from typing import NamedTuple

import numpy as np
import pytest
from cohorts import spread
from numba.core.errors import TypingError
from scipy import stats

from fastgd.core import random
from fastgd.core.compile import jit
from fastgd.core.random import normal, normal_numbers, stream_keys
from fastgd.core.static import Static, static
from fastgd.core.vectors import store

WIDTHS = [4, 8, 16]
LIMIT = 4.5  # standard errors: keys are fixed, so a test that passes once passes for ever


class Width(NamedTuple):
    width: int


@jit
def _fill(shape, keys, first, out):
    for c in range(out.shape[0]):
        for i in range(0, keys.shape[0], static(shape, "width")):
            store(out, c * keys.shape[0] + i, normal(shape, out, keys, i, first + c))


def in_kernel(keys, counters, width, dtype="float64"):
    """The numbers of some counters from the first on, `(counters, keys)`."""
    out = np.full((len(counters), len(keys)), 99, dtype)
    _fill(Static(Width(width)), keys, counters[0], out)
    return out


# --- what is computed -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [0, 1_000_003, 2**61, -4])
def test_kernel_and_numpy_agree(first):
    keys, counters = stream_keys(7, range(1024)), range(first, first + 8)
    expected = [normal_numbers(keys, c) for c in counters]
    np.testing.assert_allclose(in_kernel(keys, counters, 8), expected, rtol=1e-14)


def test_width_and_place_do_not_change_bits():
    keys, counters = stream_keys(7, range(1024)), range(3, 11)
    found = in_kernel(keys, counters, 8)
    for width in WIDTHS:
        np.testing.assert_array_equal(in_kernel(keys, counters, width), found)
        np.testing.assert_array_equal(in_kernel(keys[48:80], counters[5:], width), found[5:, 48:80])


@pytest.mark.parametrize("width", WIDTHS)
def test_float32_is_rounded_float64(width):
    keys, counters = stream_keys(7, range(1024)), range(8)
    found = in_kernel(keys, counters, width, "float32")
    np.testing.assert_array_equal(found, in_kernel(keys, counters, width).astype("float32"))


def test_bits_are_those_of_splitmix64():
    """The first outputs from the seed 0, as of Vigna's splitmix64.c and java.util.SplittableRandom's finaliser."""
    outputs = [int(random._outputs(np.zeros(1, np.uint64), n)[0]) for n in (1, 2, 3)]
    assert outputs == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]


@jit
def _uniform_in_kernel(shape, keys, counter, out):
    store(out, 0, random._uniform(shape, keys, 0, counter, 1))


@jit
def _splitmix_in_kernel(keys, out):
    for i in range(len(keys)):
        out[i] = random.splitmix(keys[i])


def test_the_hash_is_the_same_in_numpy_in_kernels_and_as_it_is_emitted():
    keys = np.random.default_rng(0).integers(0, 2**64, 8, np.uint64)
    keys[:2] = 0, 2**64 - 1
    emitted, called = np.empty(8), np.empty(8, np.uint64)
    _uniform_in_kernel(Static(Width(8)), keys, np.uint64(5), emitted)
    _splitmix_in_kernel(keys, called)
    np.testing.assert_array_equal(emitted, random.uniform_numbers(keys, 10, 1)[:, 0])
    np.testing.assert_array_equal(called, random.mix(keys + np.uint64(random._GOLDEN)))


def test_largest_number_is_finite(monkeypatch):
    """A uniform number is never 0."""
    monkeypatch.setattr(random, "_outputs", lambda keys, output: np.array([0, 2**64 - 1], np.uint64))
    np.testing.assert_array_equal(random._uniform_numbers(np.zeros(2, np.uint64), 1), [2.0**-53, 1])
    assert 8.5 < normal_numbers(np.zeros(2, np.uint64), 0)[0] < 8.6


def test_keys_are_whole_numbers_of_64_bits():
    with pytest.raises(TypingError, match="array of uint64"):
        in_kernel(np.arange(8), range(1), 8)


# --- keys -------------------------------------------------------------------------------------------------------------


def test_keys_depend_on_seed_and_start_alone():
    keys = stream_keys(3, range(100))
    assert keys.dtype == np.uint64
    np.testing.assert_array_equal(stream_keys(3, [7, 50]), keys[[7, 50]])
    assert stream_keys(3, 7) == keys[7]
    assert len(np.unique([stream_keys(seed, range(1000)) for seed in range(-50, 50)])) == 100_000


def test_keys_are_well_mixed():
    """Whatever bit of the seed or of the start changes, half of the key's bits do."""
    base = stream_keys(12345, np.arange(1000))
    others = [stream_keys(12345 ^ (1 << bit), np.arange(1000)) for bit in range(64)]
    others += [stream_keys(12345, np.arange(1000) ^ (1 << bit)) for bit in range(62)]
    flipped = np.bitwise_count(base ^ np.array(others)).mean(axis=1)
    np.testing.assert_allclose(flipped, 32, atol=LIMIT * 4 / np.sqrt(1000))


# --- the distribution -------------------------------------------------------------------------------------------------


@pytest.fixture(
    scope="module", params=spread(["few keys", "many keys", "keys in a row"], ["few keys", "keys in a row"])
)
def numbers(request):
    """A million numbers, `(counters, keys)`; also from keys that are not mixed at all."""
    rows, columns = {"few keys": (62_500, 16)}.get(request.param, (1000, 1000))
    keys = stream_keys(2026, range(columns))
    if request.param == "keys in a row":
        keys = np.arange(columns, dtype=np.uint64)
    return in_kernel(keys, range(rows), 4)


def test_moments(numbers):
    z, n = numbers.ravel(), numbers.size
    assert abs(z.mean()) < LIMIT * np.sqrt(1 / n)
    assert abs(z.var() - 1) < LIMIT * np.sqrt(2 / n)
    assert abs(stats.skew(z)) < LIMIT * np.sqrt(6 / n)
    assert abs(stats.kurtosis(z)) < LIMIT * np.sqrt(24 / n)


def test_distribution_is_normal(numbers):
    z = numbers.ravel()
    assert stats.kstest(z, "norm").pvalue > 1e-3
    expected = z.size * 2 * stats.norm.sf(4)  # the tails, which the other tests hardly see
    assert abs(np.sum(np.abs(z) > 4) - expected) < LIMIT * np.sqrt(expected)


@pytest.mark.parametrize(("counters", "keys"), [(1, 0), (0, 1), (1, 1), (2, 0), (0, 2)])
def test_neighbours_are_independent(numbers, counters, keys):
    a = numbers[counters:, keys:]
    b = numbers[: numbers.shape[0] - counters, : numbers.shape[1] - keys]
    for f in (lambda z: z, lambda z: z**2 - 1, np.sign):
        products = f(a) * f(b)
        assert abs(products.mean()) < LIMIT * products.std() / np.sqrt(products.size)


def test_seeds_are_independent():
    a, b = (in_kernel(stream_keys(seed, range(1000)), range(1000), 4) for seed in (0, 1))
    assert abs((a * b).mean()) < LIMIT / np.sqrt(a.size)
