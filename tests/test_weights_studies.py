"""Weights of rows in studies: from columns and arrays, in losses, metrics and minima, and what is refused."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import accuracy_score, log_loss, r2_score
from sklearn.utils.class_weight import compute_sample_weight
from small_studies import N, assert_same, rows, run, study_of

import fastgd
from fastgd import InputError
from fastgd.common.parsing import from_toml
from fastgd.datasets import Source, from_arrays, load, prepare
from fastgd.datasets.prepare import held_out
from fastgd.optima import CONVEX, Problem, solve
from fastgd.plan.planner import make_plan
from fastgd.reports.sections import commands
from fastgd.runs.data.loading import load_data

X, Y = rows()
TIMES = np.random.default_rng(2).integers(0, 4, N)
OWN = np.random.default_rng(3).uniform(0.1, 3, N)
CLASSES = np.arange(N) % 3


def repeated(*arrays):
    return tuple(each[np.repeat(np.arange(N), TIMES)] for each in arrays)


def losses_by_rate(results):
    """The curve of each trial, those of small rates first."""
    curves = results.curves.merge(results.trials[["trial_id", "lr"]].rename(columns={"lr": "rate"}), on="trial_id")
    return curves.sort_values(["rate", "step"])["loss"].to_numpy().reshape(len(results.trials), -1)


# --- a row of weight 3 is three rows ----------------------------------------------------------------------------------

STUDIES = {
    "tiles": {"problem": {"loss": "logistic", "intercept": True, "l2": 0.01}},
    "one lane": {"problem": {"loss": "hinge"}, "optimizer": {"name": "momentum", "lr": 0.1}},
    "by sums": {"problem": {"loss": "squared", "intercept": True}, "epochs": 40},
    "network": {"problem": {"loss": "logistic", "network": {"hidden": [4]}}},
    "line search": {"optimizer": {"name": "sgd", "lr": 1.0, "line_search": {"kind": "armijo"}}},
    "baseline": {"optimizer": {"name": "random_search", "low": -1.0, "high": 1.0}, "epochs": 8},
}


@pytest.mark.parametrize("changes", STUDIES.values(), ids=STUDIES)
def test_weighted_rows_are_repeated_ones(tmp_path, changes):
    loss = changes.get("problem", {}).get("loss", "logistic")
    x, y = rows(loss)
    changes = {"batch_size": "full", "record": {"metrics": ["grad_norm"]}} | changes
    heavy = run(tmp_path / "heavy", (x, y, TIMES), **changes)
    plain = run(tmp_path / "plain", repeated(x, y), **changes)
    order = heavy.trials.columns.intersection(["lr", "seed"]).tolist()
    found, expected = (each.trials.sort_values(order)["final_loss"].to_numpy() for each in (heavy, plain))
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    assert heavy.trials["n"].tolist() == [N] * len(found)
    assert ("gram" in heavy.trials["kernel"].iloc[0]) == (loss == "squared")


def test_folds_weigh_their_own_rows(tmp_path):
    """Balanced classes are those of a fold's training rows, and weights have mean 1 over these."""
    held = np.arange(0, N, 3)
    train = np.delete(np.arange(N), held)
    how = {"loss": "logistic", "class_weight": "balanced", "standardize": True, "intercept": True}
    keys = {"folds": 2, "kind": "given"}
    study = study_of(problem=how | {"validation": keys})
    pairs = [(train, held), (held, train)]
    folds = fastgd.run(study, tmp_path / "folds", data=(X, Y), weights=OWN, folds=pairs, progress=False).trials
    np.savez(tmp_path / "held.npz", X=X[held], y=Y[held], s=OWN[held])
    np.savez(tmp_path / "train.npz", X=X[train], y=Y[train], s=OWN[train])
    files = {"path": str(tmp_path / "train.npz"), "validation": str(tmp_path / "held.npz"), "weights": "s"}
    alone = run(tmp_path / "alone", problem=how | files).trials
    for name in ("final_loss", "final_validation_loss"):
        first, expected = (each.sort_values("lr")[name].to_numpy() for each in (folds[folds["fold"] == 0], alone))
        np.testing.assert_allclose(first, expected, rtol=1e-13)


