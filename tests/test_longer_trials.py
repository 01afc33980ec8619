"""Finished trials that are given more epochs: they go on from their states, with the bits of one long run."""

import shutil

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_studies import Log, assert_same, numbers, run

import fastgd
from fastgd.common.errors import InputError
from fastgd.engine.lanes import selected
from fastgd.runs.reporting.events import CohortStarted, Planned, Warning_
from fastgd.runs.units.schedule_values import ScheduleValues
from fastgd.schedules import SCHEDULES
from fastgd.store.snapshots import FINISHED
from fastgd.study.config import Schedule

STATE = {"state": True, "parameters": "all"}
HELD_OUT = {"loss": "logistic", "validation": 0.3}
GROW = {"name": "momentum", "lr": [0.01, 0.03, 0.1, 1e200]}  # the last one diverges at once
CASES = {
    "mini-batches": {"optimizer": GROW},
    "feedback": {
        "problem": HELD_OUT,
        "schedule": [{"name": "plateau", "patience": 1}, {"name": "step", "every": 2}],
        "stop": {"patience": 2, "watch": "validation_loss", "tolerance": 3e-2},
    },
    "one lane for two seeds": {
        "batch_size": "full",
        "seed": [0, 1],
        "optimizer": {"name": "momentum", "lr": [0.1, 1e200]},
    },
    "best iterate": {"problem": HELD_OUT, "record": {"state": True, "parameters": "best_iterate"}},
}


@pytest.fixture
def steps(monkeypatch):
    """The steps that cohorts take in this process."""
    taken = []
    from fastgd.engine.rows.cohort import Cohort

    advance = Cohort.advance
    monkeypatch.setattr(
        Cohort, "advance", lambda self, steps, *others: (taken.append(steps), advance(self, steps, *others))
    )
    return taken


def of_study(results):
    """The trials of the study as it is now, with their curves and parameters."""
    own = results.trials.loc[results.trials["in_study"], "trial_id"]
    tables = [table[table["trial_id"].isin(own)].reset_index(drop=True) for table in numbers(results)]
    return *tables, {trial: results.parameters(trial) for trial in own}


def assert_continued(found, expected):
    (*tables, parameters), (*others, of_others) = of_study(found), of_study(expected)
    for one, other in zip(tables, others, strict=True):
        pd.testing.assert_frame_equal(one, other, check_exact=True)
    assert parameters.keys() == of_others.keys()
    for trial, values in parameters.items():
        np.testing.assert_array_equal(values, of_others[trial])


@pytest.mark.parametrize("case", CASES)
def test_more_epochs_go_on_with_the_bits_of_one_long_run(case, tmp_path, steps):
    changes = {"record": STATE, **CASES[case]}
    log = Log()
    expected = run(tmp_path / "whole", log=log, **changes, epochs=9)
    taken, plans = sum(steps), [log.of(Planned)[0].summary.cost]
    steps.clear()
    for epochs in (2, 5, 9):
        log.clear()
        found = run(tmp_path / "r", log=log, **changes, epochs=epochs)
    assert_continued(found, expected)
    count = len(expected.trials)
    assert log.of(Warning_)[0].message == f"{count} trials go on from where shorter ones ended"
    plans.append(log.of(Planned)[0].summary.cost)
    assert plans[1].training == pytest.approx(4 / 9 * plans[0].training, rel=0.1), "of the steps that are left"
    assert plans[1].disk == pytest.approx(plans[0].disk, rel=0.05), "the rows before are stored with theirs"
    assert sum(steps) == taken, "no step was taken twice"
    assert len(found.trials) == 3 * count
    assert fastgd.verify(tmp_path / "r").ok
    assert len(list((tmp_path / "r" / FINISHED).glob("*.npz"))) == len(list((tmp_path / "whole" / FINISHED).glob("*")))


def test_some_of_the_trials_go_on(tmp_path, steps):
    """Another order of rates, one of them new: a lane finds its state wherever it stands."""
    run(tmp_path / "r", record=STATE, epochs=2)
    longer = {"record": STATE, "epochs": 4, "optimizer": {"name": "momentum", "lr": [0.3, 0.2, 0.03, 0.01]}}
    steps.clear()
    found = run(tmp_path / "r", log=(log := Log()), **longer)
    assert sorted(steps) == [5] * (2 + 4), "two epochs of what goes on, four of what is new"
    (planned,) = log.of(Planned)
    assert planned.summary.left == (4, 2), "of one cohort, what goes on is a unit of its own"
    assert [(event.index, event.total) for event in log.of(CohortStarted)] == [(0, 2), (1, 2)]
    assert_continued(found, run(tmp_path / "whole", **longer))


