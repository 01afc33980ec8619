"""Arrays in memory, and the checks that every dataset passes."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgd.common.errors import InputError
from fastgd.common.watched import watched
from fastgd.datasets import frames
from fastgd.datasets.csr import canonical, row_of
from fastgd.datasets.record import Dataset, Floats, Matrix, Numbered, Place, digest, row_number
from fastgd.datasets.weights import row_weights

Arrays = tuple[Any, Any] | tuple[Any, Any, Any]  # X and y, or X, y and the rows' weights
VALUES_PER_BLOCK = 1 << 20  # that are checked at a time


def from_arrays(
    X: Any, y: Any, name: str = "arrays", targets: tuple[str, ...] = (), weights: Any = None, called: str = "weights"
) -> Dataset:
    """Return a dataset of arrays, of tables or of a scipy matrix; what needs no change is not copied.

    Parameters
    ----------
    X : array_like, table or scipy sparse (n, d)
        Finite numbers. Tables are of pandas, polars, pyarrow, or of any library that shares them by
        `__arrow_c_stream__` or `__dataframe__`. Sparse matrices, of any format, stay sparse.
    y : array_like, or a column of a table (n,)
        Finite numbers or labels (str). Of several targets numbers (n, targets): an array_like, or a table with these
        columns.
    name : str
        For messages and results.
    targets : tuple of str
        Names of several targets, the columns of y.
    weights : array_like, or a column of a table (n,), optional
        What rows weigh: finite numbers >= 0.
    called : str
        How messages call the weights.

    Raises
    ------
    InputError
        Shapes that do not match, values that are not numbers, not finite, masked or missing, indices out of range,
        pandas objects whose indexes differ.
    """
    index = X  # that of a table of pandas
    if not isinstance(X, np.ndarray) or not isinstance(y, np.ndarray):
        frames.check_aligned(X, y, name)
        X, y = _table(X, "X", name), _table(y, "y", name)
    features, X = _columns(X, name)
    if targets:
        y = _several(y, targets, name)
    found = build(name, X, y, features, targets=targets)
    found = replace(found, files=watched(found.arrays))
    return found if weights is None else replace(found, weights=_weights(weights, found, index, called))


def _weights(given: Any, dataset: Dataset, index: Any, called: str) -> Floats:
    """Return the weights of a dataset's rows; those of pandas must have the index of X."""
    name, rows = dataset.name, len(dataset.y)
    frames.check_aligned(index, given, name, called)
    array = _array(_table(given, called, name), called, name)
    if array.dtype == object and array.ndim == 1:
        import pandas as pd

        array = frames.numbers(pd.DataFrame({called: array}), name)
    weights = row_weights(array, name, called)
    if len(weights) != rows:
        raise InputError(f"{name}: X has {rows:,} rows and {called} {len(weights):,}")
    return weights


def _several(y: Any, targets: tuple[str, ...], name: str) -> Any:
    """Return the columns of y that are several targets: of a table by their names, of an array all."""
    listed = ", ".join(map(repr, targets))
    if hasattr(y, "columns") and hasattr(y, "isetitem"):
        columns = list(map(str, y.columns))
        if sorted(columns) != sorted(targets):
            raise InputError(f"{name}: target names {listed}, and y has the columns {', '.join(map(repr, columns))}")
        chosen: NDArray[Any] = frames.numbers(y.iloc[:, [columns.index(target) for target in targets]], name)
        return chosen
    array = _array(y, "y", name)
    if array.shape[1:] != (len(targets),):
        raise InputError(f"{name}: target names {len(targets)} columns of y, {listed}; found shape {array.shape}")
    return array


def from_rows(X: Any, name: str = "rows") -> Dataset:
    """Return a dataset of rows alone, whose targets are zeros; see `from_arrays`."""
    features, X = _columns(X if isinstance(X, np.ndarray) else _table(X, "X", name), name)
    return build(name, X, np.zeros(X.shape[:1]), features)


