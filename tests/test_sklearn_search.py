"""The grid search against scikit-learn's own, which trains the same candidates one by one."""

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix
from scipy.stats import loguniform
from sklearn import config_context
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.exceptions import FitFailedWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, make_scorer
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    ParameterGrid,
    ParameterSampler,
    RandomizedSearchCV,
    ShuffleSplit,
)
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from fastgd import InputError
from fastgd.sklearn import GDClassifier, GDRegressor, GDSearchCV

SHORT = {"max_iter": 3, "tol": None, "random_state": 0}
TIMES = ("mean_fit_time", "std_fit_time", "mean_score_time", "std_score_time")
GRID = {"eta0": [0.001, 0.01, 0.1], "alpha": [0.0, 1e-3, 1e-1]}
CLASSIFIER = GDClassifier(**SHORT)


@pytest.fixture(scope="module")
def cancer():
    X, y = load_breast_cancer(return_X_y=True)
    return StandardScaler().fit_transform(X)[::3], y[::3]


@pytest.fixture(scope="module")
def iris():
    X, y = load_iris(return_X_y=True)
    return StandardScaler().fit_transform(X), np.array(["a", "b", "c"])[y]


def same(ours, theirs):
    """Assert that a search found what scikit-learn's finds."""
    assert list(ours.cv_results_) == list(theirs.cv_results_)
    for key, values in theirs.cv_results_.items():
        found = ours.cv_results_[key]
        if key in TIMES:
            assert found.shape == values.shape
        elif np.asarray(values).dtype.kind == "f":
            np.testing.assert_allclose(found, values, rtol=1e-9, atol=1e-12, err_msg=key)
        else:
            assert np.all(found == values), key
        assert type(found) is type(values)
    for name in ("best_index_", "best_params_", "n_splits_", "multimetric_"):
        if hasattr(theirs, name):
            assert getattr(ours, name) == getattr(theirs, name), name
    assert {name for name in vars(theirs) if name.endswith("_")} == {
        name for name in vars(ours) if name.endswith("_") and name != "results_"
    }


def both(estimator, grid, X, y, *, cv=3, fit=None, **options):
    """Return both searches over the same rows."""
    cv = list(cv.split(X, y, (fit or {}).get("groups"))) if hasattr(cv, "split") else cv
    fit = {key: value for key, value in (fit or {}).items() if key != "groups"}
    found = [kind(estimator, grid, cv=cv, **options) for kind in (GDSearchCV, GridSearchCV)]
    for search in found:
        search.fit(X, y, **fit)
    return found


SCORINGS = {
    "default": None,
    "measured": "accuracy",
    "log loss": "neg_log_loss",
    "predicted": "f1_macro",
    "several": ["accuracy", "neg_log_loss"],
    "mixed": {"f1": make_scorer(f1_score, average="macro"), "hits": "accuracy"},
}


@pytest.mark.parametrize("scoring", SCORINGS.values(), ids=SCORINGS)
def test_finds_what_grid_search_finds(iris, scoring):
    refit = next(iter(scoring)) if isinstance(scoring, list | dict) else True
    ours, theirs = both(CLASSIFIER, GRID, *iris, scoring=scoring, refit=refit, return_train_score=True)
    same(ours, theirs)
    assert np.array_equal(ours.best_estimator_.coef_, theirs.best_estimator_.coef_)
    assert ours.score(*iris) == theirs.score(*iris)
    assert (ours.predict(iris[0]) == theirs.predict(iris[0])).all()


def test_any_parameters_are_searched(cancer):
    grids = [
        {"optimizer": ["adam", "sgd"], "eta0": [0.01, 0.1], "learning_rate": ["constant", "cosine"]},
        {"batch_size": [16, "full"], "penalty": ["l1", "l2", None]},
        {"optimizer": ["momentum"], "optimizer_params": [{"momentum": 0.5}, {"momentum": 0.9}]},
        {"loss": ["hinge"], "class_weight": ["balanced"], "dtype": ["float32"], "max_iter": [2]},
        {"early_stopping": [True], "hidden": [(3,)]},
    ]
    same(*both(CLASSIFIER, grids, *cancer))


