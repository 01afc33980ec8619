"""The files of minima: of each convex objective of a study the minimum, the bound of its error, and where it is."""

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fastgd.common.errors import InputError
from fastgd.store.disk.checked_reading import (
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
FOLDER = "optima"
_SCHEMA = pa.schema({"parameter": pa.float64()})
_INFO, _SPECIFICATION = b"fastgd.optimum", b"fastgd.optimum.specification"


@dataclass(frozen=True)
class OptimumInfo:
    """What is known of the minimum of an objective; None: nothing.

    Attributes
    ----------
    problem : str
        The problem's name in the results.
    l2 : float
    split_seed : int
        Which rows were held out of training.
    loss : str
    minimum : float
        The objective where the solve ended.
    bound : float or None
        It is at most so much above the true minimum, rounding apart; None: nothing bounds it.
    rounding : float
        How far the computed value may be from the objective.
    certificate : str
        What the bound rests on, or why there is none.
    method : str
        What solved it.
    steps : int
        Of that method.
    seconds : float
        All that it took.
    smoothness, smoothness_error, strong_convexity, local_smoothness, local_strong_convexity, row_norm, noise, how
        Constants of the objective: see `fastgd.optima.constants.Constants`.
    """

    problem: str
    l2: float
    split_seed: int
    loss: str
    minimum: float
    bound: float | None
    rounding: float
    certificate: str
    method: str
    steps: int
    seconds: float
    smoothness: float | None
    smoothness_error: float
    strong_convexity: float
    local_smoothness: float | None
    local_strong_convexity: float | None
    row_norm: float
    noise: float
    how: str

    @property
    def error(self) -> float | None:
        """The bound with rounding: `minimum` is at most so much above the true minimum."""
        return None if self.bound is None else self.bound + self.rounding


def write_optimum(folder: Path, name: str, info: OptimumInfo, parameters: Array, specification: str) -> None:
    """Write a minimum, in place of an earlier one; the folder must be locked.

    Parameters
    ----------
    folder : Path
        The results folder.
    name : str
        Of 12 hexadecimal digits.
    info : OptimumInfo
    parameters : ndarray (parameters,)
        Where the minimum is, in the order of the engine.
    specification : str
        All that decides its numbers, which `stored_optimum` compares.
    """
    path, manifest = _path_of(folder, name), Manifest.read(folder)
    make_folders(folder / FOLDER)
    if path.is_symlink() or (path.exists() and not is_own(path, manifest.folder)):
        raise InputError(
            f"{path} is damaged or was not written by fastgd, and a minimum is to stand there: move it away, or see "
            f"`fastgd verify {folder} --repair`"
        )
    own = {_INFO: json.dumps(asdict(info)).encode(), _SPECIFICATION: specification.encode()}
    schema = _SCHEMA.with_metadata({**{key.encode(): text.encode() for key, text in manifest.footer().items()}, **own})
    with TableFile(path, schema) as file:
        file.write(pa.table([np.asarray(parameters, dtype=np.float64)], schema=schema))
        file.publish(empty=True)


def holds_optimum(folder: Path, name: str, specification: str) -> bool:
    """Whether the minimum of a name is there and has this specification."""
    path, folder_id = _path_of(folder, name), Manifest.read(folder).folder
    return is_own(path, folder_id) and read_own_footer(path, folder_id).entry(_SPECIFICATION) == specification


def take_optima(folder: Path, source: Path) -> None:
    """Write the minima of another results folder that a locked one lacks."""
    files = optimum_files(source)
    folder_id = Manifest.read(source).folder if files else ""
    for path in files:
        if not _path_of(folder, path.stem).exists():
            specification = read_own_footer(path, folder_id).entry(_SPECIFICATION)
            write_optimum(folder, path.stem, *read_optimum(path, folder_id), specification)


def keep_optima(folder: Path, names: set[str]) -> None:
    """Delete the minima of objectives that the study no longer has; the folder must be locked."""
    files = [path for path in optimum_files(folder) if path.stem not in names]
    if files:
        folder_id = Manifest.read(folder).folder
        remove([path for path in files if is_own(path, folder_id)])


def read_optima(folder: Path) -> list[OptimumInfo]:
    """Return what a results folder holds of minima, from the footers of its files, without the parameters.

    Raises
    ------
    InputError
        A file is damaged, or fastgd did not write it.
    """
    files = optimum_files(folder)
    folder_id = Manifest.read(folder).folder if files else ""
    return [_read_info(path, folder_id) for path in files]


def read_optimum_parameters(folder: Path, problem: str, l2: float, split_seed: int) -> Array | None:
    """Return where the minimum of an objective is (parameters,); None: it is not stored."""
    folder_id = Manifest.read(folder).folder
    for path in optimum_files(folder):
        info = _read_info(path, folder_id)
        if (info.problem, info.l2, info.split_seed) == (problem, l2, split_seed):
            return read_optimum(path, folder_id)[1]
    return None


def optimum_files(folder: Path) -> list[Path]:
    """Return the files of a results folder that have the name of a minimum, without intact ones of others."""
    found = sorted((folder / FOLDER).glob("*.parquet"))
    return [path for path in found if re.fullmatch(r"[0-9a-f]{12}", path.stem) and not is_foreign(path)]


def read_optimum(path: Path, folder_id: str) -> tuple[OptimumInfo, Array]:
    """Return a minimum of the folder with the id `folder_id`; InputError if it is damaged or not the folder's."""
    info = _read_info(path, folder_id)
    with naming_damage(path):
        table = pa.concat_tables([_SCHEMA.empty_table(), *(each.cast(_SCHEMA) for each in row_groups(path))])
        return info, table["parameter"].to_numpy()


def _path_of(folder: Path, name: str) -> Path:
    return folder / FOLDER / f"{name}.parquet"


def _read_info(path: Path, folder_id: str) -> OptimumInfo:
    return OptimumInfo(**own_record(path, folder_id, _INFO, OptimumInfo, "minimum"))
