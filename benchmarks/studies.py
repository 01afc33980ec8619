"""What surrounds training: plans, storing, reading back, rankings, comparisons, imports, cold and warm starts."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import fastgd
from benchmarks.profiles import sized
from benchmarks.timing import ratio
from fastgd import Study
from fastgd.analysis.regressions.comparison import compare
from fastgd.plan.planner import make_plan
from fastgd.runs.data.loading import load_data

TRIALS = sized(500, 10_000, 100_000)
CHECKPOINTS = sized(10, 50, 100)
STARTS = {500: 1_000, 10_000: 100_000, 100_000: 1_000_000}  # by the number of trials
RULES = ["sgd", "momentum", "nesterov", "adam", "adagrad"]
SMALL = {"n": 200, "d": 5}  # rows: next to nothing is trained


def grid_study(trials: int, checkpoints: int = 2) -> Study:
    """Return a study of so many trials of five rules, over few rows."""
    rates = {"lr": {"log": [1e-6, 1e-2], "num": trials // (2 * len(RULES))}}
    return Study(
        name="grid",
        steps=200,
        batch_size=20,
        seed=[0, 1],
        problem={"loss": "logistic", "synthetic": SMALL, "validation": 0.2},
        optimizer=[{"name": name, **rates} for name in RULES],
        record={"every": {"log": checkpoints}},
    )


class Plan:
    """From a study to units with names, memory and costs."""

    param_names = ["trials"]
    params = [[TRIALS]]
    number = 1
    timeout = 300

    def setup(self, trials: int) -> None:
        self.study = grid_study(trials)
        self.data = load_data(self.study, None, lambda _: None)
        self.swarm = Study(
            name="swarm",
            steps=100,
            problem={"landscape": "himmelblau"},
            starts={"uniform": STARTS[trials]},
            optimizer=[{"name": name, "lr": {"log": [1e-4, 1e-2], "num": 4}} for name in ("sgd", "adam")],
        )

    def time_plan(self, _) -> None:
        make_plan(self.study, self.data).summary()

    def time_plan_of_a_landscape(self, _) -> None:
        make_plan(self.swarm).summary()

    def time_study_file(self, _) -> None:
        self.study.to_toml()

    def peakmem_plan(self, _) -> None:
        make_plan(self.study, self.data).summary()


class Stored:
    """A folder of many trials and checkpoints: what writing a row took, and what questions take."""

    param_names = ["trials", "checkpoints"]
    params = [[TRIALS], [CHECKPOINTS]]
    number = 1
    timeout = 900

    def setup_cache(self) -> str:
        folder = Path("stored").absolute()  # asv makes and removes the folder that this runs in
        study = grid_study(TRIALS, CHECKPOINTS)
        fastgd.run(grid_study(20), folder / "warm", progress=False)
        for name in ("run", "again"):
            fastgd.run(study, folder / name, progress=False)
        return str(folder)

    setup_cache.timeout = 1800  # type: ignore[attr-defined]

    def setup(self, cache: str, *_) -> None:
        self.folder, self.again = Path(cache) / "run", Path(cache) / "again"

    def time_trials(self, *_) -> None:
        _ = fastgd.load(self.folder).trials

    def time_curves(self, *_) -> None:
        _ = fastgd.load(self.folder).curves

    def time_best(self, *_) -> None:
        fastgd.load(self.folder).best()

    def time_verify(self, *_) -> None:
        fastgd.verify(self.folder)

    def time_compare(self, *_) -> None:
        compare(self.folder, self.again)

    def peakmem_compare(self, *_) -> None:
        """Curves are read in pieces: it does not grow with them."""
        compare(self.folder, self.again)

    def track_time_of_storing_a_row(self, *_) -> float:
        results = fastgd.load(self.folder)
        return results.timings["store"] / results.curves_dataset.count_rows()

    def track_time_of_comparing_over_reading(self, *_) -> float:
        """Both folders' curves, as tables in memory, are the yardstick."""
        both = self.folder, self.again
        return ratio(lambda: compare(*both), lambda: [fastgd.load(each).curves for each in both])

    def track_bytes_of_a_row(self, *_) -> float:
        files = (self.folder / "curves").glob("*.parquet")
        return sum(file.stat().st_size for file in files) / fastgd.load(self.folder).curves_dataset.count_rows()

    track_time_of_storing_a_row.unit = "seconds"  # type: ignore[attr-defined]
    track_time_of_comparing_over_reading.unit = "times"  # type: ignore[attr-defined]
    track_bytes_of_a_row.unit = "bytes"  # type: ignore[attr-defined]


