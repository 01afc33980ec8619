"""Writes files that appear whole or not at all: under a temporary name, fsync, rename, fsync of the folder."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Self

import pyarrow as pa
import pyarrow.parquet as pq

from fastgd.common.errors import InputError
from fastgd.store.disk.checked_reading import PART_NAME, name_in_footer
from fastgd.store.disk.seal import seal

# A row group is full with so many rows or bytes: smaller groups make files larger and slower to scan, and writing or
# compacting one takes about three times its bytes of memory.
ROW_GROUP_ROWS, ROW_GROUP_BYTES = 131_072, 32 << 20


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn errors of the system while writing to a path into an InputError that names it."""
    try:
        yield
    except OSError as error:
        raise InputError(f"cannot write to {path}: {error.strerror or error}") from error


def temporary(target: Path) -> Path:
    """Return the name under which a file is written: hidden, so that every reader of Parquet folders skips it."""
    return target.with_name("." + target.name)


def create(path: Path) -> BinaryIO:
    """Create a file in place of one that a killed process may have left there; a link is replaced, not followed."""
    path.unlink(missing_ok=True)
    return path.open("x+b")


@contextmanager
def replacing(target: Path) -> Iterator[BinaryIO]:
    """Write a file that takes the place of another, durably, when all of it is written."""
    with writing(target), create(temporary(target)) as file:
        yield file
        _close(file)
        _take_name(target)


def write_text(target: Path, text: str) -> None:
    """Replace a text file by a new version."""
    with replacing(target) as file:
        file.write(text.encode())


def remove(paths: Iterable[Path]) -> None:
    """Delete files, durably; links and the files that they lead to are left alone."""
    folders = set()
    for path in paths:
        if not path.is_symlink() and not path.parent.is_symlink():
            path.unlink(missing_ok=True)
            folders.add(path.parent)
    for folder in folders:
        fsync_folder(folder)


def make_folders(*folders: Path) -> None:
    """Make folders that have the same parent, durably."""
    for folder in folders:
        folder.mkdir(exist_ok=True)
    fsync_folder(folders[0].parent)


def fsync_folder(folder: Path) -> None:
    """Make renames and deletions in a folder durable."""
    if os.name == "posix":  # elsewhere a folder cannot be opened
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _close(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
    file.close()


def _take_name(target: Path) -> None:
    os.replace(temporary(target), target)
    fsync_folder(target.parent)


class TableFile:
    """A Parquet file that is written under a temporary name; publishing seals it and gives it its own name.

    As a context manager, it discards a file that was not published.

    Parameters
    ----------
    target : Path
        Where the file will be.
    schema : pyarrow.Schema
        Its columns; the schema's metadata becomes the footer's, with the file's own name.
    """

    def __init__(self, target: Path, schema: pa.Schema) -> None:
        self.target = target
        self.schema = schema
        self._file: BinaryIO | None = None
        self._writer: Any = None
        self._pending: list[pa.Table] = []
        self._rows = self._bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self.discard()

    @property
    def bytes(self) -> int:
        """The bytes that were written to the file so far."""
        return self._file.tell() if self._file else 0

    def write(self, table: pa.Table) -> None:
        """Add rows, which are kept in memory until they fill a row group."""
        self._pending.append(table)
        self._rows += table.num_rows
        self._bytes += table.nbytes
        if self._bytes >= ROW_GROUP_BYTES:
            self._flush(self._rows)
        elif self._rows >= ROW_GROUP_ROWS:
            self._flush(self._rows - self._rows % ROW_GROUP_ROWS)

    def publish(self, empty: bool = False) -> list[str]:
        """Make the file appear, and return its name in a list, which is empty if the file would have no rows.

        empty: make it appear also without rows.
        """
        if self._writer is None and not self._rows and not empty:
            return []
        self.complete()
        with writing(self.target):
            _take_name(self.target)
        return [self.target.name]

    def complete(self) -> None:
        """Seal the file and make it durable, under its temporary name; it takes no more rows."""
        if self._file and self._file.closed:
            return
        with writing(self.target):
            self._open()
            self._flush(self._rows)
            assert self._file is not None
            self._writer.close()
            seal(self._file)
            _close(self._file)

    def discard(self) -> None:
        """Discard a file that was not published."""
        self._pending = []
        if self._file:
            for part in filter(None, (self._writer, self._file)):
                with suppress(OSError):  # a full disk may be why the file is dropped
                    part.close()
            temporary(self.target).unlink(missing_ok=True)

    def _flush(self, rows: int) -> None:
        if not rows:
            return
        table = pa.concat_tables(self._pending)
        with writing(self.target):
            self._open().write_table(table.slice(0, rows), row_group_size=ROW_GROUP_ROWS)
        rest = table.slice(rows).combine_chunks()
        self._pending, self._rows, self._bytes = [rest], rest.num_rows, rest.nbytes

    def _open(self) -> pq.ParquetWriter:
        if self._writer is None:
            self._file = create(temporary(self.target))
            self._writer = pq.ParquetWriter(
                self._file,
                self.schema.with_metadata(
                    {**(self.schema.metadata or {}), PART_NAME: name_in_footer(self.target).encode()}
                ),
                compression="zstd",
                use_dictionary=_leaves(self.schema, _is_name),
                column_encoding=self._encodings(),
                write_page_checksum=True,
                max_rows_per_page=ROW_GROUP_ROWS,
            )
        return self._writer

    def _encodings(self) -> dict[str, str]:
        """How numbers are encoded: bytes of floats apart from one another, whole numbers by their differences.

        Numbers of starts and steps, most of which are one more than the last or the same, take a third of the time so.
        """
        encodings = {"BYTE_STREAM_SPLIT": pa.types.is_floating, "DELTA_BINARY_PACKED": pa.types.is_integer}
        return {path: name for name, kind in encodings.items() for path in _leaves(self.schema, kind)}


def _is_name(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_dictionary(kind))


def _leaves(schema: pa.Schema, kind: Callable[[pa.DataType], bool]) -> list[str]:
    """Return the Parquet paths of the columns of a kind; the values of lists are one level down."""
    lists = [field for field in schema if pa.types.is_list(field.type)]
    plain = [field.name for field in schema if kind(field.type)]
    return plain + [f"{field.name}.list.element" for field in lists if kind(field.type.value_type)]
