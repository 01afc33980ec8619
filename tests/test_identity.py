"""Names of trials: all that decides their numbers, and nothing else."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from cohorts import spread
from hypothesis import given, settings
from hypothesis import strategies as st
from small_studies import Log, rows, run, study_of

import fastgd
from fastgd import InputError
from fastgd.plan import ids as the_ids
from fastgd.plan import starts
from fastgd.plan.planner import make_plan
from fastgd.plan.standing import standing
from fastgd.runs.data.loading import load_data
from fastgd.runs.reporting.events import Warning_

SCHEMA_1 = Path(__file__).parent / "data" / "schema_1"
VALLEY = {
    "name": "valley",
    "steps": 20,
    "problem": {"landscape": "rosenbrock"},
    "optimizer": {"name": "sgd", "lr": 1e-3},
}


def plan_of(data=None, **changes):
    study = study_of(**changes)
    return make_plan(study, load_data(study, data or rows(study.problem[0].loss), lambda _: None))


def ids_of(data=None, **changes):
    return plan_of(data, **changes).table["trial_id"].tolist()


def swarm_ids(**changes):
    return make_plan(fastgd.Study(**{**VALLEY, **changes})).table["trial_id"].tolist()


# --- numbers ----------------------------------------------------------------------------------------------------------


def test_the_same_number_twice_is_one_trial(tmp_path):
    arange, typed = list(np.arange(0.1, 0.5, 0.1)), [0.1, 0.2, 0.3, 0.4]
    assert arange != typed
    run(tmp_path / "r", optimizer={"name": "momentum", "lr": arange})
    log = Log()
    results = run(tmp_path / "r", log=log, optimizer={"name": "momentum", "lr": typed})
    assert log.computed == []
    assert results.trials["in_study"].all()
    assert len(results.best()) == 4
    log = Log()
    results = run(tmp_path / "r", log=log, optimizer={"name": "momentum", "lr": typed}, seed=[0, 1])
    assert log.computed == [4]
    assert results.best()["seeds"].tolist() == [2] * 4


def test_the_same_number_twice_in_a_list_is_one_trial():
    twice = {"name": "sgd", "lr": [0.1 + 0.2, 0.3, 0.1]}
    assert len(set(twice["lr"])) == 3
    for ids in (swarm_ids(optimizer=twice), ids_of(optimizer=twice)):
        assert len(ids) == len(set(ids)) == 2


@settings(max_examples=200, deadline=None)
@given(st.floats(min_value=1e-300, max_value=1e300), st.integers(-2, 2))
def test_numbers_are_told_apart_to_twelve_digits(value, steps):
    near = value
    for _ in range(abs(steps)):
        near = np.nextafter(near, np.inf if steps > 0 else 0)
    text = f"{value:.12g}"
    if f"{near:.12g}" == text:
        assert the_ids.canonical(float(near)) == the_ids.canonical(value)
        assert the_ids.rows_of(np.array([[near]])) == the_ids.rows_of(np.array([[value]]))
    other = value * (1 + 1e-10)
    assert the_ids.canonical(other) != the_ids.canonical(value)
    assert the_ids.rows_of(np.array([[other]])) != the_ids.rows_of(np.array([[value]]))


def test_numbers_have_one_form():
    assert the_ids.canonical({"a": (1.0, np.float64(0.1 + 0.2), -0.0, np.int64(3))}) == {"a": [1, 0.3, 0, 3]}
    assert the_ids.canonical([float("nan"), float("inf"), True, None]) == ["nan", "inf", True, None]
    assert the_ids.rows_of(np.array([[-0.0]])) == the_ids.rows_of(np.array([[0.0]]))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"problem": {"loss": "logistic", "l2": 0.1 + 0.2}}, {"problem": {"loss": "logistic", "l2": 0.3}}),
        ({"schedule": {"name": "cosine", "final": 0.1 + 0.2}}, {"schedule": {"name": "cosine", "final": 0.3}}),
        ({"stop": {"target": 0.1 + 0.2}}, {"stop": {"target": 0.3}}),
        ({"init": {"normal": 0.1 + 0.2}}, {"init": {"normal": 0.3}}),
        ({"steps": 15, "epochs": None}, {"epochs": 3}),
        ({"record": {"parameters": "all"}}, {"record": {"parameters": "none"}}),
        ({"record": {"rows": 130}}, {"record": {}}),
        ({"record": {"metrics": ["loss"]}}, {"record": {"metrics": ["param_norm", "loss"]}}),
        ({"batch_size": "full", "order": "shuffle"}, {"batch_size": "full", "order": "sequential"}),
    ],
)
def test_what_decides_no_number_is_in_no_name(one, other):
    assert ids_of(**one) == ids_of(**other)


@pytest.mark.parametrize(
    "changes",
    [
        {"epochs": 4}, {"dtype": "float32"}, {"order": "sequential"}, {"init": {"normal": 0.1}}, {"seed": 1},
        {"stop": {"patience": 3}}, {"record": {"every": {"log": 4}}}, {"record": {"metrics": ["accuracy"]}},
        {"batch_size": 16}, {"problem": {"loss": "hinge", "intercept": True}}, {"problem": {"loss": "logistic"}},
        {"optimizer": {"name": "momentum", "lr": [0.01, 0.03, 0.1, 0.3], "clip": {"norm": 1}}},
        {"optimizer": {"name": "momentum", "lr": [0.01, 0.03, 0.1, 0.3], "estimator": "saga"}},
    ],
)  # fmt: skip
def test_what_decides_numbers_is_in_every_name(changes):
    assert not set(ids_of(**changes)) & set(ids_of())


def test_names_of_trials_stay():
    """Written down: results on disk are found again by later versions of this schema."""
    assert ids_of()[:2] == ["7a93a00c1fbdb1e30f7b", "4c4eab1dbffab97a0d2c"]
    assert swarm_ids(starts={"uniform": 5}) == ["2e8d139b7a5db5f0b705"]


# --- extended and run anew --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", spread(["dense", "sparse"], ["dense"]))
def test_an_extended_study_has_the_bits_of_one_run_anew(tmp_path, layout):
    """More lanes may mean another kernel, matrices of their own, a schedule beside: then a trial is another one."""
    X, y = rows()
    problem = {"loss": "logistic", "layout": layout}
    adam = {"name": "adam", "lr": [0.01, 0.1]}
    steps = [
        {"optimizer": [{"name": "momentum", "lr": [0.1, 0.2]}, adam]},
        {"optimizer": [{"name": "momentum", "lr": [0.1, 0.2, *np.linspace(0.01, 0.05, 22)]}, adam]},
        {"optimizer": [{"name": "momentum", "lr": [0.1, 0.2], "momentum": [0.5, 0.9]}, {**adam, "beta1": [0.5, 0.9]}]},
        {
            "optimizer": [{"name": "momentum", "lr": [0.1, 0.2]}],
            "schedule": [{"name": "constant"}, {"name": "sutskever"}],
        },
    ]
    for number, changes in enumerate(steps):
        grown = run(tmp_path / "grown", (X, y), problem=problem, batch_size=8, **changes)
        anew = run(tmp_path / f"anew-{number}", (X, y), problem=problem, batch_size=8, **changes)
        kept = grown.trials[grown.trials["in_study"]].set_index("trial_id")
        fresh = anew.trials.set_index("trial_id")
        assert set(kept.index) == set(fresh.index)
        np.testing.assert_array_equal(kept.loc[fresh.index, "final_loss"], fresh["final_loss"])
        one = fresh.index[0]
        alone = run(tmp_path / f"alone-{number}", (X, y), problem=problem, batch_size=8, trial=one, **changes)
        assert alone.trials["final_loss"][0] == fresh.loc[one, "final_loss"]


@pytest.mark.full
@pytest.mark.parametrize(("rates", "same"), [(8, True), (40, False)])
def test_entries_of_a_row_are_summed_as_the_name_of_a_trial_says(tmp_path, rates, same):
    """Wide tiles deal out a row's entries over fewer sums: other bits, and so other trials."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((60, 30)), rng.integers(0, 2, 60).astype(float)
    fields = {"problem": {"loss": "logistic", "layout": "sparse"}, "batch_size": 4}
    grids = [0.1, 0.2], [0.1, 0.2, *np.linspace(0.01, 0.05, rates - 2)]
    few, many = (
        run(tmp_path / str(len(lr)), (X, y), optimizer={"name": "sgd", "lr": lr}, **fields).trials.set_index("trial_id")
        for lr in grids
    )
    assert few.index.isin(many.index).tolist() == [same] * 2
    if same:
        np.testing.assert_array_equal(few["final_loss"], many.loc[few.index, "final_loss"])