def test_surfaces_weigh_rows(tmp_path):
    changes = {"surface": {"low": -1.0, "high": 1.0, "num": 5}, "epochs": 1}
    (found,), (expected,) = (
        run(tmp_path / str(len(data)), data, **changes).surfaces for data in ((X, Y, TIMES), repeated(X, Y))
    )
    np.testing.assert_allclose(found.loss, expected.loss, rtol=1e-12)


# --- what is recorded -------------------------------------------------------------------------------------------------

METRICS = ["accuracy", "validation_accuracy"]


def ends(results, dtype=np.float64):
    """The parameters and the last checkpoint of each trial."""
    last = results.curves.sort_values("step").groupby("trial_id").last()
    return [(results.parameters(name).astype(dtype), last.loc[name]) for name in results.trials["trial_id"]]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_losses_and_accuracies_are_those_of_scikit_learn(tmp_path, dtype):
    problem = {"loss": "logistic", "intercept": True, "validation": 0.3, "l2": 0.01, "class_weight": "balanced"}
    how = {"record": {"metrics": METRICS, "parameters": "all"}, "dtype": dtype}
    results = run(tmp_path / "r", (X, Y, OWN), problem=problem, **how)
    held = held_out(N, 0.3, 0)
    train, close = np.delete(np.arange(N), held), 1e-10 if dtype == "float64" else 1e-5
    counts = np.bincount(Y[train].astype(int))
    weights = OWN * (len(train) / (2 * counts))[Y.astype(int)]
    for w, last in ends(results):
        z = X @ w[:-1] + w[-1]
        p = 1 / (1 + np.exp(-z))
        for at, prefix, penalty in ((train, "", 0.005 * w[:-1] @ w[:-1]), (held, "validation_", 0.0)):
            loss = log_loss(Y[at], p[at], sample_weight=weights[at], labels=[0, 1]) + penalty
            assert last[f"{prefix}loss"] == pytest.approx(loss, rel=close)
            accuracy = accuracy_score(Y[at], z[at] > 0, sample_weight=weights[at])
            assert last[f"{prefix}accuracy"] == pytest.approx(accuracy, rel=close)


def test_r2_and_losses_of_classes_are_those_of_scikit_learn(tmp_path):
    x, y = rows("squared")
    how = {"record": {"metrics": ["r2", "validation_r2"], "parameters": "all"}}
    results = run(tmp_path / "r2", (x, y, OWN), problem={"loss": "squared", "validation": 0.3}, **how)
    held = held_out(N, 0.3, 0)
    train = np.delete(np.arange(N), held)
    for w, last in ends(results):
        for at, name in ((train, "r2"), (held, "validation_r2")):
            assert last[name] == pytest.approx(r2_score(y[at], x[at] @ w, sample_weight=OWN[at]), rel=1e-10)
    given = {"0": 1.0, "1": 5.0, "2": 0.5}
    problem, how["record"]["metrics"] = {"loss": "softmax", "class_weight": given}, ["accuracy"]
    results = run(tmp_path / "classes", (X, CLASSES, OWN), problem=problem, **how)
    weights = OWN * np.array(list(given.values()))[CLASSES]
    for w, last in ends(results):
        z = X @ w.reshape(X.shape[1], 3)
        p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
        assert last["loss"] == pytest.approx(log_loss(CLASSES, p, sample_weight=weights), rel=1e-10)
        accuracy = accuracy_score(CLASSES, z.argmax(axis=1), sample_weight=weights)
        assert last["accuracy"] == pytest.approx(accuracy, rel=1e-10)


