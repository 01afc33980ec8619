"""Surfaces of error in a results folder: the objective over two parameters, as a grid that pictures read."""

import json
import re
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fastgd.common.errors import InputError
from fastgd.common.parsing import fault_of, from_json
from fastgd.store.checked_reading import (
    FOLDER_ID,
    SURFACE_INFO,
    foreign_file,
    is_foreign,
    is_own,
    naming_damage,
    read_own_footer,
    row_groups,
)
from fastgd.store.files import TableFile, make_folders, remove
from fastgd.store.manifest import Manifest
from fastgd.store.seal import DamageError

Array = NDArray[np.float64]
FOLDER = "surfaces"
_SCHEMA = pa.schema({"x": pa.float64(), "y": pa.float64(), "loss": pa.float64()})
_SPECIFICATION = b"fastgd.surface.specification"


@dataclass(frozen=True)
class SurfaceInfo:
    """What a surface is of.

    Attributes
    ----------
    problem : str
        The problem's name in the results.
    parameters : tuple of (int, int)
        The two parameters along x and y; the same one twice: there is only one, and y is 0 throughout.
    at : list of float
        The values of all parameters, where the others stay.
    minima : list of list of float
        The minima that are known, the lowest first.
    values : list of float
        Their values.
    landscape : str, optional
        The landscape's name; None: the problem is one over data.
    """

    problem: str
    parameters: tuple[int, int]
    at: list[float]
    minima: list[list[float]]
    values: list[float]
    landscape: str | None = None


@dataclass(frozen=True)
class Surface:
    """The objective over a grid.

    Attributes
    ----------
    info : SurfaceInfo
    x : ndarray (nx,)
    y : ndarray (ny,)
    loss : ndarray (nx, ny)
    """

    info: SurfaceInfo
    x: Array
    y: Array
    loss: Array


def write_surface(folder: Path, number: int, surface: Surface, specification: str) -> None:
    """Write the surface of problem `number`, in place of one that stands there.

    Parameters
    ----------
    folder : Path
        The results folder.
    number : int
    surface : Surface
    specification : str
        All that decides its numbers: what `holds_surface` compares.
    """
    path = _path(folder, number)
    make_folders(folder / FOLDER)
    if path.is_symlink() or (path.exists() and not is_own(path, _home(folder))):
        raise InputError(
            f"{path} is damaged or was not written by fastgd, and a surface is to stand there: move it away, or see "
            f"`fastgd verify {folder} --repair`"
        )
    x, y = (axis.ravel() for axis in np.meshgrid(surface.x, surface.y, indexing="ij"))
    metadata = {SURFACE_INFO: json.dumps(asdict(surface.info)).encode(), _SPECIFICATION: specification.encode()}
    metadata[FOLDER_ID] = _home(folder).encode()
    schema = _SCHEMA.with_metadata(metadata)
    with TableFile(path, schema) as file:
        file.write(pa.table([x, y, surface.loss.ravel()], schema=schema))
        file.publish()


def holds_surface(folder: Path, number: int, specification: str) -> bool:
    """Whether the surface of problem `number` stands there, and is what would be computed."""
    path = _path(folder, number)
    return is_own(path, _home(folder)) and read_own_footer(path, _home(folder)).entry(_SPECIFICATION) == specification


def keep_surfaces(folder: Path, count: int) -> None:
    """Delete the surfaces of problems that the study no longer has."""
    remove([path for path in surface_files(folder) if int(path.stem) >= count and is_own(path, _home(folder))])


def read_surfaces(folder: Path) -> list[Surface]:
    """Return the surfaces of a results folder, in the order of its problems.

    Raises
    ------
    InputError
        A file is damaged, or is none of fastgd's.
    """
    if missing := missing_surfaces(folder):
        raise InputError(f"{missing[0]} is missing: restore it, or run the study again, which computes it")
    return [read_surface(path, _home(folder)) for path in surface_files(folder)]


def missing_surfaces(folder: Path) -> list[Path]:
    """Return the files that stood there when a run ended, and that no run has begun to change since."""
    manifest = _manifest(folder)
    if manifest is None or not manifest.ended:
        return []
    return [folder / FOLDER / name for name in manifest.surfaces if not (folder / FOLDER / name).exists()]


def surface_files(folder: Path) -> list[Path]:
    """Return the files of a results folder that have the names of surfaces, those of others left out."""
    found = sorted((folder / FOLDER).glob("*.parquet"))
    return [path for path in found if re.fullmatch(r"\d{4,}", path.stem) and not is_foreign(path)]


def own_surfaces(folder: Path, home: str) -> list[str]:
    """Return the names of the surfaces of the results folder with the id `home`."""
    return [path.name for path in surface_files(folder) if is_own(path, home)]


def _path(folder: Path, number: int) -> Path:
    return folder / FOLDER / f"{number:04d}.parquet"


def _manifest(folder: Path) -> Manifest | None:
    return Manifest.read(folder) if (folder / "manifest.json").exists() else None


def _home(folder: Path) -> str:
    manifest = _manifest(folder)
    return manifest.folder if manifest else ""


def read_surface(path: Path, home: str) -> Surface:
    """Return a surface of the folder with the id `home`; InputError where it is damaged or of another origin."""
    text = read_own_footer(path, home).entry(SURFACE_INFO)
    if not text:
        raise foreign_file(path)
    with naming_damage(path):
        found = _info(text)
        info = SurfaceInfo(**{**found, "parameters": tuple(found["parameters"])})
        table = pa.concat_tables(row_groups(path))
        x, y = (np.unique(table[name].to_numpy()) for name in ("x", "y"))
        return Surface(info, x, y, table["loss"].to_numpy().reshape(len(x), len(y)))


def _info(text: str) -> dict[str, Any]:
    """Return what a footer says of a surface; DamageError: it is something else."""
    try:
        found = from_json(text)
    except ValueError as error:
        raise DamageError(f"its footer: {error}") from error
    if not isinstance(found, dict) or set(found) != {field.name for field in fields(SurfaceInfo)}:
        raise DamageError("its footer does not say what surface it is")
    if fault := fault_of(SurfaceInfo, found):
        raise DamageError(fault)
    return found
