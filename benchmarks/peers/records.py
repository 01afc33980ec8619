"""The peers' figures as data: `results/peers/NAME.parquet`, a row for each form of each contender, and as Markdown.

`docs/list_peers.py` makes README's tables of them.
"""

import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.peers.compare import Comparison
from benchmarks.peers.report import base_row, machine

FOLDER = Path(__file__).parents[2] / "results" / "peers"
SHOWN = ["contender", "form", "seconds", "ratio", "share_of_peak", "loss_difference", "agrees"]


def records(comparisons: Sequence[Comparison]) -> pd.DataFrame:
    """Return a row for each job and form: times in seconds (the median and the least), their ratio to fastgd's median,
    whether the training loss was the same, and what the figures depend on.
    """
    about = machine()
    common: dict[str, Any] = {
        "cpu": about["cpu"],
        "cores": about["cores"],
        **{f"version_{name}": number for name, number in about["packages"].items()},
        "commit": _commit(),
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    rows: list[dict[str, Any]] = []
    for each in comparisons:
        job, base = each.job, base_row(each.rows)
        peak = float(getattr(each.limits, f"gflops_{job.dtype}"))
        rows += [
            {
                "job": getattr(job, "label", job.name),
                "description": job.name,
                "n": job.n,
                "d": job.d,
                "batch_size": job.batch_size,
                "lanes": job.lanes,
                "dtype": job.dtype,
                "order": job.order,
                "contender": row.contender,
                "form": row.form,
                "seconds": row.median,
                "least_seconds": min(row.seconds),
                "rounds": len(row.seconds),
                "ratio": row.median / base.median,
                "gflops": job.flops / row.median / 1e9,
                "gflops_peak": peak,
                "share_of_peak": job.flops / row.median / 1e9 / peak,
                "gbytes_peak": each.limits.gbytes,
                "lanes_measured": row.lanes_measured,
                "loss_difference": row.loss_difference,
                "agrees": row.agrees,
                **common,
            }
            for row in sorted(each.rows, key=lambda row: row.median)
        ]
    return pd.DataFrame(rows)


def _commit() -> str:
    """Return the commit that was measured, with a mark if files were changed since; empty without git."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    done = subprocess.run(command, cwd=FOLDER.parents[1], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def store(comparisons: Sequence[Comparison], name: str, folder: Path = FOLDER) -> list[Path]:
    """Write the figures as NAME.parquet and NAME.md, and return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    frame = records(comparisons)
    files = [folder / f"{name}.parquet", folder / f"{name}.md"]
    frame.to_parquet(files[0], index=False)
    files[1].write_text(markdown(frame), encoding="utf-8")
    return files


def markdown(frame: pd.DataFrame) -> str:
    """Return the figures as a page with a table a job."""
    first = frame.iloc[0]
    versions = ", ".join(
        f"{name.removeprefix('version_')} {first[name]}"
        for name in frame
        if str(name).startswith("version_") and isinstance(first[name], str)
    )
    lines = [
        "# Peers",
        "",
        f"Measured {first['measured']} on {first['cores']} cores of {first['cpu']}, at {first['commit']}: {versions}.",
    ]
    keys = ["description", "n", "d", "batch_size", "lanes", "dtype", "order"]
    for values, own in frame.groupby(keys, sort=False):
        description, n, d, b, lanes, dtype, order = values
        lines += ["", f"## {description}: {n:,} x {d}, b = {b}, {lanes} lanes, {dtype}, {order}", ""]
        lines += [
            f"| {' | '.join(name.replace('_', ' ') for name in SHOWN)} |",
            f"| {' | '.join('---' for _ in SHOWN)} |",
        ]
        for row in own.to_dict("records"):
            cells = [row["contender"], row["form"], f"{row['seconds']:.4f}", f"{row['ratio']:.2f}"]
            cells += [f"{row['share_of_peak']:.0%}", f"{row['loss_difference']:.0e}", "yes" if row["agrees"] else "NO"]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
