"""Folds: orders over shared rows, with the bits that a fold's rows have alone, ranked as in cross-validation."""

import tomllib
import warnings

import numpy as np
import pandas as pd
import pytest
from cohorts import HALVES, PARTS, SINGLE, SMALL, make_cohort, pool
from sklearn import model_selection
from sklearn.datasets import load_breast_cancer
from small_studies import Log, rows, run, study_of
from sparse_cohorts import pair, problem

import fastgd
from fastgd import InputError
from fastgd.cli.answers.rankings import ranking_cells, remarks
from fastgd.datasets import FoldKeys, Source, from_arrays, given_folds, load, make_folds, prepare, prepare_folds
from fastgd.datasets.csr import from_dense
from fastgd.engine.network.model import Network
from fastgd.engine.rows.guesses import Guesses
from fastgd.engine.shapes import Kernel
from fastgd.optimizers.line_search import Armijo
from fastgd.plan.planner import make_plan
from fastgd.problems import LOSSES
from fastgd.problems.activations import ACTIVATIONS
from fastgd.runs.data.loading import load_data
from fastgd.runs.reporting.events import Warning_

N, D = 150, 7
X, Y = rows("logistic", N, D)
SOME = np.sort(np.random.default_rng(1).permutation(N)[:100]).astype(np.int32)
REST = np.setdiff1d(np.arange(N), SOME).astype(np.int32)
LANES = [{"lr": lr} for lr in np.geomspace(0.01, 0.3, 5)]


# --- the engine -------------------------------------------------------------------------------------------------------

WAYS = {
    "tile": {"kernel": SMALL},
    "rows one by one": {"kernel": SMALL, "batch_size": 1, "optimizer": "sgd"},
    "sequential": {"kernel": SMALL, "shuffled": False},
    "single": {"kernel": SINGLE},
    "single, rows one by one": {"kernel": SINGLE, "batch_size": 1},
    "halves": {"kernel": HALVES},
    "parts": {"kernel": PARTS, "batch_size": 100, "shuffled": False},
    "gram of batches": {"kernel": Kernel(4, gram=True), "loss": "squared"},
    "gram of all rows": {"kernel": Kernel(4, gram=True), "loss": "squared", "batch_size": 100, "shuffled": False},
    "svrg": {"kernel": SMALL, "estimator": "svrg"},
    "saga": {"kernel": SMALL, "estimator": "saga"},
    "line search": {"kernel": PARTS, "batch_size": 100, "shuffled": False, "line_search": Armijo()},
    "network": {"kernel": Kernel(8, network=True), "model": Network((4,), ACTIVATIONS["tanh"]), "init": "glorot"},
}


def state_of(cohort, train, held):
    """What a cohort computes: steps, exact sums over its rows and over held-out rows, and gradient norms."""
    cohort.advance(12)
    measured = cohort.measure([train, held])
    return np.vstack([cohort.parameters().T, *measured.sums, cohort.gradient_norms()])


@pytest.mark.parametrize("how", WAYS.values(), ids=WAYS)
def test_some_rows_have_the_bits_that_they_have_alone(how):
    given = {"batch_size": 16, "init": 0.3, "l2": 1e-3, "optimizer": "momentum"} | how
    loss = [LOSSES[given.get("loss", "logistic")]]
    among = make_cohort(X, Y, LANES, rows=SOME, **given)
    alone = make_cohort(X[SOME], Y[SOME], LANES, **given)
    found = state_of(among, (X, Y, loss, SOME), (X, Y, loss, REST))
    expected = state_of(alone, (X[SOME], Y[SOME], loss), (X[REST], Y[REST], loss))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("batch_size", [1, 8])
