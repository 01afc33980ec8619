"""What must hold for every rule of the registry, in both types, on mini-batches and full batches."""

from itertools import islice, product

import numpy as np
import pytest
import reference
from cohorts import SMALL, SPREAD, each_rule, grid, in_python, make_cohort, problem, spread
from sparse_cohorts import rates_of

from fastgd.engine.linear import batch_steps, block_steps
from fastgd.optimizers import OPTIMIZERS
from fastgd.optimizers.coasting import Coast, prove_coasting
from fastgd.optimizers.rule import Rule

N, D, STEPS = 150, 7, 40
X, Y = problem(N, D)
# What rules are in float32: with slots that coast.
IN_FLOAT32 = ("adam",)
EACH_TYPED = pytest.mark.parametrize(
    ("name", "dtype"),
    spread(
        list(product(OPTIMIZERS, ("float64", "float32"))),
        [*product(SPREAD, ["float64"]), *product(IN_FLOAT32, ["float32"])],
    ),
)
BATCHES = pytest.mark.parametrize("batch_size", [32, N], ids=["mini-batch", "full batch"])


def cohort_of(name, batch_size, dtype, *, lanes=None, **options):
    options = {"l2": 1e-3, "init": 0.3, "kernel": SMALL, **options}
    return make_cohort(X, Y, lanes or grid(name), name, batch_size=batch_size, dtype=dtype, **options)


def trained(name, batch_size, dtype, steps=STEPS, **options):
    cohort = cohort_of(name, batch_size, dtype, **options)
    cohort.advance(steps)
    return cohort.parameters()


def by_python(name, batch_size, lane):
    """What the rule reports after STEPS steps of its own functions, called by Python on arrays."""
    start = trained(name, batch_size, "float64", steps=0, lanes=[lane])[0]
    rows = list(islice(reference.batches(N, batch_size, 3), STEPS))
    if "weight_decay" in lane:  # an intercept does not decay
        lane = lane | {"weight_decay": np.append(np.full(D, lane["weight_decay"]), 0.0)}

    def gradient(t, w):
        batch = X[rows[t - 1]], Y[rows[t - 1]], w
        options = {"loss": "logistic", "l2": 1e-3, "intercept": True}
        return reference.gradient(*batch, **options), reference.objective(*batch, **options)

    return in_python(name, start, gradient, STEPS, lane)


@EACH_TYPED
@BATCHES
def test_it_is_finite_deterministic_and_the_same_for_any_threads(name, batch_size, dtype):
    lanes = grid(name) * 3  # three tiles
    first, *others = (trained(name, batch_size, dtype, lanes=lanes, threads=threads) for threads in (2, 2, 1, 3))
    assert np.isfinite(first).all()
    for other in others:
        np.testing.assert_array_equal(other, first)


@EACH_TYPED
@BATCHES
def test_it_decreases_a_convex_loss(name, batch_size, dtype):
    """From a start that is not the best one; the lane with the rule's defaults and its larger rate."""
    cohort = cohort_of(name, batch_size, dtype, init=1.0)
    before = [reference.objective(X, Y, w, loss="logistic", l2=1e-3, intercept=True) for w in cohort.parameters()]
    cohort.advance(25 * STEPS)
    after = [reference.objective(X, Y, w, loss="logistic", l2=1e-3, intercept=True) for w in cohort.parameters()]
    assert (np.array(after) < np.array(before)).all()


@EACH_TYPED
@BATCHES
def test_a_lane_alone_and_a_run_in_pieces_have_the_same_bits(name, batch_size, dtype):
    lanes = grid(name) * 2
    together = trained(name, batch_size, dtype, lanes=lanes)
    np.testing.assert_array_equal(trained(name, batch_size, dtype, lanes=lanes[6:7]), together[6:7])
    cut = cohort_of(name, batch_size, dtype, lanes=lanes)
    for steps in (1, 7, STEPS - 8):
        cut.advance(steps)
    np.testing.assert_array_equal(cut.parameters(), together)


@each_rule()
@BATCHES
def test_its_kernel_computes_what_its_functions_say(name, batch_size):
    lanes = grid(name)
    found = trained(name, batch_size, "float64", lanes=lanes)
    expected = np.array([by_python(name, batch_size, lane) for lane in lanes])
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-11)


@each_rule()
def test_new_values_compile_nothing(name):
    trained(name, 32, "float64", steps=2)
    before = [len(kernel.advance.signatures) for kernel in (block_steps, batch_steps)]
    lanes = [{key: value * 0.75 for key, value in lane.items()} for lane in grid(name)] * 2
    trained(name, 17, "float64", steps=2, lanes=lanes, l2=0.1, seed=9)
    assert [len(kernel.advance.signatures) for kernel in (block_steps, batch_steps)] == before


# --- the spread -------------------------------------------------------------------------------------------------------

FUNCTIONS = ("start", "prepare", "measure", "readout", "effective", "coast", "lift", "lower", "horizon")
PROPERTIES = ("slots", "memory", "batch_loss", "linear_in_rate", "moves")


def coasts(rule, lanes):
    """How its parameters coast on sparse rows."""
    hyper = np.array([[lane.get(key, default) for key, default in rule.fields.items()] for lane in lanes], float)
    found = prove_coasting(rule, hyper, np.zeros(len(lanes)), same=True)
    return ("shared" if found.shared else "not shared", found.replays) if isinstance(found, Coast) else found


def what_it_has(name):
    record, rule = OPTIMIZERS[name], Rule.of(OPTIMIZERS[name], {})
    functions = {function for function in FUNCTIONS if hasattr(record.cls, function)}
    properties = {(each, bool(getattr(rule, each))) for each in PROPERTIES}
    choices = {("options", bool(record.options)), ("sums", tuple(count > 0 for count in rule.counts.quantities))}
    return functions | properties | choices | {coasts(rule, grid(name)), coasts(rule, rates_of(name))}


def test_the_spread_has_whatever_a_rule_may_have():
    """What is tried with the spread alone is tried with every kind of rule."""
    every = set.union(*map(what_it_has, OPTIMIZERS))
    assert every - set.union(*map(what_it_has, SPREAD)) == set()
