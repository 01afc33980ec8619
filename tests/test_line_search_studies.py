"""Line searches in study files and in results."""

import numpy as np
import pytest
import reference
import small_studies
from cohorts import relative_error
from small_studies import assert_same, numbers, study_of
from test_line_search import LISTED
from test_runner_resume import Interrupt

import fastgd
from fastgd.datasets import from_arrays, prepare
from fastgd.plan.planner import make_plan
from fastgd.runs.reporting.events import Progress

OPTIMIZER = {
    "name": "sgd",
    "line_search": [
        {"kind": "best", "rates": list(LISTED)},
        {"kind": "armijo", "shrink": [0.5, 0.8]},
        {"kind": "exact"},
    ],
}


def full(**changes):
    return {"batch_size": "full", "optimizer": OPTIMIZER, **changes}


def test_a_study_records_rates_and_evaluations(tmp_path):
    fixed = {"name": "sgd", "lr": 0.5}
    results = small_studies.run(tmp_path / "r", **full(optimizer=[OPTIMIZER, fixed]))
    trials = results.trials.set_index("variant")
    assert list(trials.index) == [
        "line_search=best(0.1, 0.5, 1, 5, 10)", "line_search=armijo", "line_search=armijo", "line_search=exact", "",
    ]  # fmt: skip
    assert trials["line_search.shrink"].dropna().tolist() == [0.5, 0.8]
    curves = results.curves.set_index("trial_id")
    best = curves.loc[trials["trial_id"].iloc[0]]
    assert best["loss_evaluations"].tolist() == [0, 5, 10, 15]
    assert set(best["lr"].iloc[1:]) <= set(LISTED)
    assert curves.loc[trials["trial_id"].iloc[-1], "loss_evaluations"].isna().all()
    assert (trials["final_loss"].iloc[:4] < trials["final_loss"].iloc[4]).all()


def test_a_trial_alone_and_a_resumed_run_have_the_same_bits(tmp_path):
    whole = small_studies.run(tmp_path / "whole", **full())
    part = {**OPTIMIZER, "line_search": OPTIMIZER["line_search"][1]}
    small_studies.run(tmp_path / "grown", **full(optimizer=part))
    grown = small_studies.run(tmp_path / "grown", **full())
    for mine, theirs in zip(numbers(grown), numbers(whole), strict=True):
        assert set(mine.columns) == set(theirs.columns)
        assert mine[list(theirs.columns)].equals(theirs)
    trial = whole.trials["trial_id"].iloc[3]
    alone = small_studies.run(tmp_path / "alone", **full(), trial=trial)
    expected = whole.curves[whole.curves["trial_id"] == trial]
    for column in ("loss", "lr", "loss_evaluations"):
        np.testing.assert_array_equal(alone.curves[column], expected[column])


SEARCH = {"kind": "exact"}


def test_an_interrupted_run_goes_on_with_the_same_bits(tmp_path, monkeypatch):
    whole = small_studies.run(tmp_path / "whole", **full())
    monkeypatch.setattr("fastgd.runs.clock.PROGRESS_SECONDS", 0.0)
    for count in (5, 40):
        with pytest.raises(KeyboardInterrupt):
            small_studies.run(tmp_path / "r", log=Interrupt(Progress, count), **full())
    assert_same(small_studies.run(tmp_path / "r", **full()), whole)


def test_seeds_that_share_a_lane_share_its_rates_and_evaluations(tmp_path):
    results = small_studies.run(tmp_path / "r", **full(seed=[0, 1], optimizer={"name": "sgd", "line_search": SEARCH}))
    one, other = (curves[["lr", "loss_evaluations", "loss"]] for _, curves in results.curves.groupby("trial_id"))
    np.testing.assert_array_equal(one, other)


