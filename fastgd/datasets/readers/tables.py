"""Tables in Parquet and Arrow IPC: a file, or a folder of files with the same columns.

How a format is read is a matter of its opener, `parquet` or `arrow`; what becomes of the columns is the same.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from fastgd.common.errors import InputError
from fastgd.datasets import frames
from fastgd.datasets.arrays import build
from fastgd.datasets.readers import arrow, lists, parquet
from fastgd.datasets.readers.parts import Parts, files_of, parts_of
from fastgd.datasets.readers.reading import Beside, Format, Reading, check_names, check_targets, reading, take_beside
from fastgd.datasets.record import Dataset, Place, check_memory, row_number


class Opener(NamedTuple):
    """How files of a format are read.

    Attributes
    ----------
    schema : callable
        Returns a file's columns, as a schema of pyarrow.
    size : callable
        Returns the bytes that a file takes in memory, and its rows (0: they are not known); nothing is unpacked.
    rows : callable
        Returns how many rows a file has.
    batches : callable
        Yields record batches of some columns, of about so many values; None: all rows are to be in memory.
    """

    schema: Callable[[Path], Any]
    size: Callable[[Path], tuple[int, int]]
    rows: Callable[[Path], int]
    batches: Callable[[Parts, list[str], int | None], Iterator[Any]]


OPENERS: dict[Format, Opener] = {
    "parquet": Opener(parquet.schema, parquet.size, parquet.rows, parquet.batches),
    "arrow": Opener(arrow.schema, arrow.size, arrow.rows, arrow.batches),
}


class Table(NamedTuple):
    """A table that is not read yet.

    Attributes
    ----------
    parts : Parts
    opener : Opener
    types : dict
        Those of pyarrow, of each column; an index that pandas stored is none.
    lists : tuple of str
        The columns of lists that hold the features: see `lists.columns_of`.
    place : callable
        How messages call the row at an index.
    notes : tuple of str
        What is to be noted of the columns.
    """

    parts: Parts
    opener: Opener
    types: dict[str, Any]
    lists: tuple[str, ...]
    place: Place
    notes: tuple[str, ...]

    def beside(self, keys: Reading) -> list[str]:
        """Return the columns that are no features, after a check that the table has all that the keys name."""
        if self.lists:
            return lists.beside(self.types, self.lists, keys, self.parts.file)
        _check_columns(list(self.types), keys, self.parts.file)
        return [*keys.targets, *keys.beside_targets]

    def read(self, columns: list[str] | None = None) -> Any:
        """Return some columns (None: all of them) as a table of pyarrow."""
        import pyarrow as pa

        return pa.concat_tables(list(self.pieces(columns, None)))

    def pieces(self, columns: list[str] | None, values: int | None) -> Iterator[Any]:
        """Yield some columns (None: all of them) as tables of some rows, of about so many values."""
        import pyarrow as pa

        found = False
        for batch in self.opener.batches(self.parts, list(self.types) if columns is None else columns, values):
            if batch.num_rows:
                found = True
                yield pa.Table.from_batches([batch])
        if not found:
            raise InputError(f"{self.parts.file}: columns, but no rows")


def read(kind: Format, file: Path, keys: Reading) -> Dataset:
    """Return the dataset of a table of columns, or of one of lists."""
    table = opened(kind, file, (*keys.targets, *keys.beside_targets))
    names, features = table.beside(keys), None
    if table.lists:
        rows = table.read([*table.lists, *names])
        X = lists.rows(rows, table.lists, file, keys.n_features, table.place)
        beside = frame_of(rows.select(names))
    else:
        frame = frame_of(table.read())
        beside = take_beside(frame, keys)
        X, features = frames.numbers(frame, str(file), table.place), tuple(map(str, frame.columns))
    found = Beside(beside, keys, file, table.place)
    return found.joined(build(str(file), X, found.y, features, table.notes, table.place, found.targets))


def read_frame(kind: Format, file: Path) -> tuple[Any, Place]:
    """Return all columns as pandas has them, and how messages call their rows."""
    table = opened(kind, file)
    return frame_of(table.read()), table.place


def read_rows(kind: Format, file: Path, n_features: int) -> tuple[Any, Place]:
    """Return rows without a target: a table of pandas with all columns, or of a table of lists what `lists.rows` does.

    And how messages call them.
    """
    table = opened(kind, file)
    if table.lists:
        return lists.rows(table.read([*table.lists]), table.lists, file, n_features, table.place), table.place
    return frame_of(table.read()), table.place


def frame_of(table: Any) -> Any:
    """Return a table of pyarrow as pandas has it, without the index that it stored."""
    return table.to_pandas(ignore_metadata=True)


def opened(kind: Format, file: Path, targets: tuple[str, ...] = (), *, in_memory: bool = True) -> Table:
    """Return a table that is not read yet.

    `in_memory`: all of it will be; refused, where memory does not hold it.
    """
    opener, files = OPENERS[kind], files_of(file)
    schema = _common_schema(files, opener)
    if in_memory:
        size, rows = size_of(kind, files)
        columns = f"{len(schema.names):,} columns"
        check_memory(size, f"{file}: {rows:,} rows of {columns}" if rows else f"{file}: {columns}", "a table")
    parts = parts_of(file, files, schema.names)
    index = frames.stored_index(schema)
    types = {field.name: field.type for field in (*schema, *parts.folders) if field.name not in index}
    if stored := [target for target in targets if target in index]:
        raise InputError(f"{file}: column {stored[0]!r} is the index that pandas stored; reset_index() frees it")
    notes = frames.index_note(index)
    if parts.folders.names:
        named = ", ".join(map(repr, parts.folders.names))
        notes = (*notes, f"columns that are made of the names of folders: {named}")
    return Table(parts, opener, types, lists.columns_of(types, file), place_of(kind, file), notes)


def size_of(kind: Format, files: list[Path]) -> tuple[int, int]:
    """Return the bytes that a table takes in memory, and its rows; nothing is unpacked."""
    opener = OPENERS[kind]
    size, rows = map(sum, zip(*map(opener.size, files), strict=True))
    return max(size, 8 * rows * len(_schema(files[0], opener).names)), rows


def place_of(kind: Format, file: Path) -> Place:
    """Return how messages call the row at an index: in a folder, by its part and its number there."""
    if not file.is_dir():
        return row_number

    def place(row: int) -> str:
        left = row
        for part in files_of(file):
            rows = OPENERS[kind].rows(part)
            if left < rows:
                return f"{row_number(left)} of {part.relative_to(file).as_posix()}"
            left -= rows
        return row_number(row)  # of parts that have changed since

    return place


def _check_columns(columns: list[str], keys: Reading, file: Path) -> None:
    """Refuse a table without columns, and one of columns without its targets."""
    if not columns:
        raise InputError(f"{file}: there are no columns")
    check_targets(columns, keys, file)
    if keys.n_features is not None:
        raise InputError(f"{file}: n_features = {keys.n_features} is for a table of lists; this one has columns")


def _common_schema(files: list[Path], opener: Opener) -> Any:
    """Return the schema that all parts have, or name the first part and column that differ."""
    first: Any = None
    for file in files:
        schema = _schema(file, opener)
        first = schema if first is None else first
        ours, theirs = _types(first), _types(schema)
        for name in (*theirs, *ours):
            if name not in ours or name not in theirs:
                has, lacks = (file, files[0]) if name not in ours else (files[0], file)
                raise InputError(
                    f"{has}: there is a column {name!r} that {lacks} does not have; parts must have the same"
                )
            if ours[name] != theirs[name]:
                raise InputError(f"{file}: column {name!r} holds {theirs[name]}, and in {files[0]} {ours[name]}")
    return first


def _schema(file: Path, opener: Opener) -> Any:
    with reading(file):
        schema = opener.schema(file)
    check_names(schema.names, file)
    return schema


def _types(schema: Any) -> dict[str, Any]:
    """Return the types of the columns by name; an index that pandas stored is none, and may be in some parts alone."""
    index = frames.stored_index(schema)
    return {field.name: field.type for field in schema if field.name not in index}