def test_a_subsample_is_measured_by_its_own_weights(tmp_path):
    """The first checkpoint and the last are exact; those between are means over the same few rows."""
    ones, twice = (run(tmp_path / str(w), (X, Y, np.full(N, w)), record={"rows": 40}) for w in (1.0, 2.0))
    plain = run(tmp_path / "plain", (X, Y), record={"rows": 40})
    for found in (ones, twice):
        np.testing.assert_allclose(losses_by_rate(found), losses_by_rate(plain), rtol=1e-12)
    weights = np.where(np.arange(N) < N - 3, 0.0, 1.0)
    with pytest.raises(InputError, match=r"record\.rows = 4: the weights of all rows of this subsample are 0"):
        run(tmp_path / "r", (X, Y, weights), record={"rows": 4})


def test_bits_do_not_depend_on_threads_or_on_what_else_runs(tmp_path):
    problem = [
        {"loss": "logistic", "validation": 0.2},
        {"loss": "logistic", "network": {"hidden": [4]}, "name": "deep"},
    ]
    first, second = (
        run(tmp_path / str(threads), (X, Y, OWN), problem=problem, threads=threads, batch_size=[1, 32])
        for threads in (1, 2)
    )
    assert_same(first, second)
    trial = first.trials["trial_id"].iloc[3]
    alone = run(tmp_path / "alone", (X, Y, OWN), problem=problem, batch_size=[1, 32], trial=trial)
    pd.testing.assert_series_equal(
        *(each.trials.set_index("trial_id")["final_loss"][[trial]] for each in (alone, first))
    )


# --- minima -----------------------------------------------------------------------------------------------------------


def targets_of(loss):
    margin = X @ np.arange(1.0, 6) / 5 + np.random.default_rng(4).standard_normal(N)
    of_kind = {"real": margin, "count": np.floor(np.exp(margin)), "classes": CLASSES.astype(float)}
    return of_kind.get(CONVEX[loss].loss.targets, Y)


def centred(theta):
    W = theta.reshape(-1, 3)
    return W - W.mean(axis=1, keepdims=True)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("loss", CONVEX)
def test_minima_of_weighted_rows_are_those_of_repeated_ones(loss, sparse):
    y, outputs = targets_of(loss), 3 if loss == "softmax" else 1
    how = {"loss": loss, "l2": 0.1, "intercept": True, "outputs": outputs}
    matrix, many = X, repeated(X, y)
    if sparse:
        matrix, many = csr_array(X), (csr_array(many[0]), many[1])
    found = solve(Problem(matrix, y, weights=TIMES / TIMES.mean(), **how))
    expected = solve(Problem(*many, **how))
    assert found.value == pytest.approx(expected.value, rel=1e-12)
    assert found.bound is not None
    assert found.bound < 1e-9
    if loss == "softmax":  # which does not change where all intercepts do
        found, expected = (replace(each, theta=centred(each.theta)) for each in (found, expected))
    np.testing.assert_allclose(found.theta, expected.theta, rtol=0, atol=1e-6)
    one, other = found.constants, expected.constants
    for name in ("smoothness", "strong_convexity", "local_smoothness", "local_strong_convexity"):
        values = [np.nan if value is None else value for value in (getattr(one, name), getattr(other, name))]
        assert values[0] == pytest.approx(values[1], rel=1e-6, nan_ok=True)


