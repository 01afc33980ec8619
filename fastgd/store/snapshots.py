"""Snapshots in a results folder: the saved state of work that is on its way, from which another run goes on.

A snapshot is one file of arrays without pickled objects, `snapshots/NAME.npz`; NAME is that of its unit of work. It
names the files of rows that were complete when it was taken, which stand beside the others under hidden names; where it
names none, the rows are committed. A snapshot that cannot be read, whose rows cannot be read, or that other versions
saved is none: the unit starts anew.
"""

import json
import re
import shutil
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastgd.common.errors import UnreadableError
from fastgd.store.contents import ATTACHED, rotated_path
from fastgd.store.disk.checked_reading import refuse_damaged
from fastgd.store.disk.files import make_folders, remove, replacing, writing

Array = npt.NDArray[Any]
FOLDER, FINISHED = "snapshots", "states"  # of what is on its way, and of trials that are finished
_NAME = re.compile(r"(?P<hidden>\.?)[0-9a-f]{12}(-\d+)?\.npz")  # of a unit of work
READ_BYTES = 1 << 20  # at once, of arrays that may be read one by one: of an object, each is a request
_ABOUT = "about"  # the array that names versions and files of rows
UNREADABLE = (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile)


@contextmanager
def passing_over_bad_ones() -> Iterator[None]:
    """End the block where a snapshot is none that can be gone on from; one that cannot be reached may be good."""
    try:
        yield
    except UnreadableError:
        raise
    except UNREADABLE:
        pass


class Snapshot(NamedTuple):
    """The state of a unit of work.

    Attributes
    ----------
    state : dict of str to ndarray
    rows : list of Path
        The files of rows that it goes on from, in order.
    """

    state: dict[str, Array]
    rows: list[Path]


class Snapshots:
    """The snapshots of a results folder.

    Parameters
    ----------
    folder : Path
        The results folder.
    about : mapping of str to str
        What must be the same when a snapshot is read: versions, the machine.
    kind : {"snapshots", "states"}
        The folder in it where they stand.

    Attributes
    ----------
    taken : set of str
        The names of those that were saved by this object, and still stand.
    """

    def __init__(self, folder: Path, about: Mapping[str, str], kind: str = FOLDER) -> None:
        self._folder, self._about, self._kind = folder, dict(about), kind
        self.taken: set[str] = set()

    @property
    def finished(self) -> "Snapshots":
        """The states of finished trials: see `fastgd.store.states`."""
        return Snapshots(self._folder, self._about, FINISHED)

    def save(self, name: str, state: Mapping[str, Any], rows: Sequence[Path]) -> None:
        """Write a unit's snapshot in place of its last one, durably."""
        target = self._path(name)
        names = [path.relative_to(self._folder).as_posix() for path in rows]
        about = json.dumps({"about": self._about, "rows": names})
        with writing(target):
            make_folders(target.parent)
        with replacing(target) as file:
            np.savez(file, allow_pickle=False, **{_ABOUT: np.array(about)}, **state)
        self.taken.add(name)

    def load(self, name: str) -> Snapshot | None:
        """Return a unit's snapshot; None: there is none that can be gone on from."""
        with passing_over_bad_ones():
            with self.opened(name) as arrays:
                rows = self._told(arrays)[1]
                state = {key: arrays[key] for key in arrays if key != _ABOUT}  # whose checksums are verified
            refuse_damaged(map(rotated_path, rows))
            return Snapshot(state, rows)
        return None

    @contextmanager
    def opened(self, name: str) -> Iterator[Mapping[str, Array]]:
        """Open a unit's snapshot, of which each array is read when it is asked for.

        Raises
        ------
        OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile
            There is none that can be gone on from: `UNREADABLE`.
        """
        with self._arrays(name) as arrays:
            if self._told(arrays)[0] != self._about:
                raise ValueError("other versions saved it")
            yield arrays

    @contextmanager
    def _arrays(self, name: str) -> Iterator[Mapping[str, Array]]:
        """Open a snapshot, whatever saved it; the file is closed also where it is no archive."""
        with self._path(name).open("rb", buffering=READ_BYTES) as file, np.load(file, allow_pickle=False) as arrays:
            yield arrays

    def _told(self, arrays: Mapping[str, Array]) -> tuple[Any, list[Path]]:
        """Return what saved a snapshot, and the files of rows that it names, which are files of this folder."""
        told = json.loads(str(arrays[_ABOUT]))
        rows = [Path(row) for row in told["rows"]]
        if any(row.parent.as_posix() not in ATTACHED for row in rows):
            raise ValueError("files of rows elsewhere")
        return told["about"], [self._folder / row for row in rows]

    def copy_to(self, folder: Path) -> None:
        """Copy those that another results folder lacks there, durably, whatever saved them."""
        for source in self._files(hidden=False):
            target = folder / self._kind / source.name
            if not target.exists():
                with writing(target):
                    make_folders(target.parent)
                with replacing(target) as file, source.open("rb") as content:
                    shutil.copyfileobj(content, file)

    def drop(self, names: Iterable[str]) -> None:
        """Delete the snapshots of units."""
        names = set(names)
        remove([self._path(name) for name in names])
        self.taken -= names

    def sweep(self) -> None:
        """Delete what a killed process left half-written."""
        remove(self._files(hidden=True))

    def names(self) -> list[str]:
        """Return the names of the units that have a snapshot."""
        return sorted(path.stem for path in self._files(hidden=False))

    def rows(self) -> list[Path]:
        """Return the files of rows that snapshots go on from, whatever saved them: they are not to be swept."""
        found: list[Path] = []
        for name in self.names():
            with passing_over_bad_ones(), self._arrays(name) as arrays:
                found += self._told(arrays)[1]
        return found

    def _files(self, *, hidden: bool) -> list[Path]:
        """Return the files that have the name of a snapshot, or of one that is being written: others are the user's."""
        found = (self._folder / self._kind).glob("*.npz")
        return [path for path in found if (own := _NAME.fullmatch(path.name)) and bool(own["hidden"]) == hidden]

    def _path(self, name: str) -> Path:
        return self._folder / self._kind / f"{name}.npz"
