"""Losses of a margin z and a target y: value and derivative, written once, for numbers, arrays and vectors of lanes.

Each is stable for any finite margin: no overflow where the loss is finite, no cancellation where it is small.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from fastgd.common.registry import Registry
from fastgd.core.math import exp, sigmoid

Targets = Literal["binary", "unit", "real", "count", "classes"]


@dataclass(frozen=True, repr=False)
class Loss:
    """The record of a loss.

    Attributes
    ----------
    name : str
        As in a study file.
    summary : str
        Its formula.
    targets : {"binary", "unit", "real", "count", "classes"}
        What y may be: 0 and 1; numbers from 0 to 1; any finite number; numbers >= 0; the number of a class.
    value, derivative : callable
        `value(z, y)` and its derivative by z. Without branches on values: kernels call them on vectors of lanes.
    log_terms : callable, optional
        `log_terms(z, y)` gives a and e, 0 <= e <= 1, of a value `a + log(1 + e)`: rows then share a logarithm.
    source : str
        Of a user's own: a hash of its text, so that an edited loss is another loss.
    outputs : int
        The margins of a row: one of each class, or of each of several targets. Of classes, `value` and `derivative`
        take margins (..., outputs). With several targets, `value` is that of one, and a row's loss is the mean over
        them. Kernels have forms of their own for both.
    most : int
        Of a measure that counts rows whose class is not among so many with the largest margins; else 0.
    target : int, optional
        Of a measure of one of several targets alone: which of them.
    weighted : bool
        Whether rows have weights: behind a row's targets stands one more number, by which kernels multiply its loss.
        `value` and `derivative` stay those of a row of weight 1.
    """

    name: str
    summary: str
    targets: Targets
    value: Callable[[Any, Any], Any]
    derivative: Callable[[Any, Any], Any]
    log_terms: Callable[[Any, Any], Any] | None = None
    source: str = ""
    outputs: int = 1
    most: int = 0
    target: int | None = None
    weighted: bool = False

    def __repr__(self) -> str:
        """Its identity in a kernel's type: the same in every process.

        It is the same for each of several targets, too, unless rows have weights: these are elsewhere for each.
        """
        one_of = "" if self.target is None else f" number {self.target} of" if self.weighted else " one of"
        of_outputs = f" of{one_of} {self.outputs} {'classes' if self.of_classes else 'targets'}"
        several = self.of_classes or self.outputs > 1
        of_rows = " of weighted rows" if self.weighted else ""
        return f"loss {self.name} {self.source}".rstrip() + (of_outputs if several else "") + of_rows

    @property
    def key(self) -> str:
        """What tells it from all else that is summed over the same rows."""
        return self.name if self.target is None else f"{self.name} of target {self.target}"

    @property
    def of_classes(self) -> bool:
        """Whether y is the number of a class, of which each has a margin."""
        return self.targets == "classes"

    @property
    def columns(self) -> int:
        """How many numbers of y a row has: its targets, and its weight where rows have some."""
        return (1 if self.of_classes else self.outputs) + self.weighted

    @property
    def weight_at(self) -> int:
        """Where a row's weight stands among its numbers; of one of several targets, counted from that."""
        return self.columns - 1 - (self.target or 0)

    @property
    def shares_logarithms(self) -> bool:
        """Whether rows share logarithms where their values are summed."""
        return self.log_terms is not None and not self.weighted

    @property
    def foreign(self) -> bool:
        """Whether it is a user's own."""
        return self.source != ""


LOSSES: Registry[Loss] = Registry("loss")


def _squared(z: Any, y: Any) -> Any:
    return (z - y) * (z - y) * 0.5


def _squared_derivative(z: Any, y: Any) -> Any:
    return z - y


# With y in {0, 1}, log(1 + e^z) - y z is log(1 + e^z) or log(1 + e^-z): no difference of large numbers.
def _logistic_terms(z: Any, y: Any) -> Any:
    m = (1 - 2 * y) * z
    return np.maximum(m, 0.0), exp(-np.abs(m))


def _logistic(z: Any, y: Any) -> Any:
    a, e = _logistic_terms(z, y)
    return a + np.log1p(e)


def _logistic_derivative(z: Any, y: Any) -> Any:
    s = 1 - 2 * y
    return s * sigmoid(s * z)


def _hinge(z: Any, y: Any) -> Any:
    return np.maximum(1 - (2 * y - 1) * z, 0.0)


def _hinge_derivative(z: Any, y: Any) -> Any:
    s = 2 * y - 1
    return np.where(s * z < 1, -s, s * 0)


def _squared_hinge(z: Any, y: Any) -> Any:
    m = np.maximum(1 - (2 * y - 1) * z, 0.0)
    return m * m


def _squared_hinge_derivative(z: Any, y: Any) -> Any:
    s = 2 * y - 1
    return -2 * s * np.maximum(1 - s * z, 0.0)


def _huber(z: Any, y: Any) -> Any:
    r = np.abs(z - y)
    m = np.minimum(r, 1.0)
    return m * (r - 0.5 * m)


def _huber_derivative(z: Any, y: Any) -> Any:
    return np.minimum(np.maximum(z - y, -1.0), 1.0)


