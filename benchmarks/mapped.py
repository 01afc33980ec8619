"""Rows in a mapped file, whose pages the system holds: an epoch of a grid, as dense rows in memory have it."""

import tempfile
from pathlib import Path

import numpy as np

from benchmarks.cohorts import make_cohort
from benchmarks.dense import DTYPES, FEATURES, DenseGrid
from benchmarks.profiles import sized
from benchmarks.timing import ratio
from fastgd.core.threads import Threads
from fastgd.datasets.record import Scaling
from fastgd.datasets.staged_rows import StagedRows

ROWS = sized(40_000, 400_000, 2_000_000)
MAPPED = {"as they are": False, "standardised": True}
ORDERS = ["sequential", "blocks"]


class MappedRows:
    """64 learning rates in one pass over rows in a file, which take their form as they are passed, or have it."""

    param_names = ["rows", "form", "order", "dtype"]
    params = [[ROWS], list(MAPPED), ORDERS, DTYPES]
    timeout = 300

    def setup(self, rows: int, form: str, order: str, dtype: str) -> None:
        random = np.random.default_rng(0)
        X = random.standard_normal((rows, FEATURES), dtype)
        y = (X[:, 0] > 0).astype(dtype)
        self._file = Path(tempfile.mkdtemp()) / "X.npy"
        np.save(self._file, X)
        found = np.load(self._file, mmap_mode="r")
        if MAPPED[form]:
            scaling = Scaling(random.standard_normal(FEATURES), 1 + random.random(FEATURES), 0, 0)
            mapped = StagedRows(found, scaling, X.dtype, "X")
            X = mapped.copied()
        else:
            mapped = found
        threads, options = Threads(), {"batch_size": 64, "order": order}
        self.cohorts = [make_cohort(each, y, DenseGrid.rates, threads, **options) for each in (mapped, X)]
        for cohort in self.cohorts:
            cohort.compile()
            cohort.advance(cohort.batches)  # so that no page and no call is the first

    def teardown(self, *_) -> None:
        self._file.unlink()
        self._file.parent.rmdir()

    def track_time_over_that_in_memory(self, *_) -> float:
        mapped, in_memory = self.cohorts
        return ratio(lambda: mapped.advance(mapped.batches), lambda: in_memory.advance(in_memory.batches))

    track_time_over_that_in_memory.unit = "times"