def test_trials_have_other_names_where_a_lane_beside_them_does_not_stay_in_the_frame():
    """SGD with a penalty keeps sparse parameters in the frame of a window if all lanes can, which gives other bits."""
    fields = {"problem": {"loss": "logistic", "layout": "sparse", "l2": 0.1}, "batch_size": 1}
    few, more, strong = (
        plan_of(optimizer={"name": "sgd", "lr": lr}, **fields)
        for lr in ([0.01, 0.02], [0.01, 0.02, 0.05], [0.01, 0.02, 10.0])
    )
    assert [plan.units[0].spec.untouched.framed for plan in (few, more, strong)] == [True, True, False]
    few, more, strong = (set(plan.table["trial_id"]) for plan in (few, more, strong))
    assert few < more
    assert not few & strong


def test_what_runs_again_is_said_with_its_reason(tmp_path):
    run(tmp_path / "r")
    log = Log()
    run(tmp_path / "r", log=log, record={"metrics": ["accuracy"]})
    (note,) = [event.message for event in log.of(Warning_)]
    assert note == f"4 trials of {tmp_path / 'r'} will run again because record.metrics changed"
    log = Log()
    run(tmp_path / "r", log=log, epochs=5, dtype="float32", record={"metrics": ["accuracy"]})
    assert "because epochs, dtype changed" in log.of(Warning_)[0].message
    log = Log()
    run(tmp_path / "two", optimizer={"name": "momentum", "lr": [0.1, 0.2]})
    run(tmp_path / "two", log=log, optimizer={"name": "momentum", "lr": [0.1, 0.2, 0.3]})
    assert "2 trials of" in log.of(Warning_)[0].message
    assert "the number of trials beside them changed" in log.of(Warning_)[0].message
    log = Log()
    run(tmp_path / "two", log=log, optimizer={"name": "momentum", "lr": [0.1, 0.2, 0.3, 0.4]})
    assert not log.of(Warning_)
    log = Log()
    source = {"problem": {"loss": "logistic", "intercept": True, "source": "map"}}
    run(tmp_path / "r", log=log, epochs=6, dtype="float32", record={"metrics": ["accuracy"]}, **source)
    assert "because epochs changed" in log.of(Warning_)[0].message
    source["problem"]["source"] = "stream"
    run(tmp_path / "r", log=log, epochs=6, dtype="float32", record={"metrics": ["accuracy"]}, **source)
    assert "because problem.source changed" in log.of(Warning_)[-1].message


