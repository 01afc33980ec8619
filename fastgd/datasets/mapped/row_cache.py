"""The cache of rows in a form that maps: one folder for each source, found again by its files and how they are read.

A folder has its name when all of it is written. One process writes it, under a lock; those that read it lock its
description together, so that no folder is deleted that is in use. Folders that were not used for the longest time go
first where all of them take more than the bound.
"""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import BaseFileLock, Timeout

from fastgd.common.errors import InputError
from fastgd.common.folders import cache_folder, lock_of
from fastgd.common.numbers import amount
from fastgd.common.remote import is_remote
from fastgd.datasets.mapped.array_files import writing

VERSION = 1  # of what is written there
LIMIT = "FASTGD_DATA_CACHE_BYTES"
LEAST_LIMIT, SHARE_OF_DISK = 20e9, 0.1
LEFT_FREE = 1 << 20  # bytes of the disk, for what else stands in a folder beside the rows
META = "meta.json"
_log = logging.getLogger("fastgd")
_used: dict[Path, int] = {}  # the descriptions that this process keeps open, and locked


@dataclass(frozen=True)
class Entry:
    """A folder of the cache.

    Attributes
    ----------
    folder : Path
    meta : dict
        What stands there, and of which files it was made.
    """

    folder: Path
    meta: dict[str, Any]

    @property
    def bytes(self) -> int:
        """What it takes on the disk."""
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())


def key_of(files: Sequence[Path], how: str) -> str:
    """Return the name of what is made of some files, read in some way: their paths, sizes and times decide it.

    Paths are those that were asked for, since names of folders may make columns.
    """
    told = [f"version {VERSION}", how, *(" ".join(map(str, _told(file))) for file in files)]
    return hashlib.sha256("\n".join(told).encode("utf-8", "surrogateescape")).hexdigest()[:40]


def _told(file: Path) -> tuple[Any, ...]:
    found: Any = file.stat()
    if is_remote(file):
        return file, found.st_size, file.modified()  # type: ignore[attr-defined]
    # a copy may have the time of what it replaces, but is another file, or was changed at another time
    return file.absolute(), found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


def root() -> Path:
    """Return the folder of the cache, made if need be."""
    if (folder := cache_folder("data")) is None:
        raise InputError("there is no folder for rows in a form that maps: FASTGD_CACHE_DIR names one")
    return folder


def limit(folder: Path) -> int:
    """Return the most bytes that the cache may take."""
    given = os.environ.get(LIMIT)
    if given is None:
        return int(max(LEAST_LIMIT, SHARE_OF_DISK * shutil.disk_usage(folder).total))
    try:
        if (found := int(float(given))) < 0:
            raise ValueError(given)
        return found
    except (ValueError, OverflowError):
        raise InputError(f"{LIMIT} must be a number of bytes; found {given!r}") from None


def found_or_made(key: str, source: str, make: Callable[[Path], dict[str, Any]]) -> Entry:
    """Return what the cache has under a key; where it has nothing, one process makes it and others wait.

    Parameters
    ----------
    key : str
    source : str
        What messages call it.
    make : callable
        Writes files into a folder, and returns what is to be known of them.
    """
    cache = root()
    if entry := _opened(cache / key):
        return entry
    with _locked(cache, key, source):
        if entry := _opened(cache / key):
            return entry
        _delete(cache / key)  # what is damaged
        part = cache / f".{key}"
        _delete(part)
        with writing(part):
            part.mkdir(mode=0o700)
        try:
            meta = make(part)
            with writing(part / META):
                files = {path.name: _written(path) for path in sorted(part.iterdir())}
                (part / META).write_text(json.dumps(meta | {"source": source, "files": files}), encoding="utf-8")
                part.rename(cache / key)
        finally:
            _delete(part)
        entry = _opened(cache / key)
    assert entry is not None
    shrink(cache)
    return entry


@contextmanager
def _locked(cache: Path, key: str, source: str) -> Iterator[None]:
    lock = _lock(cache, key)
    try:
        lock.acquire(timeout=1)
    except Timeout:
        _log.warning("waiting for another process, which reads %s (%s)", source, lock.lock_file)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _lock(cache: Path, key: str) -> BaseFileLock:
    locks = cache / "locks"
    locks.mkdir(mode=0o700, exist_ok=True)
    return lock_of(locks / key)


