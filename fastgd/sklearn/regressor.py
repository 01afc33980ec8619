"""`GDRegressor`: linear models and networks of numbers."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import RegressorMixin

from fastgd.common.errors import InputError
from fastgd.problems import find_loss
from fastgd.problems.predictions import LINKS
from fastgd.sklearn.base import GDEstimator
from fastgd.sklearn.rows import Portion, Task
from fastgd.sklearn.studies import loss_of

Array = npt.NDArray[Any]
RANGES = {"real": (-np.inf, np.inf), "count": (0.0, np.inf), "unit": (0.0, 1.0)}  # of the targets of a loss


class GDRegressor(RegressorMixin, GDEstimator):
    """A linear model or a network of numbers, trained by any optimizer of fastgd.

    Parameters
    ----------
    loss : str
        "squared_error", "huber" (of width 1), "poisson", another loss of numbers (`fastgd list losses`), or one of
        your own, "module:loss".
    penalty : {"l2", "l1", "elasticnet"} or None
        The last two by proximal steps, which leave exact zeros.
    alpha : float
        The strength of the penalty.
    l1_ratio : float
        The share of l1 in "elasticnet".
    fit_intercept : bool
    hidden : sequence of int
        The units of each hidden layer; none: a linear model.
    activation : str
        Of hidden units.
    optimizer : str
        `fastgd list optimizers`, or "module:Name".
    eta0 : float or None
        The rate; None: that of the rule, if it has one.
    optimizer_params : dict, optional
        What else the table `[[optimizer]]` of a study may say: `{"momentum": 0.9}`, `{"clip": {"norm": 1.0}}`,
        `{"estimator": "saga"}`.
    learning_rate : str
        The schedule of the rate: `fastgd list schedules`.
    schedule_params : dict, optional
        Its own keys: `{"power": 0.5}` of "invscaling".
    batch_size : int, "auto" or "full"
        "auto": 200, or all rows, if there are fewer.
    max_iter : int
        Epochs.
    tol : float or None
        The training ends after `n_iter_no_change` epochs in a row whose loss is above the least one before, less this;
        None: after `max_iter` epochs.
    n_iter_no_change : int
    early_stopping : bool
        Hold rows out, judge by their loss, and keep the parameters that were the best for them.
    validation_fraction : float
        The share of rows that are held out then.
    shuffle : bool
        Whether each epoch has an order of its own.
    random_state : int, RandomState or None
        Of the order, of held-out rows, and of a network's start.
    average : bool or int
        Report the mean of all iterates, or of those from this step on.
    warm_start : bool
        Whether `fit` begins where the last one ended.
    dtype : {"float64", "float32"}
    n_jobs : int or None
        Threads; None and -1: as many as there are processors. The number changes no bits.

    Attributes
    ----------
    coef_, intercept_ : ndarray (d,) and (1,), of several targets (targets, d) and (targets,)
        Of a linear model.
    coefs_, intercepts_ : list of ndarray
        The weights (inputs, outputs) and the biases of each layer.
    n_iter_, t_ : int
        Epochs, and steps.
    loss_curve_ : list of float
        The objective after each epoch.
    validation_curve_ : list of float or None
        With `early_stopping`: the mean loss of the held-out rows after each epoch.
    n_features_in_, feature_names_in_
        As scikit-learn has them.
    """

    _several, _numeric = True, True

    def __init__(
        self,
        loss: str = "squared_error",
        *,
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
        """The weights of a linear model: (d,), or (targets, d)."""
        weights = self._linear[0]
        return weights if self._targets else weights[0]

    @property
    def intercept_(self) -> Array:
        """The intercepts of a linear model: (1,), or (targets,)."""
        return self._linear[1]

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Pass over some rows once, and go on with the state of the optimizer.

        Parameters
        ----------
        X : array_like or scipy sparse (n, d)
        y : array_like (n,), or (n, targets)
        sample_weight : array_like (n,), optional

        Returns
        -------
        self
        """
        X, y = self._checked(X, y, reset=not hasattr(self, "coefs_"))
        self._declare(y)
        self._learn(X, y, sample_weight, self._tasks(y))
        return self

    def predict(self, X: Any) -> Array:
        """Return the prediction of each row (n,), or (n, targets) of several targets.

        Parameters
        ----------
        X : array_like or scipy sparse (n, d)
        """
        margins = self._margins(X)
        link = LINKS.get(loss_of(self))
        values: Array = link(margins) if link else margins
        return values if self._targets else values[:, 0]

    def _declare(self, y: Array) -> None:
        """Note whether there are several targets."""
        self._targets = y.shape[1] if y.ndim == 2 else 0

    def _tasks(self, y: Array) -> list[Task]:
        """Return what is to be learnt: all targets at once."""
        loss = loss_of(self)
        if (kind := find_loss(loss).targets) not in RANGES:
            raise InputError(f"loss = {self.loss!r} is of classes: see GDClassifier")
        numbers, (low, high) = np.asarray(y, np.float64), RANGES[kind]
        if len(bad := numbers[(numbers < low) | (numbers > high)]):
            raise InputError(f"y: loss = {self.loss!r} takes numbers from {low:g} to {high:g}; found {bad[0]:g}")
        if self._targets > 1 and kind != "real":
            raise InputError(f"y has {self._targets} columns, and loss = {self.loss!r} is of one target")
        if self._targets < 2:
            return [Task("y", loss, numbers.reshape(-1))]
        return [Task("y", loss, numbers, targets=tuple(f"y{number}" for number in range(self._targets)))]

    def _strata(self, portion: Portion) -> None:
        """Return nothing: numbers have no classes."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
