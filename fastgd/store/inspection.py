"""What is wrong in a results folder: every byte of every file, and whether all of them fit together.

An `Inspection` changes nothing. It goes on where a reader would stop, and knows in the end which files are good, which
row groups of the others, and which trials have lost something.
"""

from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from fastgd.common.errors import InputError
from fastgd.common.parsing import from_toml
from fastgd.common.properties import cached_property
from fastgd.store.contents import ATTACHED, KINDS, Contents, attached, generation_of, numbers_of
from fastgd.store.manifest import Manifest, read_study
from fastgd.store.schema import PARAMETERS, Columns
from fastgd.store.seal import DamageError
from fastgd.store.surfaces import FOLDER as SURFACES
from fastgd.store.surfaces import missing_surfaces, read_surface, surface_files
from fastgd.store.tables import (
    FOLDER,
    About,
    UnreadableError,
    about,
    about_own,
    damaged,
    is_of_others,
    opened,
    unmarked,
)

_STARTS = 1 << 32  # more than a configuration has


@dataclass(frozen=True)
class Finding:
    """Something that is wrong.

    Attributes
    ----------
    file : str
        The file, as seen from the results folder.
    problem : str
        What is wrong with it.
    trials : tuple of str
        The trials whose results are lost by it, as far as they are known; on landscapes ID:START.
    """

    file: str
    problem: str
    trials: tuple[str, ...] = ()


class Keys:
    """The trials of a folder, and their places: the order in which they stand.

    Parameters
    ----------
    rows : pandas.DataFrame
        `trial_id` and, on landscapes, `start`.
    """

    def __init__(self, rows: pd.DataFrame) -> None:
        self._ids = pd.Index(rows["trial_id"].unique())
        keys = self._keys(pa.Table.from_pandas(rows, preserve_index=False))
        self._order = np.argsort(keys, kind="stable")
        self._sorted = keys[self._order]

    def places(self, table: pa.Table) -> NDArray[np.int64]:
        """Return the place of each row's trial; -1: it is none of them."""
        keys = self._keys(table)
        if not len(self._sorted):
            return np.full(len(keys), -1)
        at = np.searchsorted(self._sorted, keys).clip(max=len(self._sorted) - 1)
        return np.where(self._sorted[at] == keys, self._order[at], -1)

    def _keys(self, table: pa.Table) -> NDArray[np.int64]:
        ids = table["trial_id"].combine_chunks()
        if not pa.types.is_dictionary(ids.type):
            ids = ids.dictionary_encode()
        codes = np.append(self._ids.get_indexer(pd.Index(ids.dictionary.to_pylist())), -1)
        keys: NDArray[np.int64] = codes[ids.indices.fill_null(len(codes) - 1).to_numpy(zero_copy_only=False)] * _STARTS
        return keys + table["start"].to_numpy() if "start" in table.column_names else keys


