"""Arrays in memory, and the checks that every dataset passes."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgd._errors import InputError
from fastgd.datasets._record import Dataset, Floats, check_memory, digest


def from_arrays(X: Any, y: Any, name: str = "arrays") -> Dataset:
    """Return a dataset of arrays, a pandas frame or a scipy matrix; what needs no change is not copied.

    Parameters
    ----------
    X : array_like, pandas.DataFrame or scipy sparse (n, d)
        Finite numbers. Sparse matrices are made dense.
    y : array_like (n,)
        Finite numbers or labels (str).
    name : str
        For messages and results.

    Raises
    ------
    InputError
        Shapes that do not match, values that are not numbers, not finite or missing.
    """
    if hasattr(X, "columns"):
        from fastgd.datasets.files import numbers

        return build(name, numbers(X, name), y, features=tuple(str(column) for column in X.columns))
    sparse = hasattr(X, "toarray")
    if sparse:
        check_memory(X.shape[0], X.shape[1], name)
        X = X.toarray()
    return build(name, np.asarray(X), np.asarray(y), sparse=sparse)


def build(
    name: str,
    X: NDArray[Any],
    y: Any,
    features: tuple[str, ...] | None = None,
    notes: tuple[str, ...] = (),
    sparse: bool = False,
) -> Dataset:
    """Check the arrays and return their dataset; `name` stands first in every message."""
    if X.ndim != 2 or 0 in X.shape:
        raise InputError(f"{name}: X must have rows and columns, (n, d); found shape {X.shape}")
    if X.dtype.kind not in "biuf":
        raise InputError(f"{name}: X must hold real numbers; found {X.dtype}")
    X = np.ascontiguousarray(X, dtype=X.dtype if X.dtype in (np.float32, np.float64) else np.float64)
    y = _targets(y, name)
    if len(X) != len(y):
        raise InputError(f"{name}: X has {len(X):,} rows and y has {len(y):,}")
    features = features or tuple(f"x{j}" for j in range(X.shape[1]))
    if len(set(features)) < len(features):
        twice = next(feature for feature in features if features.count(feature) > 1)
        raise InputError(f"{name}: there are {features.count(twice)} columns {twice!r}; each needs a name of its own")
    check_finite(X, features, name)
    return Dataset(name, X, y, features, digest(X, y), notes, sparse)


def check_finite(X: Floats, features: tuple[str, ...], name: str) -> None:
    """Raise InputError with row (from 1) and column of the first value that is NaN or infinite."""
    # A sum needs no temporary of X's size, and is finite unless a value is not, or the sum itself overflows.
    with np.errstate(all="ignore"):
        if np.isfinite(X.sum()):
            return
    for row, values in enumerate(X):
        bad = np.flatnonzero(~np.isfinite(values))
        if bad.size:
            raise InputError(
                f"{name}: row {row + 1}, column {features[bad[0]]!r}: found {values[bad[0]]}; "
                "every feature must be a finite number"
            )


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
