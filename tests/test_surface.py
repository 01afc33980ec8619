"""Error surfaces: the objective over a grid of two parameters, of data and of landscapes, written once."""

import os

import numpy as np
import pytest
import scipy.sparse as sp
from cohorts import TYPES
from small_studies import Log, rows, run, study_of

import fastgd
from fastgd import InputError
from fastgd.plots import plot
from fastgd.runs import clock
from fastgd.runs.reporting.events import Surveying

BOX = {"low": -2, "high": [2, 3], "num": [9, 7]}
LECTURE = np.array([[0.5], [2.5]]), np.array([0.2, 0.9])


def objective(points, X, y, loss="logistic", l2=0.0, intercept=True):
    """F at points (k, d + intercept), by NumPy."""
    w, bias = (points[:, :-1], points[:, -1]) if intercept else (points, 0)
    z = X @ w.T + bias
    y = y[:, None]
    values = {
        "logistic": lambda: np.logaddexp(0, z) - y * z,
        "squared": lambda: (z - y) ** 2 / 2,
        "sigmoid_squared": lambda: (1 / (1 + np.exp(-z)) - y) ** 2 / 2,
    }
    return values[loss]().mean(axis=0) + l2 / 2 * (w**2).sum(axis=1)


def points_of(surface):
    """The points (nx * ny, parameters) of a surface."""
    x, y = np.meshgrid(surface.x, surface.y, indexing="ij")
    points = np.repeat(np.array(surface.info.at)[None], x.size, axis=0)
    points[:, surface.info.parameters[0]] = x.ravel()
    if len(surface.y) > 1:
        points[:, surface.info.parameters[1]] = y.ravel()
    return points


# --- data -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["logistic", "squared"])
@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("intercept", [False, True])
@TYPES
def test_it_is_the_objective_of_numpy(tmp_path, loss, sparse, intercept, dtype):
    X, y = rows(loss)
    at = [0.5, -0.5, 0.25, 1.0, -1.0, 2.0][: 5 + intercept]
    problem = {"loss": loss, "intercept": intercept, "l2": [0.1, 0.2]}
    surface = {**BOX, "parameters": [4 + intercept, 1], "at": at}
    data = (sp.csr_array(X), y) if sparse else (X, y)
    (found,) = run(tmp_path, data, problem=problem, surface=surface, dtype=dtype, epochs=1).surfaces
    assert found.info.parameters == (4 + intercept, 1)
    assert (found.info.problem, found.info.landscape) == (f"arrays/{loss}", None)
    np.testing.assert_array_equal(found.x, np.linspace(-2, 2, 9))
    np.testing.assert_array_equal(found.y, np.linspace(-2, 3, 7))
    expected = objective(points_of(found), X, y, loss, 0.1, intercept)
    np.testing.assert_allclose(found.loss.ravel(), expected, rtol=1e-12 if dtype == "float64" else 2e-6)


def test_the_surface_of_the_lectures_neuron(tmp_path):
    study = {
        "problem": {"loss": "sigmoid_squared", "intercept": True},
        "init": {"point": [-2, -2]},
        "surface": {"low": -6, "high": 6},
        "batch_size": "full",
        "optimizer": {"name": "sgd", "lr": 1.0},
    }
    (found,) = run(tmp_path, LECTURE, **study).surfaces
    assert found.loss.shape == (240, 240)
    expected = objective(points_of(found), *LECTURE, loss="sigmoid_squared")
    np.testing.assert_allclose(found.loss.ravel(), expected, rtol=1e-12)
    assert found.loss.min() < 1e-4


def test_of_one_parameter_it_is_a_line(tmp_path):
    X, y = rows(d=1)
    problem = {"loss": "logistic"}
    (found,) = run(tmp_path, (X, y), problem=problem, surface={"low": -1, "high": 1}).surfaces
    assert (found.loss.shape, found.info.parameters, found.y.tolist()) == ((1000, 1), (0, 0), [0.0])
    np.testing.assert_allclose(found.loss[:, 0], objective(found.x[:, None], X, y, intercept=False), rtol=1e-12)


def test_threads_and_the_company_of_other_points_change_no_bits(tmp_path, monkeypatch):
    one = run(tmp_path / "one", threads=1, surface=BOX, epochs=1).surfaces[0]
    monkeypatch.setattr("fastgd.engine.rows.objective.MOST_TILES", 1)
    two = run(tmp_path / "two", threads=2, surface=BOX, epochs=1).surfaces[0]
    np.testing.assert_array_equal(one.loss, two.loss)


def written(path):
    return {file.name: os.stat(file).st_mtime_ns for file in sorted((path / "surfaces").iterdir())}


def test_it_is_computed_once(tmp_path):
    run(tmp_path, surface=BOX)
    before, log = written(tmp_path), Log()
    run(tmp_path, surface=BOX, log=log)
    assert (written(tmp_path), log.computed, log.of(Surveying)) == (before, [], [])
    grown = {"optimizer": {"name": "momentum", "lr": [0.01, 0.03, 0.1, 0.3, 1.0]}}
    run(tmp_path, surface=BOX, **grown)
    assert written(tmp_path) == before, "more trials do not matter"
    (found,) = run(tmp_path, surface={**BOX, "at": [1.0] * 6}).surfaces
    assert written(tmp_path) != before
    assert found.info.at == [1.0] * 6


