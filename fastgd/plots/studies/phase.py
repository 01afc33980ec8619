"""Phase diagrams: how trials end over two hyper-parameters: convergent, oscillating, divergent."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.compute as pc
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, Colormap, LinearSegmentedColormap, ListedColormap, LogNorm, Normalize
from matplotlib.figure import Figure, FigureBase
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, NullLocator, ScalarFormatter

from fastgd.analysis import Results
from fastgd.common.errors import InputError
from fastgd.common.numbers import number
from fastgd.plots.cells import cells
from fastgd.plots.color_scales import beyond
from fastgd.plots.configurations import check_landscapes, ranked
from fastgd.plots.layout import Layout
from fastgd.plots.limits import Array, frame_of, spans_decades
from fastgd.plots.pages import blocks_of, note, only, page_of
from fastgd.plots.readings import label, settings
from fastgd.plots.studies.heatmap import STAR, Map, left_out, maps_of
from fastgd.plots.style import Look, dress_map, figure_of, head, key, key_line, looks, panels, shape, stacked, style

# Statuses from the best to the worst, each with its name in the picture and its colour.
PHASES = {
    "converged": ("convergent", "#7fb2d9"),
    "trapped": ("trapped in another minimum", "#c9a3c0"),
    "completed": ("still on its way", "#dedede"),
    "cycling": ("oscillating", "#efb23e"),
    "diverged": ("divergent", "#a6503b"),
}
_NAMES = tuple(PHASES)
SHADES = ("#dbeaf6", "#9cc7e3", "#4f97c9", "#1f619f", "#0b2f5e")  # darker: more steps until convergence


def phase(
    results: Results,
    x: str = "lr",
    y: str | None = None,
    problem: str | None = None,
    method: str | None = None,
    axes: Axes | None = None,
    page: int = 1,
) -> Figure:
    """Plot how trials end over two hyper-parameters: axes for each optimizer.

    A cell has the colour of the status that most of its starts end in, the worse one where two are as frequent. Where
    they converge, it is the darker the more steps it took to come within the tolerance: the median over the starts. Of
    several configurations in a cell it shows the best one.

    Parameters
    ----------
    results : Results
        The study's results.
    x, y : str
        Columns of the configurations, as in `heatmap`; by default y is the one of an optimizer with the most values.
    problem, method : str, optional
        The only one to draw.
    axes : matplotlib.axes.Axes, optional
        Where to draw one optimizer on one problem, in place of a new figure.
    page : int
        Of many problems or optimizers, which to draw: the first ones, the next ones, ...

    Returns
    -------
    matplotlib.figure.Figure
        The picture.

    Raises
    ------
    InputError
        The study is none on landscapes, or no optimizer has several values of both columns.
    """
    order = check_landscapes(results, "phase")
    maps = _chosen(maps_of(results, ranked(results), x, y, order, "phase diagram"), problem, method)
    ends = _ends(results)
    with style():
        if axes is not None:
            if len(maps) > 1:
                raise InputError("axes take one optimizer on one problem: choose by problem= and method=")
            tables = [_table(found, x, ends) for found in maps]
            norm = _norm([table[1] for table in tables])
            _draw(axes, maps[0], x, tables[0], norm)
            return figure_of(axes)
        return _figure(maps, x, ends, looks(order), page, method)


def _figure(
    maps: list[Map], x: str, ends: pd.DataFrame, chosen: Mapping[str, Look], page: int, method: str | None
) -> Figure:
    problems = list(dict.fromkeys(found.problem for found in maps))
    blocks = blocks_of(maps, problems)
    rows, columns = shape(max(map(len, blocks)))
    width, height = {1: (5.6, 3.9), 2: (3.3, 3.0)}.get(columns, (2.6, 2.5))
    what = "problems" if len(blocks) == len(problems) else "parts"
    blocks, words = page_of(blocks, page, what, [height * rows] * len(blocks))
    size = (1.2 + width * columns, 0.5 + height * rows * len(blocks))
    figure = Figure(figsize=size, layout=Layout())
    seen: set[str] = set()
    for part, own in zip(stacked(figure, len(blocks)), blocks, strict=True):
        tables = [_table(found, x, ends) for found in own]
        norm = _norm([steps for _, steps in tables])
        grid = panels(part, len(own), share_x=False, share_y=False)
        for axes, found, table in zip(grid, own, tables, strict=True):
            fewest = _draw(axes, found, x, table, norm)
            remark = found.problem if len(problems) > 1 else ""
            head(axes, found.method, fewest, remark, chosen[found.method].color, width - 0.5)
            seen |= {_NAMES[int(code)] for code in np.unique(table[0].to_numpy()) if code == code}
        step_bar(part, grid, norm, np.concatenate([steps.to_numpy(dtype=np.float64).ravel() for _, steps in tables]))
    key(figure, _handles(seen))
    note(figure, words, left_out(chosen, maps) if method is None else "")
    return figure


def _chosen(maps: list[Map], problem: str | None, method: str | None) -> list[Map]:
    for name, what in ((problem, "problem"), (method, "method")):
        named = only((getattr(found, what) for found in maps), name, " a phase diagram of", what)
        maps = [found for found in maps if getattr(found, what) in named]
    return maps


def _ends(results: Results) -> pd.DataFrame:
    """Return for each configuration's name its `phase`, a position in PHASES, and the median `steps`."""
    columns = ["trial_id", "status", "steps_to_tolerance"]
    trials = results.table("trials", columns=columns, filter=pc.field("in_study")).to_pandas()
    names = trials["trial_id"].cat.categories
    configuration = trials["trial_id"].cat.codes.to_numpy(dtype=np.int64)
    # Trials with another status ended before their last step.
    names_of = [name if name in _NAMES else "completed" for name in trials["status"].cat.categories]
    codes = np.array([_NAMES.index(name) for name in names_of], dtype=np.int64)
    status = codes[trials["status"].cat.codes]
    counts = np.bincount(configuration * len(_NAMES) + status, minlength=len(names) * len(_NAMES))
    worst_first = counts.reshape(-1, len(_NAMES))[:, ::-1]
    steps = trials["steps_to_tolerance"].where(status == 0).groupby(configuration).median()
    phases = len(_NAMES) - 1 - np.argmax(worst_first, axis=1)
    return pd.DataFrame(
        {"phase": phases, "steps": steps.reindex(range(len(names))).to_numpy()}, index=names.astype(str)
    )


