"""`fastgd optimum` and `fastgd theory`: certified minima, and rates of convergence beside those of textbooks."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from fastgd.analysis import load
from fastgd.cli import signals
from fastgd.cli.output.consoles import cell, show, show_json, table
from fastgd.cli.studies import importing
from fastgd.common.numbers import number
from fastgd.runs.reporting.display import Reporter, errors

if TYPE_CHECKING:
    import pandas as pd

SHOWN = (
    "problem",
    "l2",
    "minimum",
    "error",
    "best_seen",
    "smoothness",
    "strong_convexity",
    "local_strong_convexity",
    "row_norm",
)
NAMES = {
    "smoothness": "L",
    "strong_convexity": "mu",
    "best_seen": "best seen",
    "local_strong_convexity": "mu at the minimum",
}
THEORY = (
    "problem",
    "l2",
    "optimizer",
    "lr",
    "momentum",
    "batch_size",
    "quantity",
    "measured",
    "theory",
    "ratio",
    "bound",
)
TEXTS = ("problem", "optimizer", "quantity", "source")
SAME = ("problem", "l2", "momentum", "batch_size")  # left out where all rows have the same


def optimum(folder: Path, *, as_json: bool, plugins: bool) -> None:
    """Find the minima of a folder's convex objectives, showing progress, and print them with their certificates."""
    from fastgd.runs.stored import optimum as optima

    results = load(folder)
    try:
        with importing(plugins), Reporter() as reporter:
            found = optima.optimum(results, progress=False, on_event=reporter)
    except KeyboardInterrupt:
        errors().print("interrupted: the minima that were found are stored", soft_wrap=True)
        raise typer.Exit(signals.code()) from None
    if as_json:
        show_json(_records(found))
        return
    shown = [*(name for name in results.objective if name not in SHOWN), *SHOWN]
    cells = ([_cell(row[name], name) for name in shown] for row in found.to_dict("records"))
    show(table(f"{results.manifest.name}: certified minima", [NAMES.get(name, name) for name in shown], cells, TEXTS))
    show(*sentences(found, "fold" if results.has_folds else "split_seed"))


def _cell(value: Any, name: str) -> str:
    if name == "error":
        return "not known" if value != value else number(value, 2)
    return cell(value, 12 if name in ("minimum", "best_seen") else 4)


def sentences(found: "pd.DataFrame", split_name: str = "split_seed") -> list[str]:
    """Return how each minimum was found and certified, and what contradicts it; `split_name`: the word for splits."""
    lines = []
    for row in found.to_dict("records"):
        split = f", {split_name} {row['split_seed']}" if "split_seed" in row else ""
        name = f"{row['problem']}, l2 {number(row['l2'])}{split}"
        how = f"{row['method']}, {row['steps']} steps, {row['seconds']:.2g} s"
        bounded = (
            f"certified by {row['certificate']}" if row["error"] == row["error"] else f"best seen: {row['certificate']}"
        )
        lines.append(f"{name}: {bounded} ({how})")
        if row["contradicted"]:
            lines.append(
                f"{name}: CONTRADICTION: a trial saw {number(row['best_seen'], 12)}, lower than the minimum by more "
                "than its error permits: one of them is wrong"
            )
    return lines


def theory(folder: Path, *, as_json: bool) -> None:
    """Print measured rates of convergence beside those of textbooks."""
    results = load(folder)
    found = results.theory()
    if as_json:
        show_json(_records(found))
        return
    shown = [name for name in THEORY if name not in SAME or found[name].nunique(dropna=False) > 1]
    cells = (
        [cell(row[name], 5 if name in ("measured", "theory", "bound") else 4) for name in shown]
        for row in found.to_dict("records")
    )
    show(table(f"{results.manifest.name}: measured rates beside those of theory", shown, cells, TEXTS))
    show(*_legend(found))


def _legend(found: "pd.DataFrame") -> list[str]:
    meanings = {
        "contraction": "contraction: the factor by which the root of the gap falls in a step; ratio: of the speeds, "
        "measured by theory's",
        "floor": "floor: the gap at which the noise of mini-batches holds a trial; theory is of small rates and "
        "independent batches",
        "exponent": "exponent: the power of the step with which the gap falls",
    }
    lines = [text for name, text in meanings.items() if (found["quantity"] == name).any()]
    broken = found[found["holds"].eq(False)]
    lines += [f"slower than its bound: {row['optimizer']} at {number(row['lr'])}" for row in broken.to_dict("records")]
    counts = found.loc[found["remark"] != "", "remark"].value_counts()
    lines += [f"{count} of {len(found)} configurations: {remark}" for remark, count in counts.items()]
    return [*lines, f"sources: {'; '.join(dict.fromkeys(found['source']))}"]


def _records(found: "pd.DataFrame") -> list[dict[Any, Any]]:
    return found.astype(object).where(found.notna(), None).to_dict("records")
