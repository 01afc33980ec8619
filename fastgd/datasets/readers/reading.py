"""What all readers of files share: their keys, decompression, and one error for what libraries raise."""

import bz2
import csv
import errno
import gzip
import io
import lzma
import math
import sys
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple, cast, get_args

import numpy as np
from numpy.typing import NDArray

from fastgd.common.errors import InputError, TooLargeError, nearest
from fastgd.common.remote import is_remote
from fastgd.common.system import memory
from fastgd.datasets import frames
from fastgd.datasets.readers.csv_keys import Csv
from fastgd.datasets.record import Dataset, Floats, OwnMap, Place, check_memory
from fastgd.datasets.weights import row_weights

ZeroBased = bool | Literal["auto"]
Format = Literal["svm", "csv", "parquet", "arrow", "npz"]
FORMATS: tuple[Format, ...] = get_args(Format)

EXTENSIONS: dict[str, Format] = {
    **{".svm": "svm", ".libsvm": "svm", ".csv": "csv", ".parquet": "parquet"},
    **{".arrow": "arrow", ".feather": "arrow", ".ipc": "arrow", ".npz": "npz"},
}
COMPRESSED = {".gz": "gzip", ".bz2": "bz2", ".xz": "xz", ".zip": "zip", ".zst": "zstd"}
STARTS = {b"\x1f\x8b": ".gz", b"BZh91AY": ".bz2", b"\xfd7zXZ\0": ".xz", b"PK\3\4": ".zip", b"(\xb5/\xfd": ".zst"}
TEXTS = ("svm", "csv")  # what may be compressed as a whole
MOST_SHOWN = 12
# What libraries raise over files that are corrupt, or of a kind that they do not read.
CORRUPT = (
    *(OSError, ValueError, EOFError, NotImplementedError, OverflowError, RuntimeError),
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, csv.Error, tokenize.TokenError),
)
MOST_RATIO = 200  # of unpacked to packed bytes: real tables do not compress as well
UNSUSPECTED = 1 << 30  # bytes that may be unpacked whatever the ratio


class Reading(NamedTuple):
    """How a file is read: the keys of its problem."""

    target: str | tuple[str, ...] | None
    zero_based: ZeroBased
    n_features: int | None
    csv: Csv
    beside: tuple[Path, ...]  # the other .svm files of the same problem, which count their columns alike
    weights: str | None = None
    group: str | None = None
    whole: bool = True  # whether all rows are to be in memory

    @property
    def beside_targets(self) -> tuple[str, ...]:
        """The other columns that are no features: what rows weigh, and their groups."""
        return tuple(name for name in (self.weights, self.group) if name is not None)

    @property
    def targets(self) -> tuple[str, ...]:
        """The columns that are targets."""
        return self.target if isinstance(self.target, tuple) else (self.target,) if self.target is not None else ()


def format_of(path: str | Path, stated: Format | None = None) -> Format | None:
    """Return what a file is: as stated, or by its name; None where neither says it."""
    if stated is not None:
        return stated
    name = Path(path)
    inner = Path(name.stem).suffix if name.suffix.lower() in COMPRESSED else name.suffix
    found = EXTENSIONS.get(inner.lower())
    return None if inner != name.suffix and found not in TEXTS else found


@contextmanager
def reading(file: Path) -> Iterator[None]:
    """Turn what libraries raise over a missing or corrupt file into InputError."""
    try:
        if file.exists() and not (file.is_file() or file.is_dir()):  # it may never end, and cannot be read twice
            raise InputError(f"{file}: is a pipe or a device; data are read from files")
        yield
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"{file}: there is no such file") from error
    except UnicodeDecodeError as error:
        hint = 'csv = { encoding = "latin-1" }, for example, says what it is'
        raise InputError(
            f"{file} cannot be read: it is no text in {error.encoding} ({error.reason}); {hint}"
        ) from error
    except MemoryError as error:
        raise TooLargeError(f"{file} cannot be read: it takes more memory than this process gets") from error
    except CORRUPT as error:
        if isinstance(error, OSError) and error.errno == errno.ENOMEM:  # as a file is mapped
            why = "it takes more addresses than this process gets, also where its rows stay there (ulimit -v)"
            raise TooLargeError(f"{file} cannot be read: {why}") from error
        reason = str(error).strip().removeprefix("Error tokenizing data. C error: ").partition("\n")[0]
        raise InputError(f"{file} cannot be read: {reason or type(error).__name__}") from error


