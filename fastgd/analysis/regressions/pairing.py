"""The trials that two studies share: paired by their names, or by their settings where versions name them otherwise."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow.compute as pc
from numpy.typing import NDArray

from fastgd.analysis.stored_study import StoredStudy
from fastgd.common.errors import InputError
from fastgd.common.numbers import count

SIGNIFICANT_DIGITS = 12  # to which numbers are told apart, as in names of trials
OUTCOMES = ["status", "steps", "final_loss", "best_loss"]
# What decides a trial's numbers and is no column of trials: settings alone tell no pair where these differ.
_SHARED = ("epochs", "steps", "order", "init", "stop", "starts")
_RECORD = ("every", "rows")
# Of a problem, what says where its rows come from, what its columns tell, and what is an axis of the study.
_OF_PROBLEMS = {"name", "path", "dataset", "l2"}
_SEVERAL = 3  # differences that a message names


class Side(NamedTuple):
    """One study's trials: the `ids` of those in the study; for each trial its place there, its start, its outcome."""

    study: StoredStudy
    ids: NDArray[np.object_]
    code: NDArray[np.int64]
    start: NDArray[np.int64]
    outcomes: pd.DataFrame
    settings: pd.DataFrame


class Pairing(NamedTuple):
    """The rows of trials (P,) in `base` and in `new` that are pairs, in the order of the base's."""

    base: Side
    new: Side
    base_rows: NDArray[np.int64]
    new_rows: NDArray[np.int64]
    by_name: NDArray[np.bool_]
    notes: tuple[str, ...]


def paired(base: StoredStudy, new: StoredStudy) -> Pairing:
    """Return which trials of two studies are to be compared.

    Raises
    ------
    InputError
        One is on landscapes and the other is not, a problem has other data, or no trial has a partner.
    """
    _refuse_other_data(base, new)
    one, other = _side(base), _side(new)
    partner, by_name, notes = _partners(one, other)
    starts = 1 + max((int(side.start.max()) for side in (one, other) if len(side.start)), default=0)
    rows = np.flatnonzero(partner[one.code] >= 0)
    wanted, there = partner[one.code[rows]] * starts + one.start[rows], other.code * starts + other.start
    order = np.argsort(there, kind="stable")
    place = np.minimum(np.searchsorted(there, wanted, sorter=order), len(there) - 1)
    found = there[order[place]] == wanted if len(there) else np.zeros(len(wanted), bool)
    rows, new_rows = rows[found], order[place[found]] if len(there) else place
    if not len(rows):
        why = "".join(f"; {note}" for note in notes)
        raise InputError(f"{base.path} and {new.path} have no trial in common: they cannot be compared{why}")
    return Pairing(one, other, rows, new_rows, by_name[one.code[rows]], tuple(notes))


def _refuse_other_data(base: StoredStudy, new: StoredStudy) -> None:
    if base.on_landscapes != new.on_landscapes:
        kinds = ["on landscapes" if study.on_landscapes else "over data" for study in (base, new)]
        raise InputError(f"{base.path} is {kinds[0]} and {new.path} is {kinds[1]}: they cannot be compared")
    mine, theirs = base.manifest.fingerprints, new.manifest.fingerprints
    other = [name for name in mine if theirs.get(name, mine[name]) != mine[name]]
    if other:
        raise InputError(
            f"the problem {other[0]!r} has other data in {new.path} (fingerprint {theirs[other[0]][:12]}) than in "
            f"{base.path} ({mine[other[0]][:12]}): they cannot be compared"
        )


def _side(study: StoredStudy) -> Side:
    names = [*study.trial_key, *OUTCOMES]
    trials = study.table("trials", columns=names, filter=pc.field("in_study")).to_pandas()
    code, ids = pd.factorize(trials["trial_id"])
    start = trials["start"].to_numpy(np.int64) if study.on_landscapes else np.zeros(len(trials), np.int64)
    named = np.array([str(each) for each in ids], object)
    return Side(study, named, code, start, trials[OUTCOMES], study.settings.loc[named])


