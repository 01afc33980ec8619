"""Work that goes on where it stopped: after SIGKILL, after `max_seconds`, after Ctrl-C, with the same bits."""

import json
import multiprocessing
import os
import shutil
import signal
import time

import numpy as np
import pandas as pd
import pytest
import snapshot_studies
from cohorts import spread
from snapshot_studies import CASES
from store_samples import open_folder

import fastgd
from fastgd.plan.planner import make_plan
from fastgd.plan.standing import standing
from fastgd.runs.clock import Clock
from fastgd.runs.data.loading import load_data
from fastgd.runs.executor import LocalExecutor
from fastgd.runs.reporting.events import Progress, Warning_
from fastgd.runs.runner import saved_states
from fastgd.runs.sinks import FolderSink
from fastgd.runs.trials import Finalists
from fastgd.store.snapshots import Snapshots

ONE, OTHER = "0123456789ab", "ba9876543210-64"  # names of units
DELAYS = np.random.default_rng(7)
PASSING = ["cohort_id", "cohort_lanes", "compile_seconds", "train_seconds", "evaluate_seconds"]


def numbers(results):
    """Trials and curves in one order, without times and cohorts."""
    key = [name for name in ("trial_id", "start") if name in results.trials]
    trials = results.trials.drop(columns=PASSING).sort_values(key, ignore_index=True)
    curves = results.curves.drop(columns="train_seconds", errors="ignore").sort_values(
        [*key, "step"], ignore_index=True
    )
    return trials, curves


def assert_same(found, expected):
    for one, other in zip(numbers(found), numbers(expected), strict=True):
        pd.testing.assert_frame_equal(one, other, check_exact=True, check_categorical=False)
    one, other = (results.table("parameters").to_pandas().sort_values("trial_id") for results in (found, expected))
    assert one["trial_id"].tolist() == other["trial_id"].tolist()
    for values, others in zip(one["parameters"], other["parameters"], strict=True):
        np.testing.assert_array_equal(values, others)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The results of each case, of a run that nothing interrupted."""
    path, found = tmp_path_factory.mktemp("whole"), {}

    def results_of(case):
        if case not in found:
            found[case] = snapshot_studies.run(case, path / case)
        return found[case]

    return results_of


@pytest.fixture
def resumed(monkeypatch):
    """The steps from which units went on in this process."""
    seen = []
    load = FolderSink.saved

    def saved(self, name, trial_ids):
        state = load(self, name, trial_ids)
        if state is not None:
            seen.append(int(state["engine.t"]))
        return state

    monkeypatch.setattr(FolderSink, "saved", saved)
    return seen


def files_of(path):
    return sorted(str(file.relative_to(path)) for file in path.rglob("*") if file.is_file())


# --- SIGKILL ----------------------------------------------------------------------------------------------------------


PROCESSES = multiprocessing.get_context("forkserver")  # a server imports once for all processes
PROCESSES.set_forkserver_preload(["snapshot_studies"])


def kill_once_saved(path, case):
    """Run a case in a process of its own, and kill it a little after it has saved its state."""
    process = PROCESSES.Process(target=snapshot_studies.save_often, args=(case, path / case))
    process.start()
    try:
        while process.is_alive():
            if any((path / case / "snapshots").glob("[!.]*.npz")):
                time.sleep(DELAYS.random() * 0.05)
                process.kill()
            time.sleep(0.002)
        assert process.exitcode in (0, -signal.SIGKILL)
    finally:
        process.kill()
        process.join()


QUICK = ("tiles", "swarm")


@pytest.mark.parametrize("case", spread(CASES, QUICK))
def test_a_killed_run_goes_on_with_the_same_bits(case, tmp_path, whole, resumed):
    expected = whole(case)  # which also compiles
    kill_once_saved(tmp_path, case)
    found = snapshot_studies.run(case, tmp_path / case)
    assert_same(found, expected)
    assert resumed, "it went on from what was saved"
    left = [name for name in files_of(tmp_path / case) if name.startswith("snapshots/") or "/." in name]
    assert left == [], "nothing is left of what was saved"


@pytest.mark.full
def test_a_run_that_is_killed_again_and_again(tmp_path, whole, resumed):
    expected = whole("float32")
    for _ in range(3):
        kill_once_saved(tmp_path, "float32")
    assert_same(snapshot_studies.run("float32", tmp_path / "float32"), expected)
    assert resumed


# --- max_seconds ------------------------------------------------------------------------------------------------------


class Hurry:
    """An hour passes after so many looks at the clock."""

    def __init__(self, looks):
        self.looks = looks

    def perf_counter(self):
        self.looks -= 1
        return time.perf_counter() + 3600.0 * (self.looks < 0)


@pytest.mark.parametrize(
    "case",
    spread(
        ["tiles", "target", "feedback", "saga", "line search", "sparse", "guesses", "swarm"],
        ["tiles", "target", "feedback", "swarm"],
    ),
)
def test_a_run_that_is_always_cut_short_makes_progress(case, tmp_path, whole, monkeypatch, resumed):
    """What was timed out goes on where it was, and has the curves of a run that nothing interrupted."""
    expected, runs, left, before = whole(case), 0, True, np.inf
    study = fastgd.Study(name=case, **CASES[case])
    plan = make_plan(study, [] if study.landscapes else load_data(study, snapshot_studies.data_of(case), print))
    while left:
        found = standing(tmp_path, study, plan, *saved_states(tmp_path))
        now = (found.left if found else plan).cost(1).computing
        assert now <= before, "what was done is planned no more"
        before = now
        with monkeypatch.context() as patch:
            patch.setattr("fastgd.runs.clock.time", Hurry((30 if case == "guesses" else 200) + 10 * runs))
            patch.setattr("fastgd.runs.executor.LEAST_SECONDS", 0.0)
            found = snapshot_studies.run(case, tmp_path, max_seconds=1800.0)
        left = len(found.trials) < len(expected.trials) or (found.trials["status"] == "timeout").any()
        runs += 1
        assert runs < 300
    assert_same(found, expected)
    assert runs > 1
    assert resumed
    if not study.landscapes:
        assert before < 0.9 * plan.cost(1).computing


# --- Ctrl-C -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", spread(["single", "large", "swarm line search"], ["single"]))
def test_an_interrupted_run_has_saved_where_it_was(case, tmp_path, whole, monkeypatch, resumed):
    """Python's own handler raises KeyboardInterrupt, once the state is saved."""
    expected, seen = whole(case), []
    monkeypatch.setattr("fastgd.runs.clock.PROGRESS_SECONDS", 0.0)

    def interrupt(event):
        if isinstance(event, Progress) and event.epoch > 0.4 * event.epochs and not seen:
            seen.append(event)
            os.kill(os.getpid(), signal.SIGINT)

    study = fastgd.Study(name=case, **CASES[case])
    with pytest.raises(KeyboardInterrupt):
        fastgd.run(study, tmp_path, data=snapshot_studies.data_of(case), on_event=interrupt, threads=2)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert_same(snapshot_studies.run(case, tmp_path), expected)
    assert resumed
    assert max(resumed) > 0


