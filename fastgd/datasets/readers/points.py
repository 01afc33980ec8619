"""Files of points: a row of numbers for each point, without a target."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgd.common.errors import InputError
from fastgd.datasets import frames
from fastgd.datasets.arrays import build
from fastgd.datasets.readers import csv, tables
from fastgd.datasets.readers.csv_keys import Csv
from fastgd.datasets.readers.reading import EXTENSIONS, Reading, check_array, reading
from fastgd.datasets.record import Dataset, Place

OF_TABLES = tuple(suffix for suffix, kind in EXTENSIONS.items() if kind in tables.OPENERS)
POINT_SUFFIXES = (".csv", *OF_TABLES, ".npy")


def load_points(file: Path) -> NDArray[np.float64]:
    """Return the points (n, d) of a file, checked as features are.

    A .csv file may have no header: a first line of numbers is a point, unless it counts 0, 1, ... as pandas names
    columns. The index that pandas stores in a table is no coordinate.

    Raises
    ------
    InputError
        Naming the file, and where there is one the row and column.
    """
    with reading(file):
        match file.suffix.lower():
            case ".csv":
                points = _of_csv(file)
            case suffix if suffix in OF_TABLES:
                frame, place = tables.read_frame(EXTENSIONS[suffix], file)
                points = _of_frame(frame, file, place)
            case ".npy":
                with file.open("rb") as stream:
                    check_array(file, "the array", stream)
                    stream.seek(0)
                    array = np.asarray(np.load(stream, allow_pickle=False))
                points = build(str(file), array, np.zeros(array.shape[:1]))
            case _:
                raise InputError(f"{file} must end in one of {', '.join(POINT_SUFFIXES)}")
    return np.asarray(points.X, np.float64)


def _of_csv(file: Path) -> Dataset:
    first = csv.first_fields(file)
    numbers = [csv.is_numeric(field) for field in first]
    if any(numbers) and (not all(numbers) or first == [str(j) for j in range(len(first))]):  # pandas names columns so
        shown = ",".join(first[:5]) + (",..." if len(first) > 5 else "")
        raise InputError(f"{file}: the first line, {shown}, may be a point or names; write a line of names above it")
    keys = Reading(None, "auto", None, Csv(header=False if any(numbers) else "infer"), ())
    frame, place = csv.read_frame(file, keys, has_target=False)
    return _of_frame(frame, file, place)


def _of_frame(frame: Any, file: Path, place: Place) -> Dataset:
    X = frames.numbers(frame, str(file), place)
    return build(str(file), X, np.zeros(len(frame)), tuple(frame.columns), place=place)
