"""Datasets whose rows stay in files: where they come from, and what stands in their folder of the cache."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from fastgd.common.errors import InputError
from fastgd.common.remote import is_remote
from fastgd.common.watched import watched
from fastgd.datasets.mapped import row_cache
from fastgd.datasets.mapped.array_files import RowsWriter, open_matrix, pieces_of, writing
from fastgd.datasets.mapped.row_files import OF_FORMAT, Written, in_place
from fastgd.datasets.readers import csv, npz, svm, tables
from fastgd.datasets.readers.parts import files_of
from fastgd.datasets.readers.reading import COMPRESSED, CORRUPT, Format, Member, Reading, reading
from fastgd.datasets.record import Dataset, Matrix, Numbered, Place, row_number

BESIDE = ("y", "weights", "groups")  # the arrays that are read into memory
UNPACKED = 4  # times its size, roughly, is what a compressed text holds


def read(file: Path, kind: Format, keys: Reading, origin: Literal["map", "stream"]) -> Dataset:
    """Return the dataset of a file, or of a folder of files, whose rows are mapped.

    It equals the dataset that is read into memory, to the fingerprint. What had to be written for it, or computed of
    all rows, is in the cache for the next time.
    """
    keys, key = keys._replace(whole=False), key_of(file, kind, keys)

    def require_same() -> None:
        if key_of(file, kind, keys) != key:
            raise InputError(f"{file}: it was changed while it was read; run again when it is complete")

    def make(folder: Path) -> dict[str, Any]:
        found = _made(file, folder, lambda start: OF_FORMAT[kind](file, keys, start))
        require_same()  # else rows of other files would be found under the name of these
        return found

    entry = row_cache.found_or_made(key, str(file), make)
    dataset = _opened(file, kind, keys, entry)
    dataset = replace(dataset, files=watched(dataset.arrays))
    if "in_place" in entry.meta:
        require_same()
    return replace(dataset, origin=origin)


def keep(file: Path, kind: Format, keys: Reading, dataset: Dataset) -> None:
    """Have what `read` makes of a file in the cache, from what was read into memory, unless it was changed since."""
    if key_of(file, kind, keys) == dataset.key:

        def write(start: Callable[[], RowsWriter]) -> Written:
            if stands := in_place(kind, file):
                return Written(dataset, stands)
            writer = start()
            for rows in pieces_of(dataset.X):
                writer.append(rows)
            writer.close()
            return Written(dataset)

        row_cache.found_or_made(dataset.key, str(file), lambda folder: _made(file, folder, write))


def key_of(file: Path, kind: Format, keys: Reading) -> str:
    """Return the name of what is made of a file, or of a folder of files, as they are now."""
    files = [*_files(file, kind), *(keys.beside if keys.zero_based == "auto" else ())]
    for beside in keys.beside:
        with reading(beside):  # which names it where there is none
            beside.stat()
    root = str(file if is_remote(file) else file.absolute())  # the names of folders below it may make columns
    return row_cache.key_of(files, repr((root, kind, keys._replace(beside=(), whole=False))))


def size_in_memory(file: Path, kind: Format) -> int:
    """Return about how many bytes a file takes in memory, by its headers or its size; nothing is read.

    It is 0 where that cannot be told: the reader says what is wrong.
    """
    try:
        if kind in tables.OPENERS:
            return tables.size_of(kind, files_of(file))[0]
        if kind == "npz":
            return npz.member(file, "X").bytes
        return file.stat().st_size * (UNPACKED if file.suffix.lower() in COMPRESSED else 1)
    except (*CORRUPT, InputError, KeyError):
        return 0


def _files(file: Path, kind: Format) -> list[Path]:
    return files_of(file) if kind in tables.OPENERS else [file]


def _made(file: Path, folder: Path, write: Callable[[Callable[[], RowsWriter]], Written]) -> dict[str, Any]:
    """Write the rows of a file, and what else there is of its dataset, into a folder; return what describes them.

    `write` is given what begins to write rows: it may be called again, and then begins anew.
    """
    writers: list[RowsWriter] = []

    def start() -> RowsWriter:
        for writer in writers:
            writer.abandon()
        writers.append(RowsWriter(folder, str(file), row_cache.Room(folder.parent, str(file)).take))
        return writers[-1]

    try:
        dataset, stands = write(start)
    finally:
        for writer in writers:
            writer.abandon()
    for name in BESIDE:
        if (array := getattr(dataset, name)) is not None:
            with writing(folder / f"{name}.npy"):
                np.save(folder / f"{name}.npy", array)
    numbered = isinstance(dataset.features, Numbered)
    found: dict[str, Any] = {"fingerprint": dataset.fingerprint, "notes": dataset.notes, "targets": dataset.targets}
    found["features"] = len(dataset.features) if numbered else list(dataset.features)
    if stands:
        found["in_place"] = [stands.offset, stands.shape, stands.dtype.str]
    return found


def _opened(file: Path, kind: Format, keys: Reading, entry: row_cache.Entry) -> Dataset:
    """Return the dataset in a folder of the cache."""
    meta, arrays = entry.meta, {name: _array(entry.folder / f"{name}.npy") for name in BESIDE}
    features = Numbered(meta["features"]) if isinstance(meta["features"], int) else tuple(meta["features"])
    return Dataset(
        str(file),
        _rows(file, meta, entry.folder, len(features)),
        arrays["y"],
        features,
        meta["fingerprint"],
        tuple(meta["notes"]),
        _place(file, kind, keys),
        tuple(meta["targets"]),
        weights=arrays["weights"],
        groups=arrays["groups"],
        folder=entry.folder,
    )


def _rows(file: Path, meta: Mapping[str, Any], folder: Path, columns: int) -> Matrix:
    if "in_place" not in meta:
        return open_matrix(folder, columns)
    offset, shape, dtype = meta["in_place"]
    return Member(tuple(shape), np.dtype(dtype), False, offset).map(file)


def _array(file: Path) -> Any:
    return np.load(file, allow_pickle=False) if file.exists() else None


def _place(file: Path, kind: Format, keys: Reading) -> Place:
    if kind == "csv":
        return csv.place_of(file, keys.csv)
    if kind in tables.OPENERS:
        return tables.place_of(kind, file)
    return svm.place_of(file) if kind == "svm" else row_number
