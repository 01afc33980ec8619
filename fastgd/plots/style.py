"""How every picture looks: colours, markers, letters and scales, all safe for colour-blind readers."""

import math
import textwrap
from collections.abc import Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pandas as pd
import pyarrow.compute as pc
from numpy.typing import NDArray

from fastgd.analysis import Results, with_methods
from fastgd.common.errors import InputError
from fastgd.common.escape import for_picture
from fastgd.common.numbers import number

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, FigureBase

# Okabe and Ito (2008), without the yellow, which vanishes on white; then darker and lighter ones, mostly of Paul Tol's
# muted scheme. Those that are close to an earlier colour, or become so for colour-blind readers, have other dashes.
_COLORS = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"),
    *("#332288", "#882255", "#999933", "#AA4499", "#661100", "#44AA99", "#117733", "#C9B458"),
)
# Each with the size that makes it look as large as the others.
_MARKERS = {
    **{"o": 1.0, "s": 0.95, "D": 0.85, "^": 1.1, "v": 1.1, "P": 1.2, "X": 1.2, "*": 1.5, "<": 1.1, ">": 1.1},
    **{"d": 1.0, "p": 1.15, "h": 1.1, "8": 1.05, "H": 1.1},
}
_DASHES: tuple[Any, ...] = ("solid", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)))
GREY, PALE = "#6b6b6b", "#d9d9d9"

_RC = {
    "font.family": "sans-serif",
    "font.size": 9.0,
    "text.color": "#222222",
    "figure.facecolor": "white",
    "figure.titlesize": 11.0,
    "axes.facecolor": "white",
    "axes.edgecolor": "#8c8c8c",
    "axes.linewidth": 0.8,
    "axes.labelcolor": "#222222",
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.solid_capstyle": "round",
    "hatch.linewidth": 0.6,
    "svg.hashsalt": "fastgd",  # the same picture gives the same file
    "pdf.fonttype": 42,  # letters stay letters: journals ask for it
}

LABELS = {
    "loss": "training loss",
    "validation_loss": "validation loss",
    "param_norm": "norm of the parameters",
    "grad_norm": "norm of the gradient",
    "accuracy": "training accuracy",
    "validation_accuracy": "validation accuracy",
    "r2": "training R²",
    "validation_r2": "validation R²",
    "lr": "learning rate",
    "effective_lr": "effective rate",
    "l2": "L2 penalty",
    "batch_size": "batch size",
    "epoch": "epochs",
    "step": "steps",
    "samples_seen": "samples seen",
    "train_seconds": "training time of the cohort (s)",
}


_SHORT = {"lr": "lr", "l2": "l2"}
_SMALL: dict[str, Any] = {
    "xycoords": "axes fraction",
    "textcoords": "offset points",
    "fontsize": 7.5,
    "color": GREY,
    "linespacing": 1.1,
}


Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True)
class Look:
    """How a line of one optimizer is drawn."""

    color: str
    marker: str
    linestyle: Any
    size: float

    def line(self, markersize: float) -> dict[str, Any]:
        """Return matplotlib's parameters of a line with markers."""
        return {
            "color": self.color,
            "linestyle": self.linestyle,
            "marker": self.marker,
            "markersize": markersize * self.size,
            "markeredgecolor": "white",
            "markeredgewidth": 0.4,
        }

    def outlined(self, markersize: float) -> dict[str, Any]:
        """Return matplotlib's parameters of a mark that stands out: of the best value, or the one to try."""
        return {**self.line(markersize), "markeredgecolor": "black", "markeredgewidth": 0.8}


