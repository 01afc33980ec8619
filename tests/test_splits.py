"""Several splits of the rows in one study: an axis like the seed."""

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer
from small_studies import PASSING, Log, run

import fastgd
from fastgd import InputError
from fastgd.datasets.prepare import held_out
from fastgd.runs.reporting.events import Solving

PROBLEM = {"dataset": "breast_cancer", "loss": "logistic", "intercept": True, "standardize": True, "validation": 0.2}
SEEDS = {"seed": [0, 1], "record": {"parameters": "all"}}


def problem(splits, **changes):
    return {**PROBLEM, "split_seed": splits, **changes}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return run(tmp_path_factory.mktemp("splits") / "r", problem=problem([0, 3]), **SEEDS)


def by_id(results):
    trials = results.trials.drop(columns=[*PASSING, "configuration"])
    return trials[trials["in_study"]].sort_values("trial_id").reset_index(drop=True)


def test_each_split_has_the_trials_of_a_study_of_it_alone(results, tmp_path):
    alone = [run(tmp_path / str(seed), problem=problem(seed), **SEEDS) for seed in (0, 3)]
    expected = pd.concat(map(by_id, alone)).sort_values("trial_id").reset_index(drop=True)
    pd.testing.assert_frame_equal(by_id(results), expected)
    assert expected.groupby("split_seed").size().to_dict() == {0: 8, 3: 8}


def test_configurations_are_ranked_over_all_splits(results):
    trials = results.trials
    assert trials.groupby("configuration").size().tolist() == [4] * 4
    medians = trials.groupby("lr")["final_validation_loss"].median()
    ranking = results.best().set_index("lr")["final_validation_loss"]
    np.testing.assert_allclose(ranking[medians.index], medians)


def test_a_model_predicts_the_rows_that_its_own_split_held_out(results):
    X, y = load_breast_cancer(return_X_y=True)
    for _, trial in results.trials[results.trials["lr"] == 0.01].iterrows():
        held = held_out(len(y), 0.2, int(trial["split_seed"]))
        z = results.model(trial["trial_id"]).margins(X[held])
        loss = np.logaddexp(0, z) - y[held] * z
        assert loss.mean() == pytest.approx(trial["final_validation_loss"])


@pytest.mark.parametrize(("splits", "computed"), [([3, 0], 0), ([0, 3, 5], 8), (3, 0), ([3, 7], 8)])
def test_a_study_that_gets_other_splits_keeps_its_trials(results, tmp_path, splits, computed):
    path = tmp_path / "r"
    run(path, problem=problem([0, 3]), **SEEDS)
    again = run(path, problem=problem(splits), **SEEDS)
    trials = again.trials
    assert len(trials) == 16 + computed
    own = trials[trials["in_study"]]
    assert sorted(own["split_seed"].unique()) == sorted(np.atleast_1d(splits).tolist())
    assert own.groupby("configuration")["split_seed"].nunique().eq(np.size(splits)).all()
    assert again.best()["seeds"].eq(2).all()
    for trial in own["trial_id"]:
        again.model(trial)


def test_no_split_that_a_study_had_is_another_study(results, tmp_path):
    path = tmp_path / "r"
    run(path, problem=problem(0), epochs=1)
    with pytest.raises(InputError, match="holds results of other data"):
        run(path, problem=problem([1, 2]), epochs=1)


def test_there_is_no_plane_between_trials_of_different_splits(results):
    one, other = (results.trials.query(f"split_seed == {seed}")["trial_id"].iloc[0] for seed in (0, 3))
    with pytest.raises(InputError, match=r"is of split_seed 3, and .* of 0: they minimise losses over different rows"):
        fastgd.surface(results, one, directions="between", others=[other])


@pytest.mark.parametrize("validation", [0.0, "held_out.csv"])
def test_several_splits_go_with_a_fraction(validation):
    with pytest.raises(InputError, match=r"problem.split_seed goes with validation as a fraction, found \[0, 1\]"):
        fastgd.Study(
            name="x",
            epochs=1,
            problem={"path": "a.csv", "loss": "logistic", "validation": validation, "split_seed": [0, 1]},
            optimizer={"name": "sgd", "lr": 0.1},
        )


def test_each_split_has_a_minimum_of_its_own(tmp_path):
    path = tmp_path / "r"
    results = run(path, problem=problem([0, 3], l2=0.1), epochs=30, record={"every": {"log": 4}})
    log = Log()
    found = fastgd.optimum(results, progress=False, on_event=log).set_index("split_seed")
    assert [event.split_seed for event in log.of(Solving)] == [0, 3]
    alone = [run(tmp_path / str(seed), problem=problem(seed, l2=0.1), epochs=1) for seed in (0, 3)]
    for seed, own in zip((0, 3), alone, strict=True):
        only = fastgd.optimum(own, progress=False)
        assert found.loc[seed, "minimum"] == only["minimum"][0] < found.loc[seed, "best_seen"]
    assert found.loc[0, "minimum"] != found.loc[3, "minimum"]
    trials = results.trials.set_index("trial_id")
    ends = results.curves.groupby("trial_id").last().join(trials["split_seed"])
    np.testing.assert_allclose(ends["gap"], ends["loss"] - found.loc[ends["split_seed"], "minimum"].to_numpy())
    level = results.time_to(gap=0.01, each="trial").set_index("trial_id")["level"] - 0.01
    np.testing.assert_allclose(level, found.loc[trials.loc[level.index, "split_seed"], "minimum"])
    with pytest.raises(InputError, match="several minima are stored"):
        results.optimal_parameters()
    assert len(results.optimal_parameters(split_seed=3)) == 31
