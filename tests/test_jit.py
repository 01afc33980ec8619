"""The cache of machine code, by real processes: found by the next one, and never served for other sources."""

import json
import os
import shutil
import subprocess
import sys
import textwrap
from functools import cached_property
from pathlib import Path

import numba
import numpy as np
import pytest
from cohorts import SMALL, make_cohort, problem
from scipy.sparse import csr_array

import fastgd
from fastgd.core import cache as the_cache
from fastgd.engine.arrays import make_rows
from fastgd.engine.linear import batch_steps, block_steps, sweep_steps
from fastgd.engine.linear.evaluation_steps import evaluate_blocks

PACKAGE = Path(fastgd.__file__).parent

# Runs studies on small data and tells what was compiled and what was loaded.
WORKER = """
import json, os, sys
if os.environ.get("NOWHERE"):
    import tempfile
    tempfile.tempdir = os.environ["NOWHERE"]
import numpy as np
import fastgd
from fastgd.core import cache
from numba.core.dispatcher import Dispatcher

losses = []
for index, fields in enumerate(json.loads(sys.argv[1])):
    n, d = fields.pop("shape", (50, 3))
    X = np.random.default_rng(0).standard_normal((n, d))
    study = fastgd.Study(**{"name": "worker", "epochs": 2, "batch_size": 16, "problem": {"loss": "logistic"}, **fields})
    results = fastgd.run(study, os.path.join(sys.argv[2], str(index)), data=(X, (X[:, 0] > 0) * 1.0))
    losses.append(results.trials["final_loss"].tolist())
modules = [module for name, module in sys.modules.items() if name.startswith(("fastgd", "mine"))]
kernels = {id(v): v for module in modules for v in vars(module).values() if isinstance(v, Dispatcher)}.values()
compiled = [kernel.__name__ for kernel in kernels for count in kernel.stats.cache_misses.values() if count]
loaded = [kernel.__name__ for kernel in kernels for count in kernel.stats.cache_hits.values() if count]
print(json.dumps({"losses": losses, "compiled": compiled, "loaded": loaded, "cache": str(cache.CACHE)}))
"""
SGD = {"optimizer": {"name": "sgd", "lr": 0.5}}


class Worker:
    """A process that runs studies, from when it is made; `result` waits for it."""

    def __init__(self, folder, *studies, cache, path=PACKAGE.parent, **environment):
        folder.mkdir(parents=True, exist_ok=True)
        names = {"FASTGD_CACHE_DIR": str(cache), "PYTHONPATH": os.pathsep.join([str(path), str(folder)])}
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", WORKER, json.dumps(studies), str(folder / "out")],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder,
            env=os.environ | names | environment,
        )  # fmt: skip

    @cached_property
    def result(self):
        out, errors = self.process.communicate(timeout=240)
        assert self.process.returncode == 0, errors
        assert all(line.startswith("waiting for ") for line in errors.splitlines()), errors
        return json.loads(out)


@pytest.fixture(scope="module")
def cold(tmp_path_factory):
    """A cache that a process filled, and what it found."""
    folder = tmp_path_factory.mktemp("worker")
    result = Worker(folder / "first", SGD, cache=folder / "cache").result
    return Path(result["cache"]).parent, result


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """What each of two processes found that filled a cache at once."""
    folder = tmp_path_factory.mktemp("workers")
    return [worker.result for worker in [Worker(folder / name, SGD, cache=folder / "cache") for name in "ab"]]


@pytest.fixture(scope="module")
def nowhere(tmp_path_factory):
    """What a process found that can write no cache."""
    folder = tmp_path_factory.mktemp("nowhere")
    (folder / "file").write_text("")
    below = folder / "file" / "below"  # below a regular file: not even root can make it
    return Worker(folder / "worker", SGD, cache=below, NOWHERE=str(below)).result


# --- processes --------------------------------------------------------------------------------------------------------


@pytest.mark.full
def test_two_processes_at_once(together):
    """The driver is compiled by one of them."""
    one, two = together
    assert (one["compiled"] + two["compiled"]).count("advance") == 1
    assert one["losses"] == two["losses"]


@pytest.mark.full
def test_two_processes_share_what_is_to_be_compiled(together, nowhere):
    """Each kernel is compiled by one of them: together they compile as much as a process without a cache."""
    one, two = together
    assert sorted(one["compiled"] + two["compiled"]) == sorted(nowhere["compiled"])


