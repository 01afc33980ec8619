"""From arrays that scikit-learn has checked to what the engine sees; rows are not copied."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastgd.common.errors import InputError
from fastgd.datasets import Data
from fastgd.datasets.csr import canonical
from fastgd.datasets.prepare import in_place
from fastgd.datasets.record import Dataset, Numbered
from fastgd.datasets.staged_rows import StagedRows

Array = npt.NDArray[Any]


class Task(NamedTuple):
    """What is learnt of some rows: one vector of targets, or several at once.

    name : of its problem
    loss : fastgd's name
    y : (N,) numbers as the loss takes them, or (N, targets)
    classes : how many classes y has the numbers of; 0 : none
    targets : the names of several targets
    """

    name: str
    loss: str
    y: Array
    classes: int = 0
    targets: tuple[str, ...] = ()


class Portion(NamedTuple):
    """Rows for a purpose: X (N, d), their targets by task, how much each counts (N,) or None, and which (n,) or all."""

    X: Any
    tasks: Sequence[Task]
    weights: Array | None = None
    rows: Array | None = None

    @property
    def n(self) -> int:
        """The number of its rows."""
        return int(self.X.shape[0]) if self.rows is None else len(self.rows)

    def only(self, rows: Array) -> "Portion":
        """Return some of the rows (n,), by their places among all."""
        return self._replace(rows=np.ascontiguousarray(rows, np.int32))

    def scaled_weights(self, *, relative: bool = True) -> Array | None:
        """Return weights (N,), with the mean 1 over its rows or as they are; None: all rows count alike.

        Raises
        ------
        InputError
            All of them are zero.
        """
        if self.weights is None:
            return None
        own = self.weights if self.rows is None else self.weights[self.rows]
        if not own.any():
            raise InputError("sample_weight: the weights of all rows that train, or of all held-out rows, are zero")
        return np.ascontiguousarray(self.weights * (len(own) / own.sum() if relative else 1.0), self.X.dtype)


def readable(X: Any, dtype: str) -> Any:
    """Return rows (n, d) of floats as kernels read them: C-contiguous or CSR; of another type as they pass."""
    rows = canonical(X, "X") if hasattr(X, "toarray") else np.ascontiguousarray(X)
    return in_place(Dataset("X", rows, np.zeros(0), Numbered(rows.shape[1]), ""), None, dtype)[0]


def _owned(values: Any, dtype: Any) -> Array:
    """Return an array that is C-contiguous, of a type and not read-only."""
    array = np.ascontiguousarray(values, dtype)
    return array if array.flags.writeable else array.copy()


def data_of(train: Portion, held: Portion | None = None, name: str = "arrays", *, relative: bool = True) -> list[Data]:
    """Return what the engine sees of each task.

    Parameters
    ----------
    train, held : Portion
        The rows that train, and those by which trials are judged.
    name : str
        Tells these rows from others of the same search.
    relative : bool
        Whether weights are scaled to mean 1 over the rows. Those of a portion are not: others follow, with means of
        their own.

    Raises
    ------
    InputError
        All weights are zero.
    """
    dtype, found = train.X.dtype, []
    weights, held_weights = train.scaled_weights(relative=relative), None if held is None else held.scaled_weights()
    if weights is not None and held is not None and held_weights is None:
        held_weights = np.ones(held.X.shape[0], dtype)  # a loss of weighted rows asks for those of all rows
    for number, task in enumerate(train.tasks):
        y = _owned(task.y, dtype)
        shared = held is None or held.tasks is train.tasks
        data = Data(
            X=train.X,
            y=y,
            X_validation=None if held is None else held.X,
            y_validation=None if held is None else y if shared else _owned(held.tasks[number].y, dtype),
            features=Numbered(train.X.shape[1]),
            fingerprint=f"{name}, {task.name}",
            origin="map" if isinstance(train.X, StagedRows) else "memory",  # whose copies the memory does not hold
            dataset=name,
            classes=tuple(range(task.classes)),
            targets=task.targets,
            rows=train.rows,
            validation_rows=None if held is None else held.rows,
        )
        found.append(data if weights is None else replace(data, weights=weights, weights_validation=held_weights))
    return found