def _opened(folder: Path) -> Entry | None:
    """Return a folder, in use from now on, if its files are there, with the sizes and times that they were written."""
    try:
        if folder not in _used:
            _used[folder] = os.open(folder / META, os.O_RDONLY)
            _lock_together(_used[folder])
        meta = json.loads((folder / META).read_text(encoding="utf-8"))
        if any(_written(folder / name) != written for name, written in meta["files"].items()):
            raise ValueError("a file was changed")
        os.utime(folder / META)
    except (OSError, ValueError, KeyError, TypeError):
        let_go(folder)
        return None
    return Entry(folder, meta)


def _written(file: Path) -> list[int]:
    """Return the size of a file, and when it was written."""
    found = file.stat()
    return [found.st_size, found.st_mtime_ns]


def let_go(folder: Path) -> None:
    """Say that this process does not use a folder any more."""
    if (held := _used.pop(folder, None)) is not None:
        os.close(held)


def _lock_together(file: int, *, alone: bool = False) -> bool:
    """Lock a file as other readers do, or `alone` if nobody else has; return whether it is locked then.

    Where files cannot be locked, none is.
    """
    try:
        import fcntl
    except ImportError:  # Windows, which deletes no file that is mapped
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB if alone else fcntl.LOCK_SH)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _delete(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder, ignore_errors=True)


# --- the bound --------------------------------------------------------------------------------------------------------


class Room:
    """The room for a folder that is being written: others that are not in use make way, so that the bound holds.

    They do so, too, where the disk has no more room. Without a folder of the cache there is nothing to make way.

    Parameters
    ----------
    cache : Path
    source : str
        What messages call what is written.
    """

    def __init__(self, cache: Path, source: str) -> None:
        self._cache, self._source, self._most, self._taken = cache, source, limit(cache), 0
        self._others = sum(entry.bytes for entry in entries(cache))

    def take(self, size: int) -> None:
        """Say that so many bytes are about to be written.

        Raises
        ------
        InputError
            They are more than the cache may take.
        """
        self._taken += size
        if self._taken > self._most:
            raise InputError(
                f"{self._source}: its rows take more than {amount(self._most, 'B')} in a form that maps, which is all "
                f"that may be written to {self._cache}: {LIMIT} = {4 * max(self._most, self._taken)}, for example, in "
                "the environment permits more"
            )
        free = shutil.disk_usage(self._cache).free
        lacking = max(self._others + self._taken - self._most, size + LEFT_FREE - free)
        if lacking > 0 and self._others:
            self._others -= shrink(self._cache, max(0, self._others - lacking))


def entries(cache: Path) -> list[Entry]:
    """Return what is in the cache, that which was used last at the end."""
    found = []
    for meta in cache.glob(f"[!.]*/{META}"):
        with suppress(OSError, ValueError):
            found.append((meta.stat().st_mtime_ns, Entry(meta.parent, json.loads(meta.read_text(encoding="utf-8")))))
    return [entry for _, entry in sorted(found, key=lambda each: each[0])]


def shrink(cache: Path, most: int | None = None) -> int:
    """Delete what was not used for the longest time, and nothing that is in use, until the rest is within the bound.

    Return how many bytes were deleted. What processes that ended had written in part goes, too.
    """
    bound = limit(cache) if most is None else most
    for part in cache.glob(".*"):
        with suppress(Timeout), _lock(cache, part.name[1:]).acquire(timeout=0):
            _delete(part)
    known = entries(cache)
    total = sum(entry.bytes for entry in known)
    freed = 0
    for entry in known:
        if total - freed <= bound:
            break
        size = entry.bytes
        if _given_up(entry.folder):
            freed += size
    return freed


def _given_up(folder: Path) -> bool:
    """Delete a folder unless it is in use; return whether it is gone."""
    with suppress(OSError), (folder / META).open("rb") as meta:
        if _lock_together(meta.fileno(), alone=True):
            hidden = folder.with_name(f".{folder.name}")
            folder.rename(hidden)
            _delete(hidden)
            return True
    return False
