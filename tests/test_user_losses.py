"""Losses of one's own: named in a study as "module:loss", dense and sparse, and what is wrong with them."""

import importlib
import sys

import numpy as np
import pytest
import scipy.sparse as sp
from cohorts import in_full

import fastgd
from fastgd.common.errors import InputError
from fastgd.problems import LOSSES, find_loss, loss

SHARE = 0.9


def steps(z, y):
    return np.where(z > y, 1 - SHARE, -SHARE)


@loss(targets="real", derivative=steps)
def pinball(z, y):
    """The pinball loss of the 90 % quantile: `max(0.9 (y - z), 0.1 (z - y))`."""
    return np.maximum(SHARE * (y - z), (1 - SHARE) * (z - y))


def difference(z, y):
    return z - y


@loss(targets="real", derivative=difference)
def half_square(z, y):
    """`(z - y)^2 / 2`, as the built-in one."""
    return difference(z, y) * difference(z, y) * 0.5


def power_slope(z, y):
    return 1.5 * np.sqrt(np.abs(z - y)) * np.sign(z - y)


@loss(targets="real", derivative=power_slope)
def power(z, y):
    """`|z - y|^1.5`."""
    return np.abs(z - y) ** 1.5


def plain(z, y):
    return z - y


def rows(n=120, d=6):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, d)) * (rng.random((n, d)) < 0.4)
    return X, X @ rng.standard_normal(d) + rng.exponential(1.0, n)


def study_of(name, **changes):
    fields = {
        "name": "own",
        "epochs": 3,
        "batch_size": [1, 16, "full"],
        "problem": {"loss": f"test_user_losses:{name}", "intercept": True, "validation": 0.2},
        "optimizer": [{"name": "momentum", "lr": [0.01, 0.02]}],
        "record": {"parameters": "all"},
    }
    return fastgd.Study(**{**fields, **changes})


@pytest.mark.parametrize("name", ["pinball", in_full("power")])
def test_a_study_of_ones_own_loss_dense_and_sparse(tmp_path, name):
    X, y = rows()
    found = {}
    for layout, matrix in (("dense", X), ("sparse", sp.csr_matrix(X))):
        results = fastgd.run(study_of(name), tmp_path / layout, data=(matrix, y), threads=2)
        trials = results.trials.sort_values(["batch_size", "lr"], ignore_index=True)
        assert set(trials["loss"]) == {f"test_user_losses:{name}"}
        assert set(trials["layout"]) == {layout}
        assert (trials["status"] == "completed").all()
        found[layout] = trials[["final_loss", "final_validation_loss"]].to_numpy(float)
        assert (trials["final_loss"] < results.curves.query("step == 0")["loss"].max()).all()
    np.testing.assert_allclose(found["sparse"], found["dense"], rtol=1e-10)


def test_the_loss_that_is_recorded_is_that_of_the_function(tmp_path):
    X, y = rows()
    problem = {"loss": "test_user_losses:pinball", "intercept": True}
    results = fastgd.run(study_of("pinball", problem=problem), tmp_path, data=(X, y), threads=2)
    for trial in results.trials.itertuples():
        w = results.parameters(trial.trial_id)
        expected = np.mean(pinball(X @ w[:-1] + w[-1], y))
        assert trial.final_loss == pytest.approx(expected, rel=1e-12)


@pytest.mark.full
def test_a_built_in_loss_that_is_written_again_gives_its_bits(tmp_path):
    X, y = rows()
    rows_of = {"batch_size": [1, 16]}  # full batches of the squared loss are made of X'X
    own = fastgd.run(study_of("half_square", **rows_of), tmp_path / "own", data=(X, y), threads=2)
    problem = {"loss": "squared", "intercept": True, "validation": 0.2}
    built_in = fastgd.run(study_of("", problem=problem, **rows_of), tmp_path / "squared", data=(X, y), threads=2)
    order, columns = ["batch_size", "lr"], ["final_loss", "final_validation_loss"]
    one, other = (results.trials.sort_values(order)[columns].to_numpy() for results in (own, built_in))
    np.testing.assert_array_equal(one, other)
    assert not set(own.trials["trial_id"]) & set(built_in.trials["trial_id"])


def test_it_is_described_and_not_registered():
    record = find_loss("test_user_losses:pinball")
    assert record.name == "test_user_losses:pinball"
    assert record.foreign
    assert record.targets == "real"
    assert record.summary.startswith("The pinball loss")
    assert record is find_loss("test_user_losses:pinball")
    assert record.name not in LOSSES
    assert not find_loss("squared").foreign
    assert repr(find_loss("squared")) == "loss squared"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("squard", "there is no loss 'squard'; did you mean 'squared'"),
        ("test_user_losses:pinbal", "the module has no 'pinbal'; did you mean 'pinball'"),
        ("test_user_losses:plain", "decorate the function 'plain' with @fastgd.problems.loss"),
        ("no_such_module:f", "cannot import the module 'no_such_module'"),
    ],
)
def test_what_cannot_be_found(name, message):
    with pytest.raises(InputError, match=message):
        fastgd.Study(name="x", epochs=1, batch_size=1, problem={"loss": name}, optimizer={"name": "sgd", "lr": 1})


TEXT = """
import numpy as np
from fastgd.problems import loss

def slope(z, y):
    return np.where(z > y, 0.1, -0.9)

@loss(targets="real", derivative=slope)
def pinball(z, y):
    return np.maximum(0.9 * (y - z), 0.1 * (z - y))
"""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("-0.9", "-0.8"), r"slope, line 5 of own_loss\.py: is not the derivative of the value: at z = .*differences"),
        (
            ("np.where(z > y, 0.1, -0.9)", "0.1 if z > y else -0.9"),
            r"slope, line 6 of .*, `z > y`: lanes differ",
        ),
        (('"real"', '"reel"'), "targets = 'reel'; valid: binary, unit, real, count"),
        (("0.1 * (z", "q * (z"), r"pinball, line 10 of own_loss\.py, `q`: name 'q' is not defined"),
        (("np.maximum(0.9", "max(0.9"), r"pinball, line 10 of own_loss\.py, .*: lanes differ"),
        (("(z, y):\n    return np.max", "(z):\n    return np.max"), "takes 1 positional argument but 2 were given"),
        (("return np.max", "return 1.0, np.max"), "returns no value of z and y, but a tuple"),
    ],
)
def test_what_is_wrong_with_a_loss_is_one_message(tmp_path, monkeypatch, change, message):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "own_loss.py").write_text(TEXT.replace(*change))
    sys.modules.pop("own_loss", None)
    importlib.invalidate_caches()
    with pytest.raises(InputError, match=message):
        find_loss("own_loss:pinball")
    sys.modules.pop("own_loss", None)
