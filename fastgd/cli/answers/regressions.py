"""`fastgd compare`: shows whether new results converge as older ones did."""

from pathlib import Path
from typing import Any

from fastgd.analysis.regressions.comparison import Comparison, compare, rows_of
from fastgd.cli.output.consoles import cell, show, show_json, table
from fastgd.common.numbers import count, number

SHOWN = 20
_RESULTS = ["base_final_loss", "final_loss", "base_target_steps", "target_steps", "reason"]
_TEXTS = ("problem", "optimizer", "variant", "schedule", "dtype", "layout", "sparse", "trial_id", "reason")


def command(base: Path, new: Path, tolerance: float, *, as_json: bool) -> bool:
    """Compare two folders, print what was found, and return whether nothing got worse."""
    found = compare(base, new, tolerance)
    if as_json:
        show_json({**found.summary, "ok": found.ok, "worse_trials": list(rows_of(found))})
    else:
        _print(found)
    return found.ok


def _print(found: Comparison) -> None:
    of, pairs = found.summary, len(found.pairs)
    how = f", {of['paired_by_settings']:,} of them by their settings" if of["paired_by_settings"] else ""
    show(f"{found.base} and {found.new}: {count(pairs, 'pair')} of trials{how}")
    for name, kind in (("only_base", found.base), ("only_new", found.new)):
        if of[name]:
            show(f"only in {kind}: {count(of[name], 'trial')}")
    show(*(f"note: {note}" for note in found.notes))
    show(table("equal to the bit", ("what", "pairs", "of"), _equalities(of), ("what",)))
    show(table("the largest relative differences", ("what", "difference"), _differences(of), ("what",)))
    show(
        table(
            f"verdicts, with a tolerance of {number(found.tolerance)}",
            ("verdict", "pairs"),
            _verdicts(of),
            ("verdict",),
        )
    )
    worse = found.worse
    if len(worse):
        settings = _columns_to_show(found)
        columns = [*settings, *(name for name in _RESULTS if name in worse)]
        rows = list(rows_of(found))
        cells = ([cell(row.get(name), 6) for name in columns] for row in rows[:SHOWN])
        show(table("worse, the largest difference first", columns, cells, _TEXTS))
        if len(rows) > SHOWN:
            show(f"{len(rows) - SHOWN:,} more of {len(rows):,}: all with --json")


def _columns_to_show(found: Comparison) -> list[str]:
    """Return the columns that tell the worse trials apart: the optimizer, the rate, and what varies among them."""
    worse = found.worse
    varies = [
        str(name) for name in found.settings if name in ("optimizer", "lr") or worse[name].nunique(dropna=False) > 1
    ]
    return [*varies, *(["start"] if "start" in found.pairs else []), "trial_id"]


def _equalities(of: dict[str, Any]) -> list[list[str]]:
    names = {
        "final_loss_equal": "final loss",
        "steps_equal": "steps",
        "status_equal": "status",
        "curves_equal": "curve",
    }
    return [[words, f"{of[name]:,}", f"{of['pairs']:,}"] for name, words in names.items()]


def _differences(of: dict[str, Any]) -> list[list[str]]:
    names = {"final": "final loss", "best": "best loss", "curve": "loss at any checkpoint"}
    return [[words, number(of[f"largest_{name}_difference"])] for name, words in names.items()]


def _verdicts(of: dict[str, Any]) -> list[list[str]]:
    return [[name, f"{of[name]:,}"] for name in ("equal", "same", "better", "worse", "unknown") if of[name]]
