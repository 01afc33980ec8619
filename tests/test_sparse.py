"""Sparse cohorts: the iterates of dense ones, whatever the rule, and what that takes."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from cohorts import make_cohort, pool, spread
from hypothesis import given, settings
from hypothesis import strategies as st
from sparse_cohorts import difference, pair, problem, rates_of, run, sparse_cohort

from fastgd.engine.coast.powers import DIGIT_BITS, DIGITS
from fastgd.engine.shapes import Kernel
from fastgd.optimizers import OPTIMIZERS
from fastgd.optimizers.coasting import EVERY_STEP, UNCHANGED, Coast

# --- exact ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", spread(["sgd", "momentum", "nesterov"], ["sgd", "momentum"]))
@pytest.mark.parametrize("l2", [2.0, 4.0, 6.0])
def test_factors_of_zero_and_below_are_exact(optimizer, l2):
    """With lr l2 = 1 a step of sgd leaves nothing of a parameter, and beyond that it turns its sign."""
    lanes = [{"lr": 0.5, "momentum": 0.3}, {"lr": 0.25, "momentum": 0.0}, {"lr": 0.1, "momentum": 0.5}]
    lanes = lanes if optimizer != "sgd" else [{"lr": lane["lr"]} for lane in lanes]
    assert run(pair(optimizer, lanes, batch_size=1, l2=l2 * 0.5, init=0.5)) < 1e-10


# What either estimator adds is a constant of a step: each rule has one of them, and plain descent both.
ESTIMATED = [("sgd", "svrg"), ("sgd", "saga"), ("momentum", "saga"), ("nesterov", "svrg")]
ESTIMATED += [("schedule_free_sgd", "saga"), ("adam", "saga")]


@pytest.mark.full
@pytest.mark.parametrize(("optimizer", "estimator"), spread(ESTIMATED, [("sgd", "svrg"), ("adam", "saga")]))
def test_estimators_give_them(optimizer, estimator):
    for l2 in (0.0, 0.05):
        assert run(pair(optimizer, batch_size=4, estimator=estimator, l2=l2), 400) < 1e-10


OPTIONS = [
    {"clip": "value"}, {"clip": "norm"}, {"proximal": ""}, {"lookahead": ""}, {"averaging": "ema"},
    {"averaging": "polyak"}, {"lookahead": "", "averaging": "ema", "clip": "value"},
]  # fmt: skip


AROUND = [("sgd", around) for around in OPTIONS] + [("momentum", OPTIONS[-1]), ("adam", OPTIONS[-1])]


@pytest.mark.parametrize(("optimizer", "around"), spread(AROUND, AROUND[:1]), ids=str)
def test_options_give_them(optimizer, around):
    lanes = [{"lr": lr, "clip.value": 0.1, "clip.norm": 0.2} for lr in (0.01, 0.1)]
    assert run(pair(optimizer, lanes, batch_size=2, around=around, init=0.2), 500) < 1e-10


@pytest.mark.parametrize("optimizer", spread(["sgd", "adam", "lamb"], ["sgd"]))
@pytest.mark.parametrize("batch_size", [300, 257, 299])
def test_large_and_full_batches_give_them(optimizer, batch_size):
    dense, sparse = pair(optimizer, batch_size=batch_size)
    parts = replace(sparse.spec, kernel=replace(sparse.spec.kernel, parts=2), untouched=EVERY_STEP, window=0)
    X, y = problem()
    in_parts = sparse_cohort(parts, X, y, dense)
    in_parts.advance(30)
    assert run((dense, sparse), 30) < 1e-10
    assert difference(dense, in_parts) < 1e-10


@pytest.mark.parametrize("optimizer", spread(["sgd", "momentum", "adam", "lion"], []))
def test_single_precision_stays_close(optimizer):
    assert run(pair(optimizer, batch_size=1, dtype="float32"), 600) < 1e-4


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("loss", ["squared", "hinge", "poisson", "huber"])
def test_losses_and_intercepts_are_those_of_dense_rows(loss, intercept):
    pair_of = pair("momentum", [{"lr": 0.01}, {"lr": 0.002}], batch_size=5, loss=loss, intercept=intercept, l2=0.01)
    assert run(pair_of, 300) < 1e-10


@pytest.mark.full
@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 1000),
    d=st.integers(1, 60),
    batch_size=st.sampled_from([1, 2, 7, 64]),
    optimizer=st.sampled_from(["sgd", "momentum", "adam", "adamax", "ftrl"]),
    window=st.sampled_from([64, 128]),
)
def test_any_data_give_them(seed, d, batch_size, optimizer, window):
    rng = np.random.default_rng(seed)
    X = (rng.random((90, d)) < rng.random(d) ** 3) * rng.standard_normal((90, d))
    y = (rng.random(90) < 0.5).astype(float)
    pair_of = pair(optimizer, batch_size=batch_size, data=(X, y), window=window)
    assert run(pair_of, 200) < 1e-9


# --- where series do not serve ----------------------------------------------------------------------------------------

ADAMS = ["adam", "adamw", "nadam", "nadamw", "radam", "amsgrad", "yogi", "ademamix", "optimistic_adam", "adamax"]
ADAMS += ["adabelief", "adan"]


@pytest.mark.full
@pytest.mark.parametrize("optimizer", spread(ADAMS))
@pytest.mark.parametrize(
    "values", [{"eps": 1e-2}, {"beta1": 0.99, "beta2": 0.9}, {"beta1": 0.5, "beta2": 0.4}], ids=str
)
def test_steps_one_by_one_where_eps_is_large_or_momentum_lasts(optimizer, values):
    known = {name: value for name, value in values.items() if name in OPTIMIZERS[optimizer].hyper}
    lanes = [{"lr": 1e-3, **known}, {"lr": 3e-3}]
    assert run(pair(optimizer, lanes, batch_size=1, window=1024), 900) < 1e-10


@pytest.mark.full
@pytest.mark.parametrize("optimizer", spread(["adamw", "adam", "adabelief", "adan", "optimistic_adam"]))
def test_steps_one_by_one_end_when_they_have_no_more_say(optimizer):
    """In a window that is longer than momentum lasts; with decay, which goes on."""
    lanes = [{"lr": 1e-3, "beta1": 0.5, "beta2": 0.9, "beta3": 0.9, "eps": 1e-3, "weight_decay": 0.1}]
    lanes = [{name: value for name, value in lanes[0].items() if name in OPTIMIZERS[optimizer].hyper}]
    assert run(pair(optimizer, lanes, batch_size=1, window=4096), 2000) < 1e-10


@pytest.mark.full
@pytest.mark.parametrize("beta", [0.3, 0.5, 0.9, 0.0])
@pytest.mark.parametrize("optimizer", spread(["lion", "signum"], ["signum"]))
def test_signs_last_as_long_as_in_dense_cohorts(optimizer, beta):
    """A mean that falls by a half or less is zero in the end, and its sign with it; else it stays above zero."""
    name = "beta" if optimizer == "signum" else "beta2"
    rng = np.random.default_rng(0)
    X = np.zeros((3000, 4))
    X[:, 0] = rng.standard_normal(3000)
    X[:3, 1:] = rng.standard_normal((3, 3))
    data = (X, (X[:, 0] > 0).astype(float))
    lanes = [{"lr": 1e-3, name: beta}, {"lr": 1e-3, name: 0.8}]
    assert run(pair(optimizer, lanes, batch_size=1, data=data, window=4096, shuffled=False), 2990) < 1e-10


def test_a_lane_that_diverges_harms_no_other():
    lanes = [{"lr": 1e-2}, {"lr": 1e300}, {"lr": 1e-2}]
    dense, sparse = pair("momentum", lanes, batch_size=1, loss="squared")
    dense.advance(700)
    sparse.advance(700)
    np.testing.assert_allclose(sparse.parameters()[[0, 2]], dense.parameters()[[0, 2]], rtol=1e-9)
    assert dense.first_bad_step()[1] == sparse.first_bad_step()[1] > 0


# --- masked -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize("optimizer", spread(["sgd", "momentum", "adam", "adagrad", "lion"], ["adam"]))
def test_masked_parameters_rest(optimizer, batch_size):
    """Against the rule's own step in NumPy, on the features of each batch."""
    X, y = problem()
    lanes = [{"lr": 0.01}]
    _, sparse = pair(optimizer, lanes, mode="masked", batch_size=batch_size, shuffled=False, intercept=False, l2=0.1)
    rule = sparse.spec.rule
    h = rule.instance(dict(zip(rule.fields, sparse.spec.hyper[0], strict=True)))
    w = np.zeros(X.shape[1])
    s, memory = [np.zeros(X.shape[1]) for _ in range(rule.slots)], rule.memory
    for t in range(1, 121):
        rows = slice((t - 1) * batch_size % 300, (t - 1) * batch_size % 300 + batch_size)
        residual = 1 / (1 + np.exp(-X[rows] @ w)) - y[rows]
        touched = np.flatnonzero((X[rows] != 0).any(axis=0))
        g = (X[rows].T @ residual)[touched] / batch_size + 0.1 * w[touched]
        c, memory = rule.functions.prepare(h, t, memory)
        w[touched], slots = rule.functions.update(h, c, w[touched], g, tuple(slot[touched] for slot in s))
        for slot, new in zip(s, slots, strict=True):
            slot[touched] = new
    sparse.advance(120)
    np.testing.assert_allclose(sparse.parameters()[0], w, rtol=1e-10, atol=1e-13)


