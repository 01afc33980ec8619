"""`python -m benchmarks.peers.landscapes`: a thousand steps from many starts, and whole studies, against JAX."""

import shutil
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

import fastgd
from benchmarks.landscapes import DTYPES, RULES, STEPS, jax_steps, study, swarm_steps
from benchmarks.timing import seconds
from fastgd import Study
from fastgd.core.threads import Threads

CHECKPOINTS = 10


def steps_table(count: int, rounds: int) -> Table:
    """Return the times of a thousand steps: JAX's, ours on all threads and on one, taken in turns."""
    title = f"{count:,} starts x {STEPS:,} steps on Rosenbrock's valley"
    table = Table("optimizer", "type", "JAX, s", "fastgd, s", "times as fast", "1 to 2 threads", title=title)
    for name in RULES:
        for dtype in DTYPES:
            jax, ours = jax_steps(name, dtype, count), swarm_steps(name, dtype, count, Threads())
            one = swarm_steps(name, dtype, count, Threads(1))
            times = [(seconds(jax), seconds(ours), seconds(one)) for _ in range(rounds)]
            speed, scaling = (median(row[k] / row[1] for row in times) for k in (0, 2))
            own = [f"{median(column):.4f}" for column in zip(*times, strict=True)][:2]
            table.add_row(name, dtype, *own, f"{speed:.2f}", f"{scaling:.2f}")
    return table


def studies_table(count: int, rounds: int) -> Table:
    """Return the times of whole studies with ten checkpoints, beside JAX's steps and the engine's, taken in turns."""
    columns = ["JAX, s", "steps, s", "train, s", "times steps", "JAX / train", "whole, s", "beyond 2 x train, s"]
    table = Table("optimizer", "type", *columns, title=f"studies of {count:,} starts x {STEPS:,} steps")
    with tempfile.TemporaryDirectory() as folder:
        for name in RULES:
            for dtype in DTYPES:
                options = (STEPS, CHECKPOINTS, "rosenbrock", name, dtype)
                fastgd.run(study({"uniform": 100}, *options), Path(folder) / "warm", fresh=True)
                jax, ours = jax_steps(name, dtype, count), swarm_steps(name, dtype, count, Threads())
                times = []
                for _ in range(rounds):
                    train, whole = study_seconds(study({"uniform": count}, *options), Path(folder) / "run")
                    times.append((seconds(jax), seconds(ours), train, whole))
                peer, steps, train, whole = (median(column) for column in zip(*times, strict=True))
                more = [f"{median(row[2] / row[1] for row in times):.2f}"]
                more += [f"{median(row[0] / row[2] for row in times):.2f}", f"{whole:.3f}", f"{whole - 2 * train:.3f}"]
                table.add_row(name, dtype, *(f"{own:.4f}" for own in (peer, steps, train)), *more)
    return table


def study_seconds(job: Study, folder: Path) -> tuple[float, float]:
    """Return the seconds of the training of a study, and of all of it."""
    since = perf_counter()
    results = fastgd.run(job, folder)
    whole = perf_counter() - since
    shutil.rmtree(folder)
    return results.timings["train"], whole


def store_table(count: int) -> Table:
    """Return the stages of a study of many starts with ten checkpoints, and its rows a second."""
    folder = Path(tempfile.mkdtemp())
    try:
        fastgd.run(study({"uniform": 100}, STEPS, CHECKPOINTS), folder / "warm")
        results = fastgd.run(study({"uniform": count}, STEPS, CHECKPOINTS), folder / "run")
        rows, times = results.curves_dataset.count_rows(), results.timings
        size = sum(path.stat().st_size for path in (folder / "run").rglob("*.parquet"))
    finally:
        shutil.rmtree(folder)
    total = sum(times.values())
    table = Table(
        "stage", "s", title=f"{count:,} starts x {STEPS:,} steps, {rows:,} checkpoint rows, {size / 1e6:,.0f} MB"
    )
    for stage, spent in times.items():
        table.add_row(stage, f"{spent:.2f}")
    table.add_row("rows a second, all in", f"{rows / total:,.0f}")
    table.add_row("rows a second of what is not steps", f"{rows / (total - times['train']):,.0f}")
    return table


def main(
    starts: Annotated[int, typer.Option("--starts", "-n", min=1)] = 100_000,
    many: Annotated[int, typer.Option(min=1, help="Starts of the study that is stored.")] = 1_000_000,
    rounds: Annotated[int, typer.Option(min=1, help="In which the contenders take turns.")] = 5,
) -> None:
    """Time swarms and whole studies against JAX's vmap of a scan, and a million starts on their way to Parquet."""
    console = Console()
    console.print(steps_table(starts, rounds))
    console.print(studies_table(starts, rounds))
    console.print(store_table(many))


if __name__ == "__main__":
    typer.run(main)
