"""Trials of a results folder by number: which trial each row of a table belongs to."""

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

_MOST_STARTS = 1 << 32  # more than a configuration has


class TrialPlaces:
    """Finds the place of a trial in a table of trials, for millions of rows at once.

    Parameters
    ----------
    trials : pandas.DataFrame
        `trial_id` and, on landscapes, `start`.
    """

    def __init__(self, trials: pd.DataFrame) -> None:
        self._ids = pd.Index(trials["trial_id"].unique())
        keys = self._keys(pa.Table.from_pandas(trials, preserve_index=False))
        self._order = np.argsort(keys, kind="stable")
        self._sorted = keys[self._order]

    def of(self, table: pa.Table) -> NDArray[np.int64]:
        """Return the place of each row's trial; -1 where it is none of them."""
        keys = self._keys(table)
        if not len(self._sorted):
            return np.full(len(keys), -1)
        at = np.searchsorted(self._sorted, keys).clip(max=len(self._sorted) - 1)
        return np.where(self._sorted[at] == keys, self._order[at], -1)

    def _keys(self, table: pa.Table) -> NDArray[np.int64]:
        ids = table["trial_id"].combine_chunks()
        if not pa.types.is_dictionary(ids.type):
            ids = ids.dictionary_encode()
        codes = np.append(self._ids.get_indexer(pd.Index(ids.dictionary.to_pylist())), -1)
        rows = ids.indices.fill_null(len(codes) - 1).to_numpy(zero_copy_only=False)
        keys: NDArray[np.int64] = codes[rows] * _MOST_STARTS
        return keys + table["start"].to_numpy() if "start" in table.column_names else keys
