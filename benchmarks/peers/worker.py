"""A process for each contender: its own thread pools, flags and copy of the data, idle until it is asked."""

import multiprocessing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.job import Array, Job, read_data


class Outcome(NamedTuple):
    """What a contender returns: parameters (d, len(lanes)) and the lanes that it trained (mostly all)."""

    W: Array
    lanes: NDArray[np.int64]


# A contender is a module with `forms(job, data)`: the ways that it has to do the job, by name.
Forms = Mapping[str, Callable[[], Outcome]]


class Run(NamedTuple):
    """One repetition: its wall time and what it reached."""

    seconds: float
    outcome: Outcome


def _serve(connection: Connection, module: str, job: Job, folder: Path) -> None:
    try:
        forms: Forms = import_module(f"benchmarks.peers.{module}").forms(job, read_data(folder, job))
    except ModuleNotFoundError as error:
        connection.send(error.name)
        return
    connection.send(list(forms))
    while (form := connection.recv()) is not None:
        start = perf_counter()
        outcome = forms[form]()
        connection.send(Run(perf_counter() - start, outcome))


@dataclass
class Worker:
    """The host's end of a contender's process; `missing` names the package that it lacks."""

    contender: str
    module: str
    job: Job
    folder: Path
    forms: tuple[str, ...] = ()
    missing: str | None = None

    def __enter__(self) -> Self:
        context = multiprocessing.get_context("spawn")
        self._connection, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other, self.module, self.job, self.folder), daemon=True)
        self._process.start()
        other.close()  # so that a worker that dies ends recv() with EOFError
        answer = self._connection.recv()
        if isinstance(answer, list):
            self.forms = tuple(answer)
        else:
            self.missing = answer
        return self

    def run(self, form: str) -> Run:
        """Do one repetition."""
        self._connection.send(form)
        run: Run = self._connection.recv()
        return run

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.missing and self._process.is_alive():
            self._connection.send(None)
        self._process.join()
