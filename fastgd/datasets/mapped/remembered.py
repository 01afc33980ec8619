"""What was computed in a pass over rows in files: kept beside them, so that the next study starts at once."""

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = tuple[NDArray[Any], ...]
FOLDER = "computed"


def remembered(folder: Path | None, key: str, compute: Callable[[], Arrays]) -> Arrays:
    """Return arrays that a key of a dataset decides, as they were computed before, or now.

    Parameters
    ----------
    folder : Path or None
        That of the dataset; None: it has none, and they are computed.
    key : str
        All that decides the arrays, beside the dataset.
    compute : callable
        Returns them.
    """
    if folder is None:
        return compute()
    file = folder / FOLDER / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.npz"
    with suppress(OSError, ValueError, KeyError, EOFError), np.load(file, allow_pickle=False) as stored:
        own, *arrays = (stored[name] for name in stored.files)
        if str(own) == key:
            return tuple(arrays)
    found = compute()
    _write(file, key, found)
    return found


def _write(file: Path, key: str, arrays: Arrays) -> None:
    """Keep arrays; a full disk, or one that is only read, costs the next study a pass and nothing else."""
    part = file.with_name(f".{file.name}.{os.getpid()}")
    with suppress(OSError):
        file.parent.mkdir(exist_ok=True)
        try:
            with part.open("wb") as stream:
                np.savez(stream, np.array(key), *arrays)
            part.replace(file)
        finally:
            part.unlink(missing_ok=True)
