"""Layers: gradients, updates and dead units of a network's layers, of the best trial of each optimizer."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.compute as pc
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fastgd.analysis import Results, with_methods
from fastgd.common.errors import InputError, nearest
from fastgd.plots.layout import Layout
from fastgd.plots.limits import Array, drawable, frame_of, mark_outside, tell_outside
from fastgd.plots.pages import note, only, page_of
from fastgd.plots.readings import label, methods, settings, varied
from fastgd.plots.style import dress, head, key, key_line, looks, panels, scale_x, style

DEAD_UNITS = "dead_units"
# What the panels of each metric are called.
_QUANTITIES = {
    "layer_grad_norm": "norm of the gradient",
    "layer_update_ratio": "update / weights",
    DEAD_UNITS: "share of dead units",
}
# The colour and the dashes of each layer, from dark to light.
_LOOKS: tuple[tuple[str, Any], ...] = (
    ("#332288", "solid"),
    ("#0072B2", (0, (5, 1.5))),
    ("#44AA99", (0, (6, 1.5, 1.2, 1.5))),
    ("#C9A227", (0, (1.2, 1.2))),
)
_WIDTH, _HEIGHT = 2.9, 2.3  # inches, of a panel


@dataclass(frozen=True)
class LayersOfTrial:
    """What was recorded of the layers of one trial.

    Parameters
    ----------
    problem, method, optimizer : str
        Their names.
    settings : str
        The trial's configuration in words.
    x : ndarray of shape (checkpoints,)
        The epochs.
    metrics : mapping of str to mapping of int to ndarray of shape (checkpoints,)
        Of each metric that was recorded, the values of each layer that has any.
    """

    problem: str
    method: str
    optimizer: str
    settings: str
    x: Array
    metrics: Mapping[str, Mapping[int, Array]]


def layers(
    results: Results, trials: Sequence[str] | str | None = None, problem: str | None = None, page: int = 1
) -> Figure:
    """Plot what was recorded of a network's layers over the training: a row of panels for each optimizer's best trial.

    A panel shows the norm of each layer's gradient, the size of the last step relative to the weights, or the share of
    dead units, as far as the study records them; a line is a layer. Panels of a metric share their limits within a
    problem. Trials of problems without layers are left out.

    Parameters
    ----------
    results : Results
        The study's results, with some of the metrics `layer_grad_norm`, `layer_update_ratio` and `dead_units`.
    trials : str or sequence of str, optional
        The ids of those to draw, in place of the best ones.
    problem : str, optional
        The only one to draw.
    page : int
        Of many trials, which to draw: the first ones, the next ones, ...

    Returns
    -------
    matplotlib.figure.Figure
        The picture.

    Raises
    ------
    InputError
        No such metric was recorded, or there is no such trial, problem or page.
    """
    chosen = looks(methods(results))
    every = layers_of(results, trials)
    named = only((one.problem for one in every), problem)
    rows, words = page_of(own := [one for one in every if one.problem in named], page, "trials", [_HEIGHT] * len(own))
    shown = [name for name in _QUANTITIES if any(name in one.metrics for one in rows)]
    several = len({one.problem for one in every}) > 1
    with style():
        size = (0.4 + _WIDTH * len(shown), 0.8 + _HEIGHT * len(rows))
        figure = Figure(figsize=size, layout=Layout())
        found = panels(figure, len(rows) * len(shown), share_y=False, columns=len(shown))
        grid = [found[first : first + len(shown)] for first in range(0, len(found), len(shown))]
        for row, one in zip(grid, rows, strict=True):
            for axes, name in zip(row, shown, strict=True):
                _draw(axes, one, name)
            remark = one.problem if several else ""
            head(row[0], one.optimizer, one.settings, remark, chosen[one.method].color, _WIDTH - 0.6)
        for name, column in zip(shown, zip(*grid, strict=True), strict=True):
            _scale(column, rows, name)
        for axes in grid[-1]:
            axes.set_xlabel(label("epoch"))
        key(figure, _handles(rows))
        note(figure, words)
    return figure


def layers_of(results: Results, trials: Sequence[str] | str | None = None) -> list[LayersOfTrial]:
    """Return what was recorded of the layers of some trials, by default of the best one of each optimizer.

    They are in the order of the problems, then of the optimizers.

    Raises
    ------
    InputError
        No such metric was recorded, or there is no such trial.
    """
    order, rows = methods(results), _rows(results, trials)
    known = results.curves_dataset.schema.names
    columns = {name: own for name in _QUANTITIES if (own := [c for c in known if c.startswith(f"{name}.")])}
    if not columns:
        asked = ", ".join(f'"{name}"' for name in _QUANTITIES)
        raise InputError(
            f"the curves in {results.path} say nothing of layers; run the study with [record] metrics = [{asked}], or "
            "some of them"
        )
    which = pc.field("trial_id").isin(rows["trial_id"].tolist())
    names = ["trial_id", "epoch", *itertools.chain(*columns.values())]
    curves = results.table("curves", columns=names, filter=which).to_pandas()
    every = with_methods(results.trials[results.trials["in_study"]])
    named = {key: varied(results, own) for key, own in every.groupby(["problem", "method"], observed=True)}
    problems = list(dict.fromkeys(every["problem"]))
    ranks = [(problems.index(problem), order.index(own)) for problem, own in rows[["problem", "method"]].to_numpy()]
    places = sorted(range(len(ranks)), key=ranks.__getitem__)
    found = [
        _layers_of_trial(row, curves[curves["trial_id"] == row["trial_id"]], columns, named)
        for _, row in rows.iloc[places].iterrows()
    ]
    if not any(one.metrics for one in found):
        raise InputError(f"no layers were measured in {results.path}: the trials are of problems without any")
    return [one for one in found if one.metrics]


def _rows(results: Results, trials: Sequence[str] | str | None) -> pd.DataFrame:
    """Return the rows of the trials to be drawn, with their methods."""
    if trials is None:
        return with_methods(results.best()).drop_duplicates(["problem", "method"])
    asked, every = [trials] if isinstance(trials, str) else list(dict.fromkeys(trials)), results.trials
    every = with_methods(every[every["in_study"]])
    known = set(every["trial_id"])
    if missing := [trial for trial in asked if trial not in known]:
        raise InputError(f"there is no trial {missing[0]!r} to draw in {results.path}; {nearest(missing[0], known)}")
    return every.set_index("trial_id", drop=False).loc[asked]


def _layers_of_trial(
    row: "pd.Series[str]",
    curve: pd.DataFrame,
    columns: Mapping[str, Sequence[str]],
    named: Mapping[tuple[Any, ...], Sequence[str]],
) -> LayersOfTrial:
    """Return what a trial's curve says of its layers; `named`: in which columns trials of a method differ."""
    curve = curve.sort_values("epoch")
    metrics = {}
    for name, own in columns.items():
        values = {layer: curve[column].to_numpy(dtype=np.float64) for layer, column in enumerate(sorted(own), 1)}
        if measured := {layer: line for layer, line in values.items() if not np.isnan(line).all()}:
            metrics[name] = measured
    return LayersOfTrial(
        problem=str(row["problem"]),
        method=str(row["method"]),
        optimizer=str(row["optimizer"]),
        settings=settings(row, named[row["problem"], row["method"]]),
        x=curve["epoch"].to_numpy(dtype=np.float64),
        metrics=metrics,
    )


