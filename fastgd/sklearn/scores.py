"""Scores that the engine measures anyway: a search takes them from the last checkpoint, and predicts nothing."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin, RegressorMixin

from fastgd.sklearn.base import GDEstimator
from fastgd.sklearn.lanes import Outcome
from fastgd.sklearn.rows import Portion, Task
from fastgd.sklearn.studies import strength

Score = Callable[[Outcome, str], float]  # of an outcome on the rows of a prefix: "" or "validation_"


def measured(scoring: Any, estimator: GDEstimator, tasks: Sequence[Task]) -> dict[str, Score] | None:
    """Return scores by their names as functions of outcomes; None: not all of them are measured.

    Parameters
    ----------
    scoring : str, callable, list, tuple, set, dict or None
        As searches of scikit-learn take it.
    estimator : GDEstimator
    tasks : sequence of Task
    """
    if isinstance(scoring, Mapping):
        named = dict(scoring)
    elif isinstance(scoring, list | tuple | set):
        named = {name: name for name in scoring}
    else:
        named = {"score": scoring}
    found = {name: _score(each, estimator, tasks) for name, each in named.items()}
    return {name: score for name, score in found.items() if score} if all(found.values()) else None


def metrics_of(estimator: GDEstimator, *, train: bool) -> list[str]:
    """Return what is recorded for scores, beside losses."""
    name = "accuracy" if isinstance(estimator, ClassifierMixin) else "r2"
    return [f"validation_{name}", *([name] if train else [])]


def has_all_targets(portion: Portion) -> bool:
    """Return whether rows are of all classes, or their targets differ: else scikit-learn's scores are special cases."""
    for task in portion.tasks:
        y = task.y if portion.rows is None else task.y[portion.rows]
        found, several = len(np.unique(y, axis=0)), np.ndim(y) > 1
        if found < max(2, task.classes) or (several and not np.ptp(y, axis=0).all()):
            return False
    return True


def _score(scoring: Any, estimator: GDEstimator, tasks: Sequence[Task]) -> Score | None:
    if len(tasks) > 1 or not isinstance(scoring, str | None):
        return None
    loss = tasks[0].loss
    if isinstance(estimator, ClassifierMixin):
        if scoring == "accuracy" or (scoring is None and type(estimator).score is ClassifierMixin.score):
            return _accuracy
        return _loss(-1.0) if scoring == "neg_log_loss" and loss in ("logistic", "softmax") else None
    if scoring == "r2" or (scoring is None and type(estimator).score is RegressorMixin.score):
        return _r2 if loss in ("squared", "huber", "poisson", "sigmoid_squared") else None
    return _loss(-2.0) if scoring == "neg_mean_squared_error" and loss == "squared" else None


def _accuracy(outcome: Outcome, prefix: str) -> float:
    """Return the share of hits, as scikit-learn rounds it: of candidates with as many hits, all have the same rank."""
    count = outcome.counts[prefix]
    return round(outcome.values[f"{prefix}accuracy"] * count) / count


def _r2(outcome: Outcome, prefix: str) -> float:
    return outcome.values[f"{prefix}r2"]


def _loss(factor: float) -> Score:
    """Return a multiple of the mean loss, without the penalty that is a part of the training objective."""

    def score(outcome: Outcome, prefix: str) -> float:
        value = outcome.values[f"{prefix}loss"]
        if not prefix and outcome.model is not None:
            l2 = strength(outcome.model)[0]
            value -= 0.5 * l2 * sum(float(np.square(weights).sum()) for weights in outcome.model.coefs_)
        return factor * value

    return score
