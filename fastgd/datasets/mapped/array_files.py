"""Arrays that are written some rows at a time into files in NumPy's format, and mapped when they are whole."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from fastgd.common.errors import InputError
from fastgd.datasets.csr import assembled, canonical, cut
from fastgd.datasets.record import CSR, Floats, Matrix, OwnMap

VALUES_AT_ONCE = 1 << 21  # that are read and written together
Check = Callable[[int], None]  # is told how many bytes were written


@contextmanager
def writing(file: Path) -> Iterator[None]:
    """Turn what the system refuses while a file is written into InputError."""
    try:
        yield
    except OSError as error:
        raise InputError(f"cannot write {file}: {error.strerror or error}") from error


def mapped(file: Path) -> NDArray[Any]:
    """Return an array as it stands in a file, which is read as it is needed."""
    return np.asarray(np.load(file, mmap_mode="r", allow_pickle=False).view(OwnMap))


class ArrayFile:
    """An array whose rows are appended. NumPy's header has room for any number of them.

    Parameters
    ----------
    file : Path
    dtype : dtype
    row : tuple of int
        The shape of a row.
    check : callable
    """

    def __init__(self, file: Path, dtype: Any, row: tuple[int, ...], check: Check) -> None:
        self.file, self.dtype, self._row, self._check, self._rows = file, np.dtype(dtype), row, check, 0
        with writing(file):
            self._stream: IO[bytes] = file.open("wb")

    def _write_header(self) -> None:
        shape = (self._rows, *self._row)
        header = {"descr": np.lib.format.dtype_to_descr(self.dtype), "fortran_order": False, "shape": shape}
        with writing(self.file):
            self._stream.seek(0)
            np.lib.format.write_array_header_1_0(self._stream, header)

    def append(self, rows: NDArray[Any]) -> None:
        """Write rows behind the others."""
        rows = np.ascontiguousarray(rows, self.dtype)
        self._check(rows.nbytes)
        if not self._rows:
            self._write_header()
        with writing(self.file):
            self._stream.write(rows.reshape(-1).view(np.uint8).data)
        self._rows += len(rows)

    def close(self) -> NDArray[Any]:
        """Return the array, mapped."""
        self._write_header()
        with writing(self.file):
            self._stream.close()
        return mapped(self.file)

    def abandon(self) -> None:
        """Close the file as it is."""
        with suppress(OSError):  # what waits to be written may find no place
            self._stream.close()


class RowsWriter:
    """The rows X of a dataset on their way into a folder: dense or sparse, as the first of them are.

    Parameters
    ----------
    folder : Path
    name : str
        What messages call the dataset.
    check : callable
    """

    def __init__(self, folder: Path, name: str, check: Check) -> None:
        self._folder, self._name, self._check = folder, name, check
        self._files: dict[str, ArrayFile] = {}
        self.rows = self.columns = self._entries = 0

    def append(self, X: Any) -> None:
        """Write rows (k, d), or sparse ones, of which later ones may have more columns."""
        if isinstance(X, np.ndarray):
            self._into("X", X, X.shape[1:])
        else:
            csr = canonical(X, self._name)
            if not self._files:
                self._into("indptr", np.zeros(1, np.int64))
            self._into("data", np.asarray(csr.data))
            self._into("indices", csr.indices)
            self._into("indptr", csr.indptr[1:] + self._entries)
            self._entries += csr.nnz
        self.rows, self.columns = self.rows + X.shape[0], max(self.columns, X.shape[1])

    def _into(self, name: str, array: NDArray[Any], row: tuple[int, ...] = ()) -> None:
        if name not in self._files:
            self._files[name] = ArrayFile(self._folder / f"{name}.npy", array.dtype, row, self._check)
        self._files[name].append(array)

    def close(self, columns: int | None = None) -> Matrix:
        """Return all rows, mapped; `columns`: how many they have, where they are sparse."""
        arrays = {name: file.close() for name, file in self._files.items()}
        return matrix(arrays, columns or self.columns)

    def abandon(self) -> None:
        """Close the files as they are."""
        for file in self._files.values():
            file.abandon()


def pieces_of(X: Matrix) -> Iterator[Matrix]:
    """Yield rows in memory some at a time."""
    step = max(1, VALUES_AT_ONCE * X.shape[0] // max(1, X.size))
    for start in range(0, X.shape[0], step):
        yield X[start : start + step] if isinstance(X, np.ndarray) else cut(X, start, start + step)


def matrix(arrays: dict[str, NDArray[Any]], columns: int) -> Matrix:
    """Return rows of the arrays that `RowsWriter` made files of."""
    if "X" in arrays:
        return arrays["X"]
    return sparse_matrix(arrays, columns)


def sparse_matrix(arrays: dict[str, NDArray[Any]], columns: int) -> CSR:
    """Return sparse rows of their arrays."""
    data: Floats = arrays["data"]
    return assembled(data, arrays["indices"], arrays["indptr"], (len(arrays["indptr"]) - 1, columns))


def open_matrix(folder: Path, columns: int) -> Matrix:
    """Return the rows in a folder, mapped."""
    names = ("X",) if (folder / "X.npy").exists() else ("data", "indices", "indptr")
    return matrix({name: mapped(folder / f"{name}.npy") for name in names}, columns)
