"""The sparse jobs: an epoch of logistic regression, one row at a time, on rows with Zipf-distributed features.

SGD for many learning rates and for one against scikit-learn, masked Adam against SGD, exact Adam against masked, and
the time of a step against the number of features. Ratios are taken in alternated pairs of one run.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from benchmarks.cohorts import make_cohort
from benchmarks.profiles import sized
from benchmarks.timing import ratio
from fastgd.core.threads import Threads, available_threads
from fastgd.datasets.sources.synthetic import Synthetic, make

ROWS = sized(2_000, 20_000, 200_000)
FEATURES, NONZEROS = 47_000, 75
WIDTHS = sized([10_000], [10_000, 200_000], [10_000, 100_000, 1_000_000, 5_000_000])
RATES = np.geomspace(1e-4, 1e0, 64)
DTYPES, ORDERS = ["float64", "float32"], ["sequential", "shuffle"]


def zipf(rows: int, features: int = FEATURES, dtype: str = "float64"):
    """Return X, a csr_array, and y of a problem with so many rows and features."""
    data = make(Synthetic(n=rows, d=features, nonzeros=NONZEROS))
    X = data.X.astype(dtype)
    X.indices, X.indptr = X.indices.astype(np.int32), X.indptr.astype(np.int64)
    return X, data.y.astype(dtype)


def epoch_of(cohort) -> Callable[[], None]:
    """Return an epoch, after one that compiles and touches every page."""
    cohort.compile()
    cohort.advance(cohort.batches)
    return lambda: cohort.advance(cohort.batches)


def scikit_learn(X, y, shuffle: bool = False) -> Callable[[], object]:
    """Return a fit of scikit-learn's SGD, an epoch at a constant rate; it lets other threads run beside it."""
    from scipy.sparse import csr_matrix
    from sklearn.linear_model import SGDClassifier

    rows = csr_matrix((X.data, X.indices, X.indptr.astype(np.int32)), shape=X.shape)
    options = {"penalty": None, "fit_intercept": False, "learning_rate": "constant", "eta0": 0.01, "max_iter": 1}
    return lambda: SGDClassifier(loss="log_loss", tol=None, shuffle=shuffle, random_state=0, **options).fit(rows, y)


def on_all_cores(fit: Callable[[], object]) -> Callable[[], object]:
    """Return as many fits side by side as there are processors."""
    count = available_threads()
    pool = ThreadPoolExecutor(count)
    return lambda: list(pool.map(lambda _: fit(), range(count)))


class _OverScikitLearn:
    """An epoch of SGD over scikit-learn's `fits` epochs."""

    number = 1
    timeout = 600
    fits = 1.0

    def time_epoch(self, *_) -> None:
        self.epoch()

    def track_time_over_scikit_learn(self, *_) -> float:
        return ratio(self.epoch, self.peer) / self.fits

    track_time_over_scikit_learn.unit = "times"


class SparseGrid(_OverScikitLearn):
    """SGD at 64 learning rates against scikit-learn run as often, on all cores."""

    param_names = ["rows", "dtype", "order"]
    params = [[ROWS], DTYPES, ORDERS]
    fits = len(RATES) / available_threads()

    def setup(self, rows: int, dtype: str, order: str) -> None:
        X, y = zipf(rows, dtype=dtype)
        self.epoch = epoch_of(make_cohort(X, y, RATES, Threads(), batch_size=1, optimizer="sgd", order=order))
        self.peer = on_all_cores(scikit_learn(X.astype("float64"), y, order == "shuffle"))


class SparseSingle(_OverScikitLearn):
    """SGD at one learning rate, one thread each."""

    param_names = ["rows", "dtype"]
    params = [[ROWS], DTYPES]

    def setup(self, rows: int, dtype: str) -> None:
        X, y = zipf(rows, dtype=dtype)
        self.epoch = epoch_of(make_cohort(X, y, RATES[:1], Threads(1), batch_size=1, optimizer="sgd"))
        self.peer = scikit_learn(X.astype("float64"), y)


class SparseAdam:
    """Adam at 64 learning rates, exact and masked."""

    param_names = ["rows", "dtype"]
    params = [[ROWS], DTYPES]
    number = 1
    timeout = 600

    def setup(self, rows: int, dtype: str) -> None:
        X, y = zipf(rows, dtype=dtype)
        threads, options = Threads(), {"batch_size": 1}
        self.sgd = epoch_of(make_cohort(X, y, RATES, threads, optimizer="sgd", **options))
        self.exact = epoch_of(make_cohort(X, y, RATES * 1e-2, threads, optimizer="adam", **options))
        self.masked = epoch_of(make_cohort(X, y, RATES * 1e-2, threads, optimizer="adam", sparse="masked", **options))

    def time_exact(self, *_) -> None:
        self.exact()

    def time_masked(self, *_) -> None:
        self.masked()

    def track_masked_over_sgd(self, *_) -> float:
        return ratio(self.masked, self.sgd)

    def track_exact_over_masked(self, *_) -> float:
        return ratio(self.exact, self.masked)

    track_masked_over_sgd.unit = track_exact_over_masked.unit = "times the time"


class SparseWidth:
    """Adam's training alone, without allocation and checkpoints, for up to millions of features."""

    param_names = ["features"]
    params = [WIDTHS]
    number = 1
    timeout = 900
    lanes, rows = 8, 20_000

    def setup(self, features: int) -> None:
        X, y = zipf(self.rows, features)
        self.epoch = epoch_of(make_cohort(X, y, RATES[: self.lanes] * 1e-2, Threads(), batch_size=1, optimizer="adam"))

    def time_epoch(self, _) -> None:
        self.epoch()
