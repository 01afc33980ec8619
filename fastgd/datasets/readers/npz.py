"""NumPy's archives of two arrays, X and y, and of further ones with the rows' weights and groups if there are some."""

import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgd.common.errors import InputError
from fastgd.common.remote import is_remote
from fastgd.datasets.arrays import from_arrays
from fastgd.datasets.readers.reading import Member, Reading, check_array
from fastgd.datasets.record import Dataset

LOCAL_HEADER_BYTES = 30  # of a member of an archive, before its name
BYTES_PER_READ = 1 << 22


def read(file: Path, keys: Reading) -> Dataset:
    """Return the dataset of an .npz file."""
    found = arrays(file, "X", "y", *keys.beside_targets)
    return dataset_of(file, found["X"], found, keys)


def dataset_of(file: Path, X: NDArray[Any], beside: Mapping[str, NDArray[Any]], keys: Reading) -> Dataset:
    """Return the dataset of the arrays of a file: its rows, and those `beside` them."""
    targets = keys.target if isinstance(keys.target, tuple) else ()
    weights = beside[keys.weights] if keys.weights else None
    called = f"array {keys.weights!r}"
    found = from_arrays(X, beside["y"], str(file), targets, weights, called=called)
    return found if keys.group is None else replace(found, groups=_groups(beside[keys.group], found, keys.group))


def read_rows(file: Path) -> NDArray[Any]:
    """Return the rows X of an .npz file, which need no targets."""
    return arrays(file, "X")["X"]


def arrays(file: Path, *names: str) -> dict[str, NDArray[Any]]:
    """Return arrays of an .npz file by their names."""
    with file.open("rb") as stream:  # np.load leaves a path open where the file is corrupt
        archive = np.load(stream, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            needed = " and ".join(names[:2] if "X" in names else ("X", names[0]))
            raise InputError(f"{file}: one array alone; an .npz file must hold the arrays {needed}")
        if missing := set(names).difference(archive.files):
            raise InputError(f"{file}: no array {min(missing)!r}: found {', '.join(archive.files) or 'none'}")
        packed: Any = archive.zip
        for name in names:
            with packed.open(f"{name}.npy") as array:
                check_array(file, name, array, packed.getinfo(f"{name}.npy").file_size)
        return {name: np.asarray(archive[name]) for name in names}


def member(file: Path, name: str) -> Member:
    """Return where an array of an .npz file stands; it is not read, and memory need not hold it."""
    with file.open("rb") as content, zipfile.ZipFile(content) as archive:
        info = archive.getinfo(f"{name}.npy")
        with archive.open(info) as stream:
            shape, columns_first, dtype = check_array(file, name, stream, info.file_size, whole=False)
            start = stream.tell()
        if info.compress_type != zipfile.ZIP_STORED or is_remote(file):
            return Member(shape, dtype, columns_first, None)
    with file.open("rb") as stream:
        stream.seek(info.header_offset)
        header = stream.read(LOCAL_HEADER_BYTES)
    lengths = sum(int.from_bytes(header[at : at + 2], "little") for at in (26, 28))  # of its name, and what follows
    return Member(shape, dtype, columns_first, info.header_offset + LOCAL_HEADER_BYTES + lengths + start)


def check_sum(file: Path, name: str) -> None:
    """Read an array to its end, where the archive has a checksum of it: who uses it as it stands does not see that."""
    with file.open("rb") as content, zipfile.ZipFile(content) as archive, archive.open(f"{name}.npy") as stream:
        while stream.read(BYTES_PER_READ):
            pass


def pieces(file: Path, name: str, found: Member, values: int) -> Iterator[NDArray[Any]]:
    """Yield an array in blocks of rows, of about so many values."""
    width = int(np.prod(found.shape[1:], dtype=object))
    step = max(1, values // max(1, width))
    if found.offset is not None:
        whole = found.map(file)
        yield from (whole[start : start + step] for start in range(0, found.shape[0], step))
        return
    if found.columns_first:
        raise InputError(
            f"{file}: {name} is stored in the order of its columns, and cannot be read in pieces: store "
            f"np.ascontiguousarray({name}), or without compression in a file of this machine"
        )
    with file.open("rb") as content, zipfile.ZipFile(content) as archive, archive.open(f"{name}.npy") as stream:
        check_array(file, name, stream, archive.getinfo(f"{name}.npy").file_size, whole=False)
        for start in range(0, found.shape[0], step):
            rows = min(step, found.shape[0] - start)
            values_read = stream.read(rows * width * found.dtype.itemsize)
            yield np.frombuffer(values_read, found.dtype).reshape(rows, *found.shape[1:])


def _groups(values: Any, dataset: Dataset, name: str) -> Any:
    """Return the numbers of the groups (n,) of a dataset's rows."""
    if values.shape != (len(dataset.y),):
        rows = len(dataset.y)
        raise InputError(f"{dataset.name}: array {name!r} must hold one group a row, ({rows},): found {values.shape}")
    return np.unique(values, return_inverse=True)[1]
