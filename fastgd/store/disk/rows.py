"""Rows on their way from NumPy arrays to Arrow tables."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fastgd.store.disk.files import ROW_GROUP_ROWS


class Names:
    """A column of names: `names[codes]`.

    Parameters
    ----------
    names : sequence of str
    codes : ndarray of int, or int
        Of each row, or one for all.
    """

    def __init__(self, names: Sequence[str], codes: Any) -> None:
        self.names, self.codes = names, codes


def table_of(columns: Mapping[str, Any], schema: pa.Schema, rows: int) -> pa.Table:
    """Return a table of rows; arrays are not copied. The columns are those of `PartWriter.append`."""
    return pa.table([_column(columns.get(field.name), field.type, rows) for field in schema], schema=schema)


def made(values: Any) -> Any:
    """Return a column; one that is a function is made here."""
    return values() if callable(values) else values


def _column(values: Any, kind: pa.DataType, rows: int) -> pa.Array:
    if (values := made(values)) is None:
        return pa.nulls(rows, kind)
    if isinstance(values, str):
        values = Names([values], 0)
    if isinstance(values, Names):
        codes = np.broadcast_to(np.asarray(values.codes, np.int32), rows)
        names = pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(list(values.names), pa.string()))
        return names.cast(kind)
    if isinstance(values, list):
        return pa.array(values, kind)
    if np.ndim(values) == 0:
        return pa.array(np.full(rows, values), kind)
    mask = np.ma.getmask(values)
    return pa.array(np.ma.getdata(values), kind, mask=None if mask is np.ma.nomask else mask)


class RowBuffer:
    """Gathers small blocks of rows in NumPy arrays: an Arrow table for each takes ten times as long at 64 rows.

    Parameters
    ----------
    schema : pyarrow.Schema
        Of strings or dictionaries of strings, numbers and truth values.

    Attributes
    ----------
    rows : int
        Rows that wait here.
    """

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema
        self.rows = 0
        self._values: dict[str, NDArray[Any]] = {}
        self._nulls: dict[str, NDArray[np.bool_]] = {}
        self._names = {field.name: _Dictionary() for field in schema if pa.types.is_dictionary(field.type)}

    def gather(self, columns: Mapping[str, Any], rows: int) -> Iterator[pa.Table]:
        """Copy a block of rows, and yield a table whenever there are enough of them for a row group."""
        start = 0
        while start < rows:
            if not self._values:
                self._allocate()
            count = min(rows - start, ROW_GROUP_ROWS - self.rows)
            self._copy(columns, slice(start, start + count), slice(self.rows, self.rows + count))
            start += count
            self.rows += count
            if self.rows == ROW_GROUP_ROWS:
                yield self.take()

    def take(self) -> pa.Table:
        """Return the rows that wait, as a table that owns its arrays; few of them do not keep room for many."""
        if not self.rows:
            return self._schema.empty_table()
        table = pa.table([self._array(field) for field in self._schema], schema=self._schema)
        self._values, self.rows = {}, 0
        return table

    def _allocate(self) -> None:
        for field in self._schema:
            self._values[field.name] = np.empty(ROW_GROUP_ROWS, _dtype(field.type))
            self._nulls[field.name] = np.zeros(ROW_GROUP_ROWS, dtype=bool)

    def _copy(self, columns: Mapping[str, Any], source: slice, target: slice) -> None:
        for name, values in self._values.items():
            column, nulls = made(columns.get(name)), self._nulls[name]
            if column is None:
                nulls[target] = True
                continue
            if name in self._names:
                column = self._names[name].codes(column)
            part = column[source] if np.ndim(column) else column
            values[target] = np.ma.getdata(part)
            nulls[target] = np.ma.getmask(part)

    def _array(self, field: pa.Field) -> pa.Array:
        values, nulls = self._values[field.name][: self.rows], self._nulls[field.name][: self.rows]
        if self.rows < ROW_GROUP_ROWS // 2:
            values = values.copy()
        if field.name not in self._names:
            return pa.array(values, field.type, mask=nulls)
        return pa.DictionaryArray.from_arrays(pa.array(values, mask=nulls), self._names[field.name].known)


class _Dictionary:
    """The distinct names of a dictionary column so far, in the order in which they first came."""

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}
        self._last: Sequence[str] = ()
        self._last_codes = np.zeros(0, np.int32)

    @property
    def known(self) -> pa.Array:
        """The names by their codes."""
        return pa.array(list(self._codes), pa.string())

    def codes(self, column: Names | str) -> Any:
        """Return the code of each row, or one for all."""
        found = Names([column], 0) if isinstance(column, str) else column
        if found.names is not self._last:  # blocks of a part share their names
            self._last = found.names
            self._last_codes = np.array(
                [self._codes.setdefault(name, len(self._codes)) for name in found.names], np.int32
            )
        return self._last_codes[found.codes]


def _dtype(kind: pa.DataType) -> Any:
    if pa.types.is_dictionary(kind):
        return np.int32
    return object if pa.types.is_string(kind) else kind.to_pandas_dtype()
