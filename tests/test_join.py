"""Runs that join: they wait for another process that writes to their folder, and go on with what it left."""

import errno
import os
import pickle
import signal
import subprocess
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace

import object_store
import pytest
import small_studies
import snapshot_studies
import test_snapshots
from campaign.signals import STUDY, end, start, when
from object_store import BUCKET
from small_studies import Log
from store_samples import files, in_a_child
from test_cli import fastgd_cli

import fastgd
from fastgd.common.errors import InputError, InUseError
from fastgd.common.folders import expanded
from fastgd.runs import waiting
from fastgd.runs.reporting.events import CohortStarted, Finished, Loading, Planned, Waiting
from fastgd.store.disk import object_lock
from fastgd.store.folder import lock


class First(Log):
    """Collects events, and does something at the first one of a kind."""

    def __init__(self, kind, act):
        super().__init__()
        self._kind, self._act = kind, act

    def __call__(self, event):
        super().__call__(event)
        if isinstance(event, self._kind) and len(self.of(self._kind)) == 1:
            self._act()


@contextmanager
def held(path):
    """Another process, as far as locks go; what is yielded ends it."""
    path = expanded(path)
    path.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        lock(path, stack)
        yield stack.close


@contextmanager
def another(code, *arguments):
    """A process that runs code, and is there once it says so."""
    with in_a_child(code, *arguments, stdin=subprocess.PIPE) as process:
        try:
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


# --- real processes ---------------------------------------------------------------------------------------------------

# Runs a study, and stops on its way, when something is stored, until it is told to go on.
STOPS = """
import small_studies
import snapshot_studies
from fastgd.runs.reporting.events import CohortStarted, Progress

out, case = sys.argv[1:]
stopped = []

def stop(event):
    stored = any(Path(out).glob("snapshots/[!.]*.npz" if case == "tiles" else "trials/[!.]*.parquet"))
    if isinstance(event, CohortStarted | Progress) and stored and not stopped:
        stopped.append(event)
        print("ready", flush=True)
        sys.stdin.readline()

import fastgd.runs.clock, fastgd.runs.executor
fastgd.runs.clock.PROGRESS_SECONDS = fastgd.runs.executor.GATHER_SECONDS = 0.0
if case == "tiles":
    fields, data = snapshot_studies.CASES[case] | {"snapshot_seconds": 1e-3}, snapshot_studies.data_of(case)
    fastgd.run(fastgd.Study(name=case, **fields), out, data=data, on_event=stop, threads=2)
else:
    small_studies.run(out, log=stop, seed=[0, 1, 2])
"""


def test_a_run_takes_over_from_one_that_is_killed(tmp_path, monkeypatch):
    """It goes on from what was saved, with the bits of a run that nothing interrupted."""
    study = fastgd.Study(name="tiles", **snapshot_studies.CASES["tiles"])
    data = snapshot_studies.data_of("tiles")
    with another(f"import fastgd\n{STOPS}", tmp_path / "out", "tiles") as process:
        saved = list((tmp_path / "out" / "snapshots").glob("[!.]*.npz"))
        log = First(Waiting, process.kill)
        found = fastgd.run(study, tmp_path / "out", data=data, join=True, on_event=log)
    assert process.returncode == -signal.SIGKILL
    assert saved
    kinds = [type(event) for event in log]
    assert kinds[0] == Waiting
    assert kinds.index(Planned) >= len(log.of(Waiting))
    test_snapshots.assert_same(found, snapshot_studies.run("tiles", tmp_path / "whole"))
    assert fastgd.verify(tmp_path / "out").findings == ()


def test_behind_a_run_that_ends_there_is_nothing_to_do(tmp_path):
    with another(f"import fastgd\n{STOPS}", tmp_path / "out", "small") as process:
        log = First(Waiting, lambda: (process.stdin.write("\n"), process.stdin.flush()))
        found = small_studies.run(tmp_path / "out", log=log, seed=[0, 1, 2], join=True)
        assert process.wait() == 0
    assert log.of(Waiting)[0] == Waiting(str(tmp_path / "out"), "", "", log[0].seconds, 4)
    assert log.computed == []
    assert isinstance(log[-1], Finished)
    small_studies.assert_same(found, small_studies.run(tmp_path / "whole", seed=[0, 1, 2]))


