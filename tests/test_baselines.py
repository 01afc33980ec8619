"""Baselines: random search and grids beside gradient methods, over data and on landscapes."""

import numpy as np
import pytest
import scipy.sparse as sp
from cohorts import TYPES, spread
from small_studies import Log, assert_same, rows, run, study_of
from test_cli import fastgd_cli
from test_surface import objective

import fastgd
from fastgd import InputError
from fastgd.core.random import stream_keys, uniform_numbers
from fastgd.optimizers import BASELINES, OPTIMIZERS
from fastgd.optimizers.baselines import points_per_axis
from fastgd.plots import plot
from fastgd.runs.reporting.events import CohortStarted

RANDOM = {"name": "random_search", "low": -1, "high": 1.5}
GRID = {"name": "grid", "low": -1, "high": 1.5}
KEPT = {"record": {"parameters": "all"}}
DATA = {"loss": "logistic", "dataset": "breast_cancer", "standardize": True}
LECTURE = np.array([[0.5], [2.5]]), np.array([0.2, 0.9])
NEURON = {"problem": {"loss": "sigmoid_squared", "intercept": True}, "init": {"point": [-2, -2]}, "batch_size": "full"}


def drawn(count, d, seed=0, low=-1.0, high=1.5):
    """Points (count, d) of a random search, by the generator's definition."""
    return low + (high - low) * uniform_numbers(stream_keys(seed, [0]), 0, count * d).reshape(count, d)


def curve(results, name, column="loss"):
    (trial,) = results.trials.loc[results.trials["optimizer"] == name, "trial_id"]
    curves = results.curves[results.curves["trial_id"] == trial].sort_values("step")
    return curves[column].to_numpy()


# --- the points -------------------------------------------------------------------------------------------------------


def test_uniform_numbers_depend_on_key_and_number_alone():
    keys = stream_keys(3, [0, 1, 2])
    whole = uniform_numbers(keys, 0, 1000)
    np.testing.assert_array_equal(whole[1:2, 300:], uniform_numbers(keys[1:2], 300, 700))
    assert ((whole > 0) & (whole <= 1)).all()
    many = uniform_numbers(keys[:1], 0, 100_000)[0]
    np.testing.assert_allclose(np.histogram(many, 10, (0, 1))[0], 10_000, rtol=0.05)
    assert abs(np.corrcoef(many[:-1], many[1:])[0, 1]) < 0.01


@pytest.mark.parametrize(("budget", "d", "k"), [(1000, 3, 10), (999, 3, 9), (1, 1, 1), (7, 3, 1), (10**12, 6, 100)])
def test_a_grid_has_as_many_points_as_the_budget_allows(budget, d, k):
    assert points_per_axis(budget, d) == k


def test_a_grid_is_visited_once():
    box = np.array([[-1.0, 1.0], [0.0, 4.0]])
    points = BASELINES["grid"].cls.points(box, 27, None, 0, 27)[0]
    assert len(points) == 25
    expected = {(x, y) for x in np.linspace(-1, 1, 5) for y in np.linspace(0, 4, 5)}
    assert {tuple(point) for point in points.tolist()} == expected
    parts = [BASELINES["grid"].cls.points(box, 27, None, first, 10)[0] for first in (0, 10, 20, 30)]
    np.testing.assert_array_equal(np.concatenate(parts), points)
    middle = BASELINES["grid"].cls.points(np.tile([-1.0, 3.0], (9, 1)), 27, None, 0, 27)
    assert middle.tolist() == [[[1.0] * 9]]


