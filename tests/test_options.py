"""Options around rules: against their equations written out, and the invariants that hold for any rule."""

from itertools import islice

import numpy as np
import pytest
import reference
from cohorts import PARTS, SINGLE, SMALL, make_cohort, problem, relative_error
from test_engine_bits import Falling

import fastgd
from fastgd.optimizers import OPTIMIZERS
from fastgd.optimizers._options import OPTIONS, TABLES, kinds
from fastgd.optimizers._rules import Rule, chosen

N, D, STEPS = 600, 9, 60
X, Y = problem(N, D)
KERNELS = pytest.mark.parametrize(
    ("kernel", "batch_size"),
    [(SMALL, 64), (SMALL, 300), (SINGLE, 64), (PARTS, N)],
    ids=["tile", "chunks", "lane", "parts"],
)
TYPES = pytest.mark.parametrize("dtype", ["float64", "float32"])

# Numbers that make each option do something on this problem.
NUMBERS = {
    "clip.value": 0.05,
    "clip.norm": 0.2,
    "proximal.l1": 0.02,
    "proximal.l2": 0.1,
    "lookahead.every": 3.0,
    "lookahead.alpha": 0.6,
    "averaging.decay": 0.8,
    "averaging.start": 7.0,
}
ALL = {"clip": "norm", "proximal": "", "lookahead": "", "averaging": "ema"}
# Each kind once, all tables at once, and around a rule that sums over the parameters itself.
COMBINATIONS = {
    "value": ("momentum", {"clip": "value"}),
    "norm": ("momentum", {"clip": "norm"}),
    "proximal": ("momentum", {"proximal": ""}),
    "lookahead": ("momentum", {"lookahead": ""}),
    "ema": ("momentum", {"averaging": "ema"}),
    "polyak": ("momentum", {"averaging": "polyak"}),
    "averaged nesterov": ("nesterov", {"averaging": "polyak", "clip": "value"}),
    "all": ("adam", ALL),
    "around sums": ("lamb", {"clip": "norm", "lookahead": "", "averaging": "polyak"}),
}
CASES = pytest.mark.parametrize(("name", "around"), COMBINATIONS.values(), ids=COMBINATIONS)
RATES = (0.02, 0.05, 0.1, 0.2)


def lanes_of(name, around, rates=RATES):
    """A lane for each rate, each with other numbers of the options."""
    rule = Rule.of(OPTIMIZERS[name], {}, around)
    numbers = {key: value for key, value in NUMBERS.items() if key in rule.fields}
    lanes = [{"lr": rate, **numbers} for rate in rates]
    for factor, lane in enumerate(lanes, 1):
        for key in ("clip.norm", "clip.value", "proximal.l1"):
            if key in lane:
                lane[key] *= factor
        if "lookahead.every" in lane:
            lane["lookahead.every"] = 2.0 + factor
    return lanes


def cohort_of(name, around, lanes=None, **options):
    options = {"l2": 1e-2, "init": 0.4, "kernel": SMALL, **options}
    return make_cohort(X, Y, lanes or lanes_of(name, around), name, around=around, **options)


# --- the equations, written out ---------------------------------------------------------------------------------------


def plain_step(name, t, w, g, s, lr):
    """One step of a rule with its defaults: the iterate, and what is reported."""
    if name == "momentum":
        s["u"] = 0.9 * s.get("u", 0) + g
        return w - lr * s["u"], w - lr * s["u"]
    if name == "nesterov":
        s["u"] = 0.9 * s.get("u", 0) + g
        w = w - lr * (g + 0.9 * s["u"])
        return w, w + lr * 0.9 * s["u"]
    s["m"] = 0.9 * s.get("m", 0) + 0.1 * g
    s["v"] = 0.999 * s.get("v", 0) + 0.001 * g * g
    m, v = s["m"] / (1 - 0.9**t), s["v"] / (1 - 0.999**t)
    if name == "adam":
        w = w - lr * m / (np.sqrt(v) + 1e-8)
    else:
        u = m / (np.sqrt(v) + 1e-6)
        w = w - lr * np.linalg.norm(w) / np.linalg.norm(u) * u
    return w, w


def by_numpy(name, around, lane, start, batch_size, steps=STEPS, l2=1e-2, norm_of=None):
    """What is reported after some steps."""
    w, s, slow, average = start.copy(), {}, start.copy(), start.copy()
    for t, at in enumerate(islice(reference.batches(N, batch_size, 3), steps), 1):
        g = reference.gradient(X[at], Y[at], w, loss="logistic", l2=l2, intercept=True)
        if around.get("clip") == "value":
            g = np.clip(g, -lane["clip.value"], lane["clip.value"])
        elif around.get("clip") == "norm":
            bound = norm_of(t) if norm_of else lane["clip.norm"]
            g = g * min(1, bound / (np.linalg.norm(g) + 1e-6))
        w, reported = plain_step(name, t, w, g, s, lane["lr"])
        if "proximal" in around:
            inner = np.sign(w) * np.maximum(np.abs(w) - lane["lr"] * lane["proximal.l1"], 0)
            inner = inner / (1 + lane["lr"] * lane["proximal.l2"])
            w = reported = np.append(inner[:D], w[D])  # the intercept is not penalised
        if "lookahead" in around:
            if t % lane["lookahead.every"] == 0:
                w = slow = slow + lane["lookahead.alpha"] * (w - slow)
            reported = slow
        after = t - lane.get("averaging.start", 0)
        if around.get("averaging") == "ema":
            average = (
                reported if after <= 1 else lane["averaging.decay"] * average + (1 - lane["averaging.decay"]) * reported
            )
            reported = average
        elif around.get("averaging") == "polyak":
            average = reported if after <= 1 else average + (reported - average) / after
            reported = average
    return reported


