"""The dense jobs: an epoch of logistic regression with momentum by mini-batches, for many learning rates and for one.

`benchmarks.profiles` chooses the number of rows. Every call runs a fixed number of epochs; what needs compiling is
compiled, or loaded from the cache, in `setup`.

Here and in the other modules all that is tracked is a cost, since asv takes what grows for a regression: a time, or
how many times as long something takes as its yardstick.
"""

import numpy as np

from benchmarks.cohorts import make_cohort
from benchmarks.profiles import sized
from benchmarks.timing import fastest
from fastgd.core.threads import Threads
from fastgd.engine import machine
from fastgd.problems import LOSSES

ROWS = sized(10_000, 100_000, 1_000_000)
BATCH_SIZES = sized([64], [64], [64, 256])
DTYPES = ["float64", "float32"]
ORDERS = ["sequential", "shuffle"]
FEATURES = 100


class _Dense:
    """What the jobs share; `rates` is theirs."""

    param_names = ["rows", "dtype", "order", "batch_size"]
    params = [[ROWS], DTYPES, ORDERS, BATCH_SIZES]
    number = 1  # a call is long enough to be timed alone
    timeout = 300
    rates: np.ndarray

    def setup(self, rows: int, dtype: str, order: str = "sequential", batch_size: int = 64) -> None:
        random = np.random.default_rng(0)
        self.X = random.standard_normal((rows, FEATURES), dtype)
        margins = self.X @ random.standard_normal(FEATURES, dtype) / 5
        self.y = (random.random(rows, dtype) < 1 / (1 + np.exp(-margins))).astype(dtype)
        self.options = {"batch_size": batch_size, "order": order}
        self.threads = Threads()
        self.cohort = self.start(self.threads)
        self.cohort.compile()
        self.epoch()  # so that no page and no call is the first

    def start(self, threads: Threads):
        return make_cohort(self.X, self.y, self.rates, threads, **self.options)

    def epoch(self) -> None:
        self.cohort.advance(self.cohort.batches)


class _Epoch(_Dense):
    """Training by mini-batches."""

    def time_epoch(self, *_) -> None:
        self.epoch()

    def peakmem_epoch(self, *_) -> None:
        """The whole process: data, interpreter and compiler too."""
        self.epoch()

    def track_time_of_a_sample_and_lane(self, rows: int, *_) -> float:
        return fastest(self.epoch) / (rows * len(self.rates))

    track_time_of_a_sample_and_lane.unit = "seconds"


class DenseGrid(_Epoch):
    """64 learning rates in one pass: limited by the machine's multiply-adds."""

    rates = np.geomspace(1e-4, 1e-1, 64)

    def track_time_over_that_at_fma_peak(self, rows: int, dtype: str, *_) -> float:
        flops = 4 * rows * FEATURES * len(self.rates)
        limits = machine.measure(self.threads)
        return fastest(self.epoch) * 1e9 * getattr(limits, f"gflops_{dtype}") / flops

    track_time_over_that_at_fma_peak.unit = "times"

    def track_time_over_a_share_of_one_thread(self, *_) -> float:
        """1: as many threads take an equal share of the time that one takes."""
        alone = self.start(Threads(1))
        alone.advance(1)
        return self.threads.count * fastest(self.epoch) / fastest(lambda: alone.advance(alone.batches))

    track_time_over_a_share_of_one_thread.unit = "times"


class DenseSingle(_Epoch):
    """One learning rate: limited by memory, since each row is read once."""

    rates = np.array([1e-2])

    def track_time_over_that_at_full_bandwidth(self, *_) -> float:
        limits = machine.measure(self.threads)
        return fastest(self.epoch) * 1e9 * limits.gbytes / self.X.nbytes

    track_time_over_that_at_full_bandwidth.unit = "times the triad's"


class DenseGridLoss(_Dense):
    """The exact training loss of all lanes, which a checkpoint costs: half an epoch's multiply-adds."""

    rates = DenseGrid.rates
    params = [[ROWS], DTYPES]
    param_names = ["rows", "dtype"]

    def time_training_loss(self, *_) -> None:
        self.cohort.measure([(self.X, self.y, [LOSSES["logistic"]])])
