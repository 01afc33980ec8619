"""Every schedule of the registry: its values over a long run, and what it costs a study over a constant rate."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import fastgd
from benchmarks.profiles import sized
from benchmarks.timing import ratio
from fastgd import Study
from fastgd.schedules import SCHEDULES, chained, parts_of

STEPS = sized(10_000, 100_000, 1_000_000)
ROWS = sized(2_000, 20_000, 100_000)
FEATURES, EPOCHS = 10, 20
FIXED = [name for name, record in SCHEDULES.items() if not record.feedback]


def block_of(name: str) -> dict[str, Any]:
    """Return the block of a study file that the schedule's record shows as its example."""
    values = SCHEDULES[name].example
    return {"name": name, **{key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}}


class ScheduleFactors:
    """The factors of all steps of a run: nothing but the schedule's own function."""

    param_names = ["steps", "schedule"]
    params = [[STEPS], FIXED]

    def setup(self, steps: int, name: str) -> None:
        self.parts, self.index = parts_of(block_of(name)), np.arange(steps)

    def time_factors(self, steps: int, _name: str) -> None:
        chained(self.parts, "last", self.index, steps)


class ScheduledStudy:
    """A study of 64 rates whose steps are short, so that new values in every step would be felt."""

    param_names = ["rows", "schedule"]
    params = [[ROWS], list(SCHEDULES)]
    number = 1
    rounds, repeat, warmup_time = 1, (2, 5, 1.0), 0.05  # there are many of them
    timeout = 300

    def setup(self, rows: int, name: str) -> None:
        self.folder = Path(tempfile.mkdtemp())
        random = np.random.default_rng(0)
        X = random.standard_normal((rows, FEATURES))
        self.data = X, (X[:, 0] > random.standard_normal(rows)).astype(float)
        self.study, self.constant = (
            Study(
                name="scheduled",
                epochs=EPOCHS,
                batch_size=64,
                problem={"loss": "logistic", "validation": 0.2},
                optimizer={"name": "momentum", "lr": {"log": [1e-4, 1e-2], "num": 64}},
                schedule=block,
            )
            for block in (block_of(name), {"name": "constant"})
        )
        for study in (self.study, self.constant):
            self.run(study)

    def teardown(self, *_) -> None:
        shutil.rmtree(self.folder)

    def run(self, study: Study) -> None:
        shutil.rmtree(self.folder / "run", ignore_errors=True)
        fastgd.run(study, self.folder / "run", data=self.data, progress=False)

    def time_run(self, *_) -> None:
        self.run(self.study)

    def track_time_over_constant(self, *_) -> float:
        return ratio(self.time_run, lambda: self.run(self.constant))

    track_time_over_constant.unit = "times"
