"""How trials end: by their budget, a target, divergence, standing still, or the time."""

import time

import numpy as np
import pytest
from small_studies import Log, N, assert_same, rows, run

from fastgd.runs.reporting.events import CohortFinished, Compiling, Progress, Warning_
from fastgd.runs.units.stopping import Stopping
from fastgd.study.config import Stop


def by_rate(results):
    return results.trials.set_index("lr").sort_index()


def curve(results, trial):
    return results.curves[results.curves["trial_id"] == trial["trial_id"]].reset_index(drop=True)


def momentum(*rates, **others):
    return {"name": "momentum", "lr": list(rates), **others}


# --- divergence -------------------------------------------------------------------------------------------------------

# with a squared loss: calm, rising, and beyond all numbers within the first epoch
RATES = (0.01, 0.02, 5.0, 1e200)


@pytest.fixture(params=["mini-batch", "full batch", "single"])
def diverging(request):
    """Changes of a study in which some trials diverge, and the number of steps of an epoch."""
    changes = {"problem": {"loss": "squared", "intercept": True}, "epochs": 12, "optimizer": momentum(*RATES)}
    if request.param == "single":
        return changes | {"optimizer": momentum(RATES[0], RATES[3])}, 5
    return (changes | {"batch_size": "full", "epochs": 60}, 1) if request.param == "full batch" else (changes, 5)


def test_divergence_is_recorded(tmp_path, diverging):
    changes, batches = diverging
    results = run(tmp_path / "r", **changes)
    trials = by_rate(results)
    assert (trials.loc[[rate for rate in trials.index if rate < 0.1], "status"] == "completed").all()
    for rate, trial in trials[trials.index > 0.1].iterrows():
        assert trial["status"] == "diverged"
        found = curve(results, trial)
        first = found["loss"][0]
        assert found["step"][0] == 0
        assert np.isfinite(first)
        last = found.iloc[-1]
        if rate == RATES[3]:
            assert not np.isfinite(last["loss"])
            assert not np.isfinite(trial["final_loss"])
            if batches > 1:
                assert "; the first residual that is not finite came in step" in trial["reason"]
                assert trial["reason"].endswith(f" in step {trial['steps']}")
                assert 1 < trial["steps"] < last["step"] == 5, "the step itself, not that of the checkpoint"
            else:
                assert trial["reason"] == "the objective is inf"
                assert trial["steps"] == last["step"] == 1, "the weights are finite, their squares are not"
        else:
            assert last["loss"] - first > 1e3 * max(1, first)
            assert (found["loss"][:-1] - first <= 1e3 * max(1, first)).all()
            assert trial["steps"] == last["step"]
            assert trial["reason"].startswith(f"the objective rose from {first:.4g} to ")
        assert trial["steps"] < 12 * batches
        assert trial["epochs"] == trial["steps"] / batches
        assert trial["best_loss"] == np.nanmin(found["loss"])
        assert trial["final_loss"] == last["loss"] or np.isnan(last["loss"])


def test_lanes_that_diverge_harm_no_other(tmp_path, diverging):
    changes, _ = diverging
    rates = changes["optimizer"]["lr"]
    calm = changes | {"optimizer": momentum(*(rate if rate < 0.1 else 0.001 * i for i, rate in enumerate(rates)))}
    wild, tame = run(tmp_path / "wild", **changes), run(tmp_path / "tame", **calm)
    for rate in (rate for rate in rates if rate < 0.1):
        found, expected = (curve(results, by_rate(results).loc[rate]) for results in (wild, tame))
        for column in ("step", "loss", "param_norm"):
            np.testing.assert_array_equal(found[column], expected[column])


def test_the_factor_of_divergence(tmp_path):
    changes = {"problem": {"loss": "squared"}, "optimizer": momentum(0.01, 0.9), "epochs": 4}
    strict = by_rate(run(tmp_path / "strict", stop={"diverge": 0.5}, **changes))
    loose = by_rate(run(tmp_path / "loose", stop={"diverge": 1e9}, **changes))
    assert strict.loc[0.9, "steps"] < loose.loc[0.9, "steps"]
    assert strict.loc[0.01, "status"] == "completed"


