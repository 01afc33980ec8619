"""`GDClassifier`: linear models and networks of classes."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import ClassifierMixin
from sklearn.utils import column_or_1d, compute_class_weight
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets

from fastgd.common.errors import InputError
from fastgd.core.math import sigmoid
from fastgd.problems import find_loss
from fastgd.problems.predictions import softmax
from fastgd.sklearn.base import GDEstimator
from fastgd.sklearn.rows import Portion, Task
from fastgd.sklearn.studies import loss_of

Array = npt.NDArray[Any]
SOFTMAX, ONE_VS_REST = "softmax", "ovr"


def _gives_probabilities(estimator: "GDClassifier") -> bool:
    """Whether the loss is one whose margins are the logarithms of odds."""
    if loss_of(estimator) in ("logistic", SOFTMAX):
        return True
    raise AttributeError(f"loss = {estimator.loss!r} gives no probabilities, as 'log_loss' does")


class GDClassifier(ClassifierMixin, GDEstimator):
    """A linear model or a network of classes, trained by any optimizer of fastgd.

    Parameters
    ----------
    loss : str
        "log_loss", "hinge", "squared_hinge", "sigmoid_squared", or one of your own of two classes, "module:loss".
    multi_class : {"softmax", "ovr"}
        How more than two classes are told apart: by one model with a margin for each (of "log_loss"), or by one model
        for each class against all others, as SGDClassifier does. Losses other than "log_loss" have the latter only.
    class_weight : dict, "balanced" or None
        How much the rows of each class count.
    penalty, alpha, l1_ratio, fit_intercept, hidden, activation, optimizer, eta0, optimizer_params, learning_rate, \
