"""scikit-learn: one fit of `SGDClassifier` after another.

It has neither batches nor momentum. Single-sample steps of size lr / ((1 - momentum) b) move the parameters as far in
an epoch, and arrive at nearly the same loss.
"""

import numpy as np
from sklearn import config_context
from sklearn.linear_model import SGDClassifier

from benchmarks.peers.job import Data, Job
from benchmarks.peers.worker import Forms, Outcome

MEASURED_LANES = 4  # of many: the table says so, and the time is scaled


def forms(job: Job, data: Data) -> Forms:
    lanes = np.unique(np.linspace(0, job.lanes - 1, MEASURED_LANES).round().astype(int))

    def fit(rate: float) -> np.ndarray:
        model = SGDClassifier(
            loss="log_loss",
            penalty=None,
            fit_intercept=False,
            learning_rate="constant",
            eta0=rate / ((1 - job.momentum) * job.batch_size),
            max_iter=1,
            tol=None,
            shuffle=data.order is not None,
            random_state=0,
        )
        with config_context(assume_finite=True):
            return model.fit(data.X, data.y).coef_[0].astype(float)

    def one_by_one() -> Outcome:
        return Outcome(np.stack([fit(job.rates[lane]) for lane in lanes], axis=1), lanes)

    return {"one by one, b = 1": one_by_one}