def _draw(axes: Axes, one: LayersOfTrial, name: str) -> None:
    dress(axes)
    axes.set_ylabel(_QUANTITIES[name])
    for layer, line in one.metrics.get(name, {}).items():
        color, dashes = _LOOKS[layer - 1]
        alone = "o" if np.count_nonzero(np.isfinite(line)) == 1 else None  # a line of one point is none
        axes.plot(
            one.x, drawable(line), color=color, linestyle=dashes, linewidth=1.6, zorder=3, marker=alone, markersize=3
        )


def _scale(column: Sequence[Axes], found: Sequence[LayersOfTrial], name: str) -> None:
    """Set the limits of a metric's panels, which those of a problem share, and mark what lies outside."""
    x = np.concatenate([one.x for one in found])
    for axes, one in zip(column, found, strict=True):
        scale_x(axes, x if len(np.unique(x)) > 1 else np.append(0, x))
        if name == DEAD_UNITS:
            axes.set_ylim(-0.03, 1.03)
            continue
        peers = [other.metrics.get(name, {}) for other in found if other.problem == one.problem]
        _logarithmic(axes, np.concatenate([np.zeros(0), *(line for own in peers for line in own.values())]))
        lines = one.metrics.get(name, {})
        for layer, line in lines.items():
            mark_outside(axes, one.x, drawable(line), _LOOKS[layer - 1][0], first=True)
        finite = [own for line in lines.values() if len(own := line[np.isfinite(line)])]
        tell_outside(axes, np.array([own.min() for own in finite]), np.array([own.max() for own in finite]), "line")


def _logarithmic(axes: Axes, values: Array) -> None:
    """Set logarithmic limits that suit the values: a decade at least."""
    frame = frame_of(values, log=True)
    room = max(1.2, (10 * frame.low / frame.high) ** 0.5)
    axes.set_yscale("log")
    axes.set_ylim(frame.low / room, frame.high * room)


def _handles(found: Sequence[LayersOfTrial]) -> list[Artist]:
    shown = sorted({layer for one in found for own in one.metrics.values() for layer in own})
    looks_of = [(layer, *_LOOKS[layer - 1]) for layer in shown]
    return [key_line(color=color, linestyle=dashes, linewidth=1.6, label=f"layer {n}") for n, color, dashes in looks_of]