def looks(names: Sequence[Name]) -> dict[Name, Look]:
    """Return a look for each name, all different: of fifteen each has a colour and a marker of its own."""
    markers = list(_MARKERS.items())
    found = {}
    for i, name in enumerate(names):
        marker, size = markers[(i + i // len(_COLORS)) % len(markers)]
        found[name] = Look(_COLORS[i % len(_COLORS)], marker, _DASHES[i // 7 % len(_DASHES)], size)
    return found


@contextmanager
def style() -> Iterator[None]:
    """Set matplotlib's parameters while a figure is made, and put them back.

    Trials that diverge are data, and so are numbers that have no place on an axis: no warning is due for these.
    """
    import matplotlib as mpl

    with mpl.rc_context(_RC), np.errstate(over="ignore", invalid="ignore"):  # type: ignore[arg-type]
        yield


def dress(axes: "Axes") -> None:
    """Give axes a light grid and small ticks, independent of the reader's matplotlib settings."""
    axes.grid(True, which="major", color="#ebebeb", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(which="major", length=3, width=0.8, color="#8c8c8c", labelsize=8.5, labelcolor="#222222")
    axes.tick_params(which="minor", length=1.5, width=0.6, color="#b3b3b3")


def head(axes: "Axes", title: str, subtitle: str, remark: str, color: str, width: float) -> None:
    """Put a title above axes of a width in inches: in bold, with a small remark at its right and a small line below."""
    lines = textwrap.wrap(subtitle, int(width * 19))  # letters of that size to an inch
    axes.set_title(for_picture(title), color=text_color(color), fontweight="bold", pad=4 + 9.5 * len(lines))
    axes.annotate("\n".join(map(for_picture, lines)), (0, 1), (0, 3), va="bottom", **_SMALL)
    axes.annotate(for_picture(remark), (1, 1), (0, 4 + 9.5 * len(lines)), ha="right", va="bottom", **_SMALL)


def mark_start(axes: "Axes", loss: float) -> None:
    """Draw the loss before the first step as a dotted line with its name."""
    axes.axhline(loss, color=GREY, linewidth=0.8, linestyle=(0, (1, 2)), zorder=1)
    axes.annotate("start", (0, loss), (3, 2), xycoords=axes.get_yaxis_transform(), textcoords="offset points",
                  fontsize=7.5, color=GREY, annotation_clip=True)  # fmt: skip


def name_axes(figure: "Figure", x: str, y: str) -> None:
    """Name the axes of panels where they carry numbers."""
    for axes in figure.axes:
        if axes.xaxis.get_tick_params()["labelbottom"]:
            axes.set_xlabel(x)
        if axes.yaxis.get_tick_params()["labelleft"]:
            axes.set_ylabel(y)


def key(figure: "FigureBase", handles: "Sequence[Artist]", room: float | None = None) -> None:
    """Say below the panels what the lines are; a subfigure says how much room there is, in inches."""
    if not handles:
        return
    widths = [0.6 + 0.065 * len(str(handle.get_label())) for handle in handles]  # inches
    room = room or float(figure.get_figure(root=True).get_figwidth())
    columns = len(handles) if sum(widths) < room else max(1, int(room / max(widths)))
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, fontsize=8, labelcolor=GREY)


def list_below(axes: "Axes", handles: "Sequence[Artist]", width: float = 6.0, points: float = 34) -> None:
    """List lines so many points below axes of a width in inches, each name in its colour."""
    from matplotlib.transforms import ScaledTranslation

    if not handles:
        return
    widths = [0.75 + 0.058 * len(str(handle.get_label())) for handle in handles]
    columns = max(1, min(len(handles), int((width - 0.6) / max(widths))))
    columns = math.ceil(len(handles) / math.ceil(len(handles) / columns))  # of equal length
    below = axes.transAxes + ScaledTranslation(0, -points / 72, figure_of(axes).dpi_scale_trans)
    legend = axes.legend(
        handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0.0), bbox_transform=below, ncols=columns,
        fontsize=8, labelspacing=0.3, borderaxespad=0.0, columnspacing=1.5,
    )  # fmt: skip
    for text, handle in zip(legend.get_texts(), handles, strict=True):
        color = handle.get_color() if hasattr(handle, "get_color") else GREY
        text.set_color(text_color(color) if color != "white" else GREY)


def label(name: str) -> str:
    """Return a column's name as it stands on an axis."""
    return LABELS.get(name) or for_picture(name.removeprefix("schedule."))


def scale_x(axes: "Axes", x: NDArray[np.float64]) -> None:
    """Set the horizontal limits to the checkpoints at x, on a logarithmic axis where they stand at equal ratios."""
    from matplotlib.ticker import MaxNLocator

    x = np.unique(x)
    if np.median(x) < x[-1] / 5:
        axes.set_xscale("log")
        axes.set_xlim(x[x > 0][0], x[-1])
    else:
        axes.set_xlim(x[0], x[-1] if len(x) > 1 else x[0] + 1)  # none but the start
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))


def varied(results: Results, trials: pd.DataFrame) -> list[str]:
    """Return the columns that tell the configurations of trials apart: those with several values."""
    return [name for name in results.identity if trials[name].nunique(dropna=False) > 1]


def settings(configuration: "pd.Series[Any]", names: Iterable[str]) -> str:
    """Return a configuration's variant, and its values of some columns in words: "saga, lr 0.0316, batch size 64"."""
    values = {name: configuration[name] for name in names if name != "variant" and not pd.isna(configuration[name])}
    words = {name: value if isinstance(value, str) else number(value) for name, value in values.items()}
    own = [f"{_SHORT.get(name, label(name))} {word}" for name, word in words.items()]
    return ", ".join(filter(None, (configuration["variant"], *own)))


def text_color(color: str) -> tuple[float, float, float]:
    """Return a colour for letters: darker than that of a line, which covers more."""
    from matplotlib.colors import to_rgb

    red, green, blue = to_rgb(color)
    return 0.75 * red, 0.75 * green, 0.75 * blue


def shape(count: int) -> tuple[int, int]:
    """Return the rows and columns of a grid of panels, wider than high and with few gaps."""
    columns = count if count < 4 else min((5, 4, 3), key=lambda width: -count % width)
    return math.ceil(count / columns), columns


def panels(
    parent: "FigureBase", count: int, share_x: bool = True, share_y: bool = True, columns: int | None = None
) -> "list[Axes]":
    """Return axes in a grid of `shape(count)`, or of so many columns; the lowest of each column carry its numbers."""
    columns = columns or shape(count)[1]
    rows = math.ceil(count / columns)
    grid = parent.subplots(rows, columns, sharex=share_x, sharey=share_y, squeeze=False).ravel()
    for axes in grid[count:]:
        axes.remove()
    for axes in grid[max(count - columns, 0) : count]:
        axes.tick_params(labelbottom=True)
    return list(grid[:count])


def figure_of(axes: "Axes") -> "Figure":
    """Return the figure that axes belong to, be it by way of a subfigure."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    return figure


def methods(results: Results) -> list[str]:
    """Return the study's optimizers with their variants, in its order, which settles their looks in every picture.

    Raises
    ------
    InputError
        No trial of the study is there yet.
    """
    # Of millions of trials only these columns are read.
    table = results.table("trials", columns=["optimizer", "variant"], filter=pc.field("in_study")).to_pandas()
    found = with_methods(table.drop_duplicates().astype(str)).drop_duplicates("method")
    if found.empty:
        raise InputError(f"{results.path} holds no trials of its study yet: there is nothing to draw")
    # Cohorts are committed in an order of their own, and an extended study's new ones after the old ones.
    order = list(dict.fromkeys(str(block["name"]) for block in results.study.get("optimizer", [])))
    places = [order.index(name) if name in order else len(order) for name in found["optimizer"]]
    return [str(found["method"].iloc[place]) for place in np.argsort(places, kind="stable")]


def ranking_of(results: Results, by: str | None, at: str) -> pd.DataFrame:
    """Return `Results.best` with a column `method`, its names as strings."""
    ranking = results.best(by, at)
    names = [name for name in ranking.columns if isinstance(ranking[name].dtype, pd.CategoricalDtype)]
    return with_methods(ranking.astype(dict.fromkeys(names, object)))


def median_of(counts: Iterable[int], what: str) -> str:
    """Return how many trials lines are medians of, in words: "median of 3 seeds"; empty where each is one trial."""
    least, most = min(counts := list(counts)), max(counts)
    if most <= 1:
        return ""
    return f"median of {most:,} {what}" if least == most else f"median of {least:,} to {most:,} {what}"


def lost_words(results: Results, values: NDArray[np.float64]) -> str:
    """Say what became of configurations whose value is no finite number."""
    statuses = set(results.table("trials", columns=["status"], filter=pc.field("in_study")).to_pandas()["status"])
    words = [name for name in ("diverged", "failed") if name in statuses] if np.isinf(values).any() else []
    words += ["without a loss"] if np.isnan(values).any() else []
    return " or ".join(words or ["without a finite loss"])


def measure(results: Results, metric: str) -> str:
    """Return a metric's name as it stands on an axis; a landscape's loss is of no training."""
    return "loss" if results.on_landscapes and metric == "loss" else label(metric)


def start_of(results: Results, metric: str) -> dict[str, float]:
    """Return for each problem the metric before the first step: the median over the trials in the study."""
    start = results.table("curves", columns=["trial_id", metric], filter=pc.field("step") == 0).to_pandas()
    trials = results.table("trials", columns=["trial_id", "problem"], filter=pc.field("in_study")).to_pandas()
    trials = trials.drop_duplicates().astype(str)  # on landscapes a trial is a name and a start
    problem = start["trial_id"].astype(str).map(trials.set_index("trial_id")["problem"])
    medians = start.groupby(problem, sort=False)[metric].median()
    return {str(problem): float(value) for problem, value in medians.items()}


def spread_labels(positions: Sequence[float], gap: float) -> NDArray[np.float64]:
    """Push labels apart along one axis, in [0, 1], so that neighbours are at least `gap` from each other.

    Parameters
    ----------
    positions : sequence of float, length k
        Where the labels belong.
    gap : float
        The least distance.

    Returns
    -------
    ndarray of shape (k,)
        Where they go, in the order given.
    """
    from scipy.optimize import isotonic_regression

    order = np.argsort(positions, kind="stable")
    # The least movement that keeps neighbours a gap apart is an isotonic regression of the positions minus their gaps.
    offsets = gap * np.arange(len(order))
    moved = isotonic_regression(np.asarray(positions, dtype=np.float64)[order] - offsets).x
    placed = np.clip(moved, 0.0, max(0.0, 1.0 - offsets[-1])) + offsets
    result = np.empty_like(placed)
    result[order] = placed
    return result
