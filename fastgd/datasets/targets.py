"""From labels to the numbers that a loss takes."""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fastgd.common.errors import InputError
from fastgd.common.numbers import number_of
from fastgd.datasets.record import Floats, Place, row_number

Targets = Literal["binary", "unit", "real", "count", "classes"]
Label = str | int | float

NEEDS = {
    "binary": "two classes: 0 and 1, -1 and +1, no and yes, false and true, or any labels with positive = one of them",
    "unit": "numbers from 0 to 1, or two classes (-1 and +1, no and yes, labels with positive = one of them)",
    "real": "numbers (labels with positive = one of them become 1 and 0)",
    "count": "numbers that are not negative",
}
WORDS = ({"no": 0.0, "yes": 1.0}, {"false": 0.0, "true": 1.0})


def numeric_targets(
    y: NDArray[Any], targets: Targets, positive: Label | None, name: str, place: Place = row_number
) -> Floats:
    """Return y as the loss takes it, float64 (n,): y itself where nothing has to change.

    Parameters
    ----------
    y : ndarray (n,)
        Numbers or labels.
    targets : {"binary", "unit", "real", "count"}
        What the loss takes.
    positive : label or None
        Becomes 1, all others 0.
    name : str
        The dataset, for messages.
    place : callable
        How messages call a row.
    """
    if positive is not None:
        return _against_others(y, positive, name)
    if y.dtype.kind == "U":
        y = _words(y, targets, name, place)
    if targets in ("binary", "unit") and np.all(np.abs(y) == 1) and y.min() < 0:
        return (y > 0).astype(np.float64)
    wrong = np.flatnonzero(~_fits(y, targets))
    if wrong.size:
        raise _misfit(y, targets, f"{place(wrong[0])} has target {y[wrong[0]]:g}", name)
    return y


def columns_of_targets(y: Floats) -> list[Floats]:
    """Return each target's numbers (n,), of y (n,) or (n, targets)."""
    return [y] if y.ndim == 1 else list(np.ascontiguousarray(y.T))


def two_labels(labels: NDArray[Any], y: Floats) -> tuple[Any, ...]:
    """Return which two labels (n,) became 0 and 1 in y; nothing where several became one of them, or none did."""
    found = [labels[np.argmax(y == number)] for number in (0, 1)]
    alike = (np.array_equal(labels == label, y == number) for number, label in enumerate(found))
    return tuple(label.item() for label in found) if all(alike) else ()


def _fits(y: Floats, targets: Targets) -> NDArray[np.bool_]:
    fits: NDArray[np.bool_] = y >= (-np.inf if targets == "real" else 0)
    if targets == "unit":
        fits &= y <= 1
    elif targets == "binary":
        fits = (y == 0) | (y == 1)
    return fits


def _against_others(y: NDArray[Any], positive: Label, name: str) -> Floats:
    mapped: Floats = (y == meant_label(labels_of(y), positive, f"positive = {positive!r}", name)).astype(np.float64)
    return mapped


def meant_label(labels: list[Any], asked: Label, key: str, name: str) -> Any:
    """Return the one of some labels that a key of a study asks for.

    Parameters
    ----------
    labels : list
    asked : label
    key, name : str
        How messages call what was asked for, and the dataset.

    Raises
    ------
    InputError
        No label is meant, or several are.
    """
    meant = [label for label in labels if _is_label(label, asked, labels)]
    if asked in meant:
        meant = [asked]
    if len(meant) != 1:
        found = "no row has" if not meant else "several are"
        raise InputError(f"{name}: {found} the label {key}; {listed(labels)}")
    alike = [label for label in labels if isinstance(label, str) and label.strip() == str(meant[0]).strip()]
    if len(alike) > 1:
        raise InputError(f"{name}: the labels {', '.join(map(repr, alike))} differ by spaces alone; which are meant?")
    return meant[0]


def _is_label(label: str | float, positive: Label, labels: list[Any]) -> bool:
    """Whether a label is what a study says: as it is, or as the text of a number or of true and false.

    Reading a file turns a column of True and False into numbers, and a column with one word among numbers into texts.
    """
    boolean, zero_or_one = isinstance(positive, bool), set(labels) <= {0.0, 1.0}
    if isinstance(label, str):
        if isinstance(positive, str):
            return label == positive
        return (_truth(label) if boolean else number_of(label)) == positive
    if isinstance(positive, str):
        return label == number_of(positive) or (zero_or_one and label == _truth(positive))
    return label == positive and (zero_or_one or not boolean)


def _truth(text: str) -> float | None:
    return WORDS[1].get(text.strip().lower())


def _words(y: NDArray[Any], targets: Targets, name: str, place: Place) -> Floats:
    """Return 0 and 1 for the words that say no and yes."""
    labels = labels_of(y)
    for words in WORDS:
        if {label.lower() for label in labels} <= set(words):
            return np.isin(y, [label for label in labels if words[label.lower()]]).astype(np.float64)
    found, others = "the targets are words", [label for label in labels if number_of(label) is None]
    if 0 < len(others) < len(labels):  # a text file's column with one word among numbers is read as words
        row = int(np.flatnonzero(np.isin(y, others))[0])
        found = f"{place(row)} has target {str(y[row])!r}, which is no number"
    raise _misfit(y, targets, found, name)


def _misfit(y: NDArray[Any], targets: Targets, found: str, name: str) -> InputError:
    labels = f" ({listed(labels_of(y))})" if targets == "binary" or y.dtype.kind == "U" else ""
    return InputError(f"{name}: {found}{labels}; this loss takes {NEEDS[targets]}")


def labels_of(y: NDArray[Any]) -> list[Any]:
    """Return the distinct labels of a target (n,), in order."""
    import pandas as pd

    labels: list[Any] = sorted(pd.unique(y).tolist())  # hashing: 10 times faster than the sort of numpy.unique
    return labels


def listed(labels: list[Any], most: int = 10) -> str:
    """Return labels in words, for messages."""
    shown = ", ".join(f"{label:g}" if isinstance(label, float) else repr(label) for label in labels[:most])
    return f"labels: {shown}{', ...' if len(labels) > most else ''}"


# --- classes ----------------------------------------------------------------------------------------------------------

MOST_CLASSES = 1000


def classes_of(y: NDArray[Any], name: str) -> list[Any]:
    """Return the labels of a target, in order: each is a class.

    Raises
    ------
    InputError
        There is one label, or there are so many that they are numbers to be predicted.
    """
    labels = labels_of(y)
    if not 2 <= len(labels) <= MOST_CLASSES:
        found = (
            f"all rows have the label {labels[0]!r}" if len(labels) == 1 else f"the targets have {len(labels):,} values"
        )
        raise InputError(f"{name}: {found}; this loss takes classes, from 2 to {MOST_CLASSES:,}")
    return labels


def class_numbers(y: NDArray[Any], classes: list[Any], name: str, place: Place = row_number) -> Floats:
    """Return the number (n,) float64 of each row's class.

    Raises
    ------
    InputError
        A row has a label that is none of the classes.
    """
    known = np.array(classes)
    if known.dtype.kind != y.dtype.kind:
        raise InputError(f"{name}: the targets are {y.dtype}, and the classes of the training rows are {known.dtype}")
    places = np.minimum(np.searchsorted(known, y), len(known) - 1)
    wrong = np.flatnonzero(known[places] != y)
    if wrong.size:
        label = y[wrong[0]].item()
        raise InputError(
            f"{name}: {place(wrong[0])} has the label {label!r}, which no training row has; {listed(classes)}"
        )
    return places.astype(np.float64)
