"""A rate of 0 is a step of 0: weights stand still to the bit, and nothing becomes infinite, for every rule.

Every rule is stepped by NumPy, which compiles nothing; a few are in every engine, whose text of a step is the same.
"""

from itertools import product

import numpy as np
import pytest
from cohorts import FEW, PARTS, RATES, SINGLE, SMALL, SPREAD, make_cohort, problem, spread, variants
from cohorts import TYPES as IN_KERNELS
from sparse_cohorts import pair
from swarms import make_swarm

from fastgd import optimizers
from fastgd.optimizers import OPTIMIZERS
from fastgd.optimizers.rule import Rule

N, D, STEPS, PAUSE = 90, 6, 40, 8
# Factors of the rate (STEPS,): a warm-up from 0, a decay to 0, and a 0 in the middle, each for some steps.
WARM_UP, DECAY, MIDDLE = np.linspace(0, 1, STEPS - PAUSE + 1), np.linspace(1, 0, STEPS - PAUSE + 1), np.ones(STEPS)
WARM_UP, DECAY = np.pad(WARM_UP, (PAUSE - 1, 0)), np.pad(DECAY, (0, PAUSE - 1))
MIDDLE[15 : 15 + PAUSE] = 0
SCHEDULES = np.stack([WARM_UP, DECAY, MIDDLE])
VANISHING = 10.0 ** -np.linspace(0, 340, STEPS)  # through all floats that have no inverse, and at last 0

# Those of which engines are tried: they wait for a rate above 0, by a number for each trial, and with sums.
WAITING = ("ftrl", "dadapt_adam")
KERNELS = [(SMALL, 32), (SINGLE, 32), (PARTS, N)]
AROUND = ({}, {"clip": "norm"}, {"clip": "value"}, {"proximal": ""})


def cases():
    """Every variant in both types with every option: alone with all, and with options for the spread in float64."""
    for (name, choices), dtype, around in product(variants(), ("float64", "float32"), AROUND):
        marks = [] if not around or (name in SPREAD and dtype == "float64") else [pytest.mark.full]
        yield pytest.param(name, choices, dtype, around, id=f"{name} {choices} {dtype} {around}", marks=marks)


class Rates:
    """Rates per step; each lane has a schedule of its own."""

    per_step = True

    def __init__(self, rate):
        self.values = rate * SCHEDULES.T[:, None]

    def reference(self, first, steps):
        raise AssertionError("the lanes have no schedule in common")

    def __call__(self, first, steps):
        return self.values[first : first + steps]


def rate_of(name):
    return RATES.get(name, FEW)[0]


def assert_still(path, schedules=SCHEDULES):
    """Check a path (STEPS + 1, schedules, d), a lane for each schedule."""
    assert np.isfinite(path).all()
    for lane, factors in enumerate(schedules):
        for step in np.flatnonzero(factors == 0):
            np.testing.assert_array_equal(
                path[step + 1, lane], path[step, lane], err_msg=f"schedule {lane}, step {step}"
            )
    assert (path[-1] != path[0]).any(axis=-1)[: len(SCHEDULES)].all()


def path_of(cohort):
    path = [cohort.parameters()]
    for _ in range(STEPS):
        cohort.advance(1)
        path.append(cohort.parameters())
    return np.stack(path)


def scheduled_cohort(name, dtype, kernel, **options):
    lanes = [{"lr": rate_of(name), **DECAYS.get(name, {})}] * 3
    return make_cohort(
        *problem(N, D), lanes, name, kernel=kernel, dtype=dtype, scheduled=("lr",),
        schedule=Rates(rate_of(name)), init=0.3, l2=1e-3, **options,
    )  # fmt: skip


DECAYS = {name: {"weight_decay": 0.01} for name, record in OPTIMIZERS.items() if "weight_decay" in record.hyper}


