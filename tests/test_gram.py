"""Least squares by X'X: the same trials as by rows, in any tile, cut anywhere, by any number of threads."""

import numpy as np
import pytest
from cohorts import SMALL, SPREAD, grid, make_cohort, problem, relative_error, spread
from small_studies import run

from fastgd.engine.shapes import Kernel, gram_pays
from fastgd.optimizers import OPTIMIZERS
from fastgd.optimizers.line_search import Armijo, Best, Exact

N, D = 150, 7
X, Y = problem(N, D, "squared")
GRAM = Kernel(4, gram=True)
BY_SUMS = [name for name in SPREAD if not OPTIMIZERS[name].batch_loss]  # rules that ask for the batch's loss take rows


class Falling:
    """A rate that falls with every epoch."""

    per_step = False

    def __init__(self, lanes, batch_size):
        self.rates, self.batches = np.array([lane["lr"] for lane in lanes]), -(-N // batch_size)

    def __call__(self, first, steps):
        return (self.rates / (1 + first // self.batches)).reshape(1, 1, -1)


def cohort_of(lanes, optimizer="momentum", *, kernel=GRAM, batch_size=N, dtype="float64", schedule=None, **options):
    rows, options = (X, Y), {"loss": "squared", "l2": 1e-3, "init": 0.3, **options}
    if schedule:
        options |= {"scheduled": ("lr",), "schedule": schedule}
    return make_cohort(*rows, lanes, optimizer, kernel=kernel, batch_size=batch_size, dtype=dtype, **options)


def lanes_of(count):
    return [{"lr": lr} for lr in np.geomspace(0.001, 0.1, count)]


def after(steps, *arguments, **options):
    cohort = cohort_of(*arguments, **options)
    cohort.advance(steps)
    return cohort.parameters()


@pytest.mark.parametrize("batch_size", [32, N])
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("optimizer", spread(BY_SUMS, BY_SUMS[:3]))
def test_steps_are_those_of_the_rows(optimizer, intercept, batch_size):
    how = {"batch_size": batch_size, "intercept": intercept}
    by_rows = after(40, grid(optimizer), optimizer, kernel=SMALL, **how)
    assert relative_error(after(40, grid(optimizer), optimizer, **how), by_rows) < 1e-10


@pytest.mark.full
@pytest.mark.parametrize("batch_size", [32, N])
def test_float32_is_near(batch_size):
    expected = after(40, lanes_of(9), batch_size=batch_size)
    found = after(40, lanes_of(9), batch_size=batch_size, dtype="float32")
    assert relative_error(found, expected) < 1e-5


@pytest.mark.full
@pytest.mark.parametrize("wider", spread([8, 16], [8]))
@pytest.mark.parametrize("batch_size", [32, N])
def test_the_same_bits_in_any_tile_for_any_threads_and_cuts(batch_size, wider):
    lanes, how = lanes_of(11), {"batch_size": batch_size, "schedule": Falling(lanes_of(11), batch_size)}
    expected = after(23, lanes, **how)
    for kernel, threads in ((GRAM, 1), (GRAM, 3), (Kernel(wider, gram=True), 3)):
        np.testing.assert_array_equal(after(23, lanes, kernel=kernel, threads=threads, **how), expected)
    cohort = cohort_of(lanes, **how)
    for steps in (1, 5, 17):
        cohort.advance(steps)
    np.testing.assert_array_equal(cohort.parameters(), expected)
    alone = after(23, lanes[4:5], batch_size=batch_size, schedule=Falling(lanes[4:5], batch_size))
    np.testing.assert_array_equal(alone[0], expected[4])


def test_who_goes_on_later_or_with_fewer_lanes_has_the_same_bits():
    expected, lanes = after(30, lanes_of(11)), lanes_of(11)
    cohort = cohort_of(lanes)
    cohort.advance(10)
    other = cohort_of(lanes)
    other.restore(cohort.capture())
    keep = np.arange(11) % 3 == 0
    other.retire(keep)
    other.advance(20)
    np.testing.assert_array_equal(other.parameters(), expected[keep])


@pytest.mark.parametrize("threads", [1, 2])
def test_a_lane_that_diverges_is_noted_and_harms_nobody(threads):
    """Not in its tile, and not in the next one."""
    lanes = [*lanes_of(4), {"lr": 1e6}, *lanes_of(14)]
    cohort = cohort_of(lanes, threads=threads)
    cohort.advance(60)
    bad, others = cohort.first_bad_step(), np.arange(len(lanes)) != 4
    assert (bad[others] == 0).all()
    assert 0 < bad[4] <= 60
    np.testing.assert_array_equal(cohort.parameters()[others], after(60, [*lanes_of(4), *lanes_of(14)]))


# --- line searches ----------------------------------------------------------------------------------------------------

SEARCHES = {"best": Best((0.1, 0.5, 1.0, 5.0)), "armijo": Armijo(), "exact": Exact()}
LINE = Kernel(8, 1, gram=True)


def searching(search, *, count=5, kernel=LINE, optimizer="sgd", **options):
    lanes = [{"lr": lr} for lr in np.geomspace(0.05, 1, count)]
    return cohort_of(lanes, optimizer, kernel=kernel, line_search=search, **options)


def found_by(cohort, steps=25):
    """The rates of each step, and the parameters behind the last."""
    rates = []
    for _ in range(steps):
        cohort.advance(1)
        rates.append(cohort.line.rates.copy())
    return np.array(rates), cohort.parameters()


@pytest.mark.parametrize("optimizer", ["sgd", "momentum"])
@pytest.mark.parametrize("search", SEARCHES.values(), ids=SEARCHES)
def test_line_searches_choose_the_rates_that_they_choose_by_rows(search, optimizer):
    cohorts = [searching(search, kernel=kernel, optimizer=optimizer) for kernel in (LINE, Kernel(4, 2))]
    (rates, W), (by_rows, W_by_rows) = (found_by(cohort, steps=9) for cohort in cohorts)  # before rounding decides
    if search is SEARCHES["exact"]:
        np.testing.assert_allclose(rates, by_rows, rtol=1e-6)
    else:
        np.testing.assert_array_equal(rates, by_rows)
        np.testing.assert_array_equal(*(cohort.line.evaluations for cohort in cohorts))
    assert relative_error(W, W_by_rows) < 1e-9


@pytest.mark.full
def test_line_searches_in_float32_are_near():
    (_, W), (_, expected) = (found_by(searching(Exact(), dtype=dtype)) for dtype in ("float32", "float64"))
    assert relative_error(W, expected) < 1e-4


@pytest.mark.full
def test_line_searches_have_the_same_bits_in_any_tile_for_any_threads_and_cuts():
    rates, expected = found_by(searching(Armijo(), count=11))
    for kernel, threads in ((Kernel(4, 1, gram=True), 1), (Kernel(16, 1, gram=True), 3)):
        np.testing.assert_array_equal(
            found_by(searching(Armijo(), count=11, kernel=kernel, threads=threads))[1], expected
        )
    cohort, other = searching(Armijo(), count=11), searching(Armijo(), count=11)
    cohort.advance(10)
    other.restore(cohort.capture())
    keep = np.arange(11) % 3 == 0
    other.retire(keep)
    other.advance(15)
    np.testing.assert_array_equal(other.parameters(), expected[keep])
    np.testing.assert_array_equal(other.line.rates[keep], rates[-1][keep])


def test_a_line_search_from_where_nothing_is_finite_is_data():
    cohort = cohort_of([{"lr": 1.0}], "sgd", kernel=LINE, line_search=Best((1e200,)), init=1e200)
    cohort.advance(3)
    assert cohort.first_bad_step()[0] > 0


def test_a_study_searches_by_it(tmp_path):
    """The losses that are recorded are sums over rows, and fall as by rows."""
    block = {"name": "sgd", "lr": 1.0, "line_search": {"kind": "exact"}}
    results = run(
        tmp_path / "out", data=(X, Y), problem={"loss": "squared"}, optimizer=block, batch_size="full", epochs=9
    )
    assert set(results.trials.kernel) == {"dense-gram-4"}
    losses = results.curves.sort_values("step").loss.to_numpy()
    assert (np.diff(losses) < 0).all()


def test_it_is_taken_where_it_pays():
    assert gram_pays(64, 10**6, 10**6, 100, steps=100)
    assert not gram_pays(8, 10**6, 10**6, 100, steps=1)
    assert gram_pays(1, 10**6, 10**6, 100, steps=100)
    assert not gram_pays(1, 10**6, 10**6, 2000, steps=100)  # X'X would cost as much as five hundred steps
    assert gram_pays(1000, 64, 10**6, 8, steps=100)
    assert not gram_pays(64, 64, 10**6, 100, steps=100)
    assert not gram_pays(10**6, 10**6, 10**6, 5000, steps=100)  # X'X itself would be too large


@pytest.mark.parametrize(("loss", "optimizer", "expected"), [
    ("squared", "momentum", "dense-gram"), ("huber", "momentum", "dense-tile"), ("squared", "polyak", "dense-tile"),
])  # fmt: skip
def test_a_study_takes_it(tmp_path, loss, optimizer, expected):
    how = {"problem": {"loss": loss}, "optimizer": {"name": optimizer, "lr": [1e-3, 1e-2, 0.1]}, "batch_size": "full"}
    results = run(tmp_path / "out", data=(X, Y), **how, epochs=9)
    assert results.trials.kernel.str.startswith(expected).all()


def test_features_whose_squares_would_overflow_take_rows(tmp_path):
    how = {"problem": {"loss": "squared"}, "optimizer": {"name": "sgd", "lr": [1e-320, 1e-310]}, "batch_size": "full"}
    results = run(tmp_path / "out", data=(X * 1e160, Y), **how, epochs=2)
    assert set(results.trials.kernel.str.contains("gram")) == {False}
