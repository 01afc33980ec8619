"""Merging: the results of several folders of one study become one, each verified before, and the whole after.

A folder that others are merged into is one of results as any other: it is locked, each source is a part of it, and the
part's trials are its commit. So a kill leaves what was there with some of the sources, and the same call goes on. The
sources are read alone. A trial that several hold is taken once: from where it is finished, or came furthest; where
several came as far, they must have the same bits.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from errno import ENOENT
from functools import partial, reduce
from operator import or_
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fastgd.common.errors import InputError
from fastgd.common.parsing import from_toml
from fastgd.store.contents import ATTACHED, KINDS, Contents
from fastgd.store.disk.checked_reading import row_groups
from fastgd.store.folder import Folder, refuse_foreign
from fastgd.store.manifest import SCHEMA, Manifest, other_data, read_study
from fastgd.store.optima import take_optima
from fastgd.store.schema import FAILED, UNFINISHED, Columns, conform
from fastgd.store.snapshots import Snapshots
from fastgd.store.surface_files import take_surfaces
from fastgd.store.trial_surfaces import take_trial_surfaces
from fastgd.store.verifying.inspection import TrialPlaces
from fastgd.store.verifying.verification import verify

# Keys of a study file that decide no number of its trials, and may be other ones on another machine; those of a problem
# say where its rows are, which are known by their fingerprint.
_PASSING_KEYS = ("max_seconds", "snapshot_seconds", "reference")
_PASSING_OF_RECORD = ("state",)
_OF_FILES = ("path", "format", "csv", "zero_based", "n_features", "target", "weights", "source")
# Columns in which the results of a trial may differ: what other machines call their files, and what passes.
_PASSING = {"problem", "dataset", "in_study", "cohort_id", "cohort_lanes"}
_PASSING |= {"compile_seconds", "train_seconds", "evaluate_seconds"}
_KNOWN = ("status", "steps", "in_study")  # of every trial, to choose where it is taken from
_SHOWN = 6  # names in a message


@dataclass(frozen=True)
class Merged:
    """What became of folders that were merged.

    Attributes
    ----------
    path : Path
        The folder with all of them.
    trials : int
        The study's trials there.
    notes : tuple of str
        What is missing, and what is not as in a study that one machine ran.
    """

    path: Path
    trials: int
    notes: tuple[str, ...]


class _Source(NamedTuple):
    """A folder of results, and what it says of itself."""

    path: Path
    manifest: Manifest
    study: Mapping[str, Any]
    contents: Contents


def merge(out: Path, folders: Sequence[Path], *, allow_mixed: bool = False) -> Merged:
    """Join the results of several folders of one study in another folder: see `fastgd.merge`."""
    out, paths = out.absolute(), [path.absolute() for path in folders]
    _refuse_twice(out, paths)
    refuse_foreign(out)
    with _noticing_changes():
        there = [_source(out)] if any((out / "trials").glob("[!.]*.parquet")) else []
        sources = [*there, *map(_source, paths)]
        mixed = [note for source in sources[1:] for note in _required(sources[0], source, allow_mixed)]
        trials = _Trials(sources)
        _require_one_study(trials, sources)
        trials.require_equal(sources)
        manifest = _manifest(sources, mixed)
        with _opened(out, manifest, sources) as folder:
            if there and Contents.read(out).parts != there[0].contents.parts:  # between reading and locking it
                raise FileNotFoundError(ENOENT, "changed", str(out))
            if there and "start" not in trials.key:
                folder.drop_failed(trials.of_others)
            for number, source in enumerate(sources):
                if source not in there:
                    _take(folder, source, partial(trials.are_of, number))
            _take_parameters(folder, sources)
            timings = _timings(sources[number] for number in trials.owners)
            folder.finish(trials.in_study, timings=lambda: timings)
    found = verify(out)
    if not found.ok or found.trials != trials.count:
        what = found.findings[0].problem if found.findings else f"{found.trials:,} trials in place of {trials.count:,}"
        raise InputError(f"{out} is not what was merged ({what}): move it away, and merge again")
    return Merged(out, trials.count_in_study, (*mixed, *_missing(manifest, trials, sources)))


@contextmanager
def _noticing_changes() -> Iterator[None]:
    """Say that another process writes to a folder that is merged, where files of it go meanwhile."""
    try:
        yield
    except FileNotFoundError as error:
        raise InputError(
            f"{error.filename}: another process changes this folder: wait for it, and merge again, which goes on"
        ) from error


def _opened(out: Path, manifest: Manifest, sources: Sequence[_Source]) -> Folder:
    return Folder.open(
        out,
        manifest=manifest,
        study_toml=read_study(sources[0].path),
        columns=_columns_of(sources),
        keep=lambda path: Snapshots(path, {}).rows(),
    )


def _columns_of(sources: Sequence[_Source]) -> Columns:
    """Return the columns of all folders together; of some shards, which have no trials, nothing says any."""
    found = [source.contents.columns for source in sources if source.contents.trials]
    return reduce(or_, found) if found else Columns()


def _key_of(columns: Columns) -> list[str]:
    return ["trial_id", "start"] if columns.coordinates is not None else ["trial_id"]


# --- whether folders belong together ----------------------------------------------------------------------------------


def _refuse_twice(out: Path, paths: Sequence[Path]) -> None:
    if not paths:
        raise InputError("name the folders that are to be merged, those of shards for example")
    resolved = [path.resolve() for path in (out, *paths)]
    for place, path in enumerate(resolved):
        if path in resolved[:place]:
            raise InputError(f"{path} is named twice: the folder that others are merged into comes first, then these")


def _source(path: Path) -> _Source:
    """Return a folder that is to be merged, once all of its bytes are those that were written."""
    manifest = Manifest.read(path)
    if manifest.schema != SCHEMA:
        raise InputError(f"{path} has schema {manifest.schema}, which is only read: run its study with this fastgd")
    found = verify(path)
    if not found.ok:
        first, more = found.findings[0], len(found.findings) - 1
        others = f", and {more:,} other findings" if more else ""
        raise InputError(
            f"{path}: {first.file} {first.problem}{others}; nothing was merged. `fastgd verify {path} --repair`, then "
            f"the run that made it computes what is lost"
        )
    return _Source(path, manifest, from_toml(read_study(path)), Contents.read(path))


def _required(base: _Source, other: _Source, allow_mixed: bool) -> list[str]:
    """Refuse folders of different studies, data or versions; return a note where other versions are allowed."""
    mine, theirs = (dict(_flat(_comparable(source.study))) for source in (base, other))
    for key in dict.fromkeys([*mine, *theirs]):
        if mine.get(key) != theirs.get(key):
            told = " and ".join(_told(flat.get(key)) for flat in (mine, theirs))
            why = " (rows that stream are shuffled by blocks)" if key.endswith(".order") else ""
            raise InputError(
                f"{base.path} and {other.path} hold different studies: {key} is {told}{why}. Folders of one study are "
                f"merged: run it as it is now in each, or run the extended study in the merged folder"
            )
    if problem := other_data(other.manifest.fingerprints, base.manifest.fingerprints):
        raise InputError(f"{base.path} and {other.path} hold results of different data for {problem}")
    changes = other.manifest.changes(base.manifest)
    if changes and not allow_mixed:
        raise InputError(
            f"{base.path} was computed with {changes.replace('now', f'in {other.path}')}: the same study may have "
            "other bits there; --allow-mixed merges them all the same"
        )
    there = changes.replace("now", f"in {other.path.name}")
    return [f"results of {there} were merged"] if changes else []


def _comparable(study: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a study decides which trials it has, and their numbers."""
    problems = study.get("problem", [])
    problems = [
        _without(problem, (*_OF_FILES, *(["validation"] if isinstance(problem.get("validation"), str) else [])))
        | _order_of(study, problem)
        for problem in (problems if isinstance(problems, list) else [problems])
    ]
    record = _without(study.get("record", {}), _PASSING_OF_RECORD)
    return {**_without(study, (*_PASSING_KEYS, "order")), "record": record, "problem": problems}


