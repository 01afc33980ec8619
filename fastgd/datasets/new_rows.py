"""Files of new rows: the columns that a model was trained on, matched by their names; no target is needed."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fastgd.common.errors import InputError, nearest
from fastgd.common.folders import expanded
from fastgd.datasets import frames
from fastgd.datasets.arrays import build
from fastgd.datasets.load import unknown_file
from fastgd.datasets.readers import csv, npz, svm, tables
from fastgd.datasets.readers.csv_keys import Csv
from fastgd.datasets.readers.reading import Format, Reading, format_of, reading
from fastgd.datasets.record import Dataset, Numbered, Place

OF_LAYOUT = ("names", "usecols")  # keys of text tables that say which columns there are: new rows need no target


class RowKeys(NamedTuple):
    """How files of a model's rows are read.

    Attributes
    ----------
    zero_based : bool, optional
        Whether columns of svmlight files count from 0; None: it is not known.
    csv : mapping, optional
        The keys of `Csv`.
    format : {"svm", "csv", "parquet", "arrow", "npz"}, optional
        What the file is, where its extension does not say it.
    """

    zero_based: bool | None = None
    csv: Mapping[str, Any] | None = None
    format: Format | None = None


def load_rows(path: str | Path, features: Sequence[str], keys: RowKeys) -> tuple[Dataset, list[str]]:
    """Return the rows of a file, with the features of a model, and the columns that it has beside them.

    Raises
    ------
    InputError
        The file cannot be read, a column is missing, or a value is no finite number: the file, the column, the line.
    """
    file, kind = expanded(path), format_of(path, keys.format)
    if kind is None:
        raise unknown_file(str(path))
    with reading(file):
        match kind:
            case "csv":
                frame, place = csv.read_frame(file, _reading(keys), has_target=False)
                found = _of_table(frame, features, file, place)
            case "parquet" | "arrow":
                found = _of_columns(kind, file, features)
            case "svm":
                found = svm.read(file, _reading(keys, len(features), _counts(file, keys))), []
            case "npz":
                X = npz.read_rows(file)
                found = build(str(file), X, np.zeros(X.shape[:1])), []
    return replace(found[0], name=file.name), found[1]


def _reading(keys: RowKeys, n_features: int | None = None, zero_based: bool = False) -> Reading:
    """Return the keys of a file that has no target; the columns of a text table are those that its header names."""
    options = Csv.of(keys.csv)
    kept = {key: value for key, value in options.given().items() if options.names or key not in OF_LAYOUT}
    return Reading(None, zero_based, n_features, Csv.of(kept), ())


def _counts(file: Path, keys: RowKeys) -> bool:
    if keys.zero_based is None:
        raise InputError(
            f"{file}: the model's rows came from no svmlight file, so that it is not known whether the columns count "
            "from 0 or from 1: --zero-based, or --one-based"
        )
    return keys.zero_based


def _of_columns(kind: Format, file: Path, features: Sequence[str]) -> tuple[Dataset, list[str]]:
    found, place = tables.read_rows(kind, file, len(features))
    if not hasattr(found, "columns"):
        return build(str(file), found, np.zeros(found.shape[:1]), place=place), []
    return _of_table(found, features, file, place)


def _of_table(frame: Any, features: Sequence[str], file: Path, place: Place) -> tuple[Dataset, list[str]]:
    """Return the columns of a table of pandas that are features, in their order, and the names of the others."""
    columns, known = list(map(str, frame.columns)), set(features)
    there = set(columns)
    if missing := [feature for feature in features if feature not in there]:
        more = f" ({len(missing):,} columns of the model are missing)" if len(missing) > 1 else ""
        unnamed = "; the model was trained on columns without names, which are called x0, x1, ..."
        hint = f"{nearest(missing[0], columns)}{unnamed if isinstance(features, Numbered) else ''}"
        raise InputError(f"{file}: there is no column {missing[0]!r}{more}; {hint}")
    X = frames.numbers(frame[list(features)], str(file), place)
    others = [name for name in columns if name not in known]
    return build(str(file), X, np.zeros(len(X)), tuple(features), place=place), others
