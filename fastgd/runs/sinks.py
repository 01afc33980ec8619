"""Where a unit's results go: to a part of a results folder, or into memory, on their way from another process."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from fastgd.runs.trials import Finalists
from fastgd.store.surfaces import Surface, write_surface
from fastgd.store.writer import PartWriter

Array = npt.NDArray[Any]


class Sink(Protocol):
    """Takes what a unit finds; what is taken counts when the executor commits it."""

    def append(self, kind: str, columns: Mapping[str, Any], rows: int | None = None) -> None:
        """Take rows of "curves", "trajectories" or "trials"; columns are arrays (rows,) or the same for all rows."""
        ...

    def trials(self, trials: pd.DataFrame) -> None:
        """Take the trials of a cohort, all of them."""
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


class FolderSink:
    """A sink of a results folder.

    Parameters
    ----------
    folder : Path
    writer : PartWriter
        Writes the part that its rows become.
    finalists : Finalists
        Keeps the parameters of trials that may turn out to be the best.
    """

    def __init__(self, folder: Path, writer: PartWriter, finalists: Finalists) -> None:
        self._folder, self._writer, self._finalists = folder, writer, finalists
        self._trials: pd.DataFrame | None = None

    def append(self, kind: str, columns: Mapping[str, Any], rows: int | None = None) -> None:
        """Write rows."""
        self._writer.append(kind, columns, rows)

    def trials(self, trials: pd.DataFrame) -> None:
        """Take the trials of a cohort, which are written when it is committed."""
        self._trials = trials

    def parameters(self, trial_ids: Sequence[str], W: Array) -> None:
        """Take final parameters."""
        self._writer.parameters(trial_ids, W)

    def offer(self, key: Hashable, scores: Array, ids: Sequence[Sequence[str]], read: Callable[[Array], Array]) -> None:
        """Take parameters of those lanes that may be the best of a key."""
        self._finalists.offer(key, scores, ids, read)

    def surface(self, number: int, surface: Surface, specification: str) -> None:
        """Write an error surface, which counts at once."""
        write_surface(self._folder, number, surface, specification)

    def commit(self, name: str) -> None:
        """Make what was taken count."""
        self._writer.commit(self._trials, name="" if self._trials is not None else name)


class Collected:
    """A sink in memory, which can be pickled; `replay` hands all of it to another sink, in order."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...]]] = []

    def append(self, kind: str, columns: Mapping[str, Any], rows: int | None = None) -> None:
        """Take rows."""
        own = {name: values.copy() if isinstance(values, np.ndarray) else values for name, values in columns.items()}
        self.calls.append(("append", (kind, own, rows)))

    def trials(self, trials: pd.DataFrame) -> None:
        """Take the trials of a cohort."""
        self.calls.append(("trials", (trials,)))

    def parameters(self, trial_ids: Sequence[str], W: Array) -> None:
        """Take final parameters."""
        self.calls.append(("parameters", (list(trial_ids), W.copy())))

    def offer(self, key: Hashable, scores: Array, ids: Sequence[Sequence[str]], read: Callable[[Array], Array]) -> None:
        """Take the parameters of all lanes: which are the best is for another process to say."""
        self.calls.append(("offer", (key, scores.copy(), [list(own) for own in ids], read(np.arange(len(scores))))))

    def surface(self, number: int, surface: Surface, specification: str) -> None:
        """Take an error surface."""
        self.calls.append(("surface", (number, surface, specification)))

    def replay(self, sink: Sink) -> None:
        """Hand everything to another sink."""
        for name, arguments in self.calls:
            if name == "offer":
                key, scores, ids, W = arguments
                sink.offer(key, scores, ids, W.__getitem__)
            else:
                getattr(sink, name)(*arguments)
