"""The sink of a worker: it gathers in memory, as Arrow tables, what a unit finds."""

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastgd.plan.units.cohort import Origin
from fastgd.runs.dask.messages import Found, States
from fastgd.runs.trials import Finalists
from fastgd.store.disk.rows import RowBuffer, table_of
from fastgd.store.schema import Columns, trials_table
from fastgd.store.states import StateInfo
from fastgd.store.surface_files import Surface
from fastgd.store.writer import LARGE_BLOCK_ROWS, tables_of_parameters

Array = npt.NDArray[Any]


class Paused(Exception):  # noqa: N818
    """A unit ends for now: its state goes to the coordinator, and another task goes on from there."""


class CollectingSink:
    """Gathers what a unit finds; where that saves its state, it ends.

    Parameters
    ----------
    columns : Columns
        Of the results.
    parameters_only : bool
        Whether all other rows are stored already.
    states : States
        What the unit goes on from.
    """

    def __init__(self, columns: Columns, parameters_only: bool, states: States) -> None:
        self._columns, self._parameters_only, self._states = columns, parameters_only, states
        self._buffers: dict[str, RowBuffer] = {}
        self._finalists = Finalists()
        self._found = Found()

    @property
    def found(self) -> Found:
        """All that was found."""
        for kind, buffer in self._buffers.items():
            if buffer.rows:
                self._found.tables.append((kind, buffer.take()))
        self._found.offers = self._finalists.offers()
        return self._found

    def append(self, kind: str, columns: Mapping[str, Any], rows: int | None = None) -> None:
        """Take rows of "curves", "trajectories" or "trials"."""
        if self._parameters_only:
            return
        schema = getattr(self._columns, kind)
        buffer = self._buffers.setdefault(kind, RowBuffer(schema))
        rows = len(columns["trial_id"]) if rows is None else rows
        if rows < LARGE_BLOCK_ROWS:
            tables = list(buffer.gather(columns, rows))
        else:
            tables = [buffer.take(), table_of(columns, schema, rows)]
        self._found.tables += [(kind, table) for table in tables if table.num_rows]

    def trials(self, trials: Mapping[str, Any]) -> None:
        """Take the trials of a cohort."""
        if not self._parameters_only:
            self._found.trials.append(trials_table(trials, self._columns))

    def parameters(self, trial_ids: Sequence[str], W: Array) -> None:
        """Take final parameters."""
        self._found.tables += [("parameters", table) for table in tables_of_parameters(trial_ids, W)]

    def offer(self, key: Hashable, scores: Array, ids: Sequence[Sequence[str]], read: Callable[[Array], Array]) -> None:
        """Take parameters of trials that may be the best: those that are among the best here."""
        self._finalists.offer(key, scores, ids, read)

    def surface(self, number: int, surface: Surface, specification: str) -> None:
        """Take an error surface."""
        self._found.surface = number, surface, specification

    def save(self, name: str, state: Mapping[str, Any], *, cut: bool = False) -> None:
        """Take the state of the unit, which ends here."""
        own = {key: np.array(values) for key, values in state.items()}
        if cut:
            self._found.cuts.append((name, own))
            return
        self._found.state = own
        raise Paused

    def saved(self, name: str, trial_ids: Collection[str]) -> dict[str, Array] | None:  # noqa: ARG002
        """Return the state that the coordinator sent."""
        return None if self._states.saved is None else dict(self._states.saved)

    def carry(self, trial_ids: Collection[str], last_step: int) -> None:  # noqa: ARG002
        """Note that rows belong to the saved state: the coordinator has them."""
        self._found.carried = last_step

    def keep(self, state: Mapping[str, Any], info: StateInfo) -> None:
        """Take the state of trials from which others can go on."""
        self._found.kept.append(({key: np.array(values) for key, values in state.items()}, info))

    def kept(self, origin: Origin) -> dict[str, Array] | None:  # noqa: ARG002
        """Return the state that the coordinator sent."""
        return None if self._states.kept is None else dict(self._states.kept)

    def carry_renamed(self, kind: str, names: Mapping[str, str], last_step: int | None = None) -> None:
        """Note that rows of stored trials belong to others, too: the coordinator has them."""
        self._found.renamed.append((kind, dict(names), last_step))