def test_so_have_sparse_rows(batch_size):
    Z, y = problem()
    some = np.sort(np.random.default_rng(1).permutation(len(y))[:200]).astype(np.int32)
    _, alone = pair("adagrad", data=(Z[some], y[some]), batch_size=batch_size)
    among = type(alone)(alone.spec, from_dense(Z), y, alone.threads, rows=some)
    loss = [LOSSES["logistic"]]
    found = state_of(among, (from_dense(Z), y, loss, some), (from_dense(Z), y, loss, some[:50]))
    expected = state_of(alone, (from_dense(Z[some]), y[some], loss), (from_dense(Z[some[:50]]), y[some[:50]], loss))
    np.testing.assert_array_equal(found, expected)


def test_so_have_the_points_of_a_baseline():
    study = study_of(optimizer={"name": "random_search", "low": -1.0, "high": 1.0}, epochs=None, steps=30)
    unit = make_plan(study, load_data(study, (X[SOME], Y[SOME]), lambda _: None)).units[0]
    among = Guesses(unit.spec, X, Y, pool(2), unit.steps, SOME)
    alone = Guesses(unit.spec, X[SOME], Y[SOME], pool(2), unit.steps)
    for cohort in (among, alone):
        cohort.advance(20)
    np.testing.assert_array_equal(among.parameters(), alone.parameters())


# --- the rows of folds ------------------------------------------------------------------------------------------------

SPLITTERS = {
    "kfold": ({"folds": 4}, model_selection.KFold(4, shuffle=True, random_state=0)),
    "in order": ({"folds": 4, "shuffle": False}, model_selection.KFold(4)),
    "repeated": (
        {"folds": 3, "repeats": 2, "seed": 5},
        model_selection.RepeatedKFold(n_splits=3, n_repeats=2, random_state=5),
    ),
    "stratified": (
        {"folds": 4, "kind": "stratified", "seed": 2},
        model_selection.StratifiedKFold(4, shuffle=True, random_state=2),
    ),
    "time": ({"folds": 4, "kind": "time"}, model_selection.TimeSeriesSplit(4)),
}


@pytest.mark.parametrize(("keys", "splitter"), SPLITTERS.values(), ids=SPLITTERS)
def test_folds_are_those_of_scikit_learn(keys, splitter):
    found = make_folds(from_arrays(X, Y), FoldKeys(**keys))
    assert len(found) == FoldKeys(**keys).count
    for fold, (train, held) in zip(found, splitter.split(X, Y), strict=True):
        np.testing.assert_array_equal(fold.train, np.sort(train))
        np.testing.assert_array_equal(fold.held, np.sort(held))


def test_a_class_that_is_rarer_than_the_folds_is_told(tmp_path):
    y = np.array(["a", "b"] * 20 + ["c"] * 3)
    data, log = (np.random.default_rng(0).normal(size=(len(y), 2)), y), Log()
    problem = {"loss": "softmax", "validation": {"folds": 5, "kind": "stratified"}}
    with warnings.catch_warnings(action="error"):
        run(tmp_path / "few", data=data, log=log, problem=problem, batch_size=8)
    text = "arrays: the label 'c' has 3 rows, fewer than the 5 folds: some hold out none of them"
    assert text in [note.message for note in log.of(Warning_)]
    once = data[0][:-2], y[:-2]
    with pytest.raises(InputError, match=r"the label 'c' has 1 row, and the fold that holds it out would"):
        run(tmp_path / "one", data=once, problem=problem)
    run(tmp_path / "two", data=once, problem=problem | {"loss": "logistic", "positive": "a"}, batch_size=8)


@pytest.mark.parametrize("kind", ["csv", "parquet", "feather", "npz"])
def test_no_two_folds_share_a_group(tmp_path, kind):
    groups, path = np.repeat(["a", "b", "c", "d", "e"], 30), tmp_path / f"rows.{kind}"
    table = pd.DataFrame(X, columns=list("abcdefg")).assign(who=groups, y=Y)
    if kind == "npz":
        np.savez(path, X=X, y=Y, who=groups)
    elif kind == "csv":
        table.to_csv(path, index=False)
    else:
        getattr(table, f"to_{kind}")(path)
    target = {} if kind == "npz" else {"target": "y"}
    validation = {"folds": 3, "kind": "group", "group": "who"}
    study = study_of(problem={"loss": "logistic", "path": str(path), "validation": validation, **target})
    data = load_data(study, None, lambda _: None)
    assert data[0].X.shape == (N, D)
    for fold, (train, held) in zip(data, model_selection.GroupKFold(3).split(X, Y, groups), strict=True):
        assert not set(groups[fold.rows]) & set(groups[fold.validation_rows])
        np.testing.assert_array_equal(fold.rows, train)
        np.testing.assert_array_equal(fold.validation_rows, held)