def test_a_problem_or_a_start_more_is_no_reason_to_run_again(tmp_path):
    run(tmp_path / "r")
    log = Log()
    problems = [{"loss": "logistic", "intercept": True}, {"loss": "hinge", "positive": 1.0}]
    run(tmp_path / "r", log=log, problem=problems, stop={"patience": 3})
    assert [event.message for event in log.of(Warning_)] == [
        f"4 trials of {tmp_path / 'r'} will run again because stop.patience changed"
    ]
    fastgd.run(fastgd.Study(**VALLEY, starts={"uniform": 2}), tmp_path / "valley")
    more = fastgd.Study(**{**VALLEY, "steps": 30}, starts={"uniform": 3})
    (note,) = standing(tmp_path / "valley", more, make_plan(more)).notes
    assert note == f"3 trials of {tmp_path / 'valley'} will run again because steps changed"


def test_what_an_interruption_left_has_its_reason(tmp_path, monkeypatch):
    """The study file that the folder holds is that of the run that was interrupted."""
    run(tmp_path / "r")

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("fastgd.runs.executor.Executor.run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "r", epochs=5)
    log = Log()
    run(tmp_path / "r", log=log, epochs=5)
    assert "the study before a run that was interrupted" in log.of(Warning_)[0].message


def test_a_dry_run_says_what_a_folder_lacks(tmp_path):
    run(tmp_path / "r")
    more = {"optimizer": {"name": "momentum", "lr": [0.01, 0.03, 0.1, 0.3, 1.0]}}
    found = standing(tmp_path / "r", study_of(**more), plan_of(**more))
    assert (found.held, found.missing, found.timed_out) == (4, 1, 0)
    assert found.lines == (f"{tmp_path / 'r'} holds 4 of the 5 trials, and 1 are missing",)
    assert sum(cohort.lanes for cohort in found.left.units) == 1
    assert standing(tmp_path / "none", study_of(), plan_of()) is None
    fastgd.run(fastgd.Study(**VALLEY, starts={"uniform": 5}), tmp_path / "valley")
    wider = fastgd.Study(**VALLEY, starts={"uniform": 8})
    found = standing(tmp_path / "valley", wider, make_plan(wider))
    assert (found.held, found.missing, found.notes) == (5, 3, ())
    assert found.left.count == 3
    longer = fastgd.Study(**{**VALLEY, "steps": 30}, starts={"uniform": 5})
    one = make_plan(longer).only(f"{make_plan(longer).table['trial_id'][0]}:3")
    assert standing(tmp_path / "valley", longer, one).missing == 1
    found = standing(tmp_path / "valley", longer, make_plan(longer))
    assert found.notes == (f"5 trials of {tmp_path / 'valley'} will run again because steps changed",)


# --- names ------------------------------------------------------------------------------------------------------------


def test_a_renamed_file_is_the_same_problem(tmp_path):
    X, y = rows()
    frame = pd.DataFrame(X, columns=list("abcde")).assign(y=y)
    frame.to_csv(tmp_path / "a.csv", index=False)
    problem = {"loss": "logistic", "path": str(tmp_path / "a.csv"), "target": "y"}
    run(tmp_path / "r", problem=problem)
    (tmp_path / "a.csv").rename(tmp_path / "b.csv")
    problem["path"], log = str(tmp_path / "b.csv"), Log()
    results = run(tmp_path / "r", log=log, problem=problem, seed=[0, 1])
    assert log.computed == [4]
    assert set(results.trials["problem"]) == {"b.csv/logistic"}
    assert set(results.trials["dataset"]) == {"b.csv"}
    best = results.best()
    assert best["seeds"].tolist() == [2] * 4
    assert best["rank"].tolist() == [1, 2, 3, 4]


def test_a_renamed_landscape_is_the_same_problem(tmp_path):
    fastgd.run(fastgd.Study(**VALLEY, starts={"uniform": 3}), tmp_path)
    named = {**VALLEY, "problem": {"landscape": "rosenbrock", "name": "banana"}}
    log = Log()
    results = fastgd.run(fastgd.Study(**named, starts={"uniform": 3}), tmp_path, on_event=log)
    assert log.computed == []
    assert set(results.trials["problem"]) == {"banana"}
    assert set(results.best()["problem"]) == {"banana"}


def test_one_problem_under_two_names_is_refused():
    twice = [{"loss": "logistic", "name": "a"}, {"loss": "logistic", "name": "b"}]
    with pytest.raises(InputError, match=r"problem\.1 \('b'\) repeats trials of problem\.0"):
        plan_of(problem=twice)
    partly = [{"loss": "logistic", "name": "a", "l2": [0.0, 0.1]}, {"loss": "logistic", "name": "b", "l2": [0.1, 0.2]}]
    with pytest.raises(InputError, match=r"problem\.1 \('b'\) repeats trials of problem\.0"):
        plan_of(problem=partly)
    swarms = [{"landscape": "rosenbrock", "name": "a"}, {"landscape": "rosenbrock", "name": "b"}]
    with pytest.raises(InputError, match=r"problem\.1 \('b'\) repeats trials of problem\.0"):
        swarm_ids(problem=swarms)


RULE = '''
from typing import NamedTuple
import fastgd

@fastgd.optimizer(slots=())
class Own(NamedTuple):
    """w -= lr start_lr g"""
    lr: float
    {name}: float = 1.0

    def rule(h, c, w, g, s):
        return w - h.lr * h.{name} * g, ()
'''


@pytest.mark.parametrize("landscape", [False, True])
def test_hyper_parameters_are_called_almost_anything(tmp_path, monkeypatch, landscape):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / f"own_start_{landscape}.py").write_text(RULE.format(name="start_lr"))
    optimizer = {"name": f"own_start_{landscape}:Own", "lr": 1e-3, "start_lr": [0.5, 1.0]}
    if landscape:
        study = fastgd.Study(**{**VALLEY, "optimizer": optimizer}, starts={"uniform": 3})
        results = fastgd.run(study, tmp_path / "r")
    else:
        results = run(tmp_path / "r", optimizer=optimizer)
    results = fastgd.load(results.path)
    assert set(results.trials["start_lr"]) == {0.5, 1.0}
    assert sorted(results.best()["start_lr"]) == [0.5, 1.0]