def test_one_against_all_others(iris):
    same(*both(GDClassifier(multi_class="ovr", **SHORT), {"eta0": [0.01, 0.1]}, *iris))


@pytest.mark.parametrize("scoring", [None, "neg_mean_squared_error", "neg_mean_absolute_error"])
def test_numbers(scoring):
    X, y = load_diabetes(return_X_y=True)
    y = (y - y.mean()) / y.std()
    grid = {"eta0": [0.01, 0.1], "alpha": [0.0, 0.1]}
    same(*both(GDRegressor(**SHORT), grid, X, y, scoring=scoring, return_train_score=True))
    same(*both(GDRegressor(**SHORT), grid, X, np.column_stack([y, y**2]), scoring=scoring))


def test_sparse_rows_groups_and_one_split(cancer):
    X, y = cancer
    grid, groups = {"eta0": [0.01, 0.1]}, np.arange(len(y)) % 7
    same(*both(CLASSIFIER, grid, csr_matrix(X), y))
    same(*both(CLASSIFIER, grid, X, y, cv=GroupKFold(3), fit={"groups": groups}))
    same(*both(CLASSIFIER, grid, X, y, cv=ShuffleSplit(1, random_state=0)))
    ours = GDSearchCV(CLASSIFIER, grid, cv=GroupKFold(3)).fit(X, y, groups=groups)
    assert ours.n_splits_ == 3


def test_folds_with_rows_of_one_kind(cancer, iris):
    X, y = cancer
    folds = [(np.r_[0:100], np.r_[100:190]), (np.r_[20:190], np.flatnonzero(y[:20]))]
    same(*both(CLASSIFIER, {"eta0": [0.01, 0.1]}, X, y, cv=folds))
    X, y = iris[0], np.r_[np.zeros(40), np.arange(110.0)]
    same(
        *both(
            GDRegressor(**SHORT),
            {"eta0": [0.01, 0.1]},
            X,
            y,
            cv=[(np.r_[30:150], np.r_[0:30]), (np.r_[0:99], np.r_[99:150])],
        )
    )


def test_folds_of_any_kind(cancer):
    X, y = cancer
    rng, rows = np.random.default_rng(0), np.arange(len(y))
    drawn = [rng.integers(0, len(y), len(y)) for _ in range(2)]
    grid = {"eta0": [0.01, 0.1]}
    for model in (CLASSIFIER, clone(CLASSIFIER).set_params(shuffle=False, batch_size=20)):
        same(*both(model, grid, X, y, cv=ShuffleSplit(2, random_state=0)))
        same(*both(model, grid, X, y, cv=[(train, np.setdiff1d(rows, train)) for train in drawn]))
        same(*both(model, grid, X, y, cv=[(rng.permutation(rows), rows[:50]), (rows[50:], rows[:50])]))
    from_the_end = [(rows[50:] - len(y), rows[:50]), (rows[50:], rows[:50] - len(y))]
    same(*both(CLASSIFIER, grid, X, y, cv=from_the_end, scoring="neg_log_loss"))
    for wrong in (len(y), -len(y) - 1):
        with pytest.raises(IndexError, match=f"{wrong} is out of bounds"):
            GDSearchCV(CLASSIFIER, grid, cv=[(rows[50:], np.r_[rows[:50], wrong])] * 2).fit(X, y)
    masks = [(rows % 3 != k, rows % 3 == k) for k in range(3)]
    ours = GDSearchCV(CLASSIFIER, grid, cv=masks).fit(X, y)
    same(ours, GridSearchCV(CLASSIFIER, grid, cv=[tuple(map(np.flatnonzero, pair)) for pair in masks]).fit(X, y))


def test_weights(iris):
    weights = np.random.default_rng(0).uniform(0.1, 2, len(iris[1]))
    same(*both(CLASSIFIER, {"eta0": [0.01, 0.1]}, *iris, fit={"sample_weight": weights}))


