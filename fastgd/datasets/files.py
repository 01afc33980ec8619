"""Files: .svm and .libsvm, .csv, .parquet, .npz. Libraries parse them; what is wrong is named by file, row and column.

Rows count from 1, without the header; where a library stops at a line of the file, the message says "line".
"""

import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from fastgd._errors import InputError, nearest
from fastgd.datasets import _lists
from fastgd.datasets._csr import MOST_COLUMNS, check_columns
from fastgd.datasets._record import Dataset, Floats
from fastgd.datasets.arrays import build

if TYPE_CHECKING:
    import pandas as pd

ZeroBased = bool | Literal["auto"]


class Reading(NamedTuple):
    """How a file is read: the keys of `load_file`."""

    target: str | None
    zero_based: ZeroBased
    n_features: int | None


def load_file(
    path: str, target: str | None = None, zero_based: ZeroBased = "auto", n_features: int | None = None
) -> Dataset:
    """Return the dataset of a file.

    Parameters
    ----------
    path : str
        Its extension says what it is; "~" is the home folder.
    target : str or None
        The target's column: needed by .csv and .parquet, not to be given for other files.
    zero_based : bool or "auto"
        Whether the first column of an .svm file is 0, or 1; auto: 0 where the file has a column 0.
    n_features : int or None
        The columns of an .svm file, or of a .parquet file of lists, that may end earlier; None: as many as it has.

    Raises
    ------
    InputError
        Naming the file, and where there is one the row and column.
    """
    file = Path(path).expanduser()
    suffix = file.suffix.lower()
    if suffix not in READERS:
        raise InputError(f"{path}: unknown extension {suffix!r}; valid: {', '.join(READERS)}")
    if suffix not in FRAMES and target is not None:
        raise InputError(f"{path}: target = {target!r} is for .csv and .parquet; a {suffix} file knows its own target")
    with _reading(file):
        dataset = READERS[suffix](file, Reading(target, zero_based, n_features))
    return replace(dataset, name=file.name)


@contextmanager
def _reading(file: Path) -> Iterator[None]:
    """Turn what libraries raise over a missing or corrupt file into InputError."""
    try:
        yield
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"{file}: there is no such file") from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        reason = str(error).strip().removeprefix("Error tokenizing data. C error: ").partition("\n")[0]
        raise InputError(f"{file} cannot be read: {reason or type(error).__name__}") from error


def _csv(file: Path, keys: Reading) -> Dataset:
    import pandas as pd

    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        try:
            # index_col: too many fields are no index. low_memory: a column has one type, not one for each piece read.
            frame = pd.read_csv(file, index_col=False, low_memory=False)
        except pd.errors.ParserWarning as error:
            raise InputError(f"{file}: the rows have more fields than the header") from error
    return _of_frame(frame, keys.target, file)


def _parquet(file: Path, keys: Reading) -> Dataset:
    import pandas as pd

    columns = _lists.columns_beside(file)
    if columns is None:
        if keys.n_features is not None:
            raise InputError(f"{file}: n_features = {keys.n_features} is for a table of lists; this one has columns")
        return _of_frame(pd.read_parquet(file), keys.target, file)
    target = _target_column(columns, keys.target, file)
    if other := [column for column in columns if column != target]:
        raise InputError(f"{file}: a table of lists has no column {other[0]!r}: its features are in the lists")
    X, y = _lists.read(file, target, keys.n_features)
    return build(str(file), X, y)


def _of_frame(frame: "pd.DataFrame", target: str | None, file: Path) -> Dataset:
    """Return the dataset of a table with a target column."""
    columns = [str(column) for column in frame.columns]
    target = _target_column(columns, target, file)
    if frame.empty:
        raise InputError(f"{file}: a header, but no rows")
    y = frame.pop(frame.columns[columns.index(target)])
    columns.remove(target)
    return build(str(file), numbers(frame, str(file)), y.to_numpy(), tuple(columns))