def test_diverged_trials_rank_last(tmp_path):
    results = run(tmp_path / "r", problem={"loss": "squared"}, epochs=12, optimizer=momentum(*RATES))
    assert results.best()["diverged"].tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize(
    "loss", ["logistic", "hinge", "squared_hinge", "huber", "sigmoid_squared", "poisson", "squared"]
)
def test_nothing_is_said_when_trials_diverge(tmp_path, loss):
    """Warnings are errors: whatever the loss, infinite weights and penalties pass in silence."""
    results = run(
        tmp_path / "r",
        rows("squared" if loss in ("squared", "huber") else "logistic"),
        problem={"loss": loss, "l2": [0.0, 10.0]},
        optimizer=momentum(0.01, 1e3, 1e150, 1e300),
        epochs=40,
        stop={"diverge": 1e308},
        record={"metrics": ["grad_norm", "accuracy" if loss not in ("squared", "huber", "poisson") else "r2"]},
    )
    assert (results.trials["status"] == "diverged").any()
    assert (
        results.trials.loc[(results.trials["lr"] == 0.01) & (results.trials["l2"] == 0), "status"] == "completed"
    ).all()


# --- target, standing still, time -------------------------------------------------------------------------------------


def test_target(tmp_path):
    free = run(tmp_path / "free", epochs=20)
    target = float(by_rate(free).loc[0.03, "final_loss"])
    results = run(tmp_path / "r", epochs=20, stop={"target": target})
    for rate, trial in by_rate(results).iterrows():
        path = curve(free, by_rate(free).loc[rate])
        reached = np.flatnonzero(path["loss"] <= target)
        if not reached.size:
            assert (trial["status"], trial["steps"], trial["reason"]) == ("completed", 100, "")
            continue
        assert (trial["status"], trial["steps"]) == ("target", path["step"][reached[0]])
        assert trial["final_loss"] == path["loss"][reached[0]] <= target
        assert "the objective reached" in trial["reason"]
        assert curve(results, trial)["loss"].tolist() == path["loss"][: reached[0] + 1].tolist()
    assert set(results.trials["status"]) == {"target", "completed"}


def test_a_target_that_the_start_meets(tmp_path):
    results = run(tmp_path / "r", stop={"target": 0.7})
    assert set(results.trials["status"]) == {"target"}
    assert set(results.trials["steps"]) == {0}
    assert len(results.curves) == 4


def test_patience(tmp_path):
    """A rate that is too small to improve the objective by 1e-4 of it in two epochs."""
    results = run(tmp_path / "r", epochs=10, stop={"patience": 2}, optimizer=momentum(1e-9, 0.03))
    slow, fast = by_rate(results).iloc[0], by_rate(results).iloc[1]
    assert (slow["status"], slow["epochs"]) == ("stalled", 2)
    assert slow["reason"] == "no relative improvement of 0.0001 in 2 epochs"
    assert fast["epochs"] > 5


def test_patience_with_the_validation_loss(tmp_path):
    """It rises where the objective still falls; what is recorded until then is that of a run without patience."""
    changes = {
        "epochs": 40,
        "problem": {"loss": "logistic", "validation": 0.3},
        "optimizer": momentum(0.03, 0.1),
    }
    free = run(tmp_path / "free", **changes)
    stop = {"patience": 3, "watch": "validation_loss", "tolerance": 1e-2}
    results = run(tmp_path / "r", stop=stop, **changes)
    for rate, trial in by_rate(results).iterrows():
        whole, found = curve(free, by_rate(free).loc[rate]), curve(results, trial)
        best, since = np.inf, 0
        for epoch, loss in enumerate(whole["validation_loss"]):
            if loss < best * (1 - 1e-2):
                best, since = loss, epoch
            if epoch - since == 3:
                break
        assert trial["epochs"] == epoch < 40
        assert trial["status"] == "early_stopped"
        assert trial["reason"] == "no relative improvement of the validation loss of 0.01 in 3 epochs"
        assert found["loss"].tolist() == whole["loss"][: epoch + 1].tolist()
        assert found["loss"].iloc[-1] < found["loss"].iloc[-2], "the objective still falls"


