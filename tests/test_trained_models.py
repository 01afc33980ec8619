"""Models of trials: they predict what the engine measured, of the same rows as users have them."""

import json
import pickle
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from small_studies import rows, run

import fastgd
from fastgd import InputError
from fastgd.analysis.trained_model import TORCH_MODULES
from fastgd.datasets.prepare import held_out
from fastgd.problems.activations import ACTIVATIONS
from fastgd.problems.predictions import LINKS

NETWORK = {"hidden": [6, 4], "activation": "tanh"}
METRICS = ["accuracy", "validation_accuracy", "r2", "validation_r2"]
ALL, HITS = {"parameters": "all"}, {"parameters": "all", "metrics": ["accuracy"]}
ADAM = {"name": "adam", "lr": [0.03, 0.025, 0.02, 0.015, 0.01, 0.005]}
PROBLEMS = {
    "linear": {"loss": "logistic", "dataset": "breast_cancer"},
    "network": {"loss": "logistic", "dataset": "breast_cancer", "network": NETWORK},
    "classes": {"loss": "softmax", "dataset": "digits"},
    "classes of a network": {"loss": "softmax", "dataset": "digits", "network": NETWORK},
    "numbers": {"loss": "squared", "dataset": "diabetes", "network": NETWORK | {"activation": "relu"}},
    "scaled": {"loss": "squared", "dataset": "diabetes", "network": NETWORK, "standardize_target": True},
    "scaled, linear": {"loss": "huber", "dataset": "diabetes", "standardize_target": True},
}
SOURCES = {"breast_cancer": load_breast_cancer, "digits": load_digits, "diabetes": load_diabetes}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    shared = {"standardize": True, "intercept": True, "validation": 0.2}
    problem = [{"name": name, **shared, **fields} for name, fields in PROBLEMS.items()]
    return run(
        tmp_path_factory.mktemp("models") / "r",
        problem=problem,
        optimizer=ADAM,
        record=ALL | {"metrics": METRICS},
        epochs=5,
    )


def trial_of(results, problem):
    return results.trials.loc[results.trials["problem"] == problem, "trial_id"].iloc[0]


def last(results, trial):
    return results.curves[results.curves["trial_id"] == trial].iloc[-1]


def r2(found, y):
    return 1 - np.mean((found - y) ** 2) / np.var(y)


@pytest.mark.parametrize("name", PROBLEMS)
def test_predictions_are_those_that_the_engine_measured(results, name):
    trial = trial_of(results, name)
    X, y = SOURCES[PROBLEMS[name]["dataset"]](return_X_y=True)
    held = held_out(len(y), 0.2, 0)
    trained = np.delete(np.arange(len(y)), held)
    model, measured = results.model(trial), last(results, trial)
    for which, prefix in ((trained, ""), (held, "validation_")):
        found = model.predict(X[which])
        if PROBLEMS[name]["dataset"] == "diabetes":
            assert r2(found, y[which]) == pytest.approx(measured[f"{prefix}r2"], rel=1e-12)
        else:
            assert np.mean(found == y[which]) == pytest.approx(measured[f"{prefix}accuracy"], rel=1e-12)
            p = model.predict_proba(X[which])
            np.testing.assert_allclose(p.sum(axis=1), 1)
            assert (np.array(model.classes)[p.argmax(axis=1)] == found).all()
            loss = -np.log(p[np.arange(len(p)), y[which]]).mean()
            assert loss == pytest.approx(measured[f"{prefix}loss"], rel=1e-10)


def test_layers(results):
    (layer,) = results.model(trial_of(results, "linear")).layers
    assert (layer.name, layer.weights.shape, layer.biases.shape, layer.activation) == ("output", (30, 1), (1,), None)
    layers = results.model(trial_of(results, "classes of a network")).layers
    assert [layer.name for layer in layers] == ["hidden_1", "hidden_2", "output"]
    assert [layer.weights.shape for layer in layers] == [(64, 6), (6, 4), (4, 10)]
    assert [layer.biases.shape for layer in layers] == [(6,), (4,), (10,)]
    assert [layer.activation for layer in layers] == ["tanh", "tanh", None]


@pytest.mark.parametrize("name", PROBLEMS)
def test_torch_gives_the_same_margins(results, name):
    torch = pytest.importorskip("torch")
    model = results.model(trial_of(results, name))
    X = SOURCES[PROBLEMS[name]["dataset"]](return_X_y=True)[0]
    state = torch.get_rng_state()
    module = model.to_torch()
    assert torch.equal(torch.get_rng_state(), state)
    with torch.no_grad():
        found = module(torch.tensor(X)).numpy()
    expected = model.margins(X)
    assert found.shape == (len(X), expected.shape[1] if expected.ndim == 2 else 1)
    np.testing.assert_allclose(found.reshape(expected.shape), expected, rtol=1e-12, atol=1e-12)


