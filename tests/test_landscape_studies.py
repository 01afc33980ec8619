"""Studies on landscapes, from the study file to what is read back."""

import numpy as np
import pandas as pd
import pytest
from landscape_studies import FIELDS, study

import fastgd
from fastgd import InputError
from fastgd.problems import find_landscape
from fastgd.runs.reporting.events import CohortStarted, Warning_


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return fastgd.run(study(), tmp_path_factory.mktemp("swarm") / "basins")


def by_key(frame, *more):
    return frame.astype({"trial_id": str}).sort_values(["trial_id", "start", *more]).reset_index(drop=True)


TIMES = ["compile_seconds", "train_seconds", "evaluate_seconds", "cohort_id", "cohort_lanes"]


def same(one, two):
    """Whether two folders hold the same bits, times and cohorts excepted."""
    pd.testing.assert_frame_equal(by_key(one.trials).drop(columns=TIMES), by_key(two.trials).drop(columns=TIMES))
    pd.testing.assert_frame_equal(by_key(one.curves, "step"), by_key(two.curves, "step"))


# --- what is stored ---------------------------------------------------------------------------------------------------


def test_a_row_for_each_configuration_and_start(results):
    trials = results.trials
    assert len(trials) == 3 * 400
    assert trials["trial_id"].nunique() == 3
    assert not trials.duplicated(["trial_id", "start"]).any()
    axis = np.linspace(-5, 5, 20)
    first = by_key(trials).iloc[:400]
    assert np.array_equal(first["start_0"], np.repeat(axis, 20))
    assert np.array_equal(first["start_1"], np.tile(axis, 20))


def test_trials_know_at_which_minimum_they_ended(results):
    trials, minima = results.trials, np.array(results.surfaces[0].info.minima)
    ended = trials[trials["status"] == "converged"]
    assert len(ended) > 1000
    nearest = minima[ended["minimum"].astype(int)]
    assert np.abs(ended[["end_0", "end_1"]].to_numpy() - nearest).max() < 0.01
    assert set(ended["minimum"]) == {0, 1, 2, 3}
    assert (ended["final_loss"] <= 1e-6).all()
    assert trials.loc[trials["status"] != "converged", "minimum"].isna().all()


def test_curves_end_where_trials_do(results):
    last = by_key(results.curves[results.curves["step"] == 300])
    trials = by_key(results.trials)
    assert np.array_equal(last["loss"], trials["final_loss"])
    assert np.array_equal(last[["x_0", "x_1"]], trials[["end_0", "end_1"]])
    record = find_landscape("himmelblau")
    points = results.curves[["x_0", "x_1"]].to_numpy().T
    np.testing.assert_allclose(record.values(record.instance(), points), results.curves["loss"], rtol=1e-9, atol=1e-12)


def test_the_ranking_is_over_starts(results):
    best = results.best()
    assert (best["seeds"].tolist(), best["starts"].tolist()) == ([1] * 3, [400] * 3)
    trials = results.trials
    medians = trials.groupby(["optimizer", "lr"], observed=True)["final_loss"].median()
    assert np.allclose(best["final_loss"], np.sort(medians))
    assert best["optimizer"].tolist()[0] in ("adam", "momentum")


def test_the_surface_is_stored(results):
    (surface,) = results.surfaces
    record = find_landscape("himmelblau")
    at = np.array([surface.x[17], surface.y[200]])
    assert surface.loss[17, 200] == pytest.approx(record.values(record.instance(), at[:, None])[0])
    assert surface.info.problem == "himmelblau"
    assert len(surface.info.minima) == 4


def test_rest_cycles_divergence_and_the_way_there(tmp_path):
    """A quadratic of curvature 1 and 20: the rate alone says what plain descent does on it."""
    rates = {1e-5: "completed", 0.05: "converged", 0.1: "cycling", 0.105: "diverged", 50.0: "diverged"}
    problem = {"landscape": "ravine", "condition": 20}
    fields = {"problem": problem, "starts": {"points": [[1.0, 1.0]]}, "optimizer": [{"name": "sgd", "lr": [*rates]}]}
    trials = fastgd.run(study(**fields), tmp_path).trials.set_index("lr")
    assert trials["status"].astype(str).to_dict() == rates
    assert trials.loc[0.105, "steps"] == 300  # it rose, and is finite
    died = trials.loc[50.0, "steps"]
    steep = [1.0]
    while np.isfinite(steep[-1]):
        steep.append(steep[-1] - 50.0 * 20 * steep[-1])
    assert died == len(steep) - 1
    assert "finite" in trials.loc[50.0, "reason"]


