"""NumPy's archives of two arrays, X and y."""

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
        if missing := {"X", "y"}.difference(archive.files):
            raise InputError(f"{file}: no array {min(missing)!r}: found {', '.join(archive.files) or 'none'}")
        packed: Any = archive.zip
        for member in ("X.npy", "y.npy"):
            with packed.open(member) as array:
                check_array(file, member[0], array, packed.getinfo(member).file_size)
        targets = keys.target if isinstance(keys.target, tuple) else ()
        return from_arrays(np.asarray(archive["X"]), np.asarray(archive["y"]), str(file), targets)
