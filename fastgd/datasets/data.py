"""What the engine sees of a dataset: training rows, held-out rows, their targets and weights."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgd.common.properties import cached_property
from fastgd.common.watched import Watched
from fastgd.datasets.record import Floats, Matrix, Origin, Scaling, arrays_of
from fastgd.datasets.staged_rows import StagedRows, blocks_of


@dataclass(frozen=True, eq=False)
class Data:
    """What the engine sees.

    Attributes
    ----------
    X, y : ndarray, csr_array or StagedRows (N, d), ndarray (N,) or (N, targets)
        The training rows; of a fold, and of rows in files, all rows, of which `rows` says which train. Those of one
        type that need no change are an array: dense and C-contiguous, or sparse, the canonical form of
        `fastgd.datasets.csr`. Others take their form as kernels pass over them: see `fastgd.datasets.staged_rows`.
    X_validation, y_validation : ndarray, csr_array or StagedRows (M, d), ndarray (M,) or (M, targets), or None
        The held-out rows, in the layout of the training rows; of a fold, and of rows in files, all rows.
    features : sequence of str
        The d columns' names.
    fingerprint : str
        SHA-256 of all that decides the numbers: content, split, standardisation, mapping of the targets, weights.
    dataset : str
        The dataset's name.
    notes : tuple of str
        What was left out or changed, in words.
    classes : tuple
        The labels, where y has the numbers of classes.
    target_scale : tuple of float, or of ndarray (targets,)
        The mean and the deviation that were taken from the targets; of several, from each.
    labels : tuple
        The labels that became 0 and 1, where y has these of a label each.
    scaling : Scaling or None
        What was subtracted and divided by.
    targets : tuple of str
        The names of the columns of y, where there are several.
    weights, weights_validation : ndarray (N,), ndarray (M,), or None
        What rows weigh, with mean 1 over the training rows and over the held-out ones; None: all rows weigh the same.
        If only one of them is given, the other rows weigh 1: losses are of weighted rows everywhere or nowhere.
    rows, validation_rows : ndarray of int32 (n,), (m,), or None
        Of a fold, and of rows in files: which rows train, and which are held out, ascending. None: all of them.
    origin : {"memory", "map", "stream"}
        Where X is; see `Dataset`.
    largest_feature : float or None
        The largest absolute value of the features, where preparation has found it; of all rows of the dataset.
    files : tuple of Watched
        Those that rows are mapped from, as they were when their fingerprint was taken.
    """

    X: "Matrix | StagedRows"
    y: Floats
    X_validation: "Matrix | StagedRows | None"
    y_validation: Floats | None
    features: Sequence[str]
    fingerprint: str
    dataset: str
    notes: tuple[str, ...] = ()
    classes: tuple[Any, ...] = ()
    target_scale: tuple[Any, Any] = (0.0, 1.0)
    labels: tuple[Any, ...] = ()
    scaling: Scaling | None = None
    targets: tuple[str, ...] = ()
    weights: Floats | None = None
    weights_validation: Floats | None = None
    rows: NDArray[np.int32] | None = None
    validation_rows: NDArray[np.int32] | None = None
    origin: Origin = "memory"
    largest_feature: float | None = None
    files: tuple[Watched, ...] = ()

    def __post_init__(self) -> None:
        weighed = self.weights is not None or self.weights_validation is not None
        for name, y in (("weights", self.y), ("weights_validation", self.y_validation)):
            if weighed and y is not None and getattr(self, name) is None:
                object.__setattr__(self, name, np.ones(len(y), y.dtype))

    @property
    def n(self) -> int:
        """The number of training rows."""
        return len(self.y if self.rows is None else self.rows)

    @property
    def held_out(self) -> int:
        """The number of held-out rows; 0: there are none."""
        if self.y_validation is None:
            return 0
        return len(self.y_validation if self.validation_rows is None else self.validation_rows)

    @property
    def training_targets(self) -> Floats:
        """The targets (n,), or (n, targets), of the training rows."""
        return self.y if self.rows is None else self.y[self.rows]

    @property
    def training_weights(self) -> Floats | None:
        """The weights (n,) of the training rows."""
        return self.weights if self.rows is None or self.weights is None else self.weights[self.rows]

    @property
    def y_and_weights(self) -> Floats:
        """What losses take of the training rows: y, with the weights behind it, (N, targets + 1), if there are some."""
        return with_weights(self.y, self.weights)

    @property
    def held_y_and_weights(self) -> Floats | None:
        """What losses take of the held-out rows; None, where there are none."""
        return None if self.y_validation is None else with_weights(self.y_validation, self.weights_validation)

    @property
    def source(self) -> Matrix:
        """The rows as they are stored: X, or what X is made of as kernels pass over it."""
        return self.X.source if isinstance(self.X, StagedRows) else self.X

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        """What the rows consist of, and the held-out ones, as they are stored."""
        each = [rows.source if isinstance(rows, StagedRows) else rows for rows in (self.X, self.X_validation)]
        return tuple(array for rows in each if rows is not None for array in arrays_of(rows))

    @property
    def sparse(self) -> bool:
        """Whether the rows are sparse."""
        return not isinstance(self.source, np.ndarray)

    @property
    def nonzeros(self) -> int | None:
        """How many values the training rows store, where they are sparse."""
        X = self.source
        if isinstance(X, np.ndarray):
            return None
        return int(X.nnz) if self.rows is None else int(np.diff(X.indptr)[self.rows].sum())

    @cached_property
    def largest(self) -> float:
        """The largest absolute value of features and targets; found when first asked for."""
        found = max(float(self.y.max(initial=0)), -float(self.y.min(initial=0)))
        features = self.largest_feature
        if features is None:
            values = self.source if isinstance(self.source, np.ndarray) else self.source.data
            features = max(float(values.max(initial=0)), -float(values.min(initial=0)))
        return max(found, features)

    @cached_property
    def frequencies(self) -> Floats:
        """The share (d,) of the training rows in which each feature is not zero; counted when first asked for."""
        counts = np.zeros(self.X.shape[1], np.int64)
        for block in blocks_of(self.X, self.rows):
            if isinstance(block, np.ndarray):
                counts += np.count_nonzero(block, axis=0)
            else:
                counts += np.bincount(block.indices, minlength=len(counts))
        return np.asarray(counts / self.n)


def with_weights(y: Floats, weights: Floats | None) -> Floats:
    """Return targets (n,) or (n, targets) with the rows' weights as one more column; y itself, where there are none."""
    return y if weights is None else np.column_stack([y, weights])
