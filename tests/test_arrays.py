"""Rules on arrays of one's own: the steps of the rule, for any size and number of threads."""

import numpy as np
import pytest
from cohorts import FEW, RATES, TYPES, each_rule, in_python

import fastgd
from fastgd import InputError, optimizers
from fastgd.optimizers import OPTIMIZERS

SIZES = [1, 7, 16, 100, 4133]


def values_of(name):
    record = OPTIMIZERS[name]
    given = {key: 0.5 for key, value in record.hyper.items() if value is None}
    return {**given, "lr": RATES.get(name, FEW)[0]}


@each_rule()
def test_steps_are_those_of_the_rule(name):
    rng = np.random.default_rng(0)
    for size in SIZES:
        start, gradients = rng.standard_normal(size), rng.standard_normal((5, size))
        w, values = start.copy(), values_of(name)
        made = getattr(optimizers, name)(w, **values)
        for g in gradients:
            made.step(g, loss=0.5)
        expected = in_python(name, start, lambda t, _, given=gradients: (given[t - 1], 0.5), len(gradients), values)
        np.testing.assert_allclose(made.iterate(), expected, rtol=1e-10, atol=1e-12)
        assert made.w is w
        assert made.t == len(gradients)
        assert {key: slot.shape for key, slot in made.slots.items()} == dict.fromkeys(OPTIMIZERS[name].slots, (size,))


@TYPES
@pytest.mark.parametrize("name", ["sgd", "adam", "nesterov"])
def test_the_number_of_threads_changes_no_bit(name, dtype):
    rng = np.random.default_rng(1)
    size = 3 * optimizers.arrays.SINGLE_THREAD + 11
    start, g = rng.standard_normal((2, size)).astype(dtype)
    ends = []
    for threads in (1, 2, 5):
        made = getattr(optimizers, name)(start.copy(), lr=0.1, threads=threads)
        for _ in range(3):
            made.step(g)
        ends.append(made.iterate())
    assert np.array_equal(ends[0], ends[1])
    assert np.array_equal(ends[0], ends[2])


def test_shapes_are_kept_and_gradients_may_lie_otherwise():
    w, g = np.ones((30, 7)), np.arange(210.0).reshape(7, 30).T
    made = optimizers.momentum(w, lr=0.1)
    made.step(g)
    np.testing.assert_allclose(w, 1 - 0.1 * g, atol=1e-15)
    np.testing.assert_array_equal(made.slots["velocity"], g)


def test_values_change_from_step_to_step():
    w = np.zeros(20)
    made = optimizers.sgd(w, lr=1.0)
    made.step(np.ones(20))
    made.step(np.ones(20), lr=0.25)
    made.step(np.ones(20))
    np.testing.assert_array_equal(w, -1.5)


def test_a_rule_of_ones_own_on_an_array():
    from test_optimizers import Own

    w = np.zeros(5)
    optimizers.arrays.ArrayOptimizer(Own.optimizer, w, lr=2.0, how="that").step(np.ones(5))
    np.testing.assert_array_equal(w, -2)


@pytest.mark.parametrize(
    ("w", "values", "message"),
    [
        ([0.0], {"lr": 1}, "adam: w must be a C-contiguous array of float32 or float64, not this list"),
        (np.zeros(3, int), {"lr": 1}, "not this array of int64"),
        (np.zeros((3, 4)).T, {"lr": 1}, "C-contiguous .* not this array of float64 that is strided"),
        (np.frombuffer(bytes(24)), {"lr": 1}, "not this array of float64 that is read-only"),
        (np.zeros(3), {}, "adam needs 'lr'"),
        (np.zeros(3), {"lr": -1}, "adam: lr = -1: input should be greater than 0"),
        (np.zeros(3), {"lr": 1, "beta": 0.5}, "adam has no 'beta'; did you mean 'beta2'?"),
        (np.zeros(3), {"lr": 1, "threads": 0}, "threads = 0"),
    ],
)
def test_what_does_not_fit_is_refused(w, values, message):
    with pytest.raises(InputError, match=message.replace("?", r"\?")):
        optimizers.adam(w, **values)


@pytest.mark.parametrize("g", [[0.0, 0.0, 0.0], np.zeros(2), np.zeros(3, "float32")])
def test_a_gradient_that_does_not_fit_is_refused(g):
    w = np.ones(3)
    made = optimizers.sgd(w, lr=0.1)
    with pytest.raises(InputError, match=r"sgd: g must be float64 \(3,\) as w is"):
        made.step(g)
    assert made.t == 0
    with pytest.raises(AttributeError, match="has no attribute 'adma'"):
        fastgd.optimizers.adma  # noqa: B018