def test_trapped_at_a_minimum_that_is_not_the_lowest(tmp_path):
    problem, starts = {"landscape": "three_hump_camel"}, {"points": [[-1.8, 0.9], [0.3, 0.0]]}
    optimizer = [{"name": "sgd", "lr": 0.02}]
    results = fastgd.run(study(problem=problem, starts=starts, optimizer=optimizer, steps=2000), tmp_path)
    trials, minima = results.trials, results.surfaces[0].info.minima
    assert trials["status"].tolist() == ["trapped", "converged"]
    assert np.allclose(trials[["end_0", "end_1"]].to_numpy()[0], minima[int(trials["minimum"][0])], atol=1e-3)
    assert trials["minimum"].tolist()[1] == 0


# --- running on -------------------------------------------------------------------------------------------------------


def started(events):
    return sum(event.lanes for event in events if isinstance(event, CohortStarted))


def test_a_second_run_has_nothing_to_do_and_more_starts_run_alone(tmp_path):
    events: list = []
    drawn = {"steps": 50, "starts": {"uniform": 100}}
    fastgd.run(study(**drawn), tmp_path, on_event=events.append)
    assert started(events) == 300
    events.clear()
    fastgd.run(study(**drawn), tmp_path, on_event=events.append)
    assert started(events) == 0
    fastgd.run(study(steps=50, starts={"uniform": 150}), tmp_path, on_event=events.append)
    assert started(events) == 150
    extended = fastgd.load(tmp_path)
    same(extended, fastgd.run(study(steps=50, starts={"uniform": 150}), tmp_path / "whole"))
    more = [*FIELDS["optimizer"], {"name": "sgd", "lr": 1e-3}]
    events.clear()
    fastgd.run(study(steps=50, starts={"uniform": 150}, optimizer=more), tmp_path, on_event=events.append)
    assert started(events) == 150
    fastgd.run(study(**drawn), tmp_path)
    assert fastgd.load(tmp_path).trials.query("in_study")["start"].max() == 99


def test_an_interrupted_run_goes_on(tmp_path, monkeypatch, results):
    monkeypatch.setattr("fastgd.plan.units.swarm.MOST_LANES_AT_ONCE", 100)
    monkeypatch.setattr("fastgd.runs.executor.COMMIT_ROWS", 1)
    calls = []

    def interrupt(event):
        calls.append(event)
        if sum(isinstance(each, CohortStarted) for each in calls) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fastgd.run(study(), tmp_path / "cut", on_event=interrupt)
    kept = len(fastgd.load(tmp_path / "cut").trials)
    assert 0 < kept <= 100  # a part of momentum's cohort: the next one is adam's turn
    events: list = []
    resumed = fastgd.run(study(), tmp_path / "cut", on_event=events.append)
    assert started(events) == 1200 - kept
    same(resumed, results)


def test_one_trial_alone_has_the_same_bits(results, tmp_path):
    row = results.trials.iloc[777]
    alone = fastgd.run(study(), tmp_path, trial=f"{row['trial_id']}:{row['start']}")
    assert len(alone.trials) == 1
    own = results.trials.iloc[[777]].drop(columns=TIMES).astype({"trial_id": str, "reason": str, "status": str})
    found = alone.trials.drop(columns=TIMES).astype({"trial_id": str, "reason": str, "status": str})
    pd.testing.assert_frame_equal(
        found, own.reset_index(drop=True), check_dtype=False, check_categorical=False, check_exact=True
    )
    with pytest.raises(InputError, match="the starts are 0 to 399, found '400'"):
        fastgd.run(study(), tmp_path / "none", trial=f"{row['trial_id']}:400")


class Clock:
    """Time that passes by a second whenever somebody looks at it: what is interrupted depends on no machine."""

    def __init__(self):
        self.seconds = 0

    def perf_counter(self):
        self.seconds += 1
        return float(self.seconds)


def hurried(path, monkeypatch, total, **changes):
    """Run a study again and again until nothing is left; return the trials that stood there after each run."""
    counts = []
    with monkeypatch.context() as patch:
        patch.setattr("fastgd.runs.executor.LEAST_SECONDS", 0.0)
        while not counts or counts[-1] < total:
            events: list = []
            patch.setattr("fastgd.runs.clock.time", Clock())
            fastgd.run(study(**changes), path, on_event=events.append)
            counts.append(len(fastgd.load(path).trials))
            left = [event.message for event in events if isinstance(event, Warning_)]
            assert left == [
                f"max_seconds was over: {total - counts[-1]:,} trials are left for the next run of the study"
            ] * (counts[-1] < total)
            assert len(counts) < 60
    return counts