schedule_params, batch_size, max_iter, tol, n_iter_no_change, early_stopping, validation_fraction, shuffle, \
random_state, average, warm_start, dtype, n_jobs
        As in `GDRegressor`.

    Attributes
    ----------
    classes_ : ndarray (classes,)
        The labels, in the order of margins and probabilities.
    coef_, intercept_ : ndarray (1, d) and (1,), of more than two classes (classes, d) and (classes,)
        Of a linear model.
    coefs_, intercepts_, n_iter_, t_, loss_curve_, validation_curve_, n_features_in_, feature_names_in_
        As in `GDRegressor`; with one model for each class, the curves are those of the first.
    """

    _several, _numeric = False, False

    def __init__(
        self,
        loss: str = "log_loss",
        *,
        multi_class: str = SOFTMAX,
        class_weight: Mapping[Any, float] | str | None = None,
        penalty: str | None = "l2",
        alpha: float = 1e-4,
        l1_ratio: float = 0.15,
        fit_intercept: bool = True,
        hidden: Sequence[int] = (),
        activation: str = "relu",
        optimizer: str = "adam",
        eta0: float | None = 0.01,
        optimizer_params: dict[str, Any] | None = None,
        learning_rate: str = "constant",
        schedule_params: dict[str, Any] | None = None,
        batch_size: int | str = "auto",
        max_iter: int = 200,
        tol: float | None = 1e-4,
        n_iter_no_change: int = 10,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        shuffle: bool = True,
        random_state: Any = None,
        average: bool | int = False,
        warm_start: bool = False,
        dtype: str = "float64",
        n_jobs: int | None = None,
    ) -> None:
        self.loss = loss
        self.multi_class = multi_class
        self.class_weight = class_weight
        self.penalty = penalty
        self.alpha = alpha
        self.l1_ratio = l1_ratio
        self.fit_intercept = fit_intercept
        self.hidden = hidden
        self.activation = activation
        self.optimizer = optimizer
        self.eta0 = eta0
        self.optimizer_params = optimizer_params
        self.learning_rate = learning_rate
        self.schedule_params = schedule_params
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.tol = tol
        self.n_iter_no_change = n_iter_no_change
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.shuffle = shuffle
        self.random_state = random_state
        self.average = average
        self.warm_start = warm_start
        self.dtype = dtype
        self.n_jobs = n_jobs

    @property
    def coef_(self) -> Array:
        """The weights of a linear model: (1, d), or (classes, d)."""
        return self._linear[0]

    @property
    def intercept_(self) -> Array:
        """The intercepts of a linear model: (1,), or (classes,)."""
        return self._linear[1]

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Self:
        """Pass over some rows once, and go on with the state of the optimizer.

        Parameters
        ----------
        X : array_like or scipy sparse (n, d)
        y : array_like (n,)
        classes : array_like (classes,)
            All labels that there will be; needed in the first call.
        sample_weight : array_like (n,), optional

        Returns
        -------
        self

        Raises
        ------
        ValueError
            The classes are missing, or others than before; or y has a label that is none of them.
        """
        first = not hasattr(self, "coefs_")
        X, y = self._checked(X, y, reset=first)
        y = column_or_1d(y, warn=True)
        check_classification_targets(y)
        if self.class_weight == "balanced":
            raise InputError("class_weight = 'balanced' is not known of portions: give a weight of each class")
        if classes is not None:
            labels = np.unique(classes)
            if not first and not np.array_equal(labels, self.classes_):
                raise InputError(f"classes: found {labels}, and the calls before had {self.classes_}")
            self._declare(labels)
        elif first:
            raise InputError("classes must be given in the first call of partial_fit: all labels that there will be")
        if not self._knows(y):
            raise InputError(f"y has labels that are none of the classes {self.classes_}")
        self._learn(X, y, sample_weight, self._tasks(y))
        return self

    def decision_function(self, X: Any) -> Array:
        """Return the margins: (n,) of two classes, above 0 for the second one; or (n, classes).

        Parameters
        ----------
        X : array_like or scipy sparse (n, d)
        """
        margins = self._margins(X)
        return margins[:, 0] if len(self.classes_) == 2 else margins

    def predict(self, X: Any) -> Array:
        """Return the label of each row (n,).

        Parameters
        ----------
        X : array_like or scipy sparse (n, d)
        """
        margins = self.decision_function(X)
        found = (margins > 0).astype(np.intp) if margins.ndim == 1 else margins.argmax(axis=1)
        return np.asarray(self.classes_[found])

    @available_if(_gives_probabilities)
    def predict_proba(self, X: Any) -> Array:
        """Return the probabilities of the classes (n, classes).

        Parameters
        ----------
        X : array_like or scipy sparse (n, d)
        """
        margins = self.decision_function(X)
        if margins.ndim == 1:
            return np.column_stack([sigmoid(-margins), sigmoid(margins)])
        if self._softmax:
            return np.asarray(softmax(margins))
        each = sigmoid(margins)
        return np.asarray(each / each.sum(axis=1, keepdims=True))

    @available_if(_gives_probabilities)
    def predict_log_proba(self, X: Any) -> Array:
        """Return the logarithms of `predict_proba`.

        Parameters
        ----------
        X : array_like or scipy sparse (n, d)
        """
        return np.asarray(np.log(self.predict_proba(X)))

    @property
    def _softmax(self) -> bool:
        """Whether more than two classes have one model."""
        if self.multi_class not in (SOFTMAX, ONE_VS_REST):
            raise InputError(f"multi_class = {self.multi_class!r}: must be {SOFTMAX!r} or {ONE_VS_REST!r}")
        return self.multi_class == SOFTMAX and loss_of(self) in ("logistic", SOFTMAX)

    def _declare(self, y: Array) -> None:
        """Note the classes."""
        y = column_or_1d(y, warn=True)
        check_classification_targets(y)
        self.classes_ = np.unique(y)
        if len(self.classes_) < 2:
            (alone,) = self.classes_.tolist()
            raise InputError(f"the number of classes has to be greater than one; found 1 class, {alone!r}")

    def _tasks(self, y: Array) -> list[Task]:
        """Return what is to be learnt: the numbers of the classes, or each class against all others."""
        loss, count = loss_of(self), len(self.classes_)
        if find_loss(loss).targets not in ("binary", "unit", "classes"):
            raise InputError(f"loss = {self.loss!r} is of numbers: see GDRegressor")
        numbers = np.searchsorted(self.classes_, column_or_1d(y))
        if count == 2:
            return [Task("classes", "logistic" if loss == SOFTMAX else loss, numbers.astype(np.float64))]
        if self._softmax:
            return [Task("classes", SOFTMAX, numbers.astype(np.float64), count)]
        if len(self.hidden):
            raise InputError("hidden: a network tells more than two classes apart by multi_class = 'softmax' alone")
        if loss == SOFTMAX:
            raise InputError(
                f"loss = {SOFTMAX!r} and multi_class = {ONE_VS_REST!r}: one against all others is log_loss"
            )
        return [Task(f"class {label}", loss, (numbers == label).astype(np.float64)) for label in range(count)]

    def _knows(self, y: Any) -> bool:
        """Return whether all labels are among the classes."""
        return bool(np.isin(y, self.classes_).all())

    def _check_enough(self, y: Any, weights: Array | None) -> None:
        """Refuse weights that leave rows of one class alone."""
        if weights is not None and len(np.unique(column_or_1d(y)[weights > 0])) < 2:
            raise InputError("sample_weight: the rows that count are of one class; there must be two classes or more")

    def _weights(self, X: Any, y: Any, sample_weight: Any, rows: Array | None = None) -> Array | None:
        """Return how much each row counts (N,): by itself, times its class."""
        weights = super()._weights(X, y, sample_weight)
        if self.class_weight is None:
            return weights
        numbers = np.searchsorted(self.classes_, column_or_1d(y))
        if self.class_weight == "balanced":
            which = slice(None) if rows is None else rows
            counts = np.bincount(numbers[which], None if weights is None else weights[which], len(self.classes_))
            of_class = counts.sum() / (len(counts) * np.maximum(counts, np.finfo(np.float64).tiny))
        else:
            of_class = compute_class_weight(self.class_weight, classes=self.classes_, y=self.classes_)
        own = np.asarray(of_class[numbers], np.float64)
        return own if weights is None else own * weights

    def _strata(self, portion: Portion) -> Array:
        """Return the class of each row, as many rows of which are held out."""
        ys = [task.y if portion.rows is None else task.y[portion.rows] for task in portion.tasks]
        return np.asarray(ys[0] if len(ys) == 1 else np.argmax(ys, axis=0))
