"""The search of learning rates: what it finds where the best rate is known, that it resumes, and what it writes."""

import math

import numpy as np
import pandas as pd
import pytest
from cohorts import in_full
from small_studies import Log, rows

import fastgd
from fastgd import InputError
from fastgd.runs.reporting.events import CohortStarted
from fastgd.search.found_rates import FoundRates

STEEP, FLAT, STEPS = 1.0, 0.1, 20  # the eigenvalues of a quadratic: its extreme curvatures
BEST = 2 / (STEEP + FLAT)


def quadratic():
    """Rows and targets of least squares for which 2 / (L + mu) is the best rate after any number of steps.

    The loss after T steps of descent from 0 is the sum of w_i^2 l_i (1 - r l_i)^(2 T) / 2 over the eigenvalues l_i;
    its derivative is 0 at that rate if w_i l_i is the same for both.
    """
    random = np.random.default_rng(0)
    n = 40
    Q = np.linalg.qr(random.standard_normal((n, 2)))[0] * math.sqrt(n)
    turn = np.linalg.qr(random.standard_normal((2, 2)))[0]
    X = Q * np.sqrt([STEEP, FLAT]) @ turn.T
    np.testing.assert_allclose(np.linalg.eigvalsh(X.T @ X / n), [FLAT, STEEP])
    return X, X @ turn @ [1 / STEEP, 1 / FLAT]


def loss_after(rate, steps=STEPS):
    return sum((1 - rate * curvature) ** (2 * steps) / curvature / 2 for curvature in (STEEP, FLAT))


def study_of(**changes):
    fields = {
        "name": "quadratic",
        "epochs": STEPS,
        "problem": {"loss": "squared"},
        "optimizer": {"name": "sgd", "lr": 1},
    }
    return fastgd.Study(**{**fields, **changes})


def tune(path, log=None, study=None, **options):
    return fastgd.tune(
        study or study_of(), path, data=options.pop("data", quadratic()), threads=2, on_event=log, **options
    )


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return tune(tmp_path_factory.mktemp("tune") / "q")


# --- the whole search -------------------------------------------------------------------------------------------------


def test_the_best_rate_of_a_quadratic_is_bracketed(found):
    (answer,) = found.answers.to_dict("records")
    assert answer["status"] == "bracketed"
    assert answer["low"] < BEST < answer["high"]
    assert answer["low"] < answer["lr"] < answer["high"] <= 1.3001 * answer["low"]
    assert answer["loss"] == pytest.approx(loss_after(answer["lr"]), rel=1e-6)
    assert answer["start"] == pytest.approx(loss_after(0.0))
    assert answer["flat_low"] <= answer["lr"] <= answer["flat_high"] < 2 / STEEP * 1.1
    for rate in (answer["flat_low"], answer["flat_high"]):
        assert loss_after(rate) <= loss_after(BEST) + 0.06 * loss_after(0.0)


