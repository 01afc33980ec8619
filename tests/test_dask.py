"""Studies on Dask clusters of real processes: the bits of a local run, whatever joins, leaves, is killed or fails."""

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import nullcontext
from pathlib import Path

import dask
import numpy as np
import pandas as pd
import pytest
import small_studies
import snapshot_studies
from distributed import Client
from small_studies import Log
from test_cli import fastgd_cli
from test_snapshots import PASSING, files_of
from typer.testing import CliRunner

import fastgd
from fastgd.cli.app import app
from fastgd.common.errors import InputError
from fastgd.runs.dask.addresses import Local, parsed, started
from fastgd.runs.reporting.events import CohortFinished, CohortStarted, Finished, Progress, Waiting, Warning_

PACKAGE = Path(fastgd.__file__).parent


@pytest.fixture(scope="module")
def cluster():
    with started(Local(2, 1)) as made:
        yield made


@pytest.fixture(scope="module")
def client(cluster):
    with Client(cluster, set_as_default=False) as made:
        yield made


def numbers(table, key):
    """A table in one order, without times, and without dictionaries, whose order is that of commits."""
    own = table.drop(columns=[name for name in PASSING if name in table])
    own = own.astype(dict.fromkeys(own.select_dtypes("category"), object))
    return own.sort_values([name for name in key if name in own], ignore_index=True)


def assert_same(found, expected):
    for kind in ("trials", "curves", "trajectories", "parameters"):
        one, other = (
            numbers(results.table(kind).to_pandas(), ["trial_id", "start", "step", "coordinate"])
            for results in (found, expected)
        )
        pd.testing.assert_frame_equal(one, other, check_exact=True)


@pytest.fixture(autouse=True)
def no_long_wait(monkeypatch):
    """Were killed workers not started anew, a run would end, and its test fail."""
    monkeypatch.setattr("fastgd.runs.dask.coordinator.NONE_SECONDS", 60.0)


@pytest.fixture
def there(client):
    """An executor on two workers, also after a test that has killed some."""
    client.wait_for_workers(2, timeout=60)
    return fastgd.DaskExecutor(client)


# --- bits -------------------------------------------------------------------------------------------------------------

MANY = {
    "optimizer": [
        {"name": "momentum", "lr": [0.01, 0.1, 1e6], "clip": {"kind": "norm", "norm": 1.0}},
        {"name": "adam", "lr": 0.01, "schedule": {"name": "cosine"}},
        {"name": "random_search", "low": -1, "high": 1},
    ],
    "batch_size": [16, "full"],
    "seed": [0, 1],
    "record": {"parameters": "best"},
    "surface": {"low": -1, "high": 1, "num": 5, "at": "zeros"},
}
ADAM = {"name": "adam", "lr": [0.001, 0.01]}
STUDIES = {
    "cohorts": (MANY, small_studies.rows()),
    "sparse": ({"optimizer": ADAM, "batch_size": 1, "seed": [0, 1]}, (snapshot_studies.SPARSE, snapshot_studies.Y)),
    "network": ({"problem": {"loss": "logistic", "network": {"hidden": [4]}}, "seed": [0, 1]}, small_studies.rows()),
    "race": (
        {
            "problem": {"loss": "logistic", "validation": 0.3},
            "optimizer": {"name": "momentum", "lr": [0.001, 0.01, 0.1, 1e200]},
            "epochs": 9,
            "seed": [0, 1],
            "search": {"halving": {"factor": 2, "start": 1}},
            "record": {"parameters": "all"},
        },
        small_studies.rows(),
    ),
}
SWARM = {
    "name": "walks",
    "steps": 60,
    "problem": {"landscape": "himmelblau", "noise": 0.1},
    "optimizer": [{"name": "momentum", "lr": [1e-3, 1e-2]}, {"name": "adam", "lr": 0.1}],
    "starts": {"uniform": 50},
    "record": {"trajectories": [0, 7]},
}


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_has_the_bits_of_a_local_run(name, tmp_path, there):
    fields, data = STUDIES[name]
    study, log = small_studies.study_of(**fields), Log()
    found = fastgd.run(study, tmp_path / "there", data=data, executor=there, on_event=log)
    expected = fastgd.run(study, tmp_path / "here", data=data, progress=False)
    assert_same(found, expected)
    for one, other in zip(found.surfaces, expected.surfaces, strict=True):
        np.testing.assert_array_equal(one.loss, other.loss)
    assert len(log.of(CohortStarted)) == len(log.of(CohortFinished))
    assert fastgd.verify(tmp_path / "there").findings == ()
    again = Log()
    fastgd.run(study, tmp_path / "there", data=data, executor=there, on_event=again)
    assert again.of(CohortStarted) == []


