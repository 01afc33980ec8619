"""Curve rows on their way to a file: blocks of a few lanes gather in NumPy buffers until they fill a row group."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fastgd.store.files import ROW_GROUP, TableFile

_DTYPES = {pa.string(): np.object_, pa.int64(): np.int64, pa.float64(): np.float64}


class CurveFile(TableFile):
    """A Parquet file of curves that takes blocks of rows as NumPy arrays.

    The buffers are what makes a block cheap: an Arrow table for each one takes ten times as long at 64 lanes.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._used = 0
        self._values: dict[str, NDArray[Any]] = {
            field.name: np.empty(ROW_GROUP, dtype=_DTYPES[field.type]) for field in self.schema
        }
        self._nulls = {field.name: np.zeros(ROW_GROUP, dtype=bool) for field in self.schema}

    def append(self, block: Mapping[str, Any]) -> None:
        """Add a block of rows; see `CohortWriter.append`."""
        if unknown := [name for name in block if name not in self._values]:
            raise ValueError(f"curves have columns that the study's schema lacks: {unknown}")
        rows, start = len(block["trial_id"]), 0
        while start < rows:
            taken = min(rows - start, ROW_GROUP - self._used)
            self._copy(block, slice(start, start + taken), slice(self._used, self._used + taken))
            start += taken
            self._used += taken
            if self._used == ROW_GROUP:
                self._hand_over()

    def publish(self, empty: bool = False) -> list[str]:
        """Make the file appear, as `TableFile.publish` does."""
        self._hand_over()
        return super().publish(empty)

    def _copy(self, block: Mapping[str, Any], source: slice, target: slice) -> None:
        for name, values in self._values.items():
            column, nulls = block.get(name), self._nulls[name]
            if column is None:
                nulls[target] = True
                continue
            part = column[source] if np.ndim(column) else column
            values[target] = np.ma.getdata(part)
            nulls[target] = np.ma.getmask(part)

    def _hand_over(self) -> None:
        arrays = [
            pa.array(
                self._values[field.name][: self._used], type=field.type, mask=self._nulls[field.name][: self._used]
            )
            for field in self.schema
        ]
        self.write(pa.table(arrays, schema=self.schema))
        self._used = 0
