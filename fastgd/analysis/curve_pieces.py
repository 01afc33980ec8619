"""The curves of a study, piece by piece: what is asked of 50 million checkpoints never holds all of them in memory."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fastgd.analysis.stored_study import StoredStudy
from fastgd.common.errors import InputError, nearest

Array = NDArray[np.float64]
Trials = NDArray[np.int64]
# The columns of curves that name a checkpoint; all others are metrics.
AXES = ("trial_id", "start", "step", "epoch", "samples_seen", "train_seconds")


@dataclass(frozen=True)
class Piece:
    """Checkpoints of some trials: those of a trial are neighbours, in the order of their steps.

    The next checkpoints of a trial may be in a later piece.

    Parameters
    ----------
    trial : ndarray of shape (rows,)
        Of each checkpoint, the position of its trial in `StoredStudy.configurations`.
    values : dict of str to ndarray of shape (rows,)
        The columns that were asked for; NaN where nothing was measured.
    """

    trial: Trials
    values: dict[str, Array]

    @property
    def begins(self) -> NDArray[np.bool_]:
        """Of each checkpoint, whether it is the first of its trial in this piece."""
        return np.asarray(np.diff(self.trial, prepend=-1) != 0)

    @property
    def lasts(self) -> Trials:
        """The positions of each trial's last checkpoint in this piece."""
        return np.flatnonzero(np.diff(self.trial, append=-1) != 0)


def check_metric(study: StoredStudy, metric: str) -> None:
    """Raise InputError if the curves have no such metric."""
    measured = [name for name in study.curves_dataset.schema.names if name not in AXES]
    if metric not in measured:
        raise InputError(f"the curves have no metric {metric!r}; {nearest(metric, measured)}")


def pieces(
    study: StoredStudy,
    columns: Sequence[str],
    chosen: NDArray[np.bool_] | None = None,
    only: pc.Expression | None = None,
) -> Iterator[Piece]:
    """Yield the checkpoints of the trials in the study.

    Parameters
    ----------
    study : StoredStudy
    columns : sequence of str
        Columns of numbers.
    chosen : ndarray of shape (trials,), optional
        Which of the trials; None: all.
    only : pyarrow.compute.Expression, optional
        Which checkpoints; None: all.
    """
    places = _Places.of(study)
    for batch in study.batches("curves", columns=[*places.key, *dict.fromkeys(columns)], filter=only):
        trial = places.of_rows(batch)
        kept = np.flatnonzero(trial >= 0 if chosen is None else (trial >= 0) & chosen[trial])
        kept = kept[np.argsort(trial[kept], kind="stable")]  # rows of a trial are stored in the order of their steps
        if len(kept):
            yield Piece(trial[kept], {name: _numbers(batch[name])[kept] for name in columns})


def first_values(study: StoredStudy, metric: str) -> Array:
    """Return a metric of each trial in the study at its start, before any step; NaN where it was not measured."""
    found = np.full(len(study.configurations[0]), np.nan)
    for piece in pieces(study, [metric], only=pc.field("step") == 0):
        found[piece.trial] = piece.values[metric]
    return found


def last_values(study: StoredStudy, metric: str) -> Array:
    """Return a metric of each trial in the study at its last checkpoint."""
    found = np.full(len(study.configurations[0]), np.nan)
    for piece in pieces(study, [metric]):
        found[piece.trial[piece.lasts]] = piece.values[metric][piece.lasts]
    return found


def least_values(study: StoredStudy, metric: str, sign: float) -> Array:
    """Return the least value of a metric, times `sign`, over each trial's checkpoints."""
    found = np.full(len(study.configurations[0]), np.nan)
    for piece in pieces(study, [metric]):
        first = np.flatnonzero(piece.begins)
        own = piece.trial[first]
        found[own] = np.fmin(found[own], np.fmin.reduceat(sign * piece.values[metric], first))
    return found


@dataclass(frozen=True)
class _Places:
    """Where trials are in `StoredStudy.configurations`, by their keys.

    Parameters
    ----------
    key : list of str
        The columns that tell trials apart.
    names : pandas.Index
        The ids.
    starts : int
        On landscapes: one more than the largest number of a start; else 0.
    keys, places : ndarray of shape (trials,)
        On landscapes: the sorted numbers of the pairs of id and start, and the trials' positions in this order.
    """

    key: list[str]
    names: "pd.Index[str]"
    starts: int
    keys: Trials
    places: Trials

    @classmethod
    def of(cls, study: StoredStudy) -> "_Places":
        trials, nothing = study.configurations[0], np.zeros(0, np.int64)
        if not study.on_landscapes:
            return cls(study.trial_key, pd.Index(trials["trial_id"]), 0, nothing, nothing)
        codes, names = pd.factorize(trials["trial_id"])
        starts = 1 + int(trials["start"].max()) if len(trials) else 1
        keys = codes.astype(np.int64) * starts + trials["start"].to_numpy()
        order = np.argsort(keys)
        return cls(study.trial_key, pd.Index(list(map(str, names))), starts, keys[order], order)

    def of_rows(self, batch: pa.RecordBatch) -> Trials:
        """Return the positions of the trials of curves; -1 for those that are not in the study."""
        ids = batch["trial_id"]
        ids = ids if pa.types.is_dictionary(ids.type) else ids.dictionary_encode()
        name = self.names.get_indexer(ids.dictionary.to_pylist())[ids.indices.to_numpy()].astype(np.int64)
        if not self.starts or not len(self.keys):
            return np.where(len(self.names) > 0, name, -1)
        start = batch["start"].to_numpy()
        wanted = name * self.starts + start
        place = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
        known = (name >= 0) & (start < self.starts) & (self.keys[place] == wanted)
        return np.where(known, self.places[place], -1)


def _numbers(column: pa.Array) -> Array:
    return np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.float64)
