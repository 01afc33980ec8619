"""The files of a results folder that may be damaged: which of them count, and what is wrong with the others."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from fastgd.common.errors import InputError, UnreadableError
from fastgd.common.parsing import from_toml
from fastgd.store.contents import ATTACHED, KINDS, Contents, attached_files, generation_of, numbers_of
from fastgd.store.disk.checked_reading import (
    FOLDER_ID,
    Footer,
    damaged_file,
    foreign_file,
    is_foreign,
    open_parquet,
    read_own_footer,
)
from fastgd.store.disk.seal import DamageError
from fastgd.store.manifest import Manifest, read_study
from fastgd.store.optima import FOLDER as OPTIMA
from fastgd.store.optima import optimum_files, read_optimum
from fastgd.store.surface_files import FOLDER as SURFACES
from fastgd.store.surface_files import missing_surfaces, read_surface, surface_files
from fastgd.store.trial_surfaces import FOLDER as TRIAL_SURFACES
from fastgd.store.trial_surfaces import read_trial_surface, trial_surface_files
from fastgd.store.verifying.findings import Report


class FolderFiles:
    """The files of a results folder, by their names, footers and what the commit records say; rows are not read.

    Attributes
    ----------
    path : Path
    report : Report
        What is wrong with the files.
    manifest : Manifest or None
        None: it cannot be read.
    study : dict
        The tables of the study file; empty where it cannot be read.
    records : list of Path
        The commit records that count: the good ones of the newest generation.
    attached : dict of str to list of (Path, int)
        The good files of each kind that the records name, with the number of the record.
    footers : dict of Path to Footer
        Of all files that count.
    missing : set of (str, int)
        Kinds, and the numbers of the records that name a file of that kind which is missing or bad.
    set_aside : list of Path
        Files that do not belong where they stand, or hold nothing that can be read.
    foreign : list of Path
        Files among the commit records that fastgd did not write, and that keep the folder from being read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.report = Report(path)
        self.set_aside: list[Path] = []
        self.foreign: list[Path] = []
        self.missing: set[tuple[str, int]] = set()
        self.manifest = self._read_manifest()
        self._find_records()
        self._find_attached()
        self._find_others()
        self._check_surfaces()
        self.study = self._read_study()

    @property
    def counting(self) -> list[Path]:
        """The files that count and can be read, or some of their row groups."""
        return [*self.records, *(path for files in self.attached.values() for path, _ in files)]

    @property
    def contents(self) -> Contents:
        """What can be read of the folder."""
        kinds = {kind: tuple(path for path, _ in self.attached[kind]) for kind in ATTACHED}
        footers = {path: self.footers[path] for path in self.counting}
        return Contents(self.path, tuple(self.records), **kinds, files=footers)

    def in_order(self, kind: str) -> Iterator[tuple[Path | None, int]]:
        """Yield the files of a kind as the records name them, with the record; None for one that is missing or bad."""
        there = set(self.attached[kind])
        for record, path in enumerate(self.records):
            for name in attached_files(self.footers[path], kind) or ():
                file = self.path / kind / name
                yield (file if (file, record) in there else None), record

    def _read_manifest(self) -> Manifest | None:
        path = self.path / "manifest.json"
        try:
            return Manifest.read(self.path)
        except UnreadableError:
            raise
        except InputError as error:
            if not any((self.path / "trials").glob("*.parquet")):
                raise
            self.report.wrong(path, error if path.exists() else "it is missing")
            self.set_aside += [path] if path.is_file() else []
            return None

    def _find_records(self) -> None:
        found: dict[Path, Footer] = {}
        self._lost_a_record = False  # and with it the names of its trials
        self.folder_id = self.manifest.folder if self.manifest else ""
        for path in _parquet_files(self.path / "trials"):
            if footer := self._record_footer(path):
                found[path] = footer
                self.folder_id = self.folder_id or footer.entry(FOLDER_ID)
            self._lost_a_record |= not footer and numbers_of(path) is not None
        generation = max(map(generation_of, found), default=0)
        self.footers = {path: footer for path, footer in found.items() if generation_of(path) == generation}
        self.records = list(self.footers)
        for name, rows in (self.manifest.parts if self.manifest else {}).items():
            path = self.path / "trials" / name
            if generation_of(path) < generation:
                continue
            if not path.exists():
                self.report.wrong(path, "is missing")
                self._lost_a_record = True
            elif path in self.footers and self.footers[path].rows != rows:
                self.report.wrong(path, f"has {self.footers[path].rows:,} rows, and manifest.json says {rows:,}")

    def _record_footer(self, path: Path) -> Footer | None:
        """Return the footer of a commit record; None where the file is none, which is reported."""
        footer, problem = self._footer(path)
        try:
            named = [attached_files(footer, kind) for kind in ATTACHED] if footer else []
            if footer and (named[0] is None or numbers_of(path) is None):
                problem = foreign_file(path)
                self.foreign.append(path)
        except DamageError as error:
            problem = damaged_file(path, error)
            self.set_aside.append(path)
        if problem is not None:
            self.report.wrong(path, problem)
            return None
        return footer

    def _footer(self, path: Path) -> tuple[Footer | None, object]:
        """Return the footer of a file that should be a part, or what is wrong with it."""
        try:
            return read_own_footer(path, self.folder_id), None
        except FileNotFoundError:
            return None, "is missing"
        except UnreadableError:  # whether it is damaged cannot be told
            raise
        except InputError as error:
            if not is_foreign(path):
                self.set_aside.append(path)
            elif path.parent.name == "trials":
                self.foreign.append(path)
            return None, error

    def _find_attached(self) -> None:
        """Find the files that the records name."""
        self.attached: dict[str, list[tuple[Path, int]]] = {kind: [] for kind in ATTACHED}
        self._named: set[Path] = set()
        for number, record in enumerate(self.records):
            for kind in ATTACHED:
                for name in attached_files(self.footers[record], kind) or ():
                    path = self.path / kind / name
                    self._named.add(path)
                    footer, problem = self._footer(path)
                    if footer:
                        self.footers[path] = footer
                        self.attached[kind].append((path, number))
                    else:
                        self.missing.add((kind, number))
                        self.report.wrong_in_record(path, problem, number)

    def _find_others(self) -> None:
        """Report the files that no record names."""
        for kind in (*KINDS, SURFACES, TRIAL_SURFACES, OPTIMA):
            if (self.path / kind).is_symlink():
                text = "is a symbolic link: fastgd reads through it, and does not write there"
                self.report.note(self.path / kind, text)
        for kind in ATTACHED:
            for path in _parquet_files(self.path / kind):
                if path not in self._named:
                    self._report_unnamed(path)

    def _report_unnamed(self, path: Path) -> None:
        try:
            read_own_footer(path, self.folder_id)
        except UnreadableError:
            raise
        except InputError:
            self.report.note(path, "is not part of the results: no commit record names it")
            return
        if not self._lost_a_record:
            self.report.note(path, "was left by a run that was interrupted, or by an earlier generation")
            return
        ids: list[str] = []
        for table in readable_groups(path, ["trial_id"]):
            ids += table["trial_id"].unique().cast(pa.string()).to_pylist() if table else []
        self.report.wrong(path, "belongs to a commit record that is gone", tuple(dict.fromkeys(ids)))
        self.set_aside.append(path)

    def _check_surfaces(self) -> None:
        for path in missing_surfaces(self.path) if self.manifest else ():
            self.report.wrong(path, "is missing")
        for kind in (SURFACES, TRIAL_SURFACES, OPTIMA):
            for path in sorted((self.path / kind).glob("[!.]*.parquet")):
                if is_foreign(path):
                    self.report.note(path, "is not part of the results")
        reads: dict[Path, Callable[[Path, str], object]] = dict.fromkeys(surface_files(self.path), read_surface)
        reads |= dict.fromkeys(trial_surface_files(self.path), read_trial_surface)
        reads |= dict.fromkeys(optimum_files(self.path), read_optimum)
        for path, read in reads.items():
            try:
                read(path, self.folder_id)
            except UnreadableError:
                raise
            except InputError as error:
                self.report.wrong(path, error)
                self.set_aside.append(path)

    def _read_study(self) -> dict[str, Any]:
        if self.manifest is None:
            return {}
        path = self.path / "study.toml"
        try:
            return from_toml(read_study(self.path))
        except UnreadableError:
            raise
        except ValueError as error:  # what it is, or that it is no study
            self.report.wrong(path, str(error).removeprefix(f"{path} ").partition(". Run")[0])
            self.set_aside += [path] if path.is_file() else []
            return {}


def readable_groups(path: Path, columns: list[str] | None = None) -> Iterator[pa.Table | None]:
    """Yield the row groups of a file one by one; None for one that cannot be read."""
    with open_parquet(path) as file:
        for group in range(file.num_row_groups):
            try:
                table = file.read_row_group(group, columns=columns, use_threads=False)
                table.validate(full=True)
                yield table
            except MemoryError:
                raise
            except (pa.ArrowException, OSError):
                yield None


def _parquet_files(folder: Path) -> list[Path]:
    """Return the Parquet files of a folder without temporary ones."""
    return [path for path in sorted(folder.glob("*.parquet")) if not path.name.startswith(".")]