@pytest.fixture
def study(tmp_path):
    path = tmp_path / "study.toml"
    path.write_text(STUDY)
    return path


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_what_waits_and_nothing_is_written(study, tmp_path, number, code):
    out = tmp_path / "out"
    with held(out):
        before = files(out)
        process = start(study, "run", str(study), "--out", str(out), "--join")
        assert when(process, "waiting") == f"waiting for another process: it writes to {out}; 0 trials stored\n"
        said, _ = end(process, number, None, 0)
        assert files(out) == before
    assert process.returncode == code
    assert said == f"interrupted: nothing was begun, since another process wrote to {out}; it was left alone\n"


def sleeping(monkeypatch, sleep):
    """Let what waits call this in place of sleeping."""
    monkeypatch.setattr(waiting, "time", SimpleNamespace(monotonic=time.monotonic, sleep=sleep))


def test_the_command_waits_and_says_so_once(tmp_path, monkeypatch):
    """And then says what a run says that has nothing to do."""
    file, out, slept = tmp_path / "study.toml", tmp_path / "out", []
    file.write_text(STUDY.replace("epochs = 400", "epochs = 1").replace("30_000", "300"))
    fastgd_cli("run", file, "--out", out)
    with held(out) as release:

        def sleep(seconds):
            slept.append(seconds)
            if len(slept) == 7:
                release()

        sleeping(monkeypatch, sleep)
        shown, said = fastgd_cli("run", file, "--out", out, "--join")
    assert slept == [waiting.DISK_SECONDS] * 7
    assert said.startswith(f"waiting for another process: it writes to {out}; 40 trials stored\nloading ")
    assert said.count("waiting") == 1
    assert "nothing to run: every trial is in" in said
    assert "40 trials: 40 completed" in shown


# --- what is refused --------------------------------------------------------------------------------------------------


def test_a_second_writer_is_told_of_it(tmp_path):
    with held(tmp_path), pytest.raises(InUseError, match=r"as fastgd run --join \(join=True\) does, or .* with --out"):
        small_studies.run(tmp_path)


def test_time_that_is_over_while_it_waits(tmp_path):
    """It counts from the beginning of the wait, which is before data are looked for."""
    problem = {"loss": "logistic", "path": str(tmp_path / "none.csv"), "target": "y"}
    with held(tmp_path / "out"):
        log = Log()
        with pytest.raises(InputError, match=r"still writes to .*out after .*, and max_seconds = 0\.1 was over: noth"):
            small_studies.run(tmp_path / "out", log=log, max_seconds=0.1, problem=problem, join=True)
        assert {type(event) for event in log} == {Waiting}
        assert files(tmp_path / "out") == [".lock"]


def test_time_that_is_left_is_the_runs(tmp_path, monkeypatch):
    """The trials that it does not suffice for are stored as far as they are."""
    study, data, now = small_studies.study_of(max_seconds=100.0), small_studies.rows(), [0.0]
    with held(tmp_path / "out") as release, monkeypatch.context() as patched:

        def sleep(seconds):
            now[0] = 99.5
            release()

        sleeping(patched, sleep)
        patched.setattr("fastgd.runs.clock.time", SimpleNamespace(perf_counter=lambda: now[0]))
        log = First(CohortStarted, lambda: now.__setitem__(0, 100.5))
        found = fastgd.run(study, tmp_path / "out", data=data, join=True, on_event=log)
    assert set(found.trials["status"]) == {"timeout"}
    assert found.trials["reason"].str.contains("max_seconds = 100 was over").all()
    assert sum(found.manifest.timings.values()) == pytest.approx(1.0), "the wait belongs to none of its stages"
    again = fastgd.run(study, tmp_path / "out", data=data, progress=False)
    small_studies.assert_same(again, small_studies.run(tmp_path / "whole"))


def test_fresh_does_not_go_with_it(study, tmp_path):
    with pytest.raises(InputError, match=r"fresh starts anew, and join goes on .*: give one of them"):
        small_studies.run(tmp_path, fresh=True, join=True)
    said = fastgd_cli("run", study, "--fresh", "--join", code=2)[1]
    assert said.startswith("error: fresh starts anew, and join goes on")


def test_what_would_be_refused_is_not_waited_for(tmp_path):
    small_studies.run(tmp_path / "out")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "thesis.tex").write_text("")
    for name, said in (("out", "holds the study 'small', not 'other'"), ("foreign", "holds no fastgd results")):
        log = Log()
        with held(tmp_path / name), pytest.raises(InputError, match=said):
            small_studies.run(tmp_path / name, log=log, name="other", join=True)
        assert log == []


