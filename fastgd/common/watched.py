"""Files that are mapped while a study runs: of one that is changed meanwhile, numbers would be of no data at all."""

import os
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from fastgd.common.errors import InputError


class Watched(NamedTuple):
    """A file as it was: what a path leads to, its size in bytes, and when it was written in nanoseconds since 1970."""

    path: str
    which: tuple[int, int]
    size: int
    written: int

    @classmethod
    def of(cls, path: str) -> Self | None:
        """Return a file as it is now; None: it is gone, and what is mapped of it stays as it is."""
        try:
            found = os.stat(path)
        except OSError:
            return None
        return cls(path, (found.st_dev, found.st_ino), found.st_size, found.st_mtime_ns)

    @property
    def changed(self) -> bool:
        """Whether it was written to; another file in its place leaves what is mapped as it is."""
        now = self.of(self.path)
        return now is not None and now.which == self.which and now != self


def watched(arrays: Iterable[NDArray[Any]]) -> tuple[Watched, ...]:
    """Return the files that arrays are mapped from, as they are now."""
    paths = dict.fromkeys(path for array in arrays for path in _paths(array))
    return tuple(found for path in paths if (found := Watched.of(path)))


def _paths(array: Any) -> Iterator[str]:
    """Yield the path of the file that an array is mapped from, if its own program does not write to the file so."""
    while array is not None:
        if isinstance(array, np.memmap) and array.filename is not None and array.mode in ("r", "c"):
            yield os.fspath(array.filename)
        array = getattr(array, "base", None)


def require_unchanged(files: Iterable[Watched]) -> None:
    """Raise InputError where one of some files was changed since it was watched."""
    for file in files:
        if file.changed:
            raise InputError(
                f"{file.path}: the file was changed while its rows were in use, which are read from there: what was "
                'stored before stays; let files be as they are while a study runs, or choose source = "memory"'
            )