def _target_column(columns: list[str], target: str | None, file: Path) -> str:
    """Return the target, which must be one of the columns."""
    if target is None:
        raise InputError(f"{file}: which column is the target? target = {columns[-1]!r}, for example")
    if target not in columns:
        raise InputError(f"{file}: there is no column {target!r}; {shorten(nearest(target, columns), 400)}")
    if columns.count(target) > 1:
        raise InputError(f"{file}: there are {columns.count(target)} columns {target!r}; the target must be one")
    return target


def numbers(frame: "pd.DataFrame", where: str) -> Floats:
    """Return a table as numbers (n, d), NaN where a value is missing, or name the first column that is not numeric."""
    import pandas as pd

    for name, column in frame.items():
        if column.dtype.kind not in "biuf":
            parsed = pd.to_numeric(column.astype(object), errors="coerce")
            row = int(np.argmax((parsed.isna() & column.notna()).to_numpy()))
            raise InputError(
                f"{where}: column {str(name)!r} is not numeric: row {row + 1} holds {column.iloc[row]!r}; drop the "
                "column, or encode it as numbers (pandas.get_dummies makes one-hot columns)"
            )
    single = all(column.dtype == np.float32 for _, column in frame.items())
    return frame.to_numpy(dtype=np.float32 if single else np.float64, na_value=np.nan)


def _npz(file: Path, _keys: Reading) -> Dataset:
    with file.open("rb") as stream:  # np.load leaves a path open where the file is corrupt
        archive = np.load(stream, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise InputError(f"{file}: one array alone; an .npz file must hold the arrays X and y")
        if missing := {"X", "y"}.difference(archive.files):
            raise InputError(f"{file}: no array {min(missing)!r}: found {', '.join(archive.files) or 'none'}")
        return build(str(file), archive["X"], archive["y"])


def _svm(file: Path, keys: Reading) -> Dataset:
    from sklearn.datasets import load_svmlight_file

    try:
        X, y = load_svmlight_file(file, zero_based=keys.zero_based)
    except (ValueError, OverflowError) as error:
        reason = error if isinstance(error, ValueError) else f"a column is above {MOST_COLUMNS:,}"
        raise InputError(f"{file}, {_bad_line(file, keys)}: {reason}") from error
    if keys.n_features is not None:
        check_columns(X.shape[1], keys.n_features, str(file))
        X.resize(X.shape[0], keys.n_features)
    return build(str(file), X, y)


def _bad_line(file: Path, keys: Reading) -> str:
    """Return the first line that the parser refuses: halves are parsed, in all twice the file at most."""
    from sklearn.datasets import load_svmlight_file

    lines, first = file.read_bytes().splitlines(keepends=True), 1
    while len(lines) > 1:
        half = len(lines) // 2
        try:
            load_svmlight_file(BytesIO(b"".join(lines[:half])), zero_based=keys.zero_based)
            lines, first = lines[half:], first + half
        except (ValueError, OverflowError):
            lines = lines[:half]
    return f"line {first}"


FRAMES, SVM = (".csv", ".parquet"), (".svm", ".libsvm")
TAKES = {"zero_based": SVM, "n_features": (*SVM, ".parquet")}
READERS: dict[str, Callable[[Path, Reading], Dataset]] = {
    ".svm": _svm,
    ".libsvm": _svm,
    ".csv": _csv,
    ".parquet": _parquet,
    ".npz": _npz,
}


def misplaced_key(path: str | None, zero_based: ZeroBased, n_features: int | None) -> tuple[str, str] | None:
    """Return the first key that is given and that the data do not take, and what it is for; None where all is well.

    Parameters
    ----------
    path : str or None
        The data's file; None: they come from elsewhere.
    zero_based, n_features
        As for `load_file`.
    """
    suffix = "" if path is None else Path(path).suffix.lower()
    for key, given in (("zero_based", zero_based != "auto"), ("n_features", n_features is not None)):
        if given and suffix not in TAKES[key]:
            lists = "" if key == "zero_based" else " and .parquet (of lists)"
            return key, f"is for .svm and .libsvm{lists} files"
    return None
