"""Arrow IPC, also called Feather: files of record batches, with an index at their end, and streams, without one.

https://arrow.apache.org/docs/format/Columnar.html#serialization-and-interprocess-communication-ipc
"""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fastgd.common.errors import InputError
from fastgd.common.remote import is_remote
from fastgd.datasets.readers.parts import Parts
from fastgd.datasets.readers.reading import Member, reading
from fastgd.datasets.record import check_memory

OF_FILE, OF_STREAM = b"ARROW1\0\0", b"\xff\xff\xff\xff"  # what they begin with; behind it, a file is a stream
END = OF_STREAM + bytes(4)  # of a stream


def schema(file: Path) -> Any:
    """Return the columns of a file, as a schema of pyarrow."""
    with _opened(file) as (found, _):
        return found


def size(file: Path) -> tuple[int, int]:
    """Return the bytes and the rows of a file, by the headers of its record batches: compressed, it may be tiny.

    The headers of an object in a store stand between all of its rows, and are not asked for: its rows are none.
    """
    if is_remote(file):
        return file.stat().st_size, 0
    found = blocks(file)
    return sum(block.bytes for block in found), sum(block.rows for block in found)


def rows(file: Path) -> int:
    """Return how many rows a file has."""
    with _opened(file) as (_, found):
        return sum(batch.num_rows for batch in found)


def batches(parts: Parts, columns: list[str], values: int | None) -> Iterator[Any]:
    """Yield record batches of some columns, of about so many values; None: all rows are to be in memory."""
    import pyarrow as pa

    taken = 0
    for file in parts.files:
        constants = parts.constants(file)
        for batch in _checked(file, mapped=values is not None):
            taken += batch.nbytes
            if values is None and is_remote(file):  # of which it was not known what it unpacks to
                check_memory(taken, f"{parts.file}: its rows, unpacked,", "a table", '; source = "stream" needs less')
            same = {name: pa.repeat(value, batch.num_rows) for name, value in constants.items()}
            arrays = [same[name] if name in same else batch.column(name) for name in columns]
            yield from _cut(pa.RecordBatch.from_arrays(arrays, names=columns), values)


def _checked(file: Path, *, mapped: bool) -> Iterator[Any]:
    """Yield the record batches of a file; without the checks, wrong offsets of lists and texts would be followed."""
    if mapped and not is_remote(file):
        packed = max((block.bytes for block in blocks(file) if block.packed), default=0)
        check_memory(packed, f"{file}: the rows of a record batch, which is compressed,", "a table")
    with _opened(file, mapped=mapped) as (_, found):
        for batch in found:
            batch.validate(full=True)
            yield batch


