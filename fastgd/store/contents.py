"""Which files of a results folder count: the rule that readers, runs that go on and the sweep of old files share.

A trials file `GGGG-NNNNNN.parquet` is the commit record of part N of generation G; its footer names the curves and
parameters files that belong to it. Only the highest generation counts. Compaction writes all rows again as one part of
the next generation: from the moment that its trials file has its name, no older part counts any more.
"""

import itertools
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from errno import ENOENT
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pds

from fastgd.common.errors import InputError
from fastgd.common.parsing import from_json, shortened
from fastgd.common.properties import cached_property
from fastgd.common.remote import mapped
from fastgd.store.disk.checked_reading import (
    Footer,
    damaged_file,
    dataset_of,
    foreign_file,
    is_own,
    naming_damage,
    read_own_footer,
    refuse_damaged,
)
from fastgd.store.disk.files import remove
from fastgd.store.disk.seal import DamageError
from fastgd.store.manifest import Manifest
from fastgd.store.schema import FAILED, PARAMETERS, UNFINISHED, Columns

ATTACHED = ("curves", "parameters", "trajectories")  # the kinds of files that a commit record names
KINDS = ("trials", *ATTACHED)
# A part has one file of trials, the commit record; under hidden names it may have several, before it is committed.
_OF_FILE = {kind: r"-\d{2,}" if kind in ATTACHED else r"(?(hidden)(-\d{2,})?)" for kind in KINDS}
_NAMES = {
    kind: re.compile(r"(?P<hidden>\.)?(?P<generation>\d{4,})-(?P<number>\d{6,})" + of_file + r"\.parquet")
    for kind, of_file in _OF_FILE.items()
}


def part_name(generation: int, number: int) -> str:
    """Return the name of a part without its suffix; names sort in the order of writing."""
    return f"{generation:04d}-{number:06d}"


def commit_schema(schema: pa.Schema, footer: Mapping[str, str], files: Mapping[str, list[str]]) -> pa.Schema:
    """Return the schema of a commit record: its footer names the files of each kind that belong to it."""
    named = {f"fastgd.{kind}": json.dumps(files.get(kind, [])) for kind in ATTACHED}
    return schema.with_metadata({**footer, **named})


def numbers_of(path: Path) -> tuple[int, int] | None:
    """Return the generation and the number of a part from its file's name; None if it is not the name of a part."""
    found = _NAMES[path.parent.name].fullmatch(path.name)
    return (int(found["generation"]), int(found["number"])) if found else None


def generation_of(path: Path) -> int:
    """Return the generation of a part from its file's name; 0 if it is not the name of a part."""
    return (numbers_of(path) or (0, 0))[0]


def rotated_path(path: Path) -> Path:
    """Return where a file stands that had a hidden name: an interrupted commit may have given it its own."""
    return path if path.exists() else path.with_name(path.name.removeprefix("."))


def attached_files(record: Footer, kind: str) -> list[str] | None:
    """Return the names of the files of a kind that belong to a commit record; None if its footer does not say.

    Raises
    ------
    DamageError
        The footer holds something else than names.
    """
    text = record.entry(f"fastgd.{kind}".encode())
    if not text:
        return None
    try:
        names = from_json(text)
    except ValueError as error:
        raise DamageError(f"its footer: {error}") from error
    pattern = _NAMES[kind]
    if not isinstance(names, list) or not all(isinstance(each, str) and pattern.fullmatch(each) for each in names):
        raise DamageError(f"its footer has {shortened(names)}, and not the names of files")
    return names


