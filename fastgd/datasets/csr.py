"""Sparse features: their canonical form, and operations on it. scipy is imported only where there are sparse features.

Canonical is a `csr_array` whose rows' columns ascend, without duplicates and stored zeros: float64 or float32 `data`,
int32 `indices`, int64 `indptr`, contiguous. So equal matrices have equal arrays, and a kernel has one signature for
each dtype. Those in memory are writeable, and those of mapped files are not.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgd.common.errors import InputError
from fastgd.datasets.record import CSR, Floats

MOST_COLUMNS = 2**31 - 1
ARRAY_FLAGS: Any = ("C", "A")  # contiguous, aligned
VALUES_PER_BLOCK = 1 << 20  # of a dense array, converted at a time


def canonical(X: Any, name: str) -> CSR:
    """Return a scipy sparse matrix or array (n, d) of real numbers in the canonical form.

    Duplicates are summed as scipy sums them. The caller's matrix stays as it is; what needs no change is not copied.
    """
    if X.shape[1] > MOST_COLUMNS:
        raise InputError(f"{name}: X has {X.shape[1]:,} columns; sparse data have at most {MOST_COLUMNS:,}")
    try:
        csr = _checked(X)
    except ValueError as error:
        raise InputError(f"{name}: the sparse matrix is malformed: {error}") from error
    if not csr.has_canonical_format:
        csr = csr.copy()
        csr.sum_duplicates()
    data = csr.data if csr.dtype in (np.float32, np.float64) else csr.data.astype(np.float64)
    return without_zeros(data, csr.indices, csr.indptr, csr.shape)


def _checked(X: Any) -> Any:
    """Return the matrix as CSR, maybe on the caller's arrays; ValueError where C code would follow wrong indices."""
    from scipy.sparse import csr_array

    if X.format in ("csr", "csc", "bsr"):
        # a new matrix around the same arrays: a check may trim and cast those of the matrix that it checks
        X = type(X)((_summable(X.data), X.indices, X.indptr), shape=X.shape)
        X.check_format(full_check=True)
    elif X.format == "coo":
        X = type(X)((_summable(X.data), X.coords), shape=X.shape)
    csr = csr_array(X)
    csr.check_format(full_check=True)
    return csr


def _summable(data: NDArray[Any]) -> NDArray[Any]:
    """Return integers as float64: sums of duplicates could overflow a small integer type."""
    return data.astype(np.float64) if data.dtype.kind in "iu" else data


def without_zeros(data: Floats, indices: Any, indptr: Any, shape: tuple[int, int]) -> CSR:
    """Return the canonical matrix of sorted, distinct indices, some of whose values may be zero."""
    kept = data != 0
    if not kept.all():
        before = np.concatenate([[0], np.cumsum(kept)])  # how many are kept of the first k
        data, indices, indptr = data[kept], indices[kept], before[indptr]
    return assembled(data, indices, indptr, shape)


def assembled(data: Floats, indices: Any, indptr: Any, shape: tuple[int, int]) -> CSR:
    """Return the matrix of canonical arrays. scipy's own constructor would give both kinds of index one type."""
    from scipy.sparse import csr_array

    X: Any = csr_array(shape, dtype=data.dtype)
    X.data = np.require(data, data.dtype.newbyteorder("="), ARRAY_FLAGS)
    X.indices = np.require(indices, np.int32, ARRAY_FLAGS)
    X.indptr = np.require(indptr, np.int64, ARRAY_FLAGS)
    X.has_canonical_format = True
    checked: CSR = X
    return checked


def from_dense(X: Floats) -> CSR:
    """Return the non-zeros of a dense array (n, d)."""
    from scipy.sparse import csr_array, vstack

    step = max(1, VALUES_PER_BLOCK // X.shape[1])  # scipy's temporary arrays are four times the non-zeros
    csr: Any = vstack([csr_array(X[start : start + step]) for start in range(0, len(X), step)], format="csr")
    return assembled(csr.data, csr.indices, csr.indptr, X.shape)


def take(X: CSR, rows: NDArray[np.integer[Any]]) -> CSR:
    """Return some rows. scipy's own indexing would first bring all indices to one type."""
    starts, lengths = X.indptr[rows], X.indptr[rows + 1] - X.indptr[rows]
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    places = np.repeat(starts - indptr[:-1], lengths) + np.arange(indptr[-1])
    return assembled(X.data[places], X.indices[places], indptr, (len(rows), X.shape[1]))


def cut(X: CSR, start: int, stop: int) -> CSR:
    """Return the rows from one to another; only their places are copied."""
    indptr = X.indptr[start : stop + 1]
    part = slice(int(indptr[0]), int(indptr[-1]))
    return assembled(X.data[part], X.indices[part], indptr - indptr[0], (len(indptr) - 1, X.shape[1]))


def at_columns(X: CSR, place: NDArray[np.intp], columns: int) -> CSR:
    """Return the matrix (n, columns) whose column place[j] is column j of X; places differ."""
    from scipy.sparse import csr_array

    moved: Any = csr_array((X.data, place[X.indices], X.indptr), shape=(X.shape[0], columns))
    if not moved.has_sorted_indices:
        moved = moved.sorted_indices()
    return assembled(moved.data, moved.indices, moved.indptr, moved.shape)


def row_of(indptr: NDArray[np.integer[Any]], position: int) -> int:
    """Return the row, from 0, of the value at a position of the data."""
    return int(np.searchsorted(indptr, position, side="right")) - 1


def check_columns(found: int, n_features: int, name: str) -> None:
    """Raise InputError where a file has more columns than its key says."""
    if found > n_features:
        raise InputError(f"{name}: there is a column x{found - 1}; n_features = {n_features} ends at x{n_features - 1}")
