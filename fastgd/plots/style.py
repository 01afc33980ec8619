"""How pictures look: their colours, markers, letters, panels and keys, all safe for colour-blind readers."""

import math
import textwrap
from collections.abc import Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import matplotlib as mpl
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure, FigureBase, SubFigure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import AbstractPathEffect, Normal, Stroke
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import ScaledTranslation
from numpy.typing import NDArray

from fastgd.common.errors import InputError, nearest
from fastgd.common.escape import for_picture
from fastgd.plots.layout import Layout

# Okabe and Ito (2008), without the yellow, which vanishes on white; then darker and lighter ones, mostly of Paul Tol's
# muted scheme. Those that are close to an earlier colour, or become so for colour-blind readers, have other dashes.
_COLORS = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"),
    *("#332288", "#882255", "#999933", "#AA4499", "#661100", "#44AA99", "#117733", "#C9B458"),
)
# Each marker has the size at which it looks as large as the others.
_MARKERS = {
    **{"o": 1.0, "s": 0.95, "D": 0.85, "^": 1.1, "v": 1.1, "P": 1.2, "X": 1.2, "*": 1.5, "<": 1.1, ">": 1.1},
    **{"d": 1.0, "p": 1.15, "h": 1.1, "8": 1.05, "H": 1.1},
}
_DASHES: tuple[Any, ...] = ("solid", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)))
GREY, PALE = "#6b6b6b", "#d9d9d9"
# The mark of the best rate, and of the rate to try.
OUTLINED: dict[str, Any] = {"marker": "o", "linestyle": "", "markeredgecolor": "black", "markeredgewidth": 0.9}

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
    "svg.hashsalt": "fastgd",  # makes files of the same picture identical
    "pdf.fonttype": 42,  # keeps letters as letters, as journals ask
}

# Small letters at a place of the axes.
SMALL: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points", "fontsize": 7.5, "color": GREY}


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
        look = {"color": self.color, "linestyle": self.linestyle, "marker": self.marker}
        return look | {"markersize": markersize * self.size, "markeredgecolor": "white", "markeredgewidth": 0.4}

    def outlined(self, markersize: float) -> dict[str, Any]:
        """Return matplotlib's parameters of the mark of a line's best value."""
        return {**self.line(markersize), "markeredgecolor": "black", "markeredgewidth": 0.8}