def test_parts_of_swarms_have_the_bits_of_a_local_run(tmp_path, there):
    found = fastgd.run(fastgd.Study(**SWARM), tmp_path / "there", executor=there, progress=False)
    expected = fastgd.run(fastgd.Study(**SWARM), tmp_path / "here", progress=False)
    assert_same(found, expected)
    assert len(found.trajectories)
    np.testing.assert_array_equal(found.surfaces[0].loss, expected.surfaces[0].loss)


def test_short_units_are_committed_together(tmp_path, there, monkeypatch):
    monkeypatch.setattr("fastgd.runs.dask.coordinator.GATHER_SECONDS", 60.0)
    study, data, parts = small_studies.study_of(seed=[*range(8)]), small_studies.rows(), []

    def look(event):
        if isinstance(event, CohortFinished):
            parts.append(len(list((tmp_path / "there" / "trials").glob("[!.]*"))))

    found = fastgd.run(study, tmp_path / "there", data=data, executor=there, on_event=look)
    assert parts == [1] * 8
    assert_same(found, fastgd.run(study, tmp_path / "here", data=data, progress=False))


def table(path, seed):
    X, y = small_studies.rows(seed=seed)
    pd.DataFrame(X).add_prefix("x").assign(y=y).to_csv(path, index=False)


def test_workers_load_the_data_that_a_study_names(tmp_path, there, monkeypatch):
    """By a path from this folder; data that have changed for them since the study was planned are refused."""
    monkeypatch.chdir(tmp_path)
    table("rows.csv", 0)
    problem = {"loss": "logistic", "path": "rows.csv", "target": "y", "validation": {"folds": 2}, "standardize": True}
    study = small_studies.study_of(problem=problem)
    found = fastgd.run(study, "there", executor=there, progress=False)
    assert_same(found, fastgd.run(study, "here", progress=False))
    table("rows.csv", 1)
    changed = Log()

    def change(event):
        changed.append(event)
        if isinstance(event, CohortStarted):
            table("rows.csv", 2)

    with pytest.raises(InputError, match=r"no worker of the cluster can run the study .* not those that were planned"):
        fastgd.run(study, "changed", executor=there, on_event=change)
    assert len(changed.of(Warning_)) >= 2


# --- searches of rates ------------------------------------------------------------------------------------------------


def loaded():
    """Which objects this worker has loaded."""
    from fastgd.runs.dask import worker

    return {key: id(data) for key, data in worker._loaded.items()}


@pytest.mark.parametrize("given", [True, False], ids=["data that are sent", "data that workers load"])
def test_a_search_of_rates_has_the_bits_of_a_local_one(given, tmp_path, client, there, monkeypatch):
    """Workers have the data once, for all of its rounds, and let go of them at its end."""
    sent, kept = [], []
    scatter = client.scatter
    monkeypatch.setattr(client, "scatter", lambda *what, **how: sent.append(what) or scatter(*what, **how))
    table(tmp_path / "rows.csv", 0)
    problem = {"loss": "logistic"} | ({} if given else {"path": str(tmp_path / "rows.csv"), "target": "y"})
    study = small_studies.study_of(problem=problem, optimizer={"name": "momentum", "lr": 0.1})
    options = {"data": small_studies.rows() if given else None, "factor": 3.0, "points": 4}

    def watch(event):
        if isinstance(event, Finished):
            kept.append(client.run(loaded))

    found = fastgd.tune(study, tmp_path / "there", executor=there, on_event=watch, **options)
    expected = fastgd.tune(study, tmp_path / "here", progress=False, **options)
    pd.testing.assert_frame_equal(found.answers, expected.answers, check_exact=True)
    pd.testing.assert_frame_equal(found.points, expected.points, check_exact=True)
    assert len(found.rounds) >= 3
    for one in found.rounds:
        assert_same(*(fastgd.load(tmp_path / place / one.folder) for place in ("there", "here")))
    assert len(sent) == given
    first, *others = [{worker: own for worker, own in each.items() if own} for each in kept]
    assert bool(first) == (not given)
    assert all(later[worker] == own for later in others for worker, own in first.items())
    assert not any(client.run(loaded).values())
    test = {"low": 1e-3, "high": 10.0, "steps": 20, "data": options["data"], "progress": False}
    one = fastgd.range_test(study, tmp_path / "there", executor=there, **test)
    pd.testing.assert_frame_equal(one.answers, fastgd.range_test(study, tmp_path / "here", **test).answers)
    with pytest.raises(InputError, match=r"give a fastgd\.DaskExecutor"):
        fastgd.tune(study, tmp_path / "none", executor="local", **options)


