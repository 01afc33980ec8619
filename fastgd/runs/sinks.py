"""Where a unit's results go: what takes them, and what writes them to a part of a results folder."""

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from fastgd.plan.units.cohort import Origin
from fastgd.runs.trials import Finalists
from fastgd.store.contents import Contents
from fastgd.store.folder import Folder
from fastgd.store.schema import UNFINISHED, trials_table
from fastgd.store.snapshots import Snapshots
from fastgd.store.states import StateInfo, described
from fastgd.store.surface_files import Surface, write_surface
from fastgd.store.writer import PartWriter

Array = npt.NDArray[Any]
_PARAMETERS_ONLY = "parameters_only"  # in a saved state: whether its rows are those of the final parameters alone


class Sink(Protocol):
    """Takes what a unit finds; what is taken counts when the executor commits it."""

    def append(self, kind: str, columns: Mapping[str, Any], rows: int | None = None) -> None:
        """Take rows of "curves", "trajectories" or "trials"; columns are arrays (rows,) or the same for all rows."""
        ...

    def trials(self, trials: Mapping[str, Any]) -> None:
        """Take the trials of a cohort, all of them, by their columns: see `trials_table`."""
        ...

    def parameters(self, trial_ids: Sequence[str], W: Array) -> None:
        """Take the final parameters (G, parameters) of trials."""
        ...

    def offer(self, key: Hashable, scores: Array, ids: Sequence[Sequence[str]], read: Callable[[Array], Array]) -> None:
        """Take parameters of those lanes that may be the best of a key: `read(places)` returns (k, parameters)."""
        ...

    def surface(self, number: int, surface: Surface, specification: str) -> None:
        """Take the error surface of problem `number`; the specification is all that decides its numbers."""
        ...

    def save(self, name: str, state: Mapping[str, Any], *, cut: bool = False) -> None:
        """Save the state of a unit; `cut`: it is committed as far as it is, and another run goes on."""
        ...

    def saved(self, name: str, trial_ids: Collection[str]) -> dict[str, Array] | None:
        """Return the state of a unit that an earlier run saved, with the rows of these trials."""
        ...

    def carry(self, trial_ids: Collection[str], last_step: int) -> None:
        """Take the rows of trials, up to a step, that belong to the saved state."""
        ...

    def keep(self, state: Mapping[str, Any], info: StateInfo) -> None:
        """Take the state of trials that end, or wait, from which others can go on."""
        ...

    def kept(self, origin: Origin) -> dict[str, Array] | None:
        """Return the state of trials from which others go on; None: it is damaged."""
        ...

    def carry_renamed(self, kind: str, names: Mapping[str, str], last_step: int | None = None) -> None:
        """Take rows of stored trials, "curves" or "parameters", under other names."""
        ...


class FolderSink:
    """A sink of a results folder.

    Parameters
    ----------
    folder : Folder
    writer : PartWriter
        Writes the part that its rows become.
    finalists : Finalists
        Keeps the parameters of trials that may turn out to be the best.
    snapshots : Snapshots
    """

    def __init__(self, folder: Folder, writer: PartWriter, finalists: Finalists, snapshots: Snapshots) -> None:
        self._folder, self._writer, self._snapshots = folder, writer, snapshots
        self.append, self.parameters, self.offer = writer.append, writer.parameters, finalists.offer
        self.take = writer.take
        self._trials: list[pa.Table] = []
        self._rows: set[Path] = set()  # of snapshots of what this sink takes
        self._names: set[str] = set()
        self._carried: list[Path] = []  # the files of the rows that a saved state goes on from
        self._cuts: list[tuple[str, Mapping[str, Any]]] = []

    def trials(self, trials: Mapping[str, Any]) -> None:
        """Take the trials of a cohort, which are written when it is committed."""
        self.take_trials(trials_table(trials, self._folder.columns))

    def take_trials(self, trials: pa.Table) -> None:
        """Take the trials of a cohort as a table that has the study's schema."""
        self._trials.append(trials)

    def surface(self, number: int, surface: Surface, specification: str) -> None:
        """Write an error surface, which counts at once."""
        write_surface(self._folder.path, number, surface, specification)

    def commit(self, name: str) -> None:
        """Make what was taken count; its snapshots go, but for that of trials whose time was over."""
        self._writer.commit(self._trials, name="" if self._trials else name)
        for trials in self._trials:
            goes_on = pc.is_in(trials["status"], pa.array(UNFINISHED))
            self._folder.left_unfinished(trials["trial_id"].filter(goes_on).to_pylist())
        for cut, state in self._cuts:
            self._snapshots.save(cut, state, [])  # its rows are committed by now
            self._names.discard(cut)
        self._snapshots.drop(self._names)
        self._folder.kept -= self._rows

    def hand_over(self, other: "FolderSink") -> bool:
        """Hand what was taken over to another sink, to be committed there, if it is few rows; return whether it is."""
        if self._names or not self._writer.hand_over(other._writer):
            return False
        other._trials += self._trials
        return True

    def save(self, name: str, state: Mapping[str, Any], *, cut: bool = False) -> None:
        """Save the state of a unit with the rows that it has handed over."""
        rows = self._writer.rotate()
        self._folder.kept |= set(rows)
        self._snapshots.save(name, {**state, _PARAMETERS_ONLY: np.array(self._writer.parameters_only)}, rows)
        self._rows |= set(rows)
        self._names.add(name)
        if cut:
            self._cuts.append((name, state))

    def saved(self, name: str, trial_ids: Collection[str]) -> dict[str, Array] | None:
        """Return the state of a unit that an earlier run saved; None: there is none, or its rows are lost."""
        if (snapshot := self._snapshots.load(name)) is None:
            return None
        if bool(snapshot.state.pop(_PARAMETERS_ONLY, False)) != self._writer.parameters_only:
            return None  # it has not the rows that are wanted here
        self._carried = snapshot.rows
        if not snapshot.rows:  # they are committed, unless a repair left out what it could not read
            contents = Contents.read(self._folder.path)
            if not contents.trial_ids().issuperset(trial_ids):
                return None
            self._carried = list(contents.curves)
        self._rows |= set(snapshot.rows)
        self._names.add(name)
        return snapshot.state

    def carry(self, trial_ids: Collection[str], last_step: int) -> None:
        """Take the rows that a saved state goes on from: of its own files, or of committed ones."""
        self._writer.carry(self._carried, trial_ids, last_step)

    def keep(self, state: Mapping[str, Any], info: StateInfo) -> None:
        """Save a state, which counts when its trials are committed."""
        self._snapshots.finished.save(info.name, described(state, info), [])

    def kept(self, origin: Origin) -> dict[str, Array] | None:
        """Return a state that was kept."""
        found = self._snapshots.finished.load(origin.name)
        return None if found is None else found.state

    def carry_renamed(self, kind: str, names: Mapping[str, str], last_step: int | None = None) -> None:
        """Take committed rows of trials, up to a step, under other names."""
        self._writer.carry(getattr(Contents.read(self._folder.path), kind), names, last_step, names)