# --- bits -------------------------------------------------------------------------------------------------------------

KINDS = [
    ("sgd", {}), ("momentum", {"l2": 0.01}), ("adam", {}), ("adamw", {}), ("adam", {"mode": "masked"}),
    ("lamb", {}), ("lion", {}), ("adan", {}), ("sgd", {"l2": 0.01}), ("sgd", {"l2": 0.01, "framed": False}),
]  # fmt: skip


FEW_KINDS = [KINDS[1], KINDS[2], KINDS[4], KINDS[5], *KINDS[-2:]]


@pytest.mark.parametrize(("optimizer", "kind"), spread(KINDS, FEW_KINDS), ids=str)
@pytest.mark.parametrize("batch_size", [1, 6])
def test_threads_cuts_readings_and_neighbours_change_no_bits(optimizer, kind, batch_size):
    lanes = [{"lr": rate} for rate in np.geomspace(1e-4, 1e-2, 10)]
    _, whole = pair(optimizer, lanes, batch_size=batch_size, **kind)
    whole.advance(500)
    expected = whole.parameters()

    _, cut = pair(optimizer, lanes, batch_size=batch_size, threads=1, **kind)
    for steps in (1, 63, 64, 7, 365):
        cut.advance(steps)
        cut.parameters()
        cut.slots()
    np.testing.assert_array_equal(cut.parameters(), expected)

    _, alone = pair(optimizer, lanes, batch_size=batch_size, **kind)
    spec = replace(alone.spec, hyper=alone.spec.hyper[7:8], l2=alone.spec.l2[7:8])
    X, y = problem()
    alone = sparse_cohort(spec, X, y, alone)
    alone.advance(500)
    np.testing.assert_array_equal(alone.parameters(), expected[7:8])

    _, retired = pair(optimizer, lanes, batch_size=batch_size, **kind)
    retired.advance(201)
    retired.retire(np.arange(10) % 3 == 1)  # three of ten: fewer tiles
    retired.advance(299)
    np.testing.assert_array_equal(retired.parameters(), expected[1::3])