def test_a_class_that_a_fold_lacks(iris):
    X, y = iris
    folds = [(np.r_[0:90], np.r_[90:150]), (np.r_[30:150], np.r_[0:30])]
    same(*both(CLASSIFIER, {"eta0": [0.01, 0.1]}, X, y, cv=folds))


def test_draws_are_those_of_random_search(cancer):
    how = {"n_iter": 5, "random_state": 3, "cv": 2}
    space = {"eta0": loguniform(1e-3, 1e-1), "alpha": loguniform(1e-6, 1e-2), "optimizer": ["adam", "sgd"]}
    ours = GDSearchCV(CLASSIFIER, space, **how).fit(*cancer)
    same(ours, RandomizedSearchCV(CLASSIFIER, space, **how).fit(*cancer))


def test_lists_are_drawn_from_where_the_number_of_draws_is_given(cancer):
    grid = [{"eta0": [0.001, 0.01, 0.1], "alpha": [0.0, 1e-4]}, {"optimizer": ["sgd"], "eta0": [0.01, 0.1]}]
    for n_iter in (3, None):
        ours = GDSearchCV(CLASSIFIER, grid, n_iter=n_iter, random_state=1, cv=2).fit(*cancer)
        theirs = ParameterGrid(grid) if n_iter is None else ParameterSampler(grid, n_iter, random_state=1)
        assert ours.cv_results_["params"] == list(theirs)
    with pytest.warns(UserWarning, match="The total space of parameters 8 is smaller than n_iter=9"):
        assert len(GDSearchCV(CLASSIFIER, grid, n_iter=9, cv=2).fit(*cancer).cv_results_["params"]) == 8


class Counting(StandardScaler):
    """A scaler that counts how often it is fitted."""

    fitted = 0

    def fit(self, X, y=None, sample_weight=None):
        type(self).fitted += 1
        return super().fit(X, y, sample_weight)


def test_steps_are_fitted_once_for_each_split_and_setting(cancer):
    X, y = cancer
    pipeline = Pipeline([("scale", Counting()), ("model", CLASSIFIER)])
    grid = {"model__eta0": [0.001, 0.01, 0.1], "model__alpha": [0.0, 0.1], "scale__with_mean": [True, False]}
    ours = GDSearchCV(pipeline, grid, cv=3, refit=False)
    Counting.fitted = 0
    ours.fit(X * 3 + 1, y)
    assert Counting.fitted == 3 * 2
    same(ours, GridSearchCV(pipeline, grid, cv=3, refit=False).fit(X * 3 + 1, y))


def test_steps_may_be_searched(cancer):
    X, y = cancer
    pipeline = make_pipeline(StandardScaler(), CLASSIFIER).set_output(transform="pandas")
    grid = {"standardscaler": [MinMaxScaler(), "passthrough", StandardScaler()], "gdclassifier__eta0": [0.01, 0.1]}
    same(*both(pipeline, grid, pd.DataFrame(X).add_prefix("x"), y))


def whole_pipeline(estimator, X, y):
    """A scoring function that looks at more than predictions."""
    assert isinstance(estimator, Pipeline)
    return float(np.ptp(X)) + estimator.score(X, y)


def test_functions_see_pipelines_and_rows_as_they_are(cancer):
    pipeline = make_pipeline(StandardScaler(), CLASSIFIER)
    same(*both(pipeline, {"gdclassifier__eta0": [0.01, 0.1]}, *cancer, scoring=whole_pipeline))


def test_routes_metadata(cancer):
    X, y = cancer
    weights = np.random.default_rng(0).uniform(0.1, 2, len(y))
    with config_context(enable_metadata_routing=True):
        model = clone(CLASSIFIER).set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        for estimator, grid in (
            (model, {"eta0": [0.01, 0.1]}),
            (
                make_pipeline(Counting().set_fit_request(sample_weight=True), model),
                {"gdclassifier__eta0": [0.01, 0.1]},
            ),
        ):
            same(*both(estimator, grid, X, y, fit={"sample_weight": weights}))


