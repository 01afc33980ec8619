"""From arrays that scikit-learn has checked to what the engine sees; rows that need no change are not copied."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastgd.common.errors import InputError
from fastgd.datasets import Data
from fastgd.datasets.csr import canonical
from fastgd.datasets.record import Numbered

Array = npt.NDArray[Any]


class Task(NamedTuple):
    """What is learnt of some rows: one vector of targets, or several at once.

    name : of its problem
    loss : fastgd's name
    y : (n,) numbers as the loss takes them, or (n, targets)
    classes : how many classes y has the numbers of; 0 : none
    targets : the names of several targets
    """

    name: str
    loss: str
    y: Array
    classes: int = 0
    targets: tuple[str, ...] = ()


class Portion(NamedTuple):
    """Rows with the numbers of every task: X (n, d), ys of (n,) or (n, targets), and weights (n,) or None."""

    X: Any
    ys: list[Array]
    weights: Array | None


def readable(X: Any, dtype: str) -> Any:
    """Return rows (n, d) as kernels read them: of one type, C-contiguous or CSR, and not read-only."""
    if hasattr(X, "toarray"):
        X = canonical(X, "X")
        return X if X.dtype == dtype else X.astype(dtype)
    X = np.ascontiguousarray(X, dtype)
    return X if X.flags.writeable else X.copy()


def portion_of(X: Any, tasks: Sequence[Task], weights: Array | None, rows: Array | None = None) -> Portion:
    """Return some rows, by their indices, with their targets and weights; by default all."""
    ys = [task.y for task in tasks]
    if rows is None:
        return Portion(X, ys, weights)
    return Portion(X[rows], [y[rows] for y in ys], None if weights is None else weights[rows])


def data_of(tasks: Sequence[Task], train: Portion, held: Portion | None, name: str = "arrays") -> list[Data]:
    """Return what the engine sees of each task, over the same rows.

    Parameters
    ----------
    tasks : sequence of Task
    train, held : Portion
        The rows that train, and those by which trials are judged.
    name : str
        Tells the rows from others of the same search.

    Raises
    ------
    InputError
        The weights of the rows that train are all zero.
    """
    dtype = train.X.dtype
    found = []
    for number, task in enumerate(tasks):
        data = Data(
            X=train.X,
            y=np.ascontiguousarray(train.ys[number], dtype),
            X_validation=None if held is None else held.X,
            y_validation=None if held is None else np.ascontiguousarray(held.ys[number], dtype),
            features=Numbered(train.X.shape[1]),
            fingerprint=f"{name}, {task.name}",
            dataset=name,
            classes=tuple(range(task.classes)),
            targets=task.targets,
        )
        found.append(_weighted(data, train.weights, None if held is None else held.weights))
    return found


def _weighted(data: Data, weights: Array | None, held: Array | None) -> Data:
    """Return data whose rows count as weights say, which have the mean 1 then."""
    if weights is None:
        return data
    total = weights.sum()
    if not total > 0:
        raise InputError("the sample weights of the training rows are all zero")
    if (weights == weights[0]).all() and (held is None or (held == held[0]).all()):
        return data
    dtype = data.y.dtype
    scaled = None if held is None else np.ascontiguousarray(held * (len(held) / held.sum()), dtype)
    return replace(
        data, weights=np.ascontiguousarray(weights * (len(weights) / total), dtype), weights_validation=scaled
    )