def test_progress_counts_what_this_run_does():
    """Half of the work stands from an earlier run, and a quarter took this one ten seconds."""
    study = fastgd.Study(name="single", **CASES["single"])
    (unit,) = make_plan(study, load_data(study, snapshot_studies.data_of("single"), lambda _: None)).units
    events, clock = [], Clock()
    executor = LocalExecutor(None, clock, None, events.append, 1, None)
    executor._flops, clock.resumed, clock.seconds["train"] = unit.flops, unit.steps // 2, 10.0
    executor._report_unit(unit, 0, 1, {"train": 0.0}, unit.steps * 3 // 4, 1)
    (event,) = events
    assert event.share == 0.75
    assert event.seconds_left == pytest.approx(10.0)
    assert event.rate == pytest.approx(unit.samples(unit.steps) / 4 / 10.0)


def test_what_was_cut_short_waits_for_its_turn(tmp_path, whole, monkeypatch, resumed):
    """An optimizer that comes first in a study that grew takes all of the time of a run."""
    both = [{"name": "sgd", "lr": 0.01}, CASES["single"]["optimizer"]]
    for changes in ({}, {"optimizer": both}):
        with monkeypatch.context() as patch:
            patch.setattr("fastgd.runs.clock.time", Hurry(200))
            found = snapshot_studies.run("single", tmp_path, max_seconds=1800.0, **changes)
        assert found.trials["status"].eq("timeout").all()
    assert resumed == []
    found = snapshot_studies.run("single", tmp_path, optimizer=both)
    assert len(resumed) == 2
    assert min(resumed) > 0
    (trial,) = whole("single").trials["trial_id"]
    for one, other in zip(numbers(found), numbers(whole("single")), strict=True):
        own = one.loc[one["trial_id"] == trial, other.columns].reset_index(drop=True)
        pd.testing.assert_frame_equal(own, other, check_exact=True, check_categorical=False)


# --- parameters of what is stored -------------------------------------------------------------------------------------


@pytest.fixture
def stored(tmp_path, whole):
    """The folder of the study `tiles`, whose parameters were not kept, and its results."""
    whole("tiles")  # compiles
    return tmp_path / "tiles", snapshot_studies.run("tiles", tmp_path / "tiles", record={"every": {"log": 25}})


def assert_has_parameters(path, before, expected):
    """A folder holds what it held before, and the parameters of a run that nothing interrupted."""
    found = fastgd.load(path)
    for kind in ("trials", "curves"):
        pd.testing.assert_frame_equal(getattr(found, kind), before[kind], check_exact=True)
    tables = [results.table("parameters").to_pandas().sort_values("trial_id") for results in (found, expected)]
    one, other = (dict(zip(table["trial_id"], table["parameters"], strict=True)) for table in tables)
    assert one.keys() == other.keys()
    for trial, values in one.items():
        np.testing.assert_array_equal(values, other[trial])
    assert [name for name in files_of(path) if name.startswith("snapshots/") or "/." in name] == []


@pytest.mark.full
def test_parameters_of_what_is_stored_go_on_after_a_kill(tmp_path, stored, whole, resumed):
    path, results = stored
    before = {"trials": results.trials, "curves": results.curves}
    kill_once_saved(tmp_path, "tiles")
    assert not any((path / "parameters").glob("[!.]*"))
    snapshot_studies.run("tiles", path)
    assert resumed
    assert min(resumed) > 0
    assert_has_parameters(path, before, whole("tiles"))


@pytest.mark.full
def test_parameters_of_what_is_stored_make_progress_under_a_deadline(stored, whole, monkeypatch, resumed):
    path, results = stored
    before, runs, said = {"trials": results.trials, "curves": results.curves}, 0, []
    study = fastgd.Study(name="tiles", **CASES["tiles"], max_seconds=1800.0)
    while fastgd.load(path).table("parameters").num_rows < len(before["trials"]):
        with monkeypatch.context() as patch:
            patch.setattr("fastgd.runs.clock.time", Hurry(200 + 10 * runs))
            fastgd.run(study, path, data=snapshot_studies.data_of("tiles"), on_event=said.append, threads=2)
        runs += 1
        assert runs < 100
    assert runs > 2
    assert max(resumed) > 0
    left = [event.message for event in said if isinstance(event, Warning_) and "max_seconds was over" in event.message]
    assert len(left) == runs - 1
    assert left[0] == "max_seconds was over: the parameters of 18 trials are left for the next run of the study"
    assert_has_parameters(path, before, whole("tiles"))


def test_trials_do_not_go_on_from_what_was_saved_for_their_parameters(tmp_path):
    """It has none of their curves."""
    ids, saves = ["t0", "t1", "t2"], Snapshots(tmp_path, {})
    with open_folder(tmp_path) as folder:
        with folder.writer(parameters_only=True) as writer:
            sink = FolderSink(folder, writer, Finalists(), saves)
            sink.parameters(ids[:2], np.ones((2, 4)))
            sink.save(ONE, {"w": np.arange(3.0)})
        for parameters_only in (True, False):
            with folder.writer(parameters_only=parameters_only) as writer:
                state = FolderSink(folder, writer, Finalists(), saves).saved(ONE, ids)
                assert (state is not None) == parameters_only


# --- repair -----------------------------------------------------------------------------------------------------------


def flip(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 8
    file.write_bytes(content)


def test_a_repair_keeps_what_was_saved(tmp_path, whole, resumed):
    """Rows of what is on its way stand under hidden names, which no commit record names."""
    path = tmp_path / "tiles"
    snapshot_studies.run("tiles", path, seed=0)
    saved_state(tmp_path)
    (stored,) = (path / "curves").glob("[!.]*.parquet")
    flip(stored)
    kept = files_of(path / "snapshots")
    assert fastgd.verify(path, repair=True).repaired
    assert files_of(path / "snapshots") == kept
    assert_same(snapshot_studies.run("tiles", path), whole("tiles"))
    assert resumed


@pytest.mark.parametrize("damaged", ["study.toml", "curves"])
def test_a_repair_keeps_what_was_cut_short_as_far_as_its_rows_are_good(tmp_path, whole, resumed, monkeypatch, damaged):
    with monkeypatch.context() as patch:
        patch.setattr("fastgd.runs.clock.time", Hurry(200))
        found = snapshot_studies.run("single", tmp_path, max_seconds=1800.0)
    assert (found.trials["status"] == "timeout").any()
    flip(min(tmp_path.glob(damaged) if damaged == "study.toml" else (tmp_path / damaged).glob("*.parquet")))
    assert fastgd.verify(tmp_path, repair=True).repaired
    assert_same(snapshot_studies.run("single", tmp_path), whole("single"))
    assert bool(resumed) == (damaged == "study.toml"), "it starts anew where the rows before are lost"
    assert fastgd.verify(tmp_path).ok


# --- what is no snapshot ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """Where a process that runs "tiles" was killed once it had saved its state."""
    path = tmp_path_factory.mktemp("killed")
    saved_state(path)
    return path


@pytest.fixture
def file(tmp_path, killed):
    """A snapshot of a run that was killed, in a folder of the test's own."""
    shutil.copytree(killed, tmp_path, dirs_exist_ok=True)
    return next((tmp_path / "tiles/snapshots").glob("[!.]*.npz"))


def saved_state(path, case="tiles"):
    kill_once_saved(path, case)
    assert any((path / case / "snapshots").glob("[!.]*.npz"))


def test_a_damaged_snapshot_is_none(tmp_path, whole, resumed, file):
    flip(file)
    assert_same(snapshot_studies.run("tiles", tmp_path / "tiles"), whole("tiles"))
    assert 0 not in resumed
    assert not file.exists()


@pytest.mark.usefixtures("file")
def test_a_snapshot_whose_rows_are_damaged_is_none(tmp_path, whole):
    for rows in (tmp_path / "tiles/curves").glob(".*.parquet"):
        rows.write_bytes(rows.read_bytes()[:-20])
    assert_same(snapshot_studies.run("tiles", tmp_path / "tiles"), whole("tiles"))
    assert fastgd.verify(tmp_path / "tiles").ok


@pytest.mark.usefixtures("file")
def test_a_snapshot_of_other_kernels_is_none(tmp_path, whole, resumed, monkeypatch):
    monkeypatch.setattr("fastgd.runs.runner.own_source_hash", lambda: "other")
    assert_same(snapshot_studies.run("tiles", tmp_path / "tiles"), whole("tiles"))
    assert resumed == []


def test_snapshots_are_arrays_alone(tmp_path):
    saves = Snapshots(tmp_path, {"numba": "1"})
    saves.save(ONE, {"w": np.arange(3.0), "text": np.array(["x", "yy"])}, [])
    found = Snapshots(tmp_path, {"numba": "1"}).load(ONE)
    np.testing.assert_array_equal(found.state["w"], np.arange(3.0))
    assert found.state["text"].tolist() == ["x", "yy"]
    assert Snapshots(tmp_path, {"numba": "2"}).load(ONE) is None
    with pytest.raises(ValueError, match="allow_pickle"):
        saves.save(OTHER, {"w": np.array([object()])}, [])
    assert saves.names() == [ONE]
    saves.drop([ONE])
    assert saves.names() == []


def test_rows_of_a_snapshot_are_those_of_its_folder(tmp_path):
    """A folder may come from elsewhere."""
    for rows in (["../mine.parquet"], ["curves/../../mine.parquet"], ["/mine.parquet"], ["mine.parquet"], [3], 3):
        told = json.dumps({"about": {}, "rows": rows})
        (tmp_path / "snapshots").mkdir(exist_ok=True)
        np.savez(tmp_path / "snapshots" / f"{ONE}.npz", about=np.array(told))
        assert Snapshots(tmp_path, {}).load(ONE) is None
        assert Snapshots(tmp_path, {}).rows() == []


@pytest.mark.parametrize("linked", [False, True])
def test_files_of_the_user_beside_snapshots_stay(tmp_path, linked):
    results, mine = tmp_path / "results", tmp_path / "mine"
    snapshot_studies.run("guesses", results)
    mine.mkdir()
    names = ["a.npz", ".a.npz", "notes.txt", f"{ONE}.parquet"] + [f"{ONE}.npz", f".{ONE}.npz"] * linked
    for name in names:
        (mine / name).write_text("mine")
    (results / "snapshots").symlink_to(mine) if linked else mine.rename(results / "snapshots")
    snapshot_studies.run("guesses", results)
    fastgd.verify(results, repair=True)
    assert sorted(path.name for path in (results / "snapshots").iterdir()) == sorted(names)
