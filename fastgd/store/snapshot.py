"""Which files of a results folder count: the one rule that readers, resuming runs and the sweep share.

A trials file `GGGG-NNNNNN.parquet` is the commit record of part N of generation G; its footer names the curves and
parameters files that belong to it. Only the highest generation counts. Compaction writes all rows again as one part of
the next generation: the moment that its trials file takes its name, every older part is void, at once and for good.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from errno import ENOENT
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pds
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fastgd._errors import InputError
from fastgd._parsing import from_json, shortened
from fastgd.store.files import remove
from fastgd.store.schema import PARAMETERS, Columns

ATTACHED = ("curves", "parameters", "trajectories")  # what a commit record names
KINDS = ("trials", *ATTACHED)


def part_name(generation: int, number: int) -> str:
    """Return the name of a part without its suffix; names sort in the order of writing."""
    return f"{generation:04d}-{number:06d}"


def commit_schema(schema: pa.Schema, footer: Mapping[str, str], files: Mapping[str, list[str]]) -> pa.Schema:
    """Return the schema of a commit record: its footer names the files of each kind that belong to it."""
    named = {f"fastgd.{kind}": json.dumps(files.get(kind, [])) for kind in ATTACHED}
    return schema.with_metadata({**footer, **named})


@dataclass(frozen=True)
class Snapshot:
    """The files of a results folder that count, as they stood when it was read.

    Parameters
    ----------
    folder : Path
        The results folder.
    trials, curves, parameters, trajectories : tuple of Path
        The files, in the order of writing.
    schemas : mapping of Path to pyarrow.Schema
        The schemas of the files, those of parameters left out.
    """

    folder: Path
    trials: tuple[Path, ...]
    curves: tuple[Path, ...]
    parameters: tuple[Path, ...]
    trajectories: tuple[Path, ...]
    schemas: Mapping[Path, pa.Schema]

    @classmethod
    def read(cls, folder: Path) -> "Snapshot":
        """Read which files count.

        Raises
        ------
        InputError
            A file is damaged, missing, or was not written by fastgd.
        """
        for _ in range(3):  # a run that ends may compact files away while they are looked for
            try:
                return cls._read(folder)
            except FileNotFoundError as error:
                missing = error.filename or folder
        raise InputError(f"{missing} is missing: restore it, or start anew with --fresh")

    @classmethod
    def _read(cls, folder: Path) -> "Snapshot":
        trials = _newest_generation(folder / "trials")
        schemas = {path: _schema(path) for path in trials}
        curves, parameters, trajectories = (_named(folder, kind, schemas) for kind in ATTACHED)
        own = {path: _schema(path) for path in (*curves, *trajectories)}
        return cls(folder, trials, curves, parameters, trajectories, {**schemas, **own})

    @cached_property
    def columns(self) -> Columns:
        """The union of the files' columns."""
        kinds = (self.trials, self.curves, self.trajectories)
        return Columns.of(*([name for path in files for name in self.schemas[path].names] for files in kinds))

    @property
    def generation(self) -> int:
        """The generation of the parts."""
        return _numbers(self.trials[-1])[0] if self.trials else 0

    @property
    def next_number(self) -> int:
        """The number of the next part."""
        return _numbers(self.trials[-1])[1] + 1 if self.trials else 0

    def dataset(self, kind: str) -> pds.Dataset:
        """Return the files of a kind as one dataset with the union schema."""
        schema = PARAMETERS if kind == "parameters" else getattr(self.columns, kind)
        return pds.dataset([str(path) for path in getattr(self, kind)], schema=schema, format="parquet")

    def trial_ids(self, status: str | None = None) -> set[str]:
        """Return the trials that are committed; those with a status."""
        chosen = None if status is None else pds.field("status") == status
        found = self.dataset("trials").to_table(columns=["trial_id"], filter=chosen)["trial_id"]
        return set(pc.unique(found.cast(pa.string())).to_pylist())

    def first_rows(self, columns: Sequence[str]) -> pd.DataFrame:
        """Return these columns of the first row of each `trial_id`, which is the index.

        On landscapes there is a row for each start, and all rows of a `trial_id` have the same configuration.
        """
        trials, names = self.dataset("trials"), ["trial_id", *columns]
        found = [trials.schema.empty_table().select(names).to_pandas()]
        found += [batch.to_pandas().drop_duplicates("trial_id") for batch in trials.to_batches(columns=names)]
        texts = dict.fromkeys(found[0].select_dtypes("category"), object)
        rows: pd.DataFrame = pd.concat([each.astype(texts) for each in found]).drop_duplicates("trial_id")
        return rows.set_index("trial_id")

    def parameter_ids(self) -> set[str]:
        """Return the trials whose parameters are stored."""
        return set(self.dataset("parameters").to_table(columns=["trial_id"])["trial_id"].to_pylist())

    def starts(self) -> dict[str, NDArray[np.int64]]:
        """Return the starts of each configuration that are committed, of a study on landscapes."""
        if self.columns.coordinates is None:
            return {}
        table = self.dataset("trials").to_table(columns=["trial_id", "start"])
        groups = table.to_pandas().groupby("trial_id", observed=True)["start"]
        return {str(name): np.sort(starts.to_numpy()) for name, starts in groups}

    def sweep(self) -> None:
        """Delete what does not count: temporary files, curves without a commit record, parts that were compacted."""
        counts = {*self.trials, *self.curves, *self.parameters, *self.trajectories}
        found = [path for kind in KINDS for path in (self.folder / kind).glob("*.parquet")]
        texts = [self.folder / ".manifest.json", self.folder / ".study.toml"]
        remove([path for path in found if path not in counts] + [path for path in texts if path.exists()])


def _newest_generation(folder: Path) -> tuple[Path, ...]:
    parts = sorted(path for path in folder.glob("*.parquet") if not path.name.startswith("."))
    newest = max((_numbers(path)[0] for path in parts), default=0)
    return tuple(path for path in parts if _numbers(path)[0] == newest)


def _numbers(path: Path) -> tuple[int, int]:
    try:
        generation, number = path.stem.split("-")
        return int(generation), int(number)
    except ValueError:
        raise InputError(f"{path} was not written by fastgd: move it out of the results folder") from None


def _schema(path: Path) -> pa.Schema:
    try:
        return pq.read_schema(path)
    except FileNotFoundError:
        raise
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"cannot read {path} ({error}): restore it, or start anew with --fresh") from error


def _names(path: Path, text: bytes) -> list[str]:
    """Return the names of files that a footer has."""
    try:
        names = from_json(text)
    except ValueError as error:
        raise InputError(f"{path} is damaged: {error}") from error
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(f"{path} is damaged: its footer has {shortened(names)}, and not the names of files")
    return names


def _named(folder: Path, kind: str, records: Mapping[Path, pa.Schema]) -> tuple[Path, ...]:
    """Return the files of a kind that the commit records name."""
    key = f"fastgd.{kind}".encode()
    present = {path.name for path in (folder / kind).glob("*.parquet")}
    files = []
    for path, schema in records.items():
        metadata = schema.metadata or {}
        if key not in metadata and kind != "trajectories":  # which earlier versions did not have
            raise InputError(f"{path} was not written by fastgd: move it out of the results folder")
        for name in _names(path, metadata.get(key, b"[]")):
            if name not in present:
                raise FileNotFoundError(ENOENT, "missing", str(folder / kind / name))
            files.append(folder / kind / name)
    return tuple(files)
