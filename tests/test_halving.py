"""Races, `search.halving`: who is retired, and that nobody else notices; kills, deadlines and studies that change."""

import os
import signal
from math import ceil

import numpy as np
import pandas as pd
import pytest
import snapshot_studies
from hypothesis import given
from hypothesis import strategies as st
from small_studies import Log, numbers, run
from test_snapshots import Hurry, assert_same, files_of, flip, kill_once_saved

import fastgd
from fastgd.common.errors import InputError
from fastgd.runs.reporting.events import CohortStarted, Progress, Warning_
from fastgd.store.snapshots import FINISHED
from fastgd.study.search_block import Halving

RACE = {"halving": {"factor": 2, "start": 1}}
FIELDS = {
    "epochs": 9,
    "batch_size": [32, "full"],
    "seed": [0, 1],
    "problem": {"loss": "logistic", "validation": 0.3, "intercept": True},
    "optimizer": {"name": "momentum", "lr": [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1e200]},
    "record": {"parameters": "all"},
}
CASES = {
    "batch sizes and seeds": {},
    "several problems": {
        "problem": [
            {"name": "a", "loss": "logistic", "validation": 0.3, "l2": [0.0, 0.1]},
            {"name": "b", "loss": "squared_hinge", "validation": {"folds": 2}},
        ],
        "seed": 0,
        "batch_size": 32,
        "search": {"halving": {"factor": 3, "start": 2}},
    },
    "feedback and patience": {
        "schedule": [{"name": "plateau", "patience": 1}, {"name": "cosine"}],
        "stop": {"patience": 2, "watch": "validation_loss", "tolerance": 3e-2},
        "record": {"parameters": "best_iterate", "state": True},
        "batch_size": 32,
    },
}


def judged(free, stages, factor):
    """Who is retired at which epoch, by the results of a study without a race: written independently."""
    curves = {trial: own.set_index("epoch")["validation_loss"] for trial, own in free.curves.groupby("trial_id")}
    retired = {}
    for _, own in free.trials.groupby("problem", sort=False):
        racing = dict(iter(own.groupby("configuration", sort=False)))
        for epoch in stages:
            means = {
                name: np.mean([
                    curves[row.trial_id].get(epoch, np.inf if row.status == "diverged" else row.final_validation_loss)
                    for row in rows.itertuples()
                ])
                for name, rows in racing.items()
            }  # fmt: skip
            order = sorted(racing, key=lambda name: np.inf if np.isnan(means[name]) else means[name])
            for name in order[ceil(len(order) / factor) :]:
                for row in racing.pop(name).itertuples():
                    if row.epochs > epoch:
                        retired[row.trial_id] = epoch
    return retired


def assert_raced(found, free, stages, factor, before=None):
    """Survivors have all of their bits, the others theirs until the epoch at which they lost.

    `before`: the trials of an earlier race, whose rows stay: of a loser that came further there, too.
    """
    came = {} if before is None else dict(zip(before["trial_id"], before["epochs"], strict=True))
    finished = set() if before is None else set(before.loc[before["status"] != "retired", "trial_id"])
    lost_at = {trial: epoch for trial, epoch in judged(free, stages, factor).items() if trial not in finished}
    retired = {trial: max(epoch, came.get(trial, 0)) for trial, epoch in lost_at.items()}
    in_study = found.trials.loc[found.trials["in_study"], "trial_id"]
    trials, curves = (table[table["trial_id"].isin(in_study)] for table in numbers(found))
    of_free, curves_of_free = numbers(free)
    trials, of_free = (table.drop(columns="kernel") for table in (trials, of_free))  # that of a study as it was then
    assert dict(zip(trials["trial_id"], trials["status"] == "retired", strict=True)) == {
        trial: trial in retired for trial in of_free["trial_id"]
    }
    lost = trials["trial_id"].isin(retired)
    pd.testing.assert_frame_equal(
        trials[~lost].reset_index(drop=True), of_free[~of_free["trial_id"].isin(retired)].reset_index(drop=True)
    )
    assert trials.loc[lost, "epochs"].tolist() == [retired[trial] for trial in trials.loc[lost, "trial_id"]]
    ends = curves_of_free["trial_id"].map(retired).fillna(np.inf)
    pd.testing.assert_frame_equal(
        curves.reset_index(drop=True), curves_of_free[curves_of_free["epoch"] <= ends].reset_index(drop=True)
    )
    for trial in trials.loc[~lost, "trial_id"]:
        np.testing.assert_array_equal(found.parameters(trial), free.parameters(trial))
    return retired