# --- data -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
@TYPES
@pytest.mark.parametrize("steps", spread([1, 700, 3000], [1, 700]))
def test_random_search_keeps_the_best_of_its_draws(tmp_path, sparse, dtype, steps):
    X, y = rows()
    problem = {"loss": "logistic", "intercept": True, "l2": [0.0, 0.5]}
    fields = {"optimizer": RANDOM, "problem": problem, "steps": steps, "epochs": None, "dtype": dtype, **KEPT}
    results = run(tmp_path, (sp.csr_array(X) if sparse else X, y), **fields)
    points = np.vstack([np.zeros((1, 6)), drawn(steps, 6)])
    tolerance = 1e-12 if dtype == "float64" else 1e-5
    assert sorted(results.trials["l2"]) == [0.0, 0.5]
    for trial in results.trials.itertuples():
        values = objective(points, X, y, l2=trial.l2)
        own = results.curves[results.curves["trial_id"] == trial.trial_id].sort_values("step")
        assert own["step"].tolist() == list(range(steps + 1))
        np.testing.assert_allclose(own["loss"], np.minimum.accumulate(values), rtol=tolerance)
        assert (np.diff(own["loss"]) <= 0).all()
        if dtype == "float64":
            np.testing.assert_array_equal(results.parameters(trial.trial_id), points[np.argmin(values)])
            np.testing.assert_allclose(own["param_norm"].iloc[-1], np.linalg.norm(points[np.argmin(values)]))
        assert (trial.status, trial.steps, trial.epochs, trial.batch_size) == ("completed", steps, steps, 130)
        assert (trial.low, trial.high, trial.schedule, trial.variant) == (-1, 1.5, "constant", "")


def test_a_grid_keeps_its_best_point(tmp_path):
    X, y = rows(d=2)
    study = {"optimizer": GRID, "steps": 300, "epochs": None, "seed": [0, 1], **KEPT}
    log = Log()
    results = run(tmp_path, (X, y), log=log, **study)
    assert log.computed == [1], "once for all seeds"
    axis = np.linspace(-1, 1.5, 6)
    points = np.stack([part.ravel() for part in np.meshgrid(axis, axis, axis, indexing="ij")], axis=1)
    values = objective(points, X, y)
    assert results.trials["final_loss"].nunique() == 1
    assert results.trials["final_loss"].iloc[0] == pytest.approx(values.min(), rel=1e-12)
    for trial in results.trials["trial_id"]:
        np.testing.assert_allclose(results.parameters(trial), points[np.argmin(values)], rtol=1e-15)
        own = results.curves[results.curves["trial_id"] == trial].sort_values("step")["loss"].to_numpy()
        assert own[0] == pytest.approx(np.log(2))
        assert (np.diff(own) <= 0).all()


def test_on_the_lectures_neuron(tmp_path):
    budget = {"steps": 1000, "epochs": None}
    blocks = [{"name": name, "low": -6, "high": 6} for name in BASELINES]
    results = run(tmp_path, LECTURE, optimizer=blocks, **budget, **NEURON, **KEPT)
    points = np.vstack([[[-2.0, -2.0]], drawn(1000, 2, low=-6, high=6)])
    values = objective(points, *LECTURE, loss="sigmoid_squared")
    np.testing.assert_allclose(curve(results, "random_search"), np.minimum.accumulate(values), rtol=1e-12)
    assert curve(results, "random_search")[-1] < 0.001
    assert curve(results, "grid")[-1] < 0.001
    assert curve(results, "grid")[0] == pytest.approx(values[0])


def test_epochs_are_evaluations(tmp_path):
    one = run(tmp_path / "epochs", optimizer=RANDOM, epochs=40, batch_size=[16, 32])
    two = run(tmp_path / "steps", optimizer=RANDOM, epochs=None, steps=40)
    assert len(one.trials) == 1, "the batch size is that of all rows"
    np.testing.assert_array_equal(curve(one, "random_search"), curve(two, "random_search"))
    assert curve(one, "random_search", "samples_seen").tolist() == [130 * t for t in range(41)]


def test_draws_do_not_depend_on_the_budget(tmp_path):
    short = run(tmp_path / "short", optimizer=RANDOM, epochs=30)
    long = run(tmp_path / "long", optimizer=RANDOM, epochs=2000)
    np.testing.assert_array_equal(curve(short, "random_search"), curve(long, "random_search")[:31])
    other = run(tmp_path / "other", optimizer=RANDOM, epochs=30, seed=1)
    assert curve(other, "random_search")[-1] != curve(short, "random_search")[-1]


