"""What is wrong in a results folder: every byte of every file, and whether all of them fit together.

An `Inspection` changes nothing. It goes on where a reader would stop, and knows in the end which files are good, which
row groups of the others, and which trials have lost something.
"""

from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from fastgd.common.properties import cached_property
from fastgd.store.disk.checked_reading import open_parquet
from fastgd.store.schema import FAILED, PARAMETERS, UNFINISHED
from fastgd.store.verifying.findings import Finding
from fastgd.store.verifying.folder_files import FolderFiles, readable_groups
from fastgd.store.verifying.whole_curves import CurveCheck

OF_ALL = ("all", "best_iterate")  # what `record.parameters` is where every trial has some
_MOST_STARTS = 1 << 32  # more than a configuration has


class TrialPlaces:
    """Finds the place of a trial in a table of trials, for millions of rows at once.

    Parameters
    ----------
    trials : pandas.DataFrame
        `trial_id` and, on landscapes, `start`.
    """

    def __init__(self, trials: pd.DataFrame) -> None:
        self._ids = pd.Index(trials["trial_id"].unique())
        keys = self._keys(pa.Table.from_pandas(trials, preserve_index=False))
        self._order = np.argsort(keys, kind="stable")
        self._sorted = keys[self._order]

    def of(self, table: pa.Table) -> NDArray[np.int64]:
        """Return the place of each row's trial; -1 where it is none of them."""
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
        rows = ids.indices.fill_null(len(codes) - 1).to_numpy(zero_copy_only=False)
        keys: NDArray[np.int64] = codes[rows] * _MOST_STARTS
        return keys + table["start"].to_numpy() if "start" in table.column_names else keys


