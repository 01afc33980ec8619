"""Candidates trained and scored on the folds of a search, as many of them together as can share passes over rows."""

import copy
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from traceback import format_exc
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.base import clone, is_classifier
from sklearn.metrics._scorer import _BaseScorer, _MultimetricScorer
from sklearn.model_selection._validation import _score
from sklearn.pipeline import Pipeline
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import _check_method_params

from fastgd.common.errors import InputError
from fastgd.runs.in_memory import MemoryResults
from fastgd.sklearn.base import GDEstimator, with_copies_or_without
from fastgd.sklearn.lanes import Outcome, Split, alike, run_together, sharing
from fastgd.sklearn.rows import Portion
from fastgd.sklearn.scores import Score, has_all_targets, measured, metrics_of
from fastgd.sklearn.steps import Fitted, fitted_steps, last_step, params_of_last, same_steps, whole
from fastgd.sklearn.studies import OF_A_LANE

Array = npt.NDArray[Any]
Entry = dict[str, Any]  # what scikit-learn keeps of a candidate on a fold


class Fold(NamedTuple):
    """A split of a search: its number, and the indices of the rows that train and of those that are held out."""

    number: int
    train: Array
    test: Array

    @classmethod
    def of(cls, number: int, train: Any, test: Any, n: int) -> "Fold":
        """Return the fold of what a splitter yields of n rows: indices, also from the end, or masks of rows.

        Raises
        ------
        IndexError
            There is no such row: kernels would read what stands behind the others.
        """
        pair = (np.arange(n)[rows] if rows.size else rows.astype(np.intp) for rows in map(np.asarray, (train, test)))
        return cls(number, *pair)

    def is_part_of(self, n: int) -> bool:
        """Return whether some of n rows train, each once."""
        return len(self.train) < n and bool(np.bincount(self.train).max(initial=0) <= 1)


class Rows(NamedTuple):
    """Rows of some folds, as their estimators see them.

    folds : those that share the rows, or a single one
    X, y : all rows; of a single fold those that train
    params : of the estimators' `fit`
    held : (X, y) of the rows that are held out of a single fold; None : they are among X
    fitted : the steps of a pipeline
    """

    folds: Sequence[Fold]
    X: Any
    y: Any
    params: Mapping[str, Any]
    held: tuple[Any, Any] | None = None
    fitted: Fitted | None = None


class Trained(NamedTuple):
    """What candidates became on the folds at some places, by candidate and fold, with the scores that were measured."""

    places: Sequence[int]
    outcomes: Sequence[Sequence[Outcome]]
    results: MemoryResults
    scores: dict[str, Score] | None


