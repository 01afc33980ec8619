"""Memory: plans against what processes of their own take, and runs that have less than they would like to have."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from campaign.attack import python
from campaign.memory_limits import LIMITED
from cohorts import spread
from landscape_studies import study as landscape_study
from small_studies import Log, assert_same, rows, run, study_of
from test_costs import SGD, plan_of
from typer.testing import CliRunner

import fastgd
from benchmarks.memory import STUDIES
from fastgd import InputError
from fastgd.cli.answers import rankings
from fastgd.cli.app import app
from fastgd.common import system
from fastgd.common.numbers import size_of
from fastgd.common.system import MemoryLimit, MemoryUse
from fastgd.datasets import record
from fastgd.plan.estimates import compiled, memory
from fastgd.plan.planner import make_plan
from fastgd.runs.data.loading import load_data
from fastgd.runs.executor import Executor
from fastgd.runs.reporting.events import CohortStarted, Planned

ROOT = Path(__file__).parent.parent
LINUX = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the platform does not tell a peak")
# What two runs of one study differ by: threads allocate in another order. A plan may be below by so much.
NOISE = 1.02


TAKEN = ["rows", "wide tiles", "saved", "all parameters", "sparse, exact", "few steps"]


@LINUX
@pytest.mark.parametrize("name", spread(TAKEN, []))
def test_a_plan_is_what_a_process_takes(name, tmp_path):
    compiled_by = STUDIES[{"rows": "small"}.get(name, name)]()  # with the same kernels
    fastgd.run(compiled_by, tmp_path, progress=False)
    command = [sys.executable, "-m", "benchmarks.memory", name, "--one"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    said, found, _ = json.loads(done.stdout)
    assert found / NOISE < said < 1.2 * found


@LINUX
@pytest.mark.parametrize("name", spread(["few starts", "rows"], []))
def test_a_plan_knows_what_is_to_be_compiled(name, tmp_path):
    command = [sys.executable, "-m", "benchmarks.memory", name, "--one"]
    environment = os.environ | {"FASTGD_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT, env=environment)
    said, found, _ = json.loads(done.stdout)
    assert found / NOISE < said < 1.2 * found


def test_what_was_compiled_is_noted(tmp_path, monkeypatch):
    monkeypatch.setattr(compiled.cache, "CACHE", tmp_path)
    monkeypatch.setattr(compiled, "_compiled", set())
    monkeypatch.setattr(memory, "memory_use", lambda: MemoryUse(10**9, 10**9, 0, 0))  # no peak was higher
    plan = plan_of(optimizer=SGD)
    assert plan.summary().to_compile == plan.summary().methods == 1
    before = plan.cost().memory
    compiled.note_compiled(plan.units[0].method)
    assert plan.summary().to_compile == 0
    assert plan.cost().memory < before
    monkeypatch.setattr(compiled, "_compiled", set())
    assert plan.summary().to_compile == 0, "another process knows it by the cache"
    monkeypatch.setattr(compiled.cache, "CACHE", None)
    assert plan.summary().to_compile == 1


def test_the_process_as_it_is_counts(monkeypatch):
    plan = plan_of(optimizer=SGD)
    monkeypatch.setattr(memory, "memory_use", lambda: MemoryUse(10**9, 10**9, 0, 0))
    large = plan.cost().memory
    assert large > 10**9
    monkeypatch.setattr(memory, "memory_use", lambda: MemoryUse(10**9, 10**10, 0, 0))
    assert plan.cost().memory == 10**10, "what there was already is more"
    monkeypatch.setattr(memory, "memory_use", lambda: MemoryUse(0, 0, 0, 0))
    assert 10**8 < plan.cost().memory < large, "where the platform does not tell"


# --- under limits -----------------------------------------------------------------------------------------------------


def leaving(monkeypatch, size):
    """Let a limit leave so many bytes for the parts of a study."""
    limit = MemoryLimit("the machine's", 2 * 10**9, 10**9)
    monkeypatch.setattr(memory, "room", lambda *_, **__: memory.Room(size, limit))


def test_cohorts_become_smaller_where_there_is_less_memory(tmp_path, monkeypatch):
    rates = {"name": "adam", "lr": np.geomspace(1e-4, 1.0, 8).tolist()}  # two tiles of the narrowest
    (whole,) = plan_of(optimizer=rates).units
    results = run(tmp_path / "whole", optimizer=rates)
    tile = plan_of(optimizer=rates).units[0].select(np.arange(8) < whole.spec.kernel.lanes)
    leaving(monkeypatch, (memory.of_cohort(whole) + memory.of_cohort(tile)) / 2)
    pieces = plan_of(optimizer=rates).within_limits().units
    assert len(pieces) > 1
    assert [ids for piece in pieces for ids in piece.ids] == whole.ids
    assert {piece.spec.kernel for piece in pieces} == {whole.spec.kernel}
    assert_same(run(tmp_path / "pieces", optimizer=rates, log=(log := Log())), results)
    assert log.of(Planned)[0].summary.left == (8, len(pieces))
    assert [event.total for event in log.of(CohortStarted)] == [len(pieces)] * len(pieces)


@pytest.mark.full
def test_parts_of_swarms_become_smaller_where_there_is_less_memory(tmp_path, monkeypatch):
    study = landscape_study(record={"trajectories": 0})
    whole = make_plan(study)
    need = max(memory.of_swarm(swarm) for swarm in whole.units)
    leaving(monkeypatch, 10 * need)
    results = fastgd.run(study, tmp_path / "whole")
    leaving(monkeypatch, 0.48 * need)
    assert all(swarm.lanes_at_once < len(swarm.lanes) for swarm in whole.within_limits().units)
    found = fastgd.run(study, tmp_path / "parts")
    for name in ("trials", "curves"):
        key = ["trial_id", "start"] + ["step"] * (name == "curves")
        drop = ["compile_seconds", "train_seconds", "evaluate_seconds"] * (name == "trials")
        tables = [getattr(each, name).drop(columns=drop).astype({"trial_id": str}) for each in (found, results)]
        one, other = (table.sort_values(key).reset_index(drop=True) for table in tables)
        assert one.astype(object).equals(other.astype(object))


@pytest.mark.parametrize("study", [study_of(problem={"loss": "logistic", "dataset": "flights"}), landscape_study()])
def test_what_does_not_fit_is_refused_before_anything_is_written(tmp_path, monkeypatch, study):
    leaving(monkeypatch, 1_000.0)
    with pytest.raises(InputError, match=r"takes .+ at the least, and of the machine's limit, 2 GB, 1 GB are left"):
        fastgd.run(study, tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_parts_that_no_cut_makes_smaller(monkeypatch):
    plan = plan_of(optimizer=SGD, surface={"low": -1, "high": 1, "num": 2_000})
    leaving(monkeypatch, memory.of_surface(plan.surfaces[0]) - 1)
    with pytest.raises(InputError, match=r"the error surface takes .*a coarser grid"):
        plan.within_limits()


@pytest.mark.parametrize(
    ("given", "size"),
    [("2GB", 2 * 10**9), (" 500 mb", 5 * 10**8), ("1.5 GiB", 3 << 29), ("4096", 4096), (2e9, 2 * 10**9)],
)
def test_amounts_of_memory(given, size):
    assert size_of(given, "memory") == size


@pytest.mark.parametrize("given", ["much", "-1GB", "", "0", True, float("nan"), None])
def test_what_is_no_amount_of_memory(given):
    with pytest.raises(InputError, match=r"--memory must be an amount of memory, such as 2GB or 500MB; found "):
        size_of(given, "--memory")


def test_a_budget_is_one_more_limit(tmp_path):
    with pytest.raises(
        InputError, match=r"takes .+ at the least, and of the run's limit \(--memory\), 50 MB, .+ are left"
    ):
        run(tmp_path / "r", memory="50MB")
    assert not (tmp_path / "r").exists()
    assert len(run(tmp_path / "r", memory="3GB").trials) == 4
    assert not [limit for limit in system.memory_limits() if limit.name == "the run's"]


@LINUX
def test_rows_that_leave_too_little_for_the_study_are_mapped(tmp_path):
    """Of the budget there is enough for the trials, and for half of the rows besides."""
    X, y = rows(n=20_000, d=250)  # 40 MB
    np.savez(tmp_path / "a.npz", X=X, y=y)
    auto, in_memory, mapped = (
        study_of(problem={"loss": "logistic", "path": str(tmp_path / "a.npz"), "source": source})
        for source in ("auto", "memory", "map")
    )
    expected = fastgd.run(in_memory, tmp_path / "memory", threads=2, progress=False)
    plan = make_plan(mapped, load_data(mapped, None, print))
    room = memory.room(plan.methods.values(), 2)
    needed = room.limit.left - room.left + max(map(memory.of, plan.units))
    budget = system.memory_use().own + needed + X.nbytes / 2
    with pytest.raises(
        InputError, match=r'or dtype = "float32" would .*, and so would source = "map" .*rows of a\.npz$'
    ):
        fastgd.run(in_memory, tmp_path / "r", threads=2, memory=budget, progress=False)
    assert not (tmp_path / "r").exists()
    found = fastgd.run(auto, tmp_path / "r", threads=2, memory=budget, progress=False)
    assert_same(found, expected)
    assert found.study["problem"]["source"] == "auto"
    (note,) = [note for note in found.manifest.notes if "stay in files" in note]
    assert note.startswith('a.npz: its rows stay in files (source = "map"): in memory, they would leave too little')


def test_what_needs_a_copy_that_memory_does_not_hold_is_told(tmp_path, monkeypatch):
    X, y = rows()
    np.savez(tmp_path / "a.npz", X=X, y=y)
    leaving(monkeypatch, 1_000.0)
    problem = {"loss": "logistic", "path": str(tmp_path / "a.npz"), "layout": "sparse"}
    why = r"a cohort of .*, 1 GB are left: .*; and in files: .*layout = 'sparse' would make a copy"
    with pytest.raises(InputError, match=why):
        run(tmp_path / "r", problem=problem)


def test_files_that_memory_does_not_hold_are_told_with_the_key_that_would_do(tmp_path, monkeypatch):
    X, y = rows()
    np.savez(tmp_path / "a.npz", X=X, y=y)
    limits = [MemoryLimit("the machine's", 20_000, 0), MemoryLimit("the run's", 10_000, 0)]
    monkeypatch.setattr(record, "memory_limits", lambda: limits)
    problem = {"loss": "logistic", "path": str(tmp_path / "a.npz")}
    why = r'X, \(130, 5\) .* 5\.2 kB .*half of the run.s limit \(--memory\), 10 kB: source = "map" or "stream" leaves'
    with pytest.raises(InputError, match=why):
        load_data(study_of(problem={**problem, "source": "memory"}), None, print)
    np.savez(tmp_path / "few.npz", X=X[:9], y=y[:9])
    held_out = {"loss": "logistic", "path": str(tmp_path / "few.npz"), "validation": str(tmp_path / "a.npz")}
    with pytest.raises(InputError, match=why):
        load_data(study_of(problem={**held_out, "source": "memory"}), None, print)
    assert load_data(study_of(problem=problem), None, print)[0].origin == "map"
    limits[0] = MemoryLimit("the machine's", 10_000, 0)
    assert load_data(study_of(problem=problem), None, print)[0].origin == "stream", "in an order that no option decides"


def test_streams_leave_half_of_the_memory_to_pages():
    (data,) = load_data(study_of(problem={"loss": "logistic", "source": "stream"}), rows(), print)
    with memory.budget_beside([data], None):
        assert [limit.most for limit in system.memory_limits() if limit.name == "the run's"] == [system.memory()]
        half = system.memory()
    assert half == system.memory() // 2
    with memory.budget_beside([data], 10**9):
        assert system.memory() // 2 == half, "the user says how much, which limits the whole run"


def test_a_command_that_gets_no_memory_names_the_limit(monkeypatch):
    def fails(*_):
        raise MemoryError

    monkeypatch.setattr(rankings, "best", fails)
    found = CliRunner().invoke(app, ["best", "results"])
    assert found.exit_code == 2
    assert re.fullmatch(r"error: the memory does not suffice \(the .*limit.*: .*B\)\n", found.output)


@pytest.mark.parametrize("error", [MemoryError("no"), RuntimeError("can't start new thread")])
def test_memory_that_runs_out_is_one_message(tmp_path, monkeypatch, error):
    def fails(*_):
        raise error

    monkeypatch.setattr(Executor, "run", fails)
    with pytest.raises(InputError, match=r"the memory does not suffice .*what was done is kept in .*r, and the same"):
        run(tmp_path / "r")
    monkeypatch.undo()
    assert len(run(tmp_path / "r").trials) == 4


def test_other_errors_stay_what_they_are(tmp_path, monkeypatch):
    def fails(*_):
        raise RuntimeError("a fault")

    monkeypatch.setattr(Executor, "run", fails)
    with pytest.raises(RuntimeError, match="a fault"):
        run(tmp_path / "r")


@LINUX
@pytest.mark.parametrize("limit", spread(["300000000", "800000000", "1100000000"], ["300000000", "1100000000"]))
def test_a_process_that_is_too_small_for_the_libraries_or_the_compiler(tmp_path, limit):
    """The system's limits on addresses, for which some libraries would wait for ever."""
    pytest.importorskip("resource")
    (tmp_path / "study.toml").write_text(landscape_study().to_toml())
    done = python("-c", LIMITED, "RLIMIT_AS", limit, "run", "study.toml", "--out", "r", cwd=tmp_path, timeout=60)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "r").exists()


