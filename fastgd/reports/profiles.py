"""Profiles of optimizers: which share of problems and seeds each one solves, and how much the rate matters to each."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from fastgd.analysis import Results
from fastgd.common.errors import InputError
from fastgd.common.escape import for_terminal
from fastgd.common.numbers import number
from fastgd.plots.readings import label

# Parts of the way from a trial's start to the least known loss, of which each is a goal.
FRACTIONS = (0.999, 0.99)
TITLES = {
    "performance": "performance profile: time, compared with the fastest",
    "best": "the best configuration's trials that get there",
    "all": "all trials that get there, untuned",
}


def profiles_of(results: Results) -> list[dict[str, Any]]:
    """Return the profiles that a study has, each with its title, axes and steps for each optimizer; none of one alone.

    The first ones are of the goal that the page shows first: the hardest one to which any optimizer gets in half of the
    cases, or else the easiest.
    """
    asked: dict[str, Callable[[float], pd.DataFrame]] = {
        "performance": lambda fraction: results.profiles(fraction=fraction),
        "best": lambda fraction: results.ecdf(fraction=fraction, of="best"),
        "all": lambda fraction: results.ecdf(fraction=fraction, of="all"),
    }
    found = []
    for fraction in FRACTIONS:
        for name, ask in asked.items():
            try:
                table = ask(fraction)
            except InputError:  # no problem has trials of all optimizers, or no minimum is known
                continue
            if table["method"].nunique() > 1 and (table["share"] > 0).any():
                found.append(_steps(name, fraction, table))
    reached = [each for each in found if max(max(line["y"], default=0.0) for line in each["lines"]) >= 0.5]
    goal = (reached[:1] or found[-1:] or [{"goal": ""}])[0]["goal"]
    return sorted(found, key=lambda each: each["goal"] != goal)


def _steps(name: str, fraction: float, table: pd.DataFrame) -> dict[str, Any]:
    """Return a profile as lists of places and shares for each optimizer."""
    axis = next(column for column in table.columns if column not in ("method", "share", "trials"))
    lines = []
    for method, own in table.groupby("method", sort=False, observed=True):
        places = own[axis].to_numpy(dtype=np.float64)
        reached = np.isfinite(places)
        shares = own["share"].to_numpy(dtype=np.float64)
        x, y = places[reached].tolist(), np.round(shares[reached], 6).tolist()
        lines.append({"method": for_terminal(str(method)), "x": x, "y": y})
    return {
        "name": name,
        "title": TITLES[name],
        "goal": f"{100 * fraction:g} % of the way from the start to the least known loss",
        "axis": "time, as a multiple of the fastest optimizer's" if axis == "ratio" else axis.replace("_", " "),
        "end": max((line["x"][-1] for line in lines if line["x"]), default=1.0),
        "lines": lines,
    }


def widths_of(results: Results) -> list[dict[str, Any]]:
    """Return a row for each problem and optimizer: its best rate, the range about it, and with what that moves."""
    try:
        table = results.sensitivity()
    except InputError:  # no rates
        return []
    return [_width(row) for row in table.to_dict("records")]


def _width(row: dict[Any, Any]) -> dict[str, Any]:
    known = pd.notna(row["low"]) and pd.notna(row["high"])
    moves = isinstance(row["moves_with"], str) and row["moves_with"] and pd.notna(row["moves_by_decades"])
    return {
        "problem": for_terminal(str(row["problem"])),
        "method": for_terminal(str(row["method"])),
        "best": number(row["lr"]) if pd.notna(row["lr"]) else "",
        "best_sort": repr(float(row["lr"])) if pd.notna(row["lr"]) else "",
        "range": f"{number(row['low'])} to {number(row['high'])}" if known else "",
        "decades": number(row["decades"], 2) if pd.notna(row["decades"]) else "",
        "values": int(row["values"]),
        "end": for_terminal(str(row["end"])) if isinstance(row["end"], str) else "",
        "moves": f"{for_terminal(label(row['moves_with']))}, by {number(row['moves_by_decades'], 2)} decades"
        if moves
        else "",
    }
