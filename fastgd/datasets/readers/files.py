"""Files: .svm and .libsvm, .csv, .parquet, .npz. Libraries parse them; what is wrong is named by file, row and column.

Rows of text files are named by the file's own line, those of others by their number, from 1.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fastgd.common.errors import InputError
from fastgd.common.system import expanded
from fastgd.datasets.arrays import build
from fastgd.datasets.readers import csv as the_csv
from fastgd.datasets.readers import parquet, svm
from fastgd.datasets.readers.csv_keys import Csv
from fastgd.datasets.readers.reading import (
    COMPRESSED,
    EXTENSIONS,
    FORMATS,
    Format,
    Reading,
    ZeroBased,
    check_array,
    check_file,
    format_of,
    reading,
)
from fastgd.datasets.record import Dataset

WITH_TARGET: tuple[Format, ...] = ("csv", "parquet")
TAKES: dict[str, tuple[Format, ...]] = {
    "target": WITH_TARGET,
    "zero_based": ("svm",),
    "n_features": ("svm", "parquet"),
    "csv": ("csv",),
    "format": FORMATS,
}
MEANT = {
    "zero_based": "is for .svm and .libsvm files",
    "n_features": "is for .svm and .libsvm and .parquet (of lists) files",
    "csv": "is for .csv files",
    "format": "is for files",
}


def load_file(
    path: str,
    target: str | None = None,
    zero_based: ZeroBased = "auto",
    n_features: int | None = None,
    *,
    format: Format | None = None,
    csv: Mapping[str, Any] | Csv | None = None,
    beside: Iterable[str] = (),
) -> Dataset:
    """Return the dataset of a file.

    Parameters
    ----------
    path : str
        Its extension says what it is; "~" is the home folder.
    target : str or None
        The target's column: needed by .csv and .parquet, not to be given for other files.
    zero_based : bool or "auto"
        Whether the first column of an .svm file is 0, or 1; auto: 0 where it or a file beside it has a column 0.
    n_features : int or None
        The columns of an .svm file, or of a .parquet file of lists, that may end earlier; None: as many as it has.
    format : {"svm", "csv", "parquet", "npz"} or None
        What the file is, where its extension does not say it.
    csv : mapping or Csv or None
        The keys of `Csv`.
    beside : iterable of str
        The other files of the same problem.

    Raises
    ------
    InputError
        Naming the file, and where there is one the row and column.
    """
    file, kind = expanded(path), format_of(path, format)
    if kind is None:
        raise _unknown(path)
    if kind not in WITH_TARGET and target is not None:
        what = file.suffix.lower() if EXTENSIONS.get(file.suffix.lower()) == kind else f".{kind}"
        raise InputError(f"{path}: target = {target!r} is for .csv and .parquet; a {what} file knows its own target")
    others = tuple(expanded(other) for other in beside if format_of(other, format) == "svm")
    with reading(file):
        check_file(file)
        dataset = READERS[kind](file, Reading(target, zero_based, n_features, Csv.of(csv), others))
    return replace(dataset, name=file.name)


def _unknown(path: str) -> InputError:
    suffix = Path(path).suffix.lower()
    outer = f" ({', '.join(COMPRESSED)} are for .svm and .csv)" if suffix in COMPRESSED else ""
    return InputError(
        f"{path}: unknown extension {suffix!r}; valid: {', '.join(EXTENSIONS)}{outer}; "
        'or say what it is: format = "csv" or "svm", for example'
    )


def _npz(file: Path, _keys: Reading) -> Dataset:
    with file.open("rb") as stream:  # np.load leaves a path open where the file is corrupt
        archive = np.load(stream, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise InputError(f"{file}: one array alone; an .npz file must hold the arrays X and y")
        if missing := {"X", "y"}.difference(archive.files):
            raise InputError(f"{file}: no array {min(missing)!r}: found {', '.join(archive.files) or 'none'}")
        packed: Any = archive.zip
        for member in ("X.npy", "y.npy"):
            with packed.open(member) as array:
                check_array(file, member[0], array, packed.getinfo(member).file_size)
        return build(str(file), np.asarray(archive["X"]), np.asarray(archive["y"]))


READERS: dict[Format, Callable[[Path, Reading], Dataset]] = {
    "svm": svm.read,
    "csv": the_csv.read,
    "parquet": parquet.read,
    "npz": _npz,
}


def takes(path: str | None, format: Format | None, key: str) -> bool:
    """Whether a file takes a key of its problem; None is no file."""
    return path is not None and format_of(path, format) in TAKES[key]


def misplaced_key(paths: Iterable[str | None], keys: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return the first key that is given and that no file takes, and what it is for; None where all is well.

    Parameters
    ----------
    paths : iterable of str or None
        The files of a problem; None: rows that come from elsewhere.
    keys : mapping
        `format`, `zero_based`, `n_features` and `csv` as for `load_file`.
    """
    files, format = list(paths), keys["format"]
    for key, meaning in MEANT.items():
        given = keys[key] is not None and keys[key] != "auto"
        if given and not any(takes(path, format, key) for path in files):
            return key, meaning
    return None
