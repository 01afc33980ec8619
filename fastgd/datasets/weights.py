"""What rows weigh: the numbers of a column or an array, times the weights of the rows' classes, scaled to mean 1.

An objective is a weighted mean over the rows, which a factor of all weights does not change. With mean 1 over the
training rows it is the mean of weighted losses, and the mean of a batch's weighted gradients is an unbiased estimate of
its gradient.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fastgd.common.errors import InputError
from fastgd.datasets.record import Dataset, Floats, Place, row_number
from fastgd.datasets.targets import labels_of, listed, meant_label

Rows = NDArray[np.integer[Any]]
ClassWeight = Literal["balanced"] | Mapping[str, float]


def row_weights(values: Any, name: str, called: str, place: Place = row_number) -> Floats:
    """Return the weights of rows (n,) as float64.

    Parameters
    ----------
    values : ndarray (n,)
        Numbers.
    name, called : str
        How messages call the dataset, and the weights: "column 'w'", for example.
    place : callable
        How messages call a row.

    Raises
    ------
    InputError
        There are no numbers, not one for each row, or one of them is negative or not finite.
    """
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1 or values.dtype.kind not in "biuf":
        raise InputError(f"{name}: {called} must hold one number a row, (n,): found {values.dtype} {values.shape}")
    weights = np.ascontiguousarray(values, dtype=np.float64)
    wrong = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))
    if wrong.size:
        found = f"{place(wrong[0])}, {called}: found {weights[wrong[0]]:g}"
        raise InputError(f"{name}: {found}; a weight is a finite number >= 0")
    return weights


def weighing(
    dataset: Dataset,
    numbers: Floats,
    rows: Rows | None,
    classes: Sequence[Any],
    class_weight: ClassWeight | None,
    dtype: str,
) -> Callable[[Dataset, Floats, Rows | None, str], Floats | None]:
    """Return a function that returns the weights of some rows, scaled to mean 1; None, where all rows weigh the same.

    Its arguments are a dataset, its targets as the loss takes them (n,), which of its rows (None: all), and what these
    are in messages. It raises InputError where all weights are 0, or a row has none or one that overflows.

    Parameters
    ----------
    dataset : Dataset
        That of the training rows.
    numbers : ndarray (n,)
        Its targets as the loss takes them: where rows are weighed by their classes, the numbers of these.
    rows : ndarray of int or None
        The training rows; None: all.
    classes : sequence
        The labels by number, where each is a class of its own.
    class_weight : "balanced", mapping or None
        "balanced": a class weighs n / (k n_c), with n_c of the n training rows, and k classes that have some. Else of
        each label its weight; labels that are left out weigh 1.
    dtype : {"float64", "float32"}

    Raises
    ------
    InputError
        The targets are no classes, or a key is no label.
    """
    if dataset.weights is None and class_weight is None:
        return lambda *_: None
    factors = None if class_weight is None else _factors(dataset, numbers, rows, classes, class_weight)

    def weights_of(of: Dataset, own: Floats, which: Rows | None, what: str) -> Floats:
        weights = np.ones(len(own)) if of.weights is None else of.weights
        if factors is not None:
            _check_classes(of, own, classes)
            with np.errstate(over="ignore"):
                weights = weights * factors[own.astype(np.intp)]
        _check(of, weights, which)
        return _scaled(
            weights if which is None else weights[which], f"{of.name}: the weights of all {what} rows", dtype
        )

    return weights_of


def _scaled(weights: Floats, all_of_them: str, dtype: str) -> Floats:
    largest = weights.max()
    if largest == 0:
        raise InputError(f"{all_of_them} are 0; some must be more")
    weights = weights / largest  # so that no sum overflows
    scaled: Floats = (weights / weights.mean()).astype(dtype, copy=False)
    return scaled


def _check(dataset: Dataset, weights: Floats, rows: Rows | None) -> None:
    """Refuse rows whose class has no weight, and products of weights that overflow."""
    wrong = np.flatnonzero(~np.isfinite(weights)) if rows is None else rows[~np.isfinite(weights[rows])]
    if not len(wrong):
        return
    row, label = dataset.place(int(wrong[0])), dataset.y[wrong[0]].item()
    if np.isnan(weights[wrong[0]]):
        raise InputError(
            f"{dataset.name}: {row} has the label {label!r}, which no training row has: 'balanced' gives it no "
            "class_weight; a table of labels does"
        )
    raise InputError(f"{dataset.name}: {row}: its weight times that of its label {label!r} overflows")


def _factors(
    dataset: Dataset, numbers: Floats, rows: Rows | None, classes: Sequence[Any], class_weight: ClassWeight
) -> Floats:
    """Return the weight (k,) of each class that the loss tells apart; NaN: a class has no training row."""
    _check_classes(dataset, numbers, classes)
    own, count = numbers.astype(np.intp), len(classes) or 2
    if not isinstance(class_weight, str):
        return _factors_of_labels(class_weight, dataset, own, count)
    counts = np.bincount(own if rows is None else own[rows], minlength=count)
    with np.errstate(divide="ignore"):
        return np.where(counts > 0, counts.sum() / (np.count_nonzero(counts) * counts), np.nan)


def _check_classes(dataset: Dataset, numbers: Floats, classes: Sequence[Any]) -> None:
    """Refuse targets that are no classes: neither the numbers of some, nor 0 and 1."""
    other = np.flatnonzero(~np.isin(numbers, (0, 1)))
    if len(other) and not classes:
        found = f"{dataset.place(int(other[0]))} has the target {numbers[other[0]]:g}"
        raise InputError(f"{dataset.name}: class_weight is for classes, and {found}; weights are for any targets")


def _factors_of_labels(given: Mapping[str, float], dataset: Dataset, numbers: Rows, count: int) -> Floats:
    """Return the weights (k,) of classes from those of labels; without a label, a class weighs 1."""
    labels = labels_of(dataset.y)
    weights: dict[Any, float] = {}
    for key, weight in given.items():
        label = meant_label(labels, key, f"class_weight.{key}", dataset.name)
        if label in weights:
            raise InputError(f"{dataset.name}: class_weight names the label {label!r} twice; {listed(labels)}")
        weights[label] = weight
    found: list[dict[Any, float]] = [{} for _ in range(count)]
    for label in labels:
        found[numbers[np.argmax(dataset.y == label)]][label] = weights.get(label, 1.0)
    for of_class in found:
        if len(set(of_class.values())) > 1:
            differing = ", ".join(f"{label!r}: {weight:g}" for label, weight in list(of_class.items())[:10])
            raise InputError(
                f"{dataset.name}: labels that are one class, as positive makes them, need one class_weight: {differing}"
            )
    return np.array([next(iter(of_class.values()), 1.0) for of_class in found])


def identity_of(dataset: Dataset, class_weight: ClassWeight | None) -> list[Any]:
    """Return texts and arrays that decide the weights beside rows and targets; none, where all rows weigh the same."""
    found: list[Any] = [] if dataset.weights is None else ["weights", dataset.weights]
    if class_weight is not None:
        text = class_weight if isinstance(class_weight, str) else json.dumps(dict(class_weight), sort_keys=True)
        found.append(f"class_weight={text}")
    return found