class Inspection:
    """What was found in a results folder.

    Attributes
    ----------
    files : FolderFiles
        Which files count.
    report : Report
        What is wrong, and what is only worth a remark.
    bad_groups : dict of Path to list of int
        Of files that count: their row groups that cannot be read.
    trials : pandas.DataFrame
        The trials that the records name: their key, `steps`, `status`, `in_study`, the number of their `record`, and
        whether they are `lost`: something of theirs is missing or cannot be read.
    has_stray_rows : bool
        Whether there are rows of trials that no record names.
    """

    def __init__(self, path: Path) -> None:
        self.files = FolderFiles(path)
        self.report = self.files.report
        self.bad_groups: dict[Path, list[int]] = {}
        self.has_stray_rows = False
        self._unnamed: dict[int, dict[str, None]] = {}  # by record: trials whose rows in it cannot be read
        self._stored_parameters: list[NDArray[np.int64]] = []  # the places of the trials that have some
        self._columns = self.files.contents.columns
        self._read_files()
        self._read_trials()
        self._find_lost_trials()
        self.report.name_trials(self._lost_in)

    @cached_property
    def places(self) -> TrialPlaces:
        """The places of the trials in `trials`."""
        return TrialPlaces(self.trials)

    @property
    def must_be_rewritten(self) -> bool:
        """Whether the files that count hold rows of lost trials, or name files that are not there."""
        bad = self.bad_groups or self.files.missing or self.has_stray_rows or self.trials["lost"].any()
        return bool(self.files.records) and bool(bad)

    def names(self, rows: pd.DataFrame) -> tuple[str, ...]:
        """Return the names of trials, as `fastgd run --trial` takes them."""
        ids = rows["trial_id"].astype(str)
        return tuple(ids + ":" + rows["start"].astype(str)) if "start" in rows else tuple(ids)

    def _lost_in(self, record: int) -> list[str]:
        """Return the names of the trials that a record has lost."""
        lost = self.trials["lost"] & (self.trials["record"] == record)
        return list(dict.fromkeys((*self.names(self.trials[lost]), *self._unnamed.get(record, ()))))

    def _read_files(self) -> None:
        """Read all bytes of the files that count."""
        records = [(path, number) for number, path in enumerate(self.files.records)]
        for kind, files in {"trials": records, **self.files.attached}.items():
            for path, record in files:
                typed = self._has_right_types(path, kind)
                groups = list(enumerate(table is None for table in readable_groups(path)))
                if bad := [group for group, is_bad in groups if is_bad or not typed]:
                    self.bad_groups[path] = bad
                    text = f"{len(bad)} of its {len(groups)} row groups are damaged"
                    self.report.wrong_in_record(path, text, record)
                if not self.files.footers[path].sealed:
                    self.report.note(path, "has no checksums: an earlier version of fastgd wrote it")

    def _has_right_types(self, path: Path, kind: str) -> bool:
        """Whether all columns of a file are those of its kind; others are reported, and make its rows useless."""
        wanted = PARAMETERS if kind == "parameters" else getattr(self._columns, kind)
        strange = [
            field
            for field in self.files.footers[path].schema
            if field.name not in wanted.names or wanted.field(field.name).type != field.type
        ]
        for field in strange:
            text = f"has a column {field.name!r} of the type {field.type} that is none of its kind's"
            self.report.wrong(path, text)
        return not strange

    def _read_trials(self) -> None:
        """Read which trials there are; those of damaged row groups are lost."""
        key = ["trial_id"] + (["start"] if self._columns.coordinates is not None else [])
        names = ["trial_id", "steps", "status", "in_study", *key[1:]]
        texts = {"trial_id": object, "status": object, "in_study": object}
        empty = pd.DataFrame({name: pd.Series(dtype=texts.get(name, np.int64)) for name in names})
        parts = [empty.assign(record=pd.Series(dtype=np.int64), lost=pd.Series(dtype=bool))]
        for number, record in enumerate(self.files.records):
            with open_parquet(record) as file:
                count = file.num_row_groups
            bad = self.bad_groups.get(record, ())
            good = [group for group in range(count) if group not in bad]
            parts += [rows.assign(record=number, lost=False) for rows in self._rows(record, names, good)]
            parts += [rows.assign(record=number, lost=True) for rows in self._rows(record, key, bad)]
        self.trials = pd.concat([part.astype({k: v for k, v in texts.items() if k in part}) for part in parts])
        self.trials = self.trials.reset_index(drop=True)
        doubled = self.trials.duplicated(key, keep=False)
        for number in sorted(set(self.trials.loc[doubled, "record"])):
            self.report.wrong_in_record(self.files.records[number], "holds trials that stand twice", number)
        self.trials["lost"] |= doubled
        self.trials = self.trials.drop_duplicates(key, ignore_index=True)

    def _rows(self, path: Path, names: list[str], groups: Collection[int]) -> Iterator[pd.DataFrame]:
        """Read columns of some row groups of a record: those that can be read and have the types of these columns."""
        if not groups:
            return
        types = pa.schema([self._columns.trials.field(name) for name in names])
        for group, table in enumerate(readable_groups(path, names)):
            if group in groups and table is not None and table.schema.equals(types):
                yield table.to_pandas()

    def _find_lost_trials(self) -> None:
        """Find the trials that have lost rows of their curves, trajectories or parameters, and stray rows."""
        lost = self.trials["lost"].to_numpy(copy=True)
        self._check_curves(lost)
        for path, record in self.files.attached["trajectories"]:
            self._check_trajectories(path, record, lost)
        for path, record in self.files.attached["parameters"]:
            placed = self._placed(path, record, ["trial_id"])
            self._stored_parameters += [places for _, places, is_bad in placed if not is_bad]
        for kind, record in self.files.missing:
            if kind == "trajectories":  # which trials had some is not known
                lost |= (self.trials["record"] == record).to_numpy()
        self.trials["lost"] = lost
        self._check_stored_parameters()

    def _check_curves(self, lost: NDArray[np.bool_]) -> None:
        """Mark the trials whose curves are not whole as lost."""
        curves = CurveCheck(len(self.trials))
        names = [name for name in ("trial_id", "start", "step") if name != "start" or "start" in self.trials]
        for path, record in self.files.in_order("curves"):
            if path is None:
                curves.skip()
                continue
            for table, places, is_bad in self._placed(path, record, names):
                if table is None:
                    curves.skip()
                    continue
                steps, places = table["step"].to_numpy()[places >= 0], places[places >= 0]
                lost[places] |= is_bad
                twice = curves.follow(places, steps)
                if len(twice):
                    lost[twice] = True
                    self.report.wrong_in_record(path, "holds rows of curves twice", record)
        ended_early = self.trials["status"].isin((*UNFINISHED, FAILED)).to_numpy()
        broken = curves.broken(self.trials["steps"].fillna(0).to_numpy(), ended_early)
        reported = self.report.waiting_in("curves")
        for number in sorted(set(self.trials.loc[broken & ~lost, "record"]) - reported):
            self.report.wrong_in_record(self.files.records[number], "has trials whose curves are not whole", number)
        lost |= broken

    def _check_trajectories(self, path: Path, record: int, lost: NDArray[np.bool_]) -> None:
        """Mark the trials that have lost rows of a trajectories file; all of its record where they are not known."""
        for table, places, is_bad in self._placed(path, record, ["trial_id", "start"]):
            if table is None:
                lost |= (self.trials["record"] == record).to_numpy()
            lost[places[places >= 0]] |= is_bad

    def _placed(
        self, path: Path, record: int, names: list[str]
    ) -> Iterator[tuple[pa.Table | None, NDArray[np.int64], bool]]:
        """Yield the row groups of a file: the table, or None; the place of each row's trial; whether it is bad."""
        for group, table in enumerate(readable_groups(path, names)):
            places = np.zeros(0, np.int64) if table is None else self._places_in(path, record, table)
            yield table, places, group in self.bad_groups.get(path, ())

    def _places_in(self, path: Path, record: int, table: pa.Table) -> NDArray[np.int64]:
        """Return the place of each row's trial; rows of trials that no record names (-1) are reported.

        Where the record itself is damaged, they are of trials that it named.
        """
        places = self.places.of(table)
        if not (places < 0).any():
            return places
        self.has_stray_rows = True
        rows = table.filter(pa.array(places < 0))
        key = [name for name in ("trial_id", "start") if name in rows.column_names]
        trials = self.names(rows.select(key).to_pandas().drop_duplicates())
        if self.files.records[record] in self.bad_groups:
            self._unnamed.setdefault(record, {}).update(dict.fromkeys(trials))
        else:
            self.report.wrong(path, "has rows of trials that are not stored", trials)
        return places

    def _check_stored_parameters(self) -> None:
        """Report trials whose parameters stand twice, or are not there though the study asks for those of all."""
        places = np.concatenate([*self._stored_parameters, np.zeros(0, np.int64)])
        counts = np.bincount(places[places >= 0], minlength=len(self.trials))
        record, manifest = self.files.study.get("record"), self.files.manifest
        asked = isinstance(record, dict) and record.get("parameters") in OF_ALL and "start" not in self.trials
        lacking = (counts == 0) & self.trials["in_study"].eq(True)
        lacking &= ~self.trials["status"].isin((*UNFINISHED, FAILED))
        lacking &= ~self.trials["lost"] & (asked and manifest is not None and manifest.ended is not None)
        # a run with a limit of time may have ended before it computed them
        if_lacking = self.report.remarks if self.files.study.get("max_seconds") else self.report.findings
        for rows, text, findings in (
            (counts > 1, "holds the parameters of trials twice", self.report.findings),
            (lacking, "lacks those of trials", if_lacking),
        ):
            if rows.any():
                findings.append(Finding("parameters", text, self.names(self.trials[rows])))
        self.trials["lost"] |= counts > 1