@contextmanager
def opened(file: Path, compression: str = "infer", *, whole: bool = True) -> Iterator[IO[bytes]]:
    """Open a text file as bytes, decompressed as `compression` says, or as its name does.

    `whole`: all of it will be in memory; refused, where that does not hold it.
    """
    kind = COMPRESSED.get(file.suffix.lower()) if compression == "infer" else compression
    size = file.stat().st_size
    if kind is None and whole:
        check_memory(size, f"{file}: {size:,} bytes", "text")
    if kind == "zip":
        with zipfile.ZipFile(_source(file)) as archive:
            members = [name for name in archive.namelist() if not name.endswith("/")]
            if len(members) != 1:
                raise InputError(f"{file}: an archive must hold one file; found {', '.join(members) or 'none'}")
            with archive.open(members[0]) as stream:
                yield io.BufferedReader(_Unpacked(file, stream, whole))
        return
    with _stream(file, kind) as stream:
        if kind is None:
            _check_plain(file, stream.peek(8))  # type: ignore[attr-defined]
            yield stream
        else:
            yield io.BufferedReader(_Unpacked(file, stream, whole))


class _Unpacked(io.RawIOBase):
    """The unpacked bytes of a compressed file; refused where they are implausibly many, or more than memory holds."""

    def __init__(self, file: Path, stream: IO[bytes], whole: bool) -> None:
        self._file, self._stream = file, stream
        self._suspect = max(UNSUSPECTED, MOST_RATIO * file.stat().st_size)
        self._room, self._bytes = memory() // 2 if whole else sys.maxsize, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        found = self._stream.read(len(buffer))
        buffer[: len(found)] = found
        self._bytes += len(found)
        if self._bytes > self._room:
            check_memory(self._bytes, f"{self._file}: {self._bytes:,} bytes and more, unpacked,", "text")
        if self._bytes > self._suspect:
            raise InputError(
                f"{self._file}: unpacks to more than {MOST_RATIO} times its size, and more than {UNSUSPECTED:,} bytes; "
                "if these are data, unpack it first"
            )
        return len(found)


def check_array(
    file: Path, name: str, stream: IO[bytes], size: int | None = None, *, whole: bool = True
) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Refuse an array in NumPy's format whose header says more than its `size` bytes hold, or than memory does.

    Return its shape, whether its columns stand one after another, and its type. `whole`: all of it will be in memory.
    """
    version = np.lib.format.read_magic(stream)
    read: Any = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, columns_first, dtype = read(stream)
    size = file.stat().st_size if size is None else size
    needed = math.prod(shape) * dtype.itemsize
    if not dtype.hasobject and needed > size:
        raise InputError(f"{file}: {name} is cut: {shape} of {dtype} take {needed:,} bytes, and there are {size:,}")
    if whole:
        check_memory(needed, f"{file}: {name}, {shape} of {dtype},", "an array")
    return shape, columns_first, dtype


class Member(NamedTuple):
    """An array within a file: what a header says of it, and from which byte of the file on it stands there.

    `offset` is None where it is compressed, or in an object store.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    columns_first: bool
    offset: int | None

    @property
    def maps(self) -> bool:
        """Whether it can be used as it stands in the file."""
        native = self.dtype in (np.float32, np.float64) and self.dtype.isnative and not self.columns_first
        return native and self.offset is not None and self.offset % self.dtype.itemsize == 0

    @property
    def bytes(self) -> int:
        """Its size."""
        return int(np.prod(self.shape, dtype=object)) * self.dtype.itemsize

    def map(self, file: Path) -> NDArray[Any]:
        """Return the array, mapped."""
        order: Literal["F", "C"] = "F" if self.columns_first else "C"
        return np.asarray(OwnMap(file, self.dtype, "r", self.offset or 0, self.shape, order))


def _check_plain(file: Path, start: bytes) -> None:
    """Refuse a compressed file whose name does not say so, by its first bytes."""
    if (suffix := next((suffix for mark, suffix in STARTS.items() if start.startswith(mark)), None)) is not None:
        raise InputError(
            f"{file}: the file is compressed, which its name must say: {file.name}{suffix}; or, for a text table, "
            f'csv = {{ compression = "{COMPRESSED[suffix]}" }}'
        )


