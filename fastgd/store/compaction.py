"""Compaction: writes all parts of a results folder again as one part of the next generation, with all columns.

Runs compact when they end. Dropping trials, and repairing a folder, are the same with some rows left out.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fastgd.store.contents import ATTACHED, Contents, commit_schema, part_name
from fastgd.store.disk.checked_reading import open_parquet, row_groups
from fastgd.store.disk.files import TableFile
from fastgd.store.schema import PARAMETERS, Columns, conform

# A file that has grown to this size is closed, and later compactions leave it alone, so that extending a large study
# does not write all of it again.
MOST_FILE_BYTES = 256 << 20
Names: TypeAlias = Mapping[str, Mapping[str, str]]  # column -> trial id -> the name that it has now
RowFilter: TypeAlias = Callable[[pa.Table], pa.Array | pa.ChunkedArray]  # selects rows of a table of any kind
BadGroups: TypeAlias = Mapping[Path, Collection[int]]  # the row groups of files that cannot be read


def compact(
    contents: Contents, columns: Columns, in_study: Collection[str], names: Names, footer: Mapping[str, str]
) -> bool:
    """Write the parts again as one, unless there is only one already, with the right columns; return whether it did.

    Parameters
    ----------
    contents : Contents
        The files that count.
    columns : Columns
        The study's columns: the union of those that the files have and those that it asks for.
    in_study : collection of str
        The trials that are in the study, for the column `in_study` of the new part. On landscapes, a mapping from
        configurations to the number of their starts.
    names : mapping of str to mapping of str to str
        The names that problems and datasets have now, by column and trial: renaming a file makes no new problem.
    footer : mapping of str to str
        The metadata of each file's footer.
    """
    renamed = names if _are_renamed(contents, names) else {}
    if not renamed and _is_compact(contents, columns, in_study):
        return False
    rewrite(contents, columns, footer, in_study=in_study, names=renamed)
    return True


class Part(NamedTuple):
    """A part that no commit record names yet: its trials, and the names of its published files of each other kind."""

    trials: pa.Table
    files: Mapping[str, list[str]]


def replace_trials(
    contents: Contents, columns: Columns, trial_ids: Collection[str], part: Part, footer: Mapping[str, str]
) -> None:
    """Write the parts again as one without some trials, and with a part that has them; see `compact`."""
    rewrite(contents, columns, footer, without=lambda table: _among(table, trial_ids), part=part)


def drop(
    contents: Contents, columns: Columns, trial_ids: Collection[str], status: str, footer: Mapping[str, str]
) -> None:
    """Write the parts again as one without trials of a status; for the other parameters see `compact`.

    On landscapes, where an id is that of many starts, these are the rows of trials that have it: there are no others.
    """

    def dropped(table: pa.Table) -> pa.Array:
        chosen = _among(table, trial_ids)
        if columns.coordinates is None:
            return chosen
        if "status" not in table.column_names:
            return pa.array(np.zeros(len(table), bool))
        states = table["status"].cast(pa.string()).combine_chunks()
        return pc.and_(chosen, pc.equal(states, status).fill_null(False))

    rewrite(contents, columns, footer, without=dropped)


def rewrite(
    contents: Contents,
    columns: Columns,
    footer: Mapping[str, str],
    in_study: Collection[str] | None = None,
    names: Names = MappingProxyType({}),
    without: RowFilter | None = None,
    bad: BadGroups = MappingProxyType({}),
    part: Part | None = None,
) -> None:
    """Write the next generation without the rows that `without` selects or bad row groups, and with a new part.

    From the moment that its trials file has its name, the new part counts and the old ones do not. A crash before that
    leaves files that no record names, a crash after it leaves old parts; the next sweep deletes either.
    """
    name = part_name(contents.next_generation, 0)
    files = {}
    for kind in ATTACHED:
        paths: tuple[Path, ...] = getattr(contents, kind)
        wanted = PARAMETERS if kind == "parameters" else getattr(columns, kind)
        old = [path for path in paths if path in bad or not contents.files[path].schema.equals(wanted)]
        files[kind] = _merge(paths, old, contents.folder / kind / name, wanted, footer, without, bad)
        files[kind] += part.files.get(kind, []) if part else []
    schema = commit_schema(columns.trials, footer, files)
    with TableFile(contents.folder / "trials" / f"{name}.parquet", schema) as record:
        position = columns.trials.get_field_index("in_study")
        for table in _tables(contents.trials, columns.trials, without, bad):
            counts = table if in_study is None else table.set_column(position, "in_study", [_among(table, in_study)])
            record.write(_named(counts, names))
        if part:
            record.write(part.trials)
        record.publish(empty=True)


def _named(trials: pa.Table, names: Names) -> pa.Table:
    """Return trials with the names that their problems and datasets have in the study now."""
    ids = trials["trial_id"].to_pandas().astype(str)
    for column, known in names.items():
        position, old = trials.schema.get_field_index(column), trials[column]
        new = ids.map(known).fillna(old.to_pandas().astype(str))
        trials = trials.set_column(position, trials.schema.field(column), pa.array(new, pa.string()).cast(old.type))
    return trials


def _are_renamed(contents: Contents, names: Names) -> bool:
    """Whether the problem or dataset of a stored trial has another name now."""
    if not names:
        return False
    stored = contents.first_rows(list(names))
    return any(
        (stored.index.to_series().map(known).fillna(stored[column]) != stored[column]).any()
        for column, known in names.items()
    )


def _is_compact(contents: Contents, columns: Columns, in_study: Collection[str]) -> bool:
    if len(contents.trials) != 1:
        return not contents.trials
    for kind in ("trials", "curves", "trajectories"):
        if any(not contents.files[path].schema.equals(getattr(columns, kind)) for path in getattr(contents, kind)):
            return False
    names = ["trial_id", "in_study"] + (["start"] if isinstance(in_study, Mapping) else [])
    stored = contents.table("trials", columns=names)
    return bool(_among(stored, in_study).equals(stored["in_study"].combine_chunks()))


def _among(trials: pa.Table, in_study: Collection[str]) -> pa.Array:
    """Return whether each row is in the study; of a configuration with k starts, those with numbers below k are."""
    if isinstance(in_study, Mapping):
        limits = trials["trial_id"].to_pandas().map(in_study).astype(np.float64).fillna(0)
        found = pc.less(trials["start"], pa.array(limits.to_numpy()))
    else:
        found = pc.is_in(trials["trial_id"].cast(pa.string()), pa.array(list(in_study), type=pa.string()))
    return found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found


def _merge(
    files: Sequence[Path],
    old: Sequence[Path],
    part: Path,
    schema: pa.Schema,
    footer: Mapping[str, str],
    without: RowFilter | None,
    bad: BadGroups,
) -> list[str]:
    """Write small files as merged ones and keep large ones; return the names of all files that hold the rows then.

    Files in `old`, and files with rows that `without` selects, are always written again.
    """
    old = [path for path in files if path in old or _has_rows(path, without)]
    rest = [path for path in files if path in old or path.stat().st_size < MOST_FILE_BYTES // 2]
    if len(rest) == 1 and not old:
        rest = []
    kept = [path for path in files if path not in rest]
    names = [path.name for path in kept]
    tables = _tables(rest, schema, without, bad)
    for first in tables:
        target = part.with_name(f"{part.name}-{len(names):02d}.parquet")
        with TableFile(target, schema.with_metadata(footer)) as merged:
            for table in chain([first], tables):
                merged.write(table)
                if merged.bytes >= MOST_FILE_BYTES:
                    break
            names += merged.publish()
    return names


def _has_rows(path: Path, which: RowFilter | None) -> bool:
    if which is None:
        return False
    with open_parquet(path) as file:
        keys = [name for name in ("trial_id", "start") if name in file.schema_arrow.names]
    return any(pc.any(which(group)).as_py() for group in row_groups(path, columns=keys))


def _tables(files: Sequence[Path], schema: pa.Schema, without: RowFilter | None, bad: BadGroups) -> Iterator[pa.Table]:
    """Yield the tables of files row group by row group, which bounds the memory, with all columns of the schema."""
    for path in files:
        for group in row_groups(path, without=bad.get(path, ())):
            table = conform(group, schema)
            yield table if without is None else table.filter(pc.invert(without(table)))
