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


def _serve(connection: Connection, module: str) -> None:
    forms: Forms = {}
    try:
        contender = import_module(f"benchmarks.peers.{module}")
    except ModuleNotFoundError as error:
        connection.send(error.name)
        return
    connection.send(None)
    while (asked := connection.recv()) is not None:
        if isinstance(asked, tuple):
            job, folder = asked
            forms = contender.forms(job, read_data(folder, job))
            connection.send(list(forms))
        else:
            start = perf_counter()
            outcome = forms[asked]()
            connection.send(Run(perf_counter() - start, outcome))


@dataclass
class Worker:
    """The host's end of a contender's process, for one job after another; `missing` names the package that it lacks."""

    contender: str
    module: str
    forms: tuple[str, ...] = ()
    missing: str | None = None

    def __enter__(self) -> Self:
        context = multiprocessing.get_context("spawn")
        self._connection, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other, self.module), daemon=True)
        self._process.start()
        other.close()  # so that a worker that dies ends recv() with EOFError
        self.missing = self._connection.recv()
        return self

    def prepare(self, job: Job, folder: Path) -> None:
        """Give it a job, whose data are in a folder: it says in which forms it does that."""
        if not self.missing:
            self._connection.send((job, folder))
            self.forms = tuple(self._connection.recv())

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
