"""The flights: counted, documented, and recomputed from the file row by row with pandas."""

import re
from importlib.resources import files
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fastgd.datasets import Source, load, prepare


@pytest.fixture(scope="module")
def flights():
    return load(Source(dataset="flights", target="late"))


@pytest.fixture(scope="module")
def planned():
    """All 336,776 rows, and with them the timetable's counts."""
    frame = pd.read_parquet(files("fastgd") / "data" / "flights.parquet")
    frame["when"] = pd.to_datetime({"year": 2013, "month": frame.month, "day": frame.day})
    frame["hour"] = frame.sched_dep_time // 100
    for name, keys in {"day": ["when"], "hour": ["when", "hour"], "carrier": ["when", "carrier"]}.items():
        groups = frame.groupby(["origin", *keys], observed=True).distance
        frame[f"{name}_flights"] = groups.transform("size")
    frame["dest_flights"] = frame.groupby("dest", observed=True).distance.transform("size")
    return frame


def test_flights_without_an_arrival_are_left_out_and_counted(flights, planned):
    assert len(planned) == 336_776
    assert flights.notes == ("9,430 of 336,776 flights left out: cancelled, diverted or no arrival known",)
    arrived = planned.arr_delay.dropna()
    np.testing.assert_array_equal(flights.y == "yes", arrived > 15)
    assert np.mean(flights.y == "yes") == pytest.approx(0.237, abs=5e-4)


def test_each_feature_is_what_the_timetable_says(flights, planned):
    X = pd.DataFrame(flights.X, columns=list(flights.features))
    rows = planned[planned.arr_delay.notna()].reset_index(drop=True)
    departure, arrival = (rows[c] // 100 * 60 + rows[c] % 100 for c in ("sched_dep_time", "sched_arr_time"))
    expected = {
        "departure": departure / 1440,
        "distance": rows.distance / 1000,
        "log_distance": np.log(rows.distance / 1000),
        "clock_hours": ((arrival - departure) % 1440) / 60,
        "day_flights": rows.day_flights / 100,
        "hour_flights": rows.hour_flights / 10,
        "carrier_share": rows.carrier_flights / rows.day_flights,
        "log_dest_flights": np.log(rows.dest_flights),
        "carrier_small": rows.carrier.isin(["AS", "F9", "HA", "OO", "YV"]),
    }
    for name, turn, harmonics in [
        ("departure", departure / 1440, 2),
        ("arrival", arrival / 1440, 2),
        ("year", (rows.when.dt.day_of_year - 1) / 365, 3),
    ]:
        for k in range(1, harmonics + 1):
            expected |= {f"{name}_sin{k}": np.sin(2 * np.pi * k * turn), f"{name}_cos{k}": np.cos(2 * np.pi * k * turn)}
    rows["weekday"] = rows.when.dt.day_name().str.lower()
    for column in ("weekday", "origin", "carrier", "dest"):
        for feature in X.columns[X.columns.str.startswith(f"{column}_")].difference(list(expected)):
            expected[feature] = rows[column] == feature.removeprefix(f"{column}_")
    assert set(expected) == set(X.columns)
    for name, values in expected.items():
        np.testing.assert_allclose(X[name], values.astype(float), rtol=0, atol=1e-11, err_msg=name)
    assert X.filter(regex="^(weekday|origin|carrier|dest)_(?!share)").isin([0.0, 1.0]).all(axis=None)
    # The larger groups have columns; none is left to chance.
    assert set(rows.carrier.unique()) == {"UA", "AS", "F9", "HA", "OO", "YV"} | {
        name.removeprefix("carrier_") for name in X.columns if re.fullmatch("carrier_[0-9A-Z]{2}", name)
    }
    largest = planned.dest.value_counts().index[:12]
    assert {f"dest_{name}" for name in largest} == {name for name in X.columns if name.startswith("dest_")}


def test_no_feature_is_a_combination_of_others(flights):
    """So that the objective has one minimiser, with the intercept too."""
    X = np.column_stack([np.ones(len(flights.y)), flights.X])
    X /= np.sqrt((X * X).mean(axis=0))
    eigenvalues = np.linalg.eigvalsh(X.T @ X / len(X))
    assert eigenvalues[0] > 1e-5 * eigenvalues[-1]


def test_no_feature_gives_the_target_away(flights):
    late = (flights.y == "yes").astype(float)
    correlations = np.corrcoef(flights.X.T, late)[-1, :-1]
    assert np.abs(correlations).max() < 0.25  # that of dep_delay, which is left out, is 0.60


def test_flights_need_no_positive_and_take_either_label(flights):
    yes = prepare(flights, targets="binary", positive="yes")
    assert yes.y.mean() == pytest.approx(0.237, abs=5e-4)
    plain = prepare(flights, targets="binary")
    np.testing.assert_array_equal(plain.y, yes.y)
    assert plain.fingerprint == yes.fingerprint
    assert plain.X is flights.X
    no = prepare(flights, targets="binary", positive="no")
    np.testing.assert_array_equal(no.y, 1 - yes.y)
    assert no.fingerprint != yes.fingerprint


def test_the_documentation_lists_each_feature_in_order(flights):
    text = (Path(__file__).parents[1] / "docs" / "data.md").read_text(encoding="utf-8")
    table = text.partition("### Features")[2].partition("\n#")[0]
    listed = re.findall(r"^\| `(\w+)` \|", table, flags=re.MULTILINE)
    assert listed == list(flights.features)