def test_slots_are_those_of_a_dense_cohort():
    dense, sparse = pair("adam", batch_size=1)
    dense.advance(333)
    sparse.advance(333)
    for found, expected in zip(sparse.slots(), dense.slots(), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-200)


@pytest.mark.parametrize("optimizer", ["momentum", "nesterov", "adam"])
def test_measures_are_those_of_a_dense_cohort(optimizer):
    X, y = problem()
    dense, sparse = pair(optimizer, batch_size=1, l2=0.01 if optimizer != "adam" else 0.0)
    dense.advance(450)
    sparse.advance(450)
    loss = [dense.spec.loss]
    ours = sparse.measure([(sparse_rows(X), y, loss), (sparse_rows(X[:50]), y[:50], loss)])
    theirs = dense.measure([(X, y, loss), (X[:50], y[:50], loss)])
    for found, expected in zip(ours.sums, theirs.sums, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-10)
    np.testing.assert_allclose(ours.squares, theirs.squares, rtol=1e-10)
    np.testing.assert_allclose(ours.penalised, theirs.penalised, rtol=1e-10)
    np.testing.assert_allclose(sparse.gradient_norms()[0], dense.gradient_norms()[0], rtol=1e-9)


def sparse_rows(X):
    from fastgd.datasets.csr import from_dense

    return from_dense(X)


# --- how it is done ---------------------------------------------------------------------------------------------------


def test_what_does_not_move_is_not_caught_up():
    for optimizer in ("sgd", "adagrad", "signsgd", "cocob"):
        assert pair(optimizer, rates_of(optimizer), batch_size=1)[1].spec.untouched == UNCHANGED


def test_lanes_share_what_their_rates_alone_tell_apart():
    shared = pair("adam", rates_of("adam"), batch_size=1)[1].spec.untouched
    own = pair("adam", batch_size=1)[1].spec.untouched
    assert isinstance(shared, Coast)
    assert shared.shared
    assert isinstance(own, Coast)
    assert not own.shared


def test_rules_that_sum_over_all_parameters_step_them_all():
    for optimizer in ("lars", "lamb", "novograd", "dog", "prodigy"):
        assert pair(optimizer, batch_size=1)[1].spec.untouched == EVERY_STEP


