"""Surfaces of trials: the exact objective about end points, in random and main directions, and between solutions."""

import shutil
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy.sparse import csr_matrix
from sklearn.datasets import load_digits
from small_studies import Log, rows, run
from test_cli import fastgd_cli

import fastgd
from fastgd import InputError
from fastgd.core.threads import Threads
from fastgd.engine.network.model import Network
from fastgd.plan.planes import (
    Plane,
    axis_through_ends,
    axis_through_zero,
    main_directions,
    plane_of_three,
    random_directions,
    range_of,
)
from fastgd.plan.planner import make_plan
from fastgd.plots import axes, plot, save
from fastgd.problems.activations import ACTIVATIONS
from fastgd.runs.clock import Clock
from fastgd.runs.data.loading import load_data
from fastgd.runs.reporting.events import Retracing, Surveying
from fastgd.runs.stored import solutions, trial_surfaces
from fastgd.runs.stored.retraced import retrace
from fastgd.study.config import Study

DATA = rows()
LAYERS = {"hidden": [6, 4], "activation": "tanh"}
NETWORK = {"name": "network", "loss": "logistic", "network": LAYERS, "l2": [0.0, 0.01]}
LINEAR = {"name": "linear", "loss": "logistic", "intercept": True}
GROUPS = Network((6, 4), ACTIVATIONS["tanh"]).groups(5)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A study of networks and linear models whose final parameters are stored."""
    return run(tmp_path_factory.mktemp("made") / "r", DATA, problem=[NETWORK, LINEAR], record={"parameters": "all"})


@pytest.fixture
def results(made, tmp_path):
    """A copy of it without surfaces."""
    return fastgd.load(shutil.copytree(made.path, tmp_path / "copy"))


def trials_of(results, problem="network", l2=0.01):
    trials = results.trials
    l2 = l2 if problem == "network" else 0.0
    return trials.loc[(trials["problem"] == problem) & (trials["l2"] == l2), "trial_id"].tolist()


def surface_of(results, trial, *others, **options):
    given = {"data": DATA, "progress": False, "points": 5, "threads": 2} | options
    return fastgd.surface(results, trial, others=others, **given)


def objective(w, l2=0.01):
    """The objective of the network, or of the linear model, at flat parameters, by NumPy."""
    X, y = DATA
    widths = [5, 6, 4, 1] if len(w) > 6 else [5, 1]
    units, squares, first = X, 0.0, 0
    for place, (inputs, outputs) in enumerate(pairwise(widths)):
        weights = w[first : first + inputs * outputs].reshape(inputs, outputs)
        first += inputs * outputs
        units = units @ weights + w[first : first + outputs]
        first += outputs
        units = np.tanh(units) if place < len(widths) - 2 else units
        squares += (weights**2).sum()
    z = units[:, 0]
    return (np.logaddexp(0, z) - y * z).mean() + l2 / 2 * squares


# --- planes -----------------------------------------------------------------------------------------------------------


def test_random_directions_are_as_long_as_the_weights_unit_by_unit():
    end = np.random.default_rng(1).standard_normal(sum(group.size for group in GROUPS))
    first, second = random_directions(GROUPS, end, 3)
    begin = 0
    for group in GROUPS:
        own = slice(begin, begin + group.size)
        begin += group.size
        for direction in (first, second):
            if group.penalised:
                lengths = (np.linalg.norm(each[own].reshape(group.shape), axis=0) for each in (direction, end))
                np.testing.assert_allclose(*lengths, rtol=1e-12)
            else:
                assert not direction[own].any()
    assert abs(first @ second) < 0.5 * (first @ first)
    np.testing.assert_array_equal(random_directions(GROUPS, end, 3)[1], second)
    assert (random_directions(GROUPS, end, 4)[0] != first).any()


def test_main_directions_are_those_of_a_decomposition():
    rng = np.random.default_rng(2)
    points, end = rng.standard_normal((9, 30)) * np.linspace(3, 1, 30), rng.standard_normal(30)
    found, shares = main_directions(points, end)
    _, values, rows_of = np.linalg.svd(points - end, full_matrices=False)
    np.testing.assert_allclose(shares, (values**2 / (values**2).sum())[:2], rtol=1e-10)
    for direction, expected in zip(found, rows_of, strict=False):
        assert direction[np.abs(direction).argmax()] > 0
        np.testing.assert_allclose(direction * np.sign(direction @ expected), expected, atol=1e-10)
    line, shares = main_directions(end + np.outer([3.0, 1.0, 0.0], points[0]), end)
    assert len(line) == len(shares) == 1
    assert shares[0] == pytest.approx(1)
    assert main_directions(np.tile(end, (3, 1)), end) == ([], [])


def test_points_are_projected_by_least_squares():
    rng = np.random.default_rng(3)
    plane = Plane.through(rng.standard_normal(8), list(rng.standard_normal((2, 8))))  # not orthogonal
    points = rng.standard_normal((4, 8))
    places, distances = plane.projected(points)
    expected, residuals = np.linalg.lstsq(plane.directions.T, (points - plane.origin).T)[:2]
    np.testing.assert_allclose(places, expected, rtol=1e-12)
    np.testing.assert_allclose(distances**2, residuals, rtol=1e-12)
    np.testing.assert_allclose(plane.projected(plane.points(places.T))[0], places, rtol=1e-10)
    line = Plane.through(plane.origin, [plane.directions[0], -2 * plane.directions[0]])
    assert len(line.directions) == 1
    with pytest.raises(InputError, match="there is no direction to go along: its length is 0"):
        Plane.through(plane.origin, [np.zeros(8)])


def test_three_points_have_their_distances_in_their_plane():
    points = np.random.default_rng(4).standard_normal((3, 8))
    places, distances = Plane.through(points[0], plane_of_three(*points)).projected(points)
    np.testing.assert_allclose(distances, 0, atol=1e-12)
    for one in range(3):
        for other in range(3):
            apart = np.linalg.norm(points[one] - points[other])
            assert np.linalg.norm(places[:, one] - places[:, other]) == pytest.approx(apart, abs=1e-12)
    assert len(plane_of_three(points[0], points[1], (points[0] + points[1]) / 2)) == 1


@pytest.mark.parametrize(("low", "high", "points"), [(-1.0, 1.0, 51), (-1.0, 1.0, 50), (-0.3, 7.0, 11), (0.0, 2.0, 3)])
def test_zero_is_a_point_of_every_axis(low, high, points):
    axis = axis_through_zero(low, high, points)
    assert 0.0 in axis
    assert axis[0] <= low + 1e-8
    assert axis[-1] >= high - 1e-8
    assert points <= len(axis) <= points + 1
    np.testing.assert_allclose(np.diff(axis), (high - low) / (points - 1))


def test_the_ends_are_points_of_the_line_between_them():
    for points in (3, 10, 51, 100):
        axis = axis_through_ends(0.5, points)
        assert {0.0, 1.0} <= set(axis.tolist())
        assert axis[0] <= -0.5
        assert axis[-1] >= 1.5
    assert range_of(np.array([2.0, 4.0]), 0.25) == (-1.0, 5.0)
    assert range_of(np.zeros(2), 0.25) == (-1.0, 1.0)


# --- trials that run again --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("problem", [NETWORK, LINEAR], ids=["network", "linear"])
def test_a_trial_that_runs_again_is_where_it_was(tmp_path, problem):
    shared = {"problem": problem, "record": {"parameters": "all"}}
    whole = run(tmp_path / "3", DATA, epochs=3, **shared)
    expected = [run(tmp_path / str(epochs), DATA, epochs=epochs, **shared) for epochs in (1, 2)] + [whole]
    study = Study(**whole.study)
    prepared = load_data(study, DATA, Log())
    (unit,) = make_plan(study, prepared).only(whole.trials["trial_id"][1]).units
    with Threads(1) as threads:
        found = retrace(unit, prepared[0], np.array([0, 5, 7, 10, 15]), Clock(), threads)
    row = whole.trials.iloc[1]
    for place, results in zip((1, 3, 4), expected, strict=True):
        alike = (results.trials["lr"] == row["lr"]) & (results.trials["l2"] == row["l2"])
        (trial,) = results.trials.loc[alike, "trial_id"]
        np.testing.assert_array_equal(found[place], results.parameters(trial))


def test_schedules_with_feedback_are_judged_on_the_way(tmp_path):
    schedule = {"name": "plateau", "factor": 0.1, "patience": 0}
    problem = LINEAR | {"validation": 0.2}
    optimizer = {"name": "momentum", "lr": [0.3, 1.0, 3.0, 10.0]}
    kept = {"record": {"parameters": "all"}}
    results = run(tmp_path, DATA, problem=problem, optimizer=optimizer, schedule=schedule, epochs=12, **kept)
    assert results.curves.groupby("trial_id")["lr"].nunique().min() > 1
    for trial in results.trials["trial_id"]:
        surface_of(results, trial, directions="pca", points=3)  # it is refused where it does not end as it did


def test_a_trial_that_does_not_end_where_it_did_is_refused(results, monkeypatch):
    trial, *_ = trials_of(results)
    honest = solutions.retrace
    monkeypatch.setattr(solutions, "retrace", lambda *given: honest(*given) * (1 + 1e-15))
    with pytest.raises(InputError, match=rf"trial '{trial}' does not end where it did: fastgd .* with numba"):
        surface_of(results, trial)
    assert surface_of(results, trial, trajectory=False).paths == []  # its final parameters are stored
    assert len(results.trial_surfaces) == 1


def test_a_trial_that_the_study_would_not_run_any_more_is_refused(results, monkeypatch):
    trial, *_ = trials_of(results)
    honest = trial_surfaces.make_plan

    def other_plan(*given):
        plan = honest(*given)
        return replace(plan, units=[unit.without({trial}) for unit in plan.units])

    monkeypatch.setattr(trial_surfaces, "make_plan", other_plan)
    with pytest.raises(InputError, match=rf"has no trial '{trial}' any more: fastgd, or a module of yours"):
        surface_of(results, trial)


def test_parameters_that_are_not_what_was_trained_are_refused(results, monkeypatch):
    trial, *_ = trials_of(results)
    monkeypatch.setattr(solutions, "_stored", lambda *given: None)
    honest = solutions.retrace
    monkeypatch.setattr(solutions, "retrace", lambda *given: honest(*given) + 0.01)
    with pytest.raises(InputError, match="does not end where it did"):
        surface_of(results, trial)


# --- surfaces ---------------------------------------------------------------------------------------------------------


def test_random_directions(results):
    trial, *_ = trials_of(results)
    found, end = surface_of(results, trial, seed=5), results.parameters(trial)
    assert found.loss.shape == (5, 5)
    assert found.x.tolist() == found.y.tolist() == [-1, -0.5, 0, 0.5, 1]
    final = results.trials.set_index("trial_id").loc[trial, "final_loss"]
    assert found.loss[2, 2] == pytest.approx(final, rel=1e-14)
    assert found.info.losses == [found.loss[2, 2]]
    directions = random_directions(GROUPS, end, 5)
    for i, x in enumerate(found.x):
        for j, y in enumerate(found.y):
            at = end + x * directions[0] + y * directions[1]
            assert found.loss[i, j] == pytest.approx(objective(at), rel=1e-12)
    (path,) = found.paths
    assert (path.step[0], path.step[-1], len(path.step)) == (0, 15, 16)
    assert (path.x[-1], path.y[-1], path.distance[-1]) == (0, 0, 0)
    curve = results.curves[results.curves["trial_id"] == trial].set_index("step")["loss"]
    np.testing.assert_allclose(path.loss[[0, 5, 10, 15]], curve, rtol=1e-13)


def test_main_directions_hold_the_trajectory_of_a_linear_model(results):
    trial = trials_of(results, "linear")[2]
    found = surface_of(results, trial, directions="pca", points=9, span=0.1)
    study = Study(**results.study)
    prepared = load_data(study, DATA, Log())
    (unit,) = make_plan(study, prepared).only(trial).units
    with Threads(1) as threads:
        iterates = retrace(unit, prepared[1], np.arange(16), Clock(), threads)
    ways = iterates - results.parameters(trial)
    _, values, rows_of = np.linalg.svd(ways)
    np.testing.assert_allclose(found.info.shares, (values**2 / (values**2).sum())[:2], rtol=1e-9)
    assert found.info.captured == pytest.approx(sum(found.info.shares), rel=1e-9)
    (path,) = found.paths
    for axis, row in zip((path.x, path.y), rows_of, strict=False):
        expected = ways @ row
        np.testing.assert_allclose(axis * np.sign(axis @ expected), expected, atol=1e-12)
    outside = np.sqrt(np.maximum(0, (ways**2).sum(axis=1) - path.x**2 - path.y**2))
    np.testing.assert_allclose(path.distance, outside, atol=1e-7)
    for axis, along in ((found.x, path.x), (found.y, path.y)):
        assert axis[0] < along.min() < along.max() < axis[-1]
    at_end = found.loss[found.x == 0][:, found.y == 0]
    assert at_end.item() == pytest.approx(objective(results.parameters(trial), 0.0), rel=1e-13)


def test_the_line_between_two_solutions(results):
    one, other = trials_of(results)[:2]
    found = surface_of(results, one, other, directions="between", points=9)
    final = results.trials.set_index("trial_id")["final_loss"]
    assert found.paths == []
    assert found.info.ends == [[0, 0], [1, 0]]
    assert found.loss[found.x == 0].item() == pytest.approx(final[one], rel=1e-13)
    assert found.loss[found.x == 1].item() == pytest.approx(final[other], rel=1e-13)
    begin, end = results.parameters(one), results.parameters(other)
    expected = [objective((1 - share) * begin + share * end) for share in found.x]
    np.testing.assert_allclose(found.loss[:, 0], expected, rtol=1e-12)


def test_the_plane_of_three_solutions(results):
    trials = trials_of(results)[:3]
    found = surface_of(results, *trials, directions="between")
    final = results.trials.set_index("trial_id")["final_loss"]
    np.testing.assert_allclose(found.info.losses, final[trials], rtol=1e-13)
    w = [results.parameters(trial) for trial in trials]
    np.testing.assert_allclose(found.info.ends[1], [np.linalg.norm(w[1] - w[0]), 0], atol=1e-12)
    assert np.hypot(*found.info.ends[2]) == pytest.approx(np.linalg.norm(w[2] - w[0]))
    assert [path.trial_id for path in found.paths] == trials
    for path, end in zip(found.paths, found.info.ends, strict=True):
        np.testing.assert_allclose([path.x[-1], path.y[-1]], end, atol=1e-12)
        assert path.distance[-1] < 1e-12


def test_a_second_solution_with_another_penalty_has_the_objective_of_the_first(results):
    one, other = trials_of(results)[0], trials_of(results, l2=0.0)[0]
    found = surface_of(results, one, other, directions="between")
    assert found.info.l2 == 0.01
    expected = [objective(results.parameters(trial)) for trial in (one, other)]
    np.testing.assert_allclose(found.info.losses, expected, rtol=1e-12)


def test_the_bits_depend_on_nothing_else(results, monkeypatch):
    trial, *_ = trials_of(results)
    found = surface_of(results, trial, points=7, threads=1)
    shutil.rmtree(results.path / "trial_surfaces")
    monkeypatch.setattr(trial_surfaces, "MOST_POINT_BYTES", 1)  # as few points at once as a tile has lanes
    other = surface_of(results, trial, points=7, threads=2)
    np.testing.assert_array_equal(found.loss, other.loss)
    for ours, theirs in zip(found.paths[0][1:], other.paths[0][1:], strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_parameters_that_were_not_recorded_come_from_a_second_run(results, tmp_path):
    bare = run(tmp_path / "bare", DATA, problem=[NETWORK, LINEAR])
    trial, other = trials_of(results)[:2]
    for options in ({"trajectory": False}, {"directions": "between", "others": [other]}, {"directions": "pca"}):
        given = {"data": DATA, "progress": False, "points": 3}
        ours, theirs = (fastgd.surface(each, trial, **given, **options) for each in (bare, results))
        np.testing.assert_array_equal(ours.loss, theirs.loss)


def test_by_default_the_best_trial_is_drawn(results):
    assert surface_of(results, None).info.trials == [results.best()["trial_id"][0]]


@pytest.mark.full
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_other_models(tmp_path, dtype):
    X, y = DATA
    digits = load_digits(return_X_y=True)
    for name, problem, data in (
        ("classes", {"loss": "softmax"}, digits),
        ("classes of a network", {"loss": "softmax", "network": LAYERS}, digits),
        ("sparse", {"loss": "logistic", "l2": 0.1}, (csr_matrix(X * (X > 0)), y)),
        ("numbers", {"loss": "squared", "intercept": True}, rows("squared")),
    ):
        found = run(tmp_path / name, data, problem=problem, dtype=dtype, batch_size=32)
        for directions in ("random", "pca"):
            own = surface_of(found, None, data=data, directions=directions)
            final = found.trials.set_index("trial_id").loc[own.info.trials[0], "final_loss"]
            tolerance = 1e-12 if dtype == "float64" else 1e-5
            assert own.info.losses == [pytest.approx(final, rel=tolerance)]


# --- in the results folder --------------------------------------------------------------------------------------------


def test_a_surface_is_stored_and_not_computed_twice(results):
    trial, *_ = trials_of(results)
    log = Log()
    made = surface_of(results, trial, on_event=log)
    assert log.of(Surveying)
    assert log.of(Retracing)[-1].steps == 15
    (stored,) = results.trial_surfaces
    again = surface_of(results, trial, data=None, on_event=(log := Log()))  # it needs no data either
    assert log == []
    for found in (stored, again):
        assert found.info == made.info
        for name in ("x", "y", "loss"):
            np.testing.assert_array_equal(getattr(found, name), getattr(made, name))
        for ours, theirs in zip(found.paths[0], made.paths[0], strict=True):
            np.testing.assert_array_equal(ours, theirs)
    surface_of(results, trial, seed=1)
    assert [each.info.seed for each in results.trial_surfaces] == [0, 1]
    (file, _) = sorted((results.path / "trial_surfaces").iterdir())
    table = pq.read_table(file)
    assert table.column_names == ["trial_id", "step", "x", "y", "loss", "distance"]
    assert table["step"].null_count == table["trial_id"].null_count == 25


def test_an_interruption_leaves_nothing(results):
    def interrupt(event):
        if isinstance(event, Surveying):
            raise KeyboardInterrupt

    trial, *_ = trials_of(results)
    with pytest.raises(KeyboardInterrupt):
        surface_of(results, trial, on_event=interrupt)
    assert results.trial_surfaces == []
    assert surface_of(results, trial).info.trials == [trial]


def test_a_study_that_goes_on_keeps_them(results):
    surface_of(results, trials_of(results)[0])
    grown = {"name": "momentum", "lr": [0.01, 0.03, 0.1, 0.3, 1.0]}
    found = run(results.path, DATA, problem=[NETWORK, LINEAR], record={"parameters": "all"}, optimizer=grown)
    assert len(found.trial_surfaces) == 1
    assert fastgd.verify(results.path).ok


def test_damage_is_found_and_set_aside(results):
    trial, *_ = trials_of(results)
    surface_of(results, trial)
    (file,) = (results.path / "trial_surfaces").iterdir()
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    (finding,) = fastgd.verify(results.path).findings
    assert finding.file == f"trial_surfaces/{file.name}"
    with pytest.raises(InputError, match="is damaged"):
        _ = results.trial_surfaces
    with pytest.raises(InputError, match=r"is damaged or was not written by fastgd.*move it away"):
        surface_of(results, trial)
    assert fastgd.verify(results.path, repair=True).left == ()
    assert results.trial_surfaces == []
    assert surface_of(results, trial).info.trials == [trial]


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"trial": "nobody"}, r"there is no trial 'nobody' in .*valid"),
        ({"directions": "pcs"}, r"there are no directions 'pcs'; did you mean 'pca'\?"),
        ({"directions": "between"}, r"'between' take a trial and one or two others, all different, found \["),
        ({"others": ["x"]}, r"'random' take a trial and no other one, found \["),
        ({"points": 2}, r"points must be a whole number from 3 to 2,001, found 2"),
        ({"points": 9.5}, r"points must be a whole number from 3 to 2,001, found 9.5"),
        ({"span": 0}, r"span must be a number from 1e-06 to 1e\+06, found 0"),
        ({"span": "1"}, r"span must be a number from 1e-06 to 1e\+06, found '1'"),
        ({"span": 1e200}, r"span must be a number from 1e-06 to 1e\+06, found 1e\+200"),
        ({"span": float("inf")}, r"span must be a number from 1e-06 to 1e\+06, found inf"),
        ({"seed": -1}, r"seed must be a whole number from 0 on, found -1"),
        ({"data": None}, r"'network' was run on arrays, which results do not hold"),
        ({"data": (DATA[0] + 1, DATA[1])}, r"are not those that .* was computed with"),
    ],
)
def test_what_is_wrong_is_one_message(results, options, message):
    given = {"trial": trials_of(results)[0], "data": DATA, "points": 3, "progress": False} | options
    with pytest.raises(InputError, match=message):
        fastgd.surface(results, **given)
    assert not (results.path / "trial_surfaces").exists()


def test_trials_without_an_end_point_or_of_other_problems(results, monkeypatch):
    (one, *_), (other, *_) = trials_of(results), trials_of(results, "linear")
    with pytest.raises(InputError, match=rf"trial '{other}' is of the problem 'linear', and '{one}' of 'network'"):
        surface_of(results, one, other, directions="between")
    with pytest.raises(InputError, match="take a trial and one or two others, all different"):
        surface_of(results, one, one, directions="between")
    for status, words in (("diverged", "around$"), ("timeout", "run the study again, which goes on with it")):
        results.trials.loc[results.trials["trial_id"] == one, "status"] = status
        with pytest.raises(InputError, match=rf"trial '{one}' ended as '{status}', and has no end point.*{words}"):
            surface_of(results, one)
    monkeypatch.setattr(fastgd.Results, "on_landscapes", True)
    with pytest.raises(InputError, match="holds trials on landscapes, whose surfaces are stored with them"):
        fastgd.surface(results, one)


def test_solutions_with_nothing_between_or_around_them(tmp_path):
    still = {"name": "momentum", "lr": [1e-300, 2e-300, 3e-300, 4e-300]}
    results = run(tmp_path / "still", DATA, problem=LINEAR, optimizer=still, epochs=1, init={"point": [1.0] * 6})
    one, other = results.trials["trial_id"][:2]
    for options, why in (
        ({"others": [other], "directions": "between"}, "both end at the same point"),
        ({"directions": "pca"}, "it has not moved from its start"),
    ):
        with pytest.raises(InputError, match=f"has no surface in these directions: {why}"):
            fastgd.surface(results, one, data=DATA, points=3, **options)
    empty = np.zeros_like(DATA[0]), DATA[1]
    results = run(tmp_path / "empty", empty, problem=LINEAR, epochs=1)
    with pytest.raises(InputError, match="its weights are all 0, and random directions are as long as the weights"):
        surface_of(results, None, data=empty)
    line = surface_of(results, None, data=empty, directions="pca")  # the intercept alone has moved
    assert (len(line.y), line.info.shares, line.info.captured) == (1, [pytest.approx(1)], pytest.approx(1))
    assert len(axes(results, "contour")) == 1


# --- pictures and the command -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def drawn(made, tmp_path_factory):
    """A folder with surfaces of every kind."""
    results = fastgd.load(shutil.copytree(made.path, tmp_path_factory.mktemp("drawn") / "r"))
    one, two, three = trials_of(results)[:3]
    surface_of(results, one, points=9)
    surface_of(results, trials_of(results, "linear")[3], directions="pca", points=9)
    surface_of(results, one, two, directions="between")
    surface_of(results, one, two, three, directions="between", points=9, trajectory=False)
    return results


@pytest.mark.parametrize("kind", ["contour", "surface"])
def test_pictures(drawn, kind, tmp_path):
    found = axes(drawn, kind)
    assert len(found) == 4
    save(found[0].figure, tmp_path / "all.png")
    assert [ax.get_title(loc="left") for ax in found] == [
        "random directions, seed 0", "main directions", "between two solutions", "plane of three solutions",
    ]  # fmt: skip
    one = trials_of(drawn)[0]
    (first,) = axes(drawn, kind, trials=one, directions="random", zoom=True)
    assert first.get_xlim()[0] > -1
    (main,) = axes(drawn, kind, problem="linear")
    assert main.get_xlabel().startswith("main direction 1 (")
    assert [text.get_text() for text in main.get_legend().get_texts()] == ["momentum  lr 0.3"]


def test_a_line_shows_the_ends_and_what_is_between_them(drawn):
    (line,) = [ax for ax in axes(drawn, "contour", directions="between") if ax.get_ylabel() == "loss"]
    (surface,) = [each for each in drawn.trial_surfaces if len(each.y) == 1]
    points = {(x, y) for drawn_line in line.lines for x, y in drawn_line.get_xydata().tolist()}
    assert {(0.0, surface.info.losses[0]), (1.0, surface.info.losses[1])} <= points
    assert set(zip(surface.x.tolist(), surface.loss[:, 0].tolist(), strict=True)) <= points


def test_they_stand_beside_the_error_surfaces_of_the_study(drawn, tmp_path):
    box = {"low": -1, "high": 1, "num": 9, "parameters": [0, 1]}
    results = run(tmp_path, DATA, problem=LINEAR, surface=box, record={"parameters": "all"})
    assert len(axes(results, "contour")) == 1
    surface_of(results, None)
    assert [ax.get_xlabel() for ax in axes(results, "contour")] == ["$w_{0}$", "random direction 1"]
    assert [ax.get_xlabel() for ax in axes(results, "contour", directions="random")] == ["random direction 1"]
    with pytest.raises(InputError, match=r"axes take one problem: .*its surface by trials= and directions="):
        plot(results, "contour", axes=axes(results, "contour")[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"directions": "rando"}, r"there are no directions 'rando'; did you mean 'random'\?"),
        ({"trials": "nobody"}, r"holds no surface of trial 'nobody': `fastgd surface` makes one"),
        ({"problem": "lines"}, r"no problem 'lines'.*did you mean 'linear'"),
    ],
)
def test_what_cannot_be_drawn_is_one_message(drawn, options, message):
    with pytest.raises(InputError, match=message):
        plot(drawn, "contour", **options)


def test_directions_without_a_surface(results):
    surface_of(results, None)
    with pytest.raises(InputError, match=r"holds no such surface with the directions 'pca': `fastgd surface --dir"):
        plot(results, "surface", directions="pca")


STUDY = """
name = "tiny"
epochs = 2
batch_size = 32
problem = { loss = "logistic", synthetic = { n = 200, d = 5 }, network = { hidden = [6, 4], activation = "tanh" } }
optimizer = { name = "momentum", lr = [0.01, 0.02, 0.03, 0.1, 0.3] }
"""


def test_the_command(tmp_path):
    (tmp_path / "tiny.toml").write_text(STUDY)
    folder = tmp_path / "r"
    fastgd_cli("run", tmp_path / "tiny.toml", "--out", folder)
    one, other = fastgd.load(folder).best()["trial_id"][:2]
    out, errors = fastgd_cli("surface", folder, "--points", 5)
    assert out.startswith("random, 5 x 5 points: losses from ")
    assert f"at the end of {one}" in out
    assert f"fastgd plot {folder} --kind contour --set directions=random draws it" in out
    assert "loading synthetic" in errors
    assert "loading" not in fastgd_cli("surface", folder, "--points", 5)[1]
    out, _ = fastgd_cli("surface", folder, "--trial", one, "--directions", "between", other)  # as one says it
    assert out.startswith("between, 52 points: ")
    fastgd_cli("plot", folder, "--kind", "contour", "-o", tmp_path / "c.png")
    assert (tmp_path / "c.png").stat().st_size > 10_000
    _, errors = fastgd_cli("surface", folder, "-d", "main", code=2)
    assert errors.startswith("error: --directions: there is no 'main'; ")
    _, errors = fastgd_cli("surface", folder, "--trial", "x", code=2)
    assert errors.startswith("error: there is no trial 'x' in ")
