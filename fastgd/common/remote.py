"""Paths in object stores, such as s3://bucket/results/x: what fastgd needs of pathlib's interface, over fsspec.

`RemotePath` takes names, parents and suffixes from the standard library, and adds input and output. It has no state:
the filesystem of a protocol is fsspec's own instance, with the keys and addresses that the user has configured there.
Listings are never cached, since other processes write to the same store. Whatever goes wrong there is one `InputError`
that names the path; only a missing object, and one that is there already, raise as they do on a disk.
"""

import fnmatch
import io
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from errno import EEXIST, ENOENT
from pathlib import Path, PurePath, PurePosixPath
from typing import Any, BinaryIO, NamedTuple, Self, TypeVar, cast
from urllib.parse import unquote

from fastgd.common.errors import InputError, UnreadableError

# A pathlib.Path has collapsed the slashes of "s3://bucket". One letter is a drive of Windows.
_URL = re.compile(r"(?P<protocol>[a-z][a-z0-9+.-]+):/+", re.I)
_LOCAL = ("file", "local")
_DRIVE = "|[a-z]:" if os.name == "nt" else ""
_ON_A_HOST = re.compile(
    rf"(?P<protocol>{'|'.join(_LOCAL)})://(?!/{_DRIVE})(?P<host>[^\s/\"']+)(?P<path>[^\s\"']*)", re.I
)
_TAIL_BYTES = 1 << 16  # where the footer of a Parquet file and the table of an archive stand: read in one request
_BUFFER_BYTES = 4 << 20  # what one request reads ahead of whoever reads from beginning to end
_AT_ONCE = 16  # requests
_Path = TypeVar("_Path", bound=PurePath)
_Result = TypeVar("_Result")


def parsed(text: str) -> Path | None:
    """Return the path that a URL stands for, one of file:// as a path of this machine; None: it is no URL.

    A `RemotePath` has all of the interface of `Path` that results and data are read and written by.
    """
    text = text.replace("\\", "/") if os.name == "nt" else text
    found = _URL.match(text)
    if found is None:
        return None
    if found["protocol"].lower() in _LOCAL:
        refuse_host(text)
        rest = unquote(text[found.end() :])
        return Path(rest if os.name == "nt" and rest[1:2] == ":" else f"/{rest}")
    if "::" in text:
        raise UnreadableError(f"{text}: a path within another one (::) is not read; give the URL of the file itself")
    start = found.end("protocol")
    return cast(Path, RemotePath(text[:start].lower() + text[start:]))  # S3://bucket is s3://bucket


def refuse_host(text: str) -> None:
    """Raise InputError where a text names a file of another machine: file://r/x is the file /x of the host r.

    A `pathlib.Path` of such a text has one slash there, as that of file:///r/x has: ask before one is made.
    """
    if found := _ON_A_HOST.search(text):
        protocol, host, path = found["protocol"], found["host"], found["path"]
        own = path if host.lower() == "localhost" else f"/{host}{path}"
        raise InputError(
            f"{found[0]}: what follows {protocol}:// is a machine, here {host!r}, and files are those of this one: "
            f"write {protocol}://{own} for {own}"
        )


def is_remote(path: PurePath) -> bool:
    """Whether a path is one in an object store."""
    return isinstance(path, RemotePath)


def mapped(function: Callable[[_Path], _Result], paths: Iterable[_Path]) -> list[_Result]:
    """Return a function of each path; of those in an object store, where each call waits, several at a time."""
    paths = list(paths)
    if len(paths) < 2 or not is_remote(paths[0]):
        return [function(path) for path in paths]
    with ThreadPoolExecutor(_AT_ONCE, "fastgd-requests") as pool:
        return list(pool.map(function, paths))


def parquet_source(path: Path) -> dict[str, Any]:
    """Return how `pyarrow.parquet.ParquetFile` opens a file; of an object only what is asked for is read, at once."""
    return {"source": path.open("rb", buffering=0), "pre_buffer": True} if is_remote(path) else {"source": path}


def arrow_filesystem(path: PurePath) -> Any:
    """Return the filesystem with which datasets of pyarrow open such paths; None: their own."""
    if not is_remote(path):
        return None
    from pyarrow import PythonFile
    from pyarrow.fs import FSSpecHandler, PyFileSystem

    class Handler(FSSpecHandler):  # type: ignore[misc]
        """Opens objects without the megabytes that files of fsspec read ahead, and with the errors of `RemotePath`."""

        def open_input_file(self, name: str) -> Any:
            return PythonFile(RemotePath(name).open("rb", buffering=0), mode="r")

    return PyFileSystem(Handler(cast(RemotePath, path).filesystem))