@pytest.mark.parametrize("case", CASES)
def test_a_race(case, tmp_path):
    fields = {"search": RACE, **FIELDS, **CASES[case]}
    halving = Halving(**fields["search"]["halving"])
    log = Log()
    found = run(tmp_path / "r", log=log, **fields)
    free = run(tmp_path / "free", **{**fields, "search": None})
    retired = assert_raced(found, free, halving.stages(9), halving.factor)
    assert len(set(retired.values())) > 1, "at several stages"
    assert fastgd.verify(tmp_path / "r").ok
    kept = (tmp_path / "r" / FINISHED).glob("*.npz")
    assert bool(list(kept)) == bool(fields["record"].get("state")), "states of those that lost are not kept for nothing"
    row = found.trials[found.trials["status"] == "retired"].iloc[0]
    assert f" at epoch {row['epochs']:g} of the race, of which " in row["reason"]
    log.clear()
    again = run(tmp_path / "r", log=log, **fields)
    assert log.of(CohortStarted) == []
    assert_same(again, found)
    assert "its race is over" in [event.message for event in log.of(Warning_)]


def test_those_that_lost_rank_behind_those_that_went_on(tmp_path):
    ranking = run(tmp_path / "r", **FIELDS, search=RACE).best()
    lost = ranking["retired"].gt(0)
    assert lost.any()
    assert ranking.loc[lost, "final_validation_loss"].isna().all()
    assert lost[ranking["diverged"] == 0].is_monotonic_increasing


# --- studies that change ----------------------------------------------------------------------------------------------