def test_other_data_are_refused_after_the_wait(tmp_path, monkeypatch):
    monkeypatch.setattr(waiting, "DISK_SECONDS", 0.01)
    small_studies.run(tmp_path)
    with held(tmp_path) as release:
        log = First(Waiting, release)
        with pytest.raises(InputError, match="holds results of other data"):
            small_studies.run(tmp_path, data=small_studies.rows(seed=1), log=log, join=True)
    assert log.of(Waiting)


def test_a_plan_waits_for_nobody(study, tmp_path):
    with held(tmp_path / "out"):
        shown, said = fastgd_cli("run", study, "--out", tmp_path / "out", "--dry-run", "--join")
    assert "40 trials" in shown
    assert "waiting" not in said


def test_where_nobody_writes_nothing_is_waited_for_or_left(tmp_path):
    log = Log()
    small_studies.run(tmp_path / "out", log=log, join=True)
    assert log.of(Waiting) == []
    (tmp_path / "empty").mkdir()
    waiting.require_free(tmp_path / "empty")
    waiting.require_free(tmp_path / "none")
    assert [path.name for path in tmp_path.iterdir() if not files(path)] == ["empty"]


def test_the_error_survives_pickling():
    error = InUseError(Path("results"), "process 3 on host", "if it was killed, wait")
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error)
    assert (again.folder, again.writer, again.killed) == (error.folder, error.writer, error.killed)


# --- locks of all kinds -----------------------------------------------------------------------------------------------


def test_another_process_may_come_before_the_folder_is_opened(tmp_path, monkeypatch):
    """When data are loaded, and the study is planned."""
    monkeypatch.setattr(waiting, "DISK_SECONDS", 0.01)
    log = Log()
    with ExitStack() as stack:

        def come_and_go(event):
            log(event)
            if isinstance(event, Planned):
                stack.enter_context(held(tmp_path / "out"))
            if isinstance(event, Waiting):
                stack.close()

        found = small_studies.run(tmp_path / "out", log=come_and_go, join=True)
    assert [type(event) for event in log[:3]] == [Loading, Planned, Waiting]
    small_studies.assert_same(found, small_studies.run(tmp_path / "whole"))


def test_a_file_system_without_locks(tmp_path, monkeypatch):
    """A file stands for the lock: one of a process of this machine that was killed is found out."""
    code = (
        "import errno, fcntl\nfrom contextlib import ExitStack\nfrom fastgd.store.folder import lock\n"
        "def flock(*_):\n    raise OSError(errno.ENOLCK, 'no locks')\n"
        "fcntl.flock = flock\nheld = ExitStack()\nlock(Path(sys.argv[1]), held)\n"
        "print('ready', flush=True)\nsys.stdin.readline()"
    )
    fcntl = pytest.importorskip("fcntl")

    def flock(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    monkeypatch.setattr(waiting, "DISK_SECONDS", 0.01)
    out = tmp_path / "out"
    out.mkdir()
    with another(code, out) as process:
        assert files(out) == [".lock.held"]
        log = First(Waiting, lambda: (process.kill(), process.wait()))
        found = small_studies.run(out, log=log, join=True)
    assert log[0].killed == "if no process does, one was killed: delete .lock.held there"
    small_studies.assert_same(found, small_studies.run(tmp_path / "whole"))


@pytest.fixture
def store(monkeypatch):
    monkeypatch.setattr(object_lock, "SETTLE_SECONDS", 0.0)
    monkeypatch.setattr(waiting, "STORE_SECONDS", 0.01)
    object_store.empty()
    yield object_store
    object_store.empty()


@pytest.mark.parametrize("killed", [False, True], ids=["ended", "killed"])
def test_an_object_store(killed, store, tmp_path):
    """The lock is let go of, or is seen for so long no more that it counts for nothing."""
    url = f"{BUCKET}/r"
    with held(url) as release:
        log = First(Waiting, store.revive if killed else release)
        found = small_studies.run(url, log=log, join=True)
        assert not any("/." in name for name in store.MortalStore.store)
    first = log[0]
    assert first.folder == url
    assert first.writer.startswith(f"process {os.getpid()} on ")
    assert "120 s after it was last seen" in first.killed
    assert first.trials is None
    small_studies.assert_same(found, small_studies.run(tmp_path / "whole"))


def test_what_waits_writes_nothing_to_a_store(store):
    url = f"{BUCKET}/r"
    with held(url):
        before, changes = set(store.MortalStore.store), store.MortalStore.changes
        with pytest.raises(InputError, match=rf"still writes to {url} after .*max_seconds = 0\.1 was over"):
            small_studies.run(url, max_seconds=0.1, join=True)
        assert set(store.MortalStore.store) == before
        assert store.MortalStore.changes == changes
