"""The surface files of a results folder: the objective of a problem over a grid of two parameters."""

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fastgd.common.errors import InputError
from fastgd.store.disk.checked_reading import (
    FOLDER_ID,
    SURFACE_INFO,
    is_foreign,
    is_own,
    naming_damage,
    own_record,
    read_own_footer,
    row_groups,
)
from fastgd.store.disk.files import TableFile, make_folders, remove
from fastgd.store.manifest import Manifest

Array = NDArray[np.float64]
FOLDER = "surfaces"
_SCHEMA = pa.schema({"x": pa.float64(), "y": pa.float64(), "loss": pa.float64()})
_SPECIFICATION = b"fastgd.surface.specification"


@dataclass(frozen=True)
class SurfaceInfo:
    """Of which problem and parameters a surface is.

    Attributes
    ----------
    problem : str
        The problem's name in the results.
    parameters : tuple of (int, int)
        The two parameters along x and y. If they are the same, there is only one, and y is 0 everywhere.
    at : list of float
        The values of all parameters; those other than the two stay constant.
    minima : list of list of float
        The known minima, the lowest first.
    values : list of float
        The objective at the minima.
    landscape : str, optional
        The landscape's name; None for a problem over data.
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
    """Write the surface of problem `number`, in place of an earlier one.

    Parameters
    ----------
    folder : Path
        The results folder.
    number : int
    surface : Surface
    specification : str
        A text of everything that decides the numbers, which `holds_surface` compares.
    """
    path = _path(folder, number)
    make_folders(folder / FOLDER)
    if path.is_symlink() or (path.exists() and not is_own(path, _folder_id(folder))):
        raise InputError(
            f"{path} is damaged or was not written by fastgd, and a surface is to stand there: move it away, or see "
            f"`fastgd verify {folder} --repair`"
        )
    x, y = (axis.ravel() for axis in np.meshgrid(surface.x, surface.y, indexing="ij"))
    metadata = {SURFACE_INFO: json.dumps(asdict(surface.info)).encode(), _SPECIFICATION: specification.encode()}
    metadata[FOLDER_ID] = _folder_id(folder).encode()
    schema = _SCHEMA.with_metadata(metadata)
    with TableFile(path, schema) as file:
        file.write(pa.table([x, y, surface.loss.ravel()], schema=schema))
        file.publish()


def holds_surface(folder: Path, number: int, specification: str) -> bool:
    """Whether the surface of problem `number` is there and has this specification."""
    path, folder_id = _path(folder, number), _folder_id(folder)
    return is_own(path, folder_id) and read_own_footer(path, folder_id).entry(_SPECIFICATION) == specification


def take_surfaces(folder: Path, source: Path) -> None:
    """Write the surfaces of another results folder of the same study that a locked one lacks."""
    folder_id = _folder_id(source)
    for path in surface_files(source):
        if not _path(folder, int(path.stem)).exists():
            specification = read_own_footer(path, folder_id).entry(_SPECIFICATION)
            write_surface(folder, int(path.stem), read_surface(path, folder_id), specification)


def keep_surfaces(folder: Path, count: int) -> None:
    """Delete the surfaces of problems from number `count` on, which the study no longer has."""
    remove([path for path in surface_files(folder) if int(path.stem) >= count and is_own(path, _folder_id(folder))])


def read_surfaces(folder: Path) -> list[Surface]:
    """Return the surfaces of a results folder, in the order of its problems.

    Raises
    ------
    InputError
        A file is damaged, or fastgd did not write it.
    """
    if missing := missing_surfaces(folder):
        raise InputError(f"{missing[0]} is missing: restore it, or run the study again, which computes it")
    return [read_surface(path, _folder_id(folder)) for path in surface_files(folder)]


def read_surface_infos(folder: Path) -> list[SurfaceInfo]:
    """Return of which problems a folder holds surfaces, and their known minima, from the files' footers alone."""
    return [_read_info(path, _folder_id(folder)) for path in surface_files(folder)]


def missing_surfaces(folder: Path) -> list[Path]:
    """Return the surface files of a finished run that are missing."""
    manifest = _manifest(folder)
    if manifest is None or not manifest.ended:
        return []
    return [folder / FOLDER / name for name in manifest.surfaces if not (folder / FOLDER / name).exists()]


def surface_files(folder: Path) -> list[Path]:
    """Return the files of a results folder that have the name of a surface, without intact ones of others."""
    found = sorted((folder / FOLDER).glob("*.parquet"))
    return [path for path in found if re.fullmatch(r"\d{4,}", path.stem) and not is_foreign(path)]


def own_surfaces(folder: Path, folder_id: str) -> list[str]:
    """Return the names of the surfaces of the results folder with the id `folder_id`."""
    return [path.name for path in surface_files(folder) if is_own(path, folder_id)]


def _path(folder: Path, number: int) -> Path:
    return folder / FOLDER / f"{number:04d}.parquet"


def _manifest(folder: Path) -> Manifest | None:
    return Manifest.read(folder) if (folder / "manifest.json").exists() else None


def _folder_id(folder: Path) -> str:
    manifest = _manifest(folder)
    return manifest.folder if manifest else ""


def read_surface(path: Path, folder_id: str) -> Surface:
    """Return a surface of the folder with the id `folder_id`; InputError if it is damaged or not the folder's."""
    info = _read_info(path, folder_id)
    with naming_damage(path):
        table = pa.concat_tables(row_groups(path))
        x, y = (np.unique(table[name].to_numpy()) for name in ("x", "y"))
        return Surface(info, x, y, table["loss"].to_numpy().reshape(len(x), len(y)))


def _read_info(path: Path, folder_id: str) -> SurfaceInfo:
    found = own_record(path, folder_id, SURFACE_INFO, SurfaceInfo, "surface")
    return SurfaceInfo(**{**found, "parameters": tuple(found["parameters"])})