@dataclass(eq=False)
class Evaluation:
    """The evaluation of a search.

    Parameters
    ----------
    search : GDSearchCV
    scorer : callable
        What scikit-learn makes of the search's `scoring`.
    X, y : array_like
    folds : sequence of Fold
    fit_params, score_params : mapping
        Of the estimators' `fit`, and of the scorer.

    Attributes
    ----------
    entries : dict of (int, int) to dict
        What scikit-learn keeps, by candidate and fold.
    results : list of MemoryResults
    """

    search: Any
    scorer: Any
    X: Any
    y: Any
    folds: Sequence[Fold]
    fit_params: Mapping[str, Any]
    score_params: Mapping[str, Any]
    entries: dict[tuple[int, int], Entry] = field(default_factory=dict)
    results: list[MemoryResults] = field(default_factory=list)

    def run(self, candidates: Sequence[Mapping[str, Any]]) -> list[Entry]:
        """Train and score all candidates on all folds; return the entries, those of a candidate one after another."""
        base = clone(self.search.estimator)
        estimators = [clone(base).set_params(**clone(dict(own), safe=False)) for own in candidates]
        for numbers in same_steps(base, candidates):
            self._try({number: estimators[number] for number in numbers}, self.folds)
        return [self.entries[number, fold.number] for number in range(len(candidates)) for fold in self.folds]

    def _try(self, some: Mapping[int, Any], folds: Sequence[Fold]) -> None:
        """Evaluate candidates; where that fails, each by itself, and on each fold, so that the others have scores."""
        try:
            self._evaluate(some, folds)
        except Exception:
            if self.search.error_score == "raise" or self.search.halving is not None:
                raise
            if len(some) > 1:
                for number, estimator in some.items():
                    self._try({number: estimator}, folds)
            elif len(folds) > 1:
                for fold in folds:
                    self._try(some, [fold])
            else:
                self._enter_failure(next(iter(some)), folds[0], Outcome(error=format_exc()))

    def _evaluate(self, some: Mapping[int, Any], folds: Sequence[Fold]) -> None:
        """Evaluate candidates with the same steps before the last: on all folds at once, if these can share rows."""
        first = next(iter(some.values()))
        steps = isinstance(first, Pipeline) and len(first.steps) > 1
        if len(folds) > 1 and not steps and self._can_share(folds):
            self._train(some, Rows(folds, self.X, self.y, params_of_last(first, self.fit_params)))
            return
        if self.search.halving is not None:
            raise InputError(
                "halving: candidates race on all folds at once, which have to share rows and classes: put the steps of "
                "a pipeline before the search, and give several folds with rows of all classes"
            )
        for fold in folds:
            self._train(some, self._rows_apart(first, fold))

    def _can_share(self, folds: Sequence[Fold]) -> bool:
        """Return whether folds can share rows: each trains on some of them, and knows all classes."""
        if not all(fold.is_part_of(len(self.y)) for fold in folds):
            return False
        if not is_classifier(self.search.estimator):
            return True
        classes, numbers = np.unique(self.y, return_inverse=True)
        return all(np.bincount(numbers[fold.train], minlength=len(classes)).all() for fold in folds)

    def _rows_apart(self, estimator: Any, fold: Fold) -> Rows:
        """Return the rows of one fold by themselves, as the steps of a pipeline leave them."""
        (X, y), (held, held_y) = (self._some(rows) for rows in (fold.train, fold.test))
        params = _check_method_params(self.X, params=self.fit_params, indices=fold.train)
        fitted = Fitted([], X, held)
        if isinstance(estimator, Pipeline):
            fitted = fitted_steps(estimator, params, X, y, held)
        return Rows([fold], fitted.train, y, params_of_last(estimator, params), (fitted.held, held_y), fitted)

    def _some(self, rows: Array) -> tuple[Any, Any]:
        return _safe_indexing(self.X, rows), _safe_indexing(self.y, rows)

    # --- training -----------------------------------------------------------------------------------------------------

    def _train(self, some: Mapping[int, Any], rows: Rows) -> None:
        """Train candidates on rows, those that can together, and enter what became of them."""
        numbers, estimators = list(some), [last_step(estimator) for estimator in some.values()]
        groups = sharing(estimators)
        for group in groups:
            leader = copy.copy(estimators[group[0]])
            if self.search.n_jobs is not None:
                leader.n_jobs = self.search.n_jobs
            together = partial(self._together, [estimators[place] for place in group], leader, rows, len(groups))
            for places, outcomes, results, scores in with_copies_or_without(together, leader.random_state):
                self.results.append(results)
                for at, place in enumerate(places):
                    of_fold = {numbers[member]: outcomes[k][at] for k, member in enumerate(group)}
                    self._enter(some, rows, rows.folds[place], of_fold, scores)

    def _together(
        self, own: Sequence[GDEstimator], leader: GDEstimator, rows: Rows, groups: int, copies: bool
    ) -> list[Trained]:
        """Train candidates that share a study, one of `groups`, on all folds; `copies`: of rows of another type."""
        splits, judged = _splits_of(leader, rows, copies=copies)
        scores = self._measured(leader, splits, judged)
        metrics = metrics_of(leader, train=self.search.return_train_score) if scores else []
        of_one_size = alike(leader, splits)
        found: list[Trained] = []
        if self.search.halving is not None:
            _check_race(leader, groups, len(of_one_size))
        for places in of_one_size:
            outcomes, results = run_together(
                own,
                leader,
                [splits[place] for place in places],
                metrics,
                f"study {len(self.results) + len(found)}",
                self.search.halving,
                curves=self.search.curves,
            )
            found.append(Trained(places, outcomes, results, scores))
        return found

    def _measured(self, leader: GDEstimator, splits: Sequence[Split], judged: bool) -> dict[str, Score] | None:
        """Return the scores that the engine measures: of held-out rows by which it judges, and which count alike."""
        weighted = any(split.train.weights is not None for split in splits)
        if not judged or weighted or any(value is not None for value in self.score_params.values()):
            return None
        if not all(has_all_targets(portion) for split in splits for portion in (split.train, split.held)):
            return None
        return measured(self.search.scoring, leader, splits[0].train.tasks)

    # --- scores -------------------------------------------------------------------------------------------------------

    def _enter(
        self,
        some: Mapping[int, Any],
        rows: Rows,
        fold: Fold,
        outcomes: Mapping[int, Outcome],
        scores: dict[str, Score] | None,
    ) -> None:
        """Enter what became of candidates on a fold, with their scores."""
        predict = None if scores else _Predicting(self, rows, fold)
        for number, outcome in outcomes.items():
            if outcome.model is None:
                if self.search.error_score == "raise":
                    raise InputError(outcome.error)
                self._enter_failure(number, fold, outcome)
                continue
            entry = self._entry(fold, outcome)
            for kind, prefix in self._kinds.items():
                before = time.time()
                if predict:
                    entry[kind] = predict.scores(some[number], outcome, prefix)
                else:
                    entry[kind] = self._as_scorer_has_them({n: s(outcome, prefix) for n, s in (scores or {}).items()})
                if kind == "test_scores":
                    entry["score_time"] += time.time() - before
            self.entries[number, fold.number] = entry

    @property
    def _kinds(self) -> dict[str, str]:
        """The kinds of scores, with the prefix of their metrics."""
        train = {"train_scores": ""} if self.search.return_train_score else {}
        return {"test_scores": "validation_", **train}

    def _entry(self, fold: Fold, outcome: Outcome) -> Entry:
        return {
            "fit_error": outcome.error or None,
            "n_test_samples": len(fold.test),
            "fit_time": outcome.fit_seconds,
            "score_time": outcome.score_seconds,
            "n_resources": outcome.model.n_iter_ if outcome.model is not None else 0,
            "retired": outcome.retired,
        }

    def _enter_failure(self, number: int, fold: Fold, outcome: Outcome) -> None:
        value, several = self.search.error_score, isinstance(self.scorer, _MultimetricScorer)
        scores = {kind: dict.fromkeys(self.scorer._scorers, value) if several else value for kind in self._kinds}
        self.entries[number, fold.number] = self._entry(fold, outcome) | scores

    def _as_scorer_has_them(self, scores: dict[str, float]) -> Any:
        return scores if isinstance(self.scorer, _MultimetricScorer) else scores["score"]