def path_in_numpy(rule, given, schedules, dtype):
    """What is reported (steps + 1, schedules, d), with types as in kernels: a step's quantities in float64, rounded."""
    hyper = [given.get(key, 1e-3 if value is None else value) for key, value in rule.fields.items()]
    hyper, rate = np.tile(rule.usable(np.array([hyper]), dtype), (len(schedules), 1)), list(rule.fields).index("lr")
    w, minimum = np.full((5, len(schedules)), 0.3, dtype), np.arange(5, dtype=dtype)[:, None]
    s = tuple(slot.astype(dtype) for slot in rule.start(hyper, w))
    m = tuple(np.full(len(schedules), number) for number in rule.memory)
    path = [w]
    for t, factors in enumerate(schedules.T, 1):
        values = hyper.copy()
        values[:, rate] *= factors
        exact, h = (rule.instance(dict(zip(rule.fields, v.T, strict=True))) for v in (values, values.astype(dtype)))
        g, loss = w - minimum, 0.5 * np.square(w - minimum, dtype=float).sum(axis=0)
        c, m = rule.functions.prepare(exact, t, m)
        wide = [x.astype(float) for x in (w, g, *s)]
        for measure, conclude in rule.functions.rounds:
            terms = measure(exact, c, wide[0], wide[1], tuple(wide[2:]), 0.0)
            sums = tuple(np.broadcast_to(term, w.shape).sum(axis=0) for term in terms)
            c, m = conclude(exact, c, t, m, sums, loss)
        w, s = rule.functions.update(h, tuple(np.asarray(x, dtype) for x in c), w, g, s)
        assert {x.dtype for x in (w, *s)} == {np.dtype(dtype)}
        path.append(rule.functions.readout(h, w, s))
    return np.stack(path).swapaxes(1, 2)


@pytest.mark.parametrize(("name", "choices", "dtype", "around"), list(cases()))
@np.errstate(all="ignore")  # where a branch is not taken
def test_every_rule(name, choices, dtype, around):
    rule, schedules = Rule.of(OPTIMIZERS[name], choices, around), np.stack([*SCHEDULES, VANISHING])
    if around and rule.inner.refuses(rule.option.needs):
        pytest.skip("it does not go with this option")
    given = {"lr": rate_of(name), "clip.norm": 0.5, "clip.value": 0.5, **DECAYS.get(name, {})}
    assert_still(path_in_numpy(rule, given, schedules, dtype), schedules)


def test_ftrl_keeps_its_digits_where_a_rate_rises_again():
    """Before each restart the rate is 4e5 times as small."""
    rates = np.tile(0.5 * (1 + np.cos(np.pi * np.arange(1000) / 1000)), (1, 3))
    for values in ({}, {"lambda1": 0.01, "lambda2": 0.1}):
        rule, given = Rule.of(OPTIMIZERS["ftrl"], {}), {"lr": 0.1, **values}
        exact, found = (path_in_numpy(rule, given, rates, dtype) for dtype in ("float64", "float32"))
        np.testing.assert_allclose(found, exact, rtol=0, atol=5e-4)


def test_the_penalties_of_ftrl_may_be_scheduled():
    """Against its sums as they are published, with a step at a rate of 0."""
    rule, w, minimum, m = Rule.of(OPTIMIZERS["ftrl"], {}), np.full(4, 0.3), np.linspace(-1, 1, 4), (0.0,) * 3
    s, z, n, last, at, inverse = (0 * w, 0 * w), 0 * w, 0 * w, 0 * w, w, 0.0
    for t in range(1, 60):
        beta, lambda1, lambda2 = 1 + 0.3 * np.cos(t), 0.02 + 0.02 * np.sin(2 * t), 0.1 + 0.1 * np.cos(3 * t)
        lr, g = 0.0 if t == 7 else 0.1 + 0.05 * np.sin(t), at - minimum
        h = rule.instance({"lr": lr, "beta": beta, "lambda1": lambda1, "lambda2": lambda2})
        c, m = rule.functions.prepare(h, t, m)
        w, s = rule.functions.update(h, c, w, w - minimum, s)
        n = n + g * g
        inverse = 1 / lr if lr else inverse
        z, last = z + g * (lr > 0) - ((beta + np.sqrt(n)) * inverse - last) * at, (beta + np.sqrt(n)) * inverse
        if lr:
            at = np.where(np.abs(z) <= lambda1, 0, (np.sign(z) * lambda1 - z) / (last + lambda2))
        np.testing.assert_allclose(w, at, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("name", "kernel", "batch_size"),
    spread(
        [(name, *kernel) for name in WAITING for kernel in KERNELS],
        [*(("ftrl", *kernel) for kernel in KERNELS), ("dadapt_adam", *KERNELS[0])],
    ),
    ids=str,
)
@IN_KERNELS
def test_dense(name, dtype, kernel, batch_size):
    assert_still(path_of(scheduled_cohort(name, dtype, kernel, batch_size=batch_size)))


