"""The writer of a part of the results: its rows stream to disk while it is computed, and its trials commit them."""

import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fastgd.common.system import go_last
from fastgd.store.compaction import Part
from fastgd.store.contents import ATTACHED, KINDS, commit_schema, part_name, rotated_path
from fastgd.store.disk.checked_reading import row_groups as groups
from fastgd.store.disk.files import TableFile, make_folders, remove
from fastgd.store.disk.new_files import temporary
from fastgd.store.disk.rows import Names, RowBuffer, table_of
from fastgd.store.schema import PARAMETERS, Columns, conform, trials_table

__all__ = ["MOST_WAITING_TABLES", "Commit", "Names", "PartWriter", "Place"]

MOST_WAITING_TABLES = 2  # that a thread has still to write, where one writes: what bounds the memory
Trials: TypeAlias = pd.DataFrame | pa.Table
LARGE_BLOCK_ROWS = 16_384  # a block of at least so many rows becomes a table of its own; smaller ones gather
_MOST_VALUES_AT_ONCE = 1 << 21  # that become a table of parameters at a time: 16 MB of float64


class Commit(NamedTuple):
    """How a part is committed.

    Attributes
    ----------
    generation : int
        That the part has.
    replace : callable or None
        Where unfinished results of the same trials are stored: `replace(part)` commits it in their place, at once.
    """

    generation: int
    replace: Callable[[Part], None] | None


class Place(NamedTuple):
    """Where a part is written, and what its results folder has to do with it.

    Attributes
    ----------
    folder : Path
        The results folder.
    generation, number : int
        What names the part's files.
    columns : Columns
    footer : mapping of str to str
        The metadata of each file's footer.
    committing : callable
        `committing(trial_ids)` is a context manager: the block that it encloses commits trials, in the way that it
        gives. It raises ValueError where a trial is committed already.
    confirm : callable
        Raises InputError where the lock of the folder may have been lost.
    """

    folder: Path
    generation: int
    number: int
    columns: Columns
    footer: Mapping[str, str]
    committing: Callable[[Sequence[str]], AbstractContextManager[Commit]]
    confirm: Callable[[], None]

    def path(self, kind: str, suffix: str) -> Path:
        """Return the path of a file of the part."""
        return self.folder / kind / f"{part_name(self.generation, self.number)}{suffix}.parquet"