def test_the_next_process_compiles_nothing(cold, tmp_path):
    cache, first = cold
    again = Worker(tmp_path, SGD, cache=cache).result
    assert again["compiled"] == []
    assert "advance" in again["loaded"]
    assert again["losses"] == first["losses"]


def test_new_values_compile_nothing(cold, tmp_path):
    """Rates, penalties, schedules, batch sizes of more than a few rows, seeds, n and d are arguments.

    Batches that are large enough for two threads to share have a driver of their own.
    """
    cache, _ = cold
    problem = {"loss": "logistic", "l2": 0.1, "intercept": True, "validation": 0.2}
    studies = [
        {"optimizer": {"name": "sgd", "lr": [0.1, 0.01]}, "batch_size": [2, 7, "full"], "seed": [3, 4]},
        {**SGD, "shape": (700, 41), "problem": problem, "batch_size": 60, "init": {"normal": 0.1}},
        {**SGD, "shape": (50, 1), "batch_size": 9, "order": "sequential", "stop": {"target": 0.1, "patience": 1}},
        {**SGD, "schedule": [{"name": "cosine"}, {"name": "step", "every": 2, "per": "step"}]},
        {**SGD, "record": {"every": {"log": 3}, "metrics": ["nonzeros"], "parameters": "all"}},
    ]
    assert Worker(tmp_path, *studies, cache=cache).result["compiled"] == []


@pytest.mark.full
def test_a_new_loss_or_rule_compiles_its_own_functions_alone(cold, tmp_path):
    """Drivers, which take the longest, are the same machine code for all."""
    cache, _ = cold
    loss = {**SGD, "problem": {"loss": "hinge"}, "record": {"metrics": ["accuracy"]}}
    rule = {"optimizer": {"name": "adam", "lr": 0.5}}
    found = [Worker(tmp_path / name, study, cache=cache).result for name, study in (("loss", loss), ("rule", rule))]
    of_weights = {"weighed", "weighed_rows", "targets_of"}  # what the two take along, where rows may have weights
    assert set(found[0]["compiled"]) == {"residuals_of_rows", "add_losses_of_rows"} | of_weights
    assert set(found[1]["compiled"]) == {"begin_step", "apply_rule"}
    assert all("advance" in result["loaded"] for result in found)


@pytest.mark.full
def test_a_study_that_was_warmed_up_compiles_nothing(cold, tmp_path):
    """Whatever its methods, losses and metrics are."""
    cache, _ = cold
    common = {"record": {"metrics": ["accuracy", "grad_norm"]}}
    studies = [
        {**common, "optimizer": {"name": "sgd", "lr": 0.5, "estimator": ["none", "saga"]}},
        {**common, "optimizer": {"name": "sgd", "line_search": {"kind": "exact"}}, "batch_size": "full"},
        {
            **common,
            "optimizer": {"name": "lamb", "lr": 0.5, "clip": {"norm": 1.0}},
            "problem": {"loss": "squared_hinge"},
        },
    ]
    for fields in studies:
        named = {"name": "warm", "epochs": 2, "batch_size": 16, "problem": {"loss": "logistic"}, **fields}
        named["problem"] = {**named["problem"], "synthetic": {"n": 50, "d": 3}}
        (tmp_path / "warm.toml").write_text(fastgd.Study(**named).to_toml())
        subprocess.run(
            [sys.executable, "-m", "fastgd", "warmup", str(tmp_path / "warm.toml")],
            env=os.environ | {"FASTGD_CACHE_DIR": str(cache)}, check=True, capture_output=True,
        )  # fmt: skip
    assert Worker(tmp_path / "run", *studies, cache=cache).result["compiled"] == []


def test_shapes_of_data_and_grids_compile_nothing():
    """Within a process: any number of lanes in the same tile, any data, batch, penalty, loss and schedule."""

    class Halved:
        per_step = True

        def __call__(self, first, steps):
            return np.full((steps, 1, 7), 0.05)

    def work(lanes, n=90, d=4, **options):
        X, y = problem(n, d, options.get("loss", "logistic"))
        cohort = make_cohort(X, y, [{"lr": 0.1, "momentum": 0.3}] * lanes, kernel=SMALL, **options)
        cohort.advance(3)
        cohort.measure([(X, y, [cohort.spec.loss])])
        drivers = batch_steps, block_steps, sweep_steps
        return [len(kernel.signatures) for kernel in (*(driver.advance for driver in drivers), evaluate_blocks)]

    for batch_size in (64, 1, 270):  # each has a driver of its own
        before = work(4, batch_size=batch_size)
    assert min(before) >= 1
    assert work(70, n=500, d=33, batch_size=300, l2=0.1, loss="hinge", shuffled=False, threads=3) == before
    assert work(70, n=500, d=33, batch_size=17, l2=0.1, loss="hinge", shuffled=False, threads=3) == before
    assert work(7, intercept=False, init=0.2, batch_size=1, scheduled=("lr",), schedule=Halved()) == before


