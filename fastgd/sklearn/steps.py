"""Pipelines in a search: the steps before the last are fitted once for each split, and for each of their settings."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils._metadata_requests import _routing_enabled
from sklearn.utils.metadata_routing import process_routing

from fastgd.sklearn.base import GDEstimator

SKIPPED = (None, "passthrough")


class Fitted(NamedTuple):
    """The steps before the last, by name and fitted to rows that train; and both sets of rows as they leave them."""

    steps: list[tuple[str, Any]]
    train: Any
    held: Any


def last_step(estimator: Any) -> GDEstimator:
    """Return the estimator itself, or the last step of a pipeline.

    Raises
    ------
    TypeError
        It is none of fastgd's.
    """
    last = estimator.steps[-1][1] if isinstance(estimator, Pipeline) else estimator
    if not isinstance(last, GDEstimator):
        raise TypeError(
            f"GDSearchCV searches GDClassifier and GDRegressor, and pipelines that end in one; found {last!r:.80}, "
            "which GridSearchCV searches"
        )
    return last


def same_steps(estimator: Any, candidates: Sequence[Mapping[str, Any]]) -> list[list[int]]:
    """Return which candidates have the same settings of all steps before the last."""
    if not isinstance(estimator, Pipeline):
        return [list(range(len(candidates)))]
    last, groups = estimator.steps[-1][0], dict[tuple[tuple[str, Any], ...], list[int]]()
    for number, candidate in enumerate(candidates):
        own = [(key, value) for key, value in candidate.items() if key.partition("__")[0] != last]
        groups.setdefault(tuple(sorted((key, _identity(value)) for key, value in own)), []).append(number)
    return list(groups.values())


def _identity(value: Any) -> Any:
    """Return what tells a value from others: estimators by themselves, since two of a kind may differ inside."""
    return id(value) if isinstance(value, BaseEstimator) else repr(value)


def fitted_steps(pipeline: Pipeline, params: Mapping[str, Any], X: Any, y: Any, held: Any) -> Fitted:
    """Fit the steps of a pipeline before the last one, and bring both sets of rows through them.

    Parameters
    ----------
    pipeline : Pipeline
    params : mapping
        Of its `fit`.
    X, y : rows and targets that train
    held : rows that are held out
    """
    found = []
    for name, step in pipeline.steps[:-1]:
        if step not in SKIPPED:
            X = step.fit_transform(X, y, **params_of_step(pipeline, name, params, "fit_transform"))
            held = step.transform(held)
        found.append((name, step))
    return Fitted(found, X, held)


def params_of_step(pipeline: Any, name: str, params: Mapping[str, Any], method: str = "fit") -> dict[str, Any]:
    """Return the parameters of `fit` that go to a step of a pipeline."""
    if _routing_enabled():
        return dict(process_routing(pipeline, "fit", **params)[name][method])
    return {key.removeprefix(f"{name}__"): value for key, value in params.items() if key.startswith(f"{name}__")}


def params_of_last(estimator: Any, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of `fit` that go to the last step of a pipeline, or to the estimator itself.

    Raises
    ------
    TypeError
        There are others than `sample_weight`.
    """
    own = params_of_step(estimator, estimator.steps[-1][0], params) if isinstance(estimator, Pipeline) else dict(params)
    if unknown := own.keys() - {"sample_weight"}:
        raise TypeError(f"fit() got an unexpected keyword argument {min(unknown)!r}; it takes sample_weight")
    return own


def whole(pipeline: Pipeline, fitted: Fitted, model: GDEstimator) -> Pipeline:
    """Return a pipeline with its steps fitted, and a model as its last."""
    found = copy.copy(pipeline)
    found.steps = [*fitted.steps, (pipeline.steps[-1][0], model)]
    return found
