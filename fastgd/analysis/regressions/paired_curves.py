"""The curves of pairs of trials side by side, some pairs at a time: those of a large study do not fit into memory.

The trials of a cohort are written together, so that each row group holds the curves of few of them. A first pass over
the names of the rows finds which pairs a row group may hold; then some pairs at a time are read from the row groups
that may hold them. Whatever the order in a folder is, no more than `ROWS` rows, and those of one pair, are in memory.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pds
from numpy.typing import NDArray

from fastgd.analysis.stored_study import StoredStudy
from fastgd.common.errors import InputError

ROWS = 2_000_000  # of both studies that are in memory at once
_KEYS = {"trial_id", "start", "step"}
_TIMES = {"train_seconds"}  # no two runs have the same

Whole = NDArray[np.int64]


class Rows(NamedTuple):
    """Rows of curves in the order of pairs and steps: the number of each one's pair, its step, and its values."""

    pair: Whole
    step: Whole
    values: dict[str, NDArray[Any]]

    @property
    def first(self) -> Whole:
        """Where the rows of each pair begin."""
        return np.flatnonzero(np.diff(self.pair, prepend=-1))


class Curves:
    """The curves of the trials of one study that have a partner.

    Parameters
    ----------
    study : StoredStudy
    ids : sequence of str
        Of the trials.
    codes, starts : ndarray (P,)
        For each pair, its place in `ids`, and its start.
    """

    def __init__(self, study: StoredStudy, ids: Sequence[str], codes: Whole, starts: Whole) -> None:
        self.study, self._ids = study, pa.array(list(ids), pa.string())
        self._starts = 1 + int(starts.max(initial=0))
        keys = codes * self._starts + starts
        self._order = np.argsort(keys, kind="stable")
        self._keys = keys[self._order]
        dataset = study.curves_dataset
        self._schema, self.columns = dataset.schema, set(dataset.schema.names) - _KEYS - _TIMES
        self._pieces = [piece for file in dataset.get_fragments() for piece in file.split_by_row_group()]
        self.rows = np.zeros(len(codes), np.int64)
        self._low, self._high = np.zeros(len(self._pieces), np.int64), np.full(len(self._pieces), -1)
        for place, piece in enumerate(self._pieces):
            pairs = self._pairs(self._read(piece, []))
            pairs = pairs[pairs >= 0]
            self.rows += np.bincount(pairs, minlength=len(codes))
            if len(pairs):
                self._low[place], self._high[place] = pairs.min(), pairs.max()

    def between(self, low: int, high: int, columns: Sequence[str]) -> Rows:
        """Return the rows of the pairs from `low` up to and without `high`."""
        found: list[tuple[Whole, pa.Table]] = []
        for place in np.flatnonzero((self._low < high) & (self._high >= low)):
            table = self._read(self._pieces[place], ["step", *columns])
            pairs = self._pairs(table)
            own = np.flatnonzero((pairs >= low) & (pairs < high))
            found.append((pairs[own], table.select(["step", *columns]).take(own)))
        if not found:
            return Rows(np.zeros(0, np.int64), np.zeros(0, np.int64), {name: np.zeros(0) for name in columns})
        pair, table = np.concatenate([pairs for pairs, _ in found]), pa.concat_tables([rows for _, rows in found])
        step = table["step"].to_numpy()
        order = np.lexsort((step, pair))
        return Rows(pair[order], step[order], {name: table[name].to_numpy()[order] for name in columns})

    def _read(self, piece: pds.Fragment, columns: Sequence[str]) -> pa.Table:
        names = [name for name in ("trial_id", "start") if name in self._schema.names]
        try:
            return piece.to_table(columns=[*names, *columns], schema=self._schema)
        except (pa.ArrowException, OSError) as error:
            path = self.study.path
            raise InputError(f"the curves of {path} cannot be read ({error}): see `fastgd verify {path}`") from error

    def _pairs(self, rows: pa.Table) -> Whole:
        """Return the number of each row's pair, -1 where its trial has no partner."""
        code = np.concatenate([self._codes(chunk) for chunk in rows["trial_id"].chunks] or [np.zeros(0, np.int64)])
        start = rows["start"].to_numpy() if "start" in rows.column_names else np.zeros(len(code), np.int64)
        key = np.where((code >= 0) & (start < self._starts), code * self._starts + start, -1)
        place = np.minimum(np.searchsorted(self._keys, key), len(self._keys) - 1)
        return np.asarray(np.where(self._keys[place] == key, self._order[place], -1))

    def _codes(self, ids: pa.Array) -> Whole:
        if pa.types.is_dictionary(ids.type):
            return np.asarray(self._codes(ids.dictionary)[ids.indices.to_numpy()])
        return np.asarray(
            pc.fill_null(pc.index_in(ids, value_set=self._ids), -1).to_numpy(zero_copy_only=False), np.int64
        )


def side_by_side(base: Curves, new: Curves) -> Iterator[tuple[int, int, Rows, Rows]]:
    """Yield the curves of both studies for pairs from one number up to and without another."""
    columns = sorted(base.columns & new.columns)
    # Pairs are cut into pieces of about as many rows.
    piece = np.cumsum(base.rows + new.rows) // ROWS
    ends = [0, *np.flatnonzero(np.diff(piece)) + 1, len(piece)]
    for low, high in pairwise(ends):
        yield int(low), int(high), base.between(low, high, columns), new.between(low, high, columns)