def test_a_model_has_the_bits_of_a_local_one(tmp_path, there):
    study, log = small_studies.study_of(problem={"loss": "logistic", "validation": 0.3}), Log()
    executors = {"there": there, "here": None}
    found, expected = (
        fastgd.fit(study, tmp_path / place, data=small_studies.rows(), executor=executor, on_event=log)
        for place, executor in executors.items()
    )
    np.testing.assert_array_equal(found.coef, expected.coef)
    assert_same(*(fastgd.load(tmp_path / place) for place in executors))


def test_data_of_another_type_are_loaded_anew(tmp_path, client, there):
    """Fingerprints do not cover the type of numbers."""
    table(tmp_path / "rows.csv", 0)
    problem = {"loss": "logistic", "path": str(tmp_path / "rows.csv"), "target": "y"}
    with there.keeping_data():
        for dtype in ("float64", "float32"):
            study = small_studies.study_of(problem=problem, dtype=dtype)
            found = fastgd.run(study, tmp_path / "there" / dtype, executor=there, progress=False)
            assert_same(found, fastgd.run(study, tmp_path / "here" / dtype, progress=False))
        assert any(client.run(loaded).values())
    assert not any(client.run(loaded).values())


# --- kills ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return run_tiles(tmp_path_factory.mktemp("whole") / "tiles", None)


def run_tiles(path, executor, on_event=None, join=False, **changes):
    """Two units, of a seed each, that take some seconds."""
    study = fastgd.Study(name="tiles", **{**snapshot_studies.CASES["tiles"], "epochs": 12_000, **changes})
    options = {"executor": executor, "on_event": on_event, "join": join}
    return fastgd.run(study, path, data=snapshot_studies.data_of("tiles"), **options)


class Once:
    """Does something once, at the first event that is asked for."""

    def __init__(self, kind, act, at=lambda event: True):
        self.kind, self.act, self.at, self.seen = kind, act, at, Log()

    def __call__(self, event):
        if isinstance(event, self.kind) and self.at(event) and self.act:
            act, self.act = self.act, None
            act()
        self.seen.append(event)


def kill(client, *workers):
    """Kill some workers, by default all."""
    pids = client.run(os.getpid, workers=workers or None).values()
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("states", [False, True], ids=["units", "large states"])
def test_a_worker_that_stands_still_holds_one_unit(states, tmp_path, there, monkeypatch):
    """What waits behind that goes to the other worker: all but one are done before it goes on.

    Of units with states, it may also hold an answer that nobody has fetched yet.
    """
    monkeypatch.setattr("fastgd.runs.dask.crew.SCATTERED_BYTES", 0)
    fields = {"seed": [*range(4)], "epochs": 24_000} | ({"snapshot_seconds": 0.1} if states else {})
    enough = 2 if states else 3
    stopped = next(iter(there.client.run(os.getpid).values()))
    done, others, waits = Log(), [], threading.Timer(60, os.kill, (stopped, signal.SIGCONT))

    def watch(event):
        done.append(event)
        if isinstance(event, Progress) and not others and all(there.client.has_what().values()):  # both have the data
            others.append(0)
            os.kill(stopped, signal.SIGSTOP)
            waits.start()
        if waits.is_alive():
            others.append(len(done.of(CohortFinished)))
            if others[-1] >= enough:
                waits.cancel()
                os.kill(stopped, signal.SIGCONT)

    found = run_tiles(tmp_path / "there", there, watch, **fields)
    assert others[-1] >= enough
    assert_same(found, run_tiles(tmp_path / "here", None, **fields))


