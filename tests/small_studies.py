"""Small studies of the whole program, for tests."""

import numpy as np
import pandas as pd

import fastgd
from fastgd.runs.reporting.events import CohortFinished, CohortStarted

N, D = 130, 5  # 5 batches of 32 an epoch, the last of 2 rows
# What a run may have otherwise: times, and which cohort a trial ran in.
PASSING = ["cohort_id", "cohort_lanes", "compile_seconds", "train_seconds", "evaluate_seconds"]


def rows(loss="logistic", n=N, d=D, seed=0):
    """Rows (n, d) of Gaussians and targets for a loss of labels, or of numbers."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d))
    margin = X @ np.arange(1.0, d + 1) / d + rng.standard_normal(n)
    return X, margin if loss in ("squared", "huber") else (margin > 0).astype(float)


def study_of(**changes):
    """A study of momentum with four rates in a tile of four lanes; `changes` replace its fields."""
    fields = {
        "name": "small",
        "epochs": 3,
        "batch_size": 32,
        "problem": {"loss": "logistic", "intercept": True},
        "optimizer": {"name": "momentum", "lr": [0.01, 0.03, 0.1, 0.3]},
    }
    return fastgd.Study(**{**fields, **changes})


class Log(list):
    """Collects a run's events."""

    def __call__(self, event):
        self.append(event)

    def of(self, kind):
        return [event for event in self if isinstance(event, kind)]

    @property
    def computed(self):
        """The lanes of each cohort that ran."""
        assert len(self.of(CohortStarted)) == len(self.of(CohortFinished))
        return [event.lanes for event in self.of(CohortStarted)]


def run(path, data=None, log=None, threads=2, **changes):
    """Run a small study; options of `fastgd.run` may be among the changes."""
    options = {
        name: changes.pop(name)
        for name in ("fresh", "join", "trial", "allow_mixed", "memory", "progress")
        if name in changes
    }
    study = study_of(**changes)
    named = any(problem.dataset or problem.path or problem.synthetic for problem in study.problem)
    data = None if named else data or rows(study.problem[0].loss)
    return fastgd.run(study, path, data=data, threads=threads, on_event=log, **options)


def numbers(results):
    """Trials and curves in one order, without what a run may have otherwise."""
    trials = results.trials.drop(columns=PASSING).sort_values("trial_id", ignore_index=True)
    curves = results.curves.drop(columns="train_seconds").sort_values(["trial_id", "step"], ignore_index=True)
    return trials, curves


def assert_same(found, expected):
    """Two results are the same to the last bit."""
    for one, other in zip(numbers(found), numbers(expected), strict=True):
        pd.testing.assert_frame_equal(one, other, check_exact=True)
