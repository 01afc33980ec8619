"""The pictures of docs/gallery.md: kinds of `fastgd plot`, alone or in panels, lines over the steps, and of numbers."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

import fastgd
from fastgd import plots
from fastgd.common.numbers import number
from fastgd.plots.layout import Layout
from fastgd.plots.limits import limits
from fastgd.plots.readings import label
from fastgd.plots.style import dress, key, looks, style

WIDTH = 1100  # pixels
WORDS = {"lr": "rate", "batch_size": "batch size", "schedule": "", "optimizer": "", "variant": "", "seed": None}
WORDS |= {"problem": "", "activation": "", "weights": "weights"}
HERE = ("lines", "numbers")  # kinds that are drawn here
SAID = {"": "plain", "clip=norm": "clipped by its norm", "constant > cosine_restarts": "restarts"}


Rows = Sequence[Mapping[str, Any]]


def draw(results: fastgd.Results, numbers: Rows, picture: Mapping[str, Any], path: Path) -> None:
    """Draw a picture of docs/gallery.toml into a file; `numbers`: what the check of the study found."""
    plots.save(_figure(results, numbers, picture), path)
    if path.suffix == ".png":
        shrink(path)


def _figure(results: fastgd.Results, numbers: Rows, picture: Mapping[str, Any]) -> Figure:
    options, panels = picture.get("options", {}), picture.get("panels", [])
    if picture["kind"] == "lines":
        return _lines(results, picture, panels or [{}])
    if picture["kind"] == "numbers":
        return _numbers(pd.DataFrame(numbers), picture, panels or [{}])
    if panels:
        return _maps(results, picture["kind"], panels, options)
    return plots.plot(results, picture["kind"], **options)


def shrink(path: Path) -> None:
    """Make a picture as wide as a page, with a palette: a quarter of its bytes."""
    with Image.open(path) as image:
        small = image.convert("RGB")
        if image.width > WIDTH:
            small = small.resize((WIDTH, round(image.height * WIDTH / image.width)), Image.Resampling.LANCZOS)
        # Of the methods that there are this one keeps the colours of small marks.
        small = small.quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=2, dither=Image.Dither.NONE)
    small.save(path, optimize=True)


def chosen(trials: pd.DataFrame, where: Mapping[str, Any]) -> pd.DataFrame:
    """Return the trials that have given values in some columns, or one of the values in a list."""
    keep = np.ones(len(trials), bool)
    for column, value in where.items():
        found = trials[column]
        if isinstance(value, list):
            keep &= found.isin(value).to_numpy()
        else:
            keep &= np.isclose(found.astype(float), value) if isinstance(value, float) else (found == value).to_numpy()
    return trials[keep]


def words(where: Mapping[str, Any]) -> str:
    """Return values of columns as a title: "rate 0.5, constant"."""
    told = []
    for column, value in where.items():
        name = WORDS.get(column, column.rpartition(".")[2])
        if name is not None:
            values = value if isinstance(value, list) else [value]
            shown = " and ".join(number(one) if isinstance(one, int | float) else SAID.get(one, one) for one in values)
            told.append(f"{name} {shown}".strip())
    return ", ".join(told)


def _grid(count: int, height: float) -> tuple[Figure, Sequence[Axes]]:
    columns = min(count, 2 if count != 3 else 3)
    rows = math.ceil(count / columns)
    figure = Figure(figsize=(7.6, rows * (7.6 / columns * height + 0.3)), layout=Layout())
    return figure, list(figure.subplots(rows, columns, squeeze=False).ravel())


def _maps(
    results: fastgd.Results, kind: str, panels: Sequence[Mapping[str, Any]], options: Mapping[str, Any]
) -> Figure:
    """Draw maps of single trials side by side."""
    surface = results.surfaces[0]
    height = 1.0 if options.get("zoom") else float(np.ptp(surface.y) / np.ptp(surface.x))
    with style():
        figure, grid = _grid(len(panels), height)
        for axes, where in zip(grid, panels, strict=True):
            trials = chosen(results.trials, where)["trial_id"].astype(str).unique()
            plots.PLOTS.find(kind).draw(results, trials=list(trials), axes=axes, **options)
            if legend := axes.get_legend():
                legend.remove()
            axes.set_title(words(where))
    return figure


def _lines(results: fastgd.Results, picture: Mapping[str, Any], panels: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw columns of the curves over the steps or epochs, a line for each value of some columns of the trials."""
    by, columns, x = picture["by"], np.atleast_1d(picture["column"]).tolist(), picture.get("x", "step")
    trials = chosen(results.trials, picture.get("where", {}))
    names = {row["trial_id"]: words(row[list(by)].dropna()) for _, row in trials.iterrows()}
    if len(columns) > 1:  # each has a line of its own, and its name
        names |= dict.fromkeys(names, "")
    order = [_named(name, column, columns) for name in dict.fromkeys(names.values()) for column in columns]
    with style():
        figure, grid = _grid(len(panels), 0.6 if len(panels) > 1 else 0.4)
        seen = looks(order)
        shown, lines = [], {}
        for axes, where in zip(grid, panels, strict=True):
            for trial in chosen(trials, where)["trial_id"]:
                curve = results.curves[results.curves["trial_id"] == trial].sort_values("step")
                end = curve[x].max()
                curve = curve[curve[x].between(end - picture.get("last", np.inf), picture.get("first", end))]
                for column in columns:
                    name = _named(names[trial], column, columns)
                    (line,) = axes.plot(curve[x], curve[column], color=seen[name].color, lw=1.2, label=name)
                    lines[name] = line
                    shown.append(curve[column].to_numpy())
            dress(axes)
            axes.set(xlabel=label(x), ylabel=picture.get("label", label(columns[0])), title=words(where))
        for axes in grid:
            limits(axes, np.concatenate(shown))
        if len(columns) > 1 or not set(by) <= set(panels[0]):  # else the titles say it already
            key(figure, [lines[name] for name in order if name in lines])
    return figure


def _named(name: str, column: str, columns: Sequence[str]) -> str:
    return name if len(columns) == 1 else ", ".join(filter(None, (name, label(column))))


def _numbers(rows: pd.DataFrame, picture: Mapping[str, Any], panels: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw a column of what a check found over another one, a line for each value of a third."""
    x, y, by = picture["x"], picture["y"], picture["by"]
    with style():
        figure, grid = _grid(len(panels), 0.8 if len(panels) > 1 else 0.4)
        seen, lines = looks(list(dict.fromkeys(rows[by]))), {}
        for axes, where in zip(grid, panels, strict=True):
            for value, own in chosen(rows, where).groupby(by, sort=False):
                name = words({"lr" if by == "rate" else by: value})
                (lines[name],) = axes.plot(own[x], own[y], **seen[value].line(5), lw=1.2, label=name)
            dress(axes)
            axes.set(xlabel=x, ylabel=picture.get("label", y), title=words(where))
            axes.set_xscale(picture.get("scale", "linear"))
            if rows[x].dtype.kind == "i":
                axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        for axes in grid:
            limits(axes, rows[y].to_numpy(), always=rows[y].agg(["min", "max"]))
        key(figure, list(lines.values()))
    return figure
