"""One job under all contenders: they take turns, and each must arrive where the reference does."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import sleep

import numpy as np

from benchmarks.peers.job import Array, Job, read_data, reference, training_loss, write_data
from benchmarks.peers.worker import Outcome, Worker
from fastgd.engine.machine import Machine, measure

MODULES = {
    "fastgd": "with_fastgd",
    "JAX": "with_jax",
    "JAX split": "with_jax_split",
    "PyTorch": "with_torch",
    "scikit-learn": "with_sklearn",
}
# Relative difference to the reference's final loss, the worst lane. scikit-learn takes other steps to the same place.
TOLERANCES = {"float64": 1e-9, "float32": 1e-4, "scikit-learn": 5e-2}
PAUSE = 0.3  # seconds: idle library threads have stopped spinning by then


@dataclass
class Row:
    """What one form of one contender measured; `seconds` are scaled where only some lanes were trained."""

    contender: str
    form: str
    seconds: list[float]
    lanes_measured: int
    loss_difference: float
    tolerance: float

    @property
    def median(self) -> float:
        return median(self.seconds)

    @property
    def agrees(self) -> bool:
        return self.loss_difference <= self.tolerance


@dataclass
class Comparison:
    """A job's rows, and the packages that were not there.

    `limits` are the machine's, before or after the rounds: a shared machine may not always give all of its cores.
    """

    job: Job
    limits: Machine
    rows: list[Row]
    missing: list[str]


def loss_difference(folder: Path, job: Job, outcome: Outcome, expected: Array) -> float:
    """Return the largest relative difference of the final training losses to those expected, over the lanes trained."""
    losses, expected = training_loss(read_data(folder, job, mapped=True), outcome.W), expected[outcome.lanes]
    return float(np.max(np.abs(losses - expected) / expected))


def compare(job: Job, contenders: Sequence[str], repeats: int) -> Comparison:
    """Run a job: one round to compile and check, then `repeats` rounds in which the contenders alternate."""
    with ExitStack() as stack:
        entered = [stack.enter_context(Worker(each, MODULES[each])) for each in contenders]
        return compare_workers(job, entered, repeats)


def compare_workers(
    job: Job,
    workers: Sequence[Worker],
    repeats: int,
    pause: float = PAUSE,
    patience: float = np.inf,
    limits: Machine | None = None,
) -> Comparison:
    """Do the same with processes that stand.

    Who takes `patience` times as long as the fastest is measured once; the machine's limits are measured if they are
    not given.
    """
    with TemporaryDirectory() as name:
        folder = Path(name)
        write_data(folder, job)
        data = read_data(folder, job, mapped=True)
        expected = training_loss(data, reference(job, data))
        for worker in workers:
            worker.prepare(job, folder)
        turns = [(worker, form) for worker in workers for form in worker.forms]
        rows = []
        for worker, form in turns:
            outcome = worker.run(form).outcome
            tolerance = TOLERANCES.get(worker.contender, TOLERANCES[job.dtype])
            difference = loss_difference(folder, job, outcome, expected)
            rows.append(Row(worker.contender, form, [], len(outcome.lanes), difference, tolerance))
        before = limits or measure()
        alternate(turns, rows, job.lanes, repeats, pause, patience)
        limits = limits or Machine(*map(max, before, measure()))
    return Comparison(job, limits, rows, sorted({worker.missing for worker in workers if worker.missing}))


def alternate(
    turns: Sequence[tuple[Worker, str]],
    rows: Sequence[Row],
    lanes: int,
    repeats: int,
    pause: float = PAUSE,
    patience: float = np.inf,
) -> None:
    """Add the seconds of rounds in which workers take turns with their forms to the row of each."""
    for turn in range(repeats):
        for place in np.roll(np.arange(len(turns)), -turn):
            (worker, form), row = turns[place], rows[place]
            if row.seconds and row.median > patience * min(other.median for other in rows if other.seconds):
                continue
            sleep(pause)
            row.seconds.append(worker.run(form).seconds * lanes / row.lanes_measured)