def _columns(X: Any, name: str) -> tuple[tuple[str, ...] | None, Any]:
    """Return the names of a table's columns, None where there are none, and an array or a scipy matrix."""
    if hasattr(X, "columns") and hasattr(X, "isetitem"):  # a frame: pandas is not imported to ask
        return tuple(str(column) for column in X.columns), frames.numbers(X, name)
    return None, X if hasattr(X, "toarray") else _array(X, "X", name)


def _table(given: Any, what: str, name: str) -> Any:
    try:
        return frames.to_pandas(given)
    except (ValueError, TypeError, NotImplementedError, RuntimeError) as error:  # a type that the other side lacks
        raise InputError(f"{name}: {what} cannot be read from {type(given).__name__}: {error}") from error


def _array(given: Any, what: str, name: str, dtype: Any = None) -> NDArray[Any]:
    """Return an array_like as an array; a mask that hides something is refused."""
    try:
        mask = _mask(given)
        array = np.asarray(given, dtype=dtype)
    except (ValueError, TypeError, RuntimeError) as error:
        raise InputError(f"{name}: {what} is no array: {error}") from error
    if mask.any():
        at = np.argwhere(mask)[0]
        column = f", column 'x{at[1]}'" if what == "X" and len(at) > 1 else ""
        raise InputError(f"{name}: {row_number(at[0])}{column}: {what} is masked there; fastgd fills in no values")
    return array


def _mask(given: Any) -> NDArray[np.bool_]:
    """Return the mask of an array, or of the rows of a list, which numpy.asarray would drop."""
    if isinstance(given, np.ma.MaskedArray):
        return np.ma.getmaskarray(given)
    if isinstance(given, list | tuple) and any(isinstance(row, np.ma.MaskedArray) for row in given):
        return np.array([np.ma.getmaskarray(row) for row in given])
    return np.zeros(0, bool)


def build(
    name: str,
    X: Any,
    y: Any,
    features: Sequence[str] | None = None,
    notes: tuple[str, ...] = (),
    place: Place = row_number,
    targets: tuple[str, ...] = (),
) -> Dataset:
    """Check an array or scipy sparse matrix X and its targets; `name` stands first in every message."""
    _check_shape(X.shape, name, notes)
    if X.dtype == object and isinstance(X, np.ndarray):
        import pandas as pd

        X = frames.numbers(pd.DataFrame(X, columns=list(Numbered(X.shape[1]))), name, place)
    if X.dtype.kind not in "biuf":
        raise InputError(f"{name}: X must hold real numbers; found {X.dtype}")
    if isinstance(X, np.ndarray):
        X = np.ascontiguousarray(X, dtype=X.dtype if X.dtype in (np.float32, np.float64) else np.float64)
    else:
        X = canonical(X, name)
    return of_rows(name, X, y, features, notes, place, targets)


def _check_shape(shape: tuple[int, ...], name: str, notes: tuple[str, ...]) -> None:
    if len(shape) != 2 or 0 in shape:
        noted = "".join(f"; {note}" for note in notes)  # which name columns that were left out
        raise InputError(f"{name}: X must have rows and columns, (n, d); found shape {shape}{noted}")


def of_rows(
    name: str,
    X: Matrix,
    y: Any,
    features: Sequence[str] | None = None,
    notes: tuple[str, ...] = (),
    place: Place = row_number,
    targets: tuple[str, ...] = (),
) -> Dataset:
    """Check rows X that have their form already, and their targets; as `build` does, which brings them to it."""
    _check_shape(X.shape, name, notes)
    y = _several_targets(y, targets, name, place) if targets else _targets(y, name, place)
    if X.shape[0] != len(y):
        raise InputError(f"{name}: X has {X.shape[0]:,} rows and y has {len(y):,}")
    if features is None:
        features = Numbered(X.shape[1])
    elif len(set(features)) < len(features):
        twice = next(feature for feature in features if features.count(feature) > 1)
        raise InputError(f"{name}: there are {features.count(twice)} columns {twice!r}; each needs a name of its own")
    if both := [target for target in targets if not isinstance(features, Numbered) and target in features]:
        raise InputError(f"{name}: the target {both[0]!r} is a column of X, too, which would tell it")
    _check_finite(X, features, name, place)
    parts: list[Any] = [X]
    if not isinstance(X, np.ndarray):
        parts = [f"csr {X.shape[0]} {X.shape[1]}", X.indptr, X.indices, X.data]
    return Dataset(name, X, y, features, digest(*parts, y), notes, place, targets)