def test_an_infinite_validation_loss_improves_when_it_is_a_number():
    stopping = Stopping.start(Stop(patience=2, watch="validation_loss"), np.ones(2), watched=np.full(2, np.inf))
    lanes = np.arange(2)
    ended = [
        stopping.judge(lanes, np.ones(2), epoch, np.array([np.inf, loss]))[0].tolist()
        for epoch, loss in enumerate([np.inf, 5.0, 5.0, 4.0])
    ]
    assert ended == [["", ""], ["", ""], ["early_stopped", ""], ["early_stopped", ""]]


def test_the_rules_of_stopping():
    """Judged checkpoint by checkpoint, with the epoch as a fraction where checkpoints are in steps."""
    lanes = np.arange(6)
    start = np.array([1.0, 1.0, 1.0, -2.0, 5.0, 0.1])
    stopping = Stopping.start(Stop(target=-3.0, diverge=10.0, patience=1), start)
    nothing = [""] * 6
    status, reasons = stopping.judge(lanes, start, 0.0)
    assert (status.tolist(), reasons) == (nothing, nothing)
    status, _ = stopping.judge(lanes, np.array([0.5, 1 - 1e-5, 11.0, 18.0, 54.9, 10.1]), 0.5)
    assert status.tolist() == nothing, "10 max(1, |F0|) above the start is the limit"
    status, reasons = stopping.judge(lanes, np.array([0.4, 1.0, 11.1, 18.1, -3.0, 10.2]), 1.0)
    assert status.tolist() == ["", "stalled", "diverged", "diverged", "target", "diverged"]
    assert reasons[2] == "the objective rose from 1 to 11.1"
    status, reasons = stopping.judge(lanes[:1], np.array([np.nan]), 1.2)
    assert (status.tolist(), reasons) == (["diverged"], ["the objective is nan"])
    status, _ = stopping.judge(lanes[:1], np.array([-np.inf]), 1.2)
    assert status.tolist() == ["diverged"], "not a target"


def test_patience_counts_from_the_last_improvement():
    stopping = Stopping.start(Stop(patience=2), np.array([1.0]))
    lane = np.arange(1)
    ended = [
        stopping.judge(lane, np.array([loss]), epoch)[0][0]
        for epoch, loss in enumerate([1.0, 0.99995, 0.99985, 0.9998, 0.99976])
    ]
    # 0.99985 is 1.5e-4 below 1, and nothing after it is 1e-4 below that
    assert ended == ["", "", "", "", "stalled"]


class Late:
    """A clock that is an hour late from when the first cohort trains."""

    def __init__(self, monkeypatch):
        self.late = 0.0
        monkeypatch.setattr("fastgd.runs.clock.time", self)

    def perf_counter(self):
        return time.perf_counter() + self.late

    def __call__(self, event):
        if isinstance(event, Compiling):
            self.late = 3600.0


@pytest.mark.parametrize("batch_size", [32, "full"])
def test_timeout(tmp_path, monkeypatch, batch_size):
    """The cohort that trains is measured where it is; those that would follow never begin."""
    results = run(
        tmp_path / "r", log=Late(monkeypatch), max_seconds=60, epochs=9 * 10**5,
        batch_size=batch_size, seed=[0, 1], init={"normal": 0.1},
    )  # fmt: skip
    trials = results.trials
    assert set(trials["status"]) == {"timeout"}
    assert (trials["reason"] == "max_seconds = 60 was over").all()
    for _, trial in trials[trials["seed"] == 0].iterrows():
        found = curve(results, trial)
        assert 0 < trial["steps"] < 10**6
        assert found["step"].iloc[[0, -1]].tolist() == [0, trial["steps"]]
        assert trial["final_loss"] == found["loss"].iloc[-1]
    never = trials[trials["seed"] == 1]
    assert set(never["steps"]) == {0}
    assert never[["final_loss", "best_loss"]].isna().all(axis=None)
    assert not results.curves["trial_id"].isin(never["trial_id"]).any()


class LateForTheSecond(Late):
    def __call__(self, event):
        if isinstance(event, CohortFinished):
            super().__call__(Compiling(""))