def test_what_cannot_go_on_starts_anew_and_says_why(tmp_path):
    """A cosine over twice as many epochs is another one; the constant rate beside it goes on."""
    changes = {"record": STATE, "schedule": [{"name": "cosine"}, {"name": "constant"}]}
    log = Log()
    run(tmp_path / "r", log=log, epochs=2, **changes)
    said = [event.message for event in log.of(Warning_)]
    why = "whose state is not kept: the schedule 'cosine' depends on the budget"
    assert said == [f"record.state: longer trials cannot go on from 4, {why}"]
    log.clear()
    found = run(tmp_path / "r", log=log, epochs=4, **changes)
    said = [event.message for event in log.of(Warning_)]
    assert "4 trials go on from where shorter ones ended" in said
    assert f"4 trials of {tmp_path / 'r'} will run again because epochs changed" in said
    assert_continued(found, run(tmp_path / "whole", epochs=4, **changes))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"record": {**STATE, "every": {"log": 5}}}, "their checkpoints, record.every, depend on the budget"),
        (
            {"record": {**STATE, "rows": 50}},
            "record.rows makes their last checkpoint another one than it is on the way",
        ),
        ({"record": STATE, "epochs": None, "steps": 7}, "they end within an epoch, where longer ones are not seen"),
    ],
)
def test_states_that_nothing_could_go_on_from_are_not_kept(tmp_path, changes, why):
    log = Log()
    run(tmp_path / "r", log=log, **{"epochs": 2, **changes})
    assert [event.message.rpartition("kept: ")[2] for event in log.of(Warning_)][-1] == why
    assert not (tmp_path / "r" / FINISHED).exists()


@pytest.mark.parametrize("lost", ["state", "rows", "versions"])
def test_what_has_lost_its_state_starts_anew(tmp_path, monkeypatch, lost):
    path = tmp_path / "r"
    run(path, record=STATE, epochs=2)
    (file,) = (path / FINISHED).glob("*.npz")
    if lost == "state":
        file.write_bytes(file.read_bytes()[:-200])
    elif lost == "rows":
        kept = file.read_bytes()
        run(path, record=STATE, epochs=2, fresh=True)
        shutil.rmtree(path)
        run(path, record=STATE, epochs=1)
        (path / FINISHED / file.name).write_bytes(kept)
    else:
        monkeypatch.setattr("fastgd.runs.runner.own_source_hash", lambda: "other")
    log = Log()
    found = run(path, log=log, record=STATE, epochs=3)
    assert any("go on" in event.message for event in log.of(Warning_)) == (lost == "rows"), "from the first epoch"
    assert_continued(found, run(tmp_path / "whole", record=STATE, epochs=3))


def test_states_change_no_trial(tmp_path):
    assert_same(run(tmp_path / "r", record={"state": True}), run(tmp_path / "plain"))


def test_landscapes_have_none():
    with pytest.raises(InputError, match=r"^record\.state goes with problems over data, found true"):
        fastgd.Study(
            name="valley", steps=5, problem={"landscape": "rosenbrock"}, optimizer={"name": "sgd", "lr": 1e-3},
            record={"state": True},
        )  # fmt: skip


# --- proofs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_sees_its_end_where_its_values_depend_on_it(name):
    record = SCHEDULES.find(name)
    keys = {key: value for key, value in record.example.items() if key in record.params}
    rule, i = record.cls(**keys), np.arange(40.0)
    differ = any(not np.array_equal(rule.factors(i, 40), rule.factors(i, span)) for span in (41, 77, 200))
    assert record.sees_end(keys) == differ


@given(st.sets(st.integers(0, 6)), st.permutations(range(7)), st.integers(0, 7))
def test_lanes_of_what_was_captured(alive, order, count):
    """Each lane has its own numbers, wherever it stands; what is shared stays as it is."""
    alive, lanes = np.array(sorted(alive), np.int64), np.array(order[:count], np.int64)
    captured = {
        "t": 3,
        "alive": alive,
        "state": np.stack([alive, alive * 10.0])[None],
        "window.same.last": np.arange(9),
    }
    found = selected(captured, lanes)
    assert found["t"] == 3
    assert lanes[found["alive"]].tolist() == found["state"][0, 0].tolist() == [lane for lane in lanes if lane in alive]
    np.testing.assert_array_equal(found["state"][0, 1], found["state"][0, 0] * 10)
    np.testing.assert_array_equal(found["window.same.last"], np.arange(9))


def test_saved_schedules_do_not_depend_on_those_of_lanes_that_ended():
    """Lanes of the first schedule have ended: the state of the second one is found all the same."""
    fast, slow = (Schedule(name="plateau", params={"patience": 0.0, "factor": factor}) for factor in (0.1, 0.9))
    both = ScheduleValues(["lr"], np.ones((2, 1)), ["lr"], [fast, slow], np.array([0, 1]), 50, 5)
    for epoch, loss in enumerate([1.0, 2.0, 3.0]):
        both.judge(epoch * 5, np.arange(2), np.full(2, loss))
    assert both.rate(11).tolist() != [1.0, 1.0]
    rest = ScheduleValues(["lr"], np.ones((1, 1)), ["lr"], [fast, slow], np.array([1]), 50, 5)
    rest.restore({name: values[1:] for name, values in both.state().items()})
    assert rest.rate(11).tolist() == both.rate(11)[1:].tolist()