@pytest.mark.parametrize("seconds", [1e-9, 60])
def test_a_study_that_is_always_cut_short_comes_to_its_end(tmp_path, monkeypatch, seconds):
    """Each run stores something, however short its time is, and the bits are those of a run that was not cut."""
    fields = {"steps": 60, "starts": {"grid": [8, 12]}, "record": {"trajectories": 0}}
    counts = hurried(tmp_path / "cut", monkeypatch, 3 * 96, max_seconds=seconds, **fields)
    assert all(before < after for before, after in zip([0, *counts], counts, strict=False))
    assert len(counts) > 1, "the first run was cut short"
    same(fastgd.load(tmp_path / "cut"), fastgd.run(study(**fields), tmp_path / "whole"))


@pytest.mark.full
def test_trajectories_of_a_study_that_is_cut_short(tmp_path, monkeypatch):
    fields = {"steps": 40, "starts": {"uniform": 100}, "record": {"trajectories": [0, 99]}}
    hurried(tmp_path / "cut", monkeypatch, 300, max_seconds=60, **fields)
    cut, whole = fastgd.load(tmp_path / "cut"), fastgd.run(study(**fields), tmp_path / "whole")
    paths = [by_key(each.trajectories, "step", "coordinate") for each in (cut, whole)]
    pd.testing.assert_frame_equal(*paths, check_exact=True)


@pytest.mark.full
def test_many_small_swarms_in_too_short_a_time(tmp_path, monkeypatch):
    """Of each optimizer something is there before the second swarm of any begins."""
    optimizers = [{"name": name, "lr": 1e-3, "schedule": {"name": each}} for name in ("momentum", "adam") for each in
                  ("constant", "cosine", "linear")]  # fmt: skip
    fields = {"steps": 20, "starts": {"grid": 2}, "optimizer": optimizers}  # fewer than a group has on any processor
    patched, seen = monkeypatch, []
    patched.setattr("fastgd.runs.executor.LEAST_SECONDS", 0.0)
    for number in range(6):
        patched.setattr("fastgd.runs.clock.time", Clock())
        fastgd.run(study(max_seconds=1e-9, **fields), tmp_path)
        trials = fastgd.load(tmp_path).trials
        assert len(trials) == 4 * (number + 1)
        seen.append(set(trials["optimizer"]))
    assert seen[0] == {"momentum"}
    assert seen[1] == {"momentum", "adam"}


def test_parts_under_a_deadline_share_the_time(monkeypatch):
    """A group at first; then what the time that is left gives each swarm, by the speed that was measured."""
    from types import SimpleNamespace

    from fastgd.plan.planner import make_plan
    from fastgd.runs.clock import Clock
    from fastgd.runs.executor import LocalExecutor, Work

    monkeypatch.setattr("fastgd.runs.clock.time", SimpleNamespace(perf_counter=lambda: 10.0))
    (unit, _) = make_plan(study(starts={"uniform": 100_000})).units
    none_saved = SimpleNamespace(names=list)
    executor, work = LocalExecutor(None, Clock(), None, None, 0, none_saved), Work(0, unit, unit)
    width = unit.spec.width
    executor._stored = True

    def lanes_next(others):
        part, rest = executor._cut(unit, work, others)
        assert np.array_equal(np.concatenate([part.lanes, rest.lanes]), unit.lanes)
        return part.count

    assert lanes_next(0) == unit.lanes_at_once
    executor.clock.start(30.0)
    assert lanes_next(0) == width
    work.speed = 1000 * width
    assert lanes_next(0) == min(unit.lanes_at_once, 10_000 * width)
    assert lanes_next(97) == 300 * width
    executor.clock.deadline = 9.0
    assert lanes_next(0) == width
    executor._stored = False  # nothing yet in this run: what a quarter of a second is enough for
    assert lanes_next(0) == 250 * width


# --- trajectories -----------------------------------------------------------------------------------------------------