@pytest.fixture(scope="module")
def one_unit(tmp_path_factory):
    return run_tiles(tmp_path_factory.mktemp("one") / "tiles", None, **ONE_UNIT)


ONE_UNIT = {"seed": 0, "epochs": 40_000, "snapshot_seconds": 0.2}


@pytest.mark.parametrize("whose", ["its own", "all"])
def test_a_unit_of_killed_workers_goes_on_elsewhere(whose, tmp_path, there, one_unit):
    """From its last saved state: it had been answered as it was."""
    saved = []

    def act():
        (path,) = (tmp_path / "snapshots").glob("[!.]*.npz")
        saved.append(int(np.load(path)["engine.t"]) / 50)  # steps of an epoch
        busy = [worker for worker, keys in there.client.processing().items() if keys]
        kill(there.client, *(busy if whose == "its own" else ()))

    def is_saved(event):
        return any((tmp_path / "snapshots").glob("[!.]*.npz"))

    killed, after = Once(Progress, act, is_saved), []

    def watch(event):
        after.extend([event] * (isinstance(event, Progress) and bool(saved)))
        killed(event)

    found = run_tiles(tmp_path, there, watch, **ONE_UNIT)
    assert after
    assert 0 < saved[0] <= min(event.epoch for event in after)
    assert_same(found, one_unit)
    assert [name for name in files_of(tmp_path) if name.startswith("snapshots/") or "/." in name] == []
    diverged = found.trials["status"].eq("diverged").sum()
    assert [event.diverged for event in killed.seen.of(CohortFinished)] == [diverged]
    assert diverged