@pytest.mark.parametrize(
    "name", ["start_0", "end_12", "rank", "seeds", "method", "diverged", "timeout", "rates", "final_loss_min"]
)
def test_names_of_columns_are_refused(tmp_path, monkeypatch, name):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / f"own_{name}.py").write_text(RULE.format(name=name))
    with pytest.raises(InputError, match=f"the hyper-parameter '{name}' has the name of a column"):
        run(tmp_path / "r", optimizer={"name": f"own_{name}:Own", "lr": 0.1})


# --- machines ---------------------------------------------------------------------------------------------------------


def test_names_do_not_hang_on_computed_minima(monkeypatch):
    """A minimum has the last digits of this machine's functions; the tolerance above it is what is asked for."""
    before = swarm_ids()
    record = fastgd.Study(**VALLEY).landscapes[0].record
    monkeypatch.setattr(type(record), "values", lambda *_: np.array([1e-17]))
    assert swarm_ids() == before
    assert swarm_ids(problem={"landscape": "rosenbrock", "tolerance": 1e-3}) != before


def test_starts_are_named_by_what_they_are():
    drawn = {"uniform": 5}
    assert swarm_ids(starts=drawn) == swarm_ids(starts={"uniform": 50})
    box = fastgd.Study(**VALLEY).landscapes[0].box()
    assert swarm_ids(starts=drawn) == swarm_ids(starts={**drawn, "low": box[:, 0].tolist(), "high": box[:, 1].tolist()})
    assert swarm_ids(starts={"normal": 5, "center": 1.0}) == swarm_ids(starts={"normal": 5, "center": [1.0, 1.0]})
    kinds = [drawn, {**drawn, "seed": 1}, {**drawn, "low": -1, "high": 1}, {"normal": 5}, {"normal": 5, "scale": 2.0},
             {"sobol": 5}, {"grid": 3}, {"points": [[1.0, 2.0]]}, {"points": [[1.0, 2.5]]}]  # fmt: skip
    assert len({swarm_ids(starts=kind)[0] for kind in kinds}) == len(kinds)