MAPPED = """
import resource, sys
from pathlib import Path
import numpy as np
from fastgd.datasets.readers.reading import Member, reading
limit = 10**9 + 4096 * int(open("/proc/self/statm").read().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
with reading(Path(sys.argv[1])):
    Member((2 * 10**8,), np.dtype(float), False, 0).map(Path(sys.argv[1]))
"""


@LINUX
def test_a_file_for_which_there_are_no_addresses_is_told_as_one_that_is_too_large(tmp_path):
    pytest.importorskip("resource")
    (tmp_path / "a").touch()
    os.truncate(tmp_path / "a", 16 * 10**8)  # which takes no place on the disk
    done = python("-c", MAPPED, str(tmp_path / "a"), cwd=tmp_path, timeout=60)
    told = f"TooLargeError: {tmp_path / 'a'} cannot be read: it takes more addresses than this process gets"
    assert told in done.stderr.splitlines()[-1]


def test_memory_in_use(tmp_path):
    assert system.memory_use(tmp_path) == MemoryUse(0, 0, 0, 0), "where the platform does not tell"
    status = tmp_path / "proc/self/status"
    status.parent.mkdir(parents=True)
    status.write_text("Name:\tx\nVmHWM:\t 30 kB\nVmRSS:\t 20 kB\nVmSize:\t 90 kB\nVmData:\t 40 kB\nThreads:\t3\n")
    assert system.memory_use(tmp_path) == MemoryUse(20 << 10, 30 << 10, 90 << 10, 40 << 10, 20 << 10)
    status.write_text(status.read_text() + "RssAnon:\t 7 kB\nRssFile:\t 12 kB\nRssShmem:\t 1 kB\n")
    assert system.memory_use(tmp_path).own == 8 << 10, "pages of mapped files are the system's"
    assert MemoryLimit("RLIMIT_AS", 10, 30).left == 0