def _table(found: Map, x: str, ends: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the phases and the steps of a map's cells; NaN where nothing was run, or did not converge."""
    own = found.table.assign(name=[names[0] for names in found.table["trial_ids"]]).join(ends, on="name")
    own["steps"] = own["steps"].where(own["phase"] == 0)
    phases, steps = (own.pivot(index=found.y, columns=x, values=name) for name in ("phase", "steps"))
    return phases, steps


def shades() -> Colormap:
    """Return the colours of numbers of steps: darker for more."""
    return LinearSegmentedColormap.from_list("steps", SHADES)


def _norm(tables: list[pd.DataFrame]) -> Normalize:
    seen = np.concatenate([table.to_numpy(dtype=np.float64).ravel() for table in tables])
    if not np.isfinite(seen).any():
        return Normalize(1.0, 10.0)
    frame = frame_of(np.maximum(seen, 1.0), log=True)
    low, high = frame.low, max(2.0, frame.high)
    return (LogNorm if spans_decades(np.array([low, high]), 5) else Normalize)(low, high)


def step_bar(figure: FigureBase, grid: list[Axes], norm: Normalize, steps: Array) -> None:
    """Put the colour scale of the steps beside axes, if there are any."""
    if not np.isfinite(steps).any():
        return
    bar = figure.colorbar(ScalarMappable(norm, shades()), ax=grid, pad=0.02, extend=beyond(steps, norm))
    if isinstance(norm, LogNorm):
        bar.set_ticks(LogLocator(subs=(1.0, 2.0, 5.0)))
        bar.ax.yaxis.set_major_formatter(ScalarFormatter())
        bar.ax.yaxis.set_minor_locator(NullLocator())
    bar.set_label("steps to the tolerance")
    bar.outline.set_visible(False)


def _draw(axes: Axes, found: Map, x: str, tables: tuple[pd.DataFrame, pd.DataFrame], norm: Normalize) -> str:
    """Draw the phases, and over them the steps where trials converge; return in words where these are fewest."""
    phases, steps = tables
    across, up = cells(axes, "x", phases.columns.to_numpy()), cells(axes, "y", phases.index.to_numpy())
    colors = ListedColormap([color for _, color in PHASES.values()])
    options: dict[str, Any] = {"rasterized": True}
    values = np.ma.masked_invalid(phases.to_numpy(dtype=np.float64))
    bounds = BoundaryNorm(np.arange(-0.5, len(_NAMES)), len(_NAMES))
    axes.pcolormesh(across.edges, up.edges, values, cmap=colors, norm=bounds, **options)
    shaded = np.ma.masked_invalid(steps.to_numpy(dtype=np.float64))
    axes.pcolormesh(across.edges, up.edges, shaded, cmap=shades(), norm=norm, **options)
    fewest = "nowhere convergent"
    if shaded.count():
        row, column = np.unravel_index(int(shaded.argmin()), shaded.shape)
        axes.plot(across.centers[column], up.centers[row], **STAR)
        place: dict[str, Any] = {"variant": "", x: steps.columns.tolist()[column], found.y: steps.index.tolist()[row]}
        there = settings(pd.Series(place), [x, found.y])
        fewest = f"fewest steps: {number(shaded[row, column])}, {there}"
    axes.set_xlabel(label(x))
    axes.set_ylabel(label(found.y))
    dress_map(axes)
    return fewest


def _handles(seen: set[str]) -> list[Artist]:
    handles: list[Artist] = [Patch(facecolor=PHASES[name][1], label=PHASES[name][0]) for name in PHASES if name in seen]
    return [*handles, key_line(label="fewest steps", **STAR)] if "converged" in seen else handles
