"""What a dataset is: the frozen records that loaders return, that the engine sees and that `fastgd list` prints."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, overload

import numpy as np
from numpy.typing import NDArray

from fastgd.common.errors import InputError
from fastgd.common.pickling import PickledByName
from fastgd.common.properties import cached_property
from fastgd.common.registry import Registry
from fastgd.common.system import memory_limits

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Floats = NDArray[np.floating[Any]]
CSR: TypeAlias = "csr_array[np.floating[Any], tuple[int, int]]"  # as texts, since scipy is not imported here
Matrix: TypeAlias = "Floats | CSR"
Place = Callable[[int], str]  # how messages call the row at an index
VALUES_PER_BLOCK = 1 << 20  # that are compared with zero at a time


def row_number(index: int) -> str:
    """Return how messages call the row at an index: rows count from 1."""
    return f"row {index + 1}"


@dataclass(frozen=True, eq=False, slots=True)
class Numbered(Sequence[str]):
    """The names x0, x1, ... of `size` columns: made when they are asked for, and equal to the tuple of them."""

    size: int

    def __len__(self) -> int:
        return self.size

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...

    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        numbers = range(self.size)[index]
        return f"x{numbers}" if isinstance(numbers, int) else tuple(f"x{j}" for j in numbers)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Numbered):
            return self.size == other.size
        return isinstance(other, tuple) and len(other) == self.size and all(map(str.__eq__, self, other))

    def __hash__(self) -> int:
        return hash(tuple(self))  # equal objects have equal hashes


@dataclass(frozen=True, eq=False)
class Dataset:
    """Rows as they were loaded, before the split and before targets are mapped.

    Attributes
    ----------
    name : str
        The dataset's name, or its file's.
    X : ndarray or csr_array (n, d)
        Finite features, float64, or float32 where the source has that. Dense: C-contiguous. Sparse: the canonical form
        of `fastgd.datasets.csr`.
    y : ndarray (n,), or (n, targets)
        Targets: float64, or labels (str). Several of them are float64.
    features : sequence of str
        The d columns' names: a tuple, or `Numbered` where they have none of their own.
    fingerprint : str
        SHA-256 of the content of X and y, the same in every process and on every platform.
    notes : tuple of str
        What was left out or changed, in words.
    place : callable
        Returns how messages call the row at an index: by its number, or by its line in a text file.
    targets : tuple of str
        The names of the columns of y, where there are several.
    weights : ndarray (n,) float64, or None
        What rows weigh, as it was given: finite, and not negative. The fingerprint does not cover it.
    groups : ndarray (n,) of int, or None
        The number of each row's group, by which folds are made. The fingerprint does not cover it.
    """

    name: str
    X: Matrix
    y: NDArray[Any]
    features: Sequence[str]
    fingerprint: str
    notes: tuple[str, ...] = ()
    place: Place = row_number
    targets: tuple[str, ...] = ()
    weights: Floats | None = None
    groups: NDArray[Any] | None = None

    @property
    def sparse(self) -> bool:
        """Whether the source lists non-zeros alone: a second file of the same data may end at a smaller column."""
        return not isinstance(self.X, np.ndarray)


class Scaling(NamedTuple):
    """What standardisation subtracts and divides by, (d,) each; 0 and 1 where a column is constant.

    Of sparse columns only the deviation is used: without their mean, zeros would not be zeros any more.
    """

    mean: Floats
    deviation: Floats
    constant: int
    rounded: int  # how many of the constant columns are constant but for rounding

    @property
    def notes(self) -> tuple[str, ...]:
        """Which columns were not standardised, in words."""
        if not self.constant:
            return ()
        columns = "constant column is" if self.constant == 1 else "constant columns are"
        some = "" if self.rounded == self.constant else f"{self.rounded:,} of them "
        rounded = f" ({some}constant but for rounding)" if self.rounded else ""
        return (f"{self.constant:,} {columns} not standardised{rounded}",)


@dataclass(frozen=True, eq=False)
class Data:
    """What the engine sees.

    Attributes
    ----------
    X, y : ndarray or csr_array (N, d), ndarray (N,) or (N, targets)
        The training rows in the study's dtype; of a fold all rows, which the folds of a dataset share. Dense:
        C-contiguous. Sparse: the canonical form of `fastgd.datasets.csr`.
    X_validation, y_validation : ndarray or csr_array (M, d), ndarray (M,) or (M, targets), or None
        The held-out rows, in the layout of the training rows; of a fold all rows.
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
        Of a fold: which rows train, and which are held out, ascending. None: all of them.
    unscaled : bool
        Whether X is as it was loaded, since folds that are standardised by rows of their own share it:
        `fastgd.datasets.prepare.scaled` returns the fold with rows that are standardised.
    """

    X: Matrix
    y: Floats
    X_validation: Matrix | None
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
    unscaled: bool = False

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
    def sparse(self) -> bool:
        """Whether the rows are sparse."""
        return not isinstance(self.X, np.ndarray)

    @property
    def nonzeros(self) -> int | None:
        """How many values the training rows store, where they are sparse."""
        if isinstance(self.X, np.ndarray):
            return None
        return int(self.X.nnz) if self.rows is None else int(np.diff(self.X.indptr)[self.rows].sum())

    @cached_property
    def largest(self) -> float:
        """The largest absolute value of features and targets; found when first asked for.

        That of features which are still to be standardised is not above `sqrt(n)`, and this stands for it.
        """
        values = [self.y] if self.unscaled else [self.X if isinstance(self.X, np.ndarray) else self.X.data, self.y]
        found = max(float(max(-each.min(initial=0), each.max(initial=0))) for each in values)
        return max(found, math.sqrt(self.n)) if self.unscaled else found

    @cached_property
    def frequencies(self) -> Floats:
        """The share (d,) of the training rows in which each feature is not zero; counted when first asked for."""
        n, d = self.n, self.X.shape[1]
        if not isinstance(self.X, np.ndarray):
            return np.asarray(np.bincount(self._training_indices(self.X), minlength=d) / n)
        step = max(1, VALUES_PER_BLOCK // d)
        blocks = (slice(at, at + step) if self.rows is None else self.rows[at : at + step] for at in range(0, n, step))
        return np.asarray(sum(np.count_nonzero(self.X[block], axis=0) for block in blocks) / n)

    def _training_indices(self, X: CSR) -> NDArray[Any]:
        """Return the features of the values that the training rows store."""
        if self.rows is None:
            return X.indices
        trains = np.zeros(len(self.y), bool)
        trains[self.rows] = True
        return np.asarray(X.indices[np.repeat(trains, np.diff(X.indptr))])


def with_weights(y: Floats, weights: Floats | None) -> Floats:
    """Return targets (n,) or (n, targets) with the rows' weights as one more column; y itself, where there are none."""
    return y if weights is None else np.column_stack([y, weights])