def test_torch_has_every_activation():
    torch = pytest.importorskip("torch")
    z = np.linspace(-9, 9, 101)
    assert set(TORCH_MODULES) == set(ACTIVATIONS)
    for name, activation in ACTIVATIONS.items():
        found = getattr(torch.nn, TORCH_MODULES[name])()(torch.tensor(z)).numpy()
        np.testing.assert_allclose(found, activation.value(z), rtol=1e-12, atol=1e-14)


def test_torch_that_is_not_installed(results, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(InputError, match="pip install torch"):
        results.model(trial_of(results, "linear")).to_torch()


def test_a_model_stands_alone(results):
    model = results.model(trial_of(results, "network"))
    X = load_breast_cancer().data
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).margins(X), model.margins(X))
    assert repr(model) == f"<Model of trial {model.trial_id!r}: logistic, 30 -> 6 -> 4 -> 1>"


def test_tables_are_matched_by_names_and_arrays_by_places(results):
    model = results.model(trial_of(results, "linear"))
    X = load_breast_cancer().data
    table = pd.DataFrame(X, columns=list(model.features))
    expected = model.margins(X)
    for same in (table, table[table.columns[::-1]], X.tolist(), csr_matrix(X)):
        np.testing.assert_array_equal(model.margins(same), expected)
    with pytest.raises(InputError, match=r"^X lacks the column 'worst radius'; an array's columns"):
        model.predict(table.drop(columns="worst radius"))
    with pytest.raises(InputError, match=r"^X has the column 'more' too many"):
        model.predict(table.assign(more=1))
    with pytest.raises(InputError, match=r"^X has 29 columns, and the training rows have 30$"):
        model.predict(X[:, 1:])
    with pytest.raises(InputError, match=r"^rows: X must have rows and columns, \(n, d\); found shape \(30,\)"):
        model.predict(X[0])
    with pytest.raises(InputError, match="every feature must be a finite number"):
        model.predict(table.replace(X[3, 2], np.nan))


@pytest.mark.full
@pytest.mark.parametrize("standardize", [False, True])
@pytest.mark.parametrize("intercept", [False, True])
def test_sparse_rows(tmp_path, standardize, intercept):
    torch = pytest.importorskip("torch")
    X, y = rows()
    X[X < 0] = 0
    problem = {"loss": "logistic", "standardize": standardize, "intercept": intercept}
    data = (csr_matrix(X), y)
    found = run(tmp_path, data, problem=problem, optimizer=ADAM, record=HITS)
    trial = found.trials["trial_id"][0]
    model = found.model(trial, data=data)
    assert np.mean(model.predict(data[0]) == y) == pytest.approx(last(found, trial)["accuracy"], rel=1e-12)
    np.testing.assert_array_equal(model.margins(X), model.margins(data[0]))
    assert (model.layers[0].biases is not None) == intercept
    margins = model.to_torch()(torch.tensor(X)).detach().numpy()[:, 0]
    np.testing.assert_allclose(margins, model.margins(X), rtol=1e-12, atol=1e-12)


def test_dense_rows_without_an_intercept_are_moved_in_torch(tmp_path):
    torch = pytest.importorskip("torch")
    X, y = rows()
    data = (X + 3, y)
    problem = {"loss": "logistic", "standardize": True, "intercept": False}
    found = run(tmp_path, data, problem=problem, optimizer=ADAM, record=ALL)
    model = found.model(found.trials["trial_id"][0], data=data)
    margins = model.to_torch()(torch.tensor(X + 3)).detach().numpy()[:, 0]
    np.testing.assert_allclose(margins, model.margins(X + 3), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("labels", "positive", "classes"),
    [
        (["no", "yes"], None, ("no", "yes")),
        (["spam", "ham"], "spam", ("ham", "spam")),
        ([-1, 1], None, (-1, 1)),
        ([False, True], None, (0, 1)),
        (["a", "b", "c"], "b", (0, 1)),
    ],
)
def test_labels_are_those_of_the_data(tmp_path, labels, positive, classes):
    X, y = rows()
    y = np.array(labels)[
        np.where(y > 0, 1, np.arange(len(y)) % len(labels)) if len(labels) > 2 else (y > 0).astype(int)
    ]
    problem = {"loss": "hinge", "positive": positive} if positive else {"loss": "hinge"}
    found = run(tmp_path, (X, y), problem=problem, optimizer=ADAM, record=HITS)
    trial = found.trials["trial_id"][0]
    model = found.model(trial, data=(X, y))
    assert model.classes == classes
    right = model.predict(X) == (y if len(labels) == 2 else y == positive)
    assert np.mean(right) == pytest.approx(last(found, trial)["accuracy"], rel=1e-12)
    with pytest.raises(InputError, match=r"^the loss 'hinge' gives no probabilities, as logistic and softmax do"):
        model.predict_proba(X)