@pytest.mark.parametrize(
    ("name", "dtype"),
    spread(list(product(WAITING, ("float64", "float32"))), [("ftrl", "float32"), ("dadapt_adam", "float64")]),
)
def test_arrays(name, dtype):
    """What is reported; the point of the next gradient may move where a rule looks ahead: Nesterov's goes back."""
    w, minimum = np.full((3, 5), 0.3, dtype), np.arange(5, dtype=dtype)
    steppers = [getattr(optimizers, name)(row, lr=rate_of(name)) for row in w]
    path = [[stepper.iterate() for stepper in steppers]]
    for step in range(STEPS):
        for stepper, factors in zip(steppers, SCHEDULES, strict=True):
            gradient = stepper.w - minimum
            loss = float(0.5 * gradient @ gradient) if stepper.record.batch_loss else None
            stepper.step(gradient, lr=rate_of(name) * factors[step], loss=loss)
        path.append([stepper.iterate() for stepper in steppers])
    assert_still(np.array(path))


class Series:
    """The schedules one after another, which all lanes share."""

    per_step = True
    factors = SCHEDULES.reshape(-1)

    def __init__(self, rates):
        self.rates = np.asarray(rates)

    def reference(self, first, steps):
        return self.factors[first : first + steps, None]

    def __call__(self, first, steps):
        return self.reference(first, steps)[:, :, None] * self.rates


@IN_KERNELS
@pytest.mark.parametrize("batch_size", [1, 8])
def test_sparse(dtype, batch_size):
    """As dense rows. What coasts is read as a product of matrices, whose rounding depends on the number of steps."""
    name = "ftrl"
    rates = [rate_of(name), 0.7 * rate_of(name)]
    lanes = [{"lr": rate, **DECAYS.get(name, {})} for rate in rates]
    how = {"scheduled": ("lr",), "schedule": Series(rates), "init": 0.3, "dtype": dtype}
    dense, sparse = pair(name, lanes, batch_size=batch_size, **how)
    close, near = (1e-14, 1e-9) if dtype == "float64" else (3e-7, 3e-4)
    before = sparse.parameters()
    for factor in Series.factors:
        sparse.advance(1)
        after = sparse.parameters()
        assert np.isfinite(after).all()
        if factor == 0:
            np.testing.assert_allclose(after, before, rtol=close, atol=close)
        before = after
    dense.advance(len(Series.factors))
    np.testing.assert_allclose(after, dense.parameters(), rtol=near, atol=near)


@pytest.mark.parametrize("name", spread(WAITING, ["ftrl"]))
@IN_KERNELS
def test_landscapes(name, dtype):
    swarm = make_swarm(
        "rosenbrock", name, hyper=[{"lr": rate_of(name) / 100}], dtype=dtype, n=5, scheduled=("lr",),
        schedule=lambda first, steps: Series.factors[first : first + steps, None],
        starts=np.random.default_rng(2).uniform(-1, 1, (5, 2)),
    )  # fmt: skip
    before = swarm.read().positions
    for factor in Series.factors:
        swarm.advance(1)
        after = swarm.read().positions
        assert np.isfinite(after).all()
        if factor == 0:
            np.testing.assert_array_equal(after, before)
        before = after
