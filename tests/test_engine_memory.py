"""No kernel writes beyond its arrays: what lies around them is marked and looked at afterwards."""

import sys

import numpy as np
import pytest
from cohorts import PARTS, SINGLE, SMALL, TYPES, make_cohort, problem
from hypothesis import given, settings
from hypothesis import strategies as st

from fastgd.core.vectors import aligned
from fastgd.problems import MEASURES

MARGIN, MARK = 4096, 0xAB


class Guarded:
    """Stands in for `aligned`, with marked bytes before and after each array."""

    def __init__(self):
        self.allocated = []

    def __call__(self, shape, dtype):
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        raw = np.full(size + 2 * MARGIN + 64, MARK, np.uint8)
        start = MARGIN + -(raw.ctypes.data + MARGIN) % 64
        raw[start : start + size] = 0
        self.allocated.append((shape, raw[:start], raw[start + size :]))
        return raw[start : start + size].view(dtype).reshape(shape)

    def check(self):
        for shape, before, after in self.allocated:
            assert (before == MARK).all(), f"written before an array of shape {shape}"
            assert (after == MARK).all(), f"written after an array of shape {shape}"


@pytest.fixture
def guarded(monkeypatch):
    guard = Guarded()
    for name, module in list(sys.modules.items()):
        if name.startswith("fastgd.engine") and getattr(module, "aligned", None) is aligned:
            monkeypatch.setattr(module, "aligned", guard)
    return guard


@TYPES
@pytest.mark.parametrize("kernel", [SINGLE, SMALL, PARTS], ids=lambda kernel: kernel.name)
def test_nothing_is_written_beyond_an_array(guarded, kernel, dtype):
    @settings(max_examples=40)
    @given(
        d=st.one_of(st.integers(1, 70), st.sampled_from([128, 129, 257])),
        lanes=st.integers(1, 20),
        batch_size=st.sampled_from([1, 2, 5, 17, 64, 255, 256, 257, 300]),
        rest=st.integers(0, 40),
        intercept=st.booleans(),
    )
    def check(d, lanes, batch_size, rest, intercept):
        guarded.allocated.clear()
        X, y = problem(batch_size + rest, d)
        grid = [{"lr": 0.01, "momentum": 0.5}] * lanes
        cohort = make_cohort(X, y, grid, kernel=kernel, batch_size=batch_size, intercept=intercept, dtype=dtype)
        cohort.advance(cohort.batches + 1)
        cohort.measure([(X.astype(dtype), y.astype(dtype), MEASURES)])
        cohort.gradient_norms()[0]
        guarded.check()
        assert len(guarded.allocated) > 4

    check()


def test_a_write_beyond_is_noticed(guarded):
    array = guarded((3, 5), "float64")
    guarded.check()
    outside = np.lib.stride_tricks.as_strided(array, (16,), (8,))
    outside[15] = 1.0
    with pytest.raises(AssertionError, match=r"after an array of shape \(3, 5\)"):
        guarded.check()
