"""The engine against the readable reference: any shape of data, batches and lanes, in every kind of kernel."""

from dataclasses import replace

import numpy as np
import pytest
import reference
from cohorts import in_full, make_cohort, problem, relative_error, spread
from hypothesis import given, settings
from hypothesis import strategies as st

from fastgd.engine.shapes import LARGE_BATCH, MOST_SHARED_ENTRIES, Kernel, choose_kernel
from fastgd.problems import LOSSES

TILES = [Kernel(1), Kernel(4), Kernel(8), Kernel(16), Kernel(32), Kernel(4, 2), Kernel(8, 16)]
TILES += [Kernel(lanes, halves=True) for lanes in (1, 4, 16)]
FLOAT32 = [Kernel(1), Kernel(8), Kernel(64)]
MOMENTUM = 0.7


def lanes_of(count, loss="logistic"):
    fastest = 0.01 if loss == "poisson" else 0.2  # its curvature has no bound
    return [{"lr": lr, "momentum": MOMENTUM} for lr in np.geomspace(fastest / 20, fastest, count)]


@st.composite
def shapes(draw):
    """A problem's and a cohort's shape: few rows, for several epochs, with a last batch of any size.

    Features are taken 128 at a time, and chunks of a batch have 256 rows.
    """
    batch_size = draw(st.sampled_from([1, 2, 5, 64, 256, 257, 300]))
    n = batch_size + draw(st.sampled_from([0, 1, batch_size // 2, batch_size, 100]))
    return {
        "n": n,
        "d": draw(st.one_of(st.integers(1, 70), st.sampled_from([127, 128, 129, 257, 300]))),
        "lanes": draw(st.integers(1, 70)),
        "batch_size": batch_size,
        "intercept": draw(st.booleans()),
        "shuffled": draw(st.booleans()),
        "threads": draw(st.sampled_from([1, 2, 3])),
        "steps": draw(st.integers(1, 2 * -(-n // batch_size) + 3)),
    }


def train(shape, loss="logistic", kernel=None, dtype="float64"):
    """Return the cohort after its steps, with its data."""
    X, y = problem(shape["n"], shape["d"], loss)
    cohort = make_cohort(
        X,
        y,
        lanes_of(shape["lanes"], loss),
        loss=loss,
        l2=np.geomspace(1e-4, 1e-1, shape["lanes"]),
        batch_size=shape["batch_size"],
        shuffled=shape["shuffled"],
        intercept=shape["intercept"],
        init=0.1,
        threads=shape["threads"],
        kernel=kernel,
        dtype=dtype,
    )
    start = cohort.parameters()
    cohort.advance(shape["steps"])
    return cohort, X, y, start


def expected(cohort, X, y, start, lane, loss="logistic"):
    spec = cohort.spec
    return reference.train(
        X,
        y,
        spec.rule.optimizer.name,
        dict(zip(spec.rule.fields, spec.hyper[lane], strict=True)),
        loss=loss,
        batch_size=spec.batch_size,
        steps=cohort.t,
        seed=spec.seed if spec.shuffled else None,
        l2=spec.l2[lane],
        intercept=spec.model.intercept,
        start=start[lane],
    )[-1]


@pytest.mark.parametrize("kernel", spread(TILES, [Kernel(1), Kernel(4), Kernel(4, 2)]), ids=lambda kernel: kernel.name)
@settings(max_examples=20)
@given(shape=shapes())
def test_any_shape(kernel, shape):
    if kernel.lanes == 1:
        shape = shape | {"lanes": min(shape["lanes"], 7)}
    cohort, X, y, start = train(shape, kernel=kernel)
    found = cohort.parameters()
    assert found.shape == (shape["lanes"], shape["d"] + shape["intercept"])
    for lane in {0, shape["lanes"] // 2, shape["lanes"] - 1}:
        assert relative_error(found[lane], expected(cohort, X, y, start, lane)) < 1e-12


@pytest.mark.parametrize("kernel", spread(FLOAT32, [Kernel(8)]), ids=lambda kernel: kernel.name)
@settings(max_examples=10)
@given(shape=shapes())
def test_float32_is_close_to_float64(kernel, shape):
    if kernel.lanes == 1:
        shape = shape | {"lanes": min(shape["lanes"], 7)}
    cohort, X, y, start = train(shape, kernel=kernel, dtype="float32")
    found = cohort.parameters()
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, found.astype(np.float32))
    for lane in {0, shape["lanes"] // 2, shape["lanes"] - 1}:
        assert relative_error(found[lane], expected(cohort, X, y, start, lane)) < 1e-4


@pytest.mark.parametrize("kernel", [Kernel(1), Kernel(4), Kernel(4, 2)], ids=lambda kernel: kernel.name)
@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss(loss, kernel):
    shape = {"n": 150, "d": 11, "lanes": 4, "batch_size": 32, "intercept": True, "shuffled": True, "threads": 2}
    cohort, X, y, start = train(shape | {"steps": 12}, loss, kernel)
    found = cohort.parameters()
    for lane in range(4):
        assert relative_error(found[lane], expected(cohort, X, y, start, lane, loss)) < 1e-12


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), in_full("float32", 1e-4)])
@pytest.mark.parametrize("kernel", spread(TILES, [Kernel(1), Kernel(8), Kernel(4, 2)]), ids=lambda kernel: kernel.name)
def test_wide_rows_are_summed_in_shorter_chunks(monkeypatch, kernel, dtype, tolerance):
    """If sixteen rows are all that the cache keeps: batches of one chunk, two and many, of which the last is short."""
    monkeypatch.setattr("fastgd.engine.arrays.CHUNK_BYTES", 1)
    if dtype == "float32" and 1 < kernel.lanes < 8:
        kernel = replace(kernel, lanes=8)
    for batch_size in (13, 32, 33, 90):
        shape = {"n": 200, "d": 11, "lanes": 3, "batch_size": batch_size, "intercept": True, "shuffled": True}
        cohort, X, y, start = train(shape | {"threads": 2, "steps": 12}, kernel=kernel, dtype=dtype)
        for lane, found in enumerate(cohort.parameters()):
            assert relative_error(found, expected(cohort, X, y, start, lane)) < tolerance


@pytest.mark.parametrize("batch_size", [20_000, 45_000])
@pytest.mark.parametrize("lanes", [1, 5])
def test_large_batches(lanes, batch_size):
    """Parts, or a lane's halves, are summed side by side; 45,000 rows are one full batch, or two and a smaller one."""
    shape = {"n": 45_000, "d": 3, "lanes": lanes, "batch_size": batch_size, "intercept": True, "threads": 2}
    cohort, X, y, start = train(shape | {"shuffled": batch_size < 45_000, "steps": 4})
    assert (cohort.spec.kernel.parts > 0) == (lanes > 2)
    assert cohort.batches == -(-45_000 // batch_size)
    for lane in range(lanes):
        assert relative_error(cohort.parameters()[lane], expected(cohort, X, y, start, lane)) < 1e-12


def test_the_last_smaller_batch_is_the_mean_over_its_own_rows():
    """Of 65 rows in batches of 64, the last row is a batch of its own, and a step in the direction of that row."""
    X, y = problem(65, 4)
    cohort = make_cohort(X, y, lanes_of(1), "sgd", shuffled=False, intercept=False)
    cohort.advance(1)
    before = cohort.parameters()[0]
    cohort.advance(1)
    np.testing.assert_allclose(
        cohort.parameters()[0] - before, -0.01 * reference.gradient(X[64:], y[64:], before, loss="logistic"), rtol=1e-9
    )


def test_an_intercept_is_not_penalised():
    """Of a huge penalty, the weights vanish; the intercept finds the logarithm of the odds."""
    X, _ = problem(400, 3)
    y = (np.arange(400) % 4 == 0).astype(float)
    cohort = make_cohort(X, y, [{"lr": 0.01}], "sgd", l2=100.0, batch_size=400)
    cohort.advance(8_000)
    w = cohort.parameters()[0]
    assert np.abs(w[:-1]).max() < 1e-2
    assert w[-1] == pytest.approx(np.log(1 / 3), rel=1e-3)


@settings(max_examples=200)
@given(lanes=st.integers(1, 5000), batch_size=st.integers(1, 10**6), itemsize=st.sampled_from([4, 8]))
def test_kernels_fit_their_cohorts(lanes, batch_size, itemsize):
    kernel = choose_kernel(lanes, batch_size, itemsize)
    assert kernel == choose_kernel(lanes, batch_size, itemsize)
    assert kernel.tiles(lanes) * kernel.lanes == lanes + kernel.padding(lanes)
    assert 0 <= kernel.padding(lanes) < kernel.lanes
    assert kernel.lanes * itemsize in (itemsize, 32, 64, 128, 256)
    shared = lanes <= 2 and batch_size * 100 <= MOST_SHARED_ENTRIES
    assert (kernel.parts > 0) == (batch_size >= LARGE_BATCH and not shared)
    assert (kernel.lanes == 1) == (lanes <= 2 and not kernel.parts)
    kind = "single" if kernel.lanes == 1 else "tile"
    lanes_behind = "" if kernel.lanes == 1 else f"-{kernel.lanes}"
    assert kernel.name.startswith(f"dense-{kind}{'-halves' * kernel.halves}{lanes_behind}")


@pytest.mark.parametrize(
    ("lanes", "parameters", "alone"), [(4, 300, True), (8, 300, False), (8, 600, True), (9, 600, False)]
)
def test_few_lanes_of_many_parameters_take_single_rows_one_by_one(lanes, parameters, alone):
    assert (choose_kernel(lanes, 1, 8, parameters=parameters).lanes == 1) == alone
    assert choose_kernel(lanes, 2, 8, parameters=parameters).lanes > 1
    assert choose_kernel(lanes, 1, 8, parameters=parameters, tiles=True).lanes > 1


@pytest.mark.parametrize("lanes", [1, 8])
def test_who_shares_a_batch_has_enough_of_it_to_do(lanes):
    """Two threads that meet once a step pay where its products take longer than their meeting."""
    halved = {(b, d): choose_kernel(lanes, b, 8, parameters=d).halves for b in (8, 32, 256, 4096) for d in (8, 1000)}
    assert [halved[at] for at in ((8, 8), (8, 1000), (32, 8))] == [False] * 3
    assert [halved[at] for at in ((256, 1000), (4096, 8))] == [True] * 2
    assert halved[256, 8] == (lanes > 1)
    assert choose_kernel(lanes, 256, 8, parameters=8, shuffled=True).halves, "rows are waited for"
    assert not choose_kernel(8, 4096, 8, parameters=10**6).halves  # each of them steps with all parameters
    few = {(count, slots): choose_kernel(count, 64, 8, parameters=100, slots=slots).halves for count, slots in
           [(1, 1), (1, 4), (2, 1)]}  # fmt: skip
    assert few == {(1, 1): True, (1, 4): False, (2, 1): False}, "both step, and two lanes have a thread each anyway"


def test_single_rows_take_tiles_that_the_first_level_cache_keeps():
    """What is kept for a parameter of all lanes of a tile is passed once a row; sparse rows pass their own features."""

    def lanes(count, d, slots, **how):
        return choose_kernel(count, how.pop("b", 1), 8, parameters=d, slots=slots, **how).lanes

    assert [lanes(64, 100, slots) for slots in (0, 1)] == [32, 16]
    assert [lanes(8, d, 1) for d in (100, 400)] == [8, 4]
    assert lanes(64, 100, 1, b=4) == lanes(64, 100, 1, sparse=True) == 32