@pytest.mark.parametrize("sparse", [False, True])
def test_rows_that_are_locked_compile_nothing(sparse):
    """A CSV file's columns and memory maps are: they are read where they lie, by the same kernels."""
    X, y = problem(60, 4)
    kinds = []
    for locked in (False, True):
        matrix, targets = csr_array(X) if sparse else X.copy(), y.copy()
        parts = (matrix.data, matrix.indices) if sparse else (matrix,)
        for part in (*parts, targets):
            part.flags.writeable = not locked
        rows = make_rows(matrix, targets, np.arange(60, dtype=np.int32), True)
        assert np.shares_memory(rows.X, parts[0])
        kinds.append(numba.typeof(rows))
    assert kinds[0] == kinds[1]


@pytest.mark.full
def test_an_edited_rule_is_seen(cold, tmp_path):
    """What calls the rule is in another file, which Numba's own cache does not look at."""
    cache, before = cold
    copy = tmp_path / "copy"
    shutil.copytree(PACKAGE, copy / "fastgd", ignore=shutil.ignore_patterns("__pycache__"))
    rule = copy / "fastgd" / "optimizers" / "families" / "momentum.py"
    text = rule.read_text()
    assert "return w - h.lr * (g + h.weight_decay * w), s" in text
    rule.write_text(text.replace("return w - h.lr * (g +", "return w - 2 * h.lr * (g +"))
    after = Worker(tmp_path, SGD, cache=cache, path=copy).result
    assert after["cache"] != before["cache"]
    assert "advance" in after["compiled"]
    assert after["losses"] != before["losses"]


# --- where the cache is -----------------------------------------------------------------------------------------------


@pytest.mark.full
def test_without_a_writable_folder_it_still_runs(cold, nowhere):
    assert nowhere["cache"] == "None"
    assert "advance" in nowhere["compiled"]
    assert nowhere["losses"] == cold[1]["losses"]


def cache_of(**environment):
    """The folder that a process caches in."""
    clean = {key: value for key, value in os.environ.items() if not key.endswith("CACHE_DIR")}
    done = subprocess.run(
        [sys.executable, "-c", "from fastgd.core import cache; print(cache.CACHE)"],
        capture_output=True, text=True, check=True, cwd=PACKAGE.parent, env=clean | environment,
    )  # fmt: skip
    return Path(done.stdout.strip())


def test_the_cache_falls_back_to_the_temporary_folder(tmp_path):
    (tmp_path / "tmp").mkdir()
    (tmp_path / "file").write_text("")
    found = cache_of(FASTGD_CACHE_DIR=str(tmp_path / "file" / "below"), TMPDIR=str(tmp_path / "tmp"))
    assert found.is_relative_to(tmp_path / "tmp")


def test_the_cache_is_where_it_is_wanted(tmp_path):
    name = f"kernels-{the_cache.source_hash()}"
    assert cache_of(FASTGD_CACHE_DIR=str(tmp_path / "a")) == tmp_path / "a" / name
    assert cache_of(NUMBA_CACHE_DIR=str(tmp_path / "b")) == tmp_path / "b" / name
    if sys.platform == "linux":
        assert cache_of(XDG_CACHE_HOME=str(tmp_path / "c")) == tmp_path / "c" / "fastgd" / name


def test_every_source_of_a_kernel_is_in_the_hash(tmp_path):
    """Whatever module compiles or is compiled into kernels: editing it changes the name of the cache."""
    copy = tmp_path / "fastgd"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__", "data"))
    before = the_cache.source_hash(copy)
    assert before == the_cache.source_hash()
    marks = ("import jit", "llvmlite", "@optimizer(", "LOSSES.add")
    sources = [path for path in copy.rglob("*.py") if any(mark in path.read_text() for mark in marks)]
    assert {"momentum.py", "losses.py", "math.py", "vectors.py", "dense.py"} <= {
        path.name for path in copy.rglob("*.py")
    }
    others = ("common", "study", "plan", "runs", "search", "cli", "store")  # they ask about the compiler alone
    kernels = [path for path in sources if path.relative_to(copy).parts[0] not in others]
    assert len(kernels) > 8
    for path in [*kernels, copy / "core/math.py"]:
        text = path.read_text()
        path.write_text(text + "\n# edited\n")
        assert the_cache.source_hash(copy) != before, path.name
        path.write_text(text)
    assert the_cache.source_hash(copy) == before