def test_another_hyper_parameter_may_be_scheduled_beside_the_search(tmp_path):
    schedule = {"name": "exponential", "of": "momentum", "start": 0.2, "final": 0.8}
    momentum = {"name": "momentum", "line_search": {"kind": "best", "rates": list(LISTED)}, "schedule": schedule}
    results = small_studies.run(tmp_path / "r", **full(epochs=6, optimizer=momentum, record={"parameters": "all"}))
    X, y = small_studies.rows()
    how, w, u, rates = {"loss": "logistic", "intercept": True}, np.zeros(small_studies.D + 1), 0.0, []
    for k in range(6):
        u = 0.2 ** (1 - k / 5) * 0.8 ** (k / 5) * u + reference.gradient(X, y, w, **how)
        rates.append(min(LISTED, key=lambda rate, w=w, u=u: reference.objective(X, y, w - rate * u, **how)))
        w = w - rates[-1] * u
    np.testing.assert_allclose(results.curves["lr"].iloc[1:], rates)
    assert relative_error(results.parameters(results.trials["trial_id"][0]), w) < 1e-12


def test_the_plan_counts_two_sets_of_margins():
    data = prepare(from_arrays(*small_studies.rows()), targets="binary", dtype="float64")
    (cohort,) = make_plan(study_of(**full(optimizer={"name": "sgd", "line_search": SEARCH})), [data]).units
    assert cohort.bytes >= 2 * small_studies.N * cohort.spec.kernel.lanes * 8
    assert cohort.passes == 2 * 3 + 4, "two a step, and the checkpoints"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": [32, "full"]}, r"line_search: is for full batches, .* batch_size has 32"),
        ({"schedule": {"name": "cosine"}}, "drives lr, which the line search of the optimizer 'sgd' chooses"),
        ({"optimizer": {"name": "lamb"}}, "line_search: needs a step that is 'lr' times a direction.*'lamb'"),
        ({"optimizer": {"name": "nesterov"}}, "line_search: needs a step that is 'lr' times a direction.*'nesterov'"),
        ({"optimizer": {"name": "momentum", "form": "lecture"}}, "line_search: needs a step that is 'lr' times"),
        ({"optimizer": {"name": "sgd", "lookahead": {}}}, "line_search: does not go with 'lookahead'"),
        ({"optimizer": {"name": "sgd", "proximal": {"l1": 0.1}}}, "line_search: does not go with 'proximal'"),
        (
            {"optimizer": {"name": "sgd", "line_search": {"kind": "armjo"}}},
            "line search 'armjo'; did you mean 'armijo'",
        ),
        ({"optimizer": {"name": "sgd", "line_search": {"kind": "best"}}}, r"line_search\.rates is missing"),
        ({"optimizer": {"name": "sgd", "line_search": {"kind": "armijo", "shrink": 1.5}}}, r"line_search\.shrink"),
        (
            {"optimizer": {"name": "sgd", "line_search": {"kind": "exact", "doublings": 1024}}},
            "doublings must be at most",
        ),
        ({"optimizer": {"name": "sgd", "line_search": {"rates": [1.0]}}}, r"line_search\.kind is missing"),
        ({"optimizer": {"name": "sgd", "line_search": "exact"}}, r"line_search must be a table"),
    ],
)
def test_what_does_not_fit_is_named(changes, message):
    optimizer = {"line_search": SEARCH, **changes.get("optimizer", {"name": "sgd"})}
    with pytest.raises(fastgd.InputError, match=message):
        study_of(**{**full(), **changes, "optimizer": optimizer})


def test_the_study_file_keeps_it(tmp_path):
    study = study_of(**full(optimizer=[OPTIMIZER, {"name": "momentum", "lr": 3.0, "line_search": SEARCH}]))
    path = tmp_path / "study.toml"
    path.write_text(study.to_toml())
    assert fastgd.Study.from_toml(path) == study
    assert [block.hyper["lr"] for block in study.optimizer] == [[1.0]] * 4 + [[3.0]]


def test_lists_that_differ_in_a_late_digit_have_names_of_their_own():
    """Trials of the one would be taken for seeds of the other."""
    lists = ([0.1, 0.123456781], [0.1, 0.123456789])
    study = study_of(**full(optimizer={"name": "sgd", "line_search": [{"kind": "best", "rates": r} for r in lists]}))
    labels = [block.line_search.label for block in study.optimizer]
    assert labels == ["line_search=best(0.1, 0.123456781)", "line_search=best(0.1, 0.123456789)"]
    schedules = [{"name": "piecewise", "at": [1, 2], "values": [1.0, value]} for value in (0.123456781, 0.123456789)]
    assert len({schedule.label for schedule in study_of(schedule=schedules).schedule}) == 2
