"""What travels between a coordinator and its workers: tasks, and the answers to them."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from fastgd.plan.plan import Unit
from fastgd.plan.units.surfaces import SurfaceUnit
from fastgd.runs.sinks import FolderSink
from fastgd.store.schema import Columns
from fastgd.store.states import StateInfo
from fastgd.store.surface_files import Surface
from fastgd.study.config import Study

Array = npt.NDArray[Any]
End: TypeAlias = Literal["done", "paused", "over", "failed", "refused"]
State = Mapping[str, Array]
DataKey: TypeAlias = tuple[str, ...]  # what tells data apart


@dataclass(frozen=True)
class Terms:
    """What is the same for all tasks of a run.

    Attributes
    ----------
    run : str
        A name that no other run has.
    versions : mapping of str to str
        What must be the same where units run, for the same bits.
    allow_mixed : bool
        Whether workers run units all the same where it is not.
    path : list of str
        Where the coordinator looks for modules.
    columns : Columns
        The columns of the results.
    study : Study, optional
        What names the data that workers load; None: they are sent, or there are none.
    dtype : str
        Of the numbers of these data, which their fingerprints do not cover.
    fingerprints : tuple of str
        Of these data.
    threads : int, optional
        Of each worker; by default as many as Dask gives it.
    """

    run: str
    versions: Mapping[str, str]
    allow_mixed: bool
    path: Sequence[str]
    columns: Columns = field(default_factory=Columns)
    study: Study | None = None
    dtype: str = ""
    fingerprints: tuple[str, ...] = ()
    threads: int | None = None

    @property
    def data(self) -> DataKey:
        """What tells these data from those of other runs."""
        return self.dtype, *self.fingerprints


@dataclass(frozen=True)
class Task:
    """A unit of work, and what it goes on from.

    Attributes
    ----------
    key : str
        By which its worker reports how far it is.
    terms : Terms
    unit : bytes
        The unit, pickled: where that fails to load, the answer says so.
    limit, seconds : float
        `max_seconds`, and how many of them are left.
    waits : bool
        Whether the end of these seconds does not count yet.
    snapshot_seconds : float
        After how long the unit is answered as it is, to go on in another task.
    """

    key: str
    terms: Terms
    unit: bytes
    limit: float
    seconds: float
    waits: bool
    snapshot_seconds: float


@dataclass(frozen=True)
class States:
    """The states that a unit goes on from, as far as there are some.

    Attributes
    ----------
    saved : mapping of str to ndarray, optional
        Of itself.
    kept : mapping of str to ndarray, optional
        Of the trials that it goes on from.
    """

    saved: State | None = None
    kept: State | None = None

    @property
    def bytes(self) -> int:
        """How many they are."""
        return sum(np.asarray(values).nbytes for own in (self.saved, self.kept) if own for values in own.values())


@dataclass
class Found:
    """What a task has found, in the order in which a sink takes it.

    Attributes
    ----------
    carried : int, optional
        The step up to which the rows belong to it that stand with its saved state.
    renamed : list of (str, mapping, int or None)
        See `Sink.carry_renamed`.
    tables : list of (str, pyarrow.Table)
        Rows with their kind.
    trials : list of pyarrow.Table
        The trials of a cohort.
    offers : sequence of tuple
        Parameters of those that may be the best: see `Sink.offer`.
    kept : list of (mapping, StateInfo)
        States from which other trials can go on.
    cuts : list of (str, mapping)
        States of what is committed as far as it is.
    state : mapping, optional
        Its own, from which another task goes on.
    surface : tuple, optional
    """

    carried: int | None = None
    renamed: list[tuple[str, Mapping[str, str], int | None]] = field(default_factory=list)
    tables: list[tuple[str, pa.Table]] = field(default_factory=list)
    trials: list[pa.Table] = field(default_factory=list)
    offers: Sequence[tuple[Hashable, Array, Sequence[Sequence[str]], Array]] = ()
    kept: list[tuple[State, StateInfo]] = field(default_factory=list)
    cuts: list[tuple[str, State]] = field(default_factory=list)
    state: State | None = None
    surface: tuple[int, Surface, str] | None = None

    def hand_over(self, sink: FolderSink, unit: Unit | SurfaceUnit, *, carry: bool) -> None:
        """Hand all of it to a sink; `carry`: the rows that stand with the saved state, too."""
        if self.surface is not None:
            sink.surface(*self.surface)
        if isinstance(unit, SurfaceUnit):
            return
        if carry and self.carried is not None:
            sink.carry(unit.trial_ids, self.carried)
        for renaming in self.renamed:
            sink.carry_renamed(*renaming)
        for kind, table in self.tables:
            sink.take(kind, table)
        for trials in self.trials:
            sink.take_trials(trials)
        for key, scores, ids, W in self.offers:
            sink.offer(key, scores, ids, W.__getitem__)
        for state, info in self.kept:
            sink.keep(state, info)
        for name, state in self.cuts:
            sink.save(name, state, cut=True)
        if self.state is not None:
            sink.save(unit.name, self.state)


@dataclass(frozen=True)
class Answer:
    """The answer to a task.

    Attributes
    ----------
    end : {"done", "paused", "over", "failed", "refused"}
        "paused": it goes on from `found.state`, if there is one, or anew; "over": the time was over before it had
        results; "failed": the unit raised an error; "refused": this worker cannot run units of this study.
    found : Found
    text : str
        The error, or why it was refused.
    differences : str
        In words, in what the worker differs from the coordinator.
    seconds : mapping of str to float
        By stage.
    resumed, done, diverged : int
        The step that it went on from, and the trials that ended and diverged.
    lowest : mapping of str to float
        See `Clock.lowest`.
    """

    end: End
    found: Found = field(default_factory=Found)
    text: str = ""
    differences: str = ""
    seconds: Mapping[str, float] = field(default_factory=dict)
    resumed: int = 0
    done: int = 0
    diverged: int = 0
    lowest: Mapping[str, float] = field(default_factory=dict)
