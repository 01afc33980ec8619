"""`python -m benchmarks.peers`: the dense jobs against scikit-learn, PyTorch and JAX.

This folder has no `__init__.py`: asv imports every regular sub-package of `benchmarks`, and must not import the peers.
"""

import json
import sys
from enum import StrEnum
from itertools import product
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.peers.compare import MODULES, Comparison, compare
from benchmarks.peers.job import Job
from benchmarks.peers.map import run_map
from benchmarks.peers.records import FOLDER, store
from benchmarks.peers.report import as_json, as_table, machine

Kind = StrEnum("Kind", ["grid", "single"])
Dtype = StrEnum("Dtype", ["float64", "float32"])
Order = StrEnum("Order", ["sequential", "shuffle"])
Profile = StrEnum("Profile", ["quick", "full", "map"])
ROWS = {Profile.quick: 100_000, Profile.full: 1_000_000}
JOBS, DTYPES, ORDERS, CONTENDERS = list(Kind), list(Dtype), list(Order), list(MODULES)
LANES, BATCH_SIZES, FEATURES = [64], [64], [100]
EVERY: list[str] = []


def main(
    profile: Annotated[Profile, typer.Option(help="Rows: 100,000 or 1,000,000; or many small jobs.")] = Profile.quick,
    job: Annotated[list[Kind], typer.Option(help="Dense grid or dense single; may be repeated.")] = JOBS,
    lanes: Annotated[list[int], typer.Option(min=2, help="Learning rates of a grid; may be repeated.")] = LANES,
    dtype: Annotated[list[Dtype], typer.Option(help="May be repeated.")] = DTYPES,
    order: Annotated[list[Order], typer.Option(help="Of the rows; may be repeated.")] = ORDERS,
    batch_size: Annotated[list[int], typer.Option("--batch-size", "-b", min=1, help="May be repeated.")] = BATCH_SIZES,
    features: Annotated[list[int], typer.Option("--features", "-d", min=1, help="May be repeated.")] = FEATURES,
    rows: Annotated[int | None, typer.Option("--rows", "-n", min=1, help="In place of the profile's.")] = None,
    contender: Annotated[list[str], typer.Option(help=f"{', '.join(MODULES)}; may be repeated.")] = CONTENDERS,
    repeats: Annotated[int, typer.Option(min=1, help="Rounds in which the contenders alternate.")] = 5,
    only: Annotated[
        list[str], typer.Option(help="Of the map: an axis and its values, as in b=1,4; may be repeated.")
    ] = [],  # noqa: B006
    out: Annotated[Path, typer.Option(help="Where the map, and with --store the figures, are stored.")] = FOLDER,
    keep: Annotated[
        str | None, typer.Option("--store", help="Write OUT/NAME.parquet and NAME.md; README is made of `linear`.")
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all measurements to this file too.")] = None,
) -> None:
    """Run the jobs of a convergence study under fastgd and its peers: one epoch of logistic regression with momentum.

    Each contender works in its own process with its own copy of the data, in turns with the others, and must arrive at
    the same training loss. Times leave out imports, data loading and compilation.
    """
    unknown = set(contender) - set(MODULES)
    if unknown:
        raise typer.BadParameter(f"no contender {sorted(unknown)[0]!r}; valid: {', '.join(MODULES)}")
    if profile is Profile.map:
        run_map(only, contender, repeats, out, Console(width=None if sys.stdout.isatty() else 160))
        return
    counts = [*(lanes if Kind.grid in job else []), *([1] if Kind.single in job else [])]
    console = Console()
    done: list[Comparison] = []
    for d, b, count, kind, way in product(features, batch_size, counts, dtype, order):
        task = Job(rows or ROWS[profile], d, b, count, kind.value, way.value)
        with Console(stderr=True).status(f"{task.name}, {count} lanes, d = {d}, b = {b}, {kind}, {way}"):
            done.append(compare(task, contender, repeats))
        console.print(as_table(done[-1]))
    if keep:
        console.print(*store(done, keep, out))
    if json_file:
        json_file.write_text(json.dumps({"machine": machine(), "jobs": [as_json(each) for each in done]}, indent=1))


if __name__ == "__main__":
    typer.run(main)