def _partners(base: Side, new: Side) -> tuple[NDArray[np.int64], NDArray[np.bool_], list[str]]:
    """Return for each id of the base its partner's place in the new study or -1, whether it is by name, and notes."""
    partner = pd.Index(new.ids).get_indexer(pd.Index(base.ids)).astype(np.int64)
    by_name, notes = partner >= 0, []
    taken = np.zeros(len(new.ids), bool)
    taken[partner[by_name]] = True
    if not by_name.all() and not taken.all():
        if differences := _differences(base.study.study, new.study.study):
            several = "; ".join(differences[:_SEVERAL])
            notes.append(f"trials with other names were not paired by their settings, as the studies differ: {several}")
        else:
            mine, theirs = np.flatnonzero(~by_name), np.flatnonzero(~taken)
            rows, columns, said = _same_settings(base.settings.iloc[mine], new.settings.iloc[theirs])
            partner[mine[rows]] = theirs[columns]
            notes += said
    return partner, by_name, notes


def _differences(base: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return in words in what two studies differ that is no column of trials."""
    pairs = [(key, base.get(key), new.get(key)) for key in _SHARED]
    records = [study.get("record", {}) for study in (base, new)]
    pairs += [(f"record.{key}", *(record.get(key) for record in records)) for key in _RECORD]
    mine, theirs = (_problems(study) for study in (base, new))
    for name in mine.keys() & theirs.keys():
        own, other = mine[name], theirs[name]
        # A key that only one has may be newer than the other's version.
        pairs += [(f"problem {name}: {key}", own[key], other[key]) for key in own if key in other]
    return [
        f"{key} is {_told(one)} in one and {_told(other)} in the other" for key, one, other in pairs if one != other
    ]


def _problems(study: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what else a study says of its problems, by what tells them apart."""
    blocks = study.get("problem", [])
    named = {}
    for block in [blocks] if isinstance(blocks, dict) else blocks:
        label = [block[key] for key in ("name", "landscape", "dataset", "loss") if key in block]
        named[" ".join(map(str, label))] = {key: value for key, value in block.items() if key not in _OF_PROBLEMS}
    return named


def _told(value: Any) -> str:
    return "not given" if value is None else repr(value)


def _same_settings(base: pd.DataFrame, new: pd.DataFrame) -> tuple[NDArray[np.int64], NDArray[np.int64], list[str]]:
    """Return the rows that have the same settings, as places in both tables; settings that stand twice have no pair."""
    shared, notes = [name for name in base if name in new], []
    usable = [np.ones(len(table), bool) for table in (base, new)]
    for which, (table, other) in enumerate(((base, new), (new, base))):
        for name in table.columns.difference(other.columns):
            has = _known(table[name])
            usable[which] &= ~has
            if has.any():
                where = "base" if which == 0 else "new results"
                notes.append(
                    f"only the {where} have {name!r}: {count(int(has.sum()), 'trial')} with it have no partner"
                )
    both = pd.concat([base[shared], new[shared]], ignore_index=True)
    number = pd.DataFrame({name: _codes(both[name]) for name in shared}).groupby(shared).ngroup().to_numpy()
    mine, theirs = number[: len(base)], number[len(base) :]
    once = [np.bincount(each[use], minlength=len(both)) == 1 for each, use in zip((mine, theirs), usable, strict=True)]
    place = np.full(len(both), -1)
    right = np.flatnonzero(usable[1] & once[1][theirs])
    place[theirs[right]] = right
    rows = np.flatnonzero(usable[0] & once[0][mine] & (place[mine] >= 0))
    return rows, place[mine[rows]], notes


def _known(column: "pd.Series[Any]") -> NDArray[np.bool_]:
    """Whether each value says something: empty texts and null do not."""
    return np.asarray(column.notna() & (column.astype(str) != ""))


def _codes(column: "pd.Series[Any]") -> NDArray[np.int64]:
    """Return whole numbers that are the same where two settings are, to `SIGNIFICANT_DIGITS`."""
    if pd.api.types.is_numeric_dtype(column):
        code, values = pd.factorize(column.to_numpy(np.float64))
        rounded = [f"{value:.{SIGNIFICANT_DIGITS}g}" for value in values]
    else:
        code, texts = pd.factorize(column.astype(object).where(column.notna(), ""))
        rounded = [str(text) for text in texts]
    same = pd.factorize(np.array([*rounded, ""], object))[0]
    return np.where(code < 0, -1, same[code])
