"""What the page's script reads of one study: configurations, trials and curves as columns."""

from typing import Any

import numpy as np
import pandas as pd
import pyarrow.compute as pc
from numpy.typing import NDArray

from fastgd.analysis import Results, value_of
from fastgd.analysis.minima.least_known import over_splits
from fastgd.common.escape import for_terminal
from fastgd.plots.readings import label, measure, methods
from fastgd.reports.columns import base64_of, column
from fastgd.reports.curves import curves_of
from fastgd.reports.looks import looks_of
from fastgd.reports.maps import maps_of
from fastgd.reports.profiles import profiles_of
from fastgd.reports.selection import Selection

# Columns of trials, as far as a study has them; settings are columns of their configurations.
OF_TRIALS = (
    *("trial_id", "seed", "start", "status", "reason", "steps", "epochs", "final_loss", "best_loss"),
    *("final_validation_loss", "best_validation_loss", "final_grad_norm", "minimum"),
)
COUNTS = ("seeds", "starts", "timeout", "retired", "diverged")
NAMES = {"lr": "rate", "method": "optimizer", "trial_id": "trial", "final_grad_norm": "final norm of the gradient"}
# Settings that a page states in words if all configurations share them.
CONSTANTS = ("batch_size", "dtype", "schedule", "l2", "layout", "sparse", "noise")


def study_data(selection: Selection) -> dict[str, Any]:
    """Return a study for the page's script, ready for JSON."""
    results, ranking = selection.results, selection.ranking
    value = value_of(ranking)
    objectives, minima = _objectives(results, selection.configurations)
    own = np.zeros(0, dtype=np.int64) if not len(selection.owners) else objectives[selection.owners]
    return {
        "name": for_terminal(results.manifest.name),
        "value": value,
        "metric": value.partition("_")[2],
        "repeats": results.spread_over,
        "landscape": results.on_landscapes,
        "looks": looks_of(methods(results)),
        "rates": [name for name in settings_of(results, ranking) if ranking[name].dtype.kind in "iuf"],
        "configurations": {"count": len(selection.shown), "columns": _configurations(selection, value)},
        "trials": {
            "count": len(selection.rows),
            "columns": _trials(selection),
            "owners": base64_of(selection.owners.astype(np.uint32)),
        },
        "objectives": base64_of(objectives.astype(np.uint32)),
        "sources": [for_terminal(str(source)) for source in results.minima["source"]],
        "curves": curves_of(selection, own, minima),
        "profiles": profiles_of(results),
        "maps": maps_of(results),
    }


def settings_of(results: Results, ranking: pd.DataFrame) -> list[str]:
    """Return the settings that tell apart the configurations of one problem and optimizer; rates first.

    A schedule is one also where it differs between optimizers. Other values that an optimizer always has are its own.
    """
    groups = ranking.groupby(["problem", "method"], sort=False)
    within = [name for name in _settings(results) if (groups[name].nunique() > 1).any()]
    within += [name for name in ("schedule",) if name not in within and ranking[name].nunique() > 1]
    return sorted(within, key=lambda name: name != "lr")


def _settings(results: Results) -> list[str]:
    """Return the columns of settings, without those that describe the problem and the optimizer."""
    about = ("problem", "optimizer", "variant", "dataset", "landscape", "loss", "n", "d")
    return [name for name in results.identity if name not in about]


def constants_of(results: Results, ranking: pd.DataFrame) -> list[tuple[str, str]]:
    """Return the settings that all configurations share, with their values as text."""
    found = []
    for name in results.identity:
        values = ranking[name].dropna().unique()
        if name in CONSTANTS and len(values) == 1 and ranking[name].notna().all():
            text = str(values[0]) if isinstance(values[0], str) else f"{values[0]:g}"
            found.append((label(name), for_terminal(text)))
    return found


def _configurations(selection: Selection, value: str) -> list[dict[str, Any]]:
    """Return the columns of the configurations: rank, problem, optimizer, settings, then what came of them."""
    results, table = selection.results, selection.configurations
    several = selection.ranking["problem"].nunique() > 1
    shown = settings_of(results, selection.ranking)
    names = ["rank", *(["problem"] if several else []), "method", *shown]
    words = f"final {measure(results, value.partition('_')[2])}" if value.startswith("final") else label(value)
    ends = {value: words}
    if (selection.ranking[results.repeats] > 1).any():
        over = results.spread_over
        ends |= {f"{value}_min": f"least over {over}", f"{value}_max": f"most over {over}"}
    counts = [name for name in COUNTS if name in table and table[name].nunique() > 1]
    optional = [name for name in ("target_epochs", "tied") if name in table and table[name].notna().any()] + counts
    found = [column(name, ends.get(name, _title(name)), table[name]) for name in (*names, *ends)]
    for name in optional:
        values = table[name].map({True: "yes", False: "no"}) if name == "tied" else table[name]
        found.append(column(name, _title(name), values))
    # What tells no configurations apart is shown with a trial alone.
    others = [name for name in _settings(results) if name not in shown and table[name].notna().any()]
    return found + [{**column(name, _title(name), table[name]), "hidden": True} for name in others]


def _trials(selection: Selection) -> list[dict[str, Any]]:
    """Return the trials' own columns: those that are not empty."""
    nothing = selection.results.table("trials", filter=pc.scalar(False))
    names = [name for name in OF_TRIALS if name in nothing.schema.names]
    found = []
    for name in names:
        values = selection.column(name)
        if name == "trial_id":
            found.append(_names(name, values.astype(str)))
        elif values.notna().any() and not (values.astype(str) == "").all():
            found.append(column(name, _title(name), values))
    return found


def _names(name: str, texts: "pd.Series[str]") -> dict[str, Any]:
    """Return a column of names: a list if all are different, else, as those that starts share, codes."""
    if not texts.is_unique:
        return column(name, _title(name), texts)
    return {"name": name, "label": _title(name), "kind": "text", "list": texts.map(for_terminal).tolist()}


def _title(name: str) -> str:
    return NAMES.get(name) or for_terminal(name.removeprefix("schedule.").replace("_", " "))


def _objectives(results: Results, configurations: pd.DataFrame) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the objective of each configuration, and the least known value of each objective."""
    table = over_splits(results.minima)
    by = [name for name in ("problem", "l2") if name in table]
    keys = [table[by].astype({"problem": str}), configurations[by].astype({"problem": str})]
    codes = pd.concat(keys, ignore_index=True).groupby(by, sort=False, dropna=False).ngroup().to_numpy()
    place = np.full(codes.max(initial=0) + 1, -1, dtype=np.int64)
    place[codes[: len(table)]] = np.arange(len(table))
    return place[codes[len(table) :]], table["minimum"].to_numpy(dtype=np.float64)