def test_minima_are_those_of_scikit_learn(tmp_path):
    l2, reference = 0.02, {"optimum": True}
    how = {"reference": reference, "epochs": 1}
    results = run(tmp_path / "a", (X, Y, OWN), problem={"loss": "logistic", "intercept": True, "l2": l2}, **how)
    model = LogisticRegression(C=1 / (l2 * OWN.sum()), tol=1e-12, max_iter=10_000).fit(X, Y, sample_weight=OWN)
    (found,) = results.optima["problem"]
    theta = results.optimal_parameters(found, l2)
    np.testing.assert_allclose(theta, np.append(model.coef_, model.intercept_), atol=1e-6)
    assert (results.curves["gap"] > 0).all()
    x, y = rows("squared")
    results = run(tmp_path / "b", (x, y, OWN), problem={"loss": "squared", "intercept": True, "l2": l2}, **how)
    model = Ridge(alpha=l2 * OWN.sum(), solver="cholesky").fit(x, y, sample_weight=OWN)
    (found,) = results.optima["problem"]
    theta = results.optimal_parameters(found, l2)
    np.testing.assert_allclose(theta, np.append(model.coef_, model.intercept_), atol=1e-10)


# --- where weights come from ------------------------------------------------------------------------------------------

TABLE = pd.DataFrame(X, columns=list("abcde")).assign(y=Y, w=OWN)


@pytest.mark.parametrize("suffix", ["csv", "parquet", "npz", "lists.parquet"])
def test_weights_are_a_column_that_is_no_feature(tmp_path, suffix):
    file = tmp_path / f"rows.{suffix}"
    if suffix == "csv":
        TABLE.to_csv(file, index=False)
    elif suffix == "npz":
        np.savez(file, X=X, y=Y, w=OWN)
    elif suffix == "parquet":
        TABLE.to_parquet(file)
    else:
        lists = {"indices": [list(range(5))] * N, "values": X.tolist(), "y": Y, "w": OWN}
        pd.DataFrame(lists).to_parquet(file)
    dataset = load(Source(path=str(file), target=None if suffix == "npz" else "y", weights="w"))
    np.testing.assert_array_equal(dataset.weights, OWN)
    assert dataset.X.shape == X.shape
    data = prepare(dataset, targets="binary", validation=0.25)
    held = held_out(N, 0.25, 0)
    for found, at in ((data.weights_validation, held), (data.weights, np.delete(np.arange(N), held))):
        np.testing.assert_allclose(found, OWN[at] / OWN[at].mean(), rtol=1e-15)


def test_a_column_and_an_array_are_one_study(tmp_path):
    TABLE.to_csv(tmp_path / "rows.csv", index=False)
    problem = {"loss": "logistic", "path": str(tmp_path / "rows.csv"), "target": "y", "weights": "w", "name": "p"}
    by_file = run(tmp_path / "file", problem=problem)
    study = study_of(problem={"loss": "logistic", "name": "p"})
    frame = TABLE[list("abcde")]
    by_array = fastgd.run(study, tmp_path / "array", data=(frame, Y), weights=TABLE["w"], progress=False)
    assert by_file.trials["trial_id"].tolist() == by_array.trials["trial_id"].tolist()
    problem |= {"class_weight": {"0": 1.0, "1": 2.5}}
    study = study_of(problem=problem)
    assert fastgd.Study(**from_toml(study.to_toml())) == study


def ids(*data, **problem):
    study = study_of(problem={"loss": "logistic", **problem})
    return make_plan(study, load_data(study, data, lambda _: None)).table["trial_id"].tolist()


def test_trials_are_named_by_their_weights():
    names = [
        ids(X, Y), ids(X, Y, OWN), ids(X, Y, OWN[::-1]), ids(X, Y, class_weight="balanced"),
        ids(X, Y, class_weight={"1": 2}), ids(X, Y, OWN, class_weight={"1": 2}),
    ]  # fmt: skip
    assert len(set(map(tuple, names))) == len(names)
    assert ids(X, Y, class_weight={1: 2}) == ids(X, Y, class_weight={"1": 2.0})