def test_what_diverges_has_no_score(cancer):
    model, grid = GDClassifier(optimizer="sgd", alpha=1.0, **SHORT), {"eta0": [0.01, 1e6]}
    with pytest.warns(FitFailedWarning, match="3 fits failed out of a total of 6"), pytest.warns(match="non-finite"):
        search = GDSearchCV(model, grid, cv=3).fit(*cancer)
    assert np.isnan(search.cv_results_["mean_test_score"]).tolist() == [False, True]
    assert search.best_params_ == {"eta0": 0.01}
    with pytest.warns(FitFailedWarning):
        low = GDSearchCV(model, grid, cv=3, error_score=0.0).fit(*cancer)
    assert low.cv_results_["mean_test_score"][1] == 0
    with pytest.raises(ValueError, match="diverged"):
        GDSearchCV(model, grid, cv=3, error_score="raise").fit(*cancer)
    with pytest.warns(FitFailedWarning), pytest.warns(match="non-finite"):
        wrong = GDSearchCV(CLASSIFIER, {"eta0": [-1.0, 0.01]}, cv=3).fit(*cancer)
    assert np.isnan(wrong.cv_results_["mean_test_score"]).tolist() == [True, False]


def test_results_have_all_curves(cancer):
    search = GDSearchCV(CLASSIFIER, GRID, cv=3).fit(*cancer)
    trials, curves = search.results_.trials, search.results_.curves
    assert len(trials) == 27
    assert trials["fold"].value_counts().tolist() == [9, 9, 9]
    assert trials["cohort_lanes"].unique().tolist() == [9]  # all candidates share the passes over a fold
    assert curves.groupby("trial_id")["epoch"].max().eq(3).all()
    assert search.results_.parameters(trials["trial_id"].iloc[0]).shape == (31,)
    pipeline = make_pipeline(StandardScaler(), CLASSIFIER)
    grid = {"standardscaler__with_mean": [True, False], "gdclassifier__class_weight": [None, "balanced"]}
    trials = GDSearchCV(pipeline, grid, cv=3).fit(*cancer).results_.trials
    assert trials["trial_id"].is_unique
    alone = GDSearchCV(CLASSIFIER, GRID, cv=3, n_jobs=1).fit(*cancer)
    assert np.array_equal(alone.cv_results_["mean_test_score"], search.cv_results_["mean_test_score"])
    assert trials["fold"].value_counts().to_dict() == {0: 4, 1: 4, 2: 4}


def test_scores_need_no_curves(cancer):
    whole = GDSearchCV(CLASSIFIER, GRID, cv=3).fit(*cancer)
    scores = GDSearchCV(CLASSIFIER, GRID, cv=3, curves=False).fit(*cancer)
    assert np.array_equal(scores.cv_results_["mean_test_score"], whole.cv_results_["mean_test_score"])
    assert np.array_equal(scores.best_estimator_.coef_, whole.best_estimator_.coef_)
    assert scores.results_.curves.groupby("trial_id")["epoch"].apply(list).map(tuple).unique().tolist() == [(0, 3)]
    for watching, match in (({"tol": 1e-3}, "tol = 0.001"), ({"early_stopping": True}, "early_stopping = True")):
        model = clone(CLASSIFIER).set_params(**watching)
        with pytest.raises(InputError, match=f"curves = False: {match} watches the losses"):
            GDSearchCV(model, {"eta0": [0.01]}, cv=3, curves=False, error_score="raise").fit(*cancer)
    with pytest.raises(InputError, match="curves = False: halving = "):
        GDSearchCV(CLASSIFIER, GRID, cv=3, curves=False, halving={"factor": 3}).fit(*cancer)


