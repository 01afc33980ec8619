"""Rows in a mapped file, whose pages the system holds: an epoch of a grid, as dense rows in memory have it."""

import tempfile
from pathlib import Path
from typing import Any

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


def scaled_rows(path: Path, rows: int, dtype: str, *, standardised: bool) -> tuple[Any, Any]:
    """Return rows that a file is written of, as they are or standardised: in the file, and in memory."""
    random = np.random.default_rng(0)
    np.save(path, random.standard_normal((rows, FEATURES), dtype))
    found = np.load(path, mmap_mode="r")
    if not standardised:
        return found, np.load(path)
    scaling = Scaling(random.standard_normal(FEATURES), 1 + random.random(FEATURES), 0, 0)
    staged = StagedRows(found, scaling, found.dtype, "X")
    return staged, staged.copied()


class MappedRows:
    """64 learning rates in one pass over rows in a file, which take their form as they are passed, or have it."""

    param_names = ["rows", "form", "order", "dtype"]
    params = [[ROWS], list(MAPPED), ORDERS, DTYPES]
    timeout = 300

    def setup(self, rows: int, form: str, order: str, dtype: str) -> None:
        self._file = Path(tempfile.mkdtemp()) / "X.npy"
        mapped, X = scaled_rows(self._file, rows, dtype, standardised=MAPPED[form])
        y = (np.arange(rows) % 2).astype(dtype)
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