def test_what_ran_out_of_time_is_run_again(tmp_path, monkeypatch):
    """With more time; nothing of their first run is left, and what was complete is not touched."""
    fields = {"seed": [0, 1], "init": {"normal": 0.1}, "record": {"parameters": "all"}}
    with monkeypatch.context() as patch:
        patch.setattr("fastgd.runs.executor.GATHER_SECONDS", 0.0)  # the first is stored before the second begins
        first = run(tmp_path / "r", log=LateForTheSecond(patch), max_seconds=60, **fields)
    late = first.trials["status"] == "timeout"
    assert 0 < late.sum() < len(late)
    log = Log()
    again = run(tmp_path / "r", log=log, max_seconds=3600, **fields)
    assert sum(log.computed) == late.sum()
    assert log.of(Warning_)[0].message == f"{late.sum()} trials ran out of time before: they are run again"
    assert_same(again, run(tmp_path / "whole", **fields))


def test_timeout_within_an_epoch(tmp_path, monkeypatch):
    """The checkpoint is where the time was over; what is recorded there is right."""
    whole = run(tmp_path / "whole", epochs=None, steps=1)
    monkeypatch.setattr("fastgd.engine.calls.CALL_SECONDS", 1e-9)
    results = run(tmp_path / "r", log=Late(monkeypatch), max_seconds=60, epochs=10)
    assert set(results.trials["steps"]) == {1}
    assert set(results.trials["epochs"]) == {0.2}
    np.testing.assert_array_equal(results.trials["final_loss"], whole.trials["final_loss"])
    last = results.curves[results.curves["step"] == 1]
    assert set(last["epoch"]) == {0.2}
    assert set(last["samples_seen"]) == {32}


def test_time_that_is_not_over_ends_nothing(tmp_path):
    results = run(tmp_path / "r", max_seconds=3600)
    assert set(results.trials["status"]) == {"completed"}


def test_parameters_of_lanes_that_end_together_with_others(tmp_path):
    """At the last checkpoint some reach the target and leave; what Nesterov reports for the rest stays as it was."""
    changes = {
        "optimizer": {"name": "nesterov", "lr": [0.001, 0.002, 0.003, 0.004, 0.5, 0.6, 0.7, 0.8, 0.9]},
        "schedule": {"name": "exponential", "final": 0.01},
        "epochs": 6,
    }
    free = run(tmp_path / "free", record={"parameters": "all"}, **changes)
    before = free.curves.groupby("trial_id")["loss"].agg(lambda losses: losses.iloc[:-1].min())
    fast = free.trials.set_index("trial_id")["lr"] > 0.4
    last = free.trials.set_index("trial_id")["final_loss"]
    target = float(before[fast].min()) * (1 - 1e-9)
    assert (last[fast] <= target).any(), "the target is reached at the end alone"
    ended = run(tmp_path / "r", record={"parameters": "all"}, stop={"target": target}, **changes)
    assert set(ended.trials["status"]) == {"target", "completed"}
    for rate, trial in by_rate(ended).iterrows():
        expected = free.parameters(by_rate(free).loc[rate, "trial_id"])
        np.testing.assert_array_equal(ended.parameters(trial["trial_id"]), expected)
        assert trial["steps"] == 6 * -(-N // 32)


def test_progress_counts_what_ended(tmp_path, monkeypatch):
    monkeypatch.setattr("fastgd.runs.clock.PROGRESS_SECONDS", 0.0)
    seen = []
    run(
        tmp_path / "r", log=seen.append, epochs=12, batch_size="full", seed=[0, 1],
        problem={"loss": "squared"}, optimizer=momentum(0.01, 1e300),
    )  # fmt: skip
    last = [event for event in seen if isinstance(event, Progress)][-1]
    assert (last.trials, last.diverged, last.alive) == (4, 2, 1), "each seed of a shared lane is a trial"


def test_progress_of_what_runs_again_for_its_parameters(tmp_path, monkeypatch):
    monkeypatch.setattr("fastgd.runs.clock.PROGRESS_SECONDS", 0.0)
    seen = []
    run(tmp_path / "r", optimizer=momentum(0.01, 0.02, 0.03))
    more = momentum(0.01, 0.02, 0.03, 0.04)
    run(tmp_path / "r", log=seen.append, epochs=3, optimizer=more, record={"parameters": "all"})
    progress = [event for event in seen if isinstance(event, Progress)]
    assert {event.cohorts for event in progress} == {1}, "one for the new trial, one for the old ones' parameters"
    assert all(0 <= event.share <= 1 and (event.seconds_left or 0) >= 0 for event in progress)
