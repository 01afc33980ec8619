"""What options, estimators and line searches cost: the time of an epoch or a step with them over that without.

64 learning rates of logistic regression, as in `benchmarks.dense`. Ratios are taken in alternated pairs of one run.
"""

import warnings

import numpy as np

from benchmarks.cohorts import make_cohort
from benchmarks.profiles import sized
from benchmarks.timing import ratio
from fastgd.core.threads import Threads
from fastgd.optimizers.line_search import Armijo, Best, Exact

ROWS = sized(5_000, 50_000, 500_000)
FEATURES, BATCH = 100, 64
RATES = np.geomspace(1e-4, 1e-1, 64)

OPTIONS = {
    "clip by value": {"clip": "value"},
    "clip by norm": {"clip": "norm"},
    "proximal": {"proximal": ""},
    "lookahead": {"lookahead": ""},
    "averaging": {"averaging": "ema"},
}
NUMBERS = {"clip.value": 1.0, "clip.norm": 1.0, "proximal.l1": 1e-4}
SEARCHES = {"best": Best((0.1, 0.5, 1.0, 5.0, 10.0)), "armijo": Armijo(), "exact": Exact()}


class _Method:
    """Data, and an epoch (or a step of a full batch) with and without the method."""

    number = 1
    timeout = 300

    def prepare(self, rows: int, batch_size: int, rates: np.ndarray = RATES, **method) -> None:
        random = np.random.default_rng(0)
        self.X = random.standard_normal((rows, FEATURES))
        self.y = (self.X @ random.standard_normal(FEATURES) / 5 > random.standard_normal(rows)).astype(float)
        self.threads = Threads()
        common = {"batch_size": batch_size, "optimizer": "sgd"}
        self.plain = make_cohort(self.X, self.y, rates, self.threads, **common)
        self.cohort = make_cohort(self.X, self.y, rates, self.threads, **common, **method)
        for cohort in (self.plain, self.cohort):
            cohort.compile()
            cohort.advance(cohort.batches)

    def time_epoch(self, *_) -> None:
        self.cohort.advance(self.cohort.batches)

    def track_ratio_to_plain(self, *_) -> float:
        return ratio(self.time_epoch, lambda: self.plain.advance(self.plain.batches))

    track_ratio_to_plain.unit = "times an epoch without it"


class Options(_Method):
    """A rule with an option around it, on mini-batches."""

    param_names = ["rows", "option"]
    params = [[ROWS], list(OPTIONS)]

    def setup(self, rows: int, option: str) -> None:
        around = OPTIONS[option]
        numbers = {name: value for name, value in NUMBERS.items() if name.partition(".")[0] in around}
        if around.get("clip"):
            numbers = {f"clip.{around['clip']}": 1.0}
        self.prepare(rows, BATCH, around=around, **numbers)


class Estimators(_Method):
    """SVRG's epoch has a pass more; SAGA's reads and writes its table."""

    param_names = ["rows", "estimator", "lanes"]
    params = [[ROWS], ["svrg", "saga"], [64, 1]]

    def setup(self, rows: int, estimator: str, lanes: int) -> None:
        self.prepare(rows, BATCH, RATES[-lanes:], estimator=estimator)

    def track_time_over_scikit_learn(self, _rows: int, estimator: str, lanes: int) -> float:
        """Ours over scikit-learn's SAGA, one row at a time and one trial at a time: epochs at b = 1."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression

        epochs = 2
        model = LogisticRegression(solver="saga", C=1.0, max_iter=epochs, tol=0.0, fit_intercept=False)
        ours = make_cohort(self.X, self.y, RATES[-lanes:], self.threads, batch_size=1, optimizer="sgd",
                           estimator=estimator, order="shuffle")  # fmt: skip
        ours.compile()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            return ratio(lambda: ours.advance(epochs * ours.batches), lambda: model.fit(self.X, self.y)) / lanes

    track_time_over_scikit_learn.unit = "times"


class LineSearches(_Method):
    """A step of a full batch with a search; plain descent passes over the features once, a search twice."""

    param_names = ["rows", "search"]
    params = [[ROWS], list(SEARCHES)]

    def setup(self, rows: int, search: str) -> None:
        self.prepare(rows, rows, np.geomspace(0.1, 10, len(RATES)), line_search=SEARCHES[search])

    def track_evaluations_a_step(self, *_) -> float:
        before, t = self.cohort.line.evaluations.mean(), self.cohort.t
        self.cohort.advance(5)
        return float((self.cohort.line.evaluations.mean() - before) / (self.cohort.t - t))

    track_evaluations_a_step.unit = "evaluations of the objective"
