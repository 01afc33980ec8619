"""NumPy's archives of two arrays, X and y, and of further ones with the rows' weights and groups if there are some."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgd.common.errors import InputError
from fastgd.datasets.arrays import from_arrays
from fastgd.datasets.readers.reading import Reading, check_array
from fastgd.datasets.record import Dataset


def read(file: Path, keys: Reading) -> Dataset:
    """Return the dataset of an .npz file."""
    arrays = _arrays(file, "X", "y", *keys.beside_targets)
    targets = keys.target if isinstance(keys.target, tuple) else ()
    weights = arrays[keys.weights] if keys.weights else None
    called = f"array {keys.weights!r}"
    found = from_arrays(arrays["X"], arrays["y"], str(file), targets, weights, called=called)
    return found if keys.group is None else replace(found, groups=_groups(arrays[keys.group], found, keys.group))


def read_rows(file: Path) -> NDArray[Any]:
    """Return the rows X of an .npz file, which need no targets."""
    return _arrays(file, "X")["X"]


def _arrays(file: Path, *names: str) -> dict[str, NDArray[Any]]:
    """Return arrays of an .npz file by their names."""
    with file.open("rb") as stream:  # np.load leaves a path open where the file is corrupt
        archive = np.load(stream, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            needed = " and ".join(names[:2])
            raise InputError(f"{file}: one array alone; an .npz file must hold the arrays {needed}")
        if missing := set(names).difference(archive.files):
            raise InputError(f"{file}: no array {min(missing)!r}: found {', '.join(archive.files) or 'none'}")
        packed: Any = archive.zip
        for name in names:
            with packed.open(f"{name}.npy") as array:
                check_array(file, name, array, packed.getinfo(f"{name}.npy").file_size)
        return {name: np.asarray(archive[name]) for name in names}


def _groups(values: Any, dataset: Dataset, name: str) -> Any:
    """Return the numbers of the groups (n,) of a dataset's rows."""
    if values.shape != (len(dataset.y),):
        rows = len(dataset.y)
        raise InputError(f"{dataset.name}: array {name!r} must hold one group a row, ({rows},): found {values.shape}")
    return np.unique(values, return_inverse=True)[1]