def _cut(batch: Any, values: int | None) -> Iterator[Any]:
    """Yield a record batch in pieces of about so many values; None: as it is."""
    count = batch.num_rows
    taken = max(1, batch.nbytes, 8 * count * batch.num_columns)
    step = max(1, count if values is None else 8 * values * count // taken)
    yield from (batch.slice(start, step) for start in range(0, count, step))


@contextmanager
def _opened(file: Path, *, mapped: bool = True) -> Iterator[tuple[Any, Iterator[Any]]]:
    """Give the schema of a file or a stream, and its record batches, whose numbers may be `mapped`."""
    import pyarrow as pa

    with reading(file), _source(file, mapped) as source:
        if _is_file(file, source):
            reader = pa.ipc.open_file(source)
            yield reader.schema, map(reader.get_batch, range(reader.num_record_batches))
        else:
            reader = pa.ipc.open_stream(source)
            yield reader.schema, reader


def _source(file: Path, mapped: bool) -> Any:
    import pyarrow as pa

    return pa.memory_map(str(file)) if mapped and not is_remote(file) else pa.PythonFile(file.open("rb"), mode="r")


def _is_file(file: Path, source: Any) -> bool:
    """Whether what is open is a file; else it is a stream, of which the end is there."""
    start = source.read(len(OF_FILE))
    if start == OF_FILE:
        return True
    if not start.startswith(OF_STREAM):
        begins = "it begins neither as a file nor as a stream of Arrow IPC"
        raise InputError(f"{file} cannot be read: {begins} (the first version of Feather has to be written anew)")
    source.seek(-len(END), 2)
    if source.read(len(END)) != END:
        raise InputError(f"{file} cannot be read: the stream has no end; it was cut, or was not closed when written")
    source.seek(0)
    return False


# --- what headers tell ------------------------------------------------------------------------------------------------


class Block(NamedTuple):
    """A record batch, or a dictionary of texts, which has no rows of its own."""

    rows: int
    bytes: int
    packed: bool


def blocks(file: Path) -> list[Block]:
    """Return what the headers of a file of this machine tell; nothing is unpacked."""
    import pyarrow as pa

    found: list[Block] = []
    with reading(file), _source(file, mapped=True) as source:
        source.seek(len(OF_FILE) if _is_file(file, source) else 0)
        for message in pa.ipc.MessageReader.open_stream(source):
            if message.type in ("record batch", "dictionary"):
                try:
                    found.append(_block(message))
                except struct.error as error:  # a buffer that lies outside of the message
                    raise InputError(f"{file} cannot be read: {error}") from error
    return found


def _block(message: Any) -> Block:
    """Return what the header of a message tells: tables of flatbuffers, which pyarrow has checked."""
    header, body = memoryview(message.metadata), memoryview(message.body or b"")

    def number(form: str, place: int, content: memoryview = header) -> int:
        return int(struct.unpack_from(f"<{form}", content, place)[0])

    def field(table: int, slot: int) -> int:
        """Return where a field of a table stands; 0: it is left out."""
        places = table - number("i", table)
        place = number("H", places + 4 + 2 * slot) if 4 + 2 * slot < number("H", places) else 0
        return table + place if place else 0

    def inner(table: int, slot: int) -> int:
        place = field(table, slot)
        return place + number("I", place)

    batch = inner(number("I", 0), 2)
    if message.type == "dictionary":
        batch = inner(batch, 1)
    length, packed, taken = field(batch, 0), field(batch, 3) > 0, body.nbytes
    if packed:
        first = inner(batch, 2)
        places = [number("q", first + 4 + 16 * j) for j in range(number("I", first))]
        sizes = [number("q", first + 12 + 16 * j) for j in range(number("I", first))]
        # each buffer begins with the number of its bytes; -1: it is stored as it is
        told = [number("q", place, body) if size else 0 for place, size in zip(places, sizes, strict=True)]
        taken = sum(size if found < 0 else found for found, size in zip(told, sizes, strict=True))
    rows = 0 if message.type == "dictionary" or not length else number("q", length)
    return Block(rows, taken, packed)


def member(file: Path, column: str) -> Member | None:
    """Return where the numbers of a column of vectors stand, one row behind the other; None: they do not."""
    import pyarrow as pa

    if is_remote(file) or [block.packed for block in blocks(file) if block.rows] != [False]:
        return None
    with reading(file), pa.memory_map(str(file)) as source:
        content = source.read_buffer()
        stream = pa.BufferReader(content)
        reader = (pa.ipc.open_file if _is_file(file, stream) else pa.ipc.open_stream)(stream)
        (vectors,) = (chunk for chunk in reader.read_all()[column].chunks if len(chunk))
        vectors.validate(full=True)
        values, dtype = vectors.values, np.dtype(vectors.type.value_type.to_pandas_dtype())
        if vectors.null_count or values.null_count or dtype not in (np.float32, np.float64):
            return None
        start = values.buffers()[1].address - content.address + dtype.itemsize * values.offset
        found = Member((len(vectors), vectors.type.list_size), dtype, False, start)
        inside = 0 <= start <= content.size - found.bytes  # numbers of another byte order were copied
        return found if inside and found.maps else None