def test_models_and_minima_need_the_weights_again(tmp_path):
    results = run(tmp_path / "r", (X, Y, OWN), record={"parameters": "all"}, epochs=1)
    trial = results.trials["trial_id"].iloc[0]
    assert results.model(trial, data=(X, Y, OWN)).predict(X).shape == (N,)
    assert len(fastgd.optimum(results, (X, Y, OWN), progress=False)) == 1
    with pytest.raises(InputError, match="they have changed"):
        results.model(trial, data=(X, Y))
    study = study_of(record={"parameters": "all"}, epochs=1)
    best = fastgd.fit(study, tmp_path / "r", data=(X, Y), weights=OWN, as_trained=True, progress=False)
    np.testing.assert_array_equal(best.predict(X), results.best_model(data=(X, Y, OWN), progress=False).predict(X))
    assert 'fastgd.run("study.toml", out="r", data=(X, y, weights))' in [line for line, _ in commands(results)]


# --- weights of classes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", ["balanced", {"no": 1, "yes": 4}, {"yes": 4}])
def test_classes_weigh_as_in_scikit_learn(given):
    labels = np.where(Y > 0, "yes", "no")
    data = prepare(from_arrays(X, labels, weights=OWN), targets="binary", class_weight=given)
    theirs = {"no": 1, **given} if isinstance(given, dict) else given
    expected = OWN * compute_sample_weight(theirs, labels)
    np.testing.assert_allclose(data.weights, expected / expected.mean(), rtol=1e-14)


def test_labels_that_become_one_class_share_a_weight():
    labels = np.array(["a", "b", "c"])[CLASSES]
    how = {"targets": "real", "positive": "a"}
    data = prepare(from_arrays(X, labels), class_weight={"b": 2, "c": 2}, **how)
    np.testing.assert_allclose(data.weights * np.mean(np.where(labels == "a", 1, 2)), np.where(labels == "a", 1, 2))
    with pytest.raises(InputError, match=r"one class, as positive makes them, need one class_weight: 'b': 2, 'c': 1$"):
        prepare(from_arrays(X, labels), class_weight={"b": 2}, **how)


def test_held_out_rows_have_the_weights_of_the_training_rows_classes():
    other = from_arrays(X[:10], np.append(np.ones(9), 0.0), "other")
    data = prepare(from_arrays(X, Y), targets="binary", class_weight="balanced", validation=other)
    factors = N / (2 * np.bincount(Y.astype(int)))
    expected = factors[other.y.astype(int)]
    np.testing.assert_allclose(data.weights_validation, expected / expected.mean(), rtol=1e-14)


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.where(np.arange(N) == 6, -1.0, 1.0), "arrays: row 7, weights: found -1; a weight is a finite number >= 0"),
        (np.where(np.arange(N) == 6, np.nan, 1.0), "arrays: row 7, weights: found nan"),
        (np.ones(N - 1), r"arrays: X has 130 rows and weights 129$"),
        (np.ones((N, 2)), r"weights must hold one number a row, \(n,\)"),
        (["a"] * N, "weights must hold one number a row"),
        (np.zeros(N), "arrays: the weights of all training rows are 0"),
    ],
)
def test_weights_that_are_none(weights, message):
    with pytest.raises(InputError, match=message):
        prepare(from_arrays(X, Y, weights=weights), targets="binary")


def test_columns_of_weights_that_are_none(tmp_path):
    file = tmp_path / "rows.csv"
    TABLE.assign(w=np.where(np.arange(N) == 6, -2.0, 1.0)).to_csv(file, index=False)
    with pytest.raises(InputError, match=r"line 8, column 'w': found -2; a weight is"):
        load(Source(path=str(file), target="y", weights="w"))
    with pytest.raises(InputError, match=r"there is no column 'v'"):
        load(Source(path=str(file), target="y", weights="v"))
    np.savez(tmp_path / "rows.npz", X=X, y=Y)
    with pytest.raises(InputError, match=r"no array 'w': found X, y"):
        load(Source(path=str(tmp_path / "rows.npz"), weights="w"))


def test_rows_held_out_need_weights_too():
    with pytest.raises(InputError, match="other: rows have no weights, and those of arrays have; both need them"):
        prepare(from_arrays(X, Y, weights=OWN), targets="binary", validation=from_arrays(X, Y, "other"))


