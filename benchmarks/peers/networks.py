"""`python -m benchmarks.peers.networks`: networks at many learning rates, against JAX and PyTorch.

Each contender works in a process of its own, in turns with the others, from the same start to the same training loss.
"""

import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from enum import StrEnum
from functools import partial
from itertools import pairwise, product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from scipy.special import logsumexp

from benchmarks.networks import JOBS, Array, NetworkJob
from benchmarks.peers.compare import Comparison, Row, alternate
from benchmarks.peers.job import EVALUATION_ROWS, Data, read_data
from benchmarks.peers.records import store
from benchmarks.peers.report import as_table
from benchmarks.peers.worker import Forms, Outcome, Worker
from fastgd.core.threads import Threads, available_threads
from fastgd.engine.machine import Machine, measure

MODULES = {
    "fastgd": "networks",
    "JAX": "networks_with_jax",
    "JAX split": "networks_with_jax_split",
    "PyTorch": "networks_with_torch",
    "PyTorch modules": "networks_one_by_one",
}
TOLERANCES = {"float64": 1e-9, "float32": 1e-3}  # relative differences of the training loss, the worst lane's
Label, Dtype, Contender = (
    StrEnum(kind, {name: name for name in names})
    for kind, names in {"Label": JOBS, "Dtype": TOLERANCES, "Contender": MODULES}.items()
)


def forms(job: NetworkJob, data: Data) -> Forms:
    """Return fastgd's: as a study's run, through the same engine and the same choice of kernel."""

    def run(threads: Threads) -> Outcome:
        cohort = job.cohort(data.X, data.y, threads)
        cohort.advance(job.epochs * cohort.batches)
        return Outcome(cohort.parameters().T, np.arange(job.lanes))

    counts = sorted({1, available_threads()})
    return {f"{count} thread{'s' * (count > 1)}": partial(run, Threads(count)) for count in counts}


def layers_of(w: Any, layers: Sequence[int]) -> list[tuple[Any, Any]]:
    """Return the weights (inputs, outputs) and the biases (outputs,) of each layer of parameters (P,)."""
    found, at = [], 0
    for inputs, outputs in pairwise(layers):
        end = at + inputs * outputs
        found.append((w[at:end].reshape(inputs, outputs), w[end : end + outputs]))
        at = end + outputs
    return found


def split_over_threads(job: NetworkJob, run: Callable[[Array], Array], name: str) -> Forms:
    """Return the form in which each thread runs, from rates (g,) to parameters (P, g), its share of the lanes."""
    cores = available_threads()
    pool = ThreadPoolExecutor(cores)

    def split() -> Outcome:
        return Outcome(np.hstack(list(pool.map(run, np.array_split(job.rates, cores)))), np.arange(job.lanes))

    return {f"{name}, lanes split over threads": split} if job.lanes >= cores > 1 else {}


def training_loss(job: NetworkJob, data: Data, W: Array) -> Array:
    """Return the mean loss of each lane of parameters (P, g) over all rows, in float64 and in plain NumPy."""
    return np.array([sum(loss_of_rows(job, data, w, at) for at in range(0, job.n, EVALUATION_ROWS)) for w in W.T])


def loss_of_rows(job: NetworkJob, data: Data, w: Array, at: int) -> float:
    x, y = (A[at : at + EVALUATION_ROWS].astype(float) for A in (data.X, data.y))
    *hidden, (W, b) = layers_of(w, job.layers)
    for V, c in hidden:
        x = job.network.activation.value(x @ V + c)
    z = x @ W + b
    if job.loss == "softmax":
        return float(np.sum(logsumexp(z, axis=1) - z[np.arange(len(y)), y.astype(int)]) / job.n)
    z = z[:, 0]
    return float(np.sum((z - y) ** 2 / 2 if job.loss == "squared" else np.logaddexp(0, z) - y * z) / job.n)


def compare(job: NetworkJob, workers: Sequence[Worker], rounds: int) -> Comparison:
    """Run a job: one round to compile and check, then some in which the contenders alternate."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        for key, values in zip(("X", "y", "order"), (*job.rows(), np.arange(job.n)), strict=True):
            np.save(folder / f"{key}.npy", values)
        data = read_data(folder, job)
        for worker in workers:
            worker.prepare(job, folder)
        turns = [(worker, form) for worker in workers for form in worker.forms]
        rows, expected = [], None
        for worker, form in turns:
            outcome = worker.run(form).outcome
            losses = training_loss(job, data, outcome.W)
            expected = losses if expected is None else expected
            difference = float(np.max(np.abs(losses / expected[outcome.lanes] - 1)))
            rows.append(Row(worker.contender, form, [], len(outcome.lanes), difference, TOLERANCES[job.dtype]))
        before = measure()
        alternate(turns, rows, job.lanes, rounds)
    limits = Machine(*map(max, before, measure()))
    return Comparison(job, limits, rows, sorted({worker.missing for worker in workers if worker.missing}))


def main(
    job: Annotated[list[Label], typer.Option(help="May be repeated.")] = list(Label),  # noqa: B006
    dtype: Annotated[list[Dtype], typer.Option(help="May be repeated.")] = ["float32"],  # noqa: B006
    contender: Annotated[list[Contender], typer.Option(help="May be repeated.")] = list(MODULES),  # noqa: B006
    rounds: Annotated[int, typer.Option(min=1, help="In which the contenders alternate.")] = 5,
    rows_scale: Annotated[float, typer.Option(min=0.001, max=1.0, help="The share of a job's rows.")] = 1.0,
    keep: Annotated[
        str | None,
        typer.Option("--store", help="Write results/peers/NAME.parquet and NAME.md; README is made of `networks`."),
    ] = None,
) -> None:
    """Train networks at many learning rates under fastgd and its peers, who must arrive at the same training loss.

    The loss is compared with that of the first contender. Times leave out imports, data loading and compilation.
    """
    console, finished = Console(width=None if sys.stdout.isatty() else 160), []
    with ExitStack() as stack:
        workers = [stack.enter_context(Worker(each.value, MODULES[each])) for each in contender]
        for label, each in product(job, dtype):
            done = compare(JOBS[label].with_rows(rows_scale, dtype=each.value), workers, rounds)
            console.print(as_table(done))
            finished.append(done)
    if keep:
        console.print(*store(finished, keep))
    if not all(row.agrees for each in finished for row in each.rows):
        console.print("[bold red]not all contenders reached the same training loss")
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
