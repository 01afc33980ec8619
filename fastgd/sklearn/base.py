"""What the estimators share: each is one trial of a study, which runs in memory."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any, Self, TypeVar

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from fastgd.analysis import Layer
from fastgd.common.errors import InputError
from fastgd.datasets import Data
from fastgd.plan.cohorts import model_of
from fastgd.problems.activations import ACTIVATIONS
from fastgd.runs.data.placing import in_memory_or_files
from fastgd.runs.in_memory import Learnt, MemoryResults, learn, run_in_memory
from fastgd.runs.stored.trained_models import layers_of
from fastgd.sklearn.rows import Portion, Task, data_of, readable
from fastgd.sklearn.studies import optimizer_of, problem_of, strength, study_of
from fastgd.study.config import Study

Array = npt.NDArray[Any]
Result = TypeVar("Result")
LARGEST_SEED = 2**31 - 1


class GDEstimator(BaseEstimator):
    """A model that is trained by gradients; see `GDClassifier` and `GDRegressor`.

    A subclass says what its targets mean: `_tasks`, and `_declare` of what it learns from them.
    """

    # --- fitting ------------------------------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train the model.

        Parameters
        ----------
        X : array_like or scipy sparse (n, d)
        y : array_like (n,), or (n, targets)
        sample_weight : array_like (n,), optional
            How much each row counts, relative to the others.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            X, y or a parameter is wrong (mostly an `InputError`), or the training diverged.
        """
        starts = self._parameters if self.warm_start and hasattr(self, "_parameters") else None

        def trained(copies: bool) -> tuple[Study, Sequence[Data], MemoryResults]:
            rows, targets = self._checked(X, y, reset=starts is None, copies=copies)
            self._declare(targets)
            tasks, weights = self._tasks(targets), self._weights(rows, targets, sample_weight)
            self._check_enough(targets, weights)
            train, held = self._split(Portion(rows, tasks, weights))
            data = data_of(train, held)
            study = self._study(tasks, train.n, self._seed())
            fit = starts is not None and [len(start) for start in starts] == self._sizes(study, data)
            return study, data, run_in_memory(study, data, threads=self._threads, starts=starts if fit else None)

        study, data, found = with_copies_or_without(trained, self.random_state)
        self._learnt: list[Learnt] = []
        self._take_results(study, data, found)
        return self

    def _learn(self, X: Any, y: Any, sample_weight: Any, tasks: Sequence[Task]) -> None:
        """Pass over a portion of rows once, and go on with what is known."""
        if self.early_stopping:
            raise InputError("early_stopping = True: partial_fit holds no rows out; leave it False")
        before = self._learnt if hasattr(self, "_learnt") else []
        if not before and hasattr(self, "_parameters"):  # of `fit`, whose optimizer is no more
            before = [Learnt(parameters) for parameters in self._parameters]
        passes = before[0].passes if before else 0
        data = data_of(Portion(X, tasks, self._weights(X, y, sample_weight)), relative=False)
        study = self._study(tasks, len(y), self._seed() + passes)
        if before and [len(learnt.parameters) for learnt in before] != self._sizes(study, data):
            before = []
        states: list[Learnt | None] = [*before] or [None] * len(tasks)
        alone = [study.model_copy(update={"problem": [problem]}) for problem in study.problem]
        each = zip(alone, data, states, strict=True)
        self._learnt = [learn(of_task, rows, state, threads=self._threads) for of_task, rows, state in each]
        self.n_iter_ = passes + 1
        self.t_ = self._learnt[0].steps
        self._take_parameters(study, data, [learnt.parameters for learnt in self._learnt])

    def _checked(self, X: Any, y: Any, *, reset: bool, copies: bool = True) -> tuple[Any, Any]:
        """Return rows as kernels read them, and targets as they were given but for their shape.

        `copies`: rows of another type of floats are copied; else they take their type as they pass.
        """
        X, y = validate_data(
            self,
            X,
            y,
            reset=reset,
            accept_sparse="csr",
            dtype=self._dtype() if copies else [self._dtype(), "float64", "float32"],
            order="C",
            multi_output=self._several,
            y_numeric=self._numeric,
        )
        return readable(X, self._dtype()), y

    def _dtype(self) -> str:
        if self.dtype not in ("float64", "float32"):
            raise InputError(f"dtype = {self.dtype!r}: must be 'float64' or 'float32'")
        return str(self.dtype)

    @property
    def _threads(self) -> int | None:
        """The number of threads; None: one for each processor."""
        if self.n_jobs in (None, -1):
            return None
        if not isinstance(self.n_jobs, int) or self.n_jobs < 1:
            raise InputError(f"n_jobs = {self.n_jobs!r}: must be 1 or more; -1 and None are all processors")
        return self.n_jobs

    def _seed(self) -> int:
        """Return the seed of the study: `random_state` itself, if it is a number."""
        if isinstance(self.random_state, int | np.integer):
            return int(self.random_state)
        return int(check_random_state(self.random_state).randint(LARGEST_SEED))

    def _weights(self, X: Any, y: Any, sample_weight: Any, rows: Array | None = None) -> Array | None:  # noqa: ARG002
        """Return how much each row counts (N,) float64; None: all alike. `rows`: those that train, by default all."""
        if sample_weight is None:
            return None
        weights: Array = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        if not weights.any():
            raise InputError("sample_weight: all weights are zero; at least one row must count")
        return weights

    def _knows(self, y: Any) -> bool:  # noqa: ARG002
        """Return whether all targets are such as the estimator knows."""
        return True

    def _check_enough(self, y: Any, weights: Array | None) -> None:
        """Refuse targets of which there is nothing to learn."""

    def _split(self, portion: Portion) -> tuple[Portion, Portion | None]:
        """Return the rows that train, and those that are held out to stop early."""
        if not self.early_stopping:
            return portion, None
        rows, classes = np.arange(portion.X.shape[0]) if portion.rows is None else portion.rows, self._strata(portion)
        train, held = train_test_split(rows, test_size=self._share(), random_state=self._seed(), stratify=classes)
        return portion.only(train), portion.only(held)

    def _share(self) -> float:
        """Return which share of the rows is held out to stop early."""
        share: Any = self.validation_fraction
        if not isinstance(share, (float, np.floating)) or not 0 < share < 1:
            raise InputError(f"validation_fraction must be above 0 and below 1, found {share!r}")
        return float(share)

    def _study(self, tasks: Sequence[Task], n: int, seed: int, metrics: Sequence[str] = ()) -> Study:
        """Return the study of this estimator alone."""
        held = {"validation": self._share()} if self.early_stopping else {}
        problems = [{**problem_of(self, task), **held, "l2": strength(self)[0]} for task in tasks]
        return study_of(self, problems, [optimizer_of(self)], n, seed, metrics)

    def _sizes(self, study: Study, data: Sequence[Data]) -> list[int]:
        """Return the number of parameters of each task."""
        return [
            sum(group.size for group in model_of(problem, rows).groups(rows.X.shape[1]))
            for problem, rows in zip(study.data_problems, data, strict=True)
        ]

    # --- what was found -----------------------------------------------------------------------------------------------

    def _take_results(self, study: Study, data: Sequence[Data], found: MemoryResults) -> None:
        """Take over what a run found."""
        trials = found.trials
        for problem, status, reason in trials[["problem", "status", "reason"]].itertuples(index=False):
            if status == "diverged":
                many = "" if len(trials) == 1 else f" of {problem!r}"
                raise InputError(f"the training{many} diverged: {reason}; a smaller eta0 than {self.eta0!r} may not")
        self.n_iter_ = max(1, int(np.ceil(trials["epochs"].max())))
        self.t_ = int(trials["steps"].max())
        self.loss_curve_ = found.curve("loss")[1:]
        self.validation_curve_ = found.curve("validation_loss")[1:] if self.early_stopping else None
        if self.tol is not None and (trials["status"] == "completed").any():
            warnings.warn(
                f"max_iter = {self.max_iter} epochs were over before the loss stood still; "
                "more epochs or a larger tol would end otherwise",
                ConvergenceWarning,
                stacklevel=3,
            )
        self._take_parameters(study, data, [found.parameters(name) for name in trials["trial_id"]])

    def _take_parameters(self, study: Study, data: Sequence[Data], parameters: Sequence[Array]) -> None:
        """Take over the parameters of each task; those of tasks of one output each stand side by side."""
        self._parameters = list(parameters)
        each = zip(study.data_problems, data, parameters, strict=True)
        layers = list(zip(*(layers_of(problem, rows, own) for problem, rows, own in each), strict=True))
        weights = [[own.weights for own in layer] for layer in layers]
        self.coefs_ = [own[0] if len(own) == 1 else np.hstack(own) for own in weights]
        self.intercepts_ = [np.concatenate([_biases(own) for own in layer]) for layer in layers]

    @property
    def _linear(self) -> tuple[Array, Array]:
        """The weights (outputs, d) and the intercepts (outputs,) of a linear model."""
        if not hasattr(self, "coefs_"):
            raise AttributeError(f"this {type(self).__name__} is not fitted yet")
        if len(self.coefs_) > 1:
            raise AttributeError("coef_ and intercept_ are of linear models; a network has coefs_ and intercepts_")
        return self.coefs_[0].T, self.intercepts_[0]

    def _margins(self, X: Any) -> Array:
        """Return what the last layer gives (n, outputs) float64."""
        check_is_fitted(self, "coefs_")
        units = validate_data(self, X, reset=False, accept_sparse="csr", dtype=(np.float64, np.float32))
        for number, (weights, biases) in enumerate(zip(self.coefs_, self.intercepts_, strict=True)):
            units = (ACTIVATIONS[self.activation].value(units) if number else units) @ weights + biases
        return np.asarray(units)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.target_tags.required = True
        return tags


def with_copies_or_without(train: Callable[[bool], Result], random_state: Any) -> Result:
    """Return what is trained on copies of rows of another type, or, where memory is too small for them, without them.

    The draws of a generator are the same then, and so are all bits.
    """
    generator = None if isinstance(random_state, int | np.integer) else check_random_state(random_state)
    before = None if generator is None else generator.get_state()

    def trained(copies: bool) -> Result:
        if generator is not None:
            generator.set_state(before)
        return train(copies)

    return in_memory_or_files(trained, True, False)


def _biases(layer: Layer) -> Array:
    """Return the biases (outputs,) of a layer; zeros where it has none."""
    return np.zeros(layer.weights.shape[1]) if layer.biases is None else layer.biases