def test_every_metric_is_that_of_the_best_point(tmp_path):
    metrics = ["accuracy", "validation_accuracy", "grad_norm", "nonzeros", "effective_lr"]
    blocks = [RANDOM, {"name": "sgd", "lr": 0.1}]
    problem = {"loss": "logistic", "intercept": True, "validation": 0.3}
    record = {"metrics": metrics, "parameters": "all", "every": {"log": 5}}
    results = run(tmp_path, optimizer=blocks, problem=problem, record=record, epochs=200)
    (trial,) = results.trials.loc[results.trials["optimizer"] == "random_search"].itertuples()
    last = results.curves[results.curves["trial_id"] == trial.trial_id].sort_values("step").iloc[-1]
    assert last["nonzeros"] == 5
    assert 0.5 < last["accuracy"] <= 1
    assert 0 < last["validation_accuracy"] <= 1
    assert last["grad_norm"] > 0
    assert np.isnan(last["effective_lr.frequent.q50"])
    assert np.isnan(last["lr"])
    assert trial.final_validation_loss == last["validation_loss"]
    assert len(results.curves[results.curves["trial_id"] == trial.trial_id]) < 8


def test_a_target_ends_it_and_nothing_else_does(tmp_path):
    blocks = [RANDOM, {"name": "sgd", "lr": 1e6}]
    stop = {"target": 0.55, "patience": 1, "diverge": 1e-3}
    results = run(tmp_path, optimizer=blocks, epochs=400, stop=stop, batch_size="full")
    trials = results.trials.set_index("optimizer")
    assert trials.loc["random_search", "status"] == "target"
    assert trials.loc["random_search", "final_loss"] <= 0.55
    assert trials.loc["random_search", "steps"] < 400
    assert trials.loc["sgd", "status"] == "diverged"
    results = run(tmp_path / "none", optimizer=RANDOM, epochs=40, stop={**stop, "target": -1.0})
    assert results.trials["status"].tolist() == ["completed"]


def test_one_trial_threads_and_resumption_change_no_bits(tmp_path):
    problem = {"loss": "logistic", "intercept": True, "l2": [0.0, 0.1]}
    blocks = [{**RANDOM, "high": [1, 2]}, GRID, {"name": "momentum", "lr": 0.1}]
    study = {"optimizer": blocks, "problem": problem, "seed": [0, 1], "epochs": 50, **KEPT}
    whole = run(tmp_path / "whole", threads=1, **study)
    assert whole.trials["trial_id"].is_unique
    counts = whole.trials.groupby("optimizer").size().to_dict()
    assert counts == {"grid": 4, "momentum": 4, "random_search": 8}
    for trial in whole.trials.groupby("optimizer")["trial_id"].first():
        alone = run(tmp_path / trial, trial=trial, **study)
        expected = whole.curves[whole.curves["trial_id"] == trial].drop(columns="train_seconds")
        found = alone.curves.drop(columns="train_seconds")
        assert found.reset_index(drop=True).equals(expected.reset_index(drop=True))
        np.testing.assert_array_equal(alone.parameters(trial), whole.parameters(trial))

    class Interrupt(Log):
        def __call__(self, event):
            super().__call__(event)
            if len(self.of(CohortStarted)) == 3:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "again", log=Interrupt(), **study)
    assert 0 < len(fastgd.load(tmp_path / "again").trials) < 16
    assert_same(run(tmp_path / "again", **study), whole)


def test_a_study_that_gains_one_keeps_its_trials(tmp_path):
    momentum = study_of().model_dump()["optimizer"][0]
    before, log = set(run(tmp_path / "r").trials["trial_id"]), Log()
    after = run(tmp_path / "r", log=log, optimizer=[momentum, RANDOM])
    assert log.computed == [1]
    assert before < set(after.trials["trial_id"])
    best = after.best()
    assert best["optimizer"].value_counts().to_dict() == {"momentum": 4, "random_search": 1}


@pytest.mark.parametrize("kind", ["curves", "sensitivity", "heatmap"])
def test_plots_show_it_beside_gradient_methods(tmp_path, kind):
    blocks = [RANDOM, GRID, {"name": "momentum", "lr": [0.01, 0.1, 1.0], "momentum": [0.5, 0.9]}]
    results = run(tmp_path, optimizer=blocks, epochs=20)
    assert plot(results, kind).axes


def test_max_seconds_end_it(tmp_path):
    results = run(tmp_path, optimizer=RANDOM, epochs=10**9, max_seconds=2, record={"every": {"log": 3}})
    assert results.trials["status"].tolist() == ["timeout"]
    assert results.trials["steps"].iloc[0] > 100


# --- what may stand in a block ----------------------------------------------------------------------------------------