def test_groups_of_lists(tmp_path):
    columns = {"indices": [[0, 1], [1], [0], [1]], "values": [[1.0, 2.0], [1.0], [3.0], [4.0]], "y": [0, 1, 0, 1]}
    path = tmp_path / "rows.parquet"
    pd.DataFrame(columns | {"w": [1.0, 2.0, 1.0, 1.0], "who": ["a", "a", "b", "b"]}).to_parquet(path)
    found = load(Source(path=str(path), target="y", weights="w", group="who"))
    assert found.groups.tolist() == [0, 0, 1, 1]
    assert found.weights.tolist() == [1, 2, 1, 1]


def test_groups_that_are_not_there_are_refused(tmp_path):
    table = pd.DataFrame(X[:9], columns=list("abcdefg")).assign(who=["a", None, *"bbbbbbb"], y=Y[:9])
    table.to_csv(tmp_path / "rows.csv", index=False)
    problem = {"loss": "logistic", "path": str(tmp_path / "rows.csv"), "target": "y"}

    def load(group, **changes):
        validation = {"folds": 2, "kind": "group", "group": group}
        load_data(study_of(problem={**problem, "validation": validation, **changes}), None, lambda _: None)

    with pytest.raises(InputError, match="line 3, column 'who': the group is missing"):
        load("who")
    with pytest.raises(InputError, match="there is no column 'whom'; did you mean 'who'"):
        load("whom")
    with pytest.raises(InputError, match="is the target, too"):
        load("y")
    with pytest.raises(InputError, match="rows have no groups 'who'"):
        load("who", dataset="breast_cancer", path=None, target=None)


def test_folds_share_their_rows_and_know_their_own():
    Z = X * [1, 1, 1, 1, 1, 1, 0] + 5  # one column is constant
    dataset = from_arrays(np.ascontiguousarray(Z), Y)
    folds = given_folds([(SOME, REST), (REST, SOME)], N, 2)
    one, other = prepare_folds(dataset, folds, targets="binary")
    assert one.X is other.X is one.X_validation is dataset.X
    assert (one.n, one.held_out, other.n) == (100, 50, 50)
    alone = prepare(from_arrays(Z[SOME], Y[SOME]), targets="binary")
    np.testing.assert_array_equal(one.training_targets, alone.y)
    np.testing.assert_array_equal(one.frequencies, alone.frequencies)
    assert one.fingerprint != other.fingerprint


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_folds_are_standardised_by_their_own_training_rows(dtype, sparse):
    how = {"targets": "binary", "standardize": True, "dtype": dtype, "layout": "sparse" if sparse else "dense"}
    (fold,) = prepare_folds(from_arrays(X * 3 + 7, Y), given_folds([(SOME, REST)], N, 1), **how)
    alone = prepare(from_arrays(X[SOME] * 3 + 7, Y[SOME]), **how)
    found = fold.X.copied()
    expected = alone.X.toarray() if sparse else alone.X
    np.testing.assert_array_equal((found.toarray() if sparse else found)[SOME], expected)
    assert fold.notes == alone.notes
    assert fold.nonzeros == alone.nonzeros


# --- studies ----------------------------------------------------------------------------------------------------------

PROBLEM = {"dataset": "breast_cancer", "loss": "logistic", "intercept": True, "standardize": True}
FOLDS = {"folds": 3, "kind": "stratified", "seed": 1}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    path = tmp_path_factory.mktemp("folds") / "r"
    problem = {**PROBLEM, "validation": FOLDS}
    return run(path, problem=problem, seed=[0, 1], record={"parameters": "all"})


