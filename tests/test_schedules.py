"""Every schedule against its closed form, its ends, and the witness that it names."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import SGDClassifier, SGDRegressor

from fastgd.common.errors import InputError
from fastgd.schedules import SCHEDULES, Part, chained

T = 30
K = np.arange(T)

# name, keys, closed form by (k, span)
FORMS = [
    ("constant", {}, lambda k, e: 1 + 0 * k),
    ("constant", {"value": 0.3}, lambda k, e: 0.3 + 0 * k),
    ("linear", {}, lambda k, e: (e - k) / e),
    ("linear", {"start": 0.2, "final": 0.9}, lambda k, e: 0.2 + 0.7 * k / e),
    ("polynomial", {"power": 0.9}, lambda k, e: ((e - k) / e) ** 0.9),
    ("polynomial", {"power": 2.0, "final": 0.1}, lambda k, e: 0.1 + 0.9 * (1 - k / e) ** 2),
    ("exponential", {"gamma": 0.9}, lambda k, e: 0.9**k),
    ("exponential", {"gamma": 1.1, "start": 0.5}, lambda k, e: 0.5 * 1.1**k),
    ("exponential", {"final": 0.01}, lambda k, e: np.exp(np.log(0.01) * k / e)),
    ("exponential", {"final": 0.9, "start": 0.5}, lambda k, e: 0.5 * (0.9 / 0.5) ** (k / e)),
    ("exponential", {"k": 0.2}, lambda k, e: np.exp(-0.2 * k)),
    ("step", {"every": 5.0}, lambda k, e: 0.5 ** (k // 5)),
    ("step", {"every": 7.0, "factor": 0.1, "start": 2.0}, lambda k, e: 2 * 0.1 ** (k // 7)),
    ("multistep", {"milestones": (4.0, 20.0)}, lambda k, e: 0.1 ** ((k >= 4) * 1.0 + (k >= 20))),
    ("piecewise", {"at": (0.0, 4.0), "values": (1.0, 0.3)}, lambda k, e: np.where(k < 4, 1, 0.3)),
    (
        "piecewise",
        {"at": (5.0, 10.0), "values": (1.0, 0.5), "form": "linear"},
        lambda k, e: np.interp(k, [5, 10], [1, 0.5]),
    ),
    ("inverse_time", {"k": 0.4}, lambda k, e: 1 / (1 + 0.4 * k)),
    ("inverse_sqrt", {"timescale": 4.0}, lambda k, e: np.sqrt(4 / (4 + k))),
    ("invscaling", {"power": 0.5}, lambda k, e: 1 / np.sqrt(k + 1)),
    ("optimal", {"alpha": 1e-4}, lambda k, e: 1 / (1e-4 * (1000 + k))),
    ("optimal", {"alpha": 0.1, "t0": 3.0}, lambda k, e: 1 / (0.3 + 0.1 * k)),
    ("pegasos", {"alpha": 0.01}, lambda k, e: 100 / (k + 1)),
    ("cosine", {}, lambda k, e: np.cos(np.pi * k / (2 * e)) ** 2),
    ("cosine", {"final": 0.1}, lambda k, e: 0.1 + 0.9 * np.cos(np.pi * k / (2 * e)) ** 2),
    ("cosine", {"final": 0.95, "start": 0.5}, lambda k, e: 0.95 - 0.45 * np.cos(np.pi * k / (2 * e)) ** 2),
    ("cosine", {"dips": 3.0, "final": 0.1}, lambda k, e: 0.1 + 0.9 * np.cos(2.5 * np.pi * k / e) ** 2),
    ("cosine_restarts", {"period": 10.0}, lambda k, e: np.cos(np.pi * (k % 10) / 20) ** 2),
    (
        "cosine_restarts",
        {"period": 4.0, "growth": 2.0},
        lambda k, e: np.cos(np.pi / 2 * np.r_[np.arange(4) / 4, np.arange(8) / 8, np.arange(16) / 16, 0, 1 / 32]) ** 2,
    ),
    ("cyclic", {"up": 5.0}, lambda k, e: 0.25 + 0.75 * (1 - abs(k % 10 - 5) / 5)),
    ("cyclic", {"up": 2.0, "down": 6.0}, lambda k, e: np.interp(k % 8, [0, 2, 8], [0.25, 1, 0.25])),
    ("one_cycle", {"form": "linear"}, lambda k, e: np.interp(k, [0, 8, 29], [0.04, 1, 4e-6])),
    ("warmup", {}, lambda k, e: k / e),
    (
        "wsd",
        {"warmup": 0.1, "decay": 0.5, "form": "linear", "final": 0.1},
        lambda k, e: np.interp(k / e, [0, 0.1, 0.5, 1], [0, 1, 1, 0.1]),
    ),
    ("wsd", {"warmup": 0.0}, lambda k, e: 1 - np.sqrt(np.maximum(k / e - 0.8, 0) / 0.2)),
    ("sutskever", {"every": 4.0}, lambda k, e: np.minimum(1 - 2 ** (-1 - np.log2(k // 4 + 1)), 0.99)),
    ("sutskever", {"every": 1.0, "max": 0.9}, lambda k, e: np.minimum(1 - 2 ** (-1 - np.log2(k + 1)), 0.9)),
    ("plateau", {"start": 0.7}, lambda k, e: 0.7 + 0 * k),  # before it is judged
    ("halve_on_rise", {}, lambda k, e: 1 + 0 * k),
]


def factors(name, params, horizon, index, total):
    """The values of one schedule."""
    return chained([Part(name, params)], horizon, index, total)


@pytest.mark.parametrize("horizon", ["last", "torch"])
@pytest.mark.parametrize(("name", "params", "form"), FORMS)
def test_closed_form(name, params, form, horizon):
    span = T - 1 if horizon == "last" else T
    np.testing.assert_allclose(factors(name, params, horizon, K, T), form(K, span), rtol=1e-12, atol=1e-15)


def test_every_schedule_is_in_the_table():
    assert {name for name, _, _ in FORMS} == set(SCHEDULES)


@pytest.mark.parametrize("name", ["linear", "polynomial", "exponential", "cosine", "wsd", "one_cycle"])
def test_ends_are_exact(name):
    values = factors(name, {"final": 0.01}, "last", K, T)
    assert values[0] == {"wsd": 0, "one_cycle": 0.04}.get(name, 1)
    assert values[-1] == pytest.approx(0.01, abs=1e-16)


@given(
    total=st.integers(2, 500),
    final=st.sampled_from([4e-6, 0.01, 2.0]),
    keys=st.sampled_from(
        [
            *(("linear", {}), ("polynomial", {"power": 0.3}), ("exponential", {}), ("cosine", {"dips": 3})),
            *(("wsd", {"warmup": 0.7, "decay": 0.3}), ("wsd", {"decay": 0.9}), ("one_cycle", {"rise": 0.9})),
            *(("one_cycle", {"three_phase": True, "rise": rise}) for rise in (0.01, 0.3, 0.49, 0.5)),
            *(("one_cycle", {"three_phase": True, "rise": rise, "form": "linear"}) for rise in (0.3, 0.5)),
        ]
    ),
)
def test_what_has_a_final_value_ends_there(total, final, keys):
    name, params = keys
    assert SCHEDULES[name].fault(params) == ""
    last = factors(name, {**params, "final": final}, "last", np.array([total - 1]), total)[0]
    assert last == pytest.approx(final, rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("rise", [0.51, 0.6, 0.99])
def test_three_phases_that_do_not_fit_are_refused(rise):
    """The second phase is as long as the first: what rises for more than half of the budget never comes to its end."""
    assert "rise of 0.5 at most" in SCHEDULES["one_cycle"].fault({"three_phase": True, "rise": rise})
    assert SCHEDULES["one_cycle"].fault({"rise": rise}) == ""


@pytest.mark.parametrize("dips", [1, 2, 5])
def test_a_cosine_ends_at_the_lowest_of_its_dips(dips):
    values = factors("cosine", {"dips": dips, "final": 0.1}, "last", np.arange(1001), 1001)
    lowest = np.flatnonzero(values < 0.1 + 1e-3)
    assert values[-1] == pytest.approx(0.1, abs=1e-15)
    assert np.sum(np.diff(lowest) > 1) + 1 == dips


FIRST = {"pegasos": 100.0, "optimal": None, "sutskever": 0.5, "one_cycle": 1.0, "warmup": 0.0, "cyclic": 0.25}


@pytest.mark.parametrize(("name", "params"), [(name, params) for name, params, _ in FORMS])
def test_a_single_epoch_has_the_start(name, params):
    value = factors(name, params, "last", np.array([0]), 1)
    first = params.get("start", params.get("value", params.get("values", [1.0])[0]))
    if name != "optimal":
        assert value == pytest.approx(FIRST.get(name, 0.0 if name == "wsd" and params["warmup"] else first))


def test_any_part_of_the_index_gives_the_same_bits():
    for name, params, _ in FORMS:
        whole = factors(name, params, "last", K, T)
        parts = [factors(name, params, "last", K[i : i + 1], T)[0] for i in range(T)]
        assert whole.tolist() == parts, name


def test_unknown_name_offers_the_nearest():
    with pytest.raises(InputError, match=r"'cosin'.*did you mean 'cosine'"):
        factors("cosin", {}, "last", K, T)


@pytest.mark.parametrize("record", SCHEDULES.values(), ids=lambda record: record.name)
def test_records_are_complete(record):
    assert "`" in record.summary or record.feedback, "the first line is the equation"
    assert record.witness != "none"
    assert set(record.one_of) | set(record.required) <= set(record.params)
    assert set(record.choices) | set(record.lists) <= set(record.params)
    assert set(record.required) <= set(record.example)


# --- PyTorch ----------------------------------------------------------------------------------------------------------

NO_TORCH = "PyTorch is the witness of schedules: pip install fastgd[witnesses]"
NO_OPTAX = "optax is the witness of schedules: pip install fastgd[witnesses]"
LR = 0.3


def torch_rates(make, steps=T, momentum=0.0):
    """The rates and momenta of PyTorch's scheduler over steps; `make(schedulers, optimizer)`."""
    torch = pytest.importorskip("torch", reason=NO_TORCH)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=LR, momentum=momentum)
    rates = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        witness = make(torch.optim.lr_scheduler, optimizer)
        for _ in range(steps):
            rates.append((optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["momentum"]))
            optimizer.step()
            if len(rates) < steps:
                witness.step()
    return np.array(rates).T