def test_they_are_listed_and_are_no_rules():
    assert list(BASELINES) == ["random_search", "grid"]
    assert not set(BASELINES) & set(OPTIMIZERS)
    assert all(record.baseline for record in BASELINES.values())
    assert not any(record.baseline for record in OPTIMIZERS.values())


def test_a_block_survives_the_file():
    study = study_of(optimizer=[RANDOM, {**GRID, "high": {"linear": [1, 2], "num": 3}}])
    assert study.optimizer[0].hyper == {"low": [-1.0], "high": [1.5]}
    assert study.optimizer[1].hyper["high"] == [1.0, 1.5, 2.0]
    assert fastgd.Study(**study.model_dump(exclude_none=True)) == study


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"name": "random_search"}, r"optimizer\.low is missing: where the points of the box begin"),
        ({"name": "random_search", "low": -1}, r"optimizer\.high is missing"),
        ({**GRID, "low": [0, 2]}, r"optimizer\.low must be below high = 1\.5, found 2\.0"),
        ({**GRID, "lr": 0.1}, r"optimizer\.lr is not a known key; .*"),
        ({**GRID, "schedule": {"name": "cosine"}}, r"optimizer\.schedule is not a known key"),
        ({**GRID, "low": "a"}, r"optimizer\.low\S* must be a number"),
        ({**GRID, "name": "random_serch"}, r"there is no optimizer 'random_serch'; did you mean 'random_search'\?"),
    ],
)
def test_mistakes_are_named(block, message):
    with pytest.raises(InputError, match=message):
        study_of(optimizer=block)


def test_schedules_of_the_study_are_of_those_that_have_rates(tmp_path):
    schedules = [{"name": "cosine"}, {"name": "constant"}]
    results = run(tmp_path, optimizer=[RANDOM, {"name": "sgd", "lr": 0.1}], schedule=schedules)
    assert results.trials.groupby("optimizer").size().to_dict() == {"random_search": 1, "sgd": 2}


# --- landscapes -------------------------------------------------------------------------------------------------------


def on_landscape(path, landscape="himmelblau", steps=500, log=None, **changes):
    options = {name: changes.pop(name) for name in ("trial", "threads") if name in changes}
    fields = {
        "name": "land",
        "steps": steps,
        "problem": {"landscape": landscape},
        "optimizer": [{"name": name} for name in BASELINES],
        "starts": {"uniform": 3},
    }
    study = fastgd.Study(**{**fields, **changes})
    return study, fastgd.run(study, path, on_event=log, **options)


def of_lane(results, name, start, column="loss"):
    trials = results.trials[results.trials["optimizer"] == name]
    own = results.curves[results.curves["trial_id"].isin(trials["trial_id"]) & (results.curves["start"] == start)]
    return own.sort_values("step")[column].to_numpy()


BOXES, PLACES = ({}, {"low": -3, "high": 4}), (("himmelblau", 2), ("rastrigin", 11))


@pytest.mark.parametrize(
    ("box", "landscape", "dimension"),
    spread([(box, *place) for box in BOXES for place in PLACES], [(BOXES[0], *PLACES[0]), (BOXES[1], *PLACES[1])]),
)
def test_on_landscapes_each_start_has_its_own_draws(tmp_path, box, landscape, dimension):
    problem = {"landscape": landscape, "dimension": dimension}
    blocks = [{"name": name, **box} for name in BASELINES]
    study, results = on_landscape(tmp_path, problem=problem, optimizer=blocks, record={"every": "epoch"})
    problem = study.landscapes[0]
    ends = np.tile([-3.0, 4.0], (dimension, 1)) if box else problem.box()
    starts = results.trials[results.trials["optimizer"] == "grid"].sort_values("start")
    columns = [f"start_{i}" for i in range(min(8, dimension))]
    assert len(results.trials) == 6
    for start in range(3):
        numbers = uniform_numbers(stream_keys(0, [start]), 0, 500 * dimension).reshape(500, dimension)
        random = ends[:, 0] + (ends[:, 1] - ends[:, 0]) * numbers
        grid = BASELINES["grid"].cls.points(ends, 500, None, 0, 500)[0]
        for name, points in {"random_search": random, "grid": grid}.items():
            values = problem.record.values(problem.instance(), points.T)
            found = of_lane(results, name, start)
            expected = np.minimum(found[0], np.minimum.accumulate(values))
            np.testing.assert_allclose(found[1 : len(values) + 1], expected, rtol=1e-12)
            assert (np.diff(found) <= 0).all()
            assert (found[len(values) :] == found[-1]).all()
        if dimension == 2:
            first = problem.record.values(problem.instance(), starts[columns].to_numpy()[start][:, None])
            assert of_lane(results, "grid", start)[0] == pytest.approx(first[0])
    assert results.trials["low"].isna().all() == (not box)
    assert set(results.trials["status"]) <= {"completed", "converged"}