def modified(path: Path) -> float:
    """Return when a file was written, to compare it with others: the seconds since 1970."""
    return cast(RemotePath, path).modified() if is_remote(path) else path.stat().st_mtime_ns / 1e9


class RemoteStat(NamedTuple):
    """What `RemotePath.stat` knows of an object, by the names of `os.stat_result`."""

    st_size: int
    st_mode: int


class RemotePath(PurePosixPath):
    """A path in an object store, where folders come to be with the objects in them."""

    def __str__(self) -> str:
        text = super().__str__()
        found = _URL.match(text)
        return f"{found['protocol']}://{text[found.end() :]}" if found else text

    @property
    def filesystem(self) -> Any:
        """The filesystem of fsspec; InputError where a package is missing."""
        try:
            from fsspec.core import url_to_fs
        except ImportError:
            raise UnreadableError(f"{self} needs fsspec: pip install 'fastgd[remote]'") from None
        try:
            return url_to_fs(str(self), use_listings_cache=False)[0]
        except ImportError as error:  # which names the package
            raise UnreadableError(f"{self} needs another package: {error}") from error
        except ValueError as error:
            raise UnreadableError(f"{self}: {error}; valid are s3://, gs://, az:// and what fsspec knows") from error

    @contextmanager
    def _asking(self, what: str = "read") -> Iterator[Any]:
        """Give the filesystem for a request, and turn what it raises into one error that names the path."""
        try:
            yield self.filesystem
        except (MemoryError, UnreadableError):
            raise
        except FileExistsError:
            raise FileExistsError(EEXIST, "there is an object already", str(self)) from None
        except FileNotFoundError as error:
            if what != "write":
                raise FileNotFoundError(ENOENT, "there is no such object", str(self)) from None
            raise self._error(what, error) from error
        except Exception as error:
            raise self._error(what, error) from error

    def _error(self, what: str, error: Exception) -> UnreadableError:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        return UnreadableError(f"cannot {what} {self}: {reason}")

    # --- as pathlib has it --------------------------------------------------------------------------------------------

    def is_absolute(self) -> bool:
        """Every URL is whole."""
        return True

    def absolute(self) -> Self:
        """Return this path."""
        return self

    def resolve(self) -> Self:
        """Return this path: stores have no links."""
        return self

    def is_symlink(self) -> bool:
        """Stores have no links."""
        return False

    def stat(self) -> RemoteStat:
        """Return the size of an object, and whether it is one; FileNotFoundError where there is nothing."""
        with self._asking() as filesystem:
            found = filesystem.info(str(self))
        if found["type"] == "directory":
            return RemoteStat(0, stat.S_IFDIR)
        if found.get("size") is None:  # of a server of pages, for example
            raise self._error("read", OSError("its store does not tell how many bytes it has"))
        return RemoteStat(int(found["size"]), stat.S_IFREG)

    def exists(self) -> bool:
        """Whether there is an object, or objects below."""
        return self._mode() != 0

    def is_file(self) -> bool:
        """Whether there is an object."""
        return stat.S_ISREG(self._mode())

    def is_dir(self) -> bool:
        """Whether there are objects below."""
        return stat.S_ISDIR(self._mode())

    def _mode(self) -> int:
        try:
            return self.stat().st_mode
        except FileNotFoundError:  # fsspec's own `exists` also says no where it is not let in
            return 0

    def iterdir(self) -> Iterator[Self]:
        """Yield what is in this folder; FileNotFoundError where there is nothing."""
        with self._asking() as filesystem:
            names = filesystem.ls(str(self), detail=False)
        keys = [str(name).strip("/").split("/") for name in names]
        yield from (self / key[-1] for key in keys if len(key) == len(self.parts))  # some stores list the folder, too

    def glob(self, pattern: str) -> Iterator[Self]:
        """Yield the objects of this folder whose names fit; there are no patterns for several folders."""
        try:
            yield from (path for path in self.iterdir() if fnmatch.fnmatchcase(path.name, pattern))
        except FileNotFoundError:
            return

    def rglob(self, pattern: str) -> Iterator[Self]:
        """Yield the objects below this folder whose names fit."""
        with self._asking() as filesystem:
            names = [str(name).strip("/").split("/") for name in filesystem.find(str(self))]
        found = (self.joinpath(*name[len(self.parts) - 1 :]) for name in names)  # all parts but the protocol
        yield from (path for path in found if fnmatch.fnmatchcase(path.name, pattern))

    def open(self, mode: str = "rb", buffering: int = _BUFFER_BYTES) -> BinaryIO:
        """Open an object for reading bytes; 0: nothing is read ahead."""
        if mode != "rb":
            raise ValueError(f"objects are opened for reading bytes, and not with the mode {mode!r}")
        file = RemoteFile(self)
        return cast(BinaryIO, io.BufferedReader(file, buffering) if buffering else file)

    def read_bytes(self) -> bytes:
        """Return an object."""
        with self._asking() as filesystem:
            return bytes(filesystem.cat_file(str(self)))

    def read_text(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Return the text of an object."""
        return self.read_bytes().decode(encoding, errors)

    def mkdir(self, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        """Do nothing: a store has no folders without objects, and its buckets are not made by the way."""

    def unlink(self, missing_ok: bool = False) -> None:
        """Delete an object."""
        try:
            with self._asking("delete") as filesystem:
                filesystem.rm_file(str(self))
        except FileNotFoundError:
            if not missing_ok:
                raise

    def rename(self, target: Self) -> Self:
        """Copy an object or all of a folder within the store, and then delete the originals: not in one step."""
        is_folder = not self.is_file()
        objects = list(self.rglob("*")) if is_folder else [self]
        mapped(lambda path: path.copy_to(target.joinpath(*path.parts[len(self.parts) :])), objects)
        mapped(lambda path: path.unlink(missing_ok=True), objects)
        if is_folder and self.is_dir() and not any(self.rglob("*")):  # some stores keep folders without objects
            with self._asking("delete") as filesystem:
                filesystem.rm(str(self), recursive=True)
        return target

    def modified(self) -> float:
        """Return when an object was written, by the clock of its store, in seconds since 1970."""
        with self._asking() as filesystem:
            return float(filesystem.modified(str(self)).timestamp())

    # --- what only a store has ----------------------------------------------------------------------------------------

    def copy_to(self, target: Self) -> None:
        """Copy an object within the store."""
        with target._asking("write") as filesystem:
            filesystem.cp_file(str(self), str(target))

    def upload(self, file: Path) -> None:
        """Write a file of this machine: the object is there when all of it is."""
        with self._asking("write") as filesystem:
            filesystem.put_file(str(file), str(self))

    def write_new(self, content: bytes) -> None:
        """Write an object that is not there yet; FileExistsError where it is. S3, GCS and Azure do that in one step."""
        with self._asking("write") as filesystem:
            filesystem.pipe_file(str(self), content, mode="create")

    def write_bytes(self, content: bytes) -> None:
        """Write an object, in place of one that is there."""
        with self._asking("write") as filesystem:
            filesystem.pipe_file(str(self), content)


class RemoteFile(io.RawIOBase):
    """An object that is read by ranges of its bytes, each with a request of its own; its end is read only once."""

    def __init__(self, path: RemotePath) -> None:
        self._path, self._at = path, 0
        self._size = path.stat().st_size
        self._tail: bytes | None = None

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Return the place of the next byte."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to another place."""
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer, unless the object ends before."""
        start, end = self._at, min(self._at + len(buffer), self._size)
        found = self._range(start, end) if start < end else b""
        buffer[: len(found)] = found
        self._at += len(found)
        return len(found)

    def pieces(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return the bytes of several ranges, from a start to before an end: some requests at a time."""
        first = max(0, self._size - _TAIL_BYTES)
        far = [(start, end) for start, end in ranges if start < first]
        with self._path._asking() as filesystem:
            starts, ends = [start for start, _ in far], [end for _, end in far]
            found = filesystem.cat_ranges([str(self._path)] * len(far), starts, ends, on_error="raise") if far else []
        known = dict(zip(far, map(bytes, found), strict=True))
        return [known[place] if place in known else self._range(*place) for place in ranges]

    def _range(self, start: int, end: int) -> bytes:
        first = max(0, self._size - _TAIL_BYTES)
        if start >= first:
            if self._tail is None:
                self._tail = self._requested(first, self._size)
            return self._tail[start - first : end - first]
        return self._requested(start, end)

    def _requested(self, start: int, end: int) -> bytes:
        with self._path._asking() as filesystem:
            found = bytes(filesystem.cat_file(str(self._path), start=start, end=end))
        if len(found) != end - start:
            raise self._path._error("read", OSError(f"it has changed: {end - start:,} bytes became {len(found):,}"))
        return found