@KERNELS
@CASES
def test_it_computes_its_equations(name, around, kernel, batch_size):
    cohort = cohort_of(name, around, kernel=kernel, batch_size=batch_size)
    start = cohort.parameters()[0]
    cohort.advance(STEPS)
    for found, lane in zip(cohort.parameters(), lanes_of(name, around), strict=True):
        assert relative_error(found, by_numpy(name, around, lane, start, batch_size)) < 1e-11


def test_every_option_is_among_the_cases():
    tried = {(table, kind) for _, around in COMBINATIONS.values() for table, kind in around.items()}
    assert tried == {(record.table, record.kind) for record in OPTIONS.values()}
    assert {record.table for record in OPTIONS.values()} == set(TABLES)


def test_a_schedule_may_drive_a_number_of_an_option():
    class Bounds(Falling):
        def __call__(self, first, steps):
            return super().__call__(first, steps)[:, :1]

    lanes = lanes_of("momentum", {"clip": "norm"})
    schedule = Bounds([{"lr": 0.1 * i} for i in range(1, 5)], True, -(-N // 64))
    options = {"scheduled": ("clip.norm",), "schedule": schedule, "batch_size": 64}
    cohort = cohort_of("momentum", {"clip": "norm"}, **options)
    start = cohort.parameters()[0]
    cohort.advance(STEPS)
    for i, found in enumerate(cohort.parameters()):
        bounds = schedule(0, STEPS)[:, 0, i]
        expected = by_numpy(
            "momentum", {"clip": "norm"}, lanes[i], start, 64, norm_of=lambda t, bounds=bounds: bounds[t - 1]
        )
        assert relative_error(found, expected) < 1e-11


# --- what holds for any rule ------------------------------------------------------------------------------------------


@TYPES
@CASES
def test_bits_do_not_depend_on_threads_pieces_or_neighbours(name, around, dtype):
    lanes = lanes_of(name, around) * 3
    options = {"lanes": lanes, "batch_size": 64, "dtype": dtype}
    whole, cut, retired = (cohort_of(name, around, **options, threads=threads) for threads in (1, 2, 3))
    whole.advance(20)
    for steps in (1, 6, 3):
        cut.advance(steps)
        retired.advance(steps)
    keep = np.isin(np.arange(12), (1, 6, 11))
    retired.retire(keep)
    for rest in (cut, retired):
        rest.advance(10)
    np.testing.assert_array_equal(cut.parameters(), whole.parameters())
    np.testing.assert_array_equal(retired.parameters(), whole.parameters()[keep])
    alone = cohort_of(name, around, **{**options, "lanes": lanes[6:7]})
    alone.advance(20)
    np.testing.assert_array_equal(alone.parameters(), whole.parameters()[6:7])


@CASES
def test_float32_is_near(name, around):
    ends = []
    for dtype in ("float64", "float32"):
        cohort = cohort_of(name, around, batch_size=64, dtype=dtype)
        cohort.advance(STEPS)
        ends.append(cohort.parameters())
    assert relative_error(ends[1], ends[0]) < 1e-4


def test_a_gradient_that_is_not_a_number_stays_one():
    """Clipping may not bring a lane that has diverged back to life, nor harm another."""
    for kind, number in (("value", "clip.value"), ("norm", "clip.norm")):
        lanes = [{"lr": 1e200, number: 1e200}, {"lr": 0.1, number: 1.0}]
        cohort = make_cohort(X, Y, lanes, "sgd", around={"clip": kind}, loss="squared", kernel=SMALL, batch_size=64)
        cohort.advance(20)
        assert not (np.abs(cohort.parameters()[0]) < 1e100).any()
        assert np.isfinite(cohort.parameters()[1]).all()


def test_without_options_a_rule_is_what_it_was():
    record = OPTIMIZERS["adam"]
    assert repr(Rule.of(record, {}, {})) == repr(Rule.of(record, {}))
    around = Rule.of(record, {}, ALL)
    assert around.options == ("clip, norm", "proximal", "lookahead", "averaging, ema")
    assert around.base.options == ()
    assert list(around.fields)[: len(record.hyper)] == list(record.hyper)
    assert [option.table for option in chosen(ALL)] == list(TABLES)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_what_a_rule_allows_is_what_its_functions_do(name):
    """A step that is a rate times a direction, and a step that goes on from where the parameter is."""
    rule = Rule.of(OPTIMIZERS[name], {})
    placed_from_sums = {"ftrl", "cocob", "dadapt_sgd"}
    assert rule.moves == (not rule.has_readout and name not in placed_from_sums)
    if rule.linear_in_rate:
        assert "lr" in rule.fields
        assert not rule.measures
    else:
        assert name not in {"sgd", "momentum", "adam", "adamw", "adagrad", "rmsprop", "signsgd", "lion"}


# --- proximal steps ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("l1", "l2"), [(0.1, 0.0), (0.15, 0.3)])
def test_proximal_descent_ends_at_the_elastic_net(l1, l2):
    """scikit-learn's objective is the same: mean squared residual / 2 + alpha (ratio |w|_1 + (1 - ratio) / 2 |w|^2)."""
    from sklearn.linear_model import ElasticNet

    rows, y = problem(N, D, "squared")
    alpha = l1 + l2
    expected = ElasticNet(alpha=alpha, l1_ratio=l1 / alpha, tol=1e-14, max_iter=100_000).fit(rows, y)
    lane = {"lr": 0.3, "proximal.l1": l1, "proximal.l2": l2}
    options = {"loss": "squared", "kernel": SMALL, "batch_size": N}
    cohort = make_cohort(rows, y, [lane], "sgd", around={"proximal": ""}, **options)
    cohort.advance(2000)
    found = cohort.parameters()[0]
    np.testing.assert_allclose(found[:D], expected.coef_, rtol=1e-7, atol=1e-12)
    np.testing.assert_allclose(found[D], expected.intercept_, rtol=1e-7)
    assert (expected.coef_ == 0).any(), "a test of zeros needs some"
    np.testing.assert_array_equal(found[:D] == 0, expected.coef_ == 0)


# --- arrays of one's own ----------------------------------------------------------------------------------------------


@TYPES
@pytest.mark.parametrize("size", [7, 200_000])
def test_a_step_on_an_array_takes_options(size, dtype):
    rng = np.random.default_rng(size)
    start, *gradients = rng.standard_normal((6, size)).astype(dtype)
    options = {"clip": {"norm": 0.5}, "lookahead": {"every": 2}, "averaging": {"kind": "ema", "decay": 0.5}}
    ends = []
    for threads in (1, 2, 3):
        made = fastgd.optimizers.momentum(start.copy(), lr=0.1, threads=threads, **options)
        for g in gradients:
            made.step(g)
        ends.append((made.w, made.iterate()))
    for w, iterate in ends[1:]:
        np.testing.assert_array_equal(w, ends[0][0])
        np.testing.assert_array_equal(iterate, ends[0][1])
    w, u, slow, average = start.astype(float), 0.0, start.astype(float), None
    for t, g in enumerate(np.array(gradients, float), 1):
        u = 0.9 * u + g * min(1, 0.5 / (np.linalg.norm(g) + 1e-6))
        w = w - 0.1 * u
        if t % 2 == 0:
            w = slow = slow + 0.5 * (w - slow)
        average = slow if average is None else 0.5 * average + 0.5 * slow
    close = {"rtol": 0, "atol": 1e-13 if dtype == "float64" else 1e-6}
    np.testing.assert_allclose(ends[0][0], w, **close)
    np.testing.assert_allclose(ends[0][1], average, **close)
    assert set(made.slots) == {"velocity", "lookahead.slow", "averaging.average"}


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("lamb", {"proximal": {"l1": 0.1}}, "lamb does not go with proximal: its step is not a rate times a direction"),
        ("ftrl", {"lookahead": {}}, "ftrl does not go with lookahead: it reports a parameter that it places from sums"),
        ("nesterov", {"lookahead": {}}, "nesterov does not go with lookahead: it reports another point than it steps"),
        (
            "adam",
            {"averaging": {}},
            "adam: averaging: an empty table does not tell which kind is meant; give kind = 'ema'",
        ),
        ("adam", {"clip": {"kind": "size"}}, "adam: clip: there is no kind 'size'"),
        ("adam", {"clip": {"norm": -1.0}}, "adam: clip.norm = -1.0: input should be greater than 0"),
        ("adam", {"clip": {"norm": 1.0, "value": 1.0}}, "adam: clip: norm and value does not tell which"),
    ],
)
def test_what_does_not_fit_an_array_is_named(name, options, message):
    with pytest.raises(fastgd.InputError, match=f"^{message}".replace("(", r"\(")):
        getattr(fastgd.optimizers, name)(np.zeros(3), lr=0.1, **options)


def test_kinds_are_told_by_their_keys():
    assert list(kinds("clip")) == ["value", "norm"]
    made = fastgd.optimizers.sgd(np.zeros(3), lr=0.1, averaging={"decay": 0.9})
    assert list(made.slots) == ["averaging.average"]
