"""`fastgd surface`: computes the surface of a trial, showing progress, and prints what it found."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import typer

from fastgd.analysis import load
from fastgd.cli import signals
from fastgd.cli.output.consoles import show
from fastgd.cli.studies import importing
from fastgd.common.numbers import number
from fastgd.runs.reporting.display import Reporter, errors

if TYPE_CHECKING:
    from fastgd.store.trial_surfaces import TrialSurface


def surface(
    folder: Path,
    trial: str | None,
    directions: str,
    others: Sequence[str],
    options: Mapping[str, Any],
    *,
    plugins: bool,
) -> None:
    """Compute a surface, or read it where it is stored, and say what it is."""
    from fastgd.runs.stored import trial_surfaces

    results, given = load(folder), {"directions": directions, "others": others, **options}
    try:
        with importing(plugins), Reporter() as reporter:
            found = trial_surfaces.surface(results, trial, **given, progress=False, on_event=reporter)
    except KeyboardInterrupt:
        errors().print("interrupted: nothing was written", soft_wrap=True)
        raise typer.Exit(signals.code()) from None
    show(*_in_words(found), f"fastgd plot {folder} --kind contour --set directions={directions} draws it")


def _in_words(found: "TrialSurface") -> list[str]:
    info, finite = found.info, found.loss[np.isfinite(found.loss)]
    size = f"{len(found.x):,} points" if len(found.y) == 1 else f"{len(found.x):,} x {len(found.y):,} points"
    ends = ", ".join(
        f"{number(loss, 6)} at the end of {trial}" for trial, loss in zip(info.trials, info.losses, strict=True)
    )
    lines = [f"{info.directions}, {size}: losses from {number(finite.min(), 6)} to {number(finite.max(), 6)}; {ends}"]
    if info.captured is not None:
        lines.append(f"{info.captured:.2%} of the trajectory's squared distances from its end lie in the plane")
    return lines