MORE = {"name": "momentum", "lr": [0.001, 0.003, 0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 1e200]}
CHANGES = {
    "more configurations": {"optimizer": MORE},
    "fewer configurations": {"optimizer": {**MORE, "lr": MORE["lr"][:4]}},
    "another race": {"search": {"halving": {"factor": 3, "start": 2}}},
    "no race": {"search": None},
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("state", [False, True])
def test_a_study_that_changes_has_a_race_of_its_own(change, state, tmp_path):
    """What an earlier race retired is no result of this one."""
    fields = {**FIELDS, "search": RACE, "record": {"parameters": "all", "state": state}}
    before = run(tmp_path / "r", **fields).trials
    fields |= CHANGES[change]
    found = run(tmp_path / "r", **fields)
    free = run(tmp_path / "free", **{**fields, "search": None})
    halving = fields["search"] and Halving(**fields["search"]["halving"])
    assert_raced(found, free, halving.stages(9) if halving else [], halving.factor if halving else 2, before)
    assert fastgd.verify(tmp_path / "r").ok


def test_a_longer_race_goes_on_from_the_states_of_a_shorter_one(tmp_path):
    fields = {**FIELDS, "search": RACE, "record": {"parameters": "all", "state": True}}
    run(tmp_path / "r", **fields)
    found = run(tmp_path / "r", **{**fields, "epochs": 20})
    free = run(tmp_path / "free", **{**fields, "epochs": 20, "search": None})
    assert_raced(found, free, [1, 2, 4, 8, 16], 2)


def test_one_trial_runs_alone_without_a_race(tmp_path):
    found = run(tmp_path / "r", **FIELDS, search=RACE)
    lost = found.trials.loc[found.trials["status"] == "retired", "trial_id"].iloc[0]
    (alone,) = run(tmp_path / "one", **FIELDS, search=RACE, trial=lost).trials.itertuples()
    assert (alone.trial_id, alone.status, alone.epochs) == (lost, "completed", 9)


# --- kills and deadlines ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A race that nothing interrupted; running it also compiles."""
    return snapshot_studies.run("race", tmp_path_factory.mktemp("whole"))


def assert_nothing_is_left(path):
    assert [name for name in files_of(path) if name.startswith(("snapshots/", "states/")) or "/." in name] == []


def test_a_race_that_is_killed_again_and_again(tmp_path, whole):
    for _ in range(3):
        kill_once_saved(tmp_path, "race")
    assert_same(snapshot_studies.run("race", tmp_path / "race"), whole)
    assert_nothing_is_left(tmp_path / "race")


def test_a_race_that_is_always_cut_short_comes_to_its_end(tmp_path, whole, monkeypatch):
    runs, left = 0, True
    while left:
        with monkeypatch.context() as patch:
            patch.setattr("fastgd.runs.clock.time", Hurry(300 + 20 * runs))
            found = snapshot_studies.run("race", tmp_path, max_seconds=1800.0)
        left = (found.trials["status"] == "timeout").any()
        runs += 1
        assert runs < 100
    assert runs > 2
    assert_same(found, whole)
    assert_nothing_is_left(tmp_path)


def test_a_race_whose_states_are_damaged_has_the_same_result(tmp_path, whole, monkeypatch):
    """What waited starts anew; the folder is whole in the middle of a race."""
    runs, files = 0, []
    while not files:
        with monkeypatch.context() as patch:
            patch.setattr("fastgd.runs.clock.time", Hurry(300 + 100 * runs))
            snapshot_studies.run("race", tmp_path, max_seconds=1800.0)
        files, runs = list((tmp_path / FINISHED).glob("*.npz")), runs + 1
        assert runs < 30
    assert fastgd.verify(tmp_path).ok
    for file in files:
        flip(file)
    assert_same(snapshot_studies.run("race", tmp_path), whole)


def test_an_interrupted_race_goes_on(tmp_path, whole, monkeypatch):
    """Ctrl-C comes in its second round."""
    monkeypatch.setattr("fastgd.runs.clock.PROGRESS_SECONDS", 0.0)
    study = fastgd.Study(name="race", **snapshot_studies.RACE["race"])
    seen = []

    def interrupt(event):
        if isinstance(event, Progress) and 9 < event.epoch < 27 and not seen:
            seen.append(event)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        fastgd.run(study, tmp_path, data=snapshot_studies.data_of("race"), on_event=interrupt, threads=2)
    assert set(fastgd.load(tmp_path).trials["status"]) <= {"timeout", "diverged"}
    assert_same(snapshot_studies.run("race", tmp_path), whole)
    assert_nothing_is_left(tmp_path)


# --- the table --------------------------------------------------------------------------------------------------------


@given(st.integers(2, 5), st.integers(1, 10), st.integers(1, 500))
def test_stages(factor, start, epochs):
    stages = Halving(factor=factor, start=start).stages(epochs)
    assert stages == [start * factor**place for place in range(len(stages))]
    assert all(epoch < epochs for epoch in stages)
    assert start * factor ** len(stages) >= epochs


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"search": {"halving": {"factor": 1}}}, r"search\.halving\.factor must be at least 2, found 1"),
        ({"search": {"halving": {"start": 9}}}, r"search\.halving\.start must be below the 9 epochs, found 9"),
        ({"search": {"halving": {"rate": 3}}}, r"search\.halving\.rate is not a known key; valid: factor, start"),
        ({"epochs": None, "steps": 9}, r"search\.halving goes with epochs, at which it compares"),
        (
            {"problem": {"loss": "logistic"}},
            r"search\.halving compares validation losses, and nothing is held out; set",
        ),
        ({"record": {"every": {"log": 5}}}, r"search\.halving goes with record\.every = 'epoch'"),
        ({"record": {"rows": 5}}, r"search\.halving goes without record\.rows"),
    ],
)
def test_what_cannot_race(changes, message):
    with pytest.raises(InputError, match=f"^{message}"):
        fastgd.Study(name="race", **{**FIELDS, "search": RACE, **changes})