class PartWriter:
    """Writes a part: rows of curves, trajectories, parameters and trials, of a study on data or on landscapes.

    As a context manager it drops what was neither committed nor rotated.

    Parameters
    ----------
    place : Place
    in_thread : bool
        Write in a thread, while the next rows are computed.
    parameters_only : bool
        The other results of the trials are stored: only their parameters are written, and other rows are ignored, also
        those that are carried.
    """

    def __init__(self, place: Place, *, in_thread: bool = False, parameters_only: bool = False) -> None:
        self._place = place
        self.parameters_only = parameters_only
        self._schemas: dict[str, pa.Schema] = {
            kind: PARAMETERS if kind == "parameters" else getattr(place.columns, kind) for kind in KINDS
        }
        self._files: dict[str, TableFile] = {}  # that take rows now
        self._buffers = {kind: RowBuffer(schema) for kind, schema in self._schemas.items()}
        self._rotated: dict[str, list[TableFile]] = {kind: [] for kind in ATTACHED}
        self._rotated_trials: list[Path] = []
        self._in_thread = in_thread
        self._pools: dict[str, ThreadPoolExecutor] = {}  # by kind: one thread for each file
        self._waiting: list[Future[None]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        for pool in self._pools.values():
            pool.shutdown(cancel_futures=True)
        for file in self._files.values():
            file.discard()

    # --- rows ---------------------------------------------------------------------------------------------------------

    def append(self, kind: str, columns: Mapping[str, Any], rows: int | None = None) -> None:
        """Add a block of rows; its arrays must not change any more.

        Parameters
        ----------
        kind : {"curves", "trajectories", "trials"}
        columns : mapping of str to array_like
            Arrays (rows,), scalars that hold for all rows, and names: a string for all rows, or `Names`; or a function
            that returns one of these, and is called where the rows are written, in a thread if there is one. A column
            that is absent or None is null, and so is what a masked array masks: not measured. Non-finite values are
            stored as such.
        rows : int, optional
            By default the length of the column `trial_id`.
        """
        if self.parameters_only:
            return
        if unknown := [name for name in columns if name not in self._schemas[kind].names]:
            raise ValueError(f"{kind} have columns that the study's schema lacks: {unknown}")
        rows = len(columns["trial_id"]) if rows is None else rows
        if rows < LARGE_BLOCK_ROWS:
            for table in self._buffers[kind].gather(columns, rows):
                self._write(kind, table)
        else:
            self._empty_buffer(kind)
            self._submit(kind, lambda: table_of(columns, self._schemas[kind], rows))

    def parameters(self, trial_ids: Sequence[str], W: NDArray[np.float64]) -> None:
        """Add the final parameters of trials; they are copied.

        Parameters
        ----------
        trial_ids : sequence of str, length G
            The trials.
        W : ndarray of shape (G, d), float64
            A row of parameters for each.
        """
        for table in tables_of_parameters(trial_ids, W):
            self._write("parameters", table)

    def take(self, kind: str, table: pa.Table) -> None:
        """Add rows of a kind that are a table already, which has the study's schema."""
        if kind == "parameters" or not self.parameters_only:
            self._empty_buffer(kind)
            self._write(kind, table)

    def hand_over(self, other: "PartWriter") -> bool:
        """Hand the rows over to another writer, if all of them are in memory still; return whether they are."""
        if any(file.is_begun for file in itertools.chain(self._files.values(), *self._rotated.values())):
            return False
        for kind in KINDS:
            for table in [*(self._files[kind].take() if kind in self._files else ()), self._buffers[kind].take()]:
                other.take(kind, table)
        return True

    def carry(
        self,
        paths: Iterable[Path],
        trial_ids: Collection[str] | None = None,
        last_step: int | None = None,
        names: Mapping[str, str] | None = None,
        where: Callable[[pa.Table], pa.Array] | None = None,
    ) -> None:
        """Add rows that files of a results folder hold: rotated ones, or committed ones.

        Parameters
        ----------
        paths : iterable of Path
            The folder that a file stands in tells its kind.
        trial_ids : collection of str, optional
            Only rows of these trials.
        last_step : int, optional
            Of rows that have a step, only those up to this one.
        names : mapping of str to str, optional
            Other names of these trials, which their rows take.
        where : callable, optional
            Which rows of a table, as a mask of them.
        """
        for path in paths:
            kind = path.parent.name
            if self.parameters_only and kind != "parameters":
                continue
            self._empty_buffer(kind)
            for group in groups(rotated_path(path)):
                table = conform(group, self._schemas[kind])
                if trial_ids is not None:
                    wanted = pa.array(list(trial_ids), pa.string())
                    table = table.filter(pc.is_in(table["trial_id"].cast(pa.string()), wanted))
                if last_step is not None and "step" in table.column_names:
                    table = table.filter(pc.less_equal(table["step"], last_step))
                if names is not None:
                    table = renamed(table, names)
                if where is not None:
                    table = table.filter(where(table))
                self._write(kind, table)

    def _empty_buffer(self, kind: str) -> None:
        if self._buffers[kind].rows:
            self._write(kind, self._buffers[kind].take())

    def _write(self, kind: str, table: pa.Table) -> None:
        if table.num_rows:
            self._submit(kind, lambda: table)

    def _submit(self, kind: str, make: Callable[[], pa.Table]) -> None:
        """Write a table, here or in the thread of its kind, which makes it too."""
        file = self._file(kind)
        if not self._in_thread:
            file.write(make())
            return
        while len(self._waiting) >= MOST_WAITING_TABLES:
            self._waiting.pop(0).result()
        self._hand_over(kind, lambda: file.write(make()))

    def _hand_over(self, kind: str, write: Callable[[], None]) -> None:
        """Have something done by the thread of a kind, after what it has still to do."""
        if kind not in self._pools:
            self._pools[kind] = ThreadPoolExecutor(1, f"fastgd-{kind}", go_last)
        self._waiting.append(self._pools[kind].submit(write))

    def _file(self, kind: str) -> TableFile:
        """Return the file of a kind that takes rows now; that of trials names the others as they are so far."""
        if kind not in self._files:
            if kind == "trials":
                numbered = f"-{len(self._rotated_trials):02d}" if self._rotated_trials else ""
                schema, target = self._record_schema(), self._place.path(kind, numbered)
            else:
                schema = self._schemas[kind].with_metadata(self._place.footer)
                target = self._place.path(kind, f"-{len(self._rotated[kind]):02d}")
            make_folders(target.parent)
            self._files[kind] = TableFile(target, schema)
        return self._files[kind]

    def _attached(self, kind: str) -> list[TableFile]:
        """Return the files of a kind that have rows, those included whose rows wait in a buffer."""
        current = [self._file(kind)] if kind in self._files or self._buffers[kind].rows else []
        return self._rotated[kind] + current

    def _record_schema(self) -> pa.Schema:
        """Return the schema of a commit record that names all files so far."""
        names = {kind: [file.target.name for file in self._attached(kind)] for kind in ATTACHED}
        return commit_schema(self._schemas["trials"], self._place.footer, names)

    # --- files --------------------------------------------------------------------------------------------------------

    def _flush(self) -> None:
        """Hand all rows over to their files; threads complete these too, side by side."""
        for kind in KINDS:
            self._empty_buffer(kind)
        for kind in self._pools:
            if file := self._files.get(kind):
                self._hand_over(kind, file.complete)
        for future in self._waiting:
            future.result()
        self._waiting.clear()

    def rotate(self) -> list[Path]:
        """Complete the files that rows stream to; further rows go to further files.

        What is complete stays where it is, under hidden names, also when the writer is left without a commit, until
        the folder's next sweep; `carry` reads it.

        Returns
        -------
        list of Path
            All files that are complete by now: all rows so far stand in them.
        """
        self._place.confirm()
        self._flush()
        self._rotate_trials()
        for kind in ATTACHED:
            if file := self._files.pop(kind, None):
                file.keep()
                self._rotated[kind].append(file)
        attached = [temporary(file.target) for file in itertools.chain(*self._rotated.values())]
        return attached + self._rotated_trials

    def _rotate_trials(self) -> None:
        """Complete the trials' file, and give it a hidden name that is not that of the commit record's file."""
        if file := self._files.pop("trials", None):
            hidden = temporary(self._place.path("trials", f"-{len(self._rotated_trials):02d}"))
            self._rotated_trials.append(file.keep(hidden))

    def commit(self, trials: Trials | Sequence[Trials] = (), *, name: str = "") -> None:
        """Make the part count: curves, parameters and trajectories, then the trials get their names.

        They take the place of what is stored of the same trials, where those were not finished.

        Parameters
        ----------
        trials : pandas.DataFrame or pyarrow.Table, or a sequence of them
            A row for each trial, with the columns of the schema; see `trials_table` for a frame. By default the
            rows are those that were appended. Where only parameters are written, the rows are not stored.
        name : str
            Where trials were appended: what names them together.

        Raises
        ------
        ValueError
            A trial is committed already.
        """
        ids, table = [name] if name else [], None if self.parameters_only else self._trials(trials)
        if table is not None:
            ids = table["trial_id"].to_pylist()
        self._flush()
        with self._place.committing(ids) as how:
            files = {kind: [name for file in self._attached(kind) for name in file.publish()] for kind in ATTACHED}
            self._place = self._place._replace(generation=how.generation)
            if how.replace and table is not None:
                how.replace(Part(table, files))
                return
            if table is not None:
                self._write("trials", table)
                self._flush()
            self._publish_record()

    def _trials(self, trials: Trials | Sequence[Trials]) -> pa.Table | None:
        """Return the rows of trials that are given to be committed; None: there are none."""
        given = [trials] if isinstance(trials, pd.DataFrame | pa.Table) else list(trials)
        tables = [own if isinstance(own, pa.Table) else trials_table(own, self._place.columns) for own in given]
        return pa.concat_tables(tables) if tables else None

    def _publish_record(self) -> None:
        """Publish the commit record: the file that trials streamed to, where it names all files, or else a copy."""
        schema, target = self._record_schema(), self._place.path("trials", "")
        streamed = self._files.get("trials")
        if streamed and streamed.target == target and streamed.schema.equals(schema, check_metadata=True):
            streamed.publish()
            return
        self._rotate_trials()
        make_folders(target.parent)
        with TableFile(target, schema) as record:
            for path in self._rotated_trials:
                for group in groups(path):
                    record.write(group)
            record.publish(empty=True)
        remove(self._rotated_trials)


def tables_of_parameters(trial_ids: Sequence[str], W: NDArray[np.float64]) -> Iterator[pa.Table]:
    """Yield the rows of the parameters W (G, d) of trials, which are copied."""
    step = max(1, _MOST_VALUES_AT_ONCE // max(1, W.shape[1]))
    for start in range(0, len(trial_ids), step):
        rows = np.array(W[start : start + step], dtype=np.float64)
        offsets = np.arange(0, rows.size + 1, W.shape[1], dtype=np.int32)
        lists = pa.ListArray.from_arrays(offsets, rows.ravel())
        ids = pa.array(list(trial_ids[start : start + step]), type=pa.string())
        yield pa.table([ids, lists], schema=PARAMETERS)


def renamed(table: pa.Table, names: Mapping[str, str]) -> pa.Table:
    """Return rows of trials, all of which have another name, under that one."""
    place, field = table.column_names.index("trial_id"), table.schema.field("trial_id")
    which = pc.index_in(table["trial_id"].cast(pa.string()), value_set=pa.array(list(names), pa.string()))
    others = pa.array(list(names.values()), pa.string()).take(which.combine_chunks())
    return table.set_column(place, field, others.cast(field.type))
