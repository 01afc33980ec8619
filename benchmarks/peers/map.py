"""A map of where fastgd stands: a grid of small jobs against every peer, from one row a batch to all of them."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.peers.compare import MODULES, Comparison, compare_workers
from benchmarks.peers.job import Job
from benchmarks.peers.worker import Worker
from fastgd.engine.machine import Machine, cpu_model, measure

FULL = 0  # the batch size of a cell whose batch is all rows
AXES: dict[str, Sequence[Any]] = {
    "b": (1, 4, 16, 64, 256, 4096, FULL),
    "d": (8, 100, 2000),
    "lanes": (1, 8, 64, 1000),
    "dtype": ("float64", "float32"),
    "order": ("sequential", "shuffle"),
}
OPERATIONS = 5e9  # of a cell, about
MOST_ROWS, FEWEST_ROWS, MOST_STEPS = 1_000_000, 2000, 50_000
PAUSE = 0.05  # seconds
PATIENCE = 2.5  # times the fastest, beyond which a form is measured once
CELLS_PER_MEASURE = 25  # of what the machine allows
ONE_BY_ONE, MOST_LANES_ONE_BY_ONE = "scikit-learn", 64  # it takes as much longer as there are more lanes
MOST_OPERATIONS = 3e10
MOST_BYTES = 1 << 28  # of a cell's rows, unless that were fewer than two batches


def chosen(only: Sequence[str]) -> dict[str, Sequence[Any]]:
    """Return the axes cut to what is asked for: "b=1,4" leaves two batch sizes; "full" is all rows."""
    axes = dict(AXES)
    for each in only:
        name, _, values = each.partition("=")
        if name not in axes or not values:
            raise typer.BadParameter(
                f"--only {each!r}: give an axis and its values, as in b=1,4; axes: {', '.join(axes)}"
            )
        wanted = [FULL if value == "full" else value for value in values.split(",")]
        axes[name] = [value for value in axes[name] if value in wanted or str(value) in wanted]
        if len(axes[name]) < len(wanted):
            valid = ", ".join("full" if name == "b" and value == FULL else str(value) for value in AXES[name])
            raise typer.BadParameter(f"--only {each!r}: valid values of {name} are {valid}")
    return axes


def jobs(axes: Mapping[str, Sequence[Any]]) -> Iterator[tuple[dict[str, Any], Job]]:
    """Yield each cell with its job: rows enough for some ten milliseconds."""
    for dtype, lanes, d, b, order in product(*(axes[name] for name in ("dtype", "lanes", "d", "b", "order"))):
        if b == FULL and order == "shuffle":
            continue  # a full batch has no order
        most = min(MOST_ROWS, MOST_BYTES // (d * np.dtype(dtype).itemsize), MOST_STEPS * b if b else MOST_ROWS)
        n = max(2 * b, int(np.clip(OPERATIONS / (4 * d * lanes), FEWEST_ROWS, most)))
        if 4.0 * n * d * lanes <= MOST_OPERATIONS:
            yield (
                {"b": b, "d": d, "lanes": lanes, "dtype": dtype, "order": order},
                Job(n, d, b or n, lanes, dtype, order),
            )


def summary(cell: Mapping[str, Any], comparison: Comparison) -> dict[str, Any]:
    """Return a cell's row: the fastest forms, their ratio, and the share of what the machine allows."""
    job, limits = comparison.job, comparison.limits
    right = [row for row in comparison.rows if row.agrees]
    own = min((row for row in right if row.contender == "fastgd"), key=lambda row: row.median)
    peers = sorted((row for row in right if row.contender != "fastgd"), key=lambda row: row.median)
    vmap = [row.median for row in peers if row.form == "vmap"]
    bound = {
        "multiply-adds": job.flops / (1e9 * getattr(limits, f"gflops_{job.dtype}")),
        "reading": job.n * job.d * np.dtype(job.dtype).itemsize / (1e9 * limits.gbytes),
    }
    limit = max(bound, key=lambda name: bound[name])
    return {
        **cell,
        "n": job.n,
        "seconds": own.median,
        "peer": f"{peers[0].contender}: {peers[0].form}" if peers else "",
        "peer_seconds": peers[0].median if peers else np.nan,
        "ratio": peers[0].median / own.median if peers else np.nan,
        "ratio_to_vmap": vmap[0] / own.median if vmap else np.nan,
        "limit": limit,
        "share": bound[limit] / own.median,
    }


