"""Surfaces of error in a results folder: the objective over two parameters, as a grid that pictures read."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fastgd._errors import InputError
from fastgd._parsing import fault_of, from_json
from fastgd.store.files import TableFile, make_folders, remove

Array = NDArray[np.float64]
FOLDER = "surfaces"
_SCHEMA = pa.schema({"x": pa.float64(), "y": pa.float64(), "loss": pa.float64()})
_KEY = b"fastgd.surface"
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
    make_folders(folder / FOLDER)
    x, y = (axis.ravel() for axis in np.meshgrid(surface.x, surface.y, indexing="ij"))
    about = {_KEY: json.dumps(asdict(surface.info)).encode(), _SPECIFICATION: specification.encode()}
    schema = _SCHEMA.with_metadata(about)
    with TableFile(_path(folder, number), schema) as file:
        file.write(pa.table([x, y, surface.loss.ravel()], schema=schema))
        file.publish()


def holds_surface(folder: Path, number: int, specification: str) -> bool:
    """Whether the surface of problem `number` stands there, and is what would be computed."""
    try:
        metadata = pq.read_schema(_path(folder, number)).metadata or {}
    except (pa.ArrowInvalid, OSError):
        return False  # it is written anew
    return bool(metadata.get(_SPECIFICATION) == specification.encode())


def keep_surfaces(folder: Path, count: int) -> None:
    """Delete the surfaces of problems that the study no longer has."""
    remove([path for path in _files(folder) if int(path.stem) >= count])


def read_surfaces(folder: Path) -> list[Surface]:
    """Return the surfaces of a results folder, in the order of its problems.

    Raises
    ------
    InputError
        A file is damaged, or is none of fastgd's.
    """
    return [_read(path) for path in _files(folder)]


def _files(folder: Path) -> list[Path]:
    return sorted((folder / FOLDER).glob("[0-9]*.parquet"))


def _path(folder: Path, number: int) -> Path:
    return folder / FOLDER / f"{number:04d}.parquet"


def _read(path: Path) -> Surface:
    try:
        table = pq.read_table(path)
        found: dict[str, Any] = from_json(table.schema.metadata[_KEY])
        if fault := fault_of(SurfaceInfo, found):
            raise ValueError(fault)
        info = SurfaceInfo(**{**found, "parameters": tuple(found["parameters"])})
        x, y = (np.unique(table[name].to_numpy()) for name in ("x", "y"))
        return Surface(info, x, y, table["loss"].to_numpy().reshape(len(x), len(y)))
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is damaged or was not written by fastgd: {error}") from error
