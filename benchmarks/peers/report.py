"""The comparison as a table for people and as JSON for programs."""

import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from rich.table import Table

from benchmarks.peers.compare import Comparison, Row
from fastgd.engine.machine import cpu_model

PACKAGES = ("fastgd", "numba", "jax", "torch", "scikit-learn", "numpy")


def machine() -> dict[str, Any]:
    """Return what the figures depend on: processor, cores, package versions."""
    packages: dict[str, str | None] = {}
    for name in PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            packages[name] = None
    return {"cpu": cpu_model(), "cores": os.cpu_count(), "python": platform.python_version(), "packages": packages}


def base_row(rows: Sequence[Row]) -> Row:
    """Return the row that ratios refer to: fastgd's, else the fastest that arrived."""
    own = [row for row in rows if row.contender == "fastgd"]
    return min(own or [row for row in rows if row.agrees] or rows, key=lambda row: row.median)


def as_json(comparison: Comparison) -> dict[str, Any]:
    """Return a job's measurements as plain values."""
    base = base_row(comparison.rows)
    rows = [
        asdict(row) | {"median": row.median, "ratio": row.median / base.median, "agrees": row.agrees}
        for row in comparison.rows
    ]
    return {
        "job": asdict(comparison.job) | {"name": comparison.job.name},
        "limits": comparison.limits._asdict(),
        "ratios_to": f"{base.contender}: {base.form}",
        "rows": rows,
        "missing": comparison.missing,
    }


def as_table(comparison: Comparison) -> Table:
    """Return a job's measurements, the fastest first."""
    job, base, peak = comparison.job, base_row(comparison.rows), _peak(comparison)
    table = Table(
        title=f"{job.name}: {job.n:,} x {job.d}, {job.lanes} lanes, b = {job.batch_size}, {job.dtype}, {job.order}",
        caption=_caption(comparison, base),
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("contender")
    table.add_column("form")
    for name in ("median s", "fastest s", "ratio", "GFLOP/s", "of peak", "loss differs by", "within"):
        table.add_column(name, justify="right")
    for row in sorted(comparison.rows, key=lambda row: row.median):
        scaled = "*" if row.lanes_measured < job.lanes else ""
        table.add_row(
            row.contender,
            row.form,
            f"{row.median:.4f}{scaled}",
            f"{min(row.seconds):.4f}{scaled}",
            f"{row.median / base.median:.2f}",
            f"{job.flops / row.median / 1e9:.3g}",
            f"{job.flops / row.median / 1e9 / peak:.0%}",
            f"{row.loss_difference:.1e}",
            f"{row.tolerance:.0e}" if row.agrees else f"[bold red]NOT {row.tolerance:.0e}",
        )
    return table


def _peak(comparison: Comparison) -> float:
    """Return the machine's multiply-add peak in the job's type, in 10^9 operations a second."""
    return float(getattr(comparison.limits, f"gflops_{comparison.job.dtype}"))


def _caption(comparison: Comparison, base: Row) -> str:
    notes = [f"ratio: to {base.contender} ({base.form})"]
    notes += [f"the machine: {_peak(comparison):.0f} GFLOP/s of multiply-adds, {comparison.limits.gbytes:.0f} GB/s"]
    measured = {row.lanes_measured for row in comparison.rows if row.lanes_measured < comparison.job.lanes}
    notes += [
        f"* {lanes} of {comparison.job.lanes} rates measured, the time scaled to all" for lanes in sorted(measured)
    ]
    notes += [f"{name} is not installed" for name in comparison.missing]
    return "; ".join(notes)
