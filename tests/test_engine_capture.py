"""A cohort that is captured at any step and restored in a fresh one goes on with the same bits."""

import io
from dataclasses import replace

import numpy as np
import pytest
import sparse_cohorts
from cohorts import PARTS, SINGLE, SMALL, grid, make_cohort, pool, problem, spread
from hypothesis import given, settings
from hypothesis import strategies as st

from fastgd.engine.rows.guesses import Guesses
from fastgd.engine.shapes import Kernel, point_kernel
from fastgd.optimizers import BASELINES
from fastgd.optimizers.coasting import EVERY_STEP
from fastgd.optimizers.line_search import Armijo
from fastgd.optimizers.rule import Rule

N, D = 300, 9
WIDE = Kernel(8)  # of float32
X, Y = problem(N, D)


class Falling:
    """A schedule of the rate that changes with every step."""

    per_step = True

    def __init__(self, rates):
        self.rates = np.asarray(rates)

    def __call__(self, first, steps):
        return (1 / (1 + np.arange(first, first + steps) / 50))[:, None, None] * self.rates


def lanes_of(optimizer):
    """Six lanes, so that tiles of four are not full, of which one diverges."""
    lanes = grid(optimizer)
    return [*lanes, lanes[0] | {"lr": 1e30}, lanes[1]]


def dense(optimizer, count=6, scheduled=False, **given):
    """Return a maker of dense cohorts, by threads."""
    lanes = lanes_of(optimizer)[:count]
    if scheduled:
        given |= {"scheduled": ("lr",), "schedule": Falling([lane["lr"] for lane in lanes])}
    given = {"l2": 0.01, "init": 0.2, **given}
    return lambda threads: make_cohort(X, Y, lanes, optimizer, threads=threads, **given)


def sparse(optimizer, lanes=None, step=False, **given):
    """Return a maker of sparse cohorts; `step`: where all parameters step in every batch."""

    def make(threads):
        both, found = sparse_cohorts.pair(optimizer, lanes or lanes_of(optimizer), threads=threads, **given)
        if not step:
            return found
        return sparse_cohorts.sparse_cohort(replace(found.spec, untouched=EVERY_STEP), *sparse_cohorts.problem(), both)

    return make


def baseline(threads):
    """Return random search, on two boxes."""
    kernel = point_kernel(D + 1, 8, sparse=False)
    like = make_cohort(X, Y, [{"lr": 0.1}] * 6, "sgd", kernel=kernel, l2=[0, 0.1, 0.01] * 2).spec
    boxes = np.array([[-1.0, 1.0]] * 3 + [[-3.0, 2.0]] * 3)
    spec = replace(like, rule=Rule.of(BASELINES["random_search"], {}), hyper=boxes)
    return Guesses(spec, X, Y, pool(threads), 400)


SHARED = sparse_cohorts.rates_of("momentum")
ENGINES = {
    "tile": dense("momentum", kernel=SMALL, scheduled=True),
    "tile, float32": dense("adam", kernel=WIDE, dtype="float32"),
    "tile, memory and sums": dense("dog", kernel=SMALL),
    "single": dense("adam", 2, kernel=SINGLE, scheduled=True),
    "single, float32": dense("adam", 2, kernel=SINGLE, dtype="float32", batch_size=280),
    "parts": dense("momentum", kernel=PARTS, batch_size=200),
    "parts, float32": dense("momentum", kernel=Kernel(8, 2), batch_size=300, dtype="float32"),
    "svrg": dense("momentum", kernel=SMALL, estimator="svrg"),
    "saga": dense("momentum", kernel=SMALL, estimator="saga"),
    "saga, parts, float32": dense("sgd", kernel=Kernel(8, 2), batch_size=200, estimator="saga", dtype="float32"),
    "line search": dense("momentum", kernel=PARTS, batch_size=N, line_search=Armijo()),
    "coasting, shared": sparse("momentum", SHARED, batch_size=1, wave=True),
    "coasting, own": sparse("momentum", batch_size=1, l2=0.01),
    "coasting, framed": sparse("sgd", batch_size=1, l2=0.01),
    "coasting, float32": sparse("adam", batch_size=3, dtype="float32", lanes_of_tile=8),
    "coasting, replayed": sparse("adabelief", batch_size=5, wave=True),
    "coasting, svrg": sparse("momentum", batch_size=5, estimator="svrg"),
    "coasting, saga": sparse("momentum", batch_size=5, estimator="saga"),
    "resting": sparse("adagrad", batch_size=1, mode="masked"),
    "sparse, stepping": sparse("adam", batch_size=8, mode="masked", l2=0.01, step=True),
    "baseline": baseline,
}

QUICK = ("tile", "saga", "coasting, own", "coasting, framed", "resting", "baseline")


def through_a_file(captured):
    """Return what is read back from a file without pickle."""
    stream = io.BytesIO()
    np.savez(stream, **captured)
    stream.seek(0)
    with np.load(stream, allow_pickle=False) as file:
        return dict(file)


def read(cohort):
    """Return all that is known of a cohort."""
    found = cohort.capture() | {"parameters": cohort.parameters(), "bad steps": cohort.first_bad_step()}
    if hasattr(cohort, "slots"):
        found |= {f"slot {index}": slot for index, slot in enumerate(cohort.slots())}
    return found


@pytest.mark.parametrize("engine", spread(ENGINES, QUICK))
@settings(max_examples=6, deadline=None)
@given(data=st.data())
def test_a_restored_cohort_goes_on_with_the_same_bits(engine, data):
    make = ENGINES[engine]
    whole, before = make(2), make(data.draw(st.integers(1, 2), label="threads"))
    first, second, third = data.draw(st.tuples(*[st.integers(0, 130)] * 3), label="steps")
    lanes = len(whole.alive)
    keep = np.array(data.draw(st.lists(st.booleans(), min_size=lanes, max_size=lanes).filter(any), label="lanes kept"))
    for cohort in (whole, before):
        cohort.advance(first)
        cohort.retire(keep)
        cohort.advance(second)
    after = make(1)
    after.restore(through_a_file(before.capture()))
    expected, found = read(whole), read(after)
    for cohort in (whole, after):
        cohort.advance(third)
    for one, other in ((expected, found), (read(whole), read(after))):
        assert one.keys() == other.keys()
        for name, values in one.items():
            np.testing.assert_array_equal(other[name], values, err_msg=name)
            assert np.asarray(values).dtype == np.asarray(other[name]).dtype


@pytest.mark.parametrize("engine", ["tile", "coasting, own", "line search", "baseline"])
def test_to_capture_changes_nothing(engine):
    one, other = (ENGINES[engine](2) for _ in range(2))
    for steps in (0, 3, 70):
        one.advance(steps)
        other.advance(steps)
        other.capture()
    for name, values in read(one).items():
        np.testing.assert_array_equal(read(other)[name], values, err_msg=name)
