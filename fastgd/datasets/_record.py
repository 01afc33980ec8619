"""What a dataset is: the frozen records that loaders return, that the engine sees and that `fastgd list` prints."""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgd._errors import InputError
from fastgd._registry import Registry

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Rows as they were loaded, before the split and before targets are mapped.

    Attributes
    ----------
    name : str
        The dataset's name, or its file's.
    X : ndarray (n, d)
        Finite features, C-contiguous: float64, or float32 where the source has that.
    y : ndarray (n,)
        Targets: float64, or labels (str).
    features : tuple of str
        The d columns' names.
    fingerprint : str
        SHA-256 of the content of X and y, the same in every process and on every platform.
    notes : tuple of str
        What was left out or changed, in words.
    sparse : bool
        The source lists non-zeros alone: a second file of the same data may end at a smaller column.
    """

    name: str
    X: Floats
    y: NDArray[Any]
    features: tuple[str, ...]
    fingerprint: str
    notes: tuple[str, ...] = ()
    sparse: bool = False


@dataclass(frozen=True, eq=False)
class Data:
    """What the engine sees.

    Attributes
    ----------
    X, y : ndarray (n, d), (n,)
        The training rows, C-contiguous in the study's dtype.
    X_validation, y_validation : ndarray (m, d), (m,) or None
        The held-out rows.
    features : tuple of str
        The d columns' names.
    fingerprint : str
        SHA-256 of all that decides the numbers: content, split, standardisation, mapping of the targets.
    dataset : str
        The dataset's name.
    notes : tuple of str
        What was left out or changed, in words.
    """

    X: Floats
    y: Floats
    X_validation: Floats | None
    y_validation: Floats | None
    features: tuple[str, ...]
    fingerprint: str
    dataset: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class DatasetRecord:
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


def check_memory(rows: int, columns: int, what: str) -> None:
    """Raise InputError where a dense float64 array would fill more than half of the machine's memory.

    Half, because preparation may hold a second copy.
    """
    size, memory = 8 * rows * columns, _physical_memory()
    if size > memory // 2:
        raise InputError(
            f"{what}: {rows:,} rows x {columns:,} columns take {size / 1e9:,.1f} GB as dense float64, "
            f"more than half of this machine's {memory / 1e9:,.1f} GB"
        )


def _physical_memory() -> int:
    """Return bytes; 16 GiB where the platform does not tell."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 16 << 30
