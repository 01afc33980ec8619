"""NumPy's archives of two arrays, X and y, and of a third one with the rows' weights if there are some."""

from pathlib import Path
from typing import Any

import numpy as np

from fastgd.common.errors import InputError
from fastgd.datasets.arrays import from_arrays
from fastgd.datasets.readers.reading import Reading, check_array
from fastgd.datasets.record import Dataset


def read(file: Path, keys: Reading) -> Dataset:
    """Return the dataset of an .npz file."""
    with file.open("rb") as stream:  # np.load leaves a path open where the file is corrupt
        archive = np.load(stream, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise InputError(f"{file}: one array alone; an .npz file must hold the arrays X and y")
        names = ["X", "y"] if keys.weights is None else ["X", "y", keys.weights]
        if missing := set(names).difference(archive.files):
            raise InputError(f"{file}: no array {min(missing)!r}: found {', '.join(archive.files) or 'none'}")
        packed: Any = archive.zip
        for name in names:
            with packed.open(f"{name}.npy") as array:
                check_array(file, name, array, packed.getinfo(f"{name}.npy").file_size)
        X, y, *weights = (np.asarray(archive[name]) for name in names)
        targets = keys.target if isinstance(keys.target, tuple) else ()
        return from_arrays(X, y, str(file), targets, *weights, called=f"array {keys.weights!r}")