@dataclass(frozen=True)
class Contents:
    """The files of a results folder that count, as of when the folder was read.

    Parameters
    ----------
    folder : Path
        The results folder.
    trials, curves, parameters, trajectories : tuple of Path
        The files, in the order of writing.
    files : mapping of Path to Footer
        The footers of all these files.
    """

    folder: Path
    trials: tuple[Path, ...]
    curves: tuple[Path, ...]
    parameters: tuple[Path, ...]
    trajectories: tuple[Path, ...]
    files: Mapping[Path, Footer]

    @classmethod
    def read(cls, folder: Path) -> "Contents":
        """Find the files that count.

        Raises
        ------
        InputError
            A file is damaged, missing, another one under its name, or was not written by fastgd.
        """
        for _ in range(3):  # another run may compact files away between two looks at the folder
            try:
                return cls._read(folder)
            except FileNotFoundError as error:
                missing = error.filename or folder
        raise InputError(
            f"{missing} is missing: restore it, or `fastgd verify {folder} --repair` and run the study again"
        )

    @classmethod
    def _read(cls, folder: Path) -> "Contents":
        # The manifest is read first: since it was written, parts can only have been added.
        manifest = Manifest.read(folder) if (folder / "manifest.json").exists() else None
        folder_id = manifest.folder if manifest else ""
        trials = _newest_generation(folder / "trials")
        files = _footers(trials, folder_id)
        attached = {kind: _named(folder, kind, files) for kind in ATTACHED}
        files |= _footers(itertools.chain(*attached.values()), folder_id)
        contents = cls(folder, trials, **attached, files=files)
        contents._require_parts(manifest.parts if manifest else {})
        if len(trials) > 1 and not all(files[path].sealed for path in trials):
            contents.require_single()  # sealed files name their part, so that a copy under another name is found
        return contents

    def _require_parts(self, parts: Mapping[str, int]) -> None:
        """Raise FileNotFoundError if a part is missing that counted when the last run ended."""
        rows = self.parts
        for name, count in parts.items():
            path = self.folder / "trials" / name
            if generation_of(path) < self.generation:
                continue
            if name not in rows:
                raise FileNotFoundError(ENOENT, "missing", str(path))
            if rows[name] != count:
                raise damaged_file(path, f"it has {rows[name]:,} rows, and manifest.json says {count:,}")

    def require_single(self) -> None:
        """Raise InputError if a trial is stored twice."""
        names = ["trial_id"] + (["start"] if self.columns.coordinates is not None else [])
        rows = self.table("trials", columns=names).to_pandas()
        if (again := rows.duplicated()).any():
            first = ":".join(map(str, rows[again].iloc[0]))
            raise InputError(
                f"{int(again.sum()):,} trials stand twice in {self.folder / 'trials'}, {first} for one: remove the "
                f"part that was copied, or see `fastgd verify {self.folder} --repair`"
            )

    @cached_property
    def columns(self) -> Columns:
        """The union of the files' columns."""
        kinds = (self.trials, self.curves, self.trajectories)
        return Columns.of(*([name for path in files for name in self.files[path].schema.names] for files in kinds))

    @property
    def generation(self) -> int:
        """The generation of the parts that count."""
        return generation_of(self.trials[-1]) if self.trials else 0

    @property
    def parts(self) -> dict[str, int]:
        """The names of the trials files with their numbers of rows, as the manifest keeps them."""
        return {path.name: self.files[path].rows for path in self.trials}

    @property
    def next_number(self) -> int:
        """The number of the next part, which no file in the folder has, whoever wrote it."""
        taken = [number for generation, number in _taken(self.folder) if generation == self.generation]
        return max(taken, default=-1) + 1

    @property
    def next_generation(self) -> int:
        """The number of the next generation, which no file in the folder has."""
        return max((generation for generation, _ in _taken(self.folder)), default=self.generation) + 1

    def dataset(self, kind: str) -> pds.Dataset:
        """Return the files of a kind as one dataset with the union schema."""
        schema = PARAMETERS if kind == "parameters" else getattr(self.columns, kind)
        return dataset_of(getattr(self, kind), schema)

    def table(self, kind: str, **options: Any) -> pa.Table:
        """Return the rows of a kind, with the options of `Dataset.to_table`.

        Raises
        ------
        FileNotFoundError
            A run that ended has compacted the files since these contents were read.
        InputError
            A file is damaged.
        """
        with self._naming(kind):
            return self.dataset(kind).to_table(**options)

    def batches(self, kind: str, **options: Any) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a kind in pieces, in the order of writing, with the options of `Dataset.to_batches`.

        Raises
        ------
        FileNotFoundError
            A run that ended has compacted the files since these contents were read.
        InputError
            A file is damaged.
        """
        with self._naming(kind):
            yield from self.dataset(kind).to_batches(**options)

    @contextmanager
    def _naming(self, kind: str) -> Iterator[None]:
        """Turn errors of datasets into an InputError that names the damaged file."""
        try:
            yield
        except (FileNotFoundError, MemoryError):
            raise
        except (pa.ArrowException, OSError) as error:
            refuse_damaged(getattr(self, kind))
            raise damaged_file(self.folder / kind / "*.parquet", error) from error

    def trial_ids(self, status: str | None = None) -> set[str]:
        """Return the ids of the committed trials, or of those with a status."""
        chosen = None if status is None else pds.field("status") == status
        found = self.table("trials", columns=["trial_id"], filter=chosen)["trial_id"]
        return set(pc.unique(found.cast(pa.string())).to_pylist())

    def first_rows(self, columns: Sequence[str]) -> pd.DataFrame:
        """Return these columns of the first row of each `trial_id`, which is the index.

        On landscapes there is a row for each start; all rows of a `trial_id` have the same configuration.
        """
        trials, names = self.dataset("trials"), ["trial_id", *columns]
        found = [trials.schema.empty_table().select(names).to_pandas()]
        with self._naming("trials"):
            found += [
                _first_of_runs(batch).to_pandas().drop_duplicates("trial_id")
                for batch in trials.to_batches(columns=names)
            ]
        texts = dict.fromkeys(found[0].select_dtypes("category"), object)
        rows: pd.DataFrame = pd.concat([each.astype(texts) for each in found]).drop_duplicates("trial_id")
        return rows.set_index("trial_id")

    def parameter_ids(self) -> set[str]:
        """Return the trials whose parameters are stored."""
        return set(self.table("parameters", columns=["trial_id"])["trial_id"].to_pylist())

    @property
    def unfinished(self) -> set[str]:
        """The trials that may go on: those that ran out of time, or that a race has retired."""
        return set().union(*map(self.trial_ids, UNFINISHED))

    @property
    def reached(self) -> dict[str, float]:
        """The steps to which trials are stored; infinity for those that are finished."""
        rows = self.table("trials", columns=["trial_id", "status", "steps"]).to_pandas()
        steps = rows["steps"].astype(float).where(rows["status"].isin((*UNFINISHED, FAILED)), np.inf)
        return dict(zip(rows["trial_id"].astype(str), steps, strict=True))

    @cached_property
    def done(self) -> dict[str, Any]:
        """The trials that are stored and finished; on landscapes, the starts of each configuration."""
        if self.columns.coordinates is None:
            return dict.fromkeys(self.trial_ids() - self.unfinished - self.trial_ids(FAILED))
        table = self.table("trials", columns=["trial_id", "start"], filter=pds.field("status") != FAILED)
        groups = table.to_pandas().groupby("trial_id", observed=True)["start"]
        return {str(name): np.sort(starts.to_numpy()) for name, starts in groups}

    def sweep(self, keep: Collection[Path] = ()) -> None:
        """Delete what does not count: temporary files, curves without a commit record, parts that were compacted.

        Only files that fastgd wrote to this place go: those with a temporary name, and those whose footer says so.

        Parameters
        ----------
        keep : collection of Path
            Rotated files of a part that goes on: these stay.
        """
        folder_id = Manifest.read(self.folder).folder
        kept = {*self.files, *keep, *map(rotated_path, keep)}
        found = [path for path in _parts(self.folder) if path not in kept]
        old = [path for path in found if path.name.startswith(".") or is_own(path, folder_id)]
        texts = [self.folder / ".manifest.json", self.folder / ".study.toml"]
        remove(old + [path for path in texts if path.is_file()])


def _parts(folder: Path) -> list[Path]:
    """Return the files of a results folder that have the names of parts, temporary ones among them."""
    found = [path for kind in KINDS for path in sorted((folder / kind).glob("*.parquet"))]
    return [path for path in found if numbers_of(path) and path.is_file()]


def _taken(folder: Path) -> list[tuple[int, int]]:
    return [numbers for path in _parts(folder) if (numbers := numbers_of(path))]


def _footers(paths: Iterable[Path], folder_id: str) -> dict[Path, Footer]:
    paths = tuple(paths)
    return dict(zip(paths, mapped(lambda path: read_own_footer(path, folder_id), paths), strict=True))


def _newest_generation(folder: Path) -> tuple[Path, ...]:
    parts = sorted(path for path in folder.glob("*.parquet") if not path.name.startswith("."))
    for path in parts:
        if numbers_of(path) is None:
            raise foreign_file(path)
    newest = max(map(generation_of, parts), default=0)
    return tuple(path for path in parts if generation_of(path) == newest)


def _named(folder: Path, kind: str, records: Mapping[Path, Footer]) -> tuple[Path, ...]:
    """Return the files of a kind that the commit records name."""
    present = {path.name for path in (folder / kind).glob("*.parquet")}
    files = []
    for path, record in records.items():
        with naming_damage(path):
            named = attached_files(record, kind)
        if named is None and kind != "trajectories":  # earlier versions had no trajectories
            raise foreign_file(path)
        for name in named or ():
            if name not in present:
                raise FileNotFoundError(ENOENT, "missing", str(folder / kind / name))
            files.append(folder / kind / name)
    return tuple(files)


def _first_of_runs(trials: pa.RecordBatch) -> pa.RecordBatch:
    """Return rows without those whose `trial_id` is that of the row before, where they share names."""
    ids = trials["trial_id"]
    if not pa.types.is_dictionary(ids.type):
        return trials
    return trials.take(np.flatnonzero(np.diff(ids.indices.to_numpy(), prepend=-1)))
