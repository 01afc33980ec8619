"""Networks: an epoch of all learning rates at once, on three jobs that `benchmarks.peers.networks` gives to others too.

`FASTGD_BENCH` chooses the rows as in `benchmarks.dense`: a part of each job's, or all of them.
"""

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.cohorts import SEED, make_cohort
from benchmarks.dense import DTYPES
from benchmarks.profiles import sized
from benchmarks.timing import fastest
from fastgd.core.threads import Threads
from fastgd.engine import machine
from fastgd.engine.network.model import Network
from fastgd.engine.rows.cohort import Cohort
from fastgd.problems.activations import ACTIVATIONS

SHARE = sized(0.02, 0.25, 1.0)
MOMENTUM, BETA1, BETA2, EPS = 0.9, 0.9, 0.999, 1e-8  # fastgd's defaults, for others
Array = NDArray[Any]


@dataclass(frozen=True)
class NetworkJob:
    """Some epochs of a network by mini-batches in sequential order, at rates between two bounds.

    The last, smaller batch of an epoch is used.
    """

    label: str
    n: int
    layers: tuple[int, ...]
    activation: str
    loss: str
    optimizer: str
    bounds: tuple[float, float]
    batch_size: int
    lanes: int
    epochs: int
    dtype: str = "float32"
    order: str = "sequential"

    @property
    def name(self) -> str:
        widths, s = "-".join(map(str, self.layers)), "s" * (self.epochs > 1)
        return f"{self.label}, {widths}, {self.activation}, {self.loss}, {self.optimizer}, {self.epochs} epoch{s}"

    @property
    def d(self) -> int:
        return self.layers[0]

    @property
    def network(self) -> Network:
        *hidden, outputs = self.layers[1:]
        return Network(tuple(hidden), ACTIVATIONS[self.activation], outputs=outputs)

    @property
    def init(self) -> str:
        return ACTIVATIONS[self.activation].start

    @property
    def start(self) -> Array:
        """The parameters (P,) at which every lane starts."""
        return self.network.start(self.init, SEED, self.d).astype(self.dtype)

    @property
    def rates(self) -> Array:
        return np.geomspace(*self.bounds, self.lanes)

    @property
    def flops(self) -> float:
        """The operations of the products: forward, gradient, and the deltas of all layers but the first."""
        sizes = [inputs * outputs for inputs, outputs in pairwise(self.layers)]
        return 2.0 * (3 * sum(sizes) - sizes[0]) * self.n * self.epochs * self.lanes

    def with_rows(self, share: float, **changes: Any) -> "NetworkJob":
        """Return the job with a share of its rows, and with other changes."""
        return replace(self, n=max(round(self.n * share), self.batch_size), **changes)

    def rows(self) -> tuple[Array, Array]:
        """Return X (n, d) and targets y (n,): scikit-learn's digits, or Gaussian rows and a smooth function of them."""
        if self.loss == "softmax":
            from sklearn.datasets import load_digits

            X, y = load_digits(return_X_y=True)
            return (X[: self.n] / 16).astype(self.dtype), y[: self.n].astype(self.dtype)
        random = np.random.default_rng(0)
        X, directions = random.standard_normal((self.n, self.d)), random.standard_normal((self.d, 3)) / self.d**0.5
        first, second, third = (X @ directions).T
        y = np.sin(2 * first) + second * third
        y = (y - y.mean()) / y.std()
        if self.loss == "logistic":
            y = random.random(self.n) < 1 / (1 + np.exp(-2 * y))
        return X.astype(self.dtype), y.astype(self.dtype)

    def cohort(self, X: Array, y: Array, threads: Threads) -> Cohort:
        how = {"batch_size": self.batch_size, "loss": self.loss, "optimizer": self.optimizer}
        return make_cohort(X, y, self.rates, threads, model=self.network, init=self.init, **how)


CALIFORNIA = NetworkJob(
    "california", 16_512, (8, 64, 64, 1), "tanh", "squared", "adam", (1e-4, 1e-2), batch_size=64, lanes=64, epochs=5
)
FLIGHTS = NetworkJob(
    "flights", 100_000, (53, 64, 1), "relu", "logistic", "momentum", (1e-4, 1e-2), batch_size=256, lanes=64, epochs=1
)
DIGITS = NetworkJob(
    "digits", 1_437, (64, 64, 10), "relu", "softmax", "sgd", (1e-3, 1e-1), batch_size=32, lanes=256, epochs=20
)
# Rates above 5e-3 amplify rounding without bound here, in float64 too: no two contenders would agree.
ROW_BY_ROW = replace(CALIFORNIA, label="b = 1", n=400, batch_size=1, bounds=(1e-5, 1e-3))
ONE = replace(CALIFORNIA, label="one network", lanes=1, bounds=(1e-3, 1e-3))
JOBS = {job.label: job for job in (CALIFORNIA, FLIGHTS, DIGITS, ROW_BY_ROW, ONE)}


class Networks:
    """An epoch by mini-batches: limited by the machine's multiply-adds, but for the fewest lanes and rows."""

    param_names = ["share of rows", "job", "dtype"]
    params = [[SHARE], list(JOBS), DTYPES]
    number = 1  # a call is long enough to be timed alone
    timeout = 300

    def setup(self, share: float, label: str, dtype: str) -> None:
        self.job = JOBS[label].with_rows(share, dtype=dtype, epochs=1)
        self.threads = Threads()
        self.cohort = self.job.cohort(*self.job.rows(), self.threads)
        self.cohort.compile()
        self.epoch()  # so that no page and no call is the first

    def epoch(self) -> None:
        self.cohort.advance(self.cohort.batches)

    def time_epoch(self, *_) -> None:
        self.epoch()

    def track_time_over_that_at_fma_peak(self, _share: float, _label: str, dtype: str) -> float:
        peak = getattr(machine.measure(self.threads), f"gflops_{dtype}")
        return fastest(self.epoch) * 1e9 * peak / self.job.flops

    track_time_over_that_at_fma_peak.unit = "times"