def _check_finite(X: Matrix, features: Sequence[str], name: str, place: Place) -> None:
    """Raise InputError with row and column of the first value that is NaN or infinite."""
    values = X if isinstance(X, np.ndarray) else X.data
    # A sum needs no temporary of X's size, and is finite unless a value is not, or the sum itself overflows.
    with np.errstate(all="ignore"):
        if np.isfinite(values.sum()):
            return
    flat = values.reshape(-1)
    for start in range(0, flat.size, VALUES_PER_BLOCK):
        for bad in (start + np.flatnonzero(~np.isfinite(flat[start : start + VALUES_PER_BLOCK]))).tolist():
            in_csr = None if isinstance(X, np.ndarray) else (row_of(X.indptr, bad), X.indices[bad])
            row, column = in_csr or divmod(bad, X.shape[1])
            found = f"{place(row)}, column {features[column]!r}: found {flat[bad]}"
            raise InputError(f"{name}: {found}; every feature must be a finite number")


def _several_targets(y: Any, targets: tuple[str, ...], name: str, place: Place) -> NDArray[Any]:
    """Return y (n, targets) as float64."""
    if y.dtype.kind not in "biuf":
        raise InputError(f"{name}: several targets are numbers; found {y.dtype}")
    if y.dtype.kind in "iu":
        for column in y.T:
            frames.check_exact(column, name, place)
    numbers: NDArray[Any] = np.ascontiguousarray(y, dtype=np.float64)
    for row, column in np.argwhere(~np.isfinite(numbers))[:1]:
        found = f"{place(row)}: the target {targets[column]!r} is {numbers[row, column]}"
        raise InputError(f"{name}: {found}; it must be a finite number")
    return numbers


def _targets(values: Any, name: str, place: Place) -> NDArray[Any]:
    """Return y as float64 or as labels (str), (n,)."""
    import pandas as pd

    # as objects: of a list of numbers and texts, NumPy would make an array of texts
    y = _array(values, "y", name, object if isinstance(values, list | tuple) else None)
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1:
        hint = '; target = ["...", ...] names the columns of several targets' if y.ndim == 2 else ""
        raise InputError(f"{name}: y must have one value a row, (n,); found shape {y.shape}{hint}")
    if y.dtype.kind == "T":
        y = y.astype(object)  # texts among which an object of the user's choice stands for a missing one
    missing = np.flatnonzero(pd.isna(y))
    if missing.size:
        raise InputError(f"{name}: {place(missing[0])} has no target: found {y[missing[0]]}")
    if y.dtype.kind == "O" and y.size:
        y = frames.of_objects(y, name, place)
    elif y.dtype.kind == "S":
        y = np.array([frames.as_text(label, name) for label in y.tolist()], dtype=str)
    if y.dtype.kind == "U":
        # As narrow as the longest label, so that equal labels have equal fingerprints.
        return np.ascontiguousarray(y, dtype=f"U{np.strings.str_len(y).max(initial=1)}")
    if y.dtype.kind not in "biuf":
        raise InputError(f"{name}: y must hold numbers or labels; found {y.dtype}")
    if y.dtype.kind in "iu":
        frames.check_exact(y, name, place)
    y = np.ascontiguousarray(y, dtype=np.float64)
    infinite = np.flatnonzero(np.isinf(y))
    if infinite.size:
        raise InputError(f"{name}: {place(infinite[0])}: the target is {y[infinite[0]]}; it must be finite")
    return y
