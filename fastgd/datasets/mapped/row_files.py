"""Files of rows, read once and in pieces into a form that maps; each becomes what its reader makes of it in memory.

What is done to a row is done to the rows of a piece, by the functions of the readers. What needs a whole column, as
targets, weights and groups do, stays in memory until all of it is there.
"""

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fastgd.datasets import frames
from fastgd.datasets.arrays import of_rows
from fastgd.datasets.csr import check_columns
from fastgd.datasets.mapped.array_files import VALUES_AT_ONCE, RowsWriter
from fastgd.datasets.readers import arrow, csv, lists, npz, svm, tables
from fastgd.datasets.readers.reading import Beside, Format, Member, Reading, take_beside
from fastgd.datasets.record import Dataset, Place, row_number, shifted


class Written(NamedTuple):
    """A dataset whose rows are mapped: as they stand in the user's file, or as they were written."""

    dataset: Dataset
    in_place: Member | None = None


def of_npz(file: Path, keys: Reading, start: Callable[[], RowsWriter]) -> Written:
    """Return the dataset of an .npz file, whose rows are mapped where they stand if they can be."""
    beside = npz.arrays(file, "y", *keys.beside_targets)
    found = npz.member(file, "X")
    if len(found.shape) != 2 or 0 in found.shape:
        return Written(npz.read(file, keys))  # which refuses it
    if found.offset is not None:
        npz.check_sum(file, "X")
    if found.maps:
        return Written(npz.dataset_of(file, found.map(file), beside, keys), found)
    writer = start()
    for block in npz.pieces(file, "X", found, VALUES_AT_ONCE):
        numbers = block.dtype.kind in "biuf"  # others are refused
        writer.append(block.astype(block.dtype if block.dtype == np.float32 or not numbers else np.float64, copy=False))
    return Written(npz.dataset_of(file, np.asarray(writer.close()), beside, keys))


def of_svm(file: Path, keys: Reading, start: Callable[[], RowsWriter]) -> Written:
    """Return the dataset of an svmlight file."""
    zero_based, writer, targets = svm.counts_from_0((file, *keys.beside), keys.zero_based), start(), [np.zeros(0)]
    for X, y in svm.pieces(file, zero_based):
        writer.append(X)
        targets.append(y)
    if keys.n_features is not None:
        check_columns(writer.columns, keys.n_features, str(file))
    y, notes = np.concatenate(targets), svm.notes_of(keys, zero_based)
    X = writer.close(keys.n_features)
    return Written(of_rows(str(file), X, y, notes=notes, place=svm.place_of(file)))


def of_table(kind: Format, file: Path, keys: Reading, start: Callable[[], RowsWriter]) -> Written:
    """Return the dataset of a table of columns, or of one of lists; of vectors that map, where they stand."""
    table = tables.opened(kind, file, (*keys.targets, *keys.beside_targets), in_memory=False)
    names = table.beside(keys)
    if not table.lists:
        pieces = map(tables.frame_of, table.pieces(None, VALUES_AT_ONCE))
        return _of_frames(pieces, file, keys, start(), table.notes, table.place)
    stands = _vectors_of(table, kind)
    writer, beside, first = start(), [], 0
    for piece in table.pieces(names if stands else [*table.lists, *names], VALUES_AT_ONCE):
        if not stands:
            writer.append(lists.rows(piece, table.lists, file, keys.n_features, shifted(table.place, first)))
        beside.append(tables.frame_of(piece.select(names)))
        first += piece.num_rows
    found = Beside(_joined(beside), keys, file, table.place)
    X = stands.map(file) if stands else writer.close(keys.n_features)
    dataset = of_rows(str(file), X, found.y, None, table.notes, table.place, found.targets)
    return Written(found.joined(dataset), stands)


def in_place(kind: Format, file: Path) -> Member | None:
    """Return where the rows of a file stand such that they can be used there; None: they do not."""
    if kind == "npz":
        found = npz.member(file, "X")
        return found if found.maps else None
    return _vectors_of(tables.opened(kind, file, in_memory=False), kind) if kind == "arrow" else None


def _vectors_of(table: tables.Table, kind: Format) -> Member | None:
    """Return where the vectors of a table stand such that they can be used there."""
    single = kind == "arrow" and table.parts.files == [table.parts.file] and len(table.lists) == 1
    return arrow.member(table.parts.file, table.lists[0]) if single else None


def of_csv(file: Path, keys: Reading, start: Callable[[], RowsWriter]) -> Written:
    """Return the dataset of a text table.

    Whether a column holds numbers or texts is a matter of all its rows: where a later piece shows that a target, or a
    group, is a text, the file is read again.
    """
    texts: set[str] = set()
    named = {name for name in (keys.target, keys.group) if isinstance(name, str)}
    while True:
        kinds: dict[str, str] = {}
        pieces = _alike(csv.pieces(file, keys, VALUES_AT_ONCE, texts), kinds, file, keys, named - texts)
        try:
            return _of_frames(pieces, file, keys, start(), (), csv.place_of(file, keys.csv))
        except _Texts as found:
            texts.add(found.column)


class _Texts(Exception):  # noqa: N818
    """A column that was read as numbers holds texts, too."""

    def __init__(self, column: str) -> None:
        super().__init__(column)
        self.column = column


def _alike(
    pieces: Iterable[Any], kinds: dict[str, str], file: Path, keys: Reading, may_be_texts: set[str]
) -> Iterable[Any]:
    """Yield tables whose columns hold what they held before; see `of_csv`."""
    for frame in pieces:
        for name, kind in csv.kinds_of(frame).items():
            before = kinds.get(name, kind)
            kinds[name] = kind if kind != "nothing" else before
            if kind == before or "nothing" in (kind, before):
                continue
            if name in may_be_texts:
                raise _Texts(name)
            if "truths" in (kind, before):  # true and 1 in one column are texts, which no feature is
                csv.refuse_column(file, keys, name, VALUES_AT_ONCE)
        yield frame


def _of_frames(
    pieces: Iterable[Any],
    file: Path,
    keys: Reading,
    writer: RowsWriter,
    notes: tuple[str, ...],
    place: Place = row_number,
) -> Written:
    """Return the dataset of tables of pandas that follow each other."""
    beside, features, start, wrong = [], None, 0, None
    for table in pieces:
        beside.append(take_beside(table, keys))
        features = tuple(map(str, table.columns)) if features is None else features
        try:
            X = frames.numbers(table, str(file), shifted(place, start))
        except frames.ReadsAsNumberError as error:
            wrong = wrong or error
        if not wrong:
            writer.append(X)
        start += len(table)
    if wrong:
        raise wrong
    found = Beside(_joined(beside), keys, file, place)
    dataset = of_rows(str(file), writer.close(), found.y, features, notes, place, found.targets)
    return Written(found.joined(dataset))


def _joined(tables: list[Any]) -> Any:
    import pandas as pd

    return pd.concat(tables, ignore_index=True)


OF_FORMAT: dict[Format, Callable[[Path, Reading, Callable[[], RowsWriter]], Written]] = {
    "npz": of_npz,
    "svm": of_svm,
    "parquet": partial(of_table, "parquet"),
    "arrow": partial(of_table, "arrow"),
    "csv": of_csv,
}
