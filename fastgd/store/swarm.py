"""The writer of a part of a swarm: tables of a million rows, written by a thread while the next steps are taken."""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pyarrow as pa

from fastgd.store.contents import commit_schema, part_name
from fastgd.store.files import TableFile, make_folders

if TYPE_CHECKING:
    from fastgd.store.folder import Folder

AHEAD = 2  # tables that wait to be written, at most: what bounds the memory
BESIDE = ("curves", "trajectories")  # tables beside the trials


class SwarmWriter:
    """Writes a part of a swarm; a context manager that drops what was not committed.

    Parameters
    ----------
    folder : Folder
        The results folder, open.
    number : int
        The number of the part.
    """

    def __init__(self, folder: "Folder", number: int) -> None:
        self._folder, self._part = folder, part_name(folder.generation, number)
        footer = folder.manifest.footer()
        self._schemas: dict[str, pa.Schema] = {kind: getattr(folder.columns, kind) for kind in ("trials", *BESIDE)}
        self._files = {
            kind: TableFile(folder.path / kind / f"{self._part}-00.parquet", self._schemas[kind].with_metadata(footer))
            for kind in BESIDE
        }
        self._named: dict[str, list[str]] = {}  # the files that the trials' own, the commit record, names
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="fastgd-store")
        self._waiting: list[Future[None]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._pool.shutdown(cancel_futures=True)
        for file in self._files.values():
            file.discard()

    def append(self, kind: str, rows: int, columns: Mapping[str, Any]) -> None:
        """Add rows of curves, trajectories or trials; arrays are not copied, and must not change any more.

        Parameters
        ----------
        kind : {"curves", "trajectories", "trials"}
        rows : int
        columns : mapping of str to array_like
            Arrays (rows,), scalars that hold for all rows, and names: a string for all rows, or `Names`. What is
            absent is null. From the first trials on there are rows only of what had some before.
        """
        table = pa.table(
            [_column(columns.get(field.name), field.type, rows) for field in self._schemas[kind]],
            schema=self._schemas[kind],
        )
        if kind == "trials":
            self._begin_trials()
        elif kind not in self._named:
            if "trials" in self._files:
                raise ValueError(f"{kind} came after trials, whose file names those before")
            self._named[kind] = [self._files[kind].target.name]
        while len(self._waiting) >= AHEAD:
            self._waiting.pop(0).result()
        self._waiting.append(self._pool.submit(self._write, kind, table))

    def _begin_trials(self) -> None:
        """Begin the trials' file: it streams as the others do, and its footer names those that have rows by now."""
        if "trials" not in self._files:
            schema = commit_schema(self._schemas["trials"], self._folder.manifest.footer(), self._named)
            target = self._folder.path / "trials" / f"{self._part}.parquet"
            self._files["trials"] = TableFile(target, schema)

    def _write(self, kind: str, table: pa.Table) -> None:
        make_folders(self._files[kind].target.parent)
        self._files[kind].write(table)

    def commit(self, key: str) -> None:
        """Make the rows count: curves and trajectories, then trials get their names. `key` names the part."""
        for future in self._waiting:
            future.result()
        self._waiting.clear()
        with self._folder.clock, self._folder.committing([key]):
            for kind in (*BESIDE, "trials"):
                self._files[kind].publish()


class Names:
    """A column of names: `names[codes]`.

    Parameters
    ----------
    names : sequence of str
    codes : ndarray of int, or int
        Of each row, or one for all.
    """

    def __init__(self, names: Sequence[str], codes: Any) -> None:
        self.names, self.codes = names, codes


def _column(values: Any, kind: pa.DataType, rows: int) -> pa.Array:
    if values is None:
        return pa.nulls(rows, kind)
    if isinstance(values, str):
        values = Names([values], 0)
    if isinstance(values, Names):
        codes = np.broadcast_to(np.asarray(values.codes, np.int32), rows)
        return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), pa.array(list(values.names), pa.string()))
    if np.ndim(values) == 0:
        return pa.array(np.full(rows, values), kind)
    mask = np.ma.getmask(values)
    return pa.array(np.ma.getdata(values), kind, mask=None if mask is np.ma.nomask else mask)