def _stream(file: Path, kind: str | None) -> IO[bytes]:
    if kind == "zstd":
        import pyarrow as pa

        return io.BufferedReader(pa.input_stream(_source(file), compression="zstd"))
    if kind is None:
        return file.open("rb")
    openers: dict[str, Any] = {"gzip": gzip.open, "bz2": bz2.open, "xz": lzma.open}
    return cast("IO[bytes]", openers[kind](_source(file), "rb"))


def _source(file: Path) -> Any:
    """Return what libraries open: the name of a file, or an object in a store as one that is open."""
    return file.open("rb") if is_remote(file) else str(file)


def target_column(columns: list[str], target: str | None, file: Path, advice: str = "") -> str:
    """Return the target, which must be one of the columns; `advice` ends the message that it is not."""
    if target is None:
        raise InputError(f"{file}: which column is the target? target = {columns[-1]!r}, for example{advice}")
    if target not in columns:
        close = nearest(target, columns)
        hint = f"{close} " if close.startswith("did you mean") else ""
        raise InputError(f"{file}: there is no column {target!r}; {hint}{_valid(columns)}{advice}")
    if columns.count(target) > 1:
        raise InputError(f"{file}: there are {columns.count(target)} columns {target!r}; the target must be one")
    return target


def check_targets(columns: list[str], keys: Reading, file: Path, advice: str = "") -> None:
    """Refuse targets, weights and groups that are no columns; see `target_column`."""
    for target in (*(keys.targets or (None,)), *keys.beside_targets):
        target_column(columns, target, file, advice)


def take_beside(frame: Any, keys: Reading) -> Any:
    """Take the columns that are no features out of a table of pandas, and return the table of them."""
    names = [*keys.targets, *keys.beside_targets]
    beside = frame[names]
    for name in names:
        del frame[name]  # which copies no other columns
    return beside


class Beside:
    """What a table of pandas has beside its features.

    Attributes
    ----------
    y : ndarray (n,), or (n, targets)
    targets : tuple of str
        The names of several targets.
    """

    def __init__(self, table: Any, keys: Reading, file: Path, place: Place) -> None:
        several = isinstance(keys.target, tuple)
        self.targets = keys.targets if several else ()
        self.y = frames.numbers(table[[*keys.targets]], str(file), place) if several else table[keys.target].to_numpy()
        self._weights = _weights(table, keys, file, place)
        self._groups = _groups(table, keys, file, place)

    def joined(self, dataset: Dataset) -> Dataset:
        """Return a dataset with the weights and the groups of its rows."""
        return replace(dataset, weights=self._weights, groups=self._groups)


def _weights(table: Any, keys: Reading, file: Path, place: Place) -> Floats | None:
    if keys.weights is None:
        return None
    column = frames.numbers(table[[keys.weights]], str(file), place)
    return row_weights(column, str(file), f"column {keys.weights!r}", place)


def _groups(table: Any, keys: Reading, file: Path, place: Place) -> NDArray[Any] | None:
    """Return the numbers of the groups' values (n,)."""
    if keys.group is None:
        return None
    import pandas as pd

    numbers, _ = pd.factorize(table[keys.group])
    if (numbers < 0).any():
        raise InputError(f"{file}: {place(int(np.argmin(numbers)))}, column {keys.group!r}: the group is missing")
    return np.asarray(numbers)


def check_names(columns: list[str], file: Path) -> None:
    """Refuse names that occur twice, also if they differ by spaces: a copy of the target would leak it."""
    bare = [name.strip() for name in columns]
    if len(set(bare)) == len(bare):
        return
    twice = next(name for name in bare if bare.count(name) > 1)
    spaces = "" if columns.count(twice) == bare.count(twice) else " but for spaces"
    raise InputError(f"{file}: there are {bare.count(twice)} columns {twice!r}{spaces}; each needs a name of its own")


def _valid(columns: list[str]) -> str:
    rest = len(columns) - MOST_SHOWN
    shown = [name if len(name) <= 80 else f"{name[:77]}..." for name in columns[:MOST_SHOWN]]
    return f"valid: {', '.join(shown)}" + (f" and {rest:,} more" if rest > 0 else "")