def test_trajectories_are_the_steps_between_the_curves(tmp_path):
    few = {"points": [[0.0, 0.0], [-3.0, 3.0], [1.0, -1.0]]}
    found = fastgd.run(study(starts=few, steps=64, record={"every": {"log": 8}, "trajectories": [0, 2]}), tmp_path)
    path = found.trajectories
    assert set(path["start"]) == {0, 2}
    assert len(path) == 3 * 2 * 65 * 2
    wide = path.pivot_table(index=["trial_id", "start", "step"], columns="coordinate", values="x", observed=True)
    curves = found.curves[found.curves["start"] != 1].set_index(["trial_id", "start", "step"])
    joined = curves.join(wide)
    assert np.array_equal(joined["x_0"], joined[0])
    assert np.array_equal(joined["x_1"], joined[1])
    own = path[path["coordinate"] == 0].set_index(["trial_id", "start", "step"])
    assert np.array_equal(joined["loss"], own.loc[joined.index, "loss"])
    adam = path[path["slot.mean_square"].notna()]
    assert set(adam["trial_id"].astype(str)) == {
        found.trials.query("optimizer == 'adam'")["trial_id"].astype(str).iloc[0]
    }
    assert adam["slot.mean_square"].ge(0).all()
    second = adam.query("step == 1 and start == 0").sort_values("coordinate")
    gradient = adam.query("step == 0 and start == 0").sort_values("coordinate")["gradient"].to_numpy()
    np.testing.assert_allclose(second["slot.mean_square"], 0.001 * gradient**2, rtol=1e-12)
    np.testing.assert_allclose(second["effective_lr"], 0.1 / np.abs(gradient), rtol=1e-6)


def test_steps_of_a_few_trials_are_read_many_at_a_time(tmp_path, monkeypatch):
    """A step by itself takes longer to read than to take."""
    from fastgd.engine.swarm.reading import LanesView

    read, reads = LanesView.read, []

    def counted(swarm):
        reads.append(swarm)
        return read(swarm)

    monkeypatch.setattr(LanesView, "read", counted)
    few = {"starts": {"grid": 3}, "record": {"every": {"log": 4}, "trajectories": "all"}}
    counts = []
    for steps in (50, 200):
        reads.clear()
        found = fastgd.run(study(steps=steps, **few), tmp_path / str(steps))
        assert len(found.trajectories) == 3 * 9 * (steps + 1) * 2
        counts.append(len(reads))
    assert max(counts) < 50, "of 3 swarms"


# --- corners ----------------------------------------------------------------------------------------------------------


def test_fewer_starts_leave_the_study(tmp_path):
    fastgd.run(study(steps=20, starts={"uniform": 30}), tmp_path)
    few = fastgd.run(study(steps=20, starts={"uniform": 10}), tmp_path)
    assert len(few.trials) == 90
    assert few.trials.query("in_study")["start"].max() == 9
    assert few.best()["starts"].tolist() == [10] * 3


def test_starts_that_left_the_study_are_of_their_configuration_alone():
    from fastgd.plan.planner import make_plan

    swarm = make_plan(study(starts={"uniform": 5})).units[0]
    left = swarm.without({swarm.ids[0]: np.arange(10)})
    np.testing.assert_array_equal(left.lanes, swarm.lanes[5:])
    np.testing.assert_array_equal(swarm.without({swarm.ids[1]: np.array([1, 7])}).lanes, [0, 1, 2, 3, 4, 5, 7, 8, 9])


def test_a_run_with_nothing_to_do_writes_no_results_again(tmp_path):
    for _ in range(2):
        fastgd.run(study(steps=20, starts={"uniform": 5}, record={"trajectories": 0}), tmp_path)
        files = sorted(path.name for path in (tmp_path / "trials").iterdir())
        assert files == ["0001-000000.parquet"]


def test_outcomes_do_not_depend_on_what_is_recorded(tmp_path):
    fields = {"steps": 120, "starts": {"uniform": 200}}
    few = fastgd.run(study(**fields), tmp_path / "few")
    every = fastgd.run(study(**fields, record={"every": "epoch", "trajectories": 0}), tmp_path / "every")
    key = ["optimizer", "lr", "start"]
    one, two = (found.trials.astype({"optimizer": str, "status": str}).sort_values(key) for found in (few, every))
    assert one["status"].tolist() == two["status"].tolist()
    assert one["final_loss"].tolist() == two["final_loss"].tolist()


def test_parts_are_small_where_there_are_many_coordinates():
    from fastgd.plan.planner import make_plan
    from fastgd.plan.units.swarm import MOST_LANE_BYTES_AT_ONCE

    wide = study(problem={"landscape": "rosenbrock", "dimension": 1000}, starts={"uniform": 20_000})
    for swarm in make_plan(wide).units:
        assert swarm.lanes_at_once * swarm.bytes_a_lane <= MOST_LANE_BYTES_AT_ONCE
        assert swarm.lanes_at_once < len(swarm.lanes)
