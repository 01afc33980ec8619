"""Measured rates beside those of textbooks: quadratics converge as theory says, nothing is slower than its bound."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_studies import run
from test_cli import fastgd_cli

import fastgd
from fastgd import InputError
from fastgd.analysis.questions.theory import Curve, contraction, fitted_contraction

X = np.random.default_rng(3).standard_normal((400, 2))
X = np.linalg.qr(X - X.mean(axis=0))[0] * np.sqrt(400) * [1.0, 0.2]  # curvatures 1 and 0.04
Y = X @ [1.0, 2.0] + np.random.default_rng(4).standard_normal(400)
SLOW = ["sgd", "momentum", "nesterov"]


def study(optimizer, problem=None, **changes):
    problem = problem or {"name": "quadratic", "loss": "squared"}
    return {"epochs": 400, "batch_size": "full", "problem": problem, "optimizer": optimizer, **changes}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Full batches on a quadratic of two curvatures and on a logistic regression, and the noise of mini-batches."""
    problems = [{"name": "quadratic", "loss": "squared"}, {"name": "logistic", "loss": "logistic", "l2": 0.05}]
    optimizers = [
        {"name": "sgd", "lr": [0.5, 1.0, 1.9, 2.1]},
        {"name": "momentum", "lr": [0.3, 1.0], "momentum": 0.5},
        {"name": "nesterov", "lr": [0.3, 1.0], "momentum": 2 / 3},
        {"name": "adam", "lr": 0.1},
    ]
    path = tmp_path_factory.mktemp("theory") / "r"
    results = run(path, (X, (Y > 0).astype(float)), **study(optimizers, problems))
    fastgd.optimum(results, (X, (Y > 0).astype(float)), progress=False)
    return results


def test_quadratics_converge_as_textbooks_say(made):
    table = made.theory()
    assert set(table["optimizer"]) == set(SLOW)
    assert made.optima["smoothness"][0] == pytest.approx(1.0)
    quadratic = table[(table["problem"] == "quadratic") & (table["lr"] < 2)]
    assert len(quadratic) == 7
    critical = (quadratic["optimizer"] == "nesterov") & (quadratic["lr"] == 1)  # two equal roots: k times their power
    np.testing.assert_allclose(quadratic.loc[~critical, "ratio"], 1.0, atol=0.01)
    assert 0.9 < quadratic.loc[critical, "ratio"].item() < 1
    descent = quadratic[quadratic["optimizer"] == "sgd"]
    factors = [max(abs(1 - lr * 0.04), abs(1 - lr)) for lr in descent["lr"]]
    np.testing.assert_allclose(descent["theory"], factors, rtol=1e-9)
    np.testing.assert_allclose(descent["measured"], factors, rtol=1e-3)
    assert (descent["remark"] == "").all()


def test_nothing_is_slower_than_its_bound(made):
    table = made.theory()
    bounded = table[table["bound"].notna() & table["measured"].notna()]
    assert {"quadratic", "logistic"} == set(bounded["problem"])
    assert {"sgd", "nesterov"} == set(bounded["optimizer"]), "Nesterov at lr = 1/L with its own momentum"
    assert bounded["holds"].all()
    assert (bounded["measured"] <= bounded["bound"] + 1e-4).all()
    diverged = table[(table["problem"] == "quadratic") & (table["lr"] == 2.1)].iloc[0]
    assert diverged["theory"] > 1
    assert np.isnan(diverged["measured"])
    assert diverged["remark"] == "theory promises no convergence at this rate"


def test_a_logistic_regression_ends_as_its_hessian_says(made):
    table = made.theory()
    logistic = table[(table["problem"] == "logistic") & (table["optimizer"] == "sgd")]
    np.testing.assert_allclose(logistic["ratio"], 1.0, atol=0.1)
    assert (logistic["theory"] <= logistic["bound"] + 1e-12).all(), "the minimum is no worse than any parameters"


def test_noise_holds_trials_below_its_bound(tmp_path):
    optimizers = [
        {"name": "sgd", "lr": [0.02, 0.05]},
        {"name": "sgd", "lr": 1.5, "schedule": {"name": "inverse_time", "k": 0.05, "per": "step"}},
    ]
    results = run(tmp_path / "r", (X, Y), **study(optimizers, batch_size=5, epochs=150))
    fastgd.optimum(results, (X, Y), progress=False)
    table = results.theory().set_index("quantity")
    floors = table.loc[["floor"]]
    assert len(floors) == 2
    assert floors["holds"].all()
    noise = results.optima["noise"][0] / 5 * 395 / 399
    np.testing.assert_allclose(floors["theory"], floors["lr"] * noise / 4, rtol=1e-9)
    assert (floors["measured"] < floors["bound"]).all()
    assert floors["measured"].is_monotonic_increasing
    assert table.loc["exponent", "theory"] == -1.0
    assert table.loc["exponent", "measured"] < -0.7