# (1 - y) f - y (1 - f) is f - y without cancellation where y is 0 or 1.
def _sigmoid_squared(z: Any, y: Any) -> Any:
    r = (1 - y) * sigmoid(z) - y * sigmoid(-z)
    return r * r * 0.5


def _sigmoid_squared_derivative(z: Any, y: Any) -> Any:
    f, rest = sigmoid(z), sigmoid(-z)
    return ((1 - y) * f - y * rest) * f * rest


def _poisson(z: Any, y: Any) -> Any:
    return exp(z) - y * z


def _poisson_derivative(z: Any, y: Any) -> Any:
    return exp(z) - y


for _loss in (
    Loss("squared", "(z - y)^2 / 2", "real", _squared, _squared_derivative),
    Loss("logistic", "log(1 + e^z) - y z, y in {0, 1}", "binary", _logistic, _logistic_derivative, _logistic_terms),
    Loss("hinge", "max(0, 1 - s z), s = 2y - 1", "binary", _hinge, _hinge_derivative),
    Loss("squared_hinge", "max(0, 1 - s z)^2, s = 2y - 1", "binary", _squared_hinge, _squared_hinge_derivative),
    Loss("huber", "(z - y)^2 / 2 up to |z - y| = 1, then |z - y| - 1/2", "real", _huber, _huber_derivative),
    Loss("sigmoid_squared", "(sigmoid(z) - y)^2 / 2", "unit", _sigmoid_squared, _sigmoid_squared_derivative),
    Loss("poisson", "e^z - y z, y >= 0", "count", _poisson, _poisson_derivative),
):
    LOSSES.add(_loss)


def _zero_one(z: Any, y: Any) -> Any:
    return np.where(z > 0, 1 - y, np.where(z <= 0, y, z))  # NaN where z is NaN


def _squared_of_exp(z: Any, y: Any) -> Any:
    r = exp(z) - y
    return r * r * 0.5


def _flat(z: Any, y: Any) -> Any:  # noqa: ARG001
    return z * 0


ZERO_ONE = Loss("zero_one", "1 where z > 0 and the label do not agree", "binary", _zero_one, _flat)

# Half the squared error of what a margin predicts, in units of y. The other losses predict classes, by the sign alone.
SQUARED_ERRORS: dict[str, Loss] = {
    "squared": LOSSES["squared"],
    "huber": LOSSES["squared"],
    "sigmoid_squared": LOSSES["sigmoid_squared"],
    "poisson": Loss("squared_of_exp", "(e^z - y)^2 / 2", "count", _squared_of_exp, _flat),
}

# All that can be summed over the rows at a checkpoint: the losses, and measures that are not minimised.
MEASURES: tuple[Loss, ...] = (*LOSSES.values(), ZERO_ONE, SQUARED_ERRORS["poisson"])


# --- classes: a row has a margin for each, and y is the number of one ------------------------------------------------


def _softmax(z: Any, y: Any) -> Any:
    largest = np.max(z, axis=-1, keepdims=True)
    total = np.log(np.sum(np.exp(z - largest), axis=-1)) + largest[..., 0]
    return total - np.take_along_axis(z, np.asarray(y, np.int64)[..., None], axis=-1)[..., 0]


def _softmax_derivative(z: Any, y: Any) -> Any:
    e = np.exp(z - np.max(z, axis=-1, keepdims=True))
    return e / np.sum(e, axis=-1, keepdims=True) - (np.arange(z.shape[-1]) == np.asarray(y)[..., None])


def _missed(most: int) -> Callable[[Any, Any], Any]:
    """Return the function that is 1 where at least `most` classes have larger margins than the row's own class.

    Of equal margins the first is the larger one, as it is for a prediction.
    """

    def missed(z: Any, y: Any) -> Any:
        label = np.asarray(y, np.int64)[..., None]
        own = np.take_along_axis(z, label, axis=-1)
        before = (z > own) | ((z == own) & (np.arange(z.shape[-1]) < label))
        return 1.0 * (np.sum(before, axis=-1) >= most)

    return missed


CLASS_LOSSES: Registry[Loss] = Registry("loss")
CLASS_LOSSES.add(Loss("softmax", "log(sum of e^z) - z_y, of classes y", "classes", _softmax, _softmax_derivative))

# Measures of classes by how many classes may have larger margins than the row's own.
MISSES: dict[int, Loss] = {
    most: Loss(
        f"not_in_top_{most}", f"1 where {most} classes have larger margins", "classes", _missed(most), _flat, most=most
    )
    for most in (1, 5)
}


def with_outputs(loss: Loss, outputs: int) -> Loss:
    """Return a loss of classes for so many of them, and one of numbers for so many targets."""
    return loss if outputs == loss.outputs else replace(loss, outputs=outputs)


def of_weighted_rows(loss: Loss, weighted: bool = True) -> Loss:
    """Return a loss, or a measure, of rows with weights."""
    return loss if weighted == loss.weighted else replace(loss, weighted=weighted)


def of_each_target(loss: Loss) -> list[Loss]:
    """Return the measures of the targets of a loss of several, each by itself; the loss as it is, if there is one."""
    return [loss] if loss.outputs == 1 else [replace(loss, target=number) for number in range(loss.outputs)]