def test_trials_of_a_fold_have_the_bits_of_its_rows_alone(results, tmp_path):
    A, b = load_breast_cancer(return_X_y=True)
    splitter = model_selection.StratifiedKFold(3, shuffle=True, random_state=1)
    trials = results.trials
    assert trials.groupby(["fold", "seed"]).size().tolist() == [4] * 6
    assert (trials["split_seed"] == trials["fold"]).all()
    for number, (train, _) in enumerate(splitter.split(A, b)):
        problem = {"loss": "logistic", "intercept": True, "standardize": True}
        alone = run(tmp_path / str(number), data=(A[train], b[train]), problem=problem, seed=[0, 1]).trials
        own = trials[trials["fold"] == number]
        pd.testing.assert_series_equal(
            own.set_index(["lr", "seed"])["final_loss"].sort_index(),
            alone.set_index(["lr", "seed"])["final_loss"].sort_index(),
            check_exact=True,
        )


def test_configurations_are_ranked_by_the_mean_over_folds_and_seeds(results):
    groups = results.trials.groupby("lr")["final_validation_loss"]
    ranking = results.best().set_index("lr")
    np.testing.assert_allclose(ranking["final_validation_loss"], groups.mean()[ranking.index])
    np.testing.assert_allclose(ranking["final_validation_loss_std"], groups.std(ddof=0)[ranking.index])
    assert ranking["final_validation_loss"].is_monotonic_increasing
    assert (ranking["folds"] == 3).all()
    assert (ranking["seeds"] == 2).all()


def test_a_budget_counts_the_means_by_which_configurations_are_ranked(results):
    least = results.best()["final_validation_loss"].iloc[0]
    assert results.budget(replacement=False)["expected_final_validation_loss"].iloc[-1] == pytest.approx(least)


def test_a_model_predicts_the_rows_that_its_fold_held_out(results):
    A, b = load_breast_cancer(return_X_y=True)
    folds = make_folds(from_arrays(A, b), FoldKeys(**FOLDS))
    for _, trial in results.trials[results.trials["lr"] == 0.01].iterrows():
        held = folds[int(trial["fold"])].held
        z = results.model(trial["trial_id"]).margins(A[held])
        assert (np.logaddexp(0, z) - b[held] * z).mean() == pytest.approx(trial["final_validation_loss"])


def test_given_folds_are_those_of_the_same_splitter(tmp_path):
    data, keys = rows(), {"folds": 3, "kind": "kfold", "shuffle": False}
    problem = {"loss": "logistic", "intercept": True}
    by_keys = run(tmp_path / "keys", data=data, problem={**problem, "validation": keys})
    study = study_of(problem={**problem, "validation": {"folds": 3, "kind": "given"}})
    folds = list(model_selection.KFold(3).split(data[0]))
    given = fastgd.run(study, tmp_path / "given", data=data, folds=folds)
    assert set(given.trials["trial_id"]) == set(by_keys.trials["trial_id"])


def test_a_configuration_that_diverges_on_one_fold_ranks_last(tmp_path):
    A, b = rows()
    A = A.copy()
    A[:40] *= 1e6  # the first fold holds out what the others diverge on
    problem = {"loss": "squared", "validation": {"folds": 3, "shuffle": False}}
    optimizer = {"name": "sgd", "lr": [1e-16, 0.01]}
    ranking = run(tmp_path, data=(A, b), problem=problem, optimizer=optimizer).best()
    assert ranking["lr"].tolist() == [1e-16, 0.01]
    assert ranking["diverged"].tolist() == [0, 2]
    assert np.isinf(ranking["final_validation_loss"][1])
    assert np.isnan(ranking["final_validation_loss_std"][1])


def test_a_study_with_folds_is_written_and_read_back():
    study = study_of(problem={**PROBLEM, "validation": FOLDS})
    again = fastgd.Study(**tomllib.loads(study.to_toml()))
    assert again == study
    assert len(again.splits) == 3