def _without(table: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    return {key: value for key, value in table.items() if key not in keys}


def _order_of(study: Mapping[str, Any], problem: Mapping[str, Any]) -> dict[str, str]:
    """Return in which order a problem's rows are visited, as far as its study says it; of full batches none matters."""
    if study.get("batch_size", "full") in ("full", ["full"]):
        return {}
    order = study.get("order", "shuffle")
    return {"order": "blocks" if order == "shuffle" and problem.get("source") == "stream" else order}


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values of tables within each other, by their key paths."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _flat(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        for place, item in enumerate(value):
            yield from _flat(item, f"{path}.{place}")
    elif value != []:
        yield path, value


def _require_one_study(trials: "_Trials", sources: Sequence[_Source]) -> None:
    """Refuse folders that hold more trials together than their study has.

    Studies of one text have other trials where a file has other rows, or where memory decides whether rows stream.
    """
    most = max(source.manifest.trials for source in sources)
    if 0 < most < trials.count_in_study and all(source.manifest.ended for source in sources):
        raise InputError(
            f"{' and '.join(str(source.path) for source in sources[:_SHOWN])} hold {trials.count_in_study:,} trials of "
            f"a study of {most:,}: their rows are not the same, or were visited in other orders, as those that stream "
            'where memory does not hold them: say source = "stream", or order = "blocks", in each'
        )


def _told(value: Any) -> str:
    return "not given" if value is None else f"{value!r:.60}"


def _manifest(sources: Sequence[_Source], mixed: Sequence[str]) -> Manifest:
    """Return the manifest of the merged folder: that of the first one, with what the others have beside."""
    all_of = [source.manifest for source in sources]
    fingerprints: dict[str, str] = {}
    for each in reversed(all_of):
        fingerprints |= each.fingerprints
    return replace(
        all_of[0],
        fingerprints=fingerprints,
        notes=tuple(dict.fromkeys([*(note for each in all_of for note in each.notes), *mixed])),
        started=min(each.started for each in all_of),
        shards=list(dict.fromkeys(shard for each in all_of for shard in each.shards)),
        trials=max(each.trials for each in all_of),
        ended=None,
        timings={},
        parts={},
        surfaces=[],
    )


def _timings(sources: Iterable[_Source]) -> dict[str, float]:
    """Return the seconds that the runs took together."""
    table = pd.DataFrame([source.manifest.timings for source in sources], dtype=np.float64)
    return {str(name): float(value) for name, value in table.sum().items()}


# --- which folder each trial comes from -------------------------------------------------------------------------------


class _Trials:
    """All trials of some folders, and from which of these each one is taken.

    Attributes
    ----------
    owner : ndarray (trials,)
        The number of the folder.
    """

    def __init__(self, sources: Sequence[_Source]) -> None:
        self._key = _key_of(_columns_of(sources))
        schema = pa.schema([_columns_of(sources).trials.field(name) for name in (*self._key, *_KNOWN)])
        tables = [
            source.contents.table("trials", columns=schema.names) if source.contents.trials else schema.empty_table()
            for source in sources
        ]
        parts = [table.to_pandas().astype({"trial_id": object, "status": object}) for table in tables]
        rows = pd.concat(parts, ignore_index=True).astype({"in_study": bool})
        rows["folder"] = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
        reached = rows["steps"].astype(np.float64).where(rows["status"].isin(UNFINISHED), np.inf)
        rows["reached"] = reached.mask(rows["status"] == FAILED, -1.0)  # what failed is less than any other
        rows["place"] = rows.groupby(self._key, sort=False).ngroup()
        self._rows = rows
        best = rows.sort_values("reached", ascending=False, kind="stable").drop_duplicates("place")
        self._best = best.sort_values("place", ignore_index=True)
        self.owner: NDArray[np.int64] = self._best["folder"].to_numpy(np.int64)
        self._places = TrialPlaces(self._best[self._key])

    @property
    def count(self) -> int:
        """How many trials there are."""
        return len(self._best)

    @property
    def key(self) -> Sequence[str]:
        """The columns that name a trial."""
        return self._key

    @property
    def of_others(self) -> set[str]:
        """The trials that are taken from another folder than the first."""
        return set(self._best.loc[self._best["folder"] > 0, "trial_id"])

    @property
    def owners(self) -> list[int]:
        """The folders from which some are taken."""
        return [int(number) for number in np.unique(self.owner)]

    @property
    def _in_study(self) -> NDArray[np.bool_]:
        """Whether each is one of the study."""
        found: NDArray[np.bool_] = self._rows.groupby("place", sort=True)["in_study"].any().to_numpy(bool)
        return found

    @property
    def count_in_study(self) -> int:
        """How many of them are the study's."""
        return int(self._in_study.sum())

    @property
    def waiting(self) -> int:
        """How many of the study's have not ended."""
        return int((self._in_study & self._best["status"].isin([*UNFINISHED, FAILED]).to_numpy()).sum())

    @property
    def in_study(self) -> Any:
        """The study's trials, as `Folder.finish` takes them."""
        own = self._best[self._in_study]
        if "start" not in own:
            return set(own["trial_id"])
        return {str(name): int(last) + 1 for name, last in own.groupby("trial_id")["start"].max().items()}

    def are_of(self, folder: int, table: pa.Table) -> NDArray[np.bool_]:
        """Return which rows of a table are of trials that are taken from a folder."""
        places, owner = self._places.of(table), np.append(self.owner, -1)  # the last: of rows without a trial, at -1
        return np.asarray(owner[places] == folder)

    def require_equal(self, sources: Sequence[_Source]) -> None:
        """Refuse trials that came as far in two folders, and have other bits there; those that failed have none."""
        best = self._best.loc[self._rows["place"]].reset_index(drop=True)
        as_far = (self._rows["reached"] == best["reached"]) & (self._rows["status"] != FAILED)
        doubled = self._rows.assign(owner=best["folder"])[as_far & (self._rows["folder"] != best["folder"])]
        for (one, other), own in doubled.groupby(["owner", "folder"]):
            places = TrialPlaces(own[self._key].reset_index(drop=True))
            for kind in KINDS:
                pair = [self._rows_of(sources[number].contents, kind, places) for number in (one, other)]
                self._require_equal(sources[one].path, sources[other].path, kind, *pair)

    def _rows_of(self, contents: Contents, kind: str, places: TrialPlaces) -> pa.Table:
        """Return the rows of some trials, without what passes, in an order that does not depend on their numbers."""
        schema = contents.dataset(kind).schema
        found = [schema.empty_table()]
        for path in getattr(contents, kind):
            for group in row_groups(path):
                table = conform(group, schema)
                found.append(table.filter(pa.array(places.of(table) >= 0)))
        table = pa.concat_tables(found)
        table = table.drop_columns([name for name in table.column_names if name in _PASSING])
        names = [name for name, kind in zip(schema.names, schema.types, strict=True) if pa.types.is_dictionary(kind)]
        for name in set(names) & set(table.column_names):
            table = table.set_column(table.column_names.index(name), name, table[name].cast(pa.string()))
        order = [name for name in (*self._key, "step", "coordinate") if name in table.column_names]
        return table.sort_by([(name, "ascending") for name in order])

    def _require_equal(self, mine: Path, other: Path, kind: str, one: pa.Table, two: pa.Table) -> None:
        if kind == "parameters":  # which one folder may have kept, and the other not
            one, two = (
                table.filter(pc.is_in(table["trial_id"], against["trial_id"].combine_chunks()))
                for table, against in ((one, two), (two, one))
            )
        if one.num_rows != two.num_rows:
            counts = f"{one.num_rows:,} rows of {kind} in {mine} and {two.num_rows:,} in {other}"
            raise InputError(f"trials that stand in two folders are not the same there: {counts}")
        for name in one.column_names:
            same = _same(one[name], two[name] if name in two.column_names else pa.nulls(len(two), one[name].type))
            if not same.all():
                row = int(np.argmin(same))
                trial = ":".join(str(one[key][row]) for key in self._key if key in one.column_names)
                at = f" at step {one['step'][row]}" if "step" in one.column_names else ""
                found = [f"{table[name][row].as_py()!r:.40}" for table in (one, two)]
                raise InputError(
                    f"trial {trial} is not the same in {mine} and {other}: its {name}{at} is {' and '.join(found)}; "
                    "one of them is not of this study, or another kind of machine computed it"
                )


def _same(one: pa.ChunkedArray, two: pa.ChunkedArray) -> NDArray[np.bool_]:
    """Return which values of two columns have the same bits."""
    valid = [np.asarray(column.is_valid()) for column in (one, two)]
    bits = [_bits(column) for column in (one, two)]
    return np.asarray((valid[0] == valid[1]) & ((bits[0] == bits[1]) | ~valid[0]), bool)


def _bits(column: pa.ChunkedArray) -> NDArray[Any]:
    if pa.types.is_floating(column.type):
        return np.asarray(column.fill_null(0.0).to_numpy()).view(np.int64)
    if pa.types.is_list(column.type):
        return np.array([np.array(values).tobytes() for values in column.to_pylist()], object)
    return np.array(column.to_pylist(), object)


# --- taking -----------------------------------------------------------------------------------------------------------


def _take(folder: Folder, source: _Source, own: Callable[[pa.Table], Any]) -> None:
    """Commit what is taken from a folder, in one part; what others may go on from is there before."""
    folder.begin()
    Snapshots(source.path, {}).finished.copy_to(folder.path)
    contents, where = source.contents, lambda table: pa.array(own(table))
    with folder.writer() as part:
        for kind in ATTACHED:
            part.carry(getattr(contents, kind), where=where)
        if contents.columns.coordinates is not None:  # there may be millions, all of which have ended
            key = _key_of(contents.columns)
            if any(own(group).any() for path in contents.trials for group in row_groups(path, key)):
                part.carry(contents.trials, where=where)
                part.commit(name=f"of {source.path}")
        else:
            table = pa.concat_tables(_filtered(contents, folder.columns, where))
            if table.num_rows:
                part.commit(table)
                late = table.filter(pc.is_in(table["status"], pa.array(UNFINISHED)))
                folder.left_unfinished(late["trial_id"].to_pylist())
    take_surfaces(folder.path, source.path)
    take_trial_surfaces(folder.path, source.path)
    take_optima(folder.path, source.path)


def _filtered(contents: Contents, columns: Columns, where: Callable[[pa.Table], pa.Array]) -> Iterator[pa.Table]:
    yield columns.trials.empty_table()
    for path in contents.trials:
        for group in row_groups(path):
            table = conform(group, columns.trials)
            yield table.filter(where(table))


def _take_parameters(folder: Folder, sources: Sequence[_Source]) -> None:
    """Take final parameters that one folder kept of trials that are taken from another."""
    for source in sources:
        stored = Contents.read(folder.path)
        lacking = source.contents.parameter_ids() & (stored.trial_ids() - stored.unfinished) - stored.parameter_ids()
        if lacking:
            with folder.writer(parameters_only=True) as part:
                part.carry(source.contents.parameters, lacking)
                part.commit()


# --- what is missing --------------------------------------------------------------------------------------------------


def _missing(manifest: Manifest, trials: _Trials, sources: Sequence[_Source]) -> Iterator[str]:
    """Yield what the merged folder lacks of the study, in words."""
    for source in sources:
        if source.manifest.ended is None:
            yield f"{source.path}: its run has not ended: it was interrupted, or goes on"
    lacking = manifest.trials - trials.count_in_study
    if lacking > 0:
        of = f"{trials.count_in_study:,} of the study's {manifest.trials:,} trials are there"
        yield f"{_missing_shards(manifest.shards)}{of}; its run in this folder computes the others"
    if trials.waiting:
        yield f"{trials.waiting:,} trials have not ended: the study's run in this folder goes on with them, or anew"


def _missing_shards(shards: Sequence[str]) -> str:
    """Return which shards are not there, where all that are there are parts of one whole; else nothing."""
    numbers = [tuple(map(int, shard.split("/"))) for shard in shards]
    if len({of for _, of in numbers}) != 1:
        return ""
    of = numbers[0][1]
    missing = [f"{number}/{of}" for number in range(1, of + 1) if (number, of) not in numbers]
    if not missing:
        return ""
    shown, more = missing[:_SHOWN], len(missing) - _SHOWN
    last = f"{more:,} more" if more > 0 else shown.pop()
    named = " and ".join(filter(None, (", ".join(shown), last)))
    return f"{of - len(missing)} of {of} shards: {named} {'are' if len(missing) > 1 else 'is'} missing; "
