"""The pictures of docs/gallery.md: kinds of `fastgd plot`, alone or in panels, and lines over the steps."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
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
SAID = {"": "plain", "clip=norm": "clipped by its norm", "constant > cosine_restarts": "restarts"}


def draw(results: fastgd.Results, picture: Mapping[str, Any], path: Path) -> None:
    """Draw a picture of docs/gallery.toml into a file."""
    plots.save(_figure(results, picture), path)
    if path.suffix == ".png":
        shrink(path)


def _figure(results: fastgd.Results, picture: Mapping[str, Any]) -> Figure:
    options, panels = picture.get("options", {}), picture.get("panels", [])
    if picture["kind"] == "lines":
        return _lines(results, picture, panels or [{}])
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
    """Return the trials that have given values in some columns."""
    keep = np.ones(len(trials), bool)
    for column, value in where.items():
        found = trials[column]
        keep &= np.isclose(found.astype(float), value) if isinstance(value, float) else (found == value).to_numpy()
    return trials[keep]


def words(where: Mapping[str, Any]) -> str:
    """Return values of columns as a title: "rate 0.5, constant"."""
    told = []
    for column, value in where.items():
        name = WORDS.get(column, column.rpartition(".")[2])
        if name is not None:
            shown = number(value) if isinstance(value, int | float) else SAID.get(value, value)
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
    """Draw a column of the curves over the steps, a line for each value of some columns of the trials."""
    by, column = picture["by"], picture["column"]
    names = {row["trial_id"]: words(row[list(by)].dropna()) for _, row in results.trials.iterrows()}
    with style():
        figure, grid = _grid(len(panels), 0.6 if len(panels) > 1 else 0.4)
        seen = looks(list(dict.fromkeys(names.values())))
        shown, lines = [], {}
        for axes, where in zip(grid, panels, strict=True):
            for trial in chosen(results.trials, where)["trial_id"]:
                curve = results.curves[results.curves["trial_id"] == trial].sort_values("step")
                curve = curve[curve["step"] >= curve["step"].max() - picture.get("last", np.inf)]
                (line,) = axes.plot(
                    curve["step"], curve[column], color=seen[names[trial]].color, lw=1.2, label=names[trial]
                )
                lines[names[trial]] = line
                shown.append(curve[column].to_numpy())
            dress(axes)
            axes.set(xlabel="steps", ylabel=picture.get("label", label(column)), title=words(where))
        for axes in grid:
            limits(axes, np.concatenate(shown))
        if not set(by) <= set(panels[0]):  # the titles say it already
            key(figure, list(lines.values()))
    return figure