class Run:
    """A study of the bundled flights, whole: its memory, and what surrounds its training."""

    param_names = ["epochs"]
    params = [[sized(1, 5, 20)]]
    number = 1
    timeout = 600

    def setup(self, epochs: int) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.study = Study(
            name="flights",
            epochs=epochs,
            batch_size=64,
            problem={"loss": "logistic", "dataset": "flights", "standardize": True, "validation": 0.1},
            optimizer=[{"name": name, "lr": {"log": [1e-4, 1e-2], "num": 16}} for name in ("momentum", "adam")],
        )
        self.run()

    def teardown(self, *_) -> None:
        shutil.rmtree(self.folder)

    def run(self) -> Any:
        shutil.rmtree(self.folder / "run", ignore_errors=True)
        return fastgd.run(self.study, self.folder / "run", progress=False)

    def time_run(self, _) -> None:
        self.run()

    def peakmem_run(self, _) -> None:
        self.run()

    def track_time_over_training(self, _) -> float:
        """1: all of a run is training and evaluation."""
        timings = [self.run().timings for _ in range(3)]
        return float(np.median([sum(each.values()) / (each["train"] + each["evaluate"]) for each in timings]))

    track_time_over_training.unit = "times"  # type: ignore[attr-defined]


FIRST_RUN = """
import tempfile, numpy as np, fastgd
X = np.random.default_rng(0).standard_normal((200, 5))
study = fastgd.Study(name="start", epochs=1, batch_size=32, problem={"loss": "logistic"},
    optimizer=[{"name": name, "lr": [0.01, 0.02, 0.05, 0.1]} for name in ("sgd", "adam")])
with tempfile.TemporaryDirectory() as folder:
    fastgd.run(study, folder + "/run", data=(X, X[:, 0] > 0), progress=False)
"""
PROGRAMS = {
    "import": "import fastgd",
    "a study": "import fastgd; fastgd.Study",
    "results": "import fastgd; fastgd.load",
    "run": "import fastgd; fastgd.run",
}


def in_a_process(code: str, **environment: str) -> None:
    """Run a program to its end in a process of its own."""
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | environment, stdout=subprocess.DEVNULL)


class Imports:
    """What a new process takes, the interpreter included."""

    param_names = ["what"]
    params = [list(PROGRAMS)]
    number = 1

    def time_import(self, what: str) -> None:
        in_a_process(PROGRAMS[what])

    def track_time_over_bare_python(self, what: str) -> float:
        return ratio(lambda: in_a_process(PROGRAMS[what]), lambda: in_a_process("pass"))

    track_time_over_bare_python.unit = "times"  # type: ignore[attr-defined]


class Starts:
    """A first study in a new process, with kernels in the cache and with none: what a user waits for."""

    number = 1
    repeat = (1, 3, 20.0)
    rounds = 1
    warmup_time = 0
    timeout = 300

    def setup(self) -> None:
        self.cache = tempfile.mkdtemp()
        in_a_process(FIRST_RUN)

    def teardown(self) -> None:
        shutil.rmtree(self.cache)

    def time_warm_start(self) -> None:
        in_a_process(FIRST_RUN)

    def time_cold_start(self) -> None:
        with tempfile.TemporaryDirectory(dir=self.cache) as empty:
            in_a_process(FIRST_RUN, FASTGD_CACHE_DIR=empty)