@pytest.mark.parametrize("loss", ["huber", "poisson", "sigmoid_squared"])
def test_losses_of_numbers(tmp_path, loss):
    X, y = rows("squared")
    y = {"huber": y, "poisson": np.floor(np.exp(y)), "sigmoid_squared": 1 / (1 + np.exp(-y))}[loss]
    found = run(tmp_path, (X, y), problem={"loss": loss}, optimizer=ADAM, record=ALL | {"metrics": ["r2"]})
    trial = found.trials["trial_id"][0]
    model = found.model(trial, data=(X, y))
    assert r2(model.predict(X), y) == pytest.approx(last(found, trial)["r2"], rel=1e-12)
    assert model.classes == ()
    assert (model.link is not None) == (loss in LINKS)


def test_what_has_no_model(tmp_path, results):
    trial = trial_of(results, "linear")
    with pytest.raises(InputError, match=rf"there is no trial '{trial[:-1]}'.*did you mean '{trial}'\?"):
        results.model(trial[:-1])
    with pytest.raises(InputError, match="'linear' names its data, which are loaded again; leave data out"):
        results.model(trial, data=rows())
    bare = run(tmp_path / "bare")
    with pytest.raises(InputError, match=r'were not recorded: record\.parameters = "all" keeps'):
        bare.model(bare.trials["trial_id"][0], data=rows())
    landscape = {"landscape": "himmelblau"}
    walk = fastgd.Study(name="walk", steps=5, problem=landscape, optimizer={"name": "sgd", "lr": 0.01})
    walked = fastgd.run(walk, tmp_path / "walk")
    with pytest.raises(InputError, match="trials on landscapes train no model"):
        walked.model(walked.trials["trial_id"][0])


def test_data_that_are_not_there_or_have_changed(tmp_path):
    X, y = rows()
    arrays = run(tmp_path / "arrays", (X, y), record=ALL, optimizer=ADAM)
    trial = arrays.trials["trial_id"][0]
    with pytest.raises(InputError, match=r"'arrays/logistic' was run on arrays.*data=\(X, y\)$"):
        arrays.model(trial)
    with pytest.raises(InputError, match=r"are not those that .* was computed with"):
        arrays.model(trial, data=(X + 1, y))
    file = tmp_path / "rows.csv"
    table = pd.DataFrame(X, columns=list("abcde")).assign(late=y)
    table.to_csv(file, index=False)
    problem = {"loss": "logistic", "path": str(file), "target": "late", "intercept": True}
    found = run(tmp_path / "file", problem=problem, record=ALL, optimizer=ADAM)
    model = found.model(found.trials["trial_id"][0])
    np.testing.assert_allclose(model.margins(table[list("abcde")]), arrays.model(trial, data=(X, y)).margins(X))
    table[:-1].to_csv(file, index=False)
    with pytest.raises(InputError, match="they have changed"):
        found.model(found.trials["trial_id"][0])
    file.unlink()
    with pytest.raises(InputError, match=r"rows\.csv"):
        found.model(found.trials["trial_id"][0])


def test_a_trial_of_an_earlier_version_or_that_diverged(tmp_path):
    X, y = rows("squared")
    problem = {"loss": "squared"}
    rates = {"name": "sgd", "lr": [0.01, 1e200]}
    found = run(tmp_path, (X, y), problem=problem, record=ALL, optimizer=rates, epochs=60)
    good, bad = found.trials.sort_values("lr")["trial_id"]
    assert found.model(good, data=(X, y)).predict(X).shape == (len(X),)
    assert not np.isfinite(found.parameters(bad)).all()
    with pytest.raises(InputError, match="ended as 'diverged': its parameters are not finite"):
        found.model(bad, data=(X, y))
    changed = run(tmp_path, (X, y), problem=problem, record=ALL, optimizer=rates | {"lr": 0.02}, epochs=60)
    with pytest.raises(InputError, match="is of an earlier version of the study"):
        changed.model(good, data=(X, y))


def test_predicting_needs_no_numba(tmp_path, results):
    (tmp_path / "model.pickle").write_bytes(pickle.dumps(results.model(trial_of(results, "classes"))))
    code = f"""
import json, pickle, sys
from sklearn.datasets import load_digits
model = pickle.load(open({str(tmp_path / "model.pickle")!r}, "rb"))
found = model.predict(load_digits().data)
print(json.dumps(["numba" in sys.modules, len(found)]))"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [False, 1797]
