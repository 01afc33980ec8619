"""Rows that take a study's form as kernels pass over them: as they were loaded, with what is done to each value."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, overload

import numpy as np

from fastgd.common.errors import InputError
from fastgd.datasets.columns import Extremes, Rows, row_blocks
from fastgd.datasets.csr import take, without_zeros
from fastgd.datasets.record import CSR, Floats, Matrix, Scaling


@dataclass(frozen=True, eq=False)
class StagedRows:
    """A matrix of which no copy is made: some rows at a time are standardised and rounded in a buffer.

    A value has the bits that it has in a copy: the mean is subtracted in float64, the deviation divides, and the result
    is rounded to the study's type.

    Attributes
    ----------
    source : ndarray or csr_array (N, d)
        The rows as they were loaded, in memory or in a mapped file.
    scaling : Scaling or None
        What is subtracted and divided by; of sparse rows the deviation alone.
    dtype : dtype
        The study's.
    name : str
        What messages call the data.
    """

    source: Matrix
    scaling: Scaling | None
    dtype: np.dtype[Any]
    name: str

    @property
    def shape(self) -> tuple[int, int]:
        """The numbers of rows and of features."""
        rows, features = self.source.shape
        return int(rows), int(features)

    @property
    def sparse(self) -> bool:
        """Whether the rows are sparse."""
        return not isinstance(self.source, np.ndarray)

    @property
    def size(self) -> int:
        """How many values are stored."""
        return int(self.source.size)

    @property
    def values(self) -> Floats:
        """All stored values as they were loaded."""
        return self.source if isinstance(self.source, np.ndarray) else self.source.data

    @overload
    def form(self, rows: Floats) -> Floats: ...

    @overload
    def form(self, rows: CSR) -> CSR: ...

    @overload
    def form(self, rows: Matrix) -> Matrix: ...

    def form(self, rows: Any) -> Any:
        """Return some of the source's rows in the study's form; a sparse value that is too small for it becomes 0."""
        if not isinstance(rows, np.ndarray):
            return without_zeros(self.sizes(rows.data, rows.indices), rows.indices, rows.indptr, rows.shape)
        with np.errstate(over="ignore"):
            scaled = rows if self.scaling is None else (rows - self.scaling.mean) / self.scaling.deviation
            return scaled.astype(self.dtype, copy=False)

    def sizes(self, values: Floats, columns: Any) -> Floats:
        """Return values of sparse rows, which are in these columns, in the study's form."""
        with np.errstate(over="ignore"):
            scaled = values if self.scaling is None else values / self.scaling.deviation[columns]
            return scaled.astype(self.dtype, copy=False)

    def largest(self, extremes: Extremes) -> float:
        """Return the largest absolute value in the study's form, of source columns with these extremes.

        Forms keep the order of values, so that those of the extremes are the extremes.

        Raises
        ------
        InputError
            A value is too large for the study's type, or a sparse one so small that it would be 0.
        """
        if self.sparse:
            of_all = slice(None)
            low, high = (self.sizes(each, of_all) for each in extremes)
            if (low == 0).any():
                raise InputError(
                    f"{self.name}: features are too small for dtype = {self.dtype.name!r}: they would be 0, and sparse "
                    'rows in files keep the entries that they have; dtype = "float64" or source = "memory" would do'
                )
        else:
            low, high = self.form(np.stack(extremes))
        self._check(low, high)
        return float(max(np.abs(low).max(), np.abs(high).max()))

    def _check(self, *values: Floats) -> None:
        if not all(np.isfinite(each).all() for each in values):
            raise InputError(f"{self.name}: features are too large for dtype = {self.dtype.name!r}")

    def copied(self, rows: Rows | None = None) -> Matrix:
        """Return some rows (None: all of them) in the study's form."""
        if not isinstance(self.source, np.ndarray):
            found = self.form(self.source if rows is None else take(self.source, rows))
            self._check(np.asarray(found.data))
            return found
        out: Floats = np.empty((self.shape[0] if rows is None else len(rows), self.shape[1]), self.dtype)
        start = 0
        for block in row_blocks(self.source, rows):
            part = out[start : start + len(block)]
            part[:] = self.form(block)
            self._check(part)
            start += len(part)
        return out


def blocks_of(X: "Matrix | StagedRows", rows: Rows | None) -> Iterator[Matrix]:
    """Yield some rows (None: all of them) as kernels see them, a block at a time."""
    if isinstance(X, StagedRows):
        yield from map(X.form, row_blocks(X.source, rows))
    else:
        yield from row_blocks(X, rows)
