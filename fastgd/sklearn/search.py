"""`GDSearchCV`: scikit-learn's grid search, whose candidates are trained together."""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from sklearn.base import clone, is_classifier
from sklearn.metrics._scorer import _MultimetricScorer
from sklearn.model_selection import ParameterGrid, ParameterSampler, check_cv
from sklearn.model_selection._search import BaseSearchCV
from sklearn.model_selection._validation import _insert_error_scores, _warn_or_raise_about_fit_failures
from sklearn.utils import column_or_1d, get_tags, indexable
from sklearn.utils.validation import _check_method_params

from fastgd.common.errors import InputError
from fastgd.runs.in_memory import MemoryResults
from fastgd.sklearn.evaluation import Evaluation, Fold
from fastgd.sklearn.steps import last_step

DRAWS = 10  # of distributions, where their number is not given
Grid = Mapping[str, Any] | Sequence[Mapping[str, Any]]


class GDSearchCV(BaseSearchCV):
    """A search of scikit-learn's form over the parameters of an estimator of fastgd.

    Candidates that differ in their rates, penalties, optimizers and schedules are lanes of one study: they share passes
    over the data, and folds share the rows. Parameters and attributes are those of GridSearchCV, and scores too, where
    it trains the same estimator.

    Parameters
    ----------
    estimator : GDClassifier, GDRegressor, or Pipeline that ends in one
        The steps of a pipeline before the last are fitted once for each split, and for each of their own settings.
    param_grid : dict, or list of dict
        The values of each parameter: lists, which are crossed, or distributions of `scipy.stats`. With `n_iter`, or a
        distribution, candidates are drawn of all of them, as RandomizedSearchCV draws them: of lists alone no
        candidate twice.
    scoring : str, callable, list, tuple, dict or None
        As in GridSearchCV. Accuracy, r2, log loss and squared error of the usual losses are those that the engine
        measures; all others are made of predictions.
    n_jobs : int, optional
        Threads; by default those of the estimator. The number changes no bits.
    refit : bool, str or callable
    cv : int, splitter, iterable or None
    halving : dict, optional
        `{"factor": 3, "start": 1}`: candidates race on the mean validation loss of their folds. At the epochs 1, 3, 9
        and so on, one of three goes on, and the others are scored as they are; the best is one that was not retired.
        They may differ in what shares a study: see docs/scikit_learn.md.
    n_iter : int, optional
        Candidates that are drawn; by default all combinations of lists, and 10 where something is a distribution.
    random_state : int, RandomState or None
        Of these draws.
    error_score : "raise" or number
        The score of a candidate whose training diverged or failed.
    return_train_score : bool
    curves : bool
        Whether losses are measured after each epoch, for `results_`. Without them, they are measured at the end, as far
        as scores need them; nothing can watch them on the way then.

    Attributes
    ----------
    cv_results_, best_estimator_, best_score_, best_params_, best_index_, scorer_, n_splits_, refit_time_, \
multimetric_, classes_, n_features_in_, feature_names_in_
        As in GridSearchCV. Candidates that share passes share their time.
    results_ : MemoryResults
        The trials and curves of all candidates, as tables.
    """

    def __init__(
        self,
        estimator: Any,
        param_grid: Grid,
        *,
        scoring: Any = None,
        n_jobs: int | None = None,
        refit: Any = True,
        cv: Any = None,
        halving: Mapping[str, int] | None = None,
        n_iter: int | None = None,
        random_state: Any = None,
        error_score: Any = np.nan,
        return_train_score: bool = False,
        curves: bool = True,
    ) -> None:
        super().__init__(
            estimator=estimator,
            scoring=scoring,
            n_jobs=n_jobs,
            refit=refit,
            cv=cv,
            error_score=error_score,
            return_train_score=return_train_score,
        )
        self.param_grid = param_grid
        self.halving = halving
        self.n_iter = n_iter
        self.random_state = random_state
        self.curves = curves

    def fit(self, X: Any, y: Any = None, **params: Any) -> Self:
        """Train all candidates on all splits, and the best one on all rows.

        Parameters
        ----------
        X : array_like or scipy sparse (n, d)
        y : array_like (n,), or (n, targets)
        **params
            `sample_weight`, `groups`, and what else the estimator, the scorer and the splitter take.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            The training of all candidates failed, or a part of the search does not fit the others.
        TypeError
            The estimator is none of fastgd's.
        """
        last_step(self.estimator)
        if not (self.halving is None or isinstance(self.halving, Mapping)):
            raise InputError(f'halving must be a dictionary, such as {{"factor": 3}}, or None; found {self.halving!r}')
        y = self._targets(y)
        scorers, refit_metric = self._get_scorers()
        X, y = indexable(X, y)
        params = _check_method_params(X, params=params)
        routed = self._get_routed_params_for_fit(params)
        cv = check_cv(self.cv, y, classifier=is_classifier(self.estimator))
        self.n_splits_ = cv.get_n_splits(X, y, **routed.splitter.split)
        pairs = cv.split(X, y, **routed.splitter.split)
        folds = [Fold.of(number, train, test, len(y)) for number, (train, test) in enumerate(pairs)]
        candidates = self._candidates()
        evaluation = Evaluation(self, scorers, X, y, folds, routed.estimator.fit, routed.scorer.score)
        entries = evaluation.run(candidates)
        self._take(entries, candidates, refit_metric)
        self.results_ = MemoryResults(tuple(sink for found in evaluation.results for sink in found.sinks))
        self.scorer_ = scorers._scorers if isinstance(scorers, _MultimetricScorer) else scorers
        if self.refit:
            self._refit(X, y, routed.estimator.fit)
        return self

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags = get_tags(self.estimator).target_tags
        return tags

    def _targets(self, y: Any) -> Any:
        """Return the targets, those of a classifier as one column."""
        if y is None:
            raise InputError("GDSearchCV requires y to be passed, but the target y is None")
        return column_or_1d(y, warn=True) if is_classifier(self.estimator) else y

    def _candidates(self) -> list[dict[str, Any]]:
        """Return the candidates: all combinations, or draws, where their number is given or one is a distribution."""
        grids = [self.param_grid] if isinstance(self.param_grid, Mapping) else list(self.param_grid)
        if self.n_iter is not None or any(hasattr(values, "rvs") for grid in grids for values in grid.values()):
            count = DRAWS if self.n_iter is None else self.n_iter
            found = list(ParameterSampler(self.param_grid, count, random_state=self.random_state))
        else:
            found = list(ParameterGrid(self.param_grid))
        if not found:
            raise InputError("param_grid has no candidates: give each parameter a value at least")
        return found

    def _take(self, entries: list[dict[str, Any]], candidates: list[dict[str, Any]], refit_metric: str) -> None:
        """Take over the scores of all candidates, and which is the best."""
        if len(entries) != len(candidates) * self.n_splits_ or not entries:
            raise InputError(f"cv.get_n_splits says {self.n_splits_} splits, and cv.split yields others")
        _warn_or_raise_about_fit_failures(entries, self.error_score)
        if callable(self.scoring):
            _insert_error_scores(entries, self.error_score)
        reached = np.array([entry["n_resources"] for entry in entries]).reshape(len(candidates), -1).max(axis=1)
        more = {} if self.halving is None else {"n_resources": reached.tolist()}
        self.cv_results_ = self._format_results(candidates, self.n_splits_, entries, more)
        first = entries[0]["test_scores"]
        self.multimetric_ = isinstance(first, dict)
        if callable(self.scoring) and self.multimetric_:
            self._check_refit_for_multimetric(first)
            refit_metric = self.refit
        if self.refit or not self.multimetric_:
            self.best_index_ = self._select_best_index(self.refit, refit_metric, self.cv_results_)
            if self.halving is not None and not callable(self.refit):
                lost = np.array([entry["retired"] for entry in entries]).reshape(len(candidates), -1).any(axis=1)
                ranks = self.cv_results_[f"rank_test_{refit_metric}"]
                self.best_index_ = np.where(lost, np.iinfo(np.int32).max, ranks).argmin()
            if not callable(self.refit):
                self.best_score_ = self.cv_results_[f"mean_test_{refit_metric}"][self.best_index_]
            self.best_params_ = self.cv_results_["params"][self.best_index_]

    def _refit(self, X: Any, y: Any, params: Mapping[str, Any]) -> None:
        """Train the best candidate on all rows."""
        best = clone(clone(self.estimator)).set_params(**clone(self.best_params_, safe=False))
        began = time.time()
        self.best_estimator_ = best.fit(X, y, **params)
        self.refit_time_ = time.time() - began
        if hasattr(best, "feature_names_in_"):
            self.feature_names_in_ = best.feature_names_in_