class Inspection:
    """What was found in a results folder.

    Attributes
    ----------
    path : Path
    manifest : Manifest or None
        None: it cannot be read.
    findings, remarks : list of Finding
        What is wrong, and what is only to be said.
    aside : list of Path
        Files that do not belong where they stand, or hold nothing that can be read.
    foreign : list of Path
        Files among the commit records that are none, and keep the folder from being read.
    bad : dict of Path to list of int
        Of files that count: their row groups that cannot be read.
    trials : pandas.DataFrame
        The trials that are named: their key, `steps`, `status`, the number of their `record`, and whether they are
        `lost`.
    strays : bool
        Whether there are rows of other trials.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.findings: list[Finding] = []
        self.remarks: list[Finding] = []
        self.aside: list[Path] = []
        self.foreign: list[Path] = []
        self.bad: dict[Path, list[int]] = {}
        self.strays = False
        self._study: dict[str, Any] = {}
        self._unnamed: dict[int, dict[str, None]] = {}  # of records, the trials that cannot be read there
        self._kept: list[NDArray[np.int64]] = []  # the places of the trials whose parameters are stored
        self._gaps: set[tuple[str, int]] = set()  # kinds, and numbers of records that miss a file of it
        self._tell: list[tuple[Path, str, int]] = []  # files, what is wrong, and the record whose trials it costs
        self.manifest = self._read_manifest()
        self._find_records()
        self._find_attached()
        self._find_others()
        self._read_study()
        self._read_files()
        self._read_trials()
        self._follow()
        for file, problem, record in dict.fromkeys(self._tell):
            mine = self.trials["lost"] & (self.trials["record"] == record)
            names = dict.fromkeys((*self.names(self.trials[mine]), *self._unnamed.get(record, ())))
            self.findings.append(Finding(self._name(file), problem, tuple(names)))

    @cached_property
    def keys(self) -> Keys:
        """The places of the trials."""
        return Keys(self.trials)

    @property
    def counting(self) -> list[Path]:
        """The files that count and can be read, or some of their row groups."""
        return [*self.records, *(path for files in self.attached.values() for path, _ in files)]

    @property
    def columns(self) -> Columns:
        """The union of the files' columns."""
        return self.contents.columns

    @property
    def contents(self) -> Contents:
        """What can be read of the folder."""
        kinds = {kind: tuple(path for path, _ in self.attached[kind]) for kind in ATTACHED}
        return Contents(self.path, tuple(self.records), **kinds, files={p: self._about[p] for p in self.counting})

    @property
    def aside_parts(self) -> list[Path]:
        """Those of the files aside that are parts."""
        return [path for path in self.aside if path.suffix == ".parquet"]

    @property
    def to_be_rewritten(self) -> bool:
        """Whether the files that count hold what is lost, or name what is not there."""
        return bool(self.records) and bool(self.bad or self._gaps or self.strays or self.trials["lost"].any())

    def names(self, rows: pd.DataFrame) -> tuple[str, ...]:
        """Return the names of trials, as `fastgd run --trial` takes them."""
        ids = rows["trial_id"].astype(str)
        return tuple(ids + ":" + rows["start"].astype(str)) if "start" in rows else tuple(ids)

    def _name(self, path: Path) -> str:
        return str(path.relative_to(self.path))

    def _wrong(self, path: Path, problem: object, trials: tuple[str, ...] = ()) -> None:
        text = str(problem).removeprefix(f"{path} ")
        for way_out in (
            ": restore it",
            "; restore it",
            ": remove the",
            ": give it back",
            ": put the",
            ", or see `fastgd",
        ):
            text = text.partition(way_out)[0]
        self.findings.append(Finding(self._name(path), text, trials))

    def _note(self, path: Path, text: str) -> None:
        self.remarks.append(Finding(self._name(path), text))

    # --- which files there are ---

    def _read_manifest(self) -> Manifest | None:
        path = self.path / "manifest.json"
        try:
            return Manifest.read(self.path)
        except InputError as error:
            if not any((self.path / "trials").glob("*.parquet")):
                raise
            self._wrong(path, error if path.exists() else "it is missing")
            self.aside += [path] if path.is_file() else []
            return None

    def _find_records(self) -> None:
        """Find the commit records that count: the good ones of the newest generation."""
        found: dict[Path, About] = {}
        self.torn = False  # whether a commit record is gone, and with it the names of its trials
        self.home = self.manifest.folder if self.manifest else ""
        for path in _files(self.path / "trials"):
            if own := self._record(path):
                found[path] = own
                self.home = self.home or own.names(FOLDER)
            self.torn |= not own and numbers_of(path) is not None
        generation = max(map(generation_of, found), default=0)
        self._about = {path: own for path, own in found.items() if generation_of(path) == generation}
        self.records = list(self._about)
        for name, rows in (self.manifest.parts if self.manifest else {}).items():
            path = self.path / "trials" / name
            if generation_of(path) < generation:
                continue
            if not path.exists():
                self._wrong(path, "is missing")
                self.torn = True
            elif path in self._about and self._about[path].rows != rows:
                self._wrong(path, f"has {self._about[path].rows:,} rows, and manifest.json says {rows:,}")

    def _own(self, path: Path) -> About | None:
        """Return what a file in the place of a part says; None where it is none, which is noted."""
        try:
            return about_own(path, self.home)
        except FileNotFoundError:
            self._wrong(path, "is missing")
        except UnreadableError:  # whether it is damaged cannot be told
            raise
        except InputError as error:
            self._wrong(path, error)
            if not is_of_others(path):
                self.aside.append(path)
            elif path.parent.name == "trials":
                self.foreign.append(path)
        return None

    def _record(self, path: Path) -> About | None:
        """Return what a file in the place of a commit record says; None where it is none, which is noted."""
        own = self._own(path)
        try:
            named = [attached(own, kind) for kind in ATTACHED] if own else []
        except DamageError as error:
            self._wrong(path, damaged(path, error))
            self.aside.append(path)
            return None
        if own and (named[0] is None or numbers_of(path) is None):
            self._wrong(path, unmarked(path))
            self.foreign.append(path)
            return None
        return own

    def _find_attached(self) -> None:
        """Find what the records name; of a kind, the files with the numbers of their records."""
        self.attached: dict[str, list[tuple[Path, int]]] = {kind: [] for kind in ATTACHED}
        self._named: set[Path] = set()
        for number, record in enumerate(self.records):
            for kind in ATTACHED:
                for name in attached(self._about[record], kind) or ():
                    path = self.path / kind / name
                    self._named.add(path)
                    before = len(self.findings)
                    if own := self._own(path):
                        self._about[path] = own
                        self.attached[kind].append((path, number))
                    else:  # told when it is known which trials it costs
                        self._gaps.add((kind, number))
                        self._tell += [(path, each.problem, number) for each in self.findings[before:]]
                        del self.findings[before:]

    def _find_others(self) -> None:
        """Name the files that no record does, and check the surfaces."""
        for kind in (*KINDS, SURFACES):
            if (self.path / kind).is_symlink():
                self._note(self.path / kind, "is a symbolic link: fastgd reads through it, and does not write there")
        for kind in ATTACHED:
            for path in _files(self.path / kind):
                if path not in self._named:
                    self._find_unnamed(path)
        for path in missing_surfaces(self.path) if self.manifest else ():
            self._wrong(path, "is missing")
        for path in sorted((self.path / SURFACES).glob("[!.]*.parquet")):
            if is_of_others(path):
                self._note(path, "is not part of the results")
        for path in surface_files(self.path):
            try:
                read_surface(path, self.home)
            except UnreadableError:
                raise
            except InputError as error:
                self._wrong(path, error)
                self.aside.append(path)

    def _find_unnamed(self, path: Path) -> None:
        try:
            about_own(path, self.home)
        except InputError:
            self._note(path, "is not part of the results: no commit record names it")
            return
        if not self.torn:
            self._note(path, "was left by a run that was interrupted, or by an earlier generation")
            return
        ids: list[str] = []
        for table in self._groups(path, ["trial_id"]):
            ids += table["trial_id"].unique().cast(pa.string()).to_pylist() if table else []
        self._wrong(path, "belongs to a commit record that is gone", tuple(dict.fromkeys(ids)))
        self.aside.append(path)

    def _read_study(self) -> None:
        if self.manifest is None:
            return
        path = self.path / "study.toml"
        try:
            self._study = from_toml(read_study(self.path))
        except ValueError as error:  # what it is, or that it is no study
            self._wrong(path, str(error).removeprefix(f"{path} ").partition(". Run")[0])
            self.aside += [path] if path.is_file() else []

    # --- what stands in them ---

    def _groups(self, path: Path, columns: list[str] | None = None) -> Iterator[pa.Table | None]:
        """Read the row groups of a file one by one; None: one that cannot be read."""
        with opened(path) as file:
            for group in range(file.num_row_groups):
                try:
                    table = file.read_row_group(group, columns=columns, use_threads=False)
                    table.validate(full=True)
                    yield table
                except MemoryError:
                    raise
                except (pa.ArrowException, OSError):
                    yield None

    def _read_files(self) -> None:
        """Read all bytes of the files that count."""
        records = [(path, number) for number, path in enumerate(self.records)]
        for kind, files in {"trials": records, **self.attached}.items():
            for path, record in files:
                own = self._about[path]
                typed = self._check_schema(path, kind)
                groups = list(enumerate(table is None for table in self._groups(path)))
                if bad := [group for group, is_bad in groups if is_bad or not typed]:
                    self.bad[path] = bad
                    text = f"{len(bad)} of its {len(groups)} row groups are damaged"
                    self._tell.append((path, text, record))
                if not own.sealed:
                    self._note(path, "has no checksums: an earlier version of fastgd wrote it")

    def _check_schema(self, path: Path, kind: str) -> bool:
        """Note columns that are none of a file's kind; return whether all are: rows of other types are of no use."""
        wanted = PARAMETERS if kind == "parameters" else getattr(self.columns, kind)
        strange = [
            field
            for field in self._about[path].schema
            if field.name not in wanted.names or wanted.field(field.name).type != field.type
        ]
        for field in strange:
            self._wrong(path, f"has a column {field.name!r} of the type {field.type} that is none of its kind's")
        return not strange

    def _read_trials(self) -> None:
        """Read which trials there are; those of damaged row groups are lost."""
        names = ["trial_id", "steps", "status", "in_study"] + (
            ["start"] if self.columns.coordinates is not None else []
        )
        keys = [name for name in names if name in ("trial_id", "start")]
        texts = {"trial_id": object, "status": object, "in_study": object}
        empty = pd.DataFrame({name: pd.Series(dtype=texts.get(name, np.int64)) for name in names})
        parts = [empty.assign(record=pd.Series(dtype=np.int64), lost=pd.Series(dtype=bool))]
        for number, record in enumerate(self.records):
            bad = self.bad.get(record, ())
            good = [group for group in range(self._count(record)) if group not in bad]
            parts += [rows.assign(record=number, lost=False) for rows in self._rows(record, names, good)]
            parts += [rows.assign(record=number, lost=True) for rows in self._rows(record, keys, bad)]
        self.trials = pd.concat([part.astype({k: v for k, v in texts.items() if k in part}) for part in parts])
        self.trials = self.trials.reset_index(drop=True)
        doubled = self.trials.duplicated(keys, keep=False)
        for number in sorted(set(self.trials.loc[doubled, "record"])):
            self._tell.append((self.records[number], "holds trials that stand twice", number))
        self.trials["lost"] |= doubled
        self.trials = self.trials.drop_duplicates(keys, ignore_index=True)

    def _count(self, path: Path) -> int:
        with opened(path) as file:
            return int(file.num_row_groups)

    def _rows(self, path: Path, names: list[str], groups: Collection[int]) -> Iterator[pd.DataFrame]:
        """Read columns of some row groups, those that can be read and have the types of these columns."""
        if not groups:
            return
        types = pa.schema([self.columns.trials.field(name) for name in names])
        for group, table in enumerate(self._groups(path, names)):
            if group in groups and table is not None and table.schema.equals(types):
                yield table.to_pandas()

    def _follow(self) -> None:
        """Find the trials that have lost rows of their curves or trajectories, and rows that are nobody's."""
        lost = self.trials["lost"].to_numpy(copy=True)
        self._follow_curves(lost)
        for kind in ("trajectories", "parameters"):
            for path, record in self.attached[kind]:
                self._follow_others(kind, path, record, lost)
        for kind, record in self._gaps:
            if kind == "trajectories":  # which trials had some is not known
                lost |= (self.trials["record"] == record).to_numpy()
        self.trials["lost"] = lost
        self._find_lacking()

    def _follow_curves(self, lost: NDArray[np.bool_]) -> None:
        """A curve is whole if it begins at step 0, rises, and goes to the trial's end.

        It also must not stand on both sides of a gap: of rows that cannot be read, and whose trials are not known.
        """
        count = len(self.trials)
        first, last = np.full(count, -1), np.full(count, -1)
        before, after = np.full(count, np.iinfo(np.int64).max), np.full(count, -1)
        gaps, segment = [], 0
        names = [name for name in ("trial_id", "start", "step") if name != "start" or "start" in self.trials]
        for path, record in self._in_order("curves"):
            if path is None:
                gaps.append(segment)
                segment += 1
                continue
            bad = self.bad.get(path, ())
            for group, table in enumerate(self._groups(path, names)):
                segment += 1
                if table is None:
                    gaps.append(segment)
                    continue
                places, steps = self.keys.places(table), table["step"].to_numpy()
                if (places < 0).any():
                    self._stray(path, record, table.filter(pa.array(places < 0)))
                    steps, places = steps[places >= 0], places[places >= 0]
                if group in bad:
                    lost[places] = True
                order = np.argsort(places, kind="stable")
                places, steps = places[order], steps[order]
                new = np.diff(places, prepend=-1) != 0
                earlier = np.where(new, last[places], np.roll(steps, 1))
                if (steps <= earlier).any():
                    lost[places[steps <= earlier]] = True
                    self._tell.append((path, "holds rows of curves twice", record))
                fresh = new & (last[places] < 0)
                first[places[fresh]] = steps[fresh]
                last[places] = steps
                before[places], after[places] = np.minimum(before[places], segment), segment
        ended = self.trials["steps"].fillna(0).to_numpy()
        late = (self.trials["status"] == "timeout").to_numpy()
        torn = (first != 0) | ((last < ended) & ~late)
        for gap in gaps:
            torn |= (before < gap) & (after > gap)
        self._tell_torn(torn & ~lost)
        lost |= torn

    def _in_order(self, kind: str) -> Iterator[tuple[Path | None, int]]:
        """The files of a kind as the records name them; None: one that is not there, or cannot be read at all."""
        there = set(self.attached[kind])
        for number, record in enumerate(self.records):
            for name in attached(self._about[record], kind) or ():
                path = self.path / kind / name
                yield (path if (path, number) in there else None), number

    def _tell_torn(self, torn: NDArray[np.bool_]) -> None:
        """Say of which records curves are not whole, where nothing else says so."""
        told = {record for file, _, record in self._tell if file.parent.name == "curves"}
        for number in sorted(set(self.trials.loc[torn, "record"]) - told):
            self._tell.append((self.records[number], "has trials whose curves are not whole", number))

    def _follow_others(self, kind: str, path: Path, record: int, lost: NDArray[np.bool_]) -> None:
        names = ["trial_id"] + (["start"] if kind == "trajectories" else [])
        bad = self.bad.get(path, ())
        for group, table in enumerate(self._groups(path, names)):
            if table is None and kind == "trajectories":
                lost |= (self.trials["record"] == record).to_numpy()
            if table is None:
                continue
            places = self.keys.places(table)
            if (places < 0).any():
                self._stray(path, record, table.filter(pa.array(places < 0)))
            if kind == "trajectories" and group in bad:
                lost[places[places >= 0]] = True
            if kind == "parameters" and group not in bad:
                self._kept.append(places)

    def _stray(self, path: Path, record: int, rows: pa.Table) -> None:
        """Note rows of trials that no record has: where the record is damaged, of those that it had."""
        self.strays = True
        columns = [name for name in ("trial_id", "start") if name in rows.column_names]
        some = self.names(rows.select(columns).to_pandas().drop_duplicates())
        if self.records[record] in self.bad:
            self._unnamed.setdefault(record, {}).update(dict.fromkeys(some))
        else:
            self._wrong(path, "has rows of trials that are not stored", some)

    def _find_lacking(self) -> None:
        """Find trials whose parameters stand twice, or are not there though the study asks for those of all."""
        kept = np.concatenate([*self._kept, np.zeros(0, np.int64)])
        numbers = np.bincount(kept[kept >= 0], minlength=len(self.trials))
        record = self._study.get("record")
        asked = isinstance(record, dict) and record.get("parameters") == "all" and "start" not in self.trials
        lacking = (numbers == 0) & self.trials["in_study"].eq(True) & (self.trials["status"] != "timeout")
        lacking &= ~self.trials["lost"] & (asked and self.manifest is not None and self.manifest.ended is not None)
        told = self.remarks if self._study.get("max_seconds") else self.findings  # the time may have been over
        for rows, text, where in (
            (numbers > 1, "holds the parameters of trials twice", self.findings),
            (lacking, "lacks those of trials", told),
        ):
            if rows.any():
                where.append(Finding("parameters", text, self.names(self.trials[rows])))
        self.trials["lost"] |= numbers > 1


def _files(folder: Path) -> list[Path]:
    """Return the Parquet files of a folder that are no temporary ones."""
    return [path for path in sorted(folder.glob("*.parquet")) if not path.name.startswith(".")]


def footer_manifest(paths: Iterable[Path]) -> Manifest | None:
    """Return the manifest that the last of some parts repeats; None: none does."""
    found = None
    for path in paths:
        with suppress(InputError):
            if text := about(path).names(b"fastgd.manifest"):
                found = Manifest.from_footer(text, path)
    return found
