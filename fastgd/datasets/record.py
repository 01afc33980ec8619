"""What a dataset is: the frozen records that loaders return, that the engine sees and that `fastgd list` prints."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias, overload

import numpy as np
from numpy.typing import NDArray

from fastgd.common.errors import TooLargeError
from fastgd.common.numbers import amount
from fastgd.common.pickling import PickledByName
from fastgd.common.registry import Registry
from fastgd.common.system import OF_THE_RUN, memory_limits
from fastgd.common.watched import Watched

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Floats = NDArray[np.floating[Any]]
CSR: TypeAlias = "csr_array[np.floating[Any], tuple[int, int]]"  # as texts, since scipy is not imported here
Matrix: TypeAlias = "Floats | CSR"
Place = Callable[[int], str]  # how messages call the row at an index
Origin = Literal["memory", "map", "stream"]  # where rows are while a study runs


class OwnMap(np.memmap[Any, Any]):
    """An array in a file that fastgd has mapped itself: nobody else reads the file by the same map."""


def row_number(index: int) -> str:
    """Return how messages call the row at an index: rows count from 1."""
    return f"row {index + 1}"


def shifted(place: Place, start: int) -> Place:
    """Return how messages call the rows of a piece that begins with some row of a file."""
    return lambda row: place(start + row)


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
    origin : {"memory", "map", "stream"}
        Where X is: in memory; in a mapped file, of which no copy is made; or in one that memory is not to hold, since
        its rows are read ahead and let go.
    folder : Path or None
        Where what is computed of rows in files is kept for other studies; None: nowhere.
    key : str or None
        Of rows of a file that are in memory: under which name the cache has them if they go there.
    files : tuple of Watched
        Those that X is mapped from.
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
    origin: Origin = "memory"
    folder: Path | None = None
    key: str | None = None
    files: tuple[Watched, ...] = ()

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        """What X consists of."""
        return arrays_of(self.X)

    @property
    def mapped(self) -> bool:
        """Whether the rows stay in files: no copy of them is made."""
        return self.origin != "memory"

    @property
    def sparse(self) -> bool:
        """Whether the source lists non-zeros alone: a second file of the same data may end at a smaller column."""
        return not isinstance(self.X, np.ndarray)


def arrays_of(X: Matrix) -> tuple[NDArray[Any], ...]:
    """Return the arrays that rows consist of."""
    return (X,) if isinstance(X, np.ndarray) else (X.data, X.indices, X.indptr)


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
    """Raise TooLargeError where arrays of `size` bytes would fill more than half of the memory.

    Half, because preparation may hold a second copy; and no more than is left. The memory is what this process may use:
    the machine's, or less where a container, the process or the run has a limit. `advice` says what would take less.
    """
    limits = memory_limits()
    least, fullest = min(limits, key=lambda limit: limit.most), min(limits, key=lambda limit: limit.left)
    if size > min(least.most // 2, fullest.left):
        half = size > least.most // 2
        limit, most = (least, "half") if half else (fullest, f"the {amount(fullest.left, 'B')} that are left")
        raise TooLargeError(
            f"{what} take {amount(size, 'B')} as {form}, more than {most} of {limit.words}, {amount(limit.most, 'B')}"
            f"{advice and f': {advice}'}"
        )


def room_for_rows() -> int:
    """Return the most bytes of rows that do not stream by themselves: half of what this process may use.

    Neither what is left of it counts nor what a run is given of it, since rows that stream may be visited in another
    order: a run that is interrupted would go on otherwise.
    """
    return min(limit.most for limit in memory_limits() if limit.name != OF_THE_RUN) // 2


def holds_copies(size: int) -> bool:
    """Whether memory holds so many bytes of rows twice: as they are read, and in the form that a study has them in."""
    return 2 * size <= min(limit.left for limit in memory_limits())
