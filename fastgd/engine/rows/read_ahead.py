"""Rows in mapped files: what is passed over next is read while kernels compute, and what was passed is let go.

The system reads the pages that it is asked for by itself, and keeps what it has room for. Without being asked it reads
a page when a kernel waits for it, and a process would keep all pages that it has seen.
"""

import mmap
from collections.abc import Sequence
from threading import Thread
from typing import Any

import numpy as np
import numpy.typing as npt

from fastgd.datasets.mapped.pages import mapped
from fastgd.engine.rows.order import BLOCK_ROWS

Array = npt.NDArray[Any]
AHEAD_BYTES = 32 << 20  # of the rows that are asked for: a disk is busy for some milliseconds, and keeps being so
AT_ONCE = 8  # times as many rows are passed over in one go where the system holds the file, and then let go
MOST_SPREAD = 32  # times as many rows as are visited that may be read for them: others are read one by one


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
        self._parts: dict[int, tuple[int, int]] = {}  # that are passed over: where, and up to where was asked for
        self._passed = 0  # rows since pages were let go
        self._there = False  # whether the system had all that was asked for last
        self._asking: Thread | None = None

    def __bool__(self) -> bool:
        """Whether any array is in a file."""
        return bool(self._maps)

    @property
    def room(self) -> int:
        """How many rows are passed over at a time: more of them where nothing has to be read."""
        return self.ahead * (AT_ONCE if self._there else 1)

    def pass_over(self, order: Array, ranges: Sequence[tuple[int, int]]) -> None:
        """Read ahead of some ranges of places of an order, which are passed over next.

        A thread asks for what is not needed at once, while kernels compute, and not before half of what was asked for
        is passed.
        """
        ahead, room = (max(1, rows // len(ranges)) for rows in (self.ahead, self.room))
        now, later = [], []
        for part, (first, end) in enumerate(ranges):
            before, asked = self._parts.get(part, (end, 0))
            asked, stop = first if first < before else max(asked, first), min(len(order), end + room)
            if asked < min(stop, end + ahead // 2):
                soon = max(asked, min(end, asked + ahead))
                now.append(order[asked:soon])
                later.append(order[soon:stop].copy())
                asked = stop
            self._parts[part] = first, asked
            self._passed += end - first
        if now:
            self._let_go()
            if self._asking is not None:
                self._asking.join()
            self._there = True
            self._ask(now)
            self._asking = Thread(target=self._ask, args=(later,), name="read ahead", daemon=True)
            self._asking.start()

    def _let_go(self) -> None:
        """Give all pages back, and so those that were passed: the others are there again when they are touched.

        To give back those alone would be a call for each block of rows, which stops all threads.
        """
        if self._passed > AT_ONCE * self.ahead:
            self._passed = 0
            for memory, _ in self._maps:
                memory.let_go()

    def _ask(self, parts: Sequence[Array]) -> None:
        for numbers in parts:
            self._read(numbers)

    def _read(self, numbers: Array) -> None:
        blocks = np.zeros(-(-self._rows // BLOCK_ROWS) + 2, np.int8)
        blocks[1:-1][numbers // BLOCK_ROWS] = 1
        if int(blocks.sum()) * BLOCK_ROWS > MOST_SPREAD * max(len(numbers), BLOCK_ROWS):
            self._there = False
            return
        steps = np.diff(blocks)
        for low, high in zip(np.flatnonzero(steps == 1), np.flatnonzero(steps == -1), strict=True):
            start, end = int(low) * BLOCK_ROWS, min(int(high) * BLOCK_ROWS, self._rows)
            if self._begins is not None:
                start, end = int(self._begins[start]), int(self._begins[end])
            for memory, size in self._maps:
                if memory.read(start * size, end * size):
                    self._there = False


def _row_bytes(array: Array) -> int:
    """Return the bytes of a row, or of an entry."""
    return array.itemsize * (array.shape[1] if array.ndim > 1 else 1)