def test_starts_are_drawn_from_streams_that_stay():
    """The first numbers of each kind, written down: another NumPy, SciPy or machine draws the same."""
    problem = fastgd.Study(**VALLEY).landscapes[0]

    def drawn(**fields):
        return starts.make_starts(fastgd.Study(**VALLEY, starts=fields).starts, problem)

    unit = {"low": 0.0, "high": 1.0, "seed": 7}
    np.testing.assert_array_equal(drawn(uniform=2, **unit), UNIFORM)
    np.testing.assert_array_equal(drawn(sobol=2, **unit), SOBOL)
    np.testing.assert_allclose(drawn(normal=2, center=0.0, seed=7), NORMAL, rtol=1e-14)
    sobol = drawn(sobol=256, **unit)
    for axis in range(2):  # balanced: one point in each of 256 equal parts of each axis
        assert len(set((sobol[:, axis] * 256).astype(int))) == 256
    uniform, normal = drawn(uniform=20_000, **unit), drawn(normal=20_000, center=0.0)
    np.testing.assert_allclose(uniform.mean(axis=0), 0.5, atol=0.01)
    np.testing.assert_allclose(np.cov(normal.T), np.eye(2), atol=0.03)
    np.testing.assert_allclose(normal.mean(axis=0), 0, atol=0.03)
    np.testing.assert_array_equal(drawn(normal=3, center=0.0), normal[:3])
    np.testing.assert_array_equal(drawn(sobol=3, **unit), sobol[:3])