@pytest.mark.parametrize("given", ["weights", "weights_validation"])
def test_rows_without_weights_beside_weighted_ones_weigh_1(given):
    """As scikit-learn's faces ask for: training rows with weights are judged by held-out rows that count alike."""
    plain = prepare(from_arrays(X, Y), targets="binary", validation=from_arrays(X[:9], Y[:9], "other"))
    weights = np.full(len(plain.y if given == "weights" else plain.y_validation), 1.0)
    data = replace(plain, **{given: weights})
    for numbers, y in ((data.y_and_weights, plain.y), (data.held_y_and_weights, plain.y_validation)):
        np.testing.assert_array_equal(numbers, np.column_stack([y, np.ones(len(y))]))


@pytest.mark.parametrize(
    ("class_weight", "y", "message"),
    [
        ({"2": 1}, Y, r"no row has the label class_weight\.2; labels: 0, 1"),
        ({"1": 1, "1.0": 2}, Y, "class_weight names the label 1.0 twice"),
        ({"1": 0, "0": 0}, Y, "the weights of all training rows are 0"),
    ],
)
def test_class_weights_that_are_none(class_weight, y, message):
    with pytest.raises(InputError, match=message):
        prepare(from_arrays(X, y), targets="binary", class_weight=class_weight)


def test_class_weights_of_numbers_are_refused():
    with pytest.raises(InputError, match=r"class_weight is for classes, and row 1 has the target 0\.3; weights are"):
        prepare(from_arrays(X, np.full(N, 0.3)), targets="unit", class_weight="balanced")
    classes, numbers = from_arrays(X, np.arange(N) % 2), from_arrays(X, np.full(N, 0.7))
    with pytest.raises(InputError, match=r"class_weight is for classes, and row 1 has the target 0\.7; weights are"):
        prepare(classes, targets="unit", class_weight="balanced", validation=numbers)


def test_a_class_without_training_rows_has_no_balanced_weight():
    labels, held = np.zeros(N), held_out(N, 0.1, 0)
    labels[held[0]], labels[np.delete(np.arange(N), held)[:9]] = 2, 1
    with pytest.raises(
        InputError, match=r"has the label 2\.0, which no training row has: 'balanced' gives it no class_"
    ):
        prepare(from_arrays(X, labels), targets="classes", class_weight="balanced", validation=0.1)


@pytest.mark.parametrize(
    ("problem", "message"),
    [
        ({"loss": "squared", "class_weight": "balanced"}, r"problem\.class_weight .* is a loss of numbers"),
        ({"loss": "logistic", "class_weight": {}}, r"class_weight must be 'balanced', or a table of labels"),
        ({"loss": "logistic", "class_weight": {"a": -1}}, r"class_weight must be 'balanced', or a table of labels"),
        (
            {"loss": "logistic", "weights": "w"},
            r"weights is for \.csv, \.parquet, \.arrow and \.npz files; arrays have those",
        ),
        (
            {"loss": "logistic", "path": "a.svm", "weights": "w"},
            r"weights is for \.csv, \.parquet, \.arrow and \.npz files",
        ),
        ({"loss": "logistic", "path": "a.csv", "target": "y", "weights": "y"}, r"weights is the target, too"),
    ],
)
def test_studies_that_ask_for_what_is_not_there(problem, message):
    with pytest.raises(InputError, match=message):
        study_of(problem=problem)


def test_weights_without_arrays_are_refused():
    with pytest.raises(InputError, match=r"weights go with data=\(X, y\), and those of files are a column"):
        fastgd.run(study_of(problem={"loss": "logistic", "dataset": "breast_cancer"}), weights=OWN)
    with pytest.raises(InputError, match="these have a third array already"):
        fastgd.run(study_of(), data=(X, Y, OWN), weights=OWN)
