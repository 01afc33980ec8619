"""The files of surfaces of trials: the objective about a trained model's end point, and trajectories on that plane."""

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fastgd.common.errors import InputError
from fastgd.common.remote import modified
from fastgd.store.disk.checked_reading import (
    is_foreign,
    is_own,
    naming_damage,
    own_record,
    read_own_footer,
    row_groups,
)
from fastgd.store.disk.files import TableFile, make_folders
from fastgd.store.manifest import Manifest

Array = NDArray[np.float64]
FOLDER = "trial_surfaces"
_NUMBERS = {name: pa.float64() for name in ("x", "y", "loss", "distance")}
_SCHEMA = pa.schema({"trial_id": pa.string(), "step": pa.int64(), **_NUMBERS})
_INFO, _SPECIFICATION = b"fastgd.trial_surface", b"fastgd.trial_surface.specification"


@dataclass(frozen=True)
class TrialSurfaceInfo:
    """Of which trials a surface is, and in which plane.

    Attributes
    ----------
    problem : str
        The problem's name in the results.
    trials : list of str
        The trial whose end point is at x = y = 0; then those that the plane goes through, too.
    directions : {"random", "pca", "between"}
        What x and y count: multiples of random directions that are as long as the weights, unit by unit; distances
        along the main directions of the trajectory; of two solutions the share of the way from the first to the second,
        of three distances.
    seed : int
        Of random directions.
    l2 : float
        The penalty of the objective: that of the first trial.
    ends : list of list of float
        x and y of the end point of each trial.
    losses : list of float
        The objective at these.
    shares : list of float
        Of main directions, the share of each in the squared distances of the trajectory from its end.
    captured : float or None
        The share of these squared distances, of the first trial, that lies in the plane; None: no trajectory is stored.
    """

    problem: str
    trials: list[str]
    directions: str
    seed: int
    l2: float
    ends: list[list[float]]
    losses: list[float]
    shares: list[float]
    captured: float | None


class TrialPath(NamedTuple):
    """The trajectory of a trial, projected on a plane.

    Attributes
    ----------
    trial_id : str
    step : ndarray (k,)
        Some of its steps: the start, 0, the end, and evenly spread ones between.
    x, y : ndarray (k,)
        The nearest points of the plane.
    loss : ndarray (k,)
        The objective where the trial was, not at these points.
    distance : ndarray (k,)
        How far from the plane it was.
    """

    trial_id: str
    step: NDArray[np.int64]
    x: Array
    y: Array
    loss: Array
    distance: Array


@dataclass(frozen=True)
class TrialSurface:
    """The objective of a trained model over a grid of a plane, or of a line, through its end point.

    Attributes
    ----------
    info : TrialSurfaceInfo
    x : ndarray (nx,)
    y : ndarray (ny,)
        A single 0: it is a line.
    loss : ndarray (nx, ny)
        The loss over all training rows with the penalty; not finite where it overflows.
    paths : list of TrialPath
        Trajectories; empty where they were not asked for.
    """

    info: TrialSurfaceInfo
    x: Array
    y: Array
    loss: Array
    paths: list[TrialPath]


def path_of(folder: Path, name: str) -> Path:
    """Return where the surface of a name stands."""
    return folder / FOLDER / f"{name}.parquet"


def write_trial_surface(folder: Path, name: str, surface: TrialSurface, specification: str) -> None:
    """Write a surface; the folder must be locked.

    Parameters
    ----------
    folder : Path
        The results folder.
    name : str
        Of 12 hexadecimal digits.
    surface : TrialSurface
    specification : str
        All that decides its numbers, which `stored_surface` compares.
    """
    path, manifest = path_of(folder, name), Manifest.read(folder)
    make_folders(folder / FOLDER)
    if path.is_symlink() or (path.exists() and not is_own(path, manifest.folder)):
        raise InputError(
            f"{path} is damaged or was not written by fastgd, and a surface is to stand there: move it away"
        )
    x, y = (axis.ravel() for axis in np.meshgrid(surface.x, surface.y, indexing="ij"))
    tables = [_table(x=x, y=y, loss=surface.loss.ravel())]
    tables += [_table(**own._asdict() | {"trial_id": [own.trial_id] * len(own.step)}) for own in surface.paths]
    own = {_INFO: json.dumps(asdict(surface.info)).encode(), _SPECIFICATION: specification.encode()}
    schema = _SCHEMA.with_metadata({**{key.encode(): text.encode() for key, text in manifest.footer().items()}, **own})
    with TableFile(path, schema) as file:
        for table in tables:
            file.write(table.cast(schema))
        file.publish()


def take_trial_surfaces(folder: Path, source: Path) -> None:
    """Write the surfaces of another results folder that a locked one lacks."""
    folder_id = Manifest.read(source).folder
    for path in trial_surface_files(source):
        if not path_of(folder, path.stem).exists():
            specification = read_own_footer(path, folder_id).entry(_SPECIFICATION)
            write_trial_surface(folder, path.stem, read_trial_surface(path, folder_id), specification)


def _table(**columns: Any) -> pa.Table:
    """Return rows of a file, in which a column that is not given is null."""
    rows = len(columns["x"])
    return pa.table(
        [columns.get(name, pa.nulls(rows, _SCHEMA.field(name).type)) for name in _SCHEMA.names], _SCHEMA.names
    )


def stored_surface(folder: Path, name: str, specification: str) -> TrialSurface | None:
    """Return the surface of a name, if it is there and has this specification."""
    path, folder_id = path_of(folder, name), Manifest.read(folder).folder
    if not is_own(path, folder_id) or read_own_footer(path, folder_id).entry(_SPECIFICATION) != specification:
        return None
    return read_trial_surface(path, folder_id)


def read_trial_surfaces(folder: Path) -> list[TrialSurface]:
    """Return the surfaces of trials that a results folder holds, the oldest first.

    Raises
    ------
    InputError
        A file is damaged, or fastgd did not write it.
    """
    folder_id = Manifest.read(folder).folder
    files = sorted(trial_surface_files(folder), key=lambda path: (modified(path), path.name))
    return [read_trial_surface(path, folder_id) for path in files]


def trial_surface_files(folder: Path) -> list[Path]:
    """Return the files of a results folder that have the name of a surface, without intact ones of others."""
    found = sorted((folder / FOLDER).glob("*.parquet"))
    return [path for path in found if re.fullmatch(r"[0-9a-f]{12}", path.stem) and not is_foreign(path)]


def read_trial_surface(path: Path, folder_id: str) -> TrialSurface:
    """Return a surface of the folder with the id `folder_id`; InputError if it is damaged or not the folder's."""
    info = TrialSurfaceInfo(**own_record(path, folder_id, _INFO, TrialSurfaceInfo, "surface"))
    with naming_damage(path):
        table = pa.concat_tables(row_groups(path))
        grid = table.filter(pc.is_null(table["step"]))
        x, y = (np.unique(grid[name].to_numpy()) for name in ("x", "y"))
        loss = grid["loss"].to_numpy().reshape(len(x), len(y))
        steps = table.filter(pc.is_valid(table["step"])).to_pandas()
        return TrialSurface(info, x, y, loss, _paths(steps))


def _paths(steps: pd.DataFrame) -> list[TrialPath]:
    groups = steps.groupby("trial_id", sort=False)
    return [TrialPath(str(name), *(own[key].to_numpy() for key in TrialPath._fields[1:])) for name, own in groups]