UNIFORM = [[0.604417605471274, 0.7361699636649791], [0.14679620109818836, 0.24903404857991507]]
SOBOL = [[0.6044176054712739, 0.736169963664979], [0.10441760547127388, 0.236169963664979]]
NORMAL = [[-0.08708971671344483, -0.8623523496153714], [0.01188918703989173, -1.2380208844349772]]


# --- results of the schema before -------------------------------------------------------------------------------------


def test_results_of_the_first_schema_can_be_read(tmp_path):
    results = fastgd.load(SCHEMA_1 / "rates")
    assert len(results.trials) == 28
    best = results.best()
    assert best["seeds"].tolist() == [2] * 14
    assert best.iloc[0][["optimizer", "lr", "momentum", "schedule"]].tolist() == ["momentum", 0.3, 0.9, "constant"]
    assert best["final_validation_loss"][0] == pytest.approx(0.346446, abs=1e-6)
    assert len(results.curves) == 28 * 4
    swarm = fastgd.load(SCHEMA_1 / "valley")
    assert swarm.best()["trial_id"].tolist()[0] == "23be2b1029c85c649f41"
    assert swarm.best()["starts"].tolist() == [5, 5, 5]
    from fastgd import plots

    for found, kind in ((results, "curves"), (results, "sensitivity"), (swarm, "traces")):
        plots.save(plots.plot(found, kind), tmp_path / f"{kind}.png")


def test_results_of_the_first_schema_are_not_extended(tmp_path):
    shutil.copytree(SCHEMA_1 / "valley", tmp_path / "valley")
    study = fastgd.Study.from_toml(tmp_path / "valley" / "study.toml")
    before = {path: path.read_bytes() for path in (tmp_path / "valley").rglob("*") if path.is_file()}
    with pytest.raises(InputError, match=r"schema 1, in which trials have other names.*--fresh"):
        fastgd.run(study, tmp_path / "valley")
    assert all(path.read_bytes() == content for path, content in before.items())
    fresh = fastgd.run(study, tmp_path / "valley", fresh=True)
    assert fresh.manifest.schema == 2
    assert len(fresh.trials) == 15
