"""The second process that compiles what later units call: the same kernels and bits, and it never outlives a run."""

import io
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import small_studies
from cohorts import spread

import fastgd
from fastgd.core import cache
from fastgd.plan.planner import make_plan
from fastgd.runs import ahead
from fastgd.runs.data.loading import load_data

PACKAGE = Path(fastgd.__file__).parent.parent
RULES = [{"name": "sgd", "lr": 0.5}, {"name": "mine:Halved", "lr": 0.5}, {"name": "adam", "lr": 0.1}]
MINE = """
from typing import NamedTuple
import fastgd
from fastgd.optimizers import Rate, Slots, Step, Value

@fastgd.optimizer()
class Halved(NamedTuple):
    "`w -= lr g / 2`."
    lr: Rate

    def rule(h, c: Slots, w: Value, g: Value, s: Slots) -> Step:
        return w - h.lr * g / 2, s
"""
# Runs a study on small data, and tells which kernels it compiled itself, and what it found.
RUN = """
import json, sys
import numpy as np
import fastgd
from numba.core.dispatcher import Dispatcher

{before}
X = np.random.default_rng(0).standard_normal((300, 3))
fields = {{"problem": {{"loss": "logistic"}}, "optimizer": json.loads(sys.argv[1])}}
study = fastgd.Study(name="ahead", epochs=2, batch_size=16, **fields)
results = fastgd.run(study, sys.argv[2], data=(X, (X[:, 0] > 0) * 1.0), threads=2)
modules = [module for name, module in sys.modules.items() if name.startswith(("fastgd", "mine"))]
kernels = {{id(v): v for module in modules for v in vars(module).values() if isinstance(v, Dispatcher)}}.values()
compiled = [kernel.__name__ for kernel in kernels for count in kernel.stats.cache_misses.values() if count]
losses = [loss.hex() for loss in results.trials.sort_values("trial_id")["final_loss"].tolist()]
print(json.dumps({{"compiled": compiled, "losses": losses}}))
"""
# The first unit waits until the helper has ended, and then needs no kernel of it.
PATIENT = """
from fastgd.runs import ahead, executor
helpers, run_unit, start = [], executor.run_unit, ahead._Helper.__init__
def started(self, units):
    start(self, units)
    helpers.append(self)
ahead._Helper.__init__ = started
def patient(*arguments):
    helpers[0]._process.wait(240)
    assert helpers[0]._process.returncode == 0
    return run_unit(*arguments)
executor.run_unit = patient
"""


def start(folder, rules=RULES, before="", switch="1", **options):
    """A process that runs a study of its own, with an empty cache in the folder."""
    folder.mkdir(exist_ok=True)
    (folder / "mine.py").write_text(MINE, encoding="utf-8")
    names = {"FASTGD_CACHE_DIR": str(folder / "cache"), "PYTHONPATH": str(PACKAGE), ahead.SWITCH: switch}
    code = RUN.format(before=before)
    return subprocess.Popen(
        [sys.executable, "-c", code, json.dumps(rules), str(folder / "out")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder, env=os.environ | names, **options,
    )  # fmt: skip


def finished(process):
    out, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return json.loads(out.splitlines()[-1])


def entries(folder):
    """What stands in the cache, by names: kernels, and notes of methods."""
    (cached,) = (folder / "cache").iterdir()
    return {path.name for path in cached.iterdir() if path.is_file()}


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """A run without a helper: its folder, and what it found."""
    folder = tmp_path_factory.mktemp("ahead") / "alone"
    return folder, finished(start(folder, switch="0"))


@pytest.mark.full
def test_the_helper_compiles_what_later_units_call(alone, tmp_path):
    """Also of a user's rule; the same files, the same bits, and less for the run to compile."""
    found = finished(start(tmp_path / "helped", before=PATIENT))
    assert found["losses"] == alone[1]["losses"]
    assert entries(tmp_path / "helped") == entries(alone[0])
    own, all_of = (each["compiled"].count("apply_rule") for each in (found, alone[1]))
    assert (own, all_of) == (1, 3), "the first unit's is the run's own"


@pytest.fixture
def noted(alone, tmp_path):
    """A folder whose cache has all kernels, and no notes of them: a helper is started, and nothing is compiled."""
    shutil.copytree(alone[0] / "cache", tmp_path / "noted" / "cache")
    for note in (tmp_path / "noted").rglob("*.compiled"):
        note.unlink()
    return tmp_path / "noted"


WRONG = ["sys.exit(1)", "os.kill(os.getpid(), 9)", "os.kill(os.getpid(), 19)", "1 / 0", "input()", "os.close(0)"]


@pytest.mark.full
@pytest.mark.parametrize("wrong", spread(WRONG, [WRONG[1], WRONG[3]]))
def test_a_helper_that_fails_harms_nothing(wrong, alone, noted):
    before = f"from fastgd.runs import ahead; ahead.START = 'import os, sys; {wrong}'"
    found = finished(start(noted, before=before))
    assert found == {"losses": alone[1]["losses"], "compiled": []}
    assert entries(noted) == entries(alone[0])


@pytest.mark.full
def test_a_helper_that_cannot_be_started_harms_nothing(alone, noted):
    found = finished(start(noted, before="sys.executable = '/nowhere/python'"))
    assert found == {"losses": alone[1]["losses"], "compiled": []}


def helper_of(process):
    """The id of the helper of a run, once it has one."""
    for _ in range(600):
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="utf-8").split()
        if children and process.poll() is None:
            return int(children[0])
        time.sleep(0.1)
    raise AssertionError("there is no helper")