def looks(names: Sequence[Name]) -> dict[Name, Look]:
    """Return a look for each name, all different; the first fifteen differ in their colours."""
    markers = list(_MARKERS.items())
    found = {}
    for i, name in enumerate(names):
        marker, size = markers[(i + i // len(_COLORS)) % len(markers)]
        found[name] = Look(_COLORS[i % len(_COLORS)], marker, _DASHES[i // 7 % len(_DASHES)], size)
    return found


@contextmanager
def style() -> Iterator[None]:
    """Set matplotlib's parameters in the block.

    NumPy's warnings are off: trials that diverge are data, and so are numbers too large for an axis.
    """
    with mpl.rc_context(_RC), np.errstate(over="ignore", invalid="ignore"):  # type: ignore[arg-type]
        yield


def dress(axes: Axes) -> None:
    """Give axes a light grid and small ticks, independent of the reader's matplotlib settings."""
    axes.grid(True, which="major", color="#ebebeb", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(which="major", length=3, width=0.8, color="#8c8c8c", labelsize=8.5, labelcolor="#222222")
    axes.tick_params(which="minor", length=1.5, width=0.6, color="#b3b3b3")


def dress_map(axes: Axes) -> None:
    """Give axes that an image or contours fill small ticks and no frame."""
    axes.tick_params(length=3, width=0.8, color="#8c8c8c", labelsize=8)
    axes.tick_params(which="minor", length=1.5, width=0.6, color="#b3b3b3")
    axes.spines[:].set_visible(False)


def halo(width: float, alpha: float | None = None) -> list[AbstractPathEffect]:
    """Return the effects that give a line or letters a white rim, of this width with them, so that they stand out."""
    return [Stroke(linewidth=width, foreground="white", alpha=alpha), Normal()]


def head(axes: Axes, title: str, subtitle: str, remark: str, color: str, width: float) -> None:
    """Put a bold title above axes of a width in inches, with a small remark at its right and small lines below it."""
    lines = textwrap.wrap(subtitle, int(width * 19))  # small letters per inch
    look: dict[str, Any] = {"color": text_color(color), "fontweight": "bold", "pad": 4 + 9.5 * len(lines)}
    axes.set_title(for_picture(title), loc="left", **look)
    axes.annotate("\n".join(map(for_picture, lines)), (0, 1), (0, 3), va="bottom", linespacing=1.1, **SMALL)
    axes.annotate(
        for_picture(remark), (1, 1), (0, 4 + 9.5 * len(lines)), ha="right", va="bottom", linespacing=1.1, **SMALL
    )


def mark_start(axes: Axes, loss: float) -> None:
    """Draw the loss before the first step as a dotted line with its name."""
    axes.axhline(loss, color=GREY, linewidth=0.8, linestyle=(0, (1, 2)), zorder=1)
    axes.annotate("start", (0, loss), (3, 2), xycoords=axes.get_yaxis_transform(), textcoords="offset points",
                  fontsize=7.5, color=GREY, annotation_clip=True)  # fmt: skip


def name_axes(grid: Iterable[Axes], x: str, y: str) -> None:
    """Name the axes of those panels that show numbers there."""
    for axes in grid:
        if axes.xaxis.get_tick_params()["labelbottom"]:
            axes.set_xlabel(x)
        if axes.yaxis.get_tick_params()["labelleft"]:
            axes.set_ylabel(y)


def key(figure: FigureBase, handles: Sequence[Artist], room: float | None = None) -> None:
    """Put a key of the lines below the panels; `room`: the width in inches, if the figure is part of another one."""
    if not handles:
        return
    widths = [0.6 + 0.065 * len(str(handle.get_label())) for handle in handles]  # inches
    room = room or float(figure.get_figure(root=True).get_figwidth())
    columns = len(handles) if sum(widths) < room else max(1, int(room / max(widths)))
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, fontsize=8, labelcolor=GREY)


def key_line(**look: Any) -> Line2D:
    """Return a line or a mark for a key, grey unless it has a colour."""
    return Line2D([], [], **{"color": GREY} | look)


def key_band(label: str) -> Patch:
    """Return what stands in a key for bands around lines."""
    return Patch(facecolor=GREY, alpha=0.25, label=label)


def list_below(axes: Axes, handles: Sequence[Artist], width: float = 6.0, points: float = 34) -> None:
    """Put a key of the lines so many points below axes of a width in inches, each name in its colour."""
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


def scale_x(axes: Axes, x: NDArray[np.float64], scale: str | None = None) -> None:
    """Set the horizontal limits to the checkpoints at x.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
    x : ndarray
        Where the checkpoints are.
    scale : {"linear", "log"}, optional
        By default logarithmic if they are at equal ratios.

    Raises
    ------
    InputError
        There is no such scale.
    """
    if scale is not None and scale not in ("linear", "log"):
        raise InputError(f"a horizontal axis has no scale {scale!r}; {nearest(scale, ('linear', 'log'))}")
    x = np.unique(x)
    if (np.median(x) < x[-1] / 5 if scale is None else scale == "log") and (x > 0).any():
        axes.set_xscale("log")
        first = x[x > 0][0]
        axes.set_xlim(first, x[-1] if x[-1] > first else 2 * first)
    else:
        axes.set_xlim(x[0], x[-1] if len(x) > 1 else x[0] + 1)  # the start alone needs a width
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))


def text_color(color: str) -> tuple[float, float, float]:
    """Return a darker colour for letters, which cover less than a line does."""
    red, green, blue = to_rgb(color)
    return 0.75 * red, 0.75 * green, 0.75 * blue


def shape(count: int) -> tuple[int, int]:
    """Return the rows and columns of a grid of panels that is wider than high and has few empty places."""
    columns = count if count < 4 else min((5, 4, 3), key=lambda width: -count % width)
    return math.ceil(count / columns), columns


def panels(
    parent: FigureBase, count: int, share_x: bool = True, share_y: bool = True, columns: int | None = None
) -> list[Axes]:
    """Return axes in a grid of `shape(count)`, or of so many columns; the lowest of each column show numbers."""
    columns = columns or shape(count)[1]
    rows = math.ceil(count / columns)
    grid = parent.subplots(rows, columns, sharex=share_x, sharey=share_y, squeeze=False).ravel()
    for axes in grid[count:]:
        axes.remove()
    for axes in grid[max(count - columns, 0) : count]:
        axes.tick_params(labelbottom=True)
    return list(grid[:count])


def multiples(
    count: int, widths: tuple[float, float], height: float, rim: tuple[float, float], share_y: bool = True
) -> tuple[Figure, list[Axes], float]:
    """Return a figure of panels of a height, their axes, and the width of each, all in inches.

    The first of the `widths` is that of a panel with at most two others beside it; `rim`: how much wider and higher the
    figure is than its panels.
    """
    rows, columns = shape(count)
    width = widths[columns > 3]
    figure = Figure(figsize=(rim[0] + width * columns, rim[1] + height * rows), layout=Layout())
    return figure, panels(figure, count, share_y=share_y), width


def stacked(figure: Figure, count: int) -> list[SubFigure]:
    """Return parts of a figure that stand below each other, each as wide as the figure."""
    return list(figure.subfigures(count, 1, squeeze=False).ravel())


def figure_of(axes: Axes) -> Figure:
    """Return the figure that axes belong to, directly or as part of a subfigure."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    return figure


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
