"""Marks of the rates that theory names on an axis of learning rates: 1/L, 2/(L + mu) and 2/L of gradient descent."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes

from fastgd.analysis import Results
from fastgd.plots.style import GREY, key_line

STYLES = {"1/L": (0, (1, 2)), "2/(L + mu)": (0, (4, 2)), "2/L": (0, (6, 2, 1, 2))}
ALIKE = 1e-3  # rates nearer to each other than this share are one line


def rates_of_theory(results: Results, problem: str, l2: float | None) -> dict[str, float]:
    """Return the rates that theory names for gradient descent on a problem with a penalty, by their formulas.

    With L the largest curvature at any parameters, and mu the least: from 2/L on, gradient descent may diverge; 1/L is
    the longest step that surely lowers the objective most; and 2/(L + mu) contracts distances best (Nesterov, 2004,
    section 2.1.5). Empty where no minimum is stored (`fastgd optimum`), or the loss has no L.
    """
    if results.on_landscapes or l2 is None:
        return {}
    stored = [info for info in results.stored_optima if (info.problem, info.l2) == (problem, l2) and info.smoothness]
    if not stored:
        return {}
    L, mu = float(stored[0].smoothness or 0.0), stored[0].strong_convexity
    rates = {"1/L": 1 / L, "2/(L + mu)": 2 / (L + mu), "2/L": 2 / L}
    if rates["2/L"] < rates["2/(L + mu)"] * (1 + ALIKE):
        del rates["2/(L + mu)"]
    return rates


def mark_rates(axes: Axes, results: Results, rows: pd.DataFrame, hyper: str) -> list[Artist]:
    """Draw thin lines at the rates of theory within the limits of axes; return what a key says of them.

    Parameters
    ----------
    axes : Axes
        With their limits set; they stay.
    results : Results
    rows : pandas.DataFrame
        The ranking of one problem, best first: with several penalties, the lines are those of the best one's.
    hyper : str
        What the axis shows: only rates are marked.
    """
    if hyper != "lr" or "l2" not in rows or rows.empty:
        return []
    low, high = axes.get_xlim()
    handles: list[Artist] = []
    for name, rate in rates_of_theory(results, str(rows["problem"].iloc[0]), float(rows["l2"].iloc[0])).items():
        if low <= rate <= high:
            own: dict[str, Any] = {"color": GREY, "linestyle": STYLES[name], "linewidth": 0.8}
            axes.axvline(rate, **own, zorder=1, gid=name)
            handles.append(key_line(**own, label=name))
    return handles


def one_of_each(handles: Sequence[Artist]) -> list[Artist]:
    """Return handles without those that a key has already, from another panel."""
    return list({str(handle.get_label()): handle for handle in handles}.values())