def test_killed_workers_of_a_cluster_on_this_machine_come_back():
    """Whatever Dask's configuration says of workers that are away."""
    with (
        dask.config.set({"distributed.deploy.lost-worker-timeout": "1ms"}),
        started(Local(1, 1)) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        first = client.run(os.getpid)
        kill(client)
        end = time.monotonic() + 60
        while not (found := client.run(os.getpid, on_error="ignore")) or found.keys() == first.keys():
            assert time.monotonic() < end
            time.sleep(0.05)


def test_a_run_whose_scheduler_is_gone_ends_with_what_was_committed(tmp_path, one_unit):
    """In words, and a run on a closed client does not begin."""
    address = tmp_path / "address.json"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": tmp_path}
    command = [sys.executable, "-m"]
    of_scheduler = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", address]
    scheduler = subprocess.Popen([*command, "distributed.cli.dask_scheduler", *of_scheduler], **quiet)
    of_worker = ["--no-nanny", "--no-dashboard", "--nthreads", "1", "--scheduler-file", address]
    worker = subprocess.Popen([*command, "distributed.cli.dask_worker", *of_worker], **quiet)
    try:
        while not address.exists():
            time.sleep(0.05)
        with Client(scheduler_file=str(address), timeout=3, set_as_default=False) as client:
            executor = fastgd.DaskExecutor(client)
            with pytest.raises(InputError, match=r"scheduler does not answer any more .* goes on from there"):
                run_tiles(tmp_path / "out", executor, Once(Progress, scheduler.kill), **ONE_UNIT)
            assert fastgd.verify(tmp_path / "out").findings == ()
            with pytest.raises(InputError, match="client of the DaskExecutor is closed"):
                run_tiles(tmp_path / "out", executor, **ONE_UNIT)
        assert_same(run_tiles(tmp_path / "out", None, **ONE_UNIT), one_unit)
    finally:
        for process in (worker, scheduler):
            process.kill()
            process.wait()


def coordinate(address, path, stop=False):
    def stand_still(event):
        if stop and any((path / "snapshots").glob("[!.]*.npz")):
            os.kill(os.getpid(), signal.SIGSTOP)

    with Client(address, set_as_default=False) as client:
        run_tiles(path, fastgd.DaskExecutor(client), stand_still, snapshot_seconds=0.2)


def test_a_killed_coordinator_goes_on_in_the_next_run(tmp_path, client, there, whole):
    process = multiprocessing.get_context("spawn").Process(target=coordinate, args=(client.scheduler.address, tmp_path))
    process.start()
    while process.is_alive() and not any((tmp_path / "snapshots").glob("[!.]*.npz")):
        time.sleep(0.01)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert_same(run_tiles(tmp_path, there), whole)


def test_a_coordinator_that_stands_by_takes_over(tmp_path, client, there, whole):
    """As soon as the first one is killed, which here has just stopped where it had saved a state."""
    arguments = client.scheduler.address, tmp_path, True
    process = multiprocessing.get_context("spawn").Process(target=coordinate, args=arguments)
    process.start()
    while process.is_alive() and not any((tmp_path / "snapshots").glob("[!.]*.npz")):
        time.sleep(0.01)
    stands_by = Once(Waiting, process.kill)
    found = run_tiles(tmp_path, there, stands_by, join=True)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert stands_by.seen.of(Waiting)
    assert_same(found, whole)


def test_an_interrupted_run_has_saved_where_its_workers_were(tmp_path, there, whole):
    interrupt = Once(Progress, lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        run_tiles(tmp_path, there, interrupt)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert any((tmp_path / "snapshots").glob("*.npz"))
    assert_same(run_tiles(tmp_path, None), whole)  # here


def test_what_the_time_does_not_suffice_for_is_left_for_the_next_run(tmp_path, there, whole):
    found = run_tiles(tmp_path / "rows", there, max_seconds=1e-9)
    assert set(found.trials["status"]) == {"timeout"}
    assert found.trials["reason"].str.contains("max_seconds").all()
    assert_same(run_tiles(tmp_path / "rows", there), whole)
    cut = fastgd.run(fastgd.Study(**SWARM, max_seconds=1e-9), tmp_path / "starts", executor=there, progress=False)
    assert 0 < len(cut.trials) < 150
    rest = fastgd.run(fastgd.Study(**SWARM), tmp_path / "starts", executor=there, progress=False)
    assert_same(rest, fastgd.run(fastgd.Study(**SWARM), tmp_path / "here", progress=False))


# --- failures ---------------------------------------------------------------------------------------------------------

MODULE = """
from typing import NamedTuple
from distributed import get_worker
from fastgd import optimizer
import os

try:
    get_worker()
except ValueError:
    pass
else:
    {there}

@optimizer()
class Mine(NamedTuple):
    '''A rule.'''
    lr: float
    def rule(h, c, w, g, s):
        return w - h.lr * g, ()
"""
FAILURES = {  # what the module does on a worker, and what is said of it
    "raises": ("raise RuntimeError('not here')", "cannot import the module .*: not here"),
    "kills": ("os._exit(1)", "the worker .* was lost"),
}


def test_failed_starts_of_a_landscape_run_again(tmp_path, there, monkeypatch):
    (tmp_path / "users_bowl.py").write_text(
        "from distributed import get_worker\n"
        "def bowl(x):\n    return x[0] * x[0]\n"
        "try:\n    get_worker()\nexcept ValueError:\n    pass\nelse:\n    raise RuntimeError('not here')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    problem = [{"landscape": "users_bowl:bowl", "dimension": 2}, SWARM["problem"]]
    study = fastgd.Study(**SWARM | {"problem": problem, "record": {}, "optimizer": SWARM["optimizer"][:1]})
    found = fastgd.run(study, tmp_path / "out", executor=there, progress=False)
    failed = found.trials["landscape"].eq("users_bowl:bowl")
    assert failed.sum() == 100
    assert found.trials["status"].eq("failed").equals(failed)
    again = fastgd.run(study, tmp_path / "out", progress=False)
    assert_same(again, fastgd.run(study, tmp_path / "here", progress=False))


@pytest.mark.parametrize("kind", FAILURES)
def test_a_unit_that_always_fails_leaves_the_others(kind, tmp_path, there, monkeypatch):
    """Its trials have failed, with the reason; the next run tries them again."""
    there_it, said = FAILURES[kind]
    name = f"users_rule_that_{kind}"
    (tmp_path / f"{name}.py").write_text(MODULE.format(there=there_it))
    monkeypatch.syspath_prepend(tmp_path)
    fields = {"optimizer": [{"name": f"{name}:Mine", "lr": [0.01, 0.1]}, {"name": "momentum", "lr": [0.01, 0.1]}]}
    log = Log()
    study, data = small_studies.study_of(**fields), small_studies.rows()
    found = fastgd.run(study, tmp_path / "out", data=data, executor=there, on_event=log)
    trials = found.trials.set_index("optimizer")
    assert trials["status"].loc["momentum"].tolist() == ["completed"] * 2
    assert trials["status"].drop("momentum").tolist() == ["failed"] * 2
    assert trials["reason"].drop("momentum").str.contains(f"failed 3 times, at last: .*{said}").all()
    assert any("the next run of the study tries them again" in event.message for event in log.of(Warning_))
    assert fastgd.verify(tmp_path / "out").findings == ()
    found.best()
    again = fastgd.run(study, tmp_path / "out", data=data, progress=False)
    assert_same(again, fastgd.run(study, tmp_path / "here", data=data, progress=False))


# --- workers of all kinds ---------------------------------------------------------------------------------------------


@pytest.fixture
def other_worker(tmp_path):
    """Starts a worker whose fastgd is that of the test's folder."""
    processes = []

    def start(address):
        command = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--no-nanny", "--no-dashboard"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        environment = os.environ | {"PYTHONPATH": str(tmp_path)}
        processes.append(subprocess.Popen(command, env=environment, cwd=tmp_path, **quiet))

    yield start
    for process in processes:
        process.kill()
        process.wait()


def test_workers_that_differ_are_refused_and_late_ones_take_part(tmp_path, other_worker):
    shutil.copytree(PACKAGE, tmp_path / "fastgd", ignore=shutil.ignore_patterns("__pycache__"))
    with (tmp_path / "fastgd" / "runs" / "trials.py").open("a") as file:
        file.write("# another text\n")
    study, data = small_studies.study_of(), small_studies.rows()
    expected = fastgd.run(study, tmp_path / "here", data=data, progress=False)
    with started(Local(0, 1)) as cluster, Client(cluster, set_as_default=False) as client:
        executor = fastgd.DaskExecutor(client)
        begin = Once(Warning_, lambda: other_worker(cluster.scheduler_address))  # once it waits for workers
        with pytest.raises(InputError, match=r"no worker .* can run the study \(tcp://.*: it has fastgd .* \(not "):
            fastgd.run(study, tmp_path / "refused", data=data, executor=executor, on_event=begin)
        assert "waiting for them" in begin.seen.of(Warning_)[0].message
        mixed = fastgd.run(study, tmp_path / "mixed", data=data, executor=executor, allow_mixed=True, progress=False)
        small_studies.assert_same(mixed, expected)
        assert any("computed by workers with fastgd" in note for note in mixed.manifest.notes)
        cluster.scale(1)
        client.wait_for_workers(2, timeout=30)
        log = Log()
        found = fastgd.run(study, tmp_path / "late", data=data, executor=executor, on_event=log)
        small_studies.assert_same(found, expected)


def test_workers_without_fastgd_are_given_nothing(tmp_path, other_worker):
    """Dask would end them, and units that were on their way there would have failed."""
    (tmp_path / "fastgd").mkdir()
    (tmp_path / "fastgd" / "__init__.py").write_text("raise ImportError('there is no fastgd')")
    study, data, log = small_studies.study_of(), small_studies.rows(), Log()
    with started(Local(0, 1)) as cluster, Client(cluster, set_as_default=False) as client:
        other_worker(cluster.scheduler_address)
        client.wait_for_workers(1, timeout=60)
        executor = fastgd.DaskExecutor(client)
        with pytest.raises(InputError, match=r"no worker .* \(tcp://.*: it has not this fastgd .*there is no fastgd"):
            fastgd.run(study, tmp_path / "refused", data=data, executor=executor, progress=False)
        cluster.scale(1)
        client.wait_for_workers(2, timeout=60)
        found = fastgd.run(study, tmp_path / "there", data=data, executor=executor, on_event=log)
        assert len(client.nthreads()) == 2
    assert_same(found, fastgd.run(study, tmp_path / "here", data=data, progress=False))
    assert any("it has not this fastgd" in event.message for event in log.of(Warning_))


USERS_LOSS = """
from fastgd.problems import loss

def slope(z, y):
    return z - y

@loss(targets="real", derivative=slope)
def half_square(z, y):
    return 0.5 * (z - y) * (z - y)
"""


def test_workers_find_modules_of_the_current_folder_and_load_data_with_them(tmp_path, there, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])  # as it is where no script runs
    Path("users_loss_there.py").write_text(USERS_LOSS)
    table("rows.csv", 0)
    problem = {"loss": "users_loss_there:half_square", "path": "rows.csv", "target": "y"}
    study = small_studies.study_of(problem=problem)
    found = fastgd.run(study, "there", executor=there, progress=False)
    assert set(found.trials["status"]) == {"completed"}
    assert_same(found, fastgd.run(study, "here", progress=False))


# --- the command line -------------------------------------------------------------------------------------------------


def test_local_clusters_and_addresses_are_told_apart():
    assert parsed("local:2x3") == Local(2, 3)
    assert parsed("local:4").workers == 4
    assert parsed("local").threads >= 1
    assert parsed("tcp://[::1]:8786") == "tcp://[::1]:8786"
    for wrong in ("local:0", "local:2x0", "local:", "here", "tcp://host", "local:2x1x1"):
        with pytest.raises(InputError, match=f"--dask {wrong}"):
            parsed(wrong)


@pytest.mark.parametrize("command", ["tune", "tune --range-test", "fit"])
def test_commands_take_a_cluster(command, tmp_path, monkeypatch, there):
    table(tmp_path / "rows.csv", 0)
    problem = {"loss": "logistic", "path": str(tmp_path / "rows.csv"), "target": "y", "validation": 0.3}
    study = small_studies.study_of(problem=problem, optimizer={"name": "momentum", "lr": [0.1, 0.3]})
    (tmp_path / "study.toml").write_text(study.to_toml())
    asked, runs = [], []
    monkeypatch.setattr("fastgd.runs.dask.addresses.connected", lambda text: asked.append(text) or nullcontext(there))
    executor_of = there.executor_of
    monkeypatch.setattr(there, "executor_of", lambda *given, **how: runs.append(given) or executor_of(*given, **how))
    name, *options = command.split()
    found = [tmp_path / "here", tmp_path / "there"]
    for folder, more in zip(found, ([], ["--dask", "local:2x1"]), strict=True):
        fastgd_cli(name, tmp_path / "study.toml", *options, "--results" if name == "fit" else "--out", folder, *more)
    assert asked == ["local:2x1"]
    assert runs
    for one in sorted(path.parent.relative_to(found[0]) for path in found[0].rglob("manifest.json")):
        assert_same(*(fastgd.load(folder / one) for folder in found))


def test_a_command_runs_on_a_cluster_of_its_own(tmp_path, monkeypatch):
    table(tmp_path / "rows.csv", 0)
    problem = {"loss": "logistic", "intercept": True, "path": str(tmp_path / "rows.csv"), "target": "y"}
    study = small_studies.study_of(problem=problem)
    (tmp_path / "study.toml").write_text(study.to_toml())
    out = tmp_path / "out"
    command = ["fastgd", "run", str(tmp_path / "study.toml"), "--out", str(out), "--dask", "local:1x1"]
    ran = subprocess.run([sys.executable, "-m", *command], check=False, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    small_studies.assert_same(fastgd.load(out), fastgd.run(study, tmp_path / "here", progress=False))
    monkeypatch.setitem(sys.modules, "distributed", None)
    refused = CliRunner().invoke(app, command[1:])
    assert refused.exit_code == 2
    assert "pip install 'fastgd[dask]'" in refused.output
    with pytest.raises(InputError, match="extra"):
        fastgd.DaskExecutor(None)
    with pytest.raises(InputError, match=r"give a fastgd\.DaskExecutor"):
        fastgd.run(study, tmp_path / "none", executor="local", progress=False)