REFUSED = {
    "group is missing": ({"folds": 3, "kind": "group"}, "needs the column of the groups"),
    "group of another kind": ({"folds": 3, "group": "g"}, 'group goes with kind = "group"; found kind = "kfold"'),
    "shuffled time": ({"folds": 3, "kind": "time", "shuffle": True}, "shuffle goes with the kinds"),
    "seed without a shuffle": ({"folds": 3, "shuffle": False, "seed": 4}, "seed = 4 goes with rows that are shuffled"),
    "repeats without a shuffle": ({"folds": 3, "kind": "time", "repeats": 2}, "repeats = 2 goes with"),
    "one fold": ({"folds": 1}, "folds"),
    "another kind": ({"folds": 3, "kind": "loo"}, "kind"),
    "another key": ({"folds": 3, "shufle": True}, "shuffle"),
}


@pytest.mark.parametrize(("keys", "message"), REFUSED.values(), ids=REFUSED)
def test_keys_that_contradict_each_other_are_refused(keys, message):
    with pytest.raises(InputError, match=message):
        study_of(problem={**PROBLEM, "validation": keys})


def test_folds_that_cannot_be_made_are_refused(tmp_path):
    with pytest.raises(InputError, match="200 folds of the kind 'kfold'"):
        run(tmp_path / "r", problem={"loss": "logistic", "validation": {"folds": 200}})
    given = study_of(problem={"loss": "logistic", "validation": {"folds": 2, "kind": "given"}})
    for folds, message in [
        (None, "give them, as folds="),
        (model_selection.KFold(2), "as splitter.split"),
        ([(SOME, REST)], "2 pairs"),
        ([(SOME, SOME), (REST, SOME)], "on both sides"),
        ([(SOME, REST), (SOME, [N])], "has the row 150"),
        ([(SOME, REST), (SOME, [1.5])], "indices of rows"),
    ]:
        with pytest.raises(InputError, match=message):
            fastgd.run(given, tmp_path / "g", data=(X, Y), folds=folds)
    with pytest.raises(InputError, match="no problem asks for them"):
        fastgd.run(study_of(problem={"loss": "logistic"}), tmp_path / "h", data=(X, Y), folds=[(SOME, REST)] * 2)
    assert not any(tmp_path.iterdir())


def test_a_surface_is_over_the_rows_of_its_fold(tmp_path):
    folded = {"loss": "logistic", "intercept": True, "validation": {"folds": 3}}
    found = run(tmp_path, problem=folded, record={"parameters": "all"})
    made = fastgd.surface(found, data=rows(), points=5, progress=False)
    trial = found.trials.set_index("trial_id").loc[made.info.trials[0]]
    assert made.loss[2, 2] == pytest.approx(trial["final_loss"], rel=1e-12)


def test_the_command_line_shows_the_spread_over_folds(results):
    ranking = results.best()
    cells = ranking_cells(results, ranking, ranking.head(2), "two")
    assert {"final validation loss std", "range over seeds and folds", "folds", "seeds"} <= {
        column.replace("_", " ") for column in cells.columns
    }
    assert "ranked by the final validation loss, the mean of 2 seeds x 3 folds" in remarks(results, ranking)


@pytest.mark.parametrize("batch_size", [32, "full"])
def test_folds_with_more_and_fewer_rows_are_of_one_configuration(tmp_path, batch_size):
    """What follows from how many rows train, as the number of steps and a full batch, tells no two apart."""
    problem = {"loss": "logistic", "dataset": "breast_cancer", "standardize": True}
    study = fastgd.Study(
        name="time",
        epochs=2,
        batch_size=batch_size,
        problem=problem | {"validation": {"folds": 3, "kind": "time"}},
        optimizer={"name": "adam", "lr": [0.01, 0.1]},
    )
    results = fastgd.run(study, tmp_path, progress=False)
    ranking = results.best().set_index("lr")
    means = results.trials.groupby("lr")["final_validation_loss"].mean()
    assert ranking["folds"].tolist() == [3, 3]
    np.testing.assert_allclose(ranking["final_validation_loss"], means[ranking.index])