TORCH = [
    ("constant", {}, lambda s, o: s.ConstantLR(o, factor=1.0)),
    ("linear", {"final": 0.1}, lambda s, o: s.LinearLR(o, 1.0, 0.1, total_iters=T)),
    ("polynomial", {"power": 0.9}, lambda s, o: s.PolynomialLR(o, T, power=0.9)),
    ("polynomial", {}, lambda s, o: s.PolynomialLR(o, T)),
    ("exponential", {"gamma": 0.9}, lambda s, o: s.ExponentialLR(o, 0.9)),
    ("exponential", {"final": 0.01}, lambda s, o: s.ExponentialLR(o, 0.01 ** (1 / T))),
    ("step", {"every": 5.0, "factor": 0.5}, lambda s, o: s.StepLR(o, 5, 0.5)),
    ("multistep", {"milestones": (3.0, 4.0, 20.0)}, lambda s, o: s.MultiStepLR(o, [3, 4, 20])),
    ("cosine", {"final": 0.05}, lambda s, o: s.CosineAnnealingLR(o, T, eta_min=0.05 * LR)),
    ("cosine", {"final": 0.05, "dips": 3.0}, lambda s, o: s.CosineAnnealingLR(o, T // 5, eta_min=0.05 * LR)),
    ("cosine_restarts", {"period": 7.0}, lambda s, o: s.CosineAnnealingWarmRestarts(o, 7)),
    (
        "cosine_restarts",
        {"period": 3.0, "growth": 2.0, "final": 0.1},
        lambda s, o: s.CosineAnnealingWarmRestarts(o, 3, 2, eta_min=0.1 * LR),
    ),
    ("cyclic", {"up": 5.0}, lambda s, o: s.CyclicLR(o, LR / 4, LR, 5, cycle_momentum=False)),
    (
        "cyclic",
        {"up": 2.0, "down": 5.0, "mode": "triangular2", "start": 0.1},
        lambda s, o: s.CyclicLR(o, LR / 10, LR, 2, 5, mode="triangular2", cycle_momentum=False),
    ),
    (
        "cyclic",
        {"up": 4.0, "mode": "exp_range", "gamma": 0.95},
        lambda s, o: s.CyclicLR(o, LR / 4, LR, 4, mode="exp_range", gamma=0.95, cycle_momentum=False),
    ),
    ("one_cycle", {}, lambda s, o: s.OneCycleLR(o, LR, T, cycle_momentum=False)),
    (
        "one_cycle",
        {"start": 0.1, "final": 0.001, "rise": 0.4, "form": "linear", "three_phase": True},
        lambda s, o: s.OneCycleLR(
            o, LR, T, pct_start=0.4, anneal_strategy="linear", div_factor=10, final_div_factor=100, three_phase=True,
            cycle_momentum=False,
        ),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("name", "params", "make"), TORCH)
def test_equals_torch(name, params, make):
    np.testing.assert_allclose(LR * factors(name, params, "torch", K, T), torch_rates(make)[0], rtol=1e-12, atol=1e-16)


@pytest.mark.parametrize(
    ("name", "params", "make"),
    [
        (
            "one_cycle",
            {"start": 0.95, "peak": 0.85, "final": 0.95},
            lambda s, o: s.OneCycleLR(o, LR, T, cycle_momentum=True),
        ),
        (
            "one_cycle",
            {"start": 0.95, "peak": 0.85, "final": 0.95, "three_phase": True, "form": "linear"},
            lambda s, o: s.OneCycleLR(o, LR, T, three_phase=True, anneal_strategy="linear"),
        ),
        ("cyclic", {"up": 4.0, "start": 0.9, "peak": 0.8}, lambda s, o: s.CyclicLR(o, LR / 4, LR, 4)),
    ],
)
def test_the_momentum_half_equals_torch(name, params, make):
    momenta = torch_rates(make, momentum=0.9)[1]
    np.testing.assert_allclose(factors(name, params, "torch", K, T), momenta, rtol=1e-12)


def linear_decay(schedulers, optimizer):
    warm = schedulers.LinearLR(optimizer, 0.25, 1.0, total_iters=5)
    level = schedulers.ConstantLR(optimizer, 1.0)
    decay = schedulers.LinearLR(optimizer, 1.0, 0.1, total_iters=T - 12)
    return schedulers.SequentialLR(optimizer, [warm, level, decay], [5, 12])


CHAINS = [
    (
        [Part("warmup", {"start": 0.25}, 5), Part("constant", {}, 7), Part("linear", {"final": 0.1})],
        linear_decay,
    ),
    (
        [Part("warmup", {"start": 0.5}, 8), Part("cosine", {"final": 0.01})],
        lambda s, o: s.SequentialLR(
            o, [s.LinearLR(o, 0.5, 1.0, 8), s.CosineAnnealingLR(o, T - 8, eta_min=0.01 * LR)], [8]
        ),
    ),
    (
        [Part("step", {"every": 3.0}, 10), Part("exponential", {"gamma": 0.9})],
        lambda s, o: s.SequentialLR(o, [s.StepLR(o, 3, 0.5), s.ExponentialLR(o, 0.9)], [10]),
    ),
    # the last part holds its end
    ([Part("polynomial", {"power": 2.0}, 12)], lambda s, o: s.PolynomialLR(o, 12, 2.0)),
    ([Part("linear", {"start": 0.2, "final": 1.0}, 6)], lambda s, o: s.LinearLR(o, 0.2, 1.0, 6)),
]


@pytest.mark.parametrize(("parts", "make"), CHAINS)
def test_chains_equal_torchs_sequence(parts, make):
    np.testing.assert_allclose(LR * chained(parts, "torch", K, T), torch_rates(make)[0], rtol=1e-12, atol=1e-16)


def test_warm_up_stable_decay_is_a_sequence_of_torch():
    found = factors("wsd", {"warmup": 0.2, "decay": 0.5, "start": 0.25, "final": 0.1, "form": "linear"}, "torch", K, T)

    def make(s, o):
        parts = [s.LinearLR(o, 0.25, 1.0, 6), s.ConstantLR(o, 1.0), s.LinearLR(o, 1.0, 0.1, 15)]
        return s.SequentialLR(o, parts, [6, 15])

    np.testing.assert_allclose(LR * found, torch_rates(make)[0], rtol=1e-12)


# --- optax ------------------------------------------------------------------------------------------------------------

OPTAX = [
    ([Part("constant", {"value": 0.4})], lambda s: s.constant_schedule(0.4)),
    ([Part("linear", {"final": 0.1})], lambda s: s.linear_schedule(1.0, 0.1, T)),
    ([Part("polynomial", {"power": 3.0, "final": 0.1})], lambda s: s.polynomial_schedule(1.0, 0.1, 3, T)),
    ([Part("exponential", {"gamma": 0.9})], lambda s: s.exponential_decay(1.0, 1, 0.9)),
    ([Part("step", {"every": 4.0})], lambda s: s.exponential_decay(1.0, 4, 0.5, staircase=True)),
    ([Part("cosine", {"final": 0.1})], lambda s: s.cosine_decay_schedule(1.0, T, alpha=0.1)),
    (
        [Part("multistep", {"milestones": (5.0, 9.0)})],
        lambda s: s.piecewise_constant_schedule(1.0, {5: 0.1, 9: 0.1}),
    ),
    (
        [Part("piecewise", {"at": (0.0, 5.0, 9.0), "values": (1.0, 0.5, 0.1)})],
        lambda s: s.piecewise_constant_schedule(1.0, {5: 0.5, 9: 0.2}),
    ),
    *(
        (
            [Part("piecewise", {"at": (0.0, 5.0, 9.0), "values": (1.0, 0.5, 0.1), "form": form})],
            lambda s, form=form: s.piecewise_interpolate_schedule(form, 1.0, {5: 0.5, 9: 0.2}),
        )
        for form in ("linear", "cosine")
    ),
    ([Part("warmup", {"start": 0.1}, 8)], lambda s: s.warmup_constant_schedule(0.1, 1.0, 8)),
    (
        [Part("warmup", {"start": 0.1}, 8), Part("cosine", {"final": 0.2})],
        lambda s: s.warmup_cosine_decay_schedule(0.1, 1.0, 8, T, end_value=0.2),
    ),
    (
        [Part("cosine", {}, 6), Part("cosine", {}, 12), Part("cosine", {})],
        lambda s: s.sgdr_schedule(
            [{"init_value": 1.0, "peak_value": 1.0, "warmup_steps": 0, "decay_steps": n} for n in (6, 12, 12)]
        ),
    ),
    (
        [Part("linear", {"final": 0.5}, 4), Part("exponential", {"gamma": 0.8, "start": 0.5}, 9), Part("cosine", {})],
        lambda s: s.join_schedules(
            [s.linear_schedule(1.0, 0.5, 4), s.exponential_decay(0.5, 1, 0.8), s.cosine_decay_schedule(1.0, T - 13)],
            [4, 13],
        ),
    ),
]


@pytest.mark.parametrize(("parts", "make"), OPTAX)
def test_equals_optax(parts, make):
    optax = pytest.importorskip("optax", reason=NO_OPTAX)
    import jax

    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    try:
        wanted = [float(make(optax.schedules)(k)) for k in range(T)]
    finally:
        jax.config.update("jax_enable_x64", before)
    np.testing.assert_allclose(chained(parts, "torch", K, T), wanted, rtol=1e-12, atol=1e-15)


# --- scikit-learn and the papers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("power", [0.25, 0.5])
def test_inverse_scaling_is_what_scikit_learn_does(power):
    """Row t is the unit vector t with target 1: its coefficient becomes the rate of step t."""
    witness = SGDRegressor(
        penalty=None, fit_intercept=False, max_iter=1, tol=None, shuffle=False, eta0=LR, power_t=power,
        learning_rate="invscaling",
    ).fit(np.eye(T), np.ones(T))  # fmt: skip
    np.testing.assert_allclose(LR * factors("invscaling", {"power": power}, "last", K, T), witness.coef_, rtol=1e-12)
    assert SCHEDULES["invscaling"].params["power"] == SGDRegressor().power_t


@pytest.mark.parametrize("loss", ["hinge", "log_loss", "squared_hinge"])
@pytest.mark.parametrize("alpha", [1e-4, 0.3])
def test_optimal_is_what_scikit_learn_does(loss, alpha):
    y = np.resize([0, 1], T)
    witness = SGDClassifier(
        loss=loss, penalty=None, alpha=alpha, fit_intercept=False, max_iter=1, tol=None, shuffle=False,
        learning_rate="optimal",
    ).fit(np.eye(T), y)  # fmt: skip
    slope = {"hinge": 1.0, "log_loss": 0.5, "squared_hinge": 2.0}[loss]  # of the loss at a margin of 0
    rates = abs(witness.coef_[0]) / slope
    np.testing.assert_allclose(factors("optimal", {"alpha": alpha}, "last", K, T), rates, rtol=1e-12)


def test_warm_up_and_inverse_square_root_is_the_transformers():
    """Vaswani et al. (2017), equation 3, over its peak: min(t / w, sqrt(w / t))."""
    w = 6
    found = chained([Part("warmup", {}, w), Part("inverse_sqrt", {"timescale": float(w)})], "last", K, T)
    t = np.maximum(K, 1e-9)
    np.testing.assert_allclose(found, np.minimum(t / w, np.sqrt(w / t)), rtol=1e-12, atol=1e-9)


def test_a_chain_counts_from_zero_and_ends_at_the_end():
    parts = [Part("constant", {}, 10), Part("linear", {"final": 0.25}, 10), Part("cosine", {"start": 0.25})]
    values = chained(parts, "last", K, T)
    np.testing.assert_array_equal(values[:11], 1)
    assert values[20] == 0.25
    assert values[-1] == 0
    pieces = [chained(parts, "last", K[i : i + 1], T)[0] for i in range(T)]
    assert values.tolist() == pieces


def test_what_a_chain_never_reaches_does_not_count():
    assert (chained([Part("constant", {}, 50), Part("linear", {})], "last", K, T) == 1).all()
    assert (chained([Part("constant", {}), Part("linear", {})], "last", K, T) == 1).all()