@pytest.mark.parametrize(("optimizer", "l2"), [("sgd", [0.001, 0.01, 0.3, 1.0]), ("rprop", 0.0)])
def test_powers_are_the_products_of_a_tree(optimizer, l2):
    """Where each step has the same matrix, many of them are one of its powers."""
    _, steady = pair(optimizer, rates_of(optimizer), l2=l2, batch_size=1, window=1024, framed=False)
    assert steady.spec.untouched.steady
    spec = replace(steady.spec, untouched=replace(steady.spec.untouched, steady=False))
    whole = sparse_cohort(spec, *problem(), steady)
    assert steady.window.arrays.nodes.size < whole.window.arrays.nodes.size / 8
    for steps in (1, 70, 257, 612, 1500):
        for cohort in (steady, whole):
            cohort.advance(steps)
        assert difference(whole, steady) < 1e-13


def test_powers_are_as_exact_as_products_of_floats_can_be():
    """Against exact fractions, also from digit to digit: the factor's own rounding is not theirs."""
    rates, l2, steps = [0.5, 0.03, 1e-3], [0.1, 0.5, 1e-2], [1, 2, 63, 64, 65, 127, 1000, 4095, 4096, 5000]
    _, sparse = pair("sgd", [{"lr": rate} for rate in rates], l2=l2, batch_size=1, window=8192, framed=False)
    sparse.advance(1)
    table = sparse.window.arrays.nodes.reshape(-1, sparse.window.arrays.ratio.shape[1])
    for lane, (rate, penalty) in enumerate(zip(rates, l2, strict=True)):
        factor = Fraction(float(table[1, lane]))
        assert abs(factor - (1 - Fraction(rate) * Fraction(penalty))) < 2**-53
        for k in steps:
            digits = [DIGITS * level + (k >> DIGIT_BITS * level) % DIGITS for level in range(len(table) // DIGITS)]
            found = np.prod([table[digit, lane] for digit in digits if digit % DIGITS])
            assert abs(Fraction(float(found)) / factor**k - 1) < 2**-53 * (2 + k)


@pytest.mark.parametrize("batch_size", [1, 6])
@pytest.mark.parametrize("dtype", spread(["float64", "float32"], ["float64"]))
def test_parameters_in_the_frame_of_the_window_are_the_dense_ones(batch_size, dtype):
    """Which are not brought up to date, also where a window makes them a millionth; not, where it takes everything."""
    lanes, l2 = [{"lr": rate} for rate in (1e-3, 1e-2, 0.1, 0.3)], [1e-3, 0.01, 0.1, 0.04]
    dense, framed = pair("sgd", lanes, l2=l2, batch_size=batch_size, window=1024, dtype=dtype, init=0.3)
    assert framed.spec.untouched.framed
    assert run((dense, framed), 2500) < (1e-10 if dtype == "float64" else 1e-4)
    assert not framed.window.arrays.last.any()
    _, strong = pair("sgd", [{"lr": 0.5}, *lanes[1:]], l2=[2.0, *l2[1:]], batch_size=batch_size)
    assert not strong.spec.untouched.framed


def test_where_a_step_adds_a_multiple_of_its_row():
    """To parameters that rest, or to what is kept of them in a frame; where a step does more, the rule is called."""
    lanes = [{"lr": 0.05}, {"lr": 0.2}]
    assert pair("sgd", lanes, batch_size=1)[1].spec.adds_rows
    assert pair("sgd", lanes, batch_size=1, wave=True)[1].spec.adds_rows
    assert pair("sgd", lanes, batch_size=1, l2=0.01)[1].spec.adds_rows
    others = [{"batch_size": 2}, {"l2": 0.01, "framed": False}, {"l2": 0.01, "mode": "masked"}, {"estimator": "saga"}]
    others += [{"around": {"clip": "value"}}]
    for more in others:
        assert not pair("sgd", lanes, **{"batch_size": 1} | more)[1].spec.adds_rows
    assert not pair("momentum", lanes, batch_size=1)[1].spec.adds_rows
    assert run(pair("sgd", lanes, batch_size=1, init=0.2)) < 1e-12
    assert run(pair("sgd", lanes, batch_size=1, wave=True)) < 1e-12


def test_the_window_ends_without_a_trace():
    cohorts = [pair("momentum", batch_size=1, window=window)[1] for window in (64, 1024)]
    for cohort in cohorts:
        cohort.advance(900)
    assert difference(*cohorts) < 1e-12


@pytest.mark.parametrize("width", spread([4, 8, 16, 32], []))
def test_tiles_of_every_width_agree(width):
    lanes = [{"lr": rate} for rate in np.geomspace(1e-3, 1e-1, 32)]
    reference = make_cohort(*problem(), lanes, "momentum", batch_size=1, kernel=Kernel(4))
    reference.advance(310)
    _, sparse = pair("momentum", lanes, batch_size=1, lanes_of_tile=width)
    sparse.advance(310)
    assert difference(reference, sparse) < 1e-12


def test_more_threads_than_tiles_are_no_trouble():
    _, sparse = pair("adam", [{"lr": 1e-3}], batch_size=1, threads=2)
    sparse.advance(10)
    assert len(sparse.lanes.state) == 1
    assert pool(2).count == 2


# --- what a review found ----------------------------------------------------------------------------------------------


@pytest.mark.full
@pytest.mark.parametrize(("scale", "rates"), [(0.05, (400.0, 200.0)), (0.01, (1e4, 5e3))])
def test_large_rates_lose_no_digits_in_single_precision(scale, rates):
    """Lanes that share matrices of a rate of 1 move by the rate times that: never by a difference of parameters."""
    X, y = problem()
    lanes = [{"lr": rate} for rate in rates]
    exact, _ = pair("momentum", lanes, batch_size=1, data=(X * scale, y))
    dense, sparse = pair("momentum", lanes, batch_size=1, data=(X * scale, y), dtype="float32")
    for cohort in (exact, dense, sparse):
        cohort.advance(900)
    assert sparse.spec.untouched.shared
    assert difference(exact, sparse) < 3 * difference(exact, dense) + 1e-6


class Ramp:
    """A schedule that takes a hyper-parameter through zero."""

    per_step = True

    def __init__(self, values, lanes):
        self.values, self.lanes = np.asarray(values), lanes

    def __call__(self, first, steps):
        return np.broadcast_to(self.values[first : first + steps, None, None], (steps, 1, self.lanes))


@pytest.mark.parametrize(
    ("optimizer", "name"),
    spread([
        ("ftrl", "lambda1"), ("ftrl", "beta"), ("signum", "beta"), ("lion", "beta2"), ("madgrad", "momentum"),
        ("adam", "beta1"),
    ], [("ftrl", "lambda1"), ("adam", "beta1")]),
)  # fmt: skip
def test_schedules_of_other_hyper_parameters_give_the_dense_iterates(optimizer, name):
    values = np.concatenate([np.zeros(200), np.linspace(0, 0.9, 300)])
    lanes = [{"lr": 0.01}, {"lr": 0.02}]
    given_schedule = {"scheduled": (name,), "schedule": Ramp(values, 2)}
    assert run(pair(optimizer, lanes, batch_size=1, window=1024, **given_schedule), 500) < 1e-10


@pytest.mark.parametrize("optimizer", spread(["adan", "optimistic_adam", "adabelief", "adam"]))
def test_no_momentum_at_all(optimizer):
    lanes = [{"lr": 1e-3, **{beta: 0.0 for beta in ("beta1", "beta2") if beta in OPTIMIZERS[optimizer].hyper}}]
    lanes.append({"lr": 1e-3, "beta1": 0.0})
    assert run(pair(optimizer, lanes, batch_size=1, window=256), 600) < 1e-10


@pytest.mark.parametrize("optimizer", spread(["adabelief", "adam"]))
def test_a_neighbour_with_longer_momentum_changes_no_bits(optimizer):
    rng = np.random.default_rng(0)
    X = np.zeros((900, 6))
    X[:, 0] = rng.standard_normal(900)
    X[::300, 1:] = rng.standard_normal((3, 5))
    y = (X[:, 0] > 0).astype(float)
    lanes = [{"lr": 1e-3, "beta1": 0.5, "beta2": 0.9, "eps": 0.1}, {"lr": 1e-3, "beta1": 0.97, "eps": 0.1}]
    _, together = pair(optimizer, lanes, batch_size=1, data=(X, y), window=1024)
    spec = together.spec
    alone = sparse_cohort(replace(spec, hyper=spec.hyper[:1], l2=spec.l2[:1]), X, y, together)
    for cohort in (together, alone):
        cohort.advance(900)
    np.testing.assert_array_equal(alone.parameters()[0], together.parameters()[0])


def test_what_is_clipped_is_not_taken_for_linear():
    lanes = [{"lr": 0.01, "clip.value": 1.0}]
    assert run(pair("sgd", lanes, batch_size=1, around={"clip": "value"}, l2=1e-4, init=3e4), 300) < 1e-10
