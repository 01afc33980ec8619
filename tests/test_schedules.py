"""Every schedule against its closed form, its ends, and PyTorch."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from fastgd._errors import InputError
from fastgd.schedules import SCHEDULES, factors

T = 30
K = np.arange(T)

# name, keys, closed form by (k, span)
FORMS = [
    ("constant", {}, lambda k, e: 1 + 0 * k),
    ("exponential", {"gamma": 0.9}, lambda k, e: 0.9**k),
    ("exponential", {"gamma": 1.1, "start": 0.5}, lambda k, e: 0.5 * 1.1**k),
    ("exponential", {"final": 0.01}, lambda k, e: np.exp(np.log(0.01) * k / e)),
    ("exponential", {"final": 0.9, "start": 0.5}, lambda k, e: 0.5 * (0.9 / 0.5) ** (k / e)),
    ("exponential", {"k": 0.2}, lambda k, e: np.exp(-0.2 * k)),
    ("step", {"every": 5.0}, lambda k, e: 0.5 ** (k // 5)),
    ("step", {"every": 7.0, "factor": 0.1, "start": 2.0}, lambda k, e: 2 * 0.1 ** (k // 7)),
    ("cosine", {}, lambda k, e: np.cos(np.pi * k / (2 * e)) ** 2),
    ("cosine", {"final": 0.1}, lambda k, e: 0.1 + 0.9 * np.cos(np.pi * k / (2 * e)) ** 2),
    ("cosine", {"final": 0.95, "start": 0.5}, lambda k, e: 0.95 - 0.45 * np.cos(np.pi * k / (2 * e)) ** 2),
]


@pytest.mark.parametrize("horizon", ["last", "torch"])
@pytest.mark.parametrize(("name", "params", "form"), FORMS)
def test_closed_form(name, params, form, horizon):
    span = T - 1 if horizon == "last" else T
    np.testing.assert_allclose(factors(name, params, horizon, K, T), form(K, span), rtol=1e-13, atol=1e-16)


def test_every_schedule_is_in_the_table():
    assert {name for name, _, _ in FORMS} == set(SCHEDULES)


@pytest.mark.parametrize("name", ["exponential", "cosine"])
def test_ends_are_exact(name):
    values = factors(name, {"final": 0.01}, "last", K, T)
    assert values[0] == 1
    assert values[-1] == 0.01


@pytest.mark.parametrize(("name", "params"), [(name, params) for name, params, _ in FORMS])
def test_a_single_epoch_has_the_start(name, params):
    assert factors(name, params, "last", np.array([0]), 1) == params.get("start", 1.0)


def test_any_part_of_the_index_gives_the_same_bits():
    for name, params, _ in FORMS:
        whole = factors(name, params, "last", K, T)
        parts = [factors(name, params, "last", K[i : i + 1], T)[0] for i in range(T)]
        assert whole.tolist() == parts


def test_unknown_name_offers_the_nearest():
    with pytest.raises(InputError, match=r"'cosin'.*did you mean 'cosine'"):
        factors("cosin", {}, "last", K, T)


@pytest.mark.parametrize("record", SCHEDULES.values(), ids=lambda record: record.name)
def test_records_are_complete(record):
    assert record.summary
    assert record.witness.startswith("torch.")
    assert set(record.one_of) | set(record.required) <= set(record.params)


TORCH = [
    ("constant", {}, "ConstantLR", lambda lr: {"factor": 1.0}),
    ("exponential", {"gamma": 0.9}, "ExponentialLR", lambda lr: {"gamma": 0.9}),
    ("exponential", {"final": 0.01}, "ExponentialLR", lambda lr: {"gamma": 0.01 ** (1 / T)}),
    ("step", {"every": 5.0, "factor": 0.5}, "StepLR", lambda lr: {"step_size": 5, "gamma": 0.5}),
    ("cosine", {"final": 0.05}, "CosineAnnealingLR", lambda lr: {"T_max": T, "eta_min": 0.05 * lr}),
]


@pytest.mark.parametrize(("name", "params", "scheduler", "keys"), TORCH)
def test_equals_torch(name, params, scheduler, keys):
    torch = pytest.importorskip("torch", reason="PyTorch is the witness of schedules: pip install fastgd[witnesses]")
    lr = 0.3
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)
    witness = getattr(torch.optim.lr_scheduler, scheduler)(optimizer, **keys(lr))
    rates = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        for _ in range(T):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            witness.step()
    np.testing.assert_allclose(lr * factors(name, params, "torch", K, T), rates, rtol=1e-12)
