"""Arrays in memory, and the checks that every dataset passes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgd._errors import InputError
from fastgd.datasets._csr import canonical, row_of
from fastgd.datasets._record import Dataset, Floats, Matrix, Numbered, digest


def from_arrays(X: Any, y: Any, name: str = "arrays") -> Dataset:
    """Return a dataset of arrays, a pandas frame or a scipy matrix; what needs no change is not copied.

    Parameters
    ----------
    X : array_like, pandas.DataFrame or scipy sparse (n, d)
        Finite numbers. Sparse ones, of any format, stay sparse.
    y : array_like (n,)
        Finite numbers or labels (str).
    name : str
        For messages and results.

    Raises
    ------
    InputError
        Shapes that do not match, values that are not numbers, not finite or missing, indices out of range.
    """
    if hasattr(X, "columns"):
        from fastgd.datasets.files import numbers

        return build(name, numbers(X, name), y, features=tuple(str(column) for column in X.columns))
    return build(name, X if hasattr(X, "toarray") else np.asarray(X), np.asarray(y))


def build(name: str, X: Any, y: Any, features: Sequence[str] | None = None, notes: tuple[str, ...] = ()) -> Dataset:
    """Check an array or scipy sparse matrix X and its targets; `name` stands first in every message."""
    if X.ndim != 2 or 0 in X.shape:
        raise InputError(f"{name}: X must have rows and columns, (n, d); found shape {X.shape}")
    if X.dtype.kind not in "biuf":
        raise InputError(f"{name}: X must hold real numbers; found {X.dtype}")
    if isinstance(X, np.ndarray):
        X = np.ascontiguousarray(X, dtype=X.dtype if X.dtype in (np.float32, np.float64) else np.float64)
    else:
        X = canonical(X, name)
    y = _targets(y, name)
    if X.shape[0] != len(y):
        raise InputError(f"{name}: X has {X.shape[0]:,} rows and y has {len(y):,}")
    if features is None:
        features = Numbered(X.shape[1])
    elif len(set(features)) < len(features):
        twice = next(feature for feature in features if features.count(feature) > 1)
        raise InputError(f"{name}: there are {features.count(twice)} columns {twice!r}; each needs a name of its own")
    check_finite(X, features, name)
    return Dataset(name, X, y, features, _fingerprint(X, y), notes)


def _fingerprint(X: Matrix, y: NDArray[Any]) -> str:
    if isinstance(X, np.ndarray):
        return digest(X, y)
    return digest(f"csr {X.shape[0]} {X.shape[1]}", X.indptr, X.indices, X.data, y)


def check_finite(X: Matrix, features: Sequence[str], name: str) -> None:
    """Raise InputError with row (from 1) and column of the first value that is NaN or infinite."""
    values = X if isinstance(X, np.ndarray) else X.data
    # A sum needs no temporary of X's size, and is finite unless a value is not, or the sum itself overflows.
    with np.errstate(all="ignore"):
        if np.isfinite(values.sum()):
            return
    bad = _first_not_finite(values)
    if bad is None:
        return
    row, column = divmod(bad, X.shape[1]) if isinstance(X, np.ndarray) else (row_of(X.indptr, bad), X.indices[bad])
    raise InputError(
        f"{name}: row {row + 1}, column {features[column]!r}: found {values.flat[bad]}; "
        "every feature must be a finite number"
    )


def _first_not_finite(values: Floats, step: int = 1 << 20) -> int | None:
    """Return the position among the values in C order, looked for in blocks."""
    flat = values.reshape(-1)
    for start in range(0, flat.size, step):
        bad = np.flatnonzero(~np.isfinite(flat[start : start + step]))
        if bad.size:
            return start + int(bad[0])
    return None


def _targets(values: Any, name: str) -> NDArray[Any]:
    """Return y as float64 or as labels (str), (n,)."""
    import pandas as pd

    y: NDArray[Any] = np.asarray(values)
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1:
        raise InputError(f"{name}: y must have one value a row, (n,); found shape {y.shape}")
    missing = np.flatnonzero(pd.isna(y))
    if missing.size:
        raise InputError(f"{name}: row {missing[0] + 1} has no target: found {y[missing[0]]}")
    if y.dtype.kind in "OT":
        y = np.array(y.tolist())  # the values decide
    if y.dtype.kind == "U":
        # As narrow as the longest label, so that equal labels have equal fingerprints.
        return np.ascontiguousarray(y, dtype=f"U{np.strings.str_len(y).max(initial=1)}")
    if y.dtype.kind not in "biuf":
        raise InputError(f"{name}: y must hold numbers or labels; found {y.dtype}")
    y = np.ascontiguousarray(y, dtype=np.float64)
    infinite = np.flatnonzero(np.isinf(y))
    if infinite.size:
        raise InputError(f"{name}: row {infinite[0] + 1}: the target is {y[infinite[0]]}; it must be finite")
    return y