class _Predicting:
    """Scores models of a fold by what they predict.

    Parameters
    ----------
    evaluation : Evaluation
    rows : Rows
    fold : Fold
    """

    def __init__(self, evaluation: Evaluation, rows: Rows, fold: Fold) -> None:
        self._of, self._rows = evaluation, rows
        # what is no scorer of scikit-learn may look at all of a pipeline, and at rows as they were given
        scoring = evaluation.search.scoring
        given = scoring.values() if isinstance(scoring, Mapping) else [scoring]
        self._whole = any(callable(own) and not isinstance(own, _BaseScorer) for own in given)
        self._sets = {}
        for prefix, which in {"validation_": fold.test, "": fold.train}.items():
            if prefix or evaluation.search.return_train_score:
                X, y = evaluation._some(which)
                if rows.fitted is not None and not self._whole:
                    X = rows.fitted.held if prefix else rows.fitted.train
                params = _check_method_params(evaluation.X, params=evaluation.score_params, indices=which)
                self._sets[prefix] = X, y, params

    def scores(self, estimator: Any, outcome: Outcome, prefix: str) -> Any:
        """Return the scores of a model on the rows of a prefix."""
        X, y, params = self._sets[prefix]
        model: Any = outcome.model
        if self._whole and isinstance(estimator, Pipeline):
            model = whole(estimator, self._rows.fitted or Fitted([], None, None), model)
        return _score(model, X, y, self._of.scorer, params, self._of.search.error_score)


def _check_race(leader: GDEstimator, studies: int, sizes: int) -> None:
    """Refuse candidates that are in several studies, and folds with batches of several sizes."""
    if studies > 1:
        raise InputError(f"halving: candidates of one race differ in {', '.join(sorted(OF_A_LANE))} alone")
    if sizes > 1:
        raise InputError(f"halving: batch_size = {leader.batch_size!r} is all rows of some folds; choose another")


def _splits_of(leader: GDEstimator, rows: Rows, *, copies: bool) -> tuple[list[Split], bool]:
    """Return the splits of rows, and whether trials are judged by the rows that are held out.

    They are not where an estimator stops early by rows of its own, nor where a held-out row has a label that no row
    has from which the estimator could know it.
    """
    X, y = leader._checked(rows.X, rows.y, reset=True, copies=copies)
    leader._declare(y)
    tasks, judged, splits = leader._tasks(y), True, []
    for fold in rows.folds:
        shared = rows.held is None
        which = fold.train if shared else np.arange(len(y))
        weights = leader._weights(X, y, rows.params.get("sample_weight"), which)
        leader._check_enough(y, weights)
        train = Portion(X, tasks, weights, np.ascontiguousarray(which, np.int32) if shared else None)
        held = train.only(fold.test)._replace(weights=None) if shared else _held(leader, rows, copies=copies)
        if leader.early_stopping:
            train, held = leader._split(train)
        judged = judged and held is not None and not leader.early_stopping
        splits.append(Split(train, train if held is None else held, fold.number))
    return splits, judged


def _held(leader: GDEstimator, rows: Rows, *, copies: bool) -> Portion | None:
    """Return the held-out rows of a single fold; None where they have labels that the estimator does not know."""
    X, y = rows.held or (None, None)
    if not leader._knows(y):
        return None
    X, y = leader._checked(X, y, reset=False, copies=copies)
    return Portion(X, leader._tasks(y))
