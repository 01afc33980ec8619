"""Every loss of the registry: an epoch of SGD at 64 learning rates, and its time over that of the squared loss."""

import numpy as np

from benchmarks.cohorts import make_cohort
from benchmarks.dense import DTYPES
from benchmarks.profiles import sized
from benchmarks.timing import ratio
from fastgd.core.threads import Threads
from fastgd.problems import LOSSES

ROWS = sized(5_000, 50_000, 500_000)
FEATURES, BATCH = 100, 64
RATES = np.geomspace(1e-5, 1e-3, 64)
PLAIN = "squared"


class Losses:
    """A loss is compiled into one call for a batch: its exponentials and logarithms are what it costs."""

    param_names = ["rows", "loss", "dtype"]
    params = [[ROWS], list(LOSSES), DTYPES]
    number = 1
    timeout = 300

    def setup(self, rows: int, loss: str, dtype: str) -> None:
        random = np.random.default_rng(0)
        X = random.standard_normal((rows, FEATURES), dtype)
        margins = X @ random.standard_normal(FEATURES, dtype) / 10
        real = margins + random.standard_normal(rows, dtype)
        y = real if LOSSES[loss].targets == "real" else (real > 0).astype(dtype)
        threads = Threads()
        self.own, self.plain = (
            make_cohort(X, y, RATES, threads, batch_size=BATCH, loss=name, optimizer="sgd") for name in (loss, PLAIN)
        )
        for cohort in (self.own, self.plain):
            cohort.compile()
            cohort.advance(cohort.batches)

    def time_epoch(self, *_) -> None:
        self.own.advance(self.own.batches)

    def track_time_over_squared(self, *_) -> float:
        return ratio(self.time_epoch, lambda: self.plain.advance(self.plain.batches))

    track_time_over_squared.unit = "times"