def test_candidates_race(cancer):
    X, y = cancer
    model = GDClassifier(max_iter=9, tol=None, random_state=0)
    grid = {"eta0": np.geomspace(1e-4, 1e-1, 9).tolist()}
    whole = GDSearchCV(model, grid, cv=3, scoring="neg_log_loss").fit(X, y)
    race = GDSearchCV(model, grid, cv=3, scoring="neg_log_loss", halving={"factor": 3, "start": 1}).fit(X, y)
    epochs = race.cv_results_["n_resources"]
    assert sorted(epochs.tolist()) == [1] * 6 + [3] * 2 + [9]
    (best,) = np.flatnonzero(epochs == 9)
    assert race.best_index_ == best
    for key in ("mean_test_score", "split0_test_score"):  # what went on has the bits of what never waited
        assert race.cv_results_[key][best] == whole.cv_results_[key][best]
    curves = race.results_.curves
    first = curves[curves["epoch"] == 1].groupby("trial_id")["validation_loss"].first()
    trials = race.results_.trials.set_index("trial_id")
    means = first.groupby(trials["lr"]).mean()
    assert set(means.nsmallest(3).index) == set(trials.loc[trials["epochs"] > 1, "lr"])
    assert trials["status"].value_counts().to_dict() == {"retired": 24, "completed": 3}
    with pytest.raises(InputError, match="candidates of one race differ in"):
        GDSearchCV(model, {"batch_size": [8, 16]}, halving={}).fit(X, y)
    with pytest.raises(InputError, match="have to share rows"):
        GDSearchCV(make_pipeline(StandardScaler(), model), {}, halving={}).fit(X, y)


def test_the_best_of_a_race_may_have_stood_still_before_others():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 5))
    y = (X[:, 0] + rng.normal(size=300) > 0).astype(int)
    model = GDClassifier(max_iter=27, tol=1e-2, n_iter_no_change=3, random_state=0, batch_size=16)
    grid = {"eta0": np.geomspace(1e-3, 3e-1, 27).tolist()}
    halving = {"factor": 3, "start": 3}
    race = GDSearchCV(model, grid, cv=3, scoring="neg_log_loss", refit=False, halving=halving).fit(X, y)
    scores, epochs = race.cv_results_["mean_test_score"], race.cv_results_["n_resources"]
    lost = race.results_.trials.groupby("lr")["status"].agg(lambda own: (own == "retired").any()).to_numpy()
    assert race.best_index_ == np.where(lost, -np.inf, scores).argmax()
    assert epochs[race.best_index_] < epochs.max()


def test_rows_are_not_copied_for_folds(cancer, monkeypatch):
    import fastgd.sklearn.lanes as lanes

    seen = []
    run = lanes.run_units
    monkeypatch.setattr(lanes, "run_units", lambda units, data, *rest: seen.append(data) or run(units, data, *rest))
    X = np.ascontiguousarray(cancer[0])
    GDSearchCV(CLASSIFIER, GRID, cv=5, refit=False).fit(X, cancer[1])
    (data,) = seen
    assert len(data) == 5
    assert all(np.shares_memory(rows.X, X) and np.shares_memory(rows.X_validation, X) for rows in data)


@pytest.mark.parametrize(
    ("search", "error", "message"),
    [
        (GDSearchCV(LogisticRegression(), {"C": [1]}), TypeError, "GDSearchCV searches GDClassifier and GDRegressor"),
        (GDSearchCV(make_pipeline(StandardScaler()), {}), TypeError, "found StandardScaler"),
        (GDSearchCV(CLASSIFIER, {"eta0": []}), ValueError, "eta0|empty"),
        (GDSearchCV(CLASSIFIER, {"rate": [1]}), ValueError, "rate"),
        (GDSearchCV(CLASSIFIER, GRID, scoring=["accuracy"], refit=True), ValueError, "refit"),
        (GDSearchCV(CLASSIFIER, GRID, halving=True), ValueError, "halving must be a dictionary"),
    ],
)
def test_refuses_what_it_cannot_search(cancer, search, error, message):
    with pytest.raises(error, match=message):
        search.fit(*cancer)


def test_targets_are_needed(cancer):
    with pytest.raises(InputError, match="requires y"):
        GDSearchCV(CLASSIFIER, GRID).fit(cancer[0])