# --- an optimizer of one's own ----------------------------------------------------------------------------------------

MINE = """
from typing import NamedTuple

import fastgd

FACTOR = 1.0


@fastgd.optimizer(slots=("seen",))
class Mine(NamedTuple):
    \"\"\"Gradient descent that counts.\"\"\"

    lr: float
    drag: float = 0.0
    doubled: bool = False

    def prepare(h, t):
        return (h.lr / (1 + h.drag * t),)

    def rule(h, c, w, g, s):
        if h.doubled:
            return w - 2 * c[0] * g, (s[0] + 1,)
        return w - FACTOR * c[0] * g, (s[0] + 1,)
"""

STUDY = """
name = "mine"
epochs = 2
batch_size = 16
problem = { loss = "logistic", synthetic = { n = 50, d = 3 } }

[[optimizer]]
name = "mine:Mine"
lr = [0.5, 0.25]
doubled = [false, true]
"""


@pytest.mark.full
def test_an_optimizer_of_ones_own(cold, tmp_path):
    """It runs from a study, the next process loads it, and it is compiled again when its module changed."""
    cache, first = cold
    module = tmp_path / "mine.py"
    module.write_text(MINE)

    def work(name):
        study = {"optimizer": {"name": "mine:Mine", "lr": 0.5}}
        return Worker(tmp_path / name, study, cache=cache, path=f"{PACKAGE.parent}{os.pathsep}{tmp_path}").result

    new, again = work("new"), work("again")
    assert set(new["compiled"]) == {"begin_step", "apply_rule"}
    assert {"advance", "evaluate_single_blocks"} <= set(new["loaded"])
    assert new["losses"] == first["losses"], "without drag it is plain descent"
    assert again["compiled"] == []
    assert again["losses"] == new["losses"]
    module.write_text(MINE.replace("FACTOR = 1.0", "FACTOR = 3.0"))
    edited = work("edited")
    assert "apply_rule" in edited["compiled"]
    assert edited["losses"] != new["losses"]


SUMMING = """
from typing import NamedTuple
import numpy as np
import fastgd

@fastgd.optimizer()
class Unit(NamedTuple):
    \"\"\"Descent by steps of one length.\"\"\"

    lr: float

    def measure(h, c, w, g, s):
        return (g * g,)

    def conclude(h, c, t, m, sums, loss):
        return (h.lr / np.sqrt(sums[0]),), m

    def rule(h, c, w, g, s):
        return w - c[0] * g, s
"""


@pytest.mark.full
def test_a_cache_that_knows_ones_own_rules_serves_processes_that_do_not(cold, tmp_path):
    """No class of a user's module stands in the index of a kernel that others load: they could not read it."""
    cache, _ = cold
    (tmp_path / "mine.py").write_text(SUMMING)
    study = {"optimizer": {"name": "mine:Unit", "lr": 0.5}}
    Worker(tmp_path / "mine", study, cache=cache, path=f"{PACKAGE.parent}{os.pathsep}{tmp_path}").result  # noqa: B018
    others = [{"optimizer": {"name": name, "lr": 0.5}} for name in ("lars", "polyak", "adam")]
    assert len(Worker(tmp_path / "others", *others, cache=cache).result["losses"]) == 3


def test_ones_own_optimizer_from_a_file(cold, tmp_path):
    """The module lies beside the study, where the command runs."""
    cache, _ = cold
    (tmp_path / "mine.py").write_text(textwrap.dedent(MINE))
    (tmp_path / "mine.toml").write_text(STUDY)
    code = """
import fastgd
results = fastgd.run(fastgd.Study.from_toml("mine.toml"))
again = fastgd.run(fastgd.Study.from_toml("results/mine/study.toml"))
trials = again.trials
assert len(trials) == 4 and set(trials["optimizer"]) == {"mine:Mine"}, trials
assert set(trials["variant"]) == {"", "doubled=True"}
assert set(trials["drag"]) == {0.0}
print(trials["in_study"].sum())
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path,
        env=os.environ | {"FASTGD_CACHE_DIR": str(cache), "PYTHONPATH": str(PACKAGE.parent)}, check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("4\n", "")