def ends(process_id):
    """Whether a process is gone, or dead, within some seconds."""
    for _ in range(300):
        try:
            status = Path(f"/proc/{process_id}/stat").read_text(encoding="utf-8")
        except FileNotFoundError:
            return True
        if status.rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.1)
    return False


@pytest.mark.skipif(sys.platform != "linux", reason="looks for children in /proc")
@pytest.mark.parametrize("how", spread([signal.SIGKILL, signal.SIGTERM, signal.SIGINT], [signal.SIGKILL]))
def test_the_helper_ends_with_the_run(how, tmp_path):
    process = start(tmp_path / "killed")
    helper = helper_of(process)
    process.send_signal(how)
    process.communicate(timeout=60)
    assert ends(helper)


def study_and_units(**fields):
    study = small_studies.study_of(**fields)
    return make_plan(study, load_data(study, small_studies.rows(), lambda _: None)).units


def test_nothing_is_started_for_nothing(monkeypatch):
    """Nothing to compile but the first unit's kernels, one thread, one processor, the switch, no Python, no memory."""
    units = study_and_units(optimizer=[{"name": "sgd", "lr": 0.1}, {"name": "adam", "lr": [0.1, 0.2]}], seed=[0, 1])
    monkeypatch.setattr(ahead, "is_compiled", lambda method: method == units[0].method)
    monkeypatch.setenv(ahead.SWITCH, "1")
    monkeypatch.setattr(ahead, "processors", lambda: 2)
    assert [unit.method for unit in ahead._worth_it(units)] == [units[-1].method]
    monkeypatch.setattr(ahead, "_Helper", None)  # calling it fails
    with pytest.raises(TypeError), ahead.compiled_ahead(units, 2):
        pass
    with ahead.compiled_ahead(units, 1), ahead.compiled_ahead(units[:1], 2), ahead.compiled_ahead([], 2):
        pass
    for patch in (
        lambda m: m.setenv(ahead.SWITCH, "0"),
        lambda m: m.setattr(ahead, "processors", lambda: 1),
        lambda m: m.setattr(sys, "frozen", True, raising=False),
        lambda m: m.setattr(sys, "executable", "/usr/bin/uwsgi"),
        lambda m: m.setattr(sys, "executable", None),
        lambda m: m.setattr(cache, "CACHE", None),
        lambda m: m.setattr(ahead, "HELPER_BYTES", 1e18),
        lambda m: m.setattr(ahead, "is_compiled", lambda _: True),
    ):
        with monkeypatch.context() as patched:
            patch(patched)
            with ahead.compiled_ahead(units, 2):
                pass


def test_what_is_sent_weighs_little_and_calls_the_same():
    study = fastgd.Study(
        name="walks",
        steps=50,
        problem={"landscape": "rosenbrock"},
        starts={"uniform": 100_000},
        optimizer=[{"name": "sgd", "lr": 0.1}, {"name": "adam", "lr": [0.1, 0.2], "schedule": {"name": "cosine"}}],
    )
    units = make_plan(study).units
    message = io.BytesIO(ahead._message(units))
    assert pickle.load(message) == [str(folder) for folder in sys.path]
    sent = [pickle.loads(each) for each in pickle.load(message)]
    assert [unit.method for unit in sent] == [unit.method for unit in units]
    assert len(message.getvalue()) < 100_000


def test_what_another_process_compiles_is_left_for_later(tmp_path):
    """At the top of a kernel; what it calls is waited for."""
    held, other = tmp_path / "held.kernel", tmp_path / "other.kernel"
    code = f"""
    import sys
    from pathlib import Path
    from fastgd.core import cache
    with cache.compiled_once(Path({str(held)!r})):
        print("held", flush=True)
        sys.stdin.read()
    """
    holder = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": str(PACKAGE)},
    )  # fmt: skip
    assert holder.stdout.readline() == "held\n"
    with cache.never_waiting():
        with pytest.raises(cache.Busy), cache.compiled_once(held):
            pass
        with cache.compiled_once(other):
            holder.communicate("")
            with cache.compiled_once(held):
                pass