def test_full_batches_in_float32_are_fitted_above_their_rounding(tmp_path):
    changed = study({"name": "sgd", "lr": [0.5, 1.0]}, dtype="float32")
    results = run(tmp_path / "r", (X, Y), **changed)
    fastgd.optimum(results, (X, Y), progress=False)
    table = results.theory()
    np.testing.assert_allclose(table["ratio"], 1.0, atol=0.05)


# --- the formulas and the fit -----------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    method=st.sampled_from(SLOW),
    lr=st.floats(0.05, 1.2),
    momentum=st.floats(0.0, 0.95),
    least=st.floats(0.05, 0.5),
)
def test_contractions_are_spectral_radii(method, lr, momentum, least):
    """Of the step itself, as a matrix, over curvatures between the ends."""
    momentum = 0.0 if method == "sgd" else momentum
    radius = 0.0
    for h in np.geomspace(least, 1.0, 201):
        look = 1 - lr * h if method == "nesterov" else 1.0
        step = np.array([[1 + momentum, -momentum], [1.0, 0.0]])
        step[0] = look * step[0] if method == "nesterov" else step[0] - [lr * h, 0.0]
        radius = max(radius, np.abs(np.linalg.eigvals(step)).max())
    assert contraction(method, lr, momentum, least, 1.0) == pytest.approx(radius, rel=1e-3, abs=1e-7)


def test_the_best_rates_of_textbooks():
    mu, L = 0.04, 1.0
    k = L / mu
    assert contraction("sgd", 2 / (L + mu), 0.0, mu, L) == pytest.approx((k - 1) / (k + 1), rel=1e-12)
    root = (np.sqrt(k) - 1) / (np.sqrt(k) + 1)
    lr = 4 / (np.sqrt(L) + np.sqrt(mu)) ** 2
    assert contraction("momentum", lr, root**2, mu, L) == pytest.approx(root, rel=1e-6)
    assert contraction("nesterov", 1 / L, root, mu, L) == pytest.approx(1 - 1 / np.sqrt(k), rel=1e-6)
    assert np.isnan(contraction("sgd", 1.0, 0.0, np.nan, L))


@settings(max_examples=60, deadline=None)
@given(factor=st.floats(0.5, 0.97), swing=st.floats(0.0, 0.9), floor=st.sampled_from([0.0, 1e-12]))
def test_a_fit_finds_the_factor_under_swings_and_above_a_floor(factor, swing, floor):
    step = np.arange(0.0, 600.0)
    gap = factor ** (2 * step) * (1 - swing * np.sin(0.9 * step) ** 2) + floor
    found, checkpoints, remark = fitted_contraction(Curve(step, gap), 100 * max(floor, 1e-14))
    assert np.log(found) == pytest.approx(np.log(factor), rel=0.15 if swing else 0.02)
    assert checkpoints >= 5
    if not swing:
        assert remark == ""


def test_what_cannot_be_fitted_says_why():
    step = np.arange(10.0)
    assert fitted_contraction(Curve(step, 2.0**step), 1e-9)[2] == "it did not come nearer"
    assert fitted_contraction(Curve(step, np.full(10, np.nan)), 1e-9)[2] == "it did not come nearer"
    assert "fewer than 5" in fitted_contraction(Curve(step, 0.1**step), 1e-2)[2]
    slowing = fitted_contraction(Curve(np.arange(60.0), 0.5 ** np.arange(60) + 0.9 ** np.arange(60)), 1e-9)
    assert slowing[2] in ("", "still slowing down: more steps would show its rate")


def test_theory_needs_minima(tmp_path, made):
    results = run(tmp_path / "r", (X, Y), **study({"name": "sgd", "lr": 0.5}, epochs=1))
    with pytest.raises(InputError, match=r"theory needs certified minima.*`fastgd optimum"):
        results.theory()
    _, told = fastgd_cli("theory", results.path, code=2)
    assert "`fastgd optimum" in told
    found = json.loads(fastgd_cli("theory", made.path, "--json")[0])
    assert {row["quantity"] for row in found} == {"contraction"}
    text, _ = fastgd_cli("theory", made.path)
    assert "Polyak (1987)" in text
    assert "slower than its bound" not in text
