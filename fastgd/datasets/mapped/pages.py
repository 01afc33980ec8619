"""The pages of mapped files: which of them the system holds, which it is to read, and which this process lets go."""

import ctypes
import mmap
import os
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastgd.datasets.record import OwnMap

Array = npt.NDArray[Any]
ASKED_BYTES = 128 << 10  # at a time: of more, Linux reads no more than a disk's `read_ahead_kb`, and says nothing
SHARED = ("r", "r+", "w+")  # modes of maps whose pages are those of the file, so that they can be let go


class MappedArray(NamedTuple):
    """An array in a map.

    Attributes
    ----------
    memory : mmap
    first : int
        The byte where the array begins there.
    address : int
        Of the map.
    own : bool
        Whether fastgd has made it.
    tells : bool
        Whether the system tells which pages of the file it holds.
    """

    memory: mmap.mmap
    first: int
    address: int
    own: bool
    tells: bool

    def read(self, start: int, end: int) -> bool:
        """Have the system read what it does not hold of some of the array's bytes; return whether it may lack any."""
        low = (self.first + start) // mmap.PAGESIZE * mmap.PAGESIZE
        high = min(self.first + end, len(self.memory))
        missing = self._missing(low, high)
        for place in missing:
            self.memory.madvise(mmap.MADV_WILLNEED, place, min(ASKED_BYTES, high - place))
        return bool(missing)

    def let_go(self) -> None:
        """Give the pages back to the system, which keeps what it has room for."""
        self.memory.madvise(mmap.MADV_DONTNEED)

    def _missing(self, low: int, high: int) -> list[int]:
        """Return where pieces of `ASKED_BYTES` begin of which the system does not hold all pages.

        To ask for pages that are there takes as long as to look for each of them, some microseconds a piece.
        """
        places = np.arange(low, high, ASKED_BYTES)
        held = held_pages(self.address + low, high - low) if self.tells and len(places) else None
        if held is not None:
            places = places[~np.logical_and.reduceat(held, np.arange(len(places)) * (ASKED_BYTES // mmap.PAGESIZE))]
        return [int(place) for place in places]


def mapped(array: Array) -> MappedArray | None:
    """Return in which map an array is; None: in none whose pages can be let go.

    What was written into a copy on write, `np.load(..., mmap_mode="c")`, is in its pages alone: without them, the array
    would be the file's again. Of a map that is no `np.memmap`, nothing tells which it is.
    """
    base: Any = array
    opened: list[Any] = []
    while base is not None and not isinstance(base, mmap.mmap):
        opened += [base] if isinstance(base, np.memmap) else []
        base = base.obj if isinstance(base, memoryview) else getattr(base, "base", None)
    if base is None or not hasattr(base, "madvise") or not opened or opened[-1].mode not in SHARED:
        return None
    address = np.frombuffer(base, np.uint8).ctypes.data
    own = any(isinstance(each, OwnMap) for each in opened)
    return MappedArray(base, array.ctypes.data - address, address, own, _tells(opened[-1].filename))


def _tells(path: Any) -> bool:
    """Whether the system tells which pages of a file it holds: of others than one's own, Linux says that it has all."""
    try:
        return path is not None and (os.stat(path).st_uid == os.geteuid() or os.access(path, os.W_OK))
    except (OSError, AttributeError):
        return False


def held_pages(address: int, size: int) -> Array | None:
    """Return of each page of some bytes of a map whether the system holds it; None where it does not tell."""
    ask = _mincore()
    held = np.zeros(-(-size // mmap.PAGESIZE), np.uint8)
    if ask is None or ask(address, size, held.ctypes.data) != 0:
        return None
    return (held & 1).view(np.bool_)


@lru_cache(1)
def _mincore() -> Any:
    ask = getattr(ctypes.CDLL(None), "mincore", None) if os.name == "posix" else None
    if ask is not None:
        ask.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p]
    return ask
