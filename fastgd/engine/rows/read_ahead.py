"""Rows in mapped files: what is passed over next is read while kernels compute, and what was passed is let go.

The system reads the pages that it is asked for by itself, and keeps what it has room for. Without being asked it reads
a page when a kernel waits for it, and a process would keep all pages that it has seen.
"""

import mmap
from collections.abc import Sequence
from threading import Thread
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastgd.datasets.record import OwnMap
from fastgd.engine.rows.order import BLOCK_ROWS

Array = npt.NDArray[Any]
AHEAD_BYTES = 32 << 20  # of the rows that are asked for: a disk is busy for some milliseconds, and keeps being so
ASKED_BYTES = 128 << 10  # at a time: of more, Linux reads no more than a disk's `read_ahead_kb`, and says nothing
SHARED = ("r", "r+", "w+")  # modes of maps whose pages are those of the file, so that they can be let go
MOST_SPREAD = 32  # times as many rows as are visited that may be read for them: others are read one by one


class MappedArray(NamedTuple):
    """The map that an array is in, the byte where it begins there, and whether fastgd has made it."""

    memory: mmap.mmap
    first: int
    own: bool

    def advise(self, advice: int, start: int, end: int) -> None:
        """Give the system an advice about some of the array's bytes."""
        low = (self.first + start) // mmap.PAGESIZE * mmap.PAGESIZE
        high = min(self.first + end, len(self.memory))
        step = ASKED_BYTES if advice == mmap.MADV_WILLNEED else max(1, high - low)
        for place in range(low, high, step):
            self.memory.madvise(advice, place, min(step, high - place))


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
    begin = np.frombuffer(base, np.uint8).ctypes.data
    return MappedArray(base, array.ctypes.data - begin, any(isinstance(each, OwnMap) for each in opened))


class ReadAhead:
    """Reads the rows of a visit ahead of it.

    Parameters
    ----------
    X : ndarray (N, d), or csr_array (N, d)
        Rows, of which arrays are in mapped files.
    """

    def __init__(self, X: Any) -> None:
        self._rows = X.shape[0]
        arrays = [X] if isinstance(X, np.ndarray) else [X.data, X.indices]
        self._begins = None if isinstance(X, np.ndarray) else np.asarray(X.indptr, np.int64)
        self._maps = [(found, _row_bytes(array)) for array in arrays if (found := mapped(array)) is not None]
        size = sum(array.nbytes for array in arrays)
        self.ahead = max(1, AHEAD_BYTES * self._rows // max(1, size))
        for found, _ in self._maps:
            if found.own:  # or it reads megabytes around each page that is not there, and lets others go
                found.memory.madvise(mmap.MADV_RANDOM)  # which would outlast the run for a map of the user's
        self._asked: dict[int, int] = {}  # of each part that is passed over, up to where it was asked for,
        self._passed: dict[int, int] = {}  # and let go
        self._asking: Thread | None = None

    def __bool__(self) -> bool:
        """Whether any array is in a file."""
        return bool(self._maps)

    def pass_over(self, order: Array, ranges: Sequence[tuple[int, int]]) -> None:
        """Read ahead of some ranges of places of an order, which are passed over next, and let go those before.

        A thread asks for what is not needed yet, while kernels compute.
        """
        if self._asking is not None:
            self._asking.join()
        ahead, later = max(1, self.ahead // len(ranges)), []
        for part, (first, end) in enumerate(ranges):
            if first < self._passed.get(part, end):  # another pass
                self._asked[part] = self._passed[part] = first
            stop = min(len(order), end + ahead)
            if self._asked[part] < end:
                self._advise(mmap.MADV_WILLNEED, order[max(self._asked[part], first) : end])
                self._asked[part] = end
            if self._asked[part] < stop:
                later.append(order[self._asked[part] : stop].copy())
                self._asked[part] = stop
            if self._passed[part] + ahead <= first:
                self._advise(mmap.MADV_DONTNEED, order[self._passed[part] : first])
                self._passed[part] = first
        self._asking = Thread(target=self._ask, args=(later,), name="read ahead", daemon=True)
        self._asking.start()

    def _ask(self, parts: Sequence[Array]) -> None:
        for numbers in parts:
            self._advise(mmap.MADV_WILLNEED, numbers)

    def _advise(self, advice: int, numbers: Array) -> None:
        blocks = np.zeros(-(-self._rows // BLOCK_ROWS) + 2, np.int8)
        blocks[1:-1][numbers // BLOCK_ROWS] = 1
        if int(blocks.sum()) * BLOCK_ROWS > MOST_SPREAD * max(len(numbers), BLOCK_ROWS):
            return
        steps = np.diff(blocks)
        for low, high in zip(np.flatnonzero(steps == 1), np.flatnonzero(steps == -1), strict=True):
            start, end = int(low) * BLOCK_ROWS, min(int(high) * BLOCK_ROWS, self._rows)
            if self._begins is not None:
                start, end = int(self._begins[start]), int(self._begins[end])
            for memory, size in self._maps:
                memory.advise(advice, start * size, end * size)


def _row_bytes(array: Array) -> int:
    """Return the bytes of a row, or of an entry."""
    return array.itemsize * (array.shape[1] if array.ndim > 1 else 1)