def test_on_landscapes_seeds_draw_anew_and_budgets_do_not(tmp_path):
    block = {"name": "random_search"}
    _, results = on_landscape(tmp_path / "seeds", optimizer=[block, {"name": "sgd", "lr": 1e-3}], seed=[0, 1])
    assert results.trials.groupby(["optimizer", "seed"], observed=True).size().to_dict() == {
        ("random_search", 0): 3,
        ("random_search", 1): 3,
        ("sgd", 0): 3,
    }
    assert results.trials[results.trials["optimizer"] == "random_search"]["final_loss"].nunique() == 6
    every = {"record": {"every": "epoch"}}
    _, short = on_landscape(tmp_path / "short", steps=40, optimizer=block, **every)
    _, long = on_landscape(tmp_path / "long", steps=400, optimizer=block, **every)
    np.testing.assert_array_equal(of_lane(short, "random_search", 2), of_lane(long, "random_search", 2)[:41])


def test_on_landscapes_one_trial_has_the_bits_of_all(tmp_path, monkeypatch):
    _, whole = on_landscape(tmp_path / "whole", threads=1)
    monkeypatch.setattr("fastgd.engine.swarm.guesses.MOST_COORDINATES_AT_ONCE", 64)
    for name in BASELINES:
        row = whole.trials[whole.trials["optimizer"] == name].iloc[1]
        _, alone = on_landscape(tmp_path / name, trial=f"{row['trial_id']}:{row['start']}", threads=2)
        assert alone.trials["final_loss"].tolist() == [row["final_loss"]]
        np.testing.assert_array_equal(of_lane(alone, name, row["start"]), of_lane(whole, name, row["start"]))
    log = Log()
    on_landscape(tmp_path / "whole", log=log)
    assert log.computed == []


def test_on_landscapes_the_tolerance_is_counted_and_the_trajectory_kept(tmp_path):
    problem = {"landscape": "booth", "tolerance": 5.0}
    study, results = on_landscape(tmp_path, problem=problem, steps=600, record={"every": "epoch", "trajectories": 1})
    problem = study.landscapes[0]
    lowest = problem.record.values(problem.instance(), problem.known_minima()[:1].T)[0]
    for trial in results.trials.itertuples():
        losses = of_lane(results, trial.optimizer, trial.start)
        assert trial.status == "converged"
        assert trial.steps_to_tolerance == np.flatnonzero(losses <= lowest + 5.0)[0]
        assert (trial.steps, trial.minimum) == (600, 0)
    walk = results.trajectories
    assert len(walk) == 2 * 601 * 2
    last = walk[walk["step"] == 600].merge(results.trials[["trial_id", "start", "end_0"]], on=["trial_id", "start"])
    assert (last[last["coordinate"] == 0]["x"] == last[last["coordinate"] == 0]["end_0"]).all()


def test_the_lectures_neuron_is_a_landscape_too(tmp_path):
    _, results = on_landscape(tmp_path, "toy_neuron", steps=1000, starts=None)
    assert (results.trials["final_loss"] < 0.002).all()
    assert results.best()["optimizer"].tolist() != []


# --- the command line -------------------------------------------------------------------------------------------------


def test_they_are_listed_by_the_command(tmp_path):
    listing, _ = fastgd_cli("list", "baselines")
    assert all(name in listing for name in BASELINES)
    path = tmp_path / "s.toml"
    path.write_text(study_of(optimizer=[RANDOM, GRID], problem=DATA, seed=[0, 1]).to_toml())
    plan, _ = fastgd_cli("run", str(path), "--dry-run")
    assert "4 trials in 3 cohorts: 3 lanes, 0% of what is computed is padding" in plan
    fastgd_cli("warmup", str(path))
    fastgd_cli("run", str(path), "--out", str(tmp_path / "r"))
    assert "random_search" in fastgd_cli("best", str(tmp_path / "r"))[0]
