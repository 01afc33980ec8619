"""Trained models as files: arrays in an .npz, and beside them as JSON what they mean. Nothing is unpickled."""

import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgd.common.errors import InputError
from fastgd.common.folders import expanded
from fastgd.common.parsing import fault_of, from_json
from fastgd.datasets.readers.reading import check_array, reading
from fastgd.store.disk.files import replacing, writing

FORMAT = 1  # of these files: a file of another one is refused
HEADER = "model"
Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Header:
    """What a file of a model says beside its arrays.

    `features` are names, or how many columns there are that have none; `layers` are names with activations.
    """

    format: int
    fastgd: str
    study: str
    trial_id: str
    fingerprint: str
    rows: int
    loss: str
    classes: list[str | float | bool]
    features: list[str] | int
    layers: list[dict[str, str | None]]
    targets: list[str]
    sparse: bool
    constant_columns: int
    rounded_columns: int
    zero_based: bool | None
    csv: dict[str, Any]


def model_path(path: str | Path) -> Path:
    """Return where a model is written, or raise InputError."""
    file = expanded(path)
    if file.suffix != ".npz":
        raise InputError(f"{file}: a model is written to a .npz file")
    return file


def write_model(path: str | Path, header: Header, arrays: Arrays) -> Path:
    """Write a file that appears whole or not at all, and return its path."""
    file = model_path(path)
    with writing(file):
        file.parent.mkdir(parents=True, exist_ok=True)
    with replacing(file) as stream:
        np.savez(stream, allow_pickle=False, **{HEADER: np.array(json.dumps(asdict(header)))}, **arrays)
    return file


def read_model(path: str | Path) -> tuple[Header, dict[str, NDArray[np.float64]]]:
    """Return what a file holds.

    Raises
    ------
    InputError
        There is no such file, it is damaged, or it holds no model that this fastgd reads.
    """
    file = expanded(path)
    with reading(file), file.open("rb") as stream:
        archive: Any = np.load(stream, allow_pickle=False) if zipfile.is_zipfile(stream) else None
        if not isinstance(archive, np.lib.npyio.NpzFile) or HEADER not in archive.files:
            raise InputError(f"{file}: holds no model; fastgd fit and TrainedModel.save write such files")
        packed: Any = archive.zip
        for member in packed.namelist():
            with packed.open(member) as array:
                check_array(file, member.removesuffix(".npy"), array, packed.getinfo(member).file_size)
        arrays = {name: np.asarray(archive[name]) for name in archive.files}
    header = _header(file, str(arrays.pop(HEADER)))
    for name, array in arrays.items():
        if array.dtype != np.float64 or not np.isfinite(array).all():
            raise InputError(f"{file}: is damaged: {name} must hold finite numbers")
    return header, arrays


def _header(file: Path, text: str) -> Header:
    try:
        found = from_json(text)
    except ValueError as error:
        raise InputError(f"{file}: is damaged: {error}") from error
    given = found if isinstance(found, dict) else {}
    if given.get("format") != FORMAT:
        raise InputError(
            f"{file}: is of format {given.get('format')!r}, and this fastgd reads format {FORMAT}: it was written by "
            f"fastgd {given.get('fastgd')}"
        )
    fields = Header.__dataclass_fields__
    missing = [name for name in fields if name not in given]
    if fault := f"{missing[0]} is missing" if missing else fault_of(Header, given):
        raise InputError(f"{file}: is damaged: {fault}")
    return Header(**{name: given[name] for name in fields})


def array_of(path: str | Path, arrays: Arrays, name: str, *shapes: tuple[int, ...]) -> NDArray[np.float64]:
    """Return an array that a header promises, in one of the shapes that it may have."""
    found = arrays.get(name)
    if found is None or found.shape not in shapes:
        has = "there is none" if found is None else f"found shape {found.shape}"
        raise InputError(f"{path}: is damaged: {name} must have shape {' or '.join(map(str, shapes))}; {has}")
    return found