def test_each_problem_has_one(tmp_path):
    problems = [{"loss": loss, "intercept": True, "name": loss} for loss in ("logistic", "squared")]
    results = run(tmp_path, problem=problems, surface=BOX, epochs=1)
    assert [surface.info.problem for surface in results.surfaces] == ["logistic", "squared"]
    assert plot(results, "contour", zoom=True).axes[0].get_xlim() == (-2, 2)  # without walks all of it
    results = run(tmp_path, problem=problems[:1], surface=BOX, epochs=1)
    assert [surface.info.problem for surface in results.surfaces] == ["logistic"]


def test_it_is_no_part_of_trials(tmp_path):
    plain, with_one = run(tmp_path / "plain"), run(tmp_path / "surface", surface=BOX)
    assert sorted(plain.trials["trial_id"]) == sorted(with_one.trials["trial_id"])
    assert "surface" not in study_of().to_toml()
    assert plain.surfaces == []
    study = study_of(surface=BOX)
    assert "[surface]\nlow = -2.0\nhigh = [\n    2.0,\n    3.0,\n]\nnum = [" in study.to_toml()
    alone = run(tmp_path / "alone", surface=BOX, trial=plain.trials["trial_id"].iloc[0])
    assert alone.surfaces == []


def test_an_interrupted_surface_is_computed_by_the_next_run(tmp_path, monkeypatch):
    monkeypatch.setattr(clock, "PROGRESS_SECONDS", 0.0)

    def interrupt(event):
        if isinstance(event, Surveying):
            assert event.points == 63
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, surface=BOX, log=interrupt)
    assert fastgd.load(tmp_path).surfaces == []
    assert len(fastgd.load(tmp_path).trials) == 4
    log = Log()
    assert len(run(tmp_path, surface=BOX, log=log).surfaces) == 1
    assert log.computed == []
    assert log.of(Surveying)


def test_max_seconds_leave_it_for_the_next_run(tmp_path):
    log = Log()
    assert run(tmp_path, surface=BOX, max_seconds=1e-9, log=log).surfaces == []
    assert "the error surface is left for the next run of the study" in str(log)


# --- landscapes -------------------------------------------------------------------------------------------------------


def on_landscape(path, landscape="rosenbrock", dimension=2, **changes):
    fields = {
        "name": "land",
        "steps": 5,
        "problem": {"landscape": landscape, "dimension": dimension},
        "optimizer": {"name": "sgd", "lr": 1e-4},
    }
    study = fastgd.Study(**{**fields, **changes})
    return study, fastgd.run(study, path).surfaces[0]


def test_of_a_landscape_the_default_is_its_domain(tmp_path):
    study, found = on_landscape(tmp_path)
    box = study.landscapes[0].box()
    assert (found.loss.shape, found.x[0], found.y[-1]) == ((240, 240), box[0, 0], box[1, 1])
    before = written(tmp_path)
    on_landscape(tmp_path)
    assert written(tmp_path) == before


def test_a_landscape_of_many_coordinates_shows_those_that_are_asked_for(tmp_path):
    surface = {"parameters": [3, 1], "low": [0, -1], "high": 2, "num": 5, "at": "zeros"}
    study, found = on_landscape(tmp_path, dimension=4, surface=surface)
    problem = study.landscapes[0]
    expected = problem.record.values(problem.instance(), points_of(found).T)
    np.testing.assert_allclose(found.loss.ravel(), expected, rtol=1e-13)
    assert (found.info.at, found.info.parameters) == ([0.0] * 4, (3, 1))
    assert found.y.tolist() == [-1.0, -0.25, 0.5, 1.25, 2.0]
    _, moved = on_landscape(tmp_path, dimension=4, surface={**surface, "at": [1.0] * 4})
    assert moved.info.at == [1.0] * 4


# --- mistakes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("surface", "message"),
    [
        ({}, r"surface\.low is missing: where the axes of the error surface begin and end"),
        ({"low": -1}, r"surface\.high is missing"),
        ({"low": 1, "high": [2, 1]}, r"surface\.low must be below high = \[2\.0, 1\.0\], found \[1\.0, 1\.0\]"),
        ({**BOX, "num": 1}, r"surface\.num must be at least 2, found 1"),
        ({**BOX, "num": [2, 3, 4]}, r"surface\.num must be a number, or one for each of the two axes"),
        ({**BOX, "num": 100_000}, r"surface\.num makes more than 67,108,864 points"),
        ({**BOX, "parameters": [1, 1]}, r"surface\.parameters must be two different parameters"),
        ({**BOX, "parameters": [0, 1, 2]}, r"surface\.parameters must have at most 2 items, found \[0, 1, 2\]"),
        ({**BOX, "parameters": [0, -1]}, r"surface\.parameters\.1 must be at least 0"),
        ({**BOX, "at": "ones"}, r"surface\.at must be 'zeros' or a list of numbers"),
        ({**BOX, "points": 3}, r"surface\.points is not a known key"),
        ({**BOX, "parameters": [0, 6]}, r"surface\.parameters = \[0, 6\]: valid are 0 to 5, the parameters of 'arrays"),
        (
            {**BOX, "at": [0.0] * 5},
            r"surface\.at has 5 numbers, and there are 6 parameters of 'arrays/logistic': 5 fea",
        ),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, surface, message):
    with pytest.raises(InputError, match=message):
        run(tmp_path / "r", surface=surface)
    assert not (tmp_path / "r").exists()


def test_a_landscape_has_no_more_parameters_than_coordinates(tmp_path):
    with pytest.raises(InputError, match=r"surface: 'rosenbrock': surface\.parameters = \[0, 2\]: valid are 0 to 1"):
        on_landscape(tmp_path, surface={"parameters": [0, 2]})
    with pytest.raises(InputError, match=r"surface\.low must be below high"):
        on_landscape(tmp_path, surface={"low": 1e6})
