"""Writes files that appear whole or not at all, on a disk or in an object store (`new_files.py`)."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Self

import pyarrow as pa
import pyarrow.parquet as pq

from fastgd.common.errors import InputError
from fastgd.common.remote import mapped
from fastgd.store.disk.checked_reading import PART_NAME, name_in_footer
from fastgd.store.disk.new_files import NewFile, fsync_folder, new_file, temporary
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


@contextmanager
def replacing(target: Path) -> Iterator[BinaryIO]:
    """Write a file that takes the place of another, durably, when all of it is written."""
    with writing(target):
        new = new_file(target)
        with closing(new.stream):
            yield new.stream
            new.complete()
            new.publish()


def write_text(target: Path, text: str) -> None:
    """Replace a text file by a new version."""
    with replacing(target) as file:
        file.write(text.encode())


def remove(paths: Iterable[Path]) -> None:
    """Delete files, durably; links and the files that they lead to are left alone."""
    own = [path for path in paths if not path.is_symlink() and not path.parent.is_symlink()]
    mapped(lambda path: path.unlink(missing_ok=True), own)
    for folder in {path.parent for path in own}:
        fsync_folder(folder)


def make_folders(*folders: Path) -> None:
    """Make folders that have the same parent, durably."""
    for folder in folders:
        folder.mkdir(exist_ok=True)
    fsync_folder(folders[0].parent)


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
        self._new: NewFile | None = None
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
        return self._new.stream.tell() if self._new else 0

    @property
    def is_begun(self) -> bool:
        """Whether rows have left memory."""
        return self._new is not None

    def take(self) -> list[pa.Table]:
        """Take back the rows that are in memory."""
        pending, self._pending, self._rows, self._bytes = self._pending, [], 0, 0
        return pending

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
        with writing(self.target):
            self._completed().publish()
        return [self.target.name]

    def keep(self, hidden: Path | None = None) -> Path:
        """Complete the file, leave it under a hidden name, by default its temporary one, and return that."""
        place = hidden or temporary(self.target)
        with writing(self.target):
            self._completed().keep(place)
        return place

    def complete(self) -> None:
        """Seal the file; it takes no more rows."""
        self._completed()

    def _completed(self) -> NewFile:
        with writing(self.target):
            writer, new = self._open()
            if not new.stream.closed:
                self._flush(self._rows)
                writer.close()
                seal(new.stream)
                new.complete()
        return new

    def discard(self) -> None:
        """Discard a file that was not published."""
        self._pending = []
        if self._new:
            for part in filter(None, (self._writer, self._new.stream)):
                with suppress(OSError):  # a full disk may be why the file is dropped
                    part.close()
            self._new.discard()

    def _flush(self, rows: int) -> None:
        if not rows:
            return
        table = pa.concat_tables(self._pending)
        with writing(self.target):
            self._open()[0].write_table(table.slice(0, rows), row_group_size=ROW_GROUP_ROWS)
        rest = table.slice(rows).combine_chunks()
        self._pending, self._rows, self._bytes = [rest], rest.num_rows, rest.nbytes

    def _open(self) -> tuple[Any, NewFile]:
        if self._new is None:
            self._new = new_file(self.target)
            self._writer = pq.ParquetWriter(
                self._new.stream,
                self.schema.with_metadata(
                    {**(self.schema.metadata or {}), PART_NAME: name_in_footer(self.target).encode()}
                ),
                compression="zstd",
                use_dictionary=_leaves(self.schema, _is_name),
                column_encoding=self._encodings(),
                write_page_checksum=True,
                max_rows_per_page=ROW_GROUP_ROWS,
            )
        return self._writer, self._new

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