def test_rounds_are_studies_and_the_last_have_the_whole_budget(found):
    assert [one.budget for one in found.rounds][:2] == [{"epochs": STEPS // 5}] * 2
    assert [one.full for one in found.rounds] == sorted(one.full for one in found.rounds)
    assert found.rounds[-1].budget == {"epochs": STEPS}
    for number, one in enumerate(found.rounds):
        results = fastgd.load(found.path / f"round-{number}")
        assert one.folder == f"round-{number}"
        assert len(results.trials) == one.trials
        own = found.points[found.points["round"] == number]
        assert sorted(own["lr"]) == sorted(results.trials["lr"])
        assert (own["full"] == one.full).all()
    assert found.answers["trials"].sum() == sum(one.trials for one in found.rounds)


def test_the_same_call_runs_nothing_anew(found):
    log = Log()
    again = tune(found.path, log)
    assert log.of(CohortStarted) == []
    pd.testing.assert_frame_equal(again.answers, found.answers)
    pd.testing.assert_frame_equal(again.points, found.points)


def test_it_is_read_back(found):
    read = FoundRates.load(found.path)
    assert (read.name, read.metric, read.factor, read.rounds) == ("quadratic", "loss", 1.3, found.rounds)
    pd.testing.assert_frame_equal(read.answers, found.answers, check_dtype=False)
    pd.testing.assert_frame_equal(read.points, found.points, check_dtype=False)


def test_an_interrupted_search_goes_on(found, tmp_path):
    class Interrupting(Log):
        def __call__(self, event):
            super().__call__(event)
            if len(self.of(CohortStarted)) == 3:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune(tmp_path / "q", Interrupting())
    assert not (tmp_path / "q" / "tune.json").exists()
    log = Log()
    again = tune(tmp_path / "q", log)
    assert 0 < len(log.of(CohortStarted)) < len(found.rounds)
    pd.testing.assert_frame_equal(again.answers, found.answers)


@pytest.mark.parametrize(("low", "high"), [(1e-5, 1e-3), (10.0, 1e3), (0.5, 0.6)])
def test_a_best_rate_outside_of_the_grid_is_found(tmp_path, low, high):
    (answer,) = tune(tmp_path / "q", low=low, high=high).answers.to_dict("records")
    assert answer["low"] < BEST < answer["high"]


def test_the_ends_are_those_of_the_studys_rates(tmp_path):
    study = study_of(optimizer={"name": "sgd", "lr": [0.02, 0.05, 0.3]})
    tuned = tune(tmp_path / "q", study=study, points=5, factor=2)
    first = tuned.points.query("round == 0")["lr"]
    assert (len(first), first.min(), first.max()) == (5, 0.02, 0.3)
    assert tuned.answers["low"][0] < BEST < tuned.answers["high"][0] <= 2.001 * tuned.answers["low"][0]


def test_the_budget_of_the_first_rounds(tmp_path):
    epochs = tune(tmp_path / "epochs", epochs=7)
    assert epochs.rounds[0].budget == {"epochs": 7}
    steps = tune(tmp_path / "steps", steps=5)
    assert [steps.rounds[0].budget, steps.rounds[-1].budget] == [{"steps": 5}, {"epochs": STEPS}]
    one = tune(tmp_path / "one", study=study_of(epochs=None, steps=1))
    assert all(each.full and each.budget == {"steps": 1} for each in one.rounds)


def test_diverged_at_every_rate_is_an_answer(tmp_path):
    tuned = tune(tmp_path / "q", low=1e9, high=1e10, points=3)
    (answer,) = tuned.answers.to_dict("records")
    assert answer["status"] == "diverged"
    assert answer["loss"] == math.inf
    assert math.isnan(answer["lr"])
    assert tuned.points["lr"].min() == pytest.approx(1e3, rel=1e-4)
    assert tuned.tuned is None
    assert FoundRates.load(tuned.path).answers["loss"][0] == math.inf


def test_a_best_rate_at_an_end_is_said_to_be_there(tmp_path, monkeypatch):
    monkeypatch.setattr("fastgd.search.rate_grid.REACH", 10.0)
    tuned = tune(tmp_path / "q", low=1e-5, high=1e-3)
    (answer,) = tuned.answers.to_dict("records")
    assert (answer["status"], answer["lr"]) == ("at an end", tuned.points["lr"].max())
    assert math.isnan(answer["high"])
    assert tuned.tuned.exists()


@pytest.mark.full
def test_an_optimizer_with_a_schedule_has_the_whole_budget_in_every_round(tmp_path):
    """In a round of one epoch of five, a cosine over epochs would be a constant, and favour other rates."""
    schedules = [
        {"name": "constant"},
        {"name": "cosine"},
        {"name": "warmup", "length": 10},
        {"name": "constant", "value": 1},
    ]
    blocks = [{"name": "sgd", "lr": [0.01, 1.0], "schedule": schedule} for schedule in schedules]
    tuned = tune(tmp_path / "q", study=study_of(epochs=5, optimizer=blocks), factor=2, points=5)
    budgets = tuned.points.groupby("answer")["full"].unique().map(set).to_dict()
    assert dict(zip(tuned.answers["schedule"], budgets.values(), strict=True)) == {
        "constant": {False, True},
        "cosine": {True},
        "warmup": {True},
    }
    assert set(tuned.answers["status"]) == {"bracketed"}
    alone = tune(tmp_path / "alone", study=study_of(epochs=5, optimizer=blocks[1]), factor=2, points=5)
    same = ["lr", "low", "high", "loss", "flat_low", "flat_high"]
    cosine = tuned.answers[tuned.answers["schedule"] == "cosine"]
    pd.testing.assert_frame_equal(alone.answers[same], cosine[same].reset_index(drop=True))
    assert all(one.full for one in alone.rounds)


def test_the_flat_range_of_a_scheduled_optimizer_is_that_of_its_whole_budget(tmp_path):
    study = study_of(epochs=10, optimizer={"name": "sgd", "lr": [0.01, 3.0]}, schedule={"name": "cosine"})
    (answer,) = tune(tmp_path / "q", study=study).answers.to_dict("records")
    curvatures = np.array([STEEP, FLAT])

    def loss(rate):
        steps = rate * 0.5 * (1 + np.cos(np.pi * np.arange(10) / 9))
        return float(np.sum(np.prod(1 - np.outer(steps, curvatures), axis=0) ** 2 / curvatures) / 2)

    limit = answer["loss"] + 0.05 * (loss(0.0) - answer["loss"])
    assert answer["loss"] == pytest.approx(loss(answer["lr"]), rel=1e-6)
    step = (3.0 / 0.01) ** (1 / 8)
    for rate, beyond in ((answer["flat_low"], 1 / step), (answer["flat_high"], step)):
        assert loss(rate) <= limit * (1 + 1e-9)
        assert loss(rate * beyond) > limit


def test_rounds_that_run_out_of_time_are_no_answer(tmp_path):
    study = study_of(max_seconds=1e-9)
    with pytest.raises(InputError, match="round-0: max_seconds = 1e-09 was over before all trials ended"):
        tune(tmp_path / "q", study=study)
    with pytest.raises(InputError, match="range-test: max_seconds = 1e-09 was over before all trials ended"):
        fastgd.range_test(study, tmp_path / "q", data=quadratic(), threads=2)
    swarm = {
        "steps": 20_000,
        "problem": {"landscape": "booth"},
        "starts": {"uniform": 40_000},
    }  # a run does less at least
    study = fastgd.Study(name="late", optimizer={"name": "sgd", "lr": [1e-3, 1e-2]}, max_seconds=1e-9, **swarm)
    with pytest.raises(InputError, match="round-0: max_seconds = 1e-09 was over before all trials ended"):
        fastgd.tune(study, tmp_path / "v", threads=2)


# Several of everything: what is whose, and what counts.
MANY = {
    "epochs": 5,
    "seed": [0, 1, 2],
    "batch_size": [16, 32],
    "problem": {"loss": "logistic", "intercept": True, "l2": [0.0, 0.1]},
    "optimizer": [
        {"name": "momentum", "lr": [0.01, 1.0], "momentum": [0.0, 0.9]},
        {"name": "momentum", "lr": [0.01, 1.0], "momentum": 0.5, "form": ["torch", "lecture"]},
        {"name": "sgd", "lr": 0.1, "estimator": ["none", "saga"]},
        {"name": "dog"},
    ],
    "schedule": [{"name": "constant"}, {"name": "cosine", "final": [0.0, 0.1]}],
}
SOME = MANY | {
    "optimizer": [block for block in MANY["optimizer"] if block["name"] != "sgd"],
    "schedule": [{"name": "constant"}, {"name": "cosine", "final": 0.1}],
}


@pytest.fixture(scope="module", params=[SOME, in_full(MANY)], ids=["some", "many"])
def fields(request):
    return request.param


@pytest.fixture(scope="module")
def many(tmp_path_factory, fields):
    path = tmp_path_factory.mktemp("tune") / "many"
    return tune(path, study=study_of(**fields), data=rows(), factor=5, points=5)


CELLS = 2 * 2  # problems x batch sizes


def schedules_of(fields):
    return 3 if fields is MANY else 2


def test_each_optimizer_with_its_variant_schedule_problem_and_batch_size_has_an_answer(many, fields):
    blocks = 1 + 2 + 2 + 1 if fields is MANY else 1 + 2 + 1
    assert len(many.answers) == blocks * schedules_of(fields) * CELLS
    what = ["optimizer", "variant", "momentum", "schedule", "schedule.final", "l2", "batch_size"]
    first = many.answers.assign(momentum=many.answers["momentum"].replace({0.0: 0.9}))
    assert not first.duplicated(what).any()
    assert many.answers["trials"].sum() == sum(one.trials for one in many.rounds)


def test_rates_are_judged_by_the_median_of_the_best_combination(many, fields):
    last = fastgd.load(many.path / many.rounds[-1].folder)
    several = many.answers[many.answers["momentum"].isin([0.0, 0.9])]
    assert len(several) == schedules_of(fields) * CELLS
    for index, answer in several.iterrows():
        points = many.points[(many.points["answer"] == index) & many.points["full"]]
        best = points.loc[points["loss"].idxmin()]
        assert (answer["lr"], answer["loss"]) == (best["lr"], best["loss"])
        results = fastgd.load(many.path / f"round-{best['round']}")
        own = results.trials[
            (results.trials["lr"] == best["lr"])
            & (results.trials["schedule"] == answer["schedule"])
            & (results.trials["l2"] == answer["l2"])
            & (results.trials["batch_size"] == answer["batch_size"])
            & results.trials["momentum"].isin([0.0, 0.9])
        ]
        if not math.isnan(answer["schedule.final"]):
            own = own[own["schedule.final"] == answer["schedule.final"]]
        medians = own.groupby("momentum")["final_loss"].median()
        assert answer["loss"] == medians.min()
        assert answer["momentum"] == medians.idxmin()
        assert answer["seeds"] == 3
    assert len(last.trials)


def test_an_optimizer_without_a_rate_runs_once_with_the_whole_budget(many):
    dog = many.answers[many.answers["optimizer"] == "dog"]
    assert set(dog["status"]) == {"no rate"}
    assert set(dog["rounds"]) == {1}
    points = many.points[many.points["answer"].isin(dog.index)]
    assert points["full"].all()
    assert np.isfinite(points["loss"]).all()
    assert set(many.answers.loc[many.answers["optimizer"] != "dog", "status"]) == {"bracketed"}


def test_the_tuned_study_has_each_optimizer_at_its_best(many, tmp_path):
    tuned = fastgd.Study.from_toml(many.tuned)
    assert (tuned.name, tuned.epochs, tuned.seed) == ("quadratic-tuned", 5, [0, 1, 2])
    results = fastgd.run(tuned, tmp_path / "tuned", data=rows(), threads=2)
    ranking = results.best()
    for _, answer in many.answers.iterrows():
        same = ["optimizer", "variant", "schedule", "batch_size", "l2", "lr"]
        own = ranking[np.logical_and.reduce([ranking[name] == answer[name] for name in same])]
        assert np.isclose(own["final_loss"], answer["loss"], rtol=1e-9).any()


def test_a_study_without_rates_is_run(tmp_path):
    tuned = tune(tmp_path / "d", study=study_of(optimizer={"name": "dog"}))
    assert [(one.full, one.trials) for one in tuned.rounds] == [(True, 1)]
    assert list(tuned.answers["status"]) == ["no rate"]
    assert len(fastgd.Study.from_toml(tuned.tuned).optimizer) == 1


def test_a_line_search_is_not_searched_and_a_default_rate_only_if_it_is_named(tmp_path):
    line_search = {"name": "sgd", "line_search": {"kind": "armijo"}}
    study = study_of(optimizer=[line_search, {"name": "adadelta"}, {"name": "adadelta", "lr": 2.0, "rho": 0.8}])
    tuned = tune(tmp_path / "s", study=study, factor=10, points=3)
    assert list(tuned.answers["status"]) == ["no rate", "no rate", "bracketed"]


def test_rates_are_tuned_to_the_end_of_the_budget_and_not_to_a_target(tmp_path, found):
    study = study_of(stop={"target": 1.0}, record={"parameters": "all"})
    tuned = tune(tmp_path / "q", study=study)
    pd.testing.assert_series_equal(tuned.answers["lr"], found.answers["lr"])
    assert fastgd.Study.from_toml(tuned.tuned).stop.target == 1.0


def test_a_landscape(tmp_path):
    fields = {"steps": 200, "problem": {"landscape": "rosenbrock"}, "starts": {"uniform": 8}}
    study = fastgd.Study(name="valley", optimizer={"name": "sgd", "lr": [1e-5, 1e-2]}, **fields)
    tuned = fastgd.tune(study, tmp_path / "v", threads=2)
    (answer,) = tuned.answers.to_dict("records")
    assert (answer["status"], answer["seeds"], tuned.metric) == ("bracketed", 8, "loss")
    assert tuned.rounds[0].budget == {"steps": 40}
    assert fastgd.Study.from_toml(tuned.tuned).starts == study.starts
    tested = fastgd.range_test(study, tmp_path / "v", threads=2).answers
    assert 0 < tested["suggestion"][0] < tested["blow_up"][0]


# --- the range test ---------------------------------------------------------------------------------------------------


def test_the_range_test_sees_the_limit_of_stability(tmp_path):
    log, limit = Log(), 2 / STEEP
    options = {"data": quadratic(), "threads": 2}
    tested = fastgd.range_test(study_of(), tmp_path / "r", high=100, on_event=log, **options)
    (answer,) = tested.answers.to_dict("records")
    assert 0.01 * limit < answer["suggestion"] < limit
    assert answer["steepest"] < answer["least"] < answer["blow_up"]
    assert limit < answer["blow_up"] < 10 * limit
    lr = tested.results.curves.sort_values("step")["lr"].to_numpy()
    assert lr[0] == 1e-6
    assert limit < lr[-1] < 10 * limit  # it ended when it diverged
    steps = np.diff(tested.results.curves["step"].sort_values())
    assert steps.max() <= 5  # of 300
    assert len(log.of(CohortStarted)) == 1
    fastgd.range_test(study_of(), tmp_path / "r", high=100, on_event=log, **options)
    assert len(log.of(CohortStarted)) == 1


def test_the_range_test_leaves_out_what_has_no_rate_and_all_schedules(fields, tmp_path):
    tested = fastgd.range_test(study_of(**fields), tmp_path / "r", data=rows(), steps=60, threads=2)
    assert tested.left_out == ["dog"]
    assert len(tested.answers) == (2 + 2 + 2 if fields is MANY else 2 + 2) * CELLS
    assert tested.answers["suggestion"].notna().all()
    assert set(tested.results.trials["seed"]) == {0, 1, 2}
    assert tested.results.trials["schedule"].nunique() == 1


def test_a_rate_that_is_too_large_from_the_start_has_no_suggestion(tmp_path):
    tested = fastgd.range_test(study_of(), tmp_path / "r", low=50, high=1e3, data=quadratic(), threads=2)
    (answer,) = tested.answers.to_dict("records")
    assert math.isnan(answer["suggestion"])
    assert answer["blow_up"] == 50


# --- what is wrong ----------------------------------------------------------------------------------------------------

MISTAKES = [
    ({"factor": 1.0}, r"factor must be at least 1\.01 and at most 1e\+06, found 1"),
    ({"factor": math.nan}, r"factor must be at least 1\.01 and at most 1e\+06, found nan"),
    ({"points": 2}, "points must be at least 3, found 2"),
    ({"points": 10**9}, "points must be at most 1,000, found 1,000,000,000"),
    ({"low": 1.0, "high": 0.1}, "rates from 1 to 0.1 are no grid"),
    ({"low": -1.0}, "rates from -1 to 1 are no grid"),
    ({"high": math.inf}, "rates from 0.0001 to inf are no grid"),
    ({"epochs": 1, "steps": 1}, "give epochs or steps, not both"),
    ({"by": "validation_loss"}, "the study holds no data out; judge by 'loss'"),
    ({"by": "los"}, "rates cannot be judged by 'los'; did you mean 'loss'"),
    ({"epochs": 0}, "epochs must be at least 1, found 0"),
]


@pytest.mark.parametrize(("options", "message"), MISTAKES, ids=[row[1] for row in MISTAKES])
def test_mistakes(tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        tune(tmp_path / "q", **options)


def test_mistakes_of_a_range_test(tmp_path):
    with pytest.raises(InputError, match=r"a rate cannot grow from 1 to 0\.5"):
        fastgd.range_test(study_of(), tmp_path, low=1, high=0.5)
    with pytest.raises(InputError, match="no optimizer of the study has a rate to test"):
        fastgd.range_test(study_of(optimizer={"name": "dog"}), tmp_path)


def test_a_folder_without_a_search(tmp_path, found):
    with pytest.raises(InputError, match=r"holds no finished search of rates: there is no .*tune\.json"):
        FoundRates.load(tmp_path)
    (tmp_path / "tune.json").write_text("{}")
    with pytest.raises(InputError, match=r"tune\.json is damaged"):
        FoundRates.load(tmp_path)
    with pytest.raises(InputError, match="holds results of other data"):
        tune(found.path, data=rows("squared"))