@dataclass(frozen=True)
class DatasetRecord(PickledByName, registry="DATASETS"):
    """A dataset that a study file can name.

    Attributes
    ----------
    name, summary, source : str
        For `fastgd list`; `source` says where the rows come from.
    task : str
        "classification" or "regression", or "either".
    rows, columns : int or None
        n and d; None where the study decides.
    target : str
        The name of the target, which a study may state.
    load : callable or None
        Returns the dataset; None: the study describes it by a key of its own.
    """

    name: str
    summary: str
    task: str
    rows: int | None
    columns: int | None
    source: str
    target: str
    load: Callable[[], Dataset] | None


DATASETS: Registry[DatasetRecord] = Registry("dataset")


def digest(*parts: str | NDArray[Any]) -> str:
    """Return the SHA-256 of texts and arrays with their shapes, read in place.

    Numbers are hashed in little-endian order, so that a fingerprint does not depend on the platform.
    """
    sha = hashlib.sha256()
    for part in parts:
        if isinstance(part, str):
            sha.update(f"{len(part)}:{part};".encode())
        else:
            array = np.ascontiguousarray(part, dtype=part.dtype.newbyteorder("<"))
            sha.update(f"{array.dtype.str}{array.shape};".encode())
            sha.update(array.view(np.uint8).data)
    return sha.hexdigest()


def check_memory(size: int, what: str, form: str, advice: str = "") -> None:
    """Raise InputError where arrays of `size` bytes would fill more than half of the memory.

    Half, because preparation may hold a second copy; and no more than is left. The memory is what this process may use:
    the machine's, or less where a container or the process has a limit.
    """
    limits = memory_limits()
    available, left = min(limit.most for limit in limits), min(limit.left for limit in limits)
    if size > min(available // 2, left):
        half = "half of" if size > available // 2 else f"the {left / 1e9:,.1f} GB that are left of"
        raise InputError(
            f"{what} take {size / 1e9:,.1f} GB as {form}, "
            f"more than {half} the {available / 1e9:,.1f} GB that this process may use{advice}"
        )