def run_map(only: Sequence[str], contenders: Sequence[str], repeats: int, folder: Path, console: Console) -> None:
    """Run the cells, print them with the worst first, and store them as Parquet with a picture.

    They are added to the cells in the folder that were run on the same processor, in the place of older ones: a map may
    be run in parts. Ctrl-C ends with the cells that were run.
    """
    cells = list(jobs(chosen(only)))
    rows: list[dict[str, Any]] = []
    with ExitStack() as stack, suppress(KeyboardInterrupt):
        workers = {each: stack.enter_context(Worker(each, MODULES[each])) for each in contenders}
        limits = measure()
        for number, (cell, job) in enumerate(cells, 1):
            if number % CELLS_PER_MEASURE == 0:
                limits = Machine(*map(max, limits, measure()))
            able = [own for name, own in workers.items() if name != ONE_BY_ONE or job.lanes <= MOST_LANES_ONE_BY_ONE]
            row = summary(cell, compare_workers(job, able, repeats, PAUSE, PATIENCE, limits))
            rows.append({**row, "cpu": cpu_model()})
            reached = f"{row['seconds']:.4f} s, {row['peer']} {row['ratio']:.2f}"
            print(f"{number}/{len(cells)} {cell} n = {job.n:,}: {reached}", file=sys.stderr, flush=True)
    if not rows:
        return
    frame = added(pd.DataFrame(rows), folder / "map.parquet")
    console.print(as_table(frame))
    console.print(verdict(frame))
    folder.mkdir(parents=True, exist_ok=True)
    frame.to_parquet(folder / "map.parquet", index=False)
    draw(frame, folder / "map.png")
    console.print(f"{folder / 'map.parquet'}, {folder / 'map.png'}")


def added(frame: pd.DataFrame, file: Path) -> pd.DataFrame:
    """Return cells together with those of a file that were run on the same processor, without older ones of theirs."""
    if not file.exists():
        return frame
    before = pd.read_parquet(file)
    before = before[before["cpu"] == frame["cpu"].iloc[0]] if "cpu" in before else before.iloc[:0]
    return pd.concat([before, frame]).drop_duplicates(list(AXES), keep="last", ignore_index=True)


def verdict(frame: pd.DataFrame) -> str:
    """Return the means over grids, and how many cells a peer does faster."""
    grids = frame[frame.lanes >= 8]
    means = [float(np.exp(np.log(grids[name].dropna()).mean())) for name in ("ratio", "ratio_to_vmap")]
    behind = int((frame.ratio < 1).sum())
    return (
        f"{behind} of {len(frame)} cells below 1; over grids of 8 lanes and more the geometric mean is {means[0]:.2f} "
        f"against the fastest peer and {means[1]:.2f} against jax.vmap"
    )


def _batch(b: int) -> str:
    return "full" if b == FULL else f"{b:,}"


def as_table(frame: pd.DataFrame) -> Table:
    """Return all cells, the worst first."""
    table = Table(title="fastgd against the fastest peer, cell by cell", title_justify="left")
    for name in ("b", "d", "lanes", "type", "order", "rows", "seconds", "peer", "its seconds", "ratio", "of the limit"):
        table.add_column(name, justify="left" if name in ("type", "order", "peer") else "right", no_wrap=True)
    for row in frame.sort_values("ratio").itertuples():
        table.add_row(
            _batch(row.b), str(row.d), str(row.lanes), row.dtype, row.order, f"{row.n:,}", f"{row.seconds:.4f}",
            row.peer, f"{row.peer_seconds:.4f}", f"{row.ratio:.2f}", f"{100 * row.share:.0f} % ({row.limit})",
        )  # fmt: skip
    return table


def draw(frame: pd.DataFrame, path: Path) -> None:
    """Draw the ratios as a heatmap: what a peer does faster is red."""
    import matplotlib.pyplot as plt

    down, across = ["dtype", "order", "lanes"], ["d", "b"]
    ranked = frame.assign(b=frame.b.where(frame.b != FULL, np.iinfo(np.int64).max))
    ratios = ranked.pivot_table(index=down, columns=across, values="ratio")
    size = 1.5 + 0.55 * ratios.shape[1], 1.5 + 0.4 * ratios.shape[0]
    figure, axes = plt.subplots(figsize=size, layout="constrained")
    shown = axes.imshow(np.log2(ratios), cmap="RdBu", vmin=-3, vmax=3, aspect="auto")
    for (i, j), ratio in np.ndenumerate(ratios.to_numpy()):
        if np.isfinite(ratio):
            color = "white" if abs(np.log2(ratio)) > 2 else "black"
            axes.text(j, i, f"{ratio:.2g}", ha="center", va="center", fontsize=8, color=color)
    names = [_batch(FULL if b > MOST_OPERATIONS else b) for _, b in ratios.columns]
    lanes = [f"{dtype}, {order}, {count:,} lane{'s' * (count > 1)}" for dtype, order, count in ratios.index]
    axes.set_xticks(range(len(names)), names, fontsize=8)
    axes.set_yticks(range(len(lanes)), lanes, fontsize=8)
    numbers = np.array([d for d, _ in ratios.columns])
    for d in np.unique(numbers):
        axes.text(np.flatnonzero(numbers == d).mean(), -0.8, f"d = {d:,}", ha="center", va="bottom", fontsize=9)
    axes.set_xlabel("rows of a batch")
    axes.set_title("times as fast as the fastest peer", fontsize=10, pad=30)
    bar = figure.colorbar(shown, ticks=range(-3, 4))
    bar.ax.set_yticklabels(["1/8", "1/4", "1/2", "1", "2", "4", "8"])
    figure.savefig(path, dpi=120)
    plt.close(figure)
